//! Values of `[env]` that somebody might misread: systemd, a shell and Python's dotenv all see the
//! bytes that were meant.

use std::fmt::Write as _;

use crate::app::{App, Wish};
use crate::hosts::APPS;

/// Names and values, as TOML strings hold them too.
const VALUES: [(&str, &str); 16] = [
    ("EMPTY", ""),
    ("BLANKS", "  both ends  "),
    ("DOLLAR", "$HOME $(id) $$ a$"),
    ("DOUBLE", "she said \"no\""),
    ("SINGLE", "it's"),
    ("SINGLE_MANY", "'it's' # isn't it!"),
    ("BACKSLASH", "a\\b \\n \\\" \\$"),
    ("HASH", "#1 # not a remark"),
    ("SEMICOLON", "; a=b"),
    ("LINES", "one\ntwo\n\n  four"),
    ("TAB", "\tin\tbetween\t"),
    ("BACKQUOTE", "`id`"),
    ("PERCENT", "%h %% %i"),
    ("UNICODE", "naïve 漢字 🦀 \u{a0}"),
    ("EQUALS", "a=b=c=="),
    ("GLOB", "* ? [a] ~ {a,b}"),
];

/// Returns the values that a program sees in this environment, with NUL between them.
fn pairs(environment: &str) -> Vec<(String, String)> {
    let known =
        |name: &str| name.starts_with("ODD") || VALUES.iter().any(|(known, _)| *known == name);
    let all = environment.split('\0').filter_map(|pair| pair.split_once('='));
    let ours = all.filter(|(name, _)| known(name));
    let mut ours: Vec<_> = ours.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    ours.sort();
    ours
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn env_file_readers_agree() {
    let app = App::with(&APPS[..1], "bytes", &Wish::default());
    let mut lines = "[env]\n".to_owned();
    let mut meant = Vec::new();
    for (name, value) in VALUES {
        // JSON's strings are TOML's.
        writeln!(lines, "vars.{name} = {}", serde_json::to_string(value).unwrap()).unwrap();
        meant.push((name.to_owned(), value.to_owned()));
    }
    meant.sort();
    app.edit("[env]\n", &lines);
    app.deploy(&app.tarball("v1", &[])).ends(0);
    let host = APPS[0];
    let systemd = host.root("cat /proc/$(systemctl show --value -p MainPID bytes)/environ");
    assert_eq!(pairs(&systemd), meant, "systemd");
    let shell = "cd /srv/bytes/current && env -i sh -c 'set -a; . ./.env; exec env -0'";
    assert_eq!(pairs(&host.root(shell)), meant, "sh");
    let python = "cd /srv/bytes/current && python3 -c 'import dotenv, sys; \
         [sys.stdout.write(k + \"=\" + v + \"\\0\") for k, v in dotenv.dotenv_values(\".env\").items()]'";
    assert_eq!(pairs(&host.root(python)), meant, "python-dotenv");
}

/// systemd can hold values that the portable form refuses, and a shell reads them alike.
#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn env_file_for_systemd_holds_what_no_portable_one_can() {
    let app = App::with(&APPS[..1], "exact", &Wish::default());
    let odd = ["it's \"both\" $x `y` \\z \\", "${HOME} \\\\", "a\r\nb\r", "\\\"\\$\\`\\'\n\\\n'"];
    let mut text = String::new();
    let mut meant: Vec<_> = VALUES.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    meant.extend(odd.iter().enumerate().map(|(i, value)| (format!("ODD{i}"), (*value).to_owned())));
    meant.sort();
    for (name, value) in &meant {
        writeln!(text, "vars.{name} = {}", serde_json::to_string(value).unwrap()).unwrap();
    }
    app.edit("[env]\n", &format!("[env]\nformat = \"systemd\"\n{text}"));
    app.deploy(&app.tarball("v1", &[])).ends(0);
    let host = APPS[0];
    let systemd = host.root("cat /proc/$(systemctl show --value -p MainPID exact)/environ");
    assert_eq!(pairs(&systemd), meant, "systemd");
    let shell = "cd /srv/exact/current && env -i sh -c 'set -a; . ./.env; exec env -0'";
    assert_eq!(pairs(&host.root(shell)), meant, "sh");
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn env_value_that_readers_differ_on_is_refused_before_any_host() {
    let app = App::with(&APPS[..1], "refused", &Wish::default());
    for value in ["it's \"both\"", "a\r\nb", "${HOME}", "ends in \\", "two \\\\"] {
        let toml = serde_json::to_string(value).unwrap();
        app.edit("[env]\n", &format!("[env]\nvars.BAD = {toml}\n"));
        let run = app.deploy(&app.tarball("v1", &[])).ends(2);
        run.says(&["the value of `BAD` cannot be written", "no host was contacted", "hint:"]);
        app.edit(&format!("vars.BAD = {toml}\n"), "");
    }
    assert_eq!(APPS[0].root("ls -A /srv/refused"), "");
}
