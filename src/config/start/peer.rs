//! Hosts and directories in the config of another deploy tool. Each tool's reader hands its
//! settings to a [`PeerReader`]; what it does not understand is kept with its place, never guessed.

use std::collections::BTreeMap;

use super::super::rules;

/// Everything that is taken over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// The tool's name.
    pub tool: &'static str,
    /// The files that were read.
    pub files: Vec<String>,
    pub app: Option<String>,
    pub stages: Vec<TakenStage>,
    /// Variables: each with its value, or with none if it is a secret of the same name.
    pub env: BTreeMap<String, Option<String>>,
    pub unread: Vec<Unread>,
}

/// One stage of the other tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TakenStage {
    pub name: String,
    pub hosts: Vec<TakenHost>,
    pub deploy_to: Option<String>,
    pub keep: Option<usize>,
    /// `None`: the config says nothing of them.
    pub linked_dirs: Option<Vec<String>>,
    pub linked_files: Option<Vec<String>>,
}

/// One host of the other tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TakenHost {
    pub address: String,
    pub user: Option<String>,
    pub port: Option<String>,
    pub roles: Vec<String>,
}

/// A line that was not taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    pub place: PeerLine,
    pub text: String,
}

/// A line of another tool's file.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerLine {
    pub file: String,
    pub line: usize,
}

/// A value, and where it stands.
#[derive(Debug, Clone)]
struct Setting {
    value: String,
    spot: PeerLine,
}

/// A host while it is read: its settings by their own names.
#[derive(Debug, Clone, Default)]
pub(super) struct ReadHost {
    pub(super) address: String,
    pub(super) stage: Option<String>,
    pub(super) roles: Vec<String>,
    pub(super) user: Option<String>,
    pub(super) port: Option<String>,
    /// Its own directory.
    pub(super) root: Option<String>,
    pub(super) spot: PeerLine,
}

/// Gathers what the files of a tool say.
#[derive(Debug, Clone, Default)]
pub(super) struct PeerReader {
    settings: BTreeMap<String, Setting>,
    dirs: Option<Vec<String>>,
    files: Option<Vec<String>>,
    pub(super) hosts: Vec<ReadHost>,
    pub(super) unread: Vec<Unread>,
    /// The files that were read so far, with their lines.
    texts: BTreeMap<String, Vec<String>>,
    /// The one that is read now.
    file: String,
}

/// The names that tools have for one setting; the first is ours.
const NAMES: [&[&str]; 7] = [
    &["app", "application", "application_name", "service"],
    &["deploy_to", "deploy_path"],
    &["keep_releases", "retain_containers"],
    &["user", "remote_user"],
    &["port"],
    &["linked_dirs", "shared_dirs", "shared_paths"],
    &["linked_files", "shared_files"],
];

/// Returns our name of a setting; for others the tool's own.
pub(super) fn known_name(name: &str) -> &str {
    let known = NAMES.iter().find(|names| names.contains(&name));
    known.and_then(|names| names.first()).map_or(name, |first| first)
}

impl ReadHost {
    /// Takes a setting of the host, by the names of Deployer. `None`: it is not known.
    pub(super) fn detail(&mut self, name: &str, value: &str) -> Option<()> {
        let value = value.to_owned();
        match name {
            // A host that has an address of its own is called by what it is for.
            "hostname" => {
                let name = std::mem::replace(&mut self.address, value);
                self.stage.get_or_insert(name);
            }
            "remote_user" | "user" => self.user = Some(value),
            "port" => self.port = Some(value),
            "deploy_path" => self.root = Some(value),
            "stage" => self.stage = Some(value),
            "branch" | "forward_agent" | "ssh_multiplexing" => {}
            _ => return None,
        }
        Some(())
    }

    /// Takes a label of the host. `None`: it is not known.
    pub(super) fn label(&mut self, name: &str, value: &str) -> Option<()> {
        match name {
            "stage" | "env" => self.stage = Some(value.to_owned()),
            "role" | "roles" => self.roles.push(value.to_owned()),
            _ => return None,
        }
        Some(())
    }
}

impl PeerReader {
    /// Begins with a file.
    pub(super) fn open(&mut self, file: &str, text: &str) {
        file.clone_into(&mut self.file);
        self.texts.insert(file.to_owned(), text.lines().map(str::to_owned).collect());
    }

    pub(super) fn spot(&self, line: usize) -> PeerLine {
        PeerLine { file: self.file.clone(), line }
    }

    /// Keeps a line of this file that is not understood.
    pub(super) fn unread(&mut self, line: usize) {
        self.unread_spot(&self.spot(line));
    }

    /// Keeps a line that is not understood, once.
    pub(super) fn unread_spot(&mut self, spot: &PeerLine) {
        if self.unread.iter().any(|known| known.place == *spot) {
            return;
        }
        let lines = self.texts.get(&spot.file);
        let text = lines.and_then(|lines| lines.get(spot.line.saturating_sub(1)));
        let text = text.map_or_else(String::new, |text| text.trim().to_owned());
        self.unread.push(Unread { place: spot.clone(), text });
    }

    /// Takes a setting. Returns whether shipit has it; others may still stand in its value.
    pub(super) fn set(&mut self, name: &str, value: &str, line: usize) -> bool {
        let setting = Setting { value: value.to_owned(), spot: self.spot(line) };
        self.settings.insert(known_name(name).to_owned(), setting.clone());
        self.settings.insert(name.to_owned(), setting);
        ["app", "deploy_to", "keep_releases", "user", "port"].contains(&known_name(name))
    }

