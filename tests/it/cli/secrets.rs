//! A poisoned secret: no 8 characters in a row of any value of any release show, whatever is run
//! and however it is reported.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;

use crate::support::project::Project;

/// Prints all that any release here has, in the ways in which programs do.
const LEAK: &str = r#"cat ../*/.env; sed -e 's|\\|\\\\|g' -e 's|"|\\"|g' ../*/.env; \
    sed -e 's|\\|\\\\|g' -e 's|"|\\"|g' -e 's|/|\\/|g' .env; . ./.env; echo "$DATABASE_URL"; set"#;

/// A stage that is this machine, whose every part prints what it should not.
struct Site {
    project: Project,
    values: Vec<String>,
}

impl Site {
    fn new(service: &str) -> Self {
        let project = Project::new();
        let dir = project.path().display();
        let config = format!(
            "app = \"todo\"\ndeploy_to = \"{dir}/srv\"\nkeep_releases = 2\n\n\
             [artifact]\npath = \"dist\"\n\n\
             [env.vars]\nDATABASE_URL = {{ env = \"DATABASE_URL\" }}\nTLS_KEY = {{ file = \"key\" }}\n\
             STAGE = {{ env = \"STAGE\" }}\nOPEN = {{ env = \"OPEN\", secret = false }}\n\
             LITERAL = {{ value = \"qXz.9.Wrdless.77\", secret = true }}\nPLAIN = \"a-plain-literal\"\n\n\
             [service]\n{service}\n\n\
             [hooks]\nstaged = ['''{LEAK}; test ! -e refuse''']\nactivated = ['''{LEAK}''']\n\n\
             [stages.production]\nhosts = [\"local\"]\n"
        );
        project.write("deploy.toml", &config);
        let values = vec!["qXz.9.Wrdless.77".to_owned()];
        Self { project, values }
    }

    /// The next values, and a build that holds these files.
    fn build(&mut self, version: u8, files: &[&str]) {
        let tail: String = (0..12).map(|at| char::from(b'A' + (version + at * 5) % 26)).collect();
        let url = format!("postgres://u{version}:{tail}\"\\{tail}/@db{tail}");
        let key = format!("-----BEGIN {tail}-----\n{tail}key{tail}\n{tail}\n");
        self.project.write("key", &key);
        self.values.extend([url].into_iter().chain(key.lines().map(str::to_owned)));
        let _ = fs::remove_dir_all(self.project.path().join("dist"));
        self.project.write("dist/VERSION", &version.to_string());
        for file in files {
            self.project.write(&format!("dist/{file}"), "");
        }
    }

    fn url(&self) -> &str {
        self.values.iter().rfind(|value| value.starts_with("postgres")).unwrap()
    }

    /// Runs it, in GitHub Actions or not; what it said.
    #[track_caller]
    fn shipit(&self, line: &str, code: i32, github: bool) -> String {
        let mut command = self.project.command(line);
        command
            .env("DATABASE_URL", self.url())
            .env("STAGE", "production")
            .env("OPEN", "an-open-value");
        if github {
            command.env("GITHUB_ACTIONS", "true");
        }
        let ran = command.output().unwrap();
        let said =
            [ran.stdout, ran.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let said = said.concat();
        assert_eq!(ran.status.code(), Some(code), "{line}: {said}");
        self.clean(line, &said);
        said
    }

    /// 8 characters in a row, also as they stand in JSON.
    #[track_caller]
    fn clean(&self, line: &str, said: &str) {
        let plain = said.replace("\\\\", "\\").replace("\\\"", "\"").replace("\\/", "/");
        for value in &self.values {
            let chars: Vec<char> = value.chars().collect();
            for part in chars.windows(8.min(chars.len())) {
                let part: String = part.iter().collect();
                let common = "postgres://-----BEGIN -----".contains(&part);
                let shows = said.contains(&part) || plain.contains(&part);
                assert!(common || !shows, "{part:?} of {value:?} shows in {line}:\n{said}");
            }
        }
    }

    fn release(&self, number: usize) -> PathBuf {
        let mut all: Vec<_> =
            fs::read_dir(self.project.path().join("srv/releases")).unwrap().collect();
        all.sort_by_key(|entry| entry.as_ref().unwrap().file_name());
        all.swap_remove(number).unwrap().path()
    }

    fn all_commands(&mut self) {
        for (version, flags) in [(1, ""), (2, " -v"), (3, " --json -v"), (4, "")] {
            self.build(version, &[]);
            self.shipit(&format!("deploy production --yes{flags}"), 0, version == 4);
        }
        for (version, flags) in [(5, ""), (6, " --json -v"), (7, " -v")] {
            for file in ["bad", "refuse"] {
                self.build(version * 10, &[file]);
                self.shipit(&format!("deploy production --yes{flags}"), 1, version == 7);
            }
        }
        self.shipit("deploy production --dry-run", 0, false);
        self.shipit("rollback production --yes -v", 0, false);
        // Rollbacks in both directions, to a release that no longer works.
        fs::write(self.release(0).join("bad"), "").unwrap();
        for look in ["status", "verify", "check", "releases", "history"] {
            for flags in ["", " --json", " -v"] {
                let ran =
                    self.project.command(&format!("{look} production{flags}")).output().unwrap();
                self.clean(look, &String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()));
            }
        }
        self.build(8, &[]);
        self.shipit("deploy production --yes", 0, false);
        let earlier = fs::read_link(self.project.path().join("srv/current")).unwrap();
        self.build(9, &[]);
        self.shipit("deploy production --yes", 0, false);
        fs::write(self.project.path().join("srv").join(earlier).join("bad"), "").unwrap();
        let said = self.shipit("rollback production --yes --json -v", 1, false);
        assert!(said.contains("***"), "{said}");
        self.shipit("prune production --yes -v", 0, true);
        // No restart works any more, so the revert fails too.
        fs::write(self.project.path().join("broken"), "").unwrap();
        self.build(10, &[]);
        self.shipit("deploy production --yes", 3, false);
        fs::remove_file(self.project.path().join("broken")).unwrap();
    }
}

