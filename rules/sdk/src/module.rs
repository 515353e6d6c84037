//! A rule module: its rules behind the contract's two functions.

use std::sync::Arc;

use crate::contract::exports::trailhound::rule::detection as contract;
use crate::log;
use crate::rule::{Rule, Run, RunRule};

/// What `module!` makes of a list of rules.
pub struct Module {
    contract: contract::Module,
    /// In the order of `contract.rules`.
    runs: Vec<(RunRule, Arc<[usize]>)>,
}

impl Module {
    /// Gathers rules into a module. Its fields are those of all rules, each path once.
    pub fn new(name: &str, version: &str, rules: Vec<Rule>) -> Self {
        let mut fields: Vec<String> = Vec::new();
        let mut place = |path: &&str| {
            fields.iter().position(|field| field == path).unwrap_or_else(|| {
                fields.push((*path).to_owned());
                fields.len() - 1
            })
        };
        let (rules, runs) = rules
            .into_iter()
            .map(|Rule { mut contract, paths, run }| {
                if contract.version.is_empty() {
                    contract.version = version.to_owned();
                }
                (contract, (run, paths.iter().map(&mut place).collect()))
            })
            .unzip();
        Module {
            contract: contract::Module { name: name.to_owned(), version: version.to_owned(), fields, rules },
            runs,
        }
    }

    /// The contract's `describe`.
    ///
    /// # Errors
    /// Refuses settings that are anything but an empty JSON object, with a text for the operator: such a module takes
    /// none, and one that is ignored would be a mistake that nobody sees.
    pub fn describe(&self, settings: &str) -> Result<contract::Module, String> {
        let inside = settings.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        if inside.is_none_or(|inside| !inside.trim().is_empty()) {
            let name = &self.contract.name;
            return Err(["module `", name, "` takes no settings\n\nhint: remove the settings of `", name, "`"].concat());
        }
        Ok(self.contract.clone())
    }

    /// The contract's `evaluate`. It never panics: what a malformed batch lacks is missing, and the host's log says so.
    pub fn evaluate(&self, mut batch: contract::Batch) -> contract::Answer {
        let width = self.contract.fields.len();
        let pairs = std::mem::take(&mut batch.pairs);
        if batch.cells.len() as u64 != u64::from(batch.events) * width as u64 {
            log::error("the batch has not one cell an event and field");
        }
        let batch = Arc::new(batch);
        let mut answer = contract::Answer::default();
        // Pairs stand by event, then by rule; those of one rule in a row are run together.
        for pairs in pairs.chunk_by(|a, b| a >> 32 == b >> 32) {
            let rule = pairs.first().and_then(|pair| self.runs.get((pair >> 32) as usize));
            let Some((run, columns)) = rule else {
                log::error("the batch has pairs of a rule that this module has not");
                continue;
            };
            run(Run { batch: Arc::clone(&batch), columns: Arc::clone(columns), width, pairs }, &mut answer);
        }
        answer
    }
}

