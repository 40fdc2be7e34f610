//! The rows of a terminal during a run, as a value: events go in, rows come out. Does no I/O and
//! reads no clock.

use std::collections::VecDeque;
use std::time::Duration;

use super::styles::Styles;
use super::{human, words};
use crate::deploy::event::{Event, Phase};

/// If there are more hosts, only those that are busy or failed have rows of their own.
const MOST_ROWS: usize = 20;
/// With less room, no host has a row of its own.
const LEAST_ROWS: usize = 3;
/// The rate of an upload is measured over this window: recent, but without jumps.
const WINDOW: Duration = Duration::from_secs(4);
const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
/// The widest and the narrowest bar that is worth its room.
const BAR: (usize, usize) = (24, 8);

/// The state of all rows.
#[derive(Debug, Default)]
pub struct ProgressModel {
    phase: Option<(Phase, Duration)>,
    /// The phases that are over, each with how long it took; all batches are one.
    over: Vec<(&'static str, Duration)>,
    stopping: Option<&'static str>,
    rows: Vec<Row>,
}

#[derive(Debug, Default)]
struct Row {
    host: String,
    doing: Doing,
    ready: bool,
    meter: RateMeter,
}

#[derive(Debug, Clone, Default, PartialEq)]
enum Doing {
    #[default]
    Waiting,
    Step {
        step: &'static str,
        since: Duration,
    },
    Uploading,
    Done {
        step: &'static str,
        rest: String,
    },
    Failed {
        step: &'static str,
        error: String,
    },
    Reverting {
        to: String,
    },
}

impl Doing {
    /// Returns how much a person should see it, 0 the most; `None`: there is nothing to see.
    const fn rank(&self) -> Option<u8> {
        match self {
            Self::Failed { .. } => Some(0),
            Self::Reverting { .. } => Some(1),
            Self::Uploading | Self::Step { .. } => Some(2),
            Self::Waiting | Self::Done { .. } => None,
        }
    }
}

/// The bytes of one upload over time.
#[derive(Debug, Default)]
struct RateMeter {
    sent: u64,
    total: u64,
    seen: VecDeque<(Duration, u64)>,
}

impl RateMeter {
    fn note(&mut self, now: Duration, sent: u64, total: u64) {
        if sent < self.sent || self.seen.is_empty() {
            self.seen = VecDeque::from([(now, sent)]);
        }
        (self.sent, self.total) = (sent, total);
        // One sample may be older than the window: a stall must show as a falling rate.
        while self.seen.get(1).is_some_and(|(at, _)| *at + WINDOW < now) {
            self.seen.pop_front();
        }
        let fresh = self.seen.back().is_some_and(|(at, _)| *at + Duration::from_millis(100) > now);
        if !fresh || self.seen.len() == 1 {
            self.seen.push_back((now, sent));
        }
    }

    /// Returns bytes per second; none until it can be known: a short silence is not a stall.
    fn rate(&self, now: Duration) -> Option<u64> {
        let outside = self.seen.iter().rfind(|(at, _)| *at + WINDOW <= now);
        let (from, before) = outside.or(self.seen.front())?;
        let ms = now.saturating_sub(*from).as_millis();
        let bytes = u128::from(self.sent.saturating_sub(*before));
        let early = ms < if bytes == 0 { WINDOW.as_millis() } else { 200 };
        (!early).then(|| u64::try_from(bytes * 1000 / ms).unwrap_or(u64::MAX))
    }
}

impl ProgressModel {
    /// Updates the rows with an event at time `now`.
    pub fn apply(&mut self, event: &Event, now: Duration) {
        match event {
            Event::RunStarted { hosts, .. } => {
                self.rows =
                    hosts.iter().map(|host| Row { host: host.clone(), ..Row::default() }).collect();
            }
            Event::Phase(phase) => {
                self.over = self.times(now);
                let batch = matches!(phase, Phase::Switch { batch: 2.., .. });
                self.phase = Some((*phase, now));
                // Batches of one phase are counted together.
                self.rows.iter_mut().for_each(|row| row.ready &= batch);
            }
            Event::Interrupted { again } => {
                self.stopping = Some(if *again { "stopping now" } else { "stopping" });
            }
            Event::Ready { host } => self.with(host, |row| row.ready = true),
            Event::Connected { host, live } => self.with(host, |row| {
                row.ready = true;
                row.doing = Doing::Done { step: "connected", rest: format!("live: {live}") };
            }),
            Event::Progress { host, sent, total } => self.with(host, |row| {
                row.meter.note(now, *sent, *total);
                row.doing = Doing::Uploading;
            }),
            Event::StepStarted { host, step } => self.with(host, |row| {
                row.doing = Doing::Step { step, since: now };
            }),
            Event::StepFinished { host, step, detail, took } => self.with(host, |row| {
                let rest = words::finished(detail, *took);
                row.doing = Doing::Done { step, rest };
            }),
            Event::StepFailed { host, step, error } => self.with(host, |row| {
                row.doing = Doing::Failed { step, error: error.clone() };
            }),
            Event::Reverting { host, to } => self.with(host, |row| {
                row.doing = Doing::Reverting { to: to.clone() };
            }),
            _ => {}
        }
    }

