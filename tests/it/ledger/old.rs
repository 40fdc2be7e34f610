//! Hosts that this program wrote, read by shipit 0.1.0. Its reader and its choices are kept here:
//! they know no checksums, no formats and no lines that are not understood.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::project::Project;

/// The status of a release for 0.1.0: the last of these events.
#[derive(Default)]
struct Story {
    last: String,
    staged: bool,
    pinned: bool,
    back: String,
}

/// A host as 0.1.0 saw it.
struct Seen {
    live: String,
    present: BTreeSet<String>,
    made: BTreeSet<String>,
    stories: BTreeMap<String, Story>,
}

fn names(dir: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(dir) else { return BTreeSet::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.starts_with('.')).collect()
}

fn id_of(link: &str) -> String {
    link.strip_prefix("releases/").unwrap_or_default().to_owned()
}

/// It skipped lines that it could not read, of any version.
fn stories(ledger: &str) -> BTreeMap<String, Story> {
    let known = [
        "staged",
        "activated",
        "committed",
        "reverted",
        "rolled-back",
        "failed",
        "pruned",
        "pinned",
        "unpinned",
    ];
    let mut all = BTreeMap::<String, Story>::new();
    for line in ledger.lines() {
        let Ok(entry) = serde_json::from_str::<Value>(line) else { continue };
        let text = |key: &str| entry[key].as_str().map(str::to_owned);
        let fields = ["event", "at", "release", "run", "who", "from", "tool"].map(text);
        let [Some(event), Some(_), Some(release), Some(_), Some(_), Some(_), Some(_)] = fields
        else {
            continue;
        };
        if !known.contains(&&*event) || !entry["v"].is_u64() {
            continue;
        }
        let story = all.entry(release).or_default();
        match &*event {
            "staged" => story.staged = true,
            "activated" => story.back = text("back").unwrap_or_default(),
            "pinned" => story.pinned = true,
            "unpinned" => story.pinned = false,
            _ => {}
        }
        if !event.ends_with("pinned") {
            story.last = event;
        }
    }
    all
}

impl Seen {
    fn read(root: &Path) -> Self {
        let link = fs::read_link(root.join("current")).unwrap();
        let ledger = fs::read_to_string(root.join(".shipit/ledger.jsonl")).unwrap_or_default();
        Self {
            live: id_of(link.to_str().unwrap()),
            present: names(&root.join("releases")),
            made: names(&root.join(".shipit/manifests")),
            stories: stories(&ledger),
        }
    }

    fn last(&self, id: &str) -> &str {
        self.stories.get(id).map(|story| &*story.last).unwrap_or_default()
    }

    /// The ways back, newest first.
    fn candidates(&self) -> Vec<String> {
        let good = |id: &&String| {
            **id < self.live && self.last(id) == "committed" && self.stories[*id].staged
        };
        self.present.iter().rev().filter(good).cloned().collect()
    }

    fn protected(&self) -> BTreeSet<String> {
        let mut kept = BTreeSet::from([self.live.clone()]);
        kept.extend(self.candidates().into_iter().next());
        for (id, story) in &self.stories {
            if story.last == "activated" {
                kept.extend([id.clone(), id_of(&story.back)]);
            }
            if story.pinned {
                kept.insert(id.clone());
            }
        }
        kept
    }

    fn is_bad(&self, id: &str) -> bool {
        match self.last(id) {
            "committed" | "activated" => false,
            "rolled-back" => *id < *self.live,
            "" => self.made.contains(id) || self.stories.contains_key(id),
            _ => true,
        }
    }

    /// Returns the releases that prune deleted.
    fn gone(&self, keep: usize) -> BTreeSet<String> {
        let counts = |id: &&String| self.last(id) == "committed" && !self.stories[*id].pinned;
        let surplus = self.present.iter().rev().filter(counts).skip(keep);
        let bad = self.present.iter().filter(|id| self.is_bad(id));
        let kept = self.protected();
        bad.chain(surplus).filter(|id| !kept.contains(*id)).cloned().collect()
    }
}

/// A stage with four releases on which `bad` makes every activation fail, and their ids.
fn deployed() -> (Project, Vec<String>) {
    let project = Project::local();
    let bad = project.path().join("bad");
    let hook = format!("activated = [\"test ! -e {}\"]", bad.display());
    let config = project.read("deploy.toml").replace("[hooks]", &format!("[hooks]\n{hook}"));
    project.write("deploy.toml", &config);
    for build in 1..=4 {
        project.write("dist/VERSION", &format!("{build}\n"));
        done(&project, "deploy");
    }
    let ids = names(&project.path().join("srv/releases")).into_iter().collect();
    (project, ids)
}

