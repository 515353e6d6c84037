//! Messages carried from topic to topic: as they are, once or more, and what the other topic refuses comes back.

use std::collections::BTreeMap;

use harness::kafka::{Kafka, Outgoing, Received};
use harness::siem::{finding, finding_with};
use harness::trailhound::{Config, Delivery, Trailhound};
use serde_json::json;

use crate::program::run;

/// Topics `NAME.findings`, `NAME.dead` and `NAME.copy`, and a pipeline between them.
fn setup(kafka: &Kafka, name: &str) -> Config {
    for topic in ["findings", "dead", "copy"] {
        kafka.client().create_topic(&format!("{name}.{topic}"), 4, &[]);
    }
    Config::forward(&kafka.bootstrap(), name, &format!(r#"{{ kafka = {{ topic = "{name}.copy" }} }}"#))
}

/// Key, value and headers.
type Message = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Vec<u8>)>);

/// What travels, and how often.
fn travelled(messages: &[Received]) -> BTreeMap<Message, usize> {
    let mut all = BTreeMap::new();
    for message in messages {
        *all.entry((message.key.clone(), message.value.clone(), message.headers.clone())).or_default() += 1;
    }
    all
}

#[test]
fn keys_values_and_headers_arrive_as_they_were() {
    let Some(kafka) = Kafka::shared() else { return };
    for (name, delivery) in [("carry-least", Delivery::AtLeastOnce), ("carry-once", Delivery::ExactlyOnce)] {
        let config = Config { delivery, ..setup(kafka, name) };
        let (client, topic) = (kafka.client(), |part: &str| format!("{name}.{part}"));
        let mut messages: Vec<Outgoing> = (0..2_000).map(finding).collect();
        messages.push(Outgoing::value("no JSON, no key"));
        messages.push(Outgoing { key: Some(vec![0, 0xff]), value: Some(Vec::new()), ..Outgoing::default() });
        let repeated =
            vec![("h".to_owned(), b"1".to_vec()), ("h".to_owned(), vec![0xff, 0]), (String::new(), Vec::new())];
        messages.push(Outgoing { headers: repeated, ..Outgoing::value("headers") });
        client.produce(&topic("findings"), &messages, &[]);
        // A tombstone has nothing to carry.
        client.produce(&topic("findings"), &[Outgoing { key: Some(b"gone".to_vec()), ..Outgoing::default() }], &[]);
        let mut program = Trailhound::ready(&config);
        client.until_committed(name, &topic("findings"));
        let summary = program.stop();
        summary.assert_balanced();
        assert_eq!(summary.of("skipped", "tombstone"), 1);
        let sent: Vec<Received> = client.read_all(&topic("findings"));
        let mut expected = travelled(&sent);
        expected.retain(|(_, value, _), _| value.is_some());
        let arrived = travelled(&client.read_all(&topic("copy")));
        match delivery {
            Delivery::ExactlyOnce => assert!(arrived == expected, "{} of {}", arrived.len(), expected.len()),
            Delivery::AtLeastOnce => {
                assert!(arrived.keys().eq(expected.keys()), "{} of {}", arrived.len(), expected.len());
            }
        }
        assert!(client.read_all(&topic("dead")).is_empty());
    }
}

#[test]
fn what_a_topic_refuses_lies_in_a_file_and_goes_back_from_there() {
    let Some(kafka) = Kafka::shared() else { return };
    let name = "carry-file";
    let mut config = setup(kafka, name);
    config.dead_letters = "{ file = { path = \"dead.ndjson\" } }".to_owned();
    let (client, topic) = (kafka.client(), |part: &str| format!("{name}.{part}"));
    client.configure_topic(&topic("copy"), &[("max.message.bytes", "4096")]);
    // What compression cannot make small.
    let letter =
        |at: u64| char::from(b'a' + (at.wrapping_mul(at).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 57) as u8 % 26);
    let noise: String = (1..20_000).map(letter).collect();
    let large = finding_with(7, |value| value["message"] = json!(noise));
    let mut messages: Vec<Outgoing> = (100..150).map(finding).collect();
    messages.push(large.clone());
    client.produce(&topic("findings"), &messages, &[]);
    let mut program = Trailhound::ready(&config);
    client.until_committed(name, &topic("findings"));
    let summary = program.stop();
    summary.assert_balanced();
    assert_eq!((summary.count("forwarded"), summary.of("dead_lettered", "sink_refused")), (50, 1), "{summary:?}");
    let file = program.folder().join("dead.ndjson");
    let text = std::fs::read_to_string(&file).expect("dead letters");
    let letter: serde_json::Value = serde_json::from_str(&text).expect("one letter");
    assert_eq!((&letter["reason"], &letter["topic"]), (&json!("sink_refused"), &json!("carry-file.findings")));
    assert_eq!(letter["headers"]["rule"], "TST-000");

    client.configure_topic(&topic("copy"), &[("max.message.bytes", "1048576")]);
    let done = run(&[&"dead-letters", &"replay", &"--config", &program.config()]).well();
    let counts: serde_json::Value = serde_json::from_str(&done.stdout).expect("counts");
    assert_eq!(counts["replayed"], 1, "{counts}");
    let back = client.read_all(&topic("findings"));
    let back: Vec<&Received> = back.iter().filter(|message| message.header("trailhound.replayed").is_some()).collect();
    let [back] = back.as_slice() else { panic!("one is back: {}", back.len()) };
    assert_eq!((&back.key, &back.value), (&large.key, &large.value));
    assert_eq!(back.header("severity").as_deref(), Some("medium"));
}
