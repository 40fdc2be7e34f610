//! The stylesheet. Every message is readable without it.

use console::Style;

/// The value of `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Color {
    /// Colours on a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Colours everywhere.
    Always,
    /// Colours nowhere.
    Never,
}

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

    /// Chooses the styles from `--color`, `NO_COLOR` (set and not empty) and the output.
    pub fn choose(color: Color, no_color: bool, terminal: bool) -> Self {
        let coloured = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !no_color,
        };
        if coloured { Self::coloured() } else { Self::plain() }
    }
}
