//! Tests of the configuration: what is valid, and how mistakes are told.

use std::path::Path;

use super::{SinkConfig, parse, reference};
use crate::carry::Shadow;
use crate::sink::Place;
use crate::source::Protocol;

mod others;

const GOOD: &str = r#"
[kafka]
"bootstrap.servers" = "127.0.0.1:9092"

[pipelines.detect]
source = { kafka = { topics = ["a", "b"], group = "g", properties = { "fetch.wait.max.ms" = 10 } } }
detect = true
sink = { kafka = { topic = "f", create = { partitions = 4, replication = 1 } } }
dead_letters = { file = { path = "dead.ndjson" } }
"#;

/// Each of `expect` is a line, a key, and a part of what is said and hinted.
fn check(text: &str, expect: &[(usize, &str, &str)]) {
    let mistakes = match parse(text, "pipeline.toml", Path::new("/etc/th")) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.mistakes,
    };
    let said: Vec<String> =
        mistakes.iter().map(|m| format!("{}: {}: {} ({})", m.line, m.key, m.what, m.hint)).collect();
    assert_eq!(mistakes.len(), expect.len(), "{said:#?}");
    for ((line, key, part), (mistake, said)) in expect.iter().zip(mistakes.iter().zip(&said)) {
        assert_eq!((*line, *key), (mistake.line, mistake.key.as_str()), "{said}");
        assert!(said.contains(part), "no `{part}` in {said}");
    }
}

#[test]
fn a_valid_configuration_is_taken_as_it_stands() {
    let config = parse(GOOD, "pipeline.toml", Path::new("/etc/th")).unwrap();
    let pipeline = &config.pipelines["detect"];
    assert_eq!(pipeline.source.kafka().unwrap().topics, ["a", "b"]);
    assert_eq!(pipeline.source.kafka().unwrap().properties.get("fetch.wait.max.ms"), Some("10"));
    assert_eq!(pipeline.source.kafka().unwrap().properties.get("bootstrap.servers"), Some("127.0.0.1:9092"));
    assert_eq!(pipeline.dead_letters, SinkConfig::File("/etc/th/dead.ndjson".into()));
    assert!(matches!(&pipeline.sink, SinkConfig::Kafka(sink, Some(create))
        if sink.topic == "f" && create.partitions == 4 && create.replication == 1));
    assert_eq!(config.rules.directory.as_deref(), Some(Path::new("/etc/th/rules")));
    assert_eq!(config.admin.map(|address| address.to_string()).as_deref(), Some("127.0.0.1:9464"));
}

#[test]
fn the_shipped_configuration_is_valid() {
    let text = include_str!("../../../pipeline.toml");
    parse(text, "pipeline.toml", Path::new("")).unwrap();
}

#[test]
fn all_mistakes_come_in_one_report() {
    let text = r#"
[kafka]
"bootstrap.server" = "a:1"
"acks" = "1"
"sasl.password" = "${TRAILHOUND_NOT_SET}"
[rule]
directory = "x"
[limits.read]
mesage_bytes_max = 5
nesting_max = 0
[admin]
listen = "here"
[pipelines.detect]
workers = "two"
source = { kafka = { topics = [], group = "g" } }
sink = { kafka = { topic = 5 } }
"#;
    check(
        text,
        &[
            (3, "kafka.\"bootstrap.server\"", "no such property"),
            (4, "kafka.\"acks\"", "may not be set"),
            (5, "kafka.\"sasl.password\"", "no variable TRAILHOUND_NOT_SET"),
            (6, "rule", "did you mean `rules`?"),
            (9, "limits.read.mesage_bytes_max", "did you mean `message_bytes_max`?"),
            (10, "limits.read.nesting_max", "from 1 to 64"),
            (12, "admin.listen", "ADDRESS:PORT"),
            (13, "pipelines.detect.dead_letters", "is missing"),
            (14, "pipelines.detect.workers", "whole number"),
            (15, "pipelines.detect.source.kafka.topics", "at least one topic"),
            (15, "kafka.\"bootstrap.servers\"", "is missing"),
            (16, "pipelines.detect.sink.kafka.topic", "must be a text, not a number"),
            (16, "kafka.\"bootstrap.servers\"", "is missing"),
        ],
    );
}

#[test]
fn syntax_is_reported_with_its_line() {
    check("[kafka]\n\"bootstrap.servers\" = \n", &[(2, "", "")]);
    check(&GOOD.replace("detect = true", "detect = true\ndetect = true"), &[(8, "", "duplicate key")]);
}

