//! OpenSSH as the client: the masters of a run, those of the user, and the choice.

use std::process::Command;
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use shipit::config::{HostKeys, SshTransport};
use shipit::remote::session::{Exit, SessionError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::bytes::random_bytes;
use crate::support::effort::effort;
use crate::support::ssh::{collect, kill_sshd_during_upload, refusal, run, soon, told, write};
use crate::support::sshd::{SshDir, Sshd, UserMaster, must, web};

/// A dir and a server that OpenSSH connects to.
fn over_openssh(more: &str) -> Option<(SshDir, Sshd)> {
    let (mut place, sshd) = web(more)?;
    place.settings.transport = SshTransport::OpenSsh;
    Some((place, sshd))
}

#[tokio::test]
async fn commands_end_as_they_end_over_one_master() {
    let Some((place, sshd)) = over_openssh("") else { return };
    let session = place.session().await;
    assert_snapshot!(run(&*session, "echo a; echo b >&2; exit 7", b"").await.text(), @r#"out="a\n" err="b\n" exited with code 7"#);
    assert_snapshot!(run(&*session, "tr a-z A-Z", b"shout").await.text(), @r#"out="SHOUT" err="" exited with code 0"#);
    assert_snapshot!(run(&*session, "exit 255", b"").await.text(), @r#"out="" err="" exited with code 255"#);
    assert_snapshot!(run(&*session, "kill -KILL $$", b"").await.text(), @r#"out="" err="" ended without an exit code, perhaps by a signal"#);
    let bytes = random_bytes(8 << 20);
    let ran = run(&*session, "cat", &bytes).await;
    assert!(ran.out == bytes && ran.exit == Some(Exit::Code(0)), "{} bytes", ran.out.len());
    let began = Instant::now();
    let ran = run(&*session, "sleep 20 & echo started; exit 4", b"").await;
    assert_snapshot!(ran.text(), @r#"out="started\n" err="" exited with code 4"#);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    soon(session.close()).await;
    sshd.wait_for_logout();
    assert_eq!((sshd.count("Accepted publickey"), sshd.count("Starting session:")), (1, 6));
    assert_eq!(place.user.notices(), "");
}

#[tokio::test]
async fn master_ends_with_its_session_and_leaves_nothing() {
    let Some((mut place, sshd)) = over_openssh("") else { return };
    let runtime = place.path("run");
    std::fs::create_dir(&runtime).unwrap();
    place.env.insert("XDG_RUNTIME_DIR".to_owned(), runtime.to_str().unwrap().to_owned());
    let session = place.session().await;
    let dirs = || std::fs::read_dir(&runtime).unwrap().count();
    assert_eq!(dirs(), 1);
    let further = soon(session.another()).await.unwrap();
    assert_eq!(run(&*further, "echo further", b"").await.out, b"further\n");
    drop((session, further));
    assert_eq!(dirs(), 0);
    sshd.wait_for_logout();
    assert_eq!(sshd.count("Accepted publickey"), 2);
}

#[tokio::test]
async fn sshd_killed_under_a_master_is_lost_at_once() {
    let Some((place, _sshd)) = over_openssh("") else { return };
    let session = place.session().await;
    kill_sshd_during_upload(&*session).await;
    let error = session.exec("true").await.err().unwrap();
    assert!(matches!(error, SessionError::Lost { .. }), "{error:?}");
    assert_eq!(error.details(), ["the other side closed it"]);
}

#[tokio::test]
async fn channels_of_a_master_do_not_wait_for_each_other() {
    let Some((place, sshd)) = over_openssh("MaxSessions 2") else { return };
    let session = place.session().await;
    let endless = session.exec("cat /dev/zero").await.unwrap();
    assert_eq!(run(&*session, "echo hi", b"").await.out, b"hi\n");
    drop(endless.output);
    let first = session.exec("cat").await.unwrap();
    assert_eq!(run(&*session, "echo third", b"").await.out, b"third\n");
    assert_eq!(sshd.count("Accepted publickey"), 2);
    let notice = "the server allows no second channel, so a second connection is made";
    assert_eq!(place.user.notices(), notice);
    drop(first.input);
    assert_eq!(soon(collect(first.output)).await.exit, Some(Exit::Code(0)));
}

#[tokio::test]
async fn tunnels_of_a_master_end_on_each_side_and_say_why_there_is_none() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        stream.write_all(said.to_uppercase().as_bytes()).await.unwrap();
    });
    let Some((place, _sshd)) = over_openssh("") else { return };
    let session = place.session().await;
    let mut tunnel = soon(session.dial("127.0.0.1", port)).await.unwrap();
    tunnel.write_all(b"hello").await.unwrap();
    tunnel.shutdown().await.unwrap();
    let mut answer = String::new();
    soon(tunnel.read_to_string(&mut answer)).await.unwrap();
    assert_eq!(answer, "HELLO");
    let error = soon(session.dial("127.0.0.1", 1)).await.err().unwrap();
    assert!(matches!(error, SessionError::DialRefused { forbidden: false, .. }), "{error:?}");
    let Some((place, _sshd)) = over_openssh("AllowTcpForwarding no") else { return };
    let error = soon(place.session().await.dial("127.0.0.1", 1)).await.err().unwrap();
    assert!(matches!(error, SessionError::DialRefused { forbidden: true, .. }), "{error:?}");
}

/// The error without what differs from run to run.
fn same(place: &SshDir, sshd: &Sshd, error: &SessionError) -> String {
    let print = must("ssh-keygen", &["-lf", place.path("host.pub").to_str().unwrap()]);
    let print = print.split(' ').nth(1).unwrap().to_owned();
    let dir = place.dir.path().to_str().unwrap();
    let lines = [vec![told(error)], error.details()].concat().join("\n");
    let lines = lines.replace(dir, "DIR").replace(&sshd.port.to_string(), "PORT");
    lines.replace(&print, "SHA256:HOST")
}

#[tokio::test]
async fn refused_host_keys_of_openssh_read_like_our_own() {
    let Some((mut place, sshd)) = over_openssh("") else { return };
    let ours = place.text("known_hosts");
    place.keygen("other", &["-t", "ed25519"]);
    let other = ours.replace(&place.text("host.pub"), &place.text("other.pub"));
    place.config(sshd.port, "RevokedHostKeys DIR/revoked");
    let mut said = Vec::new();
    for (known, revoked) in [
        ("", ""),
        (other.as_str(), ""),
        (&format!("{ours}@revoked {ours}"), ""),
        (&ours, place.text("host.pub").as_str()),
    ] {
        write(&place.path("known_hosts"), known);
        write(&place.path("revoked"), revoked);
        let mut both = Vec::new();
        for client in [SshTransport::Builtin, SshTransport::OpenSsh] {
            place.settings.transport = client;
            both.push(same(&place, &sshd, &refusal(place.connect("web").await)));
        }
        assert_eq!(both[0], both[1]);
        said.push(both[1].lines().next().unwrap().to_owned());
    }
    assert_snapshot!(said.join("\n"), @r"
    the host key is not known
    the host key is not the one on record
    the host key is revoked
    the host key is revoked
    ");
}

#[tokio::test]
async fn host_key_settings_of_deploy_toml_hold_over_openssh() {
    let Some((mut place, sshd)) = over_openssh("") else { return };
    let print = must("ssh-keygen", &["-lf", place.path("host.pub").to_str().unwrap()]);
    let print = print.split(' ').nth(1).unwrap().to_owned();
    write(&place.path("known_hosts"), "");
    assert!(place.connect_pinned(&print).await.is_ok());
    let wrong = format!("SHA256:{}", "A".repeat(43));
    let error = refusal(place.connect_pinned(&wrong).await);
    assert!(
        matches!(&error, SessionError::HostKeyNotPinned { fingerprint, .. } if **fingerprint == print),
        "{error:?}"
    );
    assert_eq!((place.text("known_hosts").as_str(), sshd.count("Accepted publickey")), ("", 1));
    place.config(
        sshd.port,
        "StrictHostKeyChecking accept-new\n  NoHostAuthenticationForLocalhost yes",
    );
    place.settings.host_keys = Some(HostKeys::Strict);
    let error = refusal(place.connect("web").await);
    assert!(matches!(error, SessionError::HostKeyUnknown { .. }), "{error:?}");
    place.settings.known_hosts = Some(place.path("own"));
    place.settings.host_keys = Some(HostKeys::AcceptNew);
    place.session().await;
    let file = place.path("own");
    assert_eq!(
        place.user.warnings(),
        format!("new host key {print}, written to {}", file.display())
    );
    assert!(file.exists() && place.text("known_hosts").is_empty());
    place.settings.identity_file = Some(place.path("own_key"));
    let text = told(&refusal(place.connect("web").await));
    assert!(text.contains("OpenSSH would also try IdentityFile"), "{text}");
}

#[tokio::test]
async fn failures_of_openssh_are_told_in_our_words() {
    let Some((mut place, sshd)) = over_openssh("") else { return };
    place.keygen("other", &["-t", "ed25519"]);
    place.trust("other");
    let text = same(&place, &sshd, &refusal(place.connect("web").await));
    assert!(text.starts_with("no key was accepted for"), "{text}");
    assert!(text.contains(": not accepted\n") && text.contains("takes publickey"), "{text}");
    place.config(1, "");
    let text = same(&place, &sshd, &refusal(place.connect("web").await));
    assert!(text.starts_with("could not connect to 127.0.0.1:1\ncause: Connection ref"), "{text}");
    place.config(sshd.port, "Ciphers aes128-cbc");
    let text = same(&place, &sshd, &refusal(place.connect("web").await));
    assert!(text.contains("no matching cipher found. Their offer: "), "{text}");
    place.config(sshd.port, "ProxyCommand sh -c 'echo the road is closed >&2; exit 1'");
    let text = same(&place, &sshd, &refusal(place.connect("web").await));
    assert!(text.ends_with("ProxyCommand says: the road is closed"), "{text}");
    place.settings.connect_timeout = Some(Duration::from_secs(1));
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    place.config(silent.local_addr().unwrap().port(), "");
    let error = refusal(place.connect("web").await);
    assert!(matches!(error, SessionError::Timeout { .. }), "{error:?}");
}

#[tokio::test]
async fn passphrase_for_openssh_comes_from_an_agent_or_a_program() {
    let Some((mut place, _sshd)) = over_openssh("") else { return };
    place.keygen("locked", &["-t", "ed25519", "-N", "sesame"]);
    std::fs::rename(place.path("locked"), place.path("id")).unwrap();
    std::fs::rename(place.path("locked.pub"), place.path("id.pub")).unwrap();
    place.trust("id");
    let text = told(&refusal(place.connect("web").await));
    assert!(text.contains("a key with a passphrase must be in an agent"), "{text}");
    let ask = place.path("ask");
    write(&ask, "#!/bin/sh\necho sesame\n");
    must("chmod", &["700", ask.to_str().unwrap()]);
    place.env.insert("SSH_ASKPASS".to_owned(), ask.to_str().unwrap().to_owned());
    place.env.insert("SSH_ASKPASS_REQUIRE".to_owned(), "force".to_owned());
    assert_eq!(run(&*place.session().await, "echo in", b"").await.out, b"in\n");
}

#[tokio::test]
async fn jump_host_of_openssh_is_named_when_it_fails() {
    let Some((place, web)) = over_openssh("") else { return };
    let hop = Sshd::start(&place, "");
    let config = place.text("config");
    write(
        &place.path("config"),
        &format!("Host web\n  ProxyJump 127.0.0.1:{}\n{config}", hop.port),
    );
    let text = told(&refusal(place.connect("web").await));
    assert_snapshot!(text.lines().take(2).collect::<Vec<_>>().join("\n"), @"
    could not connect through the jump host 127.0.0.1
    cause: the host key is not known
    ");
    place.know(hop.port, "host");
    let session = place.session().await;
    assert_eq!(run(&*session, "echo in", b"").await.out, b"in\n");
    soon(session.close()).await;
    web.wait_for_logout();
    hop.wait_for_logout();
}

#[tokio::test]
async fn living_master_of_the_user_is_ridden_and_stays() {
    let Some((mut place, sshd)) = web("") else { return };
    let master = UserMaster::start(&place, sshd.port);
    let logins = || sshd.count("Accepted publickey");
    for client in [SshTransport::Auto, SshTransport::OpenSsh] {
        place.settings.transport = client;
        let session = place.session().await;
        assert_eq!(run(&*session, "echo in", b"").await.out, b"in\n");
        assert!(soon(session.another()).await.is_err(), "the user logs in, nobody else");
        soon(session.close()).await;
        assert_eq!((logins(), master.ask("check")), (1, true), "{client:?}");
    }
    assert!(place.user.notices().contains("it goes over the ssh that listens at"));
    place.settings.transport = SshTransport::Builtin;
    place.session().await;
    assert_eq!(logins(), 2);
    // The master need not have been made by the keys of deploy.toml.
    place.settings.transport = SshTransport::OpenSsh;
    place.settings.host_keys = Some(HostKeys::Strict);
    place.session().await;
    place.settings.host_keys = None;
    assert_eq!(logins(), 3);
    assert!(master.ask("exit"));
    place.settings.transport = SshTransport::Auto;
    place.session().await;
    assert_eq!(logins(), 4);
}

#[tokio::test]
async fn auto_takes_openssh_where_ssh_config_needs_it_and_says_so_once() {
    let Some((mut place, sshd)) = web("") else { return };
    place.settings.transport = SshTransport::Auto;
    let command = place.path("keys");
    write(&command, &format!("#!/bin/sh\ncat {}\n", place.path("known").display()));
    must("chmod", &["755", command.to_str().unwrap()]);
    std::fs::rename(place.path("known_hosts"), place.path("known")).unwrap();
    write(&place.path("known_hosts"), "");
    place.config(sshd.port, "KnownHostsCommand DIR/keys");
    let session = place.session().await;
    assert_eq!(run(&*session, "echo in", b"").await.out, b"in\n");
    let warned = place.user.warnings().replace(place.dir.path().to_str().unwrap(), "DIR");
    assert_snapshot!(warned, @r#"OpenSSH connects, because ssh_config has KnownHostsCommand DIR/keys (`transport = "openssh"` in [ssh] chooses it without this notice)"#);
    place.settings.transport = SshTransport::Builtin;
    let text = told(&refusal(place.connect("web").await));
    let text = text.replace(place.dir.path().to_str().unwrap(), "DIR");
    assert_snapshot!(text, @r#"
    KnownHostsCommand DIR/keys cannot be used: it is not supported
    hint: `transport = "openssh"` in [ssh]: the program `ssh` may do it
    "#);
}

#[tokio::test]
async fn auto_leaves_a_binary_list_of_revoked_keys_to_openssh() {
    let Some((mut place, sshd)) = web("") else { return };
    place.settings.transport = SshTransport::Auto;
    place.keygen("other", &["-t", "ed25519"]);
    let revoke = |name: &str| {
        let (krl, key) = (place.path("krl"), place.path(name));
        must("ssh-keygen", &["-q", "-k", "-f", krl.to_str().unwrap(), key.to_str().unwrap()]);
    };
    place.config(sshd.port, "RevokedHostKeys DIR/krl");
    revoke("other.pub");
    let session = place.session().await;
    assert_eq!(run(&*session, "echo in", b"").await.out, b"in\n");
    assert!(place.user.warnings().contains("because ssh_config has RevokedHostKeys"));
    revoke("host.pub");
    let error = refusal(place.connect("web").await);
    assert!(matches!(error, SessionError::HostKeyRevoked { line: None, .. }), "{error:?}");
    let file = place.path("krl").display().to_string();
    assert!(error.details()[0].starts_with(&format!("{file} revokes SHA256:")), "{error:?}");
}

/// Tests of behaviour that only the built-in client has.
const BUILTIN_ONLY: [&str; 6] = [
    // A master does not say which signal ended a command.
    "commands_end_as_they_end_over_one_connection",
    // OpenSSH tries its keys over one connection, and asks for passphrases by a program.
    "many_keys_take_several_connections",
    "lower_auth_limit_of_the_server_is_met",
    "passphrase_is_asked_only_if_the_server_wants_the_key",
    // It calls a key of another type a changed one.
    "recorded_key_type_is_asked_for_first",
    // Each channel has a process, so what nobody reads waits in it and the channel is kept.
    "unread_output_blocks_no_other_channel",
];

/// OpenSSH passes the suites of the built-in client: few faults of links, or all suites.
#[test]
fn suites_of_the_wire_of_faults_and_of_trips_hold_over_openssh() {
    let all = ["ssh::openssh::", "ssh::trips::", "faults::links::", "faults::tools::", "load::"];
    let (suites, faults) = match effort(0, 1, 2) {
        0 => return,
        1 => (&all[2..3], "few"),
        _ => (&all[..], "more"),
    };
    let mut tests = Command::new(std::env::current_exe().unwrap());
    tests.args(suites).args(BUILTIN_ONLY.iter().flat_map(|name| ["--skip", name]));
    let tests = tests.env("SHIPIT_TEST_TRANSPORT", "openssh");
    let ran = tests.env("SHIPIT_TEST_FAULTS", faults).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
}
