//! Capistrano's and Mina's configs, which are programs in Ruby: statements of known forms.

use super::peer::{PeerReader, ReadHost, known_name};
use super::statements::{Language, Statement, Token, outside_brackets, statements, texts};

/// Statements that say nothing of hosts or directories.
const IDLE: [&str; 4] = ["require", "load", "lock", "install_plugin"];
/// Settings that mean nothing to shipit: where the source is, and how much is shown.
const IDLE_SETTINGS: [&str; 14] = [
    "branch",
    "deploy_via",
    "execution_mode",
    "forward_agent",
    "format",
    "format_options",
    "log_level",
    "pty",
    "rails_env",
    "repo_url",
    "repository",
    "scm",
    "stage",
    "term_mode",
];
/// Keys of a server that change nothing for shipit.
const IDLE_KEYS: [&str; 2] = ["primary", "forward_agent"];

/// Reads a file.
pub(super) fn read(reader: &mut PeerReader, file: &str, text: &str) {
    reader.open(file, text);
    for statement in statements(text, Language::Ruby) {
        if !is_idle(&statement) && one(reader, &statement).is_none() {
            reader.unread(statement.line);
        }
    }
}

fn is_idle(statement: &Statement) -> bool {
    let set = match words(statement).as_slice() {
        [Token::Name(set), Token::Name(name), ..] => {
            set == "set" && IDLE_SETTINGS.contains(&name.as_str())
        }
        _ => false,
    };
    set || IDLE.iter().any(|word| statement.begins(word))
}

/// Returns the words of a statement without the brackets around its arguments.
fn words(statement: &Statement) -> Vec<Token> {
    let mut words = statement.tokens.clone();
    if words.get(1) == Some(&Token::Sign('(')) && words.last() == Some(&Token::Sign(')')) {
        words.remove(1);
        words.pop();
    }
    words
}

/// Takes one statement over; `None`: its form is not known.
fn one(reader: &mut PeerReader, statement: &Statement) -> Option<()> {
    let words = words(statement);
    let (line, comma) = (statement.line, Token::Sign(','));
    match words.as_slice() {
        [Token::Name(set), Token::Name(name), c, rest @ ..] if set == "set" && *c == comma => {
            setting(reader, line, name, rest)
        }
        [Token::Name(add), Token::Name(name), c, rest @ ..]
            if (add == "append" || add == "push") && *c == comma =>
        {
            reader.list(name, paths(rest, name)?, true).then_some(())
        }
        [Token::Name(server), Token::Text(address), rest @ ..] if server == "server" => {
            let mut host = reader.host_at(address, line);
            options(&mut host, rest.strip_prefix(&[comma]).unwrap_or(rest))?;
            reader.host(host);
            Some(())
        }
        [Token::Name(role), Token::Name(name), c, rest @ ..] if role == "role" && *c == comma => {
            for address in paths(rest, name)? {
                let roles = vec![name.clone()];
                reader.host(ReadHost { roles, ..reader.host_at(&address, line) });
            }
            Some(())
        }
        _ => None,
    }
}

fn setting(reader: &mut PeerReader, line: usize, name: &str, value: &[Token]) -> Option<()> {
    match (known_name(name), value) {
        ("linked_dirs" | "linked_files", value) => {
            let adds = value.iter().any(|token| token.is("fetch"));
            reader.list(name, paths(value, name)?, adds);
        }
        ("ssh_options", [Token::Sign('{'), options @ .., Token::Sign('}')]) => {
            let mut all = ReadHost::default();
            let done = self::options(&mut all, options);
            for (name, value) in [("user", all.user), ("port", all.port)] {
                if let Some(value) = value {
                    reader.set(name, &value, line);
                }
            }
            return done;
        }
        ("domain", [Token::Text(address)]) => {
            reader.set(name, address, line);
            reader.host(reader.host_at(address, line));
        }
        (_, [Token::Text(value) | Token::Name(value)]) => {
            return reader.set(name, value, line).then_some(());
        }
        _ => return None,
    }
    Some(())
}

/// Returns the texts of a list that is set as `name`, if it consists of texts only.
fn paths(tokens: &[Token], name: &str) -> Option<Vec<String>> {
    let paths = texts(tokens, "()[],.+|", &[name, "fetch", "push", "concat"])?;
    (!paths.is_empty()).then_some(paths)
}

/// Takes the keys of a server: `user: "deploy", roles: %w[app db]`. `None`: one is not known; the
/// others are taken.
fn options(host: &mut ReadHost, mut tokens: &[Token]) -> Option<()> {
    let mut known = Some(());
    while let [Token::Name(key) | Token::Text(key), rest @ ..] = tokens {
        let end = outside_brackets(rest, ',').unwrap_or(rest.len());
        let (value, after) = rest.split_at(end);
        match (key.as_str(), value) {
            ("user", [Token::Text(user)]) => host.user = Some(user.clone()),
            ("port", [Token::Text(port) | Token::Name(port)]) => host.port = Some(port.clone()),
            ("roles" | "role", value) => host.roles.extend(roles(value)),
            (key, _) if IDLE_KEYS.contains(&key) => {}
            _ => known = None,
        }
        tokens = after.strip_prefix(&[Token::Sign(',')]).unwrap_or(after);
    }
    known.filter(|()| tokens.is_empty())
}

fn roles(value: &[Token]) -> Vec<String> {
    let mut roles = Vec::new();
    for token in value {
        match token {
            Token::Text(role) | Token::Name(role) if role != "all" => roles.push(role.clone()),
            Token::Words(words) => roles.extend(words.iter().cloned()),
            _ => {}
        }
    }
    roles
}
