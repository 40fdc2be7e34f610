//! Deploy, rollback, prune through the real engine and real shells, without SSH.

mod after;
pub(crate) mod delta;
pub(crate) mod health;
mod large;
mod rollouts;
mod story;
mod streams;
pub(crate) mod stripes;
pub(crate) mod wires;
pub(crate) mod world;
