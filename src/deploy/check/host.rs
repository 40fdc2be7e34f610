//! The findings of one host.

use chrono::{DateTime, Utc};

use super::Findings;
use super::unit::CheckedUnit;
use crate::config::{Address, Config, Host};
use crate::deploy::fleet::Probed;
use crate::deploy::goal::Build;
use crate::deploy::health::local_ports;
use crate::deploy::plan::PlanError;
use crate::model::host_state::{Current, Facts, HostState, UnitState};
use crate::model::manifest::{Node, is_below};
use crate::model::service::{Scope, Service, Unit};
use crate::model::words::count;

/// Clocks that differ by more seconds make ids and ledgers hard to read.
const SKEW: i64 = 60;
/// Less free space than this causes a warning.
const LOW_BYTES: u64 = 500_000_000;
/// Network file systems, by the names that stat(1) prints.
const NETWORK: [&str; 10] =
    ["nfs", "cifs", "smb", "smb2", "fuseblk", "ceph", "v9fs", "afs", "lustre", "gfs/gfs2"];
/// Members of these groups may read the journal.
const READ_JOURNALS: [&str; 3] = ["systemd-journal", "adm", "wheel"];
/// Debian's packages of the tools that a host needs.
const PACKAGES: [(&str, &[&str]); 8] = [
    ("coreutils", &["timeout", "dd", "sha256sum", "sort", "stat", "mktemp", "readlink", "mv"]),
    ("findutils", &["find"]),
    ("diffutils", &["cmp"]),
    ("mawk", &["awk"]),
    ("util-linux", &["flock"]),
    ("tar sed grep", &["tar", "sed", "grep"]),
    ("podman", &["podman"]),
    ("docker.io", &["docker"]),
];
/// The command that installs packages on Debian.
const INSTALL: &str = "on the host: `sudo apt-get install -y";
/// The command that lets processes outlive their session.
const KEEP_PROCESSES: &str = "on the host: `sudo sed -i s/^KillUserProcesses=yes/KillUserProcesses=no/ \
     $(grep -ls ^KillUserProcesses=yes /etc/systemd/logind.conf /etc/systemd/logind.conf.d/*) && \
     sudo systemctl restart systemd-logind`";

/// A host under check, with everything that its findings depend on.
pub struct Subject<'a> {
    /// The time by this machine's clock.
    pub now: DateTime<Utc>,
    pub config: &'a Config,
    pub host: &'a Host,
    /// The build that a deploy would make live, if there is one.
    pub build: Option<&'a Build>,
    pub probed: &'a Probed,
}

impl Subject<'_> {
    /// Returns whether a release will certainly lack `path`: nothing known contains it, and no hook
    /// may create it.
    pub(super) fn lacks(&self, path: &str) -> bool {
        let config = self.config;
        let Some(build) = self.build.filter(|_| config.hooks.staged.is_empty()) else {
            return false;
        };
        let is_env = config.env.iter().any(|spec| spec.file == path);
        let covers = |top: &str| path == top || is_below(path, top);
        let linked = config.links.iter().any(|link| covers(&link.path));
        let link = |(at, node): (&String, &Node)| matches!(node, Node::Link { .. }) && covers(at);
        let holds = build.manifest.holds(path) || build.manifest.nodes().iter().any(link);
        !is_env && !linked && !holds
    }
}

impl Findings {
    /// Adds all findings of the host.
    pub fn judge(&mut self, subject: &Subject<'_>) {
        let (config, state) = (subject.config, &subject.probed.state);
        self.login(subject);
        for refusal in &subject.probed.refusals {
            self.refused(subject, refusal);
        }
        self.noted(subject.probed.notes.iter().cloned());
        self.places(subject);
        match &state.current {
            // A deploy refuses the one, and warns of the other.
            Current::NotALink | Current::Foreign(_) => {}
            Current::Absent => self.ok("nothing is live yet"),
            Current::Release(id) => self.ok(format!("{id} is live")),
        }
        self.space(subject);
        let skew = (state.facts.clock - subject.now).num_seconds().abs();
        if skew > SKEW {
            self.warn(
                format!("its clock differs by {skew}s"),
                "on the host: `sudo timedatectl set-ntp true`",
            );
        }
        self.group(subject);
        self.runners(subject);
        self.services(subject);
        self.ports(subject);
        self.leftovers(subject);
        if let Some(record) = &state.lock.deploy_lock {
            let fix = format!("`shipit unlock {}` releases it", config.stage);
            self.warn(format!("locked by {record}"), fix);
        }
        if let Some(holder) = &state.holder {
            let fix = format!("`shipit deploy {} --wait` waits until it is released", config.stage);
            self.warn(format!("locked by {holder}"), fix);
        }
    }

