//! The answers of sudo about `systemctl`. `sudo -n -l COMMAND` tells whether a rule allows the
//! command, but says yes even if the rule that counts wants a password. That rule is the last one
//! in `sudo -n -l` that matches.

use std::collections::BTreeMap;

/// The answers of a host's sudo.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sudo {
    /// Questions, such as `restart todo.service`, each with the refusal of sudo, if any.
    asked: BTreeMap<String, Option<String>>,
    /// The lines of `sudo -n -l`, in their order.
    rules: Vec<String>,
}

/// The reason why `sudo -n` would fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SudoRefusal {
    /// No rule allows it without a password.
    NoRule,
    /// A rule allows it, but a later one that matches too wants a password.
    Password {
        /// The later rule, as sudo lists it.
        rule: String,
    },
    /// It refuses for another reason.
    Says { words: String },
}

impl Sudo {
    /// Reads a line of the agent: `restart todo.service yes`, or `stop todo.service no` and sudo's
    /// own words.
    pub fn read_answer(&mut self, line: &str) {
        let refused = line.split_once(" no ").or(line.strip_suffix(" no").map(|line| (line, "")));
        let (command, refusal) = refused.unwrap_or((line, ""));
        let allowed = line.strip_suffix(" yes");
        let said = allowed.is_none().then(|| refusal.trim().to_owned());
        self.asked.insert(allowed.unwrap_or(command).to_owned(), said);
    }

    /// Reads a line of `sudo -n -l`.
    pub fn read_rule(&mut self, line: &str) {
        self.rules.push(line.trim().to_owned());
    }

    /// Returns why `systemctl COMMAND` would be refused; `None` where it is allowed, or was not
    /// asked about.
    pub fn refusal(&self, command: &str) -> Option<SudoRefusal> {
        match self.asked.get(command)? {
            None => self.password(command).map(|rule| SudoRefusal::Password { rule }),
            Some(words) if words.is_empty() || words.contains("password is required") => {
                Some(SudoRefusal::NoRule)
            }
            Some(words) => Some(SudoRefusal::Says { words: words.clone() }),
        }
    }

    /// Returns the rule that wants a password, if the last one that matches does.
    fn password(&self, command: &str) -> Option<String> {
        if self.rules.iter().any(|line| line.contains("!authenticate")) {
            return None;
        }
        let all = self.rules.iter().flat_map(|line| commands(line));
        let mut matching = all.filter(|one| one.matches(command));
        let last = matching.next_back()?;
        (!last.free).then(|| last.shown())
    }
}

/// One command of a rule.
struct Command<'a> {
    runas: &'a str,
    free: bool,
    text: &'a str,
}

impl Command<'_> {
    /// Returns whether `systemctl ARGUMENTS` is this command, as far as sudo's patterns are
    /// understood.
    fn matches(&self, arguments: &str) -> bool {
        let (path, wanted) = self.text.split_once(' ').unwrap_or((self.text, ""));
        let name = path.rsplit('/').next().unwrap_or_default();
        match self.text {
            "ALL" => true,
            text if text.starts_with('!') => false,
            _ => {
                fits(name.as_bytes(), b"systemctl")
                    && (wanted.is_empty()
                        || fits(wanted.replace('\\', "").as_bytes(), arguments.as_bytes()))
            }
        }
    }

    fn shown(&self) -> String {
        format!("({}) {}", self.runas, self.text)
    }
}

/// Returns the commands of `(root) NOPASSWD: A, B, PASSWD: C` that root may be asked for.
fn commands(line: &str) -> Vec<Command<'_>> {
    let rule = line.strip_prefix('(').and_then(|line| line.split_once(") "));
    let Some((runas, list)) = rule else { return Vec::new() };
    let users = runas.split(':').next().unwrap_or_default();
    if !users.split(',').any(|user| ["root", "ALL", "#0"].contains(&user.trim())) {
        return Vec::new();
    }
    let mut free = false;
    let command = |text| {
        let mut text: &str = text;
        while let Some((tag, rest)) = text.split_once(": ").filter(|(tag, _)| is_tag(tag)) {
            match tag {
                "NOPASSWD" => free = true,
                "PASSWD" => free = false,
                _ => {}
            }
            text = rest;
        }
        Command { runas, free, text: text.trim() }
    };
    list.split(", ").map(command).collect()
}

fn is_tag(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

/// Returns whether `text` matches a pattern of `*` and `?`.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|at| fits(rest, &text[at..])),
        ([b'?', rest @ ..], [_, text @ ..]) => fits(rest, text),
        ([p, rest @ ..], [t, text @ ..]) => p == t && fits(rest, text),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(verb: &str, rules: &[&str], expected: impl Into<Option<SudoRefusal>>) {
        let mut sudo = Sudo::default();
        sudo.read_answer(verb);
        for rule in rules {
            sudo.read_rule(rule);
        }
        assert_eq!(sudo.refusal("restart todo.service"), expected.into());
    }

    fn password(rule: &str) -> SudoRefusal {
        SudoRefusal::Password { rule: rule.to_owned() }
    }

    #[test]
    fn last_matching_rule_decides() {
        let ours = "    (root) NOPASSWD: /usr/bin/systemctl restart todo.service, /usr/bin/id";
        check("restart todo.service yes", &[ours], None);
        check(
            "restart todo.service yes",
            &[ours, "    (ALL : ALL) ALL"],
            password("(ALL : ALL) ALL"),
        );
        check("restart todo.service yes", &["    (ALL : ALL) ALL", ours], None);
        check("restart todo.service yes", &[ours, "    (www-data) ALL"], None);
        check("restart todo.service yes", &[ours, "    (ALL) NOPASSWD: ALL"], None);
        check(
            "restart todo.service yes",
            &[ours, "(root) NOPASSWD: /bin/ls, PASSWD: /bin/systemctl re* *"],
            password("(root) /bin/systemctl re* *"),
        );
        check("restart todo.service yes", &[ours, "(root) SETENV: /usr/bin/systemctl"], {
            password("(root) /usr/bin/systemctl")
        });
        check(
            "restart todo.service yes",
            &[ours, "(root) /usr/bin/systemctl stop todo.service"],
            None,
        );
        check("restart todo.service yes", &["    env_reset, !authenticate", "(ALL) ALL"], None);
        check("restart todo.service yes", &[], None);
        check("stop todo.service no", &[], None);
    }

    #[test]
    fn unit_whose_name_begins_like_the_answer_is_read_whole() {
        let mut sudo = Sudo::default();
        sudo.read_answer("restart node.service no sudo: a password is required");
        sudo.read_answer("stop node.service no");
        sudo.read_answer("start node.service yes");
        assert_eq!(sudo.refusal("restart node.service"), Some(SudoRefusal::NoRule));
        assert_eq!(sudo.refusal("stop node.service"), Some(SudoRefusal::NoRule));
        assert_eq!(sudo.refusal("start node.service"), None);
    }

    #[test]
    fn refusal_keeps_the_words_of_sudo_unless_they_name_no_rule() {
        check("restart todo.service no", &[], Some(SudoRefusal::NoRule));
        check(
            "restart todo.service no sudo: a password is required",
            &[],
            Some(SudoRefusal::NoRule),
        );
        let words = "sudo: sorry, you must have a tty to run sudo".to_owned();
        check(&format!("restart todo.service no {words}"), &[], Some(SudoRefusal::Says { words }));
    }
}
