# Prepares a host for an app, as root. Each step is looked at first, and done only if it is not as
# wanted, so that it can be run again. $1 is who logged in. Set before: `mode`, look or do; `user`,
# who will deploy, or nothing for who logged in.
: "${mode:?}"
login=$1 failed=
[ -n "$user" ] || user=$login
printf 'user %s\n' "$user"

# $1 its number, $2 its name, then its arguments. Tells what became of it.
step() {
    number=$1 name=$2 said=
    shift 2
    if "is_$name" "$@" </dev/null >/dev/null 2>&1; then
        state=same
    elif [ "$mode" = look ]; then
        state=differs
    elif [ -n "$failed" ]; then
        state=skipped
    elif said=$("make_$name" "$@" 2>&1 </dev/null) && "is_$name" "$@" </dev/null >/dev/null 2>&1; then
        state='done'
    else
        state=failed failed=yes
    fi
    printf '%s %s\n' "$number" "$state"
    [ "$state" != failed ] || printf '%s\n' "$said" | sed 's/^/| /'
    return 0
}

# Work below directories of the user is done as the user, who may have links there to files that
# only root may write.
as_user() {
    if [ "$user" = "$(id -un)" ]; then
        "$@"
    else
        runuser -u "$user" -- "$@"
    fi
}

# $1 a user. Prints the home directory.
home_of() {
    { getent passwd "$1" || awk -F: -v name="$1" '$1 == name' /etc/passwd; } | cut -d: -f6
}

# The user exists. One who has keys keeps these.
is_account() {
    id -u "$user" || return 1
    [ "$user" = "$login" ] || [ ! -s "$(home_of "$login")/.ssh/authorized_keys" ] ||
        [ -e "$(home_of "$user")/.ssh/authorized_keys" ]
}

# No password, hence `*` and not `!`: sshd calls an account with `!` locked.
make_account() {
    id -u "$user" >/dev/null 2>&1 ||
        useradd --create-home --shell /bin/sh --password '*' "$user" || return 1
    keys=$(home_of "$login")/.ssh/authorized_keys
    [ -s "$keys" ] || return 0
    # shellcheck disable=SC2016
    as_user sh -c 'cd "$1" && umask 077 && mkdir -p .ssh && cat >.ssh/authorized_keys' \
        sh "$(home_of "$user")" <"$keys"
}

# $1 a group, $2 whether it is made: yes or no.
is_member() {
    [ "$user" != root ] || return 0
    getent group "$1" || grep -q "^$1:" /etc/group || [ "$2" = yes ] || return 0
    id -Gn "$user" | tr ' ' '\n' | grep -qxF -e "$1"
}

make_member() {
    { [ "$2" = no ] || groupadd -f "$1"; } && usermod -aG "$1" "$user"
}

# $1 a directory in which the user can write.
is_directory() {
    [ -d "$1" ] && as_user test -w "$1"
}

make_directory() {
    install -d -m 755 -o "$user" -g "$(id -gn "$user")" "$1"
}

# $1 a file, $2 what to write if it is missing.
is_file() {
    [ -e "$1" ]
}

make_file() {
    # shellcheck disable=SC2016
    printf '%s' "$2" | as_user sh -c \
        'mkdir -p "${1%/*}" && umask 077 && cat >"$1.new" && mv -f "$1.new" "$1"' sh "$1"
}

# $1 a file that only a person can bring.
is_brought() {
    [ -e "$1" ]
}

make_brought() {
    echo 'put it there by hand'
    return 1
}

# $1 a file of sudo, $2 commands, one a line. Prints the lines that it lacks.
lacking() {
    name=$(printf '%s\n' "$user" | sed 's/\\/\\\\/g')
    printf '%s\n' "$2" | while IFS= read -r command; do
        rule="$name ALL=(root) NOPASSWD: $command"
        grep -qxF -e "$rule" "$1" 2>/dev/null || printf '%s\n' "$rule"
    done
}

is_rules() {
    [ "$user" = root ] || { [ -e "$1" ] && [ -z "$(lacking "$1" "$2")" ]; }
}

# A broken file would shut everybody out of sudo, so it is checked before it is put in place. sudo
# reads no file with a dot in its name.
make_rules() {
    draft=$1.new
    (umask 077 && { [ ! -e "$1" ] || awk 1 "$1"; lacking "$1" "$2"; } >"$draft") &&
        visudo -cqf "$draft" && chmod 440 "$draft" && mv -f "$draft" "$1" && return 0
    rm -f "$draft"
    return 1
}

is_linger() {
    [ "$user" = root ] || [ -e "/var/lib/systemd/linger/$user" ]
}

make_linger() {
    loginctl enable-linger "$user"
}
