//! Output of hosts for a person, until it ends: a command in the live release, and logs. No lock is
//! taken, and no host waits for another.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;

use super::context::RunContext;
use super::conversation::Conversation;
use super::outcome::Failure;
use super::plan::{release_vars, run_vars};
use super::pool::for_hosts;
use super::query::{Answers, of_each};
use super::run::{Run, record};
use crate::config::{Config, Host};
use crate::model::host_state::{Current, HostState};
use crate::model::id::ReleaseId;
use crate::model::ledger::{CODE, Entry, LedgerEvent, REASON};
use crate::model::mutex::lock;
use crate::model::service::Service;
use crate::remote::conversation::Scan;
use crate::remote::quote::list;
use crate::remote::session::{Exit, Output};

/// A longer line is shown in pieces.
const LONGEST_LINE: usize = 64 * 1024;
/// The ledger keeps at most this many characters of a command.
const LONGEST_NOTE: usize = 500;

/// Something that a host printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamPiece {
    /// A line of standard output.
    Out(String),
    /// A line of standard error.
    Err(String),
    /// The host prints nothing more.
    End,
}

/// Gets what the host at a place in the config prints.
pub type StreamListener<'l> = &'l (dyn Fn(usize, StreamPiece) + Sync);

/// The end of a command on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandEnd {
    /// It ended by itself.
    Ended(Exit),
    /// Contact was lost while it ran.
    Lost(Failure),
}

/// The lines of logs to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRange {
    /// Only these services, by name; empty: all.
    pub services: Vec<String>,
    /// The age of the oldest line; `None`: the last `lines`.
    pub since: Option<Duration>,
    /// Of each journal and file.
    pub lines: Option<u32>,
    /// Whether to go on with what comes.
    pub follow: bool,
}

/// Runs a command in the live release of each host, with its env file, and notes it in the ledger.
/// Fails on a host where it was not begun.
pub async fn run_command(
    cx: RunContext<'_>,
    command: &str,
    hear: StreamListener<'_>,
) -> Answers<CommandEnd> {
    of_each(cx, Scan::No, async |talk| {
        let place = cx.config.hosts.iter().position(|host| host.name == talk.host.name);
        run_on(talk, command, &|heard| hear(place.unwrap_or_default(), heard)).await
    })
    .await
}

async fn run_on(
    talk: &mut Conversation<'_>,
    command: &str,
    hear: &(dyn Fn(StreamPiece) + Sync),
) -> Result<CommandEnd, Failure> {
    let (cx, host) = (talk.cx, talk.host);
    let state = talk.looked()?;
    let id = live(&state)?;
    let note = noted(cx.run, &state, id);
    let mut vars = run_vars(cx.config, cx.run, cx.config.hosts.iter());
    vars.extend(release_vars(cx.config, host, id));
    let vars = list(&vars);
    let name = id.to_string();
    let reason = escaped(command);
    let arguments = [
        ("id", name.as_str()),
        ("command", command),
        ("vars", &vars),
        ("sourced", cx.config.shell_env_on(host).unwrap_or_default()),
        ("ran", &note),
        ("reason", &reason),
    ];
    let ended = heard(talk, "live_command", &[], &arguments, hear).await?;
    Ok(ended.map_or_else(|| CommandEnd::Lost(lost()), CommandEnd::Ended))
}

/// Returns the line of the ledger for a command in release `id`; the host adds command and code.
fn noted(run: &Run, state: &HostState, id: ReleaseId) -> String {
    let entry = Entry {
        reason: Some(REASON.to_owned()),
        code: Some(CODE.to_owned()),
        began: Some(state.began()),
        ..run.entry(LedgerEvent::Ran, &id.to_string())
    };
    record(&entry, String::new()).line
}

