//! Whether somebody listens.

use std::time::Duration;

use tokio::time::timeout;

use super::{Miss, Ward, detour};
use crate::remote::session::SessionError;

pub(super) async fn attempt(
    ward: &Ward<'_>,
    host: &str,
    port: u16,
    limit: Duration,
) -> Result<(), Miss> {
    if !ward.takes_detour() {
        match timeout(limit, ward.session.dial(host, port)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(SessionError::DialRefused { forbidden: true, .. })) => ward.take_detour(),
            Ok(Err(error)) => return Err(Miss::silent(error)),
            Err(_) => return Err(Miss::late(limit)),
        }
    }
    detour::reach(ward, host, port, limit).await
}
