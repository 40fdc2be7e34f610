//! Differences between the env files of two releases, as far as hosts keep digests of the values.

use super::context::RunContext;
use super::conversation::Conversation;
use super::delta::manifest_text;
use super::query::{Answers, of_each};
use super::verify::not_there;
use crate::model::env_keys::{EnvDifference, EnvKeys};
use crate::model::host_state::HostState;
use crate::model::id::ReleaseId;
use crate::remote::conversation::Scan;
use crate::remote::order::ManifestOf;

/// A host's answer about two releases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvChange {
    Known(EnvDifference),
    /// Of these releases the host keeps no digests: another tool, or an earlier shipit, made them.
    Unknown(Vec<ReleaseId>),
}

/// Compares the env files of the releases `from` and `to` on every host.
pub async fn env_diff(cx: RunContext<'_>, from: ReleaseId, to: ReleaseId) -> Answers<EnvChange> {
    of_each(cx, Scan::No, async |host| {
        let state = host.looked()?;
        if let Some(id) = [from, to].into_iter().find(|id| !state.ids().contains(id)) {
            return Err(not_there(&state, id));
        }
        let (old, new) = (keys(host, &state, from).await, keys(host, &state, to).await);
        if let (Some(old), Some(new)) = (&old, &new) {
            return Ok(EnvChange::Known(old.difference(new)));
        }
        let unknown = [(from, old), (to, new)].into_iter().filter(|(_, keys)| keys.is_none());
        Ok(EnvChange::Unknown(unknown.map(|(id, _)| id).collect()))
    })
    .await
}

/// Returns the values of the live release, if they are known.
pub(super) async fn live_keys(host: &Conversation<'_>) -> Option<EnvKeys> {
    let state = host.state.as_ref()?;
    keys(host, state, state.live()?).await
}

/// Returns the values of a release, if they are known. One of ours without env files has none.
async fn keys(host: &Conversation<'_>, state: &HostState, id: ReleaseId) -> Option<EnvKeys> {
    let origin = state.ledger.history(id)?.origin?;
    if origin.env.is_none() {
        return Some(EnvKeys::default());
    }
    EnvKeys::parse(&manifest_text(host, id, ManifestOf::Env).await?)
}
