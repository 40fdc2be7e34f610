//! What the service's user may do: reach the release, read its env file, write what is linked.

use super::Findings;
use crate::config::{Config, EnvSpec};
use crate::model::host_state::HostState;
use crate::model::link::{SharedKind, SharedLink};
use crate::remote::agent::{Access, Probe};

/// Who the service runs as, where that is neither root nor the user that deploys.
struct Runner<'a> {
    user: &'a str,
    groups: &'a [String],
}

impl Runner<'_> {
    fn may(&self, place: &Access, bits: u32) -> bool {
        place.lets(self.user, self.groups, bits)
    }

    /// The group through which it may be let in.
    fn team(&self) -> &str {
        self.groups.first().map_or(self.user, String::as_str)
    }
}

impl Findings {
    /// A group that files are given to must be one that the deploying user is in.
    pub(super) fn group(&mut self, config: &Config, state: &HostState) {
        let env = config.env.iter().filter_map(|spec| spec.group.as_ref());
        let links = config.links.iter().filter_map(|link| match &link.kind {
            SharedKind::Dir { group, .. } => group.as_ref(),
            SharedKind::File { .. } => None,
        });
        let user = &state.facts.user;
        let foreign = |group: &&String| !state.facts.root && !state.facts.groups.contains(*group);
        let mut missing: Vec<_> = env.chain(links).filter(foreign).collect();
        missing.dedup();
        for group in missing {
            let fix = format!("on the host: `sudo usermod -aG {group} {user}`");
            self.problem(format!("{user} is not in the group {group}"), fix);
        }
    }

    /// A service that runs as another user than the one that deploys.
    pub(super) fn runner(&mut self, config: &Config, state: &HostState, probe: &Probe) {
        let user = state.unit.as_ref().map(|unit| unit.user.as_str()).unwrap_or_default();
        if ["", "root", &state.facts.user].contains(&user) {
            return;
        }
        let runner = Runner { user, groups: &probe.runner_groups };
        let known = self.found.len();
        self.ways(&runner, probe);
        if let Some(spec) = &config.env {
            self.env_file(&runner, config, spec, state, probe);
        }
        for link in &config.links {
            self.linked_dir(&runner, config, link, state, probe);
        }
        if self.found.len() == known {
            self.ok(format!("{user}, which the service runs as, may read and write what it needs"));
        }
    }

    fn ways(&mut self, runner: &Runner<'_>, probe: &Probe) {
        for place in probe.ways.iter().filter(|place| !runner.may(place, 1)) {
            let text =
                format!("{}, which the service runs as, may not enter {}", runner.user, place.path);
            self.problem(text, format!("on the host: `sudo chmod o+x {}`", place.path));
        }
    }

    /// systemd reads `EnvironmentFile=` as root; a program that reads it itself must be able to.
    fn env_file(
        &mut self,
        runner: &Runner<'_>,
        config: &Config,
        spec: &EnvSpec,
        state: &HostState,
        probe: &Probe,
    ) {
        let path = format!("{}/{}", config.layout.current(), spec.file);
        if probe.env_files.iter().any(|line| line.contains(&path)) {
            return;
        }
        let made = Access {
            mode: u32::from_str_radix(&spec.mode, 8).unwrap_or(0),
            owner: state.facts.user.clone(),
            group: spec.group.clone().unwrap_or_default(),
            path,
        };
        if !runner.may(&made, 4) {
            let group = runner.team();
            let text =
                format!("{}, which the service runs as, may not read {}", runner.user, spec.file);
            let fix = format!(
                "`mode = \"0640\"` and `group = \"{group}\"` in [env], or EnvironmentFile={} in \
                 the unit",
                made.path
            );
            self.problem(text, fix);
        }
    }

    fn linked_dir(
        &mut self,
        runner: &Runner<'_>,
        config: &Config,
        link: &SharedLink,
        state: &HostState,
        probe: &Probe,
    ) {
        let SharedKind::Dir { mode, group } = &link.kind else { return };
        let path = config.layout.shared(&link.path);
        let there = probe.shared_dirs.iter().find(|place| place.path == path);
        let bits = mode.as_deref().and_then(|mode| u32::from_str_radix(mode, 8).ok());
        let planned = Access {
            mode: bits.unwrap_or(0o755),
            owner: state.facts.user.clone(),
            group: group.clone().unwrap_or_default(),
            path: path.clone(),
        };
        if runner.may(there.unwrap_or(&planned), 3) {
            return;
        }
        let team = runner.team();
        let fix = match there {
            Some(_) => {
                format!("on the host: `sudo chgrp {team} {path} && sudo chmod g+rwxs {path}`")
            }
            None => format!(
                "in linked_dirs: `{{ path = \"{}\", mode = \"2775\", group = \"{team}\" }}`",
                link.path
            ),
        };
        self.warn(format!("{}, which the service runs as, may not write {path}", runner.user), fix);
    }
}
