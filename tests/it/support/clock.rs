//! A clock that does not run by itself.

use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A clock that a test moves, and its hand.
pub(crate) fn clock() -> (shipit::report::Clock, Arc<Mutex<Duration>>) {
    let hand = Arc::new(Mutex::new(Duration::ZERO));
    let read = Arc::clone(&hand);
    (Box::new(move || *read.lock().unwrap()), hand)
}
