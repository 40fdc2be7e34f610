//! Text that comes from the other side, made harmless, and addresses as people write them.

/// At most this much of what a server says is kept.
const LIMIT: usize = 4096;

/// Without control sequences: what a server says may end up on a terminal.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if out.len() >= LIMIT {
            out.push('…');
            break;
        }
        match c {
            '\u{1b}' => skip_sequence(&mut chars),
            '\u{9b}' => skip_control(&mut chars),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// After an escape: `[` begins a control sequence, `]` and its like a string that ends with BEL or
/// another escape, anything else is one character.
fn skip_sequence(chars: &mut Chars<'_>) {
    match chars.next() {
        Some('[') => skip_control(chars),
        Some(']' | 'P' | '_' | '^' | 'X') => {
            while let Some(c) = chars.next() {
                if c == '\u{7}' {
                    break;
                }
                if c == '\u{1b}' {
                    chars.next_if_eq(&'\\');
                    break;
                }
            }
        }
        _ => {}
    }
}

fn skip_control(chars: &mut Chars<'_>) {
    for c in chars.by_ref() {
        if ('@'..='~').contains(&c) {
            break;
        }
    }
}

/// `host:port`, with a v6 address in brackets.
pub(crate) fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_but_text() {
        assert_eq!(plain("a\u{1b}[31mred\u{1b}[0m\r\n\tb\u{7}"), "ared\n\tb");
        assert_eq!(plain("x\u{1b}]52;c;aGk=\u{7}y\u{1b}]0;t\u{1b}\\z"), "xyz");
        assert_eq!(plain("\u{9b}2Jq"), "q");
        assert!(plain(&"m".repeat(100_000)).len() < 5000);
    }

    #[test]
    fn v6_addresses_stand_in_brackets() {
        assert_eq!(address("::1", 22), "[::1]:22");
        assert_eq!(address("web", 22), "web:22");
    }
}
