//! The agent script under every shell, through the local session.

mod acting;
mod after;
mod functions;
mod hooks;
mod image;
mod leftovers;
mod owners;
mod packed;
mod printed;
mod protocol;
mod service;
mod sharing;
mod stream;
mod trash;
mod units;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use shipit::model::codec::Codec;
use shipit::model::hook::HookPlace;
use shipit::model::host_state::Current;
use shipit::model::layout::Layout;
use shipit::model::ledger::RevertReason;
use shipit::model::service::{Action, Scope, ServiceKind};
use shipit::remote::conversation::{Agent, Hello, Scan, Sent};
use shipit::remote::error::AgentError;
use shipit::remote::local::LocalSession;
use shipit::remote::order::{
    Activation, AgentHook, DONE, HELD, Hidden, MALFORMED, Order, REVERTED, Record, Verdicts,
};
use shipit::remote::quote::{line_word, word};
use shipit::remote::script::{IMAGES, Parts, SCRIPT, SLOTS, bare};

use crate::support::services::{command, unit};
use crate::support::shells::{session_of, shells, under_every_shell};
use crate::support::tools::{program, with_tools};

const ID: &str = "20260821090001";

/// A directory to deploy to, whose host's /bin/sh is `shell`.
struct Host {
    dir: tempfile::TempDir,
    shell: String,
}

impl Host {
    fn new(shell: &str) -> Self {
        let host = Self { dir: tempfile::tempdir().unwrap(), shell: shell.to_owned() };
        fs::create_dir_all(host.root().join("releases").join(ID)).unwrap();
        fs::create_dir_all(host.root().join("releases/20260821090000")).unwrap();
        std::os::unix::fs::symlink("releases/20260821090000", host.root().join("current")).unwrap();
        host
    }

    fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("srv")
    }

    fn hello(&self, run: &str, restart: &str) -> Hello {
        Hello {
            run: run.to_owned(),
            lock: true,
            layout: Layout::new(self.root().to_str().unwrap()),
            owner: format!("ada on laptop, run {run}"),
            services: vec![command(restart)],
            slots: Vec::new(),
            hook_shell: vec!["/bin/sh".to_owned(), "-c".to_owned()],
            sudo: "sudo -n".to_owned(),
            deadline: Duration::from_secs(2),
            scan: Scan::No,
            veil: String::new(),
            env_file: ".env".to_owned(),
            first: Vec::new(),
        }
    }

    /// The local session, with `/bin/sh` of the agent's command replaced by this host's shell.
    fn session(&self) -> Arc<LocalSession> {
        Arc::new(session_of(&self.shell, self.dir.path()))
    }

    /// Returns [`Self::session`] with these tools before those of this machine.
    fn session_with(&self, tools: &[(&str, &str)]) -> Arc<LocalSession> {
        Arc::new(with_tools(&self.session(), self.dir.path(), tools))
    }

    async fn open(
        &self,
        run: &str,
        restart: &str,
    ) -> (Agent, shipit::model::host_state::HostState) {
        Agent::open(self.session(), self.hello(run, restart)).await.unwrap()
    }

    fn live(&self) -> String {
        fs::read_link(self.root().join("current")).unwrap().display().to_string()
    }

    fn ledger(&self) -> String {
        fs::read_to_string(self.root().join(".shipit/ledger.jsonl")).unwrap_or_default()
    }

    async fn reverts(&self, within: Duration) {
        let end = Instant::now() + within;
        while !self.ledger().contains("reverted:") {
            assert!(Instant::now() < end, "{}: not back: {}", self.shell, self.ledger());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(self.live(), "releases/20260821090000", "{}", self.shell);
    }
}

fn activate() -> Order {
    Order::Activate(Box::new(activation()))
}

const fn commit() -> Order {
    Order::Commit { hooks: Duration::ZERO }
}

fn revert() -> Order {
    let cause = Hidden("it is not\nwell".to_owned());
    Order::Revert { reason: RevertReason::Unhealthy, cause, hooks: Duration::from_mins(1) }
}

/// A hook that the agent runs at `place`.
fn agent_hook(place: HookPlace, command: &str) -> AgentHook {
    AgentHook { place, command: command.to_owned(), limit: Duration::from_secs(10) }
}

