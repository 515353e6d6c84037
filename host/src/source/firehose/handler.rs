//! One request, from its head to its answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Response, StatusCode};
use tokio::sync::{oneshot, watch};

use super::answer::Answer;
use super::head::{Head, id_of};
use super::queue::{Request, Waiting};
use super::server::Shared;
use super::{FirehoseLimits, body};
use crate::pipeline::now_ms;

/// Where a load balancer asks whether to send requests here. It needs no key and says nothing else.
const HEALTH: &str = "/healthz";

/// How long the rest of a refused request is read.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Answers a request.
pub(super) async fn handle(
    shared: Arc<Shared>,
    stopping: watch::Receiver<bool>,
    request: hyper::Request<Incoming>,
) -> Response<Full<Bytes>> {
    if request.uri().path() == HEALTH && matches!(*request.method(), Method::GET | Method::HEAD) {
        return health(&shared);
    }
    let started = Instant::now();
    let id = id_of(&request);
    let answer = answer(&shared, stopping, request).await;
    let status = answer.status().as_u16();
    shared.metrics.answered(status);
    match &answer {
        Answer::Stored => shared.metrics.acknowledged(started.elapsed()),
        // A client without the key could fill the log.
        Answer::WrongKey | Answer::NotFound | Answer::NotPost => {
            tracing::debug!(status, request = id, "{}", answer.message());
        }
        // Nor may overload: once a second shows what is wrong, and metrics count them all.
        _ if shared.may_warn(now_ms()) => tracing::warn!(status, request = id, "not taken: {}", answer.message()),
        _ => tracing::debug!(status, request = id, "not taken: {}", answer.message()),
    }
    answer.response(&id, now_ms())
}

fn health(shared: &Shared) -> Response<Full<Bytes>> {
    let (status, text) = match shared.progress.stalled(Instant::now()) {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(stalled) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("nothing was delivered for {} s\n", stalled.as_secs()))
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}

async fn answer(shared: &Shared, stopping: watch::Receiver<bool>, request: hyper::Request<Incoming>) -> Answer {
    let started = Instant::now();
    let arrived_ms = now_ms();
    let (parts, mut body) = request.into_parts();
    let checked = if parts.uri.path() != shared.path {
        Err(Answer::NotFound)
    } else if parts.method != Method::POST {
        Err(Answer::NotPost)
    } else {
        Head::check(&parts.headers, &shared.keys)
    };
    let limits = &shared.limits;
    let reserved = checked.and_then(|head| Ok((head, body::reserve(&body, &shared.room, limits)?)));
    let (head, mut read) = match reserved {
        Ok(reserved) => reserved,
        Err(refused) => return refuse(refused, body),
    };
    match within(limits, stopping, body::read(&mut body, &mut read, limits)).await {
        Ok(()) => {}
        Err(too_slow @ Answer::TooSlow(_)) => return too_slow,
        Err(refused) => return refuse(refused, body),
    }
    shared.metrics.body(read.bytes.len());
    let (reply, answer) = oneshot::channel();
    let waiting = Waiting { reply, _room: read.room };
    if !shared.queue.push(Request { head, body: read.bytes, arrived_ms, waiting }) {
        return stops();
    }
    match tokio::time::timeout(limits.answer_max.saturating_sub(started.elapsed()), answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Answer::Later("the records were not delivered".to_owned()),
        Err(_) => Answer::Later("the records were not delivered in time: they may be written all the same".to_owned()),
    }
}

/// Answers at once, while the rest of the body is read and forgotten.
fn refuse(answer: Answer, body: Incoming) -> Answer {
    tokio::spawn(tokio::time::timeout(DRAIN_MAX, body::drain(body)));
    answer
}

/// Reads within the time that a body has, and no longer than until a stop.
async fn within(
    limits: &FirehoseLimits,
    mut stopping: watch::Receiver<bool>,
    read: impl Future<Output = Result<(), Answer>>,
) -> Result<(), Answer> {
    tokio::select! {
        read = tokio::time::timeout(limits.body_max, read) => read.unwrap_or_else(|_| {
            let ms = limits.body_max.as_millis();
            Err(Answer::TooSlow(format!("the body took longer than body_ms_max, {ms} ms")))
        }),
        _ = stopping.wait_for(|stopping| *stopping) => Err(stops()),
    }
}

fn stops() -> Answer {
    Answer::Later("this endpoint is stopping".to_owned())
}
