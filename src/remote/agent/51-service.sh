# The services of this host: restarting them, and what they log.

# Selects the first service, if there is one. The members of targets come after all services.
# shellcheck disable=SC2120
count_services() {
    number=0 service='' scope=none target='' action='' limit=0 log='' unit_file='' image='' engine='' whose='' unit_before='' logged=0
    eval "set -- $services"
    service_count=$#
    case $services in
        *.target*)
            each_service add_members
            eval "set -- $services"
            service_count=$#
            ;;
    esac
    [ "$service_count" = 0 ] || select_service 1
}

# Adds the units that the target wants or requires to the services: each is judged.
add_members() {
    local unit
    is_unit && [ "${target%.target}" != "$target" ] || return 0
    user_bus
    for unit in $(unit_show -p Wants -p Requires -p BindsTo | sed 's/^[^=]*=//'); do
        case $unit in
            *[!A-Za-z0-9:_.@\\-]*) continue ;;
            *.service | *.socket | *.timer) ;;
            *) continue ;;
        esac
        case $services in
            *"target=$unit'"*) ;;
            *) services="$services 'service=$service scope=$scope limit=$limit log= unit_file= action=member target='\\''$unit'\\'" ;;
        esac
    done
}

# Makes the service with the number $1 the one that the functions below are about.
select_service() {
    local words
    number=$1
    eval "set -- $services"
    eval "words=\${$number}"
    image='' engine=''
    eval "arguments $words"
    slotted=''
    case $target in
        *'{slot}'*) slotted=yes target=${target%%"{slot}"*}$slot${target#*"{slot}"} ;;
    esac
    eval "unit_before=\${unit_before_$number-} logged=\${logged_$number-0}"
    whose=''
    if [ "$service_count" != 1 ]; then
        if is_unit; then whose=" of $target"; else whose=" of $service"; fi
    fi
}

# Calls the function $1, with the rest of the arguments, for each service in order, until it fails.
each_service() {
    local at visit
    at=0 visit=$1
    shift
    while [ "$at" -lt "$service_count" ]; do
        at=$((at + 1))
        select_service "$at"
        "$visit" "$@" || return "$?"
    done
}

# Keeps whether the unit runs now, and since when.
note_unit() {
    unit_before=$(look_start)
    eval "unit_before_$number=\$unit_before"
}

forget_unit() {
    unit_before=''
    eval "unit_before_$number=''"
}

# Restarts the service from the new release.
start_release() {
    [ -z "$slotted" ] || return 0
    touched=$number
    ! is_only_judged || return 0
    ! may_be_refused || reset_failed
    mark_time
    service restart
}

# Whether the starts of the old release may have reached systemd's start limit.
may_be_refused() {
    is_unit || return 1
    was_active || return 0
    value_of NRestarts "$unit_before"
    [ "${value:-0}" != 0 ]
}

# Notes where the log of the new release begins.
mark_time() {
    look_at_clock
    since=$seconds logged=0
    [ -z "$log" ] || [ ! -f "$(log_path)" ] || logged=$(($(wc -c <"$(log_path)")))
    eval "logged_$number=\$logged"
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
    after=${since:+ since the restart} lines=$1
    shift
    # With `--since`, systemd 252 prints the first lines of `-n`, so `tail` chooses. journald takes
    # 10,000 lines from a service in 30 seconds (RateLimitBurst).
    timeout 10 journalctl -q "$@" ${since:+--since "@$since"} -n 10000 --no-pager \
        -o cat 2>&1 9>&- | tail -n "$lines" >"$tmp/journal"
    if [ -s "$tmp/journal" ]; then
        printf 'the journal of %s%s:\n' "$target" "$after"
        veiled <"$tmp/journal"
        return "$?"
    fi
    if may_read_journal; then
        printf 'the journal of %s has no line%s\n' "$target" "$after"
    else
        printf '%s may not read the journal of %s; who is in the group systemd-journal may\n' \
            "$user" "$target"
    fi
}

may_read_journal() {
    case "$scope $uid$groups " in
        user* | 'system 0 '* | *' adm '* | *' systemd-journal '* | *' wheel '*) ;;
        *) return 1 ;;
    esac
}

# Whether the log $1 can be shown; prints why not. Its writer must not choose which of our files is
# shown.
can_show() {
    if [ ! -f "$1" ] || [ ! -r "$1" ]; then
        printf '%s is no file that can be read\n' "$1"
        return 1
    fi
    case $(readlink "$1") in
        */*) printf '%s is a link to elsewhere, and not shown\n' "$1" && return 1 ;;
    esac
}

recent_log() {
    can_show "$2" || return 0
    # A log that is shorter now was begun anew.
    [ "$(wc -c <"$2")" -ge "$logged" ] || logged=0
    printf '%s%s:\n' "$2" "${since:+ since the restart}"
    # The first line may have begun before the restart.
    if [ "$logged" = 0 ]; then tail -n "$1" "$2"; else
        tail -c "+$logged" "$2" | tail -n +2 | tail -n "$1"
    fi | veiled
}

is_only_judged() {
    [ "$scope" != command ] && { [ "$action" = none ] || [ "$action" = member ]; }
}

is_unit() {
    [ "$scope" = system ] || [ "$scope" = user ]
}

# Restarts or stops what runs the release; prints what that printed.
service() {
    local code printed
    printed=$tmp/service.$number
    : >"$printed"
    case $1-$image in
        *-) ;;
        restart-* | start-*) point_image >"$printed" || { cat "$printed"; return 1; } ;;
    esac
    case $scope-$1 in
        command-restart) watched "$printed" run_service_command "$target" ;;
        command-stop) [ -z "$action" ] || watched "$printed" run_service_command "$action" ;;
        *-restart) privileged "$action" >"$printed" 2>&1 ;;
        *-start) privileged start >"$printed" 2>&1 ;;
        *-stop) privileged stop >"$printed" 2>&1 ;;
    esac
    code=$?
    tell_printed "$printed" 0
    case $code in
        0) return 0 ;;
        124 | 137) printf '\nthe %s%s ran longer than %ss\n' "$1" "$whose" "$limit" ;;
        *) printf '\nthe %s%s exited with code %s\n' "$1" "$whose" "$code" ;;
    esac
    return 1
}

run_service_command() (
    heed_signals
    enter_live && exec timeout -k 10 "$limit" /bin/sh -c "$1" </dev/null 9>&-
)

privileged() {
    manage "$1" "$target"
}

# Runs a command, and prints what it said only if it failed.
quietly() {
    "$@" >"$tmp/said" 2>&1 && return 0
    cat "$tmp/said"
    return 1
}

# Calls systemctl for the scope of the service, with all arguments.
manage() {
    user_bus
    # shellcheck disable=SC2086
    case $scope$uid in
        user*) set -- systemctl --user "$@" ;;
        system0) set -- systemctl "$@" ;;
        *) set -- $sudo systemctl "$@" ;;
    esac
    timeout -k 10 "$limit" "$@" </dev/null 9>&-
}

# Prints the last `lines` of the unit `of_unit` of the service `of_service`, or of each if it is
# empty.
order_journal() {
    local lines of_service of_unit
    arguments "$@"
    each_service last_lines
}

last_lines() {
    if [ -n "$of_service" ]; then
        [ "$service" = "$of_service" ] || return 0
        ! is_unit || [ "$target" = "$of_unit" ] || return 0
    fi
    case $scope-$log in
        command-) tell_printed "$tmp/service.$number" 0 | tail -n "$lines" ;;
        *) recent "$lines" ;;
    esac
    return 0
}
