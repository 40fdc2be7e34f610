//! Power cuts: whatever is on the disk at any moment of a run, a whole release is live after the
//! boot. Needs root for its mounts, so that `tests/run` runs it.
#![expect(clippy::print_stdout, reason = "how many copies there were belongs in the log")]

use crate::support::disk::{Disk, DiskHost, Seen, Syncs, Version, step};
use crate::support::effort::effort;
use crate::support::{slots, systemd};

/// Everything that changes a host, one after the other. `keep` is 2, so that deploys prune too.
async fn a_life(kind: Disk) {
    let mut host = DiskHost::new(kind, Syncs::All);
    host.world.config.keep = 2;
    let mut seen = Seen::default();
    let steps: [(&str, [Version; 3]); 6] = [
        ("1", [None, Some("1"), Some("1")]),
        ("2", [Some("1"), Some("2"), Some("2")]),
        ("broken", [Some("2"), Some("broken"), Some("2")]),
        ("rollback", [Some("2"), Some("1"), Some("1")]),
        ("3", [Some("1"), Some("3"), Some("3")]),
        ("prune", [Some("3"); 3]),
    ];
    for (what, versions) in steps {
        seen.add(step(&host, what, versions).await);
    }
    let Seen { copies, wrong } = seen;
    println!("{kind:?}: {copies} copies");
    assert_eq!(wrong, [""; 0], "{kind:?}: {copies} copies");
    assert!(copies > 20, "{kind:?}: only {copies} copies differ");
}

/// The test sees what it should: some copy, or the disk at the end, holds no whole release.
async fn breaks_without(kind: Disk, syncs: Syncs) {
    let host = DiskHost::new(kind, syncs);
    let Seen { copies, wrong } = step(&host, "1", [None, Some("1"), Some("1")]).await;
    println!("{kind:?}, {syncs:?}: {} of {copies} are broken: {:?}", wrong.len(), wrong.first());
    assert!(!wrong.is_empty(), "{kind:?}, {syncs:?}: {copies} copies");
}

#[tokio::test]
#[ignore = "mounts images, as root; tests/run runs it"]
async fn power_cut_on_ext4_leaves_a_whole_release() {
    a_life(Disk::Ext4).await;
    a_life(Disk::Hurried).await;
}

#[tokio::test]
#[ignore = "mounts images, as root; tests/run runs it"]
async fn power_cut_on_btrfs_leaves_a_whole_release() {
    a_life(Disk::Btrfs).await;
}

#[tokio::test]
#[ignore = "mounts images, as root; tests/run runs it"]
async fn power_cut_on_ext4_without_syncs_breaks_it() {
    breaks_without(Disk::Ext4, Syncs::None).await;
    breaks_without(Disk::Hurried, Syncs::None).await;
    breaks_without(Disk::Hurried, Syncs::NotOfReleases).await;
    breaks_without(Disk::Hurried, Syncs::NotOfLedgers).await;
}

#[tokio::test]
#[ignore = "mounts images, as root; tests/run runs it"]
async fn power_cut_on_btrfs_without_syncs_breaks_it() {
    for syncs in [Syncs::None, Syncs::NotOfLedgers, Syncs::NotOfLinks] {
        breaks_without(Disk::Btrfs, syncs).await;
    }
}

fn must_be_whole(kind: Disk, what: &str, seen: &Seen) {
    println!("{kind:?}, {what}: {} copies", seen.copies);
    assert_eq!(seen.wrong, [""; 0], "{kind:?}, {what}: {} copies", seen.copies);
    assert!(seen.copies > 20, "{kind:?}, {what}: only {} copies differ", seen.copies);
}

async fn a_life_in_slots(kind: Disk) {
    let mut host = DiskHost::with_systemctl(kind, Syncs::All, slots::SYSTEMCTL);
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
    let mut host = DiskHost::with_systemctl(kind, Syncs::All, systemd::SYSTEMCTL);
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
    let mut host = DiskHost::with_systemctl(Disk::Btrfs, Syncs::NotOfBoot, slots::SYSTEMCTL);
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