fn restart() -> String {
    format!("restart = '''{LEAK}; test ! -e bad -a ! -e ../../../broken'''\nstop = \"cat .env\"")
}

#[test]
fn secrets_of_every_release_are_masked() {
    Site::new(&restart()).all_commands();
}

#[test]
fn secrets_in_the_service_log_are_masked() {
    let log =
        "log = \"log\"\nrestart = '''cat ../*/.env >>log; test ! -e bad -a ! -e ../../../broken'''";
    Site::new(log).all_commands();
}

/// Text is masked first, then truncated at the ends of lines.
#[test]
fn truncation_leaves_no_part_of_a_secret() {
    for room in [65_400, 65_480, 65_500, 65_530] {
        let long = format!("cat .env; head -c {room} /dev/zero | tr '\\\\0' x; exit 1");
        let mut site = Site::new(&format!("restart = \"{long}\""));
        site.build(1, &[]);
        site.shipit("deploy production --yes", 1, false);
    }
    for columns in [150, 170, 190] {
        let check = format!("printf %{columns}s | tr ' ' x; tail -n +1 .env; exit 1");
        let mut site = Site::new("restart = \"true\"");
        let config = fs::read_to_string(site.project.path().join("deploy.toml")).unwrap();
        let health = format!("{config}\n[health]\ncommand = \"{check}\"\ntotal = \"2s\"\n");
        site.project.write("deploy.toml", &health);
        site.build(1, &[]);
        site.shipit("deploy production --yes", 1, false);
    }
}

/// The answer of a service, read by this machine, is sent to the host to be masked.
#[test]
fn secrets_in_health_answers_are_masked() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut site = Site::new("restart = \"true\"");
    let srv = site.project.path().join("srv");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let env = fs::read_to_string(srv.join("current/.env")).unwrap_or_default();
            let status = if srv.join("sick").exists() { 500 } else { 200 };
            let length = env.len();
            let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n\r\n");
            let _ = stream.write_all(format!("{head}{env}").as_bytes());
        }
    });
    let config = fs::read_to_string(site.project.path().join("deploy.toml")).unwrap();
    let health =
        format!("{config}\n[health]\nhttp = \"http://127.0.0.1:{port}/\"\ntotal = \"2s\"\n");
    site.project.write("deploy.toml", &health);
    for version in [1, 2] {
        site.build(version, &[]);
        site.shipit("deploy production --yes", 0, false);
    }
    fs::write(site.project.path().join("srv/sick"), "").unwrap();
    let said = site.shipit("rollback production --yes", 1, false);
    assert!(said.contains("it said: ") && said.contains("***"), "{said}");
}

/// Releases are never changed, so an earlier one keeps the name that its env file had.
#[test]
fn values_in_env_files_of_earlier_names_are_masked() {
    let leak = "cat ../*/*.env ../*/.env; true";
    let mut site = Site::new(&format!("restart = \"{leak}\""));
    let config = site.project.read("deploy.toml").replace(LEAK, leak);
    let versions = [(1, "first.env"), (2, "second.env"), (3, ".env"), (4, "third.env")];
    for (version, name) in versions {
        let named =
            config.replace("[env.vars]", &format!("[env]\nfile = \"{name}\"\n\n[env.vars]"));
        site.project.write("deploy.toml", &named.replace("keep_releases = 2", "keep_releases = 9"));
        site.build(version, &[]);
        site.shipit("deploy production --yes -v", 0, false);
    }
    let kept = site.project.read("srv/.shipit/env-files");
    assert_eq!(kept, "first.env\nsecond.env\nthird.env\n");
}

/// Words that are no secrets in any variable.
#[test]
fn plain_values_are_not_masked() {
    let mut site = Site::new("restart = \"true\"");
    site.build(1, &[]);
    let said = site.shipit("deploy production --yes -v --json", 0, false);
    for shown in ["STAGE='production'", "OPEN='an-open-value'", "PLAIN='a-plain-literal'"] {
        assert!(said.contains(shown), "{shown}: {said}");
    }
    assert!(said.contains("LITERAL='***'"), "{said}");
}

/// A stage that is this machine gets what a login has, not what the caller's job has.
#[test]
fn environment_of_the_caller_does_not_reach_hooks() {
    let project = Project::local();
    let config = fs::read_to_string(project.path().join("deploy.toml")).unwrap();
    project.write("deploy.toml", &config.replace("echo hook says; cat .env", "env"));
    let ran = project.command("deploy").env("CI_JOB_TOKEN", "t0ken-of-the-job").output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(said.contains("HOME=") && said.contains("PATH="), "{said}");
    assert!(!said.contains("CI_JOB_TOKEN"), "{said}");
}

/// A run that was killed leaves its env file until the next one has the lock, and no longer.
#[test]
fn env_file_of_a_killed_run_is_deleted_with_its_lock() {
    let project = Project::local();
    assert!(project.shipit("deploy").starts_with("exit: 0"));
    let left = "srv/releases/.20260101000000.0123456789abcdef/meta/env";
    project.write(left, "SECRET='p0isoned-value'\n");
    // A deploy that fails before it cleans up.
    let config = fs::read_to_string(project.path().join("deploy.toml")).unwrap();
    project.write("deploy.toml", &config.replace("echo hook says; cat .env", "false"));
    project.write("dist/VERSION", "2\n");
    assert!(project.shipit("deploy").starts_with("exit: 1"));
    assert!(!project.path().join(left).exists());
}
