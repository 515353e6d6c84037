//! Reads a table of the configuration key by key, and collects what is wrong with it instead of stopping.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::expand::expand;
use super::mistake::Mistake;

/// What a run over a file gathers: its mistakes, and every key that was asked for with its default.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) mistakes: Vec<Mistake>,
    /// Keys and defaults, in the order in which they were asked for; the README's table is held against them.
    pub(super) asked: Vec<(String, String)>,
    /// Offsets of the line ends, for line numbers.
    line_ends: Vec<usize>,
}

impl Findings {
    pub(super) fn new(text: &str) -> Findings {
        let line_ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
        Findings { line_ends, ..Findings::default() }
    }

    pub(super) fn wrong(&mut self, span: Option<&Range<usize>>, key: &str, what: impl Display, hint: impl Display) {
        let line = span.map_or(0, |span| self.line_ends.partition_point(|end| *end < span.start) + 1);
        self.mistakes.push(Mistake { line, key: key.to_owned(), what: what.to_string(), hint: hint.to_string() });
    }
}

/// A table under a key. Keys are asked for one by one; what nobody asked for is unknown.
pub(super) struct Section<'t> {
    path: String,
    span: Option<Range<usize>>,
    table: Option<&'t DeTable<'t>>,
    known: Vec<&'static str>,
}

