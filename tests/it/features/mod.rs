//! Deploy, rollback, prune through the real engine and real shells, without SSH.

mod rollouts;
mod story;
mod wires;
pub(crate) mod world;
