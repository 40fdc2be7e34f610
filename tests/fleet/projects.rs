//! The projects of docs/recipes: each is built and its host prepared by its own scripts, deployed,
//! broken and rolled back.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use walkdir::WalkDir;

use crate::app::{App, Wish};
use crate::hosts::{APPS, Host, dir, until};
use crate::recipes::rounds;

/// A directory of docs/recipes, with a name and a port of its own.
struct Project {
    recipe: &'static str,
    app: App,
}

impl Project {
    /// A project whose host is bare.
    fn new(host: Host, recipe: &'static str, name: &'static str) -> Self {
        // Remains of an earlier run that failed.
        host.try_root(&format!(
            "systemctl disable --now {name} {name}-prune.timer; \
             rm -rf /srv/{name} /etc/systemd/system/{name}* /etc/sudoers.d/shipit-{name}"
        ));
        // Only the user and the directory; all else is the work of `host.sh`.
        let wish = Wish { provision: &["--scope", "none", "--no-sudo"], ..Wish::default() };
        Self { recipe, app: App::with(&[host], name, &wish) }
    }

    fn host(&self) -> Host {
        self.app.hosts[0]
    }

    /// Writes the files at one version, with one change.
    fn write(&self, version: &str, [from, to]: [&str; 2]) {
        let recipe = Path::new("docs/recipes").join(self.recipe);
        let (name, port) = (self.app.name, self.app.port().to_string());
        let mut changed = false;
        for entry in WalkDir::new(&recipe).into_iter().map(Result::unwrap) {
            let inner = entry.path().strip_prefix(&recipe).unwrap().to_str().unwrap();
            let path = self.app.home().join(inner.replace("todo", name));
            if entry.file_type().is_dir() {
                fs::create_dir_all(path).unwrap();
                continue;
            }
            let text = fs::read_to_string(entry.path()).unwrap();
            changed |= text.contains(from);
            let text = text.replace(from, to).replace("todo 1", &format!("todo {version}"));
            fs::write(&path, text.replace("todo", name).replace("8080", &port)).unwrap();
            fs::set_permissions(&path, entry.metadata().unwrap().permissions()).unwrap();
        }
        assert!(changed, "{}: no file has {from:?}", self.recipe);
    }

    /// Makes deploy.toml one for a host of the fleet, whose checks may take so long in all.
    fn configure(&self, total: &str) {
        let path = self.app.home().join("deploy.toml");
        let mut tables: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
        let more = format!(
            "stages.production.hosts = [{:?}]\nhealth = {{ total = {total:?}, soak = \"0s\" }}\n\
             timeouts.deadline = \"5s\"\nssh = {{ config = \"{}\", user = \"deploy\" }}\n",
            self.host().0,
            dir().join("ssh_config").display(),
        );
        for (key, value) in more.parse::<toml::Table>().unwrap() {
            match (tables.get_mut(&key), value) {
                (Some(toml::Value::Table(table)), toml::Value::Table(more)) => table.extend(more),
                (_, value) => _ = tables.insert(key, value),
            }
        }
        fs::write(path, tables.to_string()).unwrap();
    }

    /// Builds one version with one change. A program that this machine lacks is stood in for.
    fn build(&self, version: &str, change: [&str; 2]) {
        self.write(version, change);
        self.configure(if change[0] == change[1] { "30s" } else { "3s" });
        let path = std::env::var("PATH").unwrap();
        let tools = self.app.home().join("tools/bin").display().to_string();
        let mut build = Command::new("./build.sh");
        build.current_dir(self.app.home()).env("PATH", format!("{tools}:{path}"));
        build.env("CONTAINERS_STORAGE_CONF", self.app.home().join("tools/storage.conf"));
        let output = build.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", self.recipe);
    }

