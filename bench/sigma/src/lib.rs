//! Sigma rules as one module that interprets a table, which is its settings. The table is made of the rules' own files
//! when the benchmark runs, so nothing of them is in here.

use std::sync::OnceLock;

use trailhound_rule::contract::exports::trailhound::rule::detection as contract;

use crate::evaluate::Row;
use crate::table::{Condition, Rule, Table};

mod evaluate;
mod table;

/// What `describe` was given: the contract calls it once, before anything else.
static TABLE: OnceLock<Table> = OnceLock::new();

struct Exports;

impl contract::Guest for Exports {
    fn describe(settings: String) -> Result<contract::Module, String> {
        let mut table: Table = serde_json::from_str(&settings).map_err(|error| error.to_string())?;
        table.rules.iter_mut().for_each(|rule| prepare(&mut rule.condition));
        let table = TABLE.get_or_init(|| table);
        Ok(contract::Module {
            name: "bench_sigma".to_owned(),
            version: "1.0.0".to_owned(),
            fields: table.fields.clone(),
            rules: table.rules.iter().map(rule).collect(),
        })
    }

    fn evaluate(events: contract::Batch) -> contract::Answer {
        TABLE.get().map(|table| evaluate(table, &events)).unwrap_or_default()
    }
}

fn evaluate(table: &Table, events: &contract::Batch) -> contract::Answer {
    let width = table.fields.len();
    let fires = |event: u32, rule: u32| {
        let start = event as usize * width;
        let cells = events.cells.get(start..start + width)?;
        let condition = &table.rules.get(rule as usize)?.condition;
        let hit = contract::Hit { event, rule, title: 0, labels: 0 };
        Row { cells, text: &events.text }.holds(condition).then_some(hit)
    };
    let hits = events.pairs.iter().filter_map(|pair| fires(*pair as u32, (pair >> 32) as u32)).collect();
    contract::Answer { hits, ..contract::Answer::default() }
}

fn prepare(condition: &mut Condition) {
    match condition {
        Condition::All(all) | Condition::Any(all) => all.iter_mut().for_each(prepare),
        Condition::Not(condition) => prepare(condition),
        Condition::Like(_, pattern) => pattern.prepare(),
        Condition::Absent(_) | Condition::Same(..) => {}
    }
}

fn rule(rule: &Rule) -> contract::Rule {
    let select = rule.select.iter().cloned().map(|(field, any_of)| contract::Condition { field, any_of }).collect();
    let example =
        |name: &str, record: &str, fires| contract::Example { name: name.to_owned(), record: record.to_owned(), fires };
    contract::Rule {
        id: rule.id.clone(),
        version: "1.0.0".to_owned(),
        title: rule.title.clone(),
        severity: match rule.level.as_str() {
            "low" => contract::Severity::Low,
            "medium" => contract::Severity::Medium,
            "high" => contract::Severity::High,
            "critical" => contract::Severity::Critical,
            _ => contract::Severity::Informational,
        },
        description: ["By ", &rule.author].concat(),
        rationale: String::new(),
        remediation: String::new(),
        references: Vec::new(),
        compliance: Vec::new(),
        attacks: Vec::new(),
        select,
        examples: vec![
            example("what it asks for", &rule.fires, true),
            example("something else", r#"{"eventVersion":"1.11","eventName":"SomethingElse"}"#, false),
        ],
    }
}

#[cfg(target_arch = "wasm32")]
trailhound_rule::contract::export! { Exports with_types_in trailhound_rule::contract }
