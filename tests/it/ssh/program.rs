//! The program itself over a real sshd, as a person runs it.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::support::bytes::random_bytes;
use crate::support::project::Project;
use crate::support::ssh::write;
use crate::support::sshd::{SshDir, Sshd, web};

/// A project whose only host is `web`.
struct Site {
    project: Project,
    dir: SshDir,
    _sshd: Sshd,
}

impl Site {
    fn new(sshd: &str, more: &str) -> Option<Self> {
        let (dir, sshd) = web(sshd)?;
        let project = Project::new();
        let base = dir.dir.path().display();
        project.write(
            "deploy.toml",
            &format!(
                "app = \"todo\"\ndeploy_to = \"{base}/srv\"\n\n[artifact]\npath = \"dist\"\n\n\
                 [ssh]\nconfig = \"{base}/config\"\n{more}\n\n[stages.production]\nhosts = [\"web\"]\n"
            ),
        );
        project.write("dist/VERSION", "1\n");
        Some(Self { project, dir, _sshd: sshd })
    }

    /// With a terminal, on which `typed` is typed once `question` is on it.
    fn on_a_terminal(&self, line: &str, question: &str, typed: &str) -> (i32, String) {
        let shown = self.project.path().join("typescript");
        let _ = fs::remove_file(&shown);
        let shipit = env!("CARGO_BIN_EXE_shipit");
        let mut script = Command::new("script");
        script.args(["-E", "never", "-qfec", &format!("{shipit} {line}")]).arg(&shown);
        script.current_dir(self.project.path()).env_remove("SSH_AUTH_SOCK");
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let read = || String::from_utf8_lossy(&fs::read(&shown).unwrap_or_default()).into_owned();
        let end = std::time::Instant::now() + crate::support::ssh::HANG;
        while !read().contains(question) {
            assert!(std::time::Instant::now() < end, "{}", read());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        // Text drawn over the question would appear within this time.
        std::thread::sleep(std::time::Duration::from_millis(500));
        let asked = read();
        let after = asked.rsplit(question).next().unwrap_or_default();
        assert!(!after.contains('\n'), "the question is the last line: {asked:?}");
        child.stdin.as_mut().unwrap().write_all(typed.as_bytes()).unwrap();
        let code = child.wait().unwrap().code().unwrap();
        (code, read())
    }
}

#[test]
fn a_new_host_key_is_reported_without_being_asked() {
    let Some(site) = Site::new("", "host_keys = \"accept-new\"") else { return };
    write(&site.dir.path("known_hosts"), "");
    let said = site.project.shipit("deploy");
    assert!(said.starts_with("exit: 0"), "{said}");
    assert!(said.contains("web | warning          new host key SHA256:"), "{said}");
    let again = site.project.shipit("deploy --force");
    assert!(again.starts_with("exit: 0") && !again.contains("new host key"), "{again}");
    write(&site.dir.path("known_hosts"), "");
    let checked = site.project.shipit("check");
    assert!(checked.contains("new host key SHA256:"), "{checked}");
}

#[test]
fn passphrase_is_asked_on_the_terminal_and_nothing_covers_it() {
    let Some(site) = Site::new("", "") else { return };
    fs::remove_file(site.dir.path("id")).unwrap();
    fs::remove_file(site.dir.path("id.pub")).unwrap();
    site.dir.keygen("id", &["-t", "ed25519", "-N", "open sesame"]);
    site.dir.trust("id");
    let (code, said) = site.on_a_terminal("deploy", "Passphrase for ", "open sesame\n");
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("sesame"), "it is not echoed: {said}");
}

#[test]
fn key_and_known_hosts_of_ci_deploy() {
    let Some(site) = Site::new("", "") else { return };
    let key = site.dir.text("id").trim_end().replace('\n', "\r\n");
    let known = site.dir.text("known_hosts");
    fs::remove_file(site.dir.path("id")).unwrap();
    write(&site.dir.path("known_hosts"), "");
    let with = |key: &str, known: &str| {
        let mut command = site.project.command("deploy");
        command.env("SHIPIT_SSH_KEY", key).env("SHIPIT_KNOWN_HOSTS", known);
        site.project.said(&mut command)
    };
    let said = with(&key.replace("\r\n", " "), &known);
    assert!(said.starts_with("exit: 2") && said.contains("its line ends are lost"), "{said}");
    assert!(said.contains("no host was contacted; nothing was changed"), "{said}");
    assert!(!said.contains(&key[60..80]), "{said}");
    let said = with(&key, &known);
    assert!(said.starts_with("exit: 0"), "{said}");
}

