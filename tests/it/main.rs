//! All integration tests, in one binary.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod agent;
mod artifact;
mod cli;
mod config;
mod env;
mod faults;
mod features;
mod laws;
mod ledger;
mod load;
mod messages;
mod plans;
mod power;
mod properties;
mod provision;
mod races;
mod readme;
mod ssh;
mod support;
mod tidy;