impl<'t> Section<'t> {
    pub(super) fn root(table: &'t Spanned<DeTable<'t>>) -> Section<'t> {
        Section { path: String::new(), span: None, table: Some(table.get_ref()), known: Vec::new() }
    }

    /// The key's full name.
    pub(super) fn key(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Where the section starts.
    pub(super) fn span(&self) -> Option<&Range<usize>> {
        self.span.as_ref()
    }

    /// Where a key's value stands, or else the section.
    pub(super) fn span_of(&self, name: &str) -> Option<Range<usize>> {
        self.value(name).map(Spanned::span).or(self.span.clone())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    pub(super) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    fn value(&self, name: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.table?.iter().find(|(key, _)| key.get_ref() == name).map(|(_, value)| value)
    }

    fn ask(&mut self, name: &'static str, default: &str, findings: &mut Findings) -> Option<&'t Spanned<DeValue<'t>>> {
        self.known.push(name);
        findings.asked.push((self.key(name), default.to_owned()));
        self.value(name)
    }

    /// A table below this one; absent tables read as empty.
    pub(super) fn section(&mut self, name: &'static str, findings: &mut Findings) -> Section<'t> {
        self.known.push(name);
        let value = self.value(name);
        self.child(name, value, findings)
    }

    /// The tables below this one, whatever their names.
    pub(super) fn sections(&mut self, findings: &mut Findings) -> Vec<(String, Section<'t>)> {
        let Some(table) = self.table.take() else { return Vec::new() };
        table
            .iter()
            .map(|(name, value)| {
                let name = name.get_ref().to_string();
                let section = self.child(&name, Some(value), findings);
                (name, section)
            })
            .collect()
    }

    fn child(&self, name: &str, value: Option<&'t Spanned<DeValue<'t>>>, findings: &mut Findings) -> Section<'t> {
        let path = self.key(name);
        let span = value.map(Spanned::span).or(self.span.clone());
        let table = value.and_then(|value| match value.get_ref() {
            DeValue::Table(table) => Some(table),
            other => {
                let what = format!("must be a table, not {}", article(other));
                findings.wrong(Some(&value.span()), &path, what, "write { key = value } or [a.heading]");
                None
            }
        });
        Section { path, span, table, known: Vec::new() }
    }

    /// A text, with `${…}` expanded.
    pub(super) fn text(
        &mut self,
        name: &'static str,
        default: Option<&str>,
        findings: &mut Findings,
    ) -> Option<String> {
        let key = self.key(name);
        match self.ask(name, default.unwrap_or("required"), findings) {
            Some(value) => text(&key, value, findings),
            None => default.map(str::to_owned),
        }
    }

    /// A text that may be left out; the reference calls its default `none`.
    pub(super) fn optional(&mut self, name: &'static str, findings: &mut Findings) -> Option<String> {
        let key = self.key(name);
        let value = self.ask(name, "none", findings)?;
        text(&key, value, findings).filter(|text| !text.is_empty())
    }

    /// One of `choices`, of which the first is the default.
    pub(super) fn one_of<const N: usize>(
        &mut self,
        name: &'static str,
        choices: [&'static str; N],
        findings: &mut Findings,
    ) -> &'static str {
        let default = choices.first().copied().unwrap_or_default();
        let Some(text) = self.text(name, Some(default), findings) else { return default };
        match choices.iter().find(|choice| **choice == text) {
            Some(choice) => choice,
            None => {
                let hint = format!("one of {}", choices.join(", "));
                findings.wrong(self.span_of(name).as_ref(), &self.key(name), "is none of its values", hint);
                default
            }
        }
    }

    /// A text that must be there.
    pub(super) fn required(&mut self, name: &'static str, hint: &str, findings: &mut Findings) -> Option<String> {
        let value = self.text(name, None, findings);
        // Without a table the section itself was complained about.
        if value.is_none() && self.is_present() && !self.has(name) {
            findings.wrong(self.span.as_ref(), &self.key(name), "is missing", hint);
        }
        value.filter(|text| !text.is_empty())
    }

    /// A list of texts.
    /// None where something else stands there, which has been complained about.
    pub(super) fn texts(&mut self, name: &'static str, findings: &mut Findings) -> Option<Vec<String>> {
        self.texts_or(name, "required", findings)
    }

    /// A list of texts that may be left out, and is empty then.
    pub(super) fn list(&mut self, name: &'static str, findings: &mut Findings) -> Option<Vec<String>> {
        self.texts_or(name, "[]", findings)
    }

    fn texts_or(&mut self, name: &'static str, default: &str, findings: &mut Findings) -> Option<Vec<String>> {
        let key = self.key(name);
        let Some(value) = self.ask(name, default, findings) else { return Some(Vec::new()) };
        let DeValue::Array(array) = value.get_ref() else {
            let what = format!("must be a list of texts, not {}", article(value.get_ref()));
            findings.wrong(Some(&value.span()), &key, what, "write [\"one\", \"two\"]");
            return None;
        };
        // Every item is looked at, so that all of them are complained about.
        let texts: Vec<Option<String>> = array.iter().map(|item| text(&key, item, findings)).collect();
        texts.into_iter().collect()
    }

    /// A whole number within bounds.
    pub(super) fn number<T>(&mut self, name: &'static str, value: &mut T, bounds: [u64; 2], findings: &mut Findings)
    where
        T: TryFrom<u64> + Copy + Display,
    {
        let default = value.to_string();
        if let Some(number) = self.whole(name, &default, bounds, findings) {
            *value = number;
        }
    }

    /// A whole number within bounds, which is no limit where it is left out; the reference calls its default `none`.
    pub(super) fn limit<T>(&mut self, name: &'static str, bounds: [u64; 2], findings: &mut Findings) -> Option<T>
    where
        T: TryFrom<u64>,
    {
        self.whole(name, "none", bounds, findings)
    }

    fn whole<T>(&mut self, name: &'static str, default: &str, bounds: [u64; 2], findings: &mut Findings) -> Option<T>
    where
        T: TryFrom<u64>,
    {
        let key = self.key(name);
        let given = self.ask(name, default, findings)?;
        let [min, max] = bounds;
        let parsed = match given.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok(),
            _ => None,
        };
        let number = parsed.filter(|number| (min..=max).contains(number)).and_then(|number| T::try_from(number).ok());
        if number.is_none() {
            findings.wrong(Some(&given.span()), &key, format!("must be a whole number from {min} to {max}"), "");
        }
        number
    }

    /// True or false. None where something else stands there, which has been complained about.
    pub(super) fn flag(&mut self, name: &'static str, default: bool, findings: &mut Findings) -> Option<bool> {
        let key = self.key(name);
        match self.ask(name, &default.to_string(), findings).map(|value| (value.get_ref(), value.span())) {
            None => Some(default),
            Some((DeValue::Boolean(flag), _)) => Some(*flag),
            Some((other, span)) => {
                findings.wrong(Some(&span), &key, format!("must be true or false, not {}", article(other)), "");
                None
            }
        }
    }

    /// All keys of this table as texts; numbers and flags are taken as they are written.
    pub(super) fn properties(&mut self, findings: &mut Findings) -> BTreeMap<String, (String, Range<usize>)> {
        let Some(table) = self.table.take() else { return BTreeMap::new() };
        let mut properties = BTreeMap::new();
        for (name, value) in table {
            let key = self.key(&format!("\"{}\"", name.get_ref()));
            let text = match value.get_ref() {
                DeValue::Integer(number) => Some(number.as_str().to_owned()),
                DeValue::Float(number) => Some(number.as_str().to_owned()),
                DeValue::Boolean(flag) => Some(flag.to_string()),
                _ => text(&key, value, findings),
            };
            if let Some(text) = text {
                properties.insert(name.get_ref().to_string(), (text, name.span()));
            }
        }
        properties
    }

    /// Every value of this table as JSON, for a module's settings.
    pub(super) fn json(&mut self, findings: &mut Findings) -> serde_json::Map<String, serde_json::Value> {
        let Some(table) = self.table.take() else { return serde_json::Map::new() };
        json_table(&self.path, table, findings)
    }

    /// Complains about keys that nobody asked for.
    pub(super) fn finish(self, findings: &mut Findings) {
        for (name, _) in self.table.into_iter().flatten() {
            if self.known.iter().any(|known| known == name.get_ref()) {
                continue;
            }
            let nearest = self
                .known
                .iter()
                .map(|known| (strsim::damerau_levenshtein(known, name.get_ref()), *known))
                .min()
                .filter(|(distance, known)| *distance <= known.len().max(3) / 2);
            let hint = match nearest {
                Some((_, known)) => format!("did you mean `{known}`?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            findings.wrong(Some(&name.span()), &self.key(name.get_ref()), "is no key", hint);
        }
    }
}

fn text(key: &str, value: &Spanned<DeValue<'_>>, findings: &mut Findings) -> Option<String> {
    let DeValue::String(text) = value.get_ref() else {
        let what = format!("must be a text, not {}", article(value.get_ref()));
        findings.wrong(Some(&value.span()), key, what, "put it in \"quotes\"");
        return None;
    };
    match expand(text, &|name| std::env::var(name).ok()) {
        Ok(text) => Some(text),
        Err((what, hint)) => {
            findings.wrong(Some(&value.span()), key, what, hint);
            None
        }
    }
}

fn json_table(path: &str, table: &DeTable<'_>, findings: &mut Findings) -> serde_json::Map<String, serde_json::Value> {
    table
        .iter()
        .filter_map(|(name, value)| {
            let key = format!("{path}.{}", name.get_ref());
            Some((name.get_ref().to_string(), json(&key, value, findings)?))
        })
        .collect()
}

fn json(key: &str, value: &Spanned<DeValue<'_>>, findings: &mut Findings) -> Option<serde_json::Value> {
    let number = |text: &str| serde_json::from_str(&text.replace('_', "")).ok();
    Some(match value.get_ref() {
        DeValue::String(_) => text(key, value, findings)?.into(),
        DeValue::Integer(given) => match number(given.as_str()) {
            Some(number) => number,
            None => i64::from_str_radix(&given.as_str().replace('_', ""), given.radix()).ok()?.into(),
        },
        DeValue::Float(given) => number(given.as_str())?,
        DeValue::Boolean(flag) => (*flag).into(),
        DeValue::Datetime(time) => time.to_string().into(),
        DeValue::Array(array) => array.iter().filter_map(|item| json(key, item, findings)).collect(),
        DeValue::Table(table) => json_table(key, table, findings).into(),
    })
}

fn article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
