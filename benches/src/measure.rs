//! Times one call of a tool, and counts what it used.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::group::Group;
use crate::links::Link;
use crate::shell::call;

/// A tool that takes longer is killed.
const LIMIT: Duration = Duration::from_mins(15);

/// The cost of one call.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Seconds from its start to its exit.
    pub(crate) wall: f64,
    /// Bytes that went to the hosts, headers included.
    pub(crate) up: u64,
    /// Bytes that came from them.
    pub(crate) down: u64,
    /// Seconds of processor time of everything that was started here.
    pub(crate) client_cpu: f64,
    /// The sum over all hosts.
    pub(crate) hosts_cpu: f64,
    /// The most anonymous memory at once here, in bytes.
    pub(crate) client_memory: f64,
    /// The sum over all hosts, above the memory of idle sshds.
    pub(crate) hosts_memory: f64,
    /// The processors that programs outside this measurement used meanwhile.
    pub(crate) foreign: f64,
}

/// The processes that are measured.
pub(crate) struct Parties<'a> {
    pub(crate) client: &'a Group,
    pub(crate) hosts: &'a Group,
    pub(crate) link: &'a Link,
}

/// The counters at one moment.
struct Counters {
    client: f64,
    hosts: f64,
    all: f64,
    own: f64,
    bytes: (u64, u64),
}

impl Parties<'_> {
    /// Calls a tool; fails if it does, with the end of what it said.
    pub(crate) fn time(
        &self,
        tool: &Path,
        action: &str,
        env: &[(&str, String)],
        log: &Path,
    ) -> Result<Sample> {
        let mut child = self.ready(tool, action, env, log)?;
        let idle = self.hosts.processes().len();
        let base = self.hosts.memory();
        let before = self.counters()?;
        let over = AtomicBool::new(false);
        let (status, wall, memory) = thread::scope(|scope| -> Result<_> {
            let watch = scope.spawn(|| self.watch(&over));
            let start = Instant::now();
            // It waits for one line.
            let go = child.stdin.take().context("a pipe was asked for")?.write_all(b"\n");
            let status = child.wait();
            let wall = start.elapsed().as_secs_f64();
            over.store(true, Ordering::Relaxed);
            let memory = watch.join().unwrap_or_default();
            go?;
            Ok((status?, wall, memory))
        })?;
        let ended = self.counters()?;
        self.recover(idle);
        let after = self.counters()?;
        ensure!(status.success(), "{} {action}: {status}: {}", tool.display(), tail(log));
        let used = ended.all - before.all - (ended.client - before.client);
        let foreign = used - (ended.hosts - before.hosts) - (ended.own - before.own);
        Ok(Sample {
            wall,
            up: after.bytes.0 - before.bytes.0,
            down: after.bytes.1 - before.bytes.1,
            client_cpu: after.client - before.client,
            hosts_cpu: after.hosts - before.hosts,
            client_memory: memory.0,
            hosts_memory: (memory.1 - base).max(0.0),
            foreign: (foreign / wall).max(0.0),
        })
    }

    /// A process in the group that becomes the tool on a signal.
    fn ready(
        &self,
        tool: &Path,
        action: &str,
        env: &[(&str, String)],
        log: &Path,
    ) -> Result<Child> {
        let out = File::create(log)?;
        let script = r#"for door in $DOORS; do echo 0 >"$door"; done; echo; read go; exec "$0" "$@" </dev/null >"$LOG" 2>&1"#;
        let mut child = Command::new("sh")
            .args(["-c", script])
            .arg(tool)
            .arg(action)
            .envs(env.iter().map(|(name, value)| (name, value)))
            .env("DOORS", self.client.doors())
            .env("LOG", log)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(out)
            .spawn()?;
        let mut joined = [0];
        std::io::Read::read_exact(
            child.stdout.as_mut().context("a pipe was asked for")?,
            &mut joined,
        )
        .with_context(|| format!("could not join the control group: {}", tail(log)))?;
        Ok(child)
    }

    /// The most memory on either side until it is over.
    fn watch(&self, over: &AtomicBool) -> (f64, f64) {
        let start = Instant::now();
        let mut most = (0.0_f64, 0.0_f64);
        while !over.load(Ordering::Relaxed) {
            most = (most.0.max(self.client.memory()), most.1.max(self.hosts.memory()));
            if start.elapsed() > LIMIT {
                let _ =
                    call("kill", std::iter::once("-9".to_owned()).chain(self.client.processes()));
            }
            thread::sleep(Duration::from_millis(10));
        }
        most
    }

    /// Waits until what the tool left behind is gone on both sides.
    fn recover(&self, idle: usize) {
        let start = Instant::now();
        while self.hosts.processes().len() > idle && start.elapsed() < Duration::from_secs(5) {
            thread::sleep(Duration::from_millis(5));
        }
        let left = self.client.processes();
        if !left.is_empty() {
            let _ = call("kill", std::iter::once("-9".to_owned()).chain(left));
        }
    }

    fn counters(&self) -> Result<Counters> {
        let all = fs::read_to_string("/proc/stat")?;
        let own = fs::read_to_string("/proc/self/stat")?;
        let field = |text: &str, n: usize| {
            text.split_whitespace().nth(n).and_then(|f| f.parse().ok()).unwrap_or(0.0)
        };
        // user, nice, system, irq, softirq; of 1/100 s, as everywhere on Linux.
        let busy: f64 = [1, 2, 3, 6, 7].iter().map(|&n| field(&all, n)).sum();
        Ok(Counters {
            client: self.client.seconds()?,
            hosts: self.hosts.seconds()?,
            all: busy / 100.0,
            own: (field(&own, 13) + field(&own, 14)) / 100.0,
            bytes: self.link.bytes()?,
        })
    }
}

/// Waits until the machine is otherwise idle, at most this long.
pub(crate) fn quiet(limit: Duration) {
    let start = Instant::now();
    let busy = || -> f64 {
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        [1, 2, 3].iter().filter_map(|&n| text.split_whitespace().nth(n)?.parse::<f64>().ok()).sum()
    };
    while start.elapsed() < limit {
        let before = busy();
        thread::sleep(Duration::from_millis(400));
        if busy() - before < 12.0 {
            return;
        }
    }
}

fn tail(log: &Path) -> String {
    let text =
        fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(6).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
