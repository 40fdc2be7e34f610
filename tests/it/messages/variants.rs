//! The text of every variant of every error: what, cause and hint as they are printed. A variant
//! that is new does not compile before it is listed here.

use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use globset::Glob;
use insta::assert_snapshot;
use shipit::artifact::{
    ArtifactError, CredentialFault, LimitHit, Malformed, Offender, Refusal, Refused, ServerSaid,
    SignatureFault,
};
use shipit::config::dotenv::{DotenvError, DotenvFault};
use shipit::config::env::{EnvError, Missing};
use shipit::config::env_format::Unwritable;
use shipit::config::error::{ConfigError, ConfigPlace};
use shipit::config::gather::{GatherError, OF_ARTIFACT, OF_CHECK};
use shipit::deploy::health::ProofError;
use shipit::deploy::outcome::Failure;
use shipit::deploy::plan::{PlanError, WhyNotStaged, rollback_target};
use shipit::model::digest::Digest;
use shipit::model::host_state::{Current, HostState};
use shipit::model::layout::Layout;
use shipit::model::ledger::{Newer, ReleaseStatus};
use shipit::model::service::Proof;
use shipit::model::sudo::SudoRefusal;
use shipit::remote::error::AgentError;
use shipit::remote::session::{BY_SETTING, SessionError};
use shipit::report::error;
use shipit::report::styles::Styles;
use zip::result::ZipError;

use crate::support::ledgers::{lines, looked};
use crate::support::reports::{NEW, OLD, id};

/// One value of each variant.
macro_rules! every {
    ($enum:ident { $($variant:ident $fields:tt)* }) => {{
        let _all_are_listed = |value: &$enum| match value { $($enum::$variant { .. })|* => {} };
        [$($enum::$variant $fields),*]
    }};
}

fn shown(what: &str, causes: &[String], hint: Option<&str>) -> String {
    error::parts(&Styles::plain(), what, causes, None, hint)
}

fn failed(failure: impl Into<Failure>) -> String {
    let failure = failure.into();
    shown(&failure.what, &failure.cause, failure.hint.as_deref())
}

fn refused<E: std::error::Error>(error: &E, hint: fn(&E) -> Option<String>) -> String {
    shown(&error.to_string(), &error::causes(error), hint(error).as_deref())
}

