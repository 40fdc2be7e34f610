//! One request for a file: its headers, the way through a proxy, redirects, and what a refusal
//! says.

use std::cell::OnceCell;
use std::io::{self, Read as _};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ureq::http::header::{AUTHORIZATION, LOCATION};
use ureq::http::{HeaderName, Response};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::{netrc, proxy, s3};
use crate::artifact::address::{host, join, shown, without_user};
use crate::artifact::error::{ArtifactError, ServerSaid};
use crate::artifact::page;
use crate::config::EnvSource;
use crate::config::access::{ArtifactAccess, FetchEnv, origin};
use crate::config::secrecy::SHORTEST;

const CONNECT: Duration = Duration::from_secs(20);
pub(super) const SILENCE: Duration = Duration::from_mins(1);
const MOST_REDIRECTS: usize = 10;
/// Bytes of a refusal that are read for its reason.
const REFUSAL: u64 = 16 * 1024;

/// Asks servers for one artifact and the files that belong to it.
pub(in crate::artifact) struct Fetcher<'a> {
    access: &'a ArtifactAccess,
    machine: &'a FetchEnv,
    /// The only server that gets the headers of the config.
    origin: Option<String>,
    begun: Instant,
    store: OnceCell<s3::Store>,
}

/// An address as it is sent, and headers that belong to it.
struct Prepared {
    url: String,
    headers: Vec<(String, String)>,
    /// Whether they show who asks.
    known: bool,
}

impl<'a> Fetcher<'a> {
    pub(in crate::artifact) fn new(
        url: &str,
        access: &'a ArtifactAccess,
        machine: &'a FetchEnv,
    ) -> Self {
        let origin = origin(url).filter(|_| url.starts_with("https://"));
        Self { access, machine, origin, begun: Instant::now(), store: OnceCell::new() }
    }

    /// Returns the response to a request for a file or, with the headers that ask for it, for the
    /// rest of one. Follows redirects to https only. Fails if the server refuses.
    pub(super) fn get(
        &self,
        url: &str,
        rest: &[(HeaderName, String)],
    ) -> Result<Response<Body>, ArtifactError> {
        let mut at = url.to_owned();
        for _ in 0..=MOST_REDIRECTS {
            if !at.starts_with("https://") && !at.starts_with("s3://") {
                return Err(failed(url, ureq::Error::RequireHttpsOnly(shown(&at))));
            }
            let prepared = self.prepared(&at)?;
            let response = self.send(url, &prepared, rest)?;
            let status = response.status();
            let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
            match to.filter(|_| status.is_redirection() && !at.starts_with("s3://")) {
                Some(to) => at = join(&at, to),
                None if status == 200 || (status == 206 && !rest.is_empty()) => {
                    return Ok(response);
                }
                None => return Err(refusal(url, &prepared, response)),
            }
        }
        Err(failed(url, ureq::Error::TooManyRedirects))
    }

    /// Returns at most `most` bytes of a small file, as text.
    pub(in crate::artifact) fn text(&self, url: &str, most: u64) -> Result<String, ArtifactError> {
        let body = self.get(url, &[])?.into_body().into_reader();
        let mut bytes = Vec::new();
        let read = body.take(most).read_to_end(&mut bytes);
        read.map_err(|source| ArtifactError::Download { url: shown(url), source })?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn prepared(&self, at: &str) -> Result<Prepared, ArtifactError> {
        if at.starts_with("s3://") {
            let store = self.store(at)?;
            let now = self.machine.now + self.begun.elapsed();
            let (url, headers) = store.signed(at, now);
            return Ok(Prepared { url, headers, known: true });
        }
        let (url, user) = without_user(at);
        let mut headers = Vec::new();
        if self.origin.is_some() && origin(at) == self.origin {
            for header in &self.access.headers {
                let EnvSource::Text(value) = &header.value else { continue };
                headers.push((header.name.clone(), value.clone()));
            }
        }
        let named = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        let login = match user {
            _ if named => None,
            None => self.login(&url)?,
            user => user,
        };
        if let Some(login) = login {
            let value = format!("Basic {}", STANDARD.encode(login));
            headers.push((AUTHORIZATION.to_string(), value));
        }
        let known = !headers.is_empty();
        Ok(Prepared { url, headers, known })
    }

    fn store(&self, at: &str) -> Result<&s3::Store, ArtifactError> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let store = s3::Store::new(&self.access.s3, self.machine);
        let store = store.map_err(|fault| ArtifactError::Store { url: shown(at), fault })?;
        Ok(self.store.get_or_init(|| store))
    }

