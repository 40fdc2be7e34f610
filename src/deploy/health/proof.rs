//! Whether the unit runs the code of the release, and stays up.

use crate::config::Config;
use crate::config::checks::{Check, HealthProbe};
use crate::deploy::outcome::Failure;
use crate::model::host_state::UnitState;
use crate::model::layout::Layout;
use crate::model::manifest::is_below;
use crate::model::service::{Action, Proof};
use crate::model::words::times;
use crate::remote::answer::Judgement;

/// Why a unit does not count as running the release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProofError {
    /// The host reports nothing about it.
    Unseen,
    /// It is not running.
    NotActive {
        /// `failed`, `inactive`, …
        active: String,
        /// `exit-code`, `dead`, …
        sub: String,
    },
    /// It was started and is not running any more.
    WentDown { active: String, sub: String },
    /// It ends by itself, and systemd restarts it.
    Crashing {
        /// How often so far.
        restarts: u64,
    },
    /// It was restarted by somebody else while it was judged.
    StartedAnew,
    /// Its main process is in another release.
    OtherRelease {
        release: String,
        /// Where the process is.
        path: String,
    },
    /// It was reloaded, and nothing shows which code it runs.
    OnlyReloaded,
    /// It was not started since the flip.
    NotStarted {
        /// How that is known.
        how: &'static str,
    },
    /// It was started from another directory.
    Elsewhere {
        /// Where its main process is and what it runs, if that could be seen.
        seen: Option<String>,
        /// The link that neither WorkingDirectory= nor ExecStart= goes through.
        current: String,
    },
}

impl ProofError {
    /// Returns the error for a unit whose start was reported as done.
    #[must_use]
    pub fn after_its_start(self) -> Self {
        match self {
            Self::NotActive { active, sub } => Self::WentDown { active, sub },
            other => other,
        }
    }

    /// Returns the error for people, about the unit of this name.
    pub fn failure(self, unit: &str) -> Failure {
        let fails = |what: &str| Failure::new(format!("{unit} {what}"));
        match self {
            Self::Unseen => fails("could not be looked at"),
            Self::NotActive { active, sub } => {
                fails("is not active").because(format!("systemd calls it {active} ({sub})"))
            }
            Self::WentDown { active, sub } => {
                fails("did not stay up").because(format!("systemd calls it {active} ({sub})"))
            }
            Self::Crashing { restarts } => {
                let times = times(restarts);
                fails("did not stay up")
                    .because(format!("it ended by itself and systemd restarted it, {times} so far"))
            }
            Self::StartedAnew => {
                fails("did not stay up").because("it was restarted while it was judged")
            }
            Self::OtherRelease { release, path } => fails("runs another release")
                .because(format!("its main process is in {path}, which belongs to {release}")),
            Self::OnlyReloaded => fails("may still run what ran before")
                .because("a reload keeps its main process, and no process of it is in the release")
                .hint(Some(
                    "a check with `body` or a `command` can show what it serves; or use \
                     `action = \"restart\"`"
                        .to_owned(),
                )),
            Self::NotStarted { how } => fails("still runs what ran before")
                .because(format!("it has not been started since the flip: {how}")),
            Self::Elsewhere { seen, current } => fails("does not run from the release")
                .because(seen.unwrap_or_default())
                .because(format!("neither WorkingDirectory= nor ExecStart= goes through {current}"))
                .hint(Some(format!(
                    "let the unit's WorkingDirectory or ExecStart go through {current}"
                ))),
        }
    }
}

/// How a flip reaches the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It is restarted.
    Restart,
    /// It is reloaded, which keeps the main process where it is.
    Reload {
        /// Whether a health check reads what it answers.
        checked: bool,
    },
}

