# Links, the env file, the revision and the seal of a new release.

# Arguments: the release, then for each link: d PATH MODE GROUP TARGET, or f PATH need|optional -
# TARGET.
order_link() {
    local release
    release=$root/releases/$1
    shift
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

# It arrives for its owner alone; the group is set before others can read the bytes.
order_env() {
    local from to
    env_file=$2
    from=$root/releases/.$1.$run/meta/env
    to=$root/releases/$1/$2
    if [ -n "$4" ]; then
        if ! chgrp "$4" "$from"; then
            echo "$user is in these groups:$groups"
            return 1
        fi
    fi
    [ "$3" = 600 ] || chmod "$3" "$from" || return 1
    make_parent "$to" && mv "$from" "$to"
}

order_revision() {
    local size sum
    printf '%s\n' "$2" >"$root/releases/$1/REVISION" && chmod 444 "$root/releases/$1/REVISION"
    sum=$(sha256sum <"$root/releases/$1/REVISION") || return 1
    size=$(wc -c <"$root/releases/$1/REVISION")
    printf 'f 444 %s %s ./REVISION\n' "$((size))" "${sum%% *}" >>"$tmp/extra"
}

# Arguments: release, yes|no for hooks that may have added files. Prints the digest of the sealed
# manifest and the lines that came to it, few as they are, so that the other side has it too. 6: hooks
# made what no manifest has a line for.
order_seal() {
    local manifest release sum
    release=$root/releases/$1 manifest=$root/.shipit/manifests/$1
    if [ "$2" = yes ]; then
        as_pattern "$release/${env_file:-.}"
        find "$release" -type f ! -path "$pattern" \
            \( -perm -200 -o -perm -020 -o -perm -002 \) -exec chmod a-w {} + || return 1
        has_no_odd_entry || return
        listing "$release" "$env_file" >"$tmp/found" && check_base_untouched || return 1
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

# A manifest has files, directories and links, one a line.
has_no_odd_entry() {
    (cd "$release" && LC_ALL=C find . \( ! -type f ! -type d ! -type l -o -name "*$nl*" \) \
        -exec ls -dq {} +) >"$tmp/odd" || return
    [ -s "$tmp/odd" ] || return 0
    echo 'a release holds files, directories and links, with no newline in their names; hooks made:'
    head -n 20 "$tmp/odd"
    return 6
}

# Links and the env file may have needed directories that the build has not.
add_parents() {
    (cd "$release" && find . -type d ! -name . | sed 's/^/d /') >"$tmp/dirs" &&
        not_sent "$tmp/dirs" >>"$tmp/extra"
}

# The lines of $1 that are not in the manifest, sorted.
not_sent() {
    LC_ALL=C sort "$manifest" "$manifest" "$1" | LC_ALL=C uniq -u
}

# A hook that makes files writable and writes to them writes to the base, where they are shared.
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

# Arguments: release, ledger line, note.
order_stage() {
    sync_all "$root/releases/$1" && write_down "$2" "$3"
}
