//! The line of deploy.toml that leaves entries out, for messages.

/// Returns the pattern that leaves out the entry at `path` with all that is below it.
pub(super) fn pattern(path: &str) -> String {
    let special = |c: char| "*?[]{}\\".contains(c);
    let escaped = path.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c]));
    format!("/{}", escaped.collect::<String>())
}

/// Returns the line of deploy.toml that leaves out `more` besides `there`.
pub(super) fn line(there: &[String], more: &[String]) -> String {
    let quoted = |text: &String| toml::Value::from(text.as_str()).to_string();
    let all: Vec<_> = there.iter().chain(more).map(quoted).collect();
    format!("exclude = [{}]", all.join(", "))
}
