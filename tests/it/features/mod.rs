//! Deploy, rollback, prune through the real engine and real shells, without SSH.

mod story;
pub(crate) mod world;
