//! Scenarios on real hosts: systemd, OpenSSH, cables that can be cut. `tests/run` boots the hosts
//! and says in `SHIPIT_FLEET_DIR` where their ssh_config lies; without it nothing here runs.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should stop"
)]
#![expect(clippy::print_stdout, reason = "what was measured belongs in the log of the run")]

mod acting;
mod after;
mod app;
mod around;
mod check;
mod envfile;
mod health;
mod hooks;
mod hosts;
mod interrupts;
mod judgement;
mod load;
mod projects;
mod proofs;
mod readme;
mod reboots;
mod recipes;
mod refusals;
mod secrets;
mod services;
mod setup;
mod six;
mod soak;
mod staged;
mod story;
mod units;
