//! `[health]`: what is asked, how often, of whom, and every way to write it wrongly.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use insta::assert_snapshot;
use shipit::config::checks::{Check, HealthProbe, Trust};
use shipit::config::gather::gather;
use shipit::config::resolve::Overrides;
use shipit::config::{Health, Host};

use crate::support::config::{LEAST, STAGE, config, resolve, whole, wrong, wrong_stage};

/// Returns the checks of the smallest file with `top`, a line each.
#[track_caller]
fn checks(top: &str) -> String {
    config(top, "").health.checks.iter().map(|check| say(check) + "\n").collect()
}

fn say(check: &Check) -> String {
    let Check { probe, pace, roles } = check;
    let mut words = vec![probe.to_string()];
    if let HealthProbe::Http(http) = probe {
        words.push(format!("at {} {} {}", http.host, http.port, http.path));
        words.extend(http.trust.as_ref().map(|trust| match trust {
            Trust::Public => "public".to_owned(),
            Trust::Only { path, .. } => format!("ca {}", path.display()),
            Trust::Anybody => "anybody".to_owned(),
        }));
        words.extend(http.name.as_ref().map(|name| format!("as {name}")));
        words.push(format!("{:?}", http.status.0));
        words.extend(http.body.as_ref().map(|body| format!("with {body:?}")));
        words.extend(http.headers.iter().map(|header| format!("{header:?} {:?}", header.value)));
    }
    words.push(format!(
        "{:?}/{:?}/{:?} x{}",
        pace.interval, pace.timeout, pace.total, pace.successes
    ));
    words.extend(roles.iter().map(|role| format!("on {role}")));
    words.join(", ")
}

#[test]
fn short_form_has_a_key_for_each_kind() {
    assert_snapshot!(checks("health.http = \"http://127.0.0.1:8080/up\""), @"GET http://127.0.0.1:8080/up, at 127.0.0.1 8080 /up, [200..=399], 1s/5s/30s x1");
    assert_snapshot!(
        checks("health = { tcp = \"[::1]:5432\", command = \"bin/ok\", successes = 3, total = \"2m\" }"),
        @"
    TCP [::1]:5432, 1s/5s/120s x3
    `bin/ok`, 1s/5s/120s x3
    "
    );
}

