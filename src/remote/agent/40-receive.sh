# Channels that bring an upload, and unpacking it.

# Unpacks one stream into releases/. Runs on a channel of its own, as a ward of the conversation.
# The first line names the descriptors that take turns in bringing the stream: this channel's
# standard input, and further ones for what comes over other channels.
receive() {
    local code descriptors reader
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
    local path size sum
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
    local at records
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
    local agent
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
    local code codec
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

# Throws away what has arrived of a release, so that it can be sent in another way.
order_discard() {
    rm -rf "$root/releases/.$1.$run"
}