fn done(project: &Project, line: &str) {
    let said = project.shipit(line);
    assert!(said.starts_with("exit: 0"), "{line}: {said}");
}

/// Returns the releases that this program would delete.
fn goes_now(project: &Project, ids: &[String], keep: usize) -> BTreeSet<String> {
    let mut prune = project.command(&format!("prune --keep {keep} -n"));
    let said = String::from_utf8(prune.output().unwrap().stdout).unwrap();
    ids.iter().filter(|id| said.contains(&format!("prune {id}"))).cloned().collect()
}

/// 0.1.0 deletes no release that must stay, and rolls back to a good one.
#[track_caller]
fn agree(project: &Project, ids: &[String], way_back: &str) {
    let old = Seen::read(&project.path().join("srv"));
    for keep in 1..=4 {
        assert_eq!(old.gone(keep), goes_now(project, ids, keep), "keep {keep}");
    }
    assert_eq!(old.candidates().first().map(String::as_str), Some(way_back));
    let said = project.command("rollback -n").output().unwrap().stdout;
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains(&format!("flip current to {way_back}")), "{said}");
}

#[test]
fn healthy_host_means_the_same_to_0_1_0() {
    let (project, ids) = deployed();
    agree(&project, &ids, &ids[2]);
    done(&project, &format!("pin {}", ids[0]));
    agree(&project, &ids, &ids[2]);
}

#[test]
fn replaced_release_stays_good_to_0_1_0() {
    let (project, ids) = deployed();
    done(&project, &format!("rollback --to {}", ids[1]));
    agree(&project, &ids, &ids[0]);
    done(&project, &format!("rollback --to {}", ids[3]));
    agree(&project, &ids, &ids[2]);
}

#[test]
fn failed_rollback_leaves_its_target_good_to_0_1_0() {
    let (project, ids) = deployed();
    project.write("bad", "");
    let said = project.shipit(&format!("rollback --to {}", ids[2]));
    assert!(said.starts_with("exit: 1"), "{said}");
    agree(&project, &ids, &ids[2]);
    let said = project.shipit("history");
    assert!(said.contains("reverted") && !said.contains("settle"), "{said}");
}

#[test]
fn bad_release_stays_bad_to_0_1_0() {
    let (project, ids) = deployed();
    done(&project, &format!("rollback --to {}", ids[1]));
    project.write("bad", "");
    let said = project.shipit(&format!("rollback --to {}", ids[3]));
    assert!(said.starts_with("exit: 1"), "{said}");
    let old = Seen::read(&project.path().join("srv"));
    assert_eq!(old.last(&ids[3]), "rolled-back");
    agree(&project, &ids, &ids[0]);
}

/// It takes a staged release for one whose run was interrupted: it deletes that one and no other.
#[test]
fn only_the_staged_release_is_deleted_by_0_1_0() {
    let (project, ids) = deployed();
    project.write("dist/VERSION", "5\n");
    done(&project, "stage");
    let releases = project.path().join("srv/releases");
    let staged = names(&releases).pop_last().unwrap();
    assert!(!ids.contains(&staged));
    let old = Seen::read(&project.path().join("srv"));
    assert_eq!(old.gone(9), BTreeSet::from([staged.clone()]));
    assert_eq!(old.candidates().first(), Some(&ids[2]));
    fs::rename(releases.join(staged), project.path().join("gone")).unwrap();
    let said = project.shipit("activate");
    assert!(said.starts_with("exit: 1") && said.contains("error: no release is staged"), "{said}");
}

/// It looks at no version. What it must not touch it must not find: then it takes all releases for
/// another tool's.
#[test]
fn unknown_event_names_delete_nothing_with_0_1_0() {
    let (project, _) = deployed();
    let ours = project.path().join("srv/.shipit");
    fs::rename(ours.join("ledger.jsonl"), ours.join("ledger.2")).unwrap();
    fs::rename(ours.join("manifests"), ours.join("manifests.2")).unwrap();
    let old = Seen::read(&project.path().join("srv"));
    assert_eq!(old.gone(1), BTreeSet::new());
}
