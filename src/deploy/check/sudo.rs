//! Checks what sudo allows, by the same rules as a deploy.

use super::Findings;
use super::host::Subject;
use crate::model::service::{Action, Unit};
use crate::model::sudo::SudoRefusal;

impl Findings {
    /// Checks the unit's action, which every deploy needs, and the verbs that only a revert needs.
    pub(super) fn sudo(&mut self, subject: &Subject<'_>, unit: &Unit) {
        let (unit, action) = (unit.name.as_str(), unit.action);
        let needed = action.verbs();
        if needed.is_empty() {
            return;
        }
        let sudo = &subject.probed.state.facts.sudo;
        let refused = needed.iter().filter_map(|verb| Some((*verb, sudo.refusal(verb, unit)?)));
        let refused: Vec<_> = refused.collect();
        let Some((first, refusal)) = refused.first() else {
            let verb = if action == Action::ReloadOrRestart { Action::Restart } else { action };
            let verb = verb.verb();
            return self.ok(format!("may {verb}, stop and reset {unit}"));
        };
        let verbs: Vec<_> = refused.iter().map(|(verb, _)| *verb).collect();
        let (user, verbs) = (&subject.probed.state.facts.user, verbs.join(", "));
        let may_not = format!("sudo does not allow {user} to {verbs} {unit} without a password");
        let (text, fix) = match refusal {
            SudoRefusal::NoRule => (may_not, rules(subject, unit, needed, "shipit")),
            // sudo reads its files in the order of their names, and the last rule that matches
            // counts.
            SudoRefusal::Password { rule } => (
                format!("{may_not}: its last rule that matches is {rule}"),
                rules(subject, unit, needed, "zzz-shipit"),
            ),
            SudoRefusal::Says { words } => (
                format!("sudo does not allow {user} to {verbs} {unit}: {words}"),
                format!("on the host, as {user}: `sudo -n -l systemctl {first} {unit}` must work"),
            ),
        };
        if *first == action.verb() { self.problem(text, fix) } else { self.warn(text, fix) }
    }
}

/// Returns the command that adds the rules to the existing ones.
fn rules(subject: &Subject<'_>, unit: &str, verbs: &[&str], prefix: &str) -> String {
    let commands = verbs.iter().map(|verb| format!("/usr/bin/systemctl {verb} {unit}"));
    let commands = commands.collect::<Vec<_>>().join(", ");
    let user = subject.probed.state.facts.user.replace('\\', "\\\\");
    let file = format!("/etc/sudoers.d/{prefix}-{}", subject.config.app.replace('.', "_"));
    format!(
        "on the host: `echo '{user} ALL=(root) NOPASSWD: {commands}' | sudo tee -a {file} && \
         sudo chmod 440 {file} && sudo visudo -cf {file}`"
    )
}