    fn login(&mut self, subject: &Subject<'_>) {
        let user = &subject.probed.state.facts.user;
        self.ok(match (&subject.host.address, &subject.config.sudo.user) {
            (Address::Local, _) => format!("is this machine, as {user}"),
            (_, Some(_)) => format!("host key and key accepted, and acts as {user}"),
            (_, None) => format!("logged in as {user}, host key and key accepted"),
        });
    }

    /// Adds what a deploy would refuse, except sudo and the unit, which have findings of their own.
    fn refused(&mut self, subject: &Subject<'_>, refusal: &PlanError) {
        match refusal {
            PlanError::Unfit { what, .. } => {
                for what in what {
                    let fix = subject.probed.state.facts.fixes.get(what).cloned();
                    self.problem(what.clone(), fix.unwrap_or_else(|| how_to_get(what)));
                }
            }
            PlanError::NoUnit { .. } | PlanError::NoSudo { .. } => {}
            refusal => self.problem(refusal.to_string(), refusal.hint(&subject.config.stage)),
        }
    }

    fn services(&mut self, subject: &Subject<'_>) {
        for service in subject.config.services_on(subject.host) {
            let seen = service.in_slot(subject.probed.state.seen_slot());
            if let Some(unit) = seen.unit() {
                self.service(subject, service, unit);
            }
        }
        self.unit_files(subject);
    }

    /// Warns if systemd looks for unit files of the release at boot before they are mounted.
    fn unit_files(&mut self, subject: &Subject<'_>) {
        let units = subject.config.services.iter().filter_map(Service::unit);
        let mut brought = units.filter(|unit| unit.file.is_some() && unit.scope == Scope::System);
        if let Some(unit) = brought.next().filter(|_| subject.probed.probe.mounted) {
            let root = subject.config.layout.root();
            let text = format!(
                "{} comes with the release, and {root} is not on the root file system: at boot \
                 systemd may look for it before that is mounted",
                unit.name
            );
            let fix = "on the host: `x-initrd.mount` for it in /etc/fstab, or install such units by \
                       hand";
            self.warn(text, fix);
        }
    }

    fn service(&mut self, subject: &Subject<'_>, service: &Service, unit: &Unit) {
        let Probed { state, probe, .. } = subject.probed;
        let found = state.unit_of(service);
        let unknown = UnitState { load: "unknown".to_owned(), ..UnitState::default() };
        let checked = CheckedUnit {
            unit,
            tag: service.image.as_ref().map(|image| image.tag_of(state.seen_slot(), service)),
            state: found.unwrap_or(&unknown),
            facts: &found.map(|found| probe.unit_facts(found)).unwrap_or_default(),
        };
        if checked.state.load != "loaded" {
            match (&unit.file, unit.scope) {
                (None, _) => return self.no_unit(subject, &checked),
                (Some(_), Scope::System) => self.sudo(subject, service, unit),
                (Some(_), Scope::User) => self.lingers(subject),
            }
            return self.ok(format!("{} comes with the release", unit.name));
        }
        match unit.scope {
            Scope::System => {
                for unit in subject.config.units_of(service) {
                    self.sudo(subject, service, &unit);
                }
                self.journal(state, &unit.name);
            }
            Scope::User => self.lingers(subject),
        }
        self.unit(subject, &checked);
    }

    /// Warns of a port that nothing listens on although the service runs, or that is taken before
    /// it runs.
    fn ports(&mut self, subject: &Subject<'_>) {
        let Probed { state, probe, .. } = subject.probed;
        let runs = state.units.iter().all(|unit| unit.active == "active");
        // A unit that ran before the first deploy may be the one that listens.
        let may_listen = state.units.iter().any(|unit| unit.active == "active");
        for port in local_ports(subject.config, subject.host) {
            match (probe.listening.contains(&port), state.live()) {
                (false, Some(live)) if runs => self.warn(
                    format!(
                        "nothing listens on port {port}, which a health check asks, although \
                         {live} is live"
                    ),
                    format!(
                        "in [health]: another port, unless the next release opens {port}; on the \
                         host: `ss -ltn`"
                    ),
                ),
                (true, None) if state.current == Current::Absent && !may_listen => self.warn(
                    format!("a process already listens on port {port}, although nothing is live"),
                    format!("on the host: `sudo ss -ltnp 'sport = :{port}'` shows it"),
                ),
                _ => {}
            }
        }
    }

    /// Warns if the journal, which shows why a release failed, cannot be read.
    fn journal(&mut self, state: &HostState, unit: &str) {
        let Facts { user, root, groups, .. } = &state.facts;
        if *root || READ_JOURNALS.iter().any(|group| groups.contains(*group)) {
            return;
        }
        let fix = format!("on the host: `sudo usermod -aG systemd-journal {user}`");
        self.warn(format!("{user} may not read the journal of {unit}"), fix);
    }

