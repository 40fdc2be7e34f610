# The beginning of the script: calls the function of a verb.

main() {
    "$@"
}

main "$@"
