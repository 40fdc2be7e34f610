# The end of the ledger, for people.

# The last lines of the ledger, and how many there are.
order_history() {
    local lines
    arguments "$@"
    [ -s "$ledger" ] || return 0
    printf 'lines %s\n' "$(($(wc -l <"$ledger")))"
    tail -n "$lines" "$ledger" | tail -c 4194304 | sed 's/^/ledger /'
}
