//! Sends notices beside a run, which never waits for them. Once the run is over and shown, those on
//! their way have a few more seconds.

use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use ureq::tls::{RootCerts, TlsConfig};

use super::world::World;
use crate::config::{Config, EnvSource, Moment, NoticeTarget};
use crate::deploy::event::Event;
use crate::deploy::outcome::Report;
use crate::model::mutex::lock;
use crate::report::notices::{Message, NoticeFacts};

/// The limit of one try.
const TRY: Duration = Duration::from_secs(4);
/// The pauses before the further tries.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(3)];
/// The time for which the command stays for notices after its summary.
const PATIENCE: Duration = Duration::from_secs(5);

/// The notices of one run.
pub(super) struct Notifier {
    notices: Vec<NoticeTarget>,
    facts: NoticeFacts,
    sent: Mutex<JoinSet<Result<(), String>>>,
}

impl Notifier {
    /// Returns the notices of a stage, whose addresses are known.
    pub(super) fn new(world: &World, config: &Config) -> Self {
        let who = if config.notices.is_empty() { "" } else { world.who() };
        let facts = NoticeFacts {
            app: config.app.clone(),
            stage: config.stage.clone(),
            who: who.to_owned(),
        };
        Self { notices: config.notices.clone(), facts, sent: Mutex::default() }
    }

    /// Tells that a run begins, if the event says so.
    pub(super) fn event(&self, event: &Event) {
        if let Event::RunStarted { goal, hosts, .. } = event
            && goal.makes_live()
        {
            self.send(&Message::started(&self.facts, *goal, hosts));
        }
    }

    /// Tells what became of a run. The report holds no secrets any more.
    pub(super) fn ended(&self, report: &Report) {
        if report.goal.makes_live() {
            self.send(&Message::ended(&self.facts, report));
        }
    }

    fn send(&self, message: &Message<'_>) {
        // A revert is a failure too.
        let concerns = |notice: &&NoticeTarget| {
            let on = &notice.on;
            on.contains(&message.moment)
                || message.moment == Moment::Reverted && on.contains(&Moment::Failed)
        };
        for notice in self.notices.iter().filter(concerns) {
            let EnvSource::Text(url) = notice.url.clone() else { continue };
            let body = message.body(notice.format, &self.facts).to_string();
            lock(&self.sent).spawn_blocking(move || post(&url, &body));
        }
    }

    /// Waits for what is on its way, and returns what did not arrive.
    pub(super) async fn left(self) -> Vec<String> {
        let mut sent = self.sent.into_inner().unwrap_or_default();
        let mut failed = Vec::new();
        let all = async {
            while let Some(one) = sent.join_next().await {
                failed.extend(one.ok().and_then(Result::err));
            }
        };
        if timeout(PATIENCE, all).await.is_err() {
            let text = format!("a notice was not answered within {}s", PATIENCE.as_secs());
            failed.push(text);
        }
        failed.dedup();
        failed
    }
}

/// Sends a body. Tries again where that may help.
fn post(url: &str, body: &str) -> Result<(), String> {
    let mut pauses = PAUSES.iter();
    loop {
        let Err(failure) = attempt(url, body) else { return Ok(()) };
        let Some(pause) = pauses.next().filter(|_| failure.passing) else {
            return Err(format!("a notice did not reach {}: {}", host(url), failure.reason));
        };
        thread::sleep(*pause);
    }
}

/// The reason why a notice did not arrive.
struct Undelivered {
    reason: String,
    /// Whether it may arrive later.
    passing: bool,
}

fn attempt(url: &str, body: &str) -> Result<(), Undelivered> {
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    // A redirect would be followed with the secret of the address.
    let config = ureq::Agent::config_builder()
        .tls_config(tls)
        .timeout_global(Some(TRY))
        .max_redirects(0)
        .http_status_as_error(false)
        .build();
    let request =
        ureq::Agent::new_with_config(config).post(url).header("Content-Type", "application/json");
    let (reason, passing) = match request.send(body) {
        Ok(answer) if answer.status().is_success() => return Ok(()),
        Ok(answer) => {
            let status = answer.status().as_u16();
            (format!("it answered {status}"), status >= 500 || status == 429)
        }
        Err(ureq::Error::BadUri(_)) => ("it is no address".to_owned(), false),
        Err(ureq::Error::Timeout(_)) => (format!("no answer within {}s", TRY.as_secs()), true),
        Err(ureq::Error::Io(error)) => (error.to_string(), true),
        Err(ureq::Error::HostNotFound) => ("there is no such host".to_owned(), true),
        // Other texts may hold the address.
        Err(_) => ("the request failed".to_owned(), true),
    };
    Err(Undelivered { reason, passing })
}

/// Returns the part of an address that is no secret.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}