    fn with(&mut self, host: &str, change: impl FnOnce(&mut Row)) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.host == host) {
            change(row);
        }
    }

    /// Returns how long each phase took until `now`.
    pub fn times(&self, now: Duration) -> Vec<(&'static str, Duration)> {
        let mut times = self.over.clone();
        if let Some((phase, since)) = self.phase {
            let (name, took) = (words::step_of(phase), now.saturating_sub(since));
            match times.last_mut().filter(|(last, _)| *last == name) {
                Some((_, sum)) => *sum += took,
                None => times.push((name, took)),
            }
        }
        times
    }

    /// Returns the rows at time `now` for a terminal of this size, none wider than it.
    pub fn lines(&self, size: (u16, u16), now: Duration, styles: &Styles) -> Vec<String> {
        let (height, width) = (usize::from(size.0), usize::from(size.1).max(20));
        let room = height.saturating_sub(3).min(MOST_ROWS);
        let all = self.rows.len() <= room;
        // Without room for all, one line sums up the rest, and one all uploads.
        let places =
            if all { (0..self.rows.len()).collect() } else { self.urgent(room.saturating_sub(2)) };
        let longest = self.rows.iter().map(|row| console::measure_text_width(&row.host)).max();
        // A long name must leave room for the state of the host.
        let names = longest.unwrap_or(0).min(width / 3);
        let shown = places.iter().filter_map(|place| self.rows.get(*place));
        let mut lines = vec![self.heading(now, styles)];
        lines.extend(shown.map(|row| row.line(names, width, now, styles)));
        if !all {
            lines.extend(self.summary(&places, width, now));
        }
        // The last column stays free: some terminals wrap when it is filled.
        let cut = |line: String| console::truncate_str(&line, width - 1, "…").into_owned();
        lines.into_iter().map(cut).collect()
    }

    /// Returns the places of at most `most` rows that a person should see: what failed, then what
    /// is reverted, then what works; in the order of the config. None if only a few fit.
    fn urgent(&self, most: usize) -> Vec<usize> {
        if most < LEAST_ROWS {
            return Vec::new();
        }
        let mut places: Vec<_> = (0..self.rows.len()).collect();
        places.retain(|place| self.rows[*place].doing.rank().is_some());
        places.sort_by_key(|place| self.rows[*place].doing.rank());
        places.truncate(most);
        places.sort_unstable();
        places
    }

    fn heading(&self, now: Duration, styles: &Styles) -> String {
        let Some((phase, since)) = self.phase else { return spinner(now).to_owned() };
        let title = styles.strong.apply_to(words::phase(phase));
        let took = human::duration(now.saturating_sub(since));
        let ready = self.rows.iter().filter(|row| row.ready).count();
        let count = format!("  {ready}/{} {}", self.rows.len(), words::ready(phase));
        let count = if ready == 0 { String::new() } else { count };
        let stopping = self.stopping.map_or_else(String::new, |word| format!("  {word}"));
        format!("{} {title}{count}  {took}{stopping}", spinner(now))
    }

    /// Returns one line for all hosts but those at the places that are `shown`, and one for all
    /// uploads.
    fn summary(&self, shown: &[usize], width: usize, now: Duration) -> Vec<String> {
        let rest = || self.rows.iter().enumerate().filter(|(place, _)| !shown.contains(place));
        let count = |test: fn(&Doing) -> bool| rest().filter(|(_, row)| test(&row.doing)).count();
        let failed = count(|doing| matches!(doing, Doing::Failed { .. }));
        let back = count(|doing| matches!(doing, Doing::Reverting { .. }));
        let busy = count(|doing| matches!(doing, Doing::Step { .. } | Doing::Uploading));
        let counts = [(busy, "working"), (failed, "failed"), (back, "being reverted")];
        let told = counts.iter().filter(|(count, _)| *count > 0);
        let told: Vec<_> = told.map(|(count, word)| format!("{count} {word}")).collect();
        let more = (!shown.is_empty())
            .then(|| format!("and {}", human::count(rest().count(), "more host")));
        let told = (!told.is_empty()).then(|| told.join(", "));
        let parts: Vec<_> = more.into_iter().chain(told).collect();
        let mut lines = Vec::new();
        if !parts.is_empty() {
            lines.push(format!("  {}", parts.join(": ")));
        }
        let going: Vec<_> = self.rows.iter().filter(|r| r.doing == Doing::Uploading).collect();
        let is_hidden = rest().any(|(_, row)| row.doing == Doing::Uploading);
        if is_hidden || going.len() > 1 {
            let sent = going.iter().map(|row| row.meter.sent).sum();
            let total = going.iter().map(|row| row.meter.total).sum();
            let rate =
                going.iter().filter_map(|row| row.meter.rate(now)).reduce(|sum, rate| sum + rate);
            let room = width.saturating_sub(11);
            lines.push(format!("  upload  {}", progress(sent, total, rate, room)));
        }
        lines
    }
}

