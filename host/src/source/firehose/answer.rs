//! Answers in the one form that Firehose takes: JSON with the request's id and the time, uncompressed, of known length.
//!
//! Source: AWS, "HTTP endpoint delivery request and response specifications". Only 200 is success. Everything else is
//! sent again, with one exception: after 413 Firehose drops the batch, and not even its backup bucket gets it. So 413 is
//! never answered, and what is too large gets 400.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

/// Characters of an error message. AWS takes 8,192 and keeps the last one with what it could not deliver.
const MESSAGE_CHARS_MAX: usize = 1_024;

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// All records are acknowledged by the sink.
    Stored,
    /// The request is none of Firehose's, or over a limit. It is sent again all the same, and ends in the stream's
    /// backup bucket when its time is over.
    Bad(String),
    /// The access key is missing or wrong.
    WrongKey,
    /// Nothing is at this path.
    NotFound,
    /// Only POST is taken.
    NotPost,
    /// The body came too slowly. The connection ends.
    TooSlow(String),
    /// There is no room, or the sink did not acknowledge. To be sent again later.
    Later(String),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Form<'a> {
    request_id: &'a str,
    timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<String>,
}

impl Answer {
    /// The status and what went wrong.
    fn parts(&self) -> (StatusCode, Option<&str>) {
        match self {
            Answer::Stored => (StatusCode::OK, None),
            Answer::Bad(message) => (StatusCode::BAD_REQUEST, Some(message)),
            Answer::WrongKey => (StatusCode::UNAUTHORIZED, Some("the access key is missing or wrong")),
            Answer::NotFound => (StatusCode::NOT_FOUND, Some("nothing is at this path: compare the stream's URL")),
            Answer::NotPost => (StatusCode::METHOD_NOT_ALLOWED, Some("only POST is taken")),
            Answer::TooSlow(message) => (StatusCode::REQUEST_TIMEOUT, Some(message)),
            Answer::Later(message) => (StatusCode::SERVICE_UNAVAILABLE, Some(message)),
        }
    }

    /// The status and, for a failure, the words.
    pub(super) fn status(&self) -> StatusCode {
        self.parts().0
    }

    /// What went wrong; empty for success.
    pub(super) fn message(&self) -> &str {
        self.parts().1.unwrap_or_default()
    }

    /// The answer to the request `id` at the time `now_ms`. `id` is empty where the request has none.
    pub(super) fn response(&self, id: &str, now_ms: i64) -> Response<Full<Bytes>> {
        let (status, message) = self.parts();
        let error_message = message.map(|message| message.chars().take(MESSAGE_CHARS_MAX).collect());
        // A form of texts and a number can always be written.
        let body = serde_json::to_vec(&Form { request_id: id, timestamp: now_ms, error_message }).unwrap_or_default();
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self {
            Answer::NotPost => drop(headers.insert(ALLOW, HeaderValue::from_static("POST"))),
            Answer::TooSlow(_) => drop(headers.insert(CONNECTION, HeaderValue::from_static("close"))),
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    fn body(answer: &Answer) -> String {
        let body = answer.response("ed4acda5-034f", 1_578_090_903_599).into_body();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        String::from_utf8(runtime.block_on(body.collect()).unwrap().to_bytes().to_vec()).unwrap()
    }

    #[test]
    fn the_forms_are_those_of_the_contract() {
        assert_eq!(body(&Answer::Stored), r#"{"requestId":"ed4acda5-034f","timestamp":1578090903599}"#);
        let late = r#"{"requestId":"ed4acda5-034f","timestamp":1578090903599,"errorMessage":"no \"room\""}"#;
        assert_eq!(body(&Answer::Later("no \"room\"".to_owned())), late);
        assert!(body(&Answer::Bad("é".repeat(10_000))).len() < 3_000, "within 8,192 characters");
    }

    #[test]
    fn nothing_is_ever_answered_that_firehose_takes_for_good_but_success() {
        let text = || "x".to_owned();
        let all = [Answer::Bad(text()), Answer::WrongKey, Answer::NotFound, Answer::NotPost];
        for answer in all.into_iter().chain([Answer::TooSlow(text()), Answer::Later(text())]) {
            let status = answer.status().as_u16();
            assert!((400..600).contains(&status) && status != 413, "{status}");
        }
    }
}
