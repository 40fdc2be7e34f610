//! Text from hosts and files, made safe to print: no control sequences that move a cursor, colour
//! or rename a terminal, or reverse text; bounded lines and texts.

pub use crate::model::clean::strip;
use crate::model::words::count;

/// Longer lines are cut, so that one line cannot fill the screen.
pub const LINE_LIMIT: usize = 1000;
/// A longer text is cut to its last lines, because errors are at the end.
pub const LINES_LIMIT: usize = 200;

/// Returns `raw` as one line: cleaned, newlines and tabs as blanks, cut at [`LINE_LIMIT`].
pub fn line(raw: &str) -> String {
    let stripped = strip(raw);
    let words: Vec<_> = stripped.split(['\n', '\t']).map(str::trim_end).collect();
    cut(words.join(" ").trim_end())
}

/// Returns `raw` as lines: cleaned, each cut at [`LINE_LIMIT`], the last [`LINES_LIMIT`] of them.
pub fn text(raw: &str) -> String {
    let stripped = strip(raw);
    let lines: Vec<_> = stripped.lines().map(|line| cut(line.trim_end())).collect();
    let hidden = lines.len().saturating_sub(LINES_LIMIT);
    let mut shown = lines[hidden..].to_vec();
    if hidden > 0 {
        shown.insert(0, format!("… {} left out before these", count(hidden, "line")));
    }
    shown.join("\n")
}

fn cut(line: &str) -> String {
    let hidden = line.chars().count().saturating_sub(LINE_LIMIT);
    if hidden == 0 {
        return line.to_owned();
    }
    let shown: String = line.chars().take(LINE_LIMIT).collect();
    format!("{shown}… ({})", count(hidden, "more character"))
}
