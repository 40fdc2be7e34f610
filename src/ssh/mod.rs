//! Floor 2: the real Session, over russh. [`Connector`](connect::Connector) turns a host of the
//! config into a [`Session`](crate::remote::session::Session).

pub mod ssh_config;
mod text;
