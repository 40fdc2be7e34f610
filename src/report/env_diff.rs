//! `shipit env diff`: the values of env files that differ between two releases, by name.

use serde_json::{Value, json};

use super::clean;
use super::human::{group_by, list};
use super::json::answer;
use super::styles::Styles;
use crate::deploy::env_diff::EnvChange;
use crate::model::env_keys::{EnvDifference, EnvName};
use crate::model::id::ReleaseId;

/// Returns the differences as text, with hosts that agree together.
pub fn env_diff_view(
    hosts: &[(String, EnvChange)],
    from: ReleaseId,
    to: ReleaseId,
    styles: &Styles,
) -> String {
    let mut lines = Vec::new();
    for (change, names) in group_by(hosts.iter().map(|(host, found)| (host.as_str(), found))) {
        let names = list(&names);
        let found = match change {
            EnvChange::Known(found) => found,
            EnvChange::Unknown(ids) => {
                let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
                lines.push(format!("{names}: what changed from {from} to {to} is not known"));
                lines.push(format!("  another tool, or an earlier shipit, made {}", list(&ids)));
                continue;
            }
        };
        if found.is_empty() {
            lines.push(format!("{names}: {from} and {to} have the same values"));
            continue;
        }
        lines.push(format!("{names}: from {from} to {to}"));
        let style = |sign| match sign {
            '+' => &styles.good,
            '~' => &styles.warn,
            _ => &styles.bad,
        };
        lines.extend(
            signed_names(found).map(|(sign, line)| format!("  {}", style(sign).apply_to(line))),
        );
    }
    lines.join("\n") + "\n"
}

/// Returns a line for each value that differs, such as `~ PORT (.env)`, with its sign: `+` added,
/// `~` changed, `-` removed.
pub(super) fn signed_names(found: &EnvDifference) -> impl Iterator<Item = (char, String)> {
    let signed = [('+', &found.added), ('~', &found.changed), ('-', &found.removed)];
    signed.into_iter().flat_map(|(sign, names)| {
        names.iter().map(move |EnvName { file, name }| {
            (sign, clean::line(&format!("{sign} {name} ({file})")))
        })
    })
}

/// Returns the same as JSON; null: not known.
pub fn env_diff_json(
    hosts: &[(String, EnvChange)],
    stage: &str,
    from: ReleaseId,
    to: ReleaseId,
) -> Value {
    let host = |(host, change): &(String, EnvChange)| {
        let (mut value, unknown) = match change {
            EnvChange::Known(found) => (json!(found), &[][..]),
            EnvChange::Unknown(ids) => {
                (json!({ "added": null, "changed": null, "removed": null }), &ids[..])
            }
        };
        value["host"] = json!(host);
        value["unknown"] = json!(unknown);
        value
    };
    let hosts: Value = hosts.iter().map(host).collect();
    answer(json!({ "stage": stage, "from": from, "to": to, "hosts": hosts }))
}
