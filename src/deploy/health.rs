//! Judging a release that is live but undecided: is it what runs, does it stay up, does it answer?

use std::time::Duration;

use http_body_util::Empty;
use hyper::Request;
use hyper::header::{CONNECTION, HOST};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep, timeout};

use super::outcome::{Failure, Proof};
use crate::config::HttpCheck;
use crate::model::host_state::UnitState;
use crate::model::layout::Layout;
use crate::remote::agent::Judgement;
use crate::remote::session::Session;

/// Whether the unit runs the new release, and how that is known.
pub fn prove(found: &Judgement, layout: &Layout) -> Result<Proof, Failure> {
    let Some(unit) = &found.unit else {
        return Err(Failure::new("the unit could not be looked at"));
    };
    if unit.active != "active" {
        let state = format!("systemd calls it {} ({})", unit.active, unit.sub);
        return Err(Failure::new("the unit is not active").because(state));
    }
    let inside = |path: &String| is_inside(path, &found.real_path);
    let seen: Vec<_> = [&unit.cwd, &unit.exe].into_iter().flatten().collect();
    if seen.iter().any(|path| inside(path)) {
        return Ok(Proof::Seen);
    }
    let elsewhere = seen.iter().find(|path| path.contains("/releases/"));
    if let Some(path) = elsewhere {
        return Err(Failure::new("the unit runs another release")
            .because(format!("its main process is in {path}")));
    }
    infer(unit, found, layout)
}

fn is_inside(path: &str, release: &str) -> bool {
    !release.is_empty() && (path == release || crate::model::manifest::is_below(path, release))
}

/// Without sight of the process: it was started anew, after the flip, through `current`.
fn infer(unit: &UnitState, found: &Judgement, layout: &Layout) -> Result<Proof, Failure> {
    let not = |why: &str| {
        Err(Failure::new("it could not be shown that the unit runs the new release").because(why))
    };
    if unit.invocation.is_empty() || unit.invocation == found.before_invocation {
        return not("it has not been started since the flip (InvocationID is the same)");
    }
    if let (Some(started), Some(flipped)) = (unit.started, found.flip_ticks)
        && started < flipped
    {
        return not("its main process is older than the flip");
    }
    let current = layout.current();
    let through = |text: &str| text.contains(&current);
    if through(&unit.working_directory) || through(&unit.exec_start) {
        return Ok(Proof::Inferred);
    }
    Err(Failure::new("it could not be shown that the unit runs the new release")
        .because(format!("neither WorkingDirectory= nor ExecStart= goes through {current}"))
        .hint(Some(format!("let the unit's WorkingDirectory or ExecStart go through {current}"))))
}

/// Whether the unit stayed up between two looks.
pub fn stayed_up(first: &Judgement, second: &Judgement) -> Result<(), Failure> {
    let (Some(first), Some(second)) = (&first.unit, &second.unit) else {
        return Err(Failure::new("the unit could not be looked at"));
    };
    if second.active != "active" {
        let state = format!("systemd calls it {} ({})", second.active, second.sub);
        return Err(Failure::new("the unit did not stay up").because(state));
    }
    if second.restarts > first.restarts || second.invocation != first.invocation {
        let why = format!("systemd restarted it by itself ({} times by now)", second.restarts);
        return Err(Failure::new("the unit did not stay up").because(why));
    }
    Ok(())
}

/// Probes until it answers well or time is over.
pub async fn wait_for_http(session: &dyn Session, check: &HttpCheck) -> Result<(), Failure> {
    let end = Instant::now() + check.total;
    let mut tries = 0_u32;
    loop {
        tries += 1;
        let last = match timeout(check.timeout, get(session, check)).await {
            Ok(Ok(status)) if (200..400).contains(&status) => return Ok(()),
            Ok(Ok(status)) => format!("GET {} answered {status}", check.url),
            Ok(Err(reason)) => format!("GET {} did not answer: {reason}", check.url),
            Err(_) => {
                format!("GET {} did not answer within {}s", check.url, check.timeout.as_secs())
            }
        };
        if Instant::now() + check.interval >= end {
            let what = format!("was not healthy within {}s", check.total.as_secs());
            return Err(Failure::new(what).because(format!("{last}, {tries} tries")));
        }
        sleep(check.interval).await;
    }
}

/// One GET through the session; the status.
async fn get(session: &dyn Session, check: &HttpCheck) -> Result<u16, String> {
    let stream = session.dial(&check.host, check.port).await.map_err(|e| e.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    let request = Request::get(&check.path)
        .header(HOST, format!("{}:{}", check.host, check.port))
        .header(CONNECTION, "close")
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|e| e.to_string())?;
    let answer = sender.send_request(request);
    tokio::pin!(connection, answer);
    tokio::select! {
        answer = &mut answer => answer.map(|a| a.status().as_u16()).map_err(|e| e.to_string()),
        ended = &mut connection => match ended {
            Ok(()) => answer.await.map(|a| a.status().as_u16()).map_err(|e| e.to_string()),
            Err(error) => Err(error.to_string()),
        },
    }
}

/// How long a judgement may take at most, for limits elsewhere.
pub fn longest(soak: Duration, http: Option<&HttpCheck>) -> Duration {
    soak + http.map_or(Duration::ZERO, |check| check.total + check.timeout)
}