#[test]
fn hosts_of_a_command_are_shown_and_recorded() {
    let Some(site) = Site::new("", "") else { return };
    let text = site.project.read("deploy.toml").replace("[\"web\"]", "{ command = \"echo web\" }");
    site.project.write("deploy.toml", &text);
    let said = site.project.shipit("deploy --dry-run");
    assert!(said.contains("1 host from `echo web`: web\n"), "{said}");
    let said = site.project.shipit("deploy");
    assert!(said.starts_with("exit: 0"), "{said}");
    let log = site.dir.text("srv/revisions.log");
    assert!(log.contains("; 1 host from `echo web`: web"), "{log}");
}

/// As with ssh, the home of the account counts, not HOME.
#[test]
fn ssh_files_below_another_home_are_not_read_and_that_is_said() {
    let Some(site) = Site::new("", "") else { return };
    let home = site.project.path().join("elsewhere");
    fs::create_dir_all(&home).unwrap();
    let status = || site.project.said(site.project.command("status").env("HOME", &home));
    assert!(!status().contains("though HOME is"), "{}", status());
    fs::create_dir_all(home.join(".ssh")).unwrap();
    let said = status();
    assert!(said.starts_with("exit: 0"), "{said}");
    let warning = "warning: <dir>/elsewhere/.ssh is not read, though HOME is <dir>/elsewhere";
    assert!(said.contains(warning), "{said}");
}

/// Two releases of what the first stage runs, over connections whose shells print.
#[test]
fn artifact_is_promoted_over_ssh() {
    let Some(site) = Site::new("", "") else { return };
    let base = site.dir.dir.path().display();
    let text = site.project.read("deploy.toml");
    let live = format!("\n[stages.live]\nhosts = [\"web\"]\ndeploy_to = \"{base}/live\"\n");
    site.project.write("deploy.toml", &(text + &live));
    let large = random_bytes(3_000_000);
    fs::write(site.project.path().join("dist/large"), &large).unwrap();
    let said = site.project.shipit("deploy production");
    assert!(said.starts_with("exit: 0"), "{said}");
    fs::remove_dir_all(site.project.path().join("dist")).unwrap();
    write(&site.dir.path(".bashrc"), "printf 'welcome\\nred'; head -c 50000 /dev/zero\n");
    let said = site.project.shipit("promote production live");
    assert!(said.starts_with("exit: 0"), "{said}");
    assert!(fs::read(site.dir.path("live/current/large")).unwrap() == large);
    let time = |path: &str| fs::metadata(site.dir.path(path)).unwrap().modified().unwrap();
    assert_eq!(time("live/current/large"), time("srv/current/large"));
}

/// bash reads it when sshd starts it, also where it is given a command.
#[test]
fn a_startup_file_that_prints_costs_nothing() {
    let Some(site) = Site::new("", "") else { return };
    let noise =
        "echo welcome; printf '\\033[31mred'; head -c 50000 /dev/zero | tr '\\0' x; set -u\n";
    write(&site.dir.path(".bashrc"), noise);
    let said = site.project.shipit("deploy");
    assert!(said.starts_with("exit: 0"), "{said}");
    assert!(!said.contains("welcome") && !said.contains('\u{1b}'), "{said}");
}

#[test]
fn a_startup_file_that_exits_is_named() {
    let Some(site) = Site::new("", "") else { return };
    write(&site.dir.path(".bashrc"), "echo only for people; exit 1\n");
    for line in ["deploy", "check"] {
        let said = site.project.shipit(line);
        assert!(said.starts_with("exit: 1"), "{said}");
        assert!(said.contains("only for people"), "{said}");
        assert!(said.contains(".bashrc") || said.contains("startup file"), "{said}");
    }
}

/// Options that a shell takes from its environment, here from the server.
#[test]
fn options_of_shells_in_the_environment_change_nothing() {
    let options =
        "SHELLOPTS=braceexpand:errexit:hashall:interactive-comments:noclobber:noglob:nounset";
    let Some(site) = Site::new(&format!("SetEnv HOME=DIR {options}"), "") else { return };
    for version in ["1", "2"] {
        site.project.write("dist/VERSION", version);
        let said = site.project.shipit("deploy --force");
        assert!(said.starts_with("exit: 0"), "{said}");
    }
    let said = site.project.shipit("rollback");
    assert!(said.starts_with("exit: 0"), "{said}");
    let said = site.project.shipit("prune --keep 1");
    assert!(said.starts_with("exit: 0"), "{said}");
}