fn activation() -> Activation {
    let record = |line: &str| Record { line: format!("{line} at @now@"), note: String::new() };
    Activation {
        id: ID.parse().unwrap(),
        back: "releases/20260821090000".to_owned(),
        vars: vec!["SHIPIT_HOST=it's one\n\\ of two".to_owned()],
        hooks: Vec::new(),
        slot: None,
        verdicts: Verdicts {
            activated: record("activated"),
            committed: record("committed"),
            left: None,
            reverted: record("reverted: @reason@,"),
            failed: record("stuck: @reason@,"),
        },
    }
}

under_every_shell! {
    async fn activate_then_commit_keeps_the_release(shell: &str) {
        let host = Host::new(shell);
        let (agent, state) = host.open("run000000001", "true").await;
        assert_eq!(state.holder, None, "{shell}");
        assert_eq!(state.current, Current::Release("20260821090000".parse().unwrap()));
        assert_eq!(agent.ask(&activate()).await.unwrap().code, DONE, "{shell}");
        assert_eq!(host.live(), format!("releases/{ID}"));
        assert_eq!(agent.ask(&commit()).await.unwrap().code, DONE, "{shell}");
        agent.bye().await.unwrap();
        assert!(host.ledger().contains("committed at 20"), "{shell}: {}", host.ledger());
        assert_eq!(host.live(), format!("releases/{ID}"));
        assert!(!host.root().join(".shipit/run/run000000001").exists(), "{shell}");
    }
}

under_every_shell! {
    async fn activate_with_a_failing_restart_reverts(shell: &str) {
        let host = Host::new(shell);
        let (agent, _) = host.open("run000000001", &format!("! pwd -P | grep -q {ID}")).await;
        let answer = agent.ask(&activate()).await.unwrap();
        assert_eq!(answer.code, REVERTED, "{shell}: {}", answer.text);
        assert_eq!(host.live(), "releases/20260821090000");
        assert!(host.ledger().contains("reverted: restart failed"), "{shell}");
    }
}

/// A stream with one file, small enough to go between orders.
fn inline_upload() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    header.set_mode(0o644);
    archive.append_data(&mut header, "20260821090002/VERSION", &b"+ \n"[..]).unwrap();
    archive.into_inner().unwrap()
}

under_every_shell! {
    async fn chained_orders_after_a_failure_are_skipped(shell: &str) {
        let host = Host::new(shell);
        let (agent, _) = host.open("run000000001", "true").await;
        let (good, bad) = (inline_upload(), b"'sweep'\n no archive\n".repeat(99));
        let unpack = |chained, bytes: &[u8]| {
            let (id, size) = (ID.parse().unwrap(), bytes.len());
            let order = Order::Unpack { id, codec: Codec::Plain, size };
            Sent { order, chained, bytes: vec![Bytes::copy_from_slice(bytes)] }
        };
        let look = Sent { chained: true, ..Order::Look.into() };
        let sent = [unpack(false, &good), unpack(true, &bad), unpack(true, &good), look];
        let mut sent = agent.send_all(&sent);
        sent.push(agent.send(Order::Look));
        let mut codes = Vec::new();
        for reply in sent {
            let answer = reply.get().await.unwrap();
            codes.push(if answer.code == 125 || answer.code == 0 { answer.code } else { 1 });
        }
        assert_eq!(codes, [0, 1, 125, 125, 0], "{shell}");
        let version = fs::read(host.root().join("releases/20260821090002/VERSION")).unwrap();
        assert_eq!(version, b"+ \n", "{shell}");
    }
}

under_every_shell! {
    async fn orders_of_the_greeting_are_answered_until_another_is_sent(shell: &str) {
        let host = Host::new(shell);
        fs::create_dir_all(host.root().join(".shipit/manifests")).unwrap();
        fs::write(host.root().join(".shipit/manifests/20260821090000"), "").unwrap();
        let drift = || Order::Drift { env: Vec::new() };
        let hello = Hello { first: vec![drift(), Order::Look], ..host.hello("run1", "true") };
        let (agent, _) = Agent::open(host.session(), hello).await.unwrap();
        assert_eq!(agent.ask(&Order::Look).await.unwrap().code, DONE, "{shell}");
        fs::write(host.root().join("releases/20260821090000/added"), "").unwrap();
        assert_eq!(agent.ask(&drift()).await.unwrap().text, "", "{shell}");
        assert_eq!(
            agent.ask(&drift()).await.unwrap().text,
            "is f 644 0 ./added\nis w ./added\n",
            "{shell}"
        );
    }
}

