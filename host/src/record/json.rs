//! Parsing one value safely, and telling a CloudTrail record from other JSON.

use memchr::memmem;
use sonic_rs::{JsonContainerTrait, JsonValueTrait, Value};

use super::limits::DEPTH_PARSED_MAX;
use super::reason::{DeadReason, Fault};
use super::scan::Scan;
use super::skim::Skimmed;

/// Parses one JSON value that fills `raw`.
///
/// Lone surrogates in escapes (`"\ud800"`), which RFC 8259 allows and leaves undefined, are read as U+FFFD, so that
/// nobody hides a record behind one. NUL (`\u0000`) is kept. Of a key that occurs twice the first counts. A number
/// beyond the range of a double is invalid, as in serde_json.
pub(super) fn parse(raw: &[u8], depth_max: usize) -> Result<Value, Fault> {
    if !depth_within(raw, depth_max) {
        let detail = format!("more than {depth_max} levels of brackets; see json_depth_max");
        return Err(Fault::new(DeadReason::NestedTooDeep, detail));
    }
    sonic_rs::from_slice(raw).or_else(|error| parse_again(raw, &error))
}

/// The way out of the hot path: replaces lone surrogates, or says what is wrong.
#[cold]
fn parse_again(raw: &[u8], error: &sonic_rs::Error) -> Result<Value, Fault> {
    let surrogate = memmem::find(raw, b"\\ud").or_else(|| memmem::find(raw, b"\\uD"));
    if surrogate.is_some() && std::str::from_utf8(raw).is_ok() {
        let mut lenient = sonic_rs::Deserializer::from_slice(raw).utf8_lossy();
        if let Ok(value) = lenient.deserialize::<Value>()
            && lenient.end().is_ok()
        {
            return Ok(value);
        }
    }
    Err(fault(raw, error))
}

/// What is wrong with `raw`, which the parser refused.
pub(super) fn fault(raw: &[u8], error: &sonic_rs::Error) -> Fault {
    if let Err(error) = std::str::from_utf8(raw) {
        let detail = format!("not UTF-8 at byte {} of the value", error.valid_up_to());
        return Fault::new(DeadReason::InvalidUtf8, detail);
    }
    // The first line names the fault and its place; the lines after it quote the record.
    let text = error.to_string();
    Fault::new(DeadReason::InvalidJson, text.lines().next().unwrap_or_default())
}

/// Whether no value in `raw` lies under more than `depth_max` brackets. Brackets that occur at all bound the depth, and
/// counting them is fast; only a record with more is scanned for its depth.
pub(super) fn depth_within(raw: &[u8], depth_max: usize) -> bool {
    if brackets(raw) <= depth_max {
        return true;
    }
    let mut scan = Scan::value(0, false);
    scan.run(raw);
    scan.depth_seen_max() <= depth_max
}

/// Opening brackets in `raw`, within strings or not. `{` and `[` differ in one bit; blocks of this size are counted
/// without a branch, which is twice as fast as `memchr`.
fn brackets(raw: &[u8]) -> usize {
    let is_bracket = |byte: &u8| byte | 0x20 == b'{';
    let (blocks, tail) = raw.as_chunks::<64>();
    let in_block = |block: &[u8; 64]| usize::from(block.iter().map(|byte| u8::from(is_bracket(byte))).sum::<u8>());
    blocks.iter().map(in_block).sum::<usize>() + tail.iter().filter(|byte| is_bracket(byte)).count()
}

/// Whether a JSON object is a CloudTrail record.
///
/// It is when it carries at its top one of CloudTrail's own names: `eventVersion`, `eventName`, `eventID` together with
/// `eventTime`, or `insightDetails`; and its `eventSource` does not begin with `aws:`, which marks the events of S3,
/// SQS, Kinesis and others that share these names. Lenient on purpose: Insight and aggregated records have neither
/// `eventName` nor `userIdentity`, and hand-made records often lack `eventVersion`.
pub(super) fn is_record(value: &Value) -> bool {
    let Some(object) = value.as_object() else {
        return false;
    };
    let scalar = |value: &Value| value.is_str() || value.is_number();
    let (mut version, mut name, mut id, mut time, mut insight, mut source) = (None, None, None, None, None, None);
    for (key, value) in object {
        let member = match key {
            "eventVersion" => &mut version,
            "eventName" => &mut name,
            "eventID" => &mut id,
            "eventTime" => &mut time,
            "insightDetails" => &mut insight,
            "eventSource" => &mut source,
            _ => continue,
        };
        member.get_or_insert(value);
        // Nearly always these two are among the first, and tell.
        if source.is_some() && version.is_some_and(scalar) {
            break;
        }
    }
    let text = |member: Option<&Value>| member.is_some_and(|value| value.is_str());
    let named = version.is_some_and(scalar)
        || text(name)
        || (text(id) && text(time))
        || insight.is_some_and(|value| value.is_object());
    named && !source.and_then(|value| value.as_str()).is_some_and(|source| source.starts_with("aws:"))
}

/// The same of an object that was skimmed. False where only the parser can tell, too.
pub(super) fn is_skimmed_record(object: &Skimmed<'_>) -> bool {
    let text = |name| object.member(name).is_some_and(|value| value.starts_with(b"\""));
    let scalar = |value: &[u8]| matches!(value, [b'"' | b'-' | b'0'..=b'9', ..]);
    let named = object.member("eventVersion").is_some_and(scalar)
        || text("eventName")
        || (text("eventID") && text("eventTime"))
        || object.member("insightDetails").is_some_and(|value| value.starts_with(b"{"));
    let foreign = |source: &[u8]| source.starts_with(b"\"aws:") || source.contains(&b'\\');
    named && !object.member("eventSource").is_some_and(foreign)
}

/// Keys one of which every record has; see `is_record`.
pub(super) const RECORD_MARKS: [&str; 4] = ["eventVersion", "eventName", "eventID", "insightDetails"];

/// Whether `word` is a JSON number or literal.
pub(super) fn is_scalar(word: &[u8]) -> bool {
    let begins = word.first().is_some_and(|byte| matches!(byte, b'-' | b'0'..=b'9' | b't' | b'f' | b'n'));
    begins && sonic_rs::from_slice::<Value>(word).is_ok()
}

/// Whether `object` is valid JSON and has no member named `Records`.
pub(super) fn is_plain_object(object: &[u8]) -> bool {
    let value = parse(object, DEPTH_PARSED_MAX);
    value.is_ok_and(|value| value.as_object().is_some_and(|members| members.get(&"Records").is_none()))
}
