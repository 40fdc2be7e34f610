//! The program as a person runs it in a project: argv in; exit code, stdout and stderr out.

use std::fs;
use std::path::Path;
use std::process::Command;

/// A directory of its own, and nothing of this machine's environment.
pub(crate) struct Project {
    pub(crate) dir: tempfile::TempDir,
}

impl Project {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A stage that is this machine, and a first build.
    pub(crate) fn local() -> Self {
        let project = Self::new();
        project.write(
            "deploy.toml",
            &format!(
                "app = \"todo\"\ndeploy_to = \"{}/srv\"\nlinked_dirs = [\"log\"]\n\n\
                 [artifact]\npath = \"dist\"\n\n[env]\nvars.A = \"b\"\n\
                 vars.SECRET = {{ command = \"echo p0isoned-value\" }}\n\n\
                 [hooks]\nstaged = [\"echo hook says; cat .env\"]\n\n\
                 [service]\nrestart = \"test -e VERSION\"\n\n[stages.here]\nhosts = [\"local\"]\n",
                project.dir.path().display()
            ),
        );
        project.write("dist/VERSION", "1\n");
        project
    }

    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shipit"));
        command
            .args(line.split_whitespace())
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .env("USER", "ada");
        command
    }

    pub(crate) fn shipit(&self, line: &str) -> String {
        self.said(&mut self.command(line))
    }

    pub(crate) fn said(&self, command: &mut Command) -> String {
        let out = command.output().unwrap();
        let text = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).unwrap();
            let text = text.replace(self.dir.path().to_str().unwrap(), "<dir>");
            mask_ids(&text)
        };
        let (code, stdout, stderr) =
            (out.status.code().unwrap(), text(out.stdout), text(out.stderr));
        format!("exit: {code}\n--- stdout\n{stdout}--- stderr\n{stderr}")
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.dir.path().join(path)).unwrap_or_default()
    }
}

/// The text with every 14-digit id masked.
pub(crate) fn mask_ids(text: &str) -> String {
    let mut out = String::new();
    let mut digits = String::new();
    for c in text.chars().chain(['\n']) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        out.push_str(if digits.len() == 14 { "<id>" } else { &digits });
        digits.clear();
        out.push(c);
    }
    out.pop();
    out
}
