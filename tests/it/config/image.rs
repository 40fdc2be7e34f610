//! Services that run a container image.

use shipit::deploy::check::sudo_commands;
use shipit::deploy::setup::{HostSetup, SetupStep};

use crate::support::config::{config, wrong};

const SERVICE: &str = "[service]\nunit = \"todo\"\n";

#[test]
fn image_has_a_name_and_an_engine() {
    let image = |lines: &str| {
        let config = config(&format!("{SERVICE}{lines}"), "");
        let image = config.services[0].image.clone().unwrap();
        (image.name, image.engine.join(" "))
    };
    for name in ["todo", "acme/todo", "ghcr.io/acme/to-do_1", "localhost:5000/todo"] {
        assert_eq!(image(&format!("image = \"{name}\"")), (name.to_owned(), "docker".to_owned()));
    }
    for engine in ["podman", "/opt/bin/podman", "sudo -n docker"] {
        let (_, words) = image(&format!("image = \"todo\"\nengine = \"{engine}\""));
        assert_eq!(words, engine);
    }
}

#[test]
fn image_that_cannot_work_is_refused() {
    let name = "`image` must be the name of an image in lower case";
    let engine = "`engine` must be `docker` or `podman`";
    for (lines, why) in [
        ("image = \"Todo\"", name),
        ("image = \"todo:1\"", name),
        ("image = \"ghcr.io:x/todo\"", name),
        ("image = \"-todo\"", name),
        ("image = \"a//b\"", name),
        ("image = \"\"", name),
        ("image = \"todo\"\nengine = \"nerdctl\"", engine),
        ("image = \"todo\"\nengine = \"docker; rm\"", engine),
        ("image = \"todo\"\nengine = []", engine),
        ("engine = \"docker\"", "`engine` needs `image`"),
        ("image = \"todo\"\naction = \"reload\"", "left out where the unit is not restarted"),
    ] {
        let error = wrong(&format!("{SERVICE}{lines}"));
        assert!(error.contains(why), "{lines}: {error}");
    }
    assert!(wrong("[service]\nimage = \"todo\"").contains("`image` needs `unit`"));
}

#[test]
fn stage_with_another_kind_of_service_inherits_no_image() {
    let top = format!("{SERVICE}image = \"todo\"\nengine = \"podman\"");
    let same = config(&top, "service.engine = \"docker\"");
    assert_eq!(same.services[0].image.as_ref().unwrap().engine, ["docker"]);
    assert_eq!(config(&top, "service.restart = \"r\"").services[0].image, None);
}

#[test]
fn setup_lets_the_user_call_the_engine() {
    let needs = |engine: &str| {
        let config = config(&format!("{SERVICE}image = \"todo\"\nengine = \"{engine}\""), "");
        let group = SetupStep::Member { group: "docker".to_owned(), make: false };
        let steps = HostSetup::of(&config, &config.hosts[0], None).steps;
        let commands = sudo_commands(&config, &config.hosts[0]);
        (steps.contains(&group), commands.last().unwrap().clone())
    };
    let plain = || "/usr/bin/systemctl reset-failed todo.service".to_owned();
    assert_eq!(needs("docker"), (true, plain()));
    assert_eq!(needs("podman"), (false, plain()));
    assert_eq!(needs("sudo -n podman"), (false, "/usr/bin/podman".to_owned()));
}

/// Digests of the config, which hosts keep, are made of this text.
#[test]
fn service_without_an_image_shows_as_before_there_were_images() {
    let [plain, boxed] = ["", "image = \"todo\""].map(|line| {
        let config = config(&format!("{SERVICE}{line}"), "");
        format!("{:?}", config.services[0])
    });
    let expected = "Service { name: \"todo\", what: Unit(Unit { name: \"todo.service\", scope: \
                    System, action: Restart, file: None }), roles: [], limit: 120s, proof: None }";
    assert_eq!(plain, expected);
    assert!(boxed.contains("proof: None, image: Image { name: \"todo\""), "{boxed}");
}
