//! A load generator that counts each request, and which version answered it.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The number of connections, each of which asks in turn.
const CLIENTS: u32 = 20;
/// Requests a second that are aimed at, of all clients together.
const RATE: u32 = 300;
/// A request that has no answer by then has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Clients that ask all the time, half of them with keep-alive.
pub(crate) struct Load {
    done: Arc<AtomicBool>,
    began: Instant,
    clients: Vec<JoinHandle<Counts>>,
}

/// The counts of the clients.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Requests that were answered with 200, by the version that answered.
    pub(crate) answers: BTreeMap<String, u64>,
    /// The failures of the others: refused, reset, too late, no answer, or another status.
    pub(crate) failed: Vec<String>,
    /// Requests on a kept connection that the server closed just then, without a byte of an answer.
    /// HTTP has the client send them again; only that counts.
    pub(crate) again: u64,
    /// Requests a second.
    pub(crate) rate: f64,
}

impl Load {
    /// Starts the clients; all ask for `/`.
    pub(crate) fn on(address: SocketAddr) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let client = |number: u32| {
            let done = Arc::clone(&done);
            std::thread::spawn(move || Client::new(address, number.is_multiple_of(2)).run(&done))
        };
        Self {
            done: Arc::clone(&done),
            began: Instant::now(),
            clients: (0..CLIENTS).map(client).collect(),
        }
    }

    /// Ends the clients and adds up what they counted.
    pub(crate) fn end(self) -> Counts {
        self.done.store(true, Ordering::Relaxed);
        let mut sum = Counts::default();
        for client in self.clients {
            let counts = client.join().unwrap();
            for (version, count) in counts.answers {
                *sum.answers.entry(version).or_default() += count;
            }
            sum.failed.extend(counts.failed);
            sum.again += counts.again;
        }
        #[expect(clippy::cast_precision_loss, reason = "a count of seconds")]
        let all = sum.all() as f64;
        sum.rate = all / self.began.elapsed().as_secs_f64();
        sum
    }
}

impl Counts {
    /// Returns the number of all requests.
    pub(crate) fn all(&self) -> u64 {
        self.answers.values().sum::<u64>() + self.failed.len() as u64
    }

    /// No request failed; says what was counted.
    #[track_caller]
    pub(crate) fn none_failed(&self, what: &str) {
        println!(
            "{what}: {} requests, {:.0} a second, {} failed, {} sent again; {:?}",
            self.all(),
            self.rate,
            self.failed.len(),
            self.again,
            self.answers
        );
        assert!(self.failed.is_empty(), "{what}: {:?}", &self.failed[..self.failed.len().min(9)]);
    }

    /// No request was answered by a version that `is` says something of.
    #[track_caller]
    pub(crate) fn none_of(&self, is: impl Fn(&str) -> bool) {
        let wrong: Vec<_> = self.answers.iter().filter(|(version, _)| is(version)).collect();
        assert!(wrong.is_empty(), "answers of versions that may not answer: {wrong:?}");
    }
}

/// One connection after the other, or one for many requests.
struct Client {
    address: SocketAddr,
    keeps: bool,
    kept: Option<TcpStream>,
    counts: Counts,
}

/// The reason why there is no answer.
enum NoAnswer {
    /// The server closed a kept connection before a byte of an answer.
    Closed,
    Other(String),
}

impl From<std::io::Error> for NoAnswer {
    fn from(error: std::io::Error) -> Self {
        Self::Other(error.to_string())
    }
}

impl Client {
    fn new(address: SocketAddr, keeps: bool) -> Self {
        Self { address, keeps, kept: None, counts: Counts::default() }
    }

    fn run(mut self, done: &AtomicBool) -> Counts {
        // A short delay is caught up with.
        let beat = Duration::from_secs(1) * CLIENTS / RATE;
        let mut next = Instant::now();
        while !done.load(Ordering::Relaxed) {
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            next += beat;
            if next.elapsed() > beat * 10 {
                next = Instant::now();
            }
            match self.ask() {
                Ok(version) => *self.counts.answers.entry(version).or_default() += 1,
                Err(NoAnswer::Closed) => self.counts.failed.push("closed".to_owned()),
                Err(NoAnswer::Other(what)) => self.counts.failed.push(what),
            }
        }
        self.counts
    }

    /// Asks once. A request on a kept connection that turns out to be closed is sent once more.
    fn ask(&mut self) -> Result<String, NoAnswer> {
        if let Some(stream) = self.kept.take() {
            match self.ask_over(stream) {
                Err(NoAnswer::Closed) => self.counts.again += 1,
                other => return other,
            }
        }
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        self.ask_over(stream)
    }

    fn ask_over(&mut self, mut stream: TcpStream) -> Result<String, NoAnswer> {
        let connection = if self.keeps { "keep-alive" } else { "close" };
        let request =
            format!("GET / HTTP/1.1\r\nHost: load.test\r\nConnection: {connection}\r\n\r\n");
        let closed = |error: std::io::Error| match error.kind() {
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => NoAnswer::Closed,
            _ => error.into(),
        };
        stream.write_all(request.as_bytes()).map_err(closed)?;
        let mut bytes = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let count = match stream.read(&mut piece) {
                Ok(0) if bytes.is_empty() => return Err(NoAnswer::Closed),
                Ok(0) => return Err(NoAnswer::Other("an answer that was cut off".to_owned())),
                Ok(count) => count,
                Err(error) if bytes.is_empty() => return Err(closed(error)),
                Err(error) => return Err(error.into()),
            };
            bytes.extend_from_slice(&piece[..count]);
            let Some(answer) = Answer::read(&bytes) else { continue };
            if self.keeps && answer.stays {
                self.kept = Some(stream);
            }
            return answer.version.ok_or(NoAnswer::Other(answer.said));
        }
    }
}

/// A whole answer.
struct Answer {
    /// Whether the connection may be used again.
    stays: bool,
    /// The version that answered with 200.
    version: Option<String>,
    /// The first line and the body.
    said: String,
}

impl Answer {
    /// Returns the answer once all of it is there.
    fn read(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.lines();
        let status = lines.next()?;
        let header = |name: &str| {
            let mut headers = head.lines().filter_map(|line| line.split_once(": "));
            headers.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        let size: usize = header("content-length").and_then(|size| size.parse().ok())?;
        if body.len() < size {
            return None;
        }
        let stays = status.starts_with("HTTP/1.1")
            && !header("connection").is_some_and(|it| it.eq_ignore_ascii_case("close"));
        let well = status.split(' ').nth(1) == Some("200");
        let word = body.split_whitespace().next().and_then(|word| word.strip_prefix("version="));
        let version = word.filter(|_| well).map(str::to_owned);
        Some(Self { stays, version, said: format!("{status}: {}", body.trim()) })
    }
}
