//! Output of the commands that only look: releases, status, plans, findings.

use std::collections::BTreeMap;

use chrono::{DateTime, FixedOffset, Utc};
use insta::assert_snapshot;
use shipit::deploy::check::{Finding, Level};
use shipit::model::digest::Digest;
use shipit::model::hook::HookPlace;
use shipit::model::host_state::{Current, Facts, HostState, OwedHooks, Owner, UnitState};
use shipit::model::ledger::{Entry, Ledger, LedgerEvent};
use shipit::report::check::{check_json, check_view};
use shipit::report::plan::{plan_json, plan_view};
use shipit::report::releases::{releases_json, releases_table};
use shipit::report::status::{StatusContext, status_json, status_view};
use shipit::report::styles::Styles;

use crate::support::reports::{NEW, OLD, id};

const BAD: &str = "20260820080000";
const TORN: &str = "20260819070000";

fn now() -> DateTime<Utc> {
    "2026-08-22T10:18:02Z".parse().unwrap()
}

fn offset() -> FixedOffset {
    FixedOffset::east_opt(7200).unwrap()
}

fn entry(event: LedgerEvent, release: &str) -> String {
    let at = format!("2026-08-22T10:1{}:00Z", if release == NEW { 5 } else { 0 });
    let staged = event == LedgerEvent::Staged;
    let entry = Entry {
        at,
        who: "ana".to_owned(),
        from: "laptop".to_owned(),
        artifact: staged.then(|| Digest::of(release.as_bytes())),
        size: staged.then_some(4_200_000),
        revision: staged.then(|| format!("{release}abcdef")),
        ..Entry::new(event, release)
    };
    serde_json::to_string(&entry).unwrap()
}

fn host(live: &str) -> HostState {
    let mut lines = vec![
        entry(LedgerEvent::Staged, BAD),
        entry(LedgerEvent::Activated, BAD),
        entry(LedgerEvent::Reverted, BAD),
        entry(LedgerEvent::Staged, OLD),
        entry(LedgerEvent::Activated, OLD),
        entry(LedgerEvent::Committed, OLD),
        entry(LedgerEvent::Pinned, OLD),
    ];
    if live == NEW {
        lines.extend(
            [LedgerEvent::Staged, LedgerEvent::Activated, LedgerEvent::Committed]
                .map(|e| entry(e, NEW)),
        );
    }
    let mut present = vec![TORN, BAD, OLD, "v1-by-hand"];
    if live == NEW {
        present.insert(3, NEW);
    }
    HostState {
        facts: Facts::default(),
        current: Current::Release(id(live)),
        present: present.into_iter().map(str::to_owned).collect(),
        unfinished: [TORN.to_owned()].into(),
        ledger: Ledger::parse(lines.iter().map(String::as_str)),
        in_use: [live.to_owned()].into(),
        units: vec![UnitState {
            service: "todo".to_owned(),
            name: "todo.service".to_owned(),
            load: "loaded".to_owned(),
            active: "active".to_owned(),
            sub: "running".to_owned(),
            since: "Sat 2026-08-22 10:15:03 UTC".to_owned(),
            ..UnitState::default()
        }],
        ..HostState::default()
    }
}

fn hosts(live: &[&str]) -> Vec<(String, HostState)> {
    live.iter().enumerate().map(|(i, live)| (format!("web{}", i + 1), host(live))).collect()
}

fn table(hosts: &[(String, HostState)], width: usize) -> String {
    releases_table(hosts, context(), &Styles { width: Some(width), ..Styles::plain() })
}

