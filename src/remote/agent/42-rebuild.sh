# Large files that are put together from their old versions.

# Makes the large files that were not sent whole, step by step as the recipe says: from ranges of
# an old file, of what was sent, and from patches in it, whose dictionary is a range of the old file.
# What is written is read back meanwhile: the digests go to `rebuilt`.
rebuild() {
    local line made new number stage
    : >"$tmp/rebuilt"
    [ ! -f "$1/meta/read" ] || cat "$1/meta/read" >"$tmp/rebuilt"
    [ -f "$1/meta/recipe" ] || return 0
    stage=$1
    : >"$tmp/unmade"
    put_together 9>&- | hash_while_rebuilding 9>&-
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
    local fresh line made number old path
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

hash_while_rebuilding() {
    local number path sum word
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
