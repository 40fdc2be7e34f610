//! The texts of a first deploy.toml and of its unit file: templates, filled with what is known.

use std::collections::BTreeMap;
use std::path::Path;

use super::kind::ProjectKind;
use super::peer::{Taken, TakenHost, TakenStage};

/// The templates.
const CONFIG: &str = include_str!("deploy.toml");
const UNIT: &str = include_str!("unit.service");

/// Before a comment that is moved to its column.
const MARK: &str = " #| ";

const ENV: &str = r#"# Becomes .env of each release, which the unit reads.
[env]
{vars}# vars.DATABASE_URL = { env = "PROD_DATABASE_URL" }            # from this machine's environment
# vars.SECRET_KEY = { command = "op read op://prod/key" }      # from a command
# vars.TLS_KEY = { file = "secrets/tls.key" }                  # from a file beside this one"#;

const LINKED_ENV: &str = "# The app reads .env from shared/, by linked_files. With an [env] table instead, each release has\n\
                          # a file of its own.";

const HEALTH: &str = "# http = \"http://127.0.0.1:8080/up\" #| as seen from the host; a release that fails is reverted";

const HOOKS: &str = r#"# local.before = ["./ci/build"]                                # here, first: may build the artifact
# staged = [{ run = "./bin/migrate", once = true }]            # on a host, before the flip"#;

/// The places of stages without a host.
const NO_HOST: &str = "deploy@server.example.com";

/// Everything that a first deploy.toml is made of.
#[derive(Debug, Clone)]
pub struct Start {
    pub app: String,
    pub kind: ProjectKind,
    /// The settings of another tool.
    pub taken: Option<Taken>,
    /// The name of the program, where the project says it.
    pub program: Option<String>,
    /// Paths that stay out of the artifact.
    pub exclude: Vec<String>,
}

impl Start {
    /// Looks for the rest in the files of a project.
    pub fn of(project: &Path, app: String, kind: ProjectKind, taken: Option<Taken>) -> Self {
        let program = kind.program(project);
        let exclude = kind.exclude.iter().filter(|path| project.join(path).exists()).cloned();
        let exclude = exclude.collect();
        Self { app, kind, taken, program, exclude }
    }

    /// Returns the path of the unit file beside deploy.toml, if anything runs.
    pub fn unit_path(&self) -> Option<String> {
        let place = self.kind.unit_place.as_deref().unwrap_or("deploy/");
        self.kind.unit.as_ref().map(|_| format!("{place}{}.service", self.app))
    }

    /// Returns the text of the unit file.
    pub fn unit(&self) -> Option<String> {
        let unit = match (&self.program, &self.kind.unit_else) {
            (None, Some(other)) => other,
            _ => self.kind.unit.as_ref()?,
        };
        let user = self.stages().first().and_then(|stage| stage.hosts.first()?.login());
        let user = user.unwrap_or_else(|| "deploy".to_owned());
        let text = UNIT.replace("{unit}", unit.trim_end()).replace("{user}", &user);
        Some(self.filled(&text))
    }

    /// Returns the text of deploy.toml.
    pub fn config(&self) -> String {
        let linked = self.linked();
        let reads_own = linked.files.iter().any(|file| file == ".env");
        let env = match (self.kind.served, reads_own) {
            (true, _) => String::new(),
            (false, true) => LINKED_ENV.to_owned(),
            (false, false) => ENV.replace("{vars}", &self.vars()),
        };
        let unit = self.unit_path().map(|file| {
            format!("file = {} #| a unit file that comes with the artifact\n", quoted(&file))
        });
        let service = unit.unwrap_or_default() + self.kind.service.as_deref().unwrap_or_default();
        let or =
            |own: &Option<String>, usual: &str| own.clone().unwrap_or_else(|| usual.to_owned());
        let parts = [
            ("{what}", self.kind.what.clone()),
            ("{taken}", self.origin()),
            ("{app_text}", quoted(&self.app)),
            ("{root_text}", quoted(&self.root())),
            ("{keep}", self.common(|stage| stage.keep).unwrap_or(5).to_string()),
            ("{dirs}", list(&linked.dirs)),
            ("{files}", list(&linked.files)),
            ("{artifact}", quoted(&self.artifact())),
            ("{exclude}", self.excluded()),
            ("{env}", env),
            ("{service}", service),
            ("{health}", or(&self.kind.health, HEALTH)),
            ("{hooks}", or(&self.kind.hooks, HOOKS)),
            ("{stages}", self.stage_tables(&linked)),
        ];
        let fill =
            |text: String, (name, value): &(&str, String)| text.replace(name, value.trim_end());
        let text = parts.iter().fold(CONFIG.to_owned(), fill).replace("\n\n\n", "\n");
        self.filled(&text).lines().map(aligned).collect()
    }

