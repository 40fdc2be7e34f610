# Unit files that come with the release. systemd gets a link to each through `current`, so a flip
# brings the next version. `.shipit/units` has a line for each link that we made: scope, name, and
# path in a release; what it does not name is never touched. `.shipit/units.ID` has the lines of
# those that the release ID brought, until it is decided.

# Sets `place` to where systemctl links the unit file of the service.
find_place() {
    case $scope in
        user) place=${HOME-}/.config/systemd/user/${unit_file##*/} ;;
        *) place=/etc/systemd/system/${unit_file##*/} ;;
    esac
}

# Brings to disk what starts at the next boot, for systemctl does not. Its links are in several
# directories.
sync_boot() {
    local place
    find_place
    sync_all "${place%/*}"
}

# Whether the unit file of the service is linked through `current`.
has_link() {
    local place
    find_place
    [ -L "$place" ] && [ "$(readlink "$place")" = "$root/current/$unit_file" ]
}

# Whether we made that link, or were about to.
is_listed() {
    grep -qsxF "$scope ${unit_file##*/} $unit_file" "$root/.shipit/units"
}

# Verifies the unit files of a release as systemd would read them once it is live.
locked_order_units() {
    local id
    arguments "$@"
    rm -rf "$tmp/units"
    each_service can_link "releases/$id" && each_service may_link "releases/$id" &&
        each_service copy_unit_file "releases/$id" || return 1
    command -v systemd-analyze >/dev/null 2>&1 || return 0
    verify_unit_files system && verify_unit_files user
}

# Fails if the release $1 lacks the unit file of the service, or if systemd has another one.
can_link() {
    local path place
    [ -n "$unit_file" ] || return 0
    path=$root/$1/$unit_file
    if [ ! -f "$path" ] || [ -L "$path" ]; then
        echo "$1 has no file $unit_file, which is to be the unit file of $target"
        return 1
    fi
    if grep -q '^[[:space:]]*Alias=' "$path"; then
        echo "$unit_file has Alias=, which systemd would tie to one release"
        return 1
    fi
    has_link && is_listed && return 0
    find_place
    user_bus
    path=$(unit_show -p FragmentPath)
    for path in "$place" "${path#FragmentPath=}"; do
        [ -e "$path" ] || [ -L "$path" ] || continue
        echo "$target has a unit file that shipit did not link: $path"
        return 1
    done
}

# Fails if sudo does not allow what linking the unit file of the service takes, and removing it
# again.
may_link() {
    [ -n "$unit_file" ] && [ "$scope" = system ] && [ "$uid" != 0 ] || return 0
    may_manage daemon-reload || return 1
    has_link && return 0
    may_manage link "$root/current/$unit_file" && may_manage enable "$target" &&
        may_manage disable --now "$target"
}

may_manage() {
    # shellcheck disable=SC2086
    $sudo -l systemctl "$@" >/dev/null 2>&1 9>&- && return 0
    echo "sudo does not let $user run \"systemctl $*\" without a password"
    return 1
}

# Copies the unit file of the service, with the paths that it will have: `current` is not there yet.
copy_unit_file() {
    [ -n "$unit_file" ] || return 0
    mkdir -p "$tmp/units/$scope"
    from=$root/current to=$root/$1 LC_ALL=C awk '
        {
            out = ""
            while (at = index($0, ENVIRON["from"])) {
                out = out substr($0, 1, at - 1) ENVIRON["to"]
                $0 = substr($0, at + length(ENVIRON["from"]))
            }
            print out $0
        }
    ' "$root/$1/$unit_file" >"$tmp/units/$scope/${unit_file##*/}"
}

# Verifies all copied unit files of the scope $1 together, for they may name each other. Prints what
# systemd says of them. A failure that names none of them is one of the tool.
verify_unit_files() {
    local code path
    scope=$1
    [ -d "$tmp/units/$scope" ] || return 0
    user_bus
    set -- "$tmp/units/$scope"/*
    run_verify --man=no "$@"
    code=$?
    if grep -qs 'unrecognized option' "$tmp/why"; then
        run_verify "$@"
        code=$?
    fi
    sed "s|$tmp/units/$scope/||g" "$tmp/why" >"$tmp/verified"
    for path in "$@"; do
        grep -qF "${path##*/}" "$tmp/verified" || continue
        cat "$tmp/verified"
        return "$((code != 0))"
    done
}

run_verify() {
    timeout -k 2 60 systemd-analyze "--$scope" verify "$@" >"$tmp/why" 2>&1 </dev/null 9>&-
}

# Once `current` leads to the candidate: links the unit files that systemd does not know yet, and
# has it read again what changed.
apply_unit_files() {
    local linked
    linked=''
    if each_service link_unit_file && each_service enable_unit_file && reload_unit_files; then
        return 0
    fi
    reason='unit file failed' cause="the unit file of $target could not be linked"
    return 1
}

