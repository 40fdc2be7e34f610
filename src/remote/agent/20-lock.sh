# The run lock, the deploy lock, and whose process holds them.

order_lock() {
    local code
    look_at_owners
    take_lock && return
    code=$?
    command -v flock >/dev/null 2>&1 || echo 'flock is not installed'
    are_ours
    return "$code"
}

# 0: ours; 75: somebody else's, whose record is printed; 1: cannot be had.
take_lock() {
    local tries code holder
    [ -z "$locked" ] || return 0
    # Each look says what is missing, and what is not ours.
    command -v flock >/dev/null 2>&1 && [ ! -s "$tmp/strange" ] || return 1
    if ! (: >>"$lock") 2>/dev/null; then
        echo "$lock cannot be written"
        return 1
    fi
    make_token
    tries=0
    # A record that is empty is being written, or the lock is about to be free.
    while
        seize && code=0 || code=$?
        holder=''
        [ "$code" != 75 ] || holder=$(cat "$lock" 2>/dev/null)
        [ "$code$holder" = 75 ] && [ "$tries" -lt 5 ]
    do
        tries=$((tries + 1))
        pause 0.2
    done
    case $code in
        0) ;;
        75) echo "${holder:-somebody who left no record}" && return 75 ;;
        *) return 1 ;;
    esac
    locked=yes
    if [ -s "$frozen" ]; then
        unlock
        printf 'frozen by %s\n' "$(head -n 1 "$frozen")"
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

# 0: the lock is ours; 75: another run has it; 1: flock(1) failed, and said why.
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

# Whether a run of shipit 0.1.0 holds the lock by a link, as it did where flock(1) was missing. Links
# of runs that are gone are removed.
is_linked() {
    local path
    for path in "$lock.held" "$lock.break".*; do
        [ -L "$path" ] || continue
        is_alive "$(readlink "$path")" && return 0
        rm -f "$path"
    done
    return 1
}

# Who we are, so that others can see whether we still live.
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

# The conversation that holds the lock, if one does: its token is that of a living process. The
# lock itself is not touched: a try would make somebody else's fail.
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

# Ends the conversation of run $1, if it still holds the lock. It is asked first, so that it puts
# back what is undecided and unlocks by itself, and killed only when it has not within $2 seconds:
# the lock is never taken from under a living agent.
order_break() {
    local waited
    find_holder
    if [ "$holder_run" = "$1" ] && ! kill -TERM "$holder_pid"; then
        return 1
    fi
    waited=0
    while [ "$holder_run" = "$1" ] && [ "$waited" -lt "$2" ]; do
        sleep 1
        waited=$((waited + 1))
        find_holder
    done
    if [ "$holder_run" = "$1" ]; then
        kill_hard "$holder_pid"
        echo "it did not end within ${2}s and was killed"
    fi
}

# What it was running has a group of its own, made by timeout(1).
kill_hard() {
    local child children
    children=$(sed -n "s/^\([0-9]*\) (.*) [A-Z] $1 .*/\1/p" /proc/[0-9]*/stat 2>/dev/null)
    kill -KILL "$1"
    for child in $children; do
        kill -KILL "-$child" 2>/dev/null || kill -KILL "$child" 2>/dev/null
    done
}

# What runs that were killed left of env files goes as soon as the lock is ours.
drop_secrets() {
    local path
    for path in "$root"/releases/.2*.*/meta/env; do
        [ ! -f "$path" ] || rm -f "$path"
    done
    clean_up_tmp
}

# Keeps everybody who wants the lock off. Arguments: who and why, a line for revisions.log.
order_freeze() {
    look_at_clock
    if ! printf '%s, since %s\n' "$1" "$now" >"$run_dir/frozen" || ! mv -f "$run_dir/frozen" "$frozen"; then
        echo "$frozen cannot be written"
        return 1
    fi
    sync_file "$frozen"
    append "$root/revisions.log" "$now $2"
}

# Arguments: the freeze that is to end, as a look shows it, and a line for revisions.log.
order_thaw() {
    are_ours || return
    [ -s "$frozen" ] || return 0
    if [ "$(head -n 1 "$frozen")" != "$1" ]; then
        echo 'it was frozen anew in the meantime'
        return 1
    fi
    look_at_clock
    rm -f "$frozen" && append "$root/revisions.log" "$now $2"
}

unlock() {
    : >"$lock"
    exec 9>&-
    locked=''
}
