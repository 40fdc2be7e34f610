//! deploy.toml: every rule, every error, the example.

use std::path::Path;

use insta::assert_snapshot;
use shipit::config::Address;
use shipit::config::resolve::{ConfigError, Overrides, load, parse};
use shipit::config::template::{Guess, template};

fn problem(toml: &str) -> String {
    let error = match parse(Path::new("deploy.toml"), toml) {
        Err(error) => error,
        Ok(loaded) => match loaded.resolve(None, &Overrides::default()) {
            Err(error) => error,
            Ok(_) => return "no error".to_owned(),
        },
    };
    shown(&error)
}

fn shown(error: &ConfigError) -> String {
    let hint = error.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    format!("{error}{hint}")
}

/// A sound config with more lines at its top level.
fn with(lines: &str) -> String {
    problem(&format!("app = \"todo\"\n{lines}\n[stages.test]\nhosts = [\"web1\"]\n"))
}

#[test]
fn unknown_keys_are_named_with_their_place() {
    assert_snapshot!(with("[health]\nhtp = \"x\""), @r"
    deploy.toml:3: unknown key `htp` in [health]
    hint: did you mean `http`?
    ");
    assert_snapshot!(with("keep_release = 3"), @r"
    deploy.toml:2: unknown key `keep_release`
    hint: did you mean `keep_releases`?
    ");
}

#[test]
fn keys_of_later_versions_say_so() {
    assert_snapshot!(with("[rollout]\ncanary = [\"web1\"]"), @"deploy.toml:3: `canary` in [rollout] is not served by this version");
    assert_snapshot!(with("rollout = { batch = \"25%\" }"), @r#"deploy.toml:2: batch = "25%" is not served by this version"#);
}

#[test]
fn wrong_types_say_what_was_expected() {
    assert_snapshot!(with("keep_releases = \"many\""), @r#"deploy.toml:2: invalid type: string "many", expected usize"#);
    assert_snapshot!(with("linked_dirs = [3]"), @"deploy.toml:2: invalid type: integer `3`, expected a string or a table");
}

#[test]
fn rules_name_the_value() {
    assert_snapshot!(with("deploy_to = \"srv/todo\""), @"deploy.toml:2: deploy_to must be an absolute path: srv/todo");
    assert_snapshot!(with("deploy_to = \"/srv/../todo\""), @"deploy.toml:2: deploy_to must be a plain path: /srv/../todo");
    assert_snapshot!(with("keep_releases = 0"), @"deploy.toml:2: keep_releases must be at least 1");
    assert_snapshot!(with("linked_dirs = [\"log\", \"log/old\"]"), @"deploy.toml:2: linked path log/old lies below linked path log");
    assert_snapshot!(with("linked_files = [\"../secret\"]"), @"deploy.toml:2: linked_files: `../secret` must be a plain path inside the release");
    assert_snapshot!(with("env = { mode = \"0644\" }"), @"deploy.toml:2: env.mode `0644` lets everybody read");
    assert_snapshot!(with("service = { unit = \"a b\" }"), @"deploy.toml:2: `a b` is no name of a unit");
    assert_snapshot!(with("artifact = { path = \"https://example.net/x.tar\" }"), @"deploy.toml:2: an artifact from a URL needs a sha256: https://example.net/x.tar");
    assert_snapshot!(with("health = { http = \"https://x/up\" }"), @"deploy.toml:2: health.http must be an http:// URL as seen from the host: https://x/up");
    assert_snapshot!(problem("app = \"todo\"\n[stages.test]\nhosts = [\"-oProxyCommand=x\"]"), @"deploy.toml:3: `-oProxyCommand=x` is no host");
    assert_snapshot!(problem("app = \"todo\"\n[stages.test]\nhosts = [\"a\", \"a\"]"), @"deploy.toml:3: host a is there twice");
}

#[test]
fn a_stage_must_be_known() {
    let two = "app = \"todo\"\n[stages.a]\nhosts = [\"x\"]\n[stages.b]\nhosts = [\"y\"]\n";
    assert_snapshot!(problem(two), @r"
    no stage is named
    hint: the stages are a, b
    ");
    let loaded = parse(Path::new("deploy.toml"), two).unwrap();
    let error = loaded.resolve(Some("c"), &Overrides::default()).unwrap_err();
    assert_snapshot!(shown(&error), @r"
    there is no stage `c` in deploy.toml
    hint: the stages are a, b
    ");
    let hosts = Overrides { hosts: vec!["z".to_owned()], ..Overrides::default() };
    assert_snapshot!(shown(&loaded.resolve(Some("a"), &hosts).unwrap_err()), @r"
    no host of a matches --hosts z
    hint: its hosts are x
    ");
}

#[test]
fn the_example_resolves_for_each_stage() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy.example.toml");
    let loaded = load(&path).unwrap();
    assert_eq!(loaded.stages(), ["production", "staging"]);
    let staging = loaded.resolve(None, &Overrides::default()).unwrap();
    assert_eq!(staging.stage, "staging");
    let production = loaded.resolve(Some("production"), &Overrides::default()).unwrap();
    assert_eq!(production.rollout.batch, Some(1));
    assert_eq!(production.hosts.len(), 3);
    let Address::Ssh { user, port, .. } = &production.hosts[1].address else { panic!("not ssh") };
    assert_eq!((user.as_deref(), *port), (Some("deploy"), Some(2222)));
}

#[test]
fn the_example_shows_every_key() {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy.example.toml"))
            .unwrap();
    let mirror = include_str!("../../src/config/file.rs");
    let fields = mirror.lines().filter_map(|line| {
        line.strip_prefix("    pub ").and_then(|rest| rest.split_once(": ")).map(|(name, _)| name)
    });
    for field in fields {
        assert!(text.contains(field), "deploy.example.toml does not show `{field}`");
    }
}

#[test]
fn what_init_writes_resolves() {
    let guess = Guess { app: "todo".to_owned(), artifact: "dist/".to_owned() };
    assert_eq!(problem(&template(&guess)), "no error");
}
