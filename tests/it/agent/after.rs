//! Requests of people after a deploy: history, verify, and a lock that somebody else holds.

use std::os::unix::fs::PermissionsExt as _;

use futures::future::join_all;
use shipit::model::digest::Digest;
use shipit::model::drift::{DriftKind, paths};
use shipit::model::host_state::HostState;
use shipit::remote::answer::{Compared, compared, told};

use super::*;

const KEY: &str = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";
/// Bytes that a shell would lose, all of which must count.
const SECRET: &[u8] = b"TOKEN='p0isoned'\n\x00\xff\\n%s\n\n";

/// A host with a sealed release that is live: files, a link, an env file; and the agent that looks
/// at it.
async fn sealed(shell: &str) -> (Host, Agent) {
    let host = Host::new(shell);
    let (agent, _) = host.open("run000000001", "true").await;
    let release = host.root().join("releases").join(ID);
    fs::create_dir_all(release.join("bin")).unwrap();
    fs::write(release.join("bin/a file \\ with 'quotes'"), "a").unwrap();
    fs::write(release.join("VERSION"), "1\n").unwrap();
    std::os::unix::fs::symlink("bin", release.join("link")).unwrap();
    fs::write(release.join(".env"), SECRET).unwrap();
    fs::write(host.root().join(".shipit/key"), KEY).unwrap();
    let sum = |bytes: &str| Digest::of(bytes.as_bytes());
    let manifest = format!(
        "f 644 1 {} ./bin/a file \\ with 'quotes'\nl ./link -> bin\nf 644 2 {} ./VERSION\nd ./bin\n",
        sum("a"),
        sum("1\n")
    );
    fs::write(host.root().join(".shipit/manifests").join(ID), manifest).unwrap();
    fs::remove_file(host.root().join("current")).unwrap();
    std::os::unix::fs::symlink(format!("releases/{ID}"), host.root().join("current")).unwrap();
    (host, agent)
}

async fn verify(agent: &Agent) -> Compared {
    let order = Order::Verify { id: ID.parse().unwrap(), env: vec![".env".to_owned()] };
    let answer = agent.ask(&order).await.unwrap();
    assert_eq!(answer.code, DONE, "{}", answer.text);
    assert!(!answer.text.contains("p0isoned") && !answer.text.contains(KEY), "{}", answer.text);
    compared(&answer.text, KEY.as_bytes())
}

async fn drifted(agent: &Agent) -> String {
    let order = Order::Drift { env: vec![".env".to_owned()] };
    let answer = agent.ask(&order).await.unwrap();
    assert_eq!(answer.code, DONE, "{}", answer.text);
    paths(&answer.text).into_iter().collect::<Vec<_>>().join(" ")
}

under_every_shell! {
    async fn verify_of_an_unchanged_release_is_clean(shell: &str) {
        let (_host, agent) = sealed(shell).await;
        let found = verify(&agent).await;
        assert!(found.manifest && found.drift.is_empty() && found.unread.is_empty(), "{found:?}");
        let digest = Digest::keyed(KEY.as_bytes(), SECRET);
        assert_eq!((found.env, &found.env_modes[".env"]), (Some(digest), &"644".to_owned()));
        assert_eq!(drifted(&agent).await, "", "{shell}");
    }
}

