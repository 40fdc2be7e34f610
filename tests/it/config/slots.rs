//! `[slots]`: what it says, and every way to write it wrongly.

use std::time::Duration;

use shipit::config::checks::HealthProbe;
use shipit::model::slots::Slot;

use crate::support::config::{config, wrong};

const SERVICE: &str = "service.unit = \"todo@{slot}\"\nhealth.http = \"http://[::1]:{port}/up\"\n";
const SLOTS: &str =
    "slots.ports = { green = 8081, blue = 8082 }\nslots.traffic.command = \"move\"\n";

/// The smallest file with slots, and `more`.
fn with(more: &str) -> String {
    format!("{SERVICE}{SLOTS}{more}")
}

#[test]
fn slots_are_in_the_order_written() {
    let config = config(&with(""), "");
    let slots = config.slots_on(&config.hosts[0]).unwrap();
    assert_eq!(slots.names(), ["green", "blue"]);
    assert_eq!(slots.pair[0], Slot { name: "green".to_owned(), port: 8081 });
    assert_eq!((slots.drain, slots.keep_warm), (Duration::from_secs(10), Duration::ZERO));
    let units: Vec<_> =
        config.units_of(&config.services[0]).into_iter().map(|unit| unit.name).collect();
    assert_eq!(units, ["todo@green.service", "todo@blue.service"]);
    assert!(config.health.checks[0].probe.is_in_slot());
    assert!(!HealthProbe::Command("curl $PORT".to_owned()).is_in_slot());
    assert!(HealthProbe::Command("curl $SHIPIT_PORT".to_owned()).is_in_slot());
}

#[track_caller]
fn fails(text: &str, expected: &str) {
    assert_eq!(wrong(text), expected);
}

#[test]
fn ports_are_two_and_differ() {
    let at = |ports: &str| with("").replace("{ green = 8081, blue = 8082 }", ports);
    fails(&at("{ a = 1 }"), "deploy.toml:5: `ports` must be exactly two slots: a");
    fails(&at("{ a = 1, b = 1 }"), "deploy.toml:5: `ports` must be two different ports: a, b");
    fails(&at("{ a = 1, b = 0 }"), "deploy.toml:5: `ports` must be a port, 1 to 65535: 0");
    fails(
        &at("{ a = 1, \"b.c\" = 2 }"),
        "deploy.toml:5: `ports` must be named with letters, digits, `_` and `-`: b.c",
    );
    fails(
        &with("").replace("slots.ports", "slots.port"),
        "deploy.toml:5: unknown key `port` in [slots]\n  hint: did you mean `ports`?",
    );
}

#[test]
fn traffic_moves_by_a_file_or_a_command() {
    let traffic = |lines: &str| with("").replace("slots.traffic.command = \"move\"\n", lines);
    fails(
        &traffic(""),
        "deploy.toml:5: [slots] needs `file` and `content`, or `command`, in [slots.traffic]",
    );
    fails(&traffic("slots.traffic.file = \"/x/y\"\n"), "deploy.toml:6: `file` needs `content`");
    fails(
        &traffic("slots.traffic.content = \"{port}\"\n"),
        "deploy.toml:6: `content` needs `file`",
    );
    let file = |path: &str, content: &str| {
        traffic(&format!("slots.traffic = {{ file = \"{path}\", content = \"{content}\" }}\n"))
    };
    fails(
        &file("shared/up", "{port}"),
        "deploy.toml:6: `file` must be an absolute path of a file, without `.`, `..` and `//`: shared/up",
    );
    let must = "deploy.toml:6: `content` must be a text with `{port}` or `{slot}`, and of the \
                others at most with `{release}`: ";
    fails(&file("/x", "server;"), &format!("{must}server;"));
    fails(&file("/x", "{port} {digest}"), &format!("{must}{{port}} {{digest}}"));
    fails(
        &file("/x", "{prot}"),
        "deploy.toml:6: `content` holds `{prot}`, which is no placeholder\n  hint: did you mean `{port}`?",
    );
}

#[test]
fn slots_without_a_unit_or_a_check_are_refused() {
    fails(
        &with("").replace("todo@{slot}", "todo"),
        "deploy.toml:5: [slots] needs a `unit` with `{slot}`, such as `todo@{slot}.service`",
    );
    fails(
        &with("").replace("{port}/up", "8080/up"),
        "deploy.toml:5: [slots] needs a health check with `{port}` on each host, such as \
         `http = \"http://127.0.0.1:{port}/up\"`",
    );
    fails(
        &with("service.action = \"reload\"\n"),
        "deploy.toml:7: `action` must be `restart` for a unit in a slot: reload",
    );
    fails(SERVICE, "deploy.toml: `{slot}` needs `[slots]`");
    fails("health.http = \"http://x:{port}/up\"\n", "deploy.toml: `{port}` needs `[slots]`");
    fails(
        &with("").replace("todo@{slot}", "todo@{slot}.socket"),
        "deploy.toml:3: `unit` must be the name of a systemd unit (a service, socket, timer or \
         target), such as `todo.service` or `todo@{1..4}`: todo@{slot}.socket",
    );
}
