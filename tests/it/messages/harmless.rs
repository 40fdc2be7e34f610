//! Text from elsewhere cannot do harm: no control sequences, no secrets, no workflow commands.

use insta::assert_snapshot;
use proptest::prelude::*;
use shipit::deploy::event::Event;
use shipit::deploy::outcome::{Failure, HostResult};
use shipit::model::goal::GoalKind;
use shipit::report::clean;
use shipit::report::json::Json;
use shipit::report::lines::Lines;
use shipit::report::redact::Secrets;
use shipit::report::sanitizer::{Sanitizer, Sieve};
use shipit::report::styles::Styles;
use shipit::report::{Reporter, Verbosity};

use crate::support::buffer::SharedBuffer;
use crate::support::clock::clock;
use crate::support::reports::{done, every_event, failure, report, tell};

const POISON: &str = "pois\"on\\'7f\n";
const KEY: &str = "-----BEGIN KEY-----\nc2VjcmV0c2VjcmV0\n-----END KEY-----";

fn secrets() -> Secrets {
    Secrets::new([POISON.to_owned(), KEY.to_owned(), "abcdef".to_owned(), "defghi".to_owned()])
}

#[test]
fn control_sequences_are_removed() {
    let table = [
        ("plain\ttext\n", "plain\ttext\n"),
        ("\u{1b}[1;31mred\u{1b}[0m", "red"),
        ("\u{1b}]0;title\u{7}after", "after"),
        ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
        ("\u{9b}2Jgone \u{9d}0;t\u{9c}end", "gone end"),
        ("\u{1b}(Bset \u{1b}cfull \u{1b}7save", "set full save"),
        ("bell\u{7} null\0 del\u{7f}", "bell null del"),
        ("10%\r50%\rdone\r\n", "10%\n50%\ndone\n"),
        ("open \u{1b}]0;never closed\nnext", "open \nnext"),
        ("broken \u{1b}[12\nnext", "broken \nnext"),
        ("ab\u{202e}txt.exe", "abtxt.exe"),
    ];
    for (raw, expect) in table {
        assert_eq!(clean::strip(raw), expect, "{raw:?}");
    }
}

#[test]
fn long_text_is_truncated() {
    assert_eq!(clean::line(&"x".repeat(1_010)).chars().count(), 1_000 + 1 + 21);
    let lines: String = (0..1_000).map(|number| number.to_string()).collect::<Vec<_>>().join("\n");
    let text = clean::text(&lines);
    assert!(text.starts_with("… 800 lines left out before these\n800\n"));
    assert!(text.ends_with("\n999"));
}

