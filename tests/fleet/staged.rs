//! Releases that are staged now and activated later, and artifacts that go from stage to stage.

use std::fs;

use crate::app::{App, Run, Wish};
use crate::hosts::{APPS, Host};

/// The digest in the last `staged` entry of a host.
fn artifact(app: &App, host: Host) -> String {
    let ledger = app.ledger(host);
    let staged = ledger.lines().rfind(|line| line.contains(r#""event":"staged""#)).unwrap();
    let (_, rest) = staged.split_once(r#""artifact":""#).unwrap();
    rest[..64].to_owned()
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn staged_build_goes_live_without_its_artifact() {
    let app = App::on(&APPS[..2], "later");
    app.deploy(&app.tarball("v1", &[])).ends(0);
    let artifact = app.tarball("v2", &[]);
    let stage = app.shipit(&["stage", "production", "--yes", "--artifact", &artifact]).ends(0);
    stage.says(&["is staged on app1, app2", "`shipit activate production` makes it live"]);
    app.answers("v1", "hello");
    assert!(APPS[..2].iter().all(|host| app.unlocked(*host)));
    fs::remove_file(&artifact).unwrap();
    app.shipit(&["activate", "production", "--yes"]).ends(0);
    app.answers("v2", "hello");
    app.shipit(&["activate", "production", "--yes"]).ends(1).says(&["no release is staged"]);
}

#[test]
#[ignore = "needs the fleet that tests/run boots"]
fn artifact_of_staging_goes_to_production_with_the_config_of_production() {
    let wish = Wish { tables: "\n[hooks]\nstaged = [\"cp .env hooked\"]\n", ..Wish::default() };
    let app = App::with(&APPS[..2], "promoted", &wish);
    app.edit(
        "[stages.production]\nhosts = [\"app1\", \"app2\"]",
        "[stages.staging]\nhosts = [\"app1\"]\n\n[stages.production]\nhosts = [\"app2\"]",
    );
    let built = app.tarball("v1", &[]);
    let deploy = ["deploy", "staging", "--yes", "--artifact", &built];
    Run::of(app.command(&deploy).env("GREETING", "trial")).ends(0);
    fs::remove_file(&built).unwrap();
    app.shipit(&["promote", "staging", "production", "--yes"]).ends(0);
    app.answers_on(APPS[0], "v1", "trial");
    app.answers_on(APPS[1], "v1", "hello");
    assert_eq!(artifact(&app, APPS[0]), artifact(&app, APPS[1]));
    let hooked = APPS[1].root("cat /srv/promoted/current/hooked");
    assert!(hooked.contains("hello") && !hooked.contains("trial"), "{hooked}");

    let again = ["deploy", "production", "--yes", "--env-only"];
    let run = Run::of(app.command(&again).env("GREETING", "goodbye")).ends(0);
    app.answers_on(APPS[1], "v1", "goodbye");
    assert_eq!(artifact(&app, APPS[0]), artifact(&app, APPS[1]), "{}", run.stderr);

    APPS[0].root("cd /srv/promoted/current && chmod u+w VERSION && printf v9 >VERSION");
    app.shipit(&["promote", "staging", "production", "--yes"])
        .ends(1)
        .says(&["is not as it was released", "VERSION"]);
    app.answers_on(APPS[1], "v1", "goodbye");
}
