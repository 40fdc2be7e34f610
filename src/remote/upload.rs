//! Sends a release over a channel of its own, or over several where the round trip is long.
//!
//! sshd lets a channel carry 2 MiB before it must hear from the host, so one channel takes a round
//! trip for every 2 MiB, however fast the link. If that decides how long an upload takes, the
//! stream is cut into blocks that go over several channels in turn. The host joins them as they
//! come.

use std::fs::File;
use std::io;
use std::iter;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{join_all, pending, try_join_all};
use futures::stream::{Fuse, FuturesUnordered};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::time::timeout;

use super::error::AgentError;
use super::order::DONE;
use super::session::{Channel, Exit, Output, Session, SessionError};
use super::tail::Tail;
use super::throttle::Throttle;

/// Limit for the host to take one piece of an upload.
const PIECE_LIMIT: Duration = Duration::from_mins(2);
/// Limit for the host to unpack the rest when everything was sent.
const UNPACK_LIMIT: Duration = Duration::from_mins(15);
/// Bytes that are written at once.
const PIECE: usize = 256 << 10;
/// Bytes that one channel carries before it is the next one's turn. `merge_stripes` of the script
/// has the same number.
const BLOCK: usize = 1 << 20;
/// Bytes that sshd lets a channel carry before it must hear from the host.
const WINDOW: u64 = 2 << 20;
/// Below this round trip one channel is fast enough: it carries 400 MB/s.
const SHORT: Duration = Duration::from_millis(5);
/// A stream of this many windows is worth further connections: they are there after some ten round
/// trips, and begin slowly.
const MANY_WINDOWS: u64 = 32;
/// Further connections of one upload, and channels on each. More are not faster (measured).
const CONNECTIONS: u32 = 3;
const CHANNELS: usize = 2;
/// Further connections of a run, to all hosts together. With many hosts each one's share of the
/// link is small anyway.
pub const CONNECTIONS_IN_ALL: usize = 12;
/// Limit for making a further connection. One that waits for a person to touch a key takes longer,
/// and is not worth it.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// After a channel breaks, the host has this long to say why.
const LAST_WORD: Duration = Duration::from_secs(10);
/// Descriptors from which the host's shell reads stripes, besides its standard input.
const DESCRIPTORS: [&str; 7] = ["3", "4", "5", "6", "7", "8", "9"];

/// A range of an open file, which several threads may read.
#[derive(Debug, Clone)]
pub struct FileRange {
    /// The file. Its position is not used.
    pub file: Arc<File>,
    /// Offset of the first byte.
    pub at: u64,
    pub len: u64,
}

impl FileRange {
    /// Returns the range of a whole file.
    pub fn whole(file: Arc<File>) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self { file, at: 0, len })
    }

    /// Returns the bytes of `part` of the range, less those after its end.
    pub fn read(&self, part: Range<u64>) -> io::Result<Vec<u8>> {
        let (start, end) = (part.start.min(self.len), part.end.min(self.len));
        let mut bytes = vec![0; usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut bytes, self.at + start)?;
        Ok(bytes)
    }
}

/// Limits of uploads, and where their progress goes.
pub struct UploadOptions<'a> {
    /// Limits the rate of all uploads together.
    pub limit: Option<&'a Throttle>,
    /// Called with the number of bytes sent so far.
    pub progress: &'a (dyn Fn(u64) + Send + Sync),
    /// Called with one line if a further connection could not be made.
    pub notice: &'a (dyn Fn(String) + Send + Sync),
    /// Further connections that the run may still make.
    pub permits: &'a Semaphore,
}

/// An upload but for its tail, chunk by chunk as they are packed. They are read when they are sent,
/// by any number of hosts at once.
pub type Chunks = Pin<Box<dyn Stream<Item = io::Result<FileRange>> + Send>>;

