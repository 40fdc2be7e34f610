# Commands of the user: running them, and what they print.

locked_order_hook() {
    local code command ended id name vars what within
    arguments "$@"
    what="the $name hook" streams=$name
    run_command
    code=$?
    streams=''
    return "$code"
}

# Prints its input without secrets: see `veiling`. Argument: `torn`, `ragged` or nothing.
veiled() {
    # shellcheck disable=SC3043
    local edge="${1:-whole}" name path
    set --
    # Older releases may have their env file under the default name.
    while IFS= read -r name; do
        for path in "$root"/releases/*/"$name"; do
            [ ! -f "$path" ] || [ ! -r "$path" ] || set -- "$@" "$path"
        done
    done <<EOF
$env_name
.env
$(cat "$root/.shipit/env-files" 2>/dev/null)
EOF
    veil=$veil LC_ALL=C awk -v "$edge=1" "$veiling" "$@" ||
        echo 'what it said is not shown, for awk could not look for secrets in it'
}

# Runs `command` of the user in the release `id`, `within` seconds and with `vars`. Says how it
# ended if that was not well.
run_command() {
    watched "$tmp/hook" run_in_release
    tell_hook "$?"
}

run_in_release() (
    eval "set -- $vars"
    heed_signals
    # shellcheck disable=SC2086
    cd "$root/releases/$id" && exec timeout -k 10 "$within" env "$@" $hook_shell "$command"
)

# Prints the output of a command of the user that ended with code $1, without what was told while it
# ran. If it failed, prints all of its output, and how it `ended`.
tell_hook() {
    local skip
    skip=0
    [ "$1" != 0 ] || [ ! -s "$tmp/hook.told" ] || read -r skip <"$tmp/hook.told"
    tell_printed "$tmp/hook" "$skip"
    case $1 in
        0) return 0 ;;
        124 | 137) ended="$what ran longer than ${within}s" ;;
        *) ended="$what exited with code $1" ;;
    esac
    printf '\n%s\n' "$ended"
    return 1
}

# Runs the function $2 with its arguments, which runs a command of the user; its output goes to the
# file $1. Processes that the command leaves running may go on to print and are not waited for.
watched() {
    local code file
    file=$1
    shift
    [ ! -e "$file.over" ] || rm -f "$file".*
    : >"$file"
    watch "$file" &
    watcher=$!
    "$@" >>"$file" 2>&1 </dev/null 7>&- 9>&-
    code=$?
    stop_watching
    return "$code"
}

# Ends the watcher. Before it has set its trap, a signal could be lost or run the trap of the agent.
stop_watching() {
    : >"$file.over"
    [ ! -e "$file.ready" ] || kill "$watcher" 2>/dev/null
    wait "$watcher" 2>/dev/null
    watcher=''
}

# While a command prints to the file $1: tells new lines once a second, if it `streams`, and cuts
# the file when it exceeds 8 MiB. A signal interrupts only the sleep, so a frame is written whole.
watch() {
    local over nap tick lines size
    exec 9>&-
    over='' nap=0.2 tick=0 told=0 dropped=0
    trap 'over=yes' TERM
    : >"$1.ready"
    while [ -z "$over" ] && [ ! -e "$1.over" ] && kill -0 "$$" 2>/dev/null && [ -e "$1" ]; do
        sleep "$nap" >/dev/null 2>&1 7>&- &
        # A sleep that knows no fractions fails at once.
        wait "$!" || nap=1
        [ -z "$over" ] && [ ! -e "$1.over" ] || return 1
        { wc -lc <"$1" >"$1.size" && read -r lines size <"$1.size"; } 2>/dev/null || return "$?"
        tick=$((tick + 1))
        if [ -n "$streams" ] && { [ "$nap" = 1 ] || [ $((tick % 5)) = 0 ] || [ "$size" -gt 8388608 ]; }; then
            tell_new "$1" "$((lines + dropped))"
        fi
        [ "$size" -le 8388608 ] || cut_short "$1" "$size"
    done
}

# Writes a `say` frame with the lines of the file $1 up to line $2 that were not told yet.
tell_new() {
    [ "$2" -gt "$told" ] || return 0
    tell_printed "$1" "$told" "$2" >"$1.new"
    told=$2
    echo "$told" >"$1.told"
    say "$1.new"
}

# Writes a `say` frame with the file $1.
say() {
    local size
    size=$(wc -c <"$1")
    timeout "$deadline" /bin/sh -c "$tell" sh "$run say $((size)) $streams$nl" "$1" '' \
        >&7 2>/dev/null </dev/null 9>&- && return 0
    streams=''
    : >"$tmp/deaf"
}

# Moves the last 64 KiB of the first $2 bytes of the file $1 aside and empties it; the writer
# appends. The line that is cut may hold half of a secret and is left out.
cut_short() {
    tail -c "+$(($2 - 65535))" "$1" >"$1.end"
    : >"$1"
    if [ "$(tail -c 1 "$1.end" | wc -l)" = 0 ]; then sed '$d' "$1.end"; else cat "$1.end"; fi >"$1.old"
    dropped=$(($(wc -l <"$1.old") - 1))
    [ "$told" = 0 ] || told=$(head -c 65536 "$1.end" | wc -l)
    [ "$told" -le "$((dropped + 1))" ] || told=$((dropped + 1))
    echo "$told" >"$1.told"
}

# Prints what is kept of the output in the file $1.
printed() {
    if [ -e "$1.old" ]; then
        tail -n +2 "$1" | cat "$1.old" -
    else
        cat "$1"
    fi
}

# Prints the output in the file $1 after line $2, up to line $3 if that is given: the last 64 KiB,
# without secrets.
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

# Prints `text` without secrets.
order_mask() {
    local text
    arguments "$@"
    veiled <<EOF
$text
EOF
}

# Prints the body without secrets. One that was cut may end within a secret.
shown_body() {
    if [ "$(wc -c <"$tmp/body")" -lt 65536 ]; then veiled; else veiled ragged; fi <"$tmp/body"
}

# Runs the hooks of place $1 in the order of its list. While nothing is decided, the first that
# fails is the last. Afterwards all are run, and `partly` names one that failed.
run_hooks() {
    local command ended hooks place what within
    place=$1
    find_hooks "$place"
    eval "set -- $hooks"
    while [ "$#" -gt 1 ]; do
        within=$1 command=$2
        shift 2
        what="the $place hook \`${command%%"$nl"*}\`"
        run_one_hook && continue
        if [ -n "$undecided" ]; then
            cause=$ended
            return 1
        fi
        went_wrong "$what failed"
    done
}

# Sets `hooks` to the hooks of place $1.
find_hooks() {
    case $1 in
        before_switch) hooks=$before_switch_hooks ;;
        switched) hooks=$switched_hooks ;;
        committed) hooks=$committed_hooks ;;
        reverted) hooks=$reverted_hooks ;;
    esac
}

# Runs `command`, a hook of the `place`. Its output is told at once, and is in the answer only if it
# failed.
run_one_hook() {
    local code
    streams=${hears:+$place}
    [ ! -e "$tmp/deaf" ] || streams=''
    watched "$tmp/hook" run_in_place
    tell_hook "$?" >"$tmp/said"
    code=$?
    if [ "$code" != 0 ]; then
        cat "$tmp/said"
    elif [ -n "$streams" ] && [ -s "$tmp/said" ] && [ ! -e "$tmp/deaf" ]; then
        say "$tmp/said"
    fi
    streams=''
    return "$code"
}

# A `reverted` hook runs in what is live again, all others in the new release.
run_in_place() (
    if [ "$place" = reverted ]; then
        enter_live || exit
        export SHIPIT_FAILED="$cause"
    else
        enter_candidate || exit
    fi
    heed_signals
    # shellcheck disable=SC2086
    exec timeout -k 10 "$within" $hook_shell "$command"
)

# Exports the variables of the activation.
# shellcheck disable=SC2120
export_variables() {
    local pair
    eval "set -- $variables"
    for pair in "$@"; do
        # shellcheck disable=SC2163
        export "$pair"
    done
}

# Enters the release that is activated, and exports the variables of the activation.
enter_candidate() {
    # shellcheck disable=SC2119
    export_variables
    export SHIPIT_RELEASE="$candidate" SHIPIT_RELEASE_PATH="$root/releases/$candidate"
    cd "$SHIPIT_RELEASE_PATH" || return "$?"
}

# Enters the live release, or deploy_to if nothing is live, and exports the variables of the
# activation. SHIPIT_RELEASE is what is live now.
enter_live() {
    # shellcheck disable=SC2119
    export_variables
    SHIPIT_RELEASE='' SHIPIT_RELEASE_PATH='' SHIPIT_REVERTED_RELEASE=${reverting:+$candidate}
    if [ -d "$root/current/" ]; then
        cd -P "$root/current/" || return "$?"
        SHIPIT_RELEASE=${PWD##*/} SHIPIT_RELEASE_PATH=$PWD
    else
        cd -P "$root" || return "$?"
    fi
    export SHIPIT_RELEASE SHIPIT_RELEASE_PATH SHIPIT_REVERTED_RELEASE
}
