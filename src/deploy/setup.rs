//! Prepares hosts for an app, as root: the user who deploys, directories, linked files, what sudo
//! allows. One script in one command does all steps of a host, or looks at them.

use std::path::Path;

use tokio::io::AsyncWriteExt as _;

use super::check::{groups, sudo_commands, sudo_file};
use super::context::RunContext;
use super::outcome::Failure;
use super::pool::for_hosts;
use super::query::Answers;
use crate::config::{Config, Host};
use crate::model::link::SharedKind;
use crate::model::service::Scope;
use crate::remote::quote::word;
use crate::remote::session::{Exit, Output, Session};

const SCRIPT: &str = include_str!("setup.sh");

/// Starts a shell as root that reads the script from its input.
const START: &str = "login=$(id -un); if [ \"$(id -u)\" = 0 ]; then exec sh -s \"$login\"; \
     else exec sudo -n -- sh -s \"$login\"; fi";

/// The group whose members may read the journal, which shows why a release failed.
const JOURNAL: &str = "systemd-journal";
/// Members of this group may ask the daemon of docker for anything.
const DOCKER: &str = "docker";

/// The names that a template of a linked file may have, after its own.
const TEMPLATES: [&str; 4] = [".example", ".sample", ".template", ".dist"];

/// One thing that a host needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetupStep {
    /// The user exists and may log in with the keys of whoever logs in now.
    Account,
    /// The user is a member of the group, which is made if `make` is set and it is missing.
    Member { group: String, make: bool },
    /// The user can write there.
    Directory { path: String },
    /// The linked file is there, else it gets the content of a template.
    File { path: String, template: String, content: String },
    /// sudo allows the commands.
    Rules { file: String, commands: Vec<String> },
    /// The user's units run while the user is not logged in.
    Linger,
    /// The linked file is there; without a template only a person can bring it.
    Brought { path: String, linked: String },
}

/// The work of the script: only to look, or also to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetupMode {
    Look,
    Do,
}

/// The result of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepState {
    /// It was as wanted.
    Same,
    /// It is not as wanted.
    Differs,
    /// It was not as wanted, and now is.
    Done,
    /// It could not be done; the host said why.
    Failed(String),
    /// An earlier step failed.
    Skipped,
}

/// The answer of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSteps {
    /// The user who will deploy.
    pub user: String,
    pub steps: Vec<(SetupStep, StepState)>,
}

/// The steps of one host.
#[derive(Debug, Clone)]
pub struct HostSetup {
    /// The user who will deploy; `None`: the one who logs in.
    pub user: Option<String>,
    pub steps: Vec<SetupStep>,
}

impl HostSetup {
    /// Returns what a host needs. `user` is named if another one logs in to prepare the host.
    pub fn of(config: &Config, host: &Host, user: Option<String>) -> Self {
        let account = user.is_some().then_some(SetupStep::Account).into_iter();
        let units = || config.services_on(host).flat_map(|service| config.units_of(service));
        let system = units().any(|unit| unit.scope == Scope::System);
        let groups = groups(config, host).into_iter();
        let groups = groups.map(|group| SetupStep::Member { group, make: true });
        let member = |group: &str| SetupStep::Member { group: group.to_owned(), make: false };
        let journal = system.then(|| member(JOURNAL));
        let docker = config.services_on(host).filter_map(|service| service.image.as_ref());
        let docker = { docker }.any(|image| image.engine == [DOCKER]).then(|| member(DOCKER));
        let linger = units().any(|unit| unit.scope == Scope::User).then_some(SetupStep::Linger);
        let commands = sudo_commands(config, host);
        let rules = (config.sudo.tells() && !commands.is_empty())
            .then(|| SetupStep::Rules { file: sudo_file("shipit", &config.app), commands });
        let root = SetupStep::Directory { path: config.layout.root().to_owned() };
        let (files, brought): (Vec<_>, Vec<_>) =
            linked(config).partition(|step| matches!(step, SetupStep::File { .. }));
        let steps = account.chain(groups).chain(journal).chain(docker).chain([root]).chain(files);
        Self { user, steps: steps.chain(rules).chain(linger).chain(brought).collect() }
    }
}

/// Returns the linked files that must be there.
fn linked(config: &Config) -> impl Iterator<Item = SetupStep> {
    let needed = |kind: &SharedKind| matches!(kind, SharedKind::File { optional: false });
    config.links.iter().filter(move |link| needed(&link.kind)).map(|link| {
        let path = config.layout.shared(&link.path);
        match template(&config.base, &link.path) {
            Some((template, content)) => SetupStep::File { path, template, content },
            None => SetupStep::Brought { path, linked: link.path.clone() },
        }
    })
}

