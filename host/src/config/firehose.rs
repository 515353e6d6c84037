//! The endpoint that Amazon Data Firehose delivers to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::section::{Findings, Section};
use super::{PipelineConfig, SourceConfig};
use crate::source::{AccessKeys, Certificate, FirehoseConfig, FirehoseLimits, KEY_BYTES_MAX, KEY_BYTES_MIN};

/// Keys that are valid at once.
const KEYS_MAX: usize = 16;

/// Reads `source.firehose`.
pub(super) fn read_firehose(
    mut section: Section<'_>,
    folder: &Path,
    findings: &mut Findings,
) -> Option<FirehoseConfig> {
    let listen = read_listen(&mut section, findings);
    let path = read_path(&mut section, findings);
    let access_keys = read_keys(&mut section, findings);
    let tls = read_tls(section.section("tls", findings), folder, findings);
    let limits = read_limits(&mut section, findings);
    section.finish(findings);
    Some(FirehoseConfig { listen: listen?, path: path?, access_keys: access_keys?, tls: tls?, limits })
}

/// Complains about endpoints that would listen where another one, or the admin page, does.
pub(super) fn refuse_shared_listen(
    pipelines: &BTreeMap<String, PipelineConfig>,
    admin: Option<SocketAddr>,
    findings: &mut Findings,
) {
    let mut taken: Vec<SocketAddr> = admin.into_iter().collect();
    for (name, pipeline) in pipelines {
        let SourceConfig::Firehose(endpoint) = &pipeline.source else { continue };
        if endpoint.listen.port() != 0 && taken.contains(&endpoint.listen) {
            let key = format!("pipelines.{name}.source.firehose.listen");
            findings.wrong(
                None,
                &key,
                "is where another endpoint or the admin page listens",
                "give it a port of its own",
            );
        }
        taken.push(endpoint.listen);
    }
}

fn read_listen(section: &mut Section<'_>, findings: &mut Findings) -> Option<SocketAddr> {
    let hint = "listen = \"0.0.0.0:8443\"";
    let listen = section.required("listen", hint, findings)?;
    let address = listen.parse();
    if address.is_err() {
        let span = section.span_of("listen");
        findings.wrong(span.as_ref(), &section.key("listen"), "must be ADDRESS:PORT", hint);
    }
    address.ok()
}

fn read_path(section: &mut Section<'_>, findings: &mut Findings) -> Option<String> {
    let path = section.text("path", Some("/"), findings)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~".contains(&b);
    if !path.starts_with('/') || path.len() > 256 || !path.bytes().all(plain) || path == "/healthz" {
        let hint = "such as \"/\" or \"/cloudtrail\": / and up to 255 of a-z A-Z 0-9 / - . _ ~, and not /healthz";
        findings.wrong(section.span_of("path").as_ref(), &section.key("path"), "is no path of a stream's URL", hint);
        return None;
    }
    Some(path)
}

/// The keys, of which at least one is needed: there is no endpoint that lets everybody in.
fn read_keys(section: &mut Section<'_>, findings: &mut Findings) -> Option<AccessKeys> {
    let keys = section.texts("access_keys", findings)?;
    let (name, span) = (section.key("access_keys"), section.span_of("access_keys"));
    let mut wrong = |what: String, hint: &str| {
        findings.wrong(span.as_ref(), &name, what, hint);
        None
    };
    if section.is_present() && keys.is_empty() {
        return wrong("must name at least one key".to_owned(), "access_keys = [\"${FIREHOSE_KEY}\"]");
    }
    if keys.len() > KEYS_MAX {
        return wrong(format!("{} keys, over the limit of {KEYS_MAX}", keys.len()), "remove those that are not used");
    }
    let is_key = |key: &String| {
        (KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len())
            && key.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
            && key.trim() == key.as_str()
    };
    match keys.iter().position(|key| !is_key(key)) {
        Some(at) => {
            let what = format!("key {} of the list is none", at + 1);
            wrong(what, "16 to 4,096 characters of ASCII, no space at its ends: `openssl rand -hex 32` makes one")
        }
        None => Some(AccessKeys::new(keys)),
    }
}

/// Some of what was said; none where it is wrong.
fn read_tls(mut section: Section<'_>, folder: &Path, findings: &mut Findings) -> Option<Option<Certificate>> {
    let is_present = section.is_present();
    let certificate = section.required("certificate", "certificate = \"/etc/trailhound/tls/tls.crt\"", findings);
    let key = section.required("key", "key = \"/etc/trailhound/tls/tls.key\"", findings);
    section.finish(findings);
    if !is_present {
        return Some(None);
    }
    Some(Some(Certificate { certificate: folder.join(certificate?), key: folder.join(key?) }))
}

