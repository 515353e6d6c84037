//! Requests that wait for a worker. This is the one place where records wait between threads: what speaks HTTP is
//! asynchronous, and what delivers is a worker. The queue needs no limit of its own: each request in it holds its
//! reservation, and those are limited together.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::answer::Answer;
use super::head::Head;
use super::room::Reservation;

/// A request whose body has arrived.
#[derive(Debug)]
pub(super) struct Request {
    /// What its headers say.
    pub(super) head: Head,
    /// Its body as it was sent.
    pub(super) body: Vec<u8>,
    /// When its head arrived, in milliseconds since the epoch.
    pub(super) arrived_ms: i64,
    /// Who waits for the answer, and the room that the request takes until then.
    pub(super) waiting: Waiting,
}

/// Somebody who waits for an answer. To be dropped means that there is none: the request is to be sent again.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) reply: oneshot::Sender<Answer>,
    pub(super) _room: Reservation,
}

impl Waiting {
    /// Whether nobody waits any more: the client went, or its time was over.
    pub(super) fn is_over(&self) -> bool {
        self.reply.is_closed()
    }

    /// Answers. Nobody may be there to hear it.
    pub(super) fn answer(self, answer: Answer) {
        let _heard = self.reply.send(answer);
    }
}

/// The requests, first in, first out.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    requests: VecDeque<Request>,
    closed: bool,
}

/// What a worker gets.
#[derive(Debug)]
pub(super) enum Next {
    /// A request.
    Request(Request),
    /// None came in time.
    Nothing,
    /// None will come any more.
    Closed,
}

impl Queue {
    /// Adds a request. False when the queue is closed.
    pub(super) fn push(&self, request: Request) -> bool {
        let mut state = self.lock();
        if state.closed {
            return false;
        }
        state.requests.push_back(request);
        drop(state);
        self.news.notify_one();
        true
    }

    /// The next request for whose answer somebody waits; waits up to `wait` for one.
    pub(super) fn pop(&self, wait: Duration) -> Next {
        let empty = |state: &mut State| state.requests.is_empty() && !state.closed;
        let waited = self.news.wait_timeout_while(self.lock(), wait, empty);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        while let Some(request) = state.requests.pop_front() {
            if !request.waiting.is_over() {
                return Next::Request(request);
            }
        }
        if state.closed { Next::Closed } else { Next::Nothing }
    }

    /// Drops requests for whose answer nobody waits any more, so that they take no room while a delivery takes long.
    pub(super) fn forget_abandoned(&self) {
        self.lock().requests.retain(|request| !request.waiting.is_over());
    }

    /// Takes no more requests. What is in it is still given out.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.news.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Queue {
    pub(super) fn len(&self) -> usize {
        self.lock().requests.len()
    }
}