#[test]
fn a_configuration_without_pipelines_says_so() {
    check("[kafka]\n\"bootstrap.servers\" = \"a:1\"\n", &[(0, "pipelines", "no pipeline")]);
    check("", &[(0, "pipelines", "no pipeline")]);
}

#[test]
fn sinks_are_named_once() {
    let both = "sink = { kafka = { topic = \"f\" }, stdout = {} }";
    let text = GOOD.replace("sink = { kafka = { topic = \"f\", create = { partitions = 4, replication = 1 } } }", both);
    check(&text, &[(8, "pipelines.detect.sink.kafka", "name either `kafka` or `stdout`")]);
    let text = GOOD.replace("dead_letters = { file = { path = \"dead.ndjson\" } }", "dead_letters = {}");
    check(&text, &[(9, "pipelines.detect.dead_letters.kafka", "name either `kafka` or `file`")]);
}

/// A pipeline within Kafka alone, with `line` added to it.
fn within_kafka(line: &str) -> String {
    let text = GOOD.replace("{ file = { path = \"dead.ndjson\" } }", "{ kafka = { topic = \"d\" } }");
    format!("{text}{line}\n")
}

#[test]
fn exactly_once_has_larger_batches_unless_told_otherwise() {
    let of = |lines: &str| {
        let config = parse(&within_kafka(lines), "pipeline.toml", Path::new("")).unwrap();
        let pipeline = &config.pipelines["detect"];
        (pipeline.exactly_once, pipeline.batch.messages_max, pipeline.batch.bytes_max)
    };
    assert_eq!(of(""), (false, 1_000, 4 << 20));
    assert_eq!(of("delivery = \"at-least-once\""), (false, 1_000, 4 << 20));
    assert_eq!(of("delivery = \"exactly-once\""), (true, 20_000, 32 << 20));
    assert_eq!(of("delivery = \"exactly-once\"\nbatch.messages_max = 7"), (true, 7, 32 << 20));
}

#[test]
fn a_target_beyond_kafka_gets_larger_requests_unless_told_otherwise() {
    let wait = |sink: &str, more: &str| {
        let text =
            GOOD.replace("sink = { kafka = { topic = \"f\", create = { partitions = 4, replication = 1 } } }", sink);
        let text = format!("{}{more}\n", text.replace("detect = true\n", ""));
        parse(&text, "pipeline.toml", Path::new("")).unwrap().pipelines["detect"].batch.wait.as_millis()
    };
    let webhook = "sink = { webhook = { url = \"https://example.com/\" } }";
    assert_eq!(wait("sink = { kafka = { topic = \"f\" } }", ""), 2);
    assert_eq!(wait(webhook, ""), 200);
    assert_eq!(wait(webhook, "batch.wait_ms = 7"), 7);
}

#[test]
fn exactly_once_is_one_clusters() {
    let once = "delivery = \"exactly-once\"";
    check(
        &within_kafka("delivery = \"exactly-twice\""),
        &[(10, "pipelines.detect.delivery", "at-least-once, exactly-once")],
    );
    check(&format!("{GOOD}{once}\n"), &[(10, "pipelines.detect.delivery", "needs Kafka for `dead_letters`")]);
    let other = "topic = \"d\", properties = { \"bootstrap.servers\" = \"other:1\" }";
    let text = within_kafka(once).replace("topic = \"d\"", other);
    check(&text, &[(10, "pipelines.detect.delivery", "another cluster, as `dead_letters` is")]);
    let text = within_kafka(once).replace("topic = \"d\"", "topic = \"d\", properties = { \"linger.ms\" = 9 }");
    check(&text, &[(10, "pipelines.detect.delivery", "different properties of the sinks")]);
    let text = within_kafka(once).replace("[pipelines", "\"isolation.level\" = \"read_uncommitted\"\n[pipelines");
    check(&text, &[(11, "pipelines.detect.delivery", "isolation.level")]);
}

#[test]
fn the_groups_protocol_and_the_names_of_members_are_options() {
    let source = |options: &str| within_kafka("").replace("group = \"g\"", &format!("group = \"g\", {options}"));
    let config = parse(&source("protocol = \"consumer\""), "pipeline.toml", Path::new("")).unwrap();
    assert_eq!(config.pipelines["detect"].source.kafka().unwrap().protocol, Protocol::Consumer);
    check(
        &source("protocol = \"consumer\"").replace("[pipelines", "\"session.timeout.ms\" = 1000\n[pipelines"),
        &[(7, "pipelines.detect.source.kafka.protocol", "property session.timeout.ms")],
    );
    check(&source("protocol = \"newer\""), &[(6, "pipelines.detect.source.kafka.protocol", "classic, consumer")]);
    let key = "pipelines.detect.source.kafka.static_members";
    check(&source("static_members = true"), &[(6, key, "needs `instance`")]);
    let named = |name: &str| format!("instance = \"{name}\"\n{}", source("static_members = true"));
    let config = parse(&named("pod-0"), "pipeline.toml", Path::new("")).unwrap();
    assert!(config.pipelines["detect"].source.kafka().unwrap().static_members && config.instance == "pod-0");
    check(&named("pod 0"), &[(1, "instance", "no name for a process")]);
    check(&named(""), &[(1, "instance", "no name for a process")]);
}

