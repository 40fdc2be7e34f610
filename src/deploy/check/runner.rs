//! Checks what the service's user may do: reach the release, read its env file and linked files,
//! write the linked directories. Judged by permission bits.

use std::collections::BTreeSet;

use super::Findings;
use super::host::Subject;
use crate::config::{Config, EnvSpec, Host};
use crate::deploy::fleet::Probed;
use crate::model::host_state::{Facts, HostState, UnitState};
use crate::model::link::{SharedKind, SharedLink};
use crate::model::service::Scope;
use crate::remote::answer::{Access, UnitFacts};

/// One permission of a mode.
const READ: u32 = 4;
const WRITE_AND_ENTER: u32 = 3;
const ENTER: u32 = 1;

/// The user that the service runs as, unless it is root, who may do anything.
struct Runner<'a> {
    user: &'a str,
    groups: Vec<String>,
    /// The `EnvironmentFile=` lines, which systemd reads for it.
    env_files: &'a [String],
    /// The user who makes the releases, and who will own what is missing.
    maker: &'a str,
}

impl<'a> Runner<'a> {
    fn of(
        scope: Scope,
        state: &'a HostState,
        unit: &'a UnitState,
        facts: &'a UnitFacts,
    ) -> Option<Self> {
        let maker = state.facts.user.as_str();
        let user = if scope == Scope::User { maker } else { unit.user.as_str() };
        let mut groups = facts.groups.clone();
        if user == maker {
            groups.extend(state.facts.groups.iter().cloned());
        }
        let env_files = facts.env_files.as_slice();
        (!["", "root"].contains(&user)).then_some(Self { user, groups, env_files, maker })
    }

    fn may(&self, place: &Access, bits: u32) -> bool {
        place.lets(self.user, &self.groups, bits)
    }

    /// Returns the group through which the service's user may get access.
    fn team(&self) -> &str {
        self.groups.first().map_or(self.user, String::as_str)
    }

    /// Returns the owner, group and mode of a path that shipit would create.
    fn planned(&self, path: String, mode: &str, group: Option<&String>) -> Access {
        Access {
            mode: u32::from_str_radix(mode, 8).unwrap_or(0),
            owner: self.maker.to_owned(),
            group: group.cloned().unwrap_or_default(),
            path,
        }
    }

    fn may_not(&self, what: &str) -> String {
        format!("{}, which the service runs as, may not {what}", self.user)
    }
}

/// Returns the groups that files of a host are to have, which the deploying user must be in.
pub fn groups(config: &Config, host: &Host) -> BTreeSet<String> {
    let env = config.env_on(host).filter_map(|spec| spec.group.clone());
    let links = config.links.iter().filter_map(|link| match &link.kind {
        SharedKind::Dir { group, .. } => group.clone(),
        SharedKind::File { .. } => None,
    });
    env.chain(links).collect()
}

impl Findings {
    /// Reports groups of files that the deploying user is not in.
    pub(super) fn group(&mut self, subject: &Subject<'_>) {
        let Facts { user, root, groups: own, .. } = &subject.probed.state.facts;
        let missing = groups(subject.config, subject.host).into_iter();
        for group in missing.filter(|group| !root && !own.contains(group)) {
            let fix = format!(
                "on the host: `sudo groupadd -f {group} && sudo usermod -aG {group} {user}`"
            );
            self.problem(format!("{user} is not in the group {group}"), fix);
        }
    }

    /// Reports what the users of services need to do, but may not; of several services with one
    /// user each thing once.
    pub(super) fn runners(&mut self, subject: &Subject<'_>) {
        let Probed { state, probe, .. } = subject.probed;
        let mut told = Findings::of(self.host.clone());
        for service in &subject.config.services {
            let (Some(unit), Some(state_of)) = (service.unit(), state.unit_of(service)) else {
                continue;
            };
            let facts = probe.unit_facts(state_of);
            if let Some(user) = &facts.no_user {
                let fix = format!("on the host: `sudo useradd --system --user-group {user}`");
                told.problem(format!("the unit runs as {user}, who is no user there"), fix);
            } else if let Some(runner) = Runner::of(unit.scope, state, state_of, &facts) {
                told.runner(&runner, subject);
            }
        }
        for finding in told.found {
            if !self.found.contains(&finding) {
                self.found.push(finding);
            }
        }
    }

    fn runner(&mut self, runner: &Runner<'_>, subject: &Subject<'_>) {
        let known = self.found.len();
        for place in subject.probed.probe.ways.iter().filter(|way| !runner.may(way, ENTER)) {
            let fix = format!("on the host: `sudo chmod o+x {}`", place.path);
            self.problem(runner.may_not(&format!("enter {}", place.path)), fix);
        }
        for spec in subject.config.env_on(subject.host) {
            self.env_file(runner, subject.config, spec);
        }
        for link in &subject.config.links {
            self.linked(runner, subject, link);
        }
        if self.found.len() == known {
            let user = runner.user;
            self.ok(format!("{user}, which the service runs as, may read and write what it needs"));
        }
    }

    /// Checks the env file. systemd reads `EnvironmentFile=` as root; a program that reads it
    /// itself needs the permission.
    fn env_file(&mut self, runner: &Runner<'_>, config: &Config, spec: &EnvSpec) {
        let path = format!("{}/{}", config.layout.current(), spec.file);
        if runner.env_files.iter().any(|line| line.contains(&path)) {
            return;
        }
        let made = runner.planned(path, &spec.mode, spec.group.as_ref());
        if !runner.may(&made, READ) {
            let fix = format!("in [env]: `mode = \"0640\"` and `group = \"{}\"`", runner.team());
            self.problem(runner.may_not(&format!("read {}", spec.file)), fix);
        }
    }

    /// Checks linked paths: existing ones as they are, missing ones as shipit would create them.
    fn linked(&mut self, runner: &Runner<'_>, subject: &Subject<'_>, link: &SharedLink) {
        let path = subject.config.layout.shared(&link.path);
        let there = subject.probed.probe.shared.iter().find(|place| place.path == path);
        let (team, maker) = (runner.team(), runner.maker);
        match (&link.kind, there) {
            (SharedKind::File { .. }, Some(file)) if !runner.may(file, READ) => {
                let fix =
                    format!("on the host: `sudo chgrp {team} {path} && sudo chmod g+r {path}`");
                self.warn(runner.may_not(&format!("read {path}")), fix);
            }
            (SharedKind::Dir { .. }, Some(dir)) if !runner.may(dir, WRITE_AND_ENTER) => {
                let mend = if runner.user == maker {
                    format!("sudo chown {maker} {path}")
                } else {
                    format!("sudo chgrp {team} {path} && sudo chmod g+rwxs {path}")
                };
                let fix = format!("on the host: `{mend}`");
                self.warn(runner.may_not(&format!("write {path}")), fix);
            }
            (SharedKind::Dir { mode, group }, None) => {
                let mode = mode.as_deref().unwrap_or("755");
                if !runner.may(&runner.planned(path.clone(), mode, group.as_ref()), WRITE_AND_ENTER)
                {
                    let better = format!(
                        "{{ path = \"{}\", mode = \"2775\", group = \"{team}\" }}",
                        link.path
                    );
                    let fix = format!("in linked_dirs: `{better}`");
                    self.warn(runner.may_not(&format!("write {path}")), fix);
                }
            }
            _ => {}
        }
    }
}
