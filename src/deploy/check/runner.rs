//! Checks what the service's user may do: reach the release, read its env file and linked files,
//! write the linked directories. Judged by permission bits.

use super::Findings;
use crate::config::{Config, EnvSpec};
use crate::model::host_state::{HostState, UnitState};
use crate::model::link::{SharedKind, SharedLink};
use crate::model::service::Scope;
use crate::remote::answer::{Access, CheckFacts, UnitFacts};

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

impl Findings {
    /// Reports groups of files that the deploying user is not in.
    pub(super) fn group(&mut self, config: &Config, state: &HostState) {
        let env = self.env_files(config).into_iter().filter_map(|spec| spec.group.as_ref());
        let links = config.links.iter().filter_map(|link| match &link.kind {
            SharedKind::Dir { group, .. } => group.as_ref(),
            SharedKind::File { .. } => None,
        });
        let user = &state.facts.user;
        let foreign = |group: &&String| !state.facts.root && !state.facts.groups.contains(*group);
        let mut missing: Vec<_> = env.chain(links).filter(foreign).collect();
        missing.dedup();
        for group in missing {
            let fix = format!(
                "on the host: `sudo groupadd -f {group} && sudo usermod -aG {group} {user}`"
            );
            self.problem(format!("{user} is not in the group {group}"), fix);
        }
    }

    /// Reports what the users of services need to do, but may not; of several services with one
    /// user each thing once.
    pub(super) fn runners(&mut self, config: &Config, state: &HostState, probe: &CheckFacts) {
        let mut told = Findings::of(self.host.clone());
        for service in &config.services {
            let (Some(unit), Some(state_of)) = (service.unit(), state.unit_of(service)) else {
                continue;
            };
            let facts = probe.unit_facts(state_of);
            if let Some(user) = &facts.no_user {
                let fix = format!("on the host: `sudo useradd --system --user-group {user}`");
                told.problem(format!("the unit runs as {user}, who is no user there"), fix);
            } else if let Some(runner) = Runner::of(unit.scope, state, state_of, &facts) {
                told.runner(&runner, config, probe);
            }
        }
        for finding in told.found {
            if !self.found.contains(&finding) {
                self.found.push(finding);
            }
        }
    }

    fn runner(&mut self, runner: &Runner<'_>, config: &Config, probe: &CheckFacts) {
        let known = self.found.len();
        self.ways(runner, probe);
        for spec in self.env_files(config) {
            self.env_file(runner, config, spec);
        }
        for link in &config.links {
            self.linked(runner, config, link, probe);
        }
        if self.found.len() == known {
            let user = runner.user;
            self.ok(format!("{user}, which the service runs as, may read and write what it needs"));
        }
    }

    fn ways(&mut self, runner: &Runner<'_>, probe: &CheckFacts) {
        for place in probe.ways.iter().filter(|place| !runner.may(place, ENTER)) {
            let fix = format!("on the host: `sudo chmod o+x {}`", place.path);
            self.problem(runner.may_not(&format!("enter {}", place.path)), fix);
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
    fn linked(
        &mut self,
        runner: &Runner<'_>,
        config: &Config,
        link: &SharedLink,
        probe: &CheckFacts,
    ) {
        let path = config.layout.shared(&link.path);
        let there = probe.shared.iter().find(|place| place.path == path);
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
