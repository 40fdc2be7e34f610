//! `shipit logs`: the logs of all hosts, merged by time.

use std::io::Write as _;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;

use super::args::LogsArgs;
use super::error::CliError;
use super::world::World;
use crate::config::Config;
use crate::config::tables::length;
use crate::deploy::context::RunContext;
use crate::deploy::stream::{LogRange, StreamPiece, logs};
use crate::model::mutex::lock;
use crate::report::logs::{LineMerger, LogLine, log_json, log_text};
use crate::report::redact::Secrets;
use crate::report::stream::HostLines;
use crate::report::styles::Styles;

/// The lines of a log that are shown of each source if nothing else is said.
const LINES: u32 = 100;

/// Shows the logs until they end, or until Ctrl-C. Returns 1 if a host failed.
pub(crate) async fn run(world: &World, args: &LogsArgs) -> Result<u8, CliError> {
    let config = world.config(&args.stage)?;
    let range = range(&config, args)?;
    let view = LogView::new(world, &config, range.follow);
    let hear = |place: usize, heard: StreamPiece| view.take(place, heard);
    let work = async |cx: RunContext<'_>| {
        tokio::select! {
            answers = logs(cx, &range, &hear) => answers,
            () = view.refresh() => Vec::new(),
        }
    };
    let answers = match world.quietly(&config, "logs", work).await {
        // So a person ends what is followed.
        Err(CliError::Stopped) if range.follow => return Ok(0),
        answers => answers?,
    };
    view.show();
    if range.follow {
        // Failures were said when they happened.
        return Ok(u8::from(answers.iter().any(|(_, answer)| answer.is_err())));
    }
    Ok(world.found(answers).1)
}

/// Returns what is to be shown. Fails if a flag names what is not there.
fn range(config: &Config, args: &LogsArgs) -> Result<LogRange, CliError> {
    let known: Vec<_> = config.services.iter().map(|service| service.name.clone()).collect();
    if let Some(name) = args.service.iter().find(|name| !known.contains(name)) {
        return Err(CliError::NoSuch { what: "service", name: name.clone(), known });
    }
    if known.is_empty() {
        return Err(CliError::NoLogs { stage: config.stage.clone() });
    }
    let time = |text: &String| {
        let expected = "a length of time is a number and s, m, h or d";
        let bad = || CliError::BadFlag { flag: "--since", value: text.clone(), expected };
        length(text).ok_or_else(bad)
    };
    let since = args.since.as_ref().map(time).transpose()?;
    let lines = args.lines.or_else(|| since.is_none().then_some(LINES));
    Ok(LogRange { services: args.service.clone(), since, lines, follow: args.follow })
}

/// Shows lines as they come.
struct LogView<'a> {
    world: &'a World,
    lines: HostLines,
    styles: Styles,
    merger: Mutex<LineMerger>,
    /// Standard output is closed: nobody reads on.
    closed: Notify,
}

impl<'a> LogView<'a> {
    fn new(world: &'a World, config: &Config, follow: bool) -> Self {
        let names = config.host_names();
        let styles = world.styles_of_stdout();
        let merger = Mutex::new(LineMerger::new(names.len(), follow));
        let sieve = world.sieve(Secrets::default());
        let lines = HostLines::new(names, styles.coloured, sieve);
        Self { world, lines, styles, merger, closed: Notify::new() }
    }

    fn take(&self, place: usize, heard: StreamPiece) {
        match heard {
            StreamPiece::Out(line) => {
                let now = self.world.started.elapsed();
                lock(&self.merger).push(place, LogLine::read(&line), now);
            }
            StreamPiece::Err(line) => {
                let _ = std::io::stderr().write_all(self.lines.shown(place, &line).as_bytes());
            }
            StreamPiece::End => lock(&self.merger).end(place),
        }
        self.show();
    }

    fn show(&self) {
        let now = self.world.now.with_timezone(&self.world.offset);
        let mut merger = lock(&self.merger);
        let mut text = String::new();
        for (place, line) in merger.ready(self.world.started.elapsed()) {
            if self.world.common.json {
                text += &log_json(&self.lines, place, &line).to_string();
                text.push('\n');
            } else {
                text += &log_text(&self.lines, place, &line, now, &self.styles);
            }
        }
        if std::io::stdout().write_all(text.as_bytes()).is_err() {
            self.closed.notify_one();
        }
    }

    /// Shows lines that nothing is waited for any more. Ends when standard output is closed.
    async fn refresh(&self) {
        let mut beats = tokio::time::interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                () = self.closed.notified() => return,
                _ = beats.tick() => self.show(),
            }
        }
    }
}
