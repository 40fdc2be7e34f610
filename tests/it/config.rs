//! deploy.toml: every rule, every error, the example.

mod health;
mod hosts;
mod image;
mod schema;
mod slots;
mod sudo;

use std::path::{Path, PathBuf};
use std::time::Duration;

use insta::assert_snapshot;
use shipit::config::access::{DigestSource, SignedBy};
use shipit::config::error::{ConfigError, ConfigPlace};
use shipit::config::known::known_keys;
use shipit::config::resolve::{Overrides, load};
use shipit::config::{
    Address, ArtifactSource, Assets, Batch, Config, Confirm, EntryRules, EnvSource, EnvSpec,
    OnFailure, OnUnreachable,
};
use shipit::model::link::SharedKind;
use shipit::model::service::{Action, Proof, Scope, Service, ServiceKind, Unit};

use crate::support::config::{
    LEAST, STAGE, config, parse, resolve, say, whole, wrong, wrong_stage,
};
use crate::support::services::service;

const HEX: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn names(config: &Config) -> Vec<&str> {
    config.hosts.iter().map(|host| host.name.as_str()).collect()
}

#[test]
fn smallest_file_gets_all_defaults() {
    let config = config("", "");
    assert_eq!(config.app, "todo");
    assert_eq!(config.stage, "prod");
    assert_eq!(config.base, PathBuf::from("/project"));
    assert_eq!(config.layout.root(), "/srv/todo");
    assert_eq!(config.keep, 5);
    assert_eq!(names(&config), ["web1"]);
    assert!(config.links.is_empty() && config.artifact.is_none() && config.env.is_empty());
    assert!(config.services.is_empty());
    assert_eq!((config.health.soak, config.health.checks), (Duration::ZERO, Vec::new()));
    assert_eq!(config.hooks.shell, ["/bin/sh", "-c"]);
    assert_eq!(config.hooks.limit, Duration::from_mins(10));
    assert_eq!(config.rollout.batch, Batch::All);
    assert!(config.confirm == Confirm::Never && config.ssh.host_keys.is_none());
    assert_eq!(config.parallel, 32);
    assert_eq!(config.deadline, Duration::from_secs(15));
}

