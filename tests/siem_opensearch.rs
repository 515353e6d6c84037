//! Findings to a real OpenSearch: whatever breaks on the way, each is there once, and what it refuses is a dead letter with
//! its words.

use std::collections::BTreeSet;

use harness::kafka::{Kafka, Outgoing};
use harness::siem::{Authority, Fault, OpenSearch, Reply, Scene, Stub, finding, finding_with, gateway, key};
use harness::trailhound::{Config, Trailhound};
use serde_json::json;

use crate::program::{Done, run};

/// A forwarder of `name` to the index `name-DAY` at `url`; it is impatient, and its batches are small.
fn forwarder(kafka: &Kafka, name: &str, url: &str, more: &str) -> Config {
    let patience = "request_ms_max = 2000, retry_ms_min = 20, retry_ms_max = 300";
    let sink = format!(r#"{{ opensearch = {{ url = "{url}", index = "{name}-%Y.%m.%d", {patience}{more} }} }}"#);
    let mut config = Config::forward(&kafka.bootstrap(), name, &sink);
    config.more = "batch = { messages_max = 200 }".to_owned();
    config
}

/// Holds what is in the indexes of `name` against the findings that must be there. An id that is there twice fails.
#[track_caller]
fn assert_there(node: &OpenSearch, scene: &Scene) {
    let documents = node.documents(&format!("{}-*", scene.name));
    let found: BTreeSet<String> = documents.keys().cloned().collect();
    assert_eq!(found.len(), scene.ids.len());
    assert_eq!(found, scene.ids);
    for (id, document) in &documents {
        assert_eq!(document["finding_info"]["uid"], id.as_str());
    }
}

#[test]
fn a_node_that_was_killed_has_each_finding_once() {
    let (Some(kafka), Some(mut node)) = (Kafka::shared(), OpenSearch::start(&[])) else { return };
    let scene = Scene::new(kafka, "os-killed", 10_000);
    let mut program = Trailhound::ready(&forwarder(kafka, &scene.name, &node.url(), ""));
    program.until_received(2_000);
    node.kill9();
    program.until("the target to count as down", |program| {
        (program.metrics().sum("trailhound_target_down", &[("pipeline", "detect")]) > 0).then_some(())
    });
    let oldest = |program: &Trailhound| program.metrics().sum("trailhound_oldest_unacknowledged_seconds", &[]);
    program.until("a finding to grow old", |program| (oldest(program) > 0).then_some(()));
    node.restart();
    let letters = scene.finish(&mut program, 0);
    assert!(letters.is_empty());
    let log = program.stderr();
    assert!(log.contains("counts as down") && log.contains("takes messages again"), "{log}");
    assert_there(&node, &scene);
}

#[test]
fn storms_and_lost_answers_repeat_nothing() {
    let (Some(kafka), Some(node)) = (Kafka::shared(), OpenSearch::shared()) else { return };
    let scene = Scene::new(kafka, "os-storms", 10_000);
    let gateway = gateway(node.port(), |_, number| match number % 9 {
        1 => Fault::Instead(Reply::status(429, r#"{"error":{"type":"rejected_execution_exception"},"status":429}"#)),
        2 => Fault::Instead(Reply::status(503, "busy").with("retry-after", "0")),
        3 => Fault::LostAnswer,
        5 => Fault::Instead(Reply::Cut),
        7 if number < 30 => Fault::NeverAnswered,
        _ => Fault::None,
    });
    let mut config = forwarder(kafka, &scene.name, &gateway.url(), "");
    config.sink = config.sink.replace("request_ms_max = 2000", "request_ms_max = 1000");
    config.more = "batch = { messages_max = 500 }".to_owned();
    let mut program = Trailhound::ready(&config);
    scene.finish(&mut program, 0);
    assert_there(node, &scene);
}

#[test]
fn what_is_refused_is_a_dead_letter_with_the_answer_and_can_be_replayed() {
    let (Some(kafka), Some(node)) = (Kafka::shared(), OpenSearch::shared()) else { return };
    let mut scene = Scene::new(kafka, "os-refused", 500);
    let template = json!({
        "index_patterns": ["os-refused-*"],
        "template": { "mappings": { "properties": { "severity_id": { "type": "integer" } } } },
    });
    assert_eq!(node.request("PUT", "/_index_template/os-refused", &template.to_string()).0, 200);
    let unmapped: Vec<Outgoing> =
        (1_000..1_010).map(|number| finding_with(number, |value| value["severity_id"] = json!("very"))).collect();
    let long = Outgoing { key: Some("k".repeat(513).into_bytes()), ..finding(2_000) };
    let broken = Outgoing { value: Some(b"{\"time\":".to_vec()), ..finding(2_001) };
    scene.produce_bad(&unmapped);
    scene.produce_bad(&[long, broken]);
    scene.produce(&(3_000..3_100).map(finding).collect::<Vec<_>>());
    let config = forwarder(kafka, &scene.name, &node.url(), "");
    let mut program = Trailhound::ready(&config);
    let letters = scene.finish(&mut program, 12);
    assert_there(node, &scene);
    let mut details: Vec<String> = Vec::new();
    for letter in &letters {
        assert_eq!(letter.header("trailhound.reason").as_deref(), Some("sink_refused"));
        assert_eq!(letter.header("trailhound.topic").as_deref(), Some("os-refused.findings"));
        assert_eq!(letter.header("severity").is_some(), letter.header("rule").is_some(), "the finding's own headers");
        details.push(letter.header("trailhound.detail").expect("the answer"));
    }
    let count = |part: &str| details.iter().filter(|detail| detail.contains(part)).count();
    assert_eq!((count("mapper_parsing_exception"), count("513 bytes"), count("no JSON")), (10, 1, 1), "{details:#?}");
    let refused: BTreeSet<Vec<u8>> = letters.iter().filter_map(|letter| letter.value.clone()).collect();
    assert!(unmapped.iter().all(|message| refused.contains(message.value.as_deref().unwrap_or_default())));

    // The mapping is mended, and what was refused goes back to the findings' topic with its key and headers.
    let mended = template.to_string().replace("integer", "keyword");
    assert_eq!(node.request("PUT", "/_index_template/os-refused", &mended).0, 200);
    let old = node.documents("os-refused-*").len();
    assert_eq!(node.request("DELETE", "/os-refused-2025.06.01", "").0, 200);
    let done: Done = run(&[&"dead-letters", &"replay", &"--config", &program.config(), &"--reason", &"sink_refused"]);
    let counts: serde_json::Value = serde_json::from_str(&done.well().stdout).expect("counts in JSON");
    // Letters of one message that was refused twice go back once.
    assert_eq!((&counts["replayed"], &counts["unreadable"]), (&json!(12), &json!(0)), "{counts}");
    let back: Vec<_> =
        scene.findings().into_iter().filter(|message| message.header("trailhound.replayed").is_some()).collect();
    assert_eq!(back.len(), 12);
    assert!(back.iter().all(|message| message.key.is_some() && message.header("rule").is_some()));
    let mut program = Trailhound::ready(&config);
    program.until_received(12);
    let summary = program.stop();
    assert!(summary.count("forwarded") >= 10 && summary.of("dead_lettered", "sink_refused") >= 2, "{summary:?}");
    assert_eq!((old, node.documents("os-refused-*").len()), (600, 10));
    let there: BTreeSet<String> = node.documents("os-refused-*").into_keys().collect();
    assert_eq!(there, unmapped.iter().map(key).collect());
}

#[test]
fn a_blocked_index_is_waited_for() {
    let (Some(kafka), Some(node)) = (Kafka::shared(), OpenSearch::shared()) else { return };
    for (name, setting) in [("os-disk", "index.blocks.read_only_allow_delete"), ("os-block", "index.blocks.write")] {
        let index = format!("{name}-2025.06.01");
        assert_eq!(node.request("PUT", &format!("/{index}"), "").0, 200);
        node.set(&index, &json!({ setting: true }));
        let scene = Scene::new(kafka, name, 300);
        let mut program = Trailhound::ready(&forwarder(kafka, name, &node.url(), ""));
        let words = if name == "os-disk" { "not delivered yet" } else { "until somebody acts" };
        program.until("the block to be seen", |program| program.stderr().contains(words).then_some(()));
        node.set(&index, &json!({ setting: null }));
        scene.finish(&mut program, 0);
        assert_there(node, &scene);
    }
}

#[test]
fn a_request_that_is_too_large_is_split() {
    let (Some(kafka), Some(node)) = (Kafka::shared(), OpenSearch::start(&["http.max_content_length=64kb"])) else {
        return;
    };
    let mut scene = Scene::new(kafka, "os-large", 400);
    let large = finding_with(9_000, |value| value["message"] = json!("x".repeat(80_000)));
    scene.produce_bad(&[large]);
    scene.produce(&(500..600).map(finding).collect::<Vec<_>>());
    let mut program = Trailhound::ready(&forwarder(kafka, &scene.name, &node.url(), ", gzip = false"));
    let letters = scene.finish(&mut program, 1);
    assert_eq!(letters[0].header("trailhound.detail").as_deref(), Some("HTTP 413"));
    assert_there(&node, &scene);
}

#[test]
fn the_template_fits_a_data_stream_of_findings() {
    let (Some(kafka), Some(node)) = (Kafka::shared(), OpenSearch::shared()) else { return };
    let template = run(&[&"siem", &"template", &"opensearch", &"--data-stream", &"os-stream"]).well().stdout;
    let (status, answer) = node.request("PUT", "/_index_template/os-stream", &template);
    assert_eq!(status, 200, "{answer}");
    let scene = Scene::new(kafka, "os-stream", 300);
    let mut config = forwarder(kafka, &scene.name, &node.url(), "");
    config.sink = config.sink.replace("index = \"os-stream-%Y.%m.%d\"", "data_stream = \"os-stream\"");
    let mut program = Trailhound::ready(&config);
    scene.finish(&mut program, 0);
    let documents = node.documents("os-stream");
    assert_eq!(documents.keys().cloned().collect::<BTreeSet<_>>(), scene.ids);
    let query = json!({ "query": { "bool": { "filter": [
        { "range": { "severity_id": { "gte": 4 } } },
        { "term": { "cloud.account.uid": "111122223300" } },
        { "range": { "@timestamp": { "lt": 1_748_736_100_000i64 } } },
        { "term": { "evidences.src_endpoint.ip": "198.51.100.0/24" } },
    ] } } });
    let (status, answer) = node.request("POST", "/os-stream/_search", &query.to_string());
    assert_eq!((status, answer["hits"]["total"]["value"].as_u64()), (200, Some(7)), "{answer}");
    let (_, mapping) = node.request("GET", "/os-stream/_mapping", "");
    assert!(!mapping.to_string().contains("requestParameters"), "evidence is stored and not indexed");
}

#[test]
fn a_filter_and_a_redaction_leave_out_what_they_say() {
    let (Some(kafka), Some(node)) = (Kafka::shared(), OpenSearch::shared()) else { return };
    let mut scene = Scene::new(kafka, "os-route", 210);
    let mut config = forwarder(kafka, &scene.name, &node.url(), "");
    config.more =
        "filter = { min_severity = \"medium\", rules = [\"TST-00[\", \"TST-*3\"], accounts = [\"111122223301\"] }\n\
                   redact = { drop = [\"unmapped\"], evidence_bytes_max = 64 }"
            .to_owned();
    let wanted = |number: usize| !number.is_multiple_of(3) && number % 7 == 3 && number % 5 == 1;
    scene.ids = (0..210).filter(|number| wanted(*number)).map(|number| key(&finding(number))).collect();
    assert_eq!(scene.ids.len(), 4);
    let mut program = Trailhound::ready(&config);
    program.until_received(210);
    scene.finish(&mut program, 0);
    assert!(program.summary().of("skipped", "filtered") >= 206);
    assert_there(node, &scene);
    for document in node.documents("os-route-*").values() {
        assert!(document["unmapped"].is_null(), "{document}");
        assert_eq!(document["evidences"][0]["data"]["is_truncated"], true);
    }
}

#[test]
fn validate_says_what_a_target_answers() {
    let (Some(kafka), Some(node)) = (Kafka::shared(), OpenSearch::shared()) else { return };
    let scene = Scene::new(kafka, "os-validate", 0);
    let check = |url: &str, more: &str| {
        let mut program = Trailhound::ready(&forwarder(kafka, &scene.name, url, more));
        program.stop();
        run(&[&"validate", &"--connect", &"--config", &program.config()])
    };
    let done = check(&node.url(), "").well();
    assert!(done.stdout.contains(&format!("{} answers opensearch 2.", node.url())), "{}", done.stdout);
    let stranger = Stub::start(|_, _| Reply::status(401, "who are you?"));
    let done = check(&stranger.url(), ", user = \"ann\", password = \"s3cret\"");
    assert_eq!(done.code, 1, "{}", done.stderr);
    assert!(done.stderr.contains("HTTP 401: who are you?") && done.stderr.contains("hint:"), "{}", done.stderr);
    assert!(!done.stderr.contains("s3cret"));
}

#[test]
fn a_certificate_of_another_authority_gets_no_finding() {
    let Some(kafka) = Kafka::shared() else { return };
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = Stub::start_tls(&theirs.server(&["127.0.0.1"]), |request, _| {
        let documents = request.text().lines().count() / 2;
        let items = vec![r#"{"create":{"status":201}}"#; documents].join(",");
        Reply::status(200, &format!(r#"{{"errors":false,"items":[{items}]}}"#))
    });
    let scene = Scene::new(kafka, "os-certificate", 50);
    let with = |authority: &Authority| {
        forwarder(kafka, &scene.name, &server.url(), &format!(", ca_file = {:?}", authority.file()))
    };
    let mut program = Trailhound::ready(&with(&ours));
    program.until("the certificate to be refused", |program| {
        (program.stderr().contains("counts as down") && program.stderr().contains("certificate")).then_some(())
    });
    program.kill9();
    assert!(server.requests().is_empty(), "nothing was said to a stranger");
    let mut program = Trailhound::ready(&with(&theirs));
    scene.finish(&mut program, 0);
    assert!(!server.requests().is_empty());
}

#[test]
fn a_proxy_of_the_environment_is_used() {
    let Some(kafka) = Kafka::shared() else { return };
    let proxy = Stub::start(|request, _| {
        let documents = request.text().lines().count() / 2;
        let items = vec![r#"{"create":{"status":201}}"#; documents].join(",");
        Reply::status(200, &format!(r#"{{"errors":false,"items":[{items}]}}"#))
    });
    let scene = Scene::new(kafka, "os-proxy", 20);
    let config = forwarder(kafka, &scene.name, "http://opensearch.example:9200/search", "");
    let mut program = Trailhound::start_in(&config, |mut program| {
        program.env("HTTP_PROXY", proxy.url()).env("http_proxy", proxy.url());
        program
    });
    program.until_ready();
    scene.finish(&mut program, 0);
    let requests = proxy.requests();
    assert!(!requests.is_empty());
    for request in requests {
        assert!(request.path.starts_with("http://opensearch.example:9200/search/_bulk?"), "{}", request.path);
    }
}
