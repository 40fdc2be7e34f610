//! Text of servers, made harmless, and addresses as people write them.

use crate::model::clean::strip;

/// At most this many bytes of a server's text are kept.
const LIMIT: usize = 4096;

/// Returns the text without control sequences, and short: it may end up on a terminal.
pub(crate) fn plain(text: &str) -> String {
    let stripped = strip(text);
    let end = stripped.floor_char_boundary(LIMIT);
    if end < stripped.len() { format!("{}…", &stripped[..end]) } else { stripped }
}

/// Returns `host:port`, with an IPv6 address in brackets.
pub(crate) fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_has_no_control_sequences() {
        assert_eq!(plain("a\u{1b}[31mred\u{1b}[0m\r\n\tb\u{7}"), "ared\n\tb");
        assert_eq!(plain("x\u{1b}]52;c;aGk=\u{7}y\u{1b}]0;t\u{1b}\\z"), "xyz");
        assert_eq!(plain("\u{9b}2Jq"), "q");
        assert!(plain(&"m".repeat(100_000)).len() < 5000);
    }

    #[test]
    fn v6_address_is_shown_in_brackets() {
        assert_eq!(address("::1", 22), "[::1]:22");
        assert_eq!(address("web", 22), "web:22");
    }
}
