//! Hosts with ranges in their names, and hosts that are listed elsewhere.

use std::fs;

use shipit::config::Config;
use shipit::config::error::ConfigError;
use shipit::config::file::ConfigFile;
use shipit::config::resolve::Overrides;

use crate::support::config::{LEAST, config, wrong};

fn names(config: &Config) -> Vec<&str> {
    config.hosts.iter().map(|host| host.name.as_str()).collect()
}

/// Returns the config of the smallest file with these `hosts`, beside which a file `hosts` lies.
fn elsewhere(hosts: &str, listed: &str) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("hosts"), listed).unwrap();
    let text = format!(
        "{LEAST}[hooks]\nstaged = [{{ run = \"x\", roles = [\"db\"] }}]\n\n\
                        [stages.prod]\nhosts = {hosts}\n"
    );
    let file = ConfigFile::parse("deploy.toml", dir.path(), text).unwrap();
    file.resolve(None, &Overrides::default())
}

#[test]
fn range_is_several_hosts_with_the_keys_of_their_table() {
    let hosts = "hosts = [{ address = \"web[08:10]\", port = 2222, roles = [\"web\"] }, \"db\"]";
    let text = format!("{LEAST}{hosts}\n[stages.prod]\n");
    let file = ConfigFile::parse("deploy.toml", "/project".as_ref(), text).unwrap();
    let config = file.resolve(None, &Overrides::default()).unwrap();
    assert_eq!(names(&config), ["web08", "web09", "web10", "db"]);
    assert_eq!(config.hosts[2].roles, ["web"]);
    assert_ne!(config.hosts[0].address, config.hosts[1].address);
    assert!(config.listed_elsewhere().is_none());
}

#[test]
fn range_that_cannot_be_meant_is_refused() {
    for bad in ["web[3:1]", "web[1:5000]", "web[1:3", "web[a:c]"] {
        let text = format!("{LEAST}[stages.prod]\nhosts = [\"{bad}\"]\n");
        let file = ConfigFile::parse("deploy.toml", "/project".as_ref(), text).unwrap();
        let error = file.resolve(None, &Overrides::default()).unwrap_err().to_string();
        assert!(error.starts_with("deploy.toml:4: `hosts` must be"), "{bad}: {error}");
    }
}

#[test]
fn hosts_come_from_a_file_or_a_command() {
    let listed = r#"{"address": "deploy@db1", "port": 2222, "roles": ["db"]}"#;
    for hosts in ["{ file = \"hosts\" }", "{ command = \"cat hosts\" }"] {
        let config = elsewhere(hosts, listed).unwrap();
        assert_eq!(names(&config), ["deploy@db1"], "{hosts}");
        assert_eq!(config.hosts[0].roles, ["db"]);
        assert!(
            config.listed_elsewhere().unwrap().ends_with("hosts: deploy@db1")
                || hosts.contains("cat")
        );
    }
    let config = elsewhere("{ command = \"echo $SHIPIT_STAGE[1:2]\" }", "").unwrap();
    assert_eq!(names(&config), ["prod1", "prod2"]);
    assert_eq!(
        config.listed_elsewhere().unwrap(),
        "2 hosts from `echo $SHIPIT_STAGE[1:2]`: prod1, prod2"
    );
}

#[test]
fn wrong_list_is_told_with_its_source() {
    for (hosts, listed, why) in [
        ("{ file = \"none\" }", "", "from none: No such file"),
        ("{ file = \"hosts\" }", "# all gone\n", "from hosts: it lists no host"),
        ("{ file = \"hosts\" }", "web1\nweb;2\n", "from hosts: `address` must be a host as in ssh"),
        ("{ file = \"hosts\" }", "web1\nweb1\n", "from hosts: host `web1` is listed twice"),
        ("{ command = \"echo gone >&2; false\" }", "", "it exited with code 1: gone"),
        ("{ command = \"true\", file = \"hosts\" }", "", "cannot both be given"),
        ("{ }", "", "stage `prod` has no hosts"),
    ] {
        let error = elsewhere(hosts, listed).unwrap_err().to_string();
        assert!(error.starts_with("deploy.toml:") && error.contains(why), "{hosts}: {error}");
    }
}

#[test]
fn key_of_the_table_is_checked() {
    let error = wrong("hosts = { comand = \"x\" }");
    assert!(error.contains("unknown key `comand`") && error.contains("`command`"), "{error}");
    let error = wrong("hosts = \"web1\"");
    assert!(error.contains("a list of hosts, or a table with `command` or `file`"), "{error}");
    assert!(config("", "").hosts_from.is_none());
}
