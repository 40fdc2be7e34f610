# Commands of the user: running them, and what they print.

# Arguments: name, release, limit, command, then NAME=value words.
order_hook() {
    local streams what
    what="the $1 hook" streams=yes
    shift
    run_command "$@"
}

# Prints its input as it may be shown: see `veiling`. Argument: `torn`, `ragged` or nothing.
veiled() {
    # shellcheck disable=SC3043
    local edge="${1:-whole}" path
    set --
    # Older releases may have theirs under the name that is the default.
    for path in "$root"/releases/*/"$env_name" "$root"/releases/*/.env; do
        [ ! -f "$path" ] || [ ! -r "$path" ] || set -- "$@" "$path"
    done
    veil=$veil LC_ALL=C awk -v "$edge=1" "$veiling" "$@" ||
        echo 'what it said is not shown, for awk could not look for secrets in it'
}

# What the user runs in a release; says how it ended if that was not well.
run_command() {
    local command hook_limit release
    release=$root/releases/$1 hook_limit=$2 command=$3
    shift 3
    watched "$tmp/hook" run_in_release "$@"
    tell_hook "$?"
}

run_in_release() (
    # shellcheck disable=SC2086
    cd "$release" && exec timeout -k 10 "$hook_limit" env "$@" $hook_shell "$command"
)

# Prints what a command of the user's said that ended with $1, and how that was if not well: then what
# was told while it ran is told again.
tell_hook() {
    local told
    told=0
    if [ "$1" = 0 ] && [ -s "$tmp/hook.told" ]; then
        read -r told <"$tmp/hook.told"
    fi
    tell_printed "$tmp/hook" "$told"
    rm -f "$tmp/hook".* "$tmp/hook"
    case $1 in
        0) return 0 ;;
        124 | 137) printf '\n%s ran longer than %ss\n' "$what" "$hook_limit" ;;
        *) printf '\n%s exited with code %s\n' "$what" "$1" ;;
    esac
    return 1
}

# Runs a command of the user's, by the function $2 and its arguments; what it prints goes to the file
# $1. It may leave something running that prints, and is not waited for.
watched() {
    local code file
    file=$1
    shift
    rm -f "$file".*
    : >"$file"
    watch "$file" &
    watcher=$!
    "$@" >>"$file" 2>&1 </dev/null 7>&- 9>&-
    code=$?
    stop_watching
    return "$code"
}

# Before a subshell has a trap of its own, a signal may be lost, or run that of the agent.
stop_watching() {
    : >"$file.over"
    [ ! -e "$file.ready" ] || kill "$watcher" 2>/dev/null
    wait "$watcher" 2>/dev/null
    watcher=''
}

# While a command prints to the file $1: tells the new lines once a second, if it `streams`, and takes
# all but the end away when that is more than 8 MiB. Only the nap may be interrupted, so a frame is whole.
watch() {
    local over nap tick before lines size
    exec 9>&-
    over='' nap=0.2 tick=0 told=0 before=0
    trap 'over=yes' TERM
    : >"$1.ready"
    while [ -z "$over" ] && [ ! -e "$1.over" ] && kill -0 "$$" 2>/dev/null && [ -e "$1" ]; do
        sleep "$nap" >/dev/null 2>&1 7>&- &
        # Where sleep knows no fractions it ends at once.
        wait "$!" || nap=1
        { wc -lc <"$1" >"$1.size" && read -r lines size <"$1.size"; } 2>/dev/null || return
        [ -z "$over" ] && [ ! -e "$1.over" ] || return
        tick=$((tick + 1))
        if [ -n "$streams" ] && { [ "$nap" = 1 ] || [ $((tick % 5)) = 0 ] || [ "$size" -gt 8388608 ]; }; then
            tell_new "$1" "$((lines + before))"
        fi
        [ "$size" -le 8388608 ] || cut_short "$1" "$size"
    done
}

