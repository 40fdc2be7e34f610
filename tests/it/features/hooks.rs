//! Hooks through the engine: their order, what follows from a failure of each, and what undoes
//! them.

use std::fs;

use shipit::config::{Batch, Config, Confirm, Hook, Hooks, OnFailure};
use shipit::deploy::goal::Goal;
use shipit::deploy::outcome::{HostResult, Report, RunOutcome};
use shipit::deploy::rollout::note;

use crate::support::world::{World, hook, host};

/// The names of all hooks, as the documentation has them.
const ALL: [&str; 10] = [
    "local.before",
    "staged",
    "local.staged",
    "before_switch",
    "switched",
    "activated",
    "committed",
    "reverted",
    "local.after",
    "local.failed",
];

fn list<'h>(hooks: &'h mut Hooks, name: &str) -> &'h mut Vec<Hook> {
    match name {
        "local.before" => &mut hooks.before,
        "staged" => &mut hooks.staged,
        "local.staged" => &mut hooks.local_staged,
        "before_switch" => &mut hooks.before_switch,
        "switched" => &mut hooks.switched,
        "activated" => &mut hooks.activated,
        "committed" => &mut hooks.committed,
        "reverted" => &mut hooks.reverted,
        "local.after" => &mut hooks.after,
        "local.failed" => &mut hooks.failed,
        other => panic!("{other} is no hook"),
    }
}

/// A stage on which version 1 is live. Every hook tells its name and what is live.
async fn world() -> World {
    let mut world = World::new();
    world.deploy("1").await;
    let root = world.root().display().to_string();
    for name in ALL {
        let tell =
            format!("echo \"{name} $(cat {root}/current/VERSION) $SHIPIT_COMMAND\" >>{root}/told");
        list(&mut world.config.hooks, name).push(hook(&tell));
    }
    world
}

impl World {
    fn fail(&mut self, name: &str) {
        list(&mut self.config.hooks, name).push(hook("exit 3"));
    }

    /// Returns the names of the hooks that ran.
    fn names_told(&self) -> Vec<String> {
        let told = fs::read_to_string(self.root().join("told")).unwrap_or_default();
        told.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    }

    async fn deploy_second(&self, broken: bool) -> Report {
        let goal = self.deploy_goal("2", "V=2\n", broken);
        self.build_and_run(goal).await
    }
}

#[tokio::test]
async fn hooks_of_a_deploy_and_a_rollback_run_in_their_order() {
    let world = world().await;
    assert_eq!(world.deploy_second(false).await.verdict(), RunOutcome::Done);
    let told = "local.before 1 deploy\nstaged 1 deploy\nlocal.staged 1 deploy\n\
                before_switch 1 deploy\nswitched 2 deploy\nactivated 2 deploy\n\
                committed 2 deploy\nlocal.after 2 deploy\n";
    assert_eq!(world.read("told"), told);
    fs::remove_file(world.root().join("told")).unwrap();
    assert_eq!(world.rollback().await.verdict(), RunOutcome::Done);
    let told = "before_switch 2 rollback\nswitched 1 rollback\nactivated 1 rollback\n\
                committed 1 rollback\n";
    assert_eq!(world.read("told"), told);
}

#[tokio::test]
async fn dry_run_shows_all_hooks_in_their_order() {
    let mut world = world().await;
    for name in ALL {
        *list(&mut world.config.hooks, name) = vec![hook(name)];
    }
    let deploy = world.rehearsed(&world.deploy_goal("2", "V=2\n", false)).await;
    let at = deploy.iter().position(|line| line.contains("before_switch")).unwrap();
    let deploy: Vec<_> = deploy[at..].iter().map(String::as_str).take(9).collect();
    let restart = deploy[3];
    assert!(restart.starts_with("restart: "), "{deploy:?}");
    let expected = [
        "run the before_switch hook `before_switch`",
        "flip current to 20260821090002",
        "run the switched hook `switched`",
        restart,
        "run the activated hook `activated`",
        "judge it; if it fails, revert to 20260821090001",
        "after that revert, run the reverted hook `reverted`",
        "once it is committed, run the committed hook `committed`",
    ];
    assert_eq!(deploy[..8], expected);
}

/// The rows of the table in `docs/configuration.md`: the hook, and what follows if it fails.
fn rows() -> Vec<(String, String)> {
    let page = fs::read_to_string("docs/configuration.md").unwrap();
    let table = page.split("| hook | when it runs |").nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        (cells[1].trim_matches('`').to_owned(), cells[4].to_owned())
    })
    .collect()
}

