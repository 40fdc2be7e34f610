# Functions of all hand-written tools. Each is called with `prepare` (not timed), `deploy` or
# `rollback`, and finds in its environment: ARTIFACT (a directory), APP (where to, on the host),
# HOSTS (names that SSH_CONFIG knows), ENV_FILE (becomes .env), KEEP, WORK (scratch).
# shellcheck shell=sh
set -eu
release=$(date -u +%Y%m%d%H%M%S%3N)
config=$SSH_CONFIG
# Over connections that live already, where MASTER is set.
if [ -n "${MASTER-}" ]; then
    config=$WORK/ssh_config
    printf 'Include %s\nHost *\nControlPath %s/%%C\n' "$SSH_CONFIG" "$WORK" >"$config"
fi
ssh="ssh -F $config"

# The host's part once the release is in place: link, flip by rename, restart, clean.
# shellcheck disable=SC2034
finish="mkdir -p $APP/shared/log && cd $APP/releases/$release && ln -s ../../shared/log log &&
ln -sfn releases/$release $APP/next && mv -T $APP/next $APP/current && true &&
cd $APP/releases && ls | sort | head -n -$KEEP | xargs -r rm -rf"

# The release before the one that is live, made live.
back="cd $APP/releases && live=\$(basename \$(readlink $APP/current)) &&
old=\$(ls | sort | grep -B1 -x \$live | head -n1) && test \$old != \$live &&
ln -sfn releases/\$old $APP/next && mv -T $APP/next $APP/current && true"

# Calls function $1 for every host, all at once; fails if one does.
each() {
    pids="" failed=0
    for host in $HOSTS; do
        "$1" "$host" &
        pids="$pids $!"
    done
    for pid in $pids; do wait "$pid" || failed=1; done
    return $failed
}

# Logs in to every host once, so that all that follows goes over that connection.
connect() {
    [ -n "${MASTER-}" ] || return 0
    for host in $HOSTS; do
        $ssh -O check "$host" 2>/dev/null || $ssh -M -N -f -o ControlPersist=60 "$host"
    done
}

roll_back() { $ssh "$1" "$back"; }