    /// Brings the directory to the host, and runs `host.sh` there.
    fn prepare(&self) {
        let mut tar = Command::new("tar");
        tar.args(["-c", "--exclude=./target", "--exclude=./dist", "--exclude=./tools", "."]);
        let mut tar = tar.current_dir(self.app.home()).stdout(Stdio::piped()).spawn().unwrap();
        let place = format!("/root/{}", self.app.name);
        let unpack =
            format!("rm -rf {place} && mkdir {place} && cd {place} && tar -x && ./host.sh");
        let mut host = self.host().enter(&unpack);
        let output = host.stdin(tar.stdout.take().unwrap()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(tar.wait().unwrap().success() && output.status.success(), "{said}");
    }

    #[track_caller]
    fn serves(&self, version: &str) {
        let ask = format!("curl -s -m 5 http://127.0.0.1:{}/", self.app.port());
        let expected = format!("{} {version}", self.app.name);
        until(Duration::from_secs(20), &format!("{} serves {version}", self.recipe), || {
            String::from_utf8_lossy(&self.host().try_root(&ask).stdout).contains(&expected)
        });
    }

    /// Deploys what was built; it ends with this exit code.
    fn deploy(&self, code: i32) {
        self.app.shipit(&["deploy", "production", "--yes"]).ends(code);
    }

    /// Deploys a version; then, again and again, one that is sick and one that is rolled back.
    fn story(&self, sick: [&str; 2]) {
        let same = [sick[0]; 2];
        self.build("1", same);
        self.prepare();
        self.app.shipit(&["check", "production"]).ends(0);
        self.deploy(0);
        self.serves("1");
        for round in 1..=rounds().div_ceil(4) {
            self.build(&format!("{round}2"), sick);
            self.deploy(1);
            self.serves("1");
            self.build(&format!("{round}3"), same);
            self.deploy(0);
            self.serves(&format!("{round}3"));
            self.app.shipit(&["rollback", "production", "--yes"]).ends(0);
            self.serves("1");
        }
        let name = self.app.name;
        self.host().root(&format!("rm -rf /root/{name} /etc/sudoers.d/shipit-{name}"));
    }
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn project_in_rust() {
    let project = Project::new(APPS[0], "rust", "rusty");
    project.story(["let well = true", "let well = false"]);
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn project_in_a_container_image() {
    if Command::new("podman").arg("--version").output().is_err() {
        println!("podman is not here, as tests/run says: no image is built");
        return;
    }
    let project = Project::new(APPS[1], "image", "boxed");
    project.host().root("podman system reset --force");
    let tools = project.app.home().join("tools");
    fs::create_dir_all(&tools).unwrap();
    // podman's own store may lie where no image can be built.
    let [store, run] = ["store", "run"].map(|name| tools.join(name).display().to_string());
    let storage =
        format!("[storage]\ndriver = \"vfs\"\ngraphroot = {store:?}\nrunroot = {run:?}\n");
    fs::write(tools.join("storage.conf"), storage).unwrap();
    project.story(["let well = true", "let well = false"]);
    let (host, name) = (project.host(), project.app.name);
    project.prepare();
    project.build("4", ["let well = true"; 2]);
    let deployed = project.app.shipit(&["deploy", "production", "--yes"]);
    assert!(deployed.stderr.contains("seen running"), "{deployed:?}");
    let loaded = host.root("podman image ls --noheading --format '{{.Tag}}' | sort");
    let releases = host.root(&format!("(ls /srv/{name}/releases; echo current) | sort"));
    let loaded: Vec<_> = loaded.lines().filter(|tag| *tag != "latest").collect();
    assert_eq!(loaded.join("\n"), releases);
    // An image that somebody removed from the store comes back from the release.
    host.root(&format!("podman image ls -q {name} | sort -u | xargs podman image rm --force"));
    project.app.shipit(&["rollback", "production", "--yes"]).ends(0);
    project.serves("1");
    host.root(&format!("rm -r /root/{name} /etc/sudoers.d/shipit-{name}"));
    host.root(&format!("systemctl disable --now {name}; podman system reset --force"));
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn project_for_node() {
    let project = Project::new(APPS[2], "node", "noded");
    if Command::new("npm").arg("--version").output().is_err() {
        println!("npm is not here: a script links what package.json names");
        let npm =
            "#!/bin/sh\nmkdir -p node_modules && ln -sfn ../lib/greeting node_modules/greeting\n";
        let tools = project.app.home().join("tools/bin");
        fs::create_dir_all(&tools).unwrap();
        fs::write(tools.join("npm"), npm).unwrap();
        fs::set_permissions(tools.join("npm"), fs::Permissions::from_mode(0o755)).unwrap();
    }
    project.story(["const well = true", "const well = false"]);
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn project_in_python_from_a_folder_of_wheels() {
    let project = Project::new(APPS[1], "python", "pythonic");
    let home = project.app.home();
    let run = |words: &[&str]| Command::new(words[0]).args(&words[1..]).output().unwrap().status;
    if !run(&["python3", "-m", "pip", "--version"]).success() {
        assert!(run(&["python3", "-m", "venv", home.join("tools").to_str().unwrap()]).success());
    }
    fs::create_dir(home.join("wheel-cache")).unwrap();
    let source = home.join("wheel-cache/greeting-1.0.tar.gz");
    let tar = ["tar", "-czf", source.to_str().unwrap(), "-C", "tests/fleet/recipes"];
    assert!(run(&[&tar[..], &["greeting-1.0"]].concat()).success());
    project.story(["WELL = True", "WELL = False"]);
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn project_of_the_shape_of_rails() {
    let project = Project::new(APPS[0], "rails", "railed");
    fs::write(project.app.home().join("master.key"), "0123456789abcdef\n").unwrap();
    project.story(["well = true", "well = false"]);
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn project_of_the_shape_of_laravel() {
    let project = Project::new(APPS[1], "laravel", "laravelled");
    project.story(["$well = true", "$well = false"]);
    project.host().root("rm /etc/nginx/conf.d/laravelled.conf; systemctl reload nginx");
    project.host().root("rm /etc/php/8.2/fpm/pool.d/laravelled.conf; systemctl stop php8.2-fpm");
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn project_of_files_behind_nginx() {
    let project = Project::new(APPS[1], "static", "statics");
    project.story(["\n</html>", ""]);
    project.host().root("rm /etc/nginx/conf.d/statics.conf; systemctl reload nginx");
}

/// Runs on the host, as the user who deploys: by the unit that the timer starts, and as by cron.
#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn old_releases_go_by_timer_or_by_cron() {
    let host = APPS[2];
    let project = Project::new(host, "prune", "pruned");
    let app = App::on(&[host], "pruned");
    for version in ["v1", "v2", "v3"] {
        app.deploy(&app.tarball(version, &[])).ends(0);
    }
    let program = fs::File::open(env!("CARGO_BIN_EXE_shipit")).unwrap();
    let mut put = host.enter("cat >/usr/local/bin/shipit && chmod 755 /usr/local/bin/shipit");
    assert!(put.stdin(program).status().unwrap().success());
    project.write("1", ["keep_releases = 5", "keep_releases = 2"]);
    project.prepare();
    host.root(
        "systemd-analyze verify pruned-prune.timer && systemctl is-active pruned-prune.timer",
    );
    // Nothing is that old.
    host.root("systemctl start pruned-prune.service");
    assert_eq!(app.releases(host), 3);
    let now = "cd /etc && sed -i 's/ --older-than 30d//' systemd/system/pruned-prune.service && \
               systemctl daemon-reload && systemctl start pruned-prune.service";
    app.shipit(&["lock", "production", "-m", "not now"]).ends(0);
    host.root(now);
    assert_eq!(app.releases(host), 3, "somebody has locked");
    app.shipit(&["unlock", "production", "--yes"]).ends(0);
    host.root(now);
    assert_eq!(app.releases(host), 2);
    app.answers("v3", "hello");

    app.deploy(&app.tarball("v4", &[])).ends(0);
    let line = fs::read_to_string("docs/recipes/prune/crontab").unwrap().replace("todo", app.name);
    let line = line.trim().replace(" --older-than 30d", " --keep 1");
    let [.., user, command] = line.splitn(7, char::is_whitespace).collect::<Vec<_>>()[..] else {
        panic!("{line}");
    };
    let cron = format!("cd / && runuser -u {user} -- env -i PATH=/usr/bin:/bin sh -c '{command}'");
    assert_eq!(host.root(&cron), "", "cron would send a mail");
    app.answers("v4", "hello");
    host.root(
        "systemctl disable --now pruned-prune.timer; rm -r /etc/systemd/system/pruned-prune.*",
    );
}
