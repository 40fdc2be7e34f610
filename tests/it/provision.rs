//! `vagrant/provision.sh` runs as root in the home of a user who may want to become root.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::tools::program;

const SCRIPT: &str = include_str!("../../vagrant/provision.sh");

fn function(name: &str) -> &'static str {
    let start = SCRIPT.find(&format!("\n{name}() {{")).unwrap();
    let end = SCRIPT[start..].find("\n}\n").unwrap();
    &SCRIPT[start..start + end + 3]
}

/// A home, and a file that its user may not write to: root's, or, where the tests do not run as
/// root, a read-only one.
struct Home {
    dir: tempfile::TempDir,
    root: bool,
}

impl Home {
    fn new() -> Self {
        let home =
            Self { dir: tempfile::tempdir().unwrap(), root: rustix::process::geteuid().is_root() };
        fs::create_dir_all(home.path("home/.config/systemd")).unwrap();
        fs::write(home.path("secret"), "root's\n").unwrap();
        fs::set_permissions(home.path("secret"), fs::Permissions::from_mode(0o400)).unwrap();
        if home.root {
            fs::set_permissions(home.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        } else {
            program(&home.path("runuser"), "#!/bin/sh\nshift 3\nexec \"$@\"\n");
        }
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs these lines after the functions; whether they succeeded.
    fn runs(&self, lines: &str) -> bool {
        let home = self.path("home");
        if self.root {
            assert!(
                Command::new("chown")
                    .args(["-hR", "nobody"])
                    .arg(&home)
                    .status()
                    .unwrap()
                    .success()
            );
        }
        let functions = ["as_user", "authorize", "put_own"].map(function).concat();
        let home = home.display();
        let script = format!(
            "set -eu\nuser=nobody home={home} key='ssh-ed25519 AAAA ada'\n{functions}\n{lines}"
        );
        let path = format!("{}:{}", self.dir.path().display(), std::env::var("PATH").unwrap());
        let ran = Command::new("sh").args(["-c", &script]).env("PATH", path).output().unwrap();
        ran.status.success()
    }

    fn is_untouched(&self) -> bool {
        let secret = self.path("secret");
        let meta = fs::metadata(&secret).unwrap();
        meta.permissions().mode() & 0o777 == 0o400
            && fs::read_to_string(&secret).unwrap() == "root's\n"
            && std::os::unix::fs::MetadataExt::uid(&meta)
                == std::os::unix::fs::MetadataExt::uid(&fs::metadata(self.dir.path()).unwrap())
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn provisioning_adds_a_key_once() {
    let home = Home::new();
    let keys = home.path("home/.ssh/authorized_keys");
    assert!(home.runs("authorize; authorize"));
    assert_eq!(fs::read_to_string(&keys).unwrap(), "ssh-ed25519 AAAA ada\n");
    assert_eq!((mode(&keys), mode(keys.parent().unwrap())), (0o600, 0o700));
    fs::write(&keys, "ssh-rsa without-newline").unwrap();
    assert!(home.runs("authorize"));
    assert_eq!(
        fs::read_to_string(&keys).unwrap(),
        "ssh-rsa without-newline\nssh-ed25519 AAAA ada\n"
    );
}

#[test]
fn provisioning_follows_no_link_in_the_home() {
    let home = Home::new();
    fs::create_dir(home.path("home/.ssh")).unwrap();
    symlink(home.path("secret"), home.path("home/.ssh/authorized_keys")).unwrap();
    assert!(!home.runs("authorize"));
    assert!(home.is_untouched());
    // The directory is a link to where only root may write.
    let home = Home::new();
    fs::create_dir(home.path("etc")).unwrap();
    fs::set_permissions(home.path("etc"), fs::Permissions::from_mode(0o555)).unwrap();
    symlink(home.path("etc"), home.path("home/.ssh")).unwrap();
    symlink(home.path("etc"), home.path("home/.config/systemd/user")).unwrap();
    assert!(!home.runs("authorize"));
    assert!(!home.runs("echo unit | put_own \"$home/.config/systemd/user/todo.service\""));
    assert_eq!(fs::read_dir(home.path("etc")).unwrap().count(), 0);
    fs::set_permissions(home.path("etc"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn provisioning_writes_a_unit_once_and_over_no_link() {
    let home = Home::new();
    fs::create_dir(home.path("home/.config/systemd/user")).unwrap();
    let unit = home.path("home/.config/systemd/user/todo.service");
    symlink(home.path("secret"), &unit).unwrap();
    let put = "put() { echo unit | put_own \"$home/.config/systemd/user/todo.service\"; }\n";
    assert!(home.runs(&format!("{put} put; ! put")));
    assert_eq!((fs::read_to_string(&unit).unwrap().as_str(), mode(&unit)), ("unit\n", 0o644));
    assert!(!unit.is_symlink() && home.is_untouched());
}
