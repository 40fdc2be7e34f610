# The agent: all that is ever done on a host, as short functions. It is handed to sshd as a
# command, lives as long as the conversation, and is never installed. It runs under any POSIX
# shell that has `local`. One rule ends it: when the conversation ends, whatever ended it, what was
# activated and not committed is put back first, then the lock is let go.
#
# No `set -e`: statements are chained or say `|| return`. Nothing is written to standard output
# without a limit in time. Everything it runs has no standard input and not the lock's descriptor.

# shellcheck disable=SC3043
# Options that came from outside (SHELLOPTS) would end or print what is written here.
set +Cefuvx
tab='	'
# Lines of the control channel hold no newlines; values that do are written with this.
nl='
'
# For a shell whose arguments are text and a file in turn, and text at last. The text is no secret.
# shellcheck disable=SC2016
tell='{
    while [ "$#" -gt 1 ]; do
        printf %s "$1" && cat "$2" || exit 1
        shift 2
    done
    printf %s "$1"
}'

# Its input without the values of the env files that it is given, and of that the last whole lines, 64
# KiB of them at most. `veil` says what is no secret (`config/secrecy.rs`); no value is in an argument.
# With `torn` the first line is not whole and left out; with `ragged` the last one is, if there are more.
# A number is not looked for within a longer one. Of long values each line counts.
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
    function read_env(file,    line, name, value, quote) {
        while ((getline line <file) > 0) {
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
            while (!index(value, quote) && (getline line <file) > 0) value = value "\n" line
            if (last(value, quote)) learn(name, substr(value, 1, last(value, quote) - 1))
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

# --- the conversation -------------------------------------------------------------------------

serve() {
    run=$1 mode=$2 root=$3 deadline=$4 owner=$5 scope=$6 target=$7 action=$8 limit=$9
    shift 9
    scan=$1 log=$2 veil=$3 env_name=$4 first=$5
    shift 5
    hook_shell=$*
    locked='' undecided='' ending='terminated' last=0 env_file=''
    before='' flipped='' key='' base='' since='' logged=0 appended='' ticked='' nested=''
    looked='' walked='' codes='' answer=0
    unit_before='' reverting='' partly='' variables='' reverted_hooks=''
    streams='' watcher=''
    umask 022
    lock=$root/.shipit/lock ledger=$root/.shipit/ledger.jsonl wards=$root/.shipit/run/$run
    frozen=$root/.shipit/frozen holder_run='' unfinished=$root/.shipit/unfinished
    can_answer
    who_we_are
    tmp=$(mktemp -d "${TMPDIR:-/tmp}/shipit.$machine.$$.XXXXXX") || exit 70
    trap end EXIT
    trap 'exit 143' TERM INT
    trap : PIPE HUP
    : >"$tmp/extra"
    greet >"$tmp/out.$answer" 2>&1 </dev/null
    answered 0
    # What the other side would ask in any case came with it, and costs no round trip.
    heard=$first
    while :; do
        while [ -n "$heard" ]; do
            line=${heard%%"$nl"*}
            heard=${heard#"$line"} && heard=${heard#"$nl"}
            # shellcheck disable=SC2119
            take_line
        done
        looked='' walked=''
        framed read_on || exit 0
    done
}

# Greets by hand, and ends, where what every answer needs is not installed.
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

# `id` prints `uid=1000(ada) gid=1000(ada) groups=1000(ada),27(sudo)`; who has no name is a number.
who_we_are() {
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

# Tells the answers, and reads the next line, and those after it where it says that they belong to it:
# never more, so that lines may be sent ahead. Neither a client that is silent nor one that does not
# read may disarm the deadline. dash has no `read -t`, so a short-lived shell does it; `exec`, so that
# no shell waits for it which has the lock's descriptor. A line may hold a secret, and where printf is
# a program, others see its arguments: that is the ksh family, whose own `print` will do.
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
    chained='' line=${line#& }
    case $line in
        '+ '*) chained=yes line=${line#+ } ;;
    esac
    # What is no words at all ends most shells, and so the conversation: nothing is left undecided.
    eval "set -- $line"
    case $1 in
        hold) return ;;
        bye)
            ending=asked
            framed last_words
            exit 0
            ;;
        unpack) take_parcel "$3" ;;
    esac
    if [ -n "$chained" ] && [ "$last" != 0 ]; then
        : >"$tmp/out.$answer"
        answered 125
        return
    fi
    # A hook may take long: what was done before it is told before it begins.
    [ "$1" != hook ] || [ -z "$codes" ] || framed last_words
    look_at_uptime
    began=$uptime
    obey "$@" 7>&1 >"$tmp/out.$answer" 2>&1 </dev/null
    last=$?
    # Half of a frame may have gone out: nothing behind it would be understood.
    [ ! -e "$tmp/deaf" ] || { ending=deadline && exit 0; }
    look_at_uptime
    answered "$last" "${began:+$((uptime - began))}"
}

# The bytes that follow the line and those that belong to it, all of them and no more, so that the
# next line is one. BusyBox' head takes more than it is asked for.
take_parcel() {
    timeout 300 dd bs="$1" count=1 iflag=fullblock >"$tmp/parcel" 2>"$tmp/block" 9>&-
    read -r records <"$tmp/block"
    case $records in
        1+0*) return ;;
    esac
    ending='end of input'
    exit 0
}

obey() {
    order=$1
    shift
    case $order in
        lock | look | judge | journal | probe | history | verify | drift | thaw | break | base | \
            manifest | mask)
            "order_$order" "$@"
            ;;
        unpack | check | discard | link | env | revision | hook | try | fetch | reach | seal | \
            stage | activate | adopt | commit | revert | record | prune | sweep | freeze)
            if [ -z "$locked" ]; then
                echo 'the lock is not ours'
                return 1
            fi
            "order_$order" "$@"
            ;;
        *)
            echo "there is no order $order"
            return 2
            ;;
    esac
}

# Hundredths of seconds since the machine was started, as `uptime`, without a program.
look_at_uptime() {
    local whole part
    uptime=''
    IFS='. ' read -r whole part _ 2>/dev/null </proc/uptime || return 0
    uptime=$((${whole}00 + 1$part - 100))
}

# The answer with this code, and with this time in hundredths of seconds, is in its file and waits for those to the lines that came with it.
answered() {
    codes="$codes $1${2:+,$2}" answer=$((answer + 1))
}

# Calls $1 with all answers that wait, for `tell`. A frame says how long it is, so nothing in it can be
# taken for its end.
framed() {
    then=$1 ended='' heads=''
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
        case $code in *,*) ended=$code ;; *) ended=$code, ;; esac
        answer=$((answer + 1))
    done
    codes='' answer=0
    "$then" "$@" "$heads${ended:+$run done ${ended%,*} ${ended#*,}$nl}"
}

# How many bytes the answers have that are not empty: lines of wc.
measure() {
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

# The end of everything, however it came.
end() {
    trap : TERM INT PIPE HUP
    streams=''
    [ -z "$watcher" ] || stop_watching
    if [ -n "$undecided" ]; then
        reason=$ending
        revert >/dev/null 2>&1 </dev/null
    fi
    if [ -n "$locked" ]; then
        end_wards
        [ ! -L "$root/.current.$run" ] || rm -f "$root/.current.$run"
        unlock
        sweep_tmp
    fi
    [ ! -e "$tmp" ] || rm -rf "$tmp"
}

# What agents that were killed left beside our own temporary directory. Their names say which
# process of which machine made them, for machines may share the place; a link there, or what
# another user made, is none of ours.
sweep_tmp() {
    for path in "${tmp%.*.*}".*.??????; do
        [ -d "$path" ] || continue
        pid=${path%.*}
        kill -0 "${pid##*.}" 2>/dev/null ||
            find "$path" -prune -type d -user "$uid" -exec rm -rf {} + 2>/dev/null
    done
}

# Data channels of this conversation must not outlive it: they would write into a new run's tree.
# Here and elsewhere a group is ended without `--`, which dash and BusyBox take for a number.
# One that begins meanwhile puts its name into what is being removed, which is then still there. Our
# own temporary directory goes with it, and what is no longer needed of an upload. What arrived of one
# that broke off stays for the next, which sends only the rest. Secrets do not.
end_wards() {
    for _ in 1 2 3 4 5 6 7 8 9; do
        for ward in "$wards"/ward.*; do
            [ -f "$ward" ] || continue
            pid=${ward##*.}
            kill -TERM "-$pid" 2>/dev/null || kill -TERM "$pid" 2>/dev/null
        done
        set -- "$wards" "$tmp"
        for path in "$root"/releases/.2*."$run"; do
            [ ! -d "$path/tree" ] || path=$path/meta/env
            [ ! -e "$path" ] || set -- "$@" "$path"
        done
        rm -rf "$@" 2>/dev/null && break
    done
}

# --- the lock ---------------------------------------------------------------------------------

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
    if ! mkdir -p "$wards"; then
        echo 'this run has no directory of its own'
        unlock
        return 1
    fi
    echo "$$" >"$wards/agent" && echo "$token" >"$wards/token"
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
    sweep_tmp
}

# Keeps everybody who wants the lock off. Arguments: who and why, a line for revisions.log.
order_freeze() {
    look_at_clock
    if ! printf '%s, since %s\n' "$1" "$now" >"$wards/frozen" || ! mv -f "$wards/frozen" "$frozen"; then
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

# --- looking ----------------------------------------------------------------------------------

# Where a newer program was, nothing is made and no lock is taken.
greet() {
    look_at_owners
    look_format
    if [ "$mode" = lock ] && [ ! -s "$tmp/strange" ] && [ -z "$newer" ]; then
        if ! make_layout >"$tmp/why" 2>&1; then
            sed 's/^/missing /' "$tmp/why"
        else
            take_lock >"$tmp/why" 2>&1
            case $? in
                0) ;;
                75) printf 'holder %s\n' "$(head -n 1 "$tmp/why")" ;;
                *) sed 's/^/missing /' "$tmp/why" ;;
            esac
        fi
    fi
    order_look
}

