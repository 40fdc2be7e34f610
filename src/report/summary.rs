//! The summary of a run: on success, what is live where; else what failed, why, what is true on
//! every host now, and what to type next.

use std::collections::BTreeSet;

use chrono::{Offset as _, Utc};

use super::human::{self, group_by, hanging, list, short_list};
use super::styles::Styles;
use super::table::{self, Column};
use super::{Verbosity, error, words};
use crate::deploy::outcome::{Done, Failure, HostResult, Report, RunOutcome};
use crate::deploy::plan::STAGED_FOR;
use crate::model::goal::GoalKind;
use crate::model::host_state::LockHolder;
use crate::model::id::ReleaseId;
use crate::model::service::{Proof, ServiceProof};

/// The largest group of hosts is shortened if it has more hosts; other groups never are.
const MOST_HOSTS: usize = 12;
/// Further kinds of failures are counted, not shown.
const MOST_PROBLEMS: usize = 8;

/// Returns the summary in lines; none on success if `--quiet` was given.
pub fn text(styles: &Styles, report: &Report, verbosity: Verbosity) -> String {
    if report.verdict() != RunOutcome::Done {
        return failed(styles, report);
    }
    if verbosity == Verbosity::Quiet {
        return String::new();
    }
    let lines = success(report).join("\n");
    let rows = lines.lines().flat_map(|line| hanging("", 2, line, styles.width));
    rows.map(|row| styles.good.apply_to(row).to_string() + "\n").collect()
}

/// Returns what ends the output of a run: warnings that were not shown yet, and the summary.
pub(super) fn end(
    styles: &Styles,
    report: &Report,
    verbosity: Verbosity,
    shown: &BTreeSet<(Option<String>, String)>,
) -> String {
    let all = report.warnings.iter();
    let unshown: Vec<_> = all.filter(|warning| !shown.contains(*warning)).cloned().collect();
    warnings(styles, &unshown) + &text(styles, report, verbosity)
}

/// Returns warnings in lines, with hosts that have equal ones together.
pub fn warnings(styles: &Styles, warnings: &[(Option<String>, String)]) -> String {
    let groups = group_by(warnings.iter().map(|(host, text)| (host.as_deref(), text)));
    let label = styles.warn.apply_to("warning:").to_string();
    let line = |(text, hosts): (&String, Vec<Option<&str>>)| {
        let hosts: Vec<_> = hosts.into_iter().flatten().collect();
        error::after(styles, &label, &words::about(&short_list(&hosts, MOST_HOSTS), text))
    };
    groups.into_iter().map(line).collect()
}

fn failed(styles: &Styles, report: &Report) -> String {
    let mut problems = problems(report);
    let more = problems.len().saturating_sub(MOST_PROBLEMS);
    let mut hints: Vec<_> = problems.iter_mut().filter_map(|it| it.failure.hint.take()).collect();
    hints.dedup();
    let shown = problems.iter().take(MOST_PROBLEMS);
    let mut text: String = shown
        .map(|problem| error::first_part(styles, &problem.headline(), &problem.failure.cause))
        .collect();
    if more > 0 {
        let line = format!("{} on other hosts", human::count(more, "more failure"));
        text += &error::first_part(styles, &line, &[]);
    }
    let hints = hints.iter().take(3).map(String::as_str);
    text + &error::last_part(styles, state(report).as_deref(), hints)
}

/// A failure, with all hosts on which it was the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The hosts; empty if it is not about a host.
    pub hosts: Vec<String>,
    pub failure: Failure,
}

impl Problem {
    /// Returns the first line of the error.
    pub fn headline(&self) -> String {
        words::about(&short_list(&self.hosts, MOST_HOSTS), &self.failure.what)
    }
}

