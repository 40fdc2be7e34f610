//! Checks what sudo allows, by the same rules as a deploy.

use std::collections::BTreeSet;

use super::Findings;
use super::host::Subject;
use crate::config::{Config, Host};
use crate::model::service::{Action, Image, Scope, Service, Unit};
use crate::model::sudo::SudoRefusal;

/// The verbs that a unit in a slot needs.
const IN_SLOT: &[&str] = &["restart", "enable", "start", "stop", "disable", "reset-failed"];

impl Findings {
    /// Checks what every deploy needs of a unit, and what only a revert needs.
    pub(super) fn sudo(&mut self, subject: &Subject<'_>, service: &Service, unit: &Unit) {
        let facts = &subject.probed.state.facts;
        let way = &subject.config.sudo;
        if !way.tells() && !facts.root {
            return self.untold(&way.command.join(" "), &facts.user, unit);
        }
        let needed = commands(subject.config, service, unit);
        let sudo = &facts.sudo;
        let refused = needed.iter().filter_map(|one| Some((one.as_str(), sudo.refusal(one)?)));
        let refused: Vec<_> = refused.collect();
        let name = unit.name.as_str();
        let Some((first, refusal)) = refused.first() else {
            return self.may(unit);
        };
        let verbs: Vec<_> = refused.iter().filter_map(|(one, _)| one.split(' ').next()).collect();
        let (user, verbs) = (&facts.user, verbs.join(", "));
        let may_not = format!("sudo does not allow {user} to {verbs} {name} without a password");
        let (text, fix) = match refusal {
            SudoRefusal::NoRule => (may_not, rules(subject, &needed, "shipit")),
            // sudo reads its files in the order of their names, and the last rule that matches
            // counts.
            SudoRefusal::Password { rule } => (
                format!("{may_not}: its last rule that matches is {rule}"),
                rules(subject, &needed, "zzz-shipit"),
            ),
            SudoRefusal::Says { words } => (
                format!("sudo does not allow {user} to {verbs} {name}: {words}"),
                format!("on the host, as {user}: `sudo -n -l systemctl {first}` must work"),
            ),
        };
        let only_reverts = ["stop ", "reset-failed "];
        let needs = |one: &str| !only_reverts.iter().any(|verb| one.starts_with(verb));
        if refused.iter().any(|(one, _)| needs(one)) {
            self.problem(text, fix);
        } else {
            self.warn(text, fix);
        }
    }

    /// Warns that nobody knows what `command` allows, if the unit needs it at all.
    fn untold(&mut self, command: &str, user: &str, unit: &Unit) {
        let Some(verb) = unit.action.verbs().first() else { return };
        let name = &unit.name;
        self.warn(
            format!("`{command}` cannot be asked beforehand whether it lets {user} {verb} {name}"),
            format!("on the host, as {user}: `{command} systemctl {verb} {name}` must work"),
        );
    }

    /// Says what sudo allows, if the unit needs it at all.
    fn may(&mut self, unit: &Unit) {
        let action = match unit.action {
            Action::ReloadOrRestart => Action::Restart,
            action => action,
        };
        let file = if unit.file.is_some() { ", and link its unit file" } else { "" };
        match (unit.action.verbs(), file) {
            ([], "") => {}
            ([], _) => self.ok(format!("may link the unit file of {}", unit.name)),
            _ => self.ok(format!("may {}, stop and reset {}{file}", action.word(), unit.name)),
        }
    }
}

/// Returns what sudo must allow of systemctl for the unit.
fn commands(config: &Config, service: &Service, unit: &Unit) -> Vec<String> {
    let name = &unit.name;
    let verbs = if service.is_in_slot() { IN_SLOT } else { unit.action.verbs() };
    let verbs = verbs.iter().map(|verb| format!("{verb} {name}"));
    let file = unit.file.iter().flat_map(|file| {
        let link = format!("link {}/{file}", config.layout.current());
        [link, format!("enable {name}"), format!("disable --now {name}"), "daemon-reload".into()]
    });
    verbs.chain(file).collect()
}

/// Returns the commands that sudo must allow on a host, as rules name them.
pub fn sudo_commands(config: &Config, host: &Host) -> Vec<String> {
    let mut all = Vec::new();
    for service in config.services_on(host) {
        for unit in config.units_of(service).iter().filter(|unit| unit.scope == Scope::System) {
            all.extend(commands(config, service, unit).iter().map(|one| as_rule(one)));
        }
        all.extend(service.image.iter().filter_map(Image::program_of_root));
    }
    let mut seen = BTreeSet::new();
    all.retain(|one| seen.insert(one.clone()));
    all
}

/// Returns a command of systemctl as a rule of sudo names it.
fn as_rule(command: &str) -> String {
    let marks = [',', ':', '=', '\\'];
    let escape = |c: char| if marks.contains(&c) { format!("\\{c}") } else { c.to_string() };
    let command: String = command.chars().map(escape).collect();
    format!("/usr/bin/systemctl {command}")
}

/// Returns the file that holds the rules of an app.
pub fn sudo_file(prefix: &str, app: &str) -> String {
    // sudo reads no file with a dot in its name.
    format!("/etc/sudoers.d/{prefix}-{}", app.replace('.', "_"))
}

/// Returns the command that adds the rules to the existing ones.
fn rules(subject: &Subject<'_>, commands: &[String], prefix: &str) -> String {
    let commands: Vec<_> = commands.iter().map(|one| as_rule(one)).collect();
    let commands = commands.join(", ");
    let user = subject.probed.state.facts.user.replace('\\', "\\\\");
    let file = sudo_file(prefix, &subject.config.app);
    format!(
        "on the host: `echo '{user} ALL=(root) NOPASSWD: {commands}' | sudo tee -a {file} && \
         sudo chmod 440 {file} && sudo visudo -cf {file}`"
    )
}
