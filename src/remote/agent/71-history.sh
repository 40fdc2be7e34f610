# The end of the ledger, for people.

# The last $1 lines of the ledger, and how many there are.
order_history() {
    [ -s "$ledger" ] || return 0
    printf 'lines %s\n' "$(($(wc -l <"$ledger")))"
    tail -n "$1" "$ledger" | tail -c 4194304 | sed 's/^/ledger /'
}
