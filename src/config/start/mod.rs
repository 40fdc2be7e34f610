//! A first deploy.toml for a project, and a unit that fits it. `kind` has the facts of kinds of
//! projects; `peer` gathers what the configs of other deploy tools say, which `ruby`, `php` (both
//! by `statements`) and `yaml` read. `text` writes the files.

mod kind;
mod peer;
mod php;
mod ruby;
mod statements;
mod text;
mod yaml;

use std::path::Path;

pub use self::kind::ProjectKind;
use self::peer::PeerReader;
pub use self::peer::{PeerLine, Taken, TakenHost, TakenStage, Unread};
pub use self::text::Start;
use super::rules;

/// Reads the configs of other deploy tools in a project. Each has at least one stage.
pub fn taken(project: &Path) -> Vec<Taken> {
    let ruby = read(project, "config/deploy.rb").map(|text| of_ruby(project, &text));
    let php = read(project, "deploy.php").map(|text| of_deployer("deploy.php", &text, php::read));
    let yaml =
        |file: &str| read(project, file).map(|text| of_deployer(file, &text, yaml::deployer));
    let kamal = read(project, "config/deploy.yml").map(|text| of_kamal(project, &text));
    let all = [ruby, php, yaml("deploy.yaml"), yaml("deploy.yml"), kamal];
    all.into_iter().flatten().collect()
}

/// Returns the text of a file of the project, if it can be read.
fn read(project: &Path, file: &str) -> Option<String> {
    let text = std::fs::read(project.join(file)).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// Returns the files of a folder whose names begin and end so: the part between, and the text.
fn stages_in(project: &Path, folder: &str, begin: &str, end: &str) -> Vec<StageFile> {
    let entries = std::fs::read_dir(project.join(folder)).into_iter().flatten();
    let mut files: Vec<_> = entries
        .filter_map(|entry| {
            let file = entry.ok()?.file_name().into_string().ok()?;
            let stage = file.strip_prefix(begin)?.strip_suffix(end)?.to_owned();
            let file = format!("{folder}/{file}");
            let text = read(project, &file)?;
            Some(StageFile { stage, file, text })
        })
        .collect();
    files.sort_by(|one, other| one.stage.cmp(&other.stage));
    files
}

/// A file that says more of one stage.
struct StageFile {
    stage: String,
    file: String,
    text: String,
}

/// The usual stage, where the other tool names none.
const STAGE: &str = "production";

fn stage_names(files: &[StageFile]) -> Vec<&str> {
    if files.is_empty() {
        return vec![STAGE];
    }
    files.iter().map(|file| file.stage.as_str()).collect()
}

fn of_ruby(project: &Path, text: &str) -> Taken {
    let mina = text.contains("'mina/") || text.contains("\"mina/");
    let tool = if mina { "Mina" } else { "Capistrano" };
    let mut taken = Taken { tool, files: vec!["config/deploy.rb".to_owned()], ..Taken::default() };
    let more = stages_in(project, "config/deploy", "", ".rb");
    for name in stage_names(&more) {
        let mut reader = PeerReader::default();
        // Capistrano's default, which it reads as if the file began with it.
        if !mina {
            reader.set("deploy_to", "/var/www/#{fetch(:application)}", 0);
        }
        ruby::read(&mut reader, "config/deploy.rb", text);
        for more in more.iter().filter(|more| more.stage == name) {
            ruby::read(&mut reader, &more.file, &more.text);
            taken.files.push(more.file.clone());
        }
        taken.add(reader, name);
    }
    taken
}

fn of_deployer(file: &str, text: &str, read: fn(&mut PeerReader, &str, &str)) -> Taken {
    let mut taken = Taken { tool: "Deployer", files: vec![file.to_owned()], ..Taken::default() };
    let mut reader = PeerReader::default();
    read(&mut reader, file, text);
    let mut names: Vec<_> = reader.hosts.iter().filter_map(|host| host.stage.clone()).collect();
    if reader.hosts.iter().any(|host| host.stage.is_none()) || names.is_empty() {
        names.push(STAGE.to_owned());
        let without = reader.hosts.iter_mut().filter(|host| host.stage.is_none());
        without.for_each(|host| host.stage = Some(STAGE.to_owned()));
    }
    names.sort_unstable();
    names.dedup();
    for name in names {
        taken.add(reader.clone(), &name);
    }
    taken
}

fn of_kamal(project: &Path, text: &str) -> Taken {
    const FILE: &str = "config/deploy.yml";
    let mut taken = Taken { tool: "Kamal", files: vec![FILE.to_owned()], ..Taken::default() };
    let more = stages_in(project, "config", "deploy.", ".yml");
    for name in stage_names(&more) {
        let mut reader = PeerReader::default();
        yaml::kamal(&mut reader, &mut taken, FILE, text);
        for more in more.iter().filter(|more| more.stage == name) {
            // Lists of a destination replace those of the file above it.
            if more.text.contains("servers:") {
                reader.hosts.clear();
            }
            yaml::kamal(&mut reader, &mut taken, &more.file, &more.text);
            taken.files.push(more.file.clone());
        }
        taken.add(reader, name);
    }
    taken
}

impl Taken {
    /// Adds the stage of this name that was read.
    fn add(&mut self, mut reader: PeerReader, name: &str) {
        let stage = reader.stage(name);
        self.app = self.app.take().or_else(|| reader.value("app"));
        if rules::is_name(name) {
            self.stages.push(stage);
        } else {
            reader.hosts.clone().iter().for_each(|host| reader.unread_spot(&host.spot));
        }
        for one in reader.unread {
            if !self.unread.iter().any(|known| known.place == one.place) {
                self.unread.push(one);
            }
        }
        self.unread.sort_by(|one, other| one.place.cmp(&other.place));
    }
}
