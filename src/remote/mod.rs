//! Floor 1: the seam to a host. [`session::Session`] is how anything reaches it, the [`script`] is
//! all that is ever done there, [`conversation::Agent`] is our end of one conversation with it.

pub mod acting;
pub mod answer;
pub mod conversation;
pub mod download;
pub mod error;
pub mod frames;
pub mod local;
pub mod order;
pub mod quote;
pub mod replies;
pub mod script;
pub mod session;
mod tail;
pub mod throttle;
pub mod upload;
