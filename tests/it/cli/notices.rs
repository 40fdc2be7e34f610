//! Notices: what is sent where, and that none keeps a deploy from its work.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::project::Project;
use crate::support::receiver::{Posted, receiver};

fn project(notices: &str) -> Project {
    let project = Project::local();
    let text = project.read("deploy.toml");
    project
        .write("deploy.toml", &text.replace("[stages.here]", &format!("{notices}\n[stages.here]")));
    project
}

fn text(posted: &Posted) -> &str {
    posted.body["text"].as_str().unwrap()
}

#[test]
fn each_receiver_gets_its_form_at_its_moments() {
    let server = receiver(&[]);
    let url = &server.url;
    let project = project(&format!(
        "[[notices]]\nurl = {{ env = \"HOOK\" }}\nformat = \"slack\"\non = [\"started\", \"done\"]\n\
         [[notices]]\nurl = \"{url}/teams\"\nformat = \"teams\"\n\
         [[notices]]\nurl = \"{url}/json\"\n\
         [[notices]]\nurl = \"{url}/never\"\non = [\"failed\"]\n"
    ));
    let mut deploy = project.command("deploy -v");
    let said = project.said(deploy.env("HOOK", format!("{url}/slack/s3cret-part?a=b")));
    assert!(said.starts_with("exit: 0") && !said.contains("s3cret-part"), "{said}");
    let mut all: Vec<_> = (0..4).map(|_| server.posted.recv().unwrap()).collect();
    assert!(server.posted.try_recv().is_err(), "one of them is about failures only");
    all.sort_by_key(|posted| (posted.path.clone(), text_or_empty(posted).len()));
    assert_eq!(all[0].path, "/json");
    assert_eq!(all[0].body["notice"], "done");
    assert_eq!(all[0].body["who"], "ada");
    assert_eq!(all[0].body["report"]["hosts"][0]["result"], "done");
    let (started, done) = (&all[1], &all[2]);
    assert_eq!(started.path, "/slack/s3cret-part?a=b");
    assert_eq!(started.body, json!({ "text": "todo: deploy here started by ada (local)" }));
    assert!(
        text(done).starts_with("todo: deploy here by ada: done\nlocal is on 20"),
        "{}",
        text(done)
    );
    let card = &all[3].body["attachments"][0]["content"];
    assert_eq!(card["type"], "AdaptiveCard");
    assert_eq!(card["body"][0]["text"], "todo: deploy here by ada: done");
}

fn text_or_empty(posted: &Posted) -> &str {
    posted.body["text"].as_str().unwrap_or_default()
}

#[test]
fn revert_is_told_to_those_who_want_failures_without_secrets() {
    let server = receiver(&[]);
    let project = project(&format!("[[notices]]\nurl = \"{}/a\"\non = [\"failed\"]", server.url));
    assert!(project.shipit("deploy").starts_with("exit: 0"));
    let config = project.read("deploy.toml");
    let broken = "grep -qx 1 VERSION || { echo p0isoned-value '<!channel>'; exit 1; }";
    project.write("deploy.toml", &config.replace("test -e VERSION", broken));
    project.write("dist/VERSION", "2\n");
    assert!(project.shipit("deploy").starts_with("exit: 1"));
    let told = server.posted.recv().unwrap();
    assert_eq!(told.body["notice"], "reverted");
    assert!(text(&told).contains("todo: deploy here by ada: reverted\nlocal: "), "{}", text(&told));
    assert!(!told.body.to_string().contains("p0isoned"), "{}", told.body);
    project.write("deploy.toml", &config.replace("/a\"", "/b\"\nformat = \"slack\""));
    project.write("dist/VERSION", "3\n");
    let config = project.read("deploy.toml");
    project.write("deploy.toml", &config.replace("test -e VERSION", broken));
    assert!(project.shipit("deploy").starts_with("exit: 1"));
    let told = server.posted.recv().unwrap();
    assert!(text(&told).contains("&lt;!channel&gt;"), "{}", text(&told));
}