    /// Returns what a `.netrc` holds for the host of an address.
    fn login(&self, url: &str) -> Result<Option<String>, ArtifactError> {
        let named = self.machine.first(&["NETRC"]);
        let path = named.map_or_else(|| self.machine.home.join(".netrc"), Into::into);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ArtifactError::Read { path, source }),
        };
        let origin = origin(url).unwrap_or_default();
        Ok(netrc::login(&text, host(origin.trim_start_matches("https://"))))
    }

    fn send(
        &self,
        url: &str,
        prepared: &Prepared,
        rest: &[(HeaderName, String)],
    ) -> Result<Response<Body>, ArtifactError> {
        let proxy = proxy::proxy_for(&prepared.url, self.machine)?;
        let through = proxy.as_ref().map(|proxy| format!(" through the proxy {}", proxy.shown));
        let agent = agent(proxy.map(|proxy| proxy.proxy));
        let mut request = agent.get(&prepared.url);
        for (name, value) in &prepared.headers {
            request = request.header(name, value);
        }
        for (name, value) in rest {
            request = request.header(name, value);
        }
        request.call().map_err(|source| ArtifactError::Fetch {
            url: format!("{}{}", shown(url), through.unwrap_or_default()),
            source: Box::new(reason(source)),
        })
    }
}

/// Returns the error of a server that answers with another status, and what it says of it.
fn refusal(url: &str, prepared: &Prepared, response: Response<Body>) -> ArtifactError {
    let status = response.status();
    let mut head = Vec::new();
    // A part of it says more than nothing.
    let _ = response.into_body().into_reader().take(REFUSAL).read_to_end(&mut head);
    let mut said = page::message(&head);
    for (_, value) in prepared.headers.iter().filter(|(_, value)| value.len() >= SHORTEST) {
        said = said.map(|said| said.replace(value.as_str(), "[hidden]"));
    }
    ArtifactError::Status {
        url: shown(url),
        status: status.as_u16(),
        known: prepared.known,
        source: said.map(ServerSaid),
    }
}

fn failed(url: &str, error: ureq::Error) -> ArtifactError {
    ArtifactError::Fetch { url: shown(url), source: Box::new(reason(error)) }
}

/// Returns a client that follows no redirects.
pub(super) fn agent(proxy: Option<ureq::Proxy>) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        // What this machine trusts: a company may have authorities of its own.
        .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
        .proxy(proxy)
        .timeout_connect(Some(CONNECT))
        .timeout_per_read(Some(SILENCE))
        .accept_encoding("identity")
        .build();
    Agent::new_with_config(config)
}

/// Returns why an address could not be fetched. The address of a redirect may hold a secret too.
fn reason(error: ureq::Error) -> ureq::Error {
    match error {
        ureq::Error::RequireHttpsOnly(url) => ureq::Error::RequireHttpsOnly(shown(&url)),
        ureq::Error::BadUri(url) => ureq::Error::BadUri(shown(&url)),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirect_address_in_an_error_has_no_query() {
        let url = || "http://me:hunter2@127.0.0.1:1/x?X-Sig=TOPSECRETSIG".to_owned();
        for error in [ureq::Error::RequireHttpsOnly(url()), ureq::Error::BadUri(url())] {
            let text = reason(error).to_string();
            assert!(text.contains("127.0.0.1:1/x"), "{text}");
            assert!(!text.contains("SECRET") && !text.contains("hunter2"), "{text}");
        }
    }
}
