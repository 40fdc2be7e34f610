# Health checks that this host makes itself.

locked_order_try() {
    local command id vars what within
    arguments "$@"
    what=it
    run_command
}

# One GET. What the headers hold may be secret: it is in no argument of a program. `connect` is
# where to connect instead, or nothing; `trust` is `public`, `anybody` or certificates.
locked_order_fetch() {
    local connect headers status trust url within
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
    printf '%s\n' "$status"
    [ ! -s "$tmp/body" ] || shown_body
}

fetch_by_curl() {
    set -- -q -sS -g --noproxy '*' --max-time "$within" -D "$tmp/head" -o - "$url"
    [ -z "$connect" ] || set -- "$@" --connect-to "$connect"
    case $trust in
        public) ;;
        anybody) set -- "$@" -k ;;
        *)
            printf '%s\n' "$trust" >"$tmp/ca"
            set -- "$@" --cacert "$tmp/ca"
            ;;
    esac
    timeout -k 2 "$((within + 1))" curl "$@" -H @- <<EOF
$headers
EOF
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
