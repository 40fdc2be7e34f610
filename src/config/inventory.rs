//! Hosts that deploy.toml takes from elsewhere: from a command or a file, as lines or as JSON.
//! Names with a range stand for several hosts.

use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use super::env;

/// A command may take this long to list hosts.
const LIMIT: Duration = Duration::from_mins(1);
/// The most bytes of a list.
const MOST_BYTES: usize = 4 << 20;
/// The most hosts that one name with ranges stands for.
const MOST_IN_RANGE: usize = 1000;

/// One host of a list from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListedHost {
    pub(super) address: String,
    pub(super) user: Option<String>,
    pub(super) port: Option<i64>,
    #[serde(default)]
    pub(super) roles: Vec<String>,
    pub(super) fingerprint: Option<String>,
}

/// An entry of a JSON list: an object, or only the address.
#[derive(Deserialize)]
#[serde(untagged)]
enum JsonHost {
    Address(String),
    // An object is read later, since an untagged one would not say what is wrong with it.
    Object(serde_json::Map<String, serde_json::Value>),
}

impl ListedHost {
    fn at(address: &str) -> Self {
        let address = address.to_owned();
        Self { address, user: None, port: None, roles: Vec::new(), fingerprint: None }
    }
}

/// Returns what a command of deploy.toml prints. It is run by `sh` in `base`, without input.
pub(super) fn printed(command: &str, base: &Path, stage: &str) -> Result<String, String> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(base).env("SHIPIT_STAGE", stage);
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = shell.spawn().map_err(|error| format!("`sh` could not start: {error}"))?;
    let pid = Pid::from_child(&child);
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = receiver.recv_timeout(LIMIT) else {
        let _ = kill_process(pid, Signal::KILL);
        return Err(format!("it took longer than {}s", LIMIT.as_secs()));
    };
    let output = output.map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(ended(&output));
    }
    text(output.stdout)
}

fn ended(output: &Output) -> String {
    let how = format!("it {}", env::ended(output.status));
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().map(str::trim).find(|line| !line.is_empty());
    match last {
        Some(last) => format!("{how}: {}", last.escape_debug()),
        None => how,
    }
}

/// Returns the content of a file of deploy.toml.
pub(super) fn content(path: &Path) -> Result<String, String> {
    text(std::fs::read(path).map_err(|error: io::Error| error.to_string())?)
}

fn text(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.len() > MOST_BYTES {
        return Err(format!("it is longer than {} MiB", MOST_BYTES >> 20));
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
}

/// Returns the hosts in a text: JSON if it begins with a bracket or a brace, else one host a line,
/// as after `ssh`. Blank lines and those that begin with `#` do not count.
pub(super) fn listed(text: &str) -> Result<Vec<ListedHost>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let hosts: Vec<_> = if is_json(text) {
        json(text)?
    } else {
        let lines = text.lines().map(str::trim);
        lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(ListedHost::at)
            .collect()
    };
    if hosts.is_empty() { Err("it lists no host".to_owned()) } else { Ok(hosts) }
}

/// Returns whether the text is JSON. An IPv6 address in brackets is a line.
fn is_json(text: &str) -> bool {
    let mut marks = text.chars().filter(|c| !c.is_whitespace());
    match (marks.next(), marks.next()) {
        (Some('{'), _) => true,
        (Some('['), next) => next.is_none_or(|next| "\"{]".contains(next)),
        _ => false,
    }
}

/// Returns the hosts of a JSON list, or of one object after the other.
fn json(text: &str) -> Result<Vec<ListedHost>, String> {
    let wrong = |error: serde_json::Error| format!("it is no valid JSON: {error}");
    let entries: Vec<JsonHost> = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(wrong)?
    } else {
        let all = serde_json::Deserializer::from_str(text).into_iter();
        all.collect::<Result<_, _>>().map_err(wrong)?
    };
    let host = |(at, entry): (usize, JsonHost)| match entry {
        JsonHost::Address(address) => Ok(ListedHost::at(&address)),
        JsonHost::Object(object) => {
            let host = ListedHost::deserialize(serde_json::Value::Object(object));
            host.map_err(|error| format!("host {} of it: {error}", at + 1))
        }
    };
    entries.into_iter().enumerate().map(host).collect()
}

