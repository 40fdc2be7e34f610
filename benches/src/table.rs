//! Results as Markdown: one table for each row, medians, and what follows from two rows together.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::measure::Sample;
use crate::rows::checks;
use crate::run::{Outcome, Record};

/// The medians of one tool at one row.
#[derive(Debug, Clone)]
pub(crate) struct Median {
    pub(crate) row: String,
    pub(crate) title: String,
    pub(crate) tool: String,
    pub(crate) rtt: u32,
    pub(crate) hosts: usize,
    pub(crate) sample: Sample,
    pub(crate) fastest: f64,
    pub(crate) slowest: f64,
    pub(crate) runs: usize,
    pub(crate) failed: usize,
}

/// Millions of something.
#[expect(clippy::cast_precision_loss, reason = "a number to be read")]
pub(crate) fn millions(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// One for each tool and row that has a run that was verified, in the order of the results.
pub(crate) fn medians(records: &[Record]) -> Vec<Median> {
    let mut order = Vec::new();
    let mut cells: BTreeMap<(&str, &str), Vec<&Record>> = BTreeMap::new();
    for record in records {
        let key = (record.row.as_str(), record.tool.as_str());
        if !order.contains(&key) {
            order.push(key);
        }
        cells.entry(key).or_default().push(record);
    }
    order.iter().filter_map(|key| median(&cells[key])).collect()
}

fn median(records: &[&Record]) -> Option<Median> {
    let samples: Vec<_> = records
        .iter()
        .filter_map(|record| match &record.outcome {
            Outcome::Sample(sample) => Some(*sample),
            Outcome::Error(_) => None,
        })
        .collect();
    let first = records.first()?;
    let middle = |value: fn(&Sample) -> f64| {
        let mut values: Vec<_> = samples.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    let walls = samples.iter().map(|sample| sample.wall);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it was a whole number"
    )]
    let whole = |bytes: f64| (bytes * 1e6).round() as u64;
    Some(Median {
        row: first.row.clone(),
        title: first.title.clone(),
        tool: first.tool.clone(),
        rtt: first.rtt,
        hosts: first.hosts,
        sample: Sample {
            wall: middle(|s| s.wall)?,
            up: whole(middle(|s| millions(s.up))?),
            down: whole(middle(|s| millions(s.down))?),
            client_cpu: middle(|s| s.client_cpu)?,
            hosts_cpu: middle(|s| s.hosts_cpu)?,
            client_memory: middle(|s| s.client_memory)?,
            hosts_memory: middle(|s| s.hosts_memory)?,
            foreign: middle(|s| s.foreign)?,
        },
        fastest: walls.clone().fold(f64::INFINITY, f64::min),
        slowest: walls.fold(0.0, f64::max),
        runs: samples.len(),
        failed: records.len() - samples.len(),
    })
}

/// All tables.
pub(crate) fn tables(records: &[Record]) -> String {
    let medians = medians(records);
    let mut text = String::new();
    let (many, rows): (Vec<_>, Vec<_>) =
        medians.into_iter().partition(|m| m.row.starts_with("hosts-"));
    let mut titles: Vec<&String> = Vec::new();
    for row in &rows {
        if !titles.contains(&&row.title) {
            titles.push(&row.title);
        }
    }
    for title in titles {
        let tools: Vec<_> = rows.iter().filter(|m| m.title == *title).collect();
        row_table(&mut text, title, &tools);
    }
    round_trips(&mut text, &rows);
    curve(&mut text, &many);
    text
}

