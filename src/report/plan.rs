//! The dry run: what would be done, hosts with equal plans together.

use super::clean;
use super::human::{group_by, list};
use super::words;

/// The plans of all hosts as text. A warning stands before them, since it may change one's mind.
pub fn plan_view(plans: &[(String, Vec<String>)], warnings: &[(Option<String>, String)]) -> String {
    let mut all = Vec::new();
    let groups = group_by(warnings.iter().map(|(host, text)| (host.as_deref(), text)));
    for (warning, hosts) in groups {
        let hosts: Vec<_> = hosts.into_iter().flatten().collect();
        let about = (!hosts.is_empty()).then(|| list(&hosts));
        let line = words::about(about.as_deref(), &clean::line(warning));
        all.push(format!("warning: {line}"));
    }
    for (lines, hosts) in group_by(plans.iter().map(|(host, lines)| (host.as_str(), lines))) {
        all.push(format!("{}:", list(&hosts)));
        if lines.is_empty() {
            all.push("  nothing to do".to_owned());
        }
        all.extend(lines.iter().map(|line| format!("  {}", clean::line(line))));
    }
    all.push("nothing was changed: this was a dry run\n".to_owned());
    all.join("\n")
}

/// The same for machines.
pub fn plan_json(
    plans: &[(String, Vec<String>)],
    warnings: &[(Option<String>, String)],
) -> serde_json::Value {
    let host = |(host, lines): &(String, Vec<String>)| {
        let lines: Vec<_> = lines.iter().map(|line| clean::line(line)).collect();
        serde_json::json!({ "host": host, "steps": lines })
    };
    let warning = |(host, text): &(Option<String>, String)| serde_json::json!({ "host": host, "text": clean::line(text) });
    serde_json::json!({
        "v": super::json::VERSION,
        "dry_run": true,
        "hosts": plans.iter().map(host).collect::<Vec<_>>(),
        "warnings": warnings.iter().map(warning).collect::<Vec<_>>(),
    })
}
