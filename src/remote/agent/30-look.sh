# A look at the host.

# If a newer shipit was here, makes nothing and takes no lock.
greet() {
    look_at_owners
    look_format
    if [ "$mode" = lock ] && [ ! -s "$tmp/strange" ] && [ -z "$newer" ]; then
        { make_layout && take_lock; } >"$tmp/why" 2>&1
        case $? in
            0) ;;
            75) printf 'holder %s\n' "$(head -n 1 "$tmp/why")" ;;
            *) sed 's/^/missing /' "$tmp/why" ;;
        esac
    fi
    order_look
}

# Lists in `strange` the paths that are not ours to write to. A link or a file of another user would
# have us write where that user likes, and the owner of deploy_to decides what is live. One `stat`
# tells of all: `find` would look up our name, which takes longer than everything else.
look_at_owners() {
    local mode path
    path=$root
    set -- "$root/." "$root/revisions.log" "$root/releases" "$root/slots" "$root/.shipit" "$root"/.shipit/*
    while [ -n "$path" ]; do
        path=${path%/*}
        set -- "$@" "$path/."
    done
    stat -c '%A-%u %n' "$@" 2>/dev/null >"$tmp/places"
    while read -r mode path; do
        is_safe || stat -c '%A %U %u %n' "$path"
    done <"$tmp/places" >"$tmp/strange" 2>/dev/null
}

# Whether nobody else may write to `path`, whose `mode` ends with its user, as in `drwxr-xr-x-0`.
# Files of others that their group may write to count as shared with us, except for root, who may
# write anywhere.
is_safe() {
    case $path in
        "$root"/.shipit/lock.held | "$root"/.shipit/lock.break.*) ;;
        "$root"/*)
            case $mode in
                [!d-]* | ????????w*) return 1 ;;
                *"-$uid" | *-0) ;;
                ?????w*) [ "$uid" != 0 ] ;;
                *) return 1 ;;
            esac
            ;;
        *)
            case $mode in
                ????????w[!tT]*) return 1 ;;
            esac
            ;;
    esac
}

are_ours() {
    [ -s "$tmp/strange" ] || return 0
    sed 's/^/not ours to write to: /' "$tmp/strange"
    return 1
}

make_layout() {
    local part
    [ -d "$root" ] || mkdir -p "$root" || return 1
    make_dir "$root/releases" && make_dir "$root/shared" &&
        make_dir "$root/.shipit" -m 700 || return 1
    for part in env manifests run trash; do
        make_dir "$root/.shipit/$part" || return 1
    done
    [ -w "$root/releases" ] || { echo "$root/releases cannot be written by $user"; return 1; }
    [ -s "$root/.shipit/format" ] || echo 1 >"$root/.shipit/format"
}

# Sets `newer` if a later version wrote what is in .shipit. The first version had no such file.
look_format() {
    newer=''
    [ -s "$root/.shipit/format" ] || return 0
    IFS= read -r newer <"$root/.shipit/format"
    case $newer in
        1 | '1 '*) newer='' ;;
        *) newer=${newer:-unknown} ;;
    esac
}

# Makes a directory, which another run may make at the same moment.
make_dir() {
    [ -d "$1" ] || mkdir "$@" || [ -d "$1" ]
}

# Makes and reads the key of config digests: a plain digest would give weak secrets away.
make_key() {
    if [ ! -s "$root/.shipit/key" ]; then
        (umask 077 && head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$root/.shipit/key")
    fi
    IFS= read -r key <"$root/.shipit/key" || :
}

# Whether one link to a directory can replace another in one step. Tries it in $1 with links to the
# directories $2 and $3, unless `current` is a link, and so has been replaced before.
can_flip() {
    [ ! -L "$root/current" ] || return 0
    # shellcheck disable=SC3013
    ln -sf "$2" "$3" "$1" && replace "$1/${3##*/}" "$1/${2##*/}" >/dev/null &&
        [ ! -L "$1/${3##*/}" ] && [ "$1/${2##*/}" -ef "$3" ]
}

