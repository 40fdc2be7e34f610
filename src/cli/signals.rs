//! Ctrl-C and SIGTERM as an input: the first asks to stop, the second insists.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::deploy::cancel::Cancel;

/// Follows the signals of this process from now on.
pub(crate) fn follow() -> Cancel {
    let (asked, cancel) = watch::channel(0);
    tokio::spawn(async move {
        let (Ok(mut interrupts), Ok(mut terms)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        loop {
            tokio::select! {
                _ = interrupts.recv() => {}
                _ = terms.recv() => {}
            }
            asked.send_modify(|times| *times += 1);
        }
    });
    Cancel::new(cancel)
}
