//! A host to connect to, as an alias of `ssh_config` or one hop of a ProxyJump names it.

use std::time::Duration;

use crate::remote::session::{BY_SETTING, SessionError};

/// A host to connect to, with values that take the place of those of `ssh_config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshTarget {
    /// An alias of `ssh_config`, a name or an address.
    pub host: String,
    /// The user, in place of that of `ssh_config`.
    pub user: Option<String>,
    /// The port, in place of that of `ssh_config`.
    pub port: Option<u16>,
}

/// Returns the hops of `[user@]host[:port],…`. Each may also be written as `ssh://…`, and an IPv6
/// address in brackets.
pub(super) fn parse_jump(value: &str) -> Result<Vec<SshTarget>, SessionError> {
    value.split(',').map(|hop| parse_hop(hop.trim())).collect()
}

fn parse_hop(hop: &str) -> Result<SshTarget, SessionError> {
    let bad = |reason: &str| unusable(&format!("ProxyJump {hop}"), reason);
    let bare = hop.strip_prefix("ssh://").map_or(hop, |rest| rest.trim_end_matches('/'));
    let (user, place) =
        bare.rsplit_once('@').map_or((None, bare), |(user, place)| (Some(user), place));
    let (host, port) = split_port(place).ok_or_else(|| bad("a bracket is not closed"))?;
    let port = port.map(str::parse).transpose().map_err(|_| bad("the port is not a number"))?;
    check_word("ProxyJump", host)?;
    user.map(check_user).transpose()?;
    Ok(SshTarget { host: host.to_owned(), user: user.map(str::to_owned), port })
}

/// Returns host and port. An IPv6 address without brackets has no port. Returns `None` if a bracket
/// is not closed.
fn split_port(place: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = place.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        return Some((host, after.strip_prefix(':')));
    }
    match place.split_once(':') {
        Some((host, port)) if !port.contains(':') => Some((host, Some(port))),
        _ => Some((place, None)),
    }
}

/// Fails if a name has characters on which a shell would act: names become part of commands (`%h`).
pub(super) fn check_word(what: &str, value: &str) -> Result<(), SessionError> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || "'\"`$\\;&<>|(){}".contains(c);
    let reason = if value.is_empty() {
        "it is empty"
    } else if value.starts_with('-') {
        "it begins with a dash"
    } else if value.contains(bad) {
        "it holds characters that no host or user name has"
    } else {
        return Ok(());
    };
    Err(unusable(&format!("{what} {value:?}"), reason))
}

/// Fails if no account can have this name. `CORP\alice` and `svc$` are names of accounts. A name
/// that begins with a dash would become an option, and ssh refuses the other ones too.
pub(super) fn check_user(user: &str) -> Result<(), SessionError> {
    let bad = |c: char| c.is_control() || "'`\";&<>|(){}".contains(c);
    if user.is_empty() || user.starts_with('-') || user.contains(bad) || user.ends_with('\\') {
        return Err(unusable(&format!("user {user:?}"), "no account has such a name"));
    }
    Ok(())
}

pub(super) fn unusable(setting: &str, reason: &str) -> SessionError {
    SessionError::Setting { setting: setting.to_owned(), reason: reason.to_owned() }
}

/// Returns the error of what took longer than `connect_timeout` lets it.
pub(super) fn too_slow(what: String, after: Duration) -> SessionError {
    SessionError::Timeout { what, after, hint: Some(BY_SETTING) }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    #[test]
    fn jump_is_read_in_every_spelling() {
        let hops = parse_jump("a,me@b:2200,ssh://c@[fe80::1]:22/,[::1],2001:db8::1").unwrap();
        let shown: Vec<_> = hops
            .iter()
            .map(|h| {
                format!("{}|{}|{}", h.user.as_deref().unwrap_or(""), h.host, h.port.unwrap_or(0))
            })
            .collect();
        assert_eq!(shown, ["|a|0", "me|b|2200", "c|fe80::1|22", "|::1|0", "|2001:db8::1|0"]);
    }

    #[test]
    fn host_with_shell_characters_is_refused() {
        for bad in ["-oProxyCommand=x", "a b", "a\nb", "a;b", "$(x)", "", "a'b"] {
            assert!(check_word("host", bad).is_err(), "{bad:?}");
        }
        assert!(check_word("host", "web_1.example.net").is_ok());
        assert!(check_word("host", "fe80::1%eth0").is_ok());
    }
}