under_every_shell! {
    async fn verify_and_drift_find_every_change(shell: &str) {
        let (host, agent) = sealed(shell).await;
        let release = host.root().join("releases").join(ID);
        std::thread::sleep(Duration::from_millis(20));
        fs::write(release.join("VERSION"), "2\n").unwrap();
        fs::write(release.join("bin/new"), "").unwrap();
        fs::remove_file(release.join("link")).unwrap();
        std::os::unix::fs::symlink("elsewhere", release.join("link")).unwrap();
        let quoted = release.join("bin/a file \\ with 'quotes'");
        fs::set_permissions(&quoted, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(release.join(".env"), "TOKEN=other").unwrap();
        assert!(Command::new("mkfifo").arg(release.join("pipe")).status().unwrap().success());
        let found = verify(&agent).await;
        let shown: Vec<_> =
            found.drift.iter().map(|drift| format!("{}: {}", drift.path, drift.change)).collect();
        let expected = [
            "VERSION: changed",
            "bin/a file \\ with 'quotes': mode 755 instead of 644",
            "bin/new: extra",
            "link: points to elsewhere instead of bin",
            "pipe: extra",
        ];
        assert_eq!(shown, expected, "{shell}");
        assert_eq!(found.env, Some(Digest::keyed(KEY.as_bytes(), b"TOKEN=other")), "{shell}");
        let cheap = ".env VERSION bin/a file \\ with 'quotes' bin/new link pipe";
        assert_eq!(drifted(&agent).await, cheap, "{shell}");
        fs::remove_dir_all(release.join("bin")).unwrap();
        fs::remove_file(host.root().join(".shipit/key")).unwrap();
        let found = verify(&agent).await;
        let gone = found.drift.iter().filter(|drift| drift.change == DriftKind::Missing).count();
        assert_eq!((gone, found.env, found.env_modes.len()), (2, None, 1), "{shell}");
    }
}

#[tokio::test]
async fn verify_without_a_manifest_says_so() {
    let (host, agent) = sealed("dash").await;
    fs::remove_file(host.root().join(".shipit/manifests").join(ID)).unwrap();
    assert!(!verify(&agent).await.manifest);
    assert_eq!(drifted(&agent).await, "");
}

under_every_shell! {
    async fn lock_under_a_deploy_lock_is_refused(shell: &str) {
        let host = Host::new(shell);
        let (agent, _) = host.open("run000000001", "true").await;
        let record = "ben on desk: audit".to_owned();
        let lock = Order::SetDeployLock { record, note: "locked by ben".to_owned() };
        assert_eq!(agent.ask(&lock).await.unwrap().code, DONE, "{shell}");
        agent.bye().await.unwrap();

        let (second, state) = host.open("run000000002", "true").await;
        let holder = state.holder.unwrap_or_default();
        assert!(holder.starts_with("frozen by ben on desk: audit, since 20"), "{shell}: {holder}");
        assert_eq!(second.ask(&Order::Lock).await.unwrap().code, HELD, "{shell}");
        assert_ne!(second.ask(&activate()).await.unwrap().code, DONE, "{shell}");
        let unlock = |record: &str| Order::ClearDeployLock {
            record: record.to_owned(),
            note: "free".to_owned(),
        };
        assert_ne!(second.ask(&unlock("somebody else")).await.unwrap().code, DONE, "{shell}");
        let shown = state.lock.deploy_lock.unwrap();
        assert_eq!(second.ask(&unlock(&shown)).await.unwrap().code, DONE, "{shell}");
        assert_eq!(second.ask(&Order::Lock).await.unwrap().code, DONE, "{shell}");
        let log = fs::read_to_string(host.root().join("revisions.log")).unwrap();
        assert!(log.contains(" locked by ben\n") && log.ends_with(" free\n"), "{shell}: {log}");
    }
}

/// Looks without wanting the lock.
async fn look(host: &Host, session: Arc<LocalSession>) -> (Agent, HostState) {
    let hello = Hello { lock: false, ..host.hello("run00000look", "true") };
    Agent::open(session, hello).await.unwrap()
}

fn breaking(limit: u64) -> Order {
    Order::Break { run: "run000000001".to_owned(), limit: Duration::from_secs(limit) }
}

#[tokio::test]
async fn break_of_a_living_holder_has_it_revert_and_unlock() {
    join_all(shells().into_iter().map(break_living)).await;
}

async fn break_living(shell: &str) {
    let host = Host::new(shell);
    let (holder, _) = host.open("run000000001", "true").await;
    assert_eq!(holder.ask(&activate()).await.unwrap().code, DONE);
    let (agent, state) = look(&host, host.session()).await;
    assert!(state.holder.unwrap_or_default().starts_with("ada on laptop"), "{shell}");
    let owner = state.lock.owner.unwrap();
    assert_eq!(owner.run, "run000000001", "{shell}");
    assert!(Path::new(&format!("/proc/{}", owner.pid)).exists(), "{shell}");
    assert!(state.leftovers.is_empty(), "{shell}: {:?}", state.leftovers);
    let answer = agent.ask(&breaking(30)).await.unwrap();
    assert_eq!((answer.code, answer.text.as_str()), (DONE, ""), "{shell}");
    host.reverts(Duration::from_secs(1)).await;
    assert!(host.ledger().contains("reverted: terminated"), "{shell}: {}", host.ledger());
    assert_eq!(agent.ask(&Order::Lock).await.unwrap().code, DONE, "{shell}");
}

/// Its restart would take a minute, so the request to end is heard too late.
#[tokio::test]
async fn break_of_a_slow_holder_kills_it_with_its_children() {
    join_all(shells().into_iter().map(break_slow)).await;
}

async fn break_slow(shell: &str) {
    let host = Host::new(shell);
    let minute = host.dir.path().join("minute");
    let restart = format!("echo $$ >{}; exec sleep 60", minute.display());
    let mut hello = host.hello("run000000001", &restart);
    hello.services[0].limit = Duration::from_mins(2);
    let (holder, _) = Agent::open(host.session(), hello).await.unwrap();
    let _unheard = holder.send(activate());
    let end = Instant::now() + Duration::from_secs(30);
    while fs::read_to_string(&minute).unwrap_or_default().is_empty() {
        assert!(Instant::now() < end, "{shell}: it was not restarted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (agent, _) = look(&host, host.session()).await;
    let answer = agent.ask(&breaking(1)).await.unwrap();
    assert_eq!(answer.code, DONE, "{shell}: {}", answer.text);
    assert!(answer.text.contains("was killed"), "{shell}: {}", answer.text);
    let pid = fs::read_to_string(&minute).unwrap();
    while Path::new("/proc").join(pid.trim()).join("exe").exists() {
        assert!(Instant::now() < end, "{shell}: what it ran lives on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The release that it left undecided waits for the next run.
    let state = agent.look().await.unwrap();
    assert_eq!((state.holder, state.lock.owner), (None, None), "{shell}");
    assert!(state.lock.stale.unwrap().contains("run000000001"), "{shell}");
    assert_eq!(agent.ask(&Order::Lock).await.unwrap().code, DONE, "{shell}");
}

/// A directory with all programs of this machine but one.
pub(super) fn without(gone: &str) -> tempfile::TempDir {
    let tools = tempfile::tempdir().unwrap();
    for folder in ["/bin", "/usr/bin"] {
        for tool in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if tool.file_name() != gone {
                let _ =
                    std::os::unix::fs::symlink(tool.path(), tools.path().join(tool.file_name()));
            }
        }
    }
    tools
}

under_every_shell! {
    async fn lock_without_flock_is_refused(shell: &str) {
        let tools = without("flock");
        let host = Host::new(shell);
        let session =
            LocalSession::clone(&host.session()).var("PATH", tools.path().to_str().unwrap());
        let hello = host.hello("run000000001", "true");
        let (agent, state) = Agent::open(Arc::new(session), hello).await.unwrap();
        assert_eq!(state.facts.missing, ["flock is not installed"], "{shell}");
        let tried = agent.ask(&Order::Lock).await.unwrap();
        assert_eq!((tried.code, tried.text.trim()), (1, "flock is not installed"), "{shell}");
        assert_ne!(agent.ask(&activate()).await.unwrap().code, DONE, "{shell}");
    }
}

under_every_shell! {
    async fn lock_on_a_file_system_without_locks_is_refused(shell: &str) {
        let host = Host::new(shell);
        let flock = "#!/bin/sh\necho 'flock: 9: No locks available' >&2\nexit 71\n";
        let session = host.session_with(&[("flock", flock)]);
        let hello = host.hello("run000000001", "true");
        let (agent, state) = Agent::open(session, hello).await.unwrap();
        assert_eq!(state.facts.missing, ["flock: 9: No locks available"], "{shell}");
        assert_ne!(agent.ask(&activate()).await.unwrap().code, DONE, "{shell}");
    }
}

/// The token of a process, as shipit 0.1.0 made its lock of it.
fn token(pid: u32, run: &str) -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let started = stat.rsplit(") ").next().unwrap().split(' ').nth(19).unwrap_or_default();
    format!("{}_{pid}_{started}_{run}", boot.trim())
}

under_every_shell! {
    async fn lock_by_link_of_a_living_owner_counts(shell: &str) {
        use std::os::unix::fs::symlink;
        let host = Host::new(shell);
        let part = |name: &str| host.root().join(".shipit").join(name);
        fs::create_dir(part("")).unwrap();
        fs::write(part("lock"), "eve on desk, since then\n").unwrap();
        let mut owner = Command::new("sleep").arg("60").spawn().unwrap();
        symlink(token(owner.id(), "run0000000old"), part("lock.held")).unwrap();
        let (agent, state) = host.open("run000000001", "true").await;
        assert_eq!(state.holder.as_deref(), Some("eve on desk, since then"), "{shell}");
        assert_eq!(agent.ask(&Order::Lock).await.unwrap().code, HELD, "{shell}");
        owner.kill().unwrap();
        owner.wait().unwrap();
        // As a run left them that ended while it took the lock of another one that had ended.
        symlink(token(1, "run000000gone").replacen("_1_", "_1_9", 1), part("lock.break.gone"))
            .unwrap();
        assert_eq!(agent.ask(&Order::Lock).await.unwrap().code, DONE, "{shell}");
        for name in ["lock.held", "lock.break.gone"] {
            assert!(part(name).symlink_metadata().is_err(), "{shell}: {name}");
        }
    }
}

#[tokio::test]
async fn history_of_a_long_ledger_is_cut() {
    let host = Host::new("dash");
    let (agent, _) = host.open("run000000001", "true").await;
    let line = |n: usize| {
        let run = n / 2;
        format!(
            r#"{{"v":1,"event":"staged","at":"","release":"{n}","run":"{run}","who":"","from":"","tool":""}}"#
        )
    };
    let lines: Vec<_> = (0..100).map(line).collect();
    fs::write(host.root().join(".shipit/ledger.jsonl"), lines.join("\n") + "\n").unwrap();
    let ask = async |lines| told(&agent.ask(&Order::History { lines }).await.unwrap().text);
    let all = ask(1000).await;
    assert_eq!((all.ledger.entries().len(), all.more), (100, false));
    // The first line that came may be torn, and the rest of its run is not told either.
    let some = ask(9).await;
    assert_eq!((some.ledger.entries()[0].run.as_str(), some.more), ("47", true));
    assert_eq!(some.ledger.unreadable(), 0);
}