/// Returns the beginning of a command as it stands within a JSON text.
fn escaped(command: &str) -> String {
    let beginning: String = command.chars().take(LONGEST_NOTE).collect();
    let quoted = serde_json::Value::from(beginning).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Returns the live release of shipit.
pub fn live(state: &HostState) -> Result<ReleaseId, Failure> {
    match &state.current {
        Current::Release(id) => Ok(*id),
        Current::Absent => Err(Failure::new("nothing is live here yet")),
        Current::Foreign(_) | Current::NotALink => {
            Err(Failure::new("what is live here is no release of shipit"))
        }
    }
}

/// Shows the logs of the services of each host: journals of units, and log files of commands.
pub async fn logs(cx: RunContext<'_>, range: &LogRange, hear: StreamListener<'_>) -> Answers<()> {
    let each = cx.config.hosts.iter().enumerate().map(|(place, host)| async move {
        let ended = logs_of(cx, host, range, &|heard| hear(place, heard)).await;
        // The others may go on for hours.
        if let (true, Err(failure)) = (range.follow, &ended) {
            hear(place, StreamPiece::Err(failure.one_line()));
        }
        hear(place, StreamPiece::End);
        (host.name.clone(), ended)
    });
    // All at once: one that is followed never ends.
    for_hosts(cx.config.hosts.len(), each).await
}

async fn logs_of(
    cx: RunContext<'_>,
    host: &Host,
    range: &LogRange,
    hear: &(dyn Fn(StreamPiece) + Sync),
) -> Result<(), Failure> {
    let services = shown(cx.config, host, &range.services);
    if services.is_empty() {
        return Ok(());
    }
    let mut talk = Conversation::new(cx, host);
    talk.open(false, Scan::No).await?;
    let past = range.since.map_or_else(String::new, |past| past.as_secs().max(1).to_string());
    let lines = range.lines.map_or_else(String::new, |lines| lines.to_string());
    let follow = if range.follow { "yes" } else { "" };
    let arguments = [("past", past.as_str()), ("lines", &lines), ("follow", follow)];
    match heard(&mut talk, "live_logs", &services, &arguments, hear).await? {
        Some(Exit::Code(0)) => Ok(()),
        Some(exit) => Err(Failure::new(format!("the program that shows the logs {exit}"))),
        None => Err(lost()),
    }
}

/// Returns the services of a host whose logs are shown; one in slots is there for each slot.
fn shown(config: &Config, host: &Host, only: &[String]) -> Vec<Service> {
    let mut all = Vec::new();
    let wanted = |service: &&Service| only.is_empty() || only.contains(&service.name);
    for service in config.services_on(host).filter(wanted) {
        match config.slots_on(host).filter(|_| service.is_in_slot()) {
            Some(slots) => all.extend(slots.pair.iter().map(|slot| service.in_slot(&slot.name))),
            None => all.push(service.clone()),
        }
    }
    all
}

/// Puts the file of `[maintenance]` in place on each host with this content, or removes it. `note`
/// is for `revisions.log`.
pub async fn set_flag(
    cx: RunContext<'_>,
    path: &str,
    content: Option<&str>,
    note: &str,
) -> Answers<()> {
    let flag = if content.is_some() { "on" } else { "off" };
    let text = content.unwrap_or_default();
    let arguments = [("flag", flag), ("below", path), ("text", text), ("note", note)];
    of_each(cx, Scan::No, async |talk| {
        let said = Mutex::new(Vec::new());
        let hear = |heard| match heard {
            StreamPiece::Out(line) | StreamPiece::Err(line) => lock(&said).push(line),
            StreamPiece::End => {}
        };
        match heard(talk, "live_flag", &[], &arguments, &hear).await? {
            Some(Exit::Code(0)) => Ok(()),
            Some(_) => {
                let failed = Failure::new(format!("could not turn maintenance {flag}"));
                Err(failed.because(lock(&said).join("\n")))
            }
            None => Err(lost()),
        }
    })
    .await
}

fn lost() -> Failure {
    Failure::new("contact was lost")
}

/// Lets the host print, and hands over what comes, line by line. Returns how it ended, which ends
/// the conversation; `None`: nobody knows.
async fn heard(
    talk: &mut Conversation<'_>,
    verb: &str,
    services: &[Service],
    arguments: &[(&str, &str)],
    hear: &(dyn Fn(StreamPiece) + Sync),
) -> Result<Option<Exit>, Failure> {
    let mut stream = talk.stream(verb, services, arguments).await?;
    let (mut out, mut err) = (LineCutter::default(), LineCutter::default());
    let mut end = None;
    while let Some(piece) = stream.output.recv().await {
        match piece {
            Output::Stdout(bytes) => out.feed(&bytes, |line| hear(StreamPiece::Out(line))),
            Output::Stderr(bytes) => err.feed(&bytes, |line| hear(StreamPiece::Err(line))),
            Output::Exit(exit) => end = Some(exit),
        }
    }
    out.rest(|line| hear(StreamPiece::Out(line)));
    err.rest(|line| hear(StreamPiece::Err(line)));
    drop(stream);
    talk.close().await;
    Ok(end)
}

/// Cuts bytes into lines.
#[derive(Default)]
struct LineCutter(Vec<u8>);

impl LineCutter {
    fn feed(&mut self, bytes: &Bytes, mut tell: impl FnMut(String)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.0.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.0.len() > LONGEST_LINE {
                self.rest(&mut tell);
            }
        }
    }

    fn rest(&mut self, mut tell: impl FnMut(String)) {
        let line = std::mem::take(&mut self.0);
        if !line.is_empty() {
            tell(String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).into_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_lines_and_the_rest_is_one_too() {
        let (mut cutter, mut told) = (LineCutter::default(), Vec::new());
        for piece in ["a", "b\n\nc", "\nend"] {
            cutter.feed(&Bytes::from(piece), |line| told.push(line));
        }
        assert_eq!(told, ["ab", "", "c"]);
        cutter.rest(|line| told.push(line));
        assert_eq!(told.last().map(String::as_str), Some("end"));
        cutter.feed(&Bytes::from(vec![b'x'; LONGEST_LINE + 1]), |line| told.push(line));
        assert_eq!(told.len(), 5, "a line without an end is shown");
    }

    #[test]
    fn command_in_the_ledger_is_json_and_bounded() {
        assert_eq!(escaped("echo \"a\"\n"), r#"echo \"a\"\n"#);
        assert_eq!(escaped(&"x".repeat(900)).len(), LONGEST_NOTE);
    }
}
