//! The shape of an error, and the first line of every way in which a host cannot be reached.

use std::io;
use std::time::Duration;

use insta::assert_snapshot;
use shipit::remote::session::{Exit, SessionError};
use shipit::report::error::{self, Hinted};
use shipit::report::styles::Styles;

fn shown(what: &str, causes: &[String], state: Option<&str>, hint: Option<&str>) -> String {
    error::parts(&Styles::plain(), what, causes, state, hint)
}

#[test]
fn error_may_be_its_first_line_alone() {
    assert_snapshot!(shown("no such stage: `prod`", &[], None, None), @"error: no such stage: `prod`");
}

#[test]
fn error_parts_come_in_order() {
    let causes = ["`tar -x` exited with code 2\ntar: x: No space left on device".to_owned()];
    let state = "web1 still runs 20260821090311; web2 was not changed";
    let hint = "`shipit prune production` frees 1.2 GB";
    let text = shown("web1: could not upload", &causes, Some(state), Some(hint));
    assert_snapshot!(text, @"
    error: web1: could not upload
      cause: `tar -x` exited with code 2
             tar: x: No space left on device
      state: web1 still runs 20260821090311; web2 was not changed
      hint:  `shipit prune production` frees 1.2 GB
    ");
}

#[test]
fn long_cause_is_cut_in_the_middle() {
    let output: Vec<_> = (1..=40).map(|number| format!("line {number}")).collect();
    assert_snapshot!(shown("web1: `migrate` failed", &output, None, None), @"
    error: web1: `migrate` failed
      cause: line 1
             line 2
             … 29 lines …
             line 32
             line 33
             line 34
             line 35
             line 36
             line 37
             line 38
             line 39
             line 40
    ");
}

#[test]
fn long_cause_is_shown_without_frames_of_a_stack() {
    let frames =
        |count: usize| (0..count).map(|number| format!("\tfrom lib/{number}.rb:1:in `call'"));
    let last = ["Main process exited", "Scheduled restart job"].map(str::to_owned);
    let before = ["the journal since the restart:", "config.ru:1: broken"].map(str::to_owned);
    let output: Vec<_> = before.into_iter().chain(frames(30)).chain(last).collect();
    assert_snapshot!(shown("web1: todo.service did not stay up", &output, None, None), @"
    error: web1: todo.service did not stay up
      cause: the journal since the restart:
             config.ru:1: broken
             … 30 lines …
             Main process exited
             Scheduled restart job
    ");
}

#[test]
fn errors_pass_no_control_sequences() {
    let causes = ["\u{1b}[2J\u{1b}]0;owned\u{7}gone".to_owned()];
    assert_snapshot!(shown("web1: \u{1b}[31mred", &causes, None, Some("\u{9b}1mtype this")), @"
    error: web1: red
      cause: gone
      hint:  type this
    ");
}

#[derive(Debug, thiserror::Error)]
#[error("could not read deploy.toml")]
struct Outer {
    #[source]
    source: io::Error,
}

impl Hinted for Outer {
    fn hint(&self) -> Option<String> {
        Some("`shipit init` writes one".to_owned())
    }
}

#[test]
fn error_shows_its_sources_and_its_hint() {
    let outer = Outer { source: io::Error::other("permission denied") };
    assert_snapshot!(error::text(&Styles::plain(), &outer), @"
    error: could not read deploy.toml
      cause: permission denied
      hint:  `shipit init` writes one
    ");
}

fn every_session_error() -> Vec<SessionError> {
    let address = || "web1:22".to_owned();
    let lost = || SessionError::Lost { reason: "reset by peer".to_owned() };
    let reason = || "it said no".to_owned();
    let name = || "web1".to_owned();
    let fingerprint = || "SHA256:abc".into();
    vec![
        SessionError::Unreachable {
            address: address(),
            source: io::Error::other("refused"),
            by_hand: name().into(),
        },
        SessionError::Timeout {
            what: "logging in".to_owned(),
            after: Duration::from_secs(10),
            hint: None,
        },
        SessionError::Handshake { address: address(), reason: reason() },
        SessionError::HostKeyUnknown {
            name: name(),
            kind: "ssh-ed25519".to_owned(),
            fingerprint: fingerprint(),
            files: Vec::new(),
            other: None,
            by_hand: name().into(),
        },
        SessionError::HostKeyChanged {
            name: name(),
            kind: "ssh-ed25519".to_owned(),
            fingerprint: fingerprint(),
            file: "known_hosts".into(),
            line: 31,
            by_hand: name().into(),
        },
        SessionError::HostKeyNotPinned {
            name: name(),
            kind: "ssh-ed25519".to_owned(),
            fingerprint: "SHA256:shown".into(),
            pinned: "SHA256:pinned".to_owned(),
        },
        SessionError::HostKeyRevoked {
            name: name(),
            fingerprint: fingerprint(),
            file: "known_hosts".into(),
            line: Some(3),
        },
        SessionError::HostCertificate { name: name(), reason: "expired".to_owned() },
        SessionError::Auth {
            user: "deploy".to_owned(),
            address: address(),
            tried: Vec::new(),
            by_hand: name().into(),
        },
        SessionError::Setting { setting: "ProxyJump x".to_owned(), reason: reason() },
        SessionError::Unsupported { setting: "BindInterface x".to_owned(), reason: reason() },
        SessionError::Jump { hop: "gate".to_owned(), source: Box::new(lost()) },
        SessionError::ChannelRefused { reason: reason() },
        SessionError::DialRefused { address: address(), reason: reason(), forbidden: true },
        lost(),
    ]
}

#[test]
fn connection_failures_read_well() {
    let errors = every_session_error();
    let lines: Vec<_> = errors
        .iter()
        .map(|error| {
            let chain = [vec![error.to_string()], error::causes(error)].concat();
            chain.join(" <- ")
        })
        .collect();
    assert_snapshot!(lines.join("\n"), @"
    could not connect to web1:22 <- refused
    logging in took longer than 10s
    the SSH handshake with web1:22 failed: it said no
    the host key is not known
    the host key is not the one on record
    the host key is not the one pinned in the config
    the host key is revoked
    the host certificate is not valid: expired
    no key was accepted for deploy@web1:22
    ProxyJump x cannot be used: it said no
    BindInterface x cannot be used: it said no
    could not connect through the jump host gate <- the connection was lost
    the server refused a channel: it said no
    the server would not connect to web1:22: it said no
    the connection was lost
    ");
}

#[test]
fn long_lines_wrap_aligned_and_break_no_command() {
    let styles = Styles { width: Some(60), ..Styles::plain() };
    let hint = "one host at a time: `shipit rollback production --hosts web1`; or deploy, which brings all hosts to one release";
    let cause = ["what the program said before it ended was longer than one row".to_owned()];
    let what = "web1: there is no earlier good release that all hosts have, so none is chosen";
    let said = error::parts(&styles, what, &cause, Some("nothing was changed"), Some(hint));
    assert_snapshot!(said, @"
    error: web1: there is no earlier good release that all
             hosts have, so none is chosen
      cause: what the program said before it ended was longer
             than one row
      state: nothing was changed
      hint:  one host at a time:
             `shipit rollback production --hosts web1`; or
             deploy, which brings all hosts to one release
    ");
}

#[test]
fn run_ended_by_unlock_names_who_ended_it() {
    let told = Exit::Code(143).to_string();
    assert_eq!(told, "was ended on the host by SIGTERM, as `shipit unlock` does");
    assert_eq!(Exit::Code(1).to_string(), "exited with code 1");
}