/// Returns all failures, worst first.
pub fn problems(report: &Report) -> Vec<Problem> {
    let found = report.hosts.iter();
    let found = found.filter_map(|(host, result)| Some((host.clone(), failure(report, result)?)));
    let mut of_hosts = group_by(found);
    // Failures with a cause come before those that only followed from another host's.
    of_hosts.sort_by_key(|((rank, failure), _)| (*rank, failure.cause.is_empty()));
    let of_hosts = of_hosts.into_iter().map(|((_, failure), hosts)| Problem { hosts, failure });
    let alone = |failure| Problem { hosts: Vec::new(), failure };
    let mut problems: Vec<_> = of_run(report).into_iter().map(alone).chain(of_hosts).collect();
    if problems.is_empty() && report.verdict() != RunOutcome::Done {
        let what = format!("{} {} did not do all that was asked", report.goal, report.stage);
        problems.push(alone(Failure::new(what)));
    }
    problems
}

/// Returns the failures that are not about a host.
fn of_run(report: &Report) -> Vec<Failure> {
    let mut found = Vec::new();
    if report.interrupted {
        let hint = format!("`shipit {} {}` runs it again", report.goal, report.stage);
        let what = format!("the {} was interrupted", report.goal);
        found.push(Failure::new(what).hint(Some(hint)));
    }
    if let (true, Some(id)) = (report.split, report.release) {
        let what = format!("contact was lost while {id} was committed: hosts may differ");
        let again = match report.goal {
            GoalKind::Rollback => format!("`shipit rollback {} --to {id}`", report.stage),
            goal => format!("`shipit {goal} {}`", report.stage),
        };
        let hint = format!("{again} makes it live on the others too");
        found.push(Failure::new(what).hint(Some(hint)));
    }
    found.extend(report.failure.clone());
    found
}

/// Returns the failure of a host and its rank; smaller is worse.
fn failure(report: &Report, result: &HostResult) -> Option<(u8, Failure)> {
    let stage = &report.stage;
    let look = || Some(format!("`shipit status {stage}` shows what is live where"));
    let catch_up = || Some(format!("`shipit deploy {stage}` updates it once it is reachable"));
    let (rank, failure, hint) = match result {
        HostResult::Done(_) | HostResult::Unchanged { .. } => return None,
        HostResult::Untouched { failure, .. } => (3, failure.clone()?, None),
        HostResult::Reverted { failure, .. } => (2, failure.clone(), None),
        HostResult::Skipped { failure } => (3, failure.clone(), catch_up()),
        HostResult::Unknown { failure } => (1, failure.clone(), look()),
        HostResult::Stuck { cause, undo } => (0, stuck(cause, undo), look()),
        HostResult::Locked { holder } => (4, locked(holder, report), None),
    };
    Some((rank, Failure { hint: failure.hint.or(hint), ..failure }))
}

/// Joins the failure of a revert with the failure that made the revert necessary.
fn stuck(cause: &Failure, undo: &Failure) -> Failure {
    let mut lines = undo.cause.clone();
    lines.push(format!("it had to be reverted because: {}", cause.what));
    lines.extend(cause.cause.iter().cloned());
    let hint = undo.hint.clone().or_else(|| cause.hint.clone());
    Failure { what: undo.what.clone(), cause: lines, hint }
}

fn locked(holder: &str, report: &Report) -> Failure {
    let (goal, stage) = (report.goal, &report.stage);
    match LockHolder::read(holder) {
        LockHolder::DeployLock(record) => Failure {
            what: "the deploy lock is set".to_owned(),
            cause: vec![format!("locked by {}", human::zoned_record(record, Utc.fix()))],
            hint: Some(format!("`shipit unlock {stage}` releases it")),
        },
        LockHolder::Run(record) => Failure {
            what: "another run holds the lock".to_owned(),
            cause: vec![human::zoned_record(record, Utc.fix())],
            hint: Some(if goal.waits() {
                format!("`shipit {goal} {stage} --wait` waits until that run has ended")
            } else {
                "try again when that run has ended".to_owned()
            }),
        },
    }
}

