//! The only file that quotes. The result reads back as the same bytes in dash, bash, BusyBox, mksh,
//! zsh and fish. fish collapses `\\` and `\'` within single quotes, so both characters stand
//! outside them.

/// Returns `text` as one word for any login shell.
pub fn word(text: &str) -> String {
    quoted(text, None)
}

/// Returns `text` as one word of a line of a conversation. A newline becomes `$nl`, which the agent
/// sets.
pub fn line_word(text: &str) -> String {
    quoted(text, Some("'\"$nl\"'"))
}

fn quoted(text: &str, newline: Option<&str>) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    for c in text.chars() {
        match (c, newline) {
            ('\'', _) => out.push_str(r"'\''"),
            ('\\', _) => out.push_str(r"'\\'"),
            ('\n', Some(newline)) => out.push_str(newline),
            // A shell word cannot hold a NUL byte; our values have none.
            ('\0', _) => {}
            _ => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// Returns `all` as the value of one argument: quoted words, which the agent reads by `eval`.
pub fn list(all: &[String]) -> String {
    all.iter().map(|word| line_word(word)).collect::<Vec<_>>().join(" ")
}

/// Returns `text` for a person to paste: without quotes where every shell reads it so.
pub fn shown_word(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { word(text) }
}
