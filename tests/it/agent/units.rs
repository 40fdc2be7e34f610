//! Unit files that come with the release, under every shell, on a host whose systemctl and
//! systemd-analyze are scripts.

use shipit::remote::order::{NOT_REVERTED, PARTLY};

use super::*;
use crate::support::systemd::SYSTEMCTL;

const OLD: &str = "20260821090000";
const FILE: &str = "deploy/todo.service";
const UNIT: &str = "[Service]\nWorkingDirectory=ROOT/current\n[Install]\nWantedBy=default.target\n";

/// Keeps what it was given, and refuses a unit that says so.
const ANALYZE: &str = r#"#!/bin/sh
cd "$(dirname "$0")/.." || exit 1
[ "$1" = --user ] && [ "$2" = verify ] || exit 1
shift 2
case $1 in --man=no) [ ! -e old ] || { echo "unrecognized option '--man=no'"; exit 1; }; shift ;; esac
for file; do
    cat "$file" >>verified
    ! grep -q Odd "$file" || echo "$file:3: Unknown key 'Odd', ignoring."
    ! grep -q Broken "$file" || { echo "${file##*/}: it is broken"; exit 1; }
done
[ ! -e unable ] || { echo 'Failed to initialize manager'; exit 1; }
"#;

/// A host with that systemd, whose new release brings a unit file.
struct UnitHost {
    host: Host,
    session: Arc<LocalSession>,
}

impl UnitHost {
    fn new(shell: &str) -> Self {
        let host = Host::new(shell);
        let tools = [("systemctl", SYSTEMCTL), ("systemd-analyze", ANALYZE)];
        let session = host.session_with(&tools);
        let home = host.dir.path().join("home");
        fs::create_dir(&home).unwrap();
        let session = LocalSession::clone(&session).var("HOME", home.to_str().unwrap());
        let made = Self { host, session: Arc::new(session) };
        made.bring(ID, UNIT);
        made
    }

    /// Puts a unit file into a release.
    fn bring(&self, release: &str, text: &str) {
        let path = self.host.root().join("releases").join(release).join(FILE);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.replace("ROOT", self.host.root().to_str().unwrap())).unwrap();
    }

    async fn open(&self, run: &str, files: bool) -> Agent {
        let mut service = unit(Scope::User, Action::Restart);
        let ServiceKind::Unit(unit) = &mut service.what else { unreachable!() };
        unit.file = Some(FILE.to_owned());
        let services = if files { vec![service] } else { Vec::new() };
        let hello = Hello { services, ..self.host.hello(run, "") };
        Agent::open(self.session.clone(), hello).await.unwrap().0
    }

    /// Activates and commits the new release, and ends the conversation.
    async fn deployed(&self) {
        let agent = self.open("run000000000", true).await;
        assert_eq!(agent.ask(&activate()).await.unwrap().code, DONE);
        assert_eq!(agent.ask(&commit()).await.unwrap().code, DONE);
        agent.bye().await.unwrap();
        self.put("calls", "");
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.host.dir.path().join(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.host.dir.path().join(name)).unwrap_or_default()
    }

    /// Returns what systemd was told since the last time, a line each, with NEW and OLD.
    fn calls(&self) -> Vec<String> {
        let calls = self.read("calls").replace(OLD, "OLD").replace(ID, "NEW");
        self.put("calls", "");
        calls.lines().map(ToOwned::to_owned).collect()
    }

    fn listed(&self) -> String {
        self.read("srv/.shipit/units")
    }

    fn is_linked(&self) -> bool {
        let link = self.host.dir.path().join("home/.config/systemd/user/todo.service");
        fs::read_link(link).is_ok_and(|to| to == self.host.root().join("current").join(FILE))
    }
}

const LINKED: [&str; 3] = [
    "link CURRENT/deploy/todo.service on NEW",
    "enable todo.service on NEW",
    "restart todo.service on NEW",
];
const LISTED: &str = "user todo.service deploy/todo.service\n";

/// An activation of the new release over itself, as a rollback from a later one.
fn activation_from(back: &str) -> Order {
    Order::Activate(Box::new(Activation { back: back.to_owned(), ..activation() }))
}