#[tokio::test]
async fn failure_of_each_hook_has_the_consequence_of_the_table() {
    let rows = rows();
    assert_eq!(rows.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ALL);
    for (name, consequence) in rows {
        let mut world = world().await;
        world.fail(&name);
        let broken = ["reverted", "local.failed"].contains(&&*name);
        let report = world.deploy_second(broken).await;
        let (live, restarts) = (world.read("current/VERSION"), world.read("restarts"));
        let (told, result) = (world.names_told(), &report.hosts[0].1);
        let case = format!("{name}: {consequence}: {report:?}, told {told:?}");
        match consequence.split(';').next().unwrap().split(',').next().unwrap() {
            "the run ends" | "the run ends untouched" => {
                assert_eq!(
                    (report.verdict(), live.as_str()),
                    (RunOutcome::NotDone, "1\n"),
                    "{case}"
                );
                assert!(matches!(result, HostResult::Untouched { .. }), "{case}");
                assert_eq!(told.last().unwrap(), "local.failed", "{case}");
                assert!(!told.contains(&"before_switch".to_owned()), "{case}");
            }
            "the host is reverted" => {
                assert!(matches!(result, HostResult::Reverted { but: None, .. }), "{case}");
                assert_eq!(live, "1\n", "{case}");
                // A restart and a revert each restart, and neither of these hooks lets it come so
                // far.
                let again = if name == "activated" { "1\n2\n1\n" } else { "1\n" };
                assert_eq!(restarts, again, "{case}");
                let undone = told.iter().filter(|name| *name == "reverted").count();
                assert_eq!(undone, 1, "{case}");
                assert!(!told.contains(&"committed".to_owned()), "{case}");
            }
            "a warning" => {
                let reverted = name == "local.failed";
                assert_eq!(live, if reverted { "1\n" } else { "2\n" }, "{case}");
                let warned = format!("the {name} hook `exit 3` failed");
                assert!(
                    world.warnings().concat().contains(&warned),
                    "{case}: {:?}",
                    world.warnings()
                );
            }
            "the report says so" => {
                let HostResult::Reverted { but: Some(but), .. } = result else { panic!("{case}") };
                assert_eq!(but, "the reverted hook `exit 3` failed", "{case}");
            }
            other => panic!("{case}: nothing is known of {other}"),
        }
    }
}

/// A `reverted` hook knows the failure, no matter whether the agent or the run reverted.
#[tokio::test]
async fn reverted_hook_is_told_what_failed() {
    let cases = [
        ("before_switch", false, "the before_switch hook `exit 3` exited with code 3"),
        ("activated", false, "the activated hook `exit 3` failed"),
        ("", true, "the restart failed"),
    ];
    for (name, broken, cause) in cases {
        let mut world = world().await;
        if !name.is_empty() {
            world.fail(name);
        }
        world.config.hooks.reverted =
            vec![hook("echo \"$SHIPIT_FAILED\" >$SHIPIT_DEPLOY_TO/cause")];
        let report = world.deploy_second(broken).await;
        assert!(matches!(report.hosts[0].1, HostResult::Reverted { .. }), "{report:?}");
        assert_eq!(world.read("cause"), format!("{cause}\n"), "{name}");
    }
}

/// A hook that takes longer than it may is ended, and counts as one that failed.
#[tokio::test]
async fn hook_has_its_own_limit() {
    let mut world = world().await;
    let limit = std::time::Duration::from_secs(1);
    world.config.hooks.before_switch = vec![Hook { limit, ..hook("sleep 60") }];
    let report = world.deploy_second(false).await;
    let HostResult::Reverted { failure, .. } = &report.hosts[0].1 else { panic!("{report:?}") };
    let cause = failure.cause.concat();
    assert!(cause.contains("the before_switch hook `sleep 60` ran longer than 1s"), "{failure:?}");
}

/// "No" ends the run with everything ready and nothing changed; "yes" goes on.
#[tokio::test]
async fn confirm_staged_asks_once_all_hosts_are_ready() {
    let mut world = world().await;
    world.config.confirm = Confirm::Staged;
    world.approved.lock().unwrap().push(false);
    let report = world.deploy_second(false).await;
    assert_eq!(report.verdict(), RunOutcome::Interrupted, "{report:?}");
    assert!(matches!(report.hosts[0].1, HostResult::Untouched { .. }), "{report:?}");
    assert_eq!(world.names_told(), ["local.before", "staged", "local.staged", "local.failed"]);
    assert_eq!(world.read("current/VERSION"), "1\n");
    assert_eq!(world.deploy_second(false).await.verdict(), RunOutcome::Done);
    let rollback = world.run(&Goal::Rollback(None)).await;
    assert_eq!(rollback.verdict(), RunOutcome::Done);
    world.prune(1).await;
    let questions = [
        "Activate 20260821090002 on 1 host",
        "Activate 20260821090003 on 1 host",
        "Activate 20260821090001 on 1 host",
    ];
    assert_eq!(*world.asked.lock().unwrap(), questions);
}

#[tokio::test]
async fn hosts_that_stay_out_of_service_to_the_end_are_warned_of() {
    let World { config, .. } = world().await;
    let several = Config { hosts: vec![host("web1"), host("web2")], ..config };
    let with = |batch, on_failure| {
        let mut config = several.clone();
        (config.rollout.batch, config.rollout.on_failure) = (batch, on_failure);
        config
    };
    let doubted = with(Batch::Hosts(1), OnFailure::RevertAll);
    assert!(note(&doubted).unwrap().fix.contains("`on_failure = \"revert-batch\"`"));
    assert_eq!(note(&with(Batch::Hosts(1), OnFailure::RevertBatch)), None);
    assert_eq!(note(&with(Batch::All, OnFailure::RevertAll)), None);
    let mut without = doubted;
    without.hooks.committed.clear();
    assert_eq!(note(&without), None);
}
