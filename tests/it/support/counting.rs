//! A shell that counts the statements of the agent, and kills it before one of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shipit::deploy::outcome::RunOutcome;
use shipit::remote::local::LocalSession;

use super::effort::effort;
use super::fleet::Work;
use super::tools::program;
use super::world::World;

/// The statements at which a kill may leave something new. Between two of them neither the
/// directories of the host nor what was sent change, so the two ends of such a stretch stand for
/// every statement of it.
pub(crate) struct KillPoints(BTreeSet<usize>);

impl KillPoints {
    /// Returns the points of `work` in `world`, whose shells are in `dir`. A look for a change
    /// costs as much as many statements: where only some points are tried, every statement counts
    /// as one.
    pub(crate) async fn of(dir: &Path, world: &mut World, work: Work) -> Self {
        fs::write(dir.join("changes"), "").unwrap();
        if effort(false, false, true) {
            fs::write(dir.join("looks"), "").unwrap();
        }
        // A run that looks around takes many times as long.
        world.config.deadline = Duration::from_mins(1);
        world.limits(Duration::from_mins(2));
        let report = work.in_world(world).await;
        assert_eq!(report.verdict(), RunOutcome::Done, "{report:?}");
        let text = fs::read_to_string(dir.join("changes")).unwrap();
        let begun: BTreeSet<usize> = text.lines().map(|line| line.parse().unwrap()).collect();
        assert!(begun.len() > 10, "too few changes were seen: {begun:?}");
        Self(begun.iter().flat_map(|number| [number.max(&2) - 1, *number]).collect())
    }

    /// Returns at least `cases` of them, evenly spread, or all there are.
    pub(crate) fn some(&self, cases: usize) -> impl Iterator<Item = usize> {
        self.0.iter().copied().step_by((self.0.len() / cases).max(1))
    }
}

/// Has the next agent of `dir` killed before its statement `number`.
pub(crate) fn kill_before(dir: &Path, number: usize) {
    fs::write(dir.join("kill-at"), number.to_string()).unwrap();
}

/// Returns whether an agent was killed. If not, none will be: a run that waits less has fewer
/// statements.
pub(crate) fn was_killed(dir: &Path) -> bool {
    fs::remove_file(dir.join("kill-at")).is_err()
}

/// A login shell that hands the agent to a bash which counts its statements. If there is a number
/// in `kill-at`, it kills the agent when that is reached, once. If there is a file `changes`, it
/// notes in it before which statements `deploy_to`, `dir` or the answers changed, or all of them
/// unless there is a file `looks`. It does not look after a builtin that changes neither.
pub(crate) fn counting_shell(dir: &Path) -> LocalSession {
    let file = |name: &str, text: String| -> PathBuf {
        let path = dir.join(name);
        program(&path, &text);
        path
    };
    let here = dir.display();
    let count = format!(
        r#"set -T
statements=0 trap_seen= trap_last=
trap 'statements=$((statements + 1)); if [ "$BASHPID" = $$ ]; then
    if [ -e {here}/kill-at ]; then
        read -r trap_at <{here}/kill-at
        [ $statements -lt $trap_at ] || {{ rm {here}/kill-at; kill -9 $$; }}
    elif [ -e {here}/changes ] && [ ! -e {here}/looks ]; then
        echo $statements >>{here}/changes
    elif [ -e {here}/changes ] && [ -n "${{root-}}" ]; then
        case $trap_last in
            *">"* | *"\$("*) trap_last= ;;
            "[ "* | local\ * | [a-z_]*=* | case* | return* | shift | eval* | read*) ;;
            *) trap_last= ;;
        esac
        if [ -z "$trap_last" ]; then
            trap_now=$(find "$root" {here} ! -name changes -printf "%P %i %m %s %T@ %l\n" 2>/dev/null |
                cksum)${{answer-}}${{codes-}}
            [ "$trap_now" = "$trap_seen" ] || {{ trap_seen=$trap_now; echo $statements >>{here}/changes; }}
        fi
        trap_last=$BASH_COMMAND
    fi
fi' DEBUG
"#
    );
    let env = file("count.sh", count);
    // Only the conversation is counted, not the channel of an upload.
    let login = file(
        "login",
        format!(
            "#!/bin/bash\ncase $2 in *\"'serve'\"*) export BASH_ENV={} ;; esac\n\
             command=${{2/#exec \\/bin\\/sh -c/exec bash -c}}\nexec bash -c \"unset BASH_ENV; \
             BASH_ENV=${{BASH_ENV-}} $command\"\n",
            env.display()
        ),
    );
    LocalSession::new().shell(login.to_str().unwrap())
}
