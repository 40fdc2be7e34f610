# The clock, the ledger, and what must reach the disk.

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
# that were never staged (a damaged id), and the last 50 for the rest of the story; `skipped 12` for
# 12 others. BusyBox' awk takes a zero byte for the end of a line: 9, unless $2 says that there are
# none in $1.
ledger_lines() {
    local path
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
            for (n = 1; n <= FNR; n++) {
                if (n <= FNR - 50 && !(n in told) && of[n] in staged) continue
                if (n > last + 1) print "skipped " n - last - 1
                print "ledger " line[n]
                last = n
            }
        }
    ' "$tmp/names" "$1"
}

# The time, as `seconds` and as the text `now`. Within a second of the machine's life it is what it was.
look_at_clock() {
    local tick
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
    local written
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