#[test]
fn full_form_is_a_list() {
    let top = r#"
        [health]
        http = "http://localhost/up"
        interval = "2s"
        [[health.checks]]
        http = "https://127.0.0.1:8443/up"
        host = "todo.example.net"
        status = [200, "3xx", "401-403"]
        body = "ok"
        ca = "certs/own.pem"
        headers = { X-Key = { env = "KEY" }, Accept = "text/plain" }
        interval = "500ms"
        successes = 2
        roles = ["web"]
        [[health.checks]]
        tcp = "db.internal:5432"
        [[health.checks]]
        https = 1
    "#;
    assert_snapshot!(wrong(top), @"
    deploy.toml:20: unknown key `https` in [health.checks]
      hint: did you mean `http`?
    ");
    let top = top.replace("[[health.checks]]\n        https = 1", "");
    let hosts = "[stages.more]\nhosts = [{ address = \"w\", roles = [\"web\"] }]\n";
    assert_snapshot!(checks(&format!("default_stage = \"prod\"\n{top}\n{hosts}")), @r#"
    GET http://localhost/up, at localhost 80 /up, [200..=399], 2s/5s/30s x1
    GET https://127.0.0.1:8443/up, at 127.0.0.1 8443 /up, ca /project/certs/own.pem, as todo.example.net, [200..=200, 300..=399, 401..=403], with "ok", Header(Accept) Text("text/plain"), Header(X-Key) Variable("KEY"), 500ms/5s/30s x2, on web
    TCP db.internal:5432, 2s/5s/30s x1
    "#);
}

#[test]
fn loopback_address_means_the_host() {
    let check = |url: &str| match &config(&format!("health.http = \"{url}\""), "").health.checks[..]
    {
        [Check { probe: HealthProbe::Http(http), .. }] => {
            format!("{} {} {}", http.host, http.port, http.path)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(check("http://127.0.0.1:8080/up?x=1"), "127.0.0.1 8080 /up?x=1");
    assert_eq!(check("http://[::1]:81"), "::1 81 /");
    assert_eq!(check("http://localhost"), "localhost 80 /");
    assert_eq!(check("https://localhost?x"), "localhost 443 /?x");
    for bad in [
        "localhost:80",
        "ftp://x",
        "http://",
        "http://:80/",
        "http://u:p@h/",
        "http://h:x/",
        "http://h/a b",
        "http://h/#x",
        "http://h/ä",
    ] {
        let text = wrong(&format!("health.http = \"{bad}\""));
        assert!(text.starts_with("deploy.toml:3: `http` must be an address such as"), "{text}");
    }
    for bad in ["localhost", ":1", "h:0x1", "h:70000", "a b:1"] {
        let text = wrong(&format!("health.tcp = \"{bad}\""));
        assert!(text.starts_with("deploy.toml:3: `tcp` must be a host and a port"), "{text}");
    }
}

#[test]
fn contradicting_keys_are_refused() {
    let one = |check: &str| wrong(&format!("[[health.checks]]\n{check}"));
    assert_snapshot!(wrong("health.total = 3"), @"deploy.toml:3: `total` needs `http`");
    assert_snapshot!(wrong("health.successes = 3"), @"deploy.toml:3: `successes` needs `http`");
    assert_snapshot!(wrong("[health]\nhttp = \"http://x\"\ninterval = 0"), @"deploy.toml:5: `interval` must be 100ms or more: 0s");
    assert_snapshot!(wrong("[health]\nhttp = \"http://x\"\nsuccesses = 0"), @"deploy.toml:5: `successes` must be 1 or more: 0");
    assert_snapshot!(one("interval = 1"), @"deploy.toml:3: `http` is missing (or `tcp`, or `command`) in a health check");
    assert_snapshot!(one("http = \"http://x\"\ntcp = \"x:1\""), @"deploy.toml:4: `http` and `tcp` cannot both be given");
    assert_snapshot!(one("command = \"x\"\ntcp = \"x:1\""), @"deploy.toml:5: `tcp` and `command` cannot both be given");
    assert_snapshot!(one("tcp = \"x:1\"\nbody = \"x\""), @"deploy.toml:5: `body` needs `http`");
    assert_snapshot!(one("command = \"x\"\nheaders = { A = \"b\" }"), @"deploy.toml:5: `headers` needs `http`");
    assert_snapshot!(one("command = \" \""), @r#"deploy.toml:4: `command` must be a command: " ""#);
    assert_snapshot!(one("http = \"http://x\"\ninsecure = true"), @"deploy.toml:5: `insecure` needs `https://`");
    assert_snapshot!(one("http = \"https://x\"\ninsecure = true\nca = \"x\""), @"deploy.toml:6: `ca` and `insecure` cannot both be given");
    assert_snapshot!(one("http = \"http://x\"\nhost = \"a:1\""), @"deploy.toml:5: `host` must be the name of a host, without a port: a:1");
    assert_snapshot!(one("http = \"http://x\"\nroles = [\"wb\"]"), @"
    deploy.toml:5: no host of any stage has the role `wb`
      hint: there are no roles
    ");
    assert_snapshot!(one("http = \"http://x\"\nstatus = 99"), @r#"deploy.toml:5: `health.checks.status` must be a status such as 200, "2xx" or "200-204", or a list of them, not the number 99"#);
    assert_snapshot!(one("http = \"http://x\"\nstatus = \"204-200\""), @r#"deploy.toml:5: `health.checks.status` must be a status such as 200, "2xx" or "200-204", or a list of them, not "204-200""#);
    assert_snapshot!(one("http = \"http://x\"\nstatus = []"), @r#"deploy.toml:5: `health.checks.status` must be a status such as 200, "2xx" or "200-204", or a list of them, not an empty list"#);
    assert_snapshot!(one("http = \"http://x\"\nheaders = { Host = \"b\" }"), @"deploy.toml:5: `headers` must be a name of HTTP headers, other than `Host` (use `host`) and those that frame a request: Host");
    assert_snapshot!(one("http = \"http://x\"\nheaders = { A = \"b\\nc\" }"), @r"deploy.toml:5: `headers` must be text in one line: b\nc");
    assert_snapshot!(one("http = \"http://x\"\nheaders = { A = 3 }"), @r#"
    deploy.toml:5: `health.checks.headers.A` must be a string, or a table with `env`, `command` and `file`, not a number
      hint: text stands between quotes: `A = "…"`
    "#);
}

#[test]
fn placeholders_are_known_words() {
    let one = |more: &str| wrong(&format!("[[health.checks]]\nhttp = \"http://x\"\n{more}"));
    assert_snapshot!(wrong("health.http = \"http://x/{relase}\""), @"
    deploy.toml:3: `http` holds `{relase}`, which is no placeholder
      hint: did you mean `{release}`?
    ");
    assert_snapshot!(wrong("health.http = \"http://x/?id={id}\""), @"
    deploy.toml:3: `http` holds `{id}`, which is no placeholder
      hint: there are `{digest}`, `{release}` and `{revision}`, with slots also `{slot}` and `{port}`; in an address, `%7B` and `%7D` are braces
    ");
    assert_snapshot!(one("body = \"at {revison}\""), @"
    deploy.toml:5: `body` holds `{revison}`, which is no placeholder
      hint: did you mean `{revision}`?
    ");
    assert_snapshot!(one("headers = { A = \"{digset}\" }"), @"
    deploy.toml:5: `headers` holds `{digset}`, which is no placeholder
      hint: did you mean `{digest}`?
    ");
    assert!(wrong("health.http = \"http://{release}/\"").contains("must be an address such as"));
    // Braces that are no placeholder are text.
    let text = r#"{"ok":{},"id":"{id}","at":"{Release}"}"#;
    let top = format!("[[health.checks]]\nhttp = 'http://x/{{}}{{X}}'\nbody = '{text}'");
    assert!(checks(&top).contains("at x 80 /{}{X}"));
}

#[test]
fn log_is_only_for_command_services() {
    assert_snapshot!(wrong("[service]\nunit = \"a\"\nlog = \"b\""), @"deploy.toml:5: `log` needs `restart`");
    assert_snapshot!(wrong("[service]\nrestart = \"a\"\nlog = \"../b\""), @"deploy.toml:5: `log` must be a path inside the release, or an absolute one, without `.`, `..` and `//`: ../b");
}

#[test]
fn stage_replaces_the_checks() {
    let text = format!(
        "{LEAST}health.tcp = \"a:1\"\n{STAGE}health.http = \"http://b\"\nhealth.checks = []\n"
    );
    let config = resolve(&text, &Overrides::default()).unwrap();
    let all: Vec<_> = config.health.checks.iter().map(|check| check.probe.to_string()).collect();
    assert_eq!(all, ["GET http://b", "TCP a:1"]);
    assert_snapshot!(wrong_stage("health.checks = [{}]"), @"deploy.toml:6: `http` is missing (or `tcp`, or `command`) in a health check");
    assert_snapshot!(whole(&text.replace("a:1", "a"), &Overrides::default()), @"deploy.toml:3: `tcp` must be a host and a port such as `127.0.0.1:5432`: a");
}

#[test]
fn check_applies_to_hosts_of_its_roles() {
    let text = "default_stage = \"prod\"\n[[health.checks]]\ncommand = \"x\"\nroles = [\"web\"]\n\
                [stages.more]\nhosts = [{ address = \"w\", roles = [\"web\"] }, \"v\"]\n";
    let check = &config(text, "").health.checks[0];
    let concerned = |role: &[&str]| {
        let roles = role.iter().map(|role| (*role).to_owned()).collect();
        check.concerns(&Host { roles, ..config(text, "").hosts[0].clone() })
    };
    assert!(concerned(&["db", "web"]) && !concerned(&["db"]) && !concerned(&[]));
}

/// Fetches the values that checks need, in a directory of its own. Returns secrets and error.
async fn gathered(
    top: &str,
    files: &[(&str, &str)],
    env: &[(&str, &str)],
) -> Result<(Health, Vec<String>), String> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let top = top.replace("DIR", dir.path().to_str().unwrap());
    let mut health = config(&top, "").health;
    let env: BTreeMap<_, _> = env.iter().copied().collect();
    let value = |name: &str| env.get(name).map(|value| (*value).to_owned());
    match gather(&mut health, Path::new(dir.path()), &value).await {
        Ok(secrets) => Ok((health, secrets)),
        Err(error) => {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            let text = format!("{error}{}", source.unwrap_or_default());
            Err(text.replace(dir.path().to_str().unwrap(), "DIR"))
        }
    }
}

#[tokio::test]
async fn header_values_are_fetched_and_secret() {
    let top =
        "[[health.checks]]\nhttp = \"http://x\"\nheaders = { A = \"open\", B = { env = \"KEY\" } }";
    let (health, secrets) = gathered(top, &[], &[("KEY", "hidden")]).await.unwrap();
    assert_eq!(secrets, ["hidden"]);
    assert!(!format!("{:?}", health.checks[0].probe).contains("hidden"), "{health:?}");
    assert_snapshot!(gathered(top, &[], &[]).await.unwrap_err(), @"a health check lacks a header: `B` comes from the variable `KEY`, which is not set");
    assert_snapshot!(gathered(top, &[], &[("KEY", "two\nlines")]).await.unwrap_err(), @"the value of the header `B` of a health check holds characters that no header may");
}

#[tokio::test]
async fn ca_certificates_are_read() {
    let top = "[[health.checks]]\nhttp = \"https://x\"\nca = \"DIR/own.pem\"";
    assert_snapshot!(gathered(top, &[], &[]).await.unwrap_err(), @"could not read the certificates in DIR/own.pem: No such file or directory (os error 2)");
    assert_snapshot!(gathered(top, &[("own.pem", "x")], &[]).await.unwrap_err(), @"DIR/own.pem holds no certificate in PEM form");
}
