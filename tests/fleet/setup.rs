//! `shipit setup` on a host that knows nothing of the app, and a deploy right after it.

use std::fs;

use crate::app::{App, Wish};
use crate::hosts::APPS;

/// A build with its unit file.
fn build(app: &App, version: &str) -> String {
    let port = app.port();
    app.tarball_of(version, &[], |tree| {
        fs::create_dir_all(tree.join("bin")).unwrap();
        fs::copy("vagrant/service/bin/serve", tree.join("bin/serve")).unwrap();
        fs::create_dir_all(tree.join("deploy")).unwrap();
        let unit = format!(
            "[Service]\nUser=settler\nWorkingDirectory=/srv/fallow/current\nEnvironment=PORT={port}\n\
             Environment=PYTHONDONTWRITEBYTECODE=1\nEnvironmentFile=/srv/fallow/current/.env\n\
             ExecStart=/srv/fallow/current/bin/serve\n\n[Install]\nWantedBy=multi-user.target\n"
        );
        fs::write(tree.join("deploy/fallow.service"), unit).unwrap();
    })
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn fresh_host_is_set_up_and_deployed_to_and_a_second_setup_changes_nothing() {
    let host = APPS[2];
    let wish = Wish {
        provision: &["--scope", "none", "--no-sudo"],
        top: "linked_files = [\"config/key\"]",
        ..Wish::default()
    };
    let app = App::with(&[host], "fallow", &wish);
    // Remains of an earlier run of this test.
    host.try_root("systemctl disable --now fallow; pkill -u settler; userdel -r settler");
    host.root("rm -rf /srv/fallow /etc/sudoers.d/shipit-fallow");
    app.edit("unit = \"fallow.service\"", "file = \"deploy/fallow.service\"");
    app.edit("user = \"deploy\"", "user = \"settler\"");
    fs::create_dir(app.home().join("config")).unwrap();
    app.write("config/key.example", "put yours here\n");
    let setup =
        |more: &[&str]| app.shipit(&[&["setup", "production", "--as", "root"], more].concat());
    // Nothing is there, and to look changes nothing.
    let shown = setup(&["--check"]).ends(1).stdout;
    for line in ["make the user settler", "into the group systemd-journal", "make /srv/fallow,"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    setup(&["--dry-run"]).ends(0);
    assert!(!host.try_root("id settler || ls /srv/fallow").status.success());
    // Set up once, and nothing more is left to do.
    setup(&["--yes"]).ends(0);
    let state = "cat /etc/sudoers.d/shipit-fallow; visudo -c; id settler; \
                 find /srv/fallow /home/settler/.ssh ! -path '*/releases*' -printf '%p %u %m\\n' | sort";
    let before = host.root(state);
    setup(&["--check"]).ends(0);
    let said = setup(&["--yes"]).ends(0).stdout;
    assert!(said.contains("nothing to do"), "{said}");
    assert_eq!(host.root(state), before);
    // A deploy needs nothing more.
    let artifact = build(&app, "v1");
    let said = app.shipit(&["check", "production", "--artifact", &artifact]).ends(0).stdout;
    assert!(said.contains(" 0 problems"), "{said}");
    app.deploy(&artifact).ends(0);
    app.answers("v1", "hello");
    assert_eq!(host.root("cat /srv/fallow/current/config/key"), "put yours here");
    assert!(setup(&["--yes"]).ends(0).stdout.contains("nothing to do"));
    // The user who deploys may not set up; root sees what somebody removed.
    let said = app.shipit(&["setup", "production", "--check"]).ends(1).stderr;
    assert!(said.contains("could not become root"), "{said}");
    host.root("sed -i /restart/d /etc/sudoers.d/shipit-fallow");
    assert!(setup(&["--check"]).ends(1).stdout.contains("systemctl restart fallow.service"));
    setup(&["--yes"]).ends(0);
    app.deploy(&build(&app, "v2")).ends(0);
    app.answers("v2", "hello");
}
