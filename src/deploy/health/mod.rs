//! Health of an undecided release: whether the service runs it and stays up (`proof`), and whether
//! it answers (`http`, `command`; `via_host` if the server does not forward).

mod command;
mod http;
mod ports;
mod proof;
mod tls;
mod via_host;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::{Instant, sleep, timeout};

pub use self::ports::local_ports;
pub use self::proof::{ProofError, ProofRule, prove, stayed_up};
use super::conversation::Conversation;
use super::outcome::{Failure, SAID};
use super::plan::ActivationPlan;
use crate::config::checks::{Check, CheckTiming, HealthProbe};
use crate::model::clean::strip;
use crate::model::service::{Service, ServiceKind};
use crate::model::words;
use crate::remote::answer::Judgement;
use crate::remote::order::{DONE, Hidden, Order};
use crate::remote::session::{ByteStream, Session, SessionError};

/// The shortest time of one try.
const SHORTEST_TRY: Duration = Duration::from_millis(100);
/// Lines of an answer that are shown.
const LINES: usize = 5;
/// Bytes of a line that are searched for secrets. Far less of it is shown.
const LONGEST_LINE: usize = 16 * 1024;

/// A host whose release is judged, as the checks see it.
struct CheckContext<'a> {
    host: &'a Conversation<'a>,
    session: &'a dyn Session,
    switch: &'a ActivationPlan,
    /// Whether the server does not forward; found out once.
    via_host: AtomicBool,
}

/// The failure of one try.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ProbeFailure {
    /// `answered 502`, `did not answer within 5s`: what follows the check's name.
    what: String,
    /// The beginning of the answer or output.
    said: String,
    hint: Option<String>,
    /// Whether another try would end in the same way.
    hopeless: bool,
}

impl ProbeFailure {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), said: String::new(), hint: None, hopeless: false }
    }

    fn late(limit: Duration) -> Self {
        Self::new(format!("did not answer within {limit:?}"))
    }

    fn silent(reason: impl std::fmt::Display) -> Self {
        Self::new(format!("did not answer: {reason}"))
    }

    /// Returns a failure that another try would not change.
    fn hopeless(what: impl Into<String>) -> Self {
        Self { hopeless: true, ..Self::new(what) }
    }

    fn hint(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }
}

/// The services and the checks that are judged at a time.
#[derive(Debug, Clone, Copy)]
pub enum Part<'j> {
    All,
    /// The services in the slot of the release, before the traffic moves there.
    Slot,
    /// The rest, after that; the slot was seen so, and must only have stayed up.
    Rest(&'j [Judgement]),
}

impl Part<'_> {
    /// Returns whether a service or a check is judged now.
    pub(super) const fn has(self, in_slot: bool) -> bool {
        match self {
            Self::All => true,
            Self::Slot => in_slot,
            Self::Rest(_) => !in_slot,
        }
    }
}

/// Runs the checks of this part on a host, all at once. Fails with the first one that fails.
pub(super) async fn pass(
    host: &Conversation<'_>,
    switch: &ActivationPlan,
    part: Part<'_>,
) -> Result<(), Failure> {
    let all = host.config().health.checks.iter().filter(|check| check.concerns(host.host));
    let checks: Vec<_> = all.filter(|check| part.has(check.probe.is_in_slot())).collect();
    let Some(session) = host.session().filter(|_| !checks.is_empty()) else { return Ok(()) };
    let context = CheckContext { host, session, switch, via_host: AtomicBool::new(false) };
    try_join_all(checks.into_iter().map(|check| persist(&context, check))).await?;
    Ok(())
}

/// Tries until the check passes or its time is over.
async fn persist(context: &CheckContext<'_>, check: &Check) -> Result<(), Failure> {
    let CheckTiming { interval, timeout: limit, total, successes } = check.pace;
    let what = format!("the health of {} could not be checked", subject(context.host));
    let probe = check.probe.filled(&context.switch.placeholders).map_err(|name| {
        let id = context.switch.id;
        let cause = format!("{} names `{{{name}}}`, which is not known of {id}", check.probe);
        Failure::new(what.clone()).because(cause)
    })?;
    let end = Instant::now() + total;
    let mut tries = Tries::default();
    loop {
        let left = end.saturating_duration_since(Instant::now()).max(SHORTEST_TRY);
        tries.note(context.attempt(&probe, limit.min(left)).await);
        if tries.in_a_row >= successes {
            return Ok(());
        }
        let hopeless = tries.hopeless();
        if hopeless || Instant::now() + interval >= end {
            let late = || format!("{} was not healthy within {total:?}", subject(context.host));
            let what = if hopeless { what } else { late() };
            return Err(tries.masked(context.host).await.failure(what, &probe, successes));
        }
        sleep(interval).await;
    }
}

/// Returns what the checks are about, for people.
fn subject(host: &Conversation<'_>) -> String {
    match host.services().as_slice() {
        [Service { what: ServiceKind::Unit(unit), .. }] => unit.name.clone(),
        _ => "the release".to_owned(),
    }
}

