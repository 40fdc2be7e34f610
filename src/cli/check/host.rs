//! What one host says.

use super::super::world::World;
use super::Findings;
use crate::config::{Address, Config, Host};
use crate::deploy::fleet::Probed;
use crate::model::host_state::{Current, HostState, UnitState};
use crate::model::service::{Action, Scope, Service};
use crate::remote::agent::Probe;

/// Clocks that differ by more make ids and ledgers hard to read.
const SKEW: i64 = 60;
/// Less than this is worth a word.
const LOW_BYTES: u64 = 500_000_000;

impl Findings {
    /// Everything that one host says.
    pub(super) fn judge(&mut self, world: &World, config: &Config, (state, probe): &Probed) {
        let user = &state.facts.user;
        let here =
            |host: &&Host| Some(&host.name) == self.host.as_ref() && host.address == Address::Local;
        self.ok(match config.hosts.iter().find(here) {
            Some(_) => format!("is this machine, as {user}"),
            None => format!("logged in as {user}, host key and key accepted"),
        });
        for what in &state.facts.missing {
            self.problem(what.clone(), "install it, or mend what it says, on the host");
        }
        self.places(config, state, probe);
        self.space(state);
        let skew = (state.facts.clock - world.now).num_seconds().abs();
        if skew > SKEW {
            self.warn(
                format!("its clock differs by {skew}s"),
                "run NTP: `timedatectl set-ntp true`",
            );
        }
        self.group(config, state);
        self.runner(config, state, probe);
        match &config.service {
            Service::Unit { name, scope, action, .. } => {
                self.privilege(name, *scope, *action, state, probe);
                self.unit(config, name, state.unit.as_ref());
            }
            Service::Command { .. } | Service::None => {}
        }
        self.leftovers(config, state);
        if let Some(freeze) = &state.lock.frozen {
            let fix = format!("`shipit unlock {}` ends it", config.stage);
            self.warn(format!("locked by {freeze}"), fix);
        }
        if let Some(holder) = &state.holder {
            self.warn(format!("locked by {holder}"), "wait for it, or deploy with `--wait`");
        }
    }

    fn places(&mut self, config: &Config, state: &HostState, probe: &Probe) {
        let (root, user) = (config.layout.root(), &state.facts.user);
        let own = format!("on the host: `sudo install -d -o {user} {root}`");
        match (&probe.absent, probe.unwritable.is_empty()) {
            (None, true) => self.ok(format!("{root} can be written")),
            (Some(_), true) => self.ok(format!("{root} is not there yet and can be made")),
            (_, false) => {}
        }
        if ["nfs", "nfs4", "cifs", "smb2", "fuseblk"].contains(&probe.filesystem.as_str()) {
            let text =
                format!("{root} lies on {}: locks and renames may not hold", probe.filesystem);
            self.warn(text, format!("a local disk for {root}"));
        }
        for path in &probe.unwritable {
            self.problem(format!("{path} cannot be written by {user}"), own.clone());
        }
        for path in &probe.world_writable {
            self.warn(format!("everybody can write {path}"), format!("`chmod o-w {path}`"));
        }
        for path in &probe.missing_shared {
            let path = config.layout.shared(path);
            self.problem(
                format!("{path} is not there"),
                "put it there by hand, it is a linked file",
            );
        }
        match &state.current {
            Current::NotALink => {
                let path = config.layout.current();
                self.problem(
                    format!("{path} is no symbolic link"),
                    format!("move it away: `mv {path} {path}.old`"),
                );
            }
            Current::Foreign(target) => self.warn(
                format!("current leads to {target}, which is no release of ours"),
                "the first deploy replaces the link; the directory stays",
            ),
            Current::Absent => self.ok("nothing is live yet"),
            Current::Release(id) => self.ok(format!("{id} is live")),
        }
        let shell = state.facts.shell.rsplit('/').next().unwrap_or_default();
        if matches!(shell, "csh" | "tcsh" | "nologin" | "false") {
            let fix = format!("`sudo chsh -s /bin/sh {user}`");
            self.problem(format!("the login shell is {shell}"), fix);
        }
    }

    fn space(&mut self, state: &HostState) {
        if state.facts.free_bytes.is_some_and(|free| free < LOW_BYTES) {
            let free = state.facts.free_bytes.unwrap_or_default() / 1_000_000;
            self.warn(format!("only {free} MB are free"), "`shipit prune` deletes old releases");
        }
        if state.facts.free_inodes.is_some_and(|free| free > 0 && free < 10_000) {
            self.warn("fewer than 10000 inodes are free", "`shipit prune` deletes old releases");
        }
        if !state.facts.tools.contains("zstd") && !state.facts.tools.contains("gzip") {
            self.warn("neither zstd nor gzip is there", "install zstd: uploads will be smaller");
        }
    }

    fn privilege(
        &mut self,
        unit: &str,
        scope: Scope,
        action: Action,
        state: &HostState,
        probe: &Probe,
    ) {
        let user = &state.facts.user;
        if scope == Scope::User {
            if probe.linger == Some(false) {
                let fix = format!("on the host: `sudo loginctl enable-linger {user}`");
                self.problem("its user units end when nobody is logged in", fix);
            }
            if probe.kills_user_processes {
                self.warn(
                    "logind kills what a session leaves behind",
                    "KillUserProcesses=no in /etc/systemd/logind.conf",
                );
            }
            return;
        }
        let line = format!(
            "{user} ALL=(root) NOPASSWD: /usr/bin/systemctl {0} {unit}, \
             /usr/bin/systemctl stop {unit}, /usr/bin/systemctl reset-failed {unit}",
            action.verb()
        );
        for (verb, may) in &probe.sudo {
            if !may {
                let text =
                    format!("sudo does not allow `systemctl {verb} {unit}` without a password");
                self.problem(text, format!("in /etc/sudoers.d/{user}: {line}"));
            }
        }
        if probe.sudo.iter().all(|(_, may)| *may) {
            self.ok(format!("may restart, stop and reset {unit}"));
        }
    }

    fn unit(&mut self, config: &Config, name: &str, unit: Option<&UnitState>) {
        let Some(unit) = unit.filter(|unit| unit.load == "loaded") else {
            let load = unit.map_or("unknown", |unit| unit.load.as_str());
            let fix = format!("install the unit file, then `systemctl daemon-reload` ({name})");
            self.problem(format!("systemd says {name} is {load}"), fix);
            return;
        };
        let current = config.layout.current();
        if unit.working_directory.contains(&current) || unit.exec_start.contains(&current) {
            self.ok(format!("{name} goes through {current}"));
        } else {
            let fix = format!("WorkingDirectory={current} in {name}");
            self.problem(format!("{name} does not go through {current}"), fix);
        }
        if unit.active == "failed" {
            self.warn(format!("{name} is failed now"), "a deploy restarts it");
        }
    }

    fn leftovers(&mut self, config: &Config, state: &HostState) {
        let name = &config.stage;
        if let Some((id, _)) = state.undecided() {
            let fix = format!("`shipit deploy {name}` or `shipit rollback {name}` settles it");
            self.warn(format!("an interrupted run left {id} undecided"), fix);
        }
        if !state.leftovers.is_empty() || !state.unfinished.is_empty() {
            let count = state.leftovers.len() + state.unfinished.len();
            self.warn(
                format!("{count} things that interrupted runs left"),
                format!("`shipit prune {name}` deletes them"),
            );
        }
    }
}
