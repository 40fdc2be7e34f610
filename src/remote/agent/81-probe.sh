# Facts for `check` that a look leaves out. These functions come with the order that needs them.

# Prints these facts; changes nothing. Arguments: two words for each linked path, f or d and the
# path. `ports` are hexadecimal.
probe_host() {
    could_flip || say_no_flip
    look_sudo stop reset-failed
    if grep -qs '^KillUserProcesses=yes' /etc/systemd/logind.conf /etc/systemd/logind.conf.d/*; then
        echo 'killuser yes'
    fi
    each_service probe_unit
    [ -z "$images" ] || each_service probe_engine
    probe_places
    probe_shared "$@"
    probe_ports
}

# Prints what systemd knows of the unit beyond a look, and whether the paths that it names are
# there. If there is no such unit, the name may be misspelt, so others are listed.
probe_unit() {
    local linger path
    is_unit || return 0
    say_service
    if [ "$scope" = user ]; then
        linger=$(timeout 10 loginctl show-user "$user" -p Linger --value 2>/dev/null 9>&-)
        printf 'linger %s\n' "${linger:-no}"
    fi
    unit_show -p NeedDaemonReload -p UnitFileState -p WantedBy -p RequiredBy -p TriggeredBy \
        -p BindPaths -p BindReadOnlyPaths -p RootDirectory -p ExecReload | sed 's/^/property /'
    unit_show -p ExecStart -p EnvironmentFiles |
        sed -n -e 's/^ExecStart={ path=\([^;]*\) ;.*$/\1/p' \
            -e 's/^EnvironmentFiles=\(.*\) (ignore_errors=no)$/\1/p' |
        while IFS= read -r path; do probe_path "$path"; done
    timeout 10 systemctl --version 2>/dev/null 9>&- | sed -n 's/^systemd \([0-9]*\).*$/systemd \1/p'
    ! grep -qsx LoadState=not-found "$tmp/unit.$number" || probe_names
    probe_runner "$(sed -n 's/^User=//p' "$tmp/unit.$number")"
}

probe_names() {
    ask_systemd list-unit-files --no-legend '*.service' | sed -n 's/^\([^ ]*\.service\) .*$/unitname \1/p'
}

# Prints whether $1 is there, unless it is in a directory that we may not enter.
probe_path() {
    if [ -e "$1" ]; then
        printf 'there %s\n' "$1"
    elif [ -x "$(nearest "$1")" ]; then
        printf 'gone %s\n' "$1"
    fi
}

# $1 is the unit's user, empty for root or ourselves. The unit may give it further groups; a user
# of `DynamicUser=` exists only while it runs.
probe_runner() {
    unit_show -p EnvironmentFiles -p Group -p SupplementaryGroups |
        sed -n -e 's/^EnvironmentFiles=\(.\)/envfile \1/p' -e 's/^.*Groups*=\(.\)/runner \1/p'
    [ -n "$1" ] || return 0
    id -Gn "$1" 2>/dev/null | sed 's/^/runner /'
    id "$1" >/dev/null 2>&1 || unit_show -p DynamicUser | grep -q =yes || printf 'nouser %s\n' "$1"
    return 0
}

probe_places() {
    local part place
    place=$(nearest "$root")
    [ "$place" = "$root" ] || printf 'absent %s\n' "$root"
    [ -w "$place" ] || printf 'unwritable %s\n' "$place"
    for part in releases shared .shipit; do
        [ ! -d "$root/$part" ] || [ -w "$root/$part" ] || printf 'unwritable %s\n' "$root/$part"
    done
    printf 'filesystem %s\n' "$(stat -f -c %T "$place" 2>/dev/null)"
    [ "$(stat -c %d "$place" 2>/dev/null)" = "$(stat -c %d / 2>/dev/null)" ] || echo 'mounted yes'
    for part in releases shared; do
        [ ! -d "$root/$part" ] || printf 'way %s\n' "$(access "$root/$part")"
    done
    while :; do
        printf 'way %s\n' "$(access "$place")"
        [ "$place" != / ] || break
        place=${place%/*} place=${place:-/}
    done
}

probe_ports() {
    local port
    for port in $ports; do
        ! grep -qs ": [0-9A-F]*:$port [0-9A-F]*:0000 0A " /proc/net/tcp /proc/net/tcp6 ||
            printf 'listens %s\n' "$port"
    done
}

probe_shared() {
    while [ "$#" -ge 2 ]; do
        if [ -e "$root/shared/$2" ]; then
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