/// Returns what is true on every host now, with equal states together.
pub fn state(report: &Report) -> Option<String> {
    let hosts = report.hosts.iter();
    let groups = group_by(hosts.map(|(host, result)| (host, clause(report.goal, result))));
    let largest = groups.iter().map(|(_, hosts)| hosts.len()).max().unwrap_or(0);
    let mut shortened = false;
    let mut clauses = Vec::new();
    for (clause, hosts) in groups {
        // Only one group is shortened, so that its hosts can be told.
        let names = if hosts.len() == largest && !shortened {
            shortened = largest > MOST_HOSTS;
            short_list(&hosts, MOST_HOSTS)
        } else {
            list(&hosts)
        };
        let clause = if hosts.len() > 1 { plural(&clause) } else { clause };
        clauses.push(format!("{names} {clause}"));
    }
    (!clauses.is_empty()).then(|| clauses.join("; "))
}

/// Returns a clause with its verb, which is its first word, in the plural.
fn plural(clause: &str) -> String {
    let (verb, rest) = clause.split_once(' ').unwrap_or((clause, ""));
    let verb = match verb {
        "is" => "are",
        "was" => "were",
        "has" => "have",
        "needs" => "need",
        verb => verb,
    };
    format!("{verb} {rest}")
}

/// Returns the state of a host, without its name.
fn clause(goal: GoalKind, result: &HostResult) -> String {
    match result {
        HostResult::Done(Done { live: Some(live), .. }) if goal.makes_live() => {
            format!("is on {live}")
        }
        HostResult::Done(_) => format!("was {} as asked", goal.past()),
        HostResult::Unchanged { live: Some(live) } => format!("is still on {live}"),
        HostResult::Untouched { live: Some(live), .. } if goal == GoalKind::Prune => {
            format!("is still on {live}")
        }
        HostResult::Untouched { live: Some(live), .. } => format!("was not changed (live: {live})"),
        HostResult::Unchanged { live: None }
        | HostResult::Untouched { live: None, .. }
        | HostResult::Locked { .. } => "was not changed".to_owned(),
        HostResult::Skipped { .. } => "was skipped and is behind".to_owned(),
        HostResult::Reverted { live, but, .. } => {
            let but = but.as_ref().map_or_else(String::new, |but| format!(", but {but}"));
            if live.starts_with("nothing") {
                format!("has nothing live again, as before{but}")
            } else {
                format!("is back on {live}{but}")
            }
        }
        HostResult::Stuck { .. } => {
            "needs attention: it was activated and could not be reverted".to_owned()
        }
        HostResult::Unknown { .. } => "is in an unknown state: contact was lost".to_owned(),
    }
}

/// Returns a table of what runs where, if hosts differ; equal ones share a row.
pub fn last_table(report: &Report, width: usize) -> Vec<String> {
    const COLUMNS: [Column; 4] = [
        Column::text("host", 0),
        Column::text("live", 0),
        Column::text("proof", 1),
        Column::number("sent at most", 2),
    ];
    // Uploads of equal releases differ by some bytes.
    let cells = report.hosts.iter().map(|(host, result)| {
        let sent = if let HostResult::Done(done) = result { done.sent } else { 0 };
        ((host, sent), cells(result))
    });
    let rows: Vec<_> = group_by(cells)
        .into_iter()
        .map(|([live, proof], members)| {
            let (hosts, sent): (Vec<_>, Vec<_>) = members.into_iter().unzip();
            let sent = sent.into_iter().max().unwrap_or_default();
            vec![short_list(&hosts, 4), live, proof, human::size(sent)]
        })
        .collect();
    if rows.len() < 2 { Vec::new() } else { table::render(&COLUMNS, &rows, width) }
}

