//! The closed sets of what an entry can be when it is not a record.

/// Why something that was received is not evaluated although nothing is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SkipKind {
    /// A Kafka message without a value: the deletion marker of a compacted topic.
    Tombstone,
    /// Nothing but white space, or an envelope without children: `{"Records":[]}`.
    Empty,
    /// A CloudTrail digest file: hashes of log files, no events.
    Digest,
    /// A control message of a transport: CloudWatch Logs' `CONTROL_MESSAGE`, SNS' subscription confirmation.
    ControlMessage,
    /// News that an object lies in S3 (an S3 event, or CloudTrail's own `{"s3Bucket","s3ObjectKey"}`): a pointer to
    /// records, not records.
    S3Notification,
    /// An EventBridge event whose `detail` is no CloudTrail record.
    OtherEvent,
}

impl SkipKind {
    /// Every kind, in the order of declaration.
    pub const ALL: [SkipKind; 6] = [
        SkipKind::Tombstone,
        SkipKind::Empty,
        SkipKind::Digest,
        SkipKind::ControlMessage,
        SkipKind::S3Notification,
        SkipKind::OtherEvent,
    ];

    /// The kind's name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            SkipKind::Tombstone => "tombstone",
            SkipKind::Empty => "empty",
            SkipKind::Digest => "digest",
            SkipKind::ControlMessage => "control_message",
            SkipKind::S3Notification => "s3_notification",
            SkipKind::OtherEvent => "other_event",
        }
    }
}

/// Why something that was received could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeadReason {
    /// Bytes that are not UTF-8, which JSON must be (RFC 8259, section 8.1).
    InvalidUtf8,
    /// Text that is not JSON (RFC 8259), `NaN`, comments, trailing commas and single quotes included.
    InvalidJson,
    /// A value, or a list of records, that is still open where the input ends.
    Truncated,
    /// JSON, but a number, string, bool or null where a record was expected.
    NotAnObject,
    /// A JSON object that is neither a CloudTrail record nor an envelope that is known.
    NotCloudTrail,
    /// A gzip stream with a bad header, bad data, a wrong checksum, an early end or bytes after its end (RFC 1952).
    GzipCorrupt,
    /// Text that must be base64 (RFC 4648) and is not.
    Base64Corrupt,
    /// A message over `message_bytes_max`, or one value of that size within a decompressed stream or a file.
    MessageTooLarge,
    /// A record over `record_bytes_max`.
    RecordTooLarge,
    /// A message that decompresses to more than `decompressed_bytes_max`.
    DecompressedTooLarge,
    /// A gzip stream that grows by more than `ratio_max`.
    RatioTooHigh,
    /// More layers than `nesting_max`, or a record with more levels than `json_depth_max`.
    NestedTooDeep,
    /// A message with more entries than `records_max`; the dead letter holds what was not visited.
    TooManyRecords,
}

impl DeadReason {
    /// Every reason, in the order of declaration.
    pub const ALL: [DeadReason; 13] = [
        DeadReason::InvalidUtf8,
        DeadReason::InvalidJson,
        DeadReason::Truncated,
        DeadReason::NotAnObject,
        DeadReason::NotCloudTrail,
        DeadReason::GzipCorrupt,
        DeadReason::Base64Corrupt,
        DeadReason::MessageTooLarge,
        DeadReason::RecordTooLarge,
        DeadReason::DecompressedTooLarge,
        DeadReason::RatioTooHigh,
        DeadReason::NestedTooDeep,
        DeadReason::TooManyRecords,
    ];

    /// The reason's name in metrics, logs and dead letters.
    pub fn as_str(self) -> &'static str {
        match self {
            DeadReason::InvalidUtf8 => "invalid_utf8",
            DeadReason::InvalidJson => "invalid_json",
            DeadReason::Truncated => "truncated",
            DeadReason::NotAnObject => "not_an_object",
            DeadReason::NotCloudTrail => "not_cloudtrail",
            DeadReason::GzipCorrupt => "gzip_corrupt",
            DeadReason::Base64Corrupt => "base64_corrupt",
            DeadReason::MessageTooLarge => "message_too_large",
            DeadReason::RecordTooLarge => "record_too_large",
            DeadReason::DecompressedTooLarge => "decompressed_too_large",
            DeadReason::RatioTooHigh => "ratio_too_high",
            DeadReason::NestedTooDeep => "nested_too_deep",
            DeadReason::TooManyRecords => "too_many_records",
        }
    }
}

/// Why a piece could not be read, in words for a person: what is wrong and a hint, at most `DETAIL_BYTES_MAX` bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) reason: DeadReason,
    pub(super) detail: String,
}

/// Length of a dead letter's detail, in bytes.
pub(super) const DETAIL_BYTES_MAX: usize = 200;

impl Fault {
    pub(super) fn new(reason: DeadReason, detail: impl Into<String>) -> Fault {
        let mut detail = detail.into();
        let mut end = detail.len().min(DETAIL_BYTES_MAX);
        while !detail.is_char_boundary(end) {
            end -= 1;
        }
        detail.truncate(end);
        Fault { reason, detail }
    }
}
