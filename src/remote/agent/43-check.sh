# Whether the files that arrived are those that were sent.

# Takes what was unpacked for a release. The new manifest has this digest and builds on that of
# `base`, if there is one. A file that is not as it was sent is deleted: no later upload may build
# on it.
locked_order_check() {
    local digest id manifest stage
    arguments "$@"
    stage=$root/releases/.$id.$run
    manifest=$stage/meta/whole
    [ ! -e "$root/releases/$id" ] || { echo "releases/$id is there already"; return 1; }
    if ! make_manifest "$stage/meta" "$base" "$digest" || ! rebuild "$stage" ||
        ! verify_upload "$stage/tree" "$base"; then
        rm -rf "$stage"
        return 1
    fi
    printf '%s\n' "$id" >>"$unfinished" &&
        mv "$manifest" "$root/.shipit/manifests/$id" && mv "$stage/tree" "$root/releases/$id"
}

# Makes the new `manifest`, sorted, and the file `sent` with those of its lines whose bytes are
# read.
make_manifest() {
    local sum
    if [ -n "$2" ]; then
        sent=$1/new
        LC_ALL=C awk 'of { gone[$0]; next } !($0 in gone)' of=gone "$1/gone" \
            of= "$root/.shipit/manifests/$2" | LC_ALL=C sort -m - "$sent" >"$manifest"
    else
        sent=$manifest
        LC_ALL=C sort "$1/manifest" >"$sent"
    fi || return 1
    sum=$(sha256sum <"$manifest")
    [ "${sum%% *}" = "$3" ] && return 0
    echo 'the manifest is not the one that was sent'
    return 1
}

# Whether all of $1 is as the manifest says. Compares the tree and reads the bytes at the same time.
verify_upload() {
    local held shaping
    tree_matches "$1" "$2" >"$tmp/unlike" 2>&1 9>&- &
    shaping=$!
    read_back "$1" "$sent"
    held=$?
    wait "$shaping" && return "$held"
    cat "$tmp/unlike"
    return 1
}

# Whether kind, mode, size and target of everything in $1 are as the new manifest says, and the
# files that it shares with release $2 are as they were. mtimes in the future would look like later
# edits, so they are set to now.
tree_matches() {
    : >"$tmp/now"
    list_tree 600 "$1" "$tmp/now" "${2:+"$root/.shipit/manifests/"}${2:-"$tmp/now"}" >"$tmp/found" ||
        return 1
    if [ -n "$2" ] && [ -s "$tmp/apart" ] && ! was_sent "$tmp/apart"; then
        echo "somebody changed $2 in the meantime"
        return 1
    fi
    [ ! -s "$tmp/newer" ] || find "$1" -type f -newer "$tmp/now" -exec touch {} +
    differences "$manifest" "$tmp/found" list_tree >"$tmp/differences" || return 1
    [ -s "$tmp/differences" ] || return 0
    echo 'expected (-) and found (+):'
    sed -e 's/^was /-/' -e 's/^is /+/' "$tmp/differences" | LC_ALL=C sort -k 2 | head -n 20
    return 1
}

# Whether all files that $1 names came with their bytes.
was_sent() {
    LC_ALL=C awk '
        of == "sent" { sent[substr($0, length($1 $2 $3 $4) + 5)]; next }
        !($0 in sent) { exit 1 }
    ' of=sent "$sent" of= "$1"
}

# Whether the files of $1 that $2 has lines of hold the bytes that these say. Those that were read
# while they arrived need not be read again.
read_back() {
    local counted files good known large
    known=${1%/tree}/meta/read
    [ -f "$known" ] || known=/dev/null
    counted=$(LC_ALL=C awk -v sums="$tmp/sums" -v sizes="$tmp/sizes" '
        of == "known" { sum[substr($0, length($1) + 2)] = $1; next }
        $1 != "f" { next }
        { path = substr($0, length($1 $2 $3 $4) + 5) }
        sum[path] == $4 { next }
        { print $4 "  " path >sums; print $3 >sizes; files++ }
        $3 >= 10000000 { large = "yes" }
        END { print files + 0, large }
    ' of=known "$known" of= "$2")
    files=${counted% *} large=${counted#* }
    [ "$files" != 0 ] || return 0
    if [ "$files" -gt 200 ] || [ -n "$large" ]; then
        read_on_all_cores "$1"
    else
        (cd "$1" && LC_ALL=C sha256sum -c "$tmp/sums") >"$tmp/held" 2>&1 9>&-
    fi
    good=$(grep -c ': OK$' "$tmp/held")
    [ -n "$files" ] && [ "$good" = "$files" ] && return 0
    echo 'other bytes than were sent:'
    grep -v ': OK$' "$tmp/held" | head -n 20
    return 1
}

# Reads with one process a core. Each file goes to the least loaded reader; opening a file counts as
# 20 KB.
read_on_all_cores() {
    local cores hand readers
    rm -f "$tmp"/sums.* "$tmp"/held.*
    cores=$(nproc 2>/dev/null || echo 1) readers=''
    awk -v cores="$cores" -v hand="$tmp/sums." -v sizes="$tmp/sizes" '{
        getline size <sizes
        to = 0
        for (core = 1; core < cores; core++) if (load[core] < load[to]) to = core
        load[to] += size + 20000
        print >(hand to)
    }' "$tmp/sums" || return "$?"
    for hand in "$tmp"/sums.*; do
        (cd "$1" && sums_hold "$hand") >"$tmp/held.${hand##*.}" 2>&1 9>&- &
        readers="$readers $!"
    done
    # shellcheck disable=SC2086
    wait $readers
    cat "$tmp"/held.* >"$tmp/held"
}

# Checks the sums in $1, with openssl if it is there and agrees: it takes half the time of
# coreutils, and an eighth where the processor has instructions for SHA-256.
sums_hold() {
    LC_ALL=C
    export LC_ALL
    if command -v openssl >/dev/null; then
        cut -c 67- "$1" | tr '\n' '\0' | xargs -0 openssl dgst -sha256 -r 2>/dev/null |
            sed 's/ [*]/  /' | cmp -s - "$1" && sed 's/.*/&: OK/' "$1" && return 0
    fi
    sha256sum -c "$1"
}
