# Files of earlier releases that stay in a new one. These functions come with the order that needs
# them.

# Links files of the releases `from` below these paths into the release `id`, unless something is at
# their place. The newest goes first. Prints how many it linked. `.shipit/kept` lists them, so that
# they do not stay on and on.
keep_files() {
    local old path
    mkdir -p "$root/.shipit/kept" && rm -f "$root/.shipit/kept/$id" || return 1
    for path in "$root"/.shipit/kept/*; do
        [ -d "$root/releases/${path##*/}" ] || rm -f "$path"
    done
    printf '%s\n' "$@" >"$tmp/paths" && : >"$tmp/kept" || return 1
    for old in $from; do
        own_files "$old" "$@" >"$tmp/own" && keep_files_of "$old" || return 1
    done
    [ ! -s "$tmp/kept" ] || cp "$tmp/kept" "$root/.shipit/kept/$id" || return 1
    echo "$(($(wc -l <"$tmp/kept")))"
}

# Prints the lines of the files below these paths that the release $1 brought itself, if nobody
# wrote to them. Further arguments: these paths.
own_files() {
    local manifest path release skip
    release=$root/releases/$1
    manifest=$root/.shipit/manifests/$1 skip=$root/.shipit/kept/$1
    [ -f "$manifest" ] || return 0
    [ -f "$skip" ] || skip=/dev/null
    shift
    for path in "$@"; do
        (cd "$release" && find "./$path" -type f -user "$uid" ! -newer "$manifest" \
            ! -links +60000) 2>/dev/null
    done >"$tmp/fit"
    LC_ALL=C awk '
        of == "paths" { below[$0 "/"]; next }
        of == "skip" { skip["./" $0]; next }
        of == "fit" { fit[$0]; next }
        $1 != "f" { next }
        { path = substr($0, length($1 $2 $3 $4) + 5) }
        path in skip || !(path in fit) { next }
        { for (top in below) if (index(path, "./" top) == 1) { print; next } }
    ' of=paths "$tmp/paths" of=skip "$skip" of=fit "$tmp/fit" of= "$manifest"
}

# Links the files whose lines are in `own` from the release $1, directory by directory.
keep_files_of() {
    local batch_of dir fits path
    fits='' batch_of=''
    : >"$tmp/batch" && : >"$tmp/taken" || return 1
    LC_ALL=C awk '{
        path = dir = substr($0, length($1 $2 $3 $4) + 7)
        sub("/[^/]*$", "", dir)
        print dir "\t" path
    }' "$tmp/own" | LC_ALL=C sort >"$tmp/places" || return 1
    while IFS=$tab read -r dir path; do
        if [ "$dir" != "$batch_of" ]; then
            link_batch "$1" "$batch_of" || return 1
            batch_of=$dir fits=yes
            can_hold "$dir" || fits=''
        fi
        [ -z "$fits" ] || [ -e "$release/$path" ] || [ -L "$release/$path" ] ||
            printf '%s\n' "$path" >>"$tmp/batch"
    done <"$tmp/places"
    link_batch "$1" "$batch_of" || return 1
    cat "$tmp/taken" >>"$tmp/kept"
    LC_ALL=C awk '
        of { taken["./" $0]; next }
        substr($0, length($1 $2 $3 $4) + 5) in taken
    ' of=taken "$tmp/taken" of= "$tmp/own" >>"$tmp/extra"
}

# Whether $1 is a directory of the release, or can be made. A link would lead elsewhere.
can_hold() {
    local place rest
    place=$release rest=$1/
    while [ -n "$rest" ]; do
        place=$place/${rest%%/*} rest=${rest#*/}
        [ ! -L "$place" ] || return 1
        [ -d "$place" ] || [ ! -e "$place" ] || return 1
    done
}

# Links the files that `batch` names, all of the directory $2, from the release $1.
link_batch() {
    [ -s "$tmp/batch" ] || return 0
    make_parent "$release/$2/." || return 1
    # shellcheck disable=SC2016
    (cd "$root/releases/$1" && sed 's|^|./|' "$tmp/batch" | tr '\n' '\0' |
        xargs -0 sh -c 'ln "$@" "$0"' "$release/$2") || return 1
    cat "$tmp/batch" >>"$tmp/taken" && : >"$tmp/batch"
}
