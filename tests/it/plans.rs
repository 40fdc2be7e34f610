//! The plan is what is executed: the orders that hosts are sent are those that a dry run planned,
//! for every small state of a host. An agent in memory says yes to everything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use shipit::config::Host;
use shipit::deploy::context::Connect;
use shipit::deploy::goal::{Goal, PruneRule};
use shipit::model::ledger::{Entry, LedgerEvent};
use shipit::model::link::{SharedKind, SharedLink};
use shipit::remote::order::Order;
use shipit::remote::session::{ByteStream, Channel, Exit, Output, Session, SessionError};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, DuplexStream, duplex};
use tokio::sync::mpsc;

use crate::support::session::no_dial;
use crate::support::world::{World, hook, host, staged};

/// Orders that change nothing, and those that belong to the conversation.
const QUESTIONS: [&str; 6] = ["look", "lock", "drift", "base", "judge", "bye"];

/// A host as the agent in memory describes it.
#[derive(Debug, Clone, Default)]
struct Model {
    current: Option<String>,
    releases: Vec<(String, char)>,
    ledger: Vec<Entry>,
}

impl Model {
    /// `"g r g*"`: three releases, the last one live; letters as in `laws`, and `b` for one that
    /// the host reverted by itself.
    fn new(text: &str) -> Self {
        let mut model = Self::default();
        for (n, word) in text.split_whitespace().enumerate() {
            let (id, letter) = (format!("202608210800{:02}", n + 1), word.chars().next().unwrap());
            if word.ends_with('*') {
                model.current = Some(id.clone());
            }
            model.happened(&id, crate::laws::events(letter));
            if letter == 'w' {
                model.ledger.last_mut().unwrap().expires = Some("2099-01-01T00:00:00Z".to_owned());
            }
            model.releases.push((id, letter));
        }
        model
    }

    fn happened(&mut self, id: &str, events: &[LedgerEvent]) {
        self.ledger.extend(events.iter().map(|event| {
            let back = (*event == LedgerEvent::Activated).then(String::new);
            let reason = (*event == LedgerEvent::Reverted).then(|| "end of input".to_owned());
            Entry { run: format!("of{id}"), back, reason, ..Entry::new(*event, id) }
        }));
    }

    fn look(&self) -> String {
        let mut text = "clock 1787300000\nuser deploy\nkey abc\n".to_owned();
        text.extend(self.current.iter().map(|id| format!("current releases/{id}\n")));
        for (id, letter) in &self.releases {
            let made = if *letter == 'o' { String::new() } else { format!("made {id}\n") };
            let begun = if *letter == 'x' { format!("begun {id}\n") } else { String::new() };
            text.extend([format!("release {id}\n"), made, begun]);
        }
        let line = |entry| format!("ledger {}\n", serde_json::to_string(entry).unwrap());
        text.extend(self.ledger.iter().map(line));
        text
    }

    /// Does what an order says, as far as a later look shows it.
    fn obey(&mut self, line: &str) {
        let verb = verb(line);
        match verb {
            "conclude" => self.happened(&named(line), &[LedgerEvent::Reverted]),
            "activate" => {
                self.current = Some(named(line));
                self.happened(&named(line), &[LedgerEvent::Activated]);
            }
            "commit" => {
                let id = self.current.clone().unwrap();
                self.happened(&id, &[LedgerEvent::Committed]);
            }
            _ => {}
        }
    }
}

/// A line without what says how it belongs to others.
fn bare(line: &str) -> &str {
    let line = line.strip_prefix("& ").unwrap_or(line);
    line.strip_prefix("+ ").unwrap_or(line)
}

fn verb(line: &str) -> &str {
    bare(line).split(' ').next().unwrap().trim_matches('\'')
}

/// The first release that a line names.
fn named(line: &str) -> String {
    let digits = |at: &usize| line[*at..].bytes().take_while(u8::is_ascii_digit).count() == 14;
    let at = (0..line.len()).find(digits).unwrap_or_else(|| panic!("no release in {line}"));
    line[at..at + 14].to_owned()
}

/// Hosts in memory, by name, and the lines that each was sent.
#[derive(Clone, Default)]
struct Hosts {
    models: Arc<Mutex<BTreeMap<String, Model>>>,
    sent: Arc<Mutex<Vec<(String, String)>>>,
}

impl Connect for Hosts {
    fn connect<'a>(
        &'a self,
        host: &'a Host,
    ) -> BoxFuture<'a, Result<Arc<dyn Session>, SessionError>> {
        let session = Scripted { hosts: self.clone(), name: host.name.clone() };
        Box::pin(async move { Ok(Arc::new(session) as Arc<dyn Session>) })
    }
}

struct Scripted {
    hosts: Hosts,
    name: String,
}

impl Session for Scripted {
    fn exec<'a>(&'a self, command: &'a str) -> BoxFuture<'a, Result<Channel, SessionError>> {
        let (input, lines) = duplex(1 << 20);
        let (output, heard) = mpsc::channel(64);
        let run = command.find("run00000").map(|at| &command[at..at + 16]);
        let agent = Agent {
            run: run.unwrap().to_owned(),
            first: usize::from(command.contains("drift")),
            hosts: self.hosts.clone(),
            name: self.name.clone(),
            output,
        };
        tokio::spawn(agent.serve(BufReader::new(lines)));
        Box::pin(async move { Ok(Channel { input: Box::pin(input), output: heard }) })
    }

    no_dial!();
}

struct Agent {
    run: String,
    /// The number of requests that came with the greeting.
    first: usize,
    hosts: Hosts,
    name: String,
    output: mpsc::Sender<Output>,
}

