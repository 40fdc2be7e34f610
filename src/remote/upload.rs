//! Sending a release: one stream over a channel of its own, or, where the way is long, over several
//! at once.
//!
//! sshd lets a channel carry no more than 2 MiB before it hears from the host, so that one channel
//! takes a round trip for every 2 MiB, however fast the link. Where that is what takes the time,
//! the stream is cut into blocks, which go over the channels in turn; the host puts them together as
//! they come. What is checked afterwards is the same.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{join_all, select_all, try_join_all};
use futures::stream::Fuse;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::time::timeout;

use super::agent::{AgentError, keep_tail, tail};
use super::order::DONE;
use super::session::{Channel, Exit, Output, Session, SessionError};
use super::throttle::Throttle;

/// How long the host may take for one piece of an upload.
const PIECE_LIMIT: Duration = Duration::from_mins(2);
/// How long it may take to unpack what it has, when all of it was sent.
const UNPACK_LIMIT: Duration = Duration::from_mins(15);
/// The unit of reading and sending an upload.
const PIECE: usize = 256 << 10;
/// What one channel carries before the next one's turn. `weave` of the script has the same number.
const BLOCK: usize = 1 << 20;
/// What sshd lets a channel carry before it must hear from the host.
const WINDOW: u64 = 2 << 20;
/// Below this a round trip is no delay: one channel carries 400 MB/s.
const SHORT: Duration = Duration::from_millis(5);
/// A stream of this many windows is worth further connections: they are there after some ten round
/// trips, and begin slowly.
const MANY_WINDOWS: u64 = 32;
/// How many further connections, and how many channels on each. More carry no more (measured).
const CONNECTIONS: u32 = 3;
const CHANNELS: usize = 2;
/// How many further connections a run may have at once, to all hosts together: with many hosts
/// each one's share of the link is small anyway.
const CONNECTIONS_IN_ALL: usize = 12;
/// How long making a further connection may take. One that wants a person to touch a key takes
/// longer, and is not worth it.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// When a channel breaks, the host may be about to say why.
const LAST_WORD: Duration = Duration::from_secs(10);
/// The host's shell reads the stripes from its standard input, and from these descriptors.
const DESCRIPTORS: [&str; 7] = ["3", "4", "5", "6", "7", "8", "9"];

/// A piece of an upload. Clones share its bytes.
#[derive(Debug, Clone)]
pub enum Chunk {
    /// Bytes of a file that are read when they are sent, by any number of hosts at once.
    File {
        /// The file. Its position is not used.
        file: Arc<File>,
        /// Offset of the first byte.
        at: u64,
        /// Number of bytes.
        len: u64,
    },
    /// Bytes in memory.
    Bytes(Bytes),
}

impl Chunk {
    /// Returns the number of bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::File { len, .. } => *len,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

/// What uploads keep to, and whom they tell.
pub struct UploadOptions<'a> {
    /// All of them together are no faster.
    pub limit: Option<&'a Throttle>,
    /// Is given how many bytes were sent so far.
    pub progress: &'a (dyn Fn(u64) + Send + Sync),
    /// Is told, in one line, why a further connection that would have helped could not be made.
    pub notice: &'a (dyn Fn(String) + Send + Sync),
    /// The further connections that the run may still make.
    pub permits: &'a Semaphore,
}

/// As many further connections as one run may have at once.
pub fn permits() -> Semaphore {
    Semaphore::new(CONNECTIONS_IN_ALL)
}

/// An upload, chunk by chunk as they are packed.
pub type Chunks = Pin<Box<dyn Stream<Item = io::Result<Chunk>> + Send>>;

/// Makes the command that starts the agent with these words.
pub(super) type AgentCommand<'a> = &'a (dyn Fn(&[&str]) -> String + Sync);

/// Sends `chunks`, about `len` bytes, over `session`. `receive` are the words that begin it there.
/// Returns when the host has unpacked them.
pub(super) async fn send(
    session: &Arc<dyn Session>,
    command: AgentCommand<'_>,
    receive: &[&str],
    chunks: Chunks,
    len: u64,
    options: &UploadOptions<'_>,
) -> Result<(), AgentError> {
    let receive = command(receive);
    let (started, further) =
        tokio::join!(session.exec(&receive), FurtherChannels::open(session, len, options));
    let Channel { mut input, mut output } =
        started.map_err(|source| AgentError::Session { source })?;
    // The first channel comes first: where the server allows few, the stripes must not take it.
    let channels = further.stripes(session, command).await;
    let numbers = [&["0"], &DESCRIPTORS[..channels.len()]].concat();
    send_piece(&mut input, format!("{}\n", numbers.join(" ")).as_bytes(), None).await?;
    let (mut inputs, mut outputs) = (vec![input], Vec::new());
    for channel in channels {
        inputs.push(channel.input);
        outputs.push(channel.output);
    }
    let reading = read_exit(&mut output);
    tokio::pin!(reading);
    // The host may end early (a full disk), and then a write would never end: whoever ends first
    // decides.
    let error = tokio::select! {
        ended = &mut reading => return uploaded(ended),
        error = sent(Blocks::new(chunks), inputs, options) => return Err(error),
        error = cut_off(outputs) => error,
    };
    match timeout(LAST_WORD, reading).await.map(uploaded) {
        Ok(Err(full)) if full.is_full() => Err(full),
        _ => Err(error),
    }
}

