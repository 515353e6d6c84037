//! OpenSearch and Elasticsearch: the bulk API with `create` and the finding's id as the document's, so that whatever is sent
//! again is there once.
//!
//! What the targets do was seen with OpenSearch 2.19.6: an answer of 200 has a result for each document in its order; 409
//! means that the document is there; a mapping error is a 400 of its document; 400, 413 and 429 may also be the answer to
//! all of a request, 413 with an empty body.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::finding::{id_of, time_ms_of};
use super::http::{Answer, Client, Courier, HttpConfig, Parcels, Part, Request, Verdict, one_line};
use super::{Outgoing, Refused, SinkError, Wait};
use crate::peek;
use crate::secret::Secret;

/// An OpenSearch or Elasticsearch sink as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenSearchConfig {
    /// How the cluster is reached.
    pub http: HttpConfig,
    /// Where documents go.
    pub place: Place,
    /// Who writes them; None where nobody asks.
    pub login: Option<Login>,
}

/// Where documents go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A data stream. Documents get the `@timestamp` that it demands.
    DataStream(String),
    /// An index, or a pattern with `%Y`, `%m`, `%d` and `%H`, which are taken from the finding's own time in UTC, so that what is
    /// sent again meets the same index.
    Index(String),
}

/// Who writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// A user and a password (RFC 7617).
    Basic(String, Secret),
    /// Elasticsearch's API key, in its encoded form.
    ApiKey(Secret),
    /// A bearer token (RFC 6750).
    Bearer(Secret),
}

impl Login {
    fn header(&self) -> Secret {
        Secret::new(match self {
            Login::Basic(user, password) => {
                format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.reveal())))
            }
            Login::ApiKey(key) => format!("ApiKey {}", key.reveal()),
            Login::Bearer(token) => format!("Bearer {}", token.reveal()),
        })
    }
}

/// Bytes of a document's id: what both products take.
const ID_BYTES_MAX: usize = 512;

/// Only what is looked at, so that an answer is small: a status for each document, and why where it is none.
const BULK: &str = "/_bulk?filter_path=errors,error,status,items.*.status,items.*.error";

/// Sends to a cluster. One worker's.
pub struct OpenSearchSink {
    client: Client,
    courier: Courier,
    place: Place,
}

/// An answer to a bulk request.
#[derive(Debug, Deserialize)]
struct Bulk {
    items: Vec<std::collections::BTreeMap<String, Item>>,
}

#[derive(Debug, Deserialize)]
struct Item {
    status: u16,
    #[serde(default)]
    error: Value,
}

