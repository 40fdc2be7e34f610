//! The layout of an error: error, cause, state, hint, always in this order.

use std::error::Error;
use std::io::{self, Write};
use std::iter::successors;

use console::Style;

use super::clean;
use super::human::{count, wrapped};
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

/// Prints `error` with its sources, state and hint.
pub fn print(out: &mut dyn Write, styles: &Styles, error: &dyn Hinted) -> io::Result<()> {
    let (state, hint) = (error.state(), error.hint());
    let causes = causes(error as &dyn Error);
    print_error(out, styles, &error.to_string(), &causes, state.as_deref(), hint.as_deref())
}

/// Prints an error. Every part but the first line is optional.
pub fn print_error(
    out: &mut dyn Write,
    styles: &Styles,
    what: &str,
    causes: &[String],
    state: Option<&str>,
    hint: Option<&str>,
) -> io::Result<()> {
    print_cause(out, styles, what, causes)?;
    if let Some(state) = state {
        print_state(out, styles, state)?;
    }
    hint.map_or(Ok(()), |hint| print_hint(out, styles, hint))
}

/// Prints the first part of an error: what failed, and the cause.
pub(super) fn print_cause(
    out: &mut dyn Write,
    styles: &Styles,
    what: &str,
    causes: &[String],
) -> io::Result<()> {
    print_after(out, styles, &styles.bad.apply_to("error:").to_string(), &clean::line(what))?;
    let cleaned: Vec<_> = causes.iter().map(|cause| clean::text(cause)).collect();
    let lines: Vec<_> = cleaned.iter().flat_map(|cause| cause.lines()).collect();
    if lines.is_empty() {
        return Ok(());
    }
    print_labelled(out, styles, "cause:", &shortened(&lines).join("\n"), &Style::new())
}

/// Prints the line that says what is true now.
pub(super) fn print_state(out: &mut dyn Write, styles: &Styles, state: &str) -> io::Result<()> {
    print_labelled(out, styles, "state:", state, &Style::new())
}

/// Prints the line that says what to type next.
pub(super) fn print_hint(out: &mut dyn Write, styles: &Styles, hint: &str) -> io::Result<()> {
    print_labelled(out, styles, "hint:", &clean::line(hint), &styles.hint)
}

/// Prints a sentence after a styled label; further rows are indented.
pub(super) fn print_after(
    out: &mut dyn Write,
    styles: &Styles,
    word: &str,
    text: &str,
) -> io::Result<()> {
    for (number, row) in wrapped(text, room(styles)).iter().enumerate() {
        let before = if number == 0 { word } else { "        " };
        writeln!(out, "{before} {row}")?;
    }
    Ok(())
}

fn print_labelled(
    out: &mut dyn Write,
    styles: &Styles,
    label: &str,
    text: &str,
    style: &Style,
) -> io::Result<()> {
    let rows = text.lines().flat_map(|line| wrapped(line, room(styles)));
    for (number, row) in rows.enumerate() {
        let label = if number == 0 { format!("  {label}") } else { String::new() };
        writeln!(out, "{label:LABEL$}{}", style.apply_to(row))?;
    }
    Ok(())
}

/// Returns the columns right of labels; none if lines are not wrapped.
fn room(styles: &Styles) -> Option<usize> {
    styles.width.map(|width| width.saturating_sub(LABEL).max(LABEL))
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

/// Returns rows, and the number of lines that each stands for. Indented lines that follow each other
/// are frames of a stack in most languages: one row stands for them.
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
