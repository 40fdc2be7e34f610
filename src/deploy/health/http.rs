//! One GET through the session, or by the host if the server does not forward. Redirects are not
//! followed: the status decides.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, LOCATION};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::{CheckContext, ProbeFailure, tls, via_host};
use crate::config::EnvSource;
use crate::config::checks::HttpCheck;
use crate::remote::session::ByteStream;

/// Bytes of a body that are read at most: it may have no end.
const MOST_BODY: usize = 64 * 1024;
/// Bytes before the body that are read at most.
const MOST_HEAD: usize = 64 * 1024;
/// Statuses that lead a GET elsewhere.
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

/// An answer, as far as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct HttpResponse {
    pub(super) status: u16,
    pub(super) body: String,
    /// Whether the body holds what it should: as it came, without masks.
    pub(super) found: bool,
    /// Whether more may have followed.
    pub(super) cut: bool,
    /// `https://NAME`, if it is a redirect that leads there.
    pub(super) secured: Option<String>,
}

impl HttpResponse {
    /// Returns the whole lines of the body: where it was cut, the last may hold half of a secret.
    fn whole_lines(&self) -> &str {
        let whole = self.body.rsplit_once('\n').map(|(whole, _)| whole);
        if self.cut { whole.unwrap_or_default() } else { &self.body }
    }
}

pub(super) async fn attempt(
    context: &CheckContext<'_>,
    check: &HttpCheck,
    limit: Duration,
) -> Result<(), ProbeFailure> {
    let by = Instant::now() + limit;
    let answer = match context.dial(&check.host, check.port, limit).await? {
        Some(stream) => ask(stream, check, by, limit).await?,
        None => via_host::fetch(context, check, limit).await?,
    };
    evaluate(check, &answer)
}

/// Fails unless the answer is as configured.
fn evaluate(check: &HttpCheck, answer: &HttpResponse) -> Result<(), ProbeFailure> {
    let status = answer.status;
    let what = match check.body.as_ref().filter(|_| !answer.found) {
        _ if !check.status.hold(status) => format!("answered {status}"),
        Some(text) => format!("answered {status} without {text:?} in its body"),
        None => return Ok(()),
    };
    let failure = ProbeFailure { said: answer.whole_lines().to_owned(), ..ProbeFailure::new(what) };
    Err(failure.hint(hint(check, answer)))
}

/// Returns what to change in the check, if the answer tells that.
fn hint(check: &HttpCheck, answer: &HttpResponse) -> Option<String> {
    if let Some(there) = &answer.secured {
        return Some(format!(
            "it redirects to {there}: ask with `http = \"https://…\"`, and with `host = \"…\"` for \
             that name; behind a proxy, `headers = {{ X-Forwarded-Proto = \"https\" }}` may do"
        ));
    }
    let unnamed = check.name.is_none() && matches!(answer.status, 400 | 403);
    (unnamed || answer.status == 421).then(|| {
        let name = authority(check);
        format!("it may not answer to `{name}`: `host = \"…\"` sets the name to ask for")
    })
}

/// Returns `https://NAME` of the place that a redirect leads to.
fn secured(status: u16, location: &str) -> Option<String> {
    let rest = location.strip_prefix("https://")?;
    let name = rest.split(['/', '?', '#']).next()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "[]:._-".contains(c);
    let fits = REDIRECTS.contains(&status) && name.chars().all(plain);
    fits.then(|| format!("https://{name}"))
}

/// Asks once, until `by`, which ends the `limit`. The part of the body that has come then counts.
async fn ask(
    stream: Box<dyn ByteStream>,
    check: &HttpCheck,
    by: Instant,
    limit: Duration,
) -> Result<HttpResponse, ProbeFailure> {
    let mut driving = JoinSet::new();
    let head = timeout_at(by, head(stream, check, &mut driving));
    let head = head.await.map_err(|_| ProbeFailure::late(limit))??;
    let status = head.status().as_u16();
    let location = head.headers().get(LOCATION).and_then(|location| location.to_str().ok());
    let secured = location.and_then(|location| secured(status, location));
    let mut answer = HttpResponse { status, secured, ..HttpResponse::default() };
    let mut body = head.into_body();
    // If the status alone decides, the body is not waited for.
    if check.body.is_some() || !check.status.hold(status) {
        let mut bytes = Vec::new();
        // With a wrong status, the whole body is read, to be shown.
        let wanted = check.body.as_deref().filter(|_| check.status.hold(status));
        let wanted = wanted.unwrap_or_default();
        let read = timeout_at(by, read(&mut body, wanted, &mut bytes)).await;
        answer.cut = !read.unwrap_or_default();
        answer.body = String::from_utf8_lossy(&bytes).into_owned();
        answer.found = answer.body.contains(check.body.as_deref().unwrap_or_default());
    }
    Ok(answer)
}

/// Returns the head of the answer. `driving` moves the bytes of the body until it is dropped.
async fn head(
    stream: Box<dyn ByteStream>,
    check: &HttpCheck,
    driving: &mut JoinSet<()>,
) -> Result<hyper::Response<Incoming>, ProbeFailure> {
    let stream: Box<dyn ByteStream> = match &check.trust {
        None => stream,
        Some(trust) => tls::wrap(stream, trust, check.name.as_ref().unwrap_or(&check.host)).await?,
    };
    let mut builder = http1::Builder::new();
    let shaking = builder.max_buf_size(MOST_HEAD).handshake(TokioIo::new(stream));
    let (mut sender, connection) = shaking.await.map_err(ProbeFailure::silent)?;
    driving.spawn(async move {
        let _ = connection.await;
    });
    sender.send_request(request(check)?).await.map_err(ProbeFailure::silent)
}

fn request(check: &HttpCheck) -> Result<Request<Empty<Bytes>>, ProbeFailure> {
    let mut request =
        Request::get(&check.path).header(HOST, authority(check)).header(CONNECTION, "close");
    for (name, value) in headers(check)? {
        request = request.header(name, value.as_bytes());
    }
    request.body(Empty::new()).map_err(ProbeFailure::silent)
}

/// Returns the `Host` header: the configured name, or host and port of the URL.
fn authority(check: &HttpCheck) -> String {
    match &check.name {
        Some(name) => name.clone(),
        None if check.host.contains(':') => format!("[{}]:{}", check.host, check.port),
        None => format!("{}:{}", check.host, check.port),
    }
}

/// Returns the configured headers. Fails if a value was not fetched.
pub(super) fn headers(check: &HttpCheck) -> Result<Vec<(&str, &str)>, ProbeFailure> {
    let known = check.headers.iter().map(|header| match &header.value {
        EnvSource::Text(value) => Ok((header.name.as_str(), value.as_str())),
        _ => Err(ProbeFailure::hopeless(format!(
            "could not be asked: the value of {} was not fetched",
            header.name
        ))),
    });
    known.collect()
}

/// Reads until `wanted` was found or the limit is reached. Returns whether the body ended.
async fn read(body: &mut Incoming, wanted: &str, bytes: &mut Vec<u8>) -> bool {
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        if let Ok(data) = frame.into_data() {
            let room = MOST_BODY - bytes.len();
            bytes.extend_from_slice(&data[..data.len().min(room)]);
        }
        let found = !wanted.is_empty() && String::from_utf8_lossy(bytes).contains(wanted);
        if found || bytes.len() >= MOST_BODY {
            return false;
        }
    }
    true
}
