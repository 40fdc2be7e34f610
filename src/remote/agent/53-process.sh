# Whether a process runs from a release.

# Prints properties that differ after every start of the unit.
look_start() {
    unit_show -p ActiveState -p InvocationID -p ExecMainStartTimestampMonotonic
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
never_stopped() {
    if [ "$number" -le "$touched" ]; then
        [ "$action" = restart ] && was_active || return 1
    elif ! is_unit; then
        return 0
    fi
    [ -n "$unit_before" ] && [ "$(look_start)" = "$unit_before" ]
}

# Whether the unit does not run, as systemd sees it.
is_down() {
    case $(unit_show -p ActiveState) in
        *ActiveState=inactive* | *ActiveState=failed*) ;;
        *) return 1 ;;
    esac
}

# Whether any process of the unit that was looked at works in release $1.
worker_in() {
    local group worker
    while IFS= read -r group; do
        case $group in
            ControlGroup=/*) group=/sys/fs/cgroup${group#*=}/cgroup.procs ;;
            *) continue ;;
        esac
        [ -r "$group" ] || group=/sys/fs/cgroup/systemd${group#/sys/fs/cgroup}
        while IFS= read -r worker; do
            is_in "$worker" "$1" && return 0
        done 2>/dev/null <"$group"
    done <"$tmp/unit.$number"
    return 1
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
