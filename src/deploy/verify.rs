//! Compares what is on a host, and what runs there, with what was released. Changes nothing.

use super::context::RunContext;
use super::conversation::Conversation;
use super::health::Part;
use super::judge::{NotWell, unproved};
use super::outcome::Failure;
use super::query::{Answers, of_each};
use crate::config::{Config, Host};
use crate::model::digest::Digest;
use crate::model::drift::{Drift, DriftKind, NO_PYTHON_CACHE, is_python_cache, paths};
use crate::model::host_state::{Current, HostState};
use crate::model::id::ReleaseId;
use crate::model::ledger::{History, ReleaseStatus};
use crate::model::service::{Proof, ServiceProof, weakest_proof};
use crate::model::words::count;
use crate::remote::answer::{Compared, compared};
use crate::remote::conversation::Scan;
use crate::remote::order::{DONE, Order};

/// Paths that a warning about drift names at most; others are counted.
const MOST_NAMES: usize = 10;

/// The findings about one release on one host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// `None`: no release of ours is live.
    pub release: Option<ReleaseId>,
    pub live: bool,
    /// Problems other than drift of single files.
    pub problems: Vec<String>,
    /// Paths that differ from what was released.
    pub drift: Vec<Drift>,
    /// The proof that each service runs it.
    pub services: Vec<ServiceProof>,
}

impl Verified {
    /// Returns whether everything is as it was released.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty() && self.drift.is_empty()
    }

    /// Returns the weakest proof of all services.
    pub fn proof(&self) -> Option<Proof> {
        weakest_proof(&self.services)
    }

    fn trouble(&mut self, what: impl Into<String>) {
        self.problems.push(what.into());
    }
}

/// Verifies `wanted`, or what is live, on every host.
pub async fn verify(cx: RunContext<'_>, wanted: Option<ReleaseId>) -> Answers<Verified> {
    of_each(cx, Scan::Yes, async |host| verify_host(host, wanted).await).await
}

async fn verify_host(
    host: &Conversation<'_>,
    wanted: Option<ReleaseId>,
) -> Result<Verified, Failure> {
    let (state, config) = (host.looked()?, host.config());
    let mut found = Verified::default();
    let Some(id) = wanted.or(state.live()) else {
        found.trouble(nothing_live(&state.current));
        return Ok(found);
    };
    if !state.ids().contains(&id) {
        return Err(not_there(&state, id));
    }
    (found.release, found.live) = (Some(id), state.live() == Some(id));
    let history = state.ledger.history(id);
    found.told_by_ledger(&state, history.as_ref());
    let recorded = history.and_then(|history| history.origin).and_then(|origin| origin.env);
    let env = recorded.map(|_| env_files(config, host.host)).unwrap_or_default();
    let compared = compare(host, &state, id, env.clone()).await?;
    found.compared(&compared);
    if let Some(recorded) = recorded {
        found.compared_env(&compared, &env, recorded);
        if found.live {
            found.modes_of_env(&compared, host.host, config);
        }
    }
    if found.live {
        found.running(host, &state, id).await?;
    }
    Ok(found)
}

/// Returns how a release and the env files at these paths differ from what was released.
pub(super) async fn compare(
    host: &Conversation<'_>,
    state: &HostState,
    id: ReleaseId,
    env: Vec<String>,
) -> Result<Compared, Failure> {
    let answer = host.ask(&Order::Verify { id, env }).await?;
    if answer.code != DONE {
        return Err(Failure::new(format!("could not compare {id}")).because(answer.text));
    }
    Ok(compared(&answer.text, &state.key))
}

pub(super) fn nothing_live(current: &Current) -> String {
    match current {
        Current::Foreign(target) => {
            format!("`current` points to {target}, which is not a release of shipit")
        }
        Current::NotALink => "`current` is not a link".to_owned(),
        Current::Absent | Current::Release(_) => "nothing is live".to_owned(),
    }
}

/// Returns the failure that `id` is not on this host, with the ids that are.
pub fn not_there(state: &HostState, id: ReleaseId) -> Failure {
    let names: Vec<_> =
        state.ids().iter().rev().take(MOST_NAMES).map(ToString::to_string).collect();
    let hint = match names.as_slice() {
        [] => "`shipit releases` shows what is there".to_owned(),
        names => format!("this host has {}", names.join(", ")),
    };
    Failure::new(format!("release {id} is not on this host")).hint(hint)
}

/// Returns the names of the env files of a host. An older release may have had others.
pub(super) fn env_files(config: &Config, host: &Host) -> Vec<String> {
    let names: Vec<_> = config.env_on(host).map(|spec| spec.file.clone()).collect();
    if names.is_empty() { vec![".env".to_owned()] } else { names }
}

impl Verified {
    fn told_by_ledger(&mut self, state: &HostState, history: Option<&History>) {
        match history {
            None => self.trouble("the ledger does not know it"),
            Some(history) if !history.staged => {
                self.trouble("the ledger does not call it complete");
            }
            Some(history) if self.live => match history.status {
                ReleaseStatus::Good => {}
                ReleaseStatus::Undecided => self.trouble("it is live and undecided"),
                _ => self.trouble("it is live, and the ledger does not call it good"),
            },
            Some(_) => {}
        }
        if state.ledger.unreadable() > 0 {
            let lines = count(state.ledger.unreadable(), "line");
            self.trouble(format!("{lines} of the ledger cannot be read"));
        }
    }

