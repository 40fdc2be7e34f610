//! Hosts that are no hosts: they lie, babble or say nothing. None may make a run hang, fill the
//! memory, end in a panic or be called done. Time is tokio's and stands still while nobody waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use shipit::config::Host;
use shipit::deploy::context::Connect;
use shipit::deploy::outcome::{Report, RunOutcome};
use shipit::model::layout::Layout;
use shipit::remote::conversation::{Agent, Hello, Scan};
use shipit::remote::order::Order;
use shipit::remote::session::{ByteStream, Channel, Exit, Output, Session, SessionError};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, DuplexStream};
use tokio::sync::mpsc::{self, Sender};
use tokio::time::{Instant, sleep, timeout};

use crate::support::session::no_dial;
use crate::support::world::World;

/// Size of one write of endless output, in bytes.
const PIECE: usize = 32 * 1024;

/// A host without a live release, with trash to delete.
const GREETING: &str = "clock 1787302800\nkey 00\nleftover .shipit/run/old\n";

/// The misbehaviour of a host in place of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Garbage,
    /// A frame of this claimed size.
    Long(&'static str),
    /// A frame that is longer or shorter than its size.
    Short,
    /// Silence, without an exit.
    Silent,
    Ends,
    Babbles,
    /// A size without an end.
    Digits,
    /// Answers to requests that were never sent.
    Frames,
    /// Endless output on standard error.
    Wails,
}

const MANNERS: [Manner; 11] = [
    Manner::Garbage,
    Manner::Long("18446744073709551615"),
    Manner::Long("99999999999999999999999"),
    Manner::Long("-1"),
    Manner::Short,
    Manner::Silent,
    Manner::Ends,
    Manner::Babbles,
    Manner::Digits,
    Manner::Frames,
    Manner::Wails,
];

/// A host that answers every order as if it were obeyed, until it hears the one that it does not
/// like: `greeting`, `receive`, or a verb.
#[derive(Debug, Clone)]
struct Hostile {
    manner: Manner,
    at: &'static str,
    greeting: Arc<str>,
    /// The delay of each answer.
    pause: Duration,
    /// Bytes that shipit took from it while it misbehaved.
    taken: Arc<AtomicUsize>,
}

impl Connect for Hostile {
    fn connect<'a>(&'a self, _: &'a Host) -> BoxFuture<'a, Result<Arc<dyn Session>, SessionError>> {
        Box::pin(async { Ok(Arc::new(self.clone()) as Arc<dyn Session>) })
    }
}

impl Session for Hostile {
    fn exec<'a>(&'a self, command: &'a str) -> BoxFuture<'a, Result<Channel, SessionError>> {
        let (input, heard) = tokio::io::duplex(64 * 1024);
        let (said, output) = mpsc::channel(64);
        if command.contains("'serve'") {
            let arguments = command.split("'serve' run='").nth(1).unwrap();
            let run = arguments.split('\'').next().unwrap().to_owned();
            let first = ["drift", "base"].into_iter().filter(|verb| arguments.contains(verb));
            tokio::spawn(self.clone().serve(run, first.count(), heard, said));
        } else {
            tokio::spawn(self.clone().receive(heard, said));
        }
        Box::pin(async move { Ok(Channel { input: Box::pin(input), output }) })
    }

    no_dial!();
}

impl Hostile {
    fn new(manner: Manner, at: &'static str) -> Self {
        let greeting = GREETING.into();
        Self { manner, at, greeting, pause: Duration::ZERO, taken: Arc::default() }
    }

    async fn serve(self, run: String, first: usize, heard: DuplexStream, said: Sender<Output>) {
        let mut lines = BufReader::new(heard).lines();
        if self.at == "greeting" {
            return self.misbehave(&run, &said).await;
        }
        let greeting = frame(&run, &self.greeting);
        let _ = said.send(greeting).await;
        for _ in 0..first {
            let _ = said.send(frame(&run, "")).await;
        }
        let mut inline_upload = Vec::new();
        while let Ok(Some(line)) = lines.next_line().await {
            let words: Vec<_> = line.split('\'').collect();
            let verb = words.get(1).copied().unwrap_or_default();
            if verb == "unpack" {
                inline_upload.resize(words[5].parse().unwrap(), 0);
            }
            // It follows the lines that belong together.
            if !line.starts_with("& ") {
                lines.get_mut().read_exact(&mut inline_upload).await.unwrap();
                inline_upload.clear();
            }
            sleep(self.pause).await;
            match verb {
                _ if verb == self.at => return self.misbehave(&run, &said).await,
                "" => {}
                "bye" => return,
                _ if said.send(frame(&run, verb)).await.is_err() => return,
                _ => {}
            }
        }
    }

    async fn receive(self, mut heard: DuplexStream, said: Sender<Output>) {
        if self.at == "receive" {
            return self.misbehave("", &said).await;
        }
        let _ = heard.read_to_end(&mut Vec::new()).await;
        let _ = said.send(Output::Exit(Exit::Code(0))).await;
    }

