//! stub
use crate::model::{codec::Codec, manifest::Manifest};
use std::sync::Arc;
pub struct Artifact;
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("x")]
    X,
    #[error("s")]
    Stopped,
}
pub struct Packed {
    pub file: Arc<std::fs::File>,
    pub len: u64,
    pub unpacked: u64,
}
impl Artifact {
    pub fn pack(&self, _r: &Manifest, _p: &str, _c: Codec) -> Result<Packed, ArtifactError> {
        unimplemented!()
    }
}
pub fn pack_bytes(
    _p: &str,
    _m: &[(&str, u32, &[u8])],
    _c: Codec,
) -> Result<Vec<u8>, ArtifactError> {
    unimplemented!()
}
