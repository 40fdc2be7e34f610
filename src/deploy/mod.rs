//! Floor 2: what to do, in which order.

pub mod choose;
pub mod event;
pub mod finding;
pub mod goal;
pub mod outcome;
pub mod plan;
