//! Several services of one host: their order, and what becomes of the others when one fails.

use std::fs;

use shipit::deploy::outcome::{HostResult, RunOutcome};
use shipit::model::service::Service;
use shipit::report::Verbosity;
use shipit::report::styles::Styles;
use shipit::report::summary;

use crate::support::services::command;
use crate::support::world::{World, hook, host};

/// A service that appends its name and the version to a file, and fails as `but` says.
fn told(name: &str, but: &str) -> Service {
    let restart = format!("echo {name}$(cat VERSION) >>../../told; {but}");
    Service { name: name.to_owned(), ..command(&restart) }
}

fn world(services: Vec<Service>) -> World {
    let mut world = World::new();
    world.config.services = services;
    world
}

#[tokio::test]
async fn services_restart_in_order_and_revert_in_opposite_order() {
    let sick = "! grep -q 2 VERSION";
    let world = world(vec![told("a", "true"), told("b", sick), told("c", "true")]);
    assert_eq!(world.deploy("1").await.verdict(), RunOutcome::Done);
    let report = world.deploy("2").await;
    assert_eq!(report.verdict(), RunOutcome::NotDone);
    // The third one was not touched.
    let expected = ["a1", "b1", "c1", "a2", "b2", "b1", "a1"].join("\n");
    assert_eq!(world.read("told").trim(), expected);
    let said = summary::text(&Styles::plain(), &report, Verbosity::Normal);
    assert!(said.contains("the restart of b exited with code 1"), "{said}");
}

#[tokio::test]
async fn unhealthy_release_reverts_all_services() {
    let mut world = world(vec![told("a", "true"), told("b", "true")]);
    assert_eq!(world.deploy("1").await.verdict(), RunOutcome::Done);
    world.config.hooks.activated = vec![hook("! grep -q 2 VERSION")];
    assert_eq!(world.deploy("2").await.verdict(), RunOutcome::NotDone);
    assert_eq!(world.read("told").trim(), ["a1", "b1", "a2", "b2", "b1", "a1"].join("\n"));
}

#[tokio::test]
async fn service_that_does_not_come_up_again_needs_attention() {
    // From the second deploy on it cannot be restarted at all.
    let once = "! test -e ../../sick";
    let world = world(vec![told("a", "true"), told("b", once)]);
    assert_eq!(world.deploy("1").await.verdict(), RunOutcome::Done);
    fs::write(world.root().join("sick"), "").unwrap();
    let report = world.deploy("2").await;
    assert!(matches!(report.hosts[0].1, HostResult::Stuck { .. }), "{report:?}");
    // The other one runs what is live again.
    assert!(world.read("told").trim().ends_with("a1"), "{}", world.read("told"));
}

#[tokio::test]
async fn host_restarts_only_the_services_of_its_roles() {
    let of = |role: &str, service| Service { roles: vec![role.to_owned()], ..service };
    let services = vec![of("web", told("a", "true")), of("db", told("b", "true"))];
    let mut world = world(services);
    let mut web = host("web1");
    web.roles = vec!["web".to_owned()];
    world.config.hosts = vec![web];
    assert_eq!(world.deploy("1").await.verdict(), RunOutcome::Done);
    assert_eq!(world.read("told").trim(), "a1");
}