fn read_limits(section: &mut Section<'_>, findings: &mut Findings) -> FirehoseLimits {
    const MIB: u64 = 1 << 20;
    let mut limits = FirehoseLimits::default();
    section.number("body_bytes_max", &mut limits.body_bytes_max, [1_024, 1_024 * MIB], findings);
    section.number("decompressed_bytes_max", &mut limits.decompressed_bytes_max, [1_024, 1_024 * MIB], findings);
    section.number("records_max", &mut limits.records_max, [1, 1_000_000], findings);
    section.number("record_bytes_max", &mut limits.record_bytes_max, [1_024, 64 * MIB], findings);
    section.number("in_flight_bytes_max", &mut limits.in_flight_bytes_max, [MIB, 64 << 30], findings);
    section.number("connections_max", &mut limits.connections_max, [1, 65_536], findings);
    let mut ms = |name, value: &mut Duration, bounds| {
        let mut ms = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
        section.number(name, &mut ms, bounds, findings);
        *value = Duration::from_millis(ms);
    };
    ms("head_ms_max", &mut limits.head_max, [100, 120_000]);
    ms("idle_ms_max", &mut limits.idle_max, [100, 3_600_000]);
    ms("body_ms_max", &mut limits.body_max, [100, 175_000]);
    ms("answer_ms_max", &mut limits.answer_max, [100, 175_000]);
    if !limits.has_room_for_largest() {
        let hint = "a body of body_bytes_max must find room: make in_flight_bytes_max larger by 1 MiB and more";
        let span = section.span_of("in_flight_bytes_max");
        findings.wrong(span.as_ref(), &section.key("in_flight_bytes_max"), "is smaller than body_bytes_max", hint);
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    /// A configuration with `lines` in the endpoint's table.
    fn text(lines: &str) -> String {
        format!(
            "[kafka]\n\"bootstrap.servers\" = \"127.0.0.1:9092\"\n[pipelines.ingest]\nsink.kafka.topic = \"cloudtrail\"\n\
             dead_letters.kafka.topic = \"dead\"\n[pipelines.ingest.source.firehose]\n{lines}\n"
        )
    }

    fn endpoint(lines: &str) -> FirehoseConfig {
        let config = parse(&text(lines), "f", Path::new("/etc/th")).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        assert!(!config.detects());
        match config.pipelines["ingest"].source.clone() {
            SourceConfig::Firehose(endpoint) => endpoint,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn wrong(text: &str, expect: &[&str]) {
        let said = parse(text, "f", Path::new("")).unwrap_err().to_string();
        assert!(said.starts_with(&format!("f: {} mistake", expect.len())), "{said}");
        expect.iter().for_each(|part| assert!(said.contains(part), "no `{part}` in {said}"));
    }

    const LEAST: &str = "listen = \"127.0.0.1:0\"\naccess_keys = [\"0123456789abcdef\"]";

    #[test]
    fn an_address_and_a_key_are_enough() {
        let endpoint = endpoint(LEAST);
        assert_eq!((endpoint.path.as_str(), &endpoint.tls), ("/", &None));
        assert_eq!(endpoint.limits, FirehoseLimits::default());
        assert!(endpoint.access_keys.let_in(b"0123456789abcdef"));
    }

    #[test]
    fn everything_can_be_said() {
        let more = "path = \"/a/b\"\ntls = { certificate = \"c.pem\", key = \"/k.pem\" }\nanswer_ms_max = 1000\n\
                    in_flight_bytes_max = 268_435_456";
        let endpoint = endpoint(&format!("{LEAST}\n{more}"));
        let tls = Certificate { certificate: "/etc/th/c.pem".into(), key: "/k.pem".into() };
        assert_eq!((endpoint.path.as_str(), endpoint.tls), ("/a/b", Some(tls)));
        assert_eq!(endpoint.limits.answer_max, Duration::from_secs(1));
    }

    #[test]
    fn all_mistakes_come_in_one_report_and_no_key_is_shown() {
        let lines = "listen = \"here\"\naccess_keys = [\"0123456789abcdef\", \"s3cret\"]\npath = \"x\"\n\
                     tls = { certificate = \"c\" }\nbody_bytes_max = 1\nin_flight_bytes_max = 1048576\nretry = 1";
        let expect = [
            "firehose.listen: must be",
            "key 2 of the list",
            "firehose.path: is no path",
            "tls.key: is missing",
            "body_bytes_max: must be a whole number",
            "smaller than body_bytes_max",
            "firehose.retry: is no key",
        ];
        wrong(&text(lines), &expect);
        let said = parse(&text(lines), "f", Path::new("")).unwrap_err().to_string();
        assert!(!said.contains("s3cret"), "{said}");
    }

    #[test]
    fn nobody_is_let_in_without_a_key() {
        for keys in ["", "access_keys = []"] {
            wrong(&text(&format!("listen = \"127.0.0.1:0\"\n{keys}")), &["at least one key"]);
        }
        wrong(&text("access_keys = [\"\"]"), &["listen: is missing", "key 1 of the list"]);
    }

    #[test]
    fn it_goes_to_a_topic_at_least_once_and_without_rules() {
        let ingest = text(LEAST).replace("sink.kafka.topic = \"cloudtrail\"", "sink.stdout = {}");
        wrong(&ingest, &["goes to a topic"]);
        let ingest = text(LEAST).replace("dead_letters", "detect = true\ndead_letters");
        wrong(&ingest, &["does not go with firehose"]);
        let ingest = text(LEAST).replace("dead_letters", "delivery = \"exactly-once\"\ndead_letters");
        wrong(&ingest, &["needs Kafka for `source`"]);
        let admin = text(&LEAST.replace(":0", ":9464"));
        wrong(&admin, &["where another endpoint or the admin page listens"]);
        let both = format!("{}\n[pipelines.ingest.source.kafka]\ntopics = [\"a\"]\ngroup = \"g\"\n", text(LEAST));
        wrong(&both, &["name either `kafka` or `firehose`"]);
    }
}
