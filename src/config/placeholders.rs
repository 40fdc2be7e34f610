//! Placeholders: words in braces for facts of a release and its place, such as `{release}`. Other
//! braces are text.

use crate::model::digest::Digest;
use crate::model::id::ReleaseId;
use crate::model::slots::Slot;

/// Every placeholder.
pub(super) const PLACEHOLDERS: [&str; 5] = ["digest", "port", "release", "revision", "slot"];

/// The values of the placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placeholders {
    pub release: ReleaseId,
    /// The source revision, if it is known.
    pub revision: Option<String>,
    /// The digest of the artifact, if it is known.
    pub digest: Option<Digest>,
    /// The slot in which it runs, if it is in one.
    pub slot: Option<Slot>,
}

impl Placeholders {
    /// Returns the text with a value for each placeholder, each passed through `write`. Fails with
    /// the first placeholder whose value is not known.
    pub fn fill(&self, text: &str, write: fn(&str) -> String) -> Result<String, &'static str> {
        let (mut filled, mut rest) = (String::new(), text);
        while let Some(start) = rest.find('{') {
            let (before, braced) = rest.split_at(start);
            let name = PLACEHOLDERS.into_iter().find(|name| is_braced(braced, name));
            let (value, taken) = match name {
                Some(name) => (write(&self.value(name).ok_or(name)?), name.len() + 2),
                None => ("{".to_owned(), 1),
            };
            filled += before;
            filled += &value;
            rest = &braced[taken..];
        }
        Ok(filled + rest)
    }

    fn value(&self, name: &str) -> Option<String> {
        match name {
            "release" => Some(self.release.to_string()),
            // It goes into headers, which take no line breaks.
            "revision" => self.revision.clone().filter(|it| !it.contains(char::is_control)),
            "slot" => self.slot.as_ref().map(|slot| slot.name.clone()),
            "port" => self.slot.as_ref().map(|slot| slot.port.to_string()),
            _ => self.digest.as_ref().map(Digest::to_string),
        }
    }
}

/// Returns whether `text` begins with `{name}`.
fn is_braced(text: &str, name: &str) -> bool {
    let rest = text.strip_prefix('{').and_then(|rest| rest.strip_prefix(name));
    rest.is_some_and(|rest| rest.starts_with('}'))
}

/// Returns each lower-case word in braces that is no placeholder.
pub(super) fn unknown_words(text: &str) -> impl Iterator<Item = &str> {
    words_in_braces(text).filter(|word| !PLACEHOLDERS.contains(word))
}

/// Returns each lower-case word in braces.
pub(super) fn words_in_braces(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
    let plain = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase());
    words.map(|(word, _)| word).filter(move |word| plain(word))
}

/// Returns the text as a part of an address, with special characters written like `%20`.
pub(super) fn in_address(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let write = |byte: u8| {
        if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(write).collect()
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn filled(text: &str) -> Result<String, &'static str> {
        let release = ReleaseId::at(DateTime::UNIX_EPOCH);
        let revision = Some("v1 {release}".to_owned());
        let slot = Some(Slot { name: "blue".to_owned(), port: 8081 });
        let placeholders = Placeholders { release, revision, digest: None, slot };
        placeholders.fill(text, str::to_owned)
    }

    #[test]
    fn only_placeholders_are_replaced() {
        let same = ["", "{", "}", "{}", "{{", "{Release}", "{ release }", "{releas", "{other}"];
        for text in same.into_iter().chain([r#"{"a": {"b": 1}}"#, "ä{ö}"]) {
            assert_eq!(filled(text).as_deref(), Ok(text));
        }
        let all = filled(r#"{"id":"{release}","at":"{revision}"}"#);
        assert_eq!(all.as_deref(), Ok(r#"{"id":"19700101000000","at":"v1 {release}"}"#));
        assert_eq!(filled("{slot}:{port};").as_deref(), Ok("blue:8081;"));
        assert_eq!(filled("{{release}}").as_deref(), Ok("{19700101000000}"));
        assert_eq!(filled("a {digest}"), Err("digest"));
    }

    #[test]
    fn unknown_words_are_lower_case_words_in_braces() {
        let unknown = |text| unknown_words(text).collect::<Vec<_>>();
        assert_eq!(unknown("/{relase}/{release}/{x}"), ["relase", "x"]);
        assert_eq!(unknown(r#"{"a":1} {} {A} { a } {a"#), [""; 0]);
    }

    #[test]
    fn addresses_hold_no_special_characters() {
        assert_eq!(in_address("v1.2-3_x~"), "v1.2-3_x~");
        assert_eq!(in_address("a b/ä?"), "a%20b%2F%C3%A4%3F");
    }
}
