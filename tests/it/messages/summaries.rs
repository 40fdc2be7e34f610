//! The last words on a run.

use insta::assert_snapshot;
use shipit::deploy::outcome::{Done, HostResult, Report};
use shipit::model::goal::GoalKind;
use shipit::model::service::Proof;
use shipit::report::styles::Styles;
use shipit::report::{Verbosity, github, summary};

use crate::support::reports::{NEW, OLD, done, failure, id, report};
use crate::support::services::proved;

fn text(report: &Report) -> String {
    let styles = Styles::plain();
    summary::warnings(&styles, &report.warnings)
        + &summary::text(&styles, report, Verbosity::Normal)
}

fn done_with(change: impl FnOnce(&mut Done)) -> HostResult {
    let HostResult::Done(mut done) = done() else { unreachable!() };
    change(&mut done);
    HostResult::Done(done)
}

fn unhealthy() -> shipit::deploy::outcome::Failure {
    failure(
        "shop.service was not healthy within 30s",
        &["GET http://127.0.0.1:8080/up answered 502, 14 times"],
        Some("`ssh deploy@web2 journalctl -u shop.service -n 50`"),
    )
}

fn untouched() -> HostResult {
    HostResult::Untouched { live: Some(OLD.to_owned()), failure: None }
}

#[test]
fn summary_of_a_deploy() {
    let inferred = done_with(|done| done.services = proved(Proof::Inferred));
    let report = report(vec![("web1", done()), ("web2", done()), ("web3", inferred)]);
    assert_snapshot!(text(&report), @"
    20260822101502 is live on web1, web2, web3 (was 20260821090311)
      seen running on 2, running according to systemd on 1; 4.2 MB sent to each
    ");
}

#[test]
fn summary_of_one_host() {
    let some = || done_with(|done| (done.linked, done.linked_size) = (40, 8_900_000));
    assert_snapshot!(text(&report(vec![("web1", some())])), @"
    20260822101502 is live on web1 (was 20260821090311); seen running
      4.2 MB sent, 40 of 42 files (8.9 MB) already there
    ");
    assert_snapshot!(text(&report(vec![("web1", some()), ("web2", some())])), @"
    20260822101502 is live on web1, web2 (was 20260821090311); seen running on 2
      4.2 MB sent to each, 40 of 42 files (8.9 MB) already there
    ");
    assert_snapshot!(text(&report(vec![("web1", some()), ("web2", done())])), @"20260822101502 is live on web1, web2 (was 20260821090311); seen running on 2; 4.2 MB sent to each");
    assert_snapshot!(text(&report(vec![("web1", done())])), @"20260822101502 is live on web1 (was 20260821090311); seen running; 4.2 MB sent");
}

#[test]
fn table_says_what_runs_where_if_hosts_differ() {
    let inferred = done_with(|done| done.services = proved(Proof::Inferred));
    let less = done_with(|done| done.sent = 4_100_000);
    let differ = report(vec![("web1", less), ("web2", inferred), ("web3", done())]);
    let table = summary::last_table(&differ, 80);
    let words: Vec<Vec<_>> = table.iter().map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["host", "live", "proof", "sent", "at", "most"]);
    assert_eq!(words[1], ["web1,", "web3", NEW, "seen", "4.2", "MB"]);
    assert_eq!(words[2], ["web2", NEW, "inferred", "4.2", "MB"]);
    let less = done_with(|done| done.sent = 4_100_000);
    let same = report(vec![("web1", less), ("web2", done())]);
    assert!(summary::last_table(&same, 80).is_empty(), "the summary says it all");
}

/// Its second row begins anew.
#[test]
fn summary_is_wrapped_row_by_row() {
    let some = done_with(|done| (done.linked, done.linked_size) = (40, 8_900_000));
    let styles = Styles { width: Some(80), ..Styles::plain() };
    let said = summary::text(&styles, &report(vec![("web1", some)]), Verbosity::Normal);
    assert_snapshot!(said, @"
    20260822101502 is live on web1 (was 20260821090311); seen running
      4.2 MB sent, 40 of 42 files (8.9 MB) already there
    ");
}

#[test]
fn summary_counts_patched_files() {
    let some = || done_with(|done| (done.rebuilt, done.spared) = (1, 197_600_000));
    assert_snapshot!(text(&report(vec![("web1", some())])), @"
    20260822101502 is live on web1 (was 20260821090311); seen running
      4.2 MB sent, 1 large file patched (198 MB saved)
    ");
}

#[test]
fn summary_of_first_and_later_releases() {
    let first =
        done_with(|done| (done.before, done.services, done.sent) = (None, Vec::new(), 5_000_000));
    let pruned = done_with(|done| done.pruned = vec![OLD.to_owned()]);
    let report = report(vec![("web1", first), ("web2", pruned)]);
    assert_snapshot!(text(&report), @"
    20260822101502 is live on web1, web2 (nothing was live before on web1, was 20260821090311 on web2)
      seen running on 1; at most 5.0 MB sent to each
    pruned 1 release on web2: 20260821090311
    ");
}

#[test]
fn summary_of_an_unchanged_deploy() {
    let same = || HostResult::Unchanged { live: Some(id(OLD)) };
    assert_snapshot!(text(&report(vec![("web1", same()), ("web2", same())])), @"unchanged: 20260821090311 is live on web1, web2 already, with this build and config; `--force` deploys it again");
}

#[test]
fn summary_of_a_rollback() {
    let back = done_with(|done| {
        (done.live, done.before, done.sent) = (Some(id(OLD)), Some(NEW.to_owned()), 0);
    });
    let report = Report { goal: GoalKind::Rollback, ..report(vec![("web1", back)]) };
    assert_snapshot!(text(&report), @"20260821090311 is live again on web1 (was 20260822101502); seen running");
}

#[test]
fn summary_of_a_prune() {
    let some = done_with(|done| done.pruned = vec!["20260101000000".to_owned(), OLD.to_owned()]);
    let none = done_with(|_| {});
    let report = Report { goal: GoalKind::Prune, ..report(vec![("web1", some), ("web2", none)]) };
    assert_snapshot!(text(&report), @"
    pruned 2 releases on web1: 20260101000000, 20260821090311
    nothing to prune on web2
    ");
}

#[test]
fn quiet_summary_of_success_is_empty() {
    let report = report(vec![("web1", done())]);
    assert_eq!(summary::text(&Styles::plain(), &report, Verbosity::Quiet), "");
}

#[test]
fn summary_of_a_reverted_release() {
    let fleet = failure("the fleet is reverted together", &[], None);
    let back = |failure| HostResult::Reverted { live: OLD.to_owned(), failure, but: None };
    let report =
        report(vec![("web1", back(fleet)), ("web2", back(unhealthy())), ("web3", untouched())]);
    assert_snapshot!(text(&report), @"
    error: web2: shop.service was not healthy within 30s
      cause: GET http://127.0.0.1:8080/up answered 502, 14 times
    error: web1: the fleet is reverted together
      state: web1, web2 are back on 20260821090311; web3 was not changed (live: 20260821090311)
      hint:  `ssh deploy@web2 journalctl -u shop.service -n 50`
    ");
}

#[test]
fn summary_of_a_reverted_first_release() {
    let back = HostResult::Reverted { live: "nothing".to_owned(), failure: unhealthy(), but: None };
    assert_snapshot!(text(&report(vec![("web1", back)])), @"
    error: web1: shop.service was not healthy within 30s
      cause: GET http://127.0.0.1:8080/up answered 502, 14 times
      state: web1 has nothing live again, as before
      hint:  `ssh deploy@web2 journalctl -u shop.service -n 50`
    ");
}

#[test]
fn summary_joins_hosts_that_failed_alike() {
    let full = |host: &str| HostResult::Untouched {
        live: Some(OLD.to_owned()),
        failure: Some(failure(
            "could not upload 20260822101502",
            &[
                "`tar -x` exited with code 2",
                "tar: app/bin/server: Cannot write: No space left on device",
            ],
            Some(host),
        )),
    };
    let hint = "`shipit prune production` deletes old releases";
    let report = report(vec![("web1", full(hint)), ("web2", full(hint)), ("web3", untouched())]);
    assert_snapshot!(text(&report), @"
    error: web1, web2: could not upload 20260822101502
      cause: `tar -x` exited with code 2
             tar: app/bin/server: Cannot write: No space left on device
      state: web1, web2, web3 were not changed (live: 20260821090311)
      hint:  `shipit prune production` deletes old releases
    ");
}

#[test]
fn summary_of_a_failed_revert() {
    let undo = failure(
        &format!("could not revert {OLD}"),
        &["the connection was lost; the command may or may not have run"],
        None,
    );
    let stuck = HostResult::Stuck { cause: unhealthy(), undo };
    assert_snapshot!(text(&report(vec![("web1", untouched()), ("web2", stuck)])), @"
    error: web2: could not revert 20260821090311
      cause: the connection was lost; the command may or may not have run
             it had to be reverted because: shop.service was not healthy within 30s
             GET http://127.0.0.1:8080/up answered 502, 14 times
      state: web1 was not changed (live: 20260821090311); web2 needs attention: it was activated and could not be reverted
      hint:  `ssh deploy@web2 journalctl -u shop.service -n 50`
    ");
}

#[test]
fn summary_of_lost_contact() {
    let failure = failure("the connection was lost during the commit", &["no route to host"], None);
    let report = report(vec![("web1", done()), ("web2", HostResult::Unknown { failure })]);
    assert_snapshot!(text(&report), @"
    error: web2: the connection was lost during the commit
      cause: no route to host
      state: web1 is on 20260822101502; web2 is in an unknown state: contact was lost
      hint:  `shipit status production` shows what is live where
    ");
}

#[test]
fn summary_of_a_held_lock() {
    let holder = "ana on laptop (deploy production, run k3j4h5g6) since 2026-08-22T10:14:00Z";
    let locked = HostResult::Locked { holder: holder.to_owned() };
    assert_snapshot!(text(&report(vec![("web1", locked), ("web2", untouched())])), @"
    error: web1: another run holds the lock
      cause: ana on laptop (deploy production, run k3j4h5g6) since 2026-08-22 10:14 +00:00
      state: web1 was not changed; web2 was not changed (live: 20260821090311)
      hint:  `shipit deploy production --wait` waits until that run has ended
    ");
}

#[test]
fn summary_of_an_interrupt() {
    let stopped = failure("it was reverted because the run was interrupted", &[], None);
    let back = HostResult::Reverted { live: OLD.to_owned(), failure: stopped, but: None };
    let hosts = vec![("web1", back), ("web2", untouched())];
    let report = Report { interrupted: true, ..report(hosts) };
    assert_snapshot!(text(&report), @"
    error: the deploy was interrupted
    error: web1: it was reverted because the run was interrupted
      state: web1 is back on 20260821090311; web2 was not changed (live: 20260821090311)
      hint:  `shipit deploy production` runs it again
    ");
}

#[test]
fn summary_of_a_failed_local_hook() {
    let hook = failure("`./ci/smoke` failed", &["it exited with code 1"], None);
    let report = Report { failure: Some(hook), ..report(vec![("web1", untouched())]) };
    assert_snapshot!(text(&report), @"
    error: `./ci/smoke` failed
      cause: it exited with code 1
      state: web1 was not changed (live: 20260821090311)
    ");
}

#[test]
fn summary_joins_equal_warnings() {
    let mut told = report(vec![("web1", done())]);
    let skew = "the clock is 3 min ahead".to_owned();
    told.warnings = vec![
        (Some("web1".to_owned()), skew.clone()),
        (None, "no revision is known".to_owned()),
        (Some("web2".to_owned()), skew),
    ];
    assert_snapshot!(text(&told), @"
    warning: web1, web2: the clock is 3 min ahead
    warning: no revision is known
    20260822101502 is live on web1 (was 20260821090311); seen running; 4.2 MB sent
    ");
}

#[test]
fn summary_shortens_only_the_largest_group() {
    let names: Vec<_> = (1..=50).map(|number| format!("web{number}")).collect();
    let result = |number: usize| match number {
        7 => HostResult::Untouched { live: None, failure: Some(unhealthy()) },
        _ => HostResult::Unchanged { live: Some(id(OLD)) },
    };
    let hosts = names.iter().enumerate().map(|(i, name)| (name.as_str(), result(i))).collect();
    assert_snapshot!(summary::state(&report(hosts)).unwrap(), @"web1, web2, web3 and 46 more hosts are still on 20260821090311; web8 was not changed");
}

#[test]
fn summary_gives_every_host_a_state() {
    let results = [
        done(),
        HostResult::Unchanged { live: None },
        untouched(),
        HostResult::Reverted { live: OLD.to_owned(), failure: unhealthy(), but: None },
        HostResult::Locked { holder: "ana".to_owned() },
        HostResult::Stuck { cause: unhealthy(), undo: unhealthy() },
        HostResult::Unknown { failure: unhealthy() },
    ];
    let names: Vec<_> = (1..=results.len()).map(|number| format!("host{number}")).collect();
    let hosts = names.iter().map(String::as_str).zip(results).collect();
    assert_snapshot!(summary::state(&report(hosts)).unwrap().replace("; ", "\n"), @"
    host1 is on 20260822101502
    host2, host5 were not changed
    host3 was not changed (live: 20260821090311)
    host4 is back on 20260821090311
    host6 needs attention: it was activated and could not be reverted
    host7 is in an unknown state: contact was lost
    ");
}

#[test]
fn github_annotations_cover_failures_and_warnings() {
    let back = HostResult::Reverted { live: OLD.to_owned(), failure: unhealthy(), but: None };
    let mut told = report(vec![("web2", back)]);
    told.stage = "eu,prod".to_owned();
    told.warnings = vec![(Some("web1".to_owned()), "98% of the disk is full".to_owned())];
    assert_snapshot!(github::annotations(&told), @"
    ::error title=shipit deploy eu%2Cprod::web2: shop.service was not healthy within 30s%0AGET http://127.0.0.1:8080/up answered 502, 14 times%0Astate: web2 is back on 20260821090311%0Ahint: `ssh deploy@web2 journalctl -u shop.service -n 50`
    ::warning title=shipit deploy eu%2Cprod::web1: 98%25 of the disk is full
    ");
    assert_eq!(github::annotations(&report(vec![("web1", done())])), "");
}

#[test]
fn summary_of_a_skipped_host() {
    let source = failure("could not connect to web2:22", &["Connection refused"], None);
    let report = report(vec![("web1", done()), ("web2", HostResult::Skipped { failure: source })]);
    assert_snapshot!(text(&report), @"
    error: web2: could not connect to web2:22
      cause: Connection refused
      state: web1 is on 20260822101502; web2 was skipped and is behind
      hint:  `shipit deploy production` updates it once it is reachable
    ");
}

#[test]
fn summary_of_contact_lost_during_commit() {
    let lost = failure("the connection was lost", &[], None);
    let back = HostResult::Reverted { live: OLD.to_owned(), failure: lost, but: None };
    let mut report = report(vec![("web1", done()), ("web2", back)]);
    report.split = true;
    assert_snapshot!(text(&report), @"
    error: contact was lost while 20260822101502 was committed: hosts may differ
    error: web2: the connection was lost
      state: web1 is on 20260822101502; web2 is back on 20260821090311
      hint:  `shipit deploy production` makes it live on the others too
    ");
}
