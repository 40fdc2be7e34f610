//! The proof that the unit runs the code of the release and stays up.

use crate::config::Config;
use crate::config::checks::{Check, HealthProbe};
use crate::deploy::outcome::Failure;
use crate::model::host_state::UnitState;
use crate::model::layout::Layout;
use crate::model::manifest::is_below;
use crate::model::service::{Action, Proof, UnitKind};
use crate::model::words::times;
use crate::remote::answer::Judgement;

/// The reason why a unit does not count as running the release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProofError {
    /// The host reports nothing about it.
    Unseen,
    /// It is not running: `failed (exit-code)`, `inactive (dead)`, …
    NotActive {
        state: String,
    },
    /// It was started and is not running any more.
    WentDown {
        state: String,
    },
    /// It ends by itself, and systemd restarts it.
    Crashing {
        restarts: u64,
    },
    /// It was restarted by somebody else while it was judged.
    StartedAnew,
    /// Its main process is in another release, at `path`.
    OtherRelease {
        release: String,
        path: String,
    },
    /// It was reloaded, and nothing shows which code it runs.
    OnlyReloaded,
    /// It was not started since the flip, as `how` shows.
    NotStarted {
        how: &'static str,
    },
    NoNextRun,
    /// The proof is weaker than the one that is asked for; `None`: it is up, and nothing shows what
    /// it runs. `seen` is the place of its main process and its program, as far as possible.
    Weak {
        proof: Option<Proof>,
        least: Proof,
        seen: Option<String>,
    },
}

impl ProofError {
    /// Returns the error for a unit whose start was reported as done.
    #[must_use]
    pub fn after_its_start(self) -> Self {
        match self {
            Self::NotActive { state } => Self::WentDown { state },
            other => other,
        }
    }

    /// Returns the error for people, about the unit of this name.
    pub fn failure(self, unit: &str) -> Failure {
        let fails = |what: &str| Failure::new(format!("{unit} {what}"));
        match self {
            Self::Unseen => fails("could not be looked at"),
            Self::NotActive { state } => {
                fails("is not active").because(format!("systemd calls it {state}"))
            }
            Self::WentDown { state } => {
                fails("did not stay up").because(format!("systemd calls it {state}"))
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
                .hint(
                    "a check with `body` or a `command` can show what it serves; or use \
                     `action = \"restart\"`"
                        .to_owned(),
                ),
            Self::NotStarted { how } => fails("still runs what ran before")
                .because(format!("it has not been started since the flip: {how}")),
            Self::NoNextRun => fails("has no next run")
                .because("systemd calls it active, and knows no time at which it elapses")
                .hint(format!("on the host: `systemctl list-timers {unit}`")),
            Self::Weak { proof, least, seen } => {
                let proof = proof.map_or("up, which shows nothing", Proof::word);
                fails("may not run the release")
                    .because(seen.unwrap_or_default())
                    .because(format!("it is {proof}, and `proof` asks for {}", least.word()))
                    .hint(format!(
                        "let WorkingDirectory= or ExecStart= of {unit} go through `current`, or ask \
                         for a weaker `proof`"
                    ))
            }
        }
    }
}

/// The proof that is asked of a unit.
#[derive(Debug, Clone, Copy)]
pub struct ProofRule<'a> {
    pub layout: &'a Layout,
    /// The effect of a flip on the unit.
    pub action: Action,
    /// The weakest that is accepted; `None`: any that ties the unit to the release as far as its
    /// definition does.
    pub least: Option<Proof>,
    /// Whether a health check reads what it answers.
    pub checked: bool,
    pub slot: Option<&'a str>,
}

impl<'a> ProofRule<'a> {
    /// Returns the rule for a unit that asks for no proof, is in no slot and answers no check.
    pub const fn new(layout: &'a Layout, action: Action) -> Self {
        Self { layout, action, least: None, checked: false, slot: None }
    }

    /// Returns the rule for a unit of this stage with this action.
    pub fn of(config: &'a Config, action: Action, least: Option<Proof>) -> Self {
        let looks = |check: &Check| match &check.probe {
            HealthProbe::Http(http) => http.body.is_some(),
            HealthProbe::Command(_) => true,
            HealthProbe::Tcp { .. } => false,
        };
        let checked = config.health.checks.iter().any(looks);
        Self { least, checked, ..Self::new(&config.layout, action) }
    }

