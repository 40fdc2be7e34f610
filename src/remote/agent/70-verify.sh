# Comparing a release with its manifest.

# Compares a release with its manifest, byte for byte. Arguments: release, its env file or nothing.
order_verify() {
    local tree
    tree=$root/releases/$1
    if [ -f "$root/.shipit/manifests/$1" ]; then
        listing "$tree" "$2" >"$tmp/found" 2>"$tmp/why" || sed 's/^/unread /' "$tmp/why"
        differences "$root/.shipit/manifests/$1" "$tmp/found" listing >"$tmp/differences" ||
            echo 'unread the manifest'
        head -c 4194304 "$tmp/differences"
        (cd "$tree" && find . ! -type d ! -type f ! -type l) | sed 's/^/special /'
    else
        echo nomanifest
    fi
    if [ -n "$2" ] && [ -f "$tree/$2" ]; then
        printf 'envmode %s\nenv %s\n' "$(stat -c %a "$tree/$2")" "$(keyed "$tree/$2")"
    fi
}

# HMAC-SHA256 of the file $1 under this host's key, whose 64 digits are just one block. Neither the
# key nor the content is printed, leaves the host, or is anybody's argument.
keyed() {
    local inner
    [ "$(tr -dc 0-9a-f <"$root/.shipit/key" | wc -c)" -eq 64 ] && [ -r "$1" ] || return 1
    inner=$({
        key_with '\006\007\004\005\002\003\000\001\016\017WTURSP'
        cat "$1"
    } | sha256sum)
    {
        key_with 'lmnohijkde=>?89:'
        as_bytes "${inner%% *}"
    } | sha256sum | cut -d ' ' -f 1
}

# The key, its digits 0 to f replaced by those of $1: the digits under the mask of HMAC.
key_with() {
    tr -d '\n' <"$root/.shipit/key" | tr 0123456789abcdef "$1"
}

as_bytes() {
    local hex rest
    hex=$1
    while [ -n "$hex" ]; do
        rest=${hex#??}
        # shellcheck disable=SC2059
        printf "\\$(printf %03o "0x${hex%"$rest"}")"
        hex=$rest
    done
}

# A cheap look at what became of a release: one walk that reads no bytes, for at most 10 seconds.
# Prints names: of what is missing or extra, has another size or mode, or was written since.
# Arguments: release, its env file or nothing.
order_drift() {
    local manifest
    find_live
    manifest=$root/.shipit/manifests/$live
    [ -n "$live" ] && [ -f "$manifest" ] || return 0
    as_pattern "./${1:-.}"
    walk_live ! \( -path "$pattern" ! -newer "$manifest" \) >"$tmp/found" 2>"$tmp/why" || {
        head -n 1 "$tmp/why"
        return 1
    }
    walked=$live
    [ ! -s "$tmp/newer" ] || sed 's/^/w /' "$tmp/newer" >>"$tmp/found"
    differences "$manifest" "$tmp/found" list_tree >"$tmp/differences" || return 1
    [ -s "$tmp/differences" ] || return 0
    sed -e 's/^[a-z]* f [0-7]* [0-9]* //' -e '/^[a-z]* l /s/ -> .*//' -e 's/^[a-z]* [dlsw] //' \
        "$tmp/differences" | sort -u | head -n 1000
}
