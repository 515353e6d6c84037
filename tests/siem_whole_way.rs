//! The whole way on real parts: records as Firehose sends them, over Kafka, to documents in OpenSearch.

use harness::kafka::Kafka;
use harness::siem::{OpenSearch, whole_way};

#[test]
fn siem_the_whole_way() {
    let (Some(kafka), Some(node)) = (Kafka::shared(), OpenSearch::shared()) else { return };
    let way = whole_way(kafka, node, "whole-way", |_| {});
    way.assert_good();
    assert!(way.expected.len() > 2 && way.repeated > 0, "nothing was at stake: {way:?}");
    let facts = way.facts();
    assert_eq!(facts.lines().count(), way.expected.len());
    for (line, hit) in facts.lines().zip(&way.hits) {
        let id = hit["_id"].as_str().expect("an id");
        assert!(
            line.contains("  AWS root user signed in to the console  account 1111") && line.ends_with(id),
            "{line}"
        );
        assert!(line.starts_with("2025-06-03T") && !line.contains("from - "), "{line}");
    }
}