#[test]
fn secrets_are_masked_in_every_form() {
    let masked = |text: &str| secrets().redact(text).into_owned();
    let json = serde_json::Value::from(POISON).to_string();
    let twice = serde_json::Value::from(json.clone()).to_string();
    assert_snapshot!(masked(&format!("as it is {POISON}|")), @"as it is ***|");
    assert_snapshot!(masked(&format!("trimmed {} here", POISON.trim())), @"trimmed *** here");
    assert_snapshot!(masked(&format!("json {json}")), @r#"json "***""#);
    assert_snapshot!(masked(&format!("json in json {twice}")), @r#"json in json "\"***\"""#);
    assert_snapshot!(masked("one line of a key: c2VjcmV0c2VjcmV0."), @"one line of a key: ***.");
    assert_snapshot!(masked("overlapping: abcdefghi."), @"overlapping: ***.");
    assert_snapshot!(masked("nothing secret"), @"nothing secret");
}

#[test]
fn short_values_are_not_masked() {
    let secrets = Secrets::new(["on", "  ", "true", "8080", "12345"].map(str::to_owned));
    assert_eq!(
        secrets.redact("on  off true 8080 20260821123456"),
        "on  off true 8080 20260821123456"
    );
}

#[test]
fn secret_digits_within_a_longer_number_stay() {
    let secrets = Secrets::new(["202608".to_owned()]);
    assert_eq!(secrets.redact("20260821090000, pin=202608."), "20260821090000, pin=***.");
}

/// A value that is also a stage's or host's name, an id, a command or a key of JSON.
#[test]
fn names_and_ids_are_never_masked() {
    let paper = SharedBuffer::default();
    let words = ["production", "todo-web", "run-started", "staged", "printed", "20260821"];
    let sieve = Sieve::new(Secrets::new(words.map(str::to_owned)), false);
    let mut guard = Sanitizer::new(Box::new(Json::new(paper.clone())), sieve);
    let (stage, hosts) = ("production".to_owned(), vec!["todo-web".to_owned()]);
    guard.on_event(&Event::RunStarted { goal: GoalKind::Deploy, stage, hosts });
    let (host, source, text) =
        ("todo-web".to_owned(), "staged".to_owned(), "production".to_owned());
    guard.on_event(&Event::Printed { host, source, text });
    let (host, to) = ("todo-web".to_owned(), "20260821090000".to_owned());
    guard.on_event(&Event::Reverting { host, to });
    assert_snapshot!(paper.text(), @r#"
    {"v":1,"event":"run-started","goal":"deploy","stage":"production","hosts":["todo-web"]}
    {"v":1,"event":"printed","host":"todo-web","source":"staged","text":"***"}
    {"v":1,"event":"putting-back","host":"todo-web","to":"20260821090000"}
    "#);
}

#[test]
fn secrets_do_not_show_in_debug() {
    assert!(!format!("{:?}", secrets()).contains("abcdef"));
}

fn poisoned_failure() -> Failure {
    failure("what POISON", &["cause POISON"], Some("hint POISON"))
}

/// Returns every event and result, with `secret` in each of their texts.
fn poisoned(secret: &str) -> (Vec<Event>, shipit::deploy::outcome::Report) {
    let put = |text: &str| text.replace("POISON", secret);
    let line = put("a POISON b");
    let web = "web1".to_owned();
    let events = vec![
        Event::StepFinished {
            host: web.clone(),
            step: "upload",
            detail: line.clone(),
            took: std::time::Duration::ZERO,
        },
        Event::StepFailed { host: web.clone(), step: "upload", error: line.clone() },
        Event::Printed { host: web.clone(), source: "staged".to_owned(), text: line.clone() },
        Event::Warning { host: Some(web), text: line.clone() },
    ];
    let fail = || {
        let Failure { what, cause, hint } = poisoned_failure();
        let cause = cause.iter().map(|cause| put(cause)).collect();
        Failure { what: put(&what), cause, hint: hint.map(|hint| put(&hint)) }
    };
    let hosts = vec![
        ("a", HostResult::Untouched { live: None, failure: Some(fail()) }),
        (
            "b",
            HostResult::Reverted {
                live: "old".to_owned(),
                failure: fail(),
                but: Some(line.clone()),
            },
        ),
        ("c", HostResult::Locked { holder: line.clone() }),
        ("d", HostResult::Stuck { cause: fail(), undo: fail() }),
        ("e", HostResult::Unknown { failure: fail() }),
    ];
    let mut end = report(hosts);
    end.warnings = vec![(None, line)];
    end.failure = Some(fail());
    (events, end)
}

#[test]
fn no_reporter_shows_a_secret() {
    let (events, end) = poisoned("abcd\u{1b}[1mef");
    let paper = SharedBuffer::default();
    let lines = Lines::new(paper.clone(), Styles::plain(), Verbosity::Verbose, None, clock().0);
    let sieve = Sieve::new(secrets(), false);
    let mut guards: [Box<dyn Reporter>; 2] = [
        Box::new(Sanitizer::new(Box::new(lines), sieve.clone())),
        Box::new(Sanitizer::new(Box::new(Json::new(paper.clone())), sieve)),
    ];
    for guard in &mut guards {
        tell(&mut **guard, &events);
        guard.finish(&end);
    }
    let text = paper.text();
    assert!(!text.contains("abcd") && !text.contains('\u{1b}'), "{text}");
    assert!(text.matches("***").count() > 30, "{text}");
}

#[test]
fn redaction_leaves_harmless_text_alone() {
    let (plain, guarded) = (SharedBuffer::default(), SharedBuffer::default());
    let mut bare = Json::new(plain.clone());
    let mut guard =
        Sanitizer::new(Box::new(Json::new(guarded.clone())), Sieve::new(secrets(), false));
    for event in every_event() {
        bare.on_event(&event);
        guard.on_event(&event);
    }
    let end = report(vec![("web1", done())]);
    bare.finish(&end);
    guard.finish(&end);
    assert_eq!(plain.text(), guarded.text());
}

#[test]
fn workflow_commands_are_defused() {
    let paper = SharedBuffer::default();
    let mut guard =
        Sanitizer::new(Box::new(Json::new(paper.clone())), Sieve::new(Secrets::default(), true));
    let text = "  ::set-env name=X::1\nfine :: here\n##[error]no".to_owned();
    guard.on_event(&Event::Printed { host: "web1".to_owned(), source: "hook".to_owned(), text });
    assert_snapshot!(paper.text(), @r#"{"v":1,"event":"printed","host":"web1","source":"hook","text":"  : :set-env name=X::1\nfine :: here\n# #[error]no"}"#);
}

proptest! {
    #[test]
    fn any_text_comes_out_clean(raw in any::<String>()) {
        let clean = clean::strip(&raw);
        prop_assert!(!clean.chars().any(|char| char.is_control() && char != '\n' && char != '\t'));
        prop_assert_eq!(clean::strip(&clean), clean);
    }

    #[test]
    fn no_secret_survives(secret in "[a-e\"'\\\\]{6,8}", before in "[a-e]{0,6}", after in "[a-e]{0,6}") {
        let secrets = Secrets::new([secret.clone()]);
        let text = format!("{before}{secret}{after}");
        prop_assert!(!secrets.redact(&text).contains(&secret));
        let json = serde_json::Value::from(text).to_string();
        let inner = serde_json::Value::from(secret).to_string();
        prop_assert!(!secrets.redact(&json).contains(&inner[1..inner.len() - 1]));
    }
}