/// What an upload takes besides the first channel. Further connections end when it is dropped.
#[derive(Default)]
struct FurtherChannels<'a> {
    /// A second channel of the first connection.
    second: bool,
    connections: Vec<Arc<dyn Session>>,
    _permit: Option<SemaphorePermit<'a>>,
}

impl<'a> FurtherChannels<'a> {
    /// Makes connections if an upload of `len` bytes gains by them. Where fewer can be made, the
    /// upload is only slower.
    async fn open(session: &Arc<dyn Session>, len: u64, options: &UploadOptions<'a>) -> Self {
        if len < MANY_WINDOWS * WINDOW {
            return Self::default();
        }
        let trip = session.round_trip().await.unwrap_or_default();
        if !pays(len, trip, options.limit.map(Throttle::rate)) {
            return Self::default();
        }
        let permit = options.permits.try_acquire_many(CONNECTIONS).ok();
        let count = if permit.is_some() { CONNECTIONS } else { 0 };
        let connections = further(session, count, options).await;
        Self { second: true, connections, _permit: permit }
    }

    /// Starts the channels. Each carries its share of the blocks.
    async fn stripes(&self, session: &Arc<dyn Session>, command: AgentCommand<'_>) -> Vec<Channel> {
        let every = self.connections.iter().flat_map(|one| [one; CHANNELS]);
        let all = self.second.then_some(session).into_iter().chain(every);
        let start = async |(session, number): (&Arc<dyn Session>, &&str)| {
            session.exec(&command(&["stripe", number])).await
        };
        let started = join_all(all.zip(&DESCRIPTORS).map(start)).await;
        // The host reads from the first so many descriptors: none may be missing between.
        started.into_iter().map_while(Result::ok).collect()
    }
}

/// Returns whether more than one channel is faster for `len` bytes over a link with this round trip,
/// at no more than `rate` bytes a second.
fn pays(len: u64, trip: Duration, rate: Option<u64>) -> bool {
    let one_will_do = |rate| (u128::from(rate) * trip.as_nanos()) / 1_000_000_000 < WINDOW.into();
    len >= MANY_WINDOWS * WINDOW && trip >= SHORT && !rate.is_some_and(one_will_do)
}

/// Makes connections, all at once. Says so when some cannot be had.
async fn further(
    session: &Arc<dyn Session>,
    count: u32,
    options: &UploadOptions<'_>,
) -> Vec<Arc<dyn Session>> {
    let another = || async {
        match timeout(CONNECT_LIMIT, session.another()).await {
            Ok(made) => made,
            Err(_) => Err(SessionError::Timeout {
                what: "connecting once more".to_owned(),
                after: CONNECT_LIMIT,
                hint: None,
            }),
        }
    };
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

/// Sends all blocks, each over the channel whose turn it is, and waits for the host to unpack them.
/// Ends only if that does not go well.
async fn sent(
    mut blocks: Blocks,
    inputs: Vec<UploadInput>,
    options: &UploadOptions<'_>,
) -> AgentError {
    let size = if inputs.len() > 1 { BLOCK } else { PIECE };
    // Each channel has one block on its way and one that waits: that is all that memory holds.
    let (senders, permits): (Vec<_>, Vec<_>) = inputs
        .into_iter()
        .map(|input| (input, mpsc::channel(1)))
        .fold((Vec::new(), Vec::new()), |(mut senders, mut permits), (input, (sender, blocks))| {
            senders.push(sender);
            permits.push((input, blocks));
            (senders, permits)
        });
    let reading = async move {
        for sender in senders.iter().cycle() {
            let block = blocks.next(size).await?;
            // One that takes no more has failed, and says why itself.
            if block.is_empty() || sender.send(block).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    let total = AtomicU64::new(0);
    let writing = permits.into_iter().map(|(input, blocks)| write(input, blocks, &total, options));
    if let Err(error) = tokio::try_join!(reading, try_join_all(writing)) {
        return error;
    }
    tokio::time::sleep(UNPACK_LIMIT).await;
    AgentError::Silent { after: UNPACK_LIMIT }
}

/// Writes the blocks of one channel, then its end. Dropping the input at the end of this is what
/// ends a pipe; shutting it down does not.
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

/// A host that takes nothing for so long never will. Where it takes nothing any more, it has ended,
/// and says why on the other half of a channel: there is nothing to add to that.
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
            Err(_) => futures::future::pending().await,
        }
    };
    let silent = |_| AgentError::Silent { after: PIECE_LIMIT };
    timeout(PIECE_LIMIT, writing).await.map_err(silent)
}

