//! `shipit check` on real hosts: what it finds, and that its fixes mend it.

use crate::app::{App, Wish};
use crate::hosts::{APPS, Host, SPARE};

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn check_names_rights_the_service_user_lacks_and_the_fix() {
    let wish = Wish {
        provision: &["--run-as", "svc"],
        top: "linked_dirs = [\"uploads\"]",
        ..Wish::default()
    };
    let app = App::with(&APPS, "runner", &wish);
    app.tarball("v1", &[]);
    app.edit("[service]", "[artifact]\npath = \"v1.tar.gz\"\n\n[service]");
    let said = app.shipit(&["check", "production"]).ends(0).stdout;
    assert!(said.contains("may not write /srv/runner/shared/uploads"), "{said}");
    let better = "{ path = \"uploads\", mode = \"2775\", group = \"svc\" }";
    assert!(said.contains(&format!("fix: in linked_dirs: `{better}`")), "{said}");
    app.edit("\"uploads\"", better);
    // systemd no longer reads the env file for it.
    for host in APPS {
        host.root(
            "sed -i /EnvironmentFile/d /etc/systemd/system/runner.service && systemctl daemon-reload",
        );
    }
    let said = app.shipit(&["check", "production"]).ends(1).stdout;
    assert!(said.contains("svc, which the service runs as, may not read .env"), "{said}");
    app.edit("[env]\n", "[env]\nmode = \"0640\"\ngroup = \"svc\"\n");
    let said = app.shipit(&["check", "production"]).ends(0).stdout;
    assert!(said.contains("svc, which the service runs as, may read and write"), "{said}");
    assert!(said.contains(" 0 warnings, 0 problems"), "{said}");
    app.deploy(&app.tarball("v1", &[])).ends(0);
    for host in APPS {
        host.root("su -s /bin/sh svc -c 'touch /srv/runner/current/uploads/x && test -r /srv/runner/current/.env'");
    }
}

/// Does what a fix says is to be done on the host: as root where it says `sudo`.
fn mend(host: Host, fix: &str) {
    let command = fix.split('`').nth(1).unwrap();
    host.put("/tmp/mend", command);
    let who = if command.contains("sudo") { "root" } else { "deploy" };
    host.root(&format!("sudo -u {who} sh /tmp/mend </dev/null"));
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn fixes_of_check_work_when_pasted() {
    let wish = Wish {
        provision: &["--run-as", "svc", "--no-sudo"],
        top: "linked_dirs = [\"uploads\"]\nlinked_files = [\"key\"]",
        tables: "group = \"fixers\"",
        ..Wish::default()
    };
    // Alone: when others have systemd read its unit files, a changed one is changed no more.
    let host = SPARE[0];
    // Breaks again what an earlier run of this test has mended.
    host.try_root(
        "systemctl stop fixes.service; gpasswd -d deploy fixers; groupdel fixers; \
         rm -rf /srv/fixes /etc/systemd/system/fixes.service* /etc/sudoers.d/*fixes \
         /etc/systemd/system/*.wants/fixes.service",
    );
    let app = App::with(&[host], "fixes", &wish);
    app.tarball("v1", &[]);
    app.edit("[service]", "[artifact]\npath = \"v1.tar.gz\"\n\n[service]");
    // systemd reads the file of a unit again if the unit neither runs nor has failed.
    host.root(
        "sed -i -e /EnvironmentFile/d -e /WorkingDirectory/d -e s,/srv/fixes/current,/opt/old, \
         /etc/systemd/system/fixes.service && systemctl disable fixes.service && \
         sed -i '/^.Install/,$d' /etc/systemd/system/fixes.service && systemctl daemon-reload; \
         systemctl start fixes.service; touch -d tomorrow /etc/systemd/system/fixes.service; \
         echo 'deploy ALL=(root) PASSWD: /usr/bin/systemctl * fixes.service' \
         >/etc/sudoers.d/zz-fixes; mkdir -p /srv/fixes/shared/uploads && chmod 777 /srv/fixes && chmod o-x /srv/fixes/shared",
    );
    let mut rounds = Vec::new();
    loop {
        let said = app.shipit(&["check", "production"]).stdout;
        let fixes: Vec<_> = said.lines().filter_map(|line| line.split_once("fix: ")).collect();
        let on_host = |fix: &&str| fix.starts_with("on the host: ");
        fixes.iter().map(|(_, fix)| *fix).filter(on_host).for_each(|fix| mend(host, fix));
        if let Some((_, fix)) = fixes.iter().find(|(_, fix)| fix.starts_with("in [env]")) {
            let lines: Vec<_> = fix.split('`').skip(1).step_by(2).collect();
            app.edit("group = \"fixers\"", &lines.join("\n"));
        }
        let mended = fixes.is_empty();
        rounds.push(said);
        if mended || rounds.len() > 3 {
            break;
        }
    }
    let first = &rounds[0];
    for found in [
        "everybody can write /srv/fixes",
        "/srv/fixes/shared cannot be written by deploy",
        "/srv/fixes/shared/key does not exist",
        "may not enter /srv/fixes/shared",
        "may not write /srv/fixes/shared/uploads",
        "may not read .env",
        "deploy is not in the group fixers",
        "sudo does not allow deploy to restart, stop, reset-failed fixes.service",
        "fixes.service does not go through /srv/fixes/current",
        "fixes.service runs /opt/old/bin/serve, which is not there",
        "the file of fixes.service was changed since systemd read it",
        "fixes.service does not start when the host boots",
    ] {
        assert!(first.contains(found), "no `{found}` in\n{first}");
    }
    host.root("systemctl stop fixes.service; rm /etc/sudoers.d/*fixes");
    let last = rounds.last().unwrap();
    let later = "its last rule that matches is (root) /usr/bin/systemctl * fixes.service";
    assert!(rounds.iter().any(|said| said.contains(later)), "{}", rounds.join("\n"));
    assert!(last.contains(" 0 warnings, 0 problems"), "{}", rounds.join("\n"));
}
