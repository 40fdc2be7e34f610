//! Rules for a disk after a power cut.

use std::fmt::Display;
use std::fs;
use std::path::Path;

use shipit::model::digest::Digest;
use shipit::model::ledger::{Ledger, ReleaseStatus};
use shipit::model::manifest::{Manifest, Node};

use super::disk::Version;

/// The directory of the user's unit files, as seen from `deploy_to`.
const UNITS: &str = "../home/.config/systemd/user";
/// The unit file that a release may bring.
pub(crate) const SOCKET: &str = "deploy/todo.socket";

fn told<T, E: Display>(what: &str, result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error}"))
}

/// Fails unless one of these is live, and every release that the ledger calls complete is as its
/// manifest says.
pub(super) fn whole(root: &Path, may_be_live: &[Version]) -> Result<(), String> {
    let text = fs::read_to_string(root.join(".shipit/ledger.jsonl")).unwrap_or_default();
    let ledger = Ledger::parse(text.lines());
    if ledger.unreadable() > 1 {
        return Err(format!("a broken ledger: {text}"));
    }
    for (id, history) in ledger.histories() {
        // A release that is being pruned is gone after one rename.
        if history.staged && root.join("releases").join(&id).exists() {
            as_its_manifest(root, &id)?;
        }
    }
    comes_back(root, &ledger)?;
    // After the report of the outcome only one release may be live, and it is decided.
    let decided = may_be_live.len() == 1;
    slot_serves(root, decided)?;
    unit_file_is_listed(root, decided)?;
    let Ok(target) = fs::read_link(root.join("current")) else {
        return if may_be_live.contains(&None) {
            Ok(())
        } else {
            Err("nothing is live".to_owned())
        };
    };
    let id = target.file_name().unwrap().to_str().unwrap().to_owned();
    let history = ledger.histories().remove(&id).ok_or(format!("{id} is live and unknown"))?;
    let read = |name: &str| told(name, fs::read_to_string(root.join("current").join(name)));
    let version = read("VERSION")?;
    let known = may_be_live.iter().flatten().find(|known| version.trim() == **known);
    let known = known.ok_or(format!("{version:?} is live"))?;
    if read(".env")? != format!("V={known}\n") {
        return Err(format!("{id} has another config"));
    }
    match history.status {
        ReleaseStatus::Good => Ok(()),
        ReleaseStatus::Undecided if !decided => Ok(()),
        status => Err(format!("{id} is live and {status:?}")),
    }
}

/// Fails if `before_switch` took the host out of service and the next run would not know that the
/// host must come back: by an undecided release, or by hooks that are owed.
fn comes_back(root: &Path, ledger: &Ledger) -> Result<(), String> {
    let seen = fs::read_to_string(root.join("balancer")).unwrap_or_default();
    let undecided =
        ledger.histories().values().any(|history| history.status == ReleaseStatus::Undecided);
    let owed = fs::read_to_string(root.join(".shipit/owed")).is_ok_and(|owed| owed.ends_with('\n'));
    let out = seen.lines().next_back() == Some("out");
    if out && !undecided && !owed {
        Err(format!("out of service for good: {seen}"))
    } else {
        Ok(())
    }
}

fn as_its_manifest(root: &Path, id: &str) -> Result<(), String> {
    let manifest = root.join(".shipit/manifests").join(id);
    let text = told("no manifest", fs::read_to_string(manifest))?;
    let manifest = Manifest::parse(&text).ok_or_else(|| format!("no manifest: {text}"))?;
    for (path, node) in manifest.nodes() {
        let place = root.join("releases").join(id).join(path);
        let what = format!("{id}/{path}");
        let right = match node {
            Node::File { sha256, .. } => Digest::of(&told(&what, fs::read(&place))?) == *sha256,
            Node::Dir => place.is_dir(),
            Node::Link { target } => {
                fs::read_link(&place).is_ok_and(|found| found == Path::new(target))
            }
        };
        if !right {
            return Err(format!("{what} is not what the manifest says"));
        }
    }
    Ok(())
}

/// Fails unless the slot that has the traffic holds a release and will start at boot; `decided`: it
/// alone.
fn slot_serves(root: &Path, decided: bool) -> Result<(), String> {
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
fn unit_file_is_listed(root: &Path, decided: bool) -> Result<(), String> {
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
