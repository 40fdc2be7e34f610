# Making a release live, committing it, and reverting it.

# Keeps what an activation needs in the state of the conversation, so that the agent can revert
# alone.
remember() {
    local id
    back='' activated='' committed='' left='' reverted='' failed=''
    before_switch_hooks='' switched_hooks='' committed_hooks='' reverted_hooks=''
    verdict='' variables='' into=''
    arguments "$@"
    candidate=$id
    [ -z "$into" ] || remember_slot
    touched=0 reverting='' resumed='' partly='' cause=''
    each_service forget_unit
}

locked_order_activate() {
    remember "$@"
    can_activate || return 1
    each_service note_unit
    eval "record $activated" || return 1
    undecided=$candidate
    forget_begun
    go_live || revert_and_answer
}

can_activate() {
    if [ ! -d "$root/releases/$candidate" ]; then
        echo "releases/$candidate is not there"
        return 1
    fi
    if [ -e "$root/current" ] && [ ! -L "$root/current" ]; then
        echo "$root/current is not a link"
        return 1
    fi
    each_service can_link "releases/$candidate" || return 1
    [ -z "$images" ] || each_service load_image "$candidate" || return 1
    recover_unit_files
}

# All steps from the old release to the new one. A step that fails says why and sets `reason`.
go_live() {
    reason='hook failed'
    run_hooks before_switch || return "$?"
    if [ -n "$into" ]; then
        fill_slot
    else
        flip_to_candidate && apply_unit_files && run_hooks switched && start_services
    fi
}

flip_to_candidate() {
    if ! flip "releases/$candidate"; then
        echo 'current could not be flipped'
        reason='flip failed' cause='current could not be flipped'
        return 1
    fi
    sync_file "$root"
    flipped=$(started self)
}

start_services() {
    if ! each_service start_release; then
        recent 10
        reason='restart failed' cause="the restart$whose failed"
        return 1
    fi
}

# Returns 3 if it was reverted, 4 if not, 5 if it was, but for what the last line of the output
# says.
revert_and_answer() {
    revert || return 4
    is_whole_again || return 5
    return 3
}

# Adds $1 to what did not go well.
went_wrong() {
    partly="${partly:+$partly; }$1"
}

is_whole_again() {
    [ -n "$partly" ] || return 0
    printf '%s\n' "$partly"
    return 1
}

# Removes what goes live, and releases that are gone, from the list of releases that never went
# live: the ledger on disk names the candidate now.
forget_begun() {
    local begun rest=''
    [ -s "$unfinished" ] || return 0
    while IFS= read -r begun; do
        [ "$begun" = "$candidate" ] || [ ! -d "$root/releases/$begun" ] || rest=$rest$begun$nl
    done <"$unfinished"
    printf %s "$rest" >"$unfinished"
}

# Nobody knows which services the interrupted run restarted.
locked_order_resume() {
    remember "$@"
    undecided=$candidate touched=$service_count resumed=yes
}

order_judge() {
    local id
    arguments "$@"
    printf 'real %s\n' "$(cd "$root/releases/$id" && pwd -P)"
    each_service judge_unit
}

judge_unit() {
    is_unit || return 0
    look_unit
    value_of InvocationID "$unit_before"
    printf 'before %s\n' "$value"
    if [ -n "$slotted" ]; then echo "ticks $filled_at"; else echo "ticks $flipped"; fi
    value_of ExecMainStartTimestampMonotonic "$unit_before"
    printf 'began %s\n' "$value"
    if [ "${unit_pid:-0}" != 0 ] && is_in "$unit_pid" "$id"; then
        echo inside
    else
        look_at_workers "$id"
        [ -z "$images" ] || look_at_containers "$id"
    fi
}

# Sets `value` to that of the property $1 among the lines $2.
value_of() {
    value=$nl$2
    case $value in
        *"$nl$1="*) value=${value##*"$nl$1="} value=${value%%"$nl"*} ;;
        *) value='' ;;
    esac
}

locked_order_commit() {
    local code
    [ -n "$undecided" ] || { echo 'nothing is undecided'; return 1; }
    owe committed
    eval "record $committed" || return 1
    undecided=''
    # What it brought stays. If this is cut off, `recover_unit_files` does it.
    [ ! -e "$root/.shipit/units.$candidate" ] || rm -f "$root/.shipit/units.$candidate"
    [ -z "$left" ] || eval "record $left"
    code=$?
    drop_unit_files
    conclude committed
    [ "$code" = 0 ] || return 1
    is_whole_again || return 5
}

locked_order_revert() {
    [ -n "$undecided" ] || { echo 'nothing is undecided'; return 1; }
    arguments "$@"
    revert || return 4
    is_whole_again || return 5
}

# Reverts to what was live before and records it. `partly` says what is not as it was nevertheless.
revert() {
    reverting=yes
    if { [ -z "$into" ] || return_traffic; } && return_to && return_unit_files &&
        restart_all_previous; then
        [ -z "$into" ] || leave_slot
        owe reverted
        undecided=''
        eval "record $reverted"
        conclude reverted
        return 0
    fi
    undecided=''
    eval "record $failed"
    return 1
}