/// Returns the path and the content of the template of a linked file.
fn template(base: &Path, linked: &str) -> Option<(String, String)> {
    TEMPLATES.iter().find_map(|end| {
        let path = format!("{linked}{end}");
        let content = std::fs::read_to_string(base.join(&path)).ok()?;
        Some((path, content))
    })
}

/// Looks at the steps of every host, or does them. `setups` are in the order of the config.
pub async fn each(cx: RunContext<'_>, setups: &[HostSetup], mode: SetupMode) -> Answers<HostSteps> {
    let hosts = cx.config.hosts.iter().zip(setups).map(|(host, setup)| async move {
        let answer = async {
            let session = cx.connect.connect(host).await?;
            let said = run(&*session, &script(setup, mode)).await;
            session.close().await;
            said.and_then(|said| read(&said, setup))
        };
        (host.name.clone(), answer.await)
    });
    for_hosts(cx.config.parallel, hosts).await
}

/// Returns the script for the steps of a host.
pub fn script(setup: &HostSetup, mode: SetupMode) -> String {
    let mode = if mode == SetupMode::Look { "look" } else { "do" };
    let user = word(setup.user.as_deref().unwrap_or_default());
    let mut text = format!("mode={mode} user={user}\n{SCRIPT}\n");
    for (number, step) in setup.steps.iter().enumerate() {
        let words: Vec<_> = step.words().iter().map(|text| word(text)).collect();
        text.extend([format!("step {number} {}\n", words.join(" "))]);
    }
    text + "echo end\n"
}

impl SetupStep {
    /// Returns its name in the script, and its arguments.
    fn words(&self) -> Vec<String> {
        let words = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect();
        match self {
            Self::Account => words(&["account"]),
            Self::Member { group, make } => {
                words(&["member", group, if *make { "yes" } else { "no" }])
            }
            Self::Directory { path } => words(&["directory", path]),
            Self::File { path, content, .. } => words(&["file", path, content]),
            Self::Rules { file, commands } => words(&["rules", file, &commands.join("\n")]),
            Self::Linger => words(&["linger"]),
            Self::Brought { path, .. } => words(&["brought", path]),
        }
    }
}

/// Runs the script as root and returns what it prints.
async fn run(session: &dyn Session, script: &str) -> Result<String, Failure> {
    let mut channel = session.exec(&format!("exec /bin/sh -c {}", word(START))).await?;
    let (mut out, mut err, mut end) = (Vec::new(), Vec::new(), None);
    let mut input = channel.input;
    let write = async move {
        // The shell may end before it has read everything; what it says then counts. A pipe ends
        // only when it is dropped.
        let _ = input.write_all(script.as_bytes()).await;
        let _ = input.shutdown().await;
        drop(input);
    };
    let read = async {
        while let Some(piece) = channel.output.recv().await {
            match piece {
                Output::Stdout(bytes) => out.extend_from_slice(&bytes),
                Output::Stderr(bytes) => err.extend_from_slice(&bytes),
                Output::Exit(exit) => end = Some(exit),
            }
        }
    };
    futures::join!(write, read);
    let [out, err] = [out, err].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    match end {
        Some(Exit::Code(0)) if out.ends_with("end\n") => Ok(out),
        _ if out.starts_with("user ") => {
            Err(Failure::new("contact was lost, and nobody knows which steps were done")
                .because(err))
        }
        _ => Err(Failure::new("could not become root").because(err).hint(
            "`shipit setup --as root`, or another user whom sudo asks for no password".to_owned(),
        )),
    }
}

/// Reads what the script printed.
fn read(said: &str, setup: &HostSetup) -> Result<HostSteps, Failure> {
    let mut lines = said.lines().peekable();
    let unclear = || Failure::new("the answer of the host is not understood");
    let user = lines.next().and_then(|line| line.strip_prefix("user ")).ok_or_else(unclear)?;
    let mut steps = Vec::new();
    for (number, step) in setup.steps.iter().enumerate() {
        let line = lines.next().ok_or_else(unclear)?;
        let state = line.strip_prefix(&format!("{number} ")).ok_or_else(unclear)?;
        let mut why = Vec::new();
        while let Some(line) = lines.next_if(|line| line.starts_with('|')) {
            why.push(line.trim_start_matches(['|', ' ']));
        }
        let state = match state {
            "same" => StepState::Same,
            "differs" => StepState::Differs,
            "done" => StepState::Done,
            "failed" => StepState::Failed(why.join("\n")),
            "skipped" => StepState::Skipped,
            _ => return Err(unclear()),
        };
        steps.push((step.clone(), state));
    }
    Ok(HostSteps { user: user.to_owned(), steps })
}
