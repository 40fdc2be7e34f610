//! Files that cannot be deleted, and files that a look cannot see.

use std::os::unix::fs::PermissionsExt as _;

use shipit::remote::order::{Fetch, Hidden, ODD, Relist};

use super::after::without;
use super::*;

/// The user who deploys if the tests run as root. Root itself could delete anything.
const DEPLOYER: &str = "64998";
const OTHER: &str = "64999";

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn run(command: &[&str]) {
    assert!(
        Command::new(command[0]).args(&command[1..]).status().unwrap().success(),
        "{command:?}"
    );
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A session of somebody who is not root, to whom all of the host belongs.
fn ordinary(host: &Host) -> Arc<LocalSession> {
    if !is_root() {
        return host.session();
    }
    run(&["chown", "-R", &format!("{DEPLOYER}:{DEPLOYER}"), text(host.dir.path())]);
    let (wrapper, shell) = (host.dir.path().join("ordinary"), &host.shell);
    let script = format!(
        "#!/bin/bash\ncommand=\"$2\"\nexec setpriv --reuid={DEPLOYER} --regid={DEPLOYER} \
         --clear-groups {shell} -c \"${{command/#exec \\/bin\\/sh -c/exec {shell} -c}}\"\n"
    );
    program(&wrapper, &script);
    Arc::new(LocalSession::new().shell(text(&wrapper)))
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn record() -> Record {
    Record { line: "pruned".to_owned(), note: String::new() }
}

fn names(place: &Path) -> Vec<String> {
    let entries = fs::read_dir(place).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

async fn cleaned_up(agent: &Agent) -> (u32, String) {
    let answer = agent.ask(&Order::CleanUp { keep: None }).await.unwrap();
    (answer.code, answer.text)
}

under_every_shell! {
    /// The release holds directories that nobody may write to, as in a module cache of Go.
    async fn prune_of_directories_without_a_write_bit_succeeds(shell: &str) {
        let host = Host::new(shell);
        let release = host.root().join("releases").join(ID);
        fs::create_dir_all(release.join("gocache/mod")).unwrap();
        fs::write(release.join("gocache/mod/file"), "").unwrap();
        let session = ordinary(&host);
        for path in ["gocache/mod", "gocache", ""] {
            mode(&release.join(path), 0o555);
        }
        let (agent, _) = Agent::open(session, host.hello("run000000001", "true")).await.unwrap();
        let prune = Order::Prune { name: ID.to_owned(), record: record() };
        let answer = agent.ask(&prune).await.unwrap();
        assert_eq!((answer.code, answer.text.as_str()), (DONE, ""), "{shell}");
        assert_eq!(cleaned_up(&agent).await, (DONE, String::new()), "{shell}");
        assert_eq!(names(&host.root().join(".shipit/trash")), [""; 0], "{shell}");
        agent.bye().await.unwrap();
    }
}

under_every_shell! {
    /// The trash is like a `__pycache__` of root. Without root the tests cannot make such files, so
    /// a chmod(1) that fails stands for them.
    async fn trash_of_another_user_is_reported_once(shell: &str) {
        let host = Host::new(shell);
        let trash = host.root().join(".shipit/trash");
        let closed = trash.join("20260820000000.run00000gone/lib");
        fs::create_dir_all(&closed).unwrap();
        fs::write(closed.join("a.pyc"), "").unwrap();
        let mut session = ordinary(&host);
        mode(&closed, 0o555);
        if is_root() {
            run(&["chown", "-R", OTHER, text(&closed)]);
        } else {
            session = host.session_with(&[("chmod", "#!/bin/sh\nexit 1\n")]);
        }
        let (agent, state) =
            Agent::open(session, host.hello("run000000001", "true")).await.unwrap();
        assert_eq!(state.leftovers.len(), 1, "{shell}");
        let (code, said) = cleaned_up(&agent).await;
        let aside = trash.join(".aside.20260820000000.run00000gone");
        assert_eq!(code, DONE, "{shell}: {said}");
        let whose = if is_root() { ", it holds files of UNKNOWN" } else { "" };
        let aside_text = text(&aside);
        let expected = format!(
            "{aside_text} could not be deleted{whose}: `sudo rm -rf {aside_text}` on the host does it\n"
        );
        assert_eq!(said, expected, "{shell}");
        assert_eq!(cleaned_up(&agent).await, (DONE, String::new()), "{shell}: it was said");
        let state = agent.look().await.unwrap();
        assert_eq!(state.leftovers, [""; 0], "{shell}: it is no interrupted run");
        assert!(aside.join("lib/a.pyc").exists(), "{shell}");
        if is_root() {
            run(&["chown", "-R", DEPLOYER, text(&closed_in(&aside))]);
        } else {
            mode(&closed_in(&aside), 0o755);
        }
        assert_eq!(cleaned_up(&agent).await, (DONE, String::new()), "{shell}");
        assert_eq!(names(&trash), [""; 0], "{shell}: it goes as soon as it can");
        agent.bye().await.unwrap();
    }
}

fn closed_in(aside: &Path) -> std::path::PathBuf {
    aside.join("lib")
}

under_every_shell! {
    async fn reach_does_not_change_the_clock(shell: &str) {
        let host = Host::new(shell);
        let (agent, _) = host.open("run000000001", "true").await;
        let (limit, address) = (Duration::from_secs(1), "127.0.0.1:1".to_owned());
        let reach = Order::Reach { limit, address: address.clone() };
        let fetch = Order::Fetch {
            limit,
            fetch: Fetch {
                request: Hidden(format!("url = \"http://{address}/\"")),
                connect: None,
                trust: "public".to_owned(),
                wanted: Hidden(String::new()),
            },
        };
        // The clock is kept within a second, so some of these are in one.
        for order in [&reach, &fetch, &reach, &fetch] {
            agent.look().await.unwrap();
            agent.ask(order).await.unwrap();
            let clock = agent.look().await.unwrap().facts.clock.timestamp();
            assert!(clock > 1_700_000_000, "{shell}: {clock}");
        }
    }
}

under_every_shell! {
    /// In a UTF-8 locale GNU grep takes text with such a name for binary, and prints no line of it.
    async fn process_in_a_directory_of_any_name_is_in_use(shell: &str) {
        use std::os::unix::ffi::OsStrExt as _;
        let host = Host::new(shell);
        let release = host.root().join("releases").join(ID);
        let place = release.join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
        fs::create_dir_all(&place).unwrap();
        let mut worker = Command::new("sleep").arg("60").current_dir(&place).spawn().unwrap();
        let session = LocalSession::clone(&host.session()).var("LC_ALL", "C.UTF-8");
        let hello = Hello { scan: Scan::Yes, ..host.hello("run000000001", "true") };
        let (_agent, state) = Agent::open(Arc::new(session), hello).await.unwrap();
        worker.kill().unwrap();
        worker.wait().unwrap();
        assert!(state.in_use.contains(ID), "{shell}: {:?}", state.in_use);
    }
}

under_every_shell! {
    /// A process of the unit whose directory only root may see.
    async fn process_of_another_user_is_seen_through_the_cgroup(shell: &str) {
        let host = Host::new(shell);
        let mut worker = None;
        let mut pid = 1;
        let mut tools = Vec::new();
        let id = "#!/bin/sh\necho 'uid=1000(ada) gid=1000(ada) groups=1000(ada)'\n";
        if is_root() {
            let reuid = format!("--reuid={OTHER}");
            let child =
                Command::new("setpriv").args([&reuid, "--clear-groups", "sleep", "60"]).spawn();
            pid = worker.insert(child.unwrap()).id();
            tools.push(("id", id.to_owned()));
        }
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let group = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
        let systemctl = format!(
            "#!/bin/sh\necho LoadState=loaded\necho MainPID=0\necho ControlGroup={group}\n"
        );
        tools.push(("systemctl", systemctl));
        let tools: Vec<_> = tools.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let services = vec![unit(Scope::User, Action::Restart)];
        let hello =
            Hello { scan: Scan::Yes, lock: false, services, ..host.hello("run000000001", "true") };
        // It is another's from when it has become so.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let (_agent, state) = Agent::open(host.session_with(&tools), hello).await.unwrap();
        if let Some(mut worker) = worker {
            worker.kill().unwrap();
            worker.wait().unwrap();
        }
        let hidden = state.units[0].hidden_for.clone();
        assert!(!hidden.is_empty(), "{shell}");
        assert!(pid == 1 || hidden.iter().flatten().any(|age| *age < Duration::from_secs(30)));
    }
}

under_every_shell! {
    async fn host_without_a_tool_of_every_answer_says_so(shell: &str) {
        for tool in ["timeout", "wc", "mktemp"] {
            let tools = without(tool);
            let host = Host::new(shell);
            let session = LocalSession::clone(&host.session()).var("PATH", text(tools.path()));
            let hello = host.hello("run000000001", "true");
            let (_agent, state) = Agent::open(Arc::new(session), hello).await.unwrap();
            assert_eq!(state.facts.missing, [format!("{tool} is not installed")], "{shell}");
            assert_eq!(state.current.raw(), "releases/20260821090000", "{shell}");
        }
    }
}

under_every_shell! {
    async fn seal_of_what_no_manifest_can_list_fails(shell: &str) {
        for make in ["mkfifo pipe", "touch 'two\nlines'", "mkdir 'dir\n'"] {
            let host = Host::new(shell);
            let (agent, _) = host.open("run000000001", "true").await;
            let release = host.root().join("releases").join(ID);
            run(&["sh", "-c", &format!("cd '{}' && {make}", text(&release))]);
            fs::write(host.root().join(".shipit/manifests").join(ID), "").unwrap();
            let seal = Order::Seal { id: ID.parse().unwrap(), relist: Relist::Yes, env: Vec::new() };
            let answer = agent.ask(&seal).await.unwrap();
            assert_eq!(answer.code, ODD, "{shell}: {make}: {}", answer.text);
            let named = ["./pipe", "./two?lines", "./dir?"];
            assert!(
                named.iter().any(|name| answer.text.contains(name)),
                "{shell}: {}",
                answer.text
            );
        }
    }
}
