//! Lines of logs, merged by time. A host that is down or slow does not stop the others.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::{DateTime, FixedOffset, Utc};
use serde_json::{Value, json};

use super::json::VERSION;
use super::stream::HostLines;
use super::styles::Styles;

/// A host that has not printed anything yet is waited for as long: it connects.
const PATIENCE: Duration = Duration::from_secs(3);
/// A host whose log is followed, and that is silent, is waited for as long.
const SOON: Duration = Duration::from_millis(300);
/// With so many lines of a host waiting, nobody is waited for.
const MOST_WAITING: usize = 10_000;

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When it was written; `None`: its log does not say.
    pub at: Option<DateTime<Utc>>,
    /// The service whose log file it is in; `None`: it is in the journal.
    pub file_of: Option<String>,
    pub text: String,
}

impl LogLine {
    /// Reads a line as hosts send it: `journal 1756000000.123456 todo[7]: …` or `file web …`.
    pub fn read(line: &str) -> Self {
        if let Some(rest) = line.strip_prefix("file ") {
            let (service, text) = rest.split_once(' ').unwrap_or((rest, ""));
            let (file_of, text) = (Some(service.to_owned()), text.to_owned());
            return Self { at: None, file_of, text };
        }
        let line = line.strip_prefix("journal ").unwrap_or(line);
        let timed = line.split_once(' ').and_then(|(time, text)| Some((moment(time)?, text)));
        let (at, text) = timed.map_or((None, line), |(at, text)| (Some(at), text));
        Self { at, file_of: None, text: text.to_owned() }
    }
}

/// Reads seconds since 1970 with a fraction.
fn moment(text: &str) -> Option<DateTime<Utc>> {
    let (seconds, fraction) = text.split_once('.')?;
    let micros: u32 = fraction.parse().ok().filter(|_| fraction.len() == 6)?;
    DateTime::from_timestamp(seconds.parse().ok()?, micros * 1000)
}

/// Lines of all hosts that wait to be shown.
pub struct LineMerger {
    hosts: Vec<WaitingLines>,
    follow: bool,
}

#[derive(Default)]
struct WaitingLines {
    lines: VecDeque<LogLine>,
    /// The time of its last line that had one.
    at: DateTime<Utc>,
    /// When it printed last; `None`: nothing yet.
    heard: Option<Duration>,
    ended: bool,
}

impl LineMerger {
    /// Returns a merger for this number of hosts.
    pub fn new(hosts: usize, follow: bool) -> Self {
        Self { hosts: (0..hosts).map(|_| WaitingLines::default()).collect(), follow }
    }

    /// Adds a line of the host at `place`, at time `now`. One without a time belongs to the line
    /// before it.
    pub fn push(&mut self, place: usize, line: LogLine, now: Duration) {
        if let Some(host) = self.hosts.get_mut(place) {
            host.at = line.at.unwrap_or(host.at);
            host.heard = Some(now);
            host.lines.push_back(LogLine { at: Some(host.at), ..line });
        }
    }

    /// Notes that the host at `place` prints nothing more.
    pub fn end(&mut self, place: usize) {
        if let Some(host) = self.hosts.get_mut(place) {
            host.ended = true;
        }
    }

    /// Returns the lines to show at time `now`, earliest first.
    pub fn ready(&mut self, now: Duration) -> Vec<(usize, LogLine)> {
        let follow = self.follow;
        let mut ready = Vec::new();
        loop {
            let heads = self.hosts.iter().enumerate();
            let heads = heads.filter_map(|(place, host)| Some((host.lines.front()?.at, place)));
            let Some((_, first)) = heads.min() else { return ready };
            let is_awaited = self.hosts.iter().any(|host| host.is_awaited(follow, now));
            let host = &mut self.hosts[first];
            if is_awaited && host.lines.len() < MOST_WAITING {
                return ready;
            }
            ready.extend(host.lines.pop_front().map(|line| (first, line)));
        }
    }
}

