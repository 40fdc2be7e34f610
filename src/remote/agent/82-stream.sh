# Channels that print for a person until they end: a command in the live release, or logs. They take
# no lock, and end when the client is gone or silent. These functions come only with such a channel.

# Reads the arguments, makes `tmp`, and ends the channel when the client is gone, or silent for
# `deadline` seconds. From then on `veiled` prints each line at once: after `tag`, and only up to
# the text `end_mark`.
begin_stream() {
    run='' root='' services='' deadline='' env_name='' hook_shell='' veil='' ran='' reason=''
    arguments "$@"
    # shellcheck disable=SC2119
    slot='' job='' tag='' end_mark='' appended='' ticked=''
    umask 022
    ledger=$root/.shipit/ledger.jsonl
    who_we_are
    tmp=$(mktemp -d "${TMPDIR:-/tmp}/shipit.$machine.$$.XXXXXX") || exit 70
    trap end_stream EXIT
    trap 'exit 143' TERM INT HUP
    trap : PIPE
    exec 8<&0 </dev/null
    heed_client &
    watcher=$!
    # shellcheck disable=SC2119
    count_services
    # mawk waits for more of its input otherwise.
    case $(awk -W version 2>/dev/null) in
        mawk*) awk() { command awk -W interactive "$@"; } ;;
    esac
    # shellcheck disable=SC2016
    veiling='
        BEGIN { over = ENVIRON["end_mark"]; tag = ENVIRON["tag"] }
        {
            at = over == "" ? 0 : index($0, over)
            text = tag masked(at ? substr($0, 1, at - 1) : $0)
            # Several programs write at once: a pipe keeps lines of up to 4 KiB apart.
            if (tag != "") text = substr(text, 1, 4000)
            if (at != 1) { print text; fflush() }
            if (at) exit
            next
        }
        END { exit }
    '$veiling
}

# Ends the channel once no line has come for `deadline` seconds. Some shells keep what they redirect
# for a function, so this does it by `exec`: the client waits for the end of both outputs.
heed_client() {
    exec >/dev/null 2>&1
    while timeout "$deadline" /bin/sh -c 'IFS= read -r line' <&8; do :; done
    kill -TERM "$$"
}

# Runs when the shell exits. Processes that still run are ended, after 5 seconds by force.
end_stream() {
    local pid
    ignore_signals
    kill "$watcher" 2>/dev/null
    if [ -n "$job" ]; then
        note_end 143
        rm -rf "$tmp"
        kill -TERM "-$$" 2>/dev/null
        for pid in $job; do kill -TERM "$pid" 2>/dev/null; done
        end_by_force &
        # shellcheck disable=SC2086
        wait $job 2>/dev/null
    fi
    rm -rf "$tmp"
}

end_by_force() {
    exec >/dev/null 2>&1
    sleep 5
    kill -KILL "-$$"
}

# Runs `command` in the release `id`, with its env file `sourced` and `vars`. Ends with its code.
live_command() {
    local code command errors id printed sourced vars
    begin_stream "$@"
    end_mark="$run over"
    export end_mark
    mkfifo "$tmp/out" "$tmp/err" || exit 70
    veiled <"$tmp/out" &
    printed=$!
    veiled <"$tmp/err" >&2 &
    errors=$!
    exec 5>"$tmp/out" 6>"$tmp/err"
    run_in_live >&5 2>&6 5>&- 6>&- 8<&- &
    job=$!
    wait "$job"
    code=$? job=''
    # A process that the command left running may hold its output open, and is not waited for.
    printf '%s\n' "$end_mark" >&5
    printf '%s\n' "$end_mark" >&6
    exec 5>&- 6>&-
    wait "$printed" "$errors"
    note_end "$code"
    exit "$code"
}

# The env file may set any variable, so the words of the command are in $@ by then.
run_in_live() (
    local pair
    eval "set -- $vars"
    # shellcheck disable=SC2163
    for pair in "$@"; do export "$pair"; done
    cd "$root/releases/$id" || exit
    # shellcheck disable=SC2086
    set -- $hook_shell "$command"
    if [ -n "$sourced" ] && [ -r "./$sourced" ]; then
        set -a
        # shellcheck disable=SC1090
        . "./$sourced"
        set +a
    fi
    exec "$@"
)

# Records once that the command ended with code $1. `reason` is the command.
note_end() {
    [ -n "$ran" ] || return 0
    reason=$(printf '%s\n' "$reason" | veiled)
    record "${ran%%@code@*}$1${ran#*@code@}" '' >&2
    ran=''
}

# Puts the file `below` shared/ in place with the content `text`, or removes it; adds `note` to
# revisions.log.
live_flag() {
    local below file flag note text
    begin_stream "$@"
    if [ ! -d "$root/releases" ]; then
        echo 'nothing was deployed here yet' >&2
        exit 1
    fi
    file=$root/shared/$below
    if [ "$flag" = on ]; then
        mkdir -p "${file%/*}" && printf '%s' "$text" >"$file.$run" && mv -f "$file.$run" "$file"
    else
        rm -f "$file"
    fi || exit 1
    look_at_clock
    append "$root/revisions.log" "$now $note"
}

# Shows the journals and log files of the services: what came in the last `past` seconds, or the
# last `lines` lines of each; then, if `follow` is not empty, what comes.
live_logs() {
    local follow lines past pid
    begin_stream "$@"
    show_journal system ''
    show_journal user --user
    each_service show_log
    for pid in $job; do wait "$pid"; done
    job=''
}

print_unit() {
    [ "$scope" != "$1" ] || printf ' -u %s' "$target"
}

# Shows the journal of the units of the scope $1, for which journalctl has the flag $2.
show_journal() {
    local units
    units=$(each_service print_unit "$1")
    [ -n "$units" ] || return 0
    scope=$1
    may_read_journal ||
        printf '%s may read no journal; who is in the group systemd-journal may\n' "$user" >&2
    user_bus
    tag='journal '
    export tag
    # shellcheck disable=SC2086
    journalctl -q $2 $units --no-pager --no-hostname -a -o short-unix ${follow:+-f} \
        ${past:+--since="-${past}s" ${follow:+--no-tail}} ${lines:+-n "$lines"} 2>&1 8<&- | veiled &
    job="$job $!"
}

# Shows the log file of a service that is a command.
show_log() {
    local count path
    [ -n "$log" ] || return 0
    path=$(log_path)
    can_show "$path" >&2 || return 0
    count=${lines:-+1}
    # Its lines have no times: it counts as a whole.
    [ -z "$past" ] || [ -n "$(find -L "$path" -mmin "-$(((past + 59) / 60))")" ] || count=0
    tag="file $service "
    export tag
    tail -n "$count" ${follow:+-F} "$path" 2>/dev/null 8<&- | veiled &
    job="$job $!"
}