link_unit_file() {
    [ -n "$unit_file" ] || return 0
    has_link && return 0
    list_unit_file || return 1
    quietly manage link "$root/current/$unit_file" || return 1
    linked="$linked|$target|"
}

# Writes down that a link is ours before it is made: one that is not listed would be taken for
# somebody else's.
list_unit_file() {
    local name
    name=${unit_file##*/}
    append "$root/.shipit/units.$candidate" "$scope $name $unit_file" || return 1
    is_listed || append "$root/.shipit/units" "$scope $name $unit_file" || return 1
    sync_file "$root/.shipit/units.$candidate"
    sync_file "$root/.shipit/units"
    sync_file "$root/.shipit"
}

enable_unit_file() {
    case $linked in
        *"|$target|"*) ;;
        *) return 0 ;;
    esac
    if grep -q '^[[:space:]]*\[Install\]' "$root/current/$unit_file"; then
        quietly manage enable "$target" || return 1
    fi
    sync_boot
}

# Has systemd read its unit files again if one differs between the candidate and what was live.
reload_unit_files() {
    local changed
    changed=''
    each_service note_changed_unit_file
    for scope in $changed; do
        quietly manage daemon-reload || return 1
    done
}

# A unit that was just linked or removed was read with that.
note_changed_unit_file() {
    [ -n "$unit_file" ] && ! is_unlinked || return 0
    case $linked in
        *"|$target|"*) return 0 ;;
    esac
    is_same_file "$root/$back/$unit_file" "$root/releases/$candidate/$unit_file" && return 0
    case " $changed " in
        *" $scope "*) ;;
        *) changed="$changed $scope" ;;
    esac
}

# Whether two files have the same content and time: systemd compares the time.
is_same_file() {
    # shellcheck disable=SC3013
    [ "$1" -ef "$2" ] || {
        cmp -s "$1" "$2" && ! [ "$1" -nt "$2" ] && ! [ "$1" -ot "$2" ]
    }
}

# Once `current` leads back: unlinks the unit files that the candidate brought, and has systemd read
# again what changed. Also clears up after a revert that was cut off.
return_unit_files() {
    local linked
    linked=''
    remove_brought "$candidate"
    reload_unit_files && return 0
    went_wrong "systemd did not read its unit files again"
}

# Removes the unit files that the release $1 brought.
remove_brought() {
    [ -s "$root/.shipit/units.$1" ] || return 0
    remove_unit_files "$root/.shipit/units.$1" '' && rm -f "$root/.shipit/units.$1"
}

# Before another release goes live: the live one is committed, so the units that it brought stay.
# Those of others were to be removed by a revert that was cut off.
recover_unit_files() {
    local path
    for path in "$root"/.shipit/units.2*; do
        case ${path##*/units.} in
            '2*') ;;
            "${back##*/}") rm -f "$path" ;;
            *) remove_brought "${path##*/units.}" ;;
        esac
    done
}

# Once the release is committed: stops and unlinks units that the config does not have any more. The
# config of the run that an interrupted run left undecided is not known.
drop_unit_files() {
    local wanted
    [ -s "$root/.shipit/units" ] && [ -z "$resumed" ] || return 0
    wanted=''
    each_service note_wanted_unit_file
    remove_unit_files "$root/.shipit/units" "$wanted"
}

note_wanted_unit_file() {
    [ -z "$unit_file" ] || wanted="$wanted|$scope ${unit_file##*/} $unit_file|"
}

# Stops, disables and unlinks the units whose lines are in the file $1 and not in $2. The unit files
# may be gone: systemctl removes links that lead nowhere, too.
remove_unit_files() {
    local name stuck
    stuck='' limit=60
    cp "$1" "$tmp/lines"
    while read -r scope name unit_file; do
        case $2 in
            *"|$scope $name $unit_file|"*) continue ;;
        esac
        if has_link && ! manage disable --now "$name" >"$tmp/said" 2>&1 && is_left "$name"; then
            cat "$tmp/said"
            stuck=yes
            went_wrong "$name is still linked"
            continue
        fi
        sync_boot
        # One that failed would be listed among the failed units for ever.
        manage reset-failed "$name" >/dev/null 2>&1
        forget_unit_file "$scope $name $unit_file"
    done <"$tmp/lines"
    [ -z "$stuck" ]
}

# Whether the unit $1 is still linked or runs. systemctl also fails to stop a unit that did not run
# and is not known any more.
is_left() {
    has_link && return 0
    case $(ask_systemd show -p ActiveState "$1") in
        '' | *ActiveState=inactive* | *ActiveState=failed*) return 1 ;;
    esac
}

forget_unit_file() {
    grep -vxF "$1" "$root/.shipit/units" >"$root/.shipit/units.rest"
    [ "$?" -lt 2 ] && mv -f "$root/.shipit/units.rest" "$root/.shipit/units"
}

# Whether the unit file of the service comes with a release, but not with what is live again: it was
# unlinked, or never linked.
is_unlinked() {
    [ -n "$unit_file" ] && ! has_link
}