under_every_shell! {
    async fn undecided_release_at_the_end_of_input_is_reverted(shell: &str) {
        let host = Host::new(shell);
        let (agent, _) = host.open("run000000001", "true").await;
        assert_eq!(agent.ask(&activate()).await.unwrap().code, DONE);
        drop(agent);
        host.reverts(Duration::from_secs(5)).await;
        assert!(host.ledger().contains("end of input"), "{shell}: {}", host.ledger());
    }
}

under_every_shell! {
    /// Speaks the protocol by hand, so that a client can stop speaking without closing anything.
    async fn undecided_release_after_the_deadline_is_reverted(shell: &str) {
        use shipit::remote::session::Session as _;
        use tokio::io::AsyncWriteExt as _;
        let host = Host::new(shell);
        let script = bare(SCRIPT);
        let root = host.root();
        let command = format!(
            "exec /bin/sh -c {} shipit serve run=run000000001 mode=lock root={} deadline=1 owner=me \
             scope=none limit=5 scan=no env_name=.env hook_shell='/bin/sh -c' first=",
            word(&script),
            root.display(),
        );
        let mut channel = host.session().exec(&command).await.unwrap();
        let line = format!("{}\n", activate().line());
        channel.input.write_all(line.as_bytes()).await.unwrap();
        channel.input.flush().await.unwrap();
        host.reverts(Duration::from_secs(8)).await;
        assert!(host.ledger().contains("reverted: deadline"), "{shell}: {}", host.ledger());
    }
}

under_every_shell! {
    async fn lock_held_by_another_run_names_it(shell: &str) {
        let host = Host::new(shell);
        let (first, _) = host.open("run000000001", "true").await;
        let (second, state) = host.open("run000000002", "true").await;
        let holder = state.holder.unwrap_or_default();
        assert!(
            holder.starts_with("ada on laptop, run run000000001, since 20"),
            "{shell}: {holder}"
        );
        assert_eq!(second.ask(&Order::Lock).await.unwrap().code, HELD, "{shell}");
        assert_ne!(second.ask(&activate()).await.unwrap().code, DONE, "{shell}");
        first.bye().await.unwrap();
        assert_eq!(second.ask(&Order::Lock).await.unwrap().code, DONE, "{shell}");
    }
}

under_every_shell! {
    /// A run that has just taken the lock has not written its record yet.
    async fn lock_whose_record_is_being_written_names_the_holder(shell: &str) {
        let host = Host::new(shell);
        fs::create_dir(host.root().join(".shipit")).unwrap();
        let script = "touch held; sleep 0.5; echo eve >lock; exec sleep 60";
        let mut holder = Command::new("flock")
            .args(["--no-fork", "lock", "sh", "-c", script])
            .current_dir(host.root().join(".shipit"))
            .spawn()
            .unwrap();
        while !host.root().join(".shipit/held").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (_agent, state) = host.open("run000000001", "true").await;
        holder.kill().unwrap();
        holder.wait().unwrap();
        assert_eq!(state.holder.as_deref(), Some("eve"), "{shell}");
    }
}

under_every_shell! {
    async fn record_after_a_torn_ledger_line_is_a_line_of_its_own(shell: &str) {
        let host = Host::new(shell);
        let (agent, _) = host.open("run000000001", "true").await;
        fs::write(host.root().join(".shipit/ledger.jsonl"), "torn").unwrap();
        let record =
            Record { line: "whole".to_owned(), note: "'quoted' \\ note\nof two".to_owned() };
        assert_eq!(agent.ask(&Order::Record(record)).await.unwrap().code, DONE, "{shell}");
        assert_eq!(host.ledger(), "torn\nwhole\n", "{shell}");
        let log = fs::read_to_string(host.root().join("revisions.log")).unwrap();
        assert!(log.ends_with(" 'quoted' \\ note\nof two\n"), "{shell}: {log}");
        let odd = Order::Journal { lines: 1, service: None };
        assert_ne!(agent.ask(&odd).await.unwrap().code, MALFORMED, "{shell}");
    }
}

