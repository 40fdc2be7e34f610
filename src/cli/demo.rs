//! `shipit demo`: a whole deployment against an SSH server inside this process, in a temporary
//! directory. Each command runs as a person would type it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::error::CliError;
use super::output::print;
use super::signals;
use super::world::World;
use crate::deploy::cancel::Cancel;
use crate::ssh::embedded::{Embedded, ServerOptions};

struct Stage {
    dir: PathBuf,
    program: PathBuf,
    /// Variables that would make the commands use another config or stage.
    foreign: Vec<String>,
    cancel: Cancel,
}

/// Runs the demo from the first deploy to the prune.
pub(crate) async fn run(world: &World, keep: bool) -> Result<u8, CliError> {
    let scratch = tempfile::tempdir().map_err(|source| CliError::Start { source })?;
    let dir = scratch.path().to_owned();
    let path = world.var("PATH").unwrap_or_else(|| "/usr/bin:/bin".to_owned());
    let env = vec![("PATH".to_owned(), path), ("SHELL".to_owned(), "/bin/sh".to_owned())];
    let options = ServerOptions { env, cwd: Some(dir.clone()) };
    let server = Embedded::start(options).await.map_err(|source| CliError::Demo { source })?;
    let program = std::env::current_exe().map_err(|source| CliError::Start { source })?;
    let foreign = world.env.keys().filter(|name| name.starts_with("SHIPIT_")).cloned().collect();
    // Signals are followed from here on, so that an interrupt ends the demo but not its cleanup.
    let stage = Stage { dir, program, foreign, cancel: signals::follow() };
    stage.set(&server).map_err(|source| CliError::Write { path: stage.dir.clone(), source })?;
    print(&format!(
        "The demo's own SSH server listens on {}; all files are in {}\n",
        server.address,
        stage.dir.display()
    ));
    let code = stage.story().await?;
    if keep {
        let dir = scratch.keep();
        print(&format!(
            "\nIt stays until Ctrl-C. Play in another terminal:\n  cd {}\n  {} status\n",
            dir.display(),
            stage.program.display()
        ));
        stage.cancel.wait(1).await;
        print(&format!("The server is gone; the files are still in {}\n", dir.display()));
    }
    Ok(code)
}

impl Stage {
    /// Writes keys, a config and an artifact into a new directory.
    fn set(&self, server: &Embedded) -> io::Result<()> {
        let key = self.dir.join("key");
        fs::write(&key, server.client_key_file())?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        fs::write(self.dir.join("known_hosts"), server.known_hosts_line())?;
        fs::write(self.dir.join("ssh_config"), "")?;
        let host = format!("demo@{}", server.address);
        let config = format!(
            r#"app = "demo"
deploy_to = "{dir}/server"
keep_releases = 5
linked_dirs = ["log"]

[artifact]
path = "dist"

[env]
vars.GREETING = "hello"

[service]
restart = "echo \"serving $(cat VERSION)\" >>log/restarts"

[health]
command = "grep -q '^[0-9]' VERSION"
interval = "300ms"
total = "900ms"

[ssh]
config = "ssh_config"
identity_file = "key"
known_hosts = "known_hosts"

[stages.demo]
hosts = ["{host}"]
"#,
            dir = self.dir.display()
        );
        fs::write(self.dir.join("deploy.toml"), config)
    }

    async fn story(&self) -> Result<u8, CliError> {
        let builds = [("1.0", "The first build"), ("2.0", "A change"), ("3.0", "One more")];
        for (version, what) in builds {
            let code = self.deploy(version, what).await?;
            if code != 0 {
                return Ok(code);
            }
        }
        let code = self.deploy("broken", "A broken build, which the host reverts").await?;
        if code != 1 {
            return Ok(code.max(1));
        }
        let rest = [
            ("The releases on the host", vec!["releases"]),
            ("On request, back to the one before, with its own config", vec!["rollback", "demo"]),
            ("What is live", vec!["status"]),
            ("Delete old releases", vec!["prune", "demo", "--keep", "1", "-v"]),
        ];
        for (what, command) in rest {
            print(&format!("\n# {what}\n"));
            let code = self.type_command(&command).await?;
            if code != 0 {
                return Ok(code);
            }
        }
        let live = fs::read_to_string(self.dir.join("server/current/VERSION")).unwrap_or_default();
        print(&format!("\ncurrent/VERSION on the server says {}\n", live.trim()));
        Ok(0)
    }

    async fn deploy(&self, version: &str, what: &str) -> Result<u8, CliError> {
        self.build(version).map_err(|source| CliError::Write { path: self.dir.clone(), source })?;
        print(&format!("\n# {what}: dist/VERSION says {version}\n"));
        self.type_command(&["deploy", "demo"]).await
    }

    fn build(&self, version: &str) -> io::Result<()> {
        let dist: &Path = &self.dir.join("dist");
        fs::create_dir_all(dist)?;
        fs::write(dist.join("VERSION"), format!("{version}\n"))?;
        fs::write(dist.join("index.html"), format!("<h1>Hello from {version}</h1>\n"))
    }

    /// Runs this program as a person would.
    async fn type_command(&self, command: &[&str]) -> Result<u8, CliError> {
        if self.cancel.asked() {
            return Ok(130);
        }
        print(&format!("$ shipit {}\n", command.join(" ")));
        let mut program = Command::new(&self.program);
        program.args(command).current_dir(&self.dir).env_remove("SSH_AUTH_SOCK");
        for name in &self.foreign {
            program.env_remove(name);
        }
        let status = program.stdin(Stdio::null()).status().await;
        let status = status.map_err(|source| CliError::Start { source })?;
        Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
    }
}
