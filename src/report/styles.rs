//! The stylesheet. Every message is readable without it.

use console::Style;

/// The style of each kind of text.
#[derive(Debug, Clone, Default)]
pub struct Styles {
    /// Success.
    pub good: Style,
    /// Failure.
    pub bad: Style,
    /// Warnings.
    pub warn: Style,
    pub hint: Style,
    /// Details: output of hooks, times.
    pub dim: Style,
    /// Headings, and the live release.
    pub strong: Style,
    /// Columns that sentences are wrapped to; none: they are not wrapped.
    pub width: Option<usize>,
    /// Whether there is colour at all.
    pub coloured: bool,
}

impl Styles {
    /// Returns the columns that a table may have.
    pub fn table_width(&self) -> usize {
        self.width.unwrap_or(160)
    }

    /// Returns styles without colour.
    pub fn plain() -> Self {
        Self::default()
    }

    /// Returns styles with the colours of the terminal, whatever the output is.
    pub fn coloured() -> Self {
        let style = || Style::new().force_styling(true);
        Self {
            good: style().green(),
            bad: style().red().bold(),
            warn: style().yellow().bold(),
            hint: style().cyan(),
            dim: style().dim(),
            strong: style().bold(),
            width: None,
            coloured: true,
        }
    }
}