#[test]
fn settings_become_json() {
    let text = format!("{GOOD}\n[rules.settings.m]\na = 1\nb = [\"x\", true]\nc.d = 1.5\n");
    let config = parse(&text, "pipeline.toml", Path::new("")).unwrap();
    assert_eq!(config.rules.settings["m"], r#"{"a":1,"b":["x",true],"c":{"d":1.5}}"#);
}

#[test]
fn secrets_do_not_show() {
    let text =
        GOOD.replace("[pipelines", "\"sasl.password\" = \"s3cret\"\n\"security.protocol\" = \"s3cret\"\n[pipelines");
    let mistakes = parse(&text, "pipeline.toml", Path::new("")).unwrap_err();
    assert!(!mistakes.to_string().contains("s3cret"), "{mistakes}");
    let text = GOOD.replace("[pipelines", "\"sasl.password\" = \"s3cret\"\n[pipelines");
    let config = parse(&text, "pipeline.toml", Path::new("")).unwrap();
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn every_key_has_a_default_or_is_required() {
    let keys = reference();
    let has = |key: &str, default: &str| keys.iter().any(|(k, d)| k == key && d == default);
    assert!(has("limits.drain_ms_max", "20000"));
    assert!(has("rules.directory", "rules"));
    assert!(has("pipelines.NAME.workers", "1"));
    assert!(has("pipelines.NAME.sink.kafka.topic", "required"));
}

/// The same with `detect` left out, so that the pipeline carries.
fn carrying(change: &dyn Fn(String) -> String) -> String {
    change(within_kafka("").replace("detect = true\n", ""))
}

#[test]
fn a_pipeline_carries_unless_it_detects() {
    let config = parse(&carrying(&|text| text), "pipeline.toml", Path::new("")).unwrap();
    assert!(!config.pipelines["detect"].detect && !config.detects());
    assert!(parse(GOOD, "pipeline.toml", Path::new("")).unwrap().detects());
    check(
        &carrying(&|text| format!("{text}shadow.stdout = {{}}\n")),
        &[(10, "pipelines.detect.shadow", "rules find, and this runs none")],
    );
    check(
        &carrying(&|text| text.replace("topic = \"f\"", "topic = \"a\"")),
        &[(7, "pipelines.detect.sink", "a topic that it reads")],
    );
    let once = carrying(&|text| format!("{text}delivery = \"exactly-once\"\n"));
    assert!(parse(&once, "pipeline.toml", Path::new("")).unwrap().pipelines["detect"].exactly_once);
    check(
        &carrying(&|text| text.replace("sink = { kafka = { topic", "sink = { stdout = {}, kafka = { topic")),
        &[(7, "pipelines.detect.sink.kafka", "name one of `kafka`, `stdout`, `splunk`")],
    );
}

/// A pipeline that carries to `sink`, an inline table.
fn to(sink: &str) -> String {
    carrying(&|text| {
        let kafka = "{ kafka = { topic = \"f\", create = { partitions = 4, replication = 1 } } }";
        assert!(text.contains(kafka));
        text.replace(kafka, sink)
    })
}

#[test]
fn a_siem_is_reached_as_it_says() {
    let sink =
        |text: &str| parse(&to(text), "pipeline.toml", Path::new("/etc")).unwrap().pipelines["detect"].sink.clone();
    let url = "url = \"https://h.example:1/\"";
    let SinkConfig::Splunk(splunk) =
        sink(&format!("{{ splunk = {{ {url}, token = \"s3cret\", acknowledge = true }} }}"))
    else {
        panic!("Splunk");
    };
    assert_eq!((splunk.http.url.as_str(), splunk.token.reveal()), ("https://h.example:1", "s3cret"));
    assert_eq!(splunk.acknowledge.map(|max| max.as_secs()), Some(120));
    assert!(!format!("{splunk:?}").contains("s3cret"));
    let text = format!(
        "{{ elasticsearch = {{ {url}, data_stream = \"d\", api_key = \"s3cret\", ca_file = \"ca.pem\", retry_ms_max = 900 }} }}"
    );
    let SinkConfig::OpenSearch(search) = sink(&text) else { panic!("Elasticsearch") };
    assert_eq!((&search.place, search.http.retry_max.as_millis()), (&Place::DataStream("d".to_owned()), 900));
    assert_eq!(search.http.ca_file.as_deref(), Some(Path::new("/etc/ca.pem")));
    assert!(!format!("{search:?}").contains("s3cret"));
}

#[test]
fn mistakes_about_a_siem_are_told() {
    let one =
        |sink: &str, key: &str, part: &str| check(&to(sink), &[(7, &format!("pipelines.detect.sink.{key}"), part)]);
    let splunk = |more: &str| format!("{{ splunk = {{ token = \"t\", {more} }} }}");
    for (url, part) in [
        ("ftp://h", "https://"),
        ("https://ann:s3cret@h", "may not hold a login"),
        ("https://h/?a=b", "query"),
        ("https:///x", "no host"),
    ] {
        one(&splunk(&format!("url = \"{url}\"")), "splunk.url", part);
    }
    let url = "url = \"http://h\"";
    one(
        &splunk(&format!("{url}, client_key_file = \"k\"")),
        "splunk.client_key_file",
        "needs `client_certificate_file`",
    );
    one(&splunk(&format!("{url}, retry_ms_min = 9, retry_ms_max = 8")), "splunk.retry_ms_min", "over `retry_ms_max`");
    one(&splunk(&format!("{url}, request_bytes_max = 5")), "splunk.request_bytes_max", "from 1024");
    one(&splunk(&format!("{url}, acknowlege = true")), "splunk.acknowlege", "did you mean `acknowledge`");
    one(&format!("{{ splunk = {{ {url} }} }}"), "splunk.token", "is missing");
    let search = |more: &str| format!("{{ opensearch = {{ {url}, {more} }} }}");
    one(&search("gzip = true"), "opensearch.index", "either `data_stream` or `index`");
    one(&search("index = \"a\", data_stream = \"b\""), "opensearch.index", "either `data_stream` or `index`");
    for index in ["Findings", "a b", "_a", "a-%y", "a,b", "%Y:%m"] {
        one(&search(&format!("index = \"{index}\"")), "opensearch.index", "findings-%Y.%m.%d");
    }
    one(&search("data_stream = \"a-%Y\""), "opensearch.data_stream", "no pattern");
    one(&search("index = \"a\", user = \"u\""), "opensearch.user", "needs `password`");
    one(&search("index = \"a\", api_key = \"k\", token = \"t\""), "opensearch.user", "several logins");
    // Rules deliver to a topic, and transactions are Kafka's.
    let text = GOOD.replace(
        "{ kafka = { topic = \"f\", create = { partitions = 4, replication = 1 } } }",
        &search("index = \"a\""),
    );
    check(&text, &[(8, "pipelines.detect.sink.opensearch", "a second pipeline")]);
    let once = format!("{}delivery = \"exactly-once\"\n", to(&search("index = \"a\"")));
    check(&once, &[(10, "pipelines.detect.delivery", "needs Kafka for `sink`")]);
}

#[test]
fn what_is_left_out_is_told() {
    let more = |line: &str| carrying(&|text| format!("{text}{line}\n"));
    let config = parse(
        &more(
            "filter = { min_severity = \"high\", rules = [\"A-*\"], shadow = \"only\" }\n\
             redact = { drop = [\"a.b\"], evidence_bytes_max = 9 }",
        ),
        "pipeline.toml",
        Path::new(""),
    );
    let route = config.unwrap().pipelines["detect"].route.clone();
    assert_eq!((route.filter.severity_min, route.filter.shadow), (4, Shadow::Only));
    assert_eq!((route.redact.drop, route.redact.evidence_bytes_max), (vec!["a.b".to_owned()], Some(9)));
    check(&more("filter.min_severity = \"worse\""), &[(10, "pipelines.detect.filter.min_severity", "critical")]);
    let many = vec!["\"a\""; 1_001].join(",");
    check(&more(&format!("filter.rules = [{many}]")), &[(10, "pipelines.detect.filter.rules", "limit of 1000")]);
    check(&more("redact.drop = [\"a..b\"]"), &[(10, "pipelines.detect.redact.drop", "joined by dots")]);
    check(
        &format!("{GOOD}filter.shadow = \"only\"\nredact.drop = []\n"),
        &[(10, "pipelines.detect.filter", "out of detection"), (11, "pipelines.detect.redact", "out of detection")],
    );
}
