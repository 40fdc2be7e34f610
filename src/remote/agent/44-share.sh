# What a new release can share with the live one.

# What a new release can share with what is here.
order_base() {
    local manifest path sealed sum
    find_live
    manifest=$root/.shipit/manifests/$live sealed=''
    if [ -z "$live" ] || [ ! -f "$manifest" ]; then
        : >"$tmp/apart"
    elif [ "$walked" = "$live" ] || walk_live >"$tmp/found"; then
        sum=$(sha256sum <"$manifest") || return 1
        sealed="sealed ${sum%% *}"
        # Where most was touched, little is to be gained.
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

# The list_tree of what is live, and what others must not share of it: touched since it was made,
# somebody else's, or near what a file system allows of links. The rest are tests for find.
walk_live() {
    list_tree 10 "$root/releases/$live" "$manifest" "$manifest" "$@"
}

# What has arrived in $1, and the digest of the manifest of what it is a part of.
print_partial_upload() {
    local of
    IFS= read -r of <"$1/meta/of" || [ -n "$of" ] || return
    printf 'part %s %s\n' "$of" "${1##*/}"
    (cd "$1/tree" && find . -type f -exec stat -c 'file %a %s %n' {} +)
}

# A piece of the packed manifest of release $1, from byte $2 on: what is sent at once must get
# through within the deadline, on a slow line too. The last piece is shorter than the others.
order_manifest() {
    [ "$2" != 1 ] || pack "$root/.shipit/manifests/$1" >"$tmp/packed" || return 1
    tail -c "+$2" "$tmp/packed" | head -c 524288
}

# The file $1, packed where that can be.
pack() {
    if command -v zstd >/dev/null 2>&1; then
        zstd -q -c "$1"
    elif command -v gzip >/dev/null 2>&1; then
        gzip -c "$1"
    else
        cat "$1"
    fi
}
