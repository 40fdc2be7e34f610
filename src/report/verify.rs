//! `shipit verify`: what is as it was released and what is not, by file.

use serde_json::{Value, json};

use super::clean;
use super::human::{count, group_by, list};
use super::json::answer;
use super::styles::Styles;
use crate::deploy::verify::Verified;
use crate::model::drift::{Drift, NO_PYTHON_CACHE, is_python_cache};
use crate::model::service::Proof;

/// Further differing files of a host are counted, not shown; `--json` has them all.
const MOST_FILES: usize = 50;

/// Returns what was found as text, with hosts that agree together.
pub fn verify_view(hosts: &[(String, Verified)], styles: &Styles) -> String {
    let mut lines = Vec::new();
    for (found, names) in group_by(hosts.iter().map(|(host, found)| (host.as_str(), found))) {
        let names = list(&names);
        if found.is_clean() {
            let ok = styles.good.apply_to("ok      ");
            lines.push(format!("{ok} {names}: {}", praise(found)));
            continue;
        }
        let drift = styles.bad.apply_to("drift   ");
        let Some(release) = found.release else {
            let why = clean::line(&found.problems.join("; "));
            lines.push(format!("{drift} {names}: {why}"));
            continue;
        };
        lines.push(format!("{drift} {names}: {release} is not as it was released"));
        lines.extend(found.problems.iter().map(|what| format!("         {}", clean::line(what))));
        let file = |drift: &&Drift| {
            let change = drift.change.to_string();
            format!("         {}: {}", clean::line(&drift.path), clean::line(&change))
        };
        let (cached, others): (Vec<_>, Vec<_>) =
            found.drift.iter().partition(|drift| is_python_cache(&drift.path));
        lines.extend(others.iter().take(MOST_FILES).map(file));
        if let Some(more @ 1..) = others.len().checked_sub(MOST_FILES) {
            lines.push(format!("         and {}", count(more, "more difference")));
        }
        if !cached.is_empty() {
            let many = count(cached.len(), "difference");
            lines.push(format!("         {many} in __pycache__, which Python writes"));
            lines.push(format!("         hint:  {NO_PYTHON_CACHE} stops it"));
        }
    }
    lines.join("\n") + "\n"
}

fn praise(found: &Verified) -> String {
    let id = found.release.map_or_else(String::new, |id| id.to_string());
    let runs = match found.proof() {
        Some(Proof::Seen) => ", and is seen running",
        Some(Proof::Inferred | Proof::Reloaded) => ", and runs according to systemd",
        Some(Proof::Restarted) => ", and its service is active",
        None => "",
    };
    let place = if found.live { "live" } else { "not live" };
    format!("{id} ({place}) is as it was released{runs}")
}

/// Returns what was found as JSON.
pub fn verify_json(hosts: &[(String, Verified)], stage: &str) -> Value {
    let drift = |Drift { path, change }: &Drift| json!({ "path": path, "change": change.word(), "text": change.to_string() });
    let host = |(host, found): &(String, Verified)| {
        json!({
            "host": host,
            "release": found.release,
            "live": found.live,
            "clean": found.is_clean(),
            "proof": found.proof().map(|proof| match proof {
                Proof::Reloaded => Proof::Inferred,
                proof => proof,
            }),
            "services": found.services,
            "problems": found.problems,
            "drift": found.drift.iter().map(drift).collect::<Value>(),
        })
    };
    let clean = hosts.iter().all(|(_, found)| found.is_clean());
    let hosts: Value = hosts.iter().map(host).collect();
    answer(json!({ "stage": stage, "clean": clean, "hosts": hosts }))
}