impl CheckContext<'_> {
    async fn attempt(&self, probe: &HealthProbe, limit: Duration) -> Result<(), ProbeFailure> {
        match probe {
            HealthProbe::Http(check) => http::attempt(self, check, limit).await,
            HealthProbe::Tcp { host, port } => match self.dial(host, *port, limit).await? {
                Some(_) => Ok(()),
                None => via_host::reach(self, host, *port, limit).await,
            },
            HealthProbe::Command(text) => command::attempt(self, text, limit).await,
        }
    }

    /// Connects to a port through the session; `None`: the server does not forward.
    async fn dial(
        &self,
        host: &str,
        port: u16,
        limit: Duration,
    ) -> Result<Option<Box<dyn ByteStream>>, ProbeFailure> {
        if self.via_host.load(Ordering::Relaxed) {
            return Ok(None);
        }
        match timeout(limit, self.session.dial(host, port)).await {
            Ok(Ok(stream)) => Ok(Some(stream)),
            Ok(Err(SessionError::DialRefused { forbidden: true, .. })) => {
                self.via_host.store(true, Ordering::Relaxed);
                Ok(None)
            }
            Ok(Err(error)) => Err(ProbeFailure::silent(error)),
            Err(_) => Err(ProbeFailure::late(limit)),
        }
    }
}

/// The tries of one check.
#[derive(Debug, Default)]
struct Tries {
    count: u32,
    in_a_row: u32,
    /// The last failure, and how many tries in a row failed like this.
    last: Option<(ProbeFailure, u32)>,
}

impl Tries {
    fn note(&mut self, result: Result<(), ProbeFailure>) {
        self.count += 1;
        let Err(miss) = result else {
            self.in_a_row += 1;
            return;
        };
        self.in_a_row = 0;
        let before = self.last.take();
        let same = before.filter(|(last, _)| last.what == miss.what).map_or(0, |(_, same)| same);
        self.last = Some((miss, same + 1));
    }

    fn hopeless(&self) -> bool {
        self.in_a_row == 0 && self.last.as_ref().is_some_and(|(miss, _)| miss.hopeless)
    }

    /// Has the host mask secrets in the answer: it knows the values of every release.
    async fn masked(mut self, host: &Conversation<'_>) -> Self {
        let Some((miss, _)) = self.last.as_mut().filter(|_| self.in_a_row == 0) else {
            return self;
        };
        miss.said = excerpt(&miss.said);
        if miss.said.is_empty() {
            return self;
        }
        let text = Hidden(std::mem::take(&mut miss.said));
        miss.said = match host.ask(&Order::Mask { text }).await {
            Ok(answer) if answer.code == DONE => answer.text.trim_end().to_owned(),
            _ => "output that is not shown, because the host did not mask its secrets".to_owned(),
        };
        self
    }

    fn failure(self, what: String, probe: &HealthProbe, enough: u32) -> Failure {
        let count = self.count;
        let Some((miss, same)) = self.last.filter(|_| self.in_a_row == 0) else {
            let in_a_row = words::count(self.in_a_row as usize, "time");
            let tries = words::count(count as usize, "try");
            let well = format!("{probe} passed {in_a_row} in a row, not {enough}, in {tries}");
            return Failure::new(what).because(well);
        };
        let often = match (same == count, count) {
            (_, 1) => String::new(),
            (true, 2) => ", twice".to_owned(),
            (true, _) => format!(", {}", words::times(count.into())),
            (false, _) => format!(", at the last of {}", words::count(count as usize, "try")),
        };
        let failure = Failure::new(what).because(format!("{probe} {}{often}", miss.what));
        let said = excerpt(&miss.said);
        let said = if said.is_empty() { said } else { format!("{SAID}{said}") };
        failure.because(said).hint(miss.hint)
    }
}

/// Returns the first lines of an answer without control sequences. Long lines are cut after secrets
/// are masked.
fn excerpt(said: &str) -> String {
    let said = strip(said);
    let lines = said.lines().filter(|line| !line.trim().is_empty()).take(LINES);
    let lines: Vec<String> = lines.map(|line| line.chars().take(LONGEST_LINE).collect()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn says(tries: &[Option<&str>], expected: &[&str]) {
        let mut noted = Tries::default();
        for what in tries {
            noted.note(what.map_or(Ok(()), |what| Err(ProbeFailure::new(what))));
        }
        let probe = HealthProbe::Tcp { host: "::1".to_owned(), port: 80 };
        assert_eq!(noted.failure("x".to_owned(), &probe, 3).cause, expected);
    }

    #[test]
    fn failed_tries_are_counted() {
        let (no, slow) = (Some("refused"), Some("was slow"));
        says(&[no], &["TCP [::1]:80 refused"]);
        says(&[no, no], &["TCP [::1]:80 refused, twice"]);
        says(&[no, no, no], &["TCP [::1]:80 refused, 3 times"]);
        says(&[no, slow, no], &["TCP [::1]:80 refused, at the last of 3 tries"]);
        says(&[no, None, no], &["TCP [::1]:80 refused, at the last of 3 tries"]);
        says(&[no, None, None], &["TCP [::1]:80 passed 2 times in a row, not 3, in 3 tries"]);
    }

    #[test]
    fn shown_answer_is_short_and_harmless() {
        assert_eq!(excerpt("\n \n"), "");
        assert_eq!(excerpt("\u{1b}[31mred\u{7}\r\n\n2\n3\n4\n5\n6"), "red\n2\n3\n4\n5");
        assert_eq!(excerpt(&"x".repeat(100_000)).len(), LONGEST_LINE);
    }
}