    fn places(&mut self, subject: &Subject<'_>) {
        let (config, Probed { state, probe, .. }) = (subject.config, subject.probed);
        let (root, user) = (config.layout.root(), &state.facts.user);
        match (&probe.absent, probe.unwritable.is_empty()) {
            (None, true) => self.ok(format!("{root} can be written")),
            (Some(_), true) => self.ok(format!("{root} does not exist yet and can be created")),
            (_, false) => {}
        }
        if NETWORK.contains(&probe.filesystem.as_str()) {
            let text =
                format!("{root} lies on {}: locks and renames may not hold", probe.filesystem);
            self.warn(text, "choose `deploy_to` on a local disk: `df -T` on the host shows them");
        }
        for path in &probe.unwritable {
            // Directories above are not changed: the missing one is created in them.
            let own = if path.starts_with(root) { path } else { root };
            let fix = format!("on the host: `sudo install -d -o {user} {own}`");
            self.problem(format!("{path} cannot be written by {user}"), fix);
        }
        for path in &probe.missing_shared {
            let there = config.layout.shared(path);
            let folder = there.rsplit_once('/').map_or("/", |(folder, _)| folder);
            let fix =
                format!("on the host: `mkdir -p {folder} && cat > {there}` takes its content");
            self.problem(format!("{there} does not exist"), fix);
        }
        let shell = state.facts.shell.rsplit('/').next().unwrap_or_default();
        // A user that only acts never logs in.
        let logs_in = config.sudo.user.is_none();
        if logs_in && matches!(shell, "csh" | "tcsh" | "nologin" | "false") {
            let fix = format!("on the host: `sudo chsh -s /bin/sh {user}`");
            self.problem(format!("the login shell is {shell}"), fix);
        }
    }

    fn space(&mut self, subject: &Subject<'_>) {
        let facts = &subject.probed.state.facts;
        let prune = format!("`shipit prune {}` deletes old releases", subject.config.stage);
        if let Some(free) = facts.free_bytes.filter(|free| *free < LOW_BYTES) {
            self.warn(format!("only {} MB are free", free / 1_000_000), prune.clone());
        }
        if facts.free_inodes.is_some_and(|free| free > 0 && free < 10_000) {
            self.warn("fewer than 10000 inodes are free", prune);
        }
        if !facts.tools.contains("zstd") {
            let fix = format!(
                "{INSTALL} zstd`, or with its own package manager: uploads get smaller, and of a \
                 large file that changed only the difference travels"
            );
            self.warn("zstd is not there", fix);
        }
    }

    /// Warns if a user's units stop when the user logs out.
    fn lingers(&mut self, subject: &Subject<'_>) {
        let Probed { state, probe, .. } = subject.probed;
        if probe.linger == Some(false) {
            let fix = format!("on the host: `sudo loginctl enable-linger {}`", state.facts.user);
            self.problem("its user units stop when nobody is logged in", fix);
        }
        if probe.kills_user_processes {
            self.warn("logind kills what a session leaves behind", KEEP_PROCESSES);
        }
    }

    fn leftovers(&mut self, subject: &Subject<'_>) {
        let (state, name) = (&subject.probed.state, &subject.config.stage);
        if let Some((id, _)) = state.undecided() {
            let fix = format!("`shipit deploy {name}` or `shipit rollback {name}` recovers it");
            self.warn(format!("an interrupted run left {id} undecided"), fix);
        }
        if !state.leftovers.is_empty() || !state.unfinished.is_empty() {
            let left = state.leftovers.len() + state.unfinished.len();
            self.warn(
                format!("{} of interrupted runs", count(left, "leftover")),
                format!("`shipit prune {name}` deletes them"),
            );
        }
    }
}

/// Returns how to install a missing tool.
fn how_to_get(missing: &str) -> String {
    if let Some((words, _)) = missing.split_once(" does not answer ") {
        let engine = words.rsplit(' ').next().unwrap_or(words);
        // Podman has no daemon, and so no group that may talk to it.
        let group =
            if engine == "docker" { "let the user into the group `docker`, or " } else { "" };
        return format!(
            "on the host: {group}allow `{engine}` by a rule of sudo, and set `engine = \"sudo -n \
             {engine}\"` in [service]"
        );
    }
    let tool = missing.strip_suffix(" is not installed");
    let package = PACKAGES.iter().find(|(_, tools)| tool.is_some_and(|it| tools.contains(&it)));
    match package {
        Some((package, _)) => {
            format!("{INSTALL} {package}`, or with its own package manager")
        }
        None => format!("fix it on the host: {missing}"),
    }
}
