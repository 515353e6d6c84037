//! The head of a request against Firehose's contract.

use hyper::Request;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName};

use super::answer::Answer;
use super::keys::AccessKeys;

/// The id of a request, the same when it is sent again.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-firehose-request-id");
const ACCESS_KEY: HeaderName = HeaderName::from_static("x-amz-firehose-access-key");
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("x-amz-firehose-protocol-version");
const SOURCE_ARN: HeaderName = HeaderName::from_static("x-amz-firehose-source-arn");

/// Size of a request's id, in bytes: a GUID has 36. It is a part of each message's key.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Size of a source ARN, in bytes. It is a header of each message.
const SOURCE_ARN_BYTES_MAX: usize = 512;

/// What is kept of a head. Common attributes are taken and left aside: up to 64 KiB with each message would be a
/// multiple of the records, and what a stream is, its ARN says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The request's id.
    pub(super) request_id: String,
    /// The ARN of the stream.
    pub(super) source_arn: String,
    /// Whether the body is compressed.
    pub(super) gzip: bool,
}

impl Head {
    /// Checks the headers, the access key first: who has none learns nothing else.
    pub(super) fn check(headers: &HeaderMap, keys: &AccessKeys) -> Result<Head, Answer> {
        let key = headers.get(ACCESS_KEY).map(|value| value.as_bytes()).unwrap_or_default();
        if !keys.let_in(key) {
            return Err(Answer::WrongKey);
        }
        let bad = |text: &str| Err(Answer::Bad(text.to_owned()));
        let Some(request_id) = request_id(headers) else {
            return bad("X-Amz-Firehose-Request-Id is missing, or no id");
        };
        if text(headers, &PROTOCOL_VERSION) != Some("1.0") {
            return bad("X-Amz-Firehose-Protocol-Version must be 1.0");
        }
        let Some(source_arn) = text(headers, &SOURCE_ARN).filter(|arn| (1..=SOURCE_ARN_BYTES_MAX).contains(&arn.len()))
        else {
            return bad("X-Amz-Firehose-Source-Arn is missing, or no ARN");
        };
        let kind = text(headers, &CONTENT_TYPE).and_then(|kind| kind.split(';').next()).unwrap_or_default();
        if !kind.trim().eq_ignore_ascii_case("application/json") {
            return bad("Content-Type must be application/json");
        }
        let gzip = match headers.get(CONTENT_ENCODING).map(|value| value.as_bytes()) {
            None => false,
            Some(encoding) if encoding.eq_ignore_ascii_case(b"gzip") => true,
            Some(_) => return bad("Content-Encoding must be gzip, or left out"),
        };
        Ok(Head { request_id: request_id.to_owned(), source_arn: source_arn.to_owned(), gzip })
    }
}

/// The id to answer with; empty where there is none.
pub(super) fn id_of<B>(request: &Request<B>) -> String {
    request_id(request.headers()).unwrap_or_default().to_owned()
}

fn request_id(headers: &HeaderMap) -> Option<&str> {
    let plain = |id: &&str| (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    text(headers, &REQUEST_ID).filter(plain)
}

/// A header's value where it is visible ASCII.
fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    const KEY: &str = "an access key of tests";

    fn headers() -> HeaderMap {
        let arn = "arn:aws:firehose:us-east-1:123456789:deliverystream/testStream";
        let all = [
            ("x-amz-firehose-protocol-version", "1.0"),
            ("x-amz-firehose-request-id", "ed4acda5-034f-9f42-bba1-f29aea6d7d8f"),
            ("x-amz-firehose-source-arn", arn),
            ("x-amz-firehose-access-key", KEY),
            ("x-amz-firehose-common-attributes", r#"{"commonAttributes":{"a":"b"}}"#),
            ("content-type", "application/json"),
        ];
        all.into_iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[track_caller]
    fn check(name: &'static str, value: Option<&str>) -> Result<Head, Answer> {
        let mut headers = headers();
        headers.remove(name);
        if let Some(value) = value {
            headers.insert(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Head::check(&headers, &AccessKeys::new([KEY]))
    }

    #[test]
    fn the_headers_of_the_contract_are_taken() {
        let head = check("x-unknown", None).unwrap();
        assert_eq!(head.request_id, "ed4acda5-034f-9f42-bba1-f29aea6d7d8f");
        assert_eq!(head.source_arn, "arn:aws:firehose:us-east-1:123456789:deliverystream/testStream");
        assert!(!head.gzip);
        assert!(check("content-encoding", Some("gzip")).unwrap().gzip);
        assert!(check("x-amz-firehose-common-attributes", None).is_ok());
        assert!(check("content-type", Some("application/json; charset=utf-8")).is_ok());
    }

    #[test]
    fn each_header_that_is_missing_or_wrong_is_refused_by_name() {
        let long = "x".repeat(3_000);
        for (name, wrong) in [
            ("x-amz-firehose-protocol-version", "2.0"),
            ("x-amz-firehose-request-id", long.as_str()),
            ("x-amz-firehose-source-arn", long.as_str()),
            ("content-type", "text/plain"),
        ] {
            for value in [None, Some(wrong)] {
                match check(name, value) {
                    Err(Answer::Bad(message)) => assert!(message.to_lowercase().contains(name), "{name}: {message}"),
                    other => panic!("{name} {value:?}: {other:?}"),
                }
            }
        }
        assert!(matches!(check("content-encoding", Some("br")), Err(Answer::Bad(_))));
        assert!(matches!(check("x-amz-firehose-request-id", Some("a b")), Err(Answer::Bad(_))));
    }

    #[test]
    fn without_the_key_nothing_else_is_said() {
        for key in [None, Some(""), Some("an access key of test"), Some("é")] {
            assert_eq!(check("x-amz-firehose-access-key", key), Err(Answer::WrongKey), "{key:?}");
        }
        let keys = AccessKeys::new([KEY]);
        assert_eq!(Head::check(&HeaderMap::new(), &keys), Err(Answer::WrongKey));
    }
}