fn units() -> Order {
    Order::Units { id: ID.parse().unwrap() }
}

under_every_shell! {
    async fn new_unit_file_is_linked_enabled_and_listed(shell: &str) {
        let host = UnitHost::new(shell);
        let agent = host.open("run000000001", true).await;
        let answer = agent.ask(&units()).await.unwrap();
        assert_eq!((answer.code, answer.text.as_str()), (DONE, ""), "{shell}");
        // As it will be: nothing is live at the path that it names.
        let path = format!("WorkingDirectory={}/releases/{ID}\n", host.host.root().display());
        assert!(host.read("verified").contains(&path), "{shell}: {}", host.read("verified"));
        let answer = agent.ask(&activate()).await.unwrap();
        assert_eq!(answer.code, DONE, "{shell}: {}", answer.text);
        assert_eq!(host.calls(), LINKED, "{shell}");
        assert_eq!(host.listed(), LISTED, "{shell}");
        assert_eq!(host.read(&format!("srv/.shipit/units.{ID}")), LISTED, "{shell}");
        assert_eq!(agent.ask(&commit()).await.unwrap().code, DONE, "{shell}");
        agent.bye().await.unwrap();
        assert_eq!(host.listed(), LISTED, "{shell}");
        assert!(!host.host.root().join(format!(".shipit/units.{ID}")).exists(), "{shell}");
        assert!(host.is_linked() && host.calls().is_empty(), "{shell}");
    }
}

under_every_shell! {
    async fn unit_file_that_a_reverted_release_brought_is_unlinked(shell: &str) {
        let host = UnitHost::new(shell);
        let agent = host.open("run000000001", true).await;
        assert_eq!(agent.ask(&activate()).await.unwrap().code, DONE, "{shell}");
        host.calls();
        let answer = agent.ask(&revert()).await.unwrap();
        assert_eq!(answer.code, DONE, "{shell}: {}", answer.text);
        // Nothing is restarted: what is live again has no such unit.
        assert_eq!(host.calls(), ["disable --now todo.service on OLD"], "{shell}");
        assert!(!host.is_linked() && host.listed().is_empty(), "{shell}");
        assert!(!host.host.root().join(format!(".shipit/units.{ID}")).exists(), "{shell}");
    }
}

under_every_shell! {
    async fn unit_file_that_stays_linked_is_told_to_systemd_only_if_it_changed(shell: &str) {
        let host = UnitHost::new(shell);
        host.deployed().await;
        let [new, later] = [ID, "20260821090002"].map(|id| host.host.root().join("releases").join(id));
        fs::create_dir_all(later.join("deploy")).unwrap();
        fs::hard_link(new.join(FILE), later.join(FILE)).unwrap();
        let activation = |id: &str| Order::Activate(Box::new(Activation {
            id: id.parse().unwrap(),
            back: format!("releases/{ID}"),
            ..activation()
        }));
        let agent = host.open("run000000001", true).await;
        let answer = agent.ask(&activation("20260821090002")).await.unwrap();
        assert_eq!(answer.code, DONE, "{shell}: {}", answer.text);
        assert_eq!(host.calls(), ["restart todo.service on 20260821090002"], "{shell}");
        assert_eq!(agent.ask(&revert()).await.unwrap().code, DONE, "{shell}");
        assert_eq!(host.calls(), ["restart todo.service on NEW"], "{shell}");
        fs::remove_file(later.join(FILE)).unwrap();
        host.bring("20260821090002", &UNIT.replace("[Install]", "Environment=A=b\n[Install]"));
        assert_eq!(agent.ask(&activation("20260821090002")).await.unwrap().code, DONE, "{shell}");
        let told = ["daemon-reload on 20260821090002", "restart todo.service on 20260821090002"];
        assert_eq!(host.calls(), told, "{shell}");
        assert_eq!(agent.ask(&revert()).await.unwrap().code, DONE, "{shell}");
        assert_eq!(host.calls(), ["daemon-reload on NEW", "restart todo.service on NEW"], "{shell}");
        assert!(host.is_linked() && host.listed() == LISTED, "{shell}");
    }
}

