//! Health checks of every kind, asked through the session, and by the host where its server does
//! not forward.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, join_all};
use insta::assert_snapshot;
use shipit::config::checks::gather;
use shipit::config::file::ConfigFile;
use shipit::config::resolve::Overrides;
use shipit::config::{Health, Host};
use shipit::deploy::cancel::Cancel;
use shipit::deploy::host::Connect;
use shipit::deploy::outcome::HostResult;
use shipit::model::service::Service;
use shipit::remote::local::LocalSession;
use shipit::remote::session::{ByteStream, Channel, Session, SessionError};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::world::{Local, World};

/// One try, with plenty of time.
const ONCE: &str = "[health]\ninterval = \"30s\"\n";
/// Tries until it works.
const OFTEN: &str = "[health]\ninterval = \"100ms\"\n";

/// A server that answers the first request with the first of its answers and so on, and all further
/// ones with the last. An answer is a status line's end and a body; without any it says nothing.
pub(crate) struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) async fn start(answers: &[&str]) -> Self {
        Self::listen(answers, None).await
    }

    /// With one of the certificates.
    async fn secure(answers: &[&str], certificate: &str) -> Self {
        let shown = CertificateDer::from_pem_file(certificates().join(certificate)).unwrap();
        let key = PrivateKeyDer::from_pem_file(certificates().join("server.key")).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![shown], key)
            .unwrap();
        Self::listen(answers, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn listen(answers: &[&str], tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let answers: Vec<_> = answers.iter().map(|&answer| answer.to_owned()).collect();
        let noted = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answers, noted, tls) = (answers.clone(), Arc::clone(&noted), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => answer(stream, &answers, &noted).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => answer(stream, &answers, &noted).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self { port, asked }
    }

    /// Waits until somebody asks.
    async fn is_asked(&self) {
        let end = Instant::now() + Duration::from_mins(1);
        while self.asked().is_empty() {
            assert!(Instant::now() < end, "nobody asks");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answers: &[String],
    noted: &Mutex<Vec<String>>,
) -> Option<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.ok()?);
    }
    let number = {
        let mut noted = noted.lock().unwrap();
        noted.push(String::from_utf8(request).unwrap());
        noted.len()
    };
    let Some(answer) = answers.get(number - 1).or(answers.last()) else {
        // Says nothing until whoever asked goes away.
        return stream.read_u8().await.ok().map(|_| ());
    };
    let (status, body) = answer.split_once('\n').unwrap_or((answer, ""));
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nLocation: /elsewhere\r\n\
         Connection: close\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await.ok()?;
    stream.shutdown().await.ok()
}

fn certificates() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/features/certificates"))
}

/// A session with a server that does not forward.
struct Forbidding(LocalSession);

impl Session for Forbidding {
    fn exec<'a>(&'a self, command: &'a str) -> BoxFuture<'a, Result<Channel, SessionError>> {
        self.0.exec(command)
    }