    /// Replaces what kinds may name.
    fn filled(&self, text: &str) -> String {
        text.replace("{app}", &self.app)
            .replace("{image}", &self.app.to_lowercase())
            .replace("{root}", &self.root())
            .replace("{program}", self.program.as_deref().unwrap_or(&self.app))
    }

    fn stages(&self) -> &[TakenStage] {
        self.taken.as_ref().map_or(&[], |taken| &taken.stages)
    }

    /// Returns what all stages have in common.
    fn common<T: PartialEq>(&self, of: impl Fn(&TakenStage) -> Option<T>) -> Option<T> {
        let mut all = self.stages().iter().map(of);
        let first = all.next()??;
        all.all(|other| other.as_ref() == Some(&first)).then_some(first)
    }

    /// Returns `deploy_to` of most stages: what they have in common, else that of the first that
    /// says it.
    fn root(&self) -> String {
        let said = self.stages().iter().find_map(|stage| stage.deploy_to.clone());
        said.unwrap_or_else(|| format!("/srv/{}", self.app))
    }

    fn linked(&self) -> Linked {
        let dirs = self.stages().iter().find_map(|stage| stage.linked_dirs.clone());
        let files = self.stages().iter().find_map(|stage| stage.linked_files.clone());
        // A team that has named some of both knows which there are. Deployer's recipes have more.
        let more = self.taken.as_ref().is_none_or(|taken| taken.tool == "Deployer");
        let more = more || dirs.is_none() && files.is_none();
        let with = |own: Option<Vec<String>>, usual: &[String]| {
            let mut all: Vec<_> = usual.iter().filter(|_| more).cloned().collect();
            let own = own.unwrap_or_default();
            all.retain(|path| !own.contains(path));
            all.extend(own);
            all
        };
        Linked {
            dirs: with(dirs, &self.kind.linked_dirs),
            files: with(files, &self.kind.linked_files),
        }
    }

    fn origin(&self) -> String {
        let Some(taken) = &self.taken else { return ".".to_owned() };
        let mut text = format!(", with what {} says in {}.", taken.tool, taken.files.join(", "));
        if !taken.unread.is_empty() {
            text.push_str("\n# Not taken over, since a line may mean more than it shows:");
        }
        for one in &taken.unread {
            text.extend([format!("\n#   {}:{}: {}", one.place.file, one.place.line, one.text)]);
        }
        text
    }

    fn artifact(&self) -> String {
        let program = self.program.as_deref();
        let folder =
            program.and_then(|path| path.rsplit_once('/')).map_or(".", |(folder, _)| folder);
        let usual = if self.kind.name == "other" { "dist" } else { &self.app };
        let path = self.kind.artifact.replace("{folder}", folder);
        path.replace("{program}", program.unwrap_or(usual))
    }

    fn excluded(&self) -> String {
        if self.exclude.is_empty() {
            return "# exclude = [\"*.map\"]".to_owned();
        }
        let anchored: Vec<_> = self.exclude.iter().map(|path| format!("/{path}")).collect();
        format!("exclude = {}", list(&anchored))
    }

    /// Returns the lines of `vars`: those of the kind, then those of the other tool.
    fn vars(&self) -> String {
        let none = BTreeMap::new();
        let mut lines = self.kind.env.clone();
        for (name, value) in self.taken.as_ref().map_or(&none, |taken| &taken.env) {
            let key = format!("vars.{}", key(name));
            let value = value
                .as_ref()
                .map_or_else(|| format!("{{ env = {} }}", quoted(name)), |it| quoted(it));
            let own = lines.lines().find(|line| line.starts_with(&format!("{key} =")));
            if let Some(own) = own.map(|line| format!("{line}\n")) {
                lines = lines.replace(&own, "");
            }
            lines.extend([format!("{key} = {value}\n")]);
        }
        lines
    }