/// Sends `chunks` and then `tail`, about `len` bytes in all, over `session`: the command `receive`
/// is that of the first channel, and `stripe` makes that of a further one from its descriptor.
/// Returns when the host has unpacked them.
pub(super) async fn send(
    session: &Arc<dyn Session>,
    receive: &str,
    stripe: &(dyn Fn(&str) -> String + Sync),
    chunks: Chunks,
    tail: Bytes,
    len: u64,
    options: &UploadOptions<'_>,
) -> Result<(), AgentError> {
    let (started, (further, _permit)) =
        tokio::join!(session.exec(receive), further_channels(session, len, options));
    let Channel { mut input, mut output } =
        started.map_err(|source| AgentError::Session { source })?;
    // The first channel is opened first: if the server allows few, stripes must not take it.
    let start =
        async |(session, number): (&Arc<dyn Session>, &&str)| session.exec(&stripe(number)).await;
    let started = join_all(further.iter().zip(&DESCRIPTORS).map(start)).await;
    // The host reads from as many descriptors as there are: none may be missing between them.
    let channels: Vec<_> = started.into_iter().map_while(Result::ok).collect();
    let numbers = [&["0"], &DESCRIPTORS[..channels.len()]].concat();
    send_piece(&mut input, format!("{}\n", numbers.join(" ")).as_bytes(), None).await?;
    let (mut inputs, mut outputs) = (vec![input], Vec::new());
    for channel in channels {
        inputs.push(channel.input);
        outputs.push(channel.output);
    }
    let reading = read_exit(&mut output);
    tokio::pin!(reading);
    // The host may end early (a full disk), and then a write would never end: the first to end
    // decides.
    let error = tokio::select! {
        ended = &mut reading => return uploaded(ended.0, ended.1),
        error = sent(Blocks::new(chunks, tail), inputs, options) => return Err(error),
        error = cut_off(outputs) => error,
    };
    match timeout(LAST_WORD, reading).await.map(|(exit, said)| uploaded(exit, said)) {
        Ok(Err(full)) if full.is_full() => Err(full),
        _ => Err(error),
    }
}

/// Returns the session of each channel besides the first, which carries its share of the blocks,
/// and a permit to hold meanwhile. Makes connections if an upload of `len` bytes gains by them;
/// they end when they are dropped. Where fewer can be made, the upload is only slower.
async fn further_channels<'a>(
    session: &Arc<dyn Session>,
    len: u64,
    options: &UploadOptions<'a>,
) -> (Vec<Arc<dyn Session>>, Option<SemaphorePermit<'a>>) {
    if len < MANY_WINDOWS * WINDOW {
        return (Vec::new(), None);
    }
    let trip = session.round_trip().await.unwrap_or_default();
    if !pays(len, trip, options.limit.map(Throttle::rate)) {
        return (Vec::new(), None);
    }
    let permit = options.permits.try_acquire_many(CONNECTIONS).ok();
    let count = if permit.is_some() { CONNECTIONS } else { 0 };
    let connections = further(session, count, options).await;
    let every = connections.iter().flat_map(|one| [one; CHANNELS]);
    (iter::once(session).chain(every).cloned().collect(), permit)
}

/// Returns whether more than one channel is faster for `len` bytes over a link with this round
/// trip, at no more than `rate` bytes a second.
fn pays(len: u64, trip: Duration, rate: Option<u64>) -> bool {
    let one_will_do = |rate| (u128::from(rate) * trip.as_nanos()) / 1_000_000_000 < WINDOW.into();
    len >= MANY_WINDOWS * WINDOW && trip >= SHORT && !rate.is_some_and(one_will_do)
}

/// Makes `count` connections at the same time. Returns those that could be made, and notes the
/// others.
async fn further(
    session: &Arc<dyn Session>,
    count: u32,
    options: &UploadOptions<'_>,
) -> Vec<Arc<dyn Session>> {
    let late = |_| SessionError::Timeout {
        what: "connecting once more".to_owned(),
        after: CONNECT_LIMIT,
        hint: None,
    };
    let another = || async { timeout(CONNECT_LIMIT, session.another()).await.map_err(late)? };
    let mut connections = Vec::new();
    let mut refused = None;
    for made in join_all((0..count).map(|_| another())).await {
        match made {
            Ok(connection) => connections.push(connection),
            Err(error) => refused = Some(error),
        }
    }
    if let Some(error) = refused {
        let had = connections.len();
        let text = format!("the upload goes over {had} of {count} further connections: {error}");
        (options.notice)(text);
    }
    connections
}

