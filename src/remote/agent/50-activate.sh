# Making a release live, committing it, and reverting it.

# Arguments: release, what to return to, then line and note each for activated, committed, left,
# reverted, failed; then, each as quoted words, NAME=value for the user's commands and the `reverted`
# hooks, and how long one of these may take.
remember() {
    id=$1 back=$2 activated=$3 activated_note=$4 committed=$5 committed_note=$6 left=$7
    left_note=$8 reverted=$9
    shift 9
    reverted_note=$1 failed=$2 failed_note=$3 variables=$4 reverted_hooks=$5 reverted_limit=$6
    unit_before='' reverting='' partly=''
}

order_activate() {
    remember "$@"
    if [ ! -d "$root/releases/$id" ]; then
        echo "releases/$id is not there"
        return 1
    fi
    if [ -e "$root/current" ] && [ ! -L "$root/current" ]; then
        echo "$root/current is not a link"
        return 1
    fi
    unit_before=$(look_start)
    before=''
    case $unit_before in
        *InvocationID=*) before=${unit_before##*InvocationID=} before=${before%%"$nl"*} ;;
    esac
    record "$activated" "$activated_note" || return 1
    undecided=$id
    forget_begun
    if ! flip "releases/$id"; then
        echo 'current could not be flipped'
        revert_and_answer 'flip failed'
        return
    fi
    sync_dir "$root"
    flipped=$(started self)
    mark_time
    if ! service restart; then
        recent 10
        revert_and_answer 'restart failed'
        return
    fi
}

# 3: taken back; 4: could not be; 5: taken back, but for what the last line says.
revert_and_answer() {
    reason=$1
    revert || return 4
    is_whole_again || return 5
    return 3
}

is_whole_again() {
    [ -n "$partly" ] || return 0
    printf '%s\n' "$partly"
    return 1
}

# Takes what goes live, and what is no longer there, off the record of what never did: the ledger has
# it now, and has it on disk.
forget_begun() {
    local begun rest=''
    [ -s "$unfinished" ] || return 0
    while IFS= read -r begun; do
        [ "$begun" = "$id" ] || [ ! -d "$root/releases/$begun" ] || rest=$rest$begun$nl
    done <"$unfinished"
    printf %s "$rest" >"$unfinished"
}

order_resume() {
    remember "$@"
    undecided=$id
}

order_judge() {
    unit_pid=''
    look_unit
    printf 'before %s\nticks %s\nreal %s\n' "$before" "$flipped" \
        "$(cd "$root/releases/$1" && pwd -P)"
    if [ "${unit_pid:-0}" != 0 ]; then
        if is_in "$unit_pid" "$1"; then echo inside; elif worker_in "$1"; then echo worker; fi
    fi
}

order_commit() {
    if [ -z "$undecided" ]; then
        echo 'nothing is undecided'
        return 1
    fi
    record "$committed" "$committed_note" || return 1
    undecided=''
    [ -z "$left" ] || record "$left" "$left_note"
}

order_revert() {
    if [ -z "$undecided" ]; then
        echo 'nothing is undecided'
        return 1
    fi
    reason=$1
    revert || return 4
    is_whole_again || return 5
}

# Back to what was live before, by whatever means; says so in the ledger. What is not as it was all the
# same is in `partly`.
revert() {
    reverting=yes
    if return_to && restart_previous; then
        undecided=''
        record "$reverted" "$reverted_note"
        # shellcheck disable=SC2119
        run_reverted
        return 0
    fi
    undecided=''
    record "$failed" "$failed_note"
    return 1
}

return_to() {
    if [ -n "$back" ]; then
        points_to "$back" || flip "$back" || return 1
    else
        rm -f "$root/current" || return 1
    fi
    sync_dir "$root"
}

# The service as it was before the flip: from what is live now, or stopped where nothing is and it did
# not run. One that did not run before need not be brought up now.
restart_previous() {
    never_stopped && return 0
    reset_failed
    if [ -z "$back" ] && ! was_active; then
        service stop || is_down
        return
    fi
    service restart && is_active && return 0
    # Nothing is started on a machine that goes down; it boots with what is live now.
    is_shutting_down && return 0
    sleep "$(start_interval)"
    reset_failed
    service restart && is_active && return 0
    if [ -n "$unit_before" ] && ! was_active && is_down; then
        partly="$target does not run, as before"
        return 0
    fi
    return 1
}

reset_failed() {
    case $scope in
        system | user) privileged reset-failed >/dev/null 2>&1 ;;
    esac
}

is_shutting_down() {
    case $scope in
        system | user) [ "$(timeout 10 systemctl is-system-running 2>/dev/null 9>&-)" = stopping ] ;;
        *) return 1 ;;
    esac
}

# Restarts refused by systemd's start limit are allowed again after its interval.
start_interval() {
    local interval
    interval=$(unit_show -p StartLimitIntervalUSec | sed -n 's/^[^=]*=\([0-9]*\)s$/\1/p')
    [ "${interval:-10}" -le 20 ] || interval=20
    echo "${interval:-1}"
}

# Whether the unit is up, as far as a moment can tell, and not from the release that was left.
is_active() {
    local main state tries
    case $scope in
        system | user) ;;
        *) return 0 ;;
    esac
    tries=0
    while [ "$tries" -lt 10 ]; do
        pause 0.5
        state=$(unit_show -p ActiveState -p MainPID)
        main=${state##*MainPID=} main=${main%%"$nl"*}
        case $state in
            *ActiveState=active*) [ "$tries" -lt 1 ] || break ;;
        esac
        tries=$((tries + 1))
    done
    if [ "$tries" = 10 ]; then
        state=${state##*ActiveState=}
        echo "after the restart systemd says ActiveState=${state%%"$nl"*}"
        return 1
    fi
    if is_in "$main" "$id"; then
        echo "its main process is still in releases/$id"
        return 1
    fi
}

flip() {
    [ ! -L "$root/.current.$run" ] || rm -f "$root/.current.$run"
    ln -s "$1" "$root/.current.$run" && replace "$root/.current.$run" "$root/current" &&
        points_to "$1"
}

# Whether `current` does; the first look costs no program.
points_to() {
    # shellcheck disable=SC3013
    [ "$root/current" -ef "$root/$1" ] || [ "$(readlink "$root/current")" = "$1" ]
}