# Notes in `strange` what is not ours to write to. A link, or a file of another user, would have us
# write where that user likes; who owns deploy_to, or may rename it, says what is live. Another user's
# are ours to use where their group may write to them, as somebody meant them to be shared; but not
# for root, who may write anywhere.
look_at_owners() {
    local place friends
    place=$root friends='-perm -020'
    [ "$uid" != 0 ] || friends='-user 0'
    set -- "$root/." "$root/revisions.log" "$root/releases" "$root/.shipit" "$root"/.shipit/*
    {
        # shellcheck disable=SC2086
        find "$@" -prune ! -name lock.held ! -name 'lock.break.*' \( -type l -o ! -type d ! -type f -o -perm -002 -o \
            ! -user "$uid" ! -user 0 ! \( $friends \) \) -exec stat -c '%A %U %u %n' {} +
        set --
        while [ -n "$place" ]; do
            place=${place%/*}
            set -- "$@" "$place/."
        done
        find "$@" -prune -perm -002 ! -perm -1000 -exec stat -c '%A %U %u %n' {} +
    } 2>/dev/null >"$tmp/strange"
}

are_ours() {
    [ -s "$tmp/strange" ] || return 0
    sed 's/^/not ours to write to: /' "$tmp/strange"
    return 1
}

make_layout() {
    [ -d "$root" ] || mkdir -p "$root" || return 1
    make_dir "$root/releases" && make_dir "$root/shared" &&
        make_dir "$root/.shipit" -m 700 || return 1
    for part in manifests run trash; do
        make_dir "$root/.shipit/$part" || return 1
    done
    if [ ! -w "$root/releases" ]; then
        echo "$root/releases cannot be written by $user"
        return 1
    fi
    [ -s "$root/.shipit/format" ] || echo 1 >"$root/.shipit/format"
}

# The version of all that lies in .shipit, and who wrote it; there was no such file at first.
look_format() {
    newer=''
    [ -s "$root/.shipit/format" ] || return 0
    IFS= read -r newer <"$root/.shipit/format"
    case $newer in
        1 | '1 '*) newer='' ;;
        *) newer=${newer:-unknown} ;;
    esac
}

# Another run may make it at the same moment.
make_dir() {
    [ -d "$1" ] || mkdir "$@" || [ -d "$1" ]
}

# Config digests are keyed: a plain one would give weak secrets away.
make_key() {
    if [ ! -s "$root/.shipit/key" ]; then
        (umask 077 && head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$root/.shipit/key")
    fi
    IFS= read -r key <"$root/.shipit/key" || :
}

# Whether one link to a directory can replace another in one step, tried in $1 with links to the
# directories $2 and $3, whose names differ. Where `current` is a link, that has been seen.
can_flip() {
    [ ! -L "$root/current" ] || return 0
    # shellcheck disable=SC3013
    ln -sf "$2" "$3" "$1" && replace "$1/${3##*/}" "$1/${2##*/}" >/dev/null &&
        [ ! -L "$1/${3##*/}" ] && [ "$1/${2##*/}" -ef "$3" ]
}

# The same where nothing is to be changed.
could_flip() {
    mkdir -p "$tmp/trial" "$tmp/old" "$tmp/new" && can_flip "$tmp/trial" "$tmp/old" "$tmp/new"
}

# `mv` with neither would move a link into the directory it should replace. GNU's and BusyBox' know
# only the first, so what that says is why it failed.
replace() {
    why=$(mv -fT "$1" "$2" 2>&1) || mv -fh "$1" "$2" 2>/dev/null || {
        echo "$why"
        return 1
    }
}

order_look() {
    look_machine
    look_needs
    [ ! -s "$tmp/strange" ] || sed 's/^/strange /' "$tmp/strange"
    look_holder
    look_tree
    look_ledger
    look_unit
    look_in_use
    look_leftovers
    [ -s "$tmp/strange" ] || printf 'key %s\n' "${key:-$(cat "$root/.shipit/key" 2>/dev/null)}"
}

look_holder() {
    [ ! -s "$tmp/strange" ] || return 0
    [ -s "$frozen" ] && printf 'frozen %s\n' "$(head -n 1 "$frozen")"
    [ -z "$locked" ] && [ -s "$lock" ] || return 0
    find_holder
    if [ -n "$holder_run" ]; then
        printf 'holder %s\nowner %s %s\n' "$(head -n 1 "$lock")" "$holder_pid" "$holder_run"
    else
        printf 'stale %s\n' "$(head -n 1 "$lock")"
    fi
}

look_machine() {
    look_at_clock
    printf 'clock %s\nuser %s\nuid %s\nshell %s\ngroups%s\n' "$seconds" "$user" "$uid" \
        "${SHELL-}" "$groups"
    place=$root
    while [ ! -d "$place" ]; do
        place=${place%/*} place=${place:-/}
    done
    stat -f -c 'free %a %S %d' "$place" 2>/dev/null
    for tool in zstd gzip sudo systemctl journalctl curl wget; do
        command -v "$tool" >/dev/null 2>&1 && printf 'tool %s\n' "$tool"
    done
}

look_needs() {
    for tool in flock tar timeout dd sha256sum find sort stat sed grep awk mktemp readlink cmp; do
        command -v "$tool" >/dev/null 2>&1 || printf 'missing %s is not installed\n' "$tool"
    done
    if [ -n "$locked" ]; then
        can_flip "$wards" "$root/.shipit/run" "$root/.shipit/trash" || say_no_flip
        look_sudo "$action"
    fi
}

say_no_flip() {
    echo 'missing mv cannot replace a link in one step'
}

# What sudo says of systemctl with each of these verbs. With a command, `-l` says yes as well where
# the rule wants a password, so all rules are told too.
look_sudo() {
    local verb line allowed
    [ "$scope" = system ] && [ "$uid" != 0 ] || return 0
    allowed=''
    for verb in "$@"; do
        if LC_ALL=C timeout 10 sudo -n -l systemctl "$verb" "$target" >/dev/null 2>"$tmp/why" 9>&-; then
            allowed=yes
            printf 'sudo %s yes\n' "$verb"
        else
            IFS= read -r line <"$tmp/why" || line=''
            printf 'sudo %s no %s\n' "$verb" "$line"
        fi
    done
    [ -n "$allowed" ] || return 0
    LC_ALL=C timeout 10 sudo -n -l 2>/dev/null 9>&- | while IFS= read -r line; do
        printf 'sudorule %s\n' "$line"
    done
}

look_tree() {
    pointed='' looked=yes
    if [ -L "$root/current" ]; then
        pointed=$(readlink "$root/current") || echo 'missing current cannot be read'
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
}

# A manifest of another version than the first says so in its first line.
look_manifests() {
    local first
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

# The release that is live, if it is one of ours. What came with a look need not look again.
find_live() {
    [ -n "$looked" ] || pointed=$(readlink "$root/current" 2>/dev/null)
    live=$pointed
    case $live in
        releases/*/*) live='' ;;
        releases/*) live=${live#releases/} ;;
        *) live='' ;;
    esac
}

# A ledger that is read in part tells another story, by which prune would delete.
look_ledger() {
    [ -s "$ledger" ] || return 0
    ledger_lines "$ledger"
    case $? in
        0) return ;;
        9) tr '\000' '\001' <"$ledger" >"$tmp/ledger" && ledger_lines "$tmp/ledger" sane && return ;;
    esac
    echo 'missing the ledger cannot be read'
}

# The lines of the releases that are there, those that are not as we write them, those of releases
# that were never staged (a damaged id), and the last 50 for the rest of the story. BusyBox' awk takes
# a zero byte for the end of a line: 9, unless $2 says that there are none in $1.
ledger_lines() {
    # The first name makes sure that there is one: else the ledger would be taken for the names.
    for path in '*' "$root"/releases/*; do
        printf '"release":"%s"\n' "${path##*/}"
    done >"$tmp/names"
    LC_ALL=C awk -v sane="${2-}" '
        BEGIN { if (sane == "" && length(sprintf("%c", 0)) == 0) { early = 9; exit early } }
        NR == FNR { there[$0]; next }
        { line[FNR] = $0 }
        !/^[{]"v":1,"event":"[a-z-]*","at":"[^"]*","release":"[^"]*",.*[}]$/ { told[FNR]; next }
        {
            match($0, /"release":"[^"]*"/)
            of[FNR] = substr($0, RSTART, RLENGTH)
            if (of[FNR] in there) told[FNR]
            if (index($0, "\"event\":\"staged\"")) staged[of[FNR]]
        }
        END {
            if (early) exit early
            for (n = 1; n <= FNR; n++)
                if (n > FNR - 50 || n in told || !(of[n] in staged)) print "ledger " line[n]
        }
    ' "$tmp/names" "$1"
}