#[test]
fn releases_of_agreeing_hosts_are_one_table() {
    assert_snapshot!(table(&hosts(&[NEW, NEW]), 140), @"
       release         made              age         state         who  revision      digest          size
    *  20260822101502  2026-08-22 12:15  3 min ago   good          ana  202608221015  5ed5b235ecc7  4.2 MB
       20260821090311  2026-08-21 11:03  1 day ago   good, pinned  ana  202608210903  8de2ec8964aa  4.2 MB
       20260820080000  2026-08-20 10:00  2 days ago  reverted      ana  202608200800  9575e421b906  4.2 MB
       20260819070000  2026-08-19 09:00  3 days ago  unfinished
    1 left by another tool, which `prune` keeps: v1-by-hand
    times are UTC+02:00
    ");
}

#[test]
fn releases_of_differing_hosts_are_told_apart() {
    assert_snapshot!(table(&hosts(&[NEW, OLD, NEW]), 80), @"
    web1, web3:
       release         made              age         state         who  revision
    *  20260822101502  2026-08-22 12:15  3 min ago   good          ana  202608221015
       20260821090311  2026-08-21 11:03  1 day ago   good, pinned  ana  202608210903
       20260820080000  2026-08-20 10:00  2 days ago  reverted      ana  202608200800
       20260819070000  2026-08-19 09:00  3 days ago  unfinished
    no room for: size, digest (`--json` has all)
    1 left by another tool, which `prune` keeps: v1-by-hand

    web2:
       release         made              age         state         who  revision
    *  20260821090311  2026-08-21 11:03  1 day ago   good, pinned  ana  202608210903
       20260820080000  2026-08-20 10:00  2 days ago  reverted      ana  202608200800
       20260819070000  2026-08-19 09:00  3 days ago  unfinished
    no room for: size, digest (`--json` has all)
    1 left by another tool, which `prune` keeps: v1-by-hand

    times are UTC+02:00
    ");
}

#[test]
fn releases_fit_a_narrow_terminal() {
    assert_snapshot!(table(&hosts(&[NEW]), 50), @"
       release         age         state         who
    *  20260822101502  3 min ago   good          ana
       20260821090311  1 day ago   good, pinned  ana
       20260820080000  2 days ago  reverted      ana
       20260819070000  3 days ago  unfinished
    no room for: revision, made, size, digest (`--json` has all)
    1 left by another tool, which `prune` keeps: v1-by-hand
    times are UTC+02:00
    ");
}

#[test]
fn no_releases_and_a_torn_ledger_read_well() {
    let mut state = host(NEW);
    (state.current, state.present) = (Current::Absent, Vec::new());
    state.ledger = Ledger::parse(["{torn"]);
    assert_snapshot!(table(&[("web1".to_owned(), state)], 80), @"
    no releases yet
    1 line of the ledger cannot be read
    ");
}

#[test]
fn text_of_hosts_cannot_draw() {
    let mut state = host(NEW);
    state.present.push("\u{1b}[2Jx".to_owned());
    state.holder = Some("\u{1b}]0;t\u{7}eve".to_owned());
    let hosts = [("web1".to_owned(), state)];
    let all = [
        table(&hosts, 80),
        status_view(&hosts, context(), &Styles::plain()),
        releases_json(&hosts).to_string(),
    ];
    assert!(!all.concat().contains('\u{1b}') && all[1].contains("eve"));
}

#[test]
fn releases_for_machines() {
    assert_snapshot!(serde_json::to_string_pretty(&releases_json(&hosts(&[OLD]))).unwrap(), @r#"
    {
      "hosts": [
        {
          "foreign": [
            "v1-by-hand"
          ],
          "host": "web1",
          "live": "20260821090311",
          "newer": null,
          "releases": [
            {
              "artifact": "8de2ec8964aa3c9635caca74e4baf45d447b57f62641c98e67a4b5857d07fb10",
              "expires": null,
              "from": "laptop",
              "id": "20260821090311",
              "in_use": true,
              "live": true,
              "made": "2026-08-21T09:03:11+00:00",
              "pinned": true,
              "revision": "20260821090311abcdef",
              "size": 4200000,
              "state": "good",
              "who": "ana"
            },
            {
              "artifact": "9575e421b90688f2a0234733b08b4de951c7c4439a65a6ddbd110b31a61d00ed",
              "expires": null,
              "from": "laptop",
              "id": "20260820080000",
              "in_use": false,
              "live": false,
              "made": "2026-08-20T08:00:00+00:00",
              "pinned": false,
              "revision": "20260820080000abcdef",
              "size": 4200000,
              "state": "reverted",
              "who": "ana"
            },
            {
              "artifact": null,
              "expires": null,
              "from": null,
              "id": "20260819070000",
              "in_use": false,
              "live": false,
              "made": "2026-08-19T07:00:00+00:00",
              "pinned": false,
              "revision": null,
              "size": null,
              "state": "unfinished",
              "who": null
            }
          ],
          "unreadable_ledger_lines": 0
        }
      ],
      "v": 1
    }
    "#);
}

#[test]
fn staged_release_is_shown_with_its_last_day() {
    let mut all = hosts(&[OLD]);
    let staged = Entry {
        expires: Some("2026-08-29T12:00:00Z".to_owned()),
        ..Entry::new(LedgerEvent::Staged, NEW)
    };
    for (_, state) in &mut all {
        *state = state.holding(staged.clone());
    }
    let table = releases_table(&all, context(), &Styles::plain());
    assert!(table.contains(" staged until 2026-08-29"), "{table}");
    let view = status_view(&all, context(), &Styles::plain());
    assert!(view.contains("  staged:    20260822101502, until 2026-08-29\n"), "{view}");
    let hint = "  hint:  `shipit activate production` makes what is staged live\n";
    assert!(view.contains(hint), "{view}");
    let json = status_json(&all, context());
    let waits = &json["hosts"][0]["staged"][0];
    assert_eq!(
        (waits["release"].as_str(), waits["expires"].as_str().map(str::len)),
        (Some(NEW), Some(25))
    );
}

fn context() -> StatusContext<'static> {
    StatusContext { stage: "production", now: now(), offset: offset() }
}

#[test]
fn status_of_a_healthy_fleet() {
    assert_snapshot!(status_view(&hosts(&[NEW, NEW]), context(), &Styles::plain()), @"
    web1, web2:
      live:      20260822101502 since 2026-08-22 12:15 +02:00 (3 min ago)
      made:      by ana on laptop, revision 202608221015
      service:   todo.service is active (running) since 2026-08-22 12:15 +02:00 (2 min ago)
      stopped:   a run: 20260819070000 was being made
      hint:  `shipit prune production` deletes the leftovers
    ");
}

/// Hosts that went live one after the other are one group, with the first and the last of them.
#[test]
fn status_of_hosts_live_within_minutes() {
    let mut hosts = hosts(&[NEW, NEW, NEW]);
    for (place, (_, host)) in hosts.iter_mut().enumerate() {
        let minute = format!(" 10:1{}:", 7 - place);
        let later = |text: String| text.replace("T10:15:", &minute.replace(' ', "T"));
        let lines = [LedgerEvent::Staged, LedgerEvent::Activated, LedgerEvent::Committed]
            .map(|e| later(entry(e, NEW)));
        host.ledger = Ledger::parse(lines.iter().map(String::as_str));
        host.unfinished.clear();
        let unit = &mut host.units[0];
        unit.since = unit.since.replace(" 10:15:", &minute);
    }
    assert_snapshot!(status_view(&hosts, context(), &Styles::plain()), @"
    web1, web2, web3:
      live:      20260822101502 since 2026-08-22 12:15 +02:00 (3 min ago) … 2026-08-22 12:17 +02:00 (1 min ago)
      made:      by ana on laptop, revision 202608221015
      service:   todo.service is active (running) since 2026-08-22 12:15 +02:00 (2 min ago) … 2026-08-22 12:17 +02:00 (59 s ago)
    ");
}

#[test]
fn status_of_a_fleet_in_trouble() {
    let mut hosts = hosts(&[NEW, OLD, NEW, NEW, NEW]);
    let mut lines: Vec<_> =
        [LedgerEvent::Staged, LedgerEvent::Activated].map(|e| entry(e, NEW)).into();
    lines.insert(0, entry(LedgerEvent::Committed, OLD));
    hosts[1].1.ledger = Ledger::parse(lines.iter().map(String::as_str));
    hosts[1].1.present.push(NEW.to_owned());
    hosts[1].1.leftovers = vec![".shipit/run/k3j4".to_owned(), "releases/.2026.x".to_owned()];
    hosts[1].1.units[0].restarts = 3;
    hosts[2].1.holder = Some("ana on laptop (deploy production) since 10:15".to_owned());
    hosts[3].1.current = Current::Foreign("/srv/old/current".to_owned());
    hosts[3].1.units[0].load = "not-found".to_owned();
    hosts[4].1.current = Current::NotALink;
    hosts[4].1.units.clear();
    assert_snapshot!(status_view(&hosts, context(), &Styles::plain()), @"
    web1:
      live:      20260822101502 since 2026-08-22 12:15 +02:00 (3 min ago)
      made:      by ana on laptop, revision 202608221015
      service:   todo.service is active (running) since 2026-08-22 12:15 +02:00 (2 min ago)
      stopped:   a run: 20260819070000 was being made
    web2:
      live:      20260821090311
      service:   todo.service is active (running) since 2026-08-22 12:15 +02:00 (2 min ago), restarted 3 times by itself since it was last stopped
      stopped:   run  by ana on laptop, 2026-08-22 12:15 +02:00 (3 min ago): 20260822101502 was about to go live, but is not
      stopped:   a run: 20260819070000 was being made
      stopped:   run x: 2026 was being uploaded
      stopped:   run k3j4: it had only begun
      leftovers: .shipit/run/k3j4, releases/.2026.x
    web3:
      live:      20260822101502 since 2026-08-22 12:15 +02:00 (3 min ago)
      made:      by ana on laptop, revision 202608221015
      service:   todo.service is active (running) since 2026-08-22 12:15 +02:00 (2 min ago)
      stopped:   a run: 20260819070000 was being made
      locked by: ana on laptop (deploy production) since 10:15
    web4:
      live:      /srv/old/current (not made by shipit)
      service:   todo.service does not exist
      stopped:   a run: 20260819070000 was being made
    web5:
      live:      `current` is not a link: shipit leaves it alone
      stopped:   a run: 20260819070000 was being made
    the hosts are on different releases: 20260822101502 on web1, web3; 20260821090311 on web2; /srv/old/current on web4; not a link on web5
    behind 20260822101502, the newest that is live: web2, web4, web5
      hint:  `shipit deploy production` brings them together
      hint:  the next `shipit deploy production` or `shipit rollback production` recovers what is undecided
      hint:  `shipit prune production` deletes the leftovers
    ");
}

/// A host that could not be reverted shows it until the next activation.
#[test]
fn status_of_a_host_that_needs_attention() {
    let mut hosts = hosts(&[OLD]);
    let mut lines: Vec<_> = [LedgerEvent::Staged, LedgerEvent::Activated, LedgerEvent::Failed]
        .map(|e| entry(e, NEW))
        .into();
    let told = |hosts: &mut Vec<(String, HostState)>, lines: &[String]| {
        hosts[0].1.ledger = Ledger::parse(lines.iter().map(String::as_str));
        hosts[0].1.unfinished.clear();
        status_view(hosts, context(), &Styles::plain())
    };
    let view = told(&mut hosts, &lines);
    let stuck = "  stuck:     20260822101502 by ana on laptop, 2026-08-22 12:15 +02:00 (3 min ago): could not be \
                 reverted\n";
    assert!(view.contains(stuck), "{view}");
    assert!(view.contains("hint:  once the service runs again, the next `shipit deploy"), "{view}");
    assert_eq!(status_json(&hosts, context())["hosts"][0]["stuck"]["release"], NEW);
    // A release that failed before it was live is none, and the next event decides.
    lines.extend([LedgerEvent::Staged, LedgerEvent::Activated].map(|e| entry(e, OLD)));
    assert!(!told(&mut hosts, &lines).contains("stuck"));
    assert!(!told(&mut hosts, &[entry(LedgerEvent::Failed, NEW)]).contains("stuck"));
}

/// Its hooks may have taken it out of service.
#[test]
fn status_of_a_host_whose_hooks_were_not_run_to_their_end() {
    let mut hosts = hosts(&[NEW]);
    hosts[0].1.owed = Some(OwedHooks { id: id(NEW), place: HookPlace::Committed });
    let view = status_view(&hosts, context(), &Styles::plain());
    let owed = "  owed:      its `committed` hooks for 20260822101502 were not run to their end\n";
    assert!(view.contains(owed), "{view}");
    assert!(view.contains("hint:  the next `shipit deploy production` or"), "{view}");
    assert_eq!(status_json(&hosts, context())["hosts"][0]["owed"]["hook"], "committed");
    // The run that goes on may do so yet.
    hosts[0].1.lock.owner = Some(Owner { pid: 1, run: "run".to_owned() });
    assert!(!status_view(&hosts, context(), &Styles::plain()).contains("owed"));
}

/// A person forgets it.
#[test]
fn status_of_a_host_in_maintenance() {
    let mut hosts = hosts(&[NEW]);
    hosts[0].1.maintenance = Some(context().now - chrono::TimeDelta::hours(2));
    let view = status_view(&hosts, context(), &Styles { width: Some(50), ..Styles::plain() });
    let mode =
        "  mode:      maintenance since 2026-08-22 10:18\n             +02:00 (2 hours ago)\n";
    assert!(view.contains(mode), "{view}");
    let hint = "  hint:  `shipit maintenance off production` ends\n         it\n";
    assert!(view.contains(hint), "{view}");
    assert!(view.lines().all(|line| line.len() <= 50), "{view}");
    let told = &status_json(&hosts, context())["hosts"][0]["maintenance"];
    assert_eq!(told, "2026-08-22T08:18:02+00:00");
}

#[test]
fn status_for_machines() {
    let value = status_json(&hosts(&[NEW, OLD]), context());
    assert_eq!(value["agree"], false);
    assert_snapshot!(serde_json::to_string_pretty(&value["hosts"][0]).unwrap(), @r#"
    {
      "behind": false,
      "frozen": null,
      "host": "web1",
      "interrupted": [
        {
          "at": null,
          "from": null,
          "record": null,
          "release": "20260819070000",
          "run": null,
          "step": "make",
          "who": null
        }
      ],
      "leftovers": [],
      "live": "20260822101502",
      "locked_by": null,
      "maintenance": null,
      "owed": null,
      "services": [
        {
          "name": "todo",
          "unit": {
            "active": "active",
            "load": "loaded",
            "name": "todo.service",
            "restarts": 0,
            "since": "Sat 2026-08-22 10:15:03 UTC",
            "sub": "running"
          }
        }
      ],
      "since": "2026-08-22T10:15:00+00:00",
      "slots": [],
      "staged": [],
      "stuck": null,
      "unclear": [],
      "undecided": null,
      "unfit": [],
      "unit": {
        "active": "active",
        "load": "loaded",
        "name": "todo.service",
        "restarts": 0,
        "since": "Sat 2026-08-22 10:15:03 UTC",
        "sub": "running"
      }
    }
    "#);
}

#[test]
fn plan_reads_well() {
    let lines = |last: &str| vec!["upload 3 files (4.2 MB)".to_owned(), last.to_owned()];
    let flip = format!("flip current to {NEW}");
    let plans = vec![
        ("web1".to_owned(), lines(&flip)),
        ("web2".to_owned(), Vec::new()),
        ("web3".to_owned(), lines(&flip)),
    ];
    let warnings = vec![(Some("web1".to_owned()), "`log/` of the artifact is left out".to_owned())];
    assert_snapshot!(plan_view(&plans, &warnings), @"
    warning: web1: `log/` of the artifact is left out
    web1, web3:
      upload 3 files (4.2 MB)
      flip current to 20260822101502
    web2:
      nothing to do
    nothing was changed: this was a dry run
    ");
    assert_eq!(plan_json(&plans, &BTreeMap::new(), &warnings)["hosts"][0]["steps"][1], flip);
}

fn finding(host: Option<&str>, level: Level, text: &str, fix: Option<&str>) -> Finding {
    let (host, fix) = (host.map(str::to_owned), fix.map(str::to_owned));
    Finding { host, level, text: text.to_owned(), fix }
}

#[test]
fn check_findings_end_in_a_fix() {
    let sudo = "`sudo -n systemctl restart todo.service` is not allowed";
    let rule = "add `deploy ALL=(root) NOPASSWD: /usr/bin/systemctl restart todo.service`";
    let findings = [
        finding(Some("web1"), Level::Problem, sudo, Some(rule)),
        finding(None, Level::Ok, "dist/ can be read", None),
        finding(Some("web1"), Level::Ok, "the host key is known", None),
        finding(Some("web2"), Level::Ok, "the host key is known", None),
        finding(Some("web2"), Level::Problem, sudo, Some(rule)),
        finding(Some("web2"), Level::Warning, "the clock is 3 min ahead", None),
    ];
    assert_snapshot!(check_view(&findings, &Styles::plain()), @"
    ok       dist/ can be read
    ok       web1, web2: the host key is known
    warning  web2: the clock is 3 min ahead
             fix: none is known
    problem  web1, web2: `sudo -n systemctl restart todo.service` is not allowed
             fix: add `deploy ALL=(root) NOPASSWD: /usr/bin/systemctl restart todo.service`
    a deploy would not work: 2 ok, 1 warning, 1 problem
    ");
    let narrow = Styles { width: Some(50), ..Styles::plain() };
    assert_snapshot!(check_view(&findings[3..5], &narrow), @"
    ok       web2: the host key is known
    problem  web2:
             `sudo -n systemctl restart todo.service`
             is not allowed
             fix: add
                  `deploy ALL=(root) NOPASSWD: /usr/bin/systemctl restart todo.service`
    a deploy would not work: 1 ok, 0 warnings, 1 problem
    ");
    assert_eq!(check_json(&findings)["works"], false);
    assert_eq!(check_json(&findings[1..4])["works"], true);
}
