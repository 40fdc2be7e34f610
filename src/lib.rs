//! shipit puts a build on servers through plain SSH, so that at every instant each server runs one
//! whole, known release, or the report says which one does not.
//!
//! The floors, from the ground up; a module may use those below it and beside it only as
//! `docs/architecture.md` says, and a test holds that.

pub mod model;

pub mod remote;

pub mod config;

pub mod deploy;

pub mod artifact;
pub mod cache;
pub mod report;
pub mod ssh;

mod cli;

pub use cli::run;