# One program for all processes: one for each would take a second on a busy host.
look_in_use() {
    case $scan$others in
        yes* | othersyes) [ -d "$root/releases" ] || return 0 ;;
        *) return 0 ;;
    esac
    local real
    real=$(cd "$root/releases" && pwd -P)
    # shellcheck disable=SC2012
    ls -l /proc/[0-9]*/cwd /proc/[0-9]*/exe 2>/dev/null >"$tmp/processes"
    # Names are bytes, whatever the locale is.
    real=$real LC_ALL=C awk '
        BEGIN { here = "-> " ENVIRON["real"] "/" }
        at = index($0, here) {
            name = substr($0, at + length(here))
            sub(/\/.*/, "", name)
            print "inuse " name
        }
    ' "$tmp/processes" && [ -n "$real" ] && [ -s "$tmp/processes" ] ||
        echo 'missing /proc does not say what runs'
    look_hidden
}

# When those processes of the unit began whose directories we may not see, in seconds since boot.
look_hidden() {
    local line group place procs pid
    group=''
    case $uid$scope in
        0* | *command | *none) return 0 ;;
    esac
    while IFS= read -r line; do
        case $line in
            ControlGroup=*) group=${line#*=} ;;
        esac
    done <"$tmp/unit"
    [ -n "$group" ] || return 0
    for place in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
        for procs in "$place$group/cgroup.procs" "$place$group"/*/cgroup.procs; do
            [ -r "$procs" ] || continue
            while read -r pid; do
                # shellcheck disable=SC3067
                [ -O "/proc/$pid" ] || printf 'unit hidden=%s\n' "$(began "$pid")"
            done <"$procs"
        done
    done
}

# When process $1 began, in seconds since boot: of the clock that has 100 ticks a second everywhere.
began() {
    local ticks
    ticks=$(started "$1")
    [ -z "$ticks" ] || echo "$((ticks / 100))"
}

unit_show() {
    case $scope in
        system) timeout 10 systemctl show "$@" "$target" 2>/dev/null 9>&- ;;
        user) timeout 10 systemctl --user show "$@" "$target" 2>/dev/null 9>&- ;;
        *) return 1 ;;
    esac
}

look_unit() {
    case $scope in
        system | user) ;;
        *) return 0 ;;
    esac
    user_bus
    unit_show -p LoadState -p ActiveState -p SubState -p NRestarts -p InvocationID -p MainPID \
        -p WorkingDirectory -p ExecStart -p User -p StateChangeTimestamp \
        -p NeedDaemonReload -p ControlGroup -p ExecMainStartTimestampMonotonic >"$tmp/unit"
    sed 's/^/unit /' "$tmp/unit"
    IFS= read -r uptime 2>/dev/null </proc/uptime && printf 'unit uptime=%s\n' "${uptime%%[. ]*}"
    for path in "/etc/systemd/$scope/$target" "${HOME-}/.config/systemd/user/$target"; do
        [ ! -L "$path" ] || [ -e "$path" ] || echo 'unit dangling=yes'
    done
    pid=$(sed -n 's/^MainPID=//p' "$tmp/unit")
    [ "${pid:-0}" != 0 ] || return 0
    link=$(readlink "/proc/$pid/cwd" 2>/dev/null) && printf 'unit cwd=%s\n' "$link"
    link=$(readlink "/proc/$pid/exe" 2>/dev/null) && printf 'unit exe=%s\n' "$link"
    printf 'unit started=%s\n' "$(started "$pid")"
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
        "$root"/.shipit/manifests/* "$root"/.current.*; do
        if [ -e "$path" ] || [ -L "$path" ]; then
            case $path in
                *"$run" | *"${holder_run:-$run}") ;;
                # A run that another holds may be about to put the release beside its manifest.
                */manifests/*) [ -z "$locked" ] || [ -d "$root/releases/${path##*/}" ] ||
                    printf 'leftover %s\n' "${path#"$root/"}" ;;
                *) printf 'leftover %s\n' "${path#"$root/"}" ;;
            esac
        fi
    done
}

# --- making a release -------------------------------------------------------------------------

# Unpacks one stream into releases/. Runs on a channel of its own, as a ward of the conversation.
# The first line names the descriptors that take turns in bringing the stream: this channel's
# standard input, and further ones for what comes over other channels.
receive() {
    become_ward "$1" "$2"
    { cd "$root/releases" && read -r descriptors; } || end_ward 70
    reader=''
    if [ -n "$4" ]; then
        : >"$wards/unpacking"
        read_along "$root/releases/$4" </dev/null >/dev/null 2>&1 &
        reader=$!
    fi
    case $descriptors in
        0) unpack "$3" ;;
        *) weave | unpack "$3" ;;
    esac
    code=$?
    rm -f "$wards/unpacking"
    [ -z "$reader" ] || wait "$reader"
    end_ward "$code"
}

# Reads the large files of the stage $1 back while they are unpacked, one after the other: their
# digests go to `read`, where a check finds them.
read_along() {
    until [ -s "$1/meta/large" ] || [ ! -e "$wards/unpacking" ]; do pause 0.1; done
    while read -r size path; do
        until [ -e "$1/tree/$path" ] || [ ! -e "$wards/unpacking" ]; do pause 0.1; done
        sum=$(as_it_grows "$1/tree/$path" "$size" | sum_of) || return
        printf '%s ./%s\n' "${sum%% *}" "$path" >>"$1/meta/read"
    done <"$1/meta/large"
}

# Prints the file $1, which is going to have $2 bytes.
as_it_grows() (
    exec <"$1" || exit
    while [ "$(stat -c %s "$1")" -lt "$2" ] && [ -e "$wards/unpacking" ]; do
        cat
        pause 0.1
    done
    cat
)

pause() {
    sleep "$1" 2>/dev/null || sleep 1
}

# A further channel of an upload: its bytes go to descriptor $3 of `receive`.
stripe() {
    become_ward "$1" "$2"
    make_stripe "$3" && cat >"$wards/stripe.$3"
    end_ward "$?"
}

# Whoever comes first makes the pipe.
make_stripe() {
    mkfifo -m 600 "$wards/stripe.$1" 2>/dev/null || [ -p "$wards/stripe.$1" ]
}

# Puts a stream together: a block from each descriptor in turn. One that is not full is the last,
# or its channel broke; nothing that follows would be in its place.
weave() {
    for at in $descriptors; do
        [ "$at" = 0 ] || { make_stripe "$at" && eval "exec $at<\"\$wards/stripe.$at\""; } || return
    done
    while :; do
        for at in $descriptors; do
            dd bs=1048576 count=1 iflag=fullblock <&"$at" 2>"$wards/block"
            read -r records <"$wards/block"
            case $records in
                1+0*) ;;
                *) return ;;
            esac
        done
    done
}

# What brings bytes ends with the conversation, whatever becomes of its own channel.
become_ward() {
    run=$1 root=$2
    wards=$root/.shipit/run/$run
    umask 022
    echo "$$" >"$wards/ward.$$" || exit 70
    agent=$(cat "$wards/agent")
    (
        while [ -d "$wards" ] && kill -0 "$agent"; do sleep 1; done
        kill -TERM 0
    ) >/dev/null 2>&1 </dev/null &
    watcher=$!
}

end_ward() {
    kill "$watcher" 2>/dev/null
    rm -f "$wards/ward.$$"
    exit "$1"
}

unpack() {
    case $1 in
        zstd) zstd -q -d -c | tar -x -o -f - ;;
        gzip) gzip -d -c | tar -x -o -f - ;;
        *) tar -x -o -f - ;;
    esac
}

# Arguments: how it is packed, its size, and the old files that together are its dictionary, if it has
# one.
order_unpack() {
    codec=$1
    shift 2
    (
        cd "$root/releases" || exit 1
        if [ "$#" = 0 ]; then
            unpack "$codec" <"$tmp/parcel"
        else
            cat "$@" >"$tmp/old" && zstd -q -d -c -D "$tmp/old" <"$tmp/parcel" | tar -x -o -f -
        fi
    ) 9>&-
    code=$?
    : >"$tmp/parcel"
    return "$code"
}

