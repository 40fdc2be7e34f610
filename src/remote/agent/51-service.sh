# Restarting the service, and what it logs.

# Notes where the log of the new release begins.
mark_time() {
    look_at_clock
    since=$seconds logged=0
    [ -z "$log" ] || [ ! -f "$(log_path)" ] || logged=$(($(wc -c <"$(log_path)")))
}

log_path() {
    case $log in
        /*) echo "$log" ;;
        *) echo "$root/current/$log" ;;
    esac
}

# Prints the last $1 lines since the restart, of the unit's journal or of the log that was named.
recent() {
    case $scope in
        system) recent_journal "$1" -u "$target" ;;
        user) recent_journal "$1" --user -u "$target" ;;
        *) [ -z "$log" ] || recent_log "$1" "$(log_path)" ;;
    esac
}

recent_journal() {
    local after lines
    lines=$1 after=${since:+ since the restart}
    shift
    timeout 10 journalctl -q "$@" ${since:+--since "@$since"} -n "$lines" --no-pager -o cat \
        >"$tmp/journal" 2>&1 9>&-
    if [ -s "$tmp/journal" ]; then
        printf 'the journal of %s%s:\n' "$target" "$after"
        veiled <"$tmp/journal"
        return
    fi
    case "$scope $uid$groups " in
        user* | 'system 0 '* | *' adm '* | *' systemd-journal '* | *' wheel '*)
            printf 'the journal of %s has no line%s\n' "$target" "$after"
            ;;
        *)
            printf '%s may not read the journal of %s; who is in the group systemd-journal may\n' \
                "$user" "$target"
            ;;
    esac
}

recent_log() {
    if [ ! -f "$2" ] || [ ! -r "$2" ]; then
        printf '%s is no file that can be read\n' "$2"
        return
    fi
    # The writer of the log must not choose which of our files is shown.
    case $(readlink "$2") in
        */*) printf '%s is a link to elsewhere, and not shown\n' "$2" && return ;;
    esac
    # A log that is shorter now was begun anew.
    [ "$(wc -c <"$2")" -ge "$logged" ] || logged=0
    printf '%s%s:\n' "$2" "${since:+ since the restart}"
    # The first line may have begun before the restart.
    if [ "$logged" = 0 ]; then tail -n "$1" "$2"; else
        tail -c "+$logged" "$2" | tail -n +2 | tail -n "$1"
    fi | veiled
}

# Whether the service is a unit of systemd.
is_unit() {
    [ "$scope" = system ] || [ "$scope" = user ]
}

# Restarts or stops what runs the release; prints what that printed.
service() {
    local code
    : >"$tmp/service"
    case $scope-$1 in
        none-*) return 0 ;;
        command-restart) watched "$tmp/service" run_service_command "$target" ;;
        command-stop) [ -z "$action" ] || watched "$tmp/service" run_service_command "$action" ;;
        *-restart) privileged "$action" >"$tmp/service" 2>&1 ;;
        *-stop) privileged stop >"$tmp/service" 2>&1 ;;
    esac
    code=$?
    tell_printed "$tmp/service" 0
    case $code in
        0) return 0 ;;
        124 | 137) printf '\nthe %s ran longer than %ss\n' "$1" "$limit" ;;
        *) printf '\nthe %s exited with code %s\n' "$1" "$code" ;;
    esac
    return 1
}

run_service_command() (
    # shellcheck disable=SC2119
    enter_live && exec timeout -k 10 "$limit" /bin/sh -c "$1" </dev/null 9>&-
)

privileged() {
    user_bus
    case $scope in
        user) timeout -k 10 "$limit" systemctl --user "$1" "$target" </dev/null 9>&- ;;
        *)
            if [ "$uid" = 0 ]; then
                timeout -k 10 "$limit" systemctl "$1" "$target" </dev/null 9>&-
            else
                timeout -k 10 "$limit" sudo -n systemctl "$1" "$target" </dev/null 9>&-
            fi
            ;;
    esac
}

order_journal() {
    local lines
    arguments "$@"
    case $scope-$log in
        command-) tell_printed "$tmp/service" 0 | tail -n "$lines" ;;
        *) recent "$lines" ;;
    esac
    return 0
}
