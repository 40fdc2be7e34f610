//! Masks secrets. Every printed text passes through here, so that no reporter and no view can
//! forget it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::config::secrecy::SHORTEST;

/// The text in place of a secret.
pub const MASK: &str = "***";
/// Each line of a longer secret (a key) is masked too, from this length on.
const SHORTEST_LINE: usize = 8;

/// The values to mask, in every form in which they may be printed.
#[derive(Clone, Default)]
pub struct Secrets(Arc<Vec<String>>);

impl Secrets {
    /// Masks these values.
    pub fn new(values: impl IntoIterator<Item = String>) -> Self {
        let mut forms: Vec<String> = values.into_iter().flat_map(|value| forms(&value)).collect();
        forms.sort();
        forms.dedup();
        Self(Arc::new(forms))
    }

    /// Returns `text` with every secret masked, also if secrets overlap.
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut hits: Vec<(usize, usize)> =
            self.0.iter().flat_map(|secret| find(text, secret)).collect();
        if hits.is_empty() {
            return Cow::Borrowed(text);
        }
        hits.sort_unstable();
        Cow::Owned(mask(text, &hits))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({} forms)", self.0.len())
    }
}

/// Returns the forms of a value: as it is, trimmed, line by line, and as JSON (once and twice) or a
/// shell writes it.
fn forms(value: &str) -> Vec<String> {
    let lines = value.lines().map(str::trim).filter(|line| line.len() >= SHORTEST_LINE);
    let plain = [value, value.trim()].into_iter().chain(lines);
    let all = plain.flat_map(|form| {
        let json = json_escaped(form);
        let (twice, slashed) = (json_escaped(&json), json.replace('/', r"\/"));
        [
            form.to_owned(),
            json,
            twice,
            slashed,
            form.replace('\'', r"'\''"),
            form.escape_debug().to_string(),
        ]
    });
    all.filter(|form| form.trim().len() >= SHORTEST).collect()
}

fn json_escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Returns where `secret` occurs in `text`, including overlaps. A number inside a longer number,
/// such as an id, is not an occurrence.
fn find(text: &str, secret: &str) -> Vec<(usize, usize)> {
    let is_number = secret.bytes().all(|byte| byte.is_ascii_digit());
    let digit = |at: Option<usize>| {
        at.and_then(|at| text.as_bytes().get(at)).is_some_and(u8::is_ascii_digit)
    };
    let mut hits = Vec::new();
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| rest.find(secret)) {
        let start = from + at;
        let end = start + secret.len();
        if !is_number || !(digit(start.checked_sub(1)) || digit(Some(end))) {
            hits.push((start, end));
        }
        from = start + secret.chars().next().map_or(1, char::len_utf8);
    }
    hits
}

/// Masks the ranges `hits`, which are sorted by their start.
fn mask(text: &str, hits: &[(usize, usize)]) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut done = 0;
    for &(start, end) in hits {
        if start >= done {
            masked.push_str(&text[done..start]);
            masked.push_str(MASK);
        }
        done = done.max(end);
    }
    masked.push_str(&text[done..]);
    masked
}
