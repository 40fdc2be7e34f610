//! Channels that print for a person: a command in the live release, and logs.

use std::fs;
use std::io::Write as _;

use super::*;

use shipit::remote::quote::list;
use shipit::remote::session::{Exit, Output};

/// A release that is live, with an env file.
fn host(shell: &str) -> Host {
    let host = Host::new(shell);
    let release = host.root().join("releases").join(ID);
    fs::write(release.join(".env"), "TOKEN='p0isoned value'\ncommand='exit 9'\n").unwrap();
    fs::create_dir_all(host.root().join(".shipit")).unwrap();
    host
}

/// The output of a command's stream on both outputs, and its end.
async fn ran(host: &Host, command: &str) -> (String, String, Option<Exit>) {
    let (agent, _) = host.open("run000000001", "true").await;
    let vars = list(&["GREETING=hello 'you'".to_owned()]);
    let arguments = [
        ("id", ID),
        ("command", command),
        ("vars", &vars),
        ("sourced", ".env"),
        ("ran", r#"{"at":"@now@","code":"@code@","reason":"@reason@"}"#),
        ("reason", "echo p0isoned value"),
    ];
    let mut stream = agent.into_stream("live_command", &[], &arguments).await.unwrap();
    let (mut out, mut err, mut end) = (Vec::new(), Vec::new(), None);
    while let Some(piece) = stream.output.recv().await {
        match piece {
            Output::Stdout(bytes) => out.extend_from_slice(&bytes),
            Output::Stderr(bytes) => err.extend_from_slice(&bytes),
            Output::Exit(exit) => end = Some(exit),
        }
    }
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(out), text(err), end)
}

under_every_shell! {
    async fn command_prints_without_secrets_and_ends_with_its_code(shell: &str) {
        let host = host(shell);
        // A process that it leaves running holds its output open, and is not waited for.
        let command = "sleep 20 & echo \"$TOKEN, $GREETING\"; printf 'torn p0isoned value' >&2; exit 3";
        let (out, err, end) = ran(&host, command).await;
        assert_eq!(out, "***, hello 'you'\n", "{shell}");
        assert_eq!(err, "torn ***\n", "{shell}");
        assert_eq!(end, Some(Exit::Code(3)), "{shell}");
        let ledger = host.ledger();
        assert!(ledger.ends_with("\",\"code\":\"3\",\"reason\":\"echo ***\"}\n"), "{shell}: {ledger}");
    }
}

under_every_shell! {
    async fn command_of_a_client_that_is_gone_is_ended_and_noted(shell: &str) {
        let host = host(shell);
        let (agent, _) = host.open("run000000001", "true").await;
        let arguments = [
            ("id", ID), ("vars", ""), ("sourced", ""), ("ran", "@code@ @reason@"), ("reason", "napped"),
            ("command", "sleep 61 & echo $! $$; wait"),
        ];
        let mut stream = agent.into_stream("live_command", &[], &arguments).await.unwrap();
        let Some(Output::Stdout(line)) = stream.output.recv().await else { panic!("{shell}") };
        let line = String::from_utf8(line.to_vec()).unwrap();
        drop(stream);
        let end = Instant::now() + Duration::from_secs(15);
        let lives = |pid: &str| Path::new("/proc").join(pid).exists();
        while line.split_whitespace().any(lives) {
            assert!(Instant::now() < end, "{shell}: it still runs");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(host.ledger(), "143 napped\n", "{shell}");
    }
}

under_every_shell! {
    async fn log_file_is_shown_and_followed_without_secrets(shell: &str) {
        let host = host(shell);
        let log = host.dir.path().join("app.log");
        fs::write(&log, "one\ntwo p0isoned value\n").unwrap();
        let (agent, _) = host.open("run000000001", "true").await;
        let mut service = command("true");
        if let ServiceKind::Command { log: path, .. } = &mut service.what {
            *path = Some(log.to_str().unwrap().to_owned());
        }
        let arguments = [("past", ""), ("lines", "1"), ("follow", "yes")];
        let mut stream = agent.into_stream("live_logs", &[service], &arguments).await.unwrap();
        let mut told = String::new();
        let name = "todo";
        for expected in ["two ***", "three"] {
            while !told.contains(&format!("file {name} {expected}\n")) {
                match stream.output.recv().await {
                    Some(Output::Stdout(bytes)) => told += std::str::from_utf8(&bytes).unwrap(),
                    other => panic!("{shell}: {other:?} after {told}"),
                }
            }
            let mut end = fs::OpenOptions::new().append(true).open(&log).unwrap();
            end.write_all(b"three\n").unwrap();
        }
        assert!(!told.contains("one"), "{shell}: {told}");
    }
}