impl Agent {
    async fn serve(self, mut lines: BufReader<DuplexStream>) {
        let look = self.model(|model| model.look());
        self.answer(&look).await;
        for _ in 0..self.first {
            self.answer("").await;
        }
        loop {
            let mut message = Vec::new();
            loop {
                let mut line = String::new();
                if lines.read_line(&mut line).await.unwrap_or(0) == 0 {
                    return;
                }
                let more = line.starts_with("& ");
                message.push(line.trim_end().to_owned());
                if !more {
                    break;
                }
            }
            for size in message.iter().filter_map(|line| upload_size(line)) {
                lines.read_exact(&mut vec![0; size]).await.unwrap();
            }
            for line in message.iter().filter(|line| *line != "hold") {
                let text = self.obey(line);
                self.answer(&text).await;
                if verb(line) == "bye" {
                    let _ = self.output.send(Output::Exit(Exit::Code(0))).await;
                    return;
                }
            }
        }
    }

    fn obey(&self, line: &str) -> String {
        let sent = (self.name.clone(), bare(line).to_owned());
        self.hosts.sent.lock().unwrap().push(sent);
        self.model(|model| {
            model.obey(line);
            if verb(line) == "look" { model.look() } else { String::new() }
        })
    }

    fn model<T>(&self, work: impl FnOnce(&mut Model) -> T) -> T {
        work(self.hosts.models.lock().unwrap().get_mut(&self.name).unwrap())
    }

    async fn answer(&self, text: &str) {
        let run = &self.run;
        let frame = format!("{run} out {}\n{text}{run} done 0 0\n", text.len());
        let _ = self.output.send(Output::Stdout(frame.into())).await;
    }
}

/// Returns how many bytes follow the message with this line: the last number of an upload.
fn upload_size(line: &str) -> Option<usize> {
    let numbers = line.rsplit(|c: char| !c.is_ascii_digit());
    let last = numbers.into_iter().find(|number| !number.is_empty());
    last.filter(|_| verb(line) == "unpack").map(|size| size.parse().unwrap())
}

/// A stage with every kind of step that a plan may have.
fn world(names: &[&str]) -> (World, Hosts) {
    let (mut world, hosts) = (World::new(), Hosts::default());
    world.config.hosts = names.iter().map(|name| host(name)).collect();
    world.config.services.clear();
    world.config.keep = 1;
    world.config.upload.link = false;
    let link = SharedLink { path: "log".to_owned(), kind: SharedKind::File { optional: true } };
    world.config.links = vec![link];
    world.config.hooks.staged = vec![hook("migrate")];
    world.config.hooks.before_switch = vec![hook("drain")];
    world.config.hooks.switched = vec![hook("reload")];
    world.config.hooks.activated = vec![hook("warm")];
    world.config.hooks.committed = vec![hook("back")];
    world.config.hooks.reverted = vec![hook("undo")];
    world.connect = Box::new(hosts.clone());
    (world, hosts)
}

/// Compares the orders of the plan of a dry run with the lines that the hosts are sent. Returns
/// whether there was a plan.
async fn check(world: &World, hosts: &Hosts, states: &[(&str, &str)], goal: &Goal) -> bool {
    let model = |(name, text): &(&str, &str)| ((*name).to_owned(), Model::new(text));
    *hosts.models.lock().unwrap() = states.iter().map(model).collect();
    world.after_runs(40);
    let plans = world.planned(goal).await;
    hosts.sent.lock().unwrap().clear();
    if plans.iter().any(|(_, plan)| plan.is_none()) {
        return false;
    }
    world.after_runs(40);
    let report = world.run(goal).await;
    let sent = std::mem::take(&mut *hosts.sent.lock().unwrap());
    for (name, plan) in plans {
        let planned: Vec<_> = plan.unwrap().orders().iter().map(Order::line).collect();
        let here = sent.iter().filter(|(host, _)| *host == name).map(|(_, line)| line.clone());
        let changes: Vec<_> = here
            .filter(|line| !QUESTIONS.contains(&verb(line)) && verb(line) != "unpack")
            .collect();
        let context = format!("{} of {states:?} on {name}: {:?}", goal.kind(), report.hosts);
        assert_eq!(changes, planned, "{context}");
    }
    true
}

#[tokio::test]
async fn orders_sent_equal_orders_planned() {
    let (world, hosts) = world(&["web1"]);
    let deploy = world.deploy_goal("new", "A=1\n", false);
    let goals = [
        staged(&deploy),
        deploy,
        Goal::Activate(None),
        Goal::Rollback(None),
        Goal::Prune(PruneRule { keep: 1, older_than: None }),
    ];
    let mut compared = 0;
    let letters = ["g", "s", "r", "l", "u", "x", "o", "p", "w"];
    for first in letters {
        for second in letters {
            for live in 0..3 {
                let mark = |n| if n == live { "*" } else { "" };
                let state = format!("g {first}{} {second}{}", mark(1), mark(2));
                for goal in &goals {
                    compared += u32::from(check(&world, &hosts, &[("web1", &state)], goal).await);
                }
            }
        }
    }
    assert!(compared > 400, "only {compared} states had a plan");
}

#[tokio::test]
async fn orders_of_a_diverged_fleet_equal_orders_planned() {
    let (world, hosts) = world(&["web1", "web2"]);
    let goal = world.deploy_goal("new", "A=1\n", false);
    assert!(check(&world, &hosts, &[("web1", "g g*"), ("web2", "g* r")], &goal).await);
    let sent = world.warnings().concat();
    assert!(sent.contains("it is now made live there too"), "{sent}");
}