# Like can_flip, but in our temporary directory.
could_flip() {
    mkdir -p "$tmp/trial" "$tmp/old" "$tmp/new" && can_flip "$tmp/trial" "$tmp/old" "$tmp/new"
}

# Renames link $1 over link $2. Plain `mv` would move it into the directory that $2 leads to. GNU
# and BusyBox know only -T, BSD only -h; the message of the first is the one to show.
replace() {
    local why
    why=$(mv -fT "$1" "$2" 2>&1) || mv -fh "$1" "$2" 2>/dev/null || {
        echo "$why"
        return 1
    }
}

order_look() {
    [ -z "$slots" ] || find_live_slot
    look_machine
    look_needs
    [ ! -s "$tmp/strange" ] || sed 's/^/strange /' "$tmp/strange"
    look_holder
    look_tree
    look_ledger
    [ -z "$slots" ] || look_slots
    each_service look_unit
    look_in_use
    look_leftovers
    [ -s "$tmp/strange" ] || printf 'key %s\n' "${key:-$(cat "$root/.shipit/key" 2>/dev/null)}"
}

# The record is read first: a run that ends meanwhile empties it.
look_holder() {
    local record
    [ ! -s "$tmp/strange" ] || return 0
    [ -s "$deploy_lock" ] && printf 'deploylock %s\n' "$(head -n 1 "$deploy_lock")"
    [ -z "$locked" ] && [ -s "$lock" ] && record=$(head -n 1 "$lock") && [ -n "$record" ] || return 0
    find_holder
    if [ -n "$holder_run" ]; then
        printf 'holder %s\nowner %s %s\n' "$record" "$holder_pid" "$holder_run"
    else
        printf 'stale %s\n' "$record"
    fi
}

look_machine() {
    local tool
    look_at_clock
    printf 'clock %s\nuser %s\nuid %s\nshell %s\ngroups%s\n' "$seconds" "$user" "$uid" \
        "${SHELL-}" "$groups"
    stat -f -c 'free %a %S %d' "$(nearest "$root")" 2>/dev/null
    for tool in zstd gzip sudo systemctl journalctl curl; do
        command -v "$tool" >/dev/null 2>&1 && printf 'tool %s\n' "$tool"
    done
}

