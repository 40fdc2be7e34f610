//! Requests that wait for their answers. The agent answers in order, so a request that was given up
//! keeps its place in line, and its answer goes to nobody else.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender, error::SendError};
use tokio::time::{Instant, timeout_at};

use super::error::AgentError;
use super::frames::{Frame, HookOutput, Response};
use crate::model::mutex::lock;

/// All pending requests, the next one to be answered first.
#[derive(Default)]
pub(super) struct Replies(Mutex<Places>);

#[derive(Default)]
struct Places {
    waiting: VecDeque<UnboundedSender<News>>,
    /// The time by which the last answer must have come.
    by: Option<Instant>,
    over: bool,
    /// The reason why the conversation is over, until one request was told.
    reason: Option<AgentError>,
}

/// What a pending request is told.
enum News {
    /// Since when it is first in line.
    Turn(Instant),
    Frame(Frame),
    /// Why the conversation is over.
    End(AgentError),
}

/// The answer to one order, once it comes.
pub struct Reply {
    news: UnboundedReceiver<News>,
    /// The latest time for the answer, whenever it becomes first in line.
    by: Instant,
    limit: Duration,
}

impl Reply {
    /// Returns the reply of a conversation that is over.
    pub fn gone() -> Self {
        let (_, news) = mpsc::unbounded_channel();
        Self { news, by: Instant::now(), limit: Duration::ZERO }
    }

    /// Waits for the answer.
    pub async fn get(self) -> Result<Response, AgentError> {
        self.hear(|_| ()).await
    }

    /// Waits for the answer; `tell` gets output that comes before it.
    pub async fn hear(mut self, tell: impl Fn(HookOutput)) -> Result<Response, AgentError> {
        loop {
            match timeout_at(self.by, self.news.recv()).await {
                Ok(Some(News::Turn(since))) => self.by = self.by.min(since + self.limit),
                Ok(Some(News::Frame(Frame::Said(said)))) => tell(said),
                Ok(Some(News::Frame(Frame::Response(answer)))) => return Ok(answer),
                Ok(Some(News::End(reason))) => return Err(reason),
                Ok(None) => return Err(AgentError::gone()),
                Err(_) => return Err(AgentError::Silent { after: self.limit }),
            }
        }
    }
}

impl Replies {
    fn places(&self) -> MutexGuard<'_, Places> {
        lock(&self.0)
    }

    /// Adds a request whose answer must come within `limit` of the one before it. `send` sends the
    /// order; if it returns false, or the conversation is over, the reply says so.
    pub(super) fn expect(&self, limit: Duration, send: impl FnOnce() -> bool) -> Reply {
        let (sender, news) = mpsc::unbounded_channel();
        let mut places = self.places();
        let now = Instant::now();
        let before = places.by.filter(|_| !places.waiting.is_empty());
        let by = before.map_or(now, |before| before.max(now)) + limit;
        if places.over || !send() {
            let reason = places.reason.take().unwrap_or_else(AgentError::gone);
            let _ = sender.send(News::End(reason));
        } else {
            places.waiting.push_back(sender);
            places.by = Some(by);
        }
        Reply { news, by, limit }
    }

    /// Gives a frame to the request that is first in line. Returns false if there is none.
    pub(super) fn give(&self, frame: Frame) -> bool {
        let mut places = self.places();
        let Some(place) = places.waiting.front() else { return false };
        let is_answer = matches!(frame, Frame::Response(_));
        let _ = place.send(News::Frame(frame));
        if is_answer {
            places.waiting.pop_front();
            if let Some(next) = places.waiting.front() {
                let _ = next.send(News::Turn(Instant::now()));
            }
        }
        true
    }

    /// Ends all pending requests. The first one that still waits gets the reason.
    pub(super) fn end(&self, reason: AgentError) {
        let mut places = self.places();
        places.over = true;
        let mut reason = Some(reason);
        for place in std::mem::take(&mut places.waiting) {
            let end = reason.take().unwrap_or_else(AgentError::gone);
            if let Err(SendError(News::End(untold))) = place.send(News::End(end)) {
                reason = Some(untold);
            }
        }
        places.reason = reason;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u32) -> Frame {
        Frame::Response(Response { code, text: String::new(), bytes: Vec::new(), took: None })
    }

    fn output(text: &str) -> HookOutput {
        HookOutput { name: "staged".to_owned(), text: text.to_owned() }
    }

    fn expect(replies: &Replies) -> Reply {
        replies.expect(Duration::from_secs(1), || true)
    }

    #[tokio::test]
    async fn reply_gets_the_answer_to_its_request() {
        let replies = Replies::default();
        let (first, given_up, third) = (expect(&replies), expect(&replies), expect(&replies));
        drop(given_up);
        assert!([1, 2, 3].into_iter().all(|code| replies.give(answer(code))));
        assert!(!replies.give(answer(4)), "nobody asked for a fourth");
        // A reply that is awaited late still has its answer.
        assert!(matches!(third.get().await, Ok(Response { code: 3, .. })));
        assert!(matches!(first.get().await, Ok(Response { code: 1, .. })));
    }

    #[tokio::test]
    async fn end_is_explained_once_and_stops_sending() {
        let replies = Replies::default();
        let (given_up, waiting) = (expect(&replies), expect(&replies));
        drop(given_up);
        replies.end(AgentError::Lost { reason: "a cut".to_owned() });
        let told = waiting.get().await;
        assert!(matches!(told, Err(AgentError::Lost { reason }) if reason == "a cut"));
        let late = replies.expect(Duration::from_secs(1), || panic!("nobody hears it"));
        assert!(matches!(late.get().await, Err(AgentError::Lost { .. })));
    }

    #[tokio::test]
    async fn output_goes_to_the_next_reply_before_its_answer() {
        let replies = Replies::default();
        let (first, second) = (expect(&replies), expect(&replies));
        assert!(replies.give(Frame::Said(output("one"))) && replies.give(answer(1)));
        assert!(replies.give(Frame::Said(output("two"))) && replies.give(answer(2)));
        assert!(!replies.give(Frame::Said(output("three"))), "nobody asked");
        for (reply, text) in [(first, "one"), (second, "two")] {
            let (sender, heard) = std::sync::mpsc::channel();
            let answer = reply.hear(|said| assert_eq!(sender.send(said), Ok(()))).await;
            assert!(answer.is_ok());
            assert_eq!(heard.try_iter().collect::<Vec<_>>(), [output(text)]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn limit_counts_from_the_answer_before() {
        let replies = Replies::default();
        let began = Instant::now();
        let [first, second, third] = [expect(&replies), expect(&replies), expect(&replies)];
        assert!(matches!(first.get().await, Err(AgentError::Silent { .. })));
        assert_eq!(began.elapsed(), Duration::from_secs(1));
        assert!(replies.give(answer(1)) && replies.give(answer(2)));
        assert!(matches!(second.get().await, Ok(Response { code: 2, .. })));
        assert!(matches!(third.get().await, Err(AgentError::Silent { .. })));
        assert_eq!(began.elapsed(), Duration::from_secs(2), "not after three");
    }
}
