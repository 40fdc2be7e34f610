//! The values that all hosts of a run share, and the start of a conversation with one of them.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::cancel::Cancel;
use super::event::{Event, Events};
use super::outcome::{Failure, Report};
use super::run::Run;
use crate::cache::LocalCache;
use crate::config::secrecy::Secrecy;
use crate::config::{Config, Host};
use crate::model::goal::GoalKind;
use crate::model::host_state::HostState;
use crate::model::slots::Slots;
use crate::remote::conversation::{Agent, Hello, Scan};
use crate::remote::order::Order;
use crate::remote::session::{Session, SessionError};

/// The way to reach hosts. The command line implements it with SSH, tests without.
pub trait Connect: Send + Sync {
    /// Returns a new session with `host`. Fails if the host cannot be reached.
    fn connect<'a>(
        &'a self,
        host: &'a Host,
    ) -> BoxFuture<'a, Result<Arc<dyn Session>, SessionError>>;

    /// Returns, once, the conversation with `host` that was begun before the run, if there is one.
    fn greeted<'a>(
        &'a self,
        _host: &'a Host,
    ) -> Option<BoxFuture<'a, Result<OpenConversation, Failure>>> {
        None
    }
}

/// A person who may be asked while a run waits. The command line implements it with the terminal.
pub trait Approve: Send + Sync {
    /// Asks the question and returns whether the answer is yes.
    fn approve(&self, question: String) -> BoxFuture<'_, bool>;
}

/// A conversation that has begun, and the state that the host reported.
pub struct OpenConversation {
    pub(super) session: Arc<dyn Session>,
    pub(super) agent: Agent,
    pub(super) state: HostState,
}

impl OpenConversation {
    /// Starts the agent at the other end of `session`, or returns why it did not start.
    pub async fn new(session: Arc<dyn Session>, hello: Hello) -> Result<Self, Failure> {
        let (agent, state) = Agent::open(Arc::clone(&session), hello).await?;
        Ok(Self { session, agent, state })
    }
}

/// Returns what the conversations of `run` with `host` begin with.
pub fn hello(
    config: &Config,
    host: &Host,
    run: &Run,
    lock: bool,
    scan: Scan,
    first: Vec<Order>,
) -> Hello {
    Hello {
        run: run.nonce.clone(),
        lock,
        layout: config.layout.clone(),
        owner: run.owner(),
        services: config.services_on(host).cloned().collect(),
        slots: config.slots_on(host).map(Slots::names).unwrap_or_default(),
        hook_shell: config.hooks.shell.clone(),
        sudo: config.sudo.command.join(" "),
        deadline: config.deadline,
        scan,
        veil: Secrecy::of(config).lines(),
        env_file: config.env_on(host).next().map_or(".env", |env| &env.file).to_owned(),
        first,
    }
}

/// The values that all hosts of one run share.
#[derive(Clone, Copy)]
pub struct RunContext<'a> {
    pub config: &'a Config,
    pub run: &'a Run,
    pub connect: &'a dyn Connect,
    pub events: Events<'a>,
    /// The one to ask by `confirm = "staged"`.
    pub approve: &'a dyn Approve,
    /// Whether the user asked to stop.
    pub cancel: &'a Cancel,
    /// The cache of earlier releases on this machine.
    pub cache: &'a LocalCache,
    /// Whether to wait for a lock that somebody else holds.
    pub wait: bool,
    /// Returns a report as hooks of this machine get it.
    pub told: &'a (dyn Fn(&Report) -> String + Send + Sync),
}

impl RunContext<'_> {
    /// Reports that a run with this goal begins.
    pub(super) fn begin(&self, goal: GoalKind) {
        let hosts = self.config.host_names();
        let stage = self.config.stage.clone();
        self.events.emit(Event::RunStarted { goal, stage, hosts });
    }
}
