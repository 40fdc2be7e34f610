//! Sizes, times and lists as people read them.

use std::time::Duration;

use chrono::{DateTime, FixedOffset, TimeDelta, Utc};

pub use crate::model::words::{count, list, size};

/// Formats a duration: `40ms`, `1.3s`, `2m 05s`, `1h 02m`.
pub fn duration(took: Duration) -> String {
    let ms = took.as_millis();
    let seconds = (ms + 500) / 1000;
    match ms {
        0..100 => format!("{ms}ms"),
        100..59_950 => format!("{}.{}s", (ms + 50) / 1000, (ms + 50) % 1000 / 100),
        59_950..3_599_500 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Formats the time since a moment: `3 min ago`, `2 days ago`.
pub fn age(then: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let past = now - then;
    if past < TimeDelta::seconds(-60) {
        return format!("{} ahead", span(-past));
    }
    if past < TimeDelta::seconds(1) { "just now".to_owned() } else { format!("{} ago", span(past)) }
}

fn span(delta: TimeDelta) -> String {
    let plural = |number: i64, word: &str| count(usize::try_from(number).unwrap_or(0), word);
    match delta {
        _ if delta.num_minutes() < 1 => format!("{} s", delta.num_seconds()),
        _ if delta.num_hours() < 1 => format!("{} min", delta.num_minutes()),
        _ if delta.num_days() < 1 => plural(delta.num_hours(), "hour"),
        _ if delta.num_days() < 60 => plural(delta.num_days(), "day"),
        _ if delta.num_days() < 730 => plural(delta.num_days() / 30, "month"),
        _ => plural(delta.num_days() / 365, "year"),
    }
}

/// Formats a time as `2026-08-21 11:03`, in the reader's zone: for tables, whose last line names
/// the zone.
pub fn local(time: DateTime<Utc>, offset: FixedOffset) -> String {
    time.with_timezone(&offset).format("%Y-%m-%d %H:%M").to_string()
}

/// Formats a day: `2026-08-21`. Hosts that agree on it may differ by seconds.
pub fn day(time: DateTime<Utc>, offset: FixedOffset) -> String {
    time.with_timezone(&offset).format("%Y-%m-%d").to_string()
}

/// Formats a time with its zone: `2026-08-21 11:03 +02:00`.
pub fn zoned(time: DateTime<Utc>, offset: FixedOffset) -> String {
    format!("{} {offset}", local(time, offset))
}

/// Returns the line below a table that names the zone of its times.
pub fn zone(offset: FixedOffset) -> String {
    format!("times are UTC{offset}")
}

/// Returns a record with its times in the reader's zone; hosts write `2026-08-21T09:03:11Z`.
pub fn zoned_record(record: &str, offset: FixedOffset) -> String {
    let word = |word: &str| match word.parse::<DateTime<Utc>>() {
        Ok(time) => zoned(time, offset),
        Err(_) => word.to_owned(),
    };
    record.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// Breaks a line into rows of at most `room` columns, if there is a limit. Breaks between words,
/// but not within backquotes, because commands are copied as one.
pub fn wrapped(line: &str, room: Option<usize>) -> Vec<String> {
    let Some(room) = room else { return vec![line.to_owned()] };
    let mut quoted = false;
    let mut rows: Vec<String> = Vec::new();
    let words = line.split(|char| {
        quoted ^= char == '`';
        char == ' ' && !quoted
    });
    for word in words {
        let wide = console::measure_text_width(word) + 1;
        match rows.last_mut() {
            Some(row) if console::measure_text_width(row) + wide <= room => {
                row.push(' ');
                row.push_str(word);
            }
            _ => rows.push(word.to_owned()),
        }
    }
    rows
}

/// Returns `text` after `label`, in rows of at most `width` columns; all rows but the first are
/// indented.
pub fn hanging(label: &str, indent: usize, text: &str, width: Option<usize>) -> Vec<String> {
    let room = width.map(|width| width.saturating_sub(indent).max(20));
    let rows = wrapped(text, room).into_iter().enumerate();
    rows.map(|(number, row)| match number {
        0 if label.is_empty() => row,
        0 => format!("{label} {row}"),
        _ => format!("{:indent$}{row}", ""),
    })
    .collect()
}

/// Joins names, or returns `a, b and 45 more hosts` if there are more than `most`.
pub fn short_list<T: AsRef<str>>(names: &[T], most: usize) -> String {
    if names.len() <= most {
        return list(names);
    }
    let shown = most.min(3);
    format!("{} and {}", list(&names[..shown]), count(names.len() - shown, "more host"))
}

/// Groups items by key, in the order in which each key is first seen.
pub fn group_by<T, K: PartialEq>(items: impl IntoIterator<Item = (T, K)>) -> Vec<(K, Vec<T>)> {
    let mut groups: Vec<(K, Vec<T>)> = Vec::new();
    for (item, key) in items {
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, members)) => members.push(item),
            None => groups.push((key, vec![item])),
        }
    }
    groups
}
