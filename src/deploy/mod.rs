//! Floor 2: what to do, in which order. From the ground up, each module uses only those before it,
//! and a test holds that: `cancel`, `outcome`, `order_text`, `event`, `run`, `source`, `goal`,
//! `retention`, `divergence`, `plan`, `context`, `local_hook`, `pool`, `conversation`, `query`,
//! `stream`, `health`, `judge`, `verify`, `pin`, `delta`, `env_diff`, `payload`, `promote`, `host`,
//! `prepare`, `hosts`, `locks`, `rollout`, `fleet`, `check`, `setup`.

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
