//! The text of a notice, in the form that its receiver takes.

use serde_json::{Value, json};

use super::json::{VERSION, report_line};
use super::markdown::backslashed;
use super::summary;
use crate::config::{Moment, NoticeFormat};
use crate::deploy::outcome::{Failure, HostResult, Report, RunOutcome};
use crate::model::goal::GoalKind;

/// Lines of a cause that a notice quotes.
const MOST_LINES: usize = 5;
/// Failures that a notice names.
const MOST_FAILURES: usize = 3;

/// The facts that every notice of a run names.
#[derive(Debug, Clone)]
pub struct NoticeFacts {
    pub app: String,
    pub stage: String,
    pub who: String,
}

/// One message about a run.
pub struct Message<'r> {
    pub moment: Moment,
    pub goal: GoalKind,
    pub text: String,
    /// The report, once there is one.
    pub report: Option<&'r Report>,
}

impl<'r> Message<'r> {
    /// Returns the message that a run begins.
    pub fn started(facts: &NoticeFacts, goal: GoalKind, hosts: &[String]) -> Self {
        let NoticeFacts { app, stage, who } = facts;
        let hosts = super::human::short_list(hosts, MOST_LINES);
        let text = format!("{app}: {goal} {stage} started by {who} ({hosts})");
        Self { moment: Moment::Started, goal, text, report: None }
    }

    /// Returns the message that a run has ended.
    pub fn ended(facts: &NoticeFacts, report: &'r Report) -> Self {
        let NoticeFacts { app, stage, who } = facts;
        let moment = moment(report);
        let mut lines = vec![format!("{app}: {} {stage} by {who}: {}", report.goal, word(moment))];
        if moment != Moment::Done {
            for problem in summary::problems(report).iter().take(MOST_FAILURES) {
                let Failure { cause, hint, .. } = &problem.failure;
                lines.push(problem.headline());
                let cause = cause.iter().flat_map(|cause| cause.lines());
                lines.extend(cause.take(MOST_LINES).map(|line| format!("  {line}")));
                lines.extend(hint.iter().map(|hint| format!("hint: {hint}")));
            }
        }
        lines.extend(summary::state(report));
        Self { moment, goal: report.goal, text: lines.join("\n"), report: Some(report) }
    }

    /// Returns what is sent.
    pub fn body(&self, format: NoticeFormat, facts: &NoticeFacts) -> Value {
        match format {
            NoticeFormat::Slack => json!({ "text": slack(&self.text) }),
            NoticeFormat::Teams => teams(&self.text),
            NoticeFormat::Json => json!({
                "v": VERSION,
                "notice": word(self.moment),
                "app": facts.app,
                "stage": facts.stage,
                "who": facts.who,
                "goal": self.goal,
                "text": self.text,
                "report": self.report.and_then(|it| {
                    serde_json::from_str::<Value>(&report_line(it)).ok()
                }),
            }),
        }
    }
}

fn moment(report: &Report) -> Moment {
    let reverted =
        |(_, result): &(String, HostResult)| matches!(result, HostResult::Reverted { .. });
    match report.verdict() {
        RunOutcome::Done => Moment::Done,
        _ if report.hosts.iter().any(reverted) => Moment::Reverted,
        _ => Moment::Failed,
    }
}

const fn word(moment: Moment) -> &'static str {
    match moment {
        Moment::Started => "started",
        Moment::Done => "done",
        Moment::Failed => "failed",
        Moment::Reverted => "reverted",
    }
}

/// Returns a text in which Slack finds no link and no mention.
fn slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn teams(text: &str) -> Value {
    let blocks: Vec<_> = text
        .lines()
        .map(|line| json!({ "type": "TextBlock", "text": backslashed(line, "\\`*_[]#"), "wrap": true }))
        .collect();
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": blocks,
            },
        }],
    })
}
