//! Health checks of every kind, asked through the session, and by the host where its server does
//! not forward.

use std::fs;
use std::sync::Arc;

use insta::assert_snapshot;
use shipit::config::EnvSource;
use shipit::config::checks::HealthProbe;
use shipit::deploy::cancel::Cancel;
use shipit::deploy::outcome::{HostResult, Report};
use shipit::model::service::ServiceKind;
use shipit::remote::local::LocalSession;

use crate::support::health::{HealthServer, judged, judged_there, outcome, world_judged_by};
use crate::support::services::service;
use crate::support::shells::{session_of, under_every_shell};
use crate::support::tools::{has, only, tools_without};
use crate::support::world::{LocalConnect, World, goal_of};

/// One try, with plenty of time.
const ONCE: &str = "[health]\ninterval = \"30s\"\n";
/// Tries until it works.
const OFTEN: &str = "[health]\ninterval = \"100ms\"\n";

const FULL: &str = r#"
[health]
interval = "30s"
[[health.checks]]
http = "http://127.0.0.1:PORT/up?x=1"
host = "todo.example.net"
status = [201, "4xx"]
body = "ready"
headers = { X-Key = { env = "KEY" }, Accept = "text/plain", X-Empty = "" }
"#;

/// The lines of a request, without what every client adds on its own.
fn lines(request: &str) -> Vec<String> {
    let lines = request.lines().map(|line| line.trim_end().to_lowercase());
    let ours = |line: &String| {
        !["", "connection: close"].contains(&line.as_str()) && !line.starts_with("user-agent")
    };
    let mut lines: Vec<_> = lines.filter(ours).collect();
    lines.sort();
    lines
}

const ASKED: [&str; 5] = [
    "accept: text/plain",
    "get /up?x=1 http/1.1",
    "host: todo.example.net",
    "x-empty:",
    "x-key: very secret",
];

#[tokio::test]
async fn http_request_and_answer_follow_the_check() {
    let server = HealthServer::start(&["418 Teapot\nit is ready now"]).await;
    assert_eq!(judged(FULL, &server).await, "done");
    assert_eq!(server.asked().len(), 1);
    assert_eq!(lines(&server.asked()[0]), ASKED);
}