#[test]
fn unknown_keys_are_named_with_their_line() {
    assert_snapshot!(wrong("[health]\nhtpt = \"x\""), @"
    deploy.toml:4: unknown key `htpt` in [health]
      hint: did you mean `http`?
    ");
    assert_snapshot!(wrong("keep_release = 3"), @"
    deploy.toml:3: unknown key `keep_release` at the top level
      hint: did you mean `keep_releases`?
    ");
    assert_snapshot!(wrong("keep = 3"), @"
    deploy.toml:3: unknown key `keep` at the top level
      hint: did you mean `keep_releases`? `keep` belongs to `[assets]`
    ");
    for (table, key, hint) in [
        ("env", "PORT", "a value of the env file: `vars.PORT = \"…\"`"),
        ("artifact", "dir", "did you mean `path`?"),
        ("service", "name", "did you mean `unit`?"),
        ("health", "url", "did you mean `http`?"),
        ("ssh", "key", "did you mean `identity_file`?"),
        ("stages.prod.service", "command", "did you mean `restart`?"),
        ("sudo", "flavour", "there are `command`, `user` and `password`"),
    ] {
        let said = wrong_stage(&format!("[{table}]\n{key} = \"x\""));
        assert!(said.contains(&format!("unknown key `{key}` in [{table}]")), "{said}");
        assert!(said.ends_with(&format!("hint: {hint}")), "{said}");
    }
    let said = wrong("[stages.x]\nhosts = [{ host = \"web1\" }]");
    assert!(said.ends_with("hint: did you mean `address`?"), "{said}");
    assert!(!wrong_stage("name = \"todo\"").contains("`app`"), "a stage has none");
    assert!(!wrong("[env.vars]\nA = { PORT = \"1\" }").contains("vars.PORT"));
    let said = wrong("[env]\nfiles = [{ path = \".env\" }]");
    assert!(
        said.ends_with("hint: a whole file of values: `files = [\".env.production\"]`"),
        "{said}"
    );
    let said = wrong("shared = [\"log\"]");
    assert!(said.ends_with("hint: did you mean `linked_dirs`?"), "{said}");
    assert_snapshot!(wrong("dirs = []"), @"
    deploy.toml:3: unknown key `dirs` at the top level
      hint: did you mean `linked_dirs`?
    ");
    assert_snapshot!(wrong("flavour = 3"), @"deploy.toml:3: unknown key `flavour` at the top level");
    assert_snapshot!(wrong_stage("[stages.prod.hooks.local]\nbefor = []"), @"
    deploy.toml:7: unknown key `befor` in [stages.prod.hooks.local]
      hint: did you mean `before`?
    ");
    assert_snapshot!(wrong_stage("hooks.staged = [{ run = \"x\", onse = true }]"), @"
    deploy.toml:6: unknown key `onse` in [stages.prod.hooks.staged]
      hint: did you mean `once`?
    ");
    assert_snapshot!(wrong("linked_dirs = [{ path = \"log\", mod = \"750\" }]"), @"
    deploy.toml:3: unknown key `mod` in [linked_dirs]
      hint: did you mean `mode`?
    ");
    assert_snapshot!(wrong("[env.vars]\nA = { enf = \"B\" }"), @"
    deploy.toml:4: unknown key `enf` in [env.vars.A]
      hint: did you mean `env`?
    ");
}

#[test]
fn wrong_types_say_what_was_expected() {
    assert_snapshot!(whole("app = 3", &Overrides::default()), @r#"
    deploy.toml:1: `app` must be a string, not the number 3
      hint: text stands between quotes: `app = "…"`
    "#);
    assert_snapshot!(wrong("keep_releases = \"five\""), @r#"deploy.toml:3: `keep_releases` must be a whole number, not "five""#);
    assert_snapshot!(wrong("confirm = \"yes\""), @r#"deploy.toml:3: `confirm` must be true, false or "staged", not "yes""#);
    assert_snapshot!(wrong("linked_dirs = \"log\""), @r#"
    deploy.toml:3: `linked_dirs` must be a list, not "log"
      hint: `linked_dirs = ["log"]`
    "#);
    assert_snapshot!(wrong("parallel = \"5\""), @r#"
    deploy.toml:3: `parallel` must be a whole number, not "5"
      hint: `parallel = 5`
    "#);
    assert_snapshot!(wrong("[upload]\nlink = \"false\""), @r#"
    deploy.toml:4: `upload.link` must be true or false, not "false"
      hint: `link = false`
    "#);
    assert_snapshot!(wrong("stages.staging = \"web1\""), @r#"
    deploy.toml:3: `stages.staging` must be a table, not "web1"
      hint: `[stages.staging]` with `hosts = ["web1"]`
    "#);
    assert_snapshot!(wrong("linked_dirs = [3]"), @"deploy.toml:3: `linked_dirs` must be a path, or a table with `path`, `mode` and `group`, not the number 3");
    assert_snapshot!(wrong("artifact = \"dist\""), @r#"
    deploy.toml:3: `artifact` must be a table, not "dist"
      hint: `artifact.path = "dist"`
    "#);
    assert_snapshot!(wrong("service = \"todo.service\""), @r#"
    deploy.toml:3: `service` must be a table, not "todo.service"
      hint: `service.unit = "todo.service"`
    "#);
    assert_snapshot!(wrong("[service]\nscope = \"sytem\""), @"deploy.toml:4: `service.scope` must be `system` or `user`, not `sytem`");
    assert_snapshot!(wrong("[service]\ntimeout = \"2 parsecs\""), @r#"deploy.toml:4: `service.timeout` must be a length of time such as "30s", "2m", or a number of seconds, not "2 parsecs""#);
    assert_snapshot!(wrong("[service]\ntimeout = -1"), @r#"deploy.toml:4: `service.timeout` must be a length of time such as "30s", "2m", or a number of seconds, not the number -1"#);
    assert_snapshot!(wrong("[rollout]\nbatch = \"some\""), @r#"deploy.toml:4: `rollout.batch` must be a number of hosts, a part of them such as "25%", or "all", not "some""#);
    assert_snapshot!(wrong("[hooks]\nstaged = [{ once = true }]"), @"deploy.toml:4: `run` is missing in [hooks.staged]");
    assert_snapshot!(wrong("[hooks]\nshell = 3"), @r#"deploy.toml:4: `hooks.shell` must be a program with its flags such as "bash -lc", or a list of words, not the number 3"#);
    assert_snapshot!(wrong("stages = []"), @"deploy.toml:4: not valid TOML: cannot extend value of type array with a dotted key");
    assert_snapshot!(wrong_stage("hosts = []"), @"deploy.toml:6: not valid TOML: duplicate key");
    assert_snapshot!(wrong("x = "), @r#"
    deploy.toml:3: not valid TOML: string values must be quoted, expected literal string
      hint: text stands between quotes: `"…"`
    "#);
    for wrongs in ["x = log", "x = fog", "linked_dirs = [log]"] {
        let said = wrong(wrongs);
        assert!(said.starts_with("deploy.toml:3: not valid TOML: "), "{said}");
        assert!(said.ends_with("hint: text stands between quotes: `\"…\"`"), "{said}");
    }
    assert_snapshot!(wrong("log: x"), @"
    deploy.toml:3: not valid TOML: key with no value, expected `=`
      hint: a setting is `key = value`
    ");
}

#[test]
fn errors_show_no_value_that_may_be_secret() {
    let text = wrong("[env.vars]\nPIN = 987654");
    assert!(!text.contains("987654"), "{text}");
    assert_snapshot!(text, @r#"
    deploy.toml:4: `env.vars.PIN` must be a string, or a table with `env`, `command`, `file` and `value`, not a number
      hint: text stands between quotes: `PIN = "…"`
    "#);
    assert!(!wrong("[env.vars]\nPIN = { env = 987654 }").contains("987654"));
    let url = wrong("artifact.path = \"http://me:hunter2@example.net/x\"");
    assert!(!url.contains("hunter2"), "{url}");
}

#[test]
fn names_and_paths_follow_rules() {
    assert_snapshot!(whole(STAGE, &Overrides::default()), @r#"
    deploy.toml: `app` is missing at the top level
      hint: `app = "todo"`
    "#);
    assert_snapshot!(whole(&format!("app = \"a b\"\ndeploy_to = \"/x\"\n{STAGE}"), &Overrides::default()), @"deploy.toml:1: `app` must be a name of letters, digits, `.`, `_` and `-` that begins with a letter or a digit: a b");
    assert_snapshot!(whole(&format!("app = \"a\"\n{STAGE}"), &Overrides::default()), @r#"
    deploy.toml: `deploy_to` is missing at the top level
      hint: `deploy_to = "/srv/todo"`
    "#);
    assert_snapshot!(wrong_stage("[stages.\"a b\"]\nhosts = [\"x\"]"), @"deploy.toml:6: `stage` must be a name of letters, digits, `.`, `_` and `-` that begins with a letter or a digit: a b");
    for bad in ["srv/todo", "/", "//", "/srv/../etc", "/srv/./x", "/srv//x", "~/x", "/a\\nb", ""] {
        let text = wrong_stage(&format!("deploy_to = \"{bad}\""));
        assert!(text.starts_with("deploy.toml:6: `deploy_to` must be an absolute path"), "{text}");
    }
    assert_eq!(config("", "deploy_to = \"/srv/x/\"").layout.root(), "/srv/x");
    assert_snapshot!(wrong_stage("deploy_to = \"/a\\nb\""), @r#"deploy.toml:6: `deploy_to` must be an absolute path below `/`, without `.`, `..` and `//`: /a\nb"#);
    assert_snapshot!(wrong("keep_releases = 0"), @"deploy.toml:3: `keep_releases` must be 1 or more: 0");
    assert_snapshot!(wrong("parallel = -3"), @"deploy.toml:3: `parallel` must be 1 or more: -3");
    assert_snapshot!(wrong_stage("app = \"x\""), @"deploy.toml:6: `app` belongs at the top of the file, not in a stage");
    assert_snapshot!(wrong_stage("[stages.prod.stages.x]\nhosts = []"), @"deploy.toml:6: `stages` belongs at the top of the file, not in a stage");
}

#[test]
fn stage_is_chosen_by_name_default_or_being_alone() {
    let two = format!("{LEAST}[stages.b]\nhosts = [\"b1\"]\n[stages.a]\nhosts = [\"a1\"]\n");
    let file = parse(&two).unwrap();
    assert_eq!(file.stages(), ["a", "b"]);
    let none = Overrides::default();
    assert_eq!(file.resolve(Some("b"), &none).unwrap().stage, "b");
    assert_snapshot!(whole(&two, &none), @r#"
    deploy.toml: which stage? there are `a` and `b`
      hint: name one, or set `default_stage = "a"`
    "#);
    assert_snapshot!(say(&file.resolve(Some("c"), &none).unwrap_err()), @"
    deploy.toml: there is no stage `c`
      hint: there are the stages `a` and `b`
    ");
    assert_snapshot!(say(&file.resolve(Some("production"), &none).unwrap_err()), @"
    deploy.toml: there is no stage `production`
      hint: there are the stages `a` and `b`
    ");
    let one = parse(&format!("{LEAST}[stages.production]\nhosts = [\"web1\"]\n")).unwrap();
    for (wrong, hint) in
        [("prod", "did you mean `production`?"), ("live", "the only stage is `production`")]
    {
        let said = say(&one.resolve(Some(wrong), &none).unwrap_err());
        assert!(said.ends_with(&format!("hint: {hint}")), "{said}");
    }
    assert_snapshot!(say(&file.resolve(Some("20260101000000"), &none).unwrap_err()), @"
    deploy.toml: there is no stage `20260101000000`
      hint: for a release: `shipit rollback --to 20260101000000`
    ");
    assert_snapshot!(whole(LEAST, &none), @r#"
    deploy.toml: there is no stage
      hint: add `[stages.production]` with `hosts = ["web1"]`
    "#);
    let with_default = parse(&format!("default_stage = \"a\"\n{two}")).unwrap();
    assert_eq!(with_default.resolve(None, &none).unwrap().stage, "a");
    let variable = Overrides { stage: Some("b".to_owned()), ..none.clone() };
    assert_eq!(with_default.resolve(None, &variable).unwrap().stage, "b");
    assert_eq!(with_default.resolve(Some("a"), &variable).unwrap().stage, "a");
    assert_snapshot!(whole(&format!("default_stage = \"prdo\"\n{LEAST}{STAGE}"), &none), @"
    deploy.toml:1: there is no stage `prdo`
      hint: did you mean `prod`?
    ");
}

#[test]
fn hosts_are_read_as_ssh_writes_them() {
    let hosts = r#"hosts = ["web1", "deploy@web2:2222", "[2001:db8::1]:22", "2001:db8::2", "me@[::1]",
        "local", "user@corp@web3", { address = "db1", user = "admin", port = 2222, roles = ["db"] }]"#;
    let text = format!("{LEAST}[stages.prod]\n{hosts}\n");
    let config = resolve(&text, &Overrides::default()).unwrap();
    let shown = config.hosts.iter().map(|host| match &host.address {
        Address::Local => format!("{} = here", host.name),
        Address::Ssh { host: name, user, port, .. } => {
            format!("{} = {name} {user:?} {port:?} {:?}", host.name, host.roles)
        }
    });
    assert_snapshot!(shown.collect::<Vec<_>>().join("\n"), @r#"
    web1 = web1 None None []
    deploy@web2:2222 = web2 Some("deploy") Some(2222) []
    [2001:db8::1]:22 = 2001:db8::1 None Some(22) []
    2001:db8::2 = 2001:db8::2 None None []
    me@[::1] = ::1 Some("me") None []
    local = here
    user@corp@web3 = web3 Some("user@corp") None []
    db1 = db1 Some("admin") Some(2222) ["db"]
    "#);
}

#[test]
fn hosts_follow_rules() {
    let hosts = |list: &str| {
        whole(&format!("{LEAST}[stages.prod]\nhosts = {list}\n"), &Overrides::default())
    };
    for bad in [
        "",
        "-oProxyCommand=x",
        "we b",
        "a@",
        "@a",
        "a:0",
        "a:70000",
        "a:x",
        "a:",
        "[::1",
        "a;b",
        "a$(b)",
        "-a@b",
        "u@-b",
    ] {
        let text = hosts(&format!("[\"{bad}\"]"));
        assert!(text.starts_with("deploy.toml:4: `hosts` must be a host as in ssh"), "{text}");
    }
    assert_snapshot!(hosts("[\"a b\"]"), @"deploy.toml:4: `hosts` must be a host as in ssh, such as `web1`, `deploy@web1:2222`, `[2001:db8::1]:22` or `local`: a b");
    assert_snapshot!(hosts("[]"), @r#"
    deploy.toml:4: stage `prod` has no hosts
      hint: add `hosts = ["web1"]` to `[stages.prod]`
    "#);
    assert_snapshot!(hosts("[\"a\",\n\"b\",\n\"a\"]"), @"
    deploy.toml:6: host `a` is listed twice
      hint: two on one address can be written as `name:22` and `name:2222`
    ");
    assert_snapshot!(hosts("[\"a:22\", { address = \"a\", port = 22 }]"), @"
    deploy.toml:4: host `a` is listed twice
      hint: two on one address can be written as `name:22` and `name:2222`
    ");
    assert_snapshot!(hosts("[{ user = \"x\" }]"), @"deploy.toml:4: `address` is missing in [stages.prod.hosts]");
    assert_snapshot!(hosts("[{ address = \"u@a\", user = \"x\" }]"), @"deploy.toml:4: `user` and `address` cannot both be given");
    assert_snapshot!(hosts("[{ address = \"a:1\", port = 2 }]"), @"deploy.toml:4: `port` and `address` cannot both be given");
    assert_snapshot!(hosts("[{ address = \"a\", port = 0 }]"), @"deploy.toml:4: `port` must be between 1 and 65535: 0");
    assert_snapshot!(hosts("[{ address = \"local\", port = 22 }]"), @"deploy.toml:4: `port` and `local` cannot both be given");
    assert_snapshot!(hosts("[{ address = \"a\", fingerprint = \"MD5:x\" }]"), @"deploy.toml:4: `fingerprint` must be as `ssh-keygen -l` prints it: `SHA256:` and 43 characters: MD5:x");
    assert_snapshot!(hosts("[{ address = \"a\", roles = [\"a b\"] }]"), @"deploy.toml:4: `roles` must be a name of letters, digits, `.`, `_` and `-` that begins with a letter or a digit: a b");
    assert_snapshot!(hosts("[true]"), @r#"deploy.toml:4: `stages.prod.hosts` must be a host such as "deploy@web1:22", or a table with `address`, not true"#);
    assert_snapshot!(whole(&format!("{LEAST}[stages.prod]\n"), &Overrides::default()), @r#"
    deploy.toml: stage `prod` has no hosts
      hint: add `hosts = ["web1"]` to `[stages.prod]`
    "#);
}

#[test]
fn host_filters_choose_hosts_or_list_them() {
    let text = format!(
        "{LEAST}[stages.prod]\nhosts = [\"deploy@web1:22\", {{ address = \"web2\", roles = [\"web\"] \
         }}, {{ address = \"db1\", roles = [\"db\", \"web\"] }}]\n"
    );
    let filter = |hosts: &[&str], roles: &[&str]| Overrides {
        hosts: hosts.iter().map(|s| (*s).to_owned()).collect(),
        roles: roles.iter().map(|s| (*s).to_owned()).collect(),
        ..Overrides::default()
    };
    let chosen = |hosts: &[&str], roles: &[&str]| {
        let config = resolve(&text, &filter(hosts, roles)).unwrap();
        names(&config).join(" ")
    };
    assert_eq!(chosen(&[], &[]), "deploy@web1:22 web2 db1");
    assert_eq!(chosen(&["web1"], &[]), "deploy@web1:22");
    assert_eq!(chosen(&["db1", "deploy@web1:22"], &[]), "deploy@web1:22 db1");
    assert_eq!(chosen(&[], &["web"]), "web2 db1");
    assert_eq!(chosen(&["web2"], &["web"]), "web2");
    assert_snapshot!(whole(&text, &filter(&["web9"], &[])), @"
    --hosts: no host of `prod` has the name `web9`
      hint: did you mean `web2`?
    ");
    assert_snapshot!(whole(&text, &filter(&[], &["cache"])), @"
    --roles: no host of `prod` has the role `cache`
      hint: there are the roles `db` and `web`
    ");
    assert_snapshot!(whole(&text, &filter(&["web1"], &["db"])), @"
    --hosts and --roles together leave no host of `prod`
      hint: give one of them
    ");
    let plain = format!("{LEAST}{STAGE}");
    assert_snapshot!(whole(&plain, &filter(&[], &["db"])), @"
    --roles: no host of `prod` has the role `db`
      hint: there are no roles
    ");
}

#[test]
fn linked_paths_must_not_overlap() {
    let links = config(
        "linked_dirs = [\"log\", { path = \"up/loads\", mode = \"02775\", group = \"www\" }]\n\
         linked_files = [\"config/key\", { path = \"x\", optional = true }]",
        "",
    )
    .links;
    let kinds =
        links.iter().map(|link| (link.path.as_str(), link.kind.clone())).collect::<Vec<_>>();
    let (mode, group) = (Some("2775".to_owned()), Some("www".to_owned()));
    assert_eq!(
        kinds,
        [
            ("log", SharedKind::Dir { mode: None, group: None }),
            ("up/loads", SharedKind::Dir { mode, group }),
            ("config/key", SharedKind::File { optional: false }),
            ("x", SharedKind::File { optional: true }),
        ]
    );
    for bad in ["/log", "log/", "a/../b", "./a", "a//b", "..", "", ".", "a\\nb"] {
        let text = wrong(&format!("linked_dirs = [\"{bad}\"]"));
        assert!(text.starts_with("deploy.toml:3: `linked_dirs` must be paths inside"), "{text}");
    }
    assert_snapshot!(wrong("linked_dirs = [\"a\", \"a\"]"), @"
    deploy.toml:3: linked path `a` is the same as linked path `a`
      hint: leave one of the two out
    ");
    assert_snapshot!(wrong("linked_dirs = [\"a\"]\nlinked_files = [\"a/b\"]"), @"
    deploy.toml:4: linked path `a/b` lies below linked path `a`
      hint: leave one of the two out
    ");
    assert_snapshot!(wrong("linked_dirs = [\"a/b\",\n\"a\"]"), @"
    deploy.toml:4: linked path `a` lies above linked path `a/b`
      hint: leave one of the two out
    ");
    assert!(config("linked_dirs = [\"a\", \"ab\"]", "").links.len() == 2);
    assert!(config("linked_files = [\".env\"]", "").links.len() == 1, "nothing is written there");
    assert_snapshot!(wrong("linked_files = [\".env\"]\n[env]\nvars.A = \"b\""), @"
    deploy.toml:3: `.env` cannot be used here: the environment file of a release is written there
      hint: `vars.NAME` in `[env]` puts a value into it; without [env], link it
    ");
    assert_snapshot!(wrong("linked_files = [\"REVISION\"]"), @"deploy.toml:3: `REVISION` cannot be used here: the source revision of a release is written there");
    assert_snapshot!(wrong("linked_dirs = [{ path = \"a\", mode = \"0777\" }]"), @r#"deploy.toml:3: `mode` must be octal, such as "2775", for the owner to use and not for everybody to write: 0777"#);
    assert_snapshot!(wrong("linked_dirs = [{ path = \"a\", mode = \"0640\" }]"), @r#"deploy.toml:3: `mode` must be octal, such as "2775", for the owner to use and not for everybody to write: 0640"#);
    assert_snapshot!(wrong("linked_dirs = [{ path = \"a\", group = \"a b\" }]"), @"deploy.toml:3: `group` must be the name of a group: a b");
}

#[test]
fn artifact_is_a_path_or_a_url_with_a_digest() {
    let source = |toml: &str| config(toml, "").artifact.unwrap().source;
    let path = |path: &str| ArtifactSource::Path { path: path.into(), sha256: None };
    assert_eq!(source("artifact.path = \"dist/\""), path("/project/dist/"));
    assert_eq!(source("artifact.path = \"/tmp/x.tar\""), path("/tmp/x.tar"));
    assert_snapshot!(wrong("artifact.path = \"file:///tmp/x\""), @r#"
    deploy.toml:3: an artifact with an address needs its `sha256`
      hint: add `sha256 = "…"`, `sha256 = { url = "…" }` or a `signature`
    "#);
    let sha256 = Some(DigestSource::Known(HEX.parse().unwrap()));
    let url = ArtifactSource::Url { url: "https://example.net/x".to_owned(), sha256 };
    let address = "artifact.path = \"https://example.net/x";
    assert_eq!(source(&format!("{address}\"\nartifact.sha256 = \"{HEX}\"")), url);
    assert_eq!(source(&format!("{address}#sha256={HEX}\"")), url);
    assert_snapshot!(wrong(&format!("{address}\"")), @r#"
    deploy.toml:3: an artifact with an address needs its `sha256`
      hint: add `sha256 = "…"`, `sha256 = { url = "…" }` or a `signature`
    "#);
    assert_snapshot!(wrong(&format!("{address}#sha256=00\"")), @"deploy.toml:3: `artifact` must be followed by 64 hex digits: https");
    assert_snapshot!(wrong("artifact.path = \"http://example.net/x\""), @"deploy.toml:3: `artifact` must be a path, or an address that begins with https://, s3:// or file://: http");
    assert_snapshot!(wrong("artifact.path = \"x\"\nartifact.sha256 = \"0\""), @"deploy.toml:4: `sha256` must be 64 hex digits: 0");
    assert_snapshot!(wrong("[artifact]\npath = \"x\"\nexclude = [\"a[\"]"), @"deploy.toml:5: `exclude` holds a pattern that is not a glob: a[");
    assert_snapshot!(wrong("[artifact]\npath = \"x\"\nstrip_components = -1"), @"deploy.toml:5: `strip_components` must be between 0 and 63: -1");
    assert_snapshot!(wrong(&format!("artifact.sha256 = \"{HEX}\"")), @"deploy.toml:3: `sha256` needs `path`");
    assert!(wrong("[artifact]\npath = \"x\"\ncase = \"all\"").contains("`unique` or `any`"));
}

#[test]
fn artifact_may_say_what_becomes_of_odd_entries() {
    let rules = |keys: &str| {
        config(&format!("[artifact]\npath = \"x\"\n{keys}"), "").artifact.unwrap().rules
    };
    assert_eq!(rules("case = \"unique\""), EntryRules::default());
    let all = EntryRules { follow_links: true, any_case: true, keep_private: true };
    assert_eq!(rules("follow_links = true\ncase = \"any\"\nkeep_private = true"), all);
}

#[test]
fn assets_stay_where_hard_links_may_keep_them() {
    let assets = |top: &str, keys: &str| {
        config(&format!("{top}\n[assets]\nkeep = [\"public/assets\"]\n{keys}"), "").assets.unwrap()
    };
    assert_eq!(assets("", ""), Assets { keep: vec!["public/assets".to_owned()], releases: 3 });
    assert_eq!(assets("keep_releases = 2", "").releases, 2);
    assert_eq!(assets("linked_dirs = [\"public/assets/up\"]", "releases = 5").releases, 5);
    assert_eq!(config("[assets]\nkeep = [\"a\"]", "assets.keep = []").assets, None);
    let wrong = |top: &str| wrong(&format!("{top}\n[assets]\nkeep = [\"a/b\"]"));
    assert_snapshot!(wrong("linked_dirs = [\"a\"]"), @"deploy.toml:5: `a/b` cannot be used here: it lies at or below a linked path, where files stay anyway");
    assert_snapshot!(wrong("upload.link = false"), @"deploy.toml:5: `a/b` cannot be used here: files are kept by hard links, which `link = false` in [upload] forbids");
    assert_snapshot!(crate::support::config::wrong("assets.keep = [\"/a\"]"), @"deploy.toml:3: `keep` must be paths inside a release, without `.`, `..`, `//` and a `/` at either end: /a");
    assert_snapshot!(crate::support::config::wrong("assets.releases = 2"), @"deploy.toml:3: `releases` needs `keep`");
    assert_snapshot!(crate::support::config::wrong("assets = { keep = [\"a\"], releases = 6 }"), @"deploy.toml:3: `releases` must be between 1 and `keep_releases`: 6");
}

#[test]
fn sources_are_checked_before_anything_is_fetched() {
    let artifact = |toml: &str| {
        let text = format!("artifact.path = \"https://example.net/x\"\n{toml}");
        config(&text, "").artifact.unwrap()
    };
    let at = artifact("artifact.sha256 = { url = \"x.sha256\" }");
    let sha256 = Some(DigestSource::At("x.sha256".to_owned()));
    assert_eq!(at.source, ArtifactSource::Url { url: "https://example.net/x".to_owned(), sha256 });
    let key = "RWSHEKAg1/Fp1en1FFJH4JcJ9S9iL11DKPNJODO11l1bz1wkRL0vjaiS";
    let signed = artifact(&format!("artifact.signature.minisign = \"{key}\""));
    assert!(matches!(signed.access.signature.unwrap().by, SignedBy::Minisign { .. }));
    let wrongs = [
        "path = \"s3://bucket\"",
        "path = \"gs://bucket/key\"",
        "path = \"az://store/key\"",
        "path = \"s3://builds/{revison}\"",
        "path = \"https://x/{size}#sha256=0\"",
        "path = \"x\"\nsha256.url = \"\"",
        "path = \"x\"\nsha256 = 7",
        "path = \"x\"\nheaders.Host = \"x\"",
        "path = \"x\"\nsignature = {}",
        "path = \"x\"\nsignature.minisign = \"RWQ\"",
        "path = \"x\"\nsignature = { minisign = \"KEY\", identity = \"a\" }",
        "path = \"x\"\nsignature = { minisign = \"KEY\", allowed_signers = \"a\" }",
        "path = \"x\"\nsignature = { allowed_signers = \"a\", identity = \"-x\" }",
        "path = \"x\"\ns3.endpoint = \"https://x/y\"",
        "path = \"x\"\ns3.bucket = \"x\"",
    ];
    let told = wrongs.map(|toml| wrong(&format!("[artifact]\n{}", toml.replace("KEY", key))));
    assert_snapshot!(told.join("\n"), @r#"
    deploy.toml:4: `artifact` must be a bucket and a key, such as s3://builds/todo.tar.gz: s3
    deploy.toml:4: `gs://` addresses are not supported
      hint: `s3://BUCKET/KEY` with `s3.endpoint = "https://storage.googleapis.com"` and an HMAC key of the service account
    deploy.toml:4: `az://` addresses are not supported
      hint: the blob's https:// address with `?` and a SAS token, by `--artifact`, and its `--sha256`
    deploy.toml:4: `artifact` holds `{revison}`, which is no placeholder
      hint: did you mean `{revision}`?
    deploy.toml:4: `artifact` holds `{size}`, which is no placeholder
      hint: there are `{branch}` and `{revision}`
    deploy.toml:5: `url` must be an address that begins with https://, s3:// or file://, or a name beside the artifact: ""
    deploy.toml:5: `artifact.sha256` must be 64 hex digits, or a table with `url`, not the number 7
    deploy.toml:5: `headers` must be a name of HTTP headers, other than `Host` (use `host`) and those that frame a request: Host
    deploy.toml:5: `minisign` is missing (or `allowed_signers`) in [artifact.signature]
    deploy.toml:5: `minisign` must be a public key as minisign prints it: `RW` and 54 more characters: RWQ
    deploy.toml:5: `identity` needs `allowed_signers`
    deploy.toml:5: `minisign` and `allowed_signers` cannot both be given
    deploy.toml:5: `identity` must be one word that does not begin with `-`: -x
    deploy.toml:5: `endpoint` must be an address without a path, such as `https://s3.example.net`: https://x/y
    deploy.toml:5: unknown key `bucket` in [artifact.s3]
      hint: there are `endpoint`, `region` and `profile`
    "#);
}

#[test]
fn stage_with_its_own_path_inherits_headers_and_the_signature() {
    let config = config(
        "[artifact]\npath = \"a\"\nsha256.url = \"b\"\nheaders = { A = \"1\", B = \"2\" }\n\
         s3 = { region = \"x\", profile = \"y\" }\nsignature.allowed_signers = \"s\"",
        "artifact = { path = \"c\", headers = { A = \"3\" }, s3 = { region = \"z\" } }",
    );
    let artifact = config.artifact.unwrap();
    let path = "/project/c".into();
    assert_eq!(artifact.source, ArtifactSource::Path { path, sha256: None });
    let headers = artifact.access.headers.iter().map(|it| (it.name.as_str(), it.value.clone()));
    let text = |text: &str| EnvSource::Text(text.to_owned());
    assert_eq!(headers.collect::<Vec<_>>(), [("A", text("3")), ("B", text("2"))]);
    assert_eq!(artifact.access.s3.region.as_deref(), Some("z"));
    assert_eq!(artifact.access.s3.profile.as_deref(), Some("y"));
    assert!(artifact.access.signature.is_some());
}

#[test]
fn env_values_come_from_four_sources() {
    let [env]: [EnvSpec; 1] = config(
        "[env]\nmode = \"0640\"\ngroup = \"todo\"\nfile = \"config/env\"\n[env.vars]\nA = \"a\"\n\
         B = { env = \"BB\" }\nC = { command = \"c\" }\nD = { file = \"d\" }",
        "",
    )
    .env
    .try_into()
    .unwrap();
    assert_eq!((env.file.as_str(), env.mode.as_str()), ("config/env", "640"));
    assert_eq!(env.group.as_deref(), Some("todo"));
    let sources = env.vars.into_values().map(|var| var.source).collect::<Vec<_>>();
    let expected = [
        EnvSource::Text("a".to_owned()),
        EnvSource::Variable("BB".to_owned()),
        EnvSource::Command("c".to_owned()),
        EnvSource::File("d".into()),
    ];
    assert_eq!(sources, expected);
    assert_snapshot!(wrong("[env]\nroles = [\"web\"]"), @"deploy.toml:4: `roles` needs `[[env]]`");
    assert_snapshot!(wrong("[[env]]\n[[env]]"), @"
    deploy.toml: `.env` cannot be used here: another environment file lies at, above or below it
      hint: give each `[[env]]` a `file` of its own
    ");
    assert_snapshot!(wrong("[[env]]\nfile = \"a\"\n[[env]]\nfile = \"a/b\""), @"
    deploy.toml:6: `a/b` cannot be used here: another environment file lies at, above or below it
      hint: give each `[[env]]` a `file` of its own
    ");
    assert_snapshot!(wrong("[[env]]\nroles = [\"wbe\"]"), @"
    deploy.toml:4: no host of any stage has the role `wbe`
      hint: there are no roles
    ");
    assert_snapshot!(wrong("[env]\nformat = \"dotenv\""), @"deploy.toml:4: `env.format` must be `portable`, `systemd`, `docker`, `shell`, `json`, not `dotenv`");
    assert_snapshot!(wrong("[env]\nfiles = [\"\"]"), @r#"deploy.toml:4: `files` must be a path: """#);
    assert_snapshot!(wrong("[env]\nfiles = [{ optional = true }]"), @"deploy.toml:4: `env` is missing (or `command`, or `file`) in a variable");
    assert_snapshot!(wrong("[env]\nfiles = [{ file = \"a\", default = \"\" }]"), @r#"
    deploy.toml:4: unknown key `default` in [env.files]
      hint: `default` belongs to a value: `vars.NAME = { default = "…" }`
    "#);
    assert_snapshot!(wrong("[env]\nenv_file = \".env\""), @r#"
    deploy.toml:4: unknown key `env_file` in [env]
      hint: a whole file of values: `files = [".env.production"]`
    "#);
    assert_snapshot!(wrong("[env.vars]\nA = { command = \"c\", optional = true }"), @"deploy.toml:4: `optional` needs `env`");
    assert_snapshot!(wrong("[env.vars]\nA = { value = \"c\", default = \"\" }"), @"deploy.toml:4: `default` needs `env`");
    assert_snapshot!(wrong("[env.vars]\nA = { env = \"B\", optional = true, default = \"\" }"), @"deploy.toml:4: `optional` and `default` cannot both be given");
    assert_snapshot!(wrong("[env.vars]\n1A = \"x\""), @"deploy.toml:4: `vars` must be named with letters, digits and `_`, and not begin with a digit: 1A");
    assert_snapshot!(wrong("[env.vars]\nA = { env = \"B\", file = \"c\" }"), @"deploy.toml:4: `env` and `file` cannot both be given");
    assert_snapshot!(wrong("[env.vars]\nA = {}"), @"deploy.toml:4: `env` is missing (or `command`, or `file`) in a variable");
    assert_snapshot!(wrong("[env.vars]\nA = { command = \" \" }"), @r#"deploy.toml:4: `command` must be a command: " ""#);
    assert_snapshot!(wrong("[env]\nmode = \"0666\""), @r#"deploy.toml:4: `mode` must be octal, such as "0640": readable for the owner, without execute bits, and not for everybody to write: 0666"#);
    assert_snapshot!(wrong("[env]\nfile = \"../x\""), @"deploy.toml:4: `file` must be a path inside a release, without `.`, `..`, `//` and a `/` at either end: ../x");
    assert_snapshot!(wrong("linked_dirs = [\"config\"]\n[env]\nfile = \"config/.env\""), @"deploy.toml:5: `config/.env` cannot be used here: it lies at, above or below a linked path");
    assert_snapshot!(wrong("[env]\nfile = \"REVISION\""), @"deploy.toml:4: `REVISION` cannot be used here: the source revision of a release is written there");
}

/// The services in their order, each with the unit or command, the action and the proof.
fn order(top: &str) -> String {
    let told = |service: &Service| match &service.what {
        ServiceKind::Unit(unit) => format!("{} {} {}", service.name, unit.action.word(), unit.name),
        ServiceKind::Command { restart, .. } => format!("{} `{restart}`", service.name),
    };
    config(top, "").services.iter().map(told).collect::<Vec<_>>().join("; ")
}

#[test]
fn services_are_in_the_order_written_except_for_after() {
    let web = "[services.web]\nunit = \"web\"\n";
    let beat = "[services.beat]\nunit = [\"b.timer\", \"b.socket\", \"b.target\"]\n";
    let all = format!("{web}AFTER\n{beat}[services.ctl]\nrestart = \"./ctl\"");
    let usual = "beat restart b.timer; beat start b.socket; beat restart b.target";
    assert_eq!(
        order(&all.replace("AFTER", "")),
        format!("web restart web.service; {usual}; ctl `./ctl`")
    );
    assert_eq!(
        order(&all.replace("AFTER", "after = [\"beat\"]")),
        format!("{usual}; web restart web.service; ctl `./ctl`")
    );
    assert_eq!(
        order(&all.replace("AFTER", "after = [\"ctl\"]")),
        format!("{usual}; ctl `./ctl`; web restart web.service")
    );
    let circle = format!("{web}after = [\"b\"]\n[services.b]\nunit = \"b\"\nafter = [\"web\"]");
    assert_snapshot!(wrong(&circle), @"deploy.toml:5: `after` must be the name of a service that does not wait for this one: b");
    assert_snapshot!(wrong(&format!("{web}after = [\"wbe\"]")), @r"
    deploy.toml:5: there is no service `wbe`
      hint: did you mean `web`?
    ");
}

#[test]
fn template_instances_and_lists_are_one_service_each() {
    let unit = |unit: &str| order(&format!("[services.w]\nunit = {unit}"));
    assert_eq!(unit("\"w@{2..3}\""), "w restart w@2.service; w restart w@3.service");
    assert_eq!(unit("[\"a\", \"w@{1..1}.timer\"]"), "w restart a.service; w restart w@1.timer");
    for bad in ["\"w@{3..2}\"", "\"w@{1..}\"", "\"w@{1..200}\"", "\"w@{a..b}\"", "[]", "[\"\"]"] {
        let text = wrong(&format!("service.unit = {bad}"));
        assert!(text.starts_with("deploy.toml:3: `unit` must be the name of a systemd"), "{text}");
    }
    assert_snapshot!(wrong("service.unit = [\"a\", \"a.service\"]"), @"deploy.toml:3: `unit` must be a list that names each unit once: a.service");
}

#[test]
fn actions_and_proofs_are_those_that_a_unit_can_have() {
    for action in ["restart", "reload", "reload-or-restart", "start", "none"] {
        assert_eq!(order(&format!("service = {{ unit = \"a\", action = \"{action}\" }}")), {
            format!("todo {action} a.service")
        });
    }
    let timer = "service = { unit = \"a.timer\", action = \"reload\" }";
    assert_snapshot!(wrong(timer), @"deploy.toml:3: `action` must be `restart`, `start` or `none` for a unit that is no service: reload");
    let proof = |proof: &str| config(&format!("[service]\nunit = \"a\"\n{proof}"), "").services;
    assert_eq!(proof("")[0].proof, None);
    assert_eq!(proof("proof = \"seen\"")[0].proof, Some(Proof::Seen));
    let socket = "service = { unit = \"a.socket\", proof = \"seen\" }";
    assert_snapshot!(wrong(socket), @"deploy.toml:3: `proof` must be left out for sockets and timers, which run no code: seen");
    assert_snapshot!(wrong("service = { restart = \"a\", proof = \"seen\" }"), @"deploy.toml:3: `proof` needs `unit`");
}

#[test]
fn service_and_services_exclude_each_other() {
    let both = "[service]\nunit = \"a\"\n[services.b]\nunit = \"b\"";
    assert_snapshot!(wrong(both), @"deploy.toml:5: `[service]` and `[services]` cannot both be given");
    assert_snapshot!(wrong("service = { unit = \"a\", after = [] }"), @"deploy.toml:3: `after` needs `[services.NAME]`");
    assert_snapshot!(wrong("service = { unit = \"a\", roles = [] }"), @"deploy.toml:3: `roles` needs `[services.NAME]`");
    assert_snapshot!(wrong("[services.a]"), @"deploy.toml:3: `unit` is missing (or `restart`) in [services.a]");
    assert_snapshot!(wrong("[services.\"a b\"]\nunit = \"a\""), @"deploy.toml:3: `services` must be a name of letters, digits, `.`, `_` and `-` that begins with a letter or a digit: a b");
}

#[test]
fn unit_of_two_services_is_refused_where_a_host_has_both() {
    let two = "[services.a]\nunit = \"x\"\n[services.b]\nunit = [\"y\", \"x.service\"]";
    assert_snapshot!(wrong(two), @"deploy.toml:5: `unit` must be that of one service only on a host: x.service");
    let user = two.replace("\"y\", \"x.service\"]", "\"x\"]\nscope = \"user\"");
    assert_eq!(order(&user), "a restart x.service; b restart x.service");
}

#[test]
fn services_on_a_host_are_those_of_its_roles() {
    let text = format!(
        "{LEAST}[services.web]\nunit = \"web\"\nroles = [\"web\"]\n[services.all]\nunit = \"all\"\n\
         [services.worker]\nunit = \"worker@{{1..2}}\"\nroles = [\"worker\"]\n[stages.prod]\n\
         hosts = [{{ address = \"a\", roles = [\"web\"] }}, {{ address = \"b\", roles = [\"worker\"] \
         }}, \"c\"]\nservices.all.timeout = 7\nservices.late.unit = \"late\"\n"
    );
    let config = resolve(&text, &Overrides::default()).unwrap();
    let units = |at: usize| {
        let all = config.services_on(&config.hosts[at]);
        all.map(|service| service.unit().unwrap().name.as_str()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(units(0), "web.service all.service late.service");
    assert_eq!(units(1), "all.service worker@1.service worker@2.service late.service");
    assert_eq!(units(2), "all.service late.service");
    let all = config.services.iter().find(|service| service.name == "all").unwrap();
    assert_eq!(all.limit, Duration::from_secs(7));
}

#[test]
fn service_is_a_unit_or_a_command() {
    let unit = |name: &str| {
        let config = config(&format!("service.unit = \"{name}\""), "");
        config.services[0].unit().unwrap().name.clone()
    };
    assert_eq!(unit("todo"), "todo.service");
    assert_eq!(unit("todo.service"), "todo.service");
    assert_eq!(unit("todo.web"), "todo.web.service");
    assert_eq!(unit("todo@1"), "todo@1.service");
    for bad in ["", "-x", "a b", "todo.mount", "todo@", "todo@.service", ".service", "a/b", "a;b"] {
        let text = wrong(&format!("service.unit = \"{bad}\""));
        assert!(text.starts_with("deploy.toml:3: `unit` must be the name of a systemd"), "{text}");
    }
    let whole = config(
        "[service]\nunit = \"a\"\nscope = \"user\"\naction = \"reload-or-restart\"\ntimeout = 30",
        "",
    );
    let (scope, action, limit) = (Scope::User, Action::ReloadOrRestart, Duration::from_secs(30));
    let what = ServiceKind::Unit(Unit { name: "a.service".to_owned(), scope, action, file: None });
    assert_eq!(whole.services, [Service { limit, ..service(what) }]);
    assert_eq!(whole.health.soak, Duration::from_secs(2));
    assert_snapshot!(wrong("[service]\nunit = \"a\"\nrestart = \"b\""), @"deploy.toml:4: `unit` and `restart` cannot both be given");
    assert_snapshot!(wrong("[service]\nunit = \"a\"\nstop = \"b\""), @"deploy.toml:5: `stop` needs `restart`");
    assert_snapshot!(wrong("[service]\nscope = \"user\""), @"deploy.toml:4: `scope` needs `unit`");
    assert_snapshot!(wrong("[service]\nrestart = \"\""), @r#"deploy.toml:4: `restart` must be a command: """#);
    assert_snapshot!(wrong("[service]\nunit = \"a\"\ntimeout = \"1500ms\""), @"deploy.toml:5: `timeout` must be whole seconds: 1.5s");
    assert_snapshot!(wrong("[service]\nunit = \"a\"\ntimeout = \"48h\""), @"deploy.toml:5: `timeout` must be 24 hours or less: 172800s");
    assert_snapshot!(wrong("[service]\nunit = \"a\"\ntimeout = 0"), @"deploy.toml:5: `timeout` must be 1 second or more: 0s");
}

#[test]
fn hook_is_a_command_or_a_table() {
    let text = format!(
        "{LEAST}[hooks]\nshell = \"bash -lc\"\ntimeout = \"1m\"\nlocal.before = [\"a\", {{ run = \"z\" }}]\n\
         staged = [\"b\", {{ run = \"c\", once = true, roles = [\"db\"] }}]\n[stages.prod]\n\
         hosts = [\"x\"]\n[stages.other]\nhosts = [{{ address = \"y\", roles = [\"db\"] }}]\n"
    );
    let hooks = parse(&text).unwrap().resolve(Some("prod"), &Overrides::default()).unwrap().hooks;
    assert_eq!(hooks.shell, ["bash", "-lc"]);
    assert_eq!(hooks.limit, Duration::from_mins(1));
    assert_eq!(hooks.before.iter().map(|hook| hook.run.as_str()).collect::<Vec<_>>(), ["a", "z"]);
    assert_eq!((hooks.staged[0].run.as_str(), hooks.staged[0].once), ("b", false));
    assert_eq!((hooks.staged[1].run.as_str(), hooks.staged[1].once), ("c", true));
    assert_eq!(hooks.staged[1].roles, ["db"]);
    assert_snapshot!(wrong("[hooks]\nstaged = [\" \"]"), @r#"deploy.toml:4: `staged` must be a command: " ""#);
    assert_snapshot!(wrong("[hooks]\nshell = \"\""), @r#"deploy.toml:4: `shell` must be a shell with its flags: """#);
    assert_snapshot!(wrong("[hooks]\nstaged = [{ run = \"x\", roles = [\"db\"] }]"), @"
    deploy.toml:4: no host of any stage has the role `db`
      hint: there are no roles
    ");
    assert_snapshot!(wrong("[hooks]\nlocal.before = [{ run = \"x\", once = true }]"), @r#"
    deploy.toml:4: unknown key `once` in [hooks.local.before]
      hint: `once` belongs to a hook: `hooks.staged = [{ run = "…", once = … }]`
    "#);
    assert_snapshot!(wrong("rollout.batch = 0"), @"deploy.toml:3: `batch` must be 1 or more: 0");
    assert_snapshot!(wrong("rollout.batch = \"0%\""), @"deploy.toml:3: `batch` must be 1% to 100%: 0%");
    assert_snapshot!(wrong("rollout.batch = \"110%\""), @"deploy.toml:3: `batch` must be 1% to 100%: 110%");
    assert_snapshot!(wrong("rollout.canary = [\"nobody\"]"), @"
    deploy.toml:3: no host of `prod` has the host `nobody`
      hint: the only host is `web1`
    ");
    assert_snapshot!(wrong("rollout.max_failed = -1"), @"deploy.toml:3: `max_failed` must be 0 or more: -1");
    assert_snapshot!(wrong("rollout.on_failure = \"retry\""), @"deploy.toml:3: `rollout.on_failure` must be `revert-all`, `revert-batch`, `stop`, not `retry`");
    assert_snapshot!(wrong("rollout.pause = \"2d\""), @"deploy.toml:3: `pause` must be 24 hours or less: 172800s");
}

#[test]
fn rollout_keys_are_read() {
    let all = config(
        "rollout = { batch = \"25%\", pause = \"30s\", on_failure = \"stop\", max_failed = 2, \
         on_unreachable = \"skip\" }",
        "rollout.canary = [\"web1\"]",
    );
    let rollout = all.rollout;
    assert_eq!((rollout.batch, rollout.max_failed), (Batch::Percent(25), 2));
    assert_eq!(
        (rollout.pause, &rollout.canary[..]),
        (Duration::from_secs(30), &["web1".to_owned()][..])
    );
    assert_eq!(rollout.on_failure, OnFailure::Stop);
    assert_eq!(rollout.on_unreachable, OnUnreachable::Skip);
}

#[test]
fn stage_overrides_the_top_and_inherits_the_rest() {
    let top = "keep_releases = 3\nlinked_dirs = [\"log\"]\nservice = { unit = \"a\", timeout = 7 }\n\
               artifact = { path = \"a\", exclude = [\"x\"] }\nenv.vars = { A = \"1\", B = \"2\" }\n\
               health.http = \"http://h:1/\"\nrollout.batch = 4\nconfirm = true";
    let same = config(top, "");
    assert_eq!((same.keep, same.links.len(), same.rollout.batch), (3, 1, Batch::Hosts(4)));
    assert_eq!(same.confirm, Confirm::First);
    let other = config(
        top,
        "keep_releases = 9\nlinked_dirs = []\nservice.restart = \"r\"\nartifact.path = \"b\"\n\
         env.vars.B = \"3\"\nenv.vars.C = \"4\"\nhealth.soak = \"1s\"\nrollout.batch = \"all\"\n\
         confirm = false",
    );
    assert_eq!((other.keep, other.links.len(), other.rollout.batch), (9, 0, Batch::All));
    assert_eq!(other.confirm, Confirm::Never);
    let restart = "r".to_owned();
    let limit = Duration::from_secs(7);
    let what = ServiceKind::Command { restart, stop: None, log: None };
    assert_eq!(other.services, [Service { limit, ..service(what) }]);
    let artifact = other.artifact.unwrap();
    assert_eq!(artifact.source, ArtifactSource::Path { path: "/project/b".into(), sha256: None });
    assert_eq!(artifact.exclude, ["x"]);
    let vars = &other.env[0].vars;
    let vars = vars.iter().map(|(key, var)| format!("{key}={:?}", var.source)).collect::<Vec<_>>();
    assert_eq!(vars.join(" "), "A=Text(\"1\") B=Text(\"3\") C=Text(\"4\")");
    assert_eq!(other.health.soak, Duration::from_secs(1));
    assert_eq!(other.health.checks.len(), 1);
}

#[test]
fn flags_override_variables_and_variables_the_file() {
    let variables = |name: &str| match name {
        "SHIPIT_STAGE" => Some("b".to_owned()),
        "SHIPIT_ARTIFACT" => Some("from-variable".to_owned()),
        "SHIPIT_KEEP_RELEASES" => Some("7".to_owned()),
        "SHIPIT_HOSTS" => Some("b1, b2".to_owned()),
        "SHIPIT_ROLES" => Some(String::new()),
        _ => None,
    };
    let text = format!(
        "{LEAST}keep_releases = 2\nparallel = 3\nartifact.path = \"x\"\nartifact.exclude = [\"y\"]\n\
         default_stage = \"a\"\n[stages.a]\nhosts = [\"a1\"]\n[stages.b]\nhosts = [\"b1\", \"b2\", \"b3\"]\n"
    );
    let file = parse(&text).unwrap();
    let none = Overrides::default().or_environment(&variables).unwrap();
    let config = file.resolve(None, &none).unwrap();
    assert_eq!((config.stage.as_str(), config.keep, config.parallel), ("b", 7, 3));
    assert_eq!(names(&config), ["b1", "b2"]);
    let artifact = config.artifact.unwrap();
    let path = "/project/from-variable".into();
    assert_eq!(artifact.source, ArtifactSource::Path { path, sha256: None });
    assert_eq!(artifact.exclude, ["y"]);

    let flags = Overrides {
        artifact: Some(format!("z.tar#sha256={HEX}")),
        directory: "/cwd".into(),
        hosts: vec!["b3".to_owned()],
        keep: Some(1),
        ..Overrides::default()
    };
    let config = file.resolve(None, &flags.or_environment(&variables).unwrap()).unwrap();
    assert_eq!((config.keep, names(&config)), (1, vec!["b3"]));
    let sha256 = Some(DigestSource::Known(HEX.parse().unwrap()));
    let source = ArtifactSource::Path { path: "/cwd/z.tar".into(), sha256 };
    assert_eq!(config.artifact.unwrap().source, source);
}

#[test]
fn flags_and_variables_follow_the_rules_of_the_file() {
    let least = format!("{LEAST}{STAGE}");
    let keep = Overrides { keep: Some(0), ..Overrides::default() };
    assert_snapshot!(whole(&least, &keep), @"--keep: `keep_releases` must be 1 or more: 0");
    let artifact = Overrides { artifact: Some("https://x/y".to_owned()), ..Overrides::default() };
    assert_snapshot!(whole(&least, &artifact), @"
    --artifact: an artifact with an address needs its `sha256`
      hint: add `--sha256 …`, or `#sha256=…` at the end of the address
    ");
    let variables = |name: &str| (name == "SHIPIT_PARALLEL").then(|| "many".to_owned());
    let error = Overrides::default().or_environment(&variables).unwrap_err();
    assert_snapshot!(say(&error), @"SHIPIT_PARALLEL: `parallel` must be a whole number, 1 or more: many");
    let variables = |name: &str| (name == "SHIPIT_KEEP_RELEASES").then(|| "0".to_owned());
    let error = Overrides::default().or_environment(&variables).unwrap_err();
    assert_snapshot!(say(&error), @"SHIPIT_KEEP_RELEASES: `keep_releases` must be a whole number, 1 or more: 0");
}

#[test]
fn error_columns_count_characters() {
    let error = parse("app = \"ä\"\nö = 1, app = 2\n").unwrap_err();
    let ConfigError::Syntax { place: ConfigPlace::Line { line, .. }, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(line, 2);
    let error = parse("app = \"x\"\nservice = { unit = \"ä\", x = 1 }\n").unwrap_err();
    let ConfigError::UnknownKey { place: ConfigPlace::Line { line, column, .. }, .. } = error
    else {
        panic!("{error}")
    };
    assert_eq!((line, column), (2, 25));
}

#[test]
fn missing_file_hints_at_init() {
    let error = load(Path::new("/nonexistent/deploy.toml")).unwrap_err();
    assert_snapshot!(say(&error), @"
    could not read /nonexistent/deploy.toml
      hint: `shipit init` writes one
    ");
}

#[test]
fn paths_are_relative_to_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deploy.toml");
    std::fs::write(&path, format!("{LEAST}artifact.path = \"dist\"\n{STAGE}")).unwrap();
    let config = load(&path).unwrap().resolve(None, &Overrides::default()).unwrap();
    assert_eq!(config.base, directory.path());
    let path = directory.path().join("dist");
    assert_eq!(config.artifact.unwrap().source, ArtifactSource::Path { path, sha256: None });
}

#[test]
fn example_resolves_for_each_stage() {
    let text = include_str!("../../deploy.example.toml");
    let file = parse(text).unwrap();
    for stage in file.stages() {
        let config = file.resolve(Some(stage), &Overrides::default());
        assert!(config.is_ok(), "{stage}: {}", config.unwrap_err());
    }
    assert_eq!(file.stages().len(), 4);
}

#[test]
fn example_and_page_name_every_key() {
    let example = include_str!("../../deploy.example.toml");
    let page = include_str!("../../docs/configuration.md");
    let keys = known_keys();
    assert!(keys.len() > 60, "{keys:?}");
    for key in &keys {
        let last = key.rsplit('.').next().unwrap();
        let words = |text: &str| {
            let split = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            split.map(str::to_owned).collect::<Vec<_>>()
        };
        assert!(words(example).iter().any(|word| word == last), "{key} is not in the example");
        assert!(words(page).iter().any(|word| word == last), "{key} is not in the page");
    }
}