/// Returns what is live on a host, and the proof.
fn cells(result: &HostResult) -> [String; 2] {
    let live = match result {
        HostResult::Done(done) => {
            let live = done.live.map_or_else(String::new, |id| id.to_string());
            return [live, done.proof().map_or("", Proof::word).to_owned()];
        }
        HostResult::Unchanged { live: Some(id) } => format!("{id} (as before)"),
        HostResult::Unchanged { live: None } => String::new(),
        _ => "not reached".to_owned(),
    };
    [live, String::new()]
}

/// Returns the lines of a run that succeeded.
fn success(report: &Report) -> Vec<String> {
    let done = report.hosts.iter().filter_map(|(host, result)| match result {
        HostResult::Done(done) => Some((host.as_str(), done)),
        _ => None,
    });
    let done: Vec<(&str, &Done)> = done.collect();
    if !report.goal.waits() {
        return small_lines(report, &done);
    }
    let mut lines = match report.goal {
        GoalKind::Prune => Vec::new(),
        GoalKind::Stage => staged_lines(report, &done),
        goal => live_lines(goal, &done),
    };
    lines.extend(pruned_lines(&done));
    if report.goal == GoalKind::Prune {
        let none = done.iter().filter(|(_, done)| done.pruned.is_empty());
        for (kept, hosts) in group_by(none.map(|(host, done)| (*host, done.kept.as_deref()))) {
            let why = kept.map_or_else(String::new, |kept| format!(": {kept}"));
            lines.push(format!("nothing to prune on {}{why}", short_list(&hosts, MOST_HOSTS)));
        }
    }
    lines.extend(unchanged_lines(report));
    lines
}

/// Returns lines such as `pinned 20260821090311 on web1, web2` or `unlocked on web1`.
fn small_lines(report: &Report, done: &[(&str, &Done)]) -> Vec<String> {
    let release = report.release.map_or_else(String::new, |id| format!(" {id}"));
    let what = format!("{}{release}", report.goal.past());
    let unchanged = report.hosts.iter().filter(|(_, r)| matches!(r, HostResult::Unchanged { .. }));
    let names = |hosts: &[&str]| short_list(hosts, MOST_HOSTS);
    let done: Vec<_> = done.iter().map(|(host, _)| *host).collect();
    let unchanged: Vec<_> = unchanged.map(|(host, _)| host.as_str()).collect();
    let mut lines = Vec::new();
    if !done.is_empty() {
        lines.push(format!("{what} on {}", names(&done)));
    }
    if !unchanged.is_empty() {
        lines.push(match report.goal {
            GoalKind::Unlock => format!("nothing blocked deploys to {}", names(&unchanged)),
            _ => format!("nothing to do: {what} already on {}", names(&unchanged)),
        });
    }
    lines
}

/// Returns what waits where, and the command that makes it live.
fn staged_lines(report: &Report, done: &[(&str, &Done)]) -> Vec<String> {
    let Some(id) = report.release.filter(|_| !done.is_empty()) else { return Vec::new() };
    let names: Vec<_> = done.iter().map(|(host, _)| *host).collect();
    let head = format!("{id} is staged on {}", short_list(&names, MOST_HOSTS));
    let staged = joined([Some(head), sent(done)].into_iter().flatten());
    let command = format!("`shipit activate {}`", report.stage);
    vec![staged, format!("{command} makes it live within {} days", STAGED_FOR.num_days())]
}

fn live_lines(goal: GoalKind, done: &[(&str, &Done)]) -> Vec<String> {
    let again = if goal == GoalKind::Rollback { " again" } else { "" };
    let groups = group_by(done.iter().map(|(host, done)| ((*host, *done), done.live)));
    let line = |(live, members): (Option<ReleaseId>, Vec<(&str, &Done)>)| {
        let names: Vec<_> = members.iter().map(|(host, _)| *host).collect();
        let names = short_list(&names, MOST_HOSTS);
        let head = live.map_or_else(
            || format!("done on {names}"),
            |live| format!("{live} is live{again} on {names}"),
        );
        let parts = [Some(head + &before(&members)), proof(&members), sent(&members)];
        joined(parts.into_iter().flatten())
    };
    groups.into_iter().map(line).collect()
}

