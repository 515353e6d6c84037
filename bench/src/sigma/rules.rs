//! From Sigma's rules to tables.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use rsigma_parser::{ConditionExpr, Detection, DetectionItem, Detections, Modifier, Quantifier, SigmaRule, SigmaValue};
use serde_json::{Value, json};

use super::table::{Condition, Field, Rule, Table};
use super::{pattern, select};

/// Fields in which a call has what it likes, arrays too. CloudTrail's other fields have their own shape, without arrays
/// on the way to what these rules ask for.
const FREE: [&str; 2] = ["requestParameters", "responseElements"];

/// All rules, those together that read the same fields.
pub(super) fn tables(rules: &[SigmaRule]) -> Result<Vec<Table>> {
    ensure!(!rules.is_empty(), "there are no Sigma rules");
    let mut tables: BTreeMap<Vec<String>, Vec<Rule>> = BTreeMap::new();
    for rule in rules {
        let (fields, rule) = table_rule(rule).with_context(|| rule.title.clone())?;
        tables.entry(fields).or_default().push(rule);
    }
    Ok(tables.into_iter().map(|(fields, rules)| Table { fields, rules }).collect())
}

fn table_rule(rule: &SigmaRule) -> Result<(Vec<String>, Rule)> {
    let any = rule.detection.conditions.iter().map(|condition| expression(condition, &rule.detection));
    let whole = one_or(any.collect::<Result<_>>()?, Condition::Any);
    let mut fires = json!({"eventVersion": "1.11"});
    make_true(&whole, &mut fires);
    let (select, mut condition) = select::split(whole);
    for (field, values) in &select {
        // What a select implies and no condition says.
        if let (true, Some(value)) = (is_absent(&fires, field), values.first()) {
            set(&mut fires, field, value);
        }
    }
    let mut fields = Vec::new();
    place(&mut condition, &mut fields);
    let rule = Rule {
        id: rule.id.clone().context("no id")?,
        title: rule.title.clone(),
        level: rule.level.map_or("informational", |level| level.as_str()).to_owned(),
        author: rule.author.clone().unwrap_or_default(),
        select,
        fires: fires.to_string(),
        condition,
    };
    Ok((fields, rule))
}

fn expression(expression: &ConditionExpr, detections: &Detections) -> Result<Condition> {
    let of = |one: &ConditionExpr| self::expression(one, detections);
    let named = |name: &str| detection(detections.named.get(name).with_context(|| format!("no detection {name}"))?);
    Ok(match expression {
        ConditionExpr::And(all) => Condition::All(all.iter().map(of).collect::<Result<_>>()?),
        ConditionExpr::Or(any) => Condition::Any(any.iter().map(of).collect::<Result<_>>()?),
        ConditionExpr::Not(one) => Condition::Not(Box::new(of(one)?)),
        ConditionExpr::Identifier(name) => named(name)?,
        ConditionExpr::Selector { quantifier, pattern } => {
            let mut names: Vec<&str> = detections.named.keys().map(String::as_str).collect();
            names.retain(|name| pattern.matches_detection_name(name));
            names.sort_unstable();
            let found = names.into_iter().map(named).collect::<Result<Vec<_>>>()?;
            ensure!(!found.is_empty(), "no detection is called {pattern}");
            match quantifier {
                Quantifier::Any | Quantifier::Count(1) => one_or(found, Condition::Any),
                Quantifier::All => one_or(found, Condition::All),
                Quantifier::Count(count) => bail!("{count} of {pattern} is not supported here"),
            }
        }
    })
}

fn detection(detection: &Detection) -> Result<Condition> {
    Ok(match detection {
        Detection::AllOf(items) => one_or(items.iter().map(item).collect::<Result<_>>()?, Condition::All),
        Detection::AnyOf(any) => one_or(any.iter().map(self::detection).collect::<Result<_>>()?, Condition::Any),
        other => bail!("the detection {other:?} is not supported here"),
    })
}

/// One field and its values: any of them, or all with the modifier of that name.
fn item(item: &DetectionItem) -> Result<Condition> {
    let modifiers = &item.field.modifiers;
    let name = item.field.name.as_deref().context("a key word without a field is not supported here")?;
    let value = |value: &SigmaValue| -> Result<Condition> {
        let field = field(name);
        Ok(match value {
            SigmaValue::Null => Condition::Absent(field),
            SigmaValue::String(other) if modifiers.as_slice() == [Modifier::FieldRef] => {
                Condition::Same(field, self::field(&other.original))
            }
            value => Condition::Like(field, pattern::of(value, modifiers)?),
        })
    };
    let all = item.values.iter().map(value).collect::<Result<_>>().with_context(|| name.to_owned())?;
    Ok(one_or(all, if modifiers.contains(&Modifier::All) { Condition::All } else { Condition::Any }))
}

fn one_or(mut of: Vec<Condition>, many: fn(Vec<Condition>) -> Condition) -> Condition {
    if of.len() == 1 { of.remove(0) } else { many(of) }
}

fn field(path: &str) -> Field {
    Field { path: path.to_owned(), cell: 0, within: Vec::new() }
}

/// Gives every field that is left in the condition its cells.
fn place(condition: &mut Condition, fields: &mut Vec<String>) {
    match condition {
        Condition::All(all) | Condition::Any(all) => all.iter_mut().for_each(|one| place(one, fields)),
        Condition::Not(one) => place(one, fields),
        Condition::Absent(field) | Condition::Like(field, _) => place_field(field, fields),
        Condition::Same(one, other) => [one, other].into_iter().for_each(|field| place_field(field, fields)),
    }
}

fn place_field(field: &mut Field, fields: &mut Vec<String>) {
    let mut cell = |path: &str| {
        fields.iter().position(|known| known == path).unwrap_or_else(|| {
            fields.push(path.to_owned());
            fields.len() - 1
        })
    };
    field.cell = cell(&field.path);
    let names: Vec<&str> = field.path.split('.').collect();
    if names.first().is_some_and(|first| FREE.contains(first)) {
        field.within = (2..names.len())
            .map(|length| {
                let (above, below) = names.split_at(length);
                (cell(&above.join(".")), below.iter().map(|name| (*name).to_owned()).collect())
            })
            .collect();
    }
}

/// Puts into a record what makes the condition true: the first of alternatives, and nothing where something must not be.
/// The host then proves that the rule does fire on it.
fn make_true(condition: &Condition, record: &mut Value) {
    match condition {
        Condition::All(all) => all.iter().for_each(|one| make_true(one, record)),
        Condition::Any(any) => any.iter().take(1).for_each(|one| make_true(one, record)),
        Condition::Like(field, pattern) => set(record, &field.path, &pattern::example(pattern)),
        Condition::Same(one, other) => [one, other].into_iter().for_each(|field| set(record, &field.path, "same")),
        Condition::Not(_) | Condition::Absent(_) => {}
    }
}

fn is_absent(record: &Value, path: &str) -> bool {
    path.split('.').try_fold(record, |value, name| value.get(name)).is_none()
}

/// Sets a text. What several patterns want of one field stands in it one after the other.
fn set(record: &mut Value, path: &str, text: &str) {
    let mut at = record;
    for name in path.split('.') {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[name];
    }
    let before = at.as_str().unwrap_or_default();
    *at = if before == text { json!(text) } else { json!([before, text].concat()) };
}
