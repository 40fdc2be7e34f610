//! A host whose disk is an image: its bytes are copied around every sync and at the agent's
//! statements. What a copy holds is what a host would find when it boots.
//!
//! The image is what the disk was given: what is in the page cache alone is not in it, and so is
//! lost. The kernel may write nothing back by itself meanwhile (`commit=300`); or, the hardest
//! case, the journal commits at every copy all names that it knows, while no contents have to
//! follow (`data=writeback`): names that lead to empty files.

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shipit::deploy::outcome::{Report, RunOutcome};
use shipit::model::layout::Layout;
use shipit::model::service::{Action, Scope, ServiceKind, Unit};
use shipit::remote::local::LocalSession;

use super::disk_checks::{SOCKET, whole};
use super::effort::effort;
use super::services::service;
use super::tools::program;
use super::world::{LocalConnect, World, hook};

/// The host's file system, and what it does between two syncs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Disk {
    /// ext4 that writes only synced data, and every name with it.
    Ext4,
    /// ext4 that writes all names at once, and contents when the kernel likes.
    Hurried,
    /// btrfs, where to sync a file says nothing of any other name.
    Btrfs,
}

/// The calls of `sync` that work on the host. Without some of them, the tests must find damage.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Syncs {
    All,
    None,
    NotOfReleases,
    NotOfLedgers,
    NotOfLinks,
    /// The units that start at boot.
    NotOfBoot,
}

/// One release that may be live: what its VERSION says, or nothing.
pub(crate) type Version = Option<&'static str>;

/// The number of copies that were checked, and what was wrong with them.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) copies: usize,
    pub(crate) wrong: Vec<String>,
}

/// A host whose disk is an image.
pub(crate) struct DiskHost {
    pub(crate) world: World,
    dir: tempfile::TempDir,
}

/// The names of their directories begin with this and say whose they are.
const NAME: &str = "shipit-power-";
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";
/// The number of copies that may wait to be checked.
const WAITING: usize = 4;
/// The number of threads that check copies.
const LOOKERS: usize = 3;
fn as_root(words: &[&str]) -> Output {
    let sudo = std::env::var("SHIPIT_FLEET_SUDO").unwrap_or_default();
    let mut words = sudo.split_whitespace().chain(words.iter().copied());
    Command::new(words.next().unwrap()).args(words).output().unwrap()
}

