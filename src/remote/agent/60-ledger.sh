# The clock, the ledger, and what must reach the disk.

# Prints the ledger, or that it cannot be read: by a part of it prune could delete a good release.
look_ledger() {
    [ -s "$ledger" ] || return 0
    ledger_lines "$ledger"
    case $? in
        0) return "$?" ;;
        9) tr '\000' '\001' <"$ledger" >"$tmp/ledger" && ledger_lines "$tmp/ledger" sane && return 0 ;;
    esac
    echo 'missing the ledger cannot be read'
}

# Prints the lines of releases that are there, lines that we would not write, those of releases that
# were never staged (a damaged id), and the last 50; `skipped 12` for 12 others, such as old `ran`.
# BusyBox' awk ends a line at a zero byte: then returns 9, unless $2 says that $1 has none.
ledger_lines() {
    local path
    # The first name keeps the list from being empty; awk would then read the ledger as names.
    for path in '*' "$root"/releases/*; do
        printf '"release":"%s"\n' "${path##*/}"
    done >"$tmp/names"
    LC_ALL=C awk -v sane="${2-}" '
        BEGIN { if (sane == "" && length(sprintf("%c", 0)) == 0) { early = 9; exit early } }
        NR == FNR { there[$0]; next }
        { line[FNR] = $0 }
        /^[{]"v":1,"event":"ran",/ { staged[""]; next }
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

# Sets `seconds` and the text `now` to the time. Cached for the current second of uptime.
look_at_clock() {
    local tick
    IFS=. read -r tick _ 2>/dev/null </proc/uptime || tick=''
    [ -z "$tick" ] || [ "$tick" != "$ticked" ] || return 0
    now=$(date -u '+%s %Y-%m-%dT%H:%M:%SZ')
    seconds=${now%% *} now=${now#* } ticked=$tick
}

# Sets `filled` to $1 with the time and the reason in their places.
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

# Appends the line $2 to the file $1. A last line without newline is ended first; our own are whole.
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

# Writes a line to the ledger and a note to revisions.log, and syncs them. Fails if the line is not
# there.
record() {
    local written
    write_down "$@" && written=yes || written=''
    sync_file "$ledger"
    [ -n "$written" ]
}

# Like record, but without a sync: the next record syncs it too.
write_down() {
    look_at_clock
    fill "$1"
    append "$ledger" "$filled" || { echo 'the ledger could not be written'; return 1; }
    [ -z "$2" ] || {
        fill "$2"
        append "$root/revisions.log" "$now $filled"
    }
}

locked_order_record() {
    local line note
    arguments "$@"
    record "$line" "$note"
}

# Without a time limit: a process that waits for a disk cannot be ended.
sync_all() {
    sync -f "$1" 2>/dev/null 9>&- || sync 9>&-
}

sync_file() {
    sync "$1" 2>/dev/null 9>&- || sync 9>&-
}