    /// Returns the link that leads the unit to the release.
    fn link(&self) -> String {
        self.slot.map_or_else(|| self.layout.current(), |slot| self.layout.slot(slot))
    }
}

/// Returns how strongly it was seen that the unit runs the release; `None`: it is up, and has
/// nothing to prove. Fails if it does not run the release, or the proof is too weak.
pub fn prove(found: &Judgement, rule: ProofRule<'_>) -> Result<Option<Proof>, ProofError> {
    let unit = found.unit.as_ref().ok_or(ProofError::Unseen)?;
    is_up(unit)?;
    let proof = match UnitKind::of(&unit.name) {
        UnitKind::Socket | UnitKind::Timer | UnitKind::Target => return Ok(None),
        // It was running, and is left alone.
        UnitKind::Service if rule.action == Action::Start && is_unchanged(unit, found) => None,
        UnitKind::Service => Some(prove_service(unit, found, rule)?),
    };
    match rule.least.filter(|least| proof < Some(*least)) {
        Some(least) => Err(ProofError::Weak { proof, least, seen: seen(unit) }),
        None => Ok(proof),
    }
}

fn prove_service(
    unit: &UnitState,
    found: &Judgement,
    rule: ProofRule<'_>,
) -> Result<Proof, ProofError> {
    let reloads = rule.action.reloads();
    if reloads && (found.inside || found.worker) {
        return Ok(Proof::Seen);
    }
    let same = is_unchanged(unit, found);
    // A later look knows nothing of the flip.
    if reloads && ((same && rule.checked) || found.flip_ticks.is_none()) {
        return Ok(Proof::Reloaded);
    }
    let mut paths = [&unit.cwd, &unit.exe].into_iter().flatten();
    if found.inside || paths.clone().any(|path| is_inside(path, &found.real_path)) {
        return is_newer(unit, found).map(|()| Proof::Seen);
    }
    let releases = found.real_path.rsplit_once('/').map_or("", |(releases, _)| releases);
    if let Some(path) = paths.find(|path| !releases.is_empty() && is_below(path, releases)) {
        let rest = path[releases.len()..].trim_start_matches('/');
        let release = rest.split('/').next().unwrap_or(rest).to_owned();
        return Err(ProofError::OtherRelease { release, path: path.clone() });
    }
    if reloads && same {
        return if found.renewed { Ok(Proof::Reloaded) } else { Err(ProofError::OnlyReloaded) };
    }
    was_started(unit, found)?;
    Ok(match () {
        () if found.worker => Proof::Seen,
        () if unit.goes_through(&rule.link()) => Proof::Inferred,
        () => Proof::Restarted,
    })
}

fn is_up(unit: &UnitState) -> Result<(), ProofError> {
    let kind = UnitKind::of(&unit.name);
    match (unit.active.as_str(), unit.sub.as_str()) {
        ("active", "running") if kind == UnitKind::Timer => Ok(()),
        ("active", _) if kind == UnitKind::Timer && !unit.has_next_run => {
            Err(ProofError::NoNextRun)
        }
        ("active", sub) if kind != UnitKind::Socket || ["listening", "running"].contains(&sub) => {
            Ok(())
        }
        ("reloading", _) => Ok(()),
        ("inactive", _) if unit.has_ended_well() => Ok(()),
        (_, "auto-restart" | "auto-restart-queued") => {
            Err(ProofError::Crashing { restarts: unit.restarts + 1 })
        }
        (active, sub) => Err(ProofError::NotActive { state: format!("{active} ({sub})") }),
    }
}

fn is_inside(path: &str, release: &str) -> bool {
    !release.is_empty() && (path == release || is_below(path, release))
}

/// Returns whether the unit runs as it did before the flip. systemd before version 232 names no
/// start, but its time.
fn is_unchanged(unit: &UnitState, found: &Judgement) -> bool {
    if unit.invocation.is_empty() {
        let before = found.before_exec_start;
        return before.is_some_and(|before| before > 0) && unit.exec_start_at == before;
    }
    unit.invocation == found.before_invocation
}

