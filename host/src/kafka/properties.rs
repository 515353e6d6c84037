//! librdkafka properties as the operator wrote them, and the ones that a promise of this program hangs on.

use std::collections::BTreeMap;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;

/// Properties by name. Any property of librdkafka may be set (its CONFIGURATION.md lists them), so TLS and SASL work;
/// see [`Properties::mistakes`] for the few that may not.
#[derive(Clone, Default, PartialEq)]
pub struct Properties(BTreeMap<String, String>);

/// What may not be set: the value that stands, and why.
const RESERVED: [(&str, &str); 9] = [
    ("group.id", "set `group` of the source instead"),
    ("enable.auto.commit", "offsets move only after delivery was acknowledged"),
    ("enable.auto.offset.store", "offsets move only after delivery was acknowledged"),
    ("acks", "a finding counts as delivered when all in-sync replicas have it"),
    ("request.required.acks", "a finding counts as delivered when all in-sync replicas have it"),
    ("enable.idempotence", "it is always on"),
    ("transactional.id", "with delivery = \"exactly-once\" it is made of `instance`, pipeline and worker"),
    ("group.instance.id", "static_members = true of the source makes it of `instance`, pipeline and worker"),
    ("group.protocol", "set `protocol` of the source instead"),
];

impl Properties {
    /// Sets a property.
    pub fn set(&mut self, key: &str, value: &str) {
        self.0.insert(key.to_owned(), value.to_owned());
    }

    /// The value of a property.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// These properties with those of `over` on top.
    pub fn with(&self, over: &Properties) -> Properties {
        let mut all = self.clone();
        all.0.extend(over.0.clone());
        all
    }

    /// What is wrong with each property, by key. Values never show: they may be secrets.
    pub fn mistakes(&self) -> Vec<(String, String)> {
        let reserved = |key: &str| RESERVED.iter().find(|(name, _)| *name == key).map(|(_, why)| (*why).to_owned());
        self.0
            .iter()
            .filter_map(|(key, value)| {
                let why = reserved(key).map(|why| format!("may not be set: {why}"));
                Some((key.clone(), why.or_else(|| refused(key, value))?))
            })
            .collect()
    }

    /// Those of `names` that are set.
    pub fn among<'n>(&self, names: &[&'n str]) -> Vec<&'n str> {
        names.iter().copied().filter(|name| self.0.contains_key(*name)).collect()
    }

    /// A client's configuration: `defaults`, then these properties, then what `fixed` says.
    pub fn client(&self, defaults: &[(&str, &str)], fixed: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        // All of it: the property `debug` decides what there is, and `--log` what is shown.
        config.set_log_level(RDKafkaLogLevel::Debug);
        for (key, value) in defaults {
            config.set(*key, *value);
        }
        for (key, value) in &self.0 {
            config.set(key, value);
        }
        for (key, value) in fixed {
            config.set(*key, *value);
        }
        config
    }
}

/// Why librdkafka does not take a property, in words without the value.
fn refused(key: &str, value: &str) -> Option<String> {
    let mut config = ClientConfig::new();
    config.set(key, value);
    match config.create_native_config() {
        Ok(_) => None,
        Err(KafkaError::ClientConfig(_, text, ..)) if text.contains("No such configuration property") => {
            Some("librdkafka has no such property".to_owned())
        }
        Err(_) => Some("librdkafka does not take this value".to_owned()),
    }
}

impl std::fmt::Debug for Properties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &str, value: &str, expect: &str) {
        let mut properties = Properties::default();
        properties.set(key, value);
        let mistakes = properties.mistakes();
        match expect {
            "" => assert_eq!(mistakes, []),
            expect => assert!(mistakes.len() == 1 && mistakes[0].1.contains(expect), "{key}: {mistakes:?}"),
        }
        assert!(!format!("{properties:?} {mistakes:?}").contains("s3cret"));
    }

    #[test]
    fn properties_are_librdkafkas_but_for_what_promises_hang_on() {
        check("bootstrap.servers", "a:1,b:2", "");
        check("security.protocol", "SASL_SSL", "");
        check("sasl.password", "s3cret", "");
        check("compression.codec", "zstd", "");
        check("bootstrap.server", "s3cret", "no such property");
        check("security.protocol", "s3cret", "does not take this value");
        check("acks", "1", "may not be set");
        check("enable.auto.commit", "true", "may not be set");
        check("transactional.id", "a", "made of `instance`");
    }

    /// What the property `debug` asks for is shown by `--log info,librdkafka=debug`, and not lost on its way.
    #[test]
    fn librdkafka_may_log_all_that_it_has_to_say() {
        let mut properties = Properties::default();
        properties.set("debug", "cgrp");
        assert!(matches!(properties.client(&[], &[]).log_level, RDKafkaLogLevel::Debug));
    }
}