under_every_shell! {
    async fn journal_read_before_a_revert_loses_no_answer(shell: &str) {
        let host = Host::new(shell);
        let asked = host.dir.path().join("asked");
        let says = |what: &str| format!("#!/bin/sh\necho \"$*\" >>{}\n{what}\n", asked.display());
        let (journal, state) = (says("seq 30; echo started"), says("echo ActiveState=active"));
        let session = host.session_with(&[("journalctl", &journal), ("systemctl", &state)]);
        let services = vec![unit(Scope::User, Action::Restart)];
        let hello = Hello { services, ..host.hello("run000000001", "true") };
        let (agent, _) = Agent::open(session, hello).await.unwrap();
        assert_eq!(agent.ask(&activate()).await.unwrap().code, DONE, "{shell}");
        let journal = agent.ask(&Order::Journal { lines: 10, service: None }).await.unwrap();
        assert!(journal.text.ends_with(":\n22\n23\n24\n25\n26\n27\n28\n29\n30\nstarted\n"), "{shell}");
        let back = agent.ask(&revert()).await.unwrap();
        assert_eq!(back.code, DONE, "{shell}: {}", back.text);
        assert_eq!(host.live(), "releases/20260821090000", "{shell}");
        let asked = fs::read_to_string(&asked).unwrap();
        assert!(asked.contains("--since @") && asked.contains("-n 10000 "), "{shell}: {asked}");
    }
}

#[tokio::test]
async fn hook_output_without_end_is_cut_to_its_end() {
    let host = Host::new("dash");
    let (agent, _) = host.open("run000000001", "true").await;
    let hook = Order::Hook {
        name: "staged",
        id: ID.parse().unwrap(),
        command: "head -c 10000000 /dev/zero | tr '\\0' x; echo; echo \"$GREETING\"; exit 3"
            .to_owned(),
        vars: vec!["GREETING=hello 'you'".to_owned()],
        limit: Duration::from_secs(20),
    };
    let answer = agent.ask(&hook).await.unwrap();
    assert_eq!(answer.code, 1);
    assert!(answer.text.len() < 70_000);
    assert!(answer.text.ends_with("hello 'you'\n\nthe staged hook exited with code 3\n"));
}

#[tokio::test]
async fn greeting_of_what_is_no_agent_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::new("dash");
    let shell = dir.path().join("nologin");
    program(&shell, "#!/bin/sh\necho This account is not available.\nexit 1\n");
    let session = Arc::new(LocalSession::new().shell(shell.to_str().unwrap()));
    let error = Agent::open(session, host.hello("run000000001", "true")).await.err().unwrap();
    let AgentError::NoGreeting { said } = &error else { panic!("{error}") };
    assert!(said.contains("not available"), "{said}");
    assert!(error.hint().is_some());
}

#[test]
fn the_script_passes_shellcheck_and_stays_small() {
    let sent = bare(&Parts { slots: false, images: false }.script());
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(sent.as_bytes()).unwrap();
    let packed = packed.finish().unwrap().len() * 4 / 3;
    // It goes along packed in the command that starts it. A connection begins with 10 segments of
    // 1,448 bytes on their way and has twice that after its handshake: the script must fit, or a
    // greeting over a long way takes a round trip more, as with slots or images. Hosts that cannot
    // unpack it get it plain, in one argument, of which Linux allows 128 KiB.
    let plain = word(&sent).len() + word(SLOTS).len() + word(IMAGES).len();
    assert!(packed < 20 * 1448 && plain < 112 * 1024, "{packed} of {plain}");
    let joined = tempfile::NamedTempFile::new().unwrap();
    fs::write(joined.path(), SCRIPT).unwrap();
    match Command::new("shellcheck").args(["-s", "sh"]).arg(joined.path()).output() {
        Ok(out) => assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout)),
        Err(_) => assert!(
            std::env::var_os("SHIPIT_TEST_ALL_SHELLS").is_none(),
            "shellcheck is not installed"
        ),
    }
}

/// The variables that the head of the script declares as state of the conversation.
fn declared() -> Vec<&'static str> {
    let lines = SCRIPT.lines().map_while(|line| line.strip_prefix('#'));
    let named = lines.filter_map(|line| line.strip_prefix("   ")?.split_once(": "));
    named.flat_map(|(names, _)| names.trim().split(", ")).collect()
}

/// The names that a line of the script assigns: by `=`, by `read` and by `for`.
fn assigned(line: &str) -> Vec<&str> {
    let is_name =
        |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let words: Vec<_> = line.split([' ', ';', '(', '{', '&', '|']).collect();
    let mut names: Vec<_> = Vec::new();
    for (at, word) in words.iter().enumerate() {
        // Words of a command are no assignments: all before one on its line must be some too.
        let first = words[..at].iter().all(|word| {
            matches!(*word, "" | "then" | "do" | "else" | "!" | "if" | "while" | "until" | "[")
                || word.contains('=')
        });
        names.extend(word.split_once('=').map(|(name, _)| name).filter(|_| first));
    }
    if let Some((_, rest)) = line.split_once("read -r ") {
        names.extend(rest.split(' ').map_while(|word| Some(word).filter(is_name)));
    }
    if let Some(rest) = line.trim_start().strip_prefix("for ") {
        names.extend(rest.split(' ').next());
    }
    names.into_iter().filter(is_name).collect()
}

