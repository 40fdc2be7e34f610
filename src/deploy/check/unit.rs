//! Checks the service's unit: that it exists, runs what is live, and starts at boot.

use super::Findings;
use super::host::Subject;
use crate::config::EnvSpec;
use crate::config::env_format::EnvFormat;
use crate::config::error::similar;
use crate::deploy::health::ProofRule;
use crate::model::host_state::{UnitState, leads};
use crate::model::manifest::{Manifest, Node, is_below};
use crate::model::service::{Scope, Unit, UnitKind};
use crate::model::words::list;
use crate::remote::answer::UnitFacts;
use crate::remote::quote::word;

/// The first systemd with the properties InvocationID and NRestarts.
const TELLS_STARTS: u32 = 232;

/// The first systemd that keeps backslashes between single quotes.
const KEEPS_BACKSLASHES: u32 = 240;
/// The first systemd that keeps values of several lines.
const KEEPS_NEWLINES: u32 = 239;

/// The last systemd that is known to start no service whose root directory is behind a link (it
/// ends with 226/NAMESPACE).
const ROOT_BEHIND_NO_LINK: u32 = 252;

/// A unit, what is known of it, and the words for it in findings.
pub(super) struct CheckedUnit<'a> {
    pub(super) unit: &'a Unit,
    /// The tag of the container image that it should run, if it runs one.
    pub(super) tag: Option<String>,
    pub(super) state: &'a UnitState,
    pub(super) facts: &'a UnitFacts,
}

impl CheckedUnit<'_> {
    fn name(&self) -> &str {
        &self.unit.name
    }

    const fn systemctl(&self) -> &'static str {
        match self.unit.scope {
            Scope::System => "sudo systemctl",
            Scope::User => "systemctl --user",
        }
    }

    /// Returns the command that adds `lines` to the unit's `[Service]` section.
    fn drop_in(&self, file: &str, lines: &[String]) -> String {
        let (sudo, folder) = match self.unit.scope {
            Scope::System => ("sudo ", "/etc/systemd/system"),
            Scope::User => ("", "~/.config/systemd/user"),
        };
        let (parts, systemctl) = (format!("{folder}/{}.d", self.name()), self.systemctl());
        let lines: Vec<_> = lines.iter().map(|line| word(line)).collect();
        let lines = lines.join(" ");
        format!(
            "on the host: `{sudo}mkdir -p {parts} && printf '%s\\n' '[Service]' {lines} | {sudo}tee \
             {parts}/{file}.conf && {systemctl} daemon-reload`"
        )
    }

    fn edit(&self) -> String {
        format!("on the host: `{} edit {}`", self.systemctl(), self.name())
    }

    /// Returns the program of ExecStart= and its arguments, as systemd prints them.
    fn program(&self) -> Option<(&str, &str)> {
        let rest = self.state.exec_start.split_once("path=")?.1;
        let (path, rest) = rest.split_once(" ;")?;
        let argv = rest.split_once("argv[]=").map_or("", |(_, argv)| argv);
        let argv = argv.split_once(" ;").map_or(argv, |(argv, _)| argv);
        Some((path, argv.split_once(' ').map_or("", |(_, arguments)| arguments)))
    }
}

impl Findings {
    /// Reports a missing unit, with the name that may be meant.
    pub(super) fn no_unit(&mut self, subject: &Subject<'_>, unit: &CheckedUnit<'_>) {
        let (name, load) = (unit.name(), unit.state.load.as_str());
        let names = unit.facts.unit_names.iter().map(String::as_str);
        let text = format!("systemd says {name} is {load}");
        if unit.state.dangling || made_by_hook(subject) {
            let fix = "none is needed if the release or a `staged` hook brings the unit";
            return self.warn(text, fix);
        }
        if let Some(meant) = similar(name, names) {
            let fix = format!("in [service]: `unit = \"{meant}\"`, if that is what is meant");
            return self.problem(text, fix);
        }
        let systemctl = unit.systemctl();
        let fix = match load {
            "masked" => format!("on the host: `{systemctl} unmask {name}`"),
            _ => format!("on the host: `{systemctl} edit --force --full {name}` writes one"),
        };
        self.problem(text, fix);
    }

