//! `shipit init`: a commented deploy.toml.

use std::path::PathBuf;

use super::error::CliError;
use super::output::print;
use super::place;
use super::world::{CONFIG, World};
use crate::config::template::{self, Guess};

/// Writes the config file, unless it exists.
pub(crate) fn run(world: &World) -> Result<u8, CliError> {
    let path = world.named_config().unwrap_or_else(|| PathBuf::from(CONFIG));
    if path.exists() {
        return Err(CliError::Exists { path });
    }
    let folder = world.cwd.file_name().map(|name| name.to_string_lossy().into_owned());
    let folder = folder.unwrap_or_default();
    let app = app_name(&folder);
    let found = ["dist", "build", "public", "target/release"];
    let artifact = found.iter().find(|path| world.cwd.join(path).exists()).unwrap_or(&"dist");
    let unit = Some(format!("{app}.service"));
    let above = place::nearest(&world.cwd, CONFIG).filter(|_| world.named_config().is_none());
    let text = template::text(&Guess { app: app.clone(), artifact: format!("{artifact}/"), unit });
    std::fs::write(&path, text).map_err(|source| CliError::Write { path: path.clone(), source })?;
    print(&format!("wrote {}; next: edit it, then `shipit check`\n", path.display()));
    if app != folder {
        print(&format!(
            "the app is named `{app}` in it: `{folder}` has characters that no name \
                        may have\n"
        ));
    }
    if let Some(above) = above {
        let above = above.display();
        print(&format!("from now on it is used here in place of {above}\n"));
    }
    Ok(0)
}

/// Returns the name of an app, made of the name of its directory.
fn app_name(folder: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let app: String = folder.chars().filter(|c| fits(*c)).collect();
    let app = app.trim_start_matches(['.', '-', '_']);
    if app.is_empty() { "app".to_owned() } else { app.to_owned() }
}
