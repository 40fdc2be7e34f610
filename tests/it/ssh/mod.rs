//! The SSH side against the embedded server and against OpenSSH.

mod dropbear;
mod embedded;
mod host_keys;
mod master;
mod openssh;
mod program;
mod second_factor;
mod settings;
mod trips;
