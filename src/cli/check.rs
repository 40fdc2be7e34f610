//! `shipit check`: proves that a deploy would work, changing nothing; every finding that is not
//! well ends in what to do about it.

use super::args::StageArg;
use super::error::CliError;
use super::world::{World, print};
use crate::config::resolve::Overrides;
use crate::config::{Address, Config, Host};
use crate::deploy::finding::{Finding, Level};
use crate::deploy::fleet::Probed;
use crate::deploy::outcome::Failure;
use crate::model::host_state::{Current, HostState, UnitState};
use crate::model::service::{Action, Scope, Service};
use crate::remote::agent::Probe;
use crate::report::check::{check_json, check_view};

/// Clocks that differ by more make ids and ledgers hard to read.
const SKEW: i64 = 60;
/// Less than this is worth a word.
const LOW_BYTES: u64 = 500_000_000;

/// Looks, probes, tells.
pub(crate) async fn run(world: &World, stage: &StageArg) -> Result<u8, CliError> {
    let config = world.config(stage, Overrides::default())?;
    let mut all = Vec::new();
    for (host, probed) in world.probe(&config).await? {
        let mut host = Findings { host, found: Vec::new() };
        match probed {
            Ok(probed) => host.judge(world, &config, &probed),
            Err(failure) => host.unreachable(&failure),
        }
        all.extend(host.found);
    }
    let text = if world.common.json {
        format!("{}\n", check_json(&all))
    } else {
        check_view(&all, &world.styles())
    };
    print(&text);
    Ok(u8::from(all.iter().any(|finding| finding.level == Level::Problem)))
}

struct Findings {
    host: String,
    found: Vec<Finding>,
}

impl Findings {
    fn add(&mut self, level: Level, text: impl Into<String>, fix: Option<String>) {
        self.found.push(Finding { host: Some(self.host.clone()), level, text: text.into(), fix });
    }

    fn ok(&mut self, text: impl Into<String>) {
        self.add(Level::Ok, text, None);
    }

    fn warn(&mut self, text: impl Into<String>, fix: impl Into<String>) {
        self.add(Level::Warning, text, Some(fix.into()));
    }

    fn problem(&mut self, text: impl Into<String>, fix: impl Into<String>) {
        self.add(Level::Problem, text, Some(fix.into()));
    }

    fn unreachable(&mut self, failure: &Failure) {
        let by_hand = format!("connect by hand and see: `ssh {} true`", self.host);
        let fix = failure.hint.clone().unwrap_or(by_hand);
        self.problem(failure.one_line(), fix);
    }

    fn judge(&mut self, world: &World, config: &Config, (state, probe): &Probed) {
        let user = &state.facts.user;
        let here = |host: &&Host| host.name == self.host && host.address == Address::Local;
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
        match &config.service {
            Service::Unit { name, scope, action, .. } => {
                self.privilege(name, *scope, *action, state, probe);
                self.unit(config, name, state.unit.as_ref());
                self.env_readable(config, state);
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
        if probe.unwritable.is_empty() {
            self.ok(format!("{root} can be written"));
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

    /// A service that runs as another user must be able to read `.env`.
    fn env_readable(&mut self, config: &Config, state: &HostState) {
        let (Some(spec), Some(unit)) = (&config.env, &state.unit) else { return };
        let other = !unit.user.is_empty() && unit.user != state.facts.user && unit.user != "root";
        if other && spec.group.is_none() {
            let fix = format!(
                "`mode = \"0640\"` and `group = \"{}\"` in [env], or EnvironmentFile= in the unit",
                unit.user
            );
            self.warn(format!("{} may be unreadable for {}", spec.file, unit.user), fix);
        }
        if let Some(group) =
            spec.group.as_ref().filter(|group| !state.facts.groups.contains(*group))
        {
            let user = &state.facts.user;
            let fix = format!("on the host: `sudo usermod -aG {group} {user}`");
            self.problem(format!("{user} is not in the group {group}"), fix);
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
