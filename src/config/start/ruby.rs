//! Capistrano's and Mina's configs, which are programs in Ruby: statements of known forms.

use super::peer::{PeerReader, ReadHost, known_name};
use super::statements::{Language, Statement, Token, statements};

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
/// Words between the paths of a list: `fetch(:linked_dirs, []).push("log")`.
const LIST_WORDS: [&str; 3] = ["fetch", "push", "concat"];
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
            let mut host = ReadHost {
                address: address.clone(),
                spot: reader.spot(line),
                ..ReadHost::default()
            };
            options(&mut host, rest.strip_prefix(&[comma]).unwrap_or(rest))?;
            reader.host(host);
            Some(())
        }
        [Token::Name(role), Token::Name(name), c, rest @ ..] if role == "role" && *c == comma => {
            for address in paths(rest, name)? {
                let (roles, spot) = (vec![name.clone()], reader.spot(line));
                reader.host(ReadHost { address, roles, spot, ..ReadHost::default() });
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
            let (address, spot) = (address.clone(), reader.spot(line));
            reader.set(name, &address, line);
            reader.host(ReadHost { address, spot, ..ReadHost::default() });
        }
        (_, [Token::Text(value) | Token::Name(value)]) => {
            reader.set(name, value, line);
            let known = ["app", "deploy_to", "keep_releases", "user", "port"];
            // Others may still stand in these.
            return known.contains(&known_name(name)).then_some(());
        }
        _ => return None,
    }
    Some(())
}

/// Returns the texts of a list, if it consists of texts only.
fn paths(tokens: &[Token], name: &str) -> Option<Vec<String>> {
    let mut paths = Vec::new();
    for token in tokens {
        match token {
            Token::Text(text) if !text.contains("#{") => paths.push(text.clone()),
            Token::Words(words) => paths.extend(words.iter().cloned()),
            Token::Sign('(' | ')' | '[' | ']' | ',' | '.' | '+' | '|') => {}
            Token::Name(word) if word == name || LIST_WORDS.contains(&word.as_str()) => {}
            _ => return None,
        }
    }
    (!paths.is_empty()).then_some(paths)
}

/// Takes the keys of a server: `user: "deploy", roles: %w[app db]`. `None`: one is not known; the
/// others are taken.
fn options(host: &mut ReadHost, mut tokens: &[Token]) -> Option<()> {
    let mut known = Some(());
    while let [Token::Name(key) | Token::Text(key), rest @ ..] = tokens {
        let end = end_of_value(rest);
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

/// Returns the number of tokens before the comma that ends a value.
fn end_of_value(tokens: &[Token]) -> usize {
    let mut depth = 0_i32;
    let ends = |token: &Token| {
        depth += match token {
            Token::Sign('(' | '[' | '{') => 1,
            Token::Sign(')' | ']' | '}') => -1,
            _ => 0,
        };
        depth == 0 && *token == Token::Sign(',')
    };
    tokens.iter().position(ends).unwrap_or(tokens.len())
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
