//! The check that a port is open.

use std::time::Duration;

use tokio::time::timeout;

use super::{CheckContext, ProbeFailure, via_host};
use crate::remote::session::SessionError;

pub(super) async fn attempt(
    context: &CheckContext<'_>,
    host: &str,
    port: u16,
    limit: Duration,
) -> Result<(), ProbeFailure> {
    if !context.is_via_host() {
        match timeout(limit, context.session.dial(host, port)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(SessionError::DialRefused { forbidden: true, .. })) => context.switch_to_host(),
            Ok(Err(error)) => return Err(ProbeFailure::silent(error)),
            Err(_) => return Err(ProbeFailure::late(limit)),
        }
    }
    via_host::reach(context, host, port, limit).await
}
