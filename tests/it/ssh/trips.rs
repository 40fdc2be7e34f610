//! The number of times that a run waits for the network, counted on a link that moves in steps, so
//! that the number does not depend on a clock. `docs/performance.md` has the budget.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::ssh::write;
use crate::support::sshd::{SshDir, Sshd, UserMaster, present};

/// A side that is silent for this long waits for the other.
const QUIET: Duration = Duration::from_millis(120);

const HOOK: &str = "[hooks]\nstaged = [\"test -e VERSION\"]";

/// Carries connections to `port`, and counts.
struct Link {
    port: u16,
    trips: Arc<AtomicUsize>,
}

impl Link {
    fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let link = Self { port: listener.local_addr().unwrap().port(), trips: Arc::default() };
        let trips = Arc::clone(&link.trips);
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let far = TcpStream::connect(("127.0.0.1", port)).unwrap();
                let trips = Arc::clone(&trips);
                std::thread::spawn(move || carry(&near.unwrap(), &far, &trips));
            }
        });
        link
    }

    /// Returns the round trips since the last call, without the one that makes a TCP connection.
    fn count(&self) -> usize {
        self.trips.swap(0, Ordering::SeqCst)
    }
}

/// All that one side has sent crosses at once when it says no more; then it is the other's turn.
/// Bytes that reach the client end one round trip.
fn carry(mut near: &TcpStream, mut far: &TcpStream, trips: &AtomicUsize) {
    near.set_read_timeout(Some(QUIET)).unwrap();
    far.set_read_timeout(Some(QUIET)).unwrap();
    loop {
        let (Some(asked), Some(answered)) = (crossing(near, &mut far), crossing(far, &mut near))
        else {
            return;
        };
        trips.fetch_add(usize::from(asked > 0 && answered > 0), Ordering::SeqCst);
    }
}

/// Returns the number of bytes that crossed, or `None` after the side has closed.
fn crossing(mut from: &TcpStream, to: &mut &TcpStream) -> Option<usize> {
    let (mut bytes, mut piece) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        match from.read(&mut piece) {
            Ok(0) => return None,
            Ok(some) => bytes.extend_from_slice(&piece[..some]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    to.write_all(&bytes).ok()?;
    Some(bytes.len())
}

/// An app on a host behind such a link.
struct Site {
    place: SshDir,
    link: Link,
    _sshd: Sshd,
}

impl Site {
    fn new(hooks: &str) -> Self {
        let place = SshDir::new();
        let sshd = Sshd::start(&place, "");
        let link = Link::to(sshd.port);
        place.know(link.port, "host");
        place.config(link.port, "");
        let dir = place.dir.path().display();
        std::fs::create_dir(place.path("dist")).unwrap();
        let config = format!(
            "app = \"todo\"\ndeploy_to = \"{dir}/srv\"\nlinked_dirs = [\"log\"]\n\n\
             [artifact]\npath = \"dist\"\n\n[env]\nvars.COLOUR = \"green\"\n\n\
             [service]\nrestart = \"true\"\n\n{hooks}\n\n\
             [ssh]\nconfig = \"{dir}/config\"\n\n[stages.production]\nhosts = [\"web\"]\n"
        );
        write(&place.path("deploy.toml"), &config);
        Self { place, link, _sshd: sshd }
    }

    /// The round trips of one command that must succeed.
    fn trips(&self, arguments: &[&str]) -> usize {
        let mut shipit = Command::new(env!("CARGO_BIN_EXE_shipit"));
        shipit.args(arguments).current_dir(self.place.dir.path()).stdin(Stdio::null());
        let ran = shipit.env("HOME", self.place.dir.path()).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{arguments:?}: {said}");
        self.link.count()
    }

    fn deploy(&self, version: &str) -> usize {
        write(&self.place.path("dist/VERSION"), version);
        self.trips(&["deploy", "production"])
    }
}

#[test]
fn deploy_and_rollback_keep_their_budget() {
    if !present() {
        return;
    }
    let site = Site::new(HOOK);
    site.deploy("1");
    let mut version = 1;
    keeps_to(12, "a deploy", || {
        version += 1;
        site.deploy(&version.to_string())
    });
    keeps_to(9, "a look", || site.trips(&["releases", "production"]));
    keeps_to(9, "a rollback", || {
        version += 1;
        site.deploy(&version.to_string());
        site.trips(&["rollback", "production", "--yes"])
    });
}

#[test]
fn deploy_over_a_living_master_keeps_its_budget() {
    if !present() {
        return;
    }
    for (hooks, budget) in [("", 5), (HOOK, 6)] {
        let site = Site::new(hooks);
        let _master = UserMaster::start(&site.place, site.link.port);
        site.deploy("1");
        let mut version = 1;
        keeps_to(budget, "a deploy over a master", || {
            version += 1;
            site.deploy(&version.to_string())
        });
    }
}

/// A machine that is busy elsewhere may say half of something, and the rest a step later: it may
/// try again, but not for ever.
fn keeps_to(budget: usize, what: &str, mut count: impl FnMut() -> usize) {
    let mut counts = Vec::new();
    while counts.last().is_none_or(|last| *last > budget) {
        counts.push(count());
        assert!(counts.len() < 6, "{what} took {counts:?} round trips, not {budget}");
    }
}
