# Large files that are put together from their old versions.

# Makes the large files that were not sent whole, as the recipe says: from ranges of an old file,
# from ranges of what was sent, and from patches in it, whose dictionary is a range of the old file.
rebuild() {
    local fresh line made new old
    fresh=$1/meta/fresh made=$1/meta/made
    [ -f "$1/meta/recipe" ] || return 0
    while IFS= read -r line; do
        # shellcheck disable=SC2086
        case $line in
            'old '*) old=$root/releases/${line#old } ;;
            'new '*) new=$1/tree/${line#new } && : >"$made" ;;
            'mode '*)
                touch -r "$new" "$made" && chmod "${line#mode }" "$made" && mv -f "$made" "$new"
                ;;
            *) piece $line >>"$made" ;;
        esac 2>"$tmp/why" || {
            echo "${new#"$1/tree/"} could not be put together from its old version"
            tail -n 1 "$tmp/why"
            return 1
        }
    done <"$1/meta/recipe" 9>&-
}

sum_of() {
    if command -v openssl >/dev/null; then openssl dgst -sha256 -r; else sha256sum; fi
}

piece() {
    case $1 in
        copy) range "$old" "$2" "$3" ;;
        fresh) range "$fresh" "$2" "$3" ;;
        *)
            range "$old" "$4" "$5" >"$made.old" &&
                range "$fresh" "$2" "$3" | zstd -q -d -c -D "$made.old"
            ;;
    esac
}

# File, first byte, bytes.
range() {
    dd if="$1" bs=1048576 iflag=skip_bytes,count_bytes,fullblock skip="$2" count="$3"
}