    /// Checks a unit that exists.
    pub(super) fn unit(&mut self, subject: &Subject<'_>, unit: &CheckedUnit<'_>) {
        if unit.unit.kind() == UnitKind::Service {
            self.program_of_service(subject, unit);
        }
        self.loaded(subject, unit);
        self.starts_at_boot(unit);
        if unit.state.active == "failed" {
            let fix = format!("`shipit deploy {}` restarts it", subject.config.stage);
            self.warn(format!("{} is failed now", unit.name()), fix);
        }
    }

    fn program_of_service(&mut self, subject: &Subject<'_>, unit: &CheckedUnit<'_>) {
        let known = self.found.len();
        self.root(subject, unit);
        self.directory(subject, unit);
        self.program(subject, unit);
        self.env_files_there(subject, unit);
        if self.found.len() == known {
            self.ok(format!("{} goes through {}", unit.name(), subject.config.layout.current()));
        }
        self.readers(subject, unit);
    }

    /// Warns of a root directory that this systemd cannot enter.
    fn root(&mut self, subject: &Subject<'_>, unit: &CheckedUnit<'_>) {
        let (name, current) = (unit.name(), subject.config.layout.current());
        let version =
            subject.probed.probe.systemd.filter(|version| *version <= ROOT_BEHIND_NO_LINK);
        let root = unit.facts.properties.get("RootDirectory");
        let (Some(version), true) = (version, root.is_some_and(|root| leads(root, &current)))
        else {
            return;
        };
        let text = format!(
            "systemd {version} does not start {name}: its RootDirectory= goes through the link \
             {current}"
        );
        let fix = format!(
            "{}, with a root of its own and `BindReadOnlyPaths={current}:/app`",
            unit.edit()
        );
        self.warn(text, fix);
    }

    fn directory(&mut self, subject: &Subject<'_>, unit: &CheckedUnit<'_>) {
        let (name, current) = (unit.name(), subject.config.layout.current());
        let state = unit.state;
        if let Some(tag) = &unit.tag {
            if state.exec_start.contains(tag.as_str()) {
                return self.ok(format!("{name} runs the image {tag}"));
            }
            let text = format!("ExecStart= of {name} does not name {tag}, the image that is live");
            return self.warn(text, unit.edit());
        }
        if leads(&state.working_directory, &current) || leads(&state.exec_start, &current) {
            return;
        }
        let inside = ["BindReadOnlyPaths", "BindPaths", "RootDirectory"];
        let property = |name: &&str| unit.facts.properties.get(*name);
        if let Some(how) = inside.iter().find(|name| {
            property(name).is_some_and(|value| leads(&value.replace(':', " "), &current))
        }) {
            return self.ok(format!("{name} goes through {current} by {how}="));
        }
        let rule = ProofRule::of(subject.config, unit.unit.action, None);
        match (rule.action.reloads(), rule.checked) {
            (false, _) => {}
            (true, true) => {
                return self.ok(format!("{name} is reloaded, and a check looks at what it serves"));
            }
            (true, false) => {
                let text =
                    format!("{name} is reloaded, and only its workers may show what it runs");
                let fix =
                    "in [health]: a check with `body`, or in [service]: `action = \"restart\"`";
                return self.warn(text, fix);
            }
        }
        let fix = unit.drop_in("shipit", &[format!("WorkingDirectory={current}")]);
        let text = format!(
            "{name} does not go through {current}: that it was restarted may be all that a deploy \
             can show"
        );
        self.warn(text, fix);
    }

