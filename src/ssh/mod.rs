//! Floor 2: the real Session, over russh or OpenSSH. [`connect::Connector`] turns a host of the
//! config into a [`Session`](crate::remote::session::Session).

mod algorithms;
mod auth;
mod client;
pub mod connect;
mod connection;
pub mod embedded;
mod exec;
pub mod expand;
pub mod given;
pub mod host_key;
mod jump;
mod key_text;
pub mod known_hosts;
mod master;
mod mux;
mod mux_exec;
mod openssh;
mod openssh_words;
pub mod options;
mod pace;
mod proxy_command;
mod session;
mod socket;
pub mod ssh_config;
pub mod target;
mod text;
mod tunnel;

pub use auth::{AskPassphrase, AskQuestion};
