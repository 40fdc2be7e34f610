//! Floor 2: the local side: opens any artifact, lists it, packs it.
//!
//! `fetch` brings an artifact from elsewhere, `expected` compares it with its digest and signature.
//! A source (`directory`, `untar`, `unzip`, or a single file) gives entries to a `tree`, which
//! holds the rules; bytes go to a `spool` that has no name. Nothing in an artifact can choose
//! where on this machine anything is written. `open` makes one manifest of it. `pack` makes the
//! stream for hosts from it, `tar` writes that, `patch` compares large files with old versions.

mod address;
mod chunk_index;
mod directory;
mod entry;
mod error;
mod exclude;
mod exclude_line;
mod expected;
mod faults;
mod fetch;
mod kind;
mod known;
mod limits;
mod name;
mod notes;
mod open;
mod pack;
mod packed;
mod page;
mod patch;
mod programs;
mod received;
mod sample;
mod signature;
mod sparse;
mod spool;
mod stamp;
mod tar;
mod tree;
mod untar;
mod unzip;

pub use self::address::file_name;
pub use self::error::{ArtifactError, LimitHit, Malformed, Offender, Refusal, Refused, ServerSaid};
pub use self::faults::{CredentialFault, SignatureFault};
pub use self::known::KnownDigests;
pub use self::limits::Limits;
pub use self::open::Artifact;
pub use self::pack::pack_tail;
pub use self::packed::Packed;
pub use self::patch::PreparedDelta;
