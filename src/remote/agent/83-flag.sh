# Whether maintenance is on. This function comes with the order that needs it.

# Prints when the file $1 below shared/ was written, in seconds since 1970; nothing if it is not
# there.
probe_flag() {
    [ ! -e "$root/shared/$1" ] || stat -c %Y "$root/shared/$1"
}