under_every_shell! {
    async fn unit_file_that_the_config_has_no_more_is_removed_at_the_commit(shell: &str) {
        let host = UnitHost::new(shell);
        host.deployed().await;
        let agent = host.open("run000000001", false).await;
        let order = activation_from(&format!("releases/{ID}"));
        assert_eq!(agent.ask(&order).await.unwrap().code, DONE, "{shell}");
        assert!(host.calls().is_empty() && host.is_linked(), "{shell}: not before it is decided");
        assert_eq!(agent.ask(&commit()).await.unwrap().code, DONE, "{shell}");
        assert_eq!(host.calls(), ["disable --now todo.service on NEW"], "{shell}");
        assert!(!host.is_linked() && host.listed().is_empty(), "{shell}");
    }
}

under_every_shell! {
    async fn unit_file_that_cannot_be_removed_is_told_at_the_commit(shell: &str) {
        let host = UnitHost::new(shell);
        host.deployed().await;
        host.put("refuse-disable", "");
        let agent = host.open("run000000001", false).await;
        let order = activation_from(&format!("releases/{ID}"));
        assert_eq!(agent.ask(&order).await.unwrap().code, DONE, "{shell}");
        let answer = agent.ask(&commit()).await.unwrap();
        assert_eq!((answer.code, answer.text.as_str()), (PARTLY, "systemd refuses\ntodo.service is still linked\n"), "{shell}");
        assert_eq!(host.listed(), LISTED, "{shell}: the next commit tries again");
        assert!(host.host.ledger().contains("committed"), "{shell}");
    }
}

under_every_shell! {
    async fn commit_of_a_resumed_release_removes_nothing(shell: &str) {
        let host = UnitHost::new(shell);
        host.deployed().await;
        let agent = host.open("run000000001", false).await;
        let order = Order::Resume(Box::new(activation()));
        assert_eq!(agent.ask(&order).await.unwrap().code, DONE, "{shell}");
        assert_eq!(agent.ask(&commit()).await.unwrap().code, DONE, "{shell}");
        assert!(host.calls().is_empty() && host.is_linked(), "{shell}: its config is not known");
    }
}

under_every_shell! {
    async fn unit_file_of_others_is_refused_untouched(shell: &str) {
        let host = UnitHost::new(shell);
        let agent = host.open("run000000001", true).await;
        let refused = async |why: &str| {
            for order in [units(), activate()] {
                let answer = agent.ask(&order).await.unwrap();
                assert_eq!(answer.code, 1, "{shell}: {}", answer.text);
                assert!(answer.text.contains(why), "{shell}: {}", answer.text);
            }
            assert_eq!(host.host.live(), format!("releases/{OLD}"), "{shell}");
            assert!(host.calls().is_empty() && host.listed().is_empty(), "{shell}");
        };
        host.put("elsewhere", "");
        host.put("fragment", host.host.dir.path().join("elsewhere").to_str().unwrap());
        refused("todo.service has a unit file that shipit did not link: ").await;
        host.put("fragment", "");
        // Somebody made the very same link by hand.
        let place = host.host.dir.path().join("home/.config/systemd/user");
        fs::create_dir_all(&place).unwrap();
        let target = host.host.root().join("current").join(FILE);
        std::os::unix::fs::symlink(target, place.join("todo.service")).unwrap();
        refused("todo.service has a unit file that shipit did not link: ").await;
        fs::remove_file(place.join("todo.service")).unwrap();
        host.bring(ID, "[Install]\nAlias=other.service\n");
        refused("deploy/todo.service has Alias=, which systemd would tie to one release").await;
        fs::remove_file(host.host.root().join("releases").join(ID).join(FILE)).unwrap();
        refused("has no file deploy/todo.service, which is to be the unit file of todo.service").await;
    }
}