# $1 as a pattern of find(1) that stands for itself, as `pattern`.
as_pattern() {
    pattern=$1
    case $1 in
        *[][*?\\]*) pattern=$(printf '%s\n' "$1" | sed 's/[][*?\\]/\\&/g') ;;
    esac
}

# Prints the manifest of the tree $1, without the file $2, in no order. Reads every file.
listing() (
    cd "$1" || exit 1
    LC_ALL=C
    export LC_ALL
    as_pattern "./${2:-.}"
    skip=$pattern
    find . -type f ! -path "$skip" -exec stat -c '%a %s %n' {} + >"$tmp/stat" || exit 1
    find . -type f ! -path "$skip" -exec sha256sum {} + >"$tmp/sums" || exit 1
    # GNU's sha256sum writes a name with a backslash escaped, and a backslash before the line.
    awk '
        of == "sums" && sub(/^[\\]/, "") { gsub(/[\\][\\]/, "\\") }
        of == "sums" { sum[substr($0, length($1) + 3)] = $1; next }
        { path = substr($0, length($1 $2) + 3) }
        !(path in sum) { exit 1 }
        { print "f " $1 " " $2 " " sum[path] " " path }
    ' of=sums "$tmp/sums" of=stat "$tmp/stat" || exit 1
    find . -type d ! -name . | sed 's/^/d /' || exit 1
    links
)

# The links below here as lines of a manifest. GNU's readlink takes all at once, BusyBox' one.
links() {
    find . -type l >"$tmp/names"
    find . -type l -exec readlink {} + >"$tmp/targets" 2>/dev/null
    if [ "$(wc -l <"$tmp/names")" = "$(wc -l <"$tmp/targets")" ]; then
        paste "$tmp/names" "$tmp/targets" | sed -e 's/^/l /' -e "s/$tab/ -> /"
    else
        while IFS= read -r path; do
            printf 'l %s -> %s\n' "$path" "$(readlink "$path")"
        done <"$tmp/names"
    fi
}

# Everything below $2 as lines of a manifest without digests, in no order: no file is read. What is
# nothing that a manifest has is a line `s`. The names of files that are newer than $3 go to `newer`.
# Those of files that others must not share go to `apart`: newer than $4, somebody else's, or near
# what a file system allows of links. Empty ones never are shared. Each walk may take $1 seconds. The
# rest are tests for find, which may leave things out.
shape() (
    patience=$1 since=$3 made=$4
    cd "$2" || exit 1
    shift 4
    LC_ALL=C
    export LC_ALL
    : >"$tmp/newer"
    : >"$tmp/apart"
    # GNU's find does it in one walk; one that does not know -printf prints nothing.
    walk "$patience" "$@" \( -type f -newer "$since" -fprintf "$tmp/newer" '%p\n' -o -true \) \( \
        -type f -size +0c \( -newer "$made" -o ! -user "$uid" -o -links +60000 \) \
        -fprintf "$tmp/apart" '%p\n' -o -true \) \( \
        -type f -printf 'f %m %s %p\n' -o -type d -printf 'd %p\n' -o \
        -type l -printf 'l %p -> %l\n' -o -printf 's %p\n' \) 2>/dev/null
    code=$?
    [ "$code" = 1 ] || exit "$code"
    walk "$patience" "$@" -type f -exec stat -c 'f %a %s %n' {} + || exit 1
    walk "$patience" "$@" -type f -newer "$since" >"$tmp/newer"
    walk "$patience" "$@" -type f -size +0c \
        \( -newer "$made" -o ! -user "$uid" -o -links +60000 \) >"$tmp/apart"
    walk "$patience" "$@" -type d | sed 's/^/d /'
    walk "$patience" "$@" ! -type f ! -type d ! -type l | sed 's/^/s /'
    links
)

walk() {
    most=$1
    shift
    timeout "$most" find . ! -name . "$@" </dev/null 9>&-
}

# How a tree differs from what the manifest $1 says: `was` and `is` with a line each, in no order.
# Its own lines are in $2; with $3 as `shape` they have no digests, and those in $1 do not count.
differences() {
    LC_ALL=C awk '
        of == "shape" && $1 == "f" { $0 = $1 " " $2 " " $3 substr($0, length($1 $2 $3 $4) + 4) }
        of { was[$0]; next }
        $0 in was { delete was[$0]; next }
        { print "is " $0 }
        END { for (line in was) print "was " line }
    ' of="$3" "$1" of= "$2"
}

# Takes what `receive` unpacked for a release. Arguments: the release, the one whose manifest the
# new one builds on or nothing, the digest of the new manifest. What is not as it was sent is
# thrown away: no later upload is to build on it.
order_check() {
    stage=$root/releases/.$1.$run base=$2
    manifest=$stage/meta/whole
    if [ -e "$root/releases/$1" ]; then
        echo "releases/$1 is there already"
        return 1
    fi
    if ! make_manifest "$stage/meta" "$2" "$3" || ! rebuild "$stage" ||
        ! is_whole "$stage/tree" "$2"; then
        rm -rf "$stage"
        return 1
    fi
    printf '%s\n' "$1" >>"$unfinished" &&
        mv "$manifest" "$root/.shipit/manifests/$1" && mv "$stage/tree" "$root/releases/$1"
}

# Makes the large files that were not sent whole, step by step as the recipe says: from ranges of
# an old file, of what was sent, and from patches in it, whose dictionary is a range of the old file.
# What is written is read back meanwhile: the digests go to `rebuilt`.
rebuild() {
    : >"$tmp/rebuilt"
    [ ! -f "$1/meta/read" ] || cat "$1/meta/read" >"$tmp/rebuilt"
    [ -f "$1/meta/recipe" ] || return 0
    stage=$1
    : >"$tmp/unmade"
    put_together 9>&- | read_behind 9>&-
    if [ -s "$tmp/unmade" ]; then
        echo "$(cat "$tmp/unmade") could not be put together from its old self"
        tail -n 1 "$tmp/why"
        return 1
    fi
    number=0
    while IFS= read -r line; do
        case $line in
            'new '*) number=$((number + 1)) new=$stage/tree/${line#new } ;;
            'mode '*)
                made=$stage/meta/made.$number
                if ! touch -r "$new" "$made" || ! chmod "${line#mode }" "$made" ||
                    ! mv -f "$made" "$new"; then
                    echo "${new#"$stage/tree/"} could not be put in its place"
                    return 1
                fi
                ;;
        esac
    done <"$stage/meta/recipe"
}

# Prints the path of each file that it begins, `more` when there is more of it, and `whole`.
put_together() {
    number=0 fresh=$stage/meta/fresh
    while IFS= read -r line; do
        # shellcheck disable=SC2086
        case $line in
            'old '*) old=$root/releases/${line#old } ;;
            'new '*)
                number=$((number + 1)) path=${line#new }
                made=$stage/meta/made.$number
                : >"$made" && printf '%s\n' "$path"
                ;;
            'mode '*) echo whole ;;
            *) piece $line >>"$made" && echo more ;;
        esac || {
            printf '%s\n' "$path" >"$tmp/unmade"
            return
        }
    done <"$stage/meta/recipe" 2>"$tmp/why"
}

read_behind() {
    number=0
    while IFS= read -r path; do
        number=$((number + 1))
        sum=$(
            while read -r word && [ "$word" = more ]; do cat <&3; done 3<"$stage/meta/made.$number" |
                sum_of
        )
        printf '%s ./%s\n' "${sum%% *}" "$path" >>"$tmp/rebuilt"
    done
}

sum_of() {
    if command -v openssl >/dev/null; then openssl dgst -sha256 -r; else sha256sum; fi
}

piece() {
    case $1 in
        copy) range "$old" "$2" "$3" ;;
        fresh) range "$fresh" "$2" "$3" ;;
        *)
            range "$old" "$4" "$5" >"$stage/meta/old" &&
                range "$fresh" "$2" "$3" | zstd -q -d -c -D "$stage/meta/old"
            ;;
    esac
}

# File, first byte, bytes.
range() {
    dd if="$1" bs=1048576 iflag=skip_bytes,count_bytes,fullblock skip="$2" count="$3"
}

# The new `manifest`, sorted, and the file `sent` of those of its lines whose bytes are to be read
# back.
make_manifest() {
    if [ -n "$2" ]; then
        sent=$1/new
        LC_ALL=C awk 'of { gone[$0]; next } !($0 in gone)' of=gone "$1/gone" \
            of= "$root/.shipit/manifests/$2" | LC_ALL=C sort -m - "$sent" >"$manifest"
    else
        sent=$manifest
        LC_ALL=C sort "$1/manifest" >"$sent"
    fi || return 1
    sum=$(sha256sum <"$manifest")
    [ "${sum%% *}" = "$3" ] && return 0
    echo 'the manifest is not the one that was sent'
    return 1
}