impl Row {
    fn line(&self, names: usize, width: usize, now: Duration, styles: &Styles) -> String {
        let host = console::truncate_str(&self.host, names, "…");
        let host = console::pad_str(&host, names, console::Alignment::Left, None).into_owned();
        let (mark, text) = match &self.doing {
            Doing::Waiting => (" ".to_owned(), String::new()),
            Doing::Step { step, since } => {
                let took = now.saturating_sub(*since);
                let shown = if took.as_secs() < 2 { String::new() } else { human::duration(took) };
                (spinner(now).to_owned(), format!("{step:12} {shown}"))
            }
            Doing::Uploading => {
                let room = width.saturating_sub(names + 19);
                let RateMeter { sent, total, .. } = self.meter;
                let far = progress(sent, total, self.meter.rate(now), room);
                (spinner(now).to_owned(), format!("{:12} {far}", "upload"))
            }
            Doing::Done { step, rest } => {
                (styles.good.apply_to("✓").to_string(), format!("{step:12} {rest}"))
            }
            Doing::Failed { step, error } => {
                let error = error.lines().next().unwrap_or_default();
                (styles.bad.apply_to("✗").to_string(), format!("{step:12} {error}"))
            }
            Doing::Reverting { to } => {
                (styles.warn.apply_to("↶").to_string(), format!("reverting to {to}"))
            }
        };
        format!("  {host} {mark} {text}").trim_end().to_owned()
    }
}

/// Formats progress as `[████░░░░]  45%  1.9 MB of 4.2 MB  3.1 MB/s  1s left`, or less of it if
/// `room` is short.
fn progress(sent: u64, total: u64, rate: Option<u64>, room: usize) -> String {
    let share = |of: usize| {
        let of = u128::try_from(of).unwrap_or_default();
        usize::try_from(u128::from(sent.min(total)) * of / u128::from(total.max(1))).unwrap_or(0)
    };
    let far = format!("{:3}%", share(100));
    let speed = match rate {
        Some(0) if sent < total => "  stalled".to_owned(),
        Some(rate) if sent < total => {
            let left = Duration::from_secs((total - sent).div_ceil(rate));
            format!("  {}/s  {} left", human::size(rate), left_words(left))
        }
        _ => String::new(),
    };
    let full = format!("{far}  {} of {}{speed}", human::size(sent), human::size(total));
    let bar = room.saturating_sub(full.len() + 3).min(BAR.0);
    match room {
        _ if bar >= BAR.1 => {
            let done = share(bar);
            format!("[{}{}] {full}", "█".repeat(done), "░".repeat(bar - done))
        }
        _ if room >= full.len() => full,
        _ if room >= far.len() + speed.len() => format!("{far}{speed}"),
        _ => far,
    }
}

/// Formats the time left in whole seconds, because it is an estimate.
fn left_words(left: Duration) -> String {
    if left.as_secs() < 60 { format!("{}s", left.as_secs()) } else { human::duration(left) }
}

fn spinner(now: Duration) -> &'static str {
    let step = usize::try_from(now.as_millis() / 100 % 10).unwrap_or_default();
    SPINNER[step]
}
