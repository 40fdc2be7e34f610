//! Tables that fit: on a narrow terminal columns are left out, the least important first.

use console::{Alignment, measure_text_width, pad_str, truncate_str};

/// A column of a table, with its behaviour on narrow terminals.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// The heading.
    pub title: &'static str,
    /// Whether cells are padded on the left, as numbers are.
    pub right: bool,
    /// The order in which columns are left out: the largest first, 0 never.
    pub rank: u8,
    /// Whether cells may be cut if there is no room; only those of the last column may.
    pub cut: bool,
}

impl Column {
    /// Returns a column of text.
    pub const fn text(title: &'static str, rank: u8) -> Self {
        Self { title, right: false, rank, cut: false }
    }

    /// Returns a column of numbers.
    pub const fn number(title: &'static str, rank: u8) -> Self {
        Self { title, right: true, rank, cut: false }
    }

    /// Returns a last column of text, whose cells are cut rather than left out.
    pub const fn prose(title: &'static str, rank: u8) -> Self {
        Self { title, right: false, rank, cut: true }
    }
}

/// The least width of a column whose cells are cut.
const LEAST: usize = 12;

/// Returns the table in lines no wider than `width`, as long as there is a column to leave out; the
/// last line then names those left out. Empty columns are left out too.
pub fn render(columns: &[Column], rows: &[Vec<String>], width: usize) -> Vec<String> {
    let widest = |i: usize| {
        let cells = rows.iter().map(|row| measure_text_width(&row[i]));
        cells.chain([measure_text_width(columns[i].title)]).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns.len()).map(widest).collect();
    let needed = |i: &usize| if columns[*i].cut { widths[*i].min(LEAST) } else { widths[*i] };
    let total = |shown: &[usize]| {
        shown.iter().map(needed).sum::<usize>() + 2 * shown.len().saturating_sub(1)
    };
    let filled = |i: &usize| columns[*i].rank == 0 || rows.iter().any(|row| !row[*i].is_empty());
    let mut shown: Vec<usize> = (0..columns.len()).filter(filled).collect();
    let mut hidden = Vec::new();
    while total(&shown) > width {
        let last = shown.iter().copied().max_by_key(|i| columns[*i].rank);
        let Some(dropped) = last.filter(|i| columns[*i].rank > 0) else { break };
        shown.retain(|i| *i != dropped);
        hidden.insert(0, columns[dropped].title);
    }
    let line = |row: &Vec<String>| {
        let cell = |i: &usize| {
            let side = if columns[*i].right { Alignment::Right } else { Alignment::Left };
            pad_str(&row[*i], widths[*i], side, None)
        };
        let cells: Vec<_> = shown.iter().map(cell).collect();
        truncate_str(cells.join("  ").trim_end(), width, "…").into_owned()
    };
    let titles = columns.iter().map(|column| column.title.to_owned()).collect();
    let mut lines: Vec<_> = std::iter::once(&titles).chain(rows).map(line).collect();
    if !hidden.is_empty() {
        lines.push(format!("no room for: {} (`--json` has all)", hidden.join(", ")));
    }
    lines
}