impl OpenSearchSink {
    /// A sink to the cluster of `config`.
    pub fn new(config: OpenSearchConfig) -> Result<OpenSearchSink, SinkError> {
        let headers: Vec<(&'static str, Secret)> =
            config.login.iter().map(|login| ("authorization", login.header())).collect();
        let client = Client::new(&config.http, &headers)?;
        Ok(OpenSearchSink { client, courier: Courier::new(&config.http), place: config.place })
    }

    pub(super) fn name(&self) -> &str {
        self.client.url()
    }

    /// See [`super::Sink::deliver`].
    pub(super) fn deliver(
        &mut self,
        messages: &[Outgoing<'_>],
        wait: &mut Wait<'_>,
    ) -> Result<Vec<Refused>, SinkError> {
        let parcels = Parcels::of(messages, |message, to| encode(&self.place, message, to));
        let OpenSearchSink { client, courier, .. } = self;
        courier.deliver(parcels, wait, |parcels, piece, wait| {
            let body = parcels.body(piece);
            let request = Request { path: BULK, content_type: "application/x-ndjson", body: Some(&body) };
            Ok(match client.send(request, wait)? {
                Ok(answer) => verdict(&answer, piece.len()),
                Err(cause) => Verdict::Again { after: None, cause },
            })
        })
    }

    /// Asks the cluster who it is, with the login. Gives what it answered.
    pub fn check(&self) -> Result<String, String> {
        let answer = self.client.ask(Request { path: "/", content_type: "application/json", body: None })?;
        if answer.status != 200 {
            return Err(answer.excerpt());
        }
        let about: Value = serde_json::from_slice(&answer.body).map_err(|_| answer.excerpt())?;
        let text = |pointer| about.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let product = about.pointer("/version/distribution").and_then(Value::as_str).unwrap_or("elasticsearch");
        match text("/version/number") {
            "" => Err(format!("is no OpenSearch and no Elasticsearch: {}", answer.excerpt())),
            version => Ok(format!("{product} {version}, cluster {}", text("/cluster_name"))),
        }
    }
}

/// Appends a document: a line that says where it goes, and itself on one line.
fn encode(place: &Place, message: &Outgoing<'_>, to: &mut Vec<u8>) -> Result<(), String> {
    peek::json(message.payload)?;
    let payload = message.payload.trim_ascii();
    let Some(inner) = payload.strip_prefix(b"{") else { return Err("it is no JSON object".to_owned()) };
    let id = id_of(message)?;
    if id.len() > ID_BYTES_MAX {
        return Err(format!("its id has {} bytes, and a document's id at most {ID_BYTES_MAX}", id.len()));
    }
    let index = index_of(place, payload)?;
    let action = serde_json::json!({ "create": { "_index": index, "_id": id } });
    to.extend_from_slice(action.to_string().as_bytes());
    to.push(b'\n');
    match place {
        Place::DataStream(_) if peek::get(payload, &["@timestamp"]).is_none() => {
            let ms = time_ms_of(payload).ok_or("it has no `time`, which a data stream needs")?;
            let comma = if inner.trim_ascii_start() == b"}" { "" } else { "," };
            to.extend_from_slice(format!("{{\"@timestamp\":{ms}{comma}").as_bytes());
            unbroken(inner, to);
        }
        _ => unbroken(payload, to),
    }
    to.push(b'\n');
    Ok(())
}

/// A line break in JSON stands between its parts, never within a text (RFC 8259, section 7), so a blank does as well.
fn unbroken(json: &[u8], to: &mut Vec<u8>) {
    to.extend(json.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
}

/// The index of a document.
fn index_of<'a>(place: &'a Place, payload: &[u8]) -> Result<Cow<'a, str>, String> {
    let (Place::DataStream(name) | Place::Index(name)) = place;
    if !name.contains('%') {
        return Ok(Cow::Borrowed(name));
    }
    let ms = time_ms_of(payload).ok_or("it has no `time`, which its index is named by")?;
    let time = jiff::Timestamp::from_millisecond(ms).map_err(|error| format!("its `time`: {error}"))?;
    Ok(Cow::Owned(time.strftime(name).to_string()))
}

/// What an answer means for a request of `sent` documents.
fn verdict(answer: &Answer, sent: usize) -> Verdict {
    if answer.status != 200 {
        return answer.verdict();
    }
    let cause = || answer.excerpt();
    match serde_json::from_slice::<Bulk>(&answer.body) {
        Ok(bulk) if bulk.items.len() == sent => Verdict::Parts(
            bulk.items.into_iter().map(|item| item.into_values().next().map_or_else(unknown, part)).collect(),
        ),
        // Too much to say of all of them.
        _ if answer.cut && sent > 1 => Verdict::Split(cause()),
        _ => Verdict::Again { after: None, cause: format!("no answer of a bulk request: {}", cause()) },
    }
}

fn unknown() -> Part {
    Part::Again("no result for a document".to_owned())
}

/// What became of one document.
fn part(item: Item) -> Part {
    let cause = || {
        let text = |pointer| item.error.pointer(pointer).and_then(Value::as_str);
        let (kind, reason) = (text("/type").unwrap_or("no type"), text("/reason").unwrap_or_default());
        let why = text("/caused_by/reason").map(|why| format!(": {why}")).unwrap_or_default();
        one_line(&format!("{}: {kind}: {reason}{why}", item.status))
    };
    let kind = item.error.pointer("/type").and_then(Value::as_str);
    match item.status {
        // 409: the document is there already, and is the same one.
        200..=299 | 409 => Part::Accepted,
        408 | 429 | 500..=599 => Part::Again(cause()),
        // The index is blocked, the user may not write to it, or it may not be created: so it is for every document.
        401 | 403 | 404 => Part::Stop(cause()),
        // It may not be created: the cluster has as many shards as it allows.
        400 if kind == Some("validation_exception") => Part::Stop(cause()),
        _ => Part::Refused(cause()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::http::testing::{Patience, Reply, Stub, findings, outgoing};
    use super::*;

    fn sink(stub: &Stub, place: Place) -> OpenSearchSink {
        let login = Some(Login::Basic("ann".to_owned(), Secret::new("s3cret".to_owned())));
        OpenSearchSink::new(OpenSearchConfig { http: stub.config(), place, login }).unwrap()
    }

    fn index() -> Place {
        Place::Index("findings-%Y.%m.%d".to_owned())
    }

    /// A bulk answer with these statuses.
    fn items(statuses: &[u16]) -> Reply {
        let item = |status: &u16| match status {
            200..300 => format!(r#"{{"create":{{"status":{status}}}}}"#),
            _ => format!(r#"{{"create":{{"status":{status},"error":{{"type":"t","reason":"why {status}"}}}}}}"#),
        };
        let all: Vec<String> = statuses.iter().map(item).collect();
        Reply::json(200, format!(r#"{{"errors":true,"items":[{}]}}"#, all.join(",")))
    }

    /// Delivers findings to a target that answers so. Gives the ids of each request, and what was refused.
    fn deliver(n: usize, replies: Vec<Reply>) -> (Vec<Vec<String>>, Vec<(usize, String)>) {
        let stub = Stub::script(replies);
        let all = findings(n);
        let refused = sink(&stub, index()).deliver(&outgoing(&all), &mut Patience::new().wait()).unwrap();
        let ids = |body: &str| {
            let actions = body.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            actions.filter_map(|line| Some(line["create"]["_id"].as_str()?.to_owned())).collect()
        };
        let sent = stub.seen().iter().map(|seen| ids(&seen.body)).collect();
        (sent, refused.into_iter().map(|refused| (refused.index, refused.cause)).collect())
    }

    #[test]
    fn a_request_is_what_the_bulk_api_takes() {
        let stub = Stub::script(vec![items(&[201, 201])]);
        let all = findings(2);
        assert!(sink(&stub, index()).deliver(&outgoing(&all), &mut Patience::new().wait()).unwrap().is_empty());
        let [seen] = stub.seen().try_into().unwrap();
        assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", BULK));
        assert_eq!(seen.header("authorization"), Some("Basic YW5uOnMzY3JldA=="));
        assert_eq!(seen.header("content-type"), Some("application/x-ndjson"));
        assert_eq!(seen.header("content-encoding"), Some("gzip"));
        assert_eq!(seen.header("user-agent"), Some(concat!("trailhound/", env!("CARGO_PKG_VERSION"))));
        let lines: Vec<&str> = seen.body.split('\n').collect();
        let [first, document, _, _, ""] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!(*first, r#"{"create":{"_id":"id0","_index":"findings-2023.11.14"}}"#);
        assert_eq!(*document, all[0].1);
    }

    #[test]
    fn each_document_has_its_own_result() {
        let (sent, refused) = deliver(5, vec![items(&[201, 409, 429, 400, 503]), items(&[201, 201])]);
        assert_eq!(sent, [vec!["id0", "id1", "id2", "id3", "id4"], vec!["id2", "id4"]]);
        assert_eq!(refused, [(3, "400: t: why 400".to_owned())]);
        // A blocked index waits, and takes nothing away.
        let (sent, refused) = deliver(2, vec![items(&[403, 403]), items(&[201]), items(&[201])]);
        assert_eq!((sent.len(), refused.len()), (3, 0));
    }

    #[test]
    fn answers_to_the_whole_are_told_apart() {
        let (sent, refused) = deliver(2, vec![Reply::json(413, ""), items(&[201])]);
        assert_eq!((sent.len(), refused.len()), (3, 0), "halves");
        let (_, refused) = deliver(1, vec![Reply::json(413, "")]);
        assert_eq!(refused, [(0, "HTTP 413".to_owned())], "one that is too large alone");
        for reply in [
            Reply::json(429, "{}"),
            Reply::Is(503, "retry-after: 0\r\n", String::new()),
            Reply::Cut,
            Reply::Silent,
            Reply::json(200, "no json"),
            Reply::json(200, r#"{"items":[]}"#),
            Reply::json(401, "who?"),
            Reply::Is(307, "location: http://127.0.0.1:1/\r\n", String::new()),
            Reply::json(
                200,
                r#"{"items":[{"create":{"status":400,"error":{"type":"validation_exception","reason":"shards"}}}]}"#,
            ),
        ] {
            let (sent, refused) = deliver(1, vec![reply.clone(), items(&[201])]);
            assert_eq!((sent.len(), refused.len()), (2, 0), "{reply:?}");
        }
    }

    #[test]
    fn an_answer_that_is_too_long_is_asked_for_in_parts() {
        let long = Reply::json(200, format!(r#"{{"items":["{}"]}}"#, "x".repeat(2 << 20)));
        let (sent, refused) = deliver(2, vec![long, items(&[201]), items(&[201])]);
        assert_eq!((sent.len(), refused.len()), (3, 0));
    }

    #[test]
    fn what_can_be_no_document_is_not_sent() {
        let stub = Stub::script(vec![items(&[201])]);
        let long = "i".repeat(ID_BYTES_MAX + 1);
        let all: Vec<(String, String)> = [
            (long.as_str(), r#"{"time":1}"#),
            ("a", "[]"),
            ("b", "{\"time\":1"),
            ("c", r#"{"time":"x"}"#),
            ("d", "{\n\"time\":1}"),
        ]
        .map(|(key, payload)| (key.to_owned(), payload.to_owned()))
        .to_vec();
        let refused = sink(&stub, index()).deliver(&outgoing(&all), &mut Patience::new().wait()).unwrap();
        assert_eq!(refused.iter().map(|refused| refused.index).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert!(refused[0].cause.contains("513 bytes"), "{}", refused[0].cause);
        assert_eq!(stub.seen()[0].body.lines().nth(1), Some("{ \"time\":1}"), "a document is one line");
    }

    #[test]
    fn a_data_stream_gets_its_timestamp() {
        let place = Place::DataStream("s".to_owned());
        let check = |payload: &str, expect: Result<&str, &str>| {
            let mut out = Vec::new();
            let message = Outgoing { key: b"k", headers: Vec::new(), payload: payload.as_bytes() };
            let encoded = encode(&place, &message, &mut out);
            let text = String::from_utf8(out).unwrap();
            match expect {
                Ok(document) => assert_eq!(text.lines().nth(1), Some(document)),
                Err(part) => assert!(encoded.unwrap_err().contains(part)),
            }
        };
        check(r#"{"time":5,"a":1}"#, Ok(r#"{"@timestamp":5,"time":5,"a":1}"#));
        check(r#"{"@timestamp":9,"a":1}"#, Ok(r#"{"@timestamp":9,"a":1}"#));
        check("{}", Err("no `time`"));
    }

    #[test]
    fn the_check_says_who_answers() {
        let about = r#"{"cluster_name":"c","version":{"distribution":"opensearch","number":"2.19.6"}}"#;
        let stub = Stub::script(vec![Reply::json(200, about), Reply::json(401, "who?"), Reply::json(200, "hello")]);
        let sink = sink(&stub, index());
        assert_eq!(sink.check(), Ok("opensearch 2.19.6, cluster c".to_owned()));
        assert_eq!(sink.check(), Err("HTTP 401: who?".to_owned()));
        assert!(sink.check().is_err());
    }

    #[test]
    fn a_login_does_not_show() {
        let stub = Stub::script(vec![items(&[201])]);
        let login = Some(Login::ApiKey(Secret::new("s3cret\n".to_owned())));
        let config = OpenSearchConfig { http: stub.config(), place: index(), login };
        assert!(!format!("{config:?}").contains("s3cret"));
        let error = OpenSearchSink::new(config).err().unwrap().to_string();
        assert!(error.contains("authorization") && !error.contains("s3cret"), "{error}");
    }
}
