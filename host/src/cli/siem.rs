//! `trailhound siem`: what a SIEM must be told before it takes findings.

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{Failure, print};

#[derive(Debug, Subcommand)]
pub(super) enum SiemCommand {
    /// Print an index template for findings, to be put into the cluster before the first one arrives
    ///
    /// PUT it to /_index_template/NAME. It maps what analysts search and count by, leaves the original record out of the
    /// index (it is stored), and bounds the number of fields.
    Template {
        /// Whose template: both products take the same one
        #[arg(value_enum)]
        product: Product,
        /// For a data stream of this name
        #[arg(long, value_name = "NAME", conflicts_with = "index_pattern")]
        data_stream: Option<String>,
        /// For indexes whose names fit this pattern [default: findings-*]
        #[arg(long, value_name = "PATTERN")]
        index_pattern: Option<String>,
    },
}

/// A product that takes index templates.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Product {
    Opensearch,
    Elasticsearch,
}

/// Fields of an index: enough for findings of many rules, whose labels are no fields.
const FIELDS_MAX: u64 = 1_000;

/// Bytes of a text that is searched as a whole: Lucene takes no term over 32,766 bytes.
const KEYWORD_BYTES_MAX: u64 = 1_024;

pub(super) fn siem(command: &SiemCommand) -> Result<(), Failure> {
    let SiemCommand::Template { product: _, data_stream, index_pattern } = command;
    let template = template(data_stream.as_deref(), index_pattern.as_deref());
    print(serde_json::to_string_pretty(&template).map_err(Failure::new)?)
}

/// A composable index template (OpenSearch from 1.0, Elasticsearch from 7.9).
fn template(data_stream: Option<&str>, index_pattern: Option<&str>) -> Value {
    let mut template = json!({
        "index_patterns": [data_stream.or(index_pattern).unwrap_or("findings-*")],
        "priority": 200,
        "template": {
            "settings": { "index": { "mapping": { "total_fields": { "limit": FIELDS_MAX } } } },
            "mappings": {
                "date_detection": false,
                "dynamic_templates": [{
                    "texts": {
                        "match_mapping_type": "string",
                        "mapping": { "type": "keyword", "ignore_above": KEYWORD_BYTES_MAX },
                    },
                }],
                "properties": properties(),
            },
        },
    });
    if let (Some(_), Some(object)) = (data_stream, template.as_object_mut()) {
        object.insert("data_stream".to_owned(), json!({}));
    }
    template
}

/// What is not left to the first document: times are numbers that are dates, an address is one, and what a record holds is
/// stored and not indexed, since its fields are as many as AWS has.
fn properties() -> Value {
    let keyword = json!({ "type": "keyword", "ignore_above": KEYWORD_BYTES_MAX });
    let time = json!({ "type": "date", "format": "epoch_millis" });
    let number = json!({ "type": "integer" });
    let words = json!({ "type": "text", "fields": { "keyword": keyword } });
    let endpoint = json!({ "properties": { "ip": { "type": "ip", "ignore_malformed": true } } });
    let stored = json!({ "type": "object", "enabled": false });
    let offset = json!({ "type": "long" });
    json!({
        "@timestamp": time,
        "time": time,
        "start_time": time,
        "end_time": time,
        "message": words,
        "class_uid": number,
        "type_uid": offset,
        "severity_id": number,
        "severity": keyword,
        "metadata": { "properties": {
            "uid": keyword,
            "original_time": keyword,
            "logged_time": time,
            "processed_time": time,
        } },
        "finding_info": { "properties": {
            "uid": keyword,
            "title": words,
            "desc": { "type": "text" },
            "created_time": time,
            "first_seen_time": time,
            "last_seen_time": time,
            "analytic": { "properties": { "uid": keyword, "name": words } },
        } },
        "cloud": { "properties": { "account": { "properties": { "uid": keyword } }, "region": keyword } },
        "src_endpoint": endpoint,
        "evidences": { "properties": { "uid": keyword, "src_endpoint": endpoint, "data": stored } },
        "unmapped": { "properties": { "trailhound": { "properties": {
            "partition": number,
            "offset": offset,
            "entry": offset,
            "byte": offset,
            "generation": offset,
            "appended_time": time,
        } } } },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_fits_what_it_is_for() {
        let of = |stream, pattern| {
            let template = template(stream, pattern);
            (template["index_patterns"][0].as_str().unwrap().to_owned(), template.get("data_stream").is_some())
        };
        assert_eq!(of(None, None), ("findings-*".to_owned(), false));
        assert_eq!(of(None, Some("a-*")), ("a-*".to_owned(), false));
        assert_eq!(of(Some("s"), None), ("s".to_owned(), true));
        let template = template(None, None);
        let of = |pointer| template.pointer(pointer).unwrap_or(&Value::Null);
        assert_eq!(of("/template/mappings/properties/evidences/properties/data/enabled"), false);
        assert_eq!(of("/template/settings/index/mapping/total_fields/limit"), FIELDS_MAX);
    }
}