/// Returns the names that a name with ranges stands for: `web[1:3]` for `web1`, `web2` and `web3`,
/// `web[01:12]` with leading zeros. Returns `None` if a range is none that can be meant.
pub(super) fn expanded(name: &str) -> Option<Vec<String>> {
    let Some(range) = first_range(name) else { return Some(vec![name.to_owned()]) };
    let Range { before, first, last, after } = range;
    let width = if first.starts_with('0') { first.len() } else { 0 };
    let (from, to) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
    if from > to || to - from >= MOST_IN_RANGE || (width > 0 && last.len() != width) {
        return None;
    }
    let rest = expanded(after)?;
    let names = (from..=to)
        .flat_map(|number| rest.iter().map(move |rest| format!("{before}{number:0width$}{rest}")));
    let names: Vec<_> = names.take(MOST_IN_RANGE + 1).collect();
    (names.len() <= MOST_IN_RANGE).then_some(names)
}

/// The first range of a name, and what is around it.
struct Range<'a> {
    before: &'a str,
    first: &'a str,
    last: &'a str,
    after: &'a str,
}

/// Returns the first `[digits:digits]`. No IPv6 address has that form.
fn first_range(name: &str) -> Option<Range<'_>> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.match_indices('[').find_map(|(at, _)| {
        let (inside, after) = name[at + 1..].split_once(']')?;
        let (first, last) = inside.split_once(':')?;
        let found = digits(first) && digits(last);
        found.then_some(Range { before: &name[..at], first, last, after })
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        listed(text).unwrap().into_iter().map(|host| host.address).collect()
    }

    #[test]
    fn lines_and_json_list_the_same_hosts() {
        for text in [
            "web1\n# old: web0\n\n  deploy@web2:2222  \r\n",
            r#"["web1", {"address": "deploy@web2:2222"}]"#,
            "{\"address\": \"web1\"}\n{\"address\": \"deploy@web2:2222\", \"roles\": [\"db\"]}\n",
        ] {
            assert_eq!(names(text), ["web1", "deploy@web2:2222"], "{text}");
        }
        assert_eq!(names("[2001:db8::1]:22\n"), ["[2001:db8::1]:22"], "an address is a line");
    }

    #[test]
    fn list_that_cannot_be_meant_is_refused_with_its_place() {
        for (text, why) in [
            ("", "it lists no host"),
            ("# none\n", "it lists no host"),
            ("[]", "it lists no host"),
            (r#"["web1","#, "no valid JSON: EOF while parsing"),
            (r#"[{"address": "web1", "rolls": ["db"]}]"#, "host 1 of it: unknown field `rolls`"),
            (r#"["web1", {"user": "me"}]"#, "host 2 of it: missing field `address`"),
        ] {
            let error = listed(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn range_stands_for_each_of_its_names() {
        assert_eq!(
            expanded("web[1:3].example.net").unwrap(),
            ["web1.example.net", "web2.example.net", "web3.example.net"]
        );
        assert_eq!(expanded("me@w[08:10]:22").unwrap(), ["me@w08:22", "me@w09:22", "me@w10:22"]);
        assert_eq!(expanded("r[1:2]n[1:2]").unwrap(), ["r1n1", "r1n2", "r2n1", "r2n2"]);
        assert_eq!(expanded("[2001:db8::1]:22").unwrap(), ["[2001:db8::1]:22"]);
        for bad in ["web[3:1]", "web[08:100]", "web[0:99999]", "a[1:100]b[1:100]"] {
            assert_eq!(expanded(bad), None, "{bad}");
        }
    }

    #[test]
    fn command_that_fails_is_told_with_its_last_words() {
        let here = Path::new("/");
        assert_eq!(printed("echo web1", here, "production").unwrap(), "web1\n");
        assert_eq!(printed("echo $SHIPIT_STAGE", here, "production").unwrap(), "production\n");
        let error = printed("echo no such project >&2; exit 3", here, "production").unwrap_err();
        assert_eq!(error, "it exited with code 3: no such project");
    }
}
