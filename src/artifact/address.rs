//! Addresses of artifacts: where they lead, what of them may be shown, and how one is made from
//! another.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use super::error::ArtifactError;
use crate::config::access::is_address;

/// Returns the path on this machine that an address leads to; `None`: it leads elsewhere. Fails if
/// the address is none of `https`, `s3` and `file`.
pub(super) fn local(url: &str) -> Result<Option<PathBuf>, ArtifactError> {
    let scheme = || ArtifactError::Scheme { url: shown(url) };
    if let Some(path) = url.strip_prefix("file://") {
        let path = path.strip_prefix("localhost").unwrap_or(path);
        let path = Some(path).filter(|path| path.starts_with('/')).ok_or_else(scheme)?;
        return Ok(Some(PathBuf::from(OsString::from_vec(decoded(path)))));
    }
    let remote = url.starts_with("https://") || url.starts_with("s3://");
    if remote { Ok(None) } else { Err(scheme()) }
}

/// Returns the address as it may be shown and recorded: without user, password and query, which are
/// often secrets.
pub(super) fn shown(url: &str) -> String {
    let bare = url.split(['?', '#']).next().unwrap_or(url);
    let Some((scheme, rest)) = bare.split_once("://") else { return bare.to_owned() };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.rsplit('@').next().unwrap_or(authority);
    format!("{scheme}://{host}/{path}")
}

/// Returns the file's name: the last part of the address's path.
pub fn file_name(url: &str) -> String {
    let shown = shown(url);
    let last = shown.rsplit('/').next().unwrap_or_default();
    String::from_utf8_lossy(&decoded(last)).into_owned()
}

/// Returns the address without user and password, and those.
pub(super) fn without_user(url: &str) -> (String, Option<String>) {
    let Some((scheme, rest)) = url.split_once("://") else { return (url.to_owned(), None) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((user, host)) => {
            let user = String::from_utf8_lossy(&decoded(user)).into_owned();
            (format!("{scheme}://{host}{}", &rest[end..]), Some(user))
        }
        None => (url.to_owned(), None),
    }
}

/// Returns the host of `host:port`, without the brackets of an IPv6 address.
pub(super) fn host(authority: &str) -> &str {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        _ => authority,
    };
    host.trim_matches(['[', ']'])
}

/// Returns the address that `to` leads to from `url`, as in a page.
pub(super) fn join(url: &str, to: &str) -> String {
    if is_address(to) {
        return to.to_owned();
    }
    let Some((scheme, rest)) = url.split_once("://") else { return to.to_owned() };
    if let Some(elsewhere) = to.strip_prefix("//") {
        return format!("{scheme}://{elsewhere}");
    }
    let bare = rest.split(['?', '#']).next().unwrap_or(rest);
    let (authority, path) = bare.split_once('/').unwrap_or((bare, ""));
    if let Some(path) = to.strip_prefix('/') {
        return format!("{scheme}://{authority}/{path}");
    }
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let slash = if directory.is_empty() { "" } else { "/" };
    format!("{scheme}://{authority}/{directory}{slash}{to}")
}

/// Returns the bytes of a text in which some are written as `%20` and the like.
fn decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let byte = hex.and_then(|hex| u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok());
        out.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_leads_on_from_another() {
        let from = |to: &str| join("https://me@a.net:8/b/c.tar?q=/x", to);
        assert_eq!(from("https://z/y"), "https://z/y");
        assert_eq!(from("//z/y"), "https://z/y");
        assert_eq!(from("/y?z"), "https://me@a.net:8/y?z");
        assert_eq!(from("c.tar.sha256"), "https://me@a.net:8/b/c.tar.sha256");
        assert_eq!(join("s3://b/k.tar", "k.sig"), "s3://b/k.sig");
        assert_eq!(join("https://a.net", "k"), "https://a.net/k");
    }

    #[test]
    fn user_and_password_are_told_from_the_address() {
        let told = |url| without_user(url);
        let user = Some("me:p@ss".to_owned());
        assert_eq!(told("https://me:p%40ss@a.net/x@y"), ("https://a.net/x@y".to_owned(), user));
        assert_eq!(told("https://a.net?x@y"), ("https://a.net?x@y".to_owned(), None));
    }
}
