//! The recipes of docs/zero-downtime.md as they stand there, with the real programs and under load:
//! deploys, sick releases, rollbacks and killed runs, and no request fails.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use crate::app::{App, Run, Wish};
use crate::hosts::{APPS, Host, JUMP, SPARE, dir, until};
use crate::load::{Counts, Load};

/// Returns the number of deploys of each recipe: SHIPIT_TEST_RECIPES, or 3. One in five is sick,
/// one in five is followed by a rollback, and one in eleven by a run that is killed.
pub(crate) fn rounds() -> u32 {
    std::env::var("SHIPIT_TEST_RECIPES").map_or(3, |number| number.parse().unwrap())
}

/// One recipe: an app, and the ports that stand in the document.
struct Recipe {
    app: App,
    /// 8080, where clients ask.
    front: u16,
    /// 8081 and 8082, where the service answers in the slots.
    slots: [u16; 2],
}

impl Recipe {
    fn new(hosts: &[Host], name: &'static str) -> Self {
        let app = App::with(hosts, name, &Wish::default());
        let recipe =
            Self { app, front: App::free_port(), slots: [(); 2].map(|()| App::free_port()) };
        for &host in hosts {
            // Remains of an earlier run that failed.
            let old = format!("{name} {name}.socket {name}@blue {name}@green");
            host.try_root(&format!("systemctl disable --now {old}; rm -rf /srv/{name}/slots"));
            // Not for the units of scenarios that run beside this one and lack a rule.
            let systemctl = "/usr/bin/systemctl";
            let rule = format!(
                "deploy ALL=(root) NOPASSWD: {systemctl} * {name}*, {systemctl} reload *, \
                 {systemctl} daemon-reload"
            );
            host.put(&format!("/etc/sudoers.d/recipe-{name}"), &format!("{rule}\n"));
            host.root(&format!("chmod 440 /etc/sudoers.d/recipe-{name}"));
        }
        recipe
    }

    /// Returns a block of the document with names and ports of this recipe: the one that begins
    /// with the comment `title` below `heading`.
    fn block(&self, heading: &str, title: &str) -> String {
        let document = fs::read_to_string("docs/zero-downtime.md").unwrap();
        let section = document.split_once(&format!("# {heading}\n")).expect(heading).1;
        let mut blocks = section.split("\n```").skip(1).step_by(2);
        let block = blocks.find_map(|block| {
            let text = block.split_once('\n')?.1;
            text.lines().take(2).any(|line| line == format!("# {title}")).then_some(text)
        });
        let [blue, green] = self.slots.map(|port| port.to_string());
        let block = block.expect(title).replace("todo", self.app.name);
        block
            .replace("8080", &self.front.to_string())
            .replace("8081", &blue)
            .replace("8082", &green)
    }

    /// Writes a block to the file that its title names, on every host.
    fn put(&self, heading: &str, title: &str) {
        let path = title.replace("todo", self.app.name);
        for &host in &self.app.hosts {
            host.put(&path, &format!("{}\n", self.block(heading, title)));
        }
    }

    /// Writes deploy.toml from blocks; a later one replaces the tables that it has.
    fn configure(&self, headings: &[&str]) {
        let mut tables = toml::Table::new();
        for heading in headings {
            let block: toml::Table = self.block(heading, "deploy.toml").parse().unwrap();
            for (key, value) in block {
                match (tables.get_mut(&key), value) {
                    (Some(toml::Value::Table(table)), toml::Value::Table(more)) => {
                        table.extend(more);
                    }
                    (_, value) => _ = tables.insert(key, value),
                }
            }
        }
        let health = tables["health"].as_table_mut().unwrap();
        health.insert("total".to_owned(), "12s".into());
        health.insert("soak".to_owned(), "0s".into());
        let hosts: Vec<_> = self.app.hosts.iter().map(|host| format!("{:?}", host.0)).collect();
        let name = self.app.name;
        let text = format!(
            "app = \"{name}\"\ndeploy_to = \"/srv/{name}\"\ntimeouts.deadline = \"5s\"\n\
             ssh = {{ config = \"{}\", user = \"deploy\" }}\nstages.production.hosts = [{}]\n\n{tables}",
            dir().join("ssh_config").display(),
            hosts.join(", "),
        );
        self.app.write("deploy.toml", &text);
    }