/// Joins the parts of the line about hosts. A part is on a line of its own if it would be too long.
fn joined(parts: impl IntoIterator<Item = String>) -> String {
    const LONGEST: usize = 110;
    let joined = parts.into_iter().reduce(|said, part| {
        let last = said.lines().last().map_or(0, console::measure_text_width);
        let fits = last + console::measure_text_width(&part) <= LONGEST;
        format!("{said}{}{part}", if fits { "; " } else { "\n  " })
    });
    joined.unwrap_or_default()
}

/// Returns ` (was X)`, host by host if they differ.
fn before(members: &[(&str, &Done)]) -> String {
    let was = |before: &Option<String>| match before.as_deref() {
        Some(before) if !before.starts_with("nothing") => format!("was {before}"),
        _ => "nothing was live before".to_owned(),
    };
    let groups = group_by(members.iter().map(|(host, done)| (*host, was(&done.before))));
    match groups.as_slice() {
        [(was, _)] => format!(" ({was})"),
        groups => {
            let each = |(was, hosts): &(String, Vec<&str>)| {
                format!("{was} on {}", short_list(hosts, MOST_HOSTS))
            };
            format!(" ({})", groups.iter().map(each).collect::<Vec<_>>().join(", "))
        }
    }
}

/// Returns how it was proved that the release runs: of one service the proof, of several the names
/// with it.
fn proof(members: &[(&str, &Done)]) -> Option<String> {
    if members.iter().all(|(_, done)| done.services.len() <= 1) {
        proof_of_one(members)
    } else {
        proof_of_several(members)
    }
}

/// Words for a proof; the strongest first. Without one, a unit is up.
const PROOFS: [(Option<Proof>, &str); 5] = [
    (Some(Proof::Seen), "seen running"),
    (Some(Proof::Inferred), "running according to systemd"),
    (Some(Proof::Reloaded), "reloaded"),
    (Some(Proof::Restarted), "restarted"),
    (None, "active"),
];