fn denied() -> io::Error {
    io::Error::other("permission denied")
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn bad_glob() -> globset::Error {
    Glob::new("a[").unwrap_err()
}

fn key_unknown(name: &str, by_hand: &str) -> SessionError {
    SessionError::HostKeyUnknown {
        name: text(name),
        kind: text("ssh-ed25519"),
        fingerprint: "SHA256:shown".into(),
        files: vec!["known_hosts".into(), "/etc/ssh/ssh_known_hosts".into()],
        other: None,
        by_hand: by_hand.into(),
    }
}

fn session_errors() -> Vec<SessionError> {
    let lost = || SessionError::Lost { reason: text("reset by peer") };
    let unknown = || key_unknown("[web1]:2222", "ssh -p 2222 web1");
    let errors = every!(SessionError {
        Unreachable { address: text("web1:22"), source: denied(), by_hand: "ssh -F own web1".into() }
        Timeout { what: text("logging in"), after: Duration::from_secs(10), hint: Some(BY_SETTING) }
        Handshake { address: text("web1:22"), reason: text("no common cipher") }
        HostKeyUnknown {
            name: text("web1"),
            kind: text("ssh-ed25519"),
            fingerprint: "SHA256:shown".into(),
            files: vec!["known_hosts".into()],
            other: Some(Box::new((PathBuf::from("known_hosts"), 7))),
            by_hand: "ssh web1".into()
        }
        HostKeyChanged {
            name: text("web1"),
            kind: text("ssh-ed25519"),
            fingerprint: "SHA256:shown".into(),
            file: "known_hosts".into(),
            line: 31,
            by_hand: "ssh web1".into()
        }
        HostKeyNotPinned {
            name: text("web1"),
            kind: text("ssh-ed25519"),
            fingerprint: "SHA256:shown".into(),
            pinned: text("SHA256:pinned")
        }
        HostKeyRevoked {
            name: text("web1"),
            fingerprint: "SHA256:shown".into(),
            file: "known_hosts".into(),
            line: Some(3)
        }
        HostCertificate { name: text("web1"), reason: text("expired") }
        Auth {
            user: text("deploy"),
            address: text("[2001:db8::1]:2222"),
            tried: vec![text("key file id_ed25519: refused"), text("the agent has no key")],
            by_hand: "ssh -i id_ed25519 -p 2222 deploy@2001:db8::1".into()
        }
        Setting { setting: text("ProxyJump x"), reason: text("no such host") }
        Unsupported { setting: text("BindInterface wg0"), reason: text("it is not supported") }
        Jump { hop: text("gate"), source: Box::new(lost()) }
        ChannelRefused { reason: text("open failed") }
        DialRefused { address: text("127.0.0.1:8080"), reason: text("refused"), forbidden: true }
        CannotAct { user: text("app"), words: text("sudo: a password is required") }
        Lost { reason: text("reset by peer") }
    });
    let closed = SessionError::DialRefused {
        address: text("127.0.0.1:8080"),
        reason: text("refused"),
        forbidden: false,
    };
    let behind = SessionError::Jump { hop: text("gate"), source: Box::new(unknown()) };
    errors.into_iter().chain([unknown(), closed, behind]).collect()
}

#[test]
fn connection_errors_read_well() {
    let told = session_errors().into_iter().map(failed);
    assert_snapshot!(told.collect::<String>(), @r#"
    error: could not connect to web1:22
      cause: permission denied
      hint:  `ssh -v -F own web1 true` shows how far it gets
    error: logging in took longer than 10s
      hint:  `connect_timeout` in [ssh] says how long it may take
    error: the SSH handshake with web1:22 failed: no common cipher
    error: the host key is not known
      cause: web1 shows the ssh-ed25519 key SHA256:shown
             it is not in known_hosts
             known_hosts line 7 has a key of another type
      hint:  compare the fingerprint with the host's own, then connect once by hand: `ssh web1 true`
    error: the host key is not the one on record
      cause: known_hosts line 31 has a different ssh-ed25519 key for web1
             the host shows SHA256:shown
      hint:  if the host was rebuilt, run `ssh-keygen -R 'web1' -f 'known_hosts'` and connect once by hand: `ssh web1 true`
    error: the host key is not the one pinned in the config
      cause: the host shows the ssh-ed25519 key SHA256:shown
             the config has SHA256:pinned
      hint:  if the host was rebuilt, compare the fingerprint with the host's own, then change `fingerprint` in the config
    error: the host key is revoked
      cause: known_hosts line 3 revokes SHA256:shown
      hint:  do not use this host before its owner has given it a new key
    error: the host certificate is not valid: expired
      hint:  ask whoever runs the authority for a new host certificate
    error: no key was accepted for deploy@[2001:db8::1]:2222
      cause: key file id_ed25519: refused
             the agent has no key
      hint:  `ssh -i id_ed25519 -p 2222 deploy@2001:db8::1 true` shows which key works
    error: ProxyJump x cannot be used: no such host
    error: BindInterface wg0 cannot be used: it is not supported
      hint:  `transport = "openssh"` in [ssh]: the program `ssh` may do it
    error: could not connect through the jump host gate
      cause: the connection was lost
             reset by peer
    error: the server refused a channel: open failed
      hint:  raise `MaxSessions` in the host's sshd_config
    error: the server would not connect to 127.0.0.1:8080: refused
      hint:  `AllowTcpForwarding local` in the host's sshd_config allows it
    error: could not act as app on the host: sudo: a password is required
      hint:  on the host: `echo 'LOGIN ALL=(app) NOPASSWD: ALL' | sudo tee /etc/sudoers.d/shipit`, where LOGIN logs in; or `password` in [sudo]
    error: the connection was lost
      cause: reset by peer
    error: the host key is not known
      cause: [web1]:2222 shows the ssh-ed25519 key SHA256:shown
             it is not in known_hosts, /etc/ssh/ssh_known_hosts
      hint:  compare the fingerprint with the host's own, then connect once by hand: `ssh -p 2222 web1 true`
    error: the server would not connect to 127.0.0.1:8080: refused
      hint:  `ss -ltn` on the host shows what listens
    error: could not connect through the jump host gate
      cause: the host key is not known
             [web1]:2222 shows the ssh-ed25519 key SHA256:shown
             it is not in known_hosts, /etc/ssh/ssh_known_hosts
      hint:  compare the fingerprint with the host's own, then connect once by hand: `ssh -p 2222 web1 true`
    "#);
}

#[test]
fn agent_errors_read_well() {
    let errors = every!(AgentError {
        Session { source: SessionError::ChannelRefused { reason: text("open failed") } }
        NoGreeting { said: text("This account is currently not available.") }
        Lost { reason: text("reset by peer") }
        Silent { after: Duration::from_secs(15) }
        Unheard { after: Duration::from_secs(45), said: text("fish: Unknown command: hold") }
        Garbled { reason: text("a length that is no number") }
        Upload { how: text("exited with code 2"), said: text("tar: x: No space left on device") }
        Unread { how: text("it exited with code 1"), said: text("cat: ./a: Permission denied") }
        Spool { source: denied() }
    });
    assert_snapshot!(errors.map(failed).concat(), @"
    error: the conversation with the host could not begin
      cause: the server refused a channel: open failed
      hint:  raise `MaxSessions` in the host's sshd_config
    error: the host did not run our script
      cause: This account is currently not available.
      hint:  the login shell must be a POSIX shell, zsh or fish, and /bin/sh must be there: `chsh -s /bin/sh` on the host; no startup file (.bashrc) or ForceCommand may end it
    error: the connection was lost
      cause: reset by peer
    error: no answer within 15s
    error: the host did not start our script within 45s
      cause: fish: Unknown command: hold
      hint:  what a login runs first (startup files, ForceCommand) must neither read its input nor replace the shell
    error: invalid response from the host: a length that is no number
    error: the host could not unpack what was sent: exited with code 2
      cause: tar: x: No space left on device
      hint:  `shipit prune` deletes old releases
    error: the host could not send files of the release: it exited with code 1
      cause: cat: ./a: Permission denied
    error: the packed release could not be read
      cause: permission denied
    ");
}

fn plan_errors() -> Vec<PlanError> {
    let layout = Layout::new("/srv/todo");
    let errors = every!(PlanError {
        CurrentNotALink { path: text("/srv/todo/current") }
        Unfit { what: vec![text("tar is not installed"), text("find is not installed")], fix: None }
        NoUnit { unit: text("tudo.service"), load: text("not-found") }
        NoUnitFile { file: text("deploy/todo.service") }
        NoImage { image: text("todo") }
        NoSudo { user: text("ada"), command: text("systemctl restart todo.service"), refusal: SudoRefusal::NoRule }
        NoSpace { need: 5_000_000, free: 1_000_000 }
        NoInodes { need: 700, free: 12 }
        EnvInArtifact { file: text(".env") }
        NoValue { name: "revision", id: None }
        LinkInside { path: text("app/key"), at: text("app"), kind: "file" }
        Newer(Newer {
            what: text(".shipit/format"),
            version: text("2"),
            tool: Some(text("shipit 0.9.0")),
        })
        Doubtful { layout: layout.clone(), unreadable: Vec::new(), unknown: vec![OLD.to_owned()] }
        Ahead { id: id(NEW), layout, live: false }
        OtherApp { there: text("shop"), app: text("todo") }
        NotThere { id: id(NEW), candidates: vec![id(OLD)] }
        NotLive { was: id(OLD) }
        Unfinished { id: id(NEW) }
        NotStaged { id: id(NEW), why: WhyNotStaged::Absent }
    });
    errors.into()
}

#[test]
fn plans() {
    let errors = plan_errors();
    let all = errors.iter().map(|error| refused(error, |error| Some(error.hint("live"))));
    assert_snapshot!(all.collect::<String>(), @r#"
    error: /srv/todo/current is not a symbolic link, so it cannot be flipped
      hint:  move it away by hand: `mv /srv/todo/current /srv/todo/current.old`, then deploy again
    error: tar is not installed; find is not installed
      hint:  `shipit check live` says how to mend it
    error: systemd says tudo.service is not-found
      hint:  `shipit check live` says how to mend it
    error: the artifact has no file `deploy/todo.service`, which is to be a unit file
      hint:  build it into the artifact, or correct `file` of the service
    error: the artifact is no container image: it holds no manifest.json and no index.json
      hint:  `docker save --output todo.tar todo` writes one, or `podman save`
    error: sudo does not let ada run "systemctl restart todo.service" without a password
      hint:  `shipit check live` says how to mend it
    error: the release needs 5.0 MB, but only 1.0 MB are free
      hint:  `shipit prune live` deletes old releases
    error: the release needs 700 inodes, but only 12 are free
      hint:  `shipit prune live` deletes old releases
    error: the artifact holds `.env`, which [env] would overwrite
      hint:  leave it out with `exclude = ["/.env"]` in [artifact]
    error: a health check names `{revision}`, which is not known of this build
      hint:  a file `REVISION` in the artifact tells its revision; so does git where deploy.toml is in a work tree
    error: `app/key` cannot be linked: the artifact has a file at `app`
      hint:  leave `app` out with `exclude = ["/app"]` in [artifact], or link another path
    error: .shipit/format has version 2, by shipit 0.9.0; this shipit knows version 1
      hint:  use shipit 0.9.0, which wrote it, or a newer one
    error: nothing is pruned here, because the state of some releases is unknown
      hint:  delete by hand what is not needed, for example `rm -rf '/srv/todo/releases/20260821090311' '/srv/todo/.shipit/manifests/20260821090311'`
    error: release 20260822101502 is dated more than a day ahead of this machine's clock and the host's
      hint:  delete it by hand: `rm -rf '/srv/todo/releases/20260822101502' '/srv/todo/.shipit/manifests/20260822101502'`
    error: the live release belongs to the app `shop`, but this is `todo`
      hint:  give each app a `deploy_to` of its own; if the app was renamed, deploy it once with `--force`
    error: release 20260822101502 is not on this host
      hint:  this host could roll back to 20260821090311
    error: 20260821090311, whose config is to change, is not live here any more
      hint:  `shipit status live` shows what is live
    error: release 20260822101502 was never completed here
      hint:  deploy it again
    error: release 20260822101502 cannot be activated: it is not on this host
      hint:  `shipit stage live` stages its build anew
    "#);
}

#[test]
fn plan_errors_hint_at_other_ways() {
    let layout = Layout::new("/srv/todo");
    let errors = [
        PlanError::NoValue { name: "digest", id: Some(id(OLD)) },
        PlanError::NotThere { id: id(NEW), candidates: Vec::new() },
        PlanError::Ahead { id: id(NEW), layout: layout.clone(), live: true },
        PlanError::Doubtful {
            layout: layout.clone(),
            unreadable: vec![7],
            unknown: vec![OLD.to_owned()],
        },
        PlanError::Doubtful {
            layout: layout.clone(),
            unreadable: vec![2, 7, 8, 9, 12, 13],
            unknown: Vec::new(),
        },
        PlanError::Doubtful { layout, unreadable: Vec::new(), unknown: Vec::new() },
    ];
    let all = errors.iter().map(|error| refused(error, |error| Some(error.hint("live"))));
    assert_snapshot!(all.collect::<String>(), @"
    error: a health check names `{digest}`, which is not known of release 20260821090311
      hint:  deploy its build again, or take `{digest}` out of [health] for this rollback
    error: release 20260822101502 is not on this host
      hint:  `shipit releases live` shows what is there
    error: release 20260822101502 is dated more than a day ahead of this machine's clock and the host's
      hint:  make another one live with `shipit rollback live --to ID`, then delete it by hand: `rm -rf '/srv/todo/releases/20260822101502' '/srv/todo/.shipit/manifests/20260822101502'`
    error: nothing is pruned here, because the state of some releases is unknown
      hint:  take line 7, which cannot be read, out of /srv/todo/.shipit/ledger.jsonl by hand
    error: nothing is pruned here, because the state of some releases is unknown
      hint:  take the lines that cannot be read out of /srv/todo/.shipit/ledger.jsonl by hand: 2, 7-9, 12-13
    error: nothing is pruned here, because the state of some releases is unknown
      hint:  deploy once, so that the ledger tells of the live release
    ");
}

#[test]
fn release_that_cannot_be_activated_is_explained() {
    let errors = every!(WhyNotStaged {
        Absent {}
        Was(ReleaseStatus::RolledBack)
        Unfinished {}
        Expired { until: "2026-08-28T09:00:00Z".parse().unwrap() }
        Older { live: id(NEW) }
    });
    let errors = errors.map(|why| PlanError::NotStaged { id: id(OLD), why });
    let all = errors.iter().map(|error| refused(error, |error| Some(error.hint("live"))));
    assert_snapshot!(all.collect::<String>(), @"
    error: release 20260821090311 cannot be activated: it is not on this host
      hint:  `shipit stage live` stages its build anew
    error: release 20260821090311 cannot be activated: its state is `rolled back`
      hint:  `shipit rollback live --to 20260821090311` makes it live again
    error: release 20260821090311 cannot be activated: no `shipit stage` that ended well made it
      hint:  `shipit stage live` stages its build anew
    error: release 20260821090311 cannot be activated: it expired at 2026-08-28 09:00 UTC
      hint:  `shipit stage live` stages its build anew
    error: release 20260821090311 cannot be activated: 20260822101502, which was made later, is live
      hint:  `shipit stage live` stages its build anew
    ");
}

#[test]
fn rollbacks() {
    let live = |id| HostState { current: Current::Release(id), ..HostState::default() };
    let (one, none) = (live(id(NEW)), HostState::default());
    let story =
        ["1 staged", "1 activated", "1 committed", "3 staged", "3 activated", "3 committed"];
    let mut web1 = looked(3, 3, &lines(&story).iter().map(String::as_str).collect::<Vec<_>>());
    web1.present.push("20240101000000".to_owned());
    let web2 = live(web1.live().unwrap());
    let told = [[("web1", &one), ("web2", &none)], [("web1", &web1), ("web2", &web2)]]
        .map(|all| failed(rollback_target(&all, None, "production").unwrap_err()));
    assert_snapshot!(told.concat(), @"
    error: the hosts do not run the same release
      cause: web1 runs 20260822101502
             web2 runs no release of shipit
      hint:  name one with `--to ID`; `shipit releases production` shows them
    error: there is no earlier good release that all hosts have
      cause: web1 could roll back to 20260821090100
             web1 has, left by another tool, so only with `--to`: 20240101000000
             web1 has, unknown to the ledger, so only with `--to`: 20260821090200
             web2 has none that was live and good
      hint:  one host at a time: `shipit rollback production --hosts web1`; or deploy, which brings all hosts to one release
    ");
}

fn status(code: i32) -> ExitStatus {
    Command::new("sh").args(["-c", &format!("exit {code}")]).status().unwrap()
}

fn missing(key: String, variable: &str) -> Missing {
    Missing { key, variable: text(variable), empty: false }
}

#[test]
fn variables_without_a_value_are_named_at_once() {
    let both = [("DB", "DB_URL", true), ("TOKEN", "TOKEN", false)];
    let one = |(key, variable, empty)| Missing { empty, ..missing(text(key), variable) };
    let all = EnvError::Unset { missing: both.map(one).into() };
    let empty = EnvError::Unset { missing: vec![one(both[0])] };
    let told = [all, empty].iter().map(|error| refused(error, EnvError::hint)).collect::<String>();
    assert_snapshot!(told, @"
    error: 2 variables have no value: `DB_URL` (for `DB`) is empty, `TOKEN` (for `TOKEN`) is not set
      hint:  `export DB_URL=… TOKEN=…`, then run this again
    error: `DB` comes from the variable `DB_URL`, which is empty
      hint:  `export DB_URL=…`, then run this again
    ");
}

#[test]
fn env_file_errors_read_well() {
    let key = || text("KEY");
    let errors = every!(EnvError {
        Unset { missing: vec![missing(key(), "PROD_KEY")] }
        Read { key: key(), path: "secrets/key".into(), source: denied() }
        Start { key: key(), source: denied() }
        Failed { key: key(), status: status(3), said: None }
        Timeout { key: key(), after: Duration::from_mins(1) }
        Unwritable { key: key(), reason: Unwritable::Quotes, systemd: true }
        Dotenv {
            from: text(".env.production"),
            error: DotenvError { line: 3, fault: DotenvFault::NotAssigned },
        }
        ReadOnly { key: text("UID") }
    });
    let all = errors.iter().map(|error| refused(error, EnvError::hint));
    assert_snapshot!(all.collect::<String>(), @r#"
    error: `KEY` comes from the variable `PROD_KEY`, which is not set
      hint:  `export PROD_KEY=…`, then run this again
    error: `KEY` comes from the file secrets/key, which could not be read
      cause: permission denied
      hint:  paths are relative to deploy.toml
    error: could not start `sh` for the value of `KEY`
      cause: permission denied
    error: the command for the value of `KEY` exited with code 3
      hint:  run it by hand with `sh -c`, beside deploy.toml
    error: the command for the value of `KEY` took longer than 60s
      hint:  it has no terminal and no input to ask on
    error: the value of `KEY` cannot be written to an environment file: it holds `'` together with one of `"`, `$`, `\` and a backquote
      hint:  in [env]: `format = "systemd"`, if units read the file by EnvironmentFile=; or give `KEY` as base64
    error: .env.production:3: neither `NAME=value` nor a comment
      hint:  write `NAME=value`, or put `#` in front of it
    error: `UID` cannot be set in an environment file: shells reserve it
      hint:  choose another name
    "#);
}

#[test]
fn unwritable_values_read_well() {
    let key = || text("KEY");
    let reasons = every!(Unwritable {
        NotText {}
        Nul {}
        CarriageReturn {}
        Newline {}
        Noncharacter {}
        Quotes {}
        Expansion {}
        Backslashes {}
        TooLong {}
        TooLongForDocker {}
    });
    let unwritable =
        reasons.map(|reason| EnvError::Unwritable { key: key(), reason, systemd: false });
    let told = unwritable.iter().map(|error| refused(error, EnvError::hint));
    assert_snapshot!(told.collect::<String>(), @r#"
    error: the value of `KEY` cannot be written to an environment file: it is not UTF-8 text
      hint:  give `KEY` as base64 and let the program decode it
    error: the value of `KEY` cannot be written to an environment file: it holds a NUL character
      hint:  give `KEY` as base64 and let the program decode it
    error: the value of `KEY` cannot be written to an environment file: it holds a carriage return
      hint:  if it is a text file, `sed 's/\r$//'` makes its lines end as on Unix
    error: the value of `KEY` cannot be written to an environment file: it holds a newline, which `--env-file` cannot read
      hint:  give `KEY` as base64 and let the program decode it
    error: the value of `KEY` cannot be written to an environment file: it holds a code point that is not a character
      hint:  give `KEY` as base64 and let the program decode it
    error: the value of `KEY` cannot be written to an environment file: it holds `'` together with one of `"`, `$`, `\` and a backquote
      hint:  give `KEY` as base64 and let the program decode it
    error: the value of `KEY` cannot be written to an environment file: it holds `${`
      hint:  give `KEY` as base64 and let the program decode it
    error: the value of `KEY` cannot be written to an environment file: it holds `\` at its end or twice in a row
      hint:  give `KEY` as base64 and let the program decode it
    error: the value of `KEY` cannot be written to an environment file: it is longer than 128 KiB
      hint:  put it into a file below `shared/` and link that
    error: the value of `KEY` cannot be written to an environment file: it makes a line longer than 64 KiB, which `--env-file` cannot read
      hint:  put it into a file below `shared/` and link that
    "#);
}

#[test]
fn dotenv_errors_read_well() {
    let key = || text("KEY");
    let faults = every!(DotenvFault {
        NotAssigned {}
        Name {}
        Unclosed { name: key(), quote: '"' }
        Behind { name: key() }
        Hash { name: key() }
        Escape { name: key(), escape: 'd' }
        EscapedQuote { name: key() }
        Unknown { name: key(), of: text("OTHER") }
        Expansion { name: key() }
    });
    let faults = faults.map(|fault| EnvError::Dotenv {
        from: text(".env"),
        error: DotenvError { line: 3, fault },
    });
    let told = faults.iter().map(|error| refused(error, EnvError::hint));
    assert_snapshot!(told.collect::<String>(), @r#"
    error: .env:3: neither `NAME=value` nor a comment
      hint:  write `NAME=value`, or put `#` in front of it
    error: .env:3: a name that is not of letters, digits and `_`, or begins with a digit
      hint:  rename it, or delete the line
    error: .env:3: the value of `KEY` begins with ", and nothing closes it
      hint:  close it, or put the whole value between the other quotes
    error: .env:3: there is text behind the closing quote of `KEY`
      hint:  put the whole value between quotes
    error: .env:3: the value of `KEY` holds `#` with no blank before it
      hint:  put the whole value between quotes
    error: .env:3: the value of `KEY` holds `\d` between double quotes
      hint:  single quotes keep a backslash as it is; `\\` is one too
    error: .env:3: the value of `KEY` holds a backslash before a quote of the kind around it
      hint:  put the value between double quotes
    error: .env:3: the value of `KEY` refers to `OTHER`, which no line before it sets
      hint:  only `${NAME}` of a line before it is expanded; single quotes keep it as it is
    error: .env:3: the value of `KEY` holds `$`, which some libraries expand and others do not
      hint:  only `${NAME}` of a line before it is expanded; single quotes keep it as it is
    "#);
}

#[test]
fn health_check_errors_read_well() {
    let unset = EnvError::Unset { missing: vec![missing(text("Authorization"), "TOKEN")] };
    let errors = every!(GatherError {
        Header { whose: OF_CHECK, source: unset }
        Unsendable { whose: OF_ARTIFACT, name: text("Authorization") }
        Read { path: "ca.pem".into(), source: denied() }
        NoCertificate { path: "ca.pem".into() }
    });
    let told = errors.iter().map(|error| refused(error, GatherError::hint));
    assert_snapshot!(told.collect::<String>(), @"
    error: a health check lacks a header
      cause: `Authorization` comes from the variable `TOKEN`, which is not set
      hint:  `export TOKEN=…`, then run this again
    error: the value of the header `Authorization` of the request for the artifact holds characters that no header may
    error: could not read the certificates in ca.pem
      cause: permission denied
    error: ca.pem holds no certificate in PEM form
      hint:  it begins with `-----BEGIN CERTIFICATE-----`
    ");
}

#[test]
fn unit_findings_read_well() {
    let doubts = every!(ProofError {
        Unseen {}
        NotActive { state: text("failed (exit-code)") }
        WentDown { state: text("failed (exit-code)") }
        Crashing { restarts: 3 }
        StartedAnew {}
        OtherRelease { release: text(OLD), path: format!("/srv/todo/releases/{OLD}") }
        OnlyReloaded {}
        NotStarted { how: "its InvocationID is the same" }
        Weak { proof: None, least: Proof::Seen, seen: Some(text("it is in /opt/old")) }
        NoNextRun {}
    });
    let told = doubts.map(|doubt| failed(doubt.failure("todo.service")));
    assert_snapshot!(told.concat(), @r#"
    error: todo.service could not be looked at
    error: todo.service is not active
      cause: systemd calls it failed (exit-code)
    error: todo.service did not stay up
      cause: systemd calls it failed (exit-code)
    error: todo.service did not stay up
      cause: it ended by itself and systemd restarted it, 3 times so far
    error: todo.service did not stay up
      cause: it was restarted while it was judged
    error: todo.service runs another release
      cause: its main process is in /srv/todo/releases/20260821090311, which belongs to 20260821090311
    error: todo.service may still run what ran before
      cause: a reload keeps its main process, and no process of it is in the release
      hint:  a check with `body` or a `command` can show what it serves; or use `action = "restart"`
    error: todo.service still runs what ran before
      cause: it has not been started since the flip: its InvocationID is the same
    error: todo.service may not run the release
      cause: it is in /opt/old
             it is up, which shows nothing, and `proof` asks for seen
      hint:  let WorkingDirectory= or ExecStart= of todo.service go through `current`, or ask for a weaker `proof`
    error: todo.service has no next run
      cause: systemd calls it active, and knows no time at which it elapses
      hint:  on the host: `systemctl list-timers todo.service`
    "#);
}

fn config_errors() -> Vec<ConfigError> {
    let place = || ConfigPlace::Line { file: "deploy.toml".into(), line: 14, column: 1 };
    let known = || vec![text("production"), text("staging")];
    let file = || ConfigPlace::File("deploy.toml".into());
    let errors = every!(ConfigError {
        Read { path: "deploy.toml".into(), source: io::Error::from(io::ErrorKind::NotFound) }
        Syntax { place: place(), reason: text("expected `=`") }
        UnknownKey {
            place: place(),
            key: text("sok"),
            table: text("in [health]"),
            hint: Some(text("did you mean `soak`?"))
        }
        WrongType {
            place: place(),
            key: text("keep_releases"),
            expected: text("a number"),
            found: text("text")
        }
        Missing { place: file(), key: text("app"), table: text("at the top level") }
        Value { place: place(), key: "deploy_to", value: text(""), must: "an absolute path" }
        NoPlaceholder { place: place(), key: "http", word: text("size") }
        SlotsLack { place: place(), what: "a `unit` with `{slot}`" }
        Glob { place: place(), pattern: text("a["), source: bad_glob() }
        OnlyAtTop { place: place(), key: "app" }
        Both { place: place(), one: "unit", other: "restart" }
        Needs { place: place(), key: "stop", needs: "restart" }
        NoStages { place: file() }
        UnknownStage { place: ConfigPlace::Given("STAGE"), stage: text("prodution"), known: known() }
        WhichStage { place: file(), known: known() }
        NoHosts { place: place(), stage: text("staging") }
        Inventory {
            place: place(),
            origin: text("`./hosts`"),
            reason: text("it exited with code 3: no such project")
        }
        HostTwice { place: place(), name: text("web1") }
        LinksOverlap {
            place: place(),
            path: text("log/old"),
            relation: "lies below",
            other: text("log")
        }
        PathTaken { place: place(), path: text("REVISION"), reason: "shipit writes it" }
        NoSuch {
            place: ConfigPlace::Given("--roles"),
            whose: text("`staging`"),
            what: "role",
            name: text("db"),
            known: vec![text("web")]
        }
        NoService { place: place(), name: text("wbe"), known: vec![text("web")] }
        NobodyLeft { stage: text("staging") }
        NoDigest { place: place() }
        NoScheme { place: place(), scheme: text("gs"), instead: "use another" }
    });
    errors.into()
}

#[test]
fn configurations() {
    let told =
        config_errors().iter().map(|error| refused(error, ConfigError::hint)).collect::<String>();
    assert_snapshot!(told, @r#"
    error: could not read deploy.toml
      cause: entity not found
      hint:  `shipit init` writes one
    error: deploy.toml:14: not valid TOML: expected `=`
    error: deploy.toml:14: unknown key `sok` in [health]
      hint:  did you mean `soak`?
    error: deploy.toml:14: `keep_releases` must be a number, not text
    error: deploy.toml: `app` is missing at the top level
      hint:  `app = "todo"`
    error: deploy.toml:14: `deploy_to` must be an absolute path: ""
    error: deploy.toml:14: `http` holds `{size}`, which is no placeholder
      hint:  there are `{digest}`, `{release}` and `{revision}`, with slots also `{slot}` and `{port}`; in an address, `%7B` and `%7D` are braces
    error: deploy.toml:14: [slots] needs a `unit` with `{slot}`
    error: deploy.toml:14: `exclude` holds a pattern that is not a glob: a[
      cause: error parsing glob 'a[': unclosed character class; missing ']'
    error: deploy.toml:14: `app` belongs at the top of the file, not in a stage
    error: deploy.toml:14: `unit` and `restart` cannot both be given
    error: deploy.toml:14: `stop` needs `restart`
    error: deploy.toml: there is no stage
      hint:  add `[stages.production]` with `hosts = ["web1"]`
    error: STAGE: there is no stage `prodution`
      hint:  did you mean `production`?
    error: deploy.toml: which stage? there are `production` and `staging`
      hint:  name one, or set `default_stage = "production"`
    error: deploy.toml:14: stage `staging` has no hosts
      hint:  add `hosts = ["web1"]` to `[stages.staging]`
    error: deploy.toml:14: the hosts cannot be taken from `./hosts`: it exited with code 3: no such project
    error: deploy.toml:14: host `web1` is listed twice
      hint:  two on one address can be written as `name:22` and `name:2222`
    error: deploy.toml:14: linked path `log/old` lies below linked path `log`
      hint:  leave one of the two out
    error: deploy.toml:14: `REVISION` cannot be used here: shipit writes it
    error: --roles: no host of `staging` has the role `db`
      hint:  the only role is `web`
    error: deploy.toml:14: there is no service `wbe`
      hint:  did you mean `web`?
    error: --hosts and --roles together leave no host of `staging`
      hint:  give one of them
    error: deploy.toml:14: an artifact with an address needs its `sha256`
      hint:  add `sha256 = "…"`, `sha256 = { url = "…" }` or a `signature`
    error: deploy.toml:14: `gs://` addresses are not supported
      hint:  use another
    "#);
}

fn artifact_errors() -> Vec<ArtifactError> {
    let artifact = || text("todo.tar.gz");
    let url = || text("https://example.net/todo.tar.gz");
    let errors = every!(ArtifactError {
        Stopped {}
        Open { path: "dist".into(), source: denied() }
        NotAFile { path: "dist".into() }
        Read { path: "dist/a".into(), source: denied() }
        Walk { path: "dist".into(), source: denied() }
        Scratch { source: denied() }
        WrongDigest { artifact: artifact(), expected: Digest::of(b"a"), found: Digest::of(b"b") }
        DigestOfDirectory { path: "dist".into() }
        Scheme { url: text("ftp://example.net/a") }
        Fetch { url: url(), source: Box::new(ureq::Error::StatusCode(404)) }
        Status { url: url(), status: 404, known: false, source: None }
        Proxy { variable: text("https_proxy") }
        Store { url: text("s3://builds/a"), fault: CredentialFault::WebIdentity }
        Download { url: url(), source: denied() }
        NotAnArchive { artifact: artifact() }
        Unpack { artifact: artifact(), entry: text("`bin/server`"), source: denied() }
        Zip { artifact: text("todo.zip"), source: ZipError::FileNotFound }
        ZipEntry { artifact: text("todo.zip"), entry: text("a"), source: ZipError::FileNotFound }
        Malformed { artifact: artifact(), why: Malformed::CutOff }
        Refused { 0: entries([("bin/a\nb", Refusal::Control)], 0).into() }
        Unread { artifact: artifact(), kind: "a 7z archive" }
        Page { artifact: artifact(), title: Some(text("Sign in")) }
        Unlisted { place: text("SHA256SUMS"), name: artifact() }
        Signature { artifact: artifact(), at: text("a.sig"), source: SignatureFault::Wrong }
        TooMuch { artifact: artifact(), limit: LimitHit::Entries { most: 10 } }
        Exclude { pattern: text("a["), source: bad_glob() }
        ExcludeNegated { pattern: text("!a") }
        Empty { artifact: artifact() }
        NothingLeft { artifact: artifact(), strip: 2 }
        Changed { path: text("bin/server") }
        NotHeld { path: text("bin/server") }
    });
    errors.into()
}

fn told(errors: &[ArtifactError]) -> String {
    errors.iter().map(|error| refused(error, ArtifactError::hint)).collect()
}

#[test]
fn artifacts() {
    let errors = artifact_errors();
    let (elsewhere, inside) = errors.split_at(14);
    assert_snapshot!(told(elsewhere), @r#"
    error: the artifact was not packed to the end
    error: could not open the artifact `dist`
      cause: permission denied
      hint:  build it first, or name another one with `--artifact`
    error: the artifact `dist` is neither a file nor a directory
    error: could not read `dist/a`
      cause: permission denied
    error: could not list the directory `dist`
      cause: permission denied
    error: could not write to a temporary file
      cause: permission denied
      hint:  `TMPDIR` names another place for them
    error: todo.tar.gz has the SHA-256 3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d, not ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb
      hint:  if the new content is meant, put its digest into `sha256`; `sha256sum` prints it
    error: neither `sha256` nor `signature` can be checked for the directory `dist`
      hint:  leave them out, or deploy an archive of it
    error: an artifact's address begins with https://, s3:// or file://: ftp://example.net/a
    error: could not fetch https://example.net/todo.tar.gz
      cause: http status: 404
    error: could not fetch https://example.net/todo.tar.gz: the server answered with status 404
      hint:  if it is private, `headers` in [artifact] can hold a token, or ~/.netrc a login
    error: the proxy in `https_proxy` is not an address
      hint:  `export https_proxy=http://HOST:PORT`
    error: could not fetch s3://builds/a
      cause: `AWS_WEB_IDENTITY_TOKEN_FILE` gives credentials in a way that shipit does not follow
      hint:  `eval "$(aws configure export-credentials --format env)"`, then run this again
    error: the download of https://example.net/todo.tar.gz broke off
      cause: permission denied
    "#);
    inside_of_artifacts(inside);
}

fn inside_of_artifacts(errors: &[ArtifactError]) {
    assert_snapshot!(told(errors), @r#"
    error: todo.tar.gz is named like an archive, but cannot be read as one
      hint:  `file todo.tar.gz` says what it is
    error: could not unpack todo.tar.gz, after `bin/server`
      cause: permission denied
    error: could not read the zip archive todo.zip
      cause: specified file not found in archive
    error: could not unpack `a` of todo.zip
      cause: specified file not found in archive
    error: todo.tar.gz is cut off: it has no end-of-archive mark
    error: `bin/a\nb` in todo.tar has a control character in its name
      hint:  rename it
    error: todo.tar.gz is a 7z archive, which shipit cannot read
      hint:  pack it as .zip, .tar or .tar.gz (.zst, .xz, .bz2); to deploy the file as it is, name a directory that holds it
    error: todo.tar.gz is a page of HTML, not the file that was meant: "Sign in"
      hint:  open it: servers send such a page to ask for a login or report an error
    error: SHA256SUMS holds no SHA-256 of todo.tar.gz
      hint:  `sha256sum todo.tar.gz` makes such a file
    error: the signature of todo.tar.gz is not good
      cause: the file is not what was signed
      hint:  sign it again where it is built, and publish it together with a.sig
    error: todo.tar.gz has more than 10 entries
    error: the exclude pattern `a[` cannot be read
      cause: error parsing glob 'a[': unclosed character class; missing ']'
    error: the exclude pattern `!a` begins with `!`, which is not supported
      hint:  list what to leave out instead of what to keep
    error: todo.tar.gz is empty
      hint:  build it first
    error: `strip_components = 2` and `exclude` leave nothing of todo.tar.gz
      hint:  count the leading directories with `tar -tf` or `unzip -l`
    error: `bin/server` changed while it was being read
      hint:  deploy again when the build has finished
    error: `bin/server` is not a file of the artifact
    "#);
}

#[test]
fn stores_that_cannot_be_asked() {
    let (config, credentials) = (text("~/.aws/config"), text("~/.aws/credentials"));
    let stores = every!(CredentialFault {
        None { looked: text("`AWS_ACCESS_KEY_ID` is not set") }
        Half { set: text("A"), unset: text("B") }
        NoProfile { profile: text("ci"), config, credentials }
        Elsewhere { profile: text("ci"), key: text("sso_session") }
        WebIdentity {}
        Metadata { address: text("http://169.254.170.2/x"), reason: text("HTTP 500") }
        PlainEndpoint { endpoint: text("http://minio:9000") }
    });
    let stores = stores.map(|fault| ArtifactError::Store { url: text("s3://builds/a"), fault });
    assert_snapshot!(told(&stores), @r#"
    error: could not fetch s3://builds/a
      cause: no credentials were found: `AWS_ACCESS_KEY_ID` is not set
      hint:  `export AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=…`, or name a `profile` in [artifact.s3]
    error: could not fetch s3://builds/a
      cause: `A` is set and `B` is not
      hint:  `export B=…`, then run this again
    error: could not fetch s3://builds/a
      cause: neither ~/.aws/config nor ~/.aws/credentials has the profile `ci`
      hint:  `aws configure list-profiles` lists them
    error: could not fetch s3://builds/a
      cause: the profile `ci` has its credentials by `sso_session`, which shipit does not follow
      hint:  `eval "$(aws configure export-credentials --format env --profile ci)"`, then run this again
    error: could not fetch s3://builds/a
      cause: `AWS_WEB_IDENTITY_TOKEN_FILE` gives credentials in a way that shipit does not follow
      hint:  `eval "$(aws configure export-credentials --format env)"`, then run this again
    error: could not fetch s3://builds/a
      cause: http://169.254.170.2/x did not answer as it should: HTTP 500
    error: could not fetch s3://builds/a
      cause: the endpoint http://minio:9000 is neither https:// nor on this machine
      hint:  let it speak TLS, or bring it to this machine: `ssh -L 9000:STORE:9000 …`
    "#);
}

#[test]
fn signatures_that_are_not_good() {
    let signatures = every!(SignatureFault {
        Wrong {}
        OtherKey {}
        NoMinisign {}
        OldForm {}
        Nobody { allowed_signers: text("allowed_signers") }
        Ssh { said: text("key is not permitted for use in signature namespace \"file\"") }
        NoProgram { source: denied() }
        Io { source: denied() }
    });
    let (artifact, at) = (text("todo.tar.gz"), text("todo.tar.gz.sig"));
    let signatures = signatures.map(|source| {
        let (artifact, at) = (artifact.clone(), at.clone());
        ArtifactError::Signature { artifact, at, source }
    });
    assert_snapshot!(told(&signatures), @r#"
    error: the signature of todo.tar.gz is not good
      cause: the file is not what was signed
      hint:  sign it again where it is built, and publish it together with todo.tar.gz.sig
    error: the signature of todo.tar.gz is not good
      cause: it was made with another key than `minisign` in [artifact.signature]
      hint:  if the new signer is meant, put the key into deploy.toml or `allowed_signers`
    error: the signature of todo.tar.gz is not good
      cause: it is no signature of minisign
    error: the signature of todo.tar.gz is not good
      cause: it was made in the old form of minisign, which takes the whole file into memory
      hint:  sign it without `-l`, with minisign 0.10 or later
    error: the signature of todo.tar.gz is not good
      cause: no key in allowed_signers has made it
      hint:  if the new signer is meant, put the key into deploy.toml or `allowed_signers`
    error: the signature of todo.tar.gz is not good
      cause: key is not permitted for use in signature namespace "file"
      hint:  sign it again where it is built, and publish it together with todo.tar.gz.sig
    error: the signature of todo.tar.gz is not good
      cause: `ssh-keygen` could not be run
             permission denied
      hint:  it comes with OpenSSH's client
    error: the signature of todo.tar.gz is not good
      cause: the file could not be read
             permission denied
    "#);
}

#[test]
fn refusals_of_stores() {
    let codes = [
        "SignatureDoesNotMatch: The request signature",
        "ExpiredToken",
        "RequestTimeTooSkewed",
        "NoSuchBucket",
        "NoSuchKey",
        "PermanentRedirect",
        "AccessDenied",
    ];
    let refusals = codes.map(|said| ArtifactError::Status {
        url: text("s3://builds/a"),
        status: 403,
        known: true,
        source: Some(ServerSaid(text(said))),
    });
    assert_snapshot!(told(&refusals), @"
    error: could not fetch s3://builds/a: the server answered with status 403
      cause: SignatureDoesNotMatch: The request signature
      hint:  `AWS_SECRET_ACCESS_KEY` does not belong to `AWS_ACCESS_KEY_ID`, or the profile's to each other
    error: could not fetch s3://builds/a: the server answered with status 403
      cause: ExpiredToken
      hint:  log in again, and give the new `AWS_ACCESS_KEY_ID` and what belongs to it
    error: could not fetch s3://builds/a: the server answered with status 403
      cause: RequestTimeTooSkewed
      hint:  set the clock of this machine: `timedatectl`
    error: could not fetch s3://builds/a: the server answered with status 403
      cause: NoSuchBucket
      hint:  `s3.endpoint` in [artifact] says whose bucket it is
    error: could not fetch s3://builds/a: the server answered with status 403
      cause: NoSuchKey
      hint:  `aws s3 ls` shows what is there; has the build ended?
    error: could not fetch s3://builds/a: the server answered with status 403
      cause: PermanentRedirect
      hint:  `s3.region` in [artifact] names the region of the bucket
    error: could not fetch s3://builds/a: the server answered with status 403
      cause: AccessDenied
      hint:  these credentials need the right `s3:GetObject`
    ");
}

fn entries<const N: usize>(bad: [(&str, Refusal); N], more: usize) -> Refused {
    let offender = |(path, why): (&str, Refusal)| {
        let path = text(path);
        Offender { entry: path.clone(), path: Some(path), why }
    };
    let (artifact, excluded) = (text("todo.tar"), vec![text("*.map")]);
    Refused::new(artifact, false, excluded, bad.map(offender).into(), more)
}

fn refusals() -> Vec<Refusal> {
    let other = || text("b");
    let all = every!(Refusal {
        Absolute {}
        DotDot {}
        NotUtf8 {}
        Control {}
        Backslash {}
        LongName {}
        LongPath {}
        Duplicate {}
        TwoKinds {}
        Case { other: other() }
        BelowLink { link: other() }
        BelowFile { file: other() }
        LinkAbsolute { target: other() }
        LinkLeaves { target: other() }
        LinkNowhere { target: other() }
        LinkCircle { target: other() }
        LinkTarget {}
        LinkArrow {}
        HardLink { target: other() }
        SetId {}
        Device {}
        Fifo {}
        Socket {}
        Sparse {}
        Kind { kind: 'Z' }
        Content {}
        Header {}
        Encrypted {}
        Size {}
    });
    all.into()
}

fn told_refusals() -> String {
    let error = |why| ArtifactError::Refused(entries([("a", why)], 0).into());
    refusals().into_iter().map(|why| refused(&error(why), ArtifactError::hint)).collect()
}

#[test]
fn artifact_entry_errors_read_well() {
    assert_snapshot!(told_refusals(), @r#"
    error: `a` in todo.tar has an absolute path
      hint:  pack names below one directory: `tar -C DIR -cf … .`; or leave it out: `exclude = ["*.map", "/a"]`
    error: `a` in todo.tar has `..` in its path
      hint:  pack names below one directory: `tar -C DIR -cf … .`; or leave it out: `exclude = ["*.map", "/a"]`
    error: `a` in todo.tar has a name that is not UTF-8
      hint:  rename it; of a zip, pack it again with UTF-8 names: `zip -r`, or 7-Zip with `-mcu=on`; or leave it out: `exclude = ["*.map", "/a"]`
    error: `a` in todo.tar has a control character in its name
      hint:  rename it; or leave it out: `exclude = ["*.map", "/a"]`
    error: `a` in todo.tar has a backslash in its path
      hint:  pack it again with `tar -a -cf`, 7-Zip or PowerShell 7: older ones write such names; or leave it out: `exclude = ["*.map", "/a"]`
    error: `a` in todo.tar has a name of more than 255 bytes
      hint:  rename it; or leave it out: `exclude = ["*.map", "/a"]`
    error: `a` in todo.tar has a path of more than 4000 bytes
      hint:  rename it; or leave it out: `exclude = ["*.map", "/a"]`
    error: `a` in todo.tar occurs twice
      hint:  name each path once when you pack: a directory, or what is in it, not both
    error: `a` in todo.tar is a directory and also something else
      hint:  create the archive again: adding to an archive does not remove old entries
    error: `a` in todo.tar differs from `b` only in upper and lower case
      hint:  rename one of them, or allow such names with `case = "any"` in [artifact]; or leave it out: `exclude = ["*.map", "/a"]`
    error: `a` in todo.tar lies below the symbolic link `b`
      hint:  create the archive again: adding to an archive does not remove old entries; or leave it out: `exclude = ["*.map", "/a"]`
    error: `a` in todo.tar lies below `b`, which is a file
      hint:  create the archive again: adding to an archive does not remove old entries; or leave it out: `exclude = ["*.map", "/a"]`
    error: `a` in todo.tar is a link to the absolute path `b`
      hint:  make it relative and inside the build, name it in `linked_dirs`, or pack what it leads to with `tar --dereference`; or leave it out: `exclude = ["*.map", "/a"]`
    error: `a` in todo.tar is a link that leads out of the release: `b`
      hint:  make it relative and inside the build, name it in `linked_dirs`, or pack what it leads to with `tar --dereference`; or leave it out: `exclude = ["*.map", "/a"]`
    error: `a` in todo.tar is a link that leads to nothing here: `b`
      hint:  leave it out: `exclude = ["*.map", "/a"]`
    error: `a` in todo.tar is a link that goes in a circle: `b`
      hint:  leave it out: `exclude = ["*.map", "/a"]`
    error: `a` in todo.tar is a link whose target is not a usable path
      hint:  leave it out: `exclude = ["*.map", "/a"]`
    error: `a` in todo.tar is a link with ` -> ` in its path
      hint:  rename it; or leave it out: `exclude = ["*.map", "/a"]`
    error: `a` in todo.tar is a hard link to `b`, which does not come before it
      hint:  pack the file too, before it; or use `tar --hard-dereference`; or leave it out: `exclude = ["*.map", "/a"]`
    error: `a` in todo.tar has a setuid, setgid or sticky bit
      hint:  take the bit off with `chmod u-s,g-s,-t`; or leave it out: `exclude = ["*.map", "/a"]`
    error: `a` in todo.tar is a device
      hint:  leave it out: `exclude = ["*.map", "/a"]`
    error: `a` in todo.tar is a fifo
      hint:  leave it out: `exclude = ["*.map", "/a"]`
    error: `a` in todo.tar is a socket
      hint:  leave it out: `exclude = ["*.map", "/a"]`
    error: `a` in todo.tar is a sparse file whose list of holes does not fit it
      hint:  pack it without `--sparse` (bsdtar: with `--no-read-sparse`); or leave it out: `exclude = ["*.map", "/a"]`
    error: `a` in todo.tar is of the unknown kind `Z`
      hint:  pack it again with GNU tar, bsdtar or zip; or leave it out: `exclude = ["*.map", "/a"]`
    error: `a` in todo.tar has content but is not a file
      hint:  pack it again with GNU tar, bsdtar or zip
    error: `a` in todo.tar has a damaged header
      hint:  pack it again with GNU tar, bsdtar or zip
    error: `a` in todo.tar is encrypted
      hint:  pack it again without a password; or leave it out: `exclude = ["*.map", "/a"]`
    error: `a` in todo.tar is not as long as the archive says
      hint:  pack it again with GNU tar, bsdtar or zip; or leave it out: `exclude = ["*.map", "/a"]`
    "#);
}

#[test]
fn artifact_errors_read_well() {
    let artifact = || text("todo.tar");
    let wholes = every!(Malformed {
        CutOff {}
        Trailing {}
        Checksum { after: text("`a`") }
        Extended { after: text("`a`") }
    });
    let limits = every!(LimitHit {
        Entries { most: 10 }
        Bytes { most: 1_000 }
        Names { most: 1_000 }
        Steps { most: 1_000 }
        Ratio { most: 1_000 }
    });
    let wholes = wholes.map(|why| ArtifactError::Malformed { artifact: artifact(), why });
    let limits = limits.map(|limit| ArtifactError::TooMuch { artifact: artifact(), limit });
    let all: Vec<ArtifactError> = wholes.into_iter().chain(limits).collect();
    let told = all.iter().map(|error| refused(error, ArtifactError::hint));
    assert_snapshot!(told.collect::<String>(), @"
    error: todo.tar is cut off: it has no end-of-archive mark
    error: todo.tar has something after its end-of-archive mark
    error: todo.tar is damaged: the header after `a` has a wrong checksum
    error: todo.tar is damaged: the extended header after `a` cannot be read
    error: todo.tar has more than 10 entries
    error: todo.tar has more than 1000 bytes
    error: todo.tar has paths and targets of links of more than 1000 bytes in all
    error: todo.tar has symbolic links that take more than 1000 steps to follow
    error: todo.tar grows to more than 1000 times its size when unpacked
    ");
}
