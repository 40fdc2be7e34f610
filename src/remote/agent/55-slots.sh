# This part of the script goes only to hosts with slots.
#
# Two slots on one host: the idle one gets the release and starts while the other serves; then the
# traffic moves. While `current` leads to another release than the new one, no traffic goes to it:
# the switch flips before it moves the traffic, and a revert moves the traffic before it flips.

# Whether slot $1 runs from what `current` holds.
is_live_slot() {
    [ -L "$root/slots/$1" ] && [ "$(readlink "$root/slots/$1")" = "../$(readlink "$root/current")" ]
}

# Sets `slot` to the live one, or else to the first: its units are looked at.
find_live_slot() {
    local name
    slot=${slots%% *} live_slot=''
    for name in $slots; do
        ! is_live_slot "$name" || slot=$name live_slot=$name
    done
}

# Calls the function $2 with the rest of the arguments for each unit of slot $1, until it fails.
each_in_slot() {
    local code kept
    kept=$slot slot=$1 code=0
    shift
    [ -z "$slot" ] || each_service if_slotted "$@" || code=$?
    slot=$kept
    return "$code"
}

if_slotted() {
    [ -z "$slotted" ] || "$@"
}

# Keeps how the release takes over in another slot.
# shellcheck disable=SC2120
remember_slot() {
    moved='' filled_at='' slot_port='' slot_was='' old_slot='' old_port=''
    traffic_file='' traffic_text='' old_text='' traffic_command='' drain=0 keep_warm=0
    eval "arguments $into"
}

# Gives the idle slot the release and starts it there. Nothing that serves is touched.
fill_slot() {
    end_drain "$slot"
    if ! set_slot "../releases/$candidate"; then
        reason='slot failed' cause="slot $slot could not be prepared"
        echo "$cause"
        return 1
    fi
    filled_at=$(started self)
    each_in_slot "$slot" start_in_slot
}

# A unit that runs this very release since an earlier activation stays as it is.
start_in_slot() {
    local verb
    verb=restart
    if [ "$slot_was" = "../releases/$candidate" ] && was_active; then
        verb=start filled_at=''
        forget_unit
    fi
    mark_time
    reset_failed
    service "$verb" && return 0
    recent 10
    reason='restart failed' cause="$target could not be started"
    return 1
}

# Lets the slot lead to $1, and writes the file from which its units have the port.
set_slot() {
    make_dir "$root/slots" || return "$?"
    printf 'PORT=%s\nSLOT=%s\n' "$slot_port" "$slot" >"$tmp/slot.env"
    replace_file "$root/slots/$slot.env" "$tmp/slot.env" && point "$root/slots/$slot" "$1" &&
        sync_file "$root/slots"
}

# Makes the file $1 what the file $2 is, in one step.
replace_file() {
    [ ! -d "$1" ] || { echo "$1 is a directory"; return 1; }
    cp -f "$2" "$1.new" && sync_file "$1.new" && mv -f "$1.new" "$1" && sync_file "${1%/*}"
}

# Moves the traffic to the slot that was judged well. `again` is yes if an interrupted run may have
# done so.
locked_order_switch() {
    local again
    [ -n "$undecided" ] || { echo 'nothing is undecided'; return 1; }
    arguments "$@"
    go_over || revert_and_answer
}

# All steps from one slot to the other. A step that fails says why and sets `reason`.
go_over() {
    reason='switch failed'
    if [ "$again" = yes ]; then
        each_in_slot "$slot" service start || return "$?"
    else
        keep_traffic
    fi
    each_in_slot "$slot" set_at_boot enable && flip_to_candidate && apply_unit_files || return "$?"
    if [ "$again" != yes ]; then
        reason='hook failed'
        run_hooks switched || return "$?"
    fi
    if ! move_traffic "$slot" "$slot_port" "$traffic_text"; then
        reason='switch failed' cause='the traffic could not be moved'
        return 1
    fi
    [ "$again" = yes ] || start_services
}

# Enables or disables the unit: only those of the live slot start at boot.
set_at_boot() {
    if ! quietly privileged "$1"; then
        cause="$target could not be ${1}d"
        return 1
    fi
    sync_boot
}

# Keeps what the traffic file was before there were slots.
keep_traffic() {
    rm -f "$root/.shipit/traffic"
    [ -n "$old_slot" ] || [ ! -f "$traffic_file" ] || cp -f "$traffic_file" "$root/.shipit/traffic"
}

# Moves the traffic to slot $1 with port $2 by the text $3.
move_traffic() {
    if [ -n "$traffic_file" ]; then
        printf %s "$3" >"$tmp/traffic.text"
        replace_file "$traffic_file" "$tmp/traffic.text" || return "$?"
    fi
    run_traffic_command "$1" "$2"
}

