//! Pages of HTML that come where an archive was meant: what servers send to ask for a login.

use super::error::visible;

/// The most characters of a title or a message that are shown.
const LONGEST: usize = 120;

/// Returns whether bytes begin a page of HTML.
pub(super) fn is_page(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    let text = text.trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    ["<!doctype html", "<html", "<head", "<!-- "].iter().any(|start| text.starts_with(start))
}

/// Returns the title of a page.
pub(super) fn title(head: &[u8]) -> Option<String> {
    between(&String::from_utf8_lossy(head), "<title", "</title").and_then(|inner| {
        let (_, text) = inner.split_once('>')?;
        let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
        line(&text.replace("&#39;", "'").replace("&nbsp;", " ").replace("&amp;", "&"))
    })
}

/// Returns what a server says of an error: the code and message of XML, the message of JSON, or the
/// title of a page.
pub(super) fn message(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    if let Some(code) = between(&text, "<Code>", "</Code>") {
        let more = between(&text, "<Message>", "</Message>");
        let more = more.map_or_else(String::new, |more| format!(": {more}"));
        return line(&format!("{code}{more}"));
    }
    if let Ok(serde_json::Value::Object(json)) = serde_json::from_slice(body) {
        let said = ["message", "error_description", "error"];
        return line(said.iter().find_map(|key| json.get(*key)?.as_str())?);
    }
    title(body)
}

/// Returns a text in one line, as a terminal may show it; none if nothing is left.
pub(super) fn line(text: &str) -> Option<String> {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = words.chars().take(LONGEST).collect();
    let more = if short.len() < words.len() { "…" } else { "" };
    (!short.is_empty()).then(|| visible(&format!("{short}{more}")))
}

fn between<'t>(text: &'t str, start: &str, end: &str) -> Option<&'t str> {
    // Changes no length, so places in one are places in the other.
    let lower = text.to_ascii_lowercase();
    let from = lower.find(&start.to_ascii_lowercase())? + start.len();
    let len = lower[from..].find(&end.to_ascii_lowercase())?;
    Some(&text[from..from + len])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn title_of_a_page_is_one_harmless_line() {
        let page = b"\xef\xbb\xbf\n<!DOCTYPE html><HTML><TITLE lang=en>\n Sign in &amp;\n \x1b[31mwait</TITLE>";
        assert!(is_page(page) && !is_page(b"\x1f\x8b") && !is_page(b"<?xml version='1.0'?>"));
        assert_eq!(title(page).as_deref(), Some("Sign in & \\u{1b}[31mwait"));
        assert_eq!(title(b"<html><title> </title>"), None);
        assert_eq!(title(b"<html><title>never ends"), None);
    }

    #[test]
    fn error_of_a_server_is_one_line() {
        let xml = b"<?xml?><Error><Code>NoSuchKey</Code><Message>It is\ngone.</Message></Error>";
        assert_eq!(message(xml).as_deref(), Some("NoSuchKey: It is gone."));
        assert_eq!(
            message(br#"{"message": "401 Unauthorized"}"#).as_deref(),
            Some("401 Unauthorized")
        );
        assert_eq!(message(b"{}"), None);
        assert_eq!(message(b"plain"), None);
        let long = format!("<title>{}</title>", "ä".repeat(500));
        assert_eq!(message(long.as_bytes()).map(|text| text.chars().count()), Some(121));
    }
}