    /// Releases of services that stop as servers should; `marks` are files that change them.
    fn release(&self, version: &str, marks: &[&str]) -> String {
        self.app.tarball_of(version, marks, |tree| {
            fs::create_dir_all(tree.join("bin")).unwrap();
            fs::copy("tests/fleet/recipes/serve", tree.join("bin/serve")).unwrap();
            fs::copy("tests/fleet/recipes/app.py", tree.join("app.py")).unwrap();
            let balancer = tree.join("bin/balancer");
            let script = self.block("Several hosts behind a load balancer", "bin/balancer");
            fs::write(&balancer, script.replace("balancer:9999", &at(JUMP, 9999).to_string()))
                .unwrap();
            fs::set_permissions(&balancer, PermissionsExt::from_mode(0o755)).unwrap();
        })
    }

    /// Deploys again and again under load. Sick releases have the files `sick`.
    fn story(&self, address: SocketAddr, sick: &[&str]) -> Counts {
        let load = Load::on(address);
        for round in 1..=rounds() {
            if round % 5 == 2 {
                self.deploy(&format!("sick{round}"), sick).ends(1);
            } else {
                self.deploy(&format!("v{round}"), &[]).ends(0);
            }
            if round % 5 == 3 {
                self.app.shipit(&["rollback", "production", "--yes", "--wait"]).ends(0);
            }
            if round % 11 == 1 {
                self.killed(round);
            }
        }
        load.end()
    }

