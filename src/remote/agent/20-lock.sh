# The run lock, the deploy lock, and whose process holds them.

order_lock() {
    local code
    look_at_owners
    take_lock && return 0
    code=$?
    command -v flock >/dev/null 2>&1 || echo 'flock is not installed'
    are_ours
    return "$code"
}

# Returns 0 if the lock is ours now; 75 if another holds it, and prints the record; 1 if it cannot
# be had.
take_lock() {
    local tries code holder
    [ -z "$locked" ] || return 0
    # Each look reports what is missing, and what is not ours.
    command -v flock >/dev/null 2>&1 && [ ! -s "$tmp/strange" ] || return 1
    (: >>"$lock") 2>/dev/null || { echo "$lock cannot be written"; return 1; }
    make_token
    tries=0
    # An empty record is being written, or the lock is being released.
    while
        seize && code=0 || code=$?
        holder=''
        [ "$code" != 75 ] || holder=$(cat "$lock" 2>/dev/null)
        [ "$code$holder" = 75 ] && [ "$tries" -lt 5 ]
    do
        tries=$((tries + 1))
        pause 0.2
    done
    [ "$code" != 75 ] || echo "${holder:-somebody who left no record}"
    [ "$code" = 0 ] || return "$code"
    locked=yes
    if [ -s "$deploy_lock" ]; then
        unlock
        printf 'frozen by %s\n' "$(head -n 1 "$deploy_lock")"
        return 75
    fi
    if ! mkdir -p "$run_dir"; then
        echo 'this run has no directory of its own'
        unlock
        return 1
    fi
    echo "$$" >"$run_dir/agent" && echo "$token" >"$run_dir/token"
    drop_secrets
    look_at_clock
    printf '%s, since %s\n' "$owner" "$now" >"$lock" 2>/dev/null
    make_key
}

# Returns 0 if flock gave us the lock, 75 if another run has it, 1 if flock failed, and prints why.
seize() {
    local code
    exec 9>>"$lock"
    flock -n 9 9>&9 2>"$tmp/why.flock"
    code=$?
    [ "$code" != 0 ] || ! is_linked || code=75
    [ "$code" != 0 ] || return 0
    exec 9>&-
    [ "$code" != 75 ] || return 75
    [ "$code" = 1 ] && [ ! -s "$tmp/why.flock" ] && return 75
    cat "$tmp/why.flock"
    return 1
}

# Whether a run of shipit 0.1.0 holds the lock by a link, which it made where flock(1) was missing.
# Removes links of runs that are gone.
is_linked() {
    local path
    for path in "$lock.held" "$lock.break".*; do
        [ -L "$path" ] || continue
        is_alive "$(readlink "$path")" && return 0
        rm -f "$path"
    done
    return 1
}

# Sets `token`, by which others can see whether our process still lives.
make_token() {
    IFS= read -r boot 2>/dev/null </proc/sys/kernel/random/boot_id || boot=none
    token=${boot}_$$_$(started "$$")_$run
}

started() {
    local stat
    if [ -r "/proc/$1/stat" ] && IFS= read -r stat 2>/dev/null <"/proc/$1/stat"; then
        # shellcheck disable=SC2086
        set -- ${stat##*) }
        [ "$#" -lt 20 ] || echo "${20}"
    elif [ ! -d /proc/self ]; then
        ps -o lstart= -p "$1" 2>/dev/null | tr -d ' :'
    fi
}

is_alive() {
    local other_boot rest
    other_boot=${1%%_*} rest=${1#*_}
    other_pid=${rest%%_*}
    rest=${rest#*_}
    [ "$other_boot" = "$boot" ] && [ "$(started "$other_pid")" = "${rest%%_*}" ]
}

# Finds the conversation that holds the lock: its token names a process that lives. The lock is not
# tried, for that would make the try of another run fail.
find_holder() {
    local held path
    holder_run='' holder_pid=''
    make_token
    for path in "$root"/.shipit/run/*/token; do
        [ -f "$path" ] || continue
        held=$(cat "$path")
        is_alive "$held" && holder_run=${held##*_} holder_pid=$other_pid
    done
}

# Ends the conversation of the run `holder`, if it still has the lock. TERM first has it revert what
# is undecided and unlock; KILL follows only after `within` seconds: the lock is never taken from
# under a living agent.
order_break() {
    local holder waited within
    arguments "$@"
    find_holder
    if [ "$holder_run" = "$holder" ] && ! kill -TERM "$holder_pid"; then
        return 1
    fi
    waited=0
    while [ "$holder_run" = "$holder" ] && [ "$waited" -lt "$within" ]; do
        sleep 1
        waited=$((waited + 1))
        find_holder
    done
    if [ "$holder_run" = "$holder" ]; then
        kill_hard "$holder_pid"
        echo "it did not end within ${within}s and was killed"
    fi
}

# Kills a process and its children, which timeout(1) put into groups of their own.
kill_hard() {
    local child children
    children=$(sed -n "s/^\([0-9]*\) (.*) [A-Z] $1 .*/\1/p" /proc/[0-9]*/stat 2>/dev/null)
    kill -KILL "$1"
    for child in $children; do
        kill -KILL "-$child" 2>/dev/null || kill -KILL "$child" 2>/dev/null
    done
}

# Removes env files that killed runs left, as soon as the lock is ours.
drop_secrets() {
    local path
    for path in "$root"/releases/.2*.*/meta/env*; do
        [ ! -f "$path" ] || rm -f "$path"
    done
    clean_up_tmp
}

# Sets the deploy lock: who and why, and a line for revisions.log.
locked_order_lock_deploys() {
    local note record
    arguments "$@"
    look_at_clock
    if ! printf '%s, since %s\n' "$record" "$now" >"$run_dir/new" || ! mv -f "$run_dir/new" "$deploy_lock"; then
        echo "$deploy_lock cannot be written"
        return 1
    fi
    sync_file "$deploy_lock"
    append "$root/revisions.log" "$now $note"
}

# Clears the deploy lock, if it is still the `record` that a look showed.
order_unlock_deploys() {
    local note record
    arguments "$@"
    are_ours || return "$?"
    [ -s "$deploy_lock" ] || return 0
    if [ "$(head -n 1 "$deploy_lock")" != "$record" ]; then
        echo 'the deploy lock was set anew in the meantime'
        return 1
    fi
    look_at_clock
    rm -f "$deploy_lock" && append "$root/revisions.log" "$now $note"
}

unlock() {
    : >"$lock"
    exec 9>&-
    locked=''
}
