//! Floor 2: what to do, in which order.

pub mod event;
pub mod outcome;
