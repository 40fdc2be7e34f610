//! The proxy for an address, from `https_proxy`, `all_proxy` and `no_proxy`, as curl reads them.

use ureq::Proxy;

use crate::artifact::address::{host, shown, without_user};
use crate::artifact::error::ArtifactError;
use crate::config::access::{FetchEnv, origin};

/// Returns the proxy for an address, if there is one and `no_proxy` does not take it out.
pub(super) fn proxy_for(
    url: &str,
    machine: &FetchEnv,
) -> Result<Option<ProxyChoice>, ArtifactError> {
    const NAMES: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    // A plain address is on this machine: nobody else may have its bytes.
    if !url.starts_with("https://") {
        return Ok(None);
    }
    let direct = machine.first(&["no_proxy", "NO_PROXY"]).unwrap_or_default();
    let set = NAMES.iter().find_map(|name| Some((*name, machine.first(&[name])?)));
    let Some((name, text)) = set.filter(|_| !is_direct(url, direct)) else { return Ok(None) };
    let wrong = |_| ArtifactError::Proxy { variable: name.to_owned() };
    let proxy = Proxy::new(text).map_err(wrong)?;
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let shown = shown(&without_user(&with_scheme).0).trim_end_matches('/').to_owned();
    Ok(Some(ProxyChoice { proxy, shown }))
}

/// A proxy, and how it may be shown.
pub(super) struct ProxyChoice {
    pub(super) proxy: Proxy,
    pub(super) shown: String,
}

/// Returns whether `no_proxy` names the host of an address: by its name, by a domain that it is in,
/// or by `*`; perhaps with the port.
fn is_direct(url: &str, no_proxy: &str) -> bool {
    let origin = origin(url).unwrap_or_default();
    let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
    let host = host(authority);
    no_proxy.split([',', ' ']).filter(|entry| !entry.is_empty()).any(|entry| {
        let entry = entry.to_ascii_lowercase();
        let domain = entry.trim_start_matches('*').trim_start_matches('.');
        let below = host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
        entry == "*" || entry == authority || (!domain.is_empty() && (host == domain || below))
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn through(url: &str, vars: &[(&str, &str)]) -> Option<String> {
        let env = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let now = chrono::DateTime::UNIX_EPOCH;
        let machine = FetchEnv { env: env.collect(), home: "/".into(), now };
        proxy_for(url, &machine).unwrap().map(|choice| choice.shown)
    }

    #[test]
    fn proxy_is_for_https_only() {
        let proxy = ("https_proxy", "http://me:hunter2@proxy.net:3128");
        let shown = through("https://a.net/x", &[proxy]);
        assert_eq!(shown.as_deref(), Some("http://proxy.net:3128"));
        let plain = [proxy, ("http_proxy", "p:1"), ("all_proxy", "p:1")];
        assert_eq!(through("http://127.0.0.1:9000/x", &plain), None);
        let all = [("https_proxy", ""), ("ALL_PROXY", "p:1")];
        assert_eq!(through("https://a.net/x", &all).as_deref(), Some("http://p:1"));
    }

    #[test]
    fn hosts_of_no_proxy_are_asked_directly() {
        let is = |no_proxy| is_direct("https://cdn.a.net:8443/x", no_proxy);
        for named in ["*", "a.net", ".a.net", "*.a.net", "b, CDN.A.NET", "cdn.a.net:8443"] {
            assert!(is(named), "{named}");
        }
        for other in ["", "net.a", "dn.a.net", "x.cdn.a.net", "cdn.a.net:443", ","] {
            assert!(!is(other), "{other}");
        }
        assert!(is_direct("https://[::1]:8443/x", "::1"));
    }

    #[test]
    fn proxy_that_cannot_be_read_is_an_error() {
        let env = [("https_proxy".to_owned(), "http://me:hunter2@:x:y".to_owned())].into();
        let machine = FetchEnv { env, home: "/".into(), now: chrono::DateTime::UNIX_EPOCH };
        let error = proxy_for("https://a.net", &machine).err().unwrap();
        assert_eq!(error.to_string(), "the proxy in `https_proxy` is not an address");
    }
}
