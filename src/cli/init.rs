//! `shipit init`: a commented deploy.toml for the project, and a unit file that fits it.

use std::path::{Path, PathBuf};

use super::error::CliError;
use super::output::print;
use super::place;
use super::world::{CONFIG, World};
use crate::config::start::{self, ProjectKind, Start, Taken};
use crate::model::words::{count, list};

/// Writes the config file, unless it exists, and the unit file.
pub(crate) fn run(world: &World, kind: Option<&str>) -> Result<u8, CliError> {
    let path = world.named_config().unwrap_or_else(|| PathBuf::from(CONFIG));
    if path.exists() {
        return Err(CliError::Exists { path });
    }
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let project = folder.map_or_else(|| world.cwd.clone(), |folder| world.cwd.join(folder));
    let found = KnownProject::of(&project, kind);
    let name = project.file_name().map(|name| name.to_string_lossy().into_owned());
    let name =
        found.taken.as_ref().and_then(|taken| taken.app.clone()).or(name).unwrap_or_default();
    let app = app_name(&name);
    let start = Start::of(&project, app.clone(), found.kind.clone(), found.taken.clone());
    let above = place::nearest(&world.cwd, CONFIG).filter(|_| world.named_config().is_none());
    write(&path, &start.config())?;
    print(&format!("{} is for {}\n", path.display(), found.kind.what));
    for line in found.notes() {
        print(&format!("{line}\n"));
    }
    if let (Some(unit), Some(text)) = (start.unit_path(), start.unit()) {
        unit_file(&project.join(&unit), &unit, &text)?;
    }
    if app != name {
        print(&format!(
            "the app is named `{app}` in it: `{name}` has characters that no name may have\n"
        ));
    }
    if let Some(above) = above {
        let above = above.display();
        print(&format!("from now on it is used here in place of {above}\n"));
    }
    print("next: look through it and name your hosts; then `shipit setup`, and `shipit check`\n");
    Ok(0)
}

/// The kind of a project, by its files.
struct KnownProject {
    kind: ProjectKind,
    /// Other kinds that fit too.
    others: Vec<&'static str>,
    taken: Option<Taken>,
    /// Tools whose configs are left alone.
    left: Vec<Taken>,
}

impl KnownProject {
    fn of(project: &Path, wanted: Option<&str>) -> Self {
        let mut all = start::taken(project).into_iter();
        let (taken, left): (_, Vec<Taken>) = (all.next(), all.collect());
        let fitting: Vec<_> =
            ProjectKind::all().into_iter().filter(|kind| kind.fits(project)).collect();
        // Kamal deploys images, whatever is in them.
        let images = taken.as_ref().is_some_and(|taken| taken.tool == "Kamal");
        let images = fitting.iter().find(|kind| images && kind.name == "docker");
        let wanted = ProjectKind::all().into_iter().find(|kind| Some(kind.name) == wanted);
        let kind = wanted.or(images.or(fitting.first()).cloned()).unwrap_or_default();
        let others = fitting.iter().map(|other| other.name);
        let others = others.filter(|name| *name != kind.name && *name != "other").collect();
        Self { kind, others, taken, left }
    }

    /// Returns what else there is to say of it, in lines.
    fn notes(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.others.is_empty() {
            let others = list(&self.others);
            lines.push(format!("other kinds fit too: {others}; `--kind NAME` chooses one"));
        }
        if let Some(taken) = &self.taken {
            let (tool, files) = (taken.tool, list(&taken.files));
            lines.push(format!("taken over from {tool}: {} of {files}", stages(taken)));
            if !taken.unread.is_empty() {
                let left = count(taken.unread.len(), "line");
                lines.push(format!("not taken over: {left}, which stand in it as comments:"));
            }
            let place = |place: &start::PeerLine| format!("  {}:{}", place.file, place.line);
            lines.extend(
                taken.unread.iter().map(|one| format!("{}: {}", place(&one.place), one.text)),
            );
        }
        for taken in &self.left {
            lines.push(format!("not read: what {} says in {}", taken.tool, list(&taken.files)));
        }
        lines
    }
}

/// Returns the stages that were taken over, with the number of their hosts.
fn stages(taken: &Taken) -> String {
    let hosts = |stage: &start::TakenStage| {
        format!("{} ({})", stage.name, count(stage.hosts.len(), "host"))
    };
    list(&taken.stages.iter().map(hosts).collect::<Vec<_>>())
}

/// Writes the unit file, unless there is one.
fn unit_file(path: &Path, shown: &str, text: &str) -> Result<(), CliError> {
    if path.exists() {
        print(&format!("{shown} is there already and stays as it is\n"));
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        let wrong = |source| CliError::Write { path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(wrong)?;
    }
    write(path, text)?;
    print(&format!("{shown} is the unit that runs it, and comes with each release\n"));
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    std::fs::write(path, text).map_err(|source| CliError::Write { path: path.to_owned(), source })
}

/// Returns the name of an app, made of the name of its directory.
fn app_name(folder: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let app: String = folder.chars().filter(|c| fits(*c)).collect();
    let app = app.trim_start_matches(['.', '-', '_']);
    if app.is_empty() { "app".to_owned() } else { app.to_owned() }
}
