//! Every framing in which CloudTrail records arrive, alone and within one another.

use super::super::{Entry, Position, ReadLimits, SkipKind, unpack};
use super::{base64, check, cloudwatch, eventbridge, firehose, gzip, outcomes, quoted, record, records};

#[test]
fn one_record() {
    check(record("a"), &["a"]);
    check(format!(" \r\n\t{}\r\n ", record("a")), &["a"]);
    check(format!("\u{feff}{}", record("a")), &["a"]);
    check(gzip(record("a")), &["a"]);
}

#[test]
fn a_record_is_told_by_its_names() {
    check(r#"{"eventName":"GetUser","userIdentity":{"type":"Root"}}"#, &["GetUser"]);
    check(r#"{"eventVersion":"1.08"}"#, &["record"]);
    check(r#"{"eventVersion":1.08}"#, &["record"]);
    check(r#"{"eventID":"i","eventTime":"2024-01-01T00:00:00Z"}"#, &["i"]);
    check(r#"{"insightDetails":{"state":"Start"},"eventType":"AwsCloudTrailInsight"}"#, &["record"]);
    check(r#"{"zone":"z","eventVersion":"1.08"}"#, &["record"]);
    check(r#"{"eventVersion":null,"eventSource":"s","eventName":"GetUser"}"#, &["GetUser"]);
    for other in [
        "{}",
        r#"{"a":1}"#,
        r#"{"eventID":"i"}"#,
        r#"{"eventName":null}"#,
        r#"{"eventVersion":{"major":1}}"#,
        r#"{"eventVersion":"1.1","eventName":"INSERT","eventID":"i","eventSource":"aws:dynamodb"}"#,
    ] {
        check(other, &[format!("dead not_cloudtrail {other}").as_str()]);
    }
}

#[test]
fn records_in_a_row() {
    for join in ["", "\n", "\r\n", "\n\n", " ", ",", ",\n"] {
        check(records(&["a", "b", "c"], join), &["a", "b", "c"]);
        check(gzip(records(&["a", "b", "c"], join)), &["a", "b", "c"]);
    }
}

#[test]
fn arrays() {
    check(format!("[{}]", records(&["a", "b"], ",")), &["a", "b"]);
    check(format!("[\n  {}\n]\n", records(&["a", "b"], ",\n  ")), &["a", "b"]);
    check(format!("[[{}],[[{}]]]", record("a"), record("b")), &["a", "b"]);
    check(format!("[{}]\n[{}]", record("a"), record("b")), &["a", "b"]);
    check("[]", &["skip empty"]);
    check(" [ ] ", &["skip empty"]);
    check(format!("[]\n{}", record("a")), &["skip empty", "a"]);
}

#[test]
fn s3_log_files() {
    let file = format!(r#"{{"Records":[{}]}}"#, records(&["a", "b"], ","));
    check(&file, &["a", "b"]);
    check(gzip(&file), &["a", "b"]);
    check(format!("{file}\n{file}"), &["a", "b", "a", "b"]);
    check(format!("[{file},{file}]"), &["a", "b", "a", "b"]);
    check(format!("{{ \"Records\" :\n[ {} ]\r\n}}", records(&["a", "b"], " ,\n")), &["a", "b"]);
    check(r#"{"Records":[]}"#, &["skip empty"]);
    check(r#"{"Records": [ ] , "x": 1}"#, &["skip empty"]);
    check(format!(r#"{{"x":[1],"Records":[{}],"y":2}}"#, record("a")), &["a"]);
    check(format!(r#"{{"Records":[{}],"y":{{"Records":1}}}}"#, record("a")), &["a"]);
}

#[test]
fn eventbridge_events() {
    check(eventbridge(&record("a")), &["a"]);
    check(format!("{}\n{}", eventbridge(&record("a")), eventbridge(&record("b"))), &["a", "b"]);
    check(format!(r#"{{"detail":{},"detail-type":"AWS API Call via CloudTrail"}}"#, record("a")), &["a"]);
    check(format!(r#"{{"id":"1","detail":{}}}"#, record("a")), &["a"]);
    check(eventbridge(r#"{"instance-id":"i-abcd1111","state":"pending"}"#), &["skip other_event"]);
    check(eventbridge("{}"), &["skip other_event"]);
    check(eventbridge("null"), &["skip other_event"]);
    check(r#"{"detail":{"a":1}}"#, &[r#"dead not_cloudtrail {"detail":{"a":1}}"#]);
}

#[test]
fn cloudwatch_subscriptions() {
    let message = cloudwatch(&[record("a"), record("b")]);
    check(&message, &["a", "b"]);
    check(gzip(&message), &["a", "b"]);
    check([gzip(&message), gzip(cloudwatch(&[record("c")]))].concat(), &["a", "b", "c"]);
    check(format!(r#"{{"awslogs":{{"data":"{}"}}}}"#, base64(gzip(&message))), &["a", "b"]);
    check(cloudwatch(&[]), &["skip empty"]);
    check(cloudwatch(&["plain text".to_owned()]), &["dead invalid_json plain text"]);
    let control = message.replace("DATA_MESSAGE", "CONTROL_MESSAGE");
    check(gzip(control), &["skip control_message"]);
    let reordered =
        format!(r#"{{"logEvents":[{{"message":{},"timestamp":1,"id":"2"}}],"owner":"1"}}"#, quoted(&record("a")));
    check(reordered, &["a"]);
}

#[test]
fn base64_text() {
    check(base64(record("a")), &["a"]);
    check(base64(gzip(records(&["a", "b"], "\n"))), &["a", "b"]);
    check(format!("{}\n{}\n", base64(record("a")), base64(gzip(record("b")))), &["a", "b"]);
    check(base64(format!("[{}]", record("a"))), &["a"]);
    check(base64(base64(record("a"))), &[format!("dead invalid_json {}", base64(base64(record("a")))).as_str()]);
    check(quoted(&record("a")), &["a"]);
    check(quoted(&base64(record("a"))), &["a"]);
    let url_safe = base64(format!(r#"{{"eventName":"{}"}}"#, "ÿ?>".repeat(9))).replace('+', "-").replace('/', "_");
    check(url_safe.trim_end_matches('='), &["ÿ?>".repeat(9).as_str()]);
}

#[test]
fn firehose_bodies() {
    check(firehose(&[record("a").into_bytes(), record("b").into_bytes()]), &["a", "b"]);
    check(firehose(&[records(&["a", "b"], "").into_bytes(), gzip(record("c"))]), &["a", "b", "c"]);
    check(firehose(&[]), &["skip empty"]);
    check(firehose(&[Vec::new()]), &["skip empty"]);
    let data = base64(record("a"));
    let event = format!(
        r#"{{"invocationId":"i","deliveryStreamArn":"arn","region":"us-west-2","records":[{{"recordId":"1","approximateArrivalTimestamp":1507217624302,"data":"{data}","kinesisRecordMetadata":{{"shardId":"s"}}}}]}}"#
    );
    check(event, &["a"]);
    let answer = format!(
        r#"{{"records":[{{"recordId":"1","result":"Ok","data":"{data}"}},{{"recordId":"2","result":"Dropped"}}]}}"#
    );
    check(answer, &["a", "skip empty"]);
    let failure = format!(
        r#"{{"attemptsMade":4,"arrivalTimestamp":1,"errorCode":"Lambda.FunctionError","errorMessage":"m","rawData":"{data}","lambdaArn":"arn"}}"#
    );
    check(&failure, &["a"]);
    check(format!("{failure}\n{failure}"), &["a", "a"]);
}

#[test]
fn kinesis_sns_and_sqs() {
    let kinesis = format!(
        r#"{{"Records":[{{"kinesis":{{"partitionKey":"s1","data":"{}"}},"eventSource":"aws:kinesis","eventVersion":"1.0","eventID":"shardId-0:1","eventName":"aws:kinesis:record"}}]}}"#,
        base64(gzip(cloudwatch(&[record("a")])))
    );
    check(kinesis, &["a"]);
    let text = quoted(&record("a"));
    let sns = format!(r#"{{"Type":"Notification","MessageId":"m","TopicArn":"arn","Message":{text}}}"#);
    check(&sns, &["a"]);
    let event = format!(
        r#"{{"Records":[{{"EventVersion":"1.0","EventSource":"aws:sns","Sns":{{"Type":"Notification","Message":{text}}}}}]}}"#
    );
    check(event, &["a"]);
    let sqs = format!(
        r#"{{"Records":[{{"messageId":"m","body":{},"eventSource":"aws:sqs","awsRegion":"us-west-2"}}]}}"#,
        quoted(&sns)
    );
    check(sqs, &["a"]);
    check(format!(r#"{{"Messages":[{{"MessageId":"m","Body":{text}}}]}}"#), &["a"]);
    check(
        r#"{"Type":"SubscriptionConfirmation","Token":"t","Message":"You have chosen to subscribe"}"#,
        &["skip control_message"],
    );
    check(r#"{"Type":"Notification","Message":"hello"}"#, &["dead invalid_json hello"]);
    check(format!(r#"{{"@timestamp":"t","message":{text}}}"#), &["a"]);
}

#[test]
fn skipped_kinds() {
    let mut kinds = Vec::new();
    unpack(None, &ReadLimits::default(), &mut |entry| kinds.push(format!("{entry:?}")));
    assert_eq!(kinds, ["Skipped(Tombstone)"]);
    for nothing in ["", " ", "\n", "\r\n\t ", "\u{feff}", "\u{feff}\n"] {
        check(nothing, &["skip empty"]);
        check(gzip(nothing), &["skip empty"]);
    }
    check(
        r#"{"awsAccountId":"1","digestStartTime":"t","digestEndTime":"t","logFiles":[{"s3Bucket":"b"}]}"#,
        &["skip digest"],
    );
    let s3 =
        r#"{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{"object":{"key":"k"}}}"#;
    check(format!(r#"{{"Records":[{s3},{s3}]}}"#), &["skip s3_notification", "skip s3_notification"]);
    check(r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"b"}"#, &["skip s3_notification"]);
    check(r#"{"s3Bucket":"b","s3ObjectKey":["k"]}"#, &["skip s3_notification"]);
    let sns = format!(r#"{{"Type":"Notification","Message":{}}}"#, quoted(r#"{"s3Bucket":"b","s3ObjectKey":["k"]}"#));
    check(sns, &["skip s3_notification"]);
}

#[test]
fn kinds_and_reasons_have_distinct_names() {
    let kinds = SkipKind::ALL.map(SkipKind::as_str);
    let reasons = super::super::DeadReason::ALL.map(super::super::DeadReason::as_str);
    let mut names = [&kinds[..], &reasons[..]].concat();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(names.iter().all(|name| name.bytes().all(|b| b == b'_'
        || b.is_ascii_lowercase()
        || b == b'3'
        || b == b'8'
        || b == b'6'
        || b == b'4')));
}

#[test]
fn seven_layers_within_one_another() {
    let subscription = gzip(cloudwatch(&[eventbridge(&record("a")), record("b")]));
    let body = firehose(&[subscription]);
    let sns = format!(r#"{{"Type":"Notification","Message":{}}}"#, quoted(&body));
    check(gzip(&body), &["a", "b"]);
    check(sns, &["a", "b"]);
}

#[test]
fn raw_and_positions_point_into_the_message() {
    let message = format!("  {}\n{}\nxx\n{}", record("a"), eventbridge(&record("b")), record("c"));
    let mut seen = Vec::new();
    unpack(Some(message.as_bytes()), &ReadLimits::default(), &mut |entry| {
        let (raw, position) = match entry {
            Entry::Record(record) => (record.raw.as_bytes(), record.position),
            Entry::Dead(dead) => (dead.raw, dead.position),
            Entry::Passed | Entry::Skipped(_) => return,
        };
        let at = position.byte as usize;
        assert_eq!(message.as_bytes().get(at..at + raw.len()), Some(raw));
        seen.push(position.entry);
    });
    assert_eq!(seen, [0, 1, 2, 3]);
    assert_eq!(Position::default(), Position { entry: 0, byte: 0 });
}

#[test]
fn lone_surrogates_are_read_and_nul_is_kept() {
    check(r#"{"eventVersion":"1","eventID":"x\ud800y"}"#, &["x\u{fffd}y"]);
    check(r#"{"eventVersion":"1","eventID":"x\uDC00"}"#, &["x\u{fffd}"]);
    check(r#"{"eventVersion":"1","eventID":"\ud83d\ude00"}"#, &["\u{1f600}"]);
    check(r#"{"eventVersion":"1","eventID":"x\u0000y"}"#, &["x\0y"]);
    check(r#"{"eventVersion":"1","eventID":"a","eventID":"b"}"#, &["a"]);
    check(r#"{"eventVersion":"1","eventID":"a","n":123456789012345678901234567890,"m":-0.0e-5}"#, &["a"]);
}

#[test]
fn rare_first_keys_and_large_messages_are_read_alike() {
    // Over the size that is tried as one record first, and over the size of one record.
    let pad = "x".repeat(40_000);
    check(format!(r#"{{"eventID":"a","eventTime":"t","pad":"{pad}"}}"#), &["a"]);
    let many = vec![record("a"); 4000].join(",");
    assert_eq!(outcomes(format!(r#"{{"x":1,"Records":[{many}]}}"#).as_bytes(), &ReadLimits::default()).len(), 4000);
    assert_eq!(outcomes(format!(r#"{{"Records":[{many}]}}"#).as_bytes(), &ReadLimits::default()).len(), 4000);
}
