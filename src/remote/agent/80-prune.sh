# Deleting releases and what interrupted runs left.

# Arguments: name, ledger line, note. The live release stays whatever is asked.
order_prune() {
    case $1 in
        '' | .* | */*) echo "$1 is not a release" && return 1 ;;
    esac
    live=''
    [ ! -L "$root/current" ] || live=$(readlink "$root/current") || return 1
    if [ "${live##*/}" = "$1" ]; then
        echo "$1 is live"
        return 1
    fi
    # A directory moves to another one only if it can be written itself.
    mv "$root/releases/$1" "$root/.shipit/trash/$1.$run" 2>/dev/null || {
        chmod u+rwx "$root/releases/$1"
        mv "$root/releases/$1" "$root/.shipit/trash/$1.$run"
    } || return 1
    rm -f "$root/.shipit/manifests/$1"
    write_down "$2" "$3"
}

# Argument: what is to stay in releases/, or nothing. Prints what could not be deleted and is set
# aside.
order_sweep() {
    local kept path
    kept=$root/releases/${1-}
    set --
    for path in "$root"/.shipit/trash/* "$root"/.shipit/trash/.aside.* "$root"/releases/.2*.* \
        "$root"/.shipit/run/* "$root"/.shipit/manifests/* "$root"/.current.*; do
        case $path in
            *"/releases/"*".$run" | *"/run/$run" | "$kept") continue ;;
            */manifests/*) [ ! -d "$root/releases/${path##*/}" ] || continue ;;
        esac
        if [ -e "$path" ] || [ -L "$path" ]; then
            set -- "$@" "$path"
        fi
    done
    [ "$#" = 0 ] || rm -rf "$@" 2>/dev/null || delete_closed "$@"
}

# Deletes what `rm` alone could not: what is in our own directories without a write bit. Trash that
# still stays is set aside, so that it is said once, and fails no later run.
delete_closed() {
    local path failed
    failed=''
    find "$@" -type d -user "$uid" ! -perm -700 -exec chmod u+rwx {} \; 2>/dev/null
    rm -rf "$@" 2>"$tmp/why" && return
    for path in "$@"; do
        if [ -e "$path" ] || [ -L "$path" ]; then
            set_aside "$path" || failed=yes
        fi
    done
    [ -n "$failed" ] || return 0
    tail -n 1 "$tmp/why"
    return 1
}

# Where others' files are in it, a hook or the service made them. The next sweeps try it again.
set_aside() {
    local aside owners
    case $1 in
        "$root/.shipit/trash/.aside."*) return 0 ;;
        "$root/.shipit/trash/"*) aside=$root/.shipit/trash/.aside.${1##*/} ;;
        *) return 1 ;;
    esac
    mv "$1" "$aside" 2>/dev/null || return
    owners=$(find "$aside" ! -user "$uid" -exec stat -c %U {} + 2>/dev/null | sort -u | tr '\n' ' ')
    # shellcheck disable=SC2016
    printf '%s could not be deleted%s: `sudo rm -rf %s` on the host does it\n' "$aside" \
        "${owners:+, it holds files of ${owners% }}" "$aside"
}
