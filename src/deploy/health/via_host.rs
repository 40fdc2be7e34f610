//! If the server does not forward, the host makes the request with its own tools.

use std::time::Duration;

use super::http::{HttpResponse, headers};
use super::{CheckContext, ProbeFailure};
use crate::config::checks::{HttpCheck, Trust};
use crate::remote::frames::Response;
use crate::remote::order::{DONE, Fetch, Hidden, Order};

const WITHOUT_CURL: &str =
    "install curl on the host, or set `AllowTcpForwarding local` in its sshd_config";

/// Returns a limit in whole seconds: tools of hosts take no fractions.
pub(super) fn whole(limit: Duration) -> Duration {
    Duration::from_secs(limit.as_secs() + u64::from(limit.subsec_nanos() > 0))
}

/// Sends an order to the agent. Fails if there is no answer.
pub(super) async fn ask(
    context: &CheckContext<'_>,
    order: &Order,
) -> Result<Response, ProbeFailure> {
    context
        .host
        .ask(order)
        .await
        .map_err(|error| ProbeFailure { hopeless: true, ..ProbeFailure::silent(error) })
}

/// Sends one GET from the host itself.
pub(super) async fn fetch(
    context: &CheckContext<'_>,
    check: &HttpCheck,
    limit: Duration,
) -> Result<HttpResponse, ProbeFailure> {
    needs_curl(context)?;
    let order = Order::Fetch { limit: whole(limit), fetch: by_curl(check)? };
    let answer = ask(context, &order).await?;
    if answer.code != DONE {
        return Err(ProbeFailure::silent(last_line(&answer.text)));
    }
    let (status, body) = answer.text.split_once('\n').unwrap_or((&answer.text, ""));
    let mut words = status.split(' ');
    let status = words.next().unwrap_or_default();
    let status = status.parse().map_err(|_| ProbeFailure::silent("that was not HTTP"))?;
    let mut answer = HttpResponse { status, body: body.to_owned(), ..HttpResponse::default() };
    for word in words {
        match word {
            "found" => answer.found = true,
            there => answer.secured = Some(there.to_owned()),
        }
    }
    Ok(answer)
}

/// Fails unless the port is open, as the host itself sees it.
pub(super) async fn reach(
    context: &CheckContext<'_>,
    host: &str,
    port: u16,
    limit: Duration,
) -> Result<(), ProbeFailure> {
    needs_curl(context)?;
    let address = bracketed(host, port);
    let answer = ask(context, &Order::Reach { limit: whole(limit), address }).await?;
    if answer.code == DONE { Ok(()) } else { Err(ProbeFailure::silent(last_line(&answer.text))) }
}

fn by_curl(check: &HttpCheck) -> Result<Fetch, ProbeFailure> {
    let named = |name: &String| {
        let scheme = if check.trust.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{}", bracketed(name, check.port), check.path)
    };
    let url = check.name.as_ref().map_or_else(|| check.url.clone(), named);
    let mut request = vec![format!("url = {}", curl_word(&url))];
    for (name, value) in headers(check)? {
        // curl takes `Name:` for a header to leave out, and `Name;` for one without a value.
        let line = if value.is_empty() { format!("{name};") } else { format!("{name}: {value}") };
        request.push(format!("header = {}", curl_word(&line)));
    }
    if let Some(name) = &check.name {
        request.push(format!("header = {}", curl_word(&format!("Host: {name}"))));
    }
    Ok(Fetch {
        request: Hidden(request.join("\n")),
        connect: check.name.as_ref().map(|_| format!("::{}", bracketed(&check.host, check.port))),
        trust: match &check.trust {
            None | Some(Trust::Public) => "public".to_owned(),
            Some(Trust::Anybody) => "anybody".to_owned(),
            Some(Trust::Only { pem, .. }) => pem.clone(),
        },
        wanted: Hidden(check.body.clone().unwrap_or_default()),
    })
}

/// Returns the text as a word of curl's configuration.
fn curl_word(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Fails if the host has no curl: then nobody can ask, for the server does not forward.
fn needs_curl(context: &CheckContext<'_>) -> Result<(), ProbeFailure> {
    let tools = context.host.state.as_ref().map(|state| &state.facts.tools);
    if tools.is_some_and(|tools| tools.contains("curl")) {
        return Ok(());
    }
    let what = "could not be asked: the server forbids forwarding, and curl is missing";
    Err(ProbeFailure::hopeless(what).hint(Some(WITHOUT_CURL.to_owned())))
}

fn bracketed(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn last_line(text: &str) -> &str {
    text.trim_end().lines().next_back().unwrap_or("no reason given")
}