/// Fails if the main process began before the flip.
fn is_newer(unit: &UnitState, found: &Judgement) -> Result<(), ProofError> {
    match (unit.started, found.flip_ticks) {
        (Some(started), Some(flipped)) if started < flipped => {
            Err(ProofError::NotStarted { how: "its main process is older" })
        }
        _ => Ok(()),
    }
}

/// Fails unless the unit was started after the flip.
fn was_started(unit: &UnitState, found: &Judgement) -> Result<(), ProofError> {
    let how = match (unit.invocation.is_empty(), is_unchanged(unit, found)) {
        (false, true) => "its InvocationID is the same",
        (true, true) => "systemd knows of no later start",
        (true, false) if unit.started.is_none() && !has_start(unit, found) => {
            "neither its InvocationID nor its start is known"
        }
        _ => return is_newer(unit, found),
    };
    Err(ProofError::NotStarted { how })
}

/// Returns whether systemd tells of a start by times alone, or nobody knows of the flip.
fn has_start(unit: &UnitState, found: &Judgement) -> bool {
    let known = unit.exec_start_at.is_some_and(|at| at > 0) && found.before_exec_start.is_some();
    known || found.flip_ticks.is_none()
}

/// Returns where the main process is and what it runs, as far as that can be seen.
fn seen(unit: &UnitState) -> Option<String> {
    match (&unit.cwd, &unit.exe) {
        (Some(cwd), Some(exe)) => Some(format!("its main process is in {cwd} and runs {exe}")),
        (Some(cwd), None) => Some(format!("its main process is in {cwd}")),
        (None, Some(exe)) => Some(format!("its main process runs {exe}")),
        (None, None) => None,
    }
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
    // Timers start such a unit again.
    if UnitKind::of(&second.name) != UnitKind::Service || second.is_oneshot() {
        return Ok(());
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

    /// Returns the judgement of a unit that was started well and whose process cannot be seen,
    /// changed as `KEY=VALUE` words say.
    fn look(changes: &str) -> Judgement {
        let before = if changes.contains("invocation= ") { "" } else { "a" };
        let mut found = Judgement {
            before_invocation: before.to_owned(),
            flip_ticks: Some(100),
            real_path: NEW.to_owned(),
            ..Judgement::default()
        };
        let mut unit = UnitState {
            name: "todo.service".to_owned(),
            active: "active".to_owned(),
            sub: "running".to_owned(),
            invocation: "b".to_owned(),
            started: Some(200),
            working_directory: "/srv/todo/current".to_owned(),
            ..UnitState::default()
        };
        for word in changes.split(' ') {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let text = value.to_owned();
            match key {
                "" => {}
                "inside" => found.inside = true,
                "renewed" => found.renewed = true,
                "worker" => found.worker = true,
                "active" => unit.active = text,
                "sub" => unit.sub = text,
                "invocation" => unit.invocation = text,
                "started" => unit.started = value.parse().ok(),
                "dir" => unit.working_directory = text,
                "exec" => unit.exec_start = text.replace('+', " "),
                "cwd" => unit.cwd = Some(text),
                "exe" => unit.exe = Some(text),
                "name" => unit.name = text,
                "type" => unit.service_type = text,
                "result" => unit.result = text,
                "at" => unit.exec_start_at = value.parse().ok(),
                "next" => unit.has_next_run = value == "yes",
                "bind" => unit.mounts = text.replace('+', " "),
                "before" => found.before_exec_start = value.parse().ok(),
                "restarts" => unit.restarts = value.parse().unwrap_or_default(),
                _ => panic!("{key}"),
            }
        }
        Judgement { unit: Some(unit), ..found }
    }

    /// Returns the judgement of such a look by a rule, in words.
    fn judged(changes: &str, rule: impl Fn(ProofRule<'_>) -> ProofRule<'_>) -> String {
        let layout = Layout::new("/srv/todo");
        let usual = ProofRule::new(&layout, Action::Restart);
        match prove(&look(changes), rule(usual)) {
            Ok(proof) => proof.map_or("nothing to prove", Proof::word).to_owned(),
            Err(doubt) => doubt.failure("todo.service").one_line(),
        }
    }

    #[track_caller]
    fn check(changes: &str, expected: &str) {
        assert_eq!(judged(changes, |rule| rule), expected, "{changes}");
    }

    #[track_caller]
    fn check_action(action: Action, changes: &str, expected: &str) {
        assert_eq!(judged(changes, |rule| ProofRule { action, ..rule }), expected, "{changes}");
    }

    const OLDER: &str = "todo.service still runs what ran before: it has not been started since the \
                         flip: its main process is older";

    #[test]
    fn visible_process_decides() {
        check(&format!("cwd={NEW} exe=/usr/bin/python3"), "seen");
        check(&format!("cwd=/ exe={NEW}/bin/serve dir=/"), "seen");
        check(&format!("cwd={NEW} invocation=a"), "seen");
        check(&format!("cwd={NEW} started=99"), OLDER);
        let other = format!(
            "todo.service runs another release: its main process is in {OLD}, which belongs to \
             20260821090001"
        );
        check(&format!("cwd=/ exe={OLD}"), &other);
        check(&format!("cwd={OLD} invocation=a started=5"), &other);
        // A worker in the release does not excuse the main process.
        check(&format!("cwd={OLD} worker"), &other);
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
    fn worker_in_the_release_is_seen() {
        check("worker", "seen");
        check("worker cwd=/ exe=/usr/bin/supervise dir=/", "seen");
        check("worker started=99", OLDER);
    }

    #[test]
    fn invisible_process_is_inferred_from_its_start() {
        check("", "inferred");
        check("dir=/ exec={+path=/srv/todo/current/bin/serve+;+argv[]=x+}", "inferred");
        check("dir=/app bind=/srv/todo/current+/app+rbind", "inferred");
        check("cwd=/opt exe=/usr/bin/python3", "inferred");
        check(
            "invocation=a",
            "todo.service still runs what ran before: it has not been started since the flip: its \
             InvocationID is the same",
        );
        check("started=99", OLDER);
    }

    /// systemd before version 232 names no start.
    #[test]
    fn start_without_a_name_is_known_by_its_time() {
        check("invocation= ", "inferred");
        let before = "todo.service still runs what ran before: it has not been started since the \
                      flip: ";
        let neither = format!("{before}neither its InvocationID nor its start is known");
        check("invocation= started=x", &neither);
        check("invocation= started=x at=0 before=5", &neither);
        check("invocation= started=x at=9 before=5", "inferred");
        check("invocation= started=x at=9 before=0", "inferred");
        let same = format!("{before}systemd knows of no later start");
        check("invocation= started=x at=9 before=9", &same);
        check("invocation= started=300 at=9 before=9", &same);
    }

    #[test]
    fn process_in_its_own_namespace_is_seen() {
        check("inside cwd=/app dir=/app", "seen");
    }

    #[test]
    fn unit_that_has_nothing_to_do_with_the_release_is_restarted() {
        for dir in ["/opt", "/srv/todo/current-old", "/mnt/srv/todo/current", "/srv/todo/currents"]
        {
            check(&format!("dir={dir}"), "restarted");
        }
        check("dir=/ cwd=/ exe=/usr/sbin/nginx", "restarted");
    }

    #[test]
    fn least_proof_is_demanded() {
        let asked =
            |changes, least| judged(changes, |rule| ProofRule { least: Some(least), ..rule });
        assert_eq!(asked("inside", Proof::Seen), "seen");
        assert_eq!(asked("", Proof::Inferred), "inferred");
        assert_eq!(asked("", Proof::Restarted), "inferred");
        let weak = "todo.service may not run the release: ";
        assert_eq!(
            asked("", Proof::Seen),
            format!("{weak}it is inferred, and `proof` asks for seen")
        );
        assert_eq!(
            asked("dir=/opt cwd=/opt exe=/usr/bin/python3", Proof::Inferred),
            format!("{weak}its main process is in /opt and runs /usr/bin/python3")
        );
    }

    #[test]
    fn reload_is_proved_as_a_reload_only() {
        for action in [Action::Reload, Action::ReloadOrRestart] {
            let by = |changes: &str, checked| {
                judged(changes, |rule| ProofRule { action, checked, ..rule })
            };
            assert_eq!(by("invocation=a started=5", true), "reloaded");
            // The main process of a graceful reload stays where it was started.
            assert_eq!(by(&format!("invocation=a cwd={OLD}"), true), "reloaded");
            assert_eq!(by(&format!("cwd={NEW}"), true), "seen");
            assert!(by(&format!("cwd={OLD}"), true).contains("runs another release"));
            assert!(by("invocation=a active=failed", true).contains("is not active"));
            // If no check looks at the release, new workers prove it.
            assert!(by("invocation=a", false).contains("may still run what ran before"));
            assert_eq!(by("invocation=a renewed", false), "reloaded");
            assert_eq!(by(&format!("invocation=a worker cwd={OLD}"), false), "seen");
            // Workers of a main process in another release may run its code.
            let stays = by(&format!("invocation=a renewed cwd={OLD}"), false);
            assert!(stays.contains("runs another release"), "{stays}");
            // A unit that systemd restarted instead must prove as much as after a restart.
            assert_eq!(by("", true), "inferred");
        }
    }

    #[test]
    fn unit_that_ran_and_is_only_started_has_nothing_to_prove() {
        check_action(
            Action::Start,
            &format!("invocation=a started=5 cwd={OLD}"),
            "nothing to prove",
        );
        check_action(Action::Start, "", "inferred");
        let least = Some(Proof::Restarted);
        let asked =
            judged("invocation=a", |rule| ProofRule { action: Action::Start, least, ..rule });
        assert!(asked.ends_with("it is up, which shows nothing, and `proof` asks for restarted"));
    }

    #[test]
    fn unit_that_is_only_judged_must_run_the_release() {
        check_action(Action::None, &format!("cwd={NEW}"), "seen");
        let other =
            judged(&format!("cwd={OLD}"), |rule| ProofRule { action: Action::None, ..rule });
        assert!(other.contains("runs another release"), "{other}");
    }

    #[test]
    fn socket_timer_and_target_are_up_or_not() {
        check("name=todo.socket sub=listening", "nothing to prove");
        check("name=todo.socket sub=running", "nothing to prove");
        check("name=todo.socket active=inactive sub=dead", DEAD);
        check("name=todo.timer sub=waiting next=yes", "nothing to prove");
        check("name=todo.timer sub=running", "nothing to prove");
        check(
            "name=todo.timer sub=elapsed",
            "todo.service has no next run: systemd calls it active, and knows no time at which it \
             elapses",
        );
        check("name=todo.timer active=inactive sub=dead", DEAD);
        check("name=todo.target sub=active", "nothing to prove");
    }

    const DEAD: &str = "todo.service is not active: systemd calls it inactive (dead)";

    #[test]
    fn oneshot_has_ended_well_since_the_flip() {
        let ended = "type=oneshot active=inactive sub=dead started=x";
        check(&format!("{ended} result=success at=7"), "inferred");
        check(&format!("{ended} result=success at=0"), DEAD);
        check(&format!("{ended} result=exit-code at=7"), DEAD);
        check("active=inactive sub=dead result=success at=7", DEAD);
        let before = judged(&format!("{ended} result=success at=7 invocation=a"), |rule| rule);
        assert!(before.contains("its InvocationID is the same"), "{before}");
    }

    #[test]
    fn unit_that_is_down_is_named() {
        check(
            "active=failed sub=failed",
            "todo.service is not active: systemd calls it failed (failed)",
        );
        check(
            "active=activating sub=auto-restart restarts=4",
            "todo.service did not stay up: it ended by itself and systemd restarted it, \
             5 times so far",
        );
        let layout = Layout::new("/srv/todo");
        let rule = ProofRule::new(&layout, Action::Restart);
        assert_eq!(prove(&Judgement::default(), rule), Err(ProofError::Unseen));
    }

    #[test]
    fn unit_stays_up_only_with_the_same_start() {
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
