# Whether a process runs from a release.

# Prints properties that differ after every start of the unit, and how often systemd restarted it.
look_start() {
    unit_show -p ActiveState -p InvocationID -p ExecMainStartTimestampMonotonic -p NRestarts
}

# Whether the unit ran before the flip.
was_active() {
    case $unit_before in
        *ActiveState=active*) ;;
        *) return 1 ;;
    esac
}

# Whether the service is as before the flip, because no restart happened. A reload leaves no trace
# in these properties, so it never counts. systemd may have restarted a unit that we did not touch.
# `reset-failed` sets NRestarts to 0, so a change of it shows no restart.
never_stopped() {
    if [ "$number" -le "$touched" ]; then
        case $action in
            restart | start) was_active || return 1 ;;
            *) return 1 ;;
        esac
    elif ! is_unit; then
        return 0
    fi
    [ -n "$unit_before" ] &&
        [ "$(without_count "$(look_start)")" = "$(without_count "$unit_before")" ]
}

without_count() {
    printf '%s\n' "$1" | sed /^NRestarts=/d
}

# Whether the unit does not run, as systemd sees it.
is_down() {
    case $(unit_show -p ActiveState) in
        *ActiveState=inactive* | *ActiveState=failed*) ;;
        *) return 1 ;;
    esac
}

# Looks at the processes of the unit other than the main one that began after the flip: prints
# `renewed` if there is one, and `worker` if one of them works in release $1 or runs a program of
# it.
look_at_workers() {
    local place worker
    set -- "$1"
    for worker in $(unit_processes); do
        if [ "$worker" = "$unit_pid" ] || ! is_new "$worker"; then continue; fi
        is_in "$worker" "$1" && echo worker && return 0
        set -- "$@" "/proc/$worker/exe"
    done
    [ "$#" != 1 ] || return 0
    echo renewed
    place=$root/releases/$1
    shift
    # shellcheck disable=SC2010
    ls -l "$@" 2>/dev/null | grep -qF -- "-> $(cd "$place" && pwd -P)/" && echo worker
    return 0
}

# Prints the processes in the control group of the unit that was looked at, and in the groups right
# below it.
unit_processes() {
    local group line place procs
    group=''
    while IFS= read -r line; do
        case $line in
            ControlGroup=/*) group=${line#*=} ;;
        esac
    done <"$tmp/unit.$number"
    [ -n "$group" ] || return 0
    for place in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
        for procs in "$place$group/cgroup.procs" "$place$group"/*/cgroup.procs; do
            [ -r "$procs" ] || continue
            while read -r line; do echo "$line"; done 2>/dev/null <"$procs"
        done
    done
}

# Whether process $1 began after the flip, if that is known.
is_new() {
    local ticks
    [ -n "$flipped" ] || return 0
    ticks=$(started "$1")
    [ "${ticks:-0}" -ge "$flipped" ]
}

# Whether process $1 works in release $2. In a mount namespace of its own its directory has another
# name, so device and inode are compared.
is_in() {
    local up
    [ -e "/proc/$1/cwd/." ] && [ -d "$root/releases/$2/." ] || return 1
    for up in cwd cwd/.. cwd/../.. cwd/../../.. cwd/../../../.. root; do
        # shellcheck disable=SC3013
        [ "/proc/$1/$up/." -ef "$root/releases/$2/." ] && return 0
    done
    return 1
}