# Whether all of $1 is as the manifest says: what the tree is like and the bytes, at the same time.
is_whole() {
    has_shape "$1" "$2" >"$tmp/unlike" 2>&1 9>&- &
    shaping=$!
    read_back "$1" "$sent"
    held=$?
    wait "$shaping" && return "$held"
    cat "$tmp/unlike"
    return 1
}

# Whether kind, mode, size and target of everything in $1 are as the new manifest says, and what it
# shares with release $2 is as it was. Times of the build that lie ahead of this clock would look
# like changes made later on: they become now.
has_shape() {
    : >"$tmp/now"
    shape 600 "$1" "$tmp/now" "${2:+"$root/.shipit/manifests/"}${2:-"$tmp/now"}" >"$tmp/found" ||
        return 1
    if [ -n "$2" ] && [ -s "$tmp/apart" ] && ! was_sent "$tmp/apart"; then
        echo "somebody changed $2 in the meantime"
        return 1
    fi
    [ ! -s "$tmp/newer" ] || find "$1" -type f -newer "$tmp/now" -exec touch {} +
    differences "$manifest" "$tmp/found" shape >"$tmp/differences" || return 1
    [ -s "$tmp/differences" ] || return 0
    echo 'expected (-) and found (+):'
    sed -e 's/^was /-/' -e 's/^is /+/' "$tmp/differences" | LC_ALL=C sort -k 2 | head -n 20
    return 1
}

# Whether all files that $1 names came with their bytes.
was_sent() {
    LC_ALL=C awk '
        of == "sent" { sent[substr($0, length($1 $2 $3 $4) + 5)]; next }
        !($0 in sent) { exit 1 }
    ' of=sent "$sent" of= "$1"
}

# Whether the files of $1 that $2 has lines of hold the bytes that these say: each must be said to,
# by those who read it now, or when it was put together.
read_back() {
    counted=$(LC_ALL=C awk -v sums="$tmp/sums" -v sizes="$tmp/sizes" '
        of == "rebuilt" { sum[substr($0, length($1) + 2)] = $1; next }
        $1 != "f" { next }
        { path = substr($0, length($1 $2 $3 $4) + 5) }
        sum[path] == $4 { next }
        { print $4 "  " path >sums; print $3 >sizes; files++ }
        $3 >= 10000000 { large = "yes" }
        END { print files + 0, large }
    ' of=rebuilt "$tmp/rebuilt" of= "$2")
    files=${counted% *} large=${counted#* }
    [ "$files" != 0 ] || return 0
    if [ "$files" -gt 200 ] || [ -n "$large" ]; then
        read_on_all_cores "$1"
    else
        (cd "$1" && LC_ALL=C sha256sum -c "$tmp/sums") >"$tmp/held" 2>&1 9>&-
    fi
    good=$(grep -c ': OK$' "$tmp/held")
    [ -n "$files" ] && [ "$good" = "$files" ] && return 0
    echo 'other bytes than were sent:'
    grep -v ': OK$' "$tmp/held" | head -n 20
    return 1
}

# For few and small files, more processes cost more than they save. Each file goes to who has least
# to read; to open one takes as long as 20 KB.
read_on_all_cores() {
    rm -f "$tmp"/sums.* "$tmp"/held.*
    cores=$(nproc 2>/dev/null || echo 1) readers=''
    awk -v cores="$cores" -v hand="$tmp/sums." -v sizes="$tmp/sizes" '{
        getline size <sizes
        to = 0
        for (core = 1; core < cores; core++) if (load[core] < load[to]) to = core
        load[to] += size + 20000
        print >(hand to)
    }' "$tmp/sums" || return
    for hand in "$tmp"/sums.*; do
        (cd "$1" && sums_hold "$hand") >"$tmp/held.${hand##*.}" 2>&1 9>&- &
        readers="$readers $!"
    done
    # shellcheck disable=SC2086
    wait $readers
    cat "$tmp"/held.* >"$tmp/held"
}

# `sha256sum -c` of the sums $1. What openssl finds counts if it agrees: it takes half the time of
# coreutils' own code, and an eighth where the processor has instructions for it.
sums_hold() {
    LC_ALL=C
    export LC_ALL
    if command -v openssl >/dev/null; then
        cut -c 67- "$1" | tr '\n' '\0' | xargs -0 openssl dgst -sha256 -r 2>/dev/null |
            sed 's/ [*]/  /' | cmp -s - "$1" && sed 's/.*/&: OK/' "$1" && return 0
    fi
    sha256sum -c "$1"
}

# Throws away what has arrived of a release, so that it can be sent in another way.
order_discard() {
    rm -rf "$root/releases/.$1.$run"
}

# What a new release can share with what is here.
order_base() {
    find_live
    manifest=$root/.shipit/manifests/$live sealed=''
    if [ -z "$live" ] || [ ! -f "$manifest" ]; then
        : >"$tmp/apart"
    elif [ "$walked" = "$live" ] || walk_live >"$tmp/found"; then
        sum=$(sha256sum <"$manifest") || return 1
        sealed="sealed ${sum%% *}"
        # Where most was touched, little is to be gained.
        if [ -s "$tmp/apart" ] && [ "$(wc -l <"$tmp/apart")" -gt 5000 ]; then
            sealed='' && : >"$tmp/apart"
        fi
    else
        return 1
    fi
    for path in "$root"/releases/.2*.*; do
        case $path in
            *".$run") ;;
            *) [ ! -f "$path/meta/of" ] || [ ! -d "$path/tree" ] || tell_part "$path" ;;
        esac
    done >"$tmp/parts"
    if [ -s "$tmp/apart" ] || [ -s "$tmp/parts" ]; then
        {
            printf '%s\n' "$sealed"
            sed 's/^/apart /' "$tmp/apart"
            head -c 4194304 "$tmp/parts"
        } >"$tmp/there"
        pack "$tmp/there"
    else
        printf '%s\n' "$sealed"
    fi
}

# The shape of what is live, and what others must not share of it: touched since it was made,
# somebody else's, or near what a file system allows of links. The rest are tests for find.
walk_live() {
    shape 10 "$root/releases/$live" "$manifest" "$manifest" "$@"
}

# What has arrived in $1, and the digest of the manifest of what it is a part of.
tell_part() {
    IFS= read -r of <"$1/meta/of" || [ -n "$of" ] || return
    printf 'part %s %s\n' "$of" "${1##*/}"
    (cd "$1/tree" && find . -type f -exec stat -c 'file %a %s %n' {} +)
}

# A piece of the packed manifest of release $1, from byte $2 on: what is sent at once must get
# through within the deadline, on a slow line too. The last piece is shorter than the others.
order_manifest() {
    [ "$2" != 1 ] || pack "$root/.shipit/manifests/$1" >"$tmp/packed" || return 1
    tail -c "+$2" "$tmp/packed" | head -c 524288
}

# The file $1, packed where that can be.
pack() {
    if command -v zstd >/dev/null 2>&1; then
        zstd -q -c "$1"
    elif command -v gzip >/dev/null 2>&1; then
        gzip -c "$1"
    else
        cat "$1"
    fi
}

# Arguments: the release, then for each link: d PATH MODE GROUP TARGET, or f PATH need|optional -
# TARGET.
order_link() {
    release=$root/releases/$1
    shift
    while [ "$#" -ge 5 ]; do
        link_one "$@" || return 1
        shift 5
    done
}

link_one() {
    shared=$root/shared/$2
    if [ -e "$release/$2" ] || [ -L "$release/$2" ]; then
        echo "the release already holds $2"
        return 1
    fi
    case $1 in
        d) [ -d "$shared" ] || make_shared "$shared" "$3" "$4" || return 1 ;;
        f)
            if [ ! -e "$shared" ]; then
                [ "$3" = optional ] && return 0
                echo "$shared is not there; put it there by hand"
                return 1
            fi
            ;;
    esac
    make_parent "$release/$2" && ln -s "$5" "$release/$2" || return 1
    printf 'l ./%s -> %s\n' "$2" "$5" >>"$tmp/extra"
}

make_parent() {
    [ -d "${1%/*}" ] || { mkdir -p "${1%/*}" && nested=yes; }
}

make_shared() {
    mkdir -p "$1" || return 1
    if [ -n "$3" ]; then
        chgrp "$3" "$1" || return 1
    fi
    [ -z "$2" ] || chmod "$2" "$1"
}

# It arrives for its owner alone; the group is set before others can read the bytes.
order_env() {
    env_file=$2
    from=$root/releases/.$1.$run/meta/env
    to=$root/releases/$1/$2
    if [ -n "$4" ]; then
        if ! chgrp "$4" "$from"; then
            echo "$user is in these groups:$groups"
            return 1
        fi
    fi
    [ "$3" = 600 ] || chmod "$3" "$from" || return 1
    make_parent "$to" && mv "$from" "$to"
}

