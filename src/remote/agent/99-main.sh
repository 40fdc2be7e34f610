# The beginning of the script.

main() {
    case $1 in
        serve) shift && serve "$@" ;;
        receive) shift && receive "$@" ;;
        stripe) shift && stripe "$@" ;;
    esac
}

main "$@"