/// Returns, for example, `seen running: web, worker; restarted: proxy on 2`.
fn proof_of_several(members: &[(&str, &Done)]) -> Option<String> {
    let units = members.iter().flat_map(|(_, done)| &done.services);
    let units: Vec<_> = units.filter(|service| service.unit.is_some()).collect();
    let all = |it: &ServiceProof| units.iter().filter(|other| other.service == it.service).count();
    let told = |proof: Option<Proof>| {
        let proved: Vec<_> = units.iter().filter(|service| service.proof == proof).collect();
        let mut names: Vec<String> = Vec::new();
        for service in &proved {
            let same = proved.iter().filter(|other| other.service == service.service).count();
            let unit = service.unit.as_deref().unwrap_or_default();
            let name = if same == all(service) { &*service.service } else { unit };
            let on = proved.iter().filter(|other| other.unit == service.unit).count();
            let of = units.iter().filter(|other| other.unit == service.unit).count();
            let on = if on == of { String::new() } else { format!(" on {on}") };
            let name = format!("{name}{on}");
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    };
    let words = PROOFS.into_iter().map(|(proof, word)| (word, told(proof)));
    let words = words.filter(|(_, names)| !names.is_empty());
    let words: Vec<_> =
        words.map(|(word, names)| format!("{word}: {}", names.join(", "))).collect();
    (!words.is_empty()).then(|| words.join("; "))
}

/// Returns, for example, `seen running on 2, running according to systemd on 1`.
fn proof_of_one(members: &[(&str, &Done)]) -> Option<String> {
    let count = |proof| members.iter().filter(|(_, done)| done.proof() == Some(proof)).count();
    let word = |count, word: &str| match (count, members.len()) {
        (0, _) => None,
        (1, 1) => Some(word.to_owned()),
        _ => Some(format!("{word} on {count}")),
    };
    let all = PROOFS.into_iter().filter_map(|(proof, text)| Some((proof?, text)));
    let words: Vec<_> = all.filter_map(|(proof, text)| word(count(proof), text)).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// Returns, for example, `0.3 MB sent to each, 4950 of 5000 files (59.4 MB) already there`.
fn sent(members: &[(&str, &Done)]) -> Option<String> {
    let least = human::size(members.iter().map(|(_, done)| done.sent).min()?);
    let most = human::size(members.iter().map(|(_, done)| done.sent).max()?);
    let saved = saved(members).unwrap_or_default() + &rebuilt(members).unwrap_or_default();
    match members.len() {
        _ if most == "0 B" => None,
        1 => Some(format!("{most} sent{saved}")),
        _ if least == most => Some(format!("{most} sent to each{saved}")),
        _ => Some(format!("at most {most} sent to each{saved}")),
    }
}

/// Returns what was not uploaded; if hosts differ, the least.
fn saved(members: &[(&str, &Done)]) -> Option<String> {
    let (_, least) = members.iter().min_by_key(|(_, done)| done.linked_size)?;
    let same = members.iter().all(|(_, done)| done.linked == least.linked);
    let Done { linked, files, linked_size, .. } = least;
    let at_least = if same { "" } else { "at least " };
    let size = human::size(*linked_size);
    (*linked > 0).then(|| {
        format!(", {at_least}{linked} of {} ({size}) already there", human::count(*files, "file"))
    })
}

/// Returns what patches have saved; if hosts differ, the least.
fn rebuilt(members: &[(&str, &Done)]) -> Option<String> {
    let (_, least) = members.iter().min_by_key(|(_, done)| done.spared)?;
    let same = members.iter().all(|(_, done)| done.spared == least.spared);
    let at_least = if same { "" } else { "at least " };
    let (count, size) = (least.rebuilt, human::size(least.spared));
    let files = human::count(count, "large file");
    (count > 0).then(|| format!(", {files} patched ({at_least}{size} saved)"))
}

fn pruned_lines(done: &[(&str, &Done)]) -> Vec<String> {
    let pruned = done.iter().filter(|(_, done)| !done.pruned.is_empty());
    let groups = group_by(pruned.map(|(host, done)| (*host, &done.pruned)));
    let line = |(names, hosts): (&Vec<String>, Vec<&str>)| {
        let hosts = short_list(&hosts, MOST_HOSTS);
        format!("pruned {} on {hosts}: {}", human::count(names.len(), "release"), list(names))
    };
    groups.into_iter().map(line).collect()
}

fn unchanged_lines(report: &Report) -> Vec<String> {
    let unchanged = report.hosts.iter().filter_map(|(host, result)| match result {
        HostResult::Unchanged { live } => Some((host.as_str(), *live)),
        _ => None,
    });
    let staged = report.release.filter(|_| report.goal == GoalKind::Stage);
    let line = |(live, hosts): (Option<ReleaseId>, Vec<&str>)| {
        let hosts = short_list(&hosts, MOST_HOSTS);
        let (id, is) = staged.map_or((live, "live"), |id| (Some(id), "staged"));
        match (report.goal, id) {
            (GoalKind::Prune, _) => format!("nothing to prune on {hosts}"),
            (_, None) => format!("nothing to do on {hosts}"),
            (goal @ (GoalKind::Deploy | GoalKind::Stage), Some(id)) => format!(
                "unchanged: {id} is {is} on {hosts} already, with this build and config; \
                 `--force` {goal}s it again"
            ),
            (_, Some(live)) => format!("nothing to do: {live} is live on {hosts} already"),
        }
    };
    group_by(unchanged).into_iter().map(line).collect()
}
