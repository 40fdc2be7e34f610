#!/bin/sh
# Makes this machine a host that shipit can deploy to: a user who logs in with a key, a place for
# the releases, a unit that runs what is live, and the sudo rule that lets the user restart it.
# Run as root, as often as you like; the second run changes nothing.
#
#   provision.sh --key 'ssh-ed25519 AAAA…' [--user deploy] [--app todo] [--port 8080]
#                [--run-as USER] [--scope system|user|none] [--no-sudo]
set -eu

user=deploy app=todo port=8080 run_as='' scope=system sudo_rule=yes key=''
while [ $# -gt 0 ]; do
    case $1 in
        --key) key=$2; shift ;;
        --user) user=$2; shift ;;
        --app) app=$2; shift ;;
        --port) port=$2; shift ;;
        --run-as) run_as=$2; shift ;;
        --scope) scope=$2; shift ;;
        --no-sudo) sudo_rule=no ;;
        *) echo "provision.sh: $1 is not an option" >&2; exit 2 ;;
    esac
    shift
done
[ -n "$key" ] || { echo "provision.sh: --key is missing" >&2; exit 2; }
unit=$app.service
root=/srv/$app
home=/home/$user

# Writes stdin to a file unless it holds exactly that already.
# $1 path, $2 mode, $3 owner. Succeeds if the file was written.
put() {
    new=$(mktemp)
    cat >"$new"
    if cmp -s "$new" "$1"; then
        rm -f "$new"
        return 1
    fi
    install -m "$2" -o "$3" -g "$(id -gn "$3")" "$new" "$1"
    rm -f "$new"
}

packages() {
    command -v python3 >/dev/null && command -v sudo >/dev/null && return
    command -v apt-get >/dev/null || { echo "provision.sh: install python3 and sudo first" >&2; exit 1; }
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends python3 sudo
}

# The home is the user's, who may have links there to what only root may write: what is done in it is
# done as that user.
as_user() {
    runuser -u "$user" -- "$@"
}

authorize() {
    # shellcheck disable=SC2016
    as_user sh -c '
        cd "$1" && umask 077 && mkdir -p .ssh && chmod 700 .ssh || exit
        cd .ssh || exit
        ! grep -qsxF "$2" authorized_keys || exit 0
        if [ -s authorized_keys ] && [ -n "$(tail -c 1 authorized_keys)" ]; then
            echo >>authorized_keys || exit
        fi
        echo "$2" >>authorized_keys && chmod 600 authorized_keys
    ' sh "$home" "$key"
}

# Makes the file $1 of the user hold what stdin says. Succeeds if it was written.
put_own() {
    # shellcheck disable=SC2016
    as_user sh -c '
        umask 022 && cat >"$1.new" || exit 2
        if cmp -s "$1.new" "$1"; then
            rm -f "$1.new"
            exit 1
        fi
        mv -f "$1.new" "$1" || exit 2
    ' sh "$1"
}

# No password, hence `*` and not `!`: sshd calls an account with `!` locked.
users() {
    id "$user" >/dev/null 2>&1 || useradd --create-home --shell /bin/sh --password '*' "$user"
    authorize
    # With this group a deploy that fails can show the last lines of the service's journal.
    ! getent group systemd-journal >/dev/null || usermod --append --groups systemd-journal "$user"
    [ -n "$run_as" ] || return 0
    # The service's user owns nothing of a release; the deploy user is in its group, so that
    # `.env` can be 0640 for that group.
    id "$run_as" >/dev/null 2>&1 || useradd --system --user-group --shell /usr/sbin/nologin "$run_as"
    usermod --append --groups "$run_as" "$user"
}

unit_text() {
    printf '[Unit]\nDescription=%s, deployed by shipit\n' "$app"
    [ "$scope" = user ] || printf 'After=network.target\n'
    printf 'StartLimitIntervalSec=10\nStartLimitBurst=10\n'
    printf '\n[Service]\n'
    [ "$scope" = user ] || printf 'User=%s\n' "${run_as:-$user}"
    printf 'WorkingDirectory=%s/current\n' "$root"
    printf 'Environment=PORT=%s PYTHONDONTWRITEBYTECODE=1\n' "$port"
    printf 'EnvironmentFile=-%s/current/.env\n' "$root"
    printf 'ExecStart=%s/current/bin/serve\n' "$root"
    printf 'Restart=on-failure\nRestartSec=1\nTimeoutStopSec=10\n'
    printf '\n[Install]\n'
    [ "$scope" = user ] && printf 'WantedBy=default.target\n' || printf 'WantedBy=multi-user.target\n'
}

system_unit() {
    if unit_text | put "/etc/systemd/system/$unit" 644 root; then
        systemctl daemon-reload
    fi
    systemctl --quiet enable "$unit"
}

# A unit of the user's own, started at boot because the user lingers.
user_unit() {
    loginctl enable-linger "$user"
    wants=$home/.config/systemd/user/default.target.wants
    as_user mkdir -p "$wants"
    written=0
    unit_text | put_own "$home/.config/systemd/user/$unit" || written=$?
    [ "$written" -le 1 ] || exit "$written"
    if [ "$written" = 0 ]; then
        as_user ln -sfn "../$unit" "$wants/$unit"
        uid=$(id -u "$user")
        tries=0
        until [ -S "/run/user/$uid/systemd/private" ] || [ $tries -ge 50 ]; do
            tries=$((tries + 1))
            sleep 0.1
        done
        as_user env "XDG_RUNTIME_DIR=/run/user/$uid" systemctl --user daemon-reload
    fi
}

# Exactly what a deploy needs, no wildcard; a broken file would lock everybody out of sudo, so it
# is checked before it is moved into place.
sudo_rules() {
    rules=/etc/sudoers.d/shipit-$app
    systemctl=$(command -v systemctl)
    draft=$(mktemp)
    for verb in restart stop reset-failed; do
        echo "$user ALL=(root) NOPASSWD: $systemctl $verb $unit"
    done >"$draft"
    if visudo -cqf "$draft"; then
        put "$rules" 440 root <"$draft" || true
        rm -f "$draft"
    else
        rm -f "$draft"
        echo "provision.sh: the sudo rules were refused by visudo" >&2
        exit 1
    fi
}

packages
users
install -d -m 755 -o "$user" -g "$(id -gn "$user")" "$root"
case $scope in
    system)
        system_unit
        if [ "$sudo_rule" = yes ]; then sudo_rules; else rm -f "/etc/sudoers.d/shipit-$app"; fi
        ;;
    user) user_unit ;;
    none) ;;
    *) echo "provision.sh: --scope is system, user or none" >&2; exit 2 ;;
esac
