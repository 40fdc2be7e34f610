//! Everything as another user than the one that logs in, by a real sudo.

use crate::app::{App, Wish};
use crate::hosts::{APPS, Host};

/// The rules of sudo by which `entry` becomes `acts`.
fn rules(host: Host, lines: &str) {
    host.put("/etc/sudoers.d/entry", &format!("{lines}\n"));
    host.root("chmod 440 /etc/sudoers.d/entry && visudo -cqf /etc/sudoers.d/entry");
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn user_that_cannot_log_in_is_acted_as_and_each_refusal_is_told() {
    let wish = Wish {
        provision: &["--user", "acts"],
        tables: "[sudo]\nuser = \"acts\"",
        ..Wish::default()
    };
    let host = APPS[0];
    let app = App::with(&[host], "acting", &wish);
    host.root(
        "usermod -s /usr/sbin/nologin acts; id entry || useradd -m -s /bin/sh entry; \
         echo entry:open-sesame | chpasswd; cp -r ~acts/.ssh ~entry/; chown -R entry: ~entry/.ssh",
    );
    app.edit("user = \"deploy\"", "user = \"entry\"");
    let artifact = app.tarball("v1", &[]);
    app.edit("[service]", "[artifact]\npath = \"v1.tar.gz\"\n\n[service]");

    for (lines, words) in [
        ("", "could not act as acts on the host: sudo: a password is required"),
        ("entry ALL=(acts) ALL", "could not act as acts on the host: sudo: a password is required"),
        ("Defaults:entry requiretty\nentry ALL=(acts) NOPASSWD: ALL", "tty"),
    ] {
        rules(host, lines);
        let said = app.shipit(&["check", "production"]).ends(1).stdout;
        assert!(said.contains(words), "{lines}: {said}");
    }
    rules(host, "Defaults:entry use_pty\nentry ALL=(acts) NOPASSWD: ALL");
    let said = app.shipit(&["check", "production"]).ends(0).stdout;
    assert!(said.contains("host key and key accepted, and acts as acts"), "{said}");
    assert!(said.contains(" 0 warnings, 0 problems"), "{said}");
    app.deploy(&artifact).ends(0);
    app.answers("v1", "hello");
    assert_eq!(host.root("stat -c %U /srv/acting/current/VERSION"), "acts");

    rules(host, "Defaults:entry use_pty\nentry ALL=(acts) ALL");
    app.write("password", "guess\n");
    app.edit("user = \"acts\"", "user = \"acts\"\npassword = { file = \"password\" }");
    app.deploy(&app.tarball("v2", &[])).ends(1).says(&["the password was wrong"]);
    app.write("password", "open-sesame\n");
    app.deploy(&app.tarball("v2", &[])).ends(0);
    app.answers("v2", "hello");
    host.root("rm /etc/sudoers.d/entry");
}
