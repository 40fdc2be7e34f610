# Comparing a release with its manifest.

# Compares a release with its manifest, byte for byte. `env` names its env file, if it has one.
order_verify() {
    local env id tree
    arguments "$@"
    tree=$root/releases/$id
    if [ -f "$root/.shipit/manifests/$id" ]; then
        listing "$tree" "$env" >"$tmp/found" 2>"$tmp/why" || sed 's/^/unread /' "$tmp/why"
        differences "$root/.shipit/manifests/$id" "$tmp/found" listing >"$tmp/differences" ||
            echo 'unread the manifest'
        head -c 4194304 "$tmp/differences"
        (cd "$tree" && find . ! -type d ! -type f ! -type l) | sed 's/^/special /'
    else
        echo nomanifest
    fi
    if [ -n "$env" ] && [ -f "$tree/$env" ]; then
        printf 'envmode %s\nenv %s\n' "$(stat -c %a "$tree/$env")" "$(keyed "$tree/$env")"
    fi
}

# The inner digest of HMAC-SHA256 of the file $1: this host's key, whose 64 digits are just one
# block and get the mask 0x36, then the content. Neither is printed, leaves the host, or is an
# argument.
keyed() {
    [ "$(tr -dc 0-9a-f <"$root/.shipit/key" | wc -c)" -eq 64 ] && [ -r "$1" ] || return 1
    {
        tr -d '\n' <"$root/.shipit/key" |
            tr 0123456789abcdef '\006\007\004\005\002\003\000\001\016\017WTURSP'
        cat "$1"
    } | sha256sum | cut -d ' ' -f 1
}

# A cheap look at what became of a release: one walk that reads no bytes, for at most 10 seconds.
# Prints the lines that differ, without digests, and `is w` with the names of files written since.
# `env` names its env file, if it has one.
order_drift() {
    local env manifest
    arguments "$@"
    find_live
    manifest=$root/.shipit/manifests/$live
    [ -n "$live" ] && [ -f "$manifest" ] || return 0
    as_pattern "./${env:-.}"
    walk_live ! \( -path "$pattern" ! -newer "$manifest" \) >"$tmp/found" 2>"$tmp/why" || {
        head -n 1 "$tmp/why"
        return 1
    }
    walked=$live
    [ ! -s "$tmp/newer" ] || sed 's/^/w /' "$tmp/newer" >>"$tmp/found"
    differences "$manifest" "$tmp/found" list_tree >"$tmp/differences" || return 1
    head -n 2000 "$tmp/differences"
}
