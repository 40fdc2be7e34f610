//! Output for machines, and that its documentation keeps up.

use insta::assert_snapshot;
use serde_json::Value;
use shipit::deploy::event::Event;
use shipit::deploy::outcome::{HostResult, Report};
use shipit::report::Reporter;
use shipit::report::json::Json;

use crate::support::buffer::SharedBuffer;
use crate::support::reports::{OLD, done, every_event, failure, report, tell};

fn lines(report: &Report) -> String {
    let paper = SharedBuffer::default();
    let mut json = Json::new(paper.clone());
    tell(&mut json, &every_event());
    json.finish(report);
    paper.text()
}

fn every_result() -> Vec<(&'static str, HostResult)> {
    let failure = || failure("it failed", &["because"], None);
    vec![
        ("a", done()),
        ("b", HostResult::Unchanged { live: None }),
        ("c", HostResult::Untouched { live: None, failure: None }),
        ("d", HostResult::Reverted { live: OLD.to_owned(), failure: failure(), but: None }),
        ("e", HostResult::Locked { holder: "ana".to_owned() }),
        ("f", HostResult::Stuck { cause: failure(), undo: failure() }),
        ("g", HostResult::Unknown { failure: failure() }),
        ("h", HostResult::Skipped { failure: failure() }),
    ]
}

/// The name that an event has for machines, for ever. A new one belongs into `every_event`, too.
fn name(event: &Event) -> &'static str {
    match event {
        Event::RunStarted { .. } => "run-started",
        Event::ArtifactReady { .. } => "artifact-ready",
        Event::ReleaseNamed { .. } => "release-named",
        Event::Phase(_) => "phase",
        Event::Connected { .. } => "connected",
        Event::Ready { .. } => "ready",
        Event::StepStarted { .. } => "step-started",
        Event::StepFinished { .. } => "step-finished",
        Event::StepFailed { .. } => "step-failed",
        Event::Progress { .. } => "progress",
        Event::Printed { .. } => "printed",
        Event::Sent { .. } => "sent",
        Event::Warning { .. } => "warning",
        Event::Reverting { .. } => "putting-back",
        Event::Interrupted { .. } => "interrupted",
    }
}

#[test]
fn event_names_stay() {
    let text = lines(&report(Vec::new()));
    let said = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let said: Vec<_> = said.map(|object| object["event"].as_str().unwrap().to_owned()).collect();
    let mut names: Vec<_> = every_event().iter().map(name).collect();
    assert_eq!(said[..names.len()], names);
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 15, "every_event lacks one");
}

#[test]
fn json_is_one_object_a_line() {
    assert_snapshot!(lines(&report(vec![("web1", done())])), @r#"
    {"v":1,"event":"run-started","goal":"deploy","stage":"production","hosts":["web1","web2"]}
    {"v":1,"event":"artifact-ready","name":"dist/","digest":"9f3c9f3c9f3c9f3c9f3c9f3c9f3c9f3c9f3c9f3c9f3c9f3c9f3c9f3c9f3c9f3c","files":3,"size":4200000,"revision":"71c171c171c171c171c171c171c171c171c171c1-dirty"}
    {"v":1,"event":"phase","phase":"look","batch":null,"of":null}
    {"v":1,"event":"connected","host":"web1","live":"20260821090311"}
    {"v":1,"event":"connected","host":"web2","live":"nothing yet"}
    {"v":1,"event":"release-named","id":"20260822101502"}
    {"v":1,"event":"warning","host":null,"text":"no revision is known"}
    {"v":1,"event":"phase","phase":"prepare","batch":null,"of":null}
    {"v":1,"event":"step-started","host":"web1","step":"upload"}
    {"v":1,"event":"progress","host":"web1","sent":1900000,"total":4200000}
    {"v":1,"event":"sent","host":"web1","line":"check 20260822101502"}
    {"v":1,"event":"step-finished","host":"web1","step":"upload","detail":"4.2 MB","took":1.3}
    {"v":1,"event":"printed","host":"web1","source":"staged","text":"migrating\n3 tables"}
    {"v":1,"event":"ready","host":"web1"}
    {"v":1,"event":"phase","phase":"switch","batch":1,"of":2}
    {"v":1,"event":"step-failed","host":"web2","step":"activate","error":"`systemctl restart shop` exited with code 1"}
    {"v":1,"event":"putting-back","host":"web2","to":"20260821090311"}
    {"v":1,"event":"warning","host":"web1","text":"the clock is 3 min ahead"}
    {"v":1,"event":"interrupted","again":false}
    {"v":1,"event":"phase","phase":"commit","batch":null,"of":null}
    {"v":1,"event":"phase","phase":"tidy","batch":null,"of":null}
    {"v":1,"event":"report","goal":"deploy","stage":"production","release":"20260822101502","verdict":"done","exit_code":0,"interrupted":false,"hosts":[{"host":"web1","result":"done","live":"20260822101502","before":"20260821090311","proof":"seen","services":[{"name":"todo","unit":"todo.service","proof":"seen"}],"pruned":[],"sent":4200000,"size":9100000,"files":42,"linked":0,"linked_size":0,"rebuilt":0,"spared":0}],"warnings":[],"failure":null,"split":false}
    "#);
}

#[test]
fn every_event_result_and_field_is_documented() {
    let docs = include_str!("../../../docs/json.md");
    let text = lines(&report(every_result()));
    let objects: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for object in &objects {
        assert_eq!(object["v"], 1);
        let event = object["event"].as_str().unwrap();
        let row = format!("| `{event}` |");
        let row = docs.lines().find(|line| line.starts_with(&row));
        let row = row.unwrap_or_else(|| panic!("docs/json.md does not document {event}"));
        let fields = object.as_object().unwrap().keys();
        for field in fields.filter(|field| !["v", "event"].contains(&field.as_str())) {
            let known = if event == "report" { docs } else { row };
            assert!(known.contains(&format!("`{field}`")), "{event}.{field}");
        }
    }
    for host in objects.last().unwrap()["hosts"].as_array().unwrap() {
        let result = host["result"].as_str().unwrap();
        assert!(docs.contains(&format!("| `{result}` |")), "{result}");
    }
}

#[test]
fn exit_code_follows_the_outcome() {
    let end = |report: &Report| -> Value {
        serde_json::from_str(lines(report).lines().last().unwrap()).unwrap()
    };
    let all = end(&report(every_result()));
    assert_eq!((&all["verdict"], &all["exit_code"]), (&"needs-hands".into(), &3.into()));
    let good = end(&report(vec![("web1", done())]));
    assert_eq!((&good["verdict"], &good["exit_code"]), (&"done".into(), &0.into()));
    let stopped = end(&Report { interrupted: true, ..report(vec![("web1", done())]) });
    assert_eq!((&stopped["verdict"], &stopped["exit_code"]), (&"interrupted".into(), &130.into()));
}
