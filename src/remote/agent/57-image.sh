# This part of the script goes only to hosts with a service that runs a container image.
#
# The release is the image archive, unpacked: layers that the base has too are shared like all
# files. The engine gets it as IMAGE:ID, and the unit runs IMAGE:current, or IMAGE:SLOT in a slot.
# `.shipit/images/ID` lists the tags of the release ID, so that they go with it.

needs_engine() {
    [ -z "$image" ] || command -v "${engine##* }" >/dev/null 2>&1 ||
        printf 'missing %s is not installed\n' "${engine##* }"
}

# Says why the engine would not do what is asked of it.
probe_engine() {
    [ -n "$image" ] && command -v "${engine##* }" >/dev/null 2>&1 || return 0
    limit=20
    engine image ls -q >"$tmp/engine" 2>&1 </dev/null ||
        printf 'missing %s does not answer %s: %s\n' "$engine" "$user" "$(tail -n 1 "$tmp/engine")"
}

locked_order_image() {
    local id
    arguments "$@"
    each_service load_in_time "$id"
}

# A first load has more time than one that holds up a restart.
load_in_time() {
    limit=800
    load_image "$1"
}

# Loads the image of the service from the release $1, unless the engine has it.
load_image() {
    local found ids name ref
    [ -n "$image" ] || return 0
    name=$image:$1
    ! has_image "$name" || return 0
    if ! holds_image "$1"; then
        echo "releases/$1 holds no image: it has no manifest.json or index.json"
        return 1
    fi
    note_image "$1" || return 1
    if ! image_archive "$1" | engine load >"$tmp/loaded" 2>&1; then
        tail -n 5 "$tmp/loaded"
        return 1
    fi
    ids=''
    for ref in $(sed -n 's/^Loaded image[^:]*: *//p' "$tmp/loaded" | tr ',' ' '); do
        found=$(image_id "$ref" 2>&1) || { echo "$found"; return 1; }
        case " $ids " in
            *" $found "*) ;;
            *) ids="$ids $found" ;;
        esac
    done
    case $ids in
        ' '*' '*) echo "releases/$1 holds several images; save one of them alone" ;;
        ' '*) engine tag "${ids# }" "$name" 2>&1 </dev/null && return 0 ;;
        *) echo "$engine did not say what it loaded:" && tail -n 5 "$tmp/loaded" ;;
    esac
    return 1
}

# Whether the release $1 is an image archive, of docker or of OCI.
holds_image() {
    [ -f "$root/releases/$1/manifest.json" ] || [ -f "$root/releases/$1/index.json" ]
}

# Writes the archive to standard output: env files and links of the release do not belong to it.
image_archive() (
    cd "$root/releases/$1" || exit 1
    set --
    for part in *; do
        ! is_image_part "$part" || set -- "$@" "$part"
    done
    exec tar -cf - "$@" 9>&-
)

# Whether $1 is a name of such an archive. Configs and layers are named by their digests.
is_image_part() {
    local digest
    case $1 in
        blobs | index.json | manifest.json | oci-layout | repositories) return 0 ;;
        *.json | *.tar) digest=${1%.*} ;;
        *) digest=$1 ;;
    esac
    [ "${#digest}" = 64 ] || return 1
    case $digest in
        *[!0-9a-f]*) return 1 ;;
    esac
}

engine() {
    user_bus
    # shellcheck disable=SC2086
    timeout -k 10 "$limit" $engine "$@" 9>&-
}

has_image() {
    image_id "$1" >/dev/null 2>&1
}

image_id() {
    engine image inspect --format '{{.Id}}' "$1" </dev/null
}

# Writes down that a tag is ours before it is made.
note_image() {
    local notes
    notes=$root/.shipit/images/$1
    mkdir -p "${notes%/*}" || return 1
    grep -qsxF "$image $engine" "$notes" || append "$notes" "$image $engine"
}

# Has the tag that the unit runs name the image of the release that it runs from. A release without
# an image leaves no tag that names one of another.
point_image() {
    local id name
    if [ -n "$slotted" ]; then
        name=$image:$slot id=$(readlink "$root/slots/$slot")
    else
        name=$image:current id=$(readlink "$root/current")
    fi
    id=${id##*/}
    if holds_image "$id"; then
        load_image "$id" && engine tag "$image:$id" "$name" 2>&1 </dev/null
    else
        ! has_image "$name" || engine rmi "$name" 2>&1 </dev/null
    fi
}

# Prints `worker` if a container of the image of the release $1 runs in the unit and began after the
# flip.
look_at_containers() {
    local pid
    [ -n "$image" ] || return 0
    for pid in $(container_processes "$1" 2>/dev/null); do
        unit_processes | grep -qx "$pid" && is_new "$pid" && echo worker && return 0
    done
    return 0
}

# Prints the main process of each container that runs this image, whatever tag it was started by.
container_processes() {
    local containers id
    limit=10
    id=$(image_id "$image:$1") && containers=$(engine ps -q --filter "ancestor=$id" </dev/null) || return 0
    # shellcheck disable=SC2086
    [ -z "$containers" ] || engine inspect --format '{{.State.Pid}}' $containers </dev/null
}

# Removes the tags of releases that are gone. A container may still run one: it goes another time.
drop_images() {
    local notes said
    limit=60
    for notes in "$root"/.shipit/images/*; do
        if [ ! -f "$notes" ] || [ -d "$root/releases/${notes##*/}" ]; then continue; fi
        said=$(while read -r image engine; do
            ! has_image "$image:${notes##*/}" ||
                { engine rmi "$image:${notes##*/}" >/dev/null </dev/null; } 2>&1 || exit 1
        done <"$notes") && rm -f "$notes" && continue
        printf 'the image of %s stays: %s\n' "${notes##*/}" "${said%%"$nl"*}"
    done
}
