# Comparing a release with its manifest.

# Compares a release with its manifest, byte for byte. `env` names its env files.
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
    eval "set -- $env"
    [ "$#" = 0 ] || (cd "$tree" && about_env "$@")
}

# Prints the modes of env files, and the digest of all.
about_env() {
    local file
    for file in "$@"; do
        [ ! -f "$file" ] || printf 'envmode %s %s\n' "$(stat -c %a "$file")" "$file"
    done
    printf 'env %s\n' "$(keyed "$@")"
}

# The inner digest of HMAC-SHA256 of these files, one after the other: this host's key, whose 64
# digits are just one block and get the mask 0x36, then the content. Neither is printed, leaves the
# host, or is an argument.
keyed() {
    [ "$(tr -dc 0-9a-f <"$root/.shipit/key" | wc -c)" -eq 64 ] || return 1
    cat "$@" >/dev/null 2>&1 || return 1
    {
        tr -d '\n' <"$root/.shipit/key" |
            tr 0123456789abcdef '\006\007\004\005\002\003\000\001\016\017WTURSP'
        cat "$@"
    } | sha256sum | cut -d ' ' -f 1
}

# A cheap look at what became of a release: one walk that reads no bytes, for at most 10 seconds.
# Prints the lines that differ, without digests, and `is w` with the names of files written since.
# `env` names its env files.
order_drift() {
    local env manifest name
    arguments "$@"
    find_live
    manifest=$root/.shipit/manifests/$live
    [ -n "$live" ] && [ -f "$manifest" ] || return 0
    set --
    eval "for name in $env; do as_pattern \"./\$name\" &&
        set -- \"\$@\" ! '(' -path \"\$pattern\" ! -newer \"\$manifest\" ')'; done"
    walk_live "$@" >"$tmp/found" 2>"$tmp/why" || {
        head -n 1 "$tmp/why"
        return 1
    }
    walked=$live
    [ ! -s "$tmp/newer" ] || sed 's/^/w /' "$tmp/newer" >>"$tmp/found"
    differences "$manifest" "$tmp/found" list_tree >"$tmp/differences" || return 1
    head -n 2000 "$tmp/differences"
}
