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
/// File systems of other machines, as stat(1) calls them.
const NETWORK: [&str; 10] =
    ["nfs", "cifs", "smb", "smb2", "fuseblk", "ceph", "v9fs", "afs", "lustre", "gfs/gfs2"];
/// How packages are installed where it is done as Debian does.
const INSTALL: &str = "on the host: `sudo apt-get install -y";
/// Lets what was started in a session outlive it.
const KEEP_PROCESSES: &str = "on the host: `sudo sed -i s/^KillUserProcesses=yes/KillUserProcesses=no/ \
     $(grep -ls ^KillUserProcesses=yes /etc/systemd/logind.conf /etc/systemd/logind.conf.d/*) && \
     sudo systemctl restart systemd-logind`";

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
            let fix = format!(
                "{INSTALL} tar coreutils findutils diffutils sed grep util-linux`, or with its own \
                 package manager"
            );
            self.problem(what.clone(), state.facts.fixes.get(what).cloned().unwrap_or(fix));
        }
        self.places(config, state, probe);
        self.live(config, state);
        self.space(config, state);
        let skew = (state.facts.clock - world.now).num_seconds().abs();
        if skew > SKEW {
            self.warn(
                format!("its clock differs by {skew}s"),
                "on the host: `sudo timedatectl set-ntp true`",
            );
        }
        self.group(config, state);
        self.runner(config, state, probe);
        match &config.service {
            Service::Unit { name, scope, action, .. } => {
                match scope {
                    Scope::System => self.sudo(config, name, *action, state, probe),
                    Scope::User => self.lingers(state, probe),
                }
                self.unit(config, name, *scope, state.unit.as_ref());
            }
            Service::Command { .. } | Service::None => {}
        }
        self.leftovers(config, state);
        if let Some(freeze) = &state.lock.frozen {
            let fix = format!("`shipit unlock {}` ends it", config.stage);
            self.warn(format!("locked by {freeze}"), fix);
        }
        if let Some(holder) = &state.holder {
            let fix = format!("`shipit deploy {} --wait` waits for its end", config.stage);
            self.warn(format!("locked by {holder}"), fix);
        }
    }

    fn places(&mut self, config: &Config, state: &HostState, probe: &Probe) {
        let (root, user) = (config.layout.root(), &state.facts.user);
        match (&probe.absent, probe.unwritable.is_empty()) {
            (None, true) => self.ok(format!("{root} can be written")),
            (Some(_), true) => self.ok(format!("{root} is not there yet and can be made")),
            (_, false) => {}
        }
        if NETWORK.contains(&probe.filesystem.as_str()) {
            let text =
                format!("{root} lies on {}: locks and renames may not hold", probe.filesystem);
            self.warn(text, "choose `deploy_to` on a local disk: `df -T` on the host shows them");
        }
        for path in &probe.unwritable {
            // Of a directory above nothing is changed: what is to be in it is made there.
            let own = if path.starts_with(root) { path } else { root };
            let fix = format!("on the host: `sudo install -d -o {user} {own}`");
            self.problem(format!("{path} cannot be written by {user}"), fix);
        }
        for path in &probe.missing_shared {
            let there = config.layout.shared(path);
            let folder = there.rsplit_once('/').map_or("/", |(folder, _)| folder);
            let fix =
                format!("on the host: `mkdir -p {folder} && cat > {there}` takes its content");
            self.problem(format!("{there} is not there"), fix);
        }
        let shell = state.facts.shell.rsplit('/').next().unwrap_or_default();
        if matches!(shell, "csh" | "tcsh" | "nologin" | "false") {
            let fix = format!("on the host: `sudo chsh -s /bin/sh {user}`");
            self.problem(format!("the login shell is {shell}"), fix);
        }
    }

    fn live(&mut self, config: &Config, state: &HostState) {
        match &state.current {
            Current::NotALink => {
                let path = config.layout.current();
                self.problem(
                    format!("{path} is no symbolic link"),
                    format!("on the host: `mv {path} {path}.old`"),
                );
            }
            Current::Foreign(target) => {
                let fix = format!(
                    "`shipit deploy {}` replaces the link; what it leads to stays",
                    config.stage
                );
                let text = format!("current leads to {target}, which is no release of ours");
                self.warn(text, fix);
            }
            Current::Absent => self.ok("nothing is live yet"),
            Current::Release(id) => self.ok(format!("{id} is live")),
        }
    }

    fn space(&mut self, config: &Config, state: &HostState) {
        let prune = format!("`shipit prune {}` deletes old releases", config.stage);
        if state.facts.free_bytes.is_some_and(|free| free < LOW_BYTES) {
            let free = state.facts.free_bytes.unwrap_or_default() / 1_000_000;
            self.warn(format!("only {free} MB are free"), prune.clone());
        }
        if state.facts.free_inodes.is_some_and(|free| free > 0 && free < 10_000) {
            self.warn("fewer than 10000 inodes are free", prune);
        }
        if !state.facts.tools.contains("zstd") && !state.facts.tools.contains("gzip") {
            let fix =
                format!("{INSTALL} zstd`, or with its own package manager: uploads get smaller");
            self.warn("neither zstd nor gzip is there", fix);
        }
    }

    /// A user's own units live as long as the user does.
    fn lingers(&mut self, state: &HostState, probe: &Probe) {
        if probe.linger == Some(false) {
            let fix = format!("on the host: `sudo loginctl enable-linger {}`", state.facts.user);
            self.problem("its user units end when nobody is logged in", fix);
        }
        if probe.kills_user_processes {
            self.warn("logind kills what a session leaves behind", KEEP_PROCESSES);
        }
    }

    fn sudo(
        &mut self,
        config: &Config,
        unit: &str,
        action: Action,
        state: &HostState,
        probe: &Probe,
    ) {
        let user = &state.facts.user;
        let may_not = probe.sudo.iter().filter(|(_, may)| !may);
        let verbs: Vec<_> = may_not.map(|(verb, _)| verb.as_str()).collect();
        if verbs.is_empty() {
            return self.ok(format!("may restart, stop and reset {unit}"));
        }
        let all = [action.verb(), "stop", "reset-failed"];
        let rules = all.map(|verb| format!("/usr/bin/systemctl {verb} {unit}")).join(", ");
        let fix = format!(
            "on the host: `echo '{user} ALL=(root) NOPASSWD: {rules}' | sudo tee \
             /etc/sudoers.d/shipit-{}`",
            config.app
        );
        let verbs = verbs.join(", ");
        self.problem(
            format!("sudo does not allow {user} to {verbs} {unit} without a password"),
            fix,
        );
    }

    fn unit(&mut self, config: &Config, name: &str, scope: Scope, unit: Option<&UnitState>) {
        let (sudo, systemctl, folder) = match scope {
            Scope::System => ("sudo ", "sudo systemctl", "/etc/systemd/system"),
            Scope::User => ("", "systemctl --user", "~/.config/systemd/user"),
        };
        let Some(unit) = unit.filter(|unit| unit.load == "loaded") else {
            let load = unit.map_or("unknown", |unit| unit.load.as_str());
            let fix = format!("on the host: `{systemctl} edit --force --full {name}` writes one");
            self.problem(format!("systemd says {name} is {load}"), fix);
            return;
        };
        let current = config.layout.current();
        if unit.working_directory.contains(&current) || unit.exec_start.contains(&current) {
            self.ok(format!("{name} goes through {current}"));
        } else {
            let parts = format!("{folder}/{name}.d");
            let fix = format!(
                "on the host: `{sudo}mkdir -p {parts} && printf '[Service]\\nWorkingDirectory=\
                 {current}\\n' | {sudo}tee {parts}/shipit.conf && {systemctl} daemon-reload`"
            );
            self.problem(format!("{name} does not go through {current}"), fix);
        }
        if unit.active == "failed" {
            let fix = format!("`shipit deploy {}` restarts it", config.stage);
            self.warn(format!("{name} is failed now"), fix);
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