run_traffic_command() {
    local ended what within
    [ -n "$traffic_command" ] || return 0
    what='the traffic command' within=60
    watched "$tmp/hook" traffic_command "$1" "$2"
    tell_hook "$?"
}

traffic_command() (
    heed_signals
    # shellcheck disable=SC2119
    enter_live && export SHIPIT_SLOT="$1" SHIPIT_PORT="$2" &&
        exec timeout -k 10 "$within" /bin/sh -c "$traffic_command"
)

# Moves the traffic to where it was before, if it was moved, or if a revert was interrupted.
return_traffic() {
    each_in_slot "$old_slot" service start || return "$?"
    ! points_to "releases/$candidate" || moved=yes
    [ -n "$moved$verdict" ] || return 0
    if [ -n "$old_slot" ]; then
        move_traffic "$old_slot" "$old_port" "$old_text"
        return "$?"
    fi
    if [ -f "$root/.shipit/traffic" ]; then
        replace_file "$traffic_file" "$root/.shipit/traffic" || return "$?"
    fi
    run_traffic_command '' ''
}

# Undoes what was done in the slot of a release that is reverted. If it had the traffic, it may
# still be answering.
leave_slot() {
    [ "$(readlink "$root/slots/$slot")" = "../releases/$candidate" ] || return 0
    each_in_slot "$slot" set_at_boot disable || went_wrong "$cause"
    if [ -n "$moved" ]; then
        drain_slot "$slot"
    else
        each_in_slot "$slot" service stop || went_wrong "$slot could not be stopped"
    fi
    if [ -n "$slot_was" ]; then
        point "$root/slots/$slot" "$slot_was"
    else
        rm -f "$root/slots/$slot"
    fi || went_wrong "slots/$slot is not as it was"
    sync_file "$root/slots"
}

# The slot that was left goes on for a while; at the next boot it does not start.
leave_old_slot() {
    [ -n "$old_slot" ] || return 0
    each_in_slot "$old_slot" set_at_boot disable || went_wrong "$cause"
    drain_slot "$old_slot"
    rm -f "$root/.shipit/traffic"
}

# Stops the units of slot $1 later, unless it is live again by then. The shell that does so outlives
# the conversation and has no lock; it gets the units as scope and name in turn.
drain_slot() {
    local name pid units
    name=$1 units=''
    each_in_slot "$name" add_to_drain
    look_at_uptime
    eval "set -- $units"
    (
        heed_signals
        export sudo
        # shellcheck disable=SC2016
        exec setsid /bin/sh -c '
            seconds=$1 root=$2 slot=$3
            shift 3
            sleep "$seconds"
            [ "$(readlink "$root/slots/$slot")" != "../$(readlink "$root/current")" ] || set --
            while [ "$#" -gt 1 ]; do
                case $1 in
                    user) systemctl --user stop "$2" ;;
                    root) systemctl stop "$2" ;;
                    *) $sudo systemctl stop "$2" ;;
                esac
                shift 2
            done
            rm -f "$root/slots/$slot.drain"
        ' shipit-drain "$((drain + keep_warm))" "$root" "$name" "$@"
    ) </dev/null >/dev/null 2>&1 7>&- 8>&- 9>&- &
    pid=$!
    echo "${boot}_${pid}_$(started "$pid")_drain $((${uptime%??} + drain))" >"$root/slots/$name.drain"
}

add_to_drain() {
    user_bus
    case $scope$uid in
        system0) units="root '$target' $units" ;;
        *) units="$scope '$target' $units" ;;
    esac
}

# Ends what would stop slot $1.
end_drain() {
    local drainer
    [ -s "$root/slots/$1.drain" ] || return 0
    read -r drainer _ <"$root/slots/$1.drain"
    ! is_alive "$drainer" || kill -TERM "-$other_pid" 2>/dev/null || kill -TERM "$other_pid"
    rm -f "$root/slots/$1.drain"
}

# Lists the slots: name, port, what it does, and what it leads to.
look_slots() {
    local name port
    make_token
    for name in $slots; do
        port=PORT=0
        [ ! -s "$root/slots/$name.env" ] || IFS= read -r port <"$root/slots/$name.env"
        printf 'slot %s %s %s %s\n' "$name" "${port#PORT=}" "$(slot_state "$name")" \
            "$(readlink "$root/slots/$name")"
    done
}

slot_state() {
    local drainer until
    if [ "$1" = "$live_slot" ]; then
        echo live
        return 0
    fi
    each_in_slot "$1" is_stopped && echo idle && return 0
    look_at_uptime
    if [ -s "$root/slots/$1.drain" ] && read -r drainer until <"$root/slots/$1.drain" &&
        [ "${uptime%??}" -lt "$until" ] && is_alive "$drainer"; then
        echo draining
    else
        echo warm
    fi
}

is_stopped() {
    ! ask_systemd is-active --quiet "$target"
}