#[tokio::test]
async fn unhealthy_answer_is_shown() {
    let http = format!("{ONCE}http = \"http://127.0.0.1:PORT/up\"");
    let server = HealthServer::start(&["502 Bad Gateway\n<h1>no \u{1b}[1mupstream</h1>\n"]).await;
    assert_snapshot!(judged(&http, &server).await, @"
    the release was not healthy within 30s
      GET http://127.0.0.1:PORT/up answered 502
      it said: <h1>no upstream</h1>
    ");
    // Not followed: the status decides.
    let server = HealthServer::start(&["302 Found"]).await;
    assert_eq!(judged(&http, &server).await, "done");
    assert_eq!(server.asked().len(), 1);
    let server = HealthServer::start(&["201 Created\nstarting"]).await;
    assert_snapshot!(judged(FULL, &server).await, @r#"
    the release was not healthy within 30s
      GET http://127.0.0.1:PORT/up?x=1 answered 201 without "ready" in its body
      it said: starting
    "#);
    let server = HealthServer::start(&["200 OK\nready"]).await;
    assert_snapshot!(judged(FULL, &server).await, @"
    the release was not healthy within 30s
      GET http://127.0.0.1:PORT/up?x=1 answered 200
      it said: ready
    ");
}

#[tokio::test]
async fn silent_server_is_named() {
    let silent = HealthServer::start(&[]).await;
    let http = format!("{ONCE}timeout = \"200ms\"\nhttp = \"http://127.0.0.1:PORT/up\"");
    assert_snapshot!(judged(&http, &silent).await, @"
    the release was not healthy within 30s
      GET http://127.0.0.1:PORT/up did not answer within 200ms
    ");
    let nobody = HealthServer { port: 1, asked: Arc::default() };
    let tcp = format!("{ONCE}tcp = \"127.0.0.1:1\"");
    let said = judged(&tcp, &nobody).await;
    assert!(said.contains("did not answer: the server would not connect to"), "{said}");
    assert!(said.contains("Connection refused"), "{said}");
    let tcp = format!("{ONCE}tcp = \"127.0.0.1:PORT\"");
    assert_eq!(judged(&tcp, &silent).await, "done");
}

#[tokio::test]
async fn unhealthy_answer_is_retried() {
    let server = HealthServer::start(&["503 No", "200 OK", "503 No", "200 OK"]).await;
    let http = format!("{OFTEN}successes = 3\nhttp = \"http://127.0.0.1:PORT/up\"");
    assert_eq!(judged(&http, &server).await, "done");
    assert_eq!(server.asked().len(), 6, "three in a row are the fourth to the sixth");
}

const NAMED: &str = r#"
[health]
interval = "30s"
[[health.checks]]
http = "http://127.0.0.1:PORT/{release}?at={revision}"
body = '{"digest":"{digest}","of":{}}'
headers = { X-Key = { env = "KEY" }, X-Release = "{release}" }
"#;

const NAMED_ASKED: [&str; 4] = [
    "get /20260821090001?at=rev-1 http/1.1",
    "host: 127.0.0.1:port",
    "x-key: very secret",
    "x-release: 20260821090001",
];

/// Returns what a build of that version answers to `NAMED`.
fn named(version: &str) -> String {
    let goal = World::new().deploy_goal(version, "", false);
    format!("200 OK\n{{\"digest\":\"{}\",\"of\":{{}}}}", goal.build().unwrap().digest)
}

/// Returns the lines of the requests that arrived, with PORT for the server's.
fn requests(server: &HealthServer) -> Vec<Vec<String>> {
    let without = |line: String| line.replace(&format!(":{}", server.port), ":port");
    let asked = server.asked().into_iter();
    asked
        .map(|request| {
            let lines = lines(&request).into_iter().map(without);
            lines.filter(|line| !line.starts_with("accept:")).collect()
        })
        .collect()
}

#[tokio::test]
async fn placeholders_stand_for_the_release() {
    let server = HealthServer::start(&[&named("1")]).await;
    assert_eq!(judged(NAMED, &server).await, "done");
    assert_eq!(requests(&server), [NAMED_ASKED]);
    let server = HealthServer::start(&[&named("2")]).await;
    let said = judged(NAMED, &server).await;
    assert!(
        said.contains("GET http://127.0.0.1:PORT/20260821090001?at=rev-1 answered 200 without")
    );
}

under_every_shell! {
    async fn placeholders_stand_for_the_release_where_curl_asks(shell: &str) {
        if !has("curl") {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let server = HealthServer::start(&[&named("1")]).await;
        let session = session_of(shell, dir.path());
        assert_eq!(judged_there(NAMED, &server, session).await, "done", "{shell}");
        assert_eq!(requests(&server), [NAMED_ASKED], "{shell}");
    }
}

#[tokio::test]
async fn answer_of_the_old_release_is_asked_again() {
    let [old, new] = ["200 OK\nrelease 20260821090000", "200 OK\nrelease 20260821090001"];
    let server = HealthServer::start(&[old, old, new, old]).await;
    let text = format!(
        "{OFTEN}[[health.checks]]\nhttp = \"http://127.0.0.1:PORT/\"\nbody = \"release {{release}}\""
    );
    assert_eq!(judged(&text, &server).await, "done");
    assert_eq!(server.asked().len(), 3);
    let server = HealthServer::start(&[old]).await;
    let text = text.replace("[health]\n", "[health]\ntotal = \"1s\"\n");
    let said = judged(&text, &server).await;
    assert!(said.starts_with("the release was not healthy within 1s"), "{said}");
    assert!(said.contains("without \"release 20260821090001\" in its body"), "{said}");
}

#[tokio::test]
async fn placeholders_follow_a_rollback_and_a_revert() {
    let server = HealthServer::start(&[&named("1"), "500 Broken", &named("1"), &named("1")]).await;
    let mut world = world_judged_by(NAMED, &server).await;
    assert!(matches!(world.deploy("1").await.hosts[0].1, HostResult::Done(_)));
    assert!(matches!(world.deploy("2").await.hosts[0].1, HostResult::Reverted { but: None, .. }));
    let asked = |n: usize| requests(&server)[n][0].clone();
    assert_eq!(asked(0), "get /20260821090001?at=rev-1 http/1.1");
    assert_eq!(asked(1), "get /20260821090002?at=rev-2 http/1.1");
    assert_eq!(asked(2), asked(0), "what is live again is asked as itself");
    let checks = std::mem::take(&mut world.config.health.checks);
    world.deploy("3").await;
    world.config.health.checks = checks;
    assert!(matches!(world.rollback().await.hosts[0].1, HostResult::Done(_)));
    assert_eq!(asked(3), asked(0));
}

#[tokio::test]
async fn unknown_revision_is_refused_before_anything_is_touched() {
    let silent = HealthServer { port: 1, asked: Arc::default() };
    let mut world = world_judged_by(NAMED, &silent).await;
    let unnamed = goal_of(world.artifact("1", false), |build| build);
    let refused = |report: Report| match &report.hosts[0].1 {
        HostResult::Untouched { failure: Some(failure), .. } => failure.what.clone(),
        other => panic!("{other:?}"),
    };
    assert_snapshot!(refused(world.run(&unnamed).await), @"a health check names `{revision}`, which is not known of this build");
    assert_eq!(world.live(), "nothing");
    let checks = std::mem::take(&mut world.config.health.checks);
    world.run(&unnamed).await;
    world.deploy("2").await;
    world.config.health.checks = checks;
    assert_snapshot!(refused(world.rollback().await), @"a health check names `{revision}`, which is not known of release 20260821090002");
    assert_eq!(world.live(), "releases/20260821090003");
}

#[tokio::test]
async fn value_that_was_fetched_holds_no_placeholder() {
    let server = HealthServer::start(&["200 OK"]).await;
    let text = NAMED.replace("very", "x").replace("body", "# body");
    let mut world = world_judged_by(&text, &server).await;
    let HealthProbe::Http(http) = &mut world.config.health.checks[0].probe else { panic!() };
    let key = http.headers.iter_mut().find(|header| header.name == "X-Key").unwrap();
    key.value = EnvSource::Text("{release}".to_owned());
    assert!(!key.written);
    assert_eq!(outcome(&world, &server).await, "done");
    assert!(requests(&server)[0].contains(&"x-key: {release}".to_owned()));
}

const WELL: &str = r#"
[health]
interval = "30s"
[[health.checks]]
http = "http://127.0.0.1:PORT/up"
status = 200
"#;

const SECURED: &str = r#"the release was not healthy within 30s
  GET http://127.0.0.1:PORT/up answered STATUS
hint: it redirects to https://todo.example.net: ask with `http = "https://…"`, and with `host = "…"` for that name; behind a proxy, `headers = { X-Forwarded-Proto = "https" }` may do"#;

under_every_shell! {
    async fn redirect_to_https_ends_in_a_hint(shell: &str) {
        if !has("curl") {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let session = session_of(shell, dir.path());
        let server = HealthServer::start(&["308 Moved to https://todo.example.net/up?key=1"]).await;
        let here = judged(WELL, &server).await.replace("308", "STATUS");
        let there = judged_there(WELL, &server, session.clone()).await.replace("308", "STATUS");
        assert_eq!([here.as_str(), &there], [SECURED, SECURED], "{shell}");
        let server = HealthServer::start(&["301 Moved to https://u:secret@todo.example.net/"]).await;
        let said = judged_there(WELL, &server, session).await;
        assert!(said.ends_with("answered 301"), "{shell}: {said}");
    }
}

#[tokio::test]
async fn only_redirects_to_https_end_in_a_hint() {
    for status in [301, 302, 307, 308] {
        let server = HealthServer::start(&[&format!("{status} Moved to https://a.example")]).await;
        let said = judged(WELL, &server).await;
        assert!(said.contains("\nhint: it redirects to https://a.example: ask with"), "{said}");
    }
    for elsewhere in ["301 Moved to http://a.example", "500 No to https://a.example", "302 Found"] {
        let server = HealthServer::start(&[elsewhere]).await;
        let said = judged(WELL, &server).await;
        assert!(said.contains("answered") && !said.contains("hint"), "{said}");
    }
}

#[tokio::test]
async fn refused_host_header_ends_in_a_hint() {
    let named = "host = \"a.example\"";
    for (status, more, hint) in [
        ("400 Bad", "", Some("127.0.0.1:PORT")),
        ("403 No", "", Some("127.0.0.1:PORT")),
        ("421 Misdirected", "", Some("127.0.0.1:PORT")),
        ("421 Misdirected", named, Some("a.example")),
        ("403 No", named, None),
        ("500 Broken", "", None),
    ] {
        let server = HealthServer::start(&[&format!("{status}\nBlocked host\n<p>")]).await;
        let said = judged(&format!("{WELL}{more}"), &server).await;
        let hint = hint.map(|name| {
            format!(
                "\nhint: it may not answer to `{name}`: `host = \"…\"` sets the name to ask for"
            )
        });
        let end = format!("it said: Blocked host\n<p>{}", hint.unwrap_or_default());
        assert!(said.contains(&status[..3]) && said.ends_with(&end), "{status}: {said}");
    }
}

#[tokio::test]
async fn soak_without_a_unit_repeats_the_checks() {
    let server = HealthServer::start(&["200 OK", "500 Broken"]).await;
    let http = format!("{ONCE}soak = \"100ms\"\nhttp = \"http://127.0.0.1:PORT/up\"");
    assert_snapshot!(judged(&http, &server).await, @"
    the release was not healthy within 30s
      GET http://127.0.0.1:PORT/up answered 500
    ");
}

#[tokio::test]
async fn command_check_runs_in_the_release() {
    let nobody = HealthServer { port: 1, asked: Arc::default() };
    let command = |text: &str| format!("{ONCE}timeout = \"1s\"\ncommand = '{text}'");
    let well = "test -x bin/server && test \"$SHIPIT_RELEASE\" = \"$(basename \"$PWD\")\"";
    assert_eq!(judged(&command(well), &nobody).await, "done");
    let bad = "for n in 1 2 3 4 5 6 7; do echo line $n; done; exit 3";
    assert_snapshot!(judged(&command(bad), &nobody).await, @"
    the release was not healthy within 30s
      `for n in 1 2 3 4 5 6 7; do echo line $n; done; exit 3` exited with code 3
      it said: line 3
    line 4
    line 5
    line 6
    line 7
    ");
    assert_snapshot!(judged(&command("sleep 20"), &nobody).await, @"
    the release was not healthy within 30s
      `sleep 20` ran longer than 1s
    ");
}

#[tokio::test]
async fn check_of_a_role_skips_other_hosts() {
    let nobody = HealthServer { port: 1, asked: Arc::default() };
    let check = format!("{ONCE}[[health.checks]]\ncommand = \"false\"\nroles = [\"web\"]");
    assert_eq!(judged(&check, &nobody).await, "done");
    let mut world = world_judged_by(&check, &nobody).await;
    world.config.hosts[0].roles = vec!["web".to_owned()];
    assert!(outcome(&world, &nobody).await.contains("`false` exited with code 1"), "it is asked");
}

#[tokio::test]
async fn all_checks_must_pass() {
    let server = HealthServer::start(&["200 OK"]).await;
    let all = format!("{ONCE}http = \"http://127.0.0.1:PORT/up\"\ncommand = \"true\"");
    assert_eq!(judged(&all, &server).await, "done");
    assert_eq!(server.asked().len(), 1);
    let said = judged(&all.replace("true", "false"), &server).await;
    assert!(said.contains("`false` exited with code 1"), "{said}");
}

#[tokio::test]
async fn interrupt_during_a_check_reverts() {
    let silent = HealthServer::start(&[]).await;
    let world =
        world_judged_by(&format!("{ONCE}http = \"http://127.0.0.1:PORT/up\""), &silent).await;
    let (handle, asked) = tokio::sync::watch::channel(0);
    let cancel = Cancel::new(asked);
    let stopping = async {
        silent.is_asked().await;
        handle.send(1).unwrap();
    };
    let goal = world.deploy_goal("1", "", false);
    let (report, ()) = tokio::join!(world.run_with(&goal, &cancel), stopping);
    assert!(matches!(report.hosts[0].1, HostResult::Reverted { .. }), "{report:?}");
    assert_eq!(world.live(), "nothing");
}

#[tokio::test]
async fn command_service_log_is_shown_since_the_restart() {
    let nobody = HealthServer { port: 1, asked: Arc::default() };
    let mut world = world_judged_by(&format!("{ONCE}command = \"false\""), &nobody).await;
    let log = world.dir.path().join("log");
    fs::write(&log, "from before\n").unwrap();
    world.config.services = vec![service(ServiceKind::Command {
        restart: format!("echo starting >>{0}; echo failing >>{0}", log.display()),
        stop: None,
        log: Some(log.to_str().unwrap().to_owned()),
    })];
    let said = outcome(&world, &nobody).await;
    let said = said.replace(world.dir.path().to_str().unwrap(), "DIR");
    assert_snapshot!(said, @"
    the release was not healthy within 30s
      `false` exited with code 1
      DIR/log since the restart:
    starting
    failing
    ");
}

#[tokio::test]
async fn tls_certificates_are_verified() {
    let signed = HealthServer::secure(&["200 OK\nready"], "signed.pem").await;
    let own = HealthServer::secure(&["200 OK\nready"], "own.pem").await;
    let check = |more: &str| {
        format!(
            "{ONCE}[[health.checks]]\nhttp = \"https://127.0.0.1:PORT/up\"\nbody = \"ready\"\n{more}"
        )
    };
    let named = |ca: &str| check(&format!("ca = \"{ca}\"\nhost = \"todo.example.net\""));
    assert_eq!(judged(&named("authority.pem"), &signed).await, "done");
    assert_eq!(
        judged(&named("signed.pem"), &signed).await,
        "done",
        "it need not be an authority's"
    );
    assert_eq!(judged(&check("ca = \"own.pem\""), &own).await, "done");
    assert_eq!(judged(&check("insecure = true"), &own).await, "done");
    assert_snapshot!(judged(&check(""), &own).await, @"
    the release was not healthy within 30s
      GET https://127.0.0.1:PORT/up did not answer: invalid peer certificate: UnknownIssuer
    hint: `ca` names a file with certificates of your own, `insecure = true` accepts any
    ");
    let said = judged(&check("ca = \"authority.pem\""), &signed).await;
    assert!(
        said.contains("did not answer: invalid peer certificate: certificate not valid for name"),
        "{said}"
    );
    let said = judged(&check("ca = \"signed.pem\""), &signed).await;
    assert!(
        said.contains("did not answer: invalid peer certificate: certificate not valid for name"),
        "{said}"
    );
    let said = judged(&named("authority.pem"), &own).await;
    assert!(said.contains("did not answer: invalid peer certificate: UnknownIssuer"), "{said}");
}

under_every_shell! {
    async fn forbidden_forwarding_makes_curl_ask(shell: &str) {
        if !has("curl") {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let session = session_of(shell, dir.path());
        let server = HealthServer::start(&["418 Teapot\nit is ready now"]).await;
        assert_eq!(judged_there(FULL, &server, session.clone()).await, "done", "{shell}");
        let asked = server.asked().iter().map(|request| lines(request)).collect::<Vec<_>>();
        assert_eq!(asked, [ASKED], "{shell}");
        let server = HealthServer::start(&["500 Broken\nstarting\n"]).await;
        let said = judged_there(FULL, &server, session.clone()).await;
        assert!(said.contains("answered 500\n  it said: starting"), "{shell}: {said}");
        let tcp = format!("{ONCE}tcp = \"127.0.0.1:PORT\"");
        assert_eq!(judged_there(&tcp, &server, session).await, "done", "{shell}");
    }
}

#[tokio::test]
async fn curl_names_a_silent_server() {
    if !has("curl") {
        return;
    }
    let silent = HealthServer::start(&[]).await;
    let http = format!("{ONCE}timeout = \"1s\"\nhttp = \"http://127.0.0.1:PORT/up\"");
    let said = judged_there(&http, &silent, LocalSession::new()).await;
    assert!(said.contains("GET http://127.0.0.1:PORT/up did not answer: curl: (28)"), "{said}");
    let nobody = HealthServer { port: 1, asked: Arc::default() };
    let tcp = format!("{ONCE}tcp = \"127.0.0.1:1\"");
    let said = judged_there(&tcp, &nobody, LocalSession::new()).await;
    assert!(said.contains("did not answer: curl: (7)"), "{said}");
}

#[tokio::test]
async fn curl_verifies_tls_certificates() {
    if !has("curl") {
        return;
    }
    let signed = HealthServer::secure(&["200 OK\nready"], "signed.pem").await;
    let own = HealthServer::secure(&["200 OK\nready"], "own.pem").await;
    let check = |more: &str| {
        format!(
            "{ONCE}[[health.checks]]\nhttp = \"https://127.0.0.1:PORT/up\"\nbody = \"ready\"\n{more}"
        )
    };
    let there = async |text: &str, server| judged_there(text, server, LocalSession::new()).await;
    let named = |ca: &str| check(&format!("ca = \"{ca}\"\nhost = \"todo.example.net\""));
    assert_eq!(there(&named("authority.pem"), &signed).await, "done");
    assert_eq!(there(&check("ca = \"own.pem\""), &own).await, "done");
    assert_eq!(there(&check("insecure = true"), &own).await, "done");
    for refused in [check(""), check("ca = \"authority.pem\""), named("own.pem")] {
        let said = there(&refused, &signed).await;
        assert!(said.contains("did not answer: "), "{refused}: {said}");
    }
}

#[tokio::test]
async fn curl_gets_address_and_headers_outside_its_arguments() {
    if !has("curl") {
        return;
    }
    let silent = HealthServer::start(&[]).await;
    let text = FULL.replace("30s", "30s\"\ntimeout = \"2s");
    let watching = async {
        silent.is_asked().await;
        let all = fs::read_dir("/proc").unwrap().map(Result::unwrap);
        let lines = all.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
        lines.map(|line| String::from_utf8_lossy(&line).into_owned()).collect::<Vec<_>>()
    };
    let (said, lines) = tokio::join!(judged_there(&text, &silent, LocalSession::new()), watching);
    let asks = |line: &String| line.starts_with("curl\0") && line.contains("\0-K\0-");
    assert!(lines.iter().any(asks), "it is running: {lines:?}");
    assert!(!lines.iter().any(|line| line.contains("/up?x=1")), "a token in it: {lines:?}");
    assert!(!lines.iter().any(|line| line.contains("very secret")), "{lines:?}");
    assert!(!said.contains("very secret") && said.contains("did not answer"), "{said}");
}

#[tokio::test]
async fn host_without_curl_says_what_to_install() {
    let tools = tools_without(&["curl"]);
    let server = HealthServer::start(&["200 OK"]).await;
    let http = format!("{OFTEN}http = \"http://127.0.0.1:PORT/up\"");
    assert_snapshot!(judged_there(&http, &server, only(tools.path())).await, @"
    the health of the release could not be checked
      GET http://127.0.0.1:PORT/up could not be asked: the server forbids forwarding, and curl is missing
    hint: install curl on the host, or set `AllowTcpForwarding local` in its sshd_config
    ");
    let tcp = format!("{ONCE}tcp = \"127.0.0.1:PORT\"");
    assert_snapshot!(judged_there(&tcp, &server, only(tools.path())).await, @"
    the health of the release could not be checked
      TCP 127.0.0.1:PORT could not be asked: the server forbids forwarding, and curl is missing
    hint: install curl on the host, or set `AllowTcpForwarding local` in its sshd_config
    ");
    // A session that forwards needs no curl.
    let mut world = world_judged_by(&http, &server).await;
    world.connect = Box::new(LocalConnect(only(tools.path())));
    assert_eq!(outcome(&world, &server).await, "done");
}