order_revision() {
    printf '%s\n' "$2" >"$root/releases/$1/REVISION" && chmod 444 "$root/releases/$1/REVISION"
    sum=$(sha256sum <"$root/releases/$1/REVISION") || return 1
    size=$(wc -c <"$root/releases/$1/REVISION")
    printf 'f 444 %s %s ./REVISION\n' "$((size))" "${sum%% *}" >>"$tmp/extra"
}

# Arguments: name, release, limit, command, then NAME=value words.
order_hook() {
    local streams
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
    local code
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

# Arguments: release, yes|no for hooks that may have added files. Prints the digest of the sealed
# manifest and the lines that came to it, few as they are, so that the other side has it too. 6: hooks
# made what no manifest has a line for.
order_seal() {
    release=$root/releases/$1 manifest=$root/.shipit/manifests/$1
    if [ "$2" = yes ]; then
        as_pattern "$release/${env_file:-.}"
        find "$release" -type f ! -path "$pattern" \
            \( -perm -200 -o -perm -020 -o -perm -002 \) -exec chmod a-w {} + || return 1
        has_no_odd_entry || return
        listing "$release" "$env_file" >"$tmp/found" && spares_base || return 1
        not_sent "$tmp/found" >"$tmp/extra"
        LC_ALL=C sort "$tmp/found" >"$manifest" || return 1
    else
        [ -z "$nested" ] || add_parents || return 1
        if [ -s "$tmp/extra" ]; then
            LC_ALL=C sort -o "$manifest" "$manifest" "$tmp/extra" || return 1
        fi
    fi
    sum=$(sha256sum <"$manifest") && printf 'sealed %s\n' "${sum%% *}"
    [ ! -s "$tmp/extra" ] || sed -n '1,1000s/^/more /p' "$tmp/extra"
}

# A manifest has files, directories and links, one a line.
has_no_odd_entry() {
    (cd "$release" && LC_ALL=C find . \( ! -type f ! -type d ! -type l -o -name "*$nl*" \) \
        -exec ls -dq {} +) >"$tmp/odd" || return
    [ -s "$tmp/odd" ] || return 0
    echo 'a release holds files, directories and links, with no newline in their names; hooks made:'
    head -n 20 "$tmp/odd"
    return 6
}

# Links and the env file may have needed directories that the build has not.
add_parents() {
    (cd "$release" && find . -type d ! -name . | sed 's/^/d /') >"$tmp/dirs" &&
        not_sent "$tmp/dirs" >>"$tmp/extra"
}

# The lines of $1 that are not in the manifest, sorted.
not_sent() {
    LC_ALL=C sort "$manifest" "$manifest" "$1" | LC_ALL=C uniq -u
}

# A hook that makes files writable and writes to them writes to the base, where they are shared.
spares_base() {
    [ -n "$base" ] || return 0
    differences "$manifest" "$tmp/found" listing | sed -n 's/^[a-z]* f [0-7]* [0-9]* [0-9a-f]* //p' |
        sort | uniq -d >"$tmp/changed"
    (cd "$release" && find . -type f -links +1) | sort - "$tmp/changed" | uniq -d >"$tmp/names"
    while IFS= read -r path; do
        twin=$(find "$root/releases/$base" -inum "$(stat -c %i "$release/$path")")
        [ -z "$twin" ] || echo "$path"
    done <"$tmp/names" >"$tmp/hurt"
    [ -s "$tmp/hurt" ] || return 0
    echo "hooks wrote to files that are shared with $base, and so changed it:"
    head -n 20 "$tmp/hurt"
    return 1
}

# Arguments: release, ledger line, note.
order_stage() {
    sync_all "$root/releases/$1" && write_down "$2" "$3"
}

# --- going live -------------------------------------------------------------------------------

# Arguments: release, what to return to, then line and note each for activated, committed, left,
# reverted, failed; then, each as quoted words, NAME=value for the user's commands and the `reverted`
# hooks, and how long one of these may take.
remember() {
    id=$1 back=$2 activated=$3 activated_note=$4 committed=$5 committed_note=$6 left=$7
    left_note=$8 reverted=$9
    shift 9
    reverted_note=$1 failed=$2 failed_note=$3 variables=$4 reverted_hooks=$5 reverted_limit=$6
    unit_before='' reverting='' partly=''
}

order_activate() {
    remember "$@"
    if [ ! -d "$root/releases/$id" ]; then
        echo "releases/$id is not there"
        return 1
    fi
    if [ -e "$root/current" ] && [ ! -L "$root/current" ]; then
        echo "$root/current is not a link"
        return 1
    fi
    unit_before=$(look_start)
    before=''
    case $unit_before in
        *InvocationID=*) before=${unit_before##*InvocationID=} before=${before%%"$nl"*} ;;
    esac
    record "$activated" "$activated_note" || return 1
    undecided=$id
    forget_begun
    if ! flip "releases/$id"; then
        echo 'current could not be flipped'
        go_back 'flip failed'
        return
    fi
    sync_dir "$root"
    flipped=$(started self)
    mark_time
    if ! service restart; then
        recent 10
        go_back 'restart failed'
        return
    fi
}

# What is logged from here on is the new release's.
mark_time() {
    look_at_clock
    since=$seconds logged=0
    [ -z "$log" ] || [ ! -f "$(log_path)" ] || logged=$(($(wc -c <"$(log_path)")))
}

log_path() {
    case $log in
        /*) echo "$log" ;;
        *) echo "$root/current/$log" ;;
    esac
}

# The last $1 lines since the restart: of the unit's journal, or of the log that was named.
recent() {
    case $scope in
        system) recent_journal "$1" -u "$target" ;;
        user) recent_journal "$1" --user -u "$target" ;;
        *) [ -z "$log" ] || recent_log "$1" "$(log_path)" ;;
    esac
}

recent_journal() {
    lines=$1 after=${since:+ since the restart}
    shift
    timeout 10 journalctl -q "$@" ${since:+--since "@$since"} -n "$lines" --no-pager -o cat \
        >"$tmp/journal" 2>&1 9>&-
    if [ -s "$tmp/journal" ]; then
        printf 'the journal of %s%s:\n' "$target" "$after"
        veiled <"$tmp/journal"
        return
    fi
    case "$scope $uid$groups " in
        user* | 'system 0 '* | *' adm '* | *' systemd-journal '* | *' wheel '*)
            printf 'the journal of %s has no line%s\n' "$target" "$after"
            ;;
        *)
            printf '%s may not read the journal of %s; who is in the group systemd-journal may\n' \
                "$user" "$target"
            ;;
    esac
}

recent_log() {
    if [ ! -f "$2" ] || [ ! -r "$2" ]; then
        printf '%s is no file that can be read\n' "$2"
        return
    fi
    # Who writes the log may not choose which of our files is shown.
    case $(readlink "$2") in
        */*) printf '%s is a link to elsewhere, and not shown\n' "$2" && return ;;
    esac
    # One that is shorter now was begun anew.
    [ "$(wc -c <"$2")" -ge "$logged" ] || logged=0
    printf '%s%s:\n' "$2" "${since:+ since the restart}"
    # The line that was being written then is not whole.
    if [ "$logged" = 0 ]; then tail -n "$1" "$2"; else
        tail -c "+$logged" "$2" | tail -n +2 | tail -n "$1"
    fi | veiled
}

# Arguments: release, limit, command, then NAME=value words.
order_try() {
    what=it
    run_command "$@"
}

# One GET. What the headers hold may be secret: it is in no argument. Arguments: curl or wget,
# seconds, URL, where to connect instead or nothing, `public`, `anybody` or certificates, header
# lines or nothing.
order_fetch() {
    local tool seconds url connect trust headers status
    tool=$1 seconds=$2 url=$3 connect=$4 trust=$5 headers=$6
    : >"$tmp/head"
    "fetch_by_$tool" 2>"$tmp/why" </dev/null 9>&- | head -c 65536 >"$tmp/body"
    [ "$tool" = curl ] || cp "$tmp/why" "$tmp/head"
    # Interim answers come before the one that counts; those to redirects, which some wgets
    # follow, come after it.
    status=$(sed -n 's|^.*HTTP/[0-9.]* \([1-9][0-9][0-9]\).*$|\1|p' "$tmp/head" |
        grep -v '^1' | head -n 1)
    if [ -z "$status" ]; then
        tail -n 1 "$tmp/why" | grep . || echo "no answer within ${seconds}s"
        return 1
    fi
    printf '%s\n' "$status"
    [ ! -s "$tmp/body" ] || shown_body
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

fetch_by_curl() {
    set -- -q -sS -g --noproxy '*' --max-time "$seconds" -D "$tmp/head" -o - "$url"
    [ -z "$connect" ] || set -- "$@" --connect-to "$connect"
    case $trust in
        public) ;;
        anybody) set -- "$@" -k ;;
        *)
            printf '%s\n' "$trust" >"$tmp/ca"
            set -- "$@" --cacert "$tmp/ca"
            ;;
    esac
    timeout -k 2 "$((seconds + 1))" curl "$@" -H @- <<EOF