#[test]
fn every_variable_is_local_or_declared_as_state() {
    let declared = declared();
    assert!(declared.len() > 50, "the head of the script was not understood: {declared:?}");
    let (mut function, mut locals) = ("", Vec::new());
    let (mut quoted, mut goes_on) = (false, false);
    let mut broken = Vec::new();
    for line in SCRIPT.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let programs = line.matches('\'').count() % 2 == 1;
        if let Some((name, _)) = line.split_once("() ").filter(|_| !quoted) {
            (function, locals) = (name, Vec::new());
        }
        if let Some(names) = line.trim_start().strip_prefix("local ").filter(|_| !quoted) {
            locals.extend(names.split(' '));
        } else if !quoted && !goes_on && !function.is_empty() {
            let shared =
                |name: &&str| *name != "_" && !locals.contains(name) && !declared.contains(name);
            let names = assigned(line.split('\'').next().unwrap_or_default());
            broken
                .extend(names.into_iter().filter(shared).map(|name| format!("{function}: {name}")));
        }
        quoted ^= programs;
        goes_on = line.ends_with('\\');
    }
    broken.sort();
    broken.dedup();
    assert!(broken.is_empty(), "neither local nor state:\n{}", broken.join("\n"));
    let unused: Vec<_> = declared
        .iter()
        .filter(|name| {
            !SCRIPT.contains(&format!("{name}=")) && !SCRIPT.contains(&format!(" {name} "))
        })
        .collect();
    assert!(unused.is_empty(), "declared and nowhere set: {unused:?}");
}

/// A trap that reverts may run while a function is under way, and then sees the function's
/// variables.
#[test]
fn no_local_variable_hides_state() {
    let declared = declared();
    let mut function = "";
    let mut broken = Vec::new();
    for line in SCRIPT.lines() {
        function = line.split_once("() ").map_or(function, |(name, _)| name);
        let locals = line.trim_start().strip_prefix("local ").unwrap_or_default().split(' ');
        let names = locals.map(|word| word.split('=').next().unwrap_or_default());
        let hides = names.filter(|name| declared.contains(name));
        broken.extend(hides.map(|name| format!("{function}: {name}")));
    }
    assert!(broken.is_empty(), "these hide state of the conversation:\n{}", broken.join("\n"));
}

fn echoed(shell: &str, quoted: &str) -> Vec<u8> {
    let mut words = shell.split(' ');
    let script = format!("nl='\n'; printf %s {quoted}");
    let script = if shell == "fish" { format!("printf %s {quoted}") } else { script };
    let mut command = Command::new(words.next().unwrap());
    command.args(words).arg("-c").arg(script).output().unwrap().stdout
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn quoting_round_trips(value in "[ -~\n\té€]{0,40}") {
        for shell in shells().into_iter().chain(["zsh", "fish"]) {
            let program = shell.split(' ').next().unwrap();
            if Command::new(program).args(["-c", "true"]).output().is_err() {
                continue;
            }
            prop_assert_eq!(echoed(shell, &word(&value)), value.as_bytes(), "{}", shell);
            if shell != "fish" {
                let line = line_word(&value);
                prop_assert!(!line.contains('\n'));
                prop_assert_eq!(echoed(shell, &line), value.as_bytes(), "{}", shell);
            }
        }
    }
}

#[test]
fn access_is_the_owners_the_groups_or_everybodys() {
    use shipit::remote::answer::Access;
    let place = |mode| Access {
        mode,
        owner: "deploy".to_owned(),
        group: "www".to_owned(),
        path: "/srv/todo/shared/log".to_owned(),
    };
    let www = ["www".to_owned()];
    assert!(place(0o755).lets("deploy", &[], 7));
    assert!(!place(0o055).lets("deploy", &www, 1), "the owner's own bits count, not the group's");
    assert!(!place(0o755).lets("todo", &www, 2));
    assert!(place(0o2775).lets("todo", &www, 3));
    assert!(!place(0o770).lets("todo", &[], 1));
    assert!(place(0o000).lets("root", &[], 7));
}
