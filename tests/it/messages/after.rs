//! Views of the past: history, verify, interrupted runs, holders of the lock.

use chrono::FixedOffset;
use insta::assert_snapshot;
use shipit::deploy::outcome::{Done, HostResult, Report};
use shipit::deploy::verify::Verified;
use shipit::model::drift::{Drift, DriftKind};
use shipit::model::goal::GoalKind;
use shipit::model::host_state::{Current, HostState, LockFacts, LockHolder, Owner};
use shipit::model::ledger::{Entry, Ledger, LedgerEvent};
use shipit::model::service::Proof;
use shipit::remote::answer::LedgerTail;
use shipit::report::history::{Page, history_json, history_table};
use shipit::report::status::{StatusContext, status_json, status_view};
use shipit::report::styles::Styles;
use shipit::report::unlock::holders;
use shipit::report::verify::{verify_json, verify_view};
use shipit::report::{Verbosity, summary};

use crate::support::reports::{NEW, OLD, id, report};
use crate::support::services::proved;

const RUN: &str = "k3j4k3j4k3j4k3j4";

fn line(run: &str, event: LedgerEvent, release: &str, second: u32, reason: Option<&str>) -> Entry {
    Entry {
        at: format!("2026-08-22T10:15:{second:02}Z"),
        run: run.to_owned(),
        who: "ana".to_owned(),
        from: "laptop".to_owned(),
        reason: reason.map(str::to_owned),
        ..Entry::new(event, release)
    }
}

fn ledger(entries: &[Entry]) -> Ledger {
    let lines: Vec<_> = entries.iter().map(|e| serde_json::to_string(e).unwrap()).collect();
    Ledger::parse(lines.iter().map(String::as_str))
}

/// A deploy on each of three hosts, reverted on one of them; then a rollback and a pin.
fn told() -> Vec<(String, LedgerTail)> {
    let host = |number: u32| {
        let verdict = match number {
            3 => line("b", LedgerEvent::Reverted, NEW, 9, Some("fleet")),
            _ => line("b", LedgerEvent::Committed, NEW, 8 + number, None),
        };
        let entries = [
            line("a", LedgerEvent::Staged, OLD, 0, None),
            line("a", LedgerEvent::Activated, OLD, 1, None),
            line("a", LedgerEvent::Committed, OLD, 2 + number, None),
            line("b", LedgerEvent::Staged, NEW, 5, None),
            line("b", LedgerEvent::Activated, NEW, 6, None),
            verdict,
            line("c", LedgerEvent::Activated, OLD, 20, None),
            line("c", LedgerEvent::Committed, OLD, 21, None),
            line("c", LedgerEvent::RolledBack, NEW, 21, Some("rolled back")),
            line("d", LedgerEvent::Pinned, OLD, 30, None),
        ];
        (format!("web{number}"), LedgerTail { ledger: ledger(&entries), more: false })
    };
    (1..=3).map(host).collect()
}

fn wide(columns: usize, styles: Styles) -> Styles {
    Styles { width: Some(columns), ..styles }
}

fn table(hosts: &[(String, LedgerTail)], limit: usize) -> String {
    let offset = FixedOffset::east_opt(7200).unwrap();
    history_table(hosts, Page { limit, offset }, &wide(120, Styles::plain()))
}