$headers
EOF
}

fetch_by_wget() {
    unset http_proxy
    set -- -q -S -O - "$url"
    [ -z "$headers" ] || set -- "$@" --header "$headers"
    timeout -k 2 "$seconds" wget "$@"
}

# Whether somebody listens. curl waits for what a server says first; many say nothing.
order_reach() {
    local seconds took
    seconds=$1
    [ "$seconds" -le 2 ] || seconds=2
    took=$(timeout -k 2 "$((seconds + 1))" curl -q -sS --noproxy '*' --max-time "$seconds" \
        -o /dev/null -w '%{time_connect}' "telnet://$2" 2>"$tmp/why" </dev/null 9>&-)
    case $took in
        *[1-9]*) return 0 ;;
    esac
    tail -n 1 "$tmp/why"
    return 1
}

# 3: taken back; 4: could not be; 5: taken back, but for what the last line says.
go_back() {
    reason=$1
    revert || return 4
    is_whole_again || return 5
    return 3
}

is_whole_again() {
    [ -n "$partly" ] || return 0
    printf '%s\n' "$partly"
    return 1
}

# Takes what goes live, and what is no longer there, off the record of what never did: the ledger has
# it now, and has it on disk.
forget_begun() {
    local begun rest=''
    [ -s "$unfinished" ] || return 0
    while IFS= read -r begun; do
        [ "$begun" = "$id" ] || [ ! -d "$root/releases/$begun" ] || rest=$rest$begun$nl
    done <"$unfinished"
    printf %s "$rest" >"$unfinished"
}

order_adopt() {
    remember "$@"
    undecided=$id
}

order_judge() {
    pid=''
    look_unit
    printf 'before %s\nticks %s\nreal %s\n' "$before" "$flipped" \
        "$(cd "$root/releases/$1" && pwd -P)"
    if [ "${pid:-0}" != 0 ]; then
        if is_in "$pid" "$1"; then echo inside; elif worker_in "$1"; then echo worker; fi
    fi
}

order_commit() {
    if [ -z "$undecided" ]; then
        echo 'nothing is undecided'
        return 1
    fi
    record "$committed" "$committed_note" || return 1
    undecided=''
    [ -z "$left" ] || record "$left" "$left_note"
}

order_revert() {
    if [ -z "$undecided" ]; then
        echo 'nothing is undecided'
        return 1
    fi
    reason=$1
    revert || return 4
    is_whole_again || return 5
}

# Back to what was live before, by whatever means; says so in the ledger. What is not as it was all the
# same is in `partly`.
revert() {
    reverting=yes
    if return_to && revive; then
        undecided=''
        record "$reverted" "$reverted_note"
        # shellcheck disable=SC2119
        run_reverted
        return 0
    fi
    undecided=''
    record "$failed" "$failed_note"
    return 1
}

return_to() {
    if [ -n "$back" ]; then
        points_to "$back" || flip "$back" || return 1
    else
        rm -f "$root/current" || return 1
    fi
    sync_dir "$root"
}

# The service as it was before the flip: from what is live now, or stopped where nothing is and it did
# not run. One that did not run before need not be brought up now.
revive() {
    never_stopped && return 0
    reset_failed
    if [ -z "$back" ] && ! was_active; then
        service stop || is_down
        return
    fi
    service restart && stays_up && return 0
    # Nothing is started on a machine that goes down; it boots with what is live now.
    goes_down && return 0
    sleep "$(start_interval)"
    reset_failed
    service restart && stays_up && return 0
    if [ -n "$unit_before" ] && ! was_active && is_down; then
        partly="$target does not run, as before"
        return 0
    fi
    return 1
}

reset_failed() {
    case $scope in
        system | user) privileged reset-failed >/dev/null 2>&1 ;;
    esac
}

# What is another with every start of the unit.
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

# Whether what ran before the flip still does, because no restart came about. A reload would leave no
# such trace.
never_stopped() {
    [ "$action" = restart ] && was_active && [ "$(look_start)" = "$unit_before" ]
}

# Whether the unit does not run, whatever a stop said.
is_down() {
    case $(unit_show -p ActiveState) in
        *ActiveState=inactive* | *ActiveState=failed*) ;;
        *) return 1 ;;
    esac
}

# Runs the `reverted` hooks, each whatever became of those before it.
# shellcheck disable=SC2120
run_reverted() {
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

goes_down() {
    case $scope in
        system | user) [ "$(timeout 10 systemctl is-system-running 2>/dev/null 9>&-)" = stopping ] ;;
        *) return 1 ;;
    esac
}

# Restarts refused by systemd's start limit are allowed again after its interval.
start_interval() {
    interval=$(unit_show -p StartLimitIntervalUSec | sed -n 's/^[^=]*=\([0-9]*\)s$/\1/p')
    [ "${interval:-10}" -le 20 ] || interval=20
    echo "${interval:-1}"
}

# Whether the unit is up, as far as a moment can tell, and not from the release that was left.
stays_up() {
    case $scope in
        system | user) ;;
        *) return 0 ;;
    esac
    tries=0
    while [ "$tries" -lt 10 ]; do
        pause 0.5
        state=$(unit_show -p ActiveState -p MainPID)
        main=${state##*MainPID=} main=${main%%"$nl"*}
        case $state in
            *ActiveState=active*) [ "$tries" -lt 1 ] || break ;;
        esac
        tries=$((tries + 1))
    done
    if [ "$tries" = 10 ]; then
        state=${state##*ActiveState=}
        echo "after the restart systemd says ActiveState=${state%%"$nl"*}"
        return 1
    fi
    if is_in "$main" "$id"; then
        echo "its main process is still in releases/$id"
        return 1
    fi
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
    done <"$tmp/unit"
    return 1
}

# Whether process $1 works in release $2. Where it has a view of its own of the file system, its
# directory has another name there, and is the same one by device and inode.
is_in() {
    local up
    [ -e "/proc/$1/cwd/." ] && [ -d "$root/releases/$2/." ] || return 1
    for up in cwd cwd/.. cwd/../.. cwd/../../.. cwd/../../../.. root; do
        # shellcheck disable=SC3013
        [ "/proc/$1/$up/." -ef "$root/releases/$2/." ] && return 0
    done
    return 1
}

flip() {
    [ ! -L "$root/.current.$run" ] || rm -f "$root/.current.$run"
    ln -s "$1" "$root/.current.$run" && replace "$root/.current.$run" "$root/current" &&
        points_to "$1"
}

# Whether `current` does; the first look costs no program.
points_to() {
    # shellcheck disable=SC3013
    [ "$root/current" -ef "$root/$1" ] || [ "$(readlink "$root/current")" = "$1" ]
}

# Restarts or stops what runs the release; prints what that printed.
service() {
    : >"$tmp/service"
    case $scope-$1 in
        none-*) return 0 ;;
        command-restart) watched "$tmp/service" run_service_command "$target" ;;
        command-stop) [ -z "$action" ] || watched "$tmp/service" run_service_command "$action" ;;
        *-restart) privileged "$action" >"$tmp/service" 2>&1 ;;
        *-stop) privileged stop >"$tmp/service" 2>&1 ;;
    esac
    code=$?
    tell_printed "$tmp/service" 0
    case $code in
        0) return 0 ;;
        124 | 137) printf '\nthe %s ran longer than %ss\n' "$1" "$limit" ;;
        *) printf '\nthe %s exited with code %s\n' "$1" "$code" ;;
    esac
    return 1
}

run_service_command() (
    # shellcheck disable=SC2119
    enter_live && exec timeout -k 10 "$limit" /bin/sh -c "$1" </dev/null 9>&-
)

# Goes where commands run that are about what is live: there, or to deploy_to where nothing is. They
# get the variables of the activation, of which SHIPIT_RELEASE is what is live now.
# shellcheck disable=SC2120
enter_live() {
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

privileged() {
    user_bus
    case $scope in
        user) timeout -k 10 "$limit" systemctl --user "$1" "$target" </dev/null 9>&- ;;
        *)
            if [ "$uid" = 0 ]; then
                timeout -k 10 "$limit" systemctl "$1" "$target" </dev/null 9>&-
            else
                timeout -k 10 "$limit" sudo -n systemctl "$1" "$target" </dev/null 9>&-
            fi
            ;;
    esac
}

# --- what lasts -------------------------------------------------------------------------------

