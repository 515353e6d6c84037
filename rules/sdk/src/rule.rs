//! One rule: what it says of itself, and its function.

use std::sync::Arc;

use crate::contract::exports::trailhound::rule::detection as contract;
use crate::{Fields, Hit, Row, log};

/// Begins a rule: `rule("RTM-001", "AWS root user signed in to the console")`. The id is part of a finding's identity,
/// so it never changes its meaning; the title is one line that says what has happened.
///
/// Unless told otherwise the rule is of severity informational, has its module's version, and is asked about every
/// event.
pub fn rule(id: &str, title: &str) -> Draft {
    Draft(contract::Rule {
        id: id.to_owned(),
        version: String::new(),
        title: title.to_owned(),
        severity: contract::Severity::Informational,
        description: String::new(),
        rationale: String::new(),
        remediation: String::new(),
        references: Vec::new(),
        compliance: Vec::new(),
        attacks: Vec::new(),
        select: Vec::new(),
        examples: Vec::new(),
    })
}

/// A rule that lacks its function yet: `when` ends it.
#[must_use = "a rule is finished by `when`"]
pub struct Draft(contract::Rule);

impl Draft {
    /// The rule's own semantic version, where it differs from the module's.
    pub fn version(mut self, version: &str) -> Self {
        self.0.version = version.to_owned();
        self
    }

    /// How bad it is: `High`.
    pub fn severity(mut self, severity: contract::Severity) -> Self {
        self.0.severity = severity;
        self
    }

    /// What the rule detects and what it does not.
    pub fn description(mut self, text: &str) -> Self {
        self.0.description = text.to_owned();
        self
    }

    /// Why it matters.
    pub fn rationale(mut self, text: &str) -> Self {
        self.0.rationale = text.to_owned();
        self
    }

    /// What to do about it.
    pub fn remediation(mut self, text: &str) -> Self {
        self.0.remediation = text.to_owned();
        self
    }

    /// URLs, the vendor's own pages first.
    pub fn references(mut self, urls: impl AsRef<[&'static str]>) -> Self {
        self.0.references = owned(urls.as_ref());
        self
    }

    /// Names of the standards that ask for this: `["PCI", "HIPAA"]`.
    pub fn compliance(mut self, standards: impl AsRef<[&'static str]>) -> Self {
        self.0.compliance = owned(standards.as_ref());
        self
    }

    /// A MITRE ATT&CK technique and the tactic that it serves:
    /// `("T1078.004", "Valid Accounts: Cloud Accounts", "TA0001", "Initial Access")`. May be given several times.
    pub fn attack(mut self, technique: &str, technique_name: &str, tactic: &str, tactic_name: &str) -> Self {
        self.0.attacks.push(contract::Attack {
            technique: technique.to_owned(),
            technique_name: technique_name.to_owned(),
            tactic: tactic.to_owned(),
            tactic_name: tactic_name.to_owned(),
        });
        self
    }

    /// The host asks the rule only about events whose field has one of these values: `("eventName", ["ConsoleLogin"])`.
    /// Given several times, all must hold. Costs nothing for the events that it keeps out.
    pub fn select(mut self, field: &str, any_of: impl AsRef<[&'static str]>) -> Self {
        self.0.select.push(contract::Condition { field: field.to_owned(), any_of: owned(any_of.as_ref()) });
        self
    }

    /// A record, as JSON text, on which the rule must fire. The host tries it before the rule goes live.
    pub fn fires(self, name: &str, record: &str) -> Self {
        self.example(name, record, true)
    }

    /// A record, as JSON text, on which the rule must stay quiet. The host tries it before the rule goes live.
    pub fn quiet(self, name: &str, record: &str) -> Self {
        self.example(name, record, false)
    }

    fn example(mut self, name: &str, record: &str, fires: bool) -> Self {
        self.0.examples.push(contract::Example { name: name.to_owned(), record: record.to_owned(), fires });
        self
    }

    /// The rule's function. It must answer from the event alone.
    pub fn when<F: Fields>(self, function: fn(&F) -> Option<Hit>) -> Rule {
        Rule { contract: self.0, paths: F::PATHS, run: Box::new(move |run, answer| run.each(function, answer)) }
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// A finished rule.
pub struct Rule {
    pub(crate) contract: contract::Rule,
    /// What the rule's function reads.
    pub(crate) paths: &'static [&'static str],
    pub(crate) run: RunRule,
}

/// A rule's function with the type of its `fields!` forgotten.
pub(crate) type RunRule = Box<dyn Fn(Run<'_>, &mut contract::Answer) + Send + Sync>;

/// The pairs of one rule in one batch.
pub(crate) struct Run<'a> {
    pub(crate) batch: Arc<contract::Batch>,
    pub(crate) columns: Arc<[usize]>,
    /// The module's number of fields.
    pub(crate) width: usize,
    pub(crate) pairs: &'a [u64],
}

impl Run<'_> {
    /// Asks the function about each event. What a function does per event is all here: no allocation without a hit.
    fn each<F: Fields>(self, function: fn(&F) -> Option<Hit>, answer: &mut contract::Answer) {
        let mut event = F::over(Row::new(self.batch, self.columns));
        for &pair in self.pairs {
            let (number, rule) = (pair as u32, (pair >> 32) as u32);
            if !event.row().go_to(number, self.width) {
                log::error("the batch has pairs of an event that it has not");
                continue;
            }
            if let Some(hit) = function(&event) {
                hit.add_to(answer, number, rule);
            }
        }
    }
}
