//! Power cuts while a release takes over in another slot, or brings a unit file.

use std::fs;
use std::path::Path;

use shipit::model::service::{Action, Scope, ServiceKind, Unit};

use super::{Disk, Host, Seen, Syncs, Version, step};
use crate::support::effort::effort;
use crate::support::services::service;
use crate::support::tools::program;
use crate::support::world::LocalConnect;
use crate::support::{slots, systemd};

/// The directory of the user's unit files, as seen from `deploy_to`.
const UNITS: &str = "../home/.config/systemd/user";
const SOCKET: &str = "deploy/todo.socket";

impl Host {
    /// A host whose systemd is a script and keeps its state on the disk.
    fn with_systemctl(kind: Disk, syncs: Syncs, systemctl: &str) -> Self {
        let mut host = Self::new(kind, syncs);
        for dir in ["bin", "srv/units", "srv/shared", "home/.config/systemd/user"] {
            fs::create_dir_all(host.path("disk").join(dir)).unwrap();
        }
        program(&host.path("disk/bin/systemctl"), systemctl);
        let path = format!("{}:{}/bin:{}", host.shown("bin"), host.shown("disk"), super::PATH);
        let session = host.session().var("PATH", &path).var("HOME", &host.shown("disk/home"));
        let session = session.var("HOST", &host.shown("disk/srv"));
        host.world.connect = Box::new(LocalConnect(session));
        host
    }

    /// Releases from now on bring a socket, or do not.
    fn brings_unit_file(&mut self, brings: bool) {
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

/// Fails unless the slot that has the traffic holds a release and will start at boot; `decided`: it
/// alone.
pub(super) fn slot_serves(root: &Path, decided: bool) -> Result<(), String> {
    let Ok(traffic) = fs::read_to_string(root.join("shared/up")) else { return Ok(()) };
    let words: Vec<_> = traffic.split(' ').collect();
    let [slot, _, release] = words[..] else { return Err(format!("traffic to {traffic:?}")) };
    let leads = fs::read_link(root.join("slots").join(slot)).unwrap_or_default();
    if leads != Path::new("../releases").join(release) {
        return Err(format!("the traffic goes to {traffic}, which runs {}", leads.display()));
    }
    if !root.join("releases").join(release).join("VERSION").exists() {
        return Err(format!("{release} has the traffic and is gone"));
    }
    let starts = |slot: &str| root.join(format!("units/todo@{slot}.service.enabled")).exists();
    let other = if slot == "blue" { "green" } else { "blue" };
    if !starts(slot) || decided && starts(other) {
        return Err(format!("{slot} has the traffic; it starts at boot: {}", starts(slot)));
    }
    Ok(())
}

/// Fails if systemd has the link to the unit file and no list names it; `decided`: it must have it,
/// enabled, if the live release brings it, and only then.
pub(super) fn unit_file_is_listed(root: &Path, decided: bool) -> Result<(), String> {
    let exists = |path: &str| root.join(UNITS).join(path).symlink_metadata().is_ok();
    let linked = exists("todo.socket");
    let noted = fs::read_dir(root.join(".shipit")).into_iter().flatten().map(Result::unwrap);
    let mut lists = noted.filter(|entry| {
        let name = entry.file_name().into_string().unwrap();
        name == "units" || name.starts_with("units.2")
    });
    let listed = lists.any(|list| fs::read_to_string(list.path()).unwrap().contains(SOCKET));
    if linked && !listed {
        return Err("a linked unit file is in no list".to_owned());
    }
    let brought = root.join("current").join(SOCKET).exists();
    if decided && [linked, exists("wants/todo.socket")] != [brought; 2] {
        return Err(format!("brought: {brought}, linked: {linked}"));
    }
    Ok(())
}

fn must_be_whole(kind: Disk, what: &str, seen: &Seen) {
    println!("{kind:?}, {what}: {} copies", seen.copies);
    assert_eq!(seen.wrong, [""; 0], "{kind:?}, {what}: {} copies", seen.copies);
    assert!(seen.copies > 20, "{kind:?}, {what}: only {} copies differ", seen.copies);
}

async fn a_life_in_slots(kind: Disk) {
    let mut host = Host::with_systemctl(kind, Syncs::All, slots::SYSTEMCTL);
    let root = host.path("disk/srv");
    slots::with_slots(&mut host.world.config, &root);
    let mut seen = Seen::default();
    let steps: [(&str, [Version; 3]); 5] = [
        ("1", [None, Some("1"), Some("1")]),
        ("2", [Some("1"), Some("2"), Some("2")]),
        // It starts well, and fails once it has the traffic.
        ("late", [Some("2"), Some("late"), Some("2")]),
        ("rollback", [Some("2"), Some("1"), Some("1")]),
        ("3", [Some("1"), Some("3"), Some("3")]),
    ];
    for (what, versions) in steps {
        seen.add(step(&host, what, versions).await);
    }
    must_be_whole(kind, "slots", &seen);
}

async fn a_life_with_a_unit_file(kind: Disk) {
    let mut host = Host::with_systemctl(kind, Syncs::All, systemd::SYSTEMCTL);
    let mut seen = Seen::default();
    let steps: [(&str, bool, [Version; 3]); 5] = [
        ("1", false, [None, Some("1"), Some("1")]),
        ("broken", true, [Some("1"), Some("broken"), Some("1")]),
        ("2", true, [Some("1"), Some("2"), Some("2")]),
        ("3", true, [Some("2"), Some("3"), Some("3")]),
        ("4", false, [Some("3"), Some("4"), Some("4")]),
    ];
    for (what, brings, versions) in steps {
        host.brings_unit_file(brings);
        seen.add(step(&host, what, versions).await);
    }
    must_be_whole(kind, "unit file", &seen);
}

/// btrfs alone, where a sync covers the least, unless all is wanted.
fn disks() -> &'static [Disk] {
    let every = &[Disk::Btrfs, Disk::Ext4, Disk::Hurried];
    effort(&every[..1], &every[..1], every)
}

#[tokio::test]
#[ignore = "mounts images, as root; tests/run runs it"]
async fn power_cut_on_btrfs_leaves_a_slot_that_serves() {
    for disk in disks() {
        a_life_in_slots(*disk).await;
    }
}

#[tokio::test]
#[ignore = "mounts images, as root; tests/run runs it"]
async fn power_cut_on_btrfs_without_syncs_starts_the_wrong_slot() {
    let mut host = Host::with_systemctl(Disk::Btrfs, Syncs::NotOfBoot, slots::SYSTEMCTL);
    let root = host.path("disk/srv");
    slots::with_slots(&mut host.world.config, &root);
    let Seen { copies, wrong } = step(&host, "1", [None, Some("1"), Some("1")]).await;
    assert!(!wrong.is_empty(), "{copies} copies");
}

#[tokio::test]
#[ignore = "mounts images, as root; tests/run runs it"]
async fn power_cut_on_btrfs_leaves_no_unit_file_unlisted() {
    for disk in disks() {
        a_life_with_a_unit_file(*disk).await;
    }
}
