//! Deploy, rollback, prune through the real engine and real shells, without SSH.

mod after;
mod rollouts;
mod story;
mod wires;
pub(crate) mod world;
