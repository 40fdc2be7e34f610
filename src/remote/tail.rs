//! The end of what a host says on standard error.

use crate::model::clean::strip;

/// Bytes that are kept.
const MOST: usize = 4 * 1024;

/// The last bytes of an output.
#[derive(Debug, Default)]
pub(super) struct Tail(Vec<u8>);

impl Tail {
    /// Adds bytes at the end, and forgets the first of those that are too many.
    pub(super) fn push(&mut self, more: &[u8]) {
        self.0.extend_from_slice(more);
        self.0.drain(..self.0.len().saturating_sub(MOST));
    }

    /// Returns its whole lines, free of control sequences.
    pub(super) fn text(&self) -> String {
        let text = strip(&String::from_utf8_lossy(&self.0));
        match text.split_once('\n') {
            Some((_, rest)) if self.0.len() >= MOST => rest.to_owned(),
            _ => text,
        }
    }
}
