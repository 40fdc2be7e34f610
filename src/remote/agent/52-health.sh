# Health checks that this host makes itself.

locked_order_try() {
    local command id vars what within
    arguments "$@"
    what=it
    run_command
}

# One GET. `request` is curl's configuration with address and headers, which may hold secrets and so
# is in no argument of a program, as is `wanted`, a text that the body should hold, or nothing.
# `connect` is where to connect instead, or nothing; `trust` is `public`, `anybody` or certificates.
# Prints the status, ` found` where the body holds the text, ` https://NAME` where it redirects
# there, and the body without secrets.
locked_order_fetch() {
    local connect found request secured status trust wanted within
    arguments "$@"
    : >"$tmp/head"
    fetch_by_curl 2>"$tmp/why" </dev/null 9>&- | head -c 65536 >"$tmp/body"
    # Interim answers come before the one that counts.
    status=$(sed -n 's|^.*HTTP/[0-9.]* \([1-9][0-9][0-9]\).*$|\1|p' "$tmp/head" |
        grep -v '^1' | head -n 1)
    if [ -z "$status" ]; then
        tail -n 1 "$tmp/why" | grep . || echo "no answer within ${within}s"
        return 1
    fi
    found=''
    ! holds_wanted || found=' found'
    secured=''
    case $status in
        30[12378]) secured=$(redirect_name) ;;
    esac
    printf '%s%s\n' "$status" "$found${secured:+ $secured}"
    [ ! -s "$tmp/body" ] || shown_body
}

# Prints `https://NAME` of a redirect: what follows may be secret.
redirect_name() {
    tr -d '\r' <"$tmp/head" |
        sed -n 's|^[Ll]ocation: *\(https://[][A-Za-z0-9.:_-]*\)\([/?#].*\)*$|\1|p' | head -n 1
}

fetch_by_curl() {
    set -- -q -sS -g --noproxy '*' --max-time "$within" -D "$tmp/head" -o -
    [ -z "$connect" ] || set -- "$@" --connect-to "$connect"
    case $trust in
        public) ;;
        anybody) set -- "$@" -k ;;
        *)
            printf '%s\n' "$trust" >"$tmp/ca"
            set -- "$@" --cacert "$tmp/ca"
            ;;
    esac
    timeout -k 2 "$((within + 1))" curl "$@" -K - <<EOF
$request
EOF
}

# Looks in the body as it came: masked, it holds no secret any more.
holds_wanted() {
    [ -n "$wanted" ] || return 0
    cat >"$tmp/wanted" <<EOF
$wanted
EOF
    LC_ALL=C awk '
        NR == FNR { wanted = wanted gap $0; gap = "\n"; next }
        { body = body $0 "\n" }
        END { exit !index(body, wanted) }
    ' "$tmp/wanted" "$tmp/body"
}

# Whether somebody listens. curl waits for what a server says first; many say nothing.
locked_order_reach() {
    local address took within
    arguments "$@"
    [ "$within" -le 2 ] || within=2
    took=$(timeout -k 2 "$((within + 1))" curl -q -sS --noproxy '*' --max-time "$within" \
        -o /dev/null -w '%{time_connect}' "telnet://$address" 2>"$tmp/why" </dev/null 9>&-)
    case $took in
        *[1-9]*) return 0 ;;
    esac
    tail -n 1 "$tmp/why"
    return 1
}
