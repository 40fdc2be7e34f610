//! The only file that quotes. What it makes reads back as the same bytes in dash, bash, BusyBox,
//! mksh, zsh and fish, the last of which collapses `\\` and `\'` within single quotes: both
//! characters therefore stand outside of them.

/// `text` as one word for any login shell.
pub fn word(text: &str) -> String {
    quoted(text, None)
}

/// `text` as one word of a line on the control channel, where no newline may appear: the agent
/// keeps one in `$nl`.
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
            // No shell word can hold a NUL byte; none of our values may.
            ('\0', _) => {}
            _ => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// `text` for a person to paste: bare where every shell would read it so.
pub fn shown_word(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { word(text) }
}

/// Several words, with blanks between.
pub fn words<'a>(all: impl IntoIterator<Item = &'a str>) -> String {
    all.into_iter().map(word).collect::<Vec<_>>().join(" ")
}