    /// Until nobody listens. It pauses now and then, for time stands still without a wait.
    async fn misbehave(&self, run: &str, said: &Sender<Output>) {
        if self.manner == Manner::Digits {
            let _ = said.send(out(format!("{run} out "))).await;
        }
        loop {
            let (piece, again) = self.manner.piece(run);
            let Some(piece) = piece else { break };
            let size = piece_size(&piece);
            if said.send(piece).await.is_err() || !again {
                break;
            }
            self.taken.fetch_add(size, Ordering::SeqCst);
            sleep(Duration::from_millis(250)).await;
        }
        if self.manner != Manner::Ends {
            said.closed().await;
        }
    }
}

impl Manner {
    /// The output, and whether it is repeated for ever.
    fn piece(self, run: &str) -> (Option<Output>, bool) {
        match self {
            Self::Garbage => (Some(out("\u{0}\u{1b}[2J\u{202e}\r\n".repeat(9))), false),
            Self::Long(size) => (Some(out(format!("{run} out {size}\n"))), false),
            Self::Short => (Some(out(format!("{run} out 3\n{run} done 0\n{run} done 0\n"))), false),
            Self::Silent | Self::Ends => (None, false),
            Self::Babbles => (Some(out("x".repeat(PIECE))), true),
            Self::Digits => (Some(out("0".repeat(PIECE))), true),
            Self::Frames => (Some(out(format!("{run} out 0\n{run} done 0\n").repeat(99))), true),
            Self::Wails => (Some(Output::Stderr(vec![b'!'; PIECE].into())), true),
        }
    }
}

fn out(text: String) -> Output {
    Output::Stdout(text.into())
}

fn frame(run: &str, text: &str) -> Output {
    out(format!("{run} out {}\n{text}{run} done 0\n", text.len()))
}

const fn piece_size(piece: &Output) -> usize {
    match piece {
        Output::Stdout(bytes) => bytes.len(),
        _ => 0,
    }
}

/// A deploy to one such host: its report, and how long it took by tokio's clock.
async fn deploy(host: &Hostile) -> (Report, Duration) {
    let mut world = World::new();
    world.connect = Box::new(host.clone());
    world.ballast = if host.at == "receive" { 1_200_000 } else { 0 };
    let began = Instant::now();
    let report = world.deploy("1").await;
    (report, began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn well_behaved_host_is_done() {
    let (report, _) = deploy(&Hostile::new(Manner::Ends, "never")).await;
    assert_eq!(report.verdict(), RunOutcome::Done, "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn misbehaving_host_is_never_done() {
    const VERBS: [&str; 10] = [
        "greeting", "receive", "unpack", "check", "env", "revision", "seal", "stage", "activate",
        "commit",
    ];
    for manner in MANNERS {
        for at in VERBS {
            // The first of its many answers is one to the commit: it says that it is done.
            if (manner, at) == (Manner::Frames, "commit") {
                continue;
            }
            let host = Hostile::new(manner, at);
            let (report, took) = deploy(&host).await;
            let case = format!("{manner:?} at {at}");
            assert_ne!(report.verdict(), RunOutcome::Done, "{case}: {report:?}");
            // Orders that belong together may each take as long as they may alone.
            assert!(took < Duration::from_mins(55), "{case} took {took:?}");
            // An upload's channel may say what it likes: only the last of it is kept.
            let taken = host.taken.load(Ordering::SeqCst);
            assert!(at == "receive" || taken < 4 << 20, "{case}: {taken} bytes were taken");
        }
    }
}

/// A user who stops a run abandons a request that the host answers nevertheless.
#[tokio::test(start_paused = true)]
async fn late_answer_is_not_taken_for_the_next() {
    let pause = Duration::from_secs(10);
    let host = Arc::new(Hostile { pause, ..Hostile::new(Manner::Ends, "never") });
    let hello = Hello {
        run: "run1".to_owned(),
        lock: true,
        layout: Layout::new("/srv/todo"),
        owner: "ada".to_owned(),
        services: Vec::new(),
        slots: Vec::new(),
        hook_shell: Vec::new(),
        sudo: "sudo -n".to_owned(),
        deadline: Duration::from_mins(1),
        scan: Scan::No,
        veil: String::new(),
        env_file: ".env".to_owned(),
        first: Vec::new(),
    };
    let (agent, _) = Agent::open(host, hello).await.unwrap();
    assert!(timeout(pause / 2, agent.ask(&Order::CleanUp { keep: None })).await.is_err());
    let answer = agent.ask(&Order::Commit { hooks: Duration::ZERO }).await.unwrap();
    assert_eq!(answer.text, "commit");
}

/// Bytes after the verdict cannot change it.
#[tokio::test(start_paused = true)]
async fn misbehaviour_after_commit_is_done_with_a_warning() {
    for manner in MANNERS.into_iter().filter(|manner| *manner != Manner::Frames) {
        let (report, took) = deploy(&Hostile::new(manner, "sweep")).await;
        assert_eq!(report.verdict(), RunOutcome::Done, "{manner:?}: {report:?}");
        assert!(!report.warnings.is_empty(), "{manner:?}");
        assert!(took < Duration::from_mins(40), "{manner:?} took {took:?}");
    }
}