# Prints $1, or else the nearest directory above it that is there.
nearest() {
    local place
    place=$1
    until [ -d "$place" ]; do
        place=${place%/*} place=${place:-/}
    done
    echo "$place"
}

look_needs() {
    local tool
    for tool in flock tar timeout dd sha256sum find sort stat sed grep awk mktemp readlink cmp; do
        command -v "$tool" >/dev/null 2>&1 || printf 'missing %s is not installed\n' "$tool"
    done
    [ -z "$images" ] || each_service needs_engine
    if [ -n "$locked" ]; then
        can_flip "$run_dir" "$root/.shipit/run" "$root/.shipit/trash" || say_no_flip
        look_sudo
    fi
}

say_no_flip() {
    echo 'missing mv cannot replace a link in one step'
}

# Prints what sudo allows of systemctl with each unit's action and, where there are any, with each
# of these verbs and for unit files. `sudo -l COMMAND` also succeeds where the rule wants a
# password, so all rules are printed too.
look_sudo() {
    local line
    allowed=''
    each_service ask_sudo "$@"
    [ -n "$allowed" ] || return 0
    # shellcheck disable=SC2086
    LC_ALL=C timeout 10 $sudo -l 2>/dev/null 9>&- | while IFS= read -r line; do
        printf 'sudorule %s\n' "$line"
    done
}

ask_sudo() {
    local kept
    [ "$scope" = system ] && [ "$uid" != 0 ] || return 0
    [ -z "$unit_file" ] || [ "$#" = 0 ] || ask_unit_file
    ! is_only_judged || return 0
    if [ -z "$slotted" ]; then
        ask_verbs "$action" "$@"
        return "$?"
    fi
    [ "$#" = 0 ] || set -- start disable "$@"
    kept=$slot
    for slot in $slots; do
        select_service "$number"
        ask_verbs restart enable "$@"
    done
    slot=$kept
}

ask_verbs() {
    local verb
    for verb in "$@"; do
        ask_about "$verb" "$target"
    done
}

ask_unit_file() {
    ask_about link "$root/current/$unit_file"
    ask_about enable "$target"
    ask_about disable --now "$target"
    ask_about daemon-reload
}

ask_about() {
    local line
    # shellcheck disable=SC2086
    if LC_ALL=C timeout 10 $sudo -l systemctl "$@" >/dev/null 2>"$tmp/why" 9>&-; then
        allowed=yes
        printf 'sudo %s yes\n' "$*"
    else
        IFS= read -r line <"$tmp/why" || line=''
        printf 'sudo %s no %s\n' "$*" "$line"
    fi
}

look_tree() {
    local path
    pointed='' looked=yes
    if [ -L "$root/current" ]; then
        read_current || echo 'missing current cannot be read'
        printf 'current %s\n' "$pointed"
        [ -d "$root/current/" ] || echo 'dangling'
    elif [ -e "$root/current" ]; then
        echo 'notalink'
    fi
    others=''
    for path in "$root"/releases/*; do
        if [ ! -d "$path" ] || [ -L "$path" ]; then continue; fi
        printf 'release %s\n' "${path##*/}"
        [ "releases/${path##*/}" = "$pointed" ] || others=yes
    done
    [ -z "$newer" ] || printf 'newer .shipit/format %s\n' "$newer"
    look_manifests
    [ ! -s "$owed" ] || printf 'owed %s\n' "$(head -n 1 "$owed")"
}

# Lists manifests, and those whose first line names a later version; the first version has no such
# line.
look_manifests() {
    local first path
    for path in "$root"/.shipit/manifests/*; do
        [ -f "$path" ] || continue
        printf 'made %s\n' "${path##*/}"
        IFS= read -r first <"$path"
        case $first in
            'v '*) printf 'newer .shipit/manifests/%s %s\n' "${path##*/}" "${first#v }" ;;
        esac
    done
    [ ! -s "$unfinished" ] || while IFS= read -r first; do
        printf 'begun %s\n' "$first"
    done <"$unfinished"
}

# Sets `pointed` to what `current` holds. Capistrano writes the whole path.
read_current() {
    pointed=$(readlink "$root/current" 2>/dev/null) || return 1
    pointed=${pointed#"$root/"}
}

# Sets `live` to the live release, if it is one of ours. Reads `current` once a message.
find_live() {
    [ -n "$looked" ] || read_current
    live=$pointed
    case $live in
        releases/*/*) live='' ;;
        releases/*) live=${live#releases/} ;;
        *) live='' ;;
    esac
}

# Prints the releases from which processes run. One `ls` reads all processes: one program for each
# would take a second on a busy host.
look_in_use() {
    case $scan$others in
        yes* | othersyes) [ -d "$root/releases" ] || return 0 ;;
        *) return 0 ;;
    esac
    local real
    real=$(cd "$root/releases" && pwd -P)
    # shellcheck disable=SC2012
    ls -l /proc/[0-9]*/cwd /proc/[0-9]*/exe 2>/dev/null >"$tmp/processes"
    # Names are bytes in every locale.
    real=$real LC_ALL=C awk '
        BEGIN { here = "-> " ENVIRON["real"] "/" }
        at = index($0, here) {
            name = substr($0, at + length(here))
            sub(/\/.*/, "", name)
            print "inuse " name
        }
    ' "$tmp/processes" && [ -n "$real" ] && [ -s "$tmp/processes" ] ||
        echo 'missing /proc does not say what runs'
    each_service look_hidden
}

# Prints when processes of the unit began whose directories we may not see, in seconds since boot.
look_hidden() {
    local pid
    case $uid$scope in
        0* | *command | *none) return 0 ;;
    esac
    say_service
    for pid in $(unit_processes); do
        # shellcheck disable=SC3067
        [ -O "/proc/$pid" ] || printf 'unit hidden=%s\n' "$(began "$pid")"
    done
}