    fn stage_tables(&self, linked: &Linked) -> String {
        if self.stages().is_empty() {
            return format!(
                "[stages.production]\nhosts = [{}] #| as you would write them after `ssh`\n\
                 # confirm = true #| ask before changing anything\n\n\
                 # [stages.staging]\n# hosts = [\"deploy@staging.example.com\"]",
                quoted(NO_HOST)
            );
        }
        let tables: Vec<_> =
            self.stages().iter().map(|stage| self.stage_table(stage, linked)).collect();
        tables.join("\n\n")
    }

    /// Returns the table of a stage, with what differs from the top of the file.
    fn stage_table(&self, stage: &TakenStage, linked: &Linked) -> String {
        let hosts: Vec<_> = stage.hosts.iter().map(host).collect();
        let hosts = match hosts.as_slice() {
            [] => format!("[{}] #| none could be taken over: name yours", quoted(NO_HOST)),
            [only] => format!("[{only}]"),
            hosts => format!("[\n    {},\n]", hosts.join(",\n    ")),
        };
        let mut text = format!("[stages.{}]\nhosts = {hosts}", key(&stage.name));
        let mut more = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                text.extend([format!("\n{key} = {value}")]);
            }
        };
        let root = stage.deploy_to.as_ref().filter(|root| **root != self.root());
        let note = self.unit_path().map_or_else(String::new, |unit| {
            format!("{MARK}another than in {unit}: make a unit of its own for this stage")
        });
        more("deploy_to", root.map(|root| quoted(root) + &note));
        let common = self.common(|stage| stage.keep).unwrap_or(5);
        more(
            "keep_releases",
            stage.keep.filter(|keep| *keep != common).map(|keep| keep.to_string()),
        );
        let own = |own: &Option<Vec<String>>, all: &Vec<String>| {
            let same = |own: &&Vec<String>| own.iter().all(|path| all.contains(path));
            own.as_ref().filter(|own| !same(own) || own.len() != all.len()).map(|own| list(own))
        };
        more("linked_dirs", own(&stage.linked_dirs, &linked.dirs));
        more("linked_files", own(&stage.linked_files, &linked.files));
        text
    }
}

/// Paths that outlive releases.
struct Linked {
    dirs: Vec<String>,
    files: Vec<String>,
}

impl TakenHost {
    /// Returns who logs in, if the config says so.
    fn login(&self) -> Option<String> {
        let own = self.address.split_once('@').map(|(user, _)| user.to_owned());
        own.or_else(|| self.user.clone())
    }
}

/// Returns a host as an element of a list: as one would write it after `ssh`, where that says it.
fn host(host: &TakenHost) -> String {
    let user =
        host.user.as_ref().filter(|_| !host.address.contains('@') && host.address != "local");
    let port = host.port.as_ref().filter(|_| host.address != "local");
    if host.roles.is_empty() && (port.is_none() || !host.address.contains(':')) {
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        return quoted(&format!("{user}{}{port}", host.address));
    }
    let mut text = format!("{{ address = {}", quoted(&host.address));
    text.extend(user.map(|user| format!(", user = {}", quoted(user))));
    text.extend(port.map(|port| format!(", port = {port}")));
    if !host.roles.is_empty() {
        text.extend([format!(", roles = {}", list(&host.roles))]);
    }
    text + " }"
}

/// Returns a line of the template with its comment moved to the common column.
fn aligned(line: &str) -> String {
    const COLUMN: usize = 38;
    match line.split_once(MARK) {
        Some((code, comment)) => {
            format!("{:COLUMN$}# {comment}\n", format!("{} ", code.trim_end()))
        }
        None => format!("{line}\n"),
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { quoted(name) }
}

/// Returns a list on one line, or on several where it is long.
fn list(texts: &[String]) -> String {
    const WIDTH: usize = 70;
    let texts: Vec<_> = texts.iter().map(|text| quoted(text)).collect();
    let line = texts.join(", ");
    if line.len() <= WIDTH {
        return format!("[{line}]");
    }
    let lines: Vec<_> =
        texts.chunks(4).map(|texts| format!("    {},\n", texts.join(", "))).collect();
    format!("[\n{}]", lines.concat())
}
