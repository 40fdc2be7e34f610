//! `[sudo]`: the way to rights that the login does not have.

use shipit::config::{EnvSource, PasswordSource};

use crate::support::config::{config, wrong};

#[test]
fn sudo_is_used_without_a_password_unless_said_otherwise() {
    let sudo = config("", "").sudo;
    assert_eq!(
        (sudo.command.join(" "), sudo.outer().join(" ")),
        ("sudo -n".into(), "sudo -n".into())
    );
    assert_eq!((sudo.user, sudo.password), (None, None));
    let sudo = config("[sudo]\ncommand = \"doas -n\"\nuser = \"app\"", "").sudo;
    assert!(!sudo.tells() && sudo.outer() == ["doas", "-n"]);
    assert_eq!(sudo.user.as_deref(), Some("app"));
}

#[test]
fn password_turns_the_login_into_another_user() {
    let sudo = config("[sudo]\nuser = \"app\"\npassword = \"ask\"", "").sudo;
    assert_eq!(sudo.password, Some(PasswordSource::Terminal));
    let sudo =
        config("[sudo]\npassword = { command = \"pass show web\" }\nuser = \"app\"", "").sudo;
    let command = EnvSource::Command("pass show web".to_owned());
    assert_eq!(sudo.password, Some(PasswordSource::Elsewhere(command)));
    assert_eq!(sudo.outer(), ["sudo", "-S"], "the login becomes app");
    assert_eq!(sudo.command, ["sudo", "-n"], "app has no password");
}

#[test]
fn what_cannot_work_is_refused() {
    for (table, why) in [
        ("command = \"su -c\"", "`sudo`, `sudo-rs`, `doas` or `run0` with flags"),
        ("command = \"sudo -n; rm\"", "`sudo`, `sudo-rs`, `doas` or `run0` with flags"),
        ("command = []", "`sudo`, `sudo-rs`, `doas` or `run0` with flags"),
        ("user = \"-x\"", "the name of a user"),
        ("user = \"app\"\npassword = \"s3cret\"", "`password` must be \"ask\""),
        ("password = \"ask\"", "`password` needs `user`"),
        ("command = \"doas\"\nuser = \"app\"\npassword = \"ask\"", "read one from a terminal only"),
        (
            "command = \"doas -n\"\n[service]\nfile = \"todo.service\"",
            "sudo where a release brings unit files",
        ),
    ] {
        let error = wrong(&format!("[sudo]\n{table}"));
        assert!(error.contains(why) && !error.contains("s3cret"), "{table}: {error}");
    }
}
