//! Frames: `<run> out <bytes>`, that many bytes, `<run> done <code> <hundredths of seconds>` is an
//! answer; `<run> say <bytes> <hook>`, that many bytes, is output before an answer. All other
//! output of a host, such as that of a chatty `.bashrc`, is noise and is skipped, up to a limit.

use std::borrow::Cow;
use std::time::Duration;

use crate::model::clean::strip;
use crate::model::words::count;

/// Largest answer, in bytes.
const LARGEST: usize = 8 * 1024 * 1024;
/// Longest size or code in a frame, in digits; names are shorter too.
const LONGEST_NUMBER: usize = 20;
/// Most noise, in bytes, before we stop reading.
const NOISIEST: usize = 1024 * 1024;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Output of the order that is being obeyed.
    Said(HookOutput),
    /// The answer to an order.
    Response(Response),
}

/// Output of a hook that still runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookOutput {
    pub name: String,
    /// Whole lines, free of control sequences.
    pub text: String,
}

/// The answer to one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// A code of [`super::order`].
    pub code: u32,
    /// The output, free of control sequences.
    pub text: String,
    /// The output.
    pub bytes: Vec<u8>,
    /// The time that the host needed, if it can tell.
    pub took: Option<Duration>,
}

impl Response {
    /// Returns the output with its control characters.
    pub fn raw(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }
}

/// Cuts a stream of bytes into frames.
#[derive(Debug)]
pub struct Frames {
    run: String,
    buffer: Vec<u8>,
    noise: Vec<u8>,
    noisy: usize,
}

impl Frames {
    /// Returns a reader of the frames that are marked with `run`.
    pub fn new(run: &str) -> Self {
        Self { run: run.to_owned(), buffer: Vec::new(), noise: Vec::new(), noisy: 0 }
    }

    /// Returns the beginning of the noise.
    pub fn noise(&self) -> String {
        let unread = &self.buffer[..self.buffer.len().min(1024)];
        strip(&String::from_utf8_lossy(&[self.noise.as_slice(), unread].concat()))
    }

    /// Takes more bytes and returns the frames that are complete now. Fails if the bytes cannot
    /// come from an agent.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Frame>, String> {
        self.buffer.extend_from_slice(bytes);
        let mut frames = Vec::new();
        while let Some(frame) = self.next()? {
            frames.push(frame);
        }
        if self.noisy > NOISIEST {
            return Err(format!("more than {NOISIEST} bytes that are not a response"));
        }
        Ok(frames)
    }

    fn next(&mut self) -> Result<Option<Frame>, String> {
        let heads = ["say", "out"].map(|word| format!("{} {word} ", self.run));
        self.skip_noise(&heads);
        let head = heads[0].len();
        let Some(newline) = self.buffer.iter().position(|b| *b == b'\n') else {
            let endless = self.buffer.len() > head + 2 * LONGEST_NUMBER;
            return if endless { Err("a frame without a size".to_owned()) } else { Ok(None) };
        };
        let Some(size) = self.buffer.get(head..newline).map(String::from_utf8_lossy) else {
            return Ok(None);
        };
        let (size, name) = size.split_once(' ').unwrap_or((&size, ""));
        let name = name.to_owned();
        let size: usize = size.parse().map_err(|_| "a frame without a size".to_owned())?;
        if size > LARGEST {
            return Err(format!("an answer of {}", count(size, "byte")));
        }
        if self.buffer.starts_with(heads[0].as_bytes()) {
            let text = self.said(newline + 1, size);
            return Ok(text.map(|text| Frame::Said(HookOutput { name: strip(&name), text })));
        }
        self.answer(newline + 1, size)
    }

    /// Returns the output that begins at `start`, if all of it is there.
    fn said(&mut self, start: usize, size: usize) -> Option<String> {
        let text = strip(&String::from_utf8_lossy(self.buffer.get(start..start + size)?));
        self.buffer.drain(..start + size);
        Some(text)
    }

    /// Returns the answer whose output begins at `start`, if all of it is there.
    fn answer(&mut self, start: usize, size: usize) -> Result<Option<Frame>, String> {
        let Some(rest) = self.buffer.get(start + size..) else { return Ok(None) };
        let Some(newline) = rest.iter().position(|b| *b == b'\n') else {
            let longest = self.run.len() + " done ".len() + 2 * LONGEST_NUMBER;
            return if rest.len() > longest {
                Err("a frame without end".to_owned())
            } else {
                Ok(None)
            };
        };
        let tail = String::from_utf8_lossy(&rest[..newline]).into_owned();
        let end = tail.strip_prefix(&format!("{} done ", self.run)).unwrap_or_default();
        let (code, took) = end.split_once(' ').unwrap_or((end, ""));
        let took = took.parse().ok().map(|hundredths: u32| Duration::from_millis(10) * hundredths);
        let code = code.parse().ok();
        let code = code.ok_or_else(|| "a frame without end".to_owned())?;
        let bytes = self.buffer[start..start + size].to_vec();
        self.buffer.drain(..=start + size + newline);
        let text = strip(&String::from_utf8_lossy(&bytes));
        Ok(Some(Frame::Response(Response { code, text, bytes, took })))
    }

    /// Drops everything before the first of the `heads`, which have the same length.
    fn skip_noise(&mut self, heads: &[String; 2]) {
        let length = heads[0].len();
        let is_head = |window: &[u8]| heads.iter().any(|head| head.as_bytes() == window);
        let found = self.buffer.windows(length).position(is_head);
        let drop = found.unwrap_or_else(|| self.buffer.len().saturating_sub(length - 1));
        self.noisy += drop;
        if self.noise.len() < 1024 {
            self.noise.extend_from_slice(&self.buffer[..drop.min(1024)]);
        }
        self.buffer.drain(..drop);
    }
}