    /// Checks that the program of ExecStart= exists when the release is live.
    fn program(&mut self, subject: &Subject<'_>, unit: &CheckedUnit<'_>) {
        let Some((path, arguments)) = unit.program() else { return };
        let (layout, name) = (&subject.config.layout, unit.name());
        let (root, current) = (layout.root(), layout.current());
        if let Some(inside) = path.strip_prefix(&format!("{current}/")) {
            if subject.lacks(inside) {
                let fix = format!("build `{inside}` into the artifact, or {}", unit.edit());
                self.problem(format!("{name} runs {path}, which the artifact does not hold"), fix);
            }
            return;
        }
        let gone = subject.probed.probe.gone.contains(path);
        let ours = is_below(path, root);
        let top = if ours { root } else { "" };
        let found = subject.build.and_then(|it| place_of(&it.manifest, &path[top.len()..]));
        let plain = |text: &str| !text.contains(['"', '\'', '\\', '$', '%', ';', '`']);
        let fix = match found.filter(|_| plain(arguments)) {
            Some(inside) => {
                let start = format!("ExecStart={current}/{inside} {arguments}");
                unit.drop_in(
                    "shipit-start",
                    &["ExecStart=".to_owned(), start.trim_end().to_owned()],
                )
            }
            None => unit.edit(),
        };
        match (gone, ours) {
            (true, _) => self.problem(format!("{name} runs {path}, which is not there"), fix),
            (false, true) => {
                self.warn(format!("{name} runs {path}, which no deploy changes"), fix);
            }
            (false, false) => {}
        }
    }

    /// Checks that files of EnvironmentFile= exist, unless the name begins with `-`.
    fn env_files_there(&mut self, subject: &Subject<'_>, unit: &CheckedUnit<'_>) {
        let current = subject.config.layout.current();
        let all = &unit.facts.env_files;
        let needed = |line: &String| line.strip_suffix(" (ignore_errors=no)").map(str::to_owned);
        for path in all.iter().filter_map(needed) {
            let inside = path.strip_prefix(&format!("{current}/"));
            let missing = match inside {
                Some(inside) => subject.lacks(inside),
                None => subject.probed.probe.gone.contains(&path),
            };
            if missing {
                let text = format!("{} reads {path}, which is not there", unit.name());
                self.problem(text, env_file_fix(subject, unit, &path));
            }
        }
    }

    /// Reports readers of env files that do not understand how these are written.
    fn readers(&mut self, subject: &Subject<'_>, unit: &CheckedUnit<'_>) {
        for spec in subject.config.env_on(subject.host) {
            self.container(subject, unit, spec);
            self.systemd(subject, unit, spec);
        }
    }

    /// Checks `--env-file` in the command of a unit: docker and podman take quotes for values.
    fn container(&mut self, subject: &Subject<'_>, unit: &CheckedUnit<'_>, spec: &EnvSpec) {
        let path = format!("{}/{}", subject.config.layout.current(), spec.file);
        let start = unit.state.exec_start.replace("--env-file=", "--env-file ");
        let mut given = start.split("--env-file ").skip(1).map(|rest| rest.split(' ').next());
        let ours = |given: Option<&str>| given.is_some_and(|it| it == path || it == spec.file);
        let container = ["docker", "podman", "nerdctl"].iter().any(|name| start.contains(name));
        if container
            && !start.contains("compose")
            && spec.format != EnvFormat::Docker
            && given.any(ours)
        {
            let text = format!("{} gives `--env-file`, which takes quotes for values", unit.name());
            self.warn(text, format!("for {} in [env]: `format = \"docker\"`", spec.file));
        }
    }

    /// Checks what systemd makes of an env file that the unit reads.
    fn systemd(&mut self, subject: &Subject<'_>, unit: &CheckedUnit<'_>, spec: &EnvSpec) {
        let (file, format) = (&spec.file, spec.format);
        let path = format!("{}/{file}", subject.config.layout.current());
        let reads = unit.facts.env_files.iter().any(|line| line.split(" (").next() == Some(&path));
        if reads && !format.is_for_systemd() {
            let word = format.word();
            let text = format!(
                "{} reads {path} by EnvironmentFile=, and it is written for {word}",
                unit.name()
            );
            return self
                .warn(text, "in [env]: `format = \"systemd\"`, or a file for each in [[env]]");
        }
        let Some(version) = subject.probed.probe.systemd else { return };
        let env = subject.build.and_then(|build| build.env.get(spec.number));
        let Some(env) = env.filter(|_| format.is_for_systemd()) else { return };
        let drops = [(KEEPS_BACKSLASHES, '\\', "backslashes"), (KEEPS_NEWLINES, '\n', "newlines")];
        for (_, char, what) in drops.into_iter().filter(|(keeps, ..)| version < *keeps) {
            let escaped = format == EnvFormat::Systemd && char == '\\';
            let keys = env.keys(|value| value.contains(char) && !escaped);
            if !keys.is_empty() {
                let of = list(&keys);
                let text = format!("systemd {version} drops {what} in values, as in that of {of}");
                let fix =
                    format!("write such values in base64, or let the service read {file} itself");
                self.warn(text, fix);
            }
        }
    }

