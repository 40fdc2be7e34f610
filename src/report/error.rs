//! The layout of an error: error, cause, state, hint, always in this order.

use std::error::Error;
use std::iter::successors;

use console::Style;

use super::clean;
use super::human::{count, hanging, wrapped};
use super::styles::Styles;

/// If a cause has more lines than this, the frames of stacks go, then its middle: what failed is at
/// the beginning, and what was printed last is at the end.
const MOST_LINES: usize = 12;
const LABEL: usize = 9;

/// An error that may know what to type next, and what is true now.
pub trait Hinted: Error {
    /// Returns one thing to type next.
    fn hint(&self) -> Option<String> {
        None
    }

    /// Returns what is true now, on which host.
    fn state(&self) -> Option<String> {
        None
    }
}

/// Returns the sources of an error, outermost first.
pub fn causes(error: &dyn Error) -> Vec<String> {
    successors(error.source(), |cause| (*cause).source()).map(ToString::to_string).collect()
}

/// Returns `error` with its sources, state and hint, in lines.
pub fn text(styles: &Styles, error: &dyn Hinted) -> String {
    let (state, hint) = (error.state(), error.hint());
    let causes = causes(error as &dyn Error);
    parts(styles, &error.to_string(), &causes, state.as_deref(), hint.as_deref())
}

/// Returns an error in lines. Every part but `what` failed is optional.
pub fn parts(
    styles: &Styles,
    what: &str,
    causes: &[String],
    state: Option<&str>,
    hint: Option<&str>,
) -> String {
    first_part(styles, what, causes) + &last_part(styles, state, hint)
}

/// Returns what failed, and the cause.
pub(super) fn first_part(styles: &Styles, what: &str, causes: &[String]) -> String {
    let cleaned: Vec<_> = causes.iter().map(|cause| clean::text(cause)).collect();
    let lines: Vec<_> = cleaned.iter().flat_map(|cause| cause.lines()).collect();
    let cause = shortened(&lines).join("\n");
    let label = styles.bad.apply_to("error:").to_string();
    after(styles, &label, &clean::line(what)) + &labelled(styles, "cause:", &cause, &Style::new())
}

/// Returns what is true now, and what may be typed next.
pub(super) fn last_part<'h>(
    styles: &Styles,
    state: Option<&str>,
    hints: impl IntoIterator<Item = &'h str>,
) -> String {
    let state = labelled(styles, "state:", state.unwrap_or_default(), &Style::new());
    let hint = |hint: &str| labelled(styles, "hint:", &clean::line(hint), &styles.hint);
    state + &hints.into_iter().map(hint).collect::<String>()
}

/// Returns a sentence after a styled label; further rows are indented.
pub(super) fn after(styles: &Styles, label: &str, text: &str) -> String {
    hanging(label, LABEL, text, styles.width).join("\n") + "\n"
}

fn labelled(styles: &Styles, label: &str, text: &str, style: &Style) -> String {
    let room = styles.width.map(|width| width.saturating_sub(LABEL).max(LABEL));
    let rows = text.lines().flat_map(|line| wrapped(line, room)).enumerate();
    rows.map(|(number, row)| {
        let label = if number == 0 { format!("  {label}") } else { String::new() };
        format!("{label:LABEL$}{}\n", style.apply_to(row))
    })
    .collect::<Vec<_>>()
    .concat()
}

fn shortened(lines: &[&str]) -> Vec<String> {
    if lines.len() <= MOST_LINES {
        return lines.iter().map(ToString::to_string).collect();
    }
    let mut rows = without_frames(lines);
    if rows.len() > MOST_LINES {
        let last = rows.split_off(rows.len() - (MOST_LINES - 3));
        let left_out = rows.drain(2..).map(|(_, lines)| lines).sum();
        rows.push((gap(left_out), left_out));
        rows.extend(last);
    }
    rows.into_iter().map(|(row, _)| row).collect()
}

/// Returns rows, and the number of lines that each stands for. Indented lines that follow each
/// other are frames of a stack in most languages: one row stands for them.
fn without_frames(lines: &[&str]) -> Vec<(String, usize)> {
    let is_frame = |line: &str| line.starts_with([' ', '\t']);
    let runs = lines.chunk_by(|one, next| is_frame(one) && is_frame(next));
    let row = |run: &[&str]| match run {
        [line] => ((*line).to_owned(), 1),
        run => (gap(run.len()), run.len()),
    };
    runs.map(row).collect()
}

fn gap(lines: usize) -> String {
    format!("… {} …", count(lines, "line"))
}
