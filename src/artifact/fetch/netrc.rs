//! `~/.netrc`: user and password for a server, as curl and git read it.

/// Returns `user:password` for a host: of its own entry, else of `default`.
pub(super) fn login(text: &str, host: &str) -> Option<String> {
    let mut found = None;
    let mut tokens = tokens(text).into_iter().peekable();
    while let Some(word) = tokens.next() {
        let ours = match word.as_str() {
            "machine" => tokens.next().is_some_and(|name| name.eq_ignore_ascii_case(host)),
            "default" => found.is_none(),
            _ => continue,
        };
        let (mut user, mut password) = (None, None);
        while let Some(key) = tokens.next_if(|next| next != "machine" && next != "default") {
            match key.as_str() {
                "login" => user = tokens.next(),
                "password" => password = tokens.next(),
                "account" => _ = tokens.next(),
                _ => {}
            }
        }
        if ours && let Some(password) = password {
            let login = format!("{}:{password}", user.unwrap_or_default());
            found.get_or_insert(login);
        }
    }
    found
}

/// Returns the words of a file, without comments and macros. A word may stand in double quotes.
fn tokens(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut in_macro = false;
    for line in text.lines() {
        if line.trim().is_empty() {
            in_macro = false;
        }
        if in_macro || line.trim_start().starts_with('#') {
            continue;
        }
        let mut rest = line.trim_start();
        while !rest.is_empty() {
            let (word, after) = word(rest);
            rest = after.trim_start();
            if word == "macdef" {
                in_macro = true;
                break;
            }
            all.push(word);
        }
    }
    all
}

/// Returns the first word of a line, and what follows it.
fn word(line: &str) -> (String, &str) {
    let Some(quoted) = line.strip_prefix('"') else {
        let end = line.find(char::is_whitespace).unwrap_or(line.len());
        return (line[..end].to_owned(), &line[end..]);
    };
    let (mut word, mut chars) = (String::new(), quoted.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (word, &quoted[at + 1..]),
            '\\' => word.extend(chars.next().map(|(_, c)| c)),
            c => word.push(c),
        }
    }
    (word, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# machine a.net login no password no\n\
        machine a.net login ada password s3cret\n\
        macdef init\nmachine a.net login no password no\n\n\
        machine B.net\n  login \"gr ace\"\n  password \"p\\\"w #1\"\n\
        machine c.net login only\n\
        default login anyone password anything\nmachine d.net password token\n";

    #[test]
    fn host_has_its_own_login_or_the_default_one() {
        assert_eq!(login(FILE, "a.net").as_deref(), Some("ada:s3cret"));
        assert_eq!(login(FILE, "b.net").as_deref(), Some("gr ace:p\"w #1"));
        assert_eq!(login(FILE, "other.net").as_deref(), Some("anyone:anything"));
        assert_eq!(login("machine a.net login x password y", "b.net"), None);
        assert_eq!(login("machine d.net password token", "d.net").as_deref(), Some(":token"));
        assert_eq!(login("machine a.net", "a.net"), None);
        assert_eq!(login("default", "a.net"), None);
    }
}
