//! Artifacts of every kind become one manifest; hostile ones are refused.

mod field;
mod hostile;
mod known;
mod packing;
mod rules;
mod same;
mod sparse;
mod spec;
