//! Deployer's config as a program in PHP: statements of known forms.

use super::peer::{PeerReader, ReadHost};
use super::statements::{Language, Statement, Token, outside_brackets, statements, texts};

/// Statements that say nothing of hosts or directories.
const IDLE: [&str; 4] = ["namespace", "require", "require_once", "use"];
/// Settings that mean nothing to shipit.
pub(super) const IDLE_SETTINGS: [&str; 10] = [
    "allow_anonymous_stats",
    "branch",
    "default_stage",
    "default_timeout",
    "forward_agent",
    "git_tty",
    "repository",
    "ssh_multiplexing",
    "ssh_type",
    "update_code_strategy",
];

/// Reads a file.
pub(super) fn read(reader: &mut PeerReader, file: &str, text: &str) {
    reader.open(file, text);
    for statement in statements(text, Language::Php) {
        let idle = IDLE.iter().any(|word| statement.begins(word));
        if !idle && one(reader, &statement).is_none() {
            reader.unread(statement.line);
        }
    }
}

/// Takes one statement over; `None`: its form is not known.
fn one(reader: &mut PeerReader, statement: &Statement) -> Option<()> {
    let calls = calls(&statement.tokens)?;
    let (first, rest) = calls.split_first()?;
    match (first.name.as_str(), first.arguments) {
        ("set" | "add", [Token::Text(name), Token::Sign(','), value @ ..]) if rest.is_empty() => {
            setting(reader, statement.line, name, value, first.name == "add")
        }
        ("host", names) => {
            let mut known = Some(());
            for address in list(names)? {
                let mut host = reader.host_at(&address, statement.line);
                known = rest.iter().fold(known, |known, call| detail(&mut host, call).and(known));
                reader.host(host);
            }
            known
        }
        ("localhost", _) if rest.is_empty() => {
            reader.host(reader.host_at("local", statement.line));
            Some(())
        }
        _ => None,
    }
}

fn setting(
    reader: &mut PeerReader,
    line: usize,
    name: &str,
    value: &[Token],
    adds: bool,
) -> Option<()> {
    if let [Token::Text(value) | Token::Name(value)] = value {
        let known = reader.set(name, value, line) || IDLE_SETTINGS.contains(&name);
        return known.then_some(());
    }
    reader.list(name, list(value)?, adds).then_some(())
}

/// One call of a chain: `set('port', 22)`.
struct Call<'t> {
    name: String,
    arguments: &'t [Token],
}

/// Returns the calls of `host('a')->set('b', 'c')`; none if it is something else.
fn calls(mut tokens: &[Token]) -> Option<Vec<Call<'_>>> {
    let mut calls = Vec::new();
    while let [Token::Name(name), Token::Sign('('), rest @ ..] = tokens {
        let end = outside_brackets(rest, ')')?;
        calls.push(Call { name: name.clone(), arguments: &rest[..end] });
        tokens = &rest[end + 1..];
        tokens = tokens.strip_prefix(&[Token::Sign('.')]).unwrap_or(tokens);
    }
    tokens.is_empty().then_some(calls)
}

/// Returns the texts of a list, if it consists of texts only.
fn list(tokens: &[Token]) -> Option<Vec<String>> {
    texts(tokens, "()[],", &["array"])
}

/// Takes what one call of a chain says of a host: `setRemoteUser('x')`, `set('remote_user', 'x')`
/// or, in older versions, `user('x')`. `None`: it is not known.
fn detail(host: &mut ReadHost, call: &Call<'_>) -> Option<()> {
    let (name, value) = match (call.name.as_str(), call.arguments) {
        ("set", [Token::Text(name), Token::Sign(','), value @ ..]) => (name.clone(), value),
        (name, value) => (snake(name.strip_prefix("set").unwrap_or(name)), value),
    };
    match (name.as_str(), value) {
        ("labels", [Token::Sign('['), labels @ .., Token::Sign(']')]) => {
            return self::labels(host, labels);
        }
        ("roles" | "role", roles) => host.roles.extend(list(roles)?),
        (name, [Token::Text(value) | Token::Name(value)]) => return host.detail(name, value),
        _ => return None,
    }
    Some(())
}

fn labels(host: &mut ReadHost, labels: &[Token]) -> Option<()> {
    let mut known = Some(());
    for label in labels.split(|token| *token == Token::Sign(',')) {
        match label {
            [Token::Text(name), Token::Text(value)] => known = host.label(name, value).and(known),
            [] => {}
            _ => known = None,
        }
    }
    known
}

/// `RemoteUser` as `remote_user`.
fn snake(name: &str) -> String {
    let part =
        |c: char| if c.is_uppercase() { format!("_{}", c.to_lowercase()) } else { c.to_string() };
    name.chars().map(part).collect::<String>().trim_start_matches('_').to_owned()
}