    /// Takes a list of linked paths, or adds to it. Returns whether the name is one of these.
    pub(super) fn list(&mut self, name: &str, paths: Vec<String>, adds: bool) -> bool {
        let list = match known_name(name) {
            "linked_dirs" => &mut self.dirs,
            "linked_files" => &mut self.files,
            _ => return false,
        };
        let known = list.take().filter(|_| adds).unwrap_or_default();
        let mut all = known;
        for path in paths {
            let path = path.trim_matches('/').to_owned();
            if !all.contains(&path) {
                all.push(path);
            }
        }
        *list = Some(all);
        true
    }

    /// Returns a host on a line of this file, of which nothing else is known.
    pub(super) fn host_at(&self, address: &str, line: usize) -> ReadHost {
        let (address, spot) = (address.to_owned(), self.spot(line));
        ReadHost { address, spot, ..ReadHost::default() }
    }

    /// Takes a host; of one that is there already, only what is new.
    pub(super) fn host(&mut self, host: ReadHost) {
        let same =
            |known: &&mut ReadHost| known.address == host.address && known.stage == host.stage;
        let Some(known) = self.hosts.iter_mut().find(same) else { return self.hosts.push(host) };
        known.user = host.user.or(known.user.take());
        known.port = host.port.or(known.port.take());
        for role in host.roles {
            if !known.roles.contains(&role) {
                known.roles.push(role);
            }
        }
    }

    /// Returns the value of a setting, if all that it refers to is known.
    pub(super) fn value(&self, name: &str) -> Option<String> {
        self.expanded(&self.settings.get(name)?.value, 0)
    }

    /// Returns a text with `#{fetch(:name)}` and `{{name}}` replaced, if all of them are known.
    fn expanded(&self, text: &str, depth: usize) -> Option<String> {
        if depth > 8 || text.contains("<%") || text.contains('$') {
            return None;
        }
        let (mut done, mut rest) = (String::new(), text);
        while let Some(at) = rest.find("#{").or_else(|| rest.find("{{")) {
            let close = if rest[at..].starts_with('#') { "}" } else { "}}" };
            let (name, after) = rest[at + 2..].split_once(close)?;
            let name = name.trim().trim_start_matches("fetch").trim();
            let name = name.trim_matches(|c: char| "(): '\"".contains(c));
            done.push_str(&rest[..at]);
            done.push_str(&self.expanded(&self.settings.get(name)?.value, depth + 1)?);
            rest = after;
        }
        done.push_str(rest);
        Some(done)
    }

    /// Returns the stage of this name, with the hosts of it. Settings of no use are kept as unread.
    pub(super) fn stage(&mut self, name: &str) -> TakenStage {
        self.set("stage", name, 0);
        let hosts = self.hosts.clone();
        let mine = hosts.iter().filter(|host| host.stage.as_deref().is_none_or(|of| of == name));
        let mut stage = TakenStage { name: name.to_owned(), ..TakenStage::default() };
        let mut roots: Vec<String> = Vec::new();
        for host in mine {
            roots.extend(host.root.clone().and_then(|root| self.root(&root, host)));
            match self.finished(host) {
                Some(host) => stage.hosts.push(host),
                None => self.unread_spot(&host.spot),
            }
        }
        roots.dedup();
        stage.deploy_to = match roots.as_slice() {
            [] => self.common_root(),
            [only] => Some(only.clone()),
            _ => {
                for host in &hosts {
                    self.unread_spot(&host.spot);
                }
                None
            }
        };
        stage.keep = self.value("keep_releases").and_then(|keep| keep.parse().ok());
        if stage.keep.is_none_or(|keep| keep == 0) {
            stage.keep = None;
            self.unread_setting("keep_releases");
        }
        TakenStage { linked_dirs: self.dirs.clone(), linked_files: self.files.clone(), ..stage }
    }

    /// Returns `deploy_to` of all hosts that have none of their own.
    fn common_root(&mut self) -> Option<String> {
        let root = self.value("deploy_to").filter(|root| rules::is_root(root));
        if root.is_none() {
            self.unread_setting("deploy_to");
        }
        root
    }

    /// Returns the directory of one host.
    fn root(&mut self, text: &str, host: &ReadHost) -> Option<String> {
        let mut own = self.clone();
        for (name, value) in
            [("remote_user", &host.user), ("hostname", &Some(host.address.clone()))]
        {
            if let Some(value) = value {
                own.set(name, value, 0);
            }
        }
        let root = own.expanded(text, 0).filter(|root| rules::is_root(root));
        if root.is_none() {
            self.unread_spot(&host.spot);
        }
        root
    }

    /// Returns a host as shipit has it, if its values can be used.
    fn finished(&self, host: &ReadHost) -> Option<TakenHost> {
        let own_or = |own: &Option<String>, name| match own {
            Some(text) => self.expanded(text, 0).map(Some),
            None => Some(self.value(name)),
        };
        let address = self.expanded(&host.address, 0)?;
        rules::address(&address)?;
        Some(TakenHost {
            address,
            user: own_or(&host.user, "user")?,
            port: own_or(&host.port, "port")?.filter(|port| port != "22"),
            roles: host.roles.iter().filter(|role| rules::is_name(role)).cloned().collect(),
        })
    }

    fn unread_setting(&mut self, name: &str) {
        if let Some(setting) = self.settings.get(name).cloned() {
            self.unread_spot(&setting.spot);
        }
    }
}