impl Way {
    /// Returns how a flip reaches a unit with this action.
    pub fn of(config: &Config, action: Action) -> Self {
        let looks = |check: &Check| match &check.probe {
            HealthProbe::Http(http) => http.body.is_some(),
            HealthProbe::Command(_) => true,
            HealthProbe::Tcp { .. } => false,
        };
        match action {
            Action::ReloadOrRestart => {
                Self::Reload { checked: config.health.checks.iter().any(looks) }
            }
            Action::Restart => Self::Restart,
        }
    }
}

/// Returns how strongly it was seen that the unit runs the release. Fails if it does not.
pub fn prove(found: &Judgement, layout: &Layout, way: Way) -> Result<Proof, ProofError> {
    let unit = found.unit.as_ref().ok_or(ProofError::Unseen)?;
    is_up(unit)?;
    if found.inside || (found.worker && way != Way::Restart) {
        return Ok(Proof::Seen);
    }
    let same = !unit.invocation.is_empty() && unit.invocation == found.before_invocation;
    match way {
        Way::Reload { checked: true } if same => return Ok(Proof::Reloaded),
        // A later look knows nothing of the flip.
        Way::Reload { .. } if found.flip_ticks.is_none() => return Ok(Proof::Reloaded),
        _ => {}
    }
    let mut seen = [&unit.cwd, &unit.exe].into_iter().flatten();
    if seen.clone().any(|path| is_inside(path, &found.real_path)) {
        return Ok(Proof::Seen);
    }
    let releases = found.real_path.rsplit_once('/').map_or("", |(releases, _)| releases);
    if let Some(path) = seen.find(|path| !releases.is_empty() && is_below(path, releases)) {
        let rest = path[releases.len()..].trim_start_matches('/');
        let release = rest.split('/').next().unwrap_or(rest).to_owned();
        return Err(ProofError::OtherRelease { release, path: path.clone() });
    }
    if same && way != Way::Restart {
        return Err(ProofError::OnlyReloaded);
    }
    infer(unit, found, layout)
}

fn is_up(unit: &UnitState) -> Result<(), ProofError> {
    match (unit.active.as_str(), unit.sub.as_str()) {
        ("active" | "reloading", _) => Ok(()),
        (_, "auto-restart" | "auto-restart-queued") => {
            Err(ProofError::Crashing { restarts: unit.restarts + 1 })
        }
        (active, sub) => {
            Err(ProofError::NotActive { active: active.to_owned(), sub: sub.to_owned() })
        }
    }
}

fn is_inside(path: &str, release: &str) -> bool {
    !release.is_empty() && (path == release || is_below(path, release))
}

/// Without sight of the process: it was started anew, after the flip, through `current`.
fn infer(unit: &UnitState, found: &Judgement, layout: &Layout) -> Result<Proof, ProofError> {
    if !unit.invocation.is_empty() && unit.invocation == found.before_invocation {
        return Err(ProofError::NotStarted { how: "its InvocationID is the same" });
    }
    match (unit.started, found.flip_ticks) {
        (Some(started), Some(flipped)) if started < flipped => {
            return Err(ProofError::NotStarted { how: "its main process is older" });
        }
        (Some(_), Some(_)) => {}
        // systemd tells none before version 232.
        _ if unit.invocation.is_empty() => {
            return Err(ProofError::NotStarted {
                how: "neither its InvocationID nor its start is known",
            });
        }
        _ => {}
    }
    let current = layout.current();
    if [&unit.working_directory, &unit.exec_start].into_iter().any(|text| leads(text, &current)) {
        return Ok(Proof::Inferred);
    }
    let seen = match (&unit.cwd, &unit.exe) {
        (Some(cwd), Some(exe)) => Some(format!("its main process is in {cwd} and runs {exe}")),
        (Some(cwd), None) => Some(format!("its main process is in {cwd}")),
        (None, Some(exe)) => Some(format!("its main process runs {exe}")),
        (None, None) => None,
    };
    Err(ProofError::Elsewhere { seen, current })
}

/// Whether a path in `text` is `current` or lies below it.
pub fn leads(text: &str, current: &str) -> bool {
    let in_a_name = |c: char| c.is_alphanumeric() || "._-/".contains(c);
    text.match_indices(current).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + current.len()..]);
        !before.ends_with(in_a_name) && (after.starts_with('/') || !after.starts_with(in_a_name))
    })
}

