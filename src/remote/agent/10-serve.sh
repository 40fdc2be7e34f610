# The conversation: reads requests, answers them in frames, and ends.

# Options from the environment (SHELLOPTS) would end the script or print its lines.
set +Cefuvx
tab='	'
# A line of the conversation holds no newline; a value that does is quoted with this variable.
nl='
'
# A program for a shell: writes its arguments, which are text and a file in turn, and text at the
# end.
# shellcheck disable=SC2016
tell='{
    while [ "$#" -gt 1 ]; do
        printf %s "$1" && cat "$2" || exit 1
        shift 2
    done
    printf %s "$1"
}'
# A program for awk: prints its input without the values of the env files that it is given, at most
# 64 KiB of whole lines from the end. The files are in any format: of what a line may mean to one of
# their readers, all is masked. `veil` says which values are no secrets (`config/secrecy.rs`).
# No value is in an argument. `torn`: the first line is not whole and is left out; `ragged`: so is
# the last one, if there are more. A number is not masked inside a longer number. Each line of a
# value counts.
# shellcheck disable=SC2016
veiling='
    function put(text, from, to,    at, out) {
        while (at = index(text, from)) {
            out = out substr(text, 1, at - 1) to
            text = substr(text, at + length(from))
        }
        return out text
    }
    function add(form) {
        if (form in forms) return
        forms[form]
        form_of[++count] = form
        number[count] = form !~ /[^0-9]/
    }
    function learn_line(value,    json) {
        json = put(put(put(value, "\\", "\\\\"), "\"", "\\\""), "\t", "\\t")
        add(value)
        add(json)
        add(put(json, "/", "\\/"))
        add(put(put(json, "\\", "\\\\"), "\"", "\\\""))
        add(put(value, "\047", "\047\\\047\047"))
    }
    function learn(name, value,    all, n, i) {
        if (length(value) < 6 || name in shown) return
        if (!(name in hidden) && index(names, value)) return
        n = split(value, all, "\n")
        for (i = 1; i <= n; i++) {
            gsub(/^[ \t\r]+|[ \t\r]+$/, "", all[i])
            if (length(all[i]) >= (n > 1 ? 8 : 6)) learn_line(all[i])
        }
    }
    function last(text, char,    at, found) {
        while (at = index(substr(text, found + 1), char)) found += at
        return found
    }
    function plain(text,    at, char, out) {
        while (at = index(text, "\\")) {
            char = substr(text, at + 1, 1)
            out = out substr(text, 1, at - 1) (char ~ /[nrtu]/ ? "\n" : char)
            text = substr(text, at + (char == "u" ? 6 : 2))
        }
        return out text
    }
    function is_open(value, quote) {
        return quote == "\"" ? value !~ /^([^"\\]|\\.)*"/ : !index(value, quote)
    }
    function read_env(file,    line, name, value, quote, at) {
        while ((getline line <file) > 0) {
            if (sub(/^  "/, "", line)) sub(/": /, "=", line)
            if (!index(line, "=") || line ~ /^[ \t]*#/) continue
            name = substr(line, 1, index(line, "=") - 1)
            sub(/^[ \t]*(export[ \t]+)?/, "", name)
            value = substr(line, index(line, "=") + 1)
            sub(/^[ \t]+/, "", value)
            quote = substr(value, 1, 1)
            if (quote != "\"" && quote != "\047") {
                learn(name, value)
                continue
            }
            value = substr(value, 2)
            while (is_open(value, quote) && (getline line <file) > 0) {
                value = value "\n" line
                if (line ~ /^[A-Za-z_0-9]+=/) learn(substr(line, 1, (at = index(line, "=")) - 1), substr(line, at + 1))
            }
            at = last(value, quote)
            if (at) learn(name, substr(value, 1, at - 1))
            if (index(value, "\\")) learn(name, plain(substr(value, 1, at - 1)))
            if (substr(value, at + 1) ~ /[^ \t,]/) learn(name, quote value)
            if (index(value, quote)) value = substr(value, 1, index(value, quote) - 1)
            learn(name, value)
        }
        close(file)
    }
    function masked(text,    i, from, at, upto, ends, out) {
        for (i = 1; i <= count; i++) {
            from = 0
            while (at = index(substr(text, from + 1), form_of[i])) {
                from += at
                upto = from + length(form_of[i])
                if (number[i] && substr(text, from - (from > 1), 1 + (from > 1)) ~ /^[0-9][0-9]/ && from > 1) continue
                if (number[i] && substr(text, upto, 1) ~ /[0-9]/) continue
                if (!(from in ends) || ends[from] < upto) ends[from] = upto
                out = "yes"
            }
        }
        if (!out) return text
        out = ""
        upto = 1
        for (at = 1; at <= length(text); at++) {
            if (at in ends) {
                if (at >= upto) out = out "***"
                if (ends[at] > upto) upto = ends[at]
            }
            if (at >= upto) out = out substr(text, at, 1)
        }
        return out
    }
    BEGIN {
        n = split(ENVIRON["veil"], said, "\n")
        for (i = 1; i <= n; i++) {
            rest = substr(said[i], 2)
            if (said[i] ~ /^-/) shown[rest]
            if (said[i] ~ /^[+]/) hidden[rest]
            if (said[i] ~ /^=/) names = names "\n" rest
        }
        for (i = 1; i < ARGC; i++) read_env(ARGV[i])
        ARGC = 1
    }
    NR == 1 && torn { gone = 1; next }
    {
        line[NR] = masked($0)
        size += length(line[NR]) + 1
        while (size > 65600 && gone < NR) {
            size -= length(line[++gone]) + 1
            delete line[gone]
        }
    }
    END {
        if (NR && gone >= NR) print "a line of more than 64 KiB is not shown"
        for (n = gone + 1; n <= NR; n++) if (n < NR || n == 1 || !ragged) print line[n]
    }
'

serve() {
    local first line mode scan
    run='' root='' owner='' services='' slots='' images='' deadline='' env_name='' hook_shell='' sudo='' veil=''
    arguments "$@"
    # shellcheck disable=SC2119
    slot='' slotted='' into=''
    count_services
    locked='' undecided='' ending='terminated' last=0
    flipped='' key='' base='' since='' appended='' ticked='' nested=''
    looked='' walked='' codes='' answer=0
    touched=0 reverting='' partly='' cause='' variables=''
    hears='' streams='' watcher=''
    umask 022
    lock=$root/.shipit/lock ledger=$root/.shipit/ledger.jsonl run_dir=$root/.shipit/run/$run
    deploy_lock=$root/.shipit/frozen holder_run='' unfinished=$root/.shipit/unfinished
    owed=$root/.shipit/owed
    can_answer
    who_we_are
    tmp=$(mktemp -d "${TMPDIR:-/tmp}/shipit.$machine.$$.XXXXXX") || exit 70
    trap end_conversation EXIT
    trap 'exit 143' TERM INT
    trap : PIPE HUP
    greet >"$tmp/out.$answer" 2>&1 </dev/null
    answered 0
    # Orders that came with the command cost no round trip.
    heard=$first
    while :; do
        # Shells take the square of a line's length to cut it off with a pattern.
        set -f
        IFS=$nl
        # shellcheck disable=SC2086
        set -- $heard
        set +f
        unset IFS
        for line in "$@"; do
            # shellcheck disable=SC2119
            take_line
        done
        looked='' walked=''
        framed read_on || exit 0
    done
}

# Sets the variable that each argument names: `id` for `id=20260821090001`. A list is quoted words.
arguments() {
    local argument
    for argument in "$@"; do
        eval "${argument%%=*}=\${argument#*=}"
    done
}

# If a tool that every answer needs is missing, writes a greeting by hand and ends.
can_answer() {
    local tool text
    text=''
    for tool in timeout id mktemp wc cat; do
        command -v "$tool" >/dev/null 2>&1 || text="${text}missing $tool is not installed$nl"
    done
    [ -n "$text" ] || return 0
    [ ! -L "$root/current" ] || text="${text}current $(readlink "$root/current")$nl"
    printf '%s out %s\n%s%s done 0\n' "$run" "${#text}" "$text" "$run"
    exit 0
}

# `id` prints `uid=1000(ada) gid=1000(ada) groups=1000(ada),27(sudo)`; a user without a name is a
# number.
who_we_are() {
    local group rest
    uid=$(id) groups=''
    rest=${uid##* groups=}
    rest=${rest%% context=*},
    uid=${uid#uid=}
    user=${uid%% *} uid=${user%%"("*}
    user=${user#*"("}
    user=${user%")"}
    while [ -n "$rest" ]; do
        group=${rest%%,*} rest=${rest#*,}
        group=${group#*"("}
        groups="$groups ${group%")"}"
    done
    IFS= read -r machine 2>/dev/null </proc/sys/kernel/hostname || machine=$(uname -n)
}

# Writes the answers in $@, then reads the lines of the next message, and no more: the client may
# send lines ahead. The deadline counts for a client that does not read as well. dash has no `read
# -t`, so a shell under timeout does both; `exec`, so that no waiting shell keeps the lock's
# descriptor. A line may hold a secret: the ksh family has no builtin printf, so its `print` is
# used.
read_on() {
    # shellcheck disable=SC2016
    { heard=$(exec timeout "$deadline" /bin/sh -c "$tell"' >&8 2>/dev/null || exit 1
        while IFS= read -r line; do
            if [ -n "${KSH_VERSION-}" ]; then print -r -- "$line"; else printf "%s\n" "$line"; fi
            case $line in "& "*) ;; *) exit 0 ;; esac
        done
        exit 1' sh "$@" 8>&8 9>&-); } 8>&1
    case $? in
        0) ;;
        124 | 137 | 143) ending=deadline && return 1 ;;
        *) ending='end of input' && return 1 ;;
    esac
}

# shellcheck disable=SC2120
take_line() {
    local began chained
    chained='' line=${line#& }
    case $line in
        '+ '*) chained=yes line=${line#+ } ;;
    esac
    # A line that does not parse ends most shells. That ends the conversation, and the EXIT trap
    # reverts.
    eval "set -- $line"
    case $1 in
        hold) return 0 ;;
        bye)
            ending=asked
            framed last_words
            exit 0
            ;;
        unpack) take_inline_upload "$@" ;;
    esac
    if [ -n "$chained" ] && [ "$last" != 0 ]; then
        : >"$tmp/out.$answer"
        answered 125
        return "$?"
    fi
    # A hook may take long and print: answers that wait are sent first.
    case $1 in
        hook | activate | commit | revert | conclude) [ -z "$codes" ] || framed last_words ;;
    esac
    look_at_uptime
    began=$uptime hears=yes
    obey "$@" 7>&1 >"$tmp/out.$answer" 2>&1 </dev/null
    last=$?
    hears=''
    # Half of a frame may have been written; the client would misread all that follows.
    [ ! -e "$tmp/deaf" ] || { ending=deadline && exit 0; }
    look_at_uptime
    answered "$last" "${began:+$((uptime - began))}"
    # The release stays, whatever its hooks say: what is chained to the commit goes on.
    [ "$1-$last" != commit-5 ] || last=0
}

# Reads exactly the bytes of an upload that follow the lines of its message. BusyBox' head would
# read more than it prints.
take_inline_upload() {
    local codec records size
    shift
    arguments "$@"
    timeout 300 dd bs="$size" count=1 iflag=fullblock >"$tmp/upload" 2>"$tmp/block" 9>&-
    read -r records <"$tmp/block"
    case $records in
        1+0*) return 0 ;;
    esac
    ending='end of input'
    exit 0
}

# Calls the function of an order. Its name says whether the order needs the run lock.
obey() {
    local verb
    verb=$1
    shift
    if command -v "order_$verb" >/dev/null; then
        "order_$verb" "$@"
    elif ! command -v "locked_order_$verb" >/dev/null; then
        echo "there is no order $verb"
        return 2
    elif [ -z "$locked" ]; then
        echo 'the lock is not ours'
        return 1
    else
        "locked_order_$verb" "$@"
    fi
}

# Sets `uptime` to hundredths of seconds since boot, without a program.
look_at_uptime() {
    local whole part
    uptime=''
    IFS='. ' read -r whole part _ 2>/dev/null </proc/uptime || return 0
    uptime=$((${whole}00 + 1$part - 100))
}

# Queues the answer that is in its file, with its code and the hundredths of seconds that it took.
# It is sent with those to the other lines of the message.
answered() {
    codes="$codes $1,${2-}" answer=$((answer + 1))
}

# Calls $1 with the rest of the arguments and all queued answers as frames, for `tell`. A frame
# states its length, so nothing in it is taken for its end.
framed() {
    local code ended heads size writer
    writer=$1 ended='' heads=''
    shift
    measure
    answer=0
    for code in $codes; do
        size=0
        if [ -s "$tmp/out.$answer" ]; then
            size=${sizes%%"$nl"*} sizes=${sizes#*"$nl"}
            size=${size%" $tmp/out.$answer"} size=${size##* }
        fi
        heads="$heads${ended:+$run done ${ended%,*} ${ended#*,}$nl}$run out $size$nl"
        if [ "$size" != 0 ]; then
            set -- "$@" "$heads" "$tmp/out.$answer"
            heads=''
        fi
        ended=$code answer=$((answer + 1))
    done
    codes='' answer=0
    "$writer" "$@" "$heads${ended:+$run done ${ended%,*} ${ended#*,}$nl}"
}

# Sets `sizes` to what wc prints of the answers that are not empty.
measure() {
    local code
    answer=0 sizes=''
    for code in $codes; do
        [ ! -s "$tmp/out.$answer" ] || set -- "$@" "$tmp/out.$answer"
        answer=$((answer + 1))
    done
    [ "$#" = 0 ] || sizes=$(wc -c "$@") || exit 0
}

last_words() {
    timeout "$deadline" /bin/sh -c "$tell" sh "$@" 2>/dev/null </dev/null 9>&-
}

# For the EXIT trap: after a signal that is caught there, dash and BusyBox take the status of `exit`
# for that of the last command, and a step that failed would count as done. Programs still heed
# signals.
ignore_signals() {
    trap '' TERM INT PIPE HUP
    timeout() (
        heed_signals
        # mksh would run the function again.
        unset -f timeout
        exec timeout "$@"
    )
}

heed_signals() {
    trap - TERM INT PIPE HUP
}

# Runs when the shell exits, for whatever reason.
end_conversation() {
    local draft
    ignore_signals
    hears='' streams=''
    [ -z "$watcher" ] || stop_watching
    if [ -n "$undecided" ]; then
        reason=$ending cause=''
        revert >/dev/null 2>&1 </dev/null
    fi
    if [ -n "$locked" ]; then
        end_channels
        for draft in "$root/.current.$run" "$root"/slots/.*."$run"; do
            [ ! -L "$draft" ] || rm -f "$draft"
        done
        unlock
        clean_up_tmp
    fi
    [ ! -e "$tmp" ] || rm -rf "$tmp"
}

# Removes temporary directories of agents that were killed. The name holds machine and process, for
# machines may share the place. Links, and what other users made, stay.
clean_up_tmp() {
    local path pid
    for path in "${tmp%.*.*}".*.??????; do
        [ -d "$path" ] || continue
        pid=${path%.*}
        kill -0 "${pid##*.}" 2>/dev/null ||
            find "$path" -prune -type d -user "$uid" -exec rm -rf {} + 2>/dev/null
    done
}

# Ends the data channels of this conversation, which would write into a new run's tree, and removes
# `run_dir`, `tmp` and what is no longer needed of an upload. The tree of an upload that broke off
# stays: the next one sends only the rest. Secrets do not stay. A channel that starts now writes its
# pid file into the directory being removed; `rm` then fails, so we try again. `kill` gets a group
# without `--`, which dash and BusyBox take for a number.
end_channels() {
    local path pid channel
    for _ in 1 2 3 4 5 6 7 8 9; do
        for channel in "$run_dir"/channel.*; do
            [ -f "$channel" ] || continue
            pid=${channel##*.}
            kill -TERM "-$pid" 2>/dev/null || kill -TERM "$pid" 2>/dev/null
        done
        set -- "$run_dir" "$tmp"
        for path in "$root"/releases/.2*."$run"; do
            if [ -d "$path/tree" ]; then
                set -- "$@" "$path"/meta/env*
            elif [ -e "$path" ]; then
                set -- "$@" "$path"
            fi
        done
        rm -rf "$@" 2>/dev/null && break
    done
}
