//! Text from elsewhere, made harmless: no control sequences that could move a cursor, colour or
//! rename a terminal, or turn text round; no line and no text without a limit.

use std::iter::Peekable;
use std::str::Chars;

/// Longer lines are cut: nobody reads them and one must not fill the screen.
pub const LINE_LIMIT: usize = 1000;
/// Of longer texts only the last lines are shown: that is where errors stand.
pub const LINES_LIMIT: usize = 200;

/// `raw` without control sequences; newlines and tabs stay, a lone carriage return begins a line.
pub fn strip(raw: &str) -> String {
    let mut clean = String::with_capacity(raw.len());
    let mut chars = raw.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\n' | '\t' => clean.push(char),
            '\r' if chars.peek() == Some(&'\n') => {}
            '\r' => clean.push('\n'),
            '\u{1b}' => skip_escape(&mut chars),
            '\u{9b}' => skip_csi(&mut chars),
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => skip_string(&mut chars),
            _ if char.is_control() || turns_text(char) => {}
            _ => clean.push(char),
        }
    }
    clean
}

/// `raw` in one line: stripped, newlines and tabs turned to blanks, cut at [`LINE_LIMIT`].
pub fn line(raw: &str) -> String {
    let stripped = strip(raw);
    let words: Vec<_> = stripped.split(['\n', '\t']).map(str::trim_end).collect();
    cut(words.join(" ").trim_end())
}

/// `raw` in lines: stripped, each cut at [`LINE_LIMIT`], the last [`LINES_LIMIT`] of them.
pub fn text(raw: &str) -> String {
    let stripped = strip(raw);
    let lines: Vec<_> = stripped.lines().map(|line| cut(line.trim_end())).collect();
    let hidden = lines.len().saturating_sub(LINES_LIMIT);
    let mut shown = lines[hidden..].to_vec();
    if hidden > 0 {
        shown.insert(0, format!("… {hidden} lines before these are not shown"));
    }
    shown.join("\n")
}

fn cut(line: &str) -> String {
    let hidden = line.chars().count().saturating_sub(LINE_LIMIT);
    if hidden == 0 {
        return line.to_owned();
    }
    let shown: String = line.chars().take(LINE_LIMIT).collect();
    format!("{shown}… ({hidden} more characters)")
}

/// Characters that make text read in another order than it is written, or not at all.
fn turns_text(char: char) -> bool {
    matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn skip_escape(chars: &mut Peekable<Chars<'_>>) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            skip_csi(chars);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            chars.next();
            skip_string(chars);
        }
        _ => {
            while chars.next_if(|char| (' '..='/').contains(char)).is_some() {}
            chars.next_if(|char| ('0'..='~').contains(char));
        }
    }
}

/// Parameters and the final byte. Anything else ends it, so that a broken one hides nothing.
fn skip_csi(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|char| (' '..='?').contains(char)).is_some() {}
    chars.next_if(|char| ('@'..='~').contains(char));
}

/// Up to the terminator, or the end of the line, so that an open one hides nothing after it.
fn skip_string(chars: &mut Peekable<Chars<'_>>) {
    while let Some(char) = chars.next_if(|char| *char != '\n') {
        match char {
            '\u{7}' | '\u{9c}' => return,
            '\u{1b}' => {
                chars.next_if(|char| *char == '\\');
                return;
            }
            _ => {}
        }
    }
}
