//! Lines that hosts print for a person: after the name of the host, in its colour.

use console::{Color, Style};

use super::sanitizer::Sieve;

/// Colours that tell hosts apart; red and yellow are for failures and warnings.
const HUES: [Color; 4] = [Color::Cyan, Color::Magenta, Color::Green, Color::Blue];

/// The lines of several hosts.
pub struct HostLines {
    /// The names, in the order of the config.
    names: Vec<String>,
    width: usize,
    coloured: bool,
    sieve: Sieve,
}

impl HostLines {
    /// Returns the lines of hosts with these names.
    pub fn new(names: Vec<String>, coloured: bool, sieve: Sieve) -> Self {
        let width = names.iter().map(|name| console::measure_text_width(name)).max();
        Self { width: width.unwrap_or(0), names, coloured, sieve }
    }

    /// Returns the name of the host at this place.
    pub fn name(&self, place: usize) -> &str {
        self.names.get(place).map_or("", String::as_str)
    }

    /// Returns a text as it may be shown, whole.
    pub fn fit(&self, text: &str) -> String {
        self.sieve.whole(text)
    }

    /// Returns what the host at this place printed, each line after its name. A host that is alone
    /// is not named.
    pub fn shown(&self, place: usize, text: &str) -> String {
        self.headed(place, "", &self.fit(text))
    }

    /// Does what [`Self::shown`] does, for a text that is fit and follows a `head` of its own.
    pub(super) fn headed(&self, place: usize, head: &str, fit: &str) -> String {
        let name = self.head(place);
        // An empty line is a line too.
        let lines = if fit.is_empty() { "\n" } else { fit }.lines();
        lines.flat_map(|line| [&name, head, line, "\n"]).collect()
    }

    /// Returns the name of the host as it stands before a line.
    fn head(&self, place: usize) -> String {
        if self.names.len() == 1 {
            return String::new();
        }
        let name = format!("{:1$}", self.name(place), self.width);
        let style = if self.coloured {
            Style::new().force_styling(true).fg(HUES[place % HUES.len()])
        } else {
            Style::new()
        };
        format!("{} ", style.apply_to(format!("{name} |")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::redact::Secrets;

    fn of(names: &[&str]) -> HostLines {
        let sieve = Sieve::new(Secrets::new(["p0isoned".to_owned()]), false);
        HostLines::new(names.iter().map(|name| (*name).to_owned()).collect(), false, sieve)
    }

    #[test]
    fn several_hosts_are_named_and_one_is_not() {
        assert_eq!(of(&["web1"]).shown(0, "a p0isoned value"), "a *** value\n");
        let two = of(&["web1", "db"]);
        assert_eq!(two.shown(1, "one\rtwo \u{1b}[31mred"), "db   | one\ndb   | two red\n");
        assert_eq!(two.shown(0, ""), "web1 | \n");
        assert_eq!(two.shown(0, &"x".repeat(5000)).len(), "web1 | \n".len() + 5000);
    }
}