# Notes on disk what is to be done after verdict $1: if we are killed, the next run does it.
owe() {
    local hooks
    find_hooks "$1"
    [ -n "$hooks$into" ] || return 0
    echo "$1 $candidate" >"$owed"
    sync_file "$owed"
    sync_file "$root/.shipit"
}

# Does what follows verdict $1, which is on disk.
conclude() {
    if [ "$1" = reverted ]; then say_cause; elif [ -n "$into" ]; then leave_old_slot; fi
    run_hooks "$1"
    [ ! -e "$owed" ] || rm -f "$owed" || true >"$owed"
}

# Makes `cause` one line without secrets.
say_cause() {
    [ -n "$reverted_hooks" ] || return 0
    cause=${cause:-$reason}
    cause=$(veiled <<EOF
${cause%%"$nl"*}
EOF
    )
}

# Finishes what an interrupted run left: writes the verdict if a `reason` is given, and runs its
# hooks.
locked_order_conclude() {
    remember "$@"
    if [ "$verdict" = reverted ]; then
        reverting=yes
        [ -z "$into" ] || { return_traffic && leave_slot; } || return 1
    fi
    owe "$verdict"
    [ "$verdict" != reverted ] || return_unit_files
    [ -z "$reason" ] || eval "record $reverted" || return 1
    conclude "$verdict"
    is_whole_again || return 5
}

return_to() {
    if [ -n "$back" ]; then
        points_to "$back" || flip "$back" || return 1
    else
        rm -f "$root/current" || return 1
    fi
    sync_file "$root"
}

# Restarts the services from what is live now, in opposite order, also after one that failed.
restart_all_previous() {
    local at code
    at=$service_count code=0
    while [ "$at" -gt 0 ]; do
        select_service "$at"
        is_unlinked || restart_previous || code=1
        at=$((at - 1))
    done
    each_service is_member_active || code=1
    return "$code"
}

# Whether the member of a target is up again, or did not run before.
is_member_active() {
    [ "$action" = member ] && was_active || return 0
    is_active
}

# Restarts the service from what is live now; stops it if nothing is live and it did not run before.
# A service that did not run before the flip may stay down.
restart_previous() {
    is_only_judged && return 0
    [ -z "$slotted" ] || return 0
    never_stopped && return 0
    reset_failed
    if ! was_active && { [ -z "$back" ] || was_only_started; }; then
        service stop || is_down
        return "$?"
    fi
    service restart && is_active && return 0
    # A machine that shuts down starts nothing; it will boot with what is live now.
    is_shutting_down && return 0
    sleep "$(start_interval)"
    reset_failed
    service restart && is_active && return 0
    if [ -n "$unit_before" ] && ! was_active && is_down; then
        went_wrong "$target does not run, as before"
        return 0
    fi
    return 1
}

# Whether we started a unit that did not run before. After a cut nobody knows what ran before.
was_only_started() {
    is_unit && [ "$action" = start ] && [ -n "$unit_before" ]
}

reset_failed() {
    ! is_unit || privileged reset-failed >/dev/null 2>&1
}

is_shutting_down() {
    is_unit && [ "$(timeout 10 systemctl is-system-running 2>/dev/null 9>&-)" = stopping ]
}

# Prints the seconds after which systemd's start limit allows restarts again, at most 20.
start_interval() {
    local interval
    interval=$(unit_show -p StartLimitIntervalUSec | sed -n 's/^[^=]*=\([0-9]*\)s$/\1/p')
    [ "${interval:-10}" -le 20 ] || interval=20
    echo "${interval:-1}"
}

# Whether the unit is up within 5 seconds, or ended well if it is one that ends; and its main
# process is not in the release that was left.
is_active() {
    local state tries
    is_unit || return 0
    tries=0
    while [ "$tries" -lt 10 ]; do
        pause 0.5
        state=$(unit_show -p ActiveState -p MainPID -p Type -p Result)
        case $state in
            *ActiveState=active*) [ "$tries" -lt 1 ] || break ;;
            *ActiveState=inactive*) ! ended_well "$state" || return 0 ;;
        esac
        tries=$((tries + 1))
    done
    if [ "$tries" = 10 ]; then
        value_of ActiveState "$state"
        echo "after the restart systemd says ActiveState=$value"
        return 1
    fi
    value_of MainPID "$state"
    if is_in "$value" "$candidate"; then
        echo "its main process is still in releases/$candidate"
        return 1
    fi
}

ended_well() {
    value_of Type "$1"
    [ "$value" = oneshot ] || return 1
    value_of Result "$1"
    [ "$value" = success ]
}

flip() {
    point "$root/current" "$1" && points_to "$1"
}

# Makes $1 a link to $2, in one step.
point() {
    local draft
    draft=${1%/*}/.${1##*/}.$run
    [ ! -L "$draft" ] || rm -f "$draft"
    ln -s "$2" "$draft" && replace "$draft" "$1"
}

# Whether `current` leads to $1. The first test needs no program.
points_to() {
    # shellcheck disable=SC3013
    [ "$root/current" -ef "$root/$1" ] || [ "$(readlink "$root/current")" = "$1" ]
}