    fn compared(&mut self, found: &Compared) {
        if !found.manifest {
            self.trouble("there is no manifest to compare it with");
        }
        self.drift.extend(found.drift.iter().cloned());
        for text in &found.unread {
            self.trouble(format!("could not be read: {text}"));
        }
    }

    /// Compares the env files at these paths, whose digest was recorded as one.
    fn compared_env(&mut self, found: &Compared, paths: &[String], recorded: Digest) {
        let missing = paths.iter().filter(|path| !found.env_modes.contains_key(*path));
        let gone = |path: &String| Drift { path: path.clone(), change: DriftKind::Missing };
        let missing: Vec<_> = missing.map(gone).collect();
        if !missing.is_empty() {
            return self.drift.extend(missing);
        }
        match (found.env, paths) {
            (None, _) => {
                let paths = paths.join(", ");
                self.trouble(format!("{paths} or the key of its digest could not be read"));
            }
            (Some(digest), _) if digest == recorded => {}
            (Some(_), [path]) => {
                self.drift.push(Drift { path: path.clone(), change: DriftKind::Changed });
            }
            (Some(_), _) => {
                self.trouble(format!("one of {} is not as it was written", paths.join(", ")));
            }
        }
    }

    fn modes_of_env(&mut self, found: &Compared, host: &Host, config: &Config) {
        let octal = |text: &str| u32::from_str_radix(text, 8).ok();
        for spec in config.env_on(host) {
            let is = found.env_modes.get(&spec.file).and_then(|mode| octal(mode));
            if let (Some(was), Some(is)) = (octal(&spec.mode), is)
                && was != is
            {
                let change = DriftKind::Mode { was, is };
                self.drift.push(Drift { path: spec.file.clone(), change });
            }
        }
    }

    /// Asks whether the live release is what runs: by the units or, where no service is one, by
    /// the processes that run from a release.
    async fn running(
        &mut self,
        host: &Conversation<'_>,
        state: &HostState,
        id: ReleaseId,
    ) -> Result<(), Failure> {
        let services = host.services();
        if services.iter().any(|service| service.unit().is_some()) {
            let (proofs, doubts) = host.proofs(&host.judgements(id).await?, Part::All);
            self.services = proofs;
            for NotWell { failure, .. } in doubts {
                self.trouble(failure.one_line());
            }
        } else if state.in_use.contains(&id.to_string()) {
            let proved = |service| ServiceProof { proof: Some(Proof::Seen), ..unproved(service) };
            self.services = services.iter().map(proved).collect();
        } else if !services.is_empty() && !state.in_use.is_empty() {
            let others: Vec<_> = state.in_use.iter().map(String::as_str).collect();
            let others = others.join(", ");
            self.trouble(format!("no process runs from it, but one runs from {others}"));
        }
        Ok(())
    }
}

/// Returns the order whose answer [`drift_warning`] reads.
pub fn drift(config: &Config, host: &Host) -> Order {
    Order::Drift { env: config.env_on(host).map(|spec| spec.file.clone()).collect() }
}

/// Returns the warning of a deploy if somebody touched the live release; no file is read.
pub async fn drift_warning(host: &Conversation<'_>, config: &Config) -> Option<String> {
    let state = host.state.as_ref()?;
    let id = state.live()?;
    let answer = host.ask(&drift(config, host.host)).await.ok()?;
    if answer.code != DONE {
        let why = answer.text.lines().next().unwrap_or("it took too long").to_owned();
        return Some(format!("could not check {id} for changes: {why}"));
    }
    let origin = state.ledger.history(id).and_then(|history| history.origin);
    let has_env = origin.is_some_and(|origin| origin.env.is_some());
    // The order was sent before it was known whether the release has an env file of ours.
    let asked = config.env_on(host.host).next().is_some();
    let unasked = if has_env == asked { Vec::new() } else { env_files(config, host.host) };
    let paths = paths(&answer.text).into_iter();
    drifted(config, id, paths.filter(|path| !unasked.iter().any(|file| file == path)))
}

/// Returns the warning that names these paths of a release, if there are any.
fn drifted<'a>(
    config: &Config,
    id: ReleaseId,
    paths: impl Iterator<Item = &'a str>,
) -> Option<String> {
    let (cached, paths): (Vec<_>, Vec<_>) = paths.partition(|path| is_python_cache(path));
    let mut shown: Vec<_> = paths.iter().take(MOST_NAMES).map(|path| (*path).to_owned()).collect();
    if !cached.is_empty() {
        let count = cached.len();
        shown.push(format!("__pycache__ ({count}, written by Python: {NO_PYTHON_CACHE} stops it)"));
    }
    let more = match paths.len().saturating_sub(MOST_NAMES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let shown = shown.join(", ");
    let text = format!(
        "{id} is not as it was released: {shown}{more}; `shipit verify {}` compares it",
        config.stage
    );
    (!shown.is_empty()).then_some(text)
}
