//! Floor 2: what to do, in which order.

pub mod cancel;
pub mod delta;
pub mod divergence;
pub mod event;
pub mod finding;
pub mod fleet;
pub mod goal;
pub mod health;
pub mod host;
mod judge;
pub mod local_hook;
pub mod outcome;
pub mod payload;
pub mod plan;
mod prepare;
pub mod query;
pub mod retention;
pub mod rollout;
pub mod verify;