/// Waits until a stripe is cut off. One that the host itself has ended is none: the first channel
/// says why.
async fn cut_off(outputs: Vec<mpsc::Receiver<Output>>) -> AgentError {
    let watch = async |mut output: mpsc::Receiver<Output>| match read_exit(&mut output).await {
        (None, said) => AgentError::Lost { reason: format!("one of several channels: {said}") },
        (Some(_), _) => futures::future::pending().await,
    };
    let watches: Vec<_> = outputs.into_iter().map(|output| Box::pin(watch(output))).collect();
    if watches.is_empty() {
        return futures::future::pending().await;
    }
    select_all(watches).await.0
}

/// Cuts chunks into blocks.
struct Blocks {
    chunks: Fuse<Chunks>,
    /// The rest of a chunk that was cut.
    rest: Option<Chunk>,
}

impl Blocks {
    fn new(chunks: Chunks) -> Self {
        Self { chunks: chunks.fuse(), rest: None }
    }

    /// Returns the next `size` bytes; fewer only at the end.
    async fn next(&mut self, size: usize) -> Result<Vec<u8>, AgentError> {
        let mut block = Vec::with_capacity(size);
        while block.len() < size {
            let chunk = match self.rest.take() {
                Some(rest) => rest,
                None => match self.chunks.try_next().await {
                    Ok(Some(chunk)) => chunk,
                    Ok(None) => break,
                    Err(source) => return Err(AgentError::Spool { source }),
                },
            };
            let want = usize::try_from(chunk.size()).unwrap_or(size).min(size - block.len());
            self.rest = match chunk {
                Chunk::Bytes(mut bytes) => {
                    block.extend_from_slice(&bytes.split_to(want));
                    Some(Chunk::Bytes(bytes))
                }
                Chunk::File { file, at, len } => {
                    block = read(Arc::clone(&file), at, want, block).await?;
                    let want = want as u64;
                    Some(Chunk::File { file, at: at + want, len: len - want })
                }
            }
            .filter(|rest| rest.size() > 0);
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

/// How the unpacking ended, and the last of what it said.
async fn read_exit(output: &mut mpsc::Receiver<Output>) -> (Option<Exit>, String) {
    let (mut exit, mut said) = (None, Vec::new());
    while let Some(piece) = output.recv().await {
        match piece {
            Output::Stdout(bytes) | Output::Stderr(bytes) => keep_tail(&mut said, &bytes),
            Output::Exit(how) => exit = Some(how),
        }
    }
    (exit, tail(&said))
}

fn uploaded((exit, said): (Option<Exit>, String)) -> Result<(), AgentError> {
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
    fn stripes_are_for_what_a_round_trip_for_each_window_delays() {
        check(100 * MB, 0, None, false);
        check(63 * MB, 50, None, false);
        check(64 * MB, 50, None, true);
        check(100 * MB, 4, None, false);
        check(1000 * MB, 50, Some(40 * MB - 1), false);
        check(1000 * MB, 50, Some(40 * MB), true);
    }

    #[tokio::test]
    async fn blocks_are_whole_but_for_the_last() -> Result<(), Box<dyn std::error::Error>> {
        let file = tempfile::tempfile()?;
        file.write_all_at(b"0123456789", 0)?;
        let (file, bytes) = (Arc::new(file), |text| Chunk::Bytes(Bytes::from_static(text)));
        let chunks = vec![
            bytes(b"ab"),
            Chunk::File { file: Arc::clone(&file), at: 3, len: 6 },
            bytes(b""),
            bytes(b"cdefg"),
        ];
        let chunks = futures::stream::iter(chunks.into_iter().map(Ok));
        let (mut cut, mut blocks) = (Blocks::new(Box::pin(chunks)), Vec::new());
        loop {
            let block = cut.next(4).await?;
            if block.is_empty() {
                break;
            }
            blocks.push(String::from_utf8(block)?);
        }
        assert_eq!(blocks, ["ab34", "5678", "cdef", "g"]);
        Ok(())
    }
}
