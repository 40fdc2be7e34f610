//! Against OpenSSH: only sshd has its windows, its limits and its order of things.

use std::time::{Duration, Instant};

use insta::assert_snapshot;
use shipit::config::SshTransport;
use shipit::remote::session::{Channel, Exit, SessionError};
use tokio::io::AsyncWriteExt as _;

use crate::support::health;

use crate::support::bytes::random_bytes;
use crate::support::ssh::{
    collect, kill_sshd_during_upload, refusal, run, skipped, soon, told, whoami, write,
};
use crate::support::sshd::{SshAgent, SshDir, Sshd, must, present, transport, web};
use crate::support::tools::has;

#[tokio::test]
async fn commands_end_as_they_end_over_one_connection() {
    let Some((place, sshd)) = web("") else { return };
    let session = place.session().await;
    assert_snapshot!(run(&*session, "echo a; echo b >&2; exit 7", b"").await.text(), @r#"out="a\n" err="b\n" exited with code 7"#);
    assert_snapshot!(run(&*session, "tr a-z A-Z", b"shout").await.text(), @r#"out="SHOUT" err="" exited with code 0"#);
    assert_snapshot!(run(&*session, "kill -KILL $$", b"").await.text(), @r#"out="" err="" was ended by SIGKILL"#);
    assert_snapshot!(run(&*session, "kill -SEGV $$", b"").await.text(), @r#"out="" err="" was ended by SIGSEGV"#);
    soon(session.close()).await;
    sshd.wait_for("Disconnected from");
    assert_eq!((sshd.count("Accepted publickey"), sshd.count("Starting session:")), (1, 4));
    assert_eq!(sshd.count("Failed none"), 0);
}

#[tokio::test]
async fn key_files_of_all_kinds_work() {
    let Some((place, _sshd)) = web("") else { return };
    for kind in [["ed25519", "256"], ["rsa", "2048"], ["ecdsa", "256"], ["ecdsa", "521"]] {
        let name = kind.join("-");
        place.keygen(&name, &["-t", kind[0], "-b", kind[1]]);
        place.trust(&name);
        std::fs::copy(place.path(&name), place.path("id")).unwrap();
        std::fs::copy(place.path(&format!("{name}.pub")), place.path("id.pub")).unwrap();
        assert_eq!(run(&*place.session().await, "echo in", b"").await.out, b"in\n", "{name}");
    }
}

#[tokio::test]
async fn passphrase_is_asked_only_if_the_server_wants_the_key() {
    let Some((mut place, _sshd)) = web("") else { return };
    place.keygen("locked", &["-t", "ed25519", "-N", "sesame"]);
    std::fs::rename(place.path("locked"), place.path("id")).unwrap();
    std::fs::rename(place.path("locked.pub"), place.path("id.pub")).unwrap();
    let error = refusal(place.connect("web").await);
    assert!(told(&error).contains("not accepted") && place.user.asked() == 0, "{}", told(&error));
    place.trust("id");
    let error = refusal(place.connect("web").await);
    assert!(told(&error).contains("no terminal to ask on"), "{}", told(&error));
    place.user.passphrase = Some("wrong");
    let error = refusal(place.connect("web").await);
    assert!(told(&error).contains("the passphrase was wrong"), "{}", told(&error));
    place.user.passphrase = Some("sesame");
    assert_eq!(run(&*place.session().await, "echo in", b"").await.out, b"in\n");
}

#[tokio::test]
async fn agent_signs_for_a_named_key_and_for_others() {
    let Some((mut place, sshd)) = web("") else { return };
    place.keygen("other", &["-t", "rsa", "-b", "2048"]);
    let _agent = SshAgent::start(&mut place, &["other", "id"]);
    std::fs::remove_file(place.path("id")).unwrap();
    place.session().await;
    assert_eq!(sshd.count("Failed publickey"), 0, "only the named key is offered");
    place.trust("other");
    let error = refusal(place.connect("web").await);
    assert!(told(&error).contains("id"), "{}", told(&error));
    place.config(sshd.port, "IdentitiesOnly no");
    place.session().await;
}

#[tokio::test]
async fn many_keys_take_several_connections() {
    let Some((mut place, sshd)) = web("") else { return };
    let _agent = SshAgent::with_new_keys(&mut place, 8);
    place.trust("k7");
    place.config(sshd.port, "IdentitiesOnly no");
    place.session().await;
    assert_eq!(sshd.count("Accepted publickey"), 1);
    assert_eq!(sshd.count("Too many authentication failures"), 0);
    std::fs::remove_file(place.path("authorized_keys")).unwrap();
    let error = refusal(place.connect("web").await);
    let SessionError::Auth { tried, .. } = &error else { panic!("{error:?}") };
    assert_eq!(tried.len(), 9, "{}", told(&error));
}

#[tokio::test]
async fn lower_auth_limit_of_the_server_is_met() {
    let Some((mut place, sshd)) = web("MaxAuthTries 2") else { return };
    let _agent = SshAgent::with_new_keys(&mut place, 4);
    place.trust("k3");
    place.config(sshd.port, "IdentitiesOnly no");
    place.session().await;
}

#[tokio::test]
async fn user_certificates_work_beside_the_key_and_named() {
    let Some((place, sshd)) = web("TrustedUserCAKeys DIR/ca.pub") else { return };
    place.keygen("ca", &["-t", "ed25519"]);
    write(&place.path("authorized_keys"), "");
    for kind in ["ed25519", "rsa"] {
        let user = whoami();
        place.keygen(kind, &["-t", kind]);
        let (ca, public) = (place.path("ca"), place.path(&format!("{kind}.pub")));
        must(
            "ssh-keygen",
            &["-q", "-s", ca.to_str().unwrap(), "-I", "me", "-n", &user, public.to_str().unwrap()],
        );
        place.config(sshd.port, &format!("IdentityFile DIR/{kind}"));
        assert_eq!(run(&*place.session().await, "echo in", b"").await.out, b"in\n", "{kind}");
        let certificate = place.path(&format!("{kind}-cert.pub"));
        std::fs::rename(&certificate, place.path("named")).unwrap();
        let error = refusal(place.connect("web").await);
        assert!(matches!(error, SessionError::Auth { .. }), "{error:?}");
        let more = format!("IdentityFile DIR/{kind}\n  CertificateFile DIR/named");
        place.config(sshd.port, &more);
        place.session().await;
    }
    assert_eq!(sshd.count("Accepted publickey"), 4);
}

#[tokio::test]
async fn recorded_key_type_is_asked_for_first() {
    let Some(place) = present().then(SshDir::new) else { return };
    place.keygen("rsa", &["-t", "rsa", "-b", "2048"]);
    let sshd = Sshd::start(&place, "HostKey DIR/host\nHostKey DIR/rsa");
    place.config(sshd.port, "");
    place.know(sshd.port, "rsa");
    place.session().await;
    let only = Sshd::start(&place, "");
    place.config(only.port, "StrictHostKeyChecking accept-new");
    place.know(only.port, "rsa");
    let error = refusal(place.connect("web").await);
    assert!(
        matches!(&error, SessionError::HostKeyUnknown { other: Some(place), .. } if place.1 == 2),
        "a key of another type is on record, so this one is not new: {error:?}"
    );
}

#[tokio::test]
async fn host_certificates_are_verified() {
    let Some(place) = present().then(SshDir::new) else { return };
    place.keygen("ca", &["-t", "ed25519"]);
    let certify = |name: &str, args: &[&str]| {
        place.keygen(name, &["-t", "ed25519"]);
        let (ca, public) = (place.path("ca"), place.path(&format!("{name}.pub")));
        let mut all = vec!["-q", "-s", ca.to_str().unwrap(), "-I", name];
        all.extend(args);
        all.push(public.to_str().unwrap());
        must("ssh-keygen", &all);
    };
    let mut answers = Vec::new();
    for (name, args) in [
        ("good", vec!["-h", "-n", "127.0.0.1"]),
        ("named", vec!["-h", "-n", "db.example.net"]),
        ("old", vec!["-h", "-n", "127.0.0.1", "-V", "20200101:20210101"]),
        ("early", vec!["-h", "-n", "127.0.0.1", "-V", "20900101:20910101"]),
        ("nameless", vec!["-h"]),
    ] {
        certify(name, &args);
        let sshd = Sshd::start(
            &place,
            &format!("HostKey DIR/{name}\nHostCertificate DIR/{name}-cert.pub"),
        );
        place.config(sshd.port, "");
        let line = format!("@cert-authority * {}", place.text("ca.pub"));
        write(&place.path("known_hosts"), &line);
        let answer = match place.connect("web").await {
            Ok(_) => "connected".to_owned(),
            Err(error) => error.to_string(),
        };
        answers.push(format!("{name}: {answer}"));
        let revoked = format!("{line}@revoked * {}", place.text("ca.pub"));
        write(&place.path("known_hosts"), &revoked);
        let error = refusal(place.connect("web").await);
        assert!(matches!(error, SessionError::HostKeyRevoked { line: Some(2), .. }), "{error:?}");
    }
    if transport() == SshTransport::OpenSsh {
        return;
    }
    assert_snapshot!(answers.join("\n"), @"
    good: connected
    named: the host certificate is not valid: it is not for 127.0.0.1
    old: the host certificate is not valid: it has expired
    early: the host certificate is not valid: it is not valid yet
    nameless: the host certificate is not valid: it is not for 127.0.0.1
    ");
}

#[tokio::test]
async fn two_jump_hosts_with_their_own_keys_work() {
    let Some((place, web)) = web("") else { return };
    let hops = [Sshd::start(&place, ""), Sshd::start(&place, "")];
    let chain = format!("ProxyJump 127.0.0.1:{},127.0.0.1:{}", hops[0].port, hops[1].port);
    let config = place.text("config");
    write(&place.path("config"), &format!("Host web\n  {chain}\n{config}"));
    place.know(hops[0].port, "host");
    let error = refusal(place.connect("web").await);
    assert_snapshot!(told(&error).lines().take(2).collect::<Vec<_>>().join("\n"), @"
    could not connect through the jump host 127.0.0.1
    cause: the host key is not known
    ");
    place.know(hops[1].port, "host");
    let session = place.session().await;
    let bytes = random_bytes(4 << 20);
    assert!(run(&*session, "cat", &bytes).await.out == bytes);
    assert_eq!([&web, &hops[0], &hops[1]].map(|s| s.count("Accepted publickey")), [1, 2, 1]);
    soon(session.close()).await;
    web.wait_for_logout();
}

#[tokio::test]
async fn proxy_command_connects_and_explains_failure() {
    let Some((place, sshd)) = web("") else { return };
    let hop = Sshd::start(&place, "");
    place.know(hop.port, "host");
    let through = |port: u16| {
        format!("ssh -F DIR/hop -p {port} -o BatchMode=yes -W %h:%p 127.0.0.1")
            .replace("DIR", place.dir.path().to_str().unwrap())
    };
    place.config(sshd.port, "");
    write(&place.path("hop"), &place.text("config"));
    place.config(sshd.port, &format!("ProxyCommand {}", through(hop.port)));
    let session = place.session().await;
    assert_eq!(run(&*session, "echo in", b"").await.out, b"in\n");
    place.config(sshd.port, "ProxyCommand sh -c 'echo the road is closed >&2; exit 1'");
    let error = refusal(place.connect("web").await);
    assert!(told(&error).ends_with("ProxyCommand says: the road is closed"), "{}", told(&error));
}

#[tokio::test]
async fn ipv6_addresses_work() {
    if std::net::TcpListener::bind("[::1]:0").is_err() || !present() {
        skipped("no IPv6 or no sshd here");
        return;
    }
    let place = SshDir::new();
    let sshd = Sshd::start_on(&place, "::1", "");
    place.config(sshd.port, "");
    let config = place.text("config").replace("HostName 127.0.0.1", "HostName ::1");
    write(&place.path("config"), &config);
    write(&place.path("known_hosts"), &format!("[::1]:{} {}", sshd.port, place.text("host.pub")));
    assert_eq!(run(&*place.session().await, "echo six", b"").await.out, b"six\n");
}

#[tokio::test]
async fn max_sessions_1_opens_a_second_connection() {
    let Some((place, sshd)) = web("MaxSessions 1") else { return };
    let session = place.session().await;
    let first = session.exec("cat").await.unwrap();
    assert_eq!(run(&*session, "echo second", b"").await.out, b"second\n");
    assert_eq!(sshd.count("Accepted publickey"), 2);
    assert_eq!(
        place.user.notices(),
        "the server allows no second channel, so a second connection is made"
    );
    drop(first.input);
    assert_eq!(soon(collect(first.output)).await.exit, Some(Exit::Code(0)));
}

#[tokio::test]
async fn bursts_within_max_sessions_use_one_connection() {
    let Some((place, sshd)) = web("") else { return };
    let session = place.session().await;
    for _ in 0..5 {
        let burst = (0..10).map(|_| run(&*session, "echo hi", b""));
        for ran in futures::future::join_all(burst).await {
            assert_eq!(ran.text(), r#"out="hi\n" err="" exited with code 0"#);
        }
    }
    assert_eq!(sshd.count("Accepted publickey"), 1, "{}", place.user.notices());
}

#[tokio::test]
async fn max_startups_refusal_is_retried() {
    let Some((place, sshd)) = web("MaxStartups 1:100:1\nLoginGraceTime 60") else { return };
    let newcomer = tokio::net::TcpStream::connect(("127.0.0.1", sshd.port)).await.unwrap();
    sshd.wait_for("Connection from");
    let leaving = async {
        while sshd.count("MaxStartups") == 0 && sshd.count("drop connection") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(newcomer);
    };
    let (connected, ()) = tokio::join!(place.connect("web"), soon(leaving));
    assert!(connected.is_ok(), "{}", told(&refusal(connected)));
}

#[tokio::test]
async fn sshd_killed_during_upload_is_lost_at_once() {
    let Some((place, _sshd)) = web("") else { return };
    let session = place.session().await;
    kill_sshd_during_upload(&*session).await;
    assert!(matches!(session.exec("true").await, Err(SessionError::Lost { .. })));
}

/// Carries connections to `port` until it is told to stall. Then it keeps them open and carries
/// nothing, like a network that is cut.
async fn stalling_way(port: u16) -> (u16, tokio::sync::watch::Sender<bool>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    let (stall, stalled) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut stalled = stalled.clone();
            tokio::spawn(async move {
                let mut far = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
                    _ = stalled.wait_for(|stalled| *stalled) => {}
                }
                std::future::pending::<()>().await;
            });
        }
    });
    (own, stall)
}

#[tokio::test]
async fn silent_link_is_noticed_idle_and_with_full_sockets() {
    for uploads in [0, 1, 8] {
        let Some((place, sshd)) = web("") else { return };
        let (port, stall) = stalling_way(sshd.port).await;
        place.know(port, "host");
        place.config(port, "ServerAliveInterval 1\n  ServerAliveCountMax 2");
        let session = place.session().await;
        let idle = session.exec("cat").await.unwrap();
        let mut writers = Vec::new();
        for _ in 0..uploads {
            let Channel { mut input, output } = session.exec("cat >/dev/null").await.unwrap();
            let writer = tokio::spawn(async move {
                let bytes = random_bytes(1 << 20);
                while input.write_all(&bytes).await.is_ok() {}
            });
            writers.push((writer, output));
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        stall.send(true).unwrap();
        let began = Instant::now();
        assert_eq!(soon(collect(idle.output)).await.exit, None);
        for (writer, output) in writers {
            assert_eq!(soon(collect(output)).await.exit, None);
            soon(writer).await.unwrap();
        }
        assert!(began.elapsed() < Duration::from_secs(12), "{uploads}: {:?}", began.elapsed());
        assert!(matches!(session.exec("true").await, Err(SessionError::Lost { .. })));
    }
}

#[tokio::test]
async fn command_that_closes_stdin_ends_the_writer() {
    let Some((place, _sshd)) = web("") else { return };
    let session = place.session().await;
    for command in
        ["exec 0<&-; sleep 0.5; exit 5", "sleep 0.3; exit 5", "head -c 10 >/dev/null; exit 5"]
    {
        let Channel { mut input, output } = session.exec(command).await.unwrap();
        let writing = tokio::spawn(async move {
            let bytes = random_bytes(1 << 20);
            while input.write_all(&bytes).await.is_ok() {}
        });
        assert_eq!(soon(collect(output)).await.exit, Some(Exit::Code(5)), "{command}");
        soon(writing).await.unwrap();
    }
}

#[tokio::test]
async fn background_child_with_the_output_open_does_not_block() {
    let Some((place, _sshd)) = web("") else { return };
    let session = place.session().await;
    let began = Instant::now();
    let ran = run(&*session, "sleep 20 & echo started; exit 4", b"").await;
    assert_snapshot!(ran.text(), @r#"out="started\n" err="" exited with code 4"#);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn unread_output_blocks_no_other_channel() {
    let Some((place, _sshd)) = web("") else { return };
    let session = place.session().await;
    let whole = session.exec("head -c 12000000 /dev/zero").await.unwrap();
    let endless = session.exec("cat /dev/zero").await.unwrap();
    soon(async {
        while !endless.output.is_closed() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(run(&*session, "echo hi", b"").await.out, b"hi\n");
    assert_eq!(soon(collect(endless.output)).await.exit, None);
    let ran = soon(collect(whole.output)).await;
    assert_eq!((ran.out.len(), ran.exit), (12_000_000, Some(Exit::Code(0))));
}

#[tokio::test]
async fn many_bytes_pass_through_rekeying() {
    let Some((place, _sshd)) = web("RekeyLimit 4M") else { return };
    let session = place.session().await;
    let bytes = random_bytes(64 << 20);
    let ran = run(&*session, "cat", &bytes).await;
    assert!(ran.out == bytes && ran.exit == Some(Exit::Code(0)), "{} bytes", ran.out.len());
}

#[tokio::test]
async fn quoted_words_survive_every_login_shell() {
    for shell in ["/bin/sh", "/bin/bash", "/usr/bin/zsh", "/usr/bin/fish"] {
        if !std::path::Path::new(shell).exists() {
            skipped(&format!("{shell} is missing"));
            continue;
        }
        // Runs the command as sshd would with this login shell.
        let more = format!("ForceCommand exec {shell} -c \"$SSH_ORIGINAL_COMMAND\"");
        let Some((place, _sshd)) = web(&more) else { return };
        let script =
            r#"exec /bin/sh -c 'printf "%s|" "$@"; cat' shipit 'a b' '$HOME' '"' '*' '!x' ''"#;
        let ran = run(&*place.session().await, script, b"in").await;
        assert_eq!(
            ran.text(),
            r#"out="a b|$HOME|\"|*|!x||in" err="" exited with code 0"#,
            "{shell}"
        );
    }
}

#[tokio::test]
async fn dial_tells_forbidden_from_refused() {
    let Some((place, _sshd)) = web("AllowTcpForwarding no") else { return };
    let error = soon(place.session().await.dial("127.0.0.1", 1)).await.err().unwrap();
    assert!(matches!(error, SessionError::DialRefused { forbidden: true, .. }), "{error:?}");
    let Some((place, _sshd)) = web("") else { return };
    let error = soon(place.session().await.dial("127.0.0.1", 1)).await.err().unwrap();
    assert!(matches!(error, SessionError::DialRefused { forbidden: false, .. }), "{error:?}");
}

#[tokio::test]
async fn health_check_goes_through_the_connection_or_the_host() {
    let http = "[health]\ninterval = \"100ms\"\n[[health.checks]]\n\
                http = \"http://127.0.0.1:PORT/up\"\nbody = \"ready\"";
    for policy in ["", "AllowTcpForwarding no"] {
        let Some((place, _sshd)) = web(policy) else { return };
        if !has("curl") {
            return;
        }
        let server = health::HealthServer::start(&["503 No", "200 OK\nready"]).await;
        assert_eq!(health::judged_over(http, &server, place.session().await).await, "done");
        let by_curl: Vec<_> = server.asked().iter().map(|asked| asked.contains("curl")).collect();
        assert_eq!(by_curl, [!policy.is_empty(); 2], "{policy}");
    }
}

#[tokio::test]
async fn ssh_config_is_read_like_ssh() {
    let Some((place, _sshd)) = web("") else { return };
    let config = place.text("config");
    let dir = place.dir.path().display();
    write(
        &place.path("included"),
        &format!("Match originalhost alias\n  IdentityFile {dir}/none\n"),
    );
    write(
        &place.path("config"),
        &format!(
            "Include {dir}/included\nHost alias\n  HostKeyAlias kept\n{}",
            config.replace("Host web", "Host web alias")
        ),
    );
    let error = refusal(place.connect("alias").await);
    assert!(
        matches!(&error, SessionError::HostKeyUnknown { name, .. } if name == "kept"),
        "{error:?}"
    );
    write(&place.path("known_hosts"), &format!("kept {}", place.text("host.pub")));
    assert!(place.connect("alias").await.is_ok());
    write(&place.path("config"), "Nonsense yes\n");
    let error = refusal(place.connect("web").await);
    assert!(matches!(error, SessionError::Setting { .. }), "{error:?}");
    let error = refusal(place.connect("-oProxyCommand=touch x").await);
    assert!(matches!(error, SessionError::Setting { .. }), "{error:?}");
}