    /// Kills a run in the middle. The host reverts alone what it left; the next run waits for that.
    fn killed(&self, round: u32) {
        let mut child = self.app.start_deploy(&self.release(&format!("killed{round}"), &[]));
        std::thread::sleep(Duration::from_millis(800 + u64::from(round) * 70));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn deploy(&self, version: &str, marks: &[&str]) -> Run {
        let artifact = self.release(version, marks);
        self.app.shipit(&["deploy", "production", "--yes", "--wait", "--artifact", &artifact])
    }

    /// Removes what was made beside the app.
    fn clean(&self, commands: &str) {
        for &host in &self.app.hosts {
            host.try_root(&format!("rm /etc/sudoers.d/recipe-{}", self.app.name));
            host.try_root(&commands.replace("todo", self.app.name));
        }
    }
}

fn at(host: Host, port: u16) -> SocketAddr {
    format!("{}:{port}", host.address()).parse().unwrap()
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn a_socket_unit_keeps_connections_waiting() {
    const RECIPE: &str = "A socket unit";
    let host = APPS[0];
    let recipe = Recipe::new(&[host], "waits");
    recipe.put(RECIPE, "/etc/systemd/system/todo.socket");
    recipe.put(RECIPE, "/etc/systemd/system/todo.service");
    recipe.configure(&[RECIPE]);
    host.root("systemctl daemon-reload && systemctl enable --now waits.socket");
    recipe.app.deploy(&recipe.release("v0", &[])).ends(0);
    let counts = recipe.story(at(host, recipe.front), &["UNHEALTHY"]);
    counts.none_failed("socket unit");
    recipe.clean("systemctl disable --now todo.socket; rm /etc/systemd/system/todo.socket");
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn a_graceful_reload_answers_with_old_and_new_workers() {
    const RECIPE: &str = "A graceful reload";
    let host = APPS[2];
    let recipe = Recipe::new(&[host], "reloads");
    recipe.put(RECIPE, "/etc/systemd/system/todo.service");
    recipe.configure(&[RECIPE]);
    host.root("systemctl daemon-reload");
    recipe.app.deploy(&recipe.release("v0", &[])).ends(0);
    let counts = recipe.story(at(host, recipe.front), &["UNHEALTHY"]);
    counts.none_failed("graceful reload");
    recipe.clean("");
}

const SLOTS: &str = "Two slots";

impl Recipe {
    /// Sets up two slots behind a proxy, the files of which are written.
    fn with_slots(host: Host, name: &'static str, proxy: &str, heading: &str) -> Self {
        let recipe = Self::new(&[host], name);
        recipe.put(SLOTS, "/etc/systemd/system/todo@.service");
        let blocks = if heading == "With nginx" { &[SLOTS][..] } else { &[SLOTS, heading] };
        recipe.configure(blocks);
        host.root("systemctl daemon-reload");
        host.root(&format!("install -d -o deploy /srv/{name}/shared; systemctl stop {proxy}"));
        recipe
    }

    /// Deploys under load. A release that is sick in its slot never got a request, and after a
    /// reboot exactly the live slot runs.
    fn slots_story(&self, what: &str) {
        let (app, host) = (&self.app, self.app.hosts[0]);
        let counts = self.story(at(host, self.front), &["UNHEALTHY"]);
        counts.none_failed(what);
        counts.none_of(|version| version.starts_with("sick"));
        until(Duration::from_secs(30), "the slot that was left has stopped", || {
            self.running() == 1
        });
        let (live, name) = (app.current(host), app.name);
        let slots = host.root(&format!("cd /srv/{name}/slots && readlink blue green || true"));
        assert_eq!(
            slots.lines().filter(|slot| *slot == format!("../{live}")).count(),
            1,
            "{slots}"
        );
        self.clean(
            "systemctl disable --now todo@blue todo@green; rm /etc/systemd/system/todo@.service",
        );
    }

    /// Returns the version that answers behind the proxy.
    fn served(&self) -> Option<String> {
        let request = format!("curl -s -m 2 http://127.0.0.1:{}/", self.front);
        let answer = self.app.hosts[0].try_root(&request).stdout;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        answer.split_whitespace().next()?.strip_prefix("version=").map(str::to_owned)
    }

    /// Returns the number of slots that run.
    fn running(&self) -> usize {
        let (host, name) = (self.app.hosts[0], self.app.name);
        let states = host.try_root(&format!("systemctl is-active {name}@blue {name}@green"));
        String::from_utf8_lossy(&states.stdout).lines().filter(|line| *line == "active").count()
    }
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn two_slots_behind_nginx() {
    let host = APPS[0];
    let recipe = Recipe::with_slots(host, "engine", "nginx", "With nginx");
    recipe.put("With nginx", "/etc/nginx/conf.d/todo.conf");
    host.put(&format!("/srv/{}/shared/upstream.conf", recipe.app.name), "server 127.0.0.1:1;\n");
    host.root("chown deploy /srv/engine/shared/*; systemctl start nginx");
    recipe.app.deploy(&recipe.release("v0", &[])).ends(0);
    recipe.slots_story("two slots, nginx");
    recipe.clean("rm /etc/nginx/conf.d/todo.conf; systemctl stop nginx");
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn two_slots_behind_haproxy() {
    const RECIPE: &str = "With HAProxy";
    let host = APPS[1];
    let recipe = Recipe::with_slots(host, "proxied", "haproxy", RECIPE);
    host.put(
        "/etc/haproxy/haproxy.cfg",
        &(recipe.block(RECIPE, "/etc/haproxy/haproxy.cfg") + "\n"),
    );
    host.put(
        "/etc/default/haproxy",
        "EXTRAOPTS=\"-S /run/haproxy-master.sock -f /srv/proxied/shared/backend.cfg\"\n",
    );
    // HAProxy starts only with a backend, so it follows the first deploy.
    host.put("/srv/proxied/shared/backend.cfg", "backend proxied\n");
    host.root("chown deploy /srv/proxied/shared/*; systemctl start haproxy");
    recipe.app.deploy(&recipe.release("v0", &[])).ends(0);
    recipe.slots_story("two slots, HAProxy");
    recipe.clean("systemctl stop haproxy");
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn two_slots_behind_caddy() {
    const RECIPE: &str = "With Caddy";
    let host = APPS[2];
    let recipe = Recipe::with_slots(host, "caddied", "caddy", RECIPE);
    recipe.put(RECIPE, "/etc/caddy/Caddyfile");
    // A host of the fleet may not set it, so boot.sh does.
    recipe.put(RECIPE, "/etc/sysctl.d/caddy.conf");
    host.root("rm /etc/sysctl.d/caddy.conf");
    host.put("/srv/caddied/shared/upstream.caddy", "to 127.0.0.1:1\n");
    host.root("chown deploy /srv/caddied/shared/*; systemctl start caddy");
    recipe.app.deploy(&recipe.release("v0", &[])).ends(0);
    recipe.slots_story("two slots, Caddy");
    recipe.clean("systemctl stop caddy");
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn hosts_leave_the_load_balancer_one_by_one() {
    const RECIPE: &str = "Several hosts behind a load balancer";
    let hosts = [APPS[1], APPS[2]];
    let recipe = Recipe::new(&hosts, "balanced");
    let title = "/etc/haproxy/haproxy.cfg on the load balancer";
    let mut balancer = recipe.block(RECIPE, title);
    for (host, sample) in hosts.iter().zip(["web1 192.0.2.11", "web2 192.0.2.12"]) {
        balancer = balancer.replace(sample, &format!("{} {}", host.0, host.address()));
    }
    JUMP.put("/etc/haproxy/haproxy.cfg", &format!("{balancer}\n"));
    JUMP.root("systemctl restart haproxy");
    for host in hosts {
        host.root(&format!(
            "mkdir -p /etc/systemd/system/balanced.service.d && printf '[Service]\\n\
             Environment=PORT={}\\nExecStart=\\nExecStart=/srv/balanced/current/bin/serve\\n' \
             > /etc/systemd/system/balanced.service.d/port.conf && systemctl daemon-reload",
            recipe.slots[0]
        ));
    }
    recipe.configure(&[RECIPE]);
    recipe.app.deploy(&recipe.release("v0", &[])).ends(0);
    let counts = recipe.story(at(JUMP, recipe.front), &["UNHEALTHY"]);
    counts.none_failed("several hosts");
    counts.none_of(|version| version.starts_with("sick"));
    recipe.clean("rm -r /etc/systemd/system/todo.service.d");
    JUMP.root("systemctl stop haproxy");
}

/// The moments of a reboot, each with words of the event that is waited for.
const MOMENTS: [(&str, &[&str]); 5] = [
    ("activate", &["step-started", "\"activate\""]),
    ("judge", &["step-started", "\"judge\""]),
    ("switch", &["step-started", "\"switch\""]),
    ("switched", &["step-finished", "\"switch\""]),
    ("commit", &["\"phase\":\"commit\""]),
];

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn one_slot_serves_after_a_reboot_at_any_moment() {
    let host = SPARE[1];
    let recipe = Recipe::with_slots(host, "falls", "nginx", "With nginx");
    recipe.put("With nginx", "/etc/nginx/conf.d/todo.conf");
    host.put("/srv/falls/shared/upstream.conf", "server 127.0.0.1:1;\n");
    host.root("chown deploy /srv/falls/shared/*; systemctl enable --now nginx");
    recipe.app.deploy(&recipe.release("v0", &[])).ends(0);
    let all = std::env::var("SHIPIT_TEST_RECIPES").is_ok();
    for (number, (moment, words)) in MOMENTS.into_iter().enumerate() {
        if !all && number % 2 == 1 {
            continue;
        }
        let lose = if number % 2 == 0 { Host::crash } else { Host::reboot };
        let artifact = recipe.release(&format!("at-{moment}"), &[]);
        let arguments = ["deploy", "production", "--yes", "--json", "--artifact", &artifact];
        let mut command = recipe.app.command(&arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let events = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut events = events.fuse();
        let due = |event: &String| words.iter().all(|word| event.contains(word));
        assert!(events.any(|event| due(&event)), "there was no {words:?}");
        lose(host);
        let said = events.collect::<Vec<_>>().join("\n");
        let code = child.wait().unwrap().code();
        until(Duration::from_secs(20), "a slot serves", || recipe.served().is_some());
        let (served, live) = (recipe.served(), recipe.app.version(host));
        println!("{moment}: exit {code:?}, {served:?} serves, {live} is live");
        if code == Some(0) {
            assert_eq!(served, Some(format!("at-{moment}")), "{moment}: {said}");
        }
        recipe.deploy(&format!("after-{moment}"), &[]).ends(0);
        assert_eq!(recipe.served(), Some(format!("after-{moment}")), "{moment}");
        until(Duration::from_secs(30), "one slot runs", || recipe.running() == 1);
    }
    recipe.clean(
        "rm /etc/nginx/conf.d/todo.conf; systemctl disable --now nginx todo@blue todo@green",
    );
}