    /// Checks that systemd has loaded the unit file on disk, and that its version shows enough.
    fn loaded(&mut self, subject: &Subject<'_>, unit: &CheckedUnit<'_>) {
        let probe = &subject.probed.probe;
        if unit.facts.properties.get("NeedDaemonReload").is_some_and(|value| value == "yes") {
            let fix = format!("on the host: `{} daemon-reload`", unit.systemctl());
            let text = format!("the file of {} was changed since systemd read it", unit.name());
            self.warn(text, fix);
        }
        if let Some(version) = probe.systemd.filter(|version| *version < TELLS_STARTS) {
            let text = format!("systemd {version} does not show whether a unit was restarted");
            self.warn(text, "in [service]: `restart` instead of `unit`, with a health check");
        }
    }

    fn starts_at_boot(&mut self, unit: &CheckedUnit<'_>) {
        let properties = &unit.facts.properties;
        let state = properties.get("UnitFileState").map(String::as_str);
        let wanted = ["WantedBy", "RequiredBy", "TriggeredBy"];
        let started = |name: &&str| properties.get(*name).is_some_and(|value| !value.is_empty());
        if wanted.iter().any(started) {
            return;
        }
        let (name, systemctl) = (unit.name(), unit.systemctl());
        let target =
            if unit.unit.scope == Scope::System { "multi-user.target" } else { "default.target" };
        let fix = match state {
            Some("disabled") => format!("on the host: `{systemctl} enable {name}`"),
            Some("static") => format!("on the host: `{systemctl} add-wants {target} {name}`"),
            _ => return,
        };
        self.warn(format!("{name} does not start when the host boots"), fix);
    }
}

fn env_file_fix(subject: &Subject<'_>, unit: &CheckedUnit<'_>, path: &str) -> String {
    let name = path.rsplit('/').next();
    let ours = subject.config.env.iter().find(|spec| Some(spec.file.as_str()) == name);
    let Some(file) = ours.map(|spec| &spec.file) else { return unit.edit() };
    let better = format!("{}/{file}", subject.config.layout.current());
    let mut lines = vec!["EnvironmentFile=".to_owned()];
    for line in &unit.facts.env_files {
        let (read, needed) = match line.strip_suffix(" (ignore_errors=no)") {
            Some(read) => (read, ""),
            None => (line.trim_end_matches(" (ignore_errors=yes)"), "-"),
        };
        let read = if read == path { &better } else { read };
        let line = format!("EnvironmentFile={needed}{read}");
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    unit.drop_in("shipit-env", &lines)
}

fn made_by_hook(subject: &Subject<'_>) -> bool {
    !subject.probed.state.units.is_empty() && !subject.config.hooks.staged.is_empty()
}

/// Returns the path inside a release of a program that a unit names elsewhere: the same path, or
/// the only file with that name.
fn place_of<'a>(release: &'a Manifest, path: &str) -> Option<&'a str> {
    let file = |node: &Node| matches!(node, Node::File { .. });
    let nodes = release.nodes();
    if let Some((path, _)) =
        nodes.get_key_value(path.trim_start_matches('/')).filter(|(_, node)| file(node))
    {
        return Some(path);
    }
    let name = path.rsplit('/').next();
    let mut named =
        nodes.iter().filter(|(path, node)| file(node) && path.rsplit('/').next() == name);
    let only = named.next().filter(|_| named.next().is_none());
    only.map(|(path, _)| path.as_str())
}
