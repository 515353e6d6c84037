//! VRL, Vector's language: the root rule as a condition, in this process.
//!
//! Why it is fair: the program is compiled once; a record is parsed once, straight into VRL's own value (the way over
//! `parse_json` would parse it a second time), either by serde_json, which Vector uses, or by the faster sonic-rs; the
//! target is borrowed; the condition ends at the first thing that does not hold, and the rarest thing comes first. It
//! says yes or no, where we render whole findings.

use anyhow::{Result, anyhow};
use vrl::compiler::state::RuntimeState;
use vrl::compiler::{Context, Program, TargetValueRef, TimeZone};
use vrl::value::{ObjectMap, Secrets, Value};

use crate::contender::{Contender, Task};
use crate::data::DataSet;
use crate::parse::{Parse, serde, sonic};

/// Rows that ratios are made of.
pub(crate) const ROOT: &str = "VRL: root rule";
pub(crate) const ROOT_SONIC: &str = "VRL: root rule, parsed by sonic-rs";

/// The module `root_login` in VRL.
const ROOT_RULE: &str = r#"
.eventName == "ConsoleLogin" &&
    .userIdentity.type == "Root" &&
    .responseElements.ConsoleLogin == "Success" &&
    downcase(to_string(.userIdentity.sessionContext.assumedRoot) ?? "") != "true"
"#;

/// The condition, compiled.
pub(crate) fn program() -> Result<Program> {
    let compiled = vrl::compiler::compile(ROOT_RULE, &vrl::stdlib::all());
    Ok(compiled.map_err(|errors| anyhow!("the VRL program is refused: {errors:?}"))?.program)
}

/// VRL over a data set.
pub(crate) fn contenders<'a>(set: &'a DataSet, program: &'a Program) -> Vec<Contender<'a>> {
    vec![contender(ROOT, set, program, serde), contender(ROOT_SONIC, set, program, sonic)]
}

fn contender<'a>(name: &'static str, set: &'a DataSet, program: &'a Program, parse: Parse<Value>) -> Contender<'a> {
    let (mut state, zone) = (RuntimeState::default(), TimeZone::default());
    let (mut metadata, mut secrets) = (Value::Object(ObjectMap::new()), Secrets::default());
    Contender::new(name, Task::Root, move || {
        let mut hits = 0;
        for record in set.iter() {
            let mut value = parse(record)?;
            let mut target = TargetValueRef { value: &mut value, metadata: &mut metadata, secrets: &mut secrets };
            let mut context = Context::new(&mut target, &mut state, &zone);
            let answer = program.resolve(&mut context).map_err(|error| anyhow!("{error}"))?;
            hits += u64::from(answer == Value::Boolean(true));
        }
        Ok(hits)
    })
}
