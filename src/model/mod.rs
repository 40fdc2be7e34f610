//! Floor 0: values without I/O. Nothing here waits, prints, or asks what time it is.

pub mod changes;
pub mod clean;
pub mod codec;
pub mod delta;
pub mod digest;
pub mod drift;
pub(crate) mod enum_words;
pub mod env_keys;
pub mod goal;
pub mod hook;
pub mod host_state;
pub mod id;
pub mod interrupted;
pub mod layout;
pub mod ledger;
pub mod link;
pub mod manifest;
pub mod mutex;
pub mod note;
pub mod operations;
pub mod service;
pub mod slots;
pub mod sudo;
pub mod words;
