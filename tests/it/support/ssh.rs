//! Connections over SSH, and the commands run over them.

use std::collections::BTreeMap;
use std::future::Future;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use shipit::config::{Address, Host, SshSettings};
use shipit::remote::session::{Channel, Exit, Output, Session, SessionError};
use shipit::ssh::connect::{Callbacks, Connector, Weight};
use shipit::ssh::expand::LocalEnv;
use shipit::ssh::given::GivenTexts;
use tokio::io::AsyncWriteExt as _;

use super::bytes::random_bytes;

/// Only a test that hangs takes this long.
pub(crate) const HANG: Duration = Duration::from_secs(30);

/// A test that hangs fails.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, what).await.unwrap()
}

/// A user, who records what is shown and asked.
#[derive(Clone, Default)]
pub(crate) struct User {
    pub(crate) passphrase: Option<&'static str>,
    /// The answer to every question of a server.
    pub(crate) answer: Option<&'static str>,
    pub(crate) questions: Arc<Mutex<Vec<String>>>,
    pub(crate) asked: Arc<Mutex<Vec<PathBuf>>>,
    pub(crate) notices: Arc<Mutex<Vec<String>>>,
    pub(crate) warnings: Arc<Mutex<Vec<String>>>,
}

impl User {
    pub(crate) fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    pub(crate) fn notices(&self) -> String {
        self.notices.lock().unwrap().join("\n")
    }

    pub(crate) fn warnings(&self) -> String {
        self.warnings.lock().unwrap().join("\n")
    }

    pub(crate) fn callbacks(&self) -> Callbacks {
        let (asking, telling, answering) = (self.clone(), self.clone(), self.clone());
        Callbacks {
            passphrase: Arc::new(move |path: &Path| {
                asking.asked.lock().unwrap().push(path.to_path_buf());
                asking.passphrase.map(str::to_owned)
            }),
            question: Arc::new(move |question, seen| {
                let question = format!("{question}{}", if seen { " (seen)" } else { "" });
                answering.questions.lock().unwrap().push(question);
                answering.answer.map(str::to_owned)
            }),
            notice: Arc::new(move |_, weight, text| {
                if weight == Weight::Warning {
                    telling.warnings.lock().unwrap().push(text.to_owned());
                }
                telling.notices.lock().unwrap().push(text.to_owned());
            }),
        }
    }
}

pub(crate) fn around(home: &Path, ssh: &str) -> LocalEnv {
    LocalEnv {
        home: home.to_path_buf(),
        cwd: home.to_path_buf(),
        user: whoami(),
        hostname: "laptop".to_owned(),
        env: BTreeMap::new(),
        ssh: PathBuf::from(ssh),
        given: GivenTexts::default(),
    }
}

pub(crate) fn whoami() -> String {
    let out = std::process::Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

pub(crate) fn connector(user: &User, settings: &SshSettings, around: LocalEnv) -> Arc<Connector> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    Connector::new(settings, around, user.callbacks(), now)
}

pub(crate) fn host(name: &str, port: Option<u16>) -> Host {
    let address = Address::Ssh { host: name.to_owned(), user: None, port, fingerprint: None };
    Host { name: name.to_owned(), address, roles: Vec::new() }
}

/// A private file.
pub(crate) fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Everything a command said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) out: Vec<u8>,
    pub(crate) err: Vec<u8>,
    pub(crate) exit: Option<Exit>,
}

impl Ran {
    pub(crate) fn text(&self) -> String {
        let exit = self.exit.as_ref().map_or("nobody knows how it ended".into(), Exit::to_string);
        let (out, err) = (String::from_utf8_lossy(&self.out), String::from_utf8_lossy(&self.err));
        format!("out={out:?} err={err:?} {exit}")
    }
}

/// Runs `command` with `input` as its standard input.
pub(crate) async fn run(session: &dyn Session, command: &str, input: &[u8]) -> Ran {
    soon(async {
        let channel = session.exec(command).await.unwrap();
        let Channel { input: mut stdin, output } = channel;
        let feed = async {
            let _ = stdin.write_all(input).await;
            let _ = stdin.shutdown().await;
        };
        tokio::join!(feed, collect(output)).1
    })
    .await
}

pub(crate) async fn collect(mut output: tokio::sync::mpsc::Receiver<Output>) -> Ran {
    let mut ran = Ran::default();
    while let Some(piece) = output.recv().await {
        assert!(ran.exit.is_none(), "the exit is the last word");
        match piece {
            Output::Stdout(bytes) => ran.out.extend_from_slice(&bytes),
            Output::Stderr(bytes) => ran.err.extend_from_slice(&bytes),
            Output::Exit(exit) => ran.exit = Some(exit),
        }
    }
    ran
}

/// The error and its causes, one a line, then the hint.
pub(crate) fn told(error: &SessionError) -> String {
    let mut lines = vec![error.to_string()];
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        lines.push(format!("cause: {cause}"));
        source = cause.source();
    }
    if let SessionError::Auth { tried, .. } = error {
        lines.extend(tried.iter().map(|line| format!("tried: {line}")));
    }
    lines.extend(error.hint().map(|hint| format!("hint: {hint}")));
    lines.join("\n")
}

/// Says why a test has nothing to do.
#[expect(clippy::print_stdout, reason = "whoever runs the tests should know")]
pub(crate) fn skipped(why: &str) {
    println!("skipped: {why}");
}

/// `Result::unwrap_err` wants `Debug`, which sessions do not have.
pub(crate) fn refusal(result: Result<Arc<dyn Session>, SessionError>) -> SessionError {
    match result {
        Ok(_) => panic!("it should not have connected"),
        Err(error) => error,
    }
}

/// Uploads to a command that kills its own sshd meanwhile: it ends at once, without an exit code.
pub(crate) async fn kill_sshd_during_upload(session: &dyn Session) {
    let killer = "head -c 3000000 >/dev/null; p=$PPID; exec 0<&-; \
                  case $(cat /proc/$p/comm) in sshd*) ;; *) p=$(ps -o ppid= -p $p);; esac; \
                  kill -9 $p; sleep 20";
    let began = Instant::now();
    let ran = run(session, killer, &random_bytes(32 << 20)).await;
    assert_eq!(ran.exit, None, "{}", ran.text());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