#[test]
fn history_merges_hosts_that_agree() {
    assert_snapshot!(table(&told(), 0), @"
    when              what      release         outcome   took  who  hosts       reason
    2026-08-22 12:15  pin       20260821090311  done            ana  all
    2026-08-22 12:15  rollback  20260821090311  done        1s  ana  all
    2026-08-22 12:15  deploy    20260822101502  reverted    4s  ana  web3        fleet
    2026-08-22 12:15  deploy    20260822101502  done        5s  ana  web1, web2
    2026-08-22 12:15  deploy    20260821090311  done        5s  ana  all
    times are UTC+02:00
    ");
}

#[test]
fn history_says_what_it_leaves_out() {
    let mut hosts = told();
    hosts[1].1.more = true;
    hosts[1].1.ledger = Ledger::parse(["{torn"]);
    assert_snapshot!(table(&hosts, 1), @"
    when              what  release         outcome  who  hosts
    2026-08-22 12:15  pin   20260821090311  done     ana  web1, web3
    times are UTC+02:00
    4 before these: `--limit 0` shows all
    the ledger of web2 has older lines than are read
    web2: 1 line of the ledger cannot be read
    ");
    assert_snapshot!(table(&[], 0), @"no operations yet");
}

#[test]
fn narrow_history_keeps_duration_and_reason() {
    let mut hosts = told();
    let prunes =
        [OLD, NEW, "20260820000000"].map(|name| line("p", LedgerEvent::Pruned, name, 40, None));
    let reason = Some("the staged hook `bin/migrate` exited with code 3");
    let mut entries = vec![
        line("b", LedgerEvent::Staged, NEW, 5, None),
        line("b", LedgerEvent::Activated, NEW, 6, None),
        line("b", LedgerEvent::Reverted, NEW, 9, reason),
    ];
    entries.extend(prunes);
    for (_, told) in &mut hosts {
        told.ledger = ledger(&entries);
    }
    let page = Page { limit: 0, offset: FixedOffset::east_opt(7200).unwrap() };
    let plain = history_table(&hosts, page, &wide(80, Styles::plain()));
    assert_snapshot!(plain, @"
    when              what    release         outcome   took  hosts  reason
    2026-08-22 12:15  prune   3 releases      done            all
    2026-08-22 12:15  deploy  20260822101502  reverted    4s  all    the staged hoo…
    no room for: who (`--json` has all)
    times are UTC+02:00
    ");
    let coloured = history_table(&hosts, page, &wide(80, Styles::coloured()));
    assert_eq!(console::strip_ansi_codes(&coloured), plain);
    assert!(coloured.contains('\u{1b}'));
}

#[test]
fn status_says_that_nothing_is_live() {
    let nothing = Verified { problems: vec!["nothing is live".to_owned()], ..Verified::default() };
    let hosts = [("web1".to_owned(), nothing.clone()), ("web2".to_owned(), nothing)];
    assert_snapshot!(verify_view(&hosts, &Styles::plain()), @"drift    web1, web2: nothing is live");
}

#[test]
fn history_for_machines() {
    let value = history_json(&told()[2..], "production", 3);
    assert_eq!(value["hosts"][0]["deeds"].as_array().unwrap().len(), 3);
    let operation = serde_json::to_string_pretty(&value["hosts"][0]["deeds"][2]).unwrap();
    assert_snapshot!(operation, @r#"
    {
      "at": "2026-08-22T10:15:05+00:00",
      "from": "laptop",
      "outcome": "reverted",
      "pruned": [],
      "reason": "fleet",
      "release": "20260822101502",
      "revision": null,
      "run": "b",
      "took": 4,
      "tool": "",
      "what": "deploy",
      "who": "ana"
    }
    "#);
}

fn verified() -> Vec<(String, Verified)> {
    let clean = Verified {
        release: Some(id(NEW)),
        live: true,
        services: proved(Proof::Seen),
        ..Verified::default()
    };
    let drift = |path: &str, change| Drift { path: path.to_owned(), change };
    let drifted = Verified {
        problems: vec!["the unit runs another release".to_owned()],
        drift: vec![
            drift("bin/server", DriftKind::Changed),
            drift("VERSION", DriftKind::Mode { was: 0o444, is: 0o644 }),
            drift("log", DriftKind::Target { was: "a".to_owned(), is: "\u{1b}[2Jb".to_owned() }),
            drift("gone", DriftKind::Missing),
            drift("tmp/x", DriftKind::Extra),
            drift("lib", DriftKind::Kind),
        ],
        services: Vec::new(),
        ..clean.clone()
    };
    let hosts = [("web1", clean.clone()), ("web2", drifted), ("web3", clean)];
    hosts.map(|(host, found)| (host.to_owned(), found)).into()
}

#[test]
fn drift_is_listed_by_file() {
    assert_snapshot!(verify_view(&verified(), &Styles::plain()), @"
    ok       web1, web3: 20260822101502 (live) is as it was released, and is seen running
    drift    web2: 20260822101502 is not as it was released
             the unit runs another release
             bin/server: changed
             VERSION: mode 644 instead of 444
             log: points to b instead of a
             gone: missing
             tmp/x: extra
             lib: has another type now
    ");
}

#[test]
fn python_bytecode_drift_is_one_line_with_a_hint() {
    let mut hosts = verified().split_off(1);
    let extra = |path: &str| Drift { path: path.to_owned(), change: DriftKind::Extra };
    hosts[0].1.drift = ["__pycache__", "a/__pycache__/b.pyc", "x"].map(extra).into();
    assert_snapshot!(verify_view(&hosts, &Styles::plain()), @"
    drift    web2: 20260822101502 is not as it was released
             the unit runs another release
             x: extra
             2 differences in __pycache__, which Python writes
             hint:  PYTHONDONTWRITEBYTECODE=1 in [env] or in the unit stops it
    ok       web3: 20260822101502 (live) is as it was released, and is seen running
    ");
}

#[test]
fn much_drift_is_counted() {
    let mut hosts = verified().split_off(1);
    let extra = |n| Drift { path: format!("x{n}"), change: DriftKind::Extra };
    hosts[0].1.drift = (0..120).map(extra).collect();
    assert!(verify_view(&hosts, &Styles::plain()).contains("\n         and 70 more differences\n"));
    let value = verify_json(&hosts, "production");
    assert_eq!(value["hosts"][0]["drift"].as_array().unwrap().len(), 120);
}

#[test]
fn drift_for_machines() {
    let value = verify_json(&verified(), "production");
    assert_eq!((&value["clean"], &value["hosts"][0]["clean"]), (&false.into(), &true.into()));
    assert_snapshot!(serde_json::to_string_pretty(&value["hosts"][1]["drift"][1]).unwrap(), @r#"
    {
      "change": "mode",
      "path": "VERSION",
      "text": "mode 644 instead of 444"
    }
    "#);
}

/// Every key of an object and of all within it.
fn keys(value: &serde_json::Value, found: &mut Vec<String>) {
    for part in value.as_array().into_iter().flatten() {
        keys(part, found);
    }
    for (key, part) in value.as_object().into_iter().flatten() {
        found.push(key.clone());
        keys(part, found);
    }
}

#[test]
fn every_field_is_documented() {
    let text = std::fs::read_to_string("docs/json.md").unwrap();
    let mut found = Vec::new();
    keys(&history_json(&told(), "production", 0), &mut found);
    keys(&verify_json(&verified(), "production"), &mut found);
    keys(&status_json(&troubled(), context()), &mut found);
    let missing: Vec<_> =
        found.iter().filter(|key| *key != "v" && !text.contains(&format!("`{key}`"))).collect();
    assert!(missing.is_empty(), "docs/json.md does not name {missing:?}");
}

fn host(leftovers: &[&str], entries: &[Entry], lock: LockFacts) -> HostState {
    HostState {
        current: Current::Release(id(OLD)),
        present: vec![OLD.to_owned(), NEW.to_owned()],
        leftovers: leftovers.iter().map(|path| (*path).to_owned()).collect(),
        ledger: ledger(entries),
        lock,
        ..HostState::default()
    }
}

fn stale() -> LockFacts {
    let record =
        format!("ana on laptop (deploy production, run {RUN}), since 2026-08-22T10:15:00Z");
    LockFacts { stale: Some(record), ..LockFacts::default() }
}

fn troubled() -> Vec<(String, HostState)> {
    let open = [
        line(RUN, LedgerEvent::Staged, NEW, 0, None),
        line(RUN, LedgerEvent::Activated, NEW, 1, None),
    ];
    let upload = format!("releases/.{NEW}.{RUN}");
    let rundir = format!(".shipit/run/{RUN}");
    let mut judged = host(&[&rundir], &open, stale());
    judged.current = Current::Release(id(NEW));
    let mut made = host(&[], &[], LockFacts::default());
    made.unfinished = [NEW.to_owned()].into();
    let deploy_lock = Some("ben on desk: audit, since 2026-08-22T09:00:00Z".to_owned());
    let owner = Some(Owner { pid: 4711, run: RUN.to_owned() });
    let mut busy = host(&[], &open, LockFacts { owner, ..LockFacts::default() });
    busy.holder = Some("ana on laptop (deploy production), since 10:15".to_owned());
    let trash = [format!(".shipit/trash/{OLD}.{RUN}")];
    let hosts = vec![
        host(&[&upload, &rundir], &[], stale()),
        host(&[], &open, LockFacts::default()),
        judged,
        made,
        host(&[&trash[0]], &[], LockFacts { deploy_lock, ..LockFacts::default() }),
        busy,
        host(&[".current.abc", ".shipit/run/xyz"], &[], LockFacts::default()),
    ];
    hosts.into_iter().enumerate().map(|(n, host)| (format!("web{}", n + 1), host)).collect()
}

fn context() -> StatusContext<'static> {
    let offset = FixedOffset::east_opt(7200).unwrap();
    let now = "2026-08-22T10:18:02Z".parse().unwrap();
    StatusContext { stage: "production", now, offset }
}

#[test]
fn status_names_interrupted_runs_and_their_step() {
    assert_snapshot!(status_view(&troubled(), context(), &Styles::plain()), @"
    web1:
      live:      20260821090311 (not made by shipit)
      stopped:   ana on laptop (deploy production, run k3j4k3j4k3j4k3j4), since 2026-08-22 12:15 +02:00: 20260822101502 was being uploaded
      leftovers: releases/.20260822101502.k3j4k3j4k3j4k3j4, .shipit/run/k3j4k3j4k3j4k3j4
    web2:
      live:      20260821090311 (not made by shipit)
      stopped:   run k3j4k3j4k3j4k3j4 by ana on laptop, 2026-08-22 12:15 +02:00 (3 min ago): 20260822101502 was about to go live, but is not
    web3:
      live:      20260822101502 since 2026-08-22 12:15 +02:00 (3 min ago)
      made:      by ana on laptop
      stopped:   run k3j4k3j4k3j4k3j4 by ana on laptop, 2026-08-22 12:15 +02:00 (3 min ago): 20260822101502 is live and undecided
      leftovers: .shipit/run/k3j4k3j4k3j4k3j4
    web4:
      live:      20260821090311 (not made by shipit)
      stopped:   a run: 20260822101502 was being made
    web5:
      live:      20260821090311 (not made by shipit)
      stopped:   run k3j4k3j4k3j4k3j4: 20260821090311 was being deleted
      locked by: ben on desk: audit, since 2026-08-22 11:00 +02:00
      leftovers: .shipit/trash/20260821090311.k3j4k3j4k3j4k3j4
    web6:
      live:      20260821090311 (not made by shipit)
      locked by: ana on laptop (deploy production), since 10:15
    web7:
      live:      20260821090311 (not made by shipit)
      stopped:   run abc: it was about to activate
      stopped:   run xyz: it had only begun
      leftovers: .current.abc, .shipit/run/xyz
    the hosts are on different releases: 20260821090311 on web1, web2, web4, web5, web6, web7; 20260822101502 on web3
    behind 20260822101502, the newest that is live: web1, web2, web4, web5, web6, web7
      hint:  `shipit deploy production` brings them together
      hint:  the next `shipit deploy production` or `shipit rollback production` recovers what is undecided
      hint:  `shipit unlock production` allows deploys again
      hint:  `shipit prune production` deletes the leftovers
    ");
}

#[test]
fn interrupted_runs_for_machines() {
    let value = status_json(&troubled()[1..2], context());
    let host = &value["hosts"][0];
    assert_eq!(host["undecided"], NEW);
    assert_snapshot!(serde_json::to_string_pretty(&host["interrupted"]).unwrap(), @r#"
    [
      {
        "at": "2026-08-22T10:15:01+00:00",
        "from": "laptop",
        "record": null,
        "release": "20260822101502",
        "run": "k3j4k3j4k3j4k3j4",
        "step": "flip",
        "who": "ana"
      }
    ]
    "#);
}

#[test]
fn unlock_tells_live_holders_from_dead_ones() {
    assert_snapshot!(holders(&troubled(), FixedOffset::east_opt(7200).unwrap()), @"
    web1, web3: the record of ana on laptop (deploy production, run k3j4k3j4k3j4k3j4), since 2026-08-22 12:15 +02:00 is stale: its process is gone
    web2, web4, web7: not locked
    web5: locked by ben on desk: audit, since 2026-08-22 11:00 +02:00
    web6: held by ana on laptop (deploy production), since 10:15: process 4711 is alive; it will be asked to revert what is undecided and to end
    ");
}

fn said(goal: GoalKind, hosts: Vec<(&str, HostResult)>) -> String {
    let release = matches!(goal, GoalKind::Pin | GoalKind::Unpin).then(|| id(OLD));
    let report = Report { goal, release, ..report(hosts) };
    summary::text(&Styles::plain(), &report, Verbosity::Normal)
}

#[test]
fn small_changes_are_summed_up() {
    let done = || HostResult::Done(Done { live: Some(id(NEW)), ..Done::default() });
    let same = || HostResult::Unchanged { live: None };
    let locked = HostResult::Locked {
        holder: format!("{}ben on desk: audit, since 09:00", LockHolder::DEPLOY_LOCK),
    };
    let all = [
        said(GoalKind::Pin, vec![("web1", done()), ("web2", done()), ("web3", same())]),
        said(GoalKind::Unpin, vec![("web1", done())]),
        said(GoalKind::Lock, vec![("web1", done())]),
        said(GoalKind::Unlock, vec![("web1", done()), ("web2", same())]),
        said(
            GoalKind::Lock,
            vec![("web1", HostResult::Untouched { live: None, failure: None }), ("web2", locked)],
        ),
    ];
    assert_snapshot!(all.concat(), @"
    pinned 20260821090311 on web1, web2
    nothing to do: pinned 20260821090311 already on web3
    unpinned 20260821090311 on web1
    locked on web1
    unlocked on web1
    nothing blocked deploys to web2
    error: web2: the deploy lock is set
      cause: locked by ben on desk: audit, since 09:00
      state: web1, web2 were not changed
      hint:  `shipit unlock production` releases it
    ");
}