# Prints when process $1 began, in seconds since boot. Its clock has 100 ticks a second everywhere.
began() {
    local ticks
    ticks=$(started "$1")
    [ -z "$ticks" ] || echo "$((ticks / 100))"
}

unit_show() {
    ask_systemd show "$@" "$target"
}

# Asks the service's systemd, that of the system or of the user; fails if the service is no unit.
ask_systemd() {
    case $scope in
        system) timeout 10 systemctl "$@" 2>/dev/null 9>&- ;;
        user) timeout 10 systemctl --user "$@" 2>/dev/null 9>&- ;;
        *) return 1 ;;
    esac
}

# Says which service the lines that follow are about.
say_service() {
    printf 'service %s %s\n' "$service" "$target"
}

look_unit() {
    local link path
    unit_pid=''
    is_unit || return 0
    say_service
    user_bus
    unit_show -p LoadState -p ActiveState -p SubState -p NRestarts -p InvocationID -p MainPID \
        -p WorkingDirectory -p ExecStart -p User -p StateChangeTimestamp -p Type -p Result \
        -p RootDirectory -p BindPaths -p BindReadOnlyPaths \
        -p NextElapseUSecRealtime -p NextElapseUSecMonotonic \
        -p NeedDaemonReload -p ControlGroup -p ExecMainStartTimestampMonotonic >"$tmp/unit.$number"
    sed 's/^/unit /' "$tmp/unit.$number"
    IFS= read -r uptime 2>/dev/null </proc/uptime && printf 'unit uptime=%s\n' "${uptime%%[. ]*}"
    for path in "/etc/systemd/$scope/$target" "${HOME-}/.config/systemd/user/$target"; do
        [ ! -L "$path" ] || [ -e "$path" ] || echo 'unit dangling=yes'
    done
    unit_pid=$(sed -n 's/^MainPID=//p' "$tmp/unit.$number")
    [ "${unit_pid:-0}" != 0 ] || return 0
    link=$(readlink "/proc/$unit_pid/cwd" 2>/dev/null) && printf 'unit cwd=%s\n' "$link"
    link=$(readlink "/proc/$unit_pid/exe" 2>/dev/null) && printf 'unit exe=%s\n' "$link"
    printf 'unit started=%s\n' "$(started "$unit_pid")"
}

user_bus() {
    if [ "$scope" = user ] && [ -z "${XDG_RUNTIME_DIR-}" ]; then
        XDG_RUNTIME_DIR=/run/user/$uid
        export XDG_RUNTIME_DIR
    fi
}

look_leftovers() {
    local path
    for path in "$root"/releases/.2*.* "$root"/.shipit/run/* "$root"/.shipit/trash/* \
        "$root"/.shipit/manifests/* "$root"/.shipit/env/* "$root"/.current.* \
        "$root"/slots/.[!.]*; do
        [ -e "$path" ] || [ -L "$path" ] || continue
        case $path in
            *"$run" | *"${holder_run:-$run}" | */manifests/*.artifact) continue ;;
            # A run that another holds may be about to put the release beside its manifest.
            */manifests/* | */env/*)
                { [ -n "$locked" ] && [ ! -d "$root/releases/${path##*/}" ]; } || continue
                ;;
        esac
        printf 'leftover %s\n' "${path#"$root/"}"
    done
}

# Tells facts that no other conversation needs, by functions that come with the order.
order_probe() {
    local functions ports shared
    arguments "$@"
    eval "set -- $shared"
    eval "$functions"
}
