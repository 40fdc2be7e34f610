//! Floor 2: what to do, in which order. Each module uses only those before it in the list that
//! `tests/it/tidy.rs` holds.

pub mod cancel;
pub mod check;
pub mod context;
pub mod conversation;
pub mod delta;
pub mod divergence;
pub mod env_diff;
pub mod event;
pub mod fleet;
pub mod goal;
pub mod health;
pub mod host;
mod hosts;
pub mod judge;
pub mod local_hook;
mod locks;
pub mod order_text;
pub mod outcome;
pub mod payload;
pub mod pin;
pub mod plan;
mod pool;
mod prepare;
pub mod promote;
pub mod query;
pub mod retention;
pub mod rollout;
pub mod run;
pub mod setup;
pub mod source;
pub mod stream;
pub mod verify;
