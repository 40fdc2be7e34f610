# Deleting releases and what interrupted runs left.

# Moves a release into the trash and records it. Refuses the live release.
locked_order_prune() {
    local place line name note
    arguments "$@"
    case $name in
        '' | .* | */*) echo "$name is not a release" && return 1 ;;
    esac
    live=''
    [ ! -L "$root/current" ] || live=$(readlink "$root/current") || return 1
    [ "${live##*/}" != "$name" ] || { echo "$name is live"; return 1; }
    for place in $slots; do
        [ "$(readlink "$root/slots/$place")" != "../releases/$name" ] ||
            { echo "slot $place leads to $name"; return 1; }
    done
    # Only a directory that its owner may write to can move to another parent.
    mv "$root/releases/$name" "$root/.shipit/trash/$name.$run" 2>/dev/null || {
        chmod u+rwx "$root/releases/$name"
        mv "$root/releases/$name" "$root/.shipit/trash/$name.$run"
    } || return 1
    rm -f "$root/.shipit/manifests/$name"
    write_down "$line" "$note"
}

# Deletes leftovers, but not `keep` in releases/. Prints what could not be deleted and is set aside.
locked_order_sweep() {
    local keep kept path
    arguments "$@"
    kept=$root/releases/$keep
    set --
    for path in "$root"/.shipit/trash/* "$root"/.shipit/trash/.aside.* "$root"/releases/.2*.* \
        "$root"/.shipit/run/* "$root"/.shipit/manifests/* "$root"/.shipit/env/* "$root"/.current.* "$root"/slots/.[!.]*; do
        case $path in
            *"/releases/"*".$run" | *"/run/$run" | "$kept") continue ;;
            */manifests/*.artifact) [ ! -e "${path%.artifact}" ] || continue ;;
            */manifests/* | */env/*) [ ! -d "$root/releases/${path##*/}" ] || continue ;;
        esac
        if [ -e "$path" ] || [ -L "$path" ]; then
            set -- "$@" "$path"
        fi
    done
    [ "$#" = 0 ] || rm -rf "$@" 2>/dev/null || delete_closed "$@" || return 1
    [ -z "$images" ] || drop_images
}

# Deletes what `rm` alone could not, because our directories lack the write bit. Trash that stays is
# set aside, so that it is reported once and fails no later run.
delete_closed() {
    local path stays
    stays=''
    find "$@" -type d -user "$uid" ! -perm -700 -exec chmod u+rwx {} \; 2>/dev/null
    rm -rf "$@" 2>"$tmp/why" && return 0
    for path in "$@"; do
        if [ -e "$path" ] || [ -L "$path" ]; then
            set_aside "$path" || stays=yes
        fi
    done
    [ -n "$stays" ] || return 0
    tail -n 1 "$tmp/why"
    return 1
}

# Files of other users in a release come from a hook or the service. Later runs try again.
set_aside() {
    local aside owners
    case $1 in
        "$root/.shipit/trash/.aside."*) return 0 ;;
        "$root/.shipit/trash/"*) aside=$root/.shipit/trash/.aside.${1##*/} ;;
        *) return 1 ;;
    esac
    mv "$1" "$aside" 2>/dev/null || return "$?"
    owners=$(find "$aside" ! -user "$uid" -exec stat -c %U {} + 2>/dev/null | sort -u | tr '\n' ' ')
    # shellcheck disable=SC2016
    printf '%s could not be deleted%s: `sudo rm -rf %s` on the host does it\n' "$aside" \
        "${owners:+, it holds files of ${owners% }}" "$aside"
}
