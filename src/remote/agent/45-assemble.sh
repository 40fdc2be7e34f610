# Links, the env file, the revision and the seal of a new release.

# Makes links: five words each, d PATH MODE GROUP TARGET, or f PATH need|optional - TARGET.
locked_order_link() {
    local id links release
    arguments "$@"
    release=$root/releases/$id
    eval "set -- $links"
    while [ "$#" -ge 5 ]; do
        link_one "$@" || return 1
        shift 5
    done
}

link_one() {
    local shared
    shared=$root/shared/$2
    if [ -e "$release/$2" ] || [ -L "$release/$2" ]; then
        echo "the release already holds $2"
        return 1
    fi
    case $1 in
        d) [ -d "$shared" ] || make_shared "$shared" "$3" "$4" || return 1 ;;
        f)
            if [ ! -e "$shared" ]; then
                [ "$3" = optional ] && return 0
                echo "$shared is not there; put it there by hand"
                return 1
            fi
            ;;
    esac
    make_parent "$release/$2" && ln -s "$5" "$release/$2" || return 1
    printf 'l ./%s -> %s\n' "$2" "$5" >>"$tmp/extra"
}

make_parent() {
    [ -d "${1%/*}" ] || { mkdir -p "${1%/*}" && nested=yes; }
}

make_shared() {
    mkdir -p "$1" || return 1
    if [ -n "$3" ]; then
        chgrp "$3" "$1" || return 1
    fi
    [ -z "$2" ] || chmod "$2" "$1"
}

# Moves an env file into the release. It arrives readable by its owner only; the group is set before
# the mode lets others read it. Digests of its values tell whether one has changed.
locked_order_env() {
    local file from group id keys mode to
    arguments "$@"
    from=$root/releases/.$id.$run/meta/$from
    to=$root/releases/$id/$file
    if [ -n "$group" ]; then
        chgrp "$group" "$from" || { echo "$user is in these groups:$groups"; return 1; }
    fi
    [ "$mode" = 600 ] || chmod "$mode" "$from" || return 1
    note_env_file "$file" && (umask 077 && printf %s "$keys" >>"$root/.shipit/env/$id") &&
        make_parent "$to" && mv "$from" "$to"
}

# Keeps the names of env files, so that their values are masked after the name has changed.
note_env_file() {
    [ "$1" = .env ] || grep -qsxF -e "$1" "$root/.shipit/env-files" ||
        printf '%s\n' "$1" >>"$root/.shipit/env-files"
}

locked_order_revision() {
    local file id revision size sum
    arguments "$@"
    file=$root/releases/$id/REVISION
    printf '%s\n' "$revision" >"$file" && chmod 444 "$file"
    sum=$(sha256sum <"$file") || return 1
    size=$(wc -c <"$file")
    printf 'f 444 %s %s ./REVISION\n' "$((size))" "${sum%% *}" >>"$tmp/extra"
}

# Keeps files of earlier releases, by functions that come along.
locked_order_keep() {
    local from functions id paths release
    arguments "$@"
    eval "$functions"
    eval "set -- $paths"
    release=$root/releases/$id
    keep_files "$@"
}

# `relist` is yes where hooks may have added files; unless it is no, the manifest of the artifact is
# kept, for it does not follow from the release. `env` names its env files. Prints the digest of the
# sealed manifest and the few lines that came to it, so that the other side has it too. 6: hooks
# made what no manifest has a line for.
locked_order_seal() {
    local env id manifest release relist sum
    arguments "$@"
    release=$root/releases/$id manifest=$root/.shipit/manifests/$id
    [ "$relist" = no ] || cat "$manifest" >"$manifest.artifact" || return 1
    if [ "$relist" = yes ]; then
        (cd "$release" && find_files "$env" \
            \( -perm -200 -o -perm -020 -o -perm -002 \) -exec chmod a-w {} +) || return 1
        has_no_odd_entry || return "$?"
        listing "$release" "$env" >"$tmp/found" && check_base_untouched || return 1
        not_sent "$tmp/found" >"$tmp/extra"
        LC_ALL=C sort "$tmp/found" >"$manifest" || return 1
    else
        [ -z "$nested" ] || add_parents || return 1
        if [ -s "$tmp/extra" ]; then
            LC_ALL=C sort -o "$manifest" "$manifest" "$tmp/extra" || return 1
        fi
    fi
    sum=$(sha256sum <"$manifest") && printf 'sealed %s\n' "${sum%% *}"
    [ ! -s "$tmp/extra" ] || sed -n '1,1000s/^/more /p' "$tmp/extra"
}

# Whether the release holds only what a manifest can list.
has_no_odd_entry() {
    (cd "$release" && LC_ALL=C find . \( ! -type f ! -type d ! -type l -o -name "*$nl*" \) \
        -exec ls -dq {} +) >"$tmp/odd" || return "$?"
    [ -s "$tmp/odd" ] || return 0
    echo 'a release holds files, directories and links, with no newline in their names; hooks made:'
    head -n 20 "$tmp/odd"
    return 6
}

# Adds the directories that were made for links and the env file.
add_parents() {
    (cd "$release" && find . -type d ! -name . | sed 's/^/d /') >"$tmp/dirs" &&
        not_sent "$tmp/dirs" >>"$tmp/extra"
}

# Prints the lines of $1 that are not in the manifest, sorted.
not_sent() {
    LC_ALL=C sort "$manifest" "$manifest" "$1" | LC_ALL=C uniq -u
}

# Whether hooks left the base alone: to write to a file that is shared with it changes both.
check_base_untouched() {
    local path twin
    [ -n "$base" ] || return 0
    differences "$manifest" "$tmp/found" listing | sed -n 's/^[a-z]* f [0-7]* [0-9]* [0-9a-f]* //p' |
        sort | uniq -d >"$tmp/changed"
    (cd "$release" && find . -type f -links +1) | sort - "$tmp/changed" | uniq -d >"$tmp/names"
    while IFS= read -r path; do
        twin=$(find "$root/releases/$base" -inum "$(stat -c %i "$release/$path")")
        [ -z "$twin" ] || echo "$path"
    done <"$tmp/names" >"$tmp/hurt"
    [ -s "$tmp/hurt" ] || return 0
    echo "hooks wrote to files that are shared with $base, and so changed it:"
    head -n 20 "$tmp/hurt"
    return 1
}

locked_order_stage() {
    local id line note
    arguments "$@"
    sync_all "$root/releases/$id" && write_down "$line" "$note"
}
