//! The agent script under every shell, through the local session.
