# What `check` wants to know beyond a look.

# What `check` wants to know beyond a look; changes nothing. Arguments: the service's user (empty:
# root, or ourselves), then `f PATH` or `d PATH` for what is linked from shared/, and `p PORT`, in
# hexadecimal.
order_probe() {
    local linger runner
    runner=$1
    shift
    could_flip || say_no_flip
    look_sudo "$action" stop reset-failed
    if [ "$scope" = user ]; then
        linger=$(timeout 10 loginctl show-user "$user" -p Linger --value 2>/dev/null 9>&-)
        printf 'linger %s\n' "${linger:-no}"
    fi
    if grep -qs '^KillUserProcesses=yes' /etc/systemd/logind.conf /etc/systemd/logind.conf.d/*; then
        echo 'killuser yes'
    fi
    case $scope in
        system | user) probe_unit ;;
    esac
    probe_runner "$runner"
    probe_places
    probe_shared "$@"
}

# What systemd knows of the unit beyond a look, and whether what it names is there. A unit that is not
# there may be another one's misspelt name.
probe_unit() {
    local path
    unit_show -p NeedDaemonReload -p UnitFileState -p WantedBy -p RequiredBy -p TriggeredBy \
        -p BindPaths -p BindReadOnlyPaths -p RootDirectory -p ExecReload | sed 's/^/property /'
    unit_show -p ExecStart -p EnvironmentFiles |
        sed -n -e 's/^ExecStart={ path=\([^;]*\) ;.*$/\1/p' \
            -e 's/^EnvironmentFiles=\(.*\) (ignore_errors=no)$/\1/p' |
        while IFS= read -r path; do probe_path "$path"; done
    timeout 10 systemctl --version 2>/dev/null 9>&- | sed -n 's/^systemd \([0-9]*\).*$/systemd \1/p'
    ! grep -qsx LoadState=not-found "$tmp/unit" || probe_names
}

probe_names() {
    case $scope in
        user) timeout 10 systemctl --user list-unit-files --no-legend '*.service' 2>/dev/null 9>&- ;;
        *) timeout 10 systemctl list-unit-files --no-legend '*.service' 2>/dev/null 9>&- ;;
    esac | sed -n 's/^\([^ ]*\.service\) .*$/unitname \1/p'
}

# Whether $1 is there; nothing of what lies in a directory that we may not enter.
probe_path() {
    local place
    if [ -e "$1" ]; then
        printf 'there %s\n' "$1"
        return
    fi
    place=$1
    until [ -d "$place" ]; do
        place=${place%/*} place=${place:-/}
    done
    [ ! -x "$place" ] || printf 'gone %s\n' "$1"
}

# Who the service runs as may have more groups by its unit, and exist only while it runs.
probe_runner() {
    unit_show -p EnvironmentFiles -p Group -p SupplementaryGroups |
        sed -n -e 's/^EnvironmentFiles=\(.\)/envfile \1/p' -e 's/^.*Groups*=\(.\)/runner \1/p'
    [ -n "$1" ] || return 0
    id -Gn "$1" 2>/dev/null | sed 's/^/runner /'
    id "$1" >/dev/null 2>&1 || unit_show -p DynamicUser | grep -q =yes || printf 'nouser %s\n' "$1"
}

probe_places() {
    local part place
    place=$root
    while [ ! -d "$place" ]; do
        place=${place%/*} place=${place:-/}
    done
    [ "$place" = "$root" ] || printf 'absent %s\n' "$root"
    [ -w "$place" ] || printf 'unwritable %s\n' "$place"
    for part in releases shared .shipit; do
        [ ! -d "$root/$part" ] || [ -w "$root/$part" ] || printf 'unwritable %s\n' "$root/$part"
    done
    printf 'filesystem %s\n' "$(stat -f -c %T "$place" 2>/dev/null)"
    for part in releases shared; do
        [ ! -d "$root/$part" ] || printf 'way %s\n' "$(access "$root/$part")"
    done
    while :; do
        printf 'way %s\n' "$(access "$place")"
        [ "$place" != / ] || break
        place=${place%/*} place=${place:-/}
    done
}

probe_shared() {
    while [ "$#" -ge 2 ]; do
        if [ "$1" = p ]; then
            ! grep -qs ": [0-9A-F]*:$2 [0-9A-F]*:0000 0A " /proc/net/tcp /proc/net/tcp6 ||
                printf 'listens %s\n' "$2"
        elif [ -e "$root/shared/$2" ]; then
            printf 'shared %s\n' "$(access "$root/shared/$2")"
        elif [ "$1" = f ]; then
            printf 'noshared %s\n' "$2"
        fi
        shift 2
    done
}

access() {
    stat -L -c '%a %U %G %n' "$1"
}