    fn dial<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, Result<Box<dyn ByteStream>, SessionError>> {
        let (address, reason) = (format!("{host}:{port}"), "forwarding is forbidden".to_owned());
        Box::pin(async { Err(SessionError::DialRefused { address, reason, forbidden: true }) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.0.close()
    }
}

/// The way over a session that is there already.
struct Over(Arc<dyn Session>);

impl Connect for Over {
    fn connect<'a>(&'a self, _: &'a Host) -> BoxFuture<'a, Result<Arc<dyn Session>, SessionError>> {
        Box::pin(async move { Ok(Arc::clone(&self.0)) })
    }
}

/// `[health]` as it is written, after the values in it were fetched.
async fn health(text: &str) -> Health {
    let all = format!(
        "app = \"todo\"\ndeploy_to = \"/srv/todo\"\n{text}\n\
         [stages.test]\nhosts = [{{ address = \"web1\", roles = [\"web\"] }}]\n"
    );
    let file = ConfigFile::parse("deploy.toml", certificates(), all).unwrap();
    let mut health = file.resolve(None, &Overrides::default()).unwrap().health;
    let env = |name: &str| (name == "KEY").then(|| "very secret".to_owned());
    gather(&mut health, certificates(), &env).await.unwrap();
    health
}

/// A world whose releases are judged so. PORT in `text` is that of `server`.
async fn world(text: &str, server: &Server) -> World {
    let mut world = World::new();
    world.config.health = health(&text.replace("PORT", &server.port.to_string())).await;
    world
}

/// What a deploy came to, for people.
async fn outcome(world: &World, server: &Server) -> String {
    let report = world.deploy("1").await;
    let text = match &report.hosts[0].1 {
        HostResult::Done(_) => "done".to_owned(),
        HostResult::Reverted { failure, .. } => {
            assert_eq!(world.live(), "nothing");
            let hint = failure.hint.iter().map(|hint| format!("hint: {hint}"));
            let lines = failure.cause.iter().map(|cause| format!("  {cause}")).chain(hint);
            lines.fold(failure.what.clone(), |all, line| all + "\n" + &line)
        }
        other => panic!("{other:?}"),
    };
    text.replace(&format!("127.0.0.1:{}", server.port), "127.0.0.1:PORT")
}

/// What a deploy that is judged so comes to, through the session.
async fn judged(text: &str, server: &Server) -> String {
    outcome(&world(text, server).await, server).await
}

/// The same over a session of another kind.
pub(crate) async fn judged_over(text: &str, server: &Server, session: Arc<dyn Session>) -> String {
    let mut world = world(text, server).await;
    world.connect = Box::new(Over(session));
    outcome(&world, server).await
}

/// The same where the server does not forward.
async fn judged_there(text: &str, server: &Server, session: LocalSession) -> String {
    judged_over(text, server, Arc::new(Forbidding(session))).await
}

/// A directory with all programs of this machine but some.
pub(crate) fn tools_without(names: &[&str]) -> tempfile::TempDir {
    let tools = tempfile::tempdir().unwrap();
    for folder in ["/bin", "/usr/bin"] {
        for tool in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = tool.file_name();
            if !names.iter().any(|without| name == *without) {
                let _ = std::os::unix::fs::symlink(tool.path(), tools.path().join(name));
            }
        }
    }
    tools
}

fn only(tools: &Path) -> LocalSession {
    LocalSession::new().var("PATH", tools.to_str().unwrap())
}

/// Whether this machine has the tool; with SHIPIT_TEST_ALL_SHELLS=1 it must.
pub(crate) fn has(tool: &str) -> bool {
    let found = ["/bin", "/usr/bin"].iter().any(|folder| Path::new(folder).join(tool).exists());
    assert!(found || std::env::var_os("SHIPIT_TEST_ALL_SHELLS").is_none(), "{tool} is missing");
    found
}

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
async fn a_get_says_what_it_should_and_the_answer_is_looked_at() {
    let server = Server::start(&["418 Teapot\nit is ready now"]).await;
    assert_eq!(judged(FULL, &server).await, "done");
    assert_eq!(server.asked().len(), 1);
    assert_eq!(lines(&server.asked()[0]), ASKED);
}

#[tokio::test]
async fn an_answer_that_is_not_well_is_shown() {
    let http = format!("{ONCE}http = \"http://127.0.0.1:PORT/up\"");
    let server = Server::start(&["502 Bad Gateway\n<h1>no \u{1b}[1mupstream</h1>\n"]).await;
    assert_snapshot!(judged(&http, &server).await, @"
    the release was not healthy within 30s
      GET http://127.0.0.1:PORT/up answered 502
      it said: <h1>no upstream</h1>
    ");
    // Not followed: the status decides.
    let server = Server::start(&["302 Found"]).await;
    assert_eq!(judged(&http, &server).await, "done");
    assert_eq!(server.asked().len(), 1);
    let server = Server::start(&["201 Created\nstarting"]).await;
    assert_snapshot!(judged(FULL, &server).await, @r#"
    the release was not healthy within 30s
      GET http://127.0.0.1:PORT/up?x=1 answered 201 without "ready" in its body
      it said: starting
    "#);
    let server = Server::start(&["200 OK\nready"]).await;
    assert_snapshot!(judged(FULL, &server).await, @"
    the release was not healthy within 30s
      GET http://127.0.0.1:PORT/up?x=1 answered 200
      it said: ready
    ");
}

#[tokio::test]
async fn who_does_not_answer_is_named() {
    let silent = Server::start(&[]).await;
    let http = format!("{ONCE}timeout = \"200ms\"\nhttp = \"http://127.0.0.1:PORT/up\"");
    assert_snapshot!(judged(&http, &silent).await, @"
    the release was not healthy within 30s
      GET http://127.0.0.1:PORT/up did not answer within 200ms
    ");
    let nobody = Server { port: 1, asked: Arc::default() };
    let tcp = format!("{ONCE}tcp = \"127.0.0.1:1\"");
    let said = judged(&tcp, &nobody).await;
    assert!(said.contains("did not answer: the server would not connect to"), "{said}");
    assert!(said.contains("Connection refused"), "{said}");
    let tcp = format!("{ONCE}tcp = \"127.0.0.1:PORT\"");
    assert_eq!(judged(&tcp, &silent).await, "done");
}

#[tokio::test]
async fn what_is_not_well_at_first_is_tried_again() {
    let server = Server::start(&["503 No", "200 OK", "503 No", "200 OK"]).await;
    let http = format!("{OFTEN}successes = 3\nhttp = \"http://127.0.0.1:PORT/up\"");
    assert_eq!(judged(&http, &server).await, "done");
    assert_eq!(server.asked().len(), 6, "three in a row are the fourth to the sixth");
}

#[tokio::test]
async fn a_soak_without_a_unit_asks_again() {
    let server = Server::start(&["200 OK", "500 Broken"]).await;
    let http = format!("{ONCE}soak = \"100ms\"\nhttp = \"http://127.0.0.1:PORT/up\"");
    assert_snapshot!(judged(&http, &server).await, @"
    the release was not healthy within 30s
      GET http://127.0.0.1:PORT/up answered 500
    ");
}

#[tokio::test]
async fn a_command_is_asked_in_the_release() {
    let nobody = Server { port: 1, asked: Arc::default() };
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
async fn only_hosts_of_a_role_are_asked() {
    let nobody = Server { port: 1, asked: Arc::default() };
    let check = format!("{ONCE}[[health.checks]]\ncommand = \"false\"\nroles = [\"web\"]");
    assert_eq!(judged(&check, &nobody).await, "done");
    let mut world = world(&check, &nobody).await;
    world.config.hosts[0].roles = vec!["web".to_owned()];
    assert!(outcome(&world, &nobody).await.contains("`false` exited with code 1"), "it is asked");
}

#[tokio::test]
async fn of_several_checks_all_must_pass() {
    let server = Server::start(&["200 OK"]).await;
    let all = format!("{ONCE}http = \"http://127.0.0.1:PORT/up\"\ncommand = \"true\"");
    assert_eq!(judged(&all, &server).await, "done");
    assert_eq!(server.asked().len(), 1);
    let said = judged(&all.replace("true", "false"), &server).await;
    assert!(said.contains("`false` exited with code 1"), "{said}");
}

#[tokio::test]
async fn a_stop_ends_a_check_and_puts_back() {
    let silent = Server::start(&[]).await;
    let world = world(&format!("{ONCE}http = \"http://127.0.0.1:PORT/up\""), &silent).await;
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
async fn the_log_of_a_command_service_is_shown_from_the_restart_on() {
    let nobody = Server { port: 1, asked: Arc::default() };
    let mut world = world(&format!("{ONCE}command = \"false\""), &nobody).await;
    let log = world.dir.path().join("log");
    fs::write(&log, "from before\n").unwrap();
    world.config.service = Service::Command {
        restart: format!("echo starting >>{0}; echo failing >>{0}", log.display()),
        stop: None,
        log: Some(log.to_str().unwrap().to_owned()),
        limit: Duration::from_secs(10),
    };
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
async fn certificates_are_looked_at() {
    let signed = Server::secure(&["200 OK\nready"], "signed.pem").await;
    let own = Server::secure(&["200 OK\nready"], "own.pem").await;
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
    hint: `ca` names a file with certificates of your own, `insecure = true` takes any
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

#[tokio::test]
async fn a_host_that_may_not_forward_asks_by_curl_under_every_shell() {
    if !has("curl") {
        return;
    }
    join_all(crate::agent::shells().into_iter().map(async |shell| {
        let dir = tempfile::tempdir().unwrap();
        let session = crate::agent::session_of(shell, dir.path());
        let server = Server::start(&["418 Teapot\nit is ready now"]).await;
        assert_eq!(judged_there(FULL, &server, session.clone()).await, "done", "{shell}");
        let asked = server.asked().iter().map(|request| lines(request)).collect::<Vec<_>>();
        assert_eq!(asked, [ASKED], "{shell}");
        let server = Server::start(&["500 Broken\nstarting\n"]).await;
        let said = judged_there(FULL, &server, session.clone()).await;
        assert!(said.contains("answered 500\n  it said: starting"), "{shell}: {said}");
        let tcp = format!("{ONCE}tcp = \"127.0.0.1:PORT\"");
        assert_eq!(judged_there(&tcp, &server, session).await, "done", "{shell}");
    }))
    .await;
}

#[tokio::test]
async fn who_does_not_answer_a_host_by_curl_is_named() {
    if !has("curl") {
        return;
    }
    let silent = Server::start(&[]).await;
    let http = format!("{ONCE}timeout = \"1s\"\nhttp = \"http://127.0.0.1:PORT/up\"");
    let said = judged_there(&http, &silent, LocalSession::new()).await;
    assert!(said.contains("GET http://127.0.0.1:PORT/up did not answer: curl: (28)"), "{said}");
    let nobody = Server { port: 1, asked: Arc::default() };
    let tcp = format!("{ONCE}tcp = \"127.0.0.1:1\"");
    let said = judged_there(&tcp, &nobody, LocalSession::new()).await;
    assert!(said.contains("did not answer: curl: (7)"), "{said}");
}

#[tokio::test]
async fn certificates_are_looked_at_by_curl_too() {
    if !has("curl") {
        return;
    }
    let signed = Server::secure(&["200 OK\nready"], "signed.pem").await;
    let own = Server::secure(&["200 OK\nready"], "own.pem").await;
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
async fn what_a_header_says_is_in_no_argument_there() {
    if !has("curl") {
        return;
    }
    let silent = Server::start(&[]).await;
    let text = FULL.replace("30s", "30s\"\ntimeout = \"2s");
    let watching = async {
        silent.is_asked().await;
        let all = fs::read_dir("/proc").unwrap().map(Result::unwrap);
        let lines = all.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
        lines.map(|line| String::from_utf8_lossy(&line).into_owned()).collect::<Vec<_>>()
    };
    let (said, lines) = tokio::join!(judged_there(&text, &silent, LocalSession::new()), watching);
    let asks = |line: &&String| {
        line.starts_with("curl\0") && line.contains(&format!(":{}/up", silent.port))
    };
    assert!(lines.iter().any(|line| asks(&line)), "it is running: {lines:?}");
    assert!(!lines.iter().any(|line| line.contains("very secret")), "{lines:?}");
    assert!(!said.contains("very secret") && said.contains("did not answer"), "{said}");
}

#[tokio::test]
async fn a_host_without_curl_asks_by_wget() {
    if !has("wget") {
        return;
    }
    let mut hosts = vec![("GNU wget", tools_without(&["curl"]))];
    if has("busybox") {
        let tools = tools_without(&["curl", "wget"]);
        std::os::unix::fs::symlink("/bin/busybox", tools.path().join("wget")).unwrap();
        hosts.push(("BusyBox wget", tools));
    }
    for (kind, tools) in hosts {
        let there = async |text: &str, server| judged_there(text, server, only(tools.path())).await;
        let server = Server::start(&["200 OK\nit is ready now"]).await;
        let http = format!("{ONCE}[[health.checks]]\nhttp = \"http://127.0.0.1:PORT/up\"\n");
        let named = format!("{http}body = \"ready\"\nhost = \"todo.example.net\"");
        assert_eq!(there(&named, &server).await, "done", "{kind}");
        assert!(lines(&server.asked()[0]).contains(&"host: todo.example.net".to_owned()), "{kind}");
        let server = Server::start(&["503 No\nstarting"]).await;
        let said = there(&http, &server).await;
        assert!(said.contains("GET http://127.0.0.1:PORT/up answered 503"), "{kind}: {said}");
        let silent = Server::start(&[]).await;
        let said = there(&http.replace("[[", "timeout = \"1s\"\n[["), &silent).await;
        assert!(said.contains("did not answer: "), "{kind}: {said}");
    }
    let tools = tools_without(&["curl"]);
    let server = Server::start(&["200 OK"]).await;
    assert_snapshot!(judged_there(FULL, &server, only(tools.path())).await, @"
    nobody could ask whether the release is healthy
      GET http://127.0.0.1:PORT/up?x=1 could not be asked: the server forbids forwarding, and wget, which is all there is, would show the headers to everybody
    hint: install curl on the host; `AllowTcpForwarding local` in its sshd_config does without
    ");
    let tls = format!("{ONCE}http = \"https://127.0.0.1:PORT/up\"");
    assert_snapshot!(judged_there(&tls, &server, only(tools.path())).await, @"
    nobody could ask whether the release is healthy
      GET https://127.0.0.1:PORT/up could not be asked: the server forbids forwarding, and wget, which is all there is, cannot be told whom to trust
    hint: install curl on the host; `AllowTcpForwarding local` in its sshd_config does without
    ");
    let tcp = format!("{ONCE}tcp = \"127.0.0.1:PORT\"");
    assert_snapshot!(judged_there(&tcp, &server, only(tools.path())).await, @"
    nobody could ask whether the release is healthy
      TCP 127.0.0.1:PORT could not be asked: the server forbids forwarding, and curl is not there
    hint: install curl on the host; `AllowTcpForwarding local` in its sshd_config does without
    ");
    assert_eq!(server.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn a_host_with_neither_says_what_to_do() {
    let tools = tools_without(&["curl", "wget"]);
    let server = Server::start(&["200 OK"]).await;
    let http = format!("{OFTEN}http = \"http://127.0.0.1:PORT/up\"");
    assert_snapshot!(judged_there(&http, &server, only(tools.path())).await, @"
    nobody could ask whether the release is healthy
      GET http://127.0.0.1:PORT/up could not be asked: the server forbids forwarding, and neither curl nor wget is there
    hint: install curl on the host; `AllowTcpForwarding local` in its sshd_config does without
    ");
    // Through a session that forwards nothing is missing.
    let mut world = world(&http, &server).await;
    world.connect = Box::new(Local(only(tools.path())));
    assert_eq!(outcome(&world, &server).await, "done");
}