# Tells what was printed to the file $1, up to the $2nd line, without what was told.
tell_new() {
    local size
    [ "$2" -gt "$told" ] || return 0
    tell_printed "$1" "$told" "$2" >"$1.new"
    size=$(wc -c <"$1.new")
    told=$2
    echo "$told" >"$1.told"
    timeout "$deadline" /bin/sh -c "$tell" sh "$run say $((size))$nl" "$1.new" '' >&7 2>/dev/null && return
    streams=''
    : >"$tmp/deaf"
}

# Keeps of the file $1, of which $2 bytes were looked at, the end beside it. The writer appends, so its
# file begins anew. The line in which that happens may be half of a secret, and is left out.
cut_short() {
    tail -c "+$(($2 - 65535))" "$1" >"$1.end"
    : >"$1"
    if [ "$(tail -c 1 "$1.end" | wc -l)" = 0 ]; then sed '$d' "$1.end"; else cat "$1.end"; fi >"$1.old"
    before=$(($(wc -l <"$1.old") - 1))
    [ "$told" = 0 ] || told=$(head -c 65536 "$1.end" | wc -l)
    [ "$told" -le "$((before + 1))" ] || told=$((before + 1))
    echo "$told" >"$1.told"
}

# Prints what there is of what was printed to the file $1.
printed() {
    if [ -e "$1.old" ]; then
        tail -n +2 "$1" | cat "$1.old" -
    else
        cat "$1"
    fi
}

# Prints what was printed to the file $1, without the first $2 lines and to the $3rd at most, as it may
# be shown: the last 64 KiB.
tell_printed() {
    local size torn
    [ -s "$1" ] || [ -s "$1.old" ] || return 0
    torn=''
    printed "$1" | if [ -n "${3-}" ]; then head -n "$3"; else cat; fi |
        tail -n "+$(($2 + 1))" | tail -c 131072 >"$1.rest"
    size=$(wc -c <"$1.rest")
    [ "$size" -lt 131072 ] || torn=torn
    [ "$2" != 0 ] || [ ! -e "$1.old" ] || torn=torn
    veiled $torn <"$1.rest"
}

# The text $1 as it may be shown. It is in no argument.
order_mask() {
    veiled <<EOF
$1
EOF
}

# A body that was cut may have been cut within a secret.
shown_body() {
    if [ "$(wc -c <"$tmp/body")" -lt 65536 ]; then veiled; else veiled ragged; fi <"$tmp/body"
}

# Runs the `reverted` hooks, each whatever became of those before it.
# shellcheck disable=SC2120
run_reverted() {
    local command hook_limit what
    what='the reverted hook' hook_limit=$reverted_limit
    eval "set -- $reverted_hooks"
    for command in "$@"; do
        watched "$tmp/hook" run_in_live
        tell_hook "$?" || partly="the reverted hook \`$command\` failed"
    done
}

run_in_live() (
    # shellcheck disable=SC2086,SC2119
    enter_live && exec timeout -k 10 "$reverted_limit" $hook_shell "$command"
)

# Goes where commands run that are about what is live: there, or to deploy_to where nothing is. They
# get the variables of the activation, of which SHIPIT_RELEASE is what is live now.
# shellcheck disable=SC2120
enter_live() {
    local pair
    eval "set -- $variables"
    for pair in "$@"; do
        # shellcheck disable=SC2163
        export "$pair"
    done
    SHIPIT_RELEASE='' SHIPIT_RELEASE_PATH='' SHIPIT_REVERTED_RELEASE=${reverting:+$id}
    if [ -d "$root/current/" ]; then
        cd -P "$root/current/" || return
        SHIPIT_RELEASE=${PWD##*/} SHIPIT_RELEASE_PATH=$PWD
    else
        cd -P "$root" || return
    fi
    export SHIPIT_RELEASE SHIPIT_RELEASE_PATH SHIPIT_REVERTED_RELEASE
}