/// Makes the crate a rule module: `module! { name, version: "1.0.0", rules: [ … ] }`. Once a crate, at its root.
///
/// `rules` is an array or a `Vec` of [`Rule`]. The macro writes `fn module()`, for tests, and the module's exports.
#[macro_export]
macro_rules! module {
    ($name:ident, version: $version:literal, rules: $rules:expr $(,)?) => {
        /// The module that this crate is.
        pub fn module() -> &'static $crate::Module {
            static MODULE: ::std::sync::OnceLock<$crate::Module> = ::std::sync::OnceLock::new();
            MODULE
                .get_or_init(|| $crate::Module::new(::core::stringify!($name), $version, ::std::vec::Vec::from($rules)))
        }

        const _: () = {
            use $crate::contract::exports::trailhound::rule::detection as contract;

            struct Exports;

            impl contract::Guest for Exports {
                fn describe(settings: ::std::string::String) -> Result<contract::Module, ::std::string::String> {
                    module().describe(&settings)
                }
                fn evaluate(events: contract::Batch) -> contract::Answer {
                    module().evaluate(events)
                }
            }

            #[cfg(target_arch = "wasm32")]
            $crate::contract::export! { Exports with_types_in $crate::contract }
        };
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hit::tests::told;
    use crate::prelude::*;
    use crate::rule::Draft;

    fields! { Who { kind: "who.kind", name: "who.name" } }
    fields! { What { act: "act", kind: "who.kind" } }

    fn is_root(e: &Who) -> Option<Hit> {
        e.kind().is("Root").then(|| Hit::new().label("name", e.name()))
    }

    fn root_deletes(e: &What) -> Option<Hit> {
        (e.kind().is("Root") && e.act().is("Delete")).then(|| Hit::new().title("root deleted"))
    }

    fn draft(id: &str) -> Draft {
        rule(id, "t").severity(High).select("act", ["Delete"])
    }

    /// Fields: who.kind, who.name, act.
    fn two_rules() -> Module {
        Module::new("two", "2.0.0", vec![draft("A").when(is_root), draft("B").version("1.1.0").when(root_deletes)])
    }

    /// Packs strings, row by row; `None` is a missing field.
    fn batch(rows: &[[Option<&str>; 3]], pairs: &[(u64, u64)]) -> contract::Batch {
        let mut text = String::from("…"); // so that no offset is 0
        let mut cells = Vec::new();
        for value in rows.iter().flatten() {
            cells.push(value.map_or(0, |value| 5 << 60 | (value.len() as u64) << 32 | text.len() as u64));
            text.push_str(value.unwrap_or_default());
        }
        let pairs = pairs.iter().map(|(event, rule)| rule << 32 | event).collect();
        contract::Batch { events: rows.len() as u32, cells, pairs, text }
    }

    const ADA_DELETES: [Option<&str>; 3] = [Some("Root"), Some("ada"), Some("Delete")];
    const EVE_READS: [Option<&str>; 3] = [Some("Root"), Some("eve"), Some("Read")];
    const NOBODY: [Option<&str>; 3] = [None, None, None];

    fn check(batch: contract::Batch, expect: &[(u32, u32)]) {
        let answer = two_rules().evaluate(batch);
        assert_eq!(answer.hits.iter().map(|hit| (hit.event, hit.rule)).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn describe_gathers_the_fields_and_the_rules() {
        let module = two_rules().describe("{}").unwrap();
        assert_eq!((module.name.as_str(), module.version.as_str()), ("two", "2.0.0"));
        assert_eq!(module.fields, ["who.kind", "who.name", "act"]);
        let rules: Vec<_> = module.rules.iter().map(|rule| (rule.id.as_str(), rule.version.as_str())).collect();
        assert_eq!(rules, [("A", "2.0.0"), ("B", "1.1.0")]);
    }

    #[test]
    fn describe_passes_all_metadata_on() {
        let rule = rule("A", "title")
            .severity(Critical)
            .description("d")
            .rationale("why")
            .remediation("do")
            .references(["r1", "r2"])
            .compliance(["c"])
            .attack("T1", "tn", "TA1", "tan")
            .select("f", ["v", "w"])
            .fires("yes", "{}")
            .quiet("no", "[]")
            .when(is_root);
        let described = Module::new("m", "1.0.0", vec![rule]).describe("{}").unwrap();
        let rule = &described.rules[0];
        assert_eq!((rule.title.as_str(), rule.severity), ("title", Critical));
        assert_eq!([&rule.description, &rule.rationale, &rule.remediation], ["d", "why", "do"]);
        assert_eq!((&rule.references[..], &rule.compliance[..]), (&["r1".into(), "r2".into()][..], &["c".into()][..]));
        let attack = &rule.attacks[0];
        let names = [&attack.technique, &attack.technique_name, &attack.tactic, &attack.tactic_name];
        assert_eq!(names, ["T1", "tn", "TA1", "tan"]);
        assert_eq!((rule.select[0].field.as_str(), &rule.select[0].any_of[..]), ("f", &["v".into(), "w".into()][..]));
        let examples: Vec<_> = rule.examples.iter().map(|e| (e.name.as_str(), e.record.as_str(), e.fires)).collect();
        assert_eq!(examples, [("yes", "{}", true), ("no", "[]", false)]);
    }

    #[test]
    fn settings_are_refused() {
        for none in ["{}", "{ }", " {\n} "] {
            assert!(two_rules().describe(none).is_ok(), "{none:?}");
        }
        for some in [r#"{"a":1}"#, "", "{", "}", "null", "[]", "{}{}"] {
            let error = two_rules().describe(some).unwrap_err();
            assert_eq!(error, "module `two` takes no settings\n\nhint: remove the settings of `two`", "{some:?}");
        }
    }

    #[test]
    fn exactly_the_pairs_are_evaluated() {
        let rows = [ADA_DELETES, EVE_READS, NOBODY];
        let all = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)];
        check(batch(&rows, &all), &[(0, 0), (1, 0), (0, 1)]);
        check(batch(&rows, &[(1, 0)]), &[(1, 0)]);
        check(batch(&rows, &[(0, 1), (2, 1)]), &[(0, 1)]);
        check(batch(&rows, &[]), &[]);
    }

    #[test]
    fn a_hit_carries_its_title_and_labels() {
        let answer = two_rules().evaluate(batch(&[ADA_DELETES], &[(0, 0), (0, 1)]));
        let name = vec!["name=ada".to_owned()];
        assert_eq!(told(&answer), [(0, 0, String::new(), name), (0, 1, "root deleted".to_owned(), Vec::new())]);
    }

    #[test]
    fn a_malformed_batch_panics_nowhere() {
        let good = || batch(&[ADA_DELETES, EVE_READS], &[(0, 0), (1, 0)]);
        check(batch(&[ADA_DELETES], &[(0, 0), (1, 0), (0, 7), (0, u64::from(u32::MAX))]), &[(0, 0)]);
        check(contract::Batch { cells: good().cells[..3].to_vec(), ..good() }, &[(0, 0)]);
        check(contract::Batch { cells: Vec::new(), ..good() }, &[]);
        check(contract::Batch { text: String::new(), ..good() }, &[]);
        check(contract::Batch { text: "é".repeat(40), ..good() }, &[]);
        check(contract::Batch { events: u32::MAX, pairs: vec![u64::from(u32::MAX) - 1], ..good() }, &[]);
        check(contract::Batch { cells: vec![u64::MAX; 6], ..good() }, &[]);
    }
}
