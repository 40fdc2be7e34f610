//! The number of cases to try, and trying many at once.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use futures::stream::{self, StreamExt as _};

/// Returns the number of cases to try: few by default, so that `cargo test` is quick; more with
/// SHIPIT_TEST_FAULTS=more, as `tests/run` sets it; all with `all`, which takes some minutes.
pub(crate) fn effort<T>(little: T, more: T, all: T) -> T {
    match std::env::var("SHIPIT_TEST_FAULTS").as_deref() {
        Ok("all") => all,
        Ok("more") => more,
        _ => little,
    }
}

/// Every third of them unless more is wanted.
pub(crate) fn some<Case>(cases: impl IntoIterator<Item = Case>) -> impl Iterator<Item = Case> {
    cases.into_iter().step_by(effort(3, 1, 1))
}

/// Tries all cases, several at a time. One that fails keeps no other from being tried: each says
/// for itself what is wrong.
pub(crate) async fn try_all<Case, Trial: Future<Output = ()>>(
    cases: impl IntoIterator<Item = Case>,
    one: impl Fn(Case) -> Trial,
) {
    let trials = cases.into_iter().map(|case| AssertUnwindSafe(one(case)).catch_unwind());
    let ended: Vec<_> = stream::iter(trials).buffer_unordered(6).collect().await;
    let failed = ended.iter().filter(|trial| trial.is_err()).count();
    assert_eq!(failed, 0, "cases of {} failed", ended.len());
}
