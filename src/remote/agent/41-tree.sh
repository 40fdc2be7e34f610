# A directory tree as lines of a manifest, and how two of them differ.

# Sets `pattern` to the pattern of find(1) that matches the name $1 only.
# shellcheck disable=SC2034
as_pattern() {
    pattern=$1
    case $1 in
        *[][*?\\]*) pattern=$(printf '%s\n' "$1" | sed 's/[][*?\\]/\\&/g') ;;
    esac
}

# Finds files here, but for those that the words $1 name. Further arguments are for find(1).
find_files() {
    local but name
    but=$1
    shift
    eval "for name in $but; do as_pattern \"./\$name\" && set -- ! -path \"\$pattern\" \"\$@\"; done"
    find . -type f "$@"
}

# Prints the manifest of the tree $1, without the files that the words $2 name, in no order. Reads
# every file.
listing() (
    cd "$1" || exit 1
    LC_ALL=C
    export LC_ALL
    find_files "$2" -exec stat -c '%a %s %n' {} + >"$tmp/stat" || exit 1
    find_files "$2" -exec sha256sum {} + >"$tmp/sums" || exit 1
    # GNU's sha256sum writes a name with a backslash escaped, and a backslash before the line.
    awk '
        of == "sums" && sub(/^[\\]/, "") { gsub(/[\\][\\]/, "\\") }
        of == "sums" { sum[substr($0, length($1) + 3)] = $1; next }
        { path = substr($0, length($1 $2) + 3) }
        !(path in sum) { exit 1 }
        { print "f " $1 " " $2 " " sum[path] " " path }
    ' of=sums "$tmp/sums" of=stat "$tmp/stat" || exit 1
    find . -type d ! -name . | sed 's/^/d /' || exit 1
    links
)

# Prints the links below here as lines of a manifest. BusyBox' readlink takes only one argument.
links() {
    local path
    find . -type l >"$tmp/names"
    find . -type l -exec readlink {} + >"$tmp/targets" 2>/dev/null
    if [ "$(wc -l <"$tmp/names")" = "$(wc -l <"$tmp/targets")" ]; then
        paste "$tmp/names" "$tmp/targets" | sed -e 's/^/l /' -e "s/$tab/ -> /"
    else
        while IFS= read -r path; do
            printf 'l %s -> %s\n' "$path" "$(readlink "$path")"
        done <"$tmp/names"
    fi
}

# Prints everything below $2 as lines of a manifest without digests, in no order; reads no file.
# Other kinds than files, directories and links are lines `s`. Files newer than $3 are named in
# `newer`. Files that no release may share are named in `apart`: newer than $4, of another user, or
# with almost as many links as a file system allows. Empty files are never shared. Each walk may
# take $1 seconds. Further arguments are tests for find.
list_tree() (
    local code made patience
    patience=$1 since=$3 made=$4
    cd "$2" || exit 1
    shift 4
    LC_ALL=C
    export LC_ALL
    : >"$tmp/newer"
    : >"$tmp/apart"
    # GNU's find needs one walk. A find without -printf prints nothing here and ends with 1.
    walk "$patience" "$@" \( -type f -newer "$since" -fprintf "$tmp/newer" '%p\n' -o -true \) \( \
        -type f -size +0c \( -newer "$made" -o ! -user "$uid" -o -links +60000 \) \
        -fprintf "$tmp/apart" '%p\n' -o -true \) \( \
        -type f -printf 'f %m %s %p\n' -o -type d -printf 'd %p\n' -o \
        -type l -printf 'l %p -> %l\n' -o -printf 's %p\n' \) 2>/dev/null
    code=$?
    [ "$code" = 1 ] || exit "$code"
    walk "$patience" "$@" -type f -exec stat -c 'f %a %s %n' {} + || exit 1
    walk "$patience" "$@" -type f -newer "$since" >"$tmp/newer"
    walk "$patience" "$@" -type f -size +0c \
        \( -newer "$made" -o ! -user "$uid" -o -links +60000 \) >"$tmp/apart"
    walk "$patience" "$@" -type d | sed 's/^/d /'
    walk "$patience" "$@" ! -type f ! -type d ! -type l | sed 's/^/s /'
    links
)

walk() {
    local most
    most=$1
    shift
    timeout "$most" find . ! -name . "$@" </dev/null 9>&-
}

# Prints how the tree whose lines are in $2 differs from the manifest $1: `was LINE` and `is LINE`,
# in no order. With $3 `list_tree` the lines in $2 have no digests, and those in $1 are not
# compared.
differences() {
    LC_ALL=C awk '
        of == "list_tree" && $1 == "f" { $0 = $1 " " $2 " " $3 substr($0, length($1 $2 $3 $4) + 4) }
        of { was[$0]; next }
        $0 in was { delete was[$0]; next }
        { print "is " $0 }
        END { for (line in was) print "was " line }
    ' of="$3" "$1" of= "$2"
}
