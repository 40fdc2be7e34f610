//! A systemd that is a script.

use std::fs;
use std::path::Path;

use shipit::remote::local::LocalSession;

use super::tools::with_tools;

/// A systemd of one user that logs its calls, and on which release each was made. `refuse-VERB`
/// makes one fail, and `hang-VERB` makes it take long. A unit runs from its start to its end, as
/// `running-NAME` says. Sockets listen.
pub(crate) const SYSTEMCTL: &str = r#"#!/bin/sh
cd "$(dirname "$0")/.." || exit 1
[ "$1" != --user ] || shift
units=home/.config/systemd/user
live=$(readlink srv/current)
for name; do :; done
case "$*" in
is-system-running) echo running && exit ;;
show*FragmentPath*) printf 'FragmentPath=%s\n' "$(cat fragment 2>/dev/null)" && exit ;;
show*)
    load=not-found active=inactive
    [ ! -e "$units/$name" ] || load=loaded
    [ ! -e "running-$name" ] || active=active
    printf 'LoadState=%s\nActiveState=%s\nSubState=listening\nInvocationID=%s\nExecMainStartTimestampMonotonic=1\nMainPID=0\n' \
        $load $active "$(cat "running-$name" 2>/dev/null)"
    exit
    ;;
reset-failed*) exit ;;
esac
echo "$* on ${live##*/}" | sed "s|$PWD/srv/current|CURRENT|" >>calls
[ ! -e "refuse-$1" ] || { echo "systemd refuses"; exit 1; }
case $1 in
link) mkdir -p "$units" && ln -s "$2" "$units/${2##*/}" || exit ;;
enable) [ -e "$units/$2" ] && mkdir -p "$units/wants" && ln -sfn "../$2" "$units/wants/$2" || exit ;;
disable)
    runs=''
    [ ! -e "running-$3" ] || runs=yes
    rm -f "$units/$3" "$units/wants/$3" "running-$3"
    [ -n "$runs" ] || { echo "Failed to stop $3: Unit $3 not loaded."; exit 1; }
    ;;
start | restart) [ -e "$units/$2" ] && echo "$$" >"running-$2" ;;
esac
[ ! -e "hang-$1" ] || { : >hanging; exec sleep 20; }
"#;

/// The session with that systemd, whose state is in `dir`.
pub(crate) fn with_systemd(session: &LocalSession, dir: &Path) -> LocalSession {
    let home = dir.join("home");
    fs::create_dir_all(&home).unwrap();
    with_tools(session, dir, &[("systemctl", SYSTEMCTL)]).var("HOME", home.to_str().unwrap())
}