# The time, as `seconds` and as the text `now`. Within a second of the machine's life it is what it was.
look_at_clock() {
    IFS=. read -r tick _ 2>/dev/null </proc/uptime || tick=''
    [ -z "$tick" ] || [ "$tick" != "$ticked" ] || return 0
    now=$(date -u '+%s %Y-%m-%dT%H:%M:%SZ')
    seconds=${now%% *} now=${now#* } ticked=$tick
}

# $1 with the time, and the reason, in their places, as `filled`.
fill() {
    filled=$1
    while :; do
        case $filled in
            *@now@*) filled=${filled%%@now@*}$now${filled#*@now@} ;;
            *) break ;;
        esac
    done
    case $filled in
        *@reason@*) filled=${filled%%@reason@*}${reason-}${filled#*@reason@} ;;
    esac
}

# A torn last line must not swallow the next. What we wrote ourselves is not torn.
append() {
    case $appended in
        *"|$1|"*) ;;
        *)
            if [ -s "$1" ] && [ -n "$(tail -c 1 "$1")" ]; then
                printf '\n' >>"$1" || return 1
            fi
            ;;
    esac
    if printf '%s\n' "$2" >>"$1"; then
        appended="$appended|$1|"
    else
        appended=''
        return 1
    fi
}

# Arguments: a line for the ledger, a note for revisions.log or nothing. Lasts when this returns.
record() {
    write_down "$@" && written=yes || written=''
    sync_file "$ledger"
    [ -n "$written" ]
}

# The same, but it lasts only when the next one is recorded.
write_down() {
    look_at_clock
    fill "$1"
    if ! append "$ledger" "$filled"; then
        echo 'the ledger could not be written'
        return 1
    fi
    [ -z "$2" ] || {
        fill "$2"
        append "$root/revisions.log" "$now $filled"
    }
}

order_record() {
    record "$1" "$2"
}

# No limit in time: what waits for a disk cannot be ended.
sync_all() {
    sync -f "$1" 2>/dev/null 9>&- || sync 9>&-
}

sync_file() {
    sync "$1" 2>/dev/null 9>&- || sync 9>&-
}

sync_dir() {
    sync_file "$1"
}

# --- looking back -----------------------------------------------------------------------------

# The last $1 lines of the ledger, and how many there are.
order_history() {
    [ -s "$ledger" ] || return 0
    printf 'lines %s\n' "$(($(wc -l <"$ledger")))"
    tail -n "$1" "$ledger" | tail -c 4194304 | sed 's/^/ledger /'
}

# Compares a release with its manifest, byte for byte. Arguments: release, its env file or nothing.
order_verify() {
    tree=$root/releases/$1
    if [ -f "$root/.shipit/manifests/$1" ]; then
        listing "$tree" "$2" >"$tmp/found" 2>"$tmp/why" || sed 's/^/unread /' "$tmp/why"
        differences "$root/.shipit/manifests/$1" "$tmp/found" listing >"$tmp/differences" ||
            echo 'unread the manifest'
        head -c 4194304 "$tmp/differences"
        (cd "$tree" && find . ! -type d ! -type f ! -type l) | sed 's/^/special /'
    else
        echo nomanifest
    fi
    if [ -n "$2" ] && [ -f "$tree/$2" ]; then
        printf 'envmode %s\nenv %s\n' "$(stat -c %a "$tree/$2")" "$(keyed "$tree/$2")"
    fi
}

# HMAC-SHA256 of the file $1 under this host's key, whose 64 digits are just one block. Neither the
# key nor the content is printed, leaves the host, or is anybody's argument.
keyed() {
    [ "$(tr -dc 0-9a-f <"$root/.shipit/key" | wc -c)" -eq 64 ] && [ -r "$1" ] || return 1
    inner=$({
        key_with '\006\007\004\005\002\003\000\001\016\017WTURSP'
        cat "$1"
    } | sha256sum)
    {
        key_with 'lmnohijkde=>?89:'
        as_bytes "${inner%% *}"
    } | sha256sum | cut -d ' ' -f 1
}

# The key, its digits 0 to f replaced by those of $1: the digits under the mask of HMAC.
key_with() {
    tr -d '\n' <"$root/.shipit/key" | tr 0123456789abcdef "$1"
}

as_bytes() {
    hex=$1
    while [ -n "$hex" ]; do
        rest=${hex#??}
        # shellcheck disable=SC2059
        printf "\\$(printf %03o "0x${hex%"$rest"}")"
        hex=$rest
    done
}

# A cheap look at what became of a release: one walk that reads no bytes, for at most 10 seconds.
# Prints names: of what is missing or extra, has another size or mode, or was written since.
# Arguments: release, its env file or nothing.
order_drift() {
    find_live
    manifest=$root/.shipit/manifests/$live
    [ -n "$live" ] && [ -f "$manifest" ] || return 0
    as_pattern "./${1:-.}"
    walk_live ! \( -path "$pattern" ! -newer "$manifest" \) >"$tmp/found" 2>"$tmp/why" || {
        head -n 1 "$tmp/why"
        return 1
    }
    walked=$live
    [ ! -s "$tmp/newer" ] || sed 's/^/w /' "$tmp/newer" >>"$tmp/found"
    differences "$manifest" "$tmp/found" shape >"$tmp/differences" || return 1
    [ -s "$tmp/differences" ] || return 0
    sed -e 's/^[a-z]* f [0-7]* [0-9]* //' -e '/^[a-z]* l /s/ -> .*//' -e 's/^[a-z]* [dlsw] //' \
        "$tmp/differences" | sort -u | head -n 1000
}

# --- tidying ----------------------------------------------------------------------------------

# Arguments: name, ledger line, note. The live release stays whatever is asked.
order_prune() {
    case $1 in
        '' | .* | */*) echo "$1 is not a release" && return 1 ;;
    esac
    live=''
    [ ! -L "$root/current" ] || live=$(readlink "$root/current") || return 1
    if [ "${live##*/}" = "$1" ]; then
        echo "$1 is live"
        return 1
    fi
    # A directory moves to another one only if it can be written itself.
    mv "$root/releases/$1" "$root/.shipit/trash/$1.$run" 2>/dev/null || {
        chmod u+rwx "$root/releases/$1"
        mv "$root/releases/$1" "$root/.shipit/trash/$1.$run"
    } || return 1
    rm -f "$root/.shipit/manifests/$1"
    write_down "$2" "$3"
}

# Argument: what is to stay in releases/, or nothing. Prints what could not be deleted and is set
# aside.
order_sweep() {
    local kept path
    kept=$root/releases/${1-}
    set --
    for path in "$root"/.shipit/trash/* "$root"/.shipit/trash/.aside.* "$root"/releases/.2*.* \
        "$root"/.shipit/run/* "$root"/.shipit/manifests/* "$root"/.current.*; do
        case $path in
            *"/releases/"*".$run" | *"/run/$run" | "$kept") continue ;;
            */manifests/*) [ ! -d "$root/releases/${path##*/}" ] || continue ;;
        esac
        if [ -e "$path" ] || [ -L "$path" ]; then
            set -- "$@" "$path"
        fi
    done
    [ "$#" = 0 ] || rm -rf "$@" 2>/dev/null || delete_closed "$@"
}

# Deletes what `rm` alone could not: what is in our own directories without a write bit. Trash that
# still stays is set aside, so that it is said once, and fails no later run.
delete_closed() {
    local path failed
    failed=''
    find "$@" -type d -user "$uid" ! -perm -700 -exec chmod u+rwx {} \; 2>/dev/null
    rm -rf "$@" 2>"$tmp/why" && return
    for path in "$@"; do
        if [ -e "$path" ] || [ -L "$path" ]; then
            set_aside "$path" || failed=yes
        fi
    done
    [ -n "$failed" ] || return 0
    tail -n 1 "$tmp/why"
    return 1
}

# Where others' files are in it, a hook or the service made them. The next sweeps try it again.
set_aside() {
    local aside owners
    case $1 in
        "$root/.shipit/trash/.aside."*) return 0 ;;
        "$root/.shipit/trash/"*) aside=$root/.shipit/trash/.aside.${1##*/} ;;
        *) return 1 ;;
    esac
    mv "$1" "$aside" 2>/dev/null || return
    owners=$(find "$aside" ! -user "$uid" -exec stat -c %U {} + 2>/dev/null | sort -u | tr '\n' ' ')
    # shellcheck disable=SC2016
    printf '%s could not be deleted%s: `sudo rm -rf %s` on the host does it\n' "$aside" \
        "${owners:+, it holds files of ${owners% }}" "$aside"
}

order_journal() {
    case $scope-$log in
        command-) tell_printed "$tmp/service" 0 | tail -n "$1" ;;
        *) recent "$1" ;;
    esac
    return 0
}

# What `check` wants to know beyond a look; changes nothing. Arguments: the service's user (empty:
# root, or ourselves), then `f PATH` or `d PATH` for what is linked from shared/, and `p PORT`, in
# hexadecimal.
order_probe() {
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

main() {
    case $1 in
        serve) shift && serve "$@" ;;
        receive) shift && receive "$@" ;;
        stripe) shift && stripe "$@" ;;
    esac
}

main "$@"
