//! Many deploys in a row to one host, one in two of them disturbed: nothing grows but the ledger.

use std::process::Child;
use std::time::Duration;

use crate::app::{App, Wish};
use crate::hosts::{APPS, Host, until};

/// Returns the number of deploys: SHIPIT_TEST_SOAK, or 20.
fn rounds() -> u32 {
    std::env::var("SHIPIT_TEST_SOAK").map_or(20, |number| number.parse().unwrap())
}

/// The sizes that could grow.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Footprint {
    /// Files in `.shipit`, and names with a leading dot beside releases.
    files: u32,
    releases: u32,
    /// Processes of agents and uploads.
    processes: u32,
    /// The files that ended agents left in the temporary directory of the host.
    temporary: u32,
}

fn footprint(host: Host) -> Footprint {
    let number = |command: &str| host.root(command).parse::<u32>().unwrap();
    Footprint {
        files: number(
            "cd /srv/soak && find .shipit releases/.[!.]* .current.* ! -path '.shipit/manifests/*' \
             2>/dev/null | wc -l",
        ),
        releases: number("ls /srv/soak/releases | wc -l"),
        processes: number(
            "for it in $(grep -lszxE 'serve|receive' /proc/[0-9]*/cmdline); do \
             grep -qszx /srv/soak $it && echo $it; done | wc -l",
        ),
        temporary: number(
            "for path in /tmp/shipit.*; do pid=${path%.*}; kill -0 ${pid##*.} 2>/dev/null || \
             ls -d $path 2>/dev/null; done | wc -l",
        ),
    }
}

/// The most memory that the client's process used, in KiB, looked at while it ran.
fn peak(child: &mut Child) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let size = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak = peak.max(size.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(5));
    }
    peak
}

/// Returns the memory of the agent's processes on the host during a hook, in KiB.
fn agent_memory(app: &App) -> u64 {
    app.edit("staged = [", "staged = [\"sleep 1\", ");
    let mut child = app.start_deploy(&app.tarball("memory", &[]));
    let mut size = 0;
    until(Duration::from_secs(20), "the deploy has ended", || {
        let rss = "pid=$(cat /srv/soak/.shipit/run/*/agent 2>/dev/null) && \
                   awk '/^VmRSS:/ { print $2 }' /proc/$pid/status 2>/dev/null || true";
        size = size.max(APPS[0].root(rss).trim().parse().unwrap_or(0));
        child.try_wait().unwrap().is_some()
    });
    app.edit("\"sleep 1\", ", "");
    size
}

fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    std::process::Command::new("kill").args([name, &id]).status().unwrap();
}

/// Disturbs a deploy in one of several ways, or not at all.
fn disturb(app: &App, round: u32) {
    let moment = Duration::from_millis(u64::from(round.wrapping_mul(2_654_435_761) >> 8) % 1500);
    let version = format!("v{}", round % 7);
    match round % 10 {
        1 => {
            app.deploy(&app.tarball(&format!("crash{}", round % 3), &["CRASH"])).ends(1);
        }
        3 => {
            let mut child = app.start_deploy(&app.tarball(&version, &[]));
            std::thread::sleep(moment);
            child.kill().unwrap();
            child.wait().unwrap();
        }
        5 => {
            let mut child = app.start_deploy(&app.tarball(&version, &[]));
            std::thread::sleep(moment);
            signal(&child, "-INT");
            child.wait().unwrap();
        }
        7 => {
            app.deploy(&app.tarball(&format!("hook{}", round % 3), &["REFUSED"])).ends(1);
        }
        9 => {
            let mut child = app.start_deploy(&app.tarball(&version, &[]));
            std::thread::sleep(moment);
            APPS[0].try_root("pkill -KILL -f 'shipit serve .*/srv/soak'");
            child.wait().unwrap();
        }
        _ => {}
    }
    // A login that was under way may still start an agent.
    until(Duration::from_secs(8), "the lock is free", || app.unlocked(APPS[0]));
    std::thread::sleep(Duration::from_millis(300));
    until(Duration::from_secs(8), "the lock is free", || app.unlocked(APPS[0]));
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn many_deploys_grow_only_the_ledger() {
    let wish = Wish {
        top: "keep_releases = 3",
        health: "soak = \"0s\"",
        tables: "\n[timeouts]\ndeadline = \"5s\"\n\n[hooks]\nstaged = [\"test ! -e REFUSED\"]\n",
        ..Wish::default()
    };
    let app = App::with(&APPS[..1], "soak", &wish);
    let mut first = None;
    let mut memory = Vec::new();
    let agent_before = agent_memory(&app);
    for round in 0..rounds() {
        disturb(&app, round);
        let version = format!("w{}", round % 5);
        let mut child = app.start_deploy(&app.tarball(&version, &[]));
        memory.push(peak(&mut child));
        assert!(child.wait().unwrap().success(), "round {round}: {}", app.said());
        app.answers(&version, "hello");
        if round >= 20 {
            let now = footprint(APPS[0]);
            let first = first.get_or_insert_with(|| now.clone());
            assert_eq!((now.processes, now.temporary), (0, 0), "round {round}");
            assert_eq!(now.files, first.files, "round {round}");
            assert!(now.releases <= 6, "round {round}: {now:?}");
            if round % 100 == 99 {
                println!("{} rounds: {now:?}, {} KiB", round + 1, memory[memory.len() - 1]);
            }
        }
    }
    let agent_after = agent_memory(&app);
    let (early, late) = (memory[1..9].iter().max().unwrap(), memory.iter().rev().take(8).max());
    let late = late.unwrap();
    println!(
        "{} rounds: the program took {early} KiB at first and {late} KiB at last, its agent \
         {agent_before} and {agent_after} KiB; {:?}",
        rounds(),
        footprint(APPS[0])
    );
    assert!(*late < early + early / 4, "the program grew from {early} to {late} KiB");
    assert!(agent_before > 0, "nobody saw the agent");
    assert!(agent_after < agent_before + agent_before / 2, "{agent_before} to {agent_after} KiB");
}
