//! A server to be asked for its health, and deploys that ask it.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use shipit::config::file::ConfigFile;
use shipit::config::gather::gather;
use shipit::config::resolve::Overrides;
use shipit::config::{Health, Host};
use shipit::deploy::context::Connect;
use shipit::deploy::outcome::HostResult;
use shipit::remote::local::LocalSession;
use shipit::remote::session::{ByteStream, Channel, Session, SessionError};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::session::no_dial;
use super::world::World;

/// A server that answers the first request with the first of its answers and so on, and all further
/// ones with the last. An answer is the end of a status line, ` to ` and a place if it leads there,
/// and a body; without any it says nothing.
pub(crate) struct HealthServer {
    pub(crate) port: u16,
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
}

/// Returns how a server shows one of the certificates.
pub(crate) fn server_config(certificate: &str) -> ServerConfig {
    let shown = CertificateDer::from_pem_file(certificates().join(certificate)).unwrap();
    let key = PrivateKeyDer::from_pem_file(certificates().join("server.key")).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![shown], key)
        .unwrap()
}

impl HealthServer {
    pub(crate) async fn start(answers: &[&str]) -> Self {
        Self::listen(answers, None).await
    }

    /// With one of the certificates.
    pub(crate) async fn secure(answers: &[&str], certificate: &str) -> Self {
        Self::listen(answers, Some(TlsAcceptor::from(Arc::new(server_config(certificate))))).await
    }

    pub(crate) async fn listen(answers: &[&str], tls: Option<TlsAcceptor>) -> Self {
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

    /// Waits until a request has arrived.
    pub(crate) async fn is_asked(&self) {
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

pub(crate) async fn answer(
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
        // Stays silent until the client disconnects.
        return stream.read_u8().await.ok().map(|_| ());
    };
    let (status, body) = answer.split_once('\n').unwrap_or((answer, ""));
    let (status, place) = status.split_once(" to ").unwrap_or((status, "/elsewhere"));
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nLocation: {place}\r\n\
         Connection: close\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await.ok()?;
    stream.shutdown().await.ok()
}

pub(crate) fn certificates() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/certificates"))
}

/// A session with a server that does not forward.
pub(crate) struct NoForwarding(LocalSession);

impl Session for NoForwarding {
    fn exec<'a>(&'a self, command: &'a str) -> BoxFuture<'a, Result<Channel, SessionError>> {
        self.0.exec(command)
    }

    no_dial!();
}

/// The way over a session that is there already.
pub(crate) struct OverSession(Arc<dyn Session>);

impl Connect for OverSession {
    fn connect<'a>(&'a self, _: &'a Host) -> BoxFuture<'a, Result<Arc<dyn Session>, SessionError>> {
        Box::pin(async move { Ok(Arc::clone(&self.0)) })
    }
}

/// Returns the checks of this text, with the values in it fetched.
pub(crate) async fn health(text: &str) -> Health {
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
pub(crate) async fn world_judged_by(text: &str, server: &HealthServer) -> World {
    let mut world = World::new();
    world.config.health = health(&text.replace("PORT", &server.port.to_string())).await;
    world
}

/// Deploys, and returns the outcome as people read it.
pub(crate) async fn outcome(world: &World, server: &HealthServer) -> String {
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

/// Returns the outcome of a deploy with these checks, made through the session.
pub(crate) async fn judged(text: &str, server: &HealthServer) -> String {
    outcome(&world_judged_by(text, server).await, server).await
}

/// Returns the outcome of a deploy with these checks over a session of another kind.
pub(crate) async fn judged_over(
    text: &str,
    server: &HealthServer,
    session: Arc<dyn Session>,
) -> String {
    let mut world = world_judged_by(text, server).await;
    world.connect = Box::new(OverSession(session));
    outcome(&world, server).await
}

/// Returns the outcome of a deploy with these checks where the server does not forward.
pub(crate) async fn judged_there(
    text: &str,
    server: &HealthServer,
    session: LocalSession,
) -> String {
    judged_over(text, server, Arc::new(NoForwarding(session))).await
}