impl WaitingLines {
    /// Returns whether an earlier line may still come from the host soon.
    fn is_awaited(&self, follow: bool, now: Duration) -> bool {
        let patience = if follow && self.heard.is_some() { SOON } else { PATIENCE };
        let quiet = now.saturating_sub(self.heard.unwrap_or_default());
        !self.ended && self.lines.is_empty() && quiet < patience
    }
}

/// Returns a line for people: host, time and text. The day is shown if it is not that of `now`,
/// which has the zone of the reader.
pub fn log_text(
    hosts: &HostLines,
    place: usize,
    line: &LogLine,
    now: DateTime<FixedOffset>,
    styles: &Styles,
) -> String {
    let at = line.at.filter(|at| *at != DateTime::<Utc>::default());
    let Some(at) = at else { return hosts.shown(place, &line.text) };
    let local = at.with_timezone(now.offset());
    let today = local.date_naive() == now.date_naive();
    let form = if today { "%H:%M:%S" } else { "%m-%d %H:%M:%S" };
    let time = styles.dim.apply_to(local.format(form)).to_string() + " ";
    let text = hosts.fit(&line.text);
    hosts.headed(place, &time, &text)
}

/// Returns a line as JSON.
pub fn log_json(hosts: &HostLines, place: usize, line: &LogLine) -> Value {
    let at = line.at.filter(|at| *at != DateTime::<Utc>::default());
    json!({
        "v": VERSION,
        "event": "log",
        "host": hosts.name(place),
        "file_of": line.file_of,
        "at": at.map(|at| at.to_rfc3339()),
        "text": hosts.fit(&line.text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64, text: &str) -> LogLine {
        LogLine::read(&format!("journal {}.000000 {text}", 1_756_000_000 + second))
    }

    fn texts(ready: Vec<(usize, LogLine)>) -> String {
        let all: Vec<_> = ready.into_iter().map(|(_, line)| line.text).collect();
        all.join(" ")
    }

    #[test]
    fn line_of_a_journal_has_a_time_and_one_of_a_file_a_service() {
        let line = at(1, "todo[7]: hello");
        assert_eq!(line.at.map(|at| at.timestamp()), Some(1_756_000_001));
        assert_eq!(line.text, "todo[7]: hello");
        let line = LogLine::read("file web 12:00 GET /");
        assert_eq!((line.at, line.text.as_str()), (None, "12:00 GET /"));
        assert_eq!(line.file_of.as_deref(), Some("web"));
        assert_eq!(LogLine::read("journal     a second line").text, "    a second line");
    }

    #[test]
    fn lines_of_hosts_are_merged_by_their_times() {
        let mut merger = LineMerger::new(2, false);
        let now = Duration::from_millis(10);
        merger.push(0, at(1, "a"), now);
        merger.push(0, LogLine::read("journal  b"), now);
        merger.push(0, at(4, "e"), now);
        assert_eq!(texts(merger.ready(now)), "", "the other host may have an earlier line");
        merger.push(1, at(2, "c"), now);
        merger.push(1, at(3, "d"), now);
        assert_eq!(texts(merger.ready(now)), "a  b c d");
        merger.end(1);
        assert_eq!(texts(merger.ready(now)), "e");
    }

    #[test]
    fn silent_host_is_not_waited_for_long() {
        let mut merger = LineMerger::new(2, true);
        merger.push(0, at(1, "a"), Duration::from_secs(1));
        assert_eq!(texts(merger.ready(Duration::from_secs(2))), "");
        assert_eq!(texts(merger.ready(PATIENCE)), "a", "it did not connect in time");
        merger.push(1, at(2, "b"), Duration::from_secs(9));
        assert_eq!(texts(merger.ready(Duration::from_secs(9))), "b", "the first is long silent");
        merger.push(0, at(3, "c"), Duration::from_secs(9));
        assert_eq!(texts(merger.ready(Duration::from_secs(9))), "", "more of both may come");
        assert_eq!(texts(merger.ready(Duration::from_secs(9) + SOON)), "c");
    }
}