/// Whether the unit stayed up between two looks.
pub fn stayed_up(first: &Judgement, second: &Judgement) -> Result<(), ProofError> {
    let (Some(first), Some(second)) = (&first.unit, &second.unit) else {
        return Err(ProofError::Unseen);
    };
    is_up(second).map_err(ProofError::after_its_start)?;
    if second.restarts > first.restarts {
        return Err(ProofError::Crashing { restarts: second.restarts });
    }
    let same_process = !first.invocation.is_empty() || second.started == first.started;
    if second.invocation != first.invocation || !same_process {
        return Err(ProofError::StartedAnew);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = "/srv/todo/releases/20260821090002";
    const OLD: &str = "/srv/todo/releases/20260821090001/bin/serve";

    /// What a look finds of a unit that was started well, and whose process cannot be seen; then
    /// changed as `KEY=VALUE` words say.
    fn look(changes: &str) -> Judgement {
        let mut unit = UnitState {
            active: "active".to_owned(),
            sub: "running".to_owned(),
            invocation: "b".to_owned(),
            started: Some(200),
            working_directory: "/srv/todo/current".to_owned(),
            ..UnitState::default()
        };
        for (key, value) in changes.split(' ').filter_map(|word| word.split_once('=')) {
            let text = value.to_owned();
            match key {
                "active" => unit.active = text,
                "sub" => unit.sub = text,
                "invocation" => unit.invocation = text,
                "started" => unit.started = value.parse().ok(),
                "dir" => unit.working_directory = text,
                "exec" => unit.exec_start = text.replace('+', " "),
                "cwd" => unit.cwd = Some(text),
                "exe" => unit.exe = Some(text),
                "restarts" => unit.restarts = value.parse().unwrap_or_default(),
                _ => panic!("{key}"),
            }
        }
        Judgement {
            unit: Some(unit),
            before_invocation: "a".to_owned(),
            flip_ticks: Some(100),
            real_path: NEW.to_owned(),
            inside: changes.contains("inside"),
            worker: changes.contains("worker"),
        }
    }

    #[track_caller]
    fn check(changes: &str, expected: &str) {
        let verdict = match prove(&look(changes), &Layout::new("/srv/todo"), Way::Restart) {
            Ok(proof) => format!("{proof:?}"),
            Err(doubt) => doubt.failure("todo.service").one_line(),
        };
        assert_eq!(verdict, expected, "{changes}");
    }

    #[test]
    fn a_process_that_can_be_seen_decides() {
        check(&format!("cwd={NEW} exe=/usr/bin/python3"), "Seen");
        check(&format!("cwd=/ exe={NEW}/bin/serve dir=/"), "Seen");
        check(&format!("cwd={NEW} invocation=a"), "Seen");
        let other = format!(
            "todo.service runs another release: its main process is in {OLD}, which belongs to \
             20260821090001"
        );
        check(&format!("cwd=/ exe={OLD}"), &other);
        check(&format!("cwd={OLD} invocation=a started=5"), &other);
        // A name that only begins like that of the release.
        check(
            &format!("cwd={NEW}0"),
            &format!(
                "todo.service runs another release: its main process is in {NEW}0, which belongs \
                 to 202608210900020"
            ),
        );
    }

    #[test]
    fn one_that_cannot_be_seen_is_inferred_from_its_start() {
        check("", "Inferred");
        check("dir=/ exec={+path=/srv/todo/current/bin/serve+;+argv[]=x+}", "Inferred");
        check("cwd=/opt exe=/usr/bin/python3", "Inferred");
        check(
            "invocation=a",
            "todo.service still runs what ran before: it has not been started since the flip: its \
             InvocationID is the same",
        );
        check(
            "invocation= started=x",
            "todo.service still runs what ran before: it has not been started since the flip: \
             neither its InvocationID nor its start is known",
        );
        // systemd before version 232.
        check("invocation=", "Inferred");
        check(
            "started=99",
            "todo.service still runs what ran before: it has not been started since the flip: its \
             main process is older",
        );
    }

    #[test]
    fn a_view_of_its_own_of_the_file_system_hides_nothing() {
        check("inside cwd=/app dir=/app", "Seen");
    }

    #[test]
    fn a_reload_counts_as_one_and_as_nothing_more() {
        let layout = Layout::new("/srv/todo");
        let by = |changes: &str, checked| prove(&look(changes), &layout, Way::Reload { checked });
        let reloaded = |changes: &str| by(changes, true);
        assert_eq!(reloaded("invocation=a started=5"), Ok(Proof::Reloaded));
        // The main process of a graceful reload stays where it was started.
        assert_eq!(reloaded(&format!("invocation=a cwd={OLD}")), Ok(Proof::Reloaded));
        assert_eq!(reloaded(&format!("cwd={NEW}")), Ok(Proof::Seen));
        assert!(matches!(reloaded(&format!("cwd={OLD}")), Err(ProofError::OtherRelease { .. })));
        assert!(matches!(
            reloaded("invocation=a active=failed"),
            Err(ProofError::NotActive { .. })
        ));
        // What no check looks at must be seen.
        assert_eq!(by("invocation=a", false), Err(ProofError::OnlyReloaded));
        assert_eq!(by(&format!("invocation=a worker cwd={OLD}"), false), Ok(Proof::Seen));
        let stays = by(&format!("invocation=a cwd={OLD}"), false);
        assert!(matches!(stays, Err(ProofError::OtherRelease { .. })));
        // One that systemd started anew instead is held to what holds for a restart.
        assert_eq!(reloaded(""), Ok(Proof::Inferred));
    }

    #[test]
    fn one_that_runs_from_elsewhere_is_named() {
        let neither = "neither WorkingDirectory= nor ExecStart= goes through /srv/todo/current";
        for dir in ["/opt", "/srv/todo/current-old", "/mnt/srv/todo/current", "/srv/todo/currents"]
        {
            check(
                &format!("dir={dir}"),
                &format!("todo.service does not run from the release: {neither}"),
            );
        }
        check(
            "dir=/opt/releases/1 cwd=/opt/releases/1 exe=/usr/bin/python3",
            "todo.service does not run from the release: its main process is in /opt/releases/1 \
             and runs /usr/bin/python3",
        );
    }

    #[test]
    fn one_that_is_not_up_is_named() {
        check(
            "active=failed sub=failed",
            "todo.service is not active: systemd calls it failed (failed)",
        );
        check(
            "active=activating sub=auto-restart restarts=4",
            "todo.service did not stay up: it ended by itself and systemd restarted it, \
             5 times so far",
        );
        assert_eq!(
            prove(&Judgement::default(), &Layout::new("/srv/todo"), Way::Restart),
            Err(ProofError::Unseen)
        );
    }

    #[test]
    fn staying_up_is_the_same_start_all_along() {
        let stays = |first: &str, second: &str| stayed_up(&look(first), &look(second));
        assert_eq!(stays("restarts=3", "restarts=3"), Ok(()));
        assert_eq!(stays("", "restarts=1"), Err(ProofError::Crashing { restarts: 1 }));
        assert_eq!(stays("", "invocation=c"), Err(ProofError::StartedAnew));
        assert_eq!(stays("invocation=", "invocation="), Ok(()));
        assert_eq!(stays("invocation=", "invocation= started=9"), Err(ProofError::StartedAnew));
        assert_eq!(
            stays("", "active=activating sub=auto-restart"),
            Err(ProofError::Crashing { restarts: 1 })
        );
        assert!(matches!(stays("", "active=failed sub=failed"), Err(ProofError::WentDown { .. })));
        assert_eq!(stayed_up(&look(""), &Judgement::default()), Err(ProofError::Unseen));
    }
}
