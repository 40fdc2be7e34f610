//! The stylesheet: plain by default. Every message is readable without it.

use console::Style;

/// What `--color` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

/// How each kind of text looks.
#[derive(Debug, Clone, Default)]
pub struct Styles {
    /// What went well.
    pub good: Style,
    /// What did not.
    pub bad: Style,
    /// What should be known.
    pub warn: Style,
    /// What to type next.
    pub hint: Style,
    /// What matters less: output of hooks, times.
    pub dim: Style,
    /// Headings, and the live release.
    pub strong: Style,
    /// Columns that sentences are wrapped to; none: not at all.
    pub width: Option<usize>,
}

impl Styles {
    /// No colour at all.
    pub fn plain() -> Self {
        Self::default()
    }

    /// The colours of the terminal, whatever `out` is.
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
        }
    }

    /// What `--color`, `NO_COLOR` (set and not empty) and the output itself come to.
    pub fn choose(color: Color, no_color: bool, terminal: bool) -> Self {
        let coloured = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !no_color,
        };
        if coloured { Self::coloured() } else { Self::plain() }
    }
}
