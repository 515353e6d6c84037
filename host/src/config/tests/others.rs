//! The configuration of syslog, webhooks and the archive.

use std::path::Path;
use std::time::Duration;

use super::super::{SinkConfig, parse};
use super::{check, to};
use crate::sink::{Confirm, Form, WebhookForm};

fn sink(text: &str) -> SinkConfig {
    parse(&to(text), "pipeline.toml", Path::new("/etc")).unwrap().pipelines["detect"].sink.clone()
}

#[track_caller]
fn one(sink: &str, key: &str, part: &str) {
    check(&to(sink), &[(7, &format!("pipelines.detect.sink.{key}"), part)]);
}

#[test]
fn syslog_is_tls_unless_it_says_otherwise() {
    let text = "{ syslog = { address = \"[::1]:6514\", ca_file = \"ca.pem\", form = \"cef\", facility = \"audit\" } }";
    let SinkConfig::Syslog(syslog) = sink(text) else { panic!("syslog") };
    assert_eq!(syslog.tls.as_ref().unwrap().ca_file.as_deref(), Some(Path::new("/etc/ca.pem")));
    assert_eq!((syslog.form, syslog.facility, syslog.confirm), (Form::Cef, 13, Confirm::Close));
    let text = "{ syslog = { address = \"h:514\", protocol = \"tcp\", confirm = \"settle\", settle_ms = 7 } }";
    let SinkConfig::Syslog(syslog) = sink(text) else { panic!("syslog") };
    assert_eq!((&syslog.tls, syslog.confirm), (&None, Confirm::Settle(Duration::from_millis(7))));
    assert_eq!((syslog.form, syslog.facility), (Form::Ocsf, 16));
}

#[test]
fn mistakes_about_syslog_are_told() {
    let syslog = |more: &str| format!("{{ syslog = {{ {more} }} }}");
    for address in ["h", "h:", "h:0", "h:99999", ":514", "::1:514", "tls://h:514"] {
        one(&syslog(&format!("address = \"{address}\"")), "syslog.address", "siem.example.com:6514");
    }
    let with = |more: &str| syslog(&format!("address = \"h:1\", {more}"));
    one(&with("protocol = \"udp\""), "syslog.protocol", "one of tls, tcp");
    one(&with("protocol = \"tcp\", ca_file = \"c\""), "syslog.ca_file", "plain TCP");
    one(&with("client_key_file = \"k\""), "syslog.client_key_file", "needs `client_certificate_file`");
    one(&with("app_name = \"a b\""), "syslog.app_name", "1 to 48 printable");
    one(&with("hostname = \"é\""), "syslog.hostname", "1 to 255 printable");
    one(&with("message_bytes_max = 100"), "syslog.message_bytes_max", "from 2048");
    one(&with("facility = \"kern\""), "syslog.facility", "local0");
}

#[test]
fn a_webhook_keeps_its_secrets() {
    let text = "{ webhook = { url = \"https://h.example/s3cret?a=s3cret\", secret = \"s3cret\", form = \"pagerduty\", \
                routing_key = \"s3cret\", headers = { \"X-Key\" = \"s3cret\", N = 1 } } }";
    let SinkConfig::Webhook(webhook) = sink(text) else { panic!("a webhook") };
    assert_eq!((webhook.http.url.as_str(), webhook.path.reveal()), ("https://h.example", "/s3cret?a=s3cret"));
    assert!(matches!(&webhook.form, WebhookForm::PagerDuty(key) if key.reveal() == "s3cret"));
    let names: Vec<&str> = webhook.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["n", "x-key"]);
    assert!(!webhook.http.gzip && !format!("{webhook:?}").contains("s3cret"));
}

#[test]
fn mistakes_about_a_webhook_are_told() {
    let with = |more: &str| format!("{{ webhook = {{ url = \"http://h\", {more} }} }}");
    one(&with("form = \"pagerduty\""), "webhook.routing_key", "is missing");
    one(&with("routing_key = \"k\""), "webhook.routing_key", "is for form = \"pagerduty\"");
    one(&with("form = \"teams\""), "webhook.form", "slack, pagerduty");
    one(&with("headers = { \"a b\" = \"c\" }"), "webhook.headers.\"a b\"", "no name for a header");
    one(&with("headers = { Host = \"c\" }"), "webhook.headers.\"Host\"", "every request has");
    one(&with("headers = { A = \"a\\nB: c\" }"), "webhook.headers.\"A\"", "no line breaks");
    one("{ webhook = {} }", "webhook.url", "is missing");
}

#[test]
fn an_archive_has_a_folder_and_limits() {
    let SinkConfig::Archive(archive) = sink("{ archive = { directory = \"a\", file_seconds_max = 5 } }") else {
        panic!("an archive")
    };
    assert_eq!((archive.folder.as_path(), archive.file_age_max.as_secs()), (Path::new("/etc/a"), 5));
    one("{ archive = { file_bytes_max = 5000 } }", "archive.directory", "is missing");
    one("{ archive = { directory = \"a\", file_bytes_max = 5 } }", "archive.file_bytes_max", "from 1024");
}