under_every_shell! {
    async fn unit_file_that_systemd_refuses_is_told_before_anything_is_live(shell: &str) {
        let host = UnitHost::new(shell);
        let agent = host.open("run000000001", true).await;
        host.bring(ID, &format!("{UNIT}Odd=yes\n"));
        let answer = agent.ask(&units()).await.unwrap();
        assert_eq!((answer.code, answer.text.as_str()), (DONE, "todo.service:3: Unknown key 'Odd', ignoring.\n"), "{shell}");
        host.bring(ID, &format!("{UNIT}Broken=yes\n"));
        for old in [false, true] {
            if old {
                host.put("old", "");
            }
            let answer = agent.ask(&units()).await.unwrap();
            assert_eq!((answer.code, answer.text.as_str()), (1, "todo.service: it is broken\n"), "{shell}");
        }
        // A tool that cannot work says nothing about the unit.
        host.bring(ID, UNIT);
        host.put("unable", "");
        assert_eq!(agent.ask(&units()).await.unwrap().code, DONE, "{shell}");
    }
}

under_every_shell! {
    async fn link_that_systemd_refuses_reverts(shell: &str) {
        for verb in ["link", "enable"] {
            let host = UnitHost::new(shell);
            host.put(&format!("refuse-{verb}"), "");
            let agent = host.open("run000000001", true).await;
            let answer = agent.ask(&activate()).await.unwrap();
            assert_eq!(answer.code, REVERTED, "{shell}: {}", answer.text);
            assert!(answer.text.contains("systemd refuses"), "{shell}: {}", answer.text);
            assert!(host.host.ledger().contains("reverted: unit file failed,"), "{shell}");
            assert!(!host.is_linked() && host.listed().is_empty(), "{shell}");
            assert!(!host.calls().iter().any(|call| call.starts_with("restart")), "{shell}");
        }
    }
}

under_every_shell! {
    async fn what_a_killed_agent_linked_is_unlinked_by_the_next(shell: &str) {
        for verb in ["link", "enable", "restart"] {
            let host = UnitHost::new(shell);
            host.put(&format!("hang-{verb}"), "");
            let agent = host.open("run000000001", true).await;
            let pid = fs::read_to_string(host.host.root().join(".shipit/run/run000000001/token"));
            let pid = pid.unwrap().split('_').nth(1).unwrap().to_owned();
            let killing = async {
                while !host.host.dir.path().join("hanging").exists() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
            };
            let order = activate();
            let (answer, ()) = tokio::join!(agent.ask(&order), killing);
            assert!(answer.is_err(), "{shell}");
            drop(agent);
            fs::remove_file(host.host.dir.path().join(format!("hang-{verb}"))).unwrap();
            host.calls();
            let agent = host.open("run000000002", true).await;
            let order = Order::Resume(Box::new(activation()));
            let answer = agent.ask(&order).await.unwrap();
            assert_eq!(answer.code, DONE, "{shell}: {}", answer.text);
            let answer = agent.ask(&revert()).await.unwrap();
            assert_eq!(answer.code, DONE, "{shell} {verb}: {}", answer.text);
            assert_eq!(host.calls(), ["disable --now todo.service on OLD"], "{shell}");
            assert!(!host.is_linked() && host.listed().is_empty(), "{shell}");
            let running = host.host.dir.path().join("running-todo.service");
            assert!(!running.exists(), "{shell}");
        }
    }
}

under_every_shell! {
    async fn unit_that_stays_linked_after_a_revert_is_told(shell: &str) {
        let host = UnitHost::new(shell);
        let agent = host.open("run000000001", true).await;
        assert_eq!(agent.ask(&activate()).await.unwrap().code, DONE, "{shell}");
        host.put("refuse-disable", "");
        let answer = agent.ask(&revert()).await.unwrap();
        assert!([PARTLY, NOT_REVERTED].contains(&answer.code), "{shell}: {}", answer.text);
        assert!(answer.text.contains("todo.service is still linked"), "{shell}: {}", answer.text);
        fs::remove_file(host.host.dir.path().join("refuse-disable")).unwrap();
        host.calls();
        // The next activation of any release removes it first.
        let agent = { agent.bye().await.unwrap(); host.open("run000000002", false).await };
        let order = activation_from(&format!("releases/{OLD}"));
        assert_eq!(agent.ask(&order).await.unwrap().code, DONE, "{shell}");
        assert_eq!(host.calls(), ["disable --now todo.service on OLD"], "{shell}");
    }
}