type UploadInput = Pin<Box<dyn AsyncWrite + Send>>;

/// Sends all blocks over the channels in turn, and waits for the host to unpack them. Returns only
/// if that fails.
async fn sent(
    mut blocks: Blocks,
    inputs: Vec<UploadInput>,
    options: &UploadOptions<'_>,
) -> AgentError {
    let size = if inputs.len() > 1 { BLOCK } else { PIECE };
    // Each channel holds one block that is written and one that waits, so memory stays bounded.
    let channel = |input| {
        let (sender, blocks) = mpsc::channel(1);
        (sender, (input, blocks))
    };
    let (senders, channels): (Vec<_>, Vec<_>) = inputs.into_iter().map(channel).unzip();
    let reading = async move {
        for sender in senders.iter().cycle() {
            let block = blocks.next(size).await?;
            // A channel that takes no more has failed; its writer returns the error.
            if block.is_empty() || sender.send(block).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    let total = AtomicU64::new(0);
    let writing = channels.into_iter().map(|(input, blocks)| write(input, blocks, &total, options));
    if let Err(error) = tokio::try_join!(reading, try_join_all(writing)) {
        return error;
    }
    tokio::time::sleep(UNPACK_LIMIT).await;
    AgentError::Silent { after: UNPACK_LIMIT }
}

/// Writes the blocks of one channel, then its end. Dropping the input ends a pipe; shutting it down
/// does not.
async fn write(
    mut input: UploadInput,
    mut blocks: mpsc::Receiver<Vec<u8>>,
    total: &AtomicU64,
    options: &UploadOptions<'_>,
) -> Result<(), AgentError> {
    while let Some(block) = blocks.recv().await {
        for piece in block.chunks(PIECE) {
            send_piece(&mut input, piece, options.limit).await?;
            let len = piece.len() as u64;
            (options.progress)(total.fetch_add(len, Ordering::Relaxed) + len);
        }
    }
    let _ = input.shutdown().await;
    Ok(())
}

/// Writes one piece. Fails if the host takes longer than [`PIECE_LIMIT`]. If the write itself
/// fails, the host has ended and says why on the other half of the channel, so this waits for ever.
async fn send_piece(
    input: &mut UploadInput,
    piece: &[u8],
    limit: Option<&Throttle>,
) -> Result<(), AgentError> {
    if let Some(limit) = limit {
        limit.take(piece.len()).await;
    }
    let writing = async {
        match input.write_all(piece).await {
            Ok(()) => (),
            Err(_) => pending().await,
        }
    };
    let silent = |_| AgentError::Silent { after: PIECE_LIMIT };
    timeout(PIECE_LIMIT, writing).await.map_err(silent)
}

/// Returns when a stripe is cut off. If the host ended it, this waits for ever: the first channel
/// says why.
async fn cut_off(outputs: Vec<mpsc::Receiver<Output>>) -> AgentError {
    let ends = outputs.into_iter().map(|mut output| async move { read_exit(&mut output).await });
    let mut ends: FuturesUnordered<_> = ends.collect();
    while let Some((exit, said)) = ends.next().await {
        if exit.is_none() {
            return AgentError::Lost { reason: format!("one of several channels: {said}") };
        }
    }
    pending().await
}

/// Cuts chunks and the tail into blocks.
struct Blocks {
    chunks: Fuse<Chunks>,
    /// The rest of a chunk that was cut.
    rest: Option<FileRange>,
    /// The rest of the tail.
    tail: Bytes,
}

impl Blocks {
    fn new(chunks: Chunks, tail: Bytes) -> Self {
        Self { chunks: chunks.fuse(), rest: None, tail }
    }

    /// Returns the next `size` bytes; fewer only at the end.
    async fn next(&mut self, size: usize) -> Result<Vec<u8>, AgentError> {
        let failed = |source| AgentError::Spool { source };
        let mut block = Vec::with_capacity(size);
        while block.len() < size {
            let next = match self.rest.take() {
                None => self.chunks.try_next().await.map_err(failed)?,
                rest => rest,
            };
            let Some(chunk) = next else {
                let want = self.tail.len().min(size - block.len());
                block.extend_from_slice(&self.tail.split_to(want));
                break;
            };
            let want = usize::try_from(chunk.len).unwrap_or(size).min(size - block.len());
            block = read(Arc::clone(&chunk.file), chunk.at, want, block).await?;
            let (at, len) = (chunk.at + want as u64, chunk.len - want as u64);
            self.rest = (len > 0).then_some(FileRange { at, len, ..chunk });
        }
        Ok(block)
    }
}

/// Appends `want` bytes of `file` to `block`.
async fn read(
    file: Arc<File>,
    at: u64,
    want: usize,
    mut block: Vec<u8>,
) -> Result<Vec<u8>, AgentError> {
    let reading = tokio::task::spawn_blocking(move || {
        let start = block.len();
        block.resize(start + want, 0);
        file.read_exact_at(&mut block[start..], at).map(|()| block)
    });
    let stopped = |_| AgentError::gone();
    reading.await.map_err(stopped)?.map_err(|source| AgentError::Spool { source })
}

/// Returns how the unpacking ended, and the end of its output.
async fn read_exit(output: &mut mpsc::Receiver<Output>) -> (Option<Exit>, String) {
    let (mut exit, mut said) = (None, Tail::default());
    while let Some(piece) = output.recv().await {
        match piece {
            Output::Stdout(bytes) | Output::Stderr(bytes) => said.push(&bytes),
            Output::Exit(how) => exit = Some(how),
        }
    }
    (exit, said.text())
}

/// Returns whether the host unpacked everything, given how its command ended and what it said.
fn uploaded(exit: Option<Exit>, said: String) -> Result<(), AgentError> {
    match exit {
        Some(Exit::Code(code)) if code == DONE => Ok(()),
        Some(how) => Err(AgentError::Upload { how: format!("it {how}"), said }),
        None => Err(AgentError::Lost { reason: said }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    #[track_caller]
    fn check(len: u64, trip_ms: u64, rate: Option<u64>, expect: bool) {
        assert_eq!(pays(len, Duration::from_millis(trip_ms), rate), expect);
    }

    #[test]
    fn stripes_pay_for_large_uploads_on_slow_links() {
        check(100 * MB, 0, None, false);
        check(63 * MB, 50, None, false);
        check(64 * MB, 50, None, true);
        check(100 * MB, 4, None, false);
        check(1000 * MB, 50, Some(40 * MB - 1), false);
        check(1000 * MB, 50, Some(40 * MB), true);
    }

    #[tokio::test]
    async fn blocks_have_full_size_except_the_last() -> Result<(), Box<dyn std::error::Error>> {
        let file = tempfile::tempfile()?;
        file.write_all_at(b"0123456789", 0)?;
        let file = Arc::new(file);
        let chunks = [(0, 2), (3, 6), (9, 0)];
        let chunks = chunks.map(|(at, len)| Ok(FileRange { file: Arc::clone(&file), at, len }));
        let chunks = Box::pin(futures::stream::iter(chunks));
        let mut cut = Blocks::new(chunks, Bytes::from_static(b"cdefg"));
        let mut blocks = Vec::new();
        loop {
            let block = cut.next(4).await?;
            if block.is_empty() {
                break;
            }
            blocks.push(String::from_utf8(block)?);
        }
        assert_eq!(blocks, ["0134", "5678", "cdef", "g"]);
        Ok(())
    }
}