fn row_table(text: &mut String, title: &str, tools: &[&Median]) {
    let base = tools.iter().find(|m| m.tool == "shipit").map(|m| m.sample.wall);
    let _ = writeln!(
        text,
        "### {title}\n\n\
         | tool | checks | seconds | from … to | shipit takes | MB up | MB down | CPU s here | CPU s on hosts | MB here | MB on hosts | others | runs |\n\
         |---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    );
    for m in tools {
        let s = &m.sample;
        let ratio = match base {
            Some(base) if m.tool != "shipit" => format!("{:.2} ×", base / s.wall),
            _ => String::new(),
        };
        let failed = if m.failed == 0 { String::new() } else { format!(", {} failed", m.failed) };
        let _ = writeln!(
            text,
            "| {} | {} | {:.3} | {:.3} … {:.3} | {ratio} | {:.3} | {:.3} | {:.2} | {:.2} | {:.0} | {:.0} | {:.1} | {}{failed} |",
            m.tool,
            checks(&m.tool),
            s.wall,
            m.fastest,
            m.slowest,
            millions(s.up),
            millions(s.down),
            s.client_cpu,
            s.hosts_cpu,
            s.client_memory / 1e6,
            s.hosts_memory / 1e6,
            s.foreign,
            m.runs,
        );
    }
    text.push('\n');
}

/// Writes by how many round trips of 50 ms the work takes longer over such a link.
fn round_trips(text: &mut String, rows: &[Median]) {
    let mut lines = String::new();
    for near in rows.iter().filter(|m| m.rtt == 0) {
        let Some(stem) = near.row.strip_suffix("-0") else { continue };
        let far = rows.iter().find(|m| m.row == format!("{stem}-50") && m.tool == near.tool);
        if let Some(far) = far {
            let trips = (far.sample.wall - near.sample.wall) / 0.05;
            let _ = writeln!(lines, "| {stem} | {} | {trips:.1} |", near.tool);
        }
    }
    if !lines.is_empty() {
        let _ = writeln!(
            text,
            "### Round trips, one after another\n\n(seconds at 50 ms − seconds at 0 ms) ÷ 50 ms\n\n\
             | work | tool | round trips |\n|---|---|--:|\n{lines}"
        );
    }
}

#[expect(clippy::cast_precision_loss, reason = "a number to be read")]
fn curve(text: &mut String, many: &[Median]) {
    if many.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "### Many hosts\n\n\
         | hosts | tool | seconds | ms a host | CPU ms a host here | CPU ms a host there | MB here | KB a host here | KB up a host | runs |\n\
         |--:|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    );
    for m in many {
        let (s, hosts) = (&m.sample, m.hosts as f64);
        let _ = writeln!(
            text,
            "| {} | {} | {:.3} | {:.1} | {:.1} | {:.1} | {:.1} | {:.0} | {:.1} | {} |",
            m.hosts,
            m.tool,
            s.wall,
            s.wall * 1e3 / hosts,
            s.client_cpu * 1e3 / hosts,
            s.hosts_cpu * 1e3 / hosts,
            s.client_memory / 1e6,
            s.client_memory / 1e3 / hosts,
            millions(s.up) * 1e3 / hosts,
            m.runs,
        );
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(row: &str, rtt: u32, wall: Option<f64>) -> Record {
        let sample = |wall| Sample {
            wall,
            up: 1_000_000,
            down: 0,
            client_cpu: 0.0,
            hosts_cpu: 0.0,
            client_memory: 0.0,
            hosts_memory: 0.0,
            foreign: 0.0,
        };
        let outcome = wall
            .map_or_else(|| Outcome::Error("no".to_owned()), |wall| Outcome::Sample(sample(wall)));
        let (row, title, tool) = (row.to_owned(), row.to_owned(), "shipit".to_owned());
        Record { row, title, tool, run: 1, rtt, mbit: 0, hosts: 1, outcome }
    }

    #[test]
    fn the_median_leaves_out_what_failed() {
        let walls = [Some(3.0), None, Some(1.0), Some(2.0)];
        let records: Vec<_> = walls.into_iter().map(|wall| record("x-0", 0, wall)).collect();
        let m = &medians(&records)[0];
        assert_eq!((m.runs, m.failed, m.sample.up), (3, 1, 1_000_000));
        assert!((m.sample.wall - 2.0).abs() < 1e-9);
    }

    #[test]
    fn round_trips_come_from_two_rows() {
        let records = [record("x-0", 0, Some(1.0)), record("x-50", 50, Some(1.5))];
        assert!(tables(&records).contains("| x | shipit | 10.0 |"));
    }

    #[test]
    fn a_record_survives_its_line() -> serde_json::Result<()> {
        for record in [record("x", 0, Some(1.0)), record("x", 0, None)] {
            let line = serde_json::to_string(&record)?;
            let again: Record = serde_json::from_str(&line)?;
            assert_eq!(line, serde_json::to_string(&again)?);
        }
        Ok(())
    }
}
