//! Helpers that tests share. A test takes its helpers from here or defines them in its own file; it
//! uses no other test.

pub(crate) mod archives;
pub(crate) mod buffer;
pub(crate) mod bytes;
pub(crate) mod clock;
pub(crate) mod config;
pub(crate) mod counting;
pub(crate) mod disk;
pub(crate) mod disk_checks;
pub(crate) mod docker;
pub(crate) mod effort;
pub(crate) mod far;
pub(crate) mod fault_table;
pub(crate) mod files;
pub(crate) mod fleet;
pub(crate) mod health;
pub(crate) mod ledgers;
pub(crate) mod link;
pub(crate) mod project;
pub(crate) mod receiver;
pub(crate) mod reports;
pub(crate) mod server;
pub(crate) mod services;
pub(crate) mod session;
pub(crate) mod shells;
pub(crate) mod slots;
pub(crate) mod ssh;
pub(crate) mod sshd;
pub(crate) mod systemd;
pub(crate) mod tools;
pub(crate) mod world;
