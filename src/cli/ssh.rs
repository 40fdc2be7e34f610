//! `shipit ssh`: a shell in the live release of a host, by the `ssh` of this machine.

use std::process::Command;

use super::args::StageArg;
use super::error::CliError;
use super::world::World;
use crate::config::resolve::{Overrides, load};
use crate::config::{Config, Host};
use crate::remote::quote::word;

/// Opens the shell and returns its exit code.
pub(crate) fn run(world: &World, stage: &StageArg, host: Option<&str>) -> Result<u8, CliError> {
    let config = config(world, stage, host)?;
    let Some(host) = config.hosts.first() else { return Ok(0) };
    let shell = acting(&config, in_live(&config, host));
    let mut command = if let Some(words) = world.reach(&config).ssh_words(host) {
        let mut command = Command::new("ssh");
        command.arg("-t").args(words).arg(format!("exec /bin/sh -c {}", word(&shell)));
        command
    } else {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &shell]);
        command
    };
    let ended = command.status().map_err(|source| CliError::NoProgram { source })?;
    Ok(ended.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255))
}

/// Returns the config of the stage with the host that is named, or with all. `shipit ssh web1`
/// names a host if no stage is called so.
fn config(world: &World, stage: &StageArg, host: Option<&str>) -> Result<Config, CliError> {
    let on = |stage: &StageArg, host: Option<&str>| {
        let hosts = host.map(str::to_owned).into_iter().collect();
        world.config_with(stage, Overrides { hosts, ..Overrides::default() })
    };
    let (Some(name), None) = (&stage.stage, host) else { return on(stage, host) };
    let (file, unnamed) = (load(&world.config_path())?, StageArg { stage: None });
    match on(&unnamed, None) {
        Ok(config) if !file.stages().contains(&name.as_str()) => {
            let hosts = config.hosts.into_iter().map(|host| host.name);
            let known = file.stages().into_iter().map(str::to_owned).chain(hosts).collect();
            let none = |_| CliError::NoSuch { what: "stage or host", name: name.clone(), known };
            on(&unnamed, Some(name)).map_err(none)
        }
        _ => on(stage, None),
    }
}

/// Returns `shell` as the user of `[sudo]` runs it. On a terminal, sudo may ask for a password.
fn acting(config: &Config, shell: String) -> String {
    let Some(user) = &config.sudo.user else { return shell };
    let words: Vec<_> = config.sudo.command.iter().filter(|word| *word != "-n").cloned().collect();
    format!("exec {} -u {} -- /bin/sh -c {}", words.join(" "), word(user), word(&shell))
}

/// Returns the command that opens a shell in the live release, with the variables of its env file.
/// A user that never logs in has no shell of its own.
fn in_live(config: &Config, host: &Host) -> String {
    let file = config.shell_env_on(host).map(|file| word(&format!("./{file}")));
    let load = file.map(|file| format!("if [ -r {file} ]; then set -a; . {file}; set +a; fi; "));
    format!(
        "cd {} || exit; {}case $SHELL in */nologin | */false | '') SHELL=/bin/sh ;; esac; \
         exec \"$SHELL\"",
        word(&config.layout.current()),
        load.unwrap_or_default()
    )
}
