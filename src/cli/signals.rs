//! Ctrl-C and SIGTERM: the first asks to stop, the second insists.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::deploy::cancel::Cancel;

/// Follows the signals of this process; counts all that come after this returns.
pub(crate) fn follow() -> Cancel {
    let (asked, cancel) = watch::channel(0_u8);
    let (Ok(mut interrupts), Ok(mut terms)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return Cancel::never();
    };
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupts.recv() => {}
                _ = terms.recv() => {}
            }
            asked.send_modify(|times| *times = times.saturating_add(1));
        }
    });
    Cancel::new(cancel)
}
