# Channels that bring an upload, and unpacking it.

# Unpacks one stream into releases/, on a channel of its own. Its first line names the descriptors
# that take turns: 0 is this channel's standard input, others bring the bytes of further channels.
receive() {
    local code codec descriptors reader stage
    arguments "$@"
    become_channel
    { cd "$root/releases" && read -r descriptors; } || end_channel 70
    reader=''
    if [ -n "$stage" ]; then
        : >"$run_dir/unpacking"
        hash_while_receiving "$root/releases/$stage" </dev/null >/dev/null 2>&1 &
        reader=$!
    fi
    case $descriptors in
        0) unpack "$codec" ;;
        *) merge_stripes | unpack "$codec" ;;
    esac
    code=$?
    rm -f "$run_dir/unpacking"
    [ -z "$reader" ] || wait "$reader"
    end_channel "$code"
}

# Reads the large files of the stage $1 while they are unpacked, one after the other, and writes
# their digests to `read` for the check.
hash_while_receiving() {
    local path size sum
    until [ -s "$1/meta/large" ] || [ ! -e "$run_dir/unpacking" ]; do pause 0.1; done
    while read -r size path; do
        until [ -e "$1/tree/$path" ] || [ ! -e "$run_dir/unpacking" ]; do pause 0.1; done
        sum=$(as_it_grows "$1/tree/$path" "$size" | sum_of) || return "$?"
        printf '%s ./%s\n' "${sum%% *}" "$path" >>"$1/meta/read"
    done <"$1/meta/large"
}

# Prints the file $1, which is going to have $2 bytes.
as_it_grows() (
    exec <"$1" || exit
    while [ "$(stat -c %s "$1")" -lt "$2" ] && [ -e "$run_dir/unpacking" ]; do
        cat
        pause 0.1
    done
    cat
)

pause() {
    sleep "$1" 2>/dev/null || sleep 1
}

# A further channel of an upload: its bytes go to this descriptor of `receive`.
stripe() {
    local descriptor
    arguments "$@"
    become_channel
    make_stripe "$descriptor" && cat >"$run_dir/stripe.$descriptor"
    end_channel "$?"
}

# Makes the pipe, unless the other end has made it.
make_stripe() {
    mkfifo -m 600 "$run_dir/stripe.$1" 2>/dev/null || [ -p "$run_dir/stripe.$1" ]
}

# Prints a block from each descriptor in turn. A block that is not full is the last one, or its
# channel broke: then nothing after it would be in its place.
merge_stripes() {
    local at records
    for at in $descriptors; do
        [ "$at" = 0 ] || { make_stripe "$at" && eval "exec $at<\"\$run_dir/stripe.$at\""; } || return "$?"
    done
    while :; do
        for at in $descriptors; do
            dd bs=1048576 count=1 iflag=fullblock <&"$at" 2>"$run_dir/block"
            read -r records <"$run_dir/block"
            case $records in
                1+0*) ;;
                *) return 1 ;;
            esac
        done
    done
}

# Registers this process as a data channel, and starts a watcher that ends it with the conversation.
become_channel() {
    local agent
    run_dir=$root/.shipit/run/$run
    umask 022
    echo "$$" >"$run_dir/channel.$$" || exit 70
    agent=$(cat "$run_dir/agent")
    (
        while [ -d "$run_dir" ] && kill -0 "$agent"; do sleep 1; done
        kill -TERM 0
    ) >/dev/null 2>&1 </dev/null &
    watcher=$!
}

end_channel() {
    kill "$watcher" 2>/dev/null
    rm -f "$run_dir/channel.$$"
    exit "$1"
}

unpack() {
    case $1 in
        zstd) zstd -q -d -c | tar -x -o -f - ;;
        gzip) gzip -d -c | tar -x -o -f - ;;
        *) tar -x -o -f - ;;
    esac
}

# Unpacks the stream that came with the order.
locked_order_unpack() {
    local code codec size
    arguments "$@"
    (cd "$root/releases" && unpack "$codec" <"$tmp/upload") 9>&-
    code=$?
    : >"$tmp/upload"
    return "$code"
}

# Deletes what has arrived of a release, so that it can be sent in another way.
locked_order_discard() {
    local id
    arguments "$@"
    rm -rf "$root/releases/.$id.$run"
}
