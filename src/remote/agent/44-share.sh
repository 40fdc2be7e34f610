# Files that a new release shares with the live one.

# Prints the files that a new release can share, and those that earlier uploads brought.
order_base() {
    local manifest path sealed sum
    find_live
    manifest=$root/.shipit/manifests/$live sealed=''
    if [ -z "$live" ] || [ ! -f "$manifest" ]; then
        : >"$tmp/apart"
    elif [ "$walked" = "$live" ] || walk_live >"$tmp/found"; then
        sum=$(sha256sum <"$manifest") || return 1
        sealed="sealed ${sum%% *}"
        # Sharing pays little where most files were touched.
        if [ -s "$tmp/apart" ] && [ "$(wc -l <"$tmp/apart")" -gt 5000 ]; then
            sealed='' && : >"$tmp/apart"
        fi
    else
        return 1
    fi
    for path in "$root"/releases/.2*.*; do
        case $path in
            *".$run") ;;
            *) [ ! -f "$path/meta/of" ] || [ ! -d "$path/tree" ] || print_partial_upload "$path" ;;
        esac
    done >"$tmp/parts"
    if [ -s "$tmp/apart" ] || [ -s "$tmp/parts" ]; then
        {
            printf '%s\n' "$sealed"
            sed 's/^/apart /' "$tmp/apart"
            head -c 4194304 "$tmp/parts"
        } >"$tmp/there"
        pack "$tmp/there"
    else
        printf '%s\n' "$sealed"
    fi
}

# Lists the live tree, and in `apart` its files that no release may share. Arguments: tests for
# find.
walk_live() {
    list_tree 10 "$root/releases/$live" "$manifest" "$manifest" "$@"
}

# Prints the files that have arrived in $1, and the digest of the manifest that the upload was for.
print_partial_upload() {
    local of
    IFS= read -r of <"$1/meta/of" || [ -n "$of" ] || return "$?"
    printf 'part %s %s\n' "$of" "${1##*/}"
    (cd "$1/tree" && find . -type f -exec stat -c 'file %a %s %n' {} +)
}

# Prints a piece of the packed manifest of a release, from byte `after`. A piece must get through
# within the deadline on a slow line. The last one is shorter than the others.
order_manifest() {
    local after file
    arguments "$@"
    [ "$after" != 0 ] || pack "$root/.shipit/$file" >"$tmp/packed" || return 1
    tail -c "+$((after + 1))" "$tmp/packed" | head -c 524288
}

# Prints the file $1, compressed if a tool for that is there.
pack() {
    if command -v zstd >/dev/null 2>&1; then
        zstd -q -c "$1"
    elif command -v gzip >/dev/null 2>&1; then
        gzip -c "$1"
    else
        cat "$1"
    fi
}
