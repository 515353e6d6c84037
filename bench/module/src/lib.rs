//! Rules of the benchmark's table as one module. Its settings say which: `{"first": 0, "count": 59}`; without
//! settings it is the first one. So one file makes sixty modules of one rule, or one module of a thousand.

use std::sync::OnceLock;

use trailhound_rule::Module;
use trailhound_rule::contract::exports::trailhound::rule::detection as contract;
use trailhound_rule::prelude::*;

mod table;

fields! { Call {
    user_type:      "userIdentity.type",
    user_name:      "userIdentity.userName",
    source_address: "sourceIPAddress",
    region:         "awsRegion",
} }

fn by_an_iam_user(e: &Call) -> Option<Hit> {
    e.user_type().is(table::USER_TYPE).then(|| {
        Hit::new().label("user", e.user_name()).label("source_address", e.source_address()).label("region", e.region())
    })
}

/// A rule of the table. The select is on the name alone, so that a call by somebody else does reach the module.
fn table_rule(number: usize) -> Rule {
    let name: &'static str = table::event_name(number).leak();
    let example = |user_type: &str| {
        format!(r#"{{"eventVersion":"1.11","eventName":"{name}","userIdentity":{{"type":"{user_type}"}}}}"#)
    };
    rule(&table::id(number), &format!("{name} by an IAM user"))
        .severity(Medium)
        .select("eventName", [name])
        .fires("an IAM user", &example(table::USER_TYPE))
        .quiet("a role", &example("AssumedRole"))
        .when(by_an_iam_user)
}

/// `first` and `count` of the settings, 0 and 1 where they are absent; None where they are not within the table.
fn range(settings: &str) -> Option<std::ops::Range<usize>> {
    let number = |key: &str, other: usize| match settings.split_once(key) {
        None => Some(other),
        Some((_, value)) => {
            let value = value.trim_start_matches([' ', ':']);
            value.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        }
    };
    let first = number("\"first\"", 0)?;
    let end = first.checked_add(number("\"count\"", 1)?)?;
    (first < end && end <= table::RULES).then_some(first..end)
}

/// What `describe` was told to be: the contract calls it once, before anything else.
static MODULE: OnceLock<Module> = OnceLock::new();

struct Exports;

impl contract::Guest for Exports {
    fn describe(settings: String) -> Result<contract::Module, String> {
        let Some(range) = range(&settings) else {
            return Err(format!("not `first` and `count` within {} rules: {settings}", table::RULES));
        };
        MODULE.get_or_init(|| Module::new("bench_module", "1.0.0", range.map(table_rule).collect())).describe("{}")
    }

    fn evaluate(events: contract::Batch) -> contract::Answer {
        MODULE.get().map(|module| module.evaluate(events)).unwrap_or_default()
    }
}

#[cfg(target_arch = "wasm32")]
trailhound_rule::contract::export! { Exports with_types_in trailhound_rule::contract }
