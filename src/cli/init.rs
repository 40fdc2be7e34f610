//! `shipit init`: a commented deploy.toml.

use super::error::CliError;
use super::world::{World, print};
use crate::config::template::{self, Guess};

/// Writes it, unless there is one.
pub(crate) fn run(world: &World) -> Result<u8, CliError> {
    let path = world.config_path();
    if path.exists() {
        return Err(CliError::Exists { path });
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let name = world.cwd.file_name().map(|name| name.to_string_lossy().into_owned());
    let app: String = name.unwrap_or_default().chars().filter(|c| fits(*c)).collect();
    let app = app.trim_start_matches(['.', '-']).to_owned();
    let app = if app.is_empty() { "app".to_owned() } else { app };
    let found = ["dist", "build", "public", "target/release"];
    let artifact = found.iter().find(|path| world.cwd.join(path).exists()).unwrap_or(&"dist");
    let unit = Some(format!("{app}.service"));
    let text = template::text(&Guess { app, artifact: format!("{artifact}/"), unit });
    std::fs::write(&path, text).map_err(|source| CliError::Write { path: path.clone(), source })?;
    print(&format!("wrote {}; next: edit it, then `shipit check`\n", path.display()));
    Ok(0)
}