#[track_caller]
fn root(words: &[&str]) {
    let output = as_root(words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A file system is in use for a moment longer by an agent that ends, or a child just forked.
fn unmount(place: &str) {
    for _ in 0..100 {
        if as_root(&["umount", place]).status.success() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    root(&["umount", "--lazy", place]);
}

fn entries(place: &Path) -> Vec<PathBuf> {
    fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// In memory where that is possible: the images themselves need not survive anything.
fn place() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

/// Takes away what runs that were killed left mounted and lying about.
fn clean_up() {
    for path in entries(&place()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let Some((pid, _)) = name.strip_prefix(NAME).and_then(|rest| rest.split_once('-')) else {
            continue;
        };
        if Path::new("/proc").join(pid).exists() {
            continue;
        }
        for mounted in entries(&path.join("mounted")).into_iter().chain([path.join("disk")]) {
            as_root(&["umount", "--lazy", mounted.to_str().unwrap()]);
        }
        root(&["rm", "-rf", "--one-file-system", path.to_str().unwrap()]);
    }
}

impl DiskHost {
    pub(crate) fn new(kind: Disk, syncs: Syncs) -> Self {
        clean_up();
        let name = format!("{NAME}{}-", std::process::id());
        let dir = tempfile::Builder::new().prefix(&name).tempdir_in(place()).unwrap();
        for name in ["disk", "copies", "mounted", "bin"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let mut host = Self { world: World::new(), dir };
        host.make_image(kind);
        host.write_scripts(kind, syncs);
        host.world.config.layout = Layout::new(host.path("disk/srv").to_str().unwrap());
        // Every statement takes as long as a copy and, where many wait, a look at one.
        host.world.config.deadline = Duration::from_mins(1);
        let srv = host.shown("disk/srv");
        let tell = |what: &str| {
            vec![hook(&format!("echo {what} >>{srv}/balancer && sync {srv}/balancer"))]
        };
        host.world.config.hooks.before_switch = tell("out");
        host.world.config.hooks.committed = tell("in");
        host.world.config.hooks.reverted = tell("in");
        let path = format!("{}:{PATH}", host.shown("bin"));
        host.world.connect = Box::new(LocalConnect(host.session().var("PATH", &path)));
        host
    }

    fn session(&self) -> LocalSession {
        LocalSession::new().shell(&self.shown("login"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn shown(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Blocks that were never written take no space.
    fn make_image(&self, kind: Disk) {
        const EXT4: &[&str] = &["mkfs.ext4", "-q", "-F", "-m", "0"];
        const BTRFS: &[&str] = &["mkfs.btrfs", "-q", "-m", "single"];
        let (mkfs, size, options) = match kind {
            Disk::Ext4 => (EXT4, 12 << 20, ""),
            Disk::Hurried => (EXT4, 12 << 20, ",data=writeback,noauto_da_alloc"),
            Disk::Btrfs => (BTRFS, 120 << 20, ""),
        };
        let (image, disk) = (self.shown("image"), self.shown("disk"));
        fs::File::create(&image).unwrap().set_len(size).unwrap();
        root(&[mkfs, &[&image]].concat());
        root(&["mount", "-o", &format!("loop,commit=300{options}"), &image, &disk]);
        let owner = rustix::process::getuid().as_raw().to_string();
        root(&["chown", &owner, &disk]);
        root(&["sync", "-f", &disk]);
    }

    /// The loop device of the disk, by its name below `/sys/block`.
    fn device(&self) -> String {
        let found = as_root(&["findmnt", "-n", "-o", "SOURCE", &self.shown("disk")]);
        String::from_utf8(found.stdout).unwrap().trim().trim_start_matches("/dev/").to_owned()
    }

    /// A login shell that hands the agent to a bash which makes a copy before each statement, and
    /// a `sync` that makes one before and after what it does. What is still the same is not copied
    /// again; between statements, bash finds that out without a process.
    fn write_scripts(&self, kind: Disk, syncs: Syncs) {
        let (here, test) = (self.dir.path().display(), std::process::id());
        let same = format!(
            "IFS=\" \" read -r _ _ _ _ writes_now _ </sys/block/{}/stat && \
             read -r writes_then <{here}/last && [ \"$writes_now\" = \"$writes_then\" ]",
            self.device()
        );
        let (same, changed) = match kind {
            Disk::Ext4 | Disk::Btrfs => {
                (same.as_str(), format!("! {{ {same}; }} || exit 0\necho $writes_now >last"))
            }
            // A sync makes the journal commit its content, which always differs.
            Disk::Hurried => ("false", "echo $$ >disk/other; sync disk/other".to_owned()),
        };
        let copy = format!(
            "#!/bin/sh\nPATH=/usr/bin:/bin\ncd {here} || exit\nexec 8>copying\nflock 8\n{changed}\n\
             set -- copies/*\n\
             while kill -0 {test} && [ $# -gt {WAITING} ]; do sleep 0.01; set -- copies/*; done\n\
             cp --sparse=always image next\nmv next copies/$$\n"
        );
        program(&self.path("copy"), &copy);
        // A journal that commits after each statement soon brings the contents along, too.
        let step = match (kind, syncs) {
            (Disk::Hurried, Syncs::All) => effort(9, 6, 1),
            (Disk::Hurried, _) => 6,
            _ => 1,
        };
        let trap = format!(
            "set -T\nstatement=0\ntrap 'if ((BASHPID == $$ && ++statement % {step} == 0)); then \
             {{ {same}; }} 2>/dev/null || {here}/copy 9>&- </dev/null >/dev/null 2>&1; fi' DEBUG\n"
        );
        program(&self.path("trap.sh"), &trap);
        let login = format!(
            "#!/bin/bash\ncommand=${{2/#exec \\/bin\\/sh -c/exec bash -c}}\n\
             exec bash -c \"BASH_ENV={here}/trap.sh $command\"\n"
        );
        program(&self.path("login"), &login);
        let left_out = match syncs {
            Syncs::All => "''",
            Syncs::None => "*",
            Syncs::NotOfReleases => "'-f '*",
            Syncs::NotOfLedgers => "*/ledger.jsonl",
            Syncs::NotOfLinks => "*/srv",
            Syncs::NotOfBoot => "*/systemd/user",
        };
        let sync = format!(
            "#!/bin/sh\n{here}/copy\ncase $* in\n{left_out}) ;;\n\
             *) /usr/bin/env PATH=/usr/bin:/bin sync \"$@\" ;;\nesac\ncode=$?\n{here}/copy\n\
             exit $code\n"
        );
        program(&self.path("bin/sync"), &sync);
    }

    /// Runs to the end of `run`. Each copy made meanwhile is looked at and gone before there are
    /// many; at the end, when the outcome is reported, so is what the disk holds then.
    async fn watched(&self, run: impl Future<Output = Report>, may_be: [Version; 2]) -> Looked {
        let over = Arc::new(AtomicBool::new(false));
        let lookers = (0..LOOKERS).map(|number| {
            let (copies, end) = (self.path("copies"), Arc::clone(&over));
            std::thread::spawn(move || look_at_all(&copies, number, &end, &may_be))
        });
        let lookers: Vec<_> = lookers.collect();
        let report = run.await;
        over.store(true, Ordering::Release);
        let mut seen = Seen::default();
        for looker in lookers {
            seen.add(looker.join().unwrap());
        }
        (report, seen)
    }

    /// Checks the disk now that an outcome was reported.
    fn now(&self, live: Version) -> Seen {
        let last = self.path("copies/last");
        fs::copy(self.path("image"), &last).unwrap();
        Seen { copies: 1, wrong: look(&last, &[live]).err().into_iter().collect() }
    }
}

type Looked = (Report, Seen);

/// Looks at this looker's share: the names of copies are numbers.
fn look_at_all(copies: &Path, number: usize, end: &AtomicBool, may_be: &[Version]) -> Seen {
    let mine = |copy: &PathBuf| {
        let name = copy.file_name().unwrap().to_str().unwrap();
        name.parse::<usize>().unwrap() % LOOKERS == number
    };
    let mut seen = Seen::default();
    loop {
        let ends = end.load(Ordering::Acquire);
        let found: Vec<_> = entries(copies).into_iter().filter(mine).collect();
        for copy in &found {
            seen.wrong.extend(look(copy, may_be).err());
            seen.copies += 1;
        }
        if ends && found.is_empty() {
            return seen;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl Seen {
    pub(crate) fn add(&mut self, other: Self) {
        self.copies += other.copies;
        self.wrong.extend(other.wrong);
    }
}

/// Boots from a copy, as it were; that copy is then gone.
fn look(copy: &Path, may_be_live: &[Version]) -> Result<(), String> {
    let place = copy.parent().unwrap().with_file_name("mounted").join(copy.file_name().unwrap());
    let (image, shown) = (copy.to_str().unwrap(), place.to_str().unwrap());
    fs::create_dir(&place).unwrap();
    root(&["mount", "-o", "loop", image, shown]);
    let found = whole(&place.join("srv"), may_be_live);
    unmount(shown);
    fs::remove_dir(place).unwrap();
    fs::remove_file(copy).unwrap();
    found
}

impl Drop for DiskHost {
    fn drop(&mut self) {
        unmount(&self.shown("disk"));
    }
}

impl DiskHost {
    /// A host whose systemd is a script and keeps its state on the disk.
    pub(crate) fn with_systemctl(kind: Disk, syncs: Syncs, systemctl: &str) -> Self {
        let mut host = Self::new(kind, syncs);
        for dir in ["bin", "srv/units", "srv/shared", "home/.config/systemd/user"] {
            fs::create_dir_all(host.path("disk").join(dir)).unwrap();
        }
        program(&host.path("disk/bin/systemctl"), systemctl);
        let path = format!("{}:{}/bin:{}", host.shown("bin"), host.shown("disk"), PATH);
        let session = host.session().var("PATH", &path).var("HOME", &host.shown("disk/home"));
        let session = session.var("HOST", &host.shown("disk/srv"));
        host.world.connect = Box::new(LocalConnect(session));
        host
    }

    /// Releases from now on bring a socket, or do not.
    pub(crate) fn brings_unit_file(&mut self, brings: bool) {
        self.world.unit_file = brings.then_some(SOCKET);
        self.world.config.services.truncate(1);
        if brings {
            let unit = Unit {
                name: "todo.socket".to_owned(),
                scope: Scope::User,
                action: Action::Start,
                file: Some(SOCKET.to_owned()),
            };
            self.world.config.services.push(service(ServiceKind::Unit(unit)));
        }
    }
}

/// One change of a host, with the versions that may be live during it and after it.
pub(crate) async fn step(host: &DiskHost, what: &str, [before, after, now]: [Version; 3]) -> Seen {
    let world = &host.world;
    let run = async {
        match what {
            "rollback" => world.rollback().await,
            "prune" => world.prune(1).await,
            version => {
                let broken = version == "broken";
                world.run(&world.deploy_goal(version, &format!("V={version}\n"), broken)).await
            }
        }
    };
    let (report, mut seen) = host.watched(run, [before, after]).await;
    let done = if after == now { RunOutcome::Done } else { RunOutcome::NotDone };
    assert_eq!(report.verdict(), done, "{what}: {report:?}");
    seen.add(host.now(now));
    seen
}
