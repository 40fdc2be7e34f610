//! known_hosts, line by line, with `ssh-keygen -F` as the oracle for names.

use std::path::PathBuf;

use insta::assert_snapshot;
use proptest::prelude::*;
use russh::keys::PublicKey;
use shipit::remote::session::SessionError;
use shipit::ssh::known_hosts::{KeyRecord, KnownHosts};
use tempfile::TempDir;

use crate::support::ssh::skipped;
use crate::support::sshd::must;

const ONE: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
const TWO: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";
const OTHER_TYPE: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEvXcQPZKrHSsBxZKJLr9kjUNDkhrdRIDLo0q7PuWxPCMFmmCBNk1PoWZ8pXMWFTvdB21mB7f0kiZt6S6iMC4nA=";

/// Returns the verdict of the known_hosts `text` on the key `ONE` of `name`.
#[track_caller]
fn check(text: &str, name: &str) -> String {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("known_hosts");
    std::fs::write(
        &file,
        text.replace("ONE", ONE).replace("TWO", TWO).replace("ECDSA", OTHER_TYPE),
    )
    .unwrap();
    let known = KnownHosts::read(&[dir.path().join("missing"), file], &[name]).unwrap();
    let key = PublicKey::from_openssh(ONE).unwrap();
    match known.verdict(name, key.key_data()) {
        KeyRecord::Known(place) => format!("known:{}", place.line),
        KeyRecord::Revoked(place) => format!("revoked:{}", place.line),
        KeyRecord::Changed(place) => format!("changed:{}", place.line),
        KeyRecord::OtherType(place) => format!("other type:{}", place.line),
        KeyRecord::Unknown => "unknown".to_owned(),
    }
}

#[test]
fn host_key_verdicts() {
    for (text, name, verdict) in [
        ("", "web", "unknown"),
        ("web ONE", "web", "known:1"),
        ("web ONE a comment\n", "web", "known:1"),
        ("db ONE", "web", "unknown"),
        ("# comment\n\n  \nweb ONE", "web", "known:4"),
        ("web TWO", "web", "changed:1"),
        ("web TWO\nweb ONE", "web", "known:2"),
        ("web ONE\nweb TWO", "web", "known:1"),
        ("web ECDSA", "web", "other type:1"),
        ("web ECDSA\nweb TWO", "web", "changed:2"),
        ("a,web,b ONE", "web", "known:1"),
        ("WEB ONE", "web", "known:1"),
        ("*.example.net ONE", "a.example.net", "known:1"),
        ("*.example.net ONE", "example.net", "unknown"),
        ("w?b ONE", "web", "known:1"),
        ("!web,* ONE", "web", "unknown"),
        ("*,!web ONE", "web", "unknown"),
        ("!db,* ONE", "web", "known:1"),
        ("!db ONE", "web", "unknown"),
        ("[web]:2222 ONE", "[web]:2222", "known:1"),
        ("web ONE", "[web]:2222", "unknown"),
        ("[web]:2222 ONE", "web", "unknown"),
        ("\t web\t \tONE\r\n", "web", "known:1"),
        ("web ONE\r\nweb TWO\r\n", "web", "known:1"),
        ("@revoked * ONE\nweb ONE", "web", "revoked:1"),
        ("web ONE\n@revoked web ONE", "web", "revoked:2"),
        ("@revoked db ONE\nweb ONE", "web", "known:2"),
        ("@revoked * TWO\nweb ONE", "web", "known:2"),
        ("@cert-authority * ONE", "web", "unknown"),
        ("@cert-authority * TWO\nweb ONE", "web", "known:2"),
        ("@something * ONE", "web", "unknown"),
        ("web ssh-ed25519 damaged\nweb ONE", "web", "known:2"),
        ("web ssh-ed25519 damaged", "web", "other type:1"),
        ("web sk-future@example.net AAAA\n", "web", "other type:1"),
        ("web", "web", "unknown"),
        ("|1|damaged ONE", "web", "unknown"),
    ] {
        assert_eq!(check(text, name), verdict, "{text:?} asked for {name}");
    }
}

#[test]
fn unreadable_known_hosts_is_an_error() {
    let dir = TempDir::new().unwrap();
    let error = KnownHosts::read(&[dir.path().to_path_buf()], &["web"]).unwrap_err();
    assert!(matches!(error, SessionError::Setting { .. }), "{error:?}");
}

/// Returns the line numbers that `ssh-keygen -F` finds.
fn oracle(file: &std::path::Path, name: &str) -> Vec<usize> {
    let out = std::process::Command::new("ssh-keygen")
        .args(["-F", name, "-f", file.to_str().unwrap()])
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let lines = text.lines().filter(|line| line.starts_with("# Host "));
    lines.filter_map(|line| line.split("line ").nth(1)?.split(' ').next()?.parse().ok()).collect()
}

fn present() -> bool {
    let found = std::process::Command::new("ssh-keygen").arg("-?").output().is_ok();
    assert!(found || std::env::var_os("SHIPIT_TEST_OPENSSH").is_none(), "ssh-keygen is missing");
    found
}

fn compare(file: &PathBuf, name: &str) {
    let known = KnownHosts::read(std::slice::from_ref(file), &[&name.to_lowercase()]).unwrap();
    let ours: Vec<usize> = known.lookup(name).iter().map(|place| place.line).collect();
    let text = std::fs::read_to_string(file).unwrap();
    assert_eq!(ours, oracle(file, name), "{name} in\n{text}");
}

#[test]
fn hashed_names_match_like_ssh_keygen() {
    if !present() {
        skipped("ssh-keygen is missing");
        return;
    }
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("known_hosts");
    std::fs::write(&file, format!("web,10.0.0.1 {ONE}\n[web]:2222 {TWO}\ndb {ONE}\n")).unwrap();
    must("ssh-keygen", &["-q", "-H", "-f", file.to_str().unwrap()]);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("|1|") && !text.contains("web"), "{text}");
    for name in ["web", "10.0.0.1", "[web]:2222", "db", "other"] {
        compare(&file, name);
    }
    assert_snapshot!(check(&text, "web"), @"known:1");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn name_patterns_match_like_ssh_keygen(
        lines in prop::collection::vec(
            (
                prop::sample::select(vec!["", "@revoked ", "@cert-authority "]),
                prop::collection::vec("!?[aB*?]{1,4}|\\[[ab*]{1,2}\\]:2[2?]", 1..4),
            ),
            1..5,
        ),
        name in "[ab]{1,4}|\\[[ab]{1,2}\\]:2[23]",
    ) {
        if present() {
            let dir = TempDir::new().unwrap();
            let file = dir.path().join("known_hosts");
            let line = |(marker, names): &(&str, Vec<String>)| {
                format!("{marker}{} {ONE}\n", names.join(","))
            };
            let text = lines.iter().map(line).collect::<Vec<_>>().concat();
            std::fs::write(&file, text).unwrap();
            compare(&file, &name);
        }
    }
}
