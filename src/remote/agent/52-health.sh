# Health checks that this host makes itself.

# Arguments: release, limit, command, then NAME=value words.
order_try() {
    local what
    what=it
    run_command "$@"
}

# One GET. What the headers hold may be secret: it is in no argument. Arguments: curl or wget,
# seconds, URL, where to connect instead or nothing, `public`, `anybody` or certificates, header
# lines or nothing.
order_fetch() {
    local tool seconds url connect trust headers status
    tool=$1 seconds=$2 url=$3 connect=$4 trust=$5 headers=$6
    : >"$tmp/head"
    "fetch_by_$tool" 2>"$tmp/why" </dev/null 9>&- | head -c 65536 >"$tmp/body"
    [ "$tool" = curl ] || cp "$tmp/why" "$tmp/head"
    # Interim answers come before the one that counts; those to redirects, which some wgets
    # follow, come after it.
    status=$(sed -n 's|^.*HTTP/[0-9.]* \([1-9][0-9][0-9]\).*$|\1|p' "$tmp/head" |
        grep -v '^1' | head -n 1)
    if [ -z "$status" ]; then
        tail -n 1 "$tmp/why" | grep . || echo "no answer within ${seconds}s"
        return 1
    fi
    printf '%s\n' "$status"
    [ ! -s "$tmp/body" ] || shown_body
}

fetch_by_curl() {
    set -- -q -sS -g --noproxy '*' --max-time "$seconds" -D "$tmp/head" -o - "$url"
    [ -z "$connect" ] || set -- "$@" --connect-to "$connect"
    case $trust in
        public) ;;
        anybody) set -- "$@" -k ;;
        *)
            printf '%s\n' "$trust" >"$tmp/ca"
            set -- "$@" --cacert "$tmp/ca"
            ;;
    esac
    timeout -k 2 "$((seconds + 1))" curl "$@" -H @- <<EOF
$headers
EOF
}

fetch_by_wget() {
    unset http_proxy
    set -- -q -S -O - "$url"
    [ -z "$headers" ] || set -- "$@" --header "$headers"
    timeout -k 2 "$seconds" wget "$@"
}

# Whether somebody listens. curl waits for what a server says first; many say nothing.
order_reach() {
    local seconds took
    seconds=$1
    [ "$seconds" -le 2 ] || seconds=2
    took=$(timeout -k 2 "$((seconds + 1))" curl -q -sS --noproxy '*' --max-time "$seconds" \
        -o /dev/null -w '%{time_connect}' "telnet://$2" 2>"$tmp/why" </dev/null 9>&-)
    case $took in
        *[1-9]*) return 0 ;;
    esac
    tail -n 1 "$tmp/why"
    return 1
}