#[test]
fn busy_receiver_is_asked_again_and_one_that_refuses_is_not() {
    let server = receiver(&[503, 429, 200, 404]);
    let project = project(&format!("[[notices]]\nurl = \"{}/x?token=s3cret-part\"", server.url));
    let said = project.shipit("deploy");
    assert!(said.starts_with("exit: 0") && !said.contains("warning"), "{said}");
    let said = project.shipit("rollback");
    assert!(said.contains("warning: a notice did not reach 127.0.0.1:"), "{said}");
    assert!(said.contains(": it answered 404\n") && !said.contains("s3cret-part"), "{said}");
    assert_eq!(server.posted.iter().take(4).count(), 4);
    assert!(server.posted.try_recv().is_err());
}

/// A receiver that takes the connection and never answers.
#[test]
fn silent_receiver_holds_up_only_the_end_and_not_for_long() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = mute.local_addr().unwrap();
    let started = "on = [\"started\", \"done\"]";
    let project = project(&format!("[[notices]]\nurl = \"http://{address}\"\n{started}"));
    let text = project.read("deploy.toml");
    let after = "[hooks]\nlocal.after = [\"touch after\"]\n";
    project.write("deploy.toml", &text.replace("[hooks]\n", after));
    let began = Instant::now();
    let said = project.shipit("deploy");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert!(said.starts_with("exit: 0") && project.path().join("after").exists(), "{said}");
    assert!(said.contains("warning: a notice was not answered within 5s\n"), "{said}");
}

#[test]
fn notice_without_an_address_is_a_warning_and_a_dry_run_sends_none() {
    let server = receiver(&[]);
    let project = project("[[notices]]\nurl = { env = \"HOOK\" }");
    let said = project.shipit("deploy");
    let warning =
        "warning: no notice is sent: `url` comes from the variable `HOOK`, which is not set";
    assert!(said.starts_with("exit: 0") && said.contains(warning), "{said}");
    let mut wrong = project.command("rollback");
    let said = project.said(wrong.env("HOOK", "hooks.example.net/s3cret"));
    assert!(said.contains("no notice is sent: its `url` is no address"), "{said}");
    for line in ["deploy -n --force", "prune", "status", "lock", "unlock --yes"] {
        let mut command = project.command(line);
        assert!(project.said(command.env("HOOK", &server.url)).starts_with("exit: 0"), "{line}");
    }
    assert!(server.posted.try_recv().is_err());
}

/// Returns the report that a hook wrote down.
fn report(project: &Project, file: &str) -> Value {
    serde_json::from_str(&project.read(file)).unwrap()
}

#[test]
fn hooks_here_get_the_report_and_need_not_read_it() {
    let project = Project::local();
    let text = project.read("deploy.toml");
    let hooks = "[hooks]\nlocal.after = [\"cat >done.json\", \"true\"]\n\
                 local.failed = [\"cat >failed.json\"]\nlocal.before = [\"cat >before\"]\n";
    project.write("deploy.toml", &text.replace("[hooks]\n", hooks));
    let said = project.shipit("deploy");
    assert!(said.starts_with("exit: 0") && !said.contains("warning"), "{said}");
    let done = report(&project, "done.json");
    assert_eq!((&done["v"], &done["event"]), (&json!(1), &json!("report")));
    assert_eq!(done["hosts"][0]["result"], "done");
    assert_eq!(project.read("before"), "");
    let text = project.read("deploy.toml");
    let broken = "grep -qx 1 VERSION || { echo p0isoned-value; exit 1; }";
    project.write("deploy.toml", &text.replace("test -e VERSION", broken));
    project.write("dist/VERSION", "2\n");
    assert!(project.shipit("deploy").starts_with("exit: 1"));
    let failed = report(&project, "failed.json");
    assert_eq!(failed["verdict"], "not-done");
    assert!(!failed.to_string().contains("p0isoned"), "{failed}");
}
