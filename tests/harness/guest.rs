//! Rule modules by hand, as WebAssembly text: a well-behaved one, and with a word changed any hostile thing that a
//! module can do. What they have in common is `guest/template.wat`.

use std::fmt::Write as _;

use serde_json::json;

/// The records that the first rule of a guest is selected for have this `eventName`.
pub const FIRST: &str = "FirstProbe";

/// The same for its second rule.
pub const SECOND: &str = "SecondProbe";

/// The field that tells a guest what to do: `fire…`, `poison…`, anything else.
pub const KIND: &str = "requestParameters.kind";

/// Code that a test may put in, by its place in the template, with what stands there otherwise.
const SLOTS: [(&str, &str); 9] = [
    ("host_version", "2.0.0"),
    // More imports of the component.
    ("imports", ""),
    // Initial size of the memory; empty for what the description needs.
    ("pages", ""),
    ("realloc", "(call $alloc (local.get $bytes))"),
    // What an instance runs when it is made.
    ("start", ""),
    // Before `describe` answers.
    ("describe", ""),
    // For every pair of an event that begins with `p`.
    ("evil", ""),
    // Before `evaluate` answers.
    ("finish", ""),
    // Of the component.
    ("exports", r#"(export "trailhound:rule/detection@2.0.0" (instance $detection))"#),
];

/// A rule of a guest.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Its version.
    pub version: String,
    /// Fields and the values that each may have.
    pub select: Vec<(String, Vec<String>)>,
    /// Name, record, and whether the rule must fire.
    pub examples: Vec<(String, String, bool)>,
}

impl Rule {
    /// A rule that is selected by the record's `eventName`, with a firing and a quiet example.
    pub fn new(id: &str, event_name: &str) -> Rule {
        let example = |kind: &str| record(&format!("example of {id}, {kind}"), event_name, kind);
        Rule {
            id: id.to_owned(),
            title: format!("The title of {id}"),
            version: "1.2.3".to_owned(),
            select: vec![("eventName".to_owned(), vec![event_name.to_owned()])],
            examples: vec![
                ("it fires".to_owned(), example("fire"), true),
                ("it is quiet".to_owned(), example("quiet"), false),
            ],
        }
    }
}

/// A module. It says of itself what `rules` and `fields` hold and fires where a record tells it to.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Its rules.
    pub rules: Vec<Rule>,
    /// The first is [`KIND`].
    pub fields: Vec<String>,
    slots: Vec<(&'static str, String)>,
}

impl Guest {
    /// A well-behaved module with the rules `ID-1` and `ID-2`, selected by [`FIRST`] and [`SECOND`].
    pub fn new(id: &str) -> Guest {
        Guest {
            rules: vec![Rule::new(&format!("{id}-1"), FIRST), Rule::new(&format!("{id}-2"), SECOND)],
            fields: vec![KIND.to_owned()],
            slots: SLOTS.map(|(slot, code)| (slot, code.to_owned())).to_vec(),
        }
    }

    /// Puts other code into a slot of the template.
    pub fn with(mut self, slot: &str, code: impl Into<String>) -> Guest {
        let place = self.slots.iter_mut().find(|(name, _)| *name == slot);
        place.unwrap_or_else(|| panic!("no slot {slot}")).1 = code.into();
        self
    }

    /// Changes the first rule.
    pub fn rule(mut self, change: impl FnOnce(&mut Rule)) -> Guest {
        change(&mut self.rules[0]);
        self
    }

    /// The module as a file holds it.
    pub fn wasm(&self) -> Vec<u8> {
        let text = self.text();
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
    }

    fn text(&self) -> String {
        let mut image = Image::default();
        let (key, answer) = (image.put(b"key"), image.words(&[0; 6]));
        let description = self.describe(&mut image);
        let heap = image.end().next_multiple_of(0x1_0000);
        let mut data = String::new();
        for byte in &image.bytes {
            let _infallible = write!(data, "\\{byte:02x}");
        }
        let mut text = include_str!("guest/template.wat").to_owned();
        for (slot, code) in &self.slots {
            let code = match *slot {
                "pages" if code.is_empty() => (heap / 0x1_0000 + 1).to_string(),
                _ => code.clone(),
            };
            text = text.replace(&format!("{{{{{slot}}}}}"), &code);
        }
        for (slot, value) in [
            ("heap", heap),
            ("key", key),
            ("answer", answer),
            ("description", description),
            ("row_bytes", 8 * u32::try_from(self.fields.len()).unwrap()),
        ] {
            text = text.replace(&format!("{{{{{slot}}}}}"), &value.to_string());
        }
        text.replace("{{data}}", &format!("(data (i32.const {BASE}) \"{data}\")"))
    }

    /// Writes what `describe` answers, `result<module, string>`, and returns where it lies.
    fn describe(&self, image: &mut Image) -> u32 {
        let fields = image.texts(&self.fields);
        let words: Vec<u32> = self.rules.iter().flat_map(|rule| describe_rule(rule, image)).collect();
        let rules = image.words(&words);
        let len = u32::try_from(self.rules.len()).unwrap();
        let (name, version) = (image.text("a guest"), image.text("4.5.6"));
        let ok = [0];
        image.words(&[&ok[..], &name, &version, &fields, &[rules, len]].concat())
    }
}

/// The words of the contract's record `rule`.
fn describe_rule(rule: &Rule, image: &mut Image) -> Vec<u32> {
    const HIGH: u32 = 3;
    let mut select = Vec::new();
    for (field, any_of) in &rule.select {
        select.extend(image.text(field));
        select.extend(image.texts(any_of));
    }
    let mut examples = Vec::new();
    for (name, record, fires) in &rule.examples {
        examples.extend(image.text(name));
        examples.extend(image.text(record));
        examples.push(u32::from(*fires));
    }
    let list = |image: &mut Image, words: &[u32], len: usize| [image.words(words), u32::try_from(len).unwrap()];
    [
        &image.text(&rule.id)[..],
        &image.text(&rule.version),
        &image.text(&rule.title),
        &[HIGH],
        &image.text("what it detects"),
        &image.text("why it matters"),
        &image.text("what to do"),
        &image.texts(&["https://example.com/".to_owned()]),
        &image.texts(&["PCI".to_owned()]),
        &[0, 0],
        &list(image, &select, rule.select.len()),
        &list(image, &examples, rule.examples.len()),
    ]
    .concat()
}

/// Where the guest's data begins in its memory.
const BASE: u32 = 1024;

/// The guest's data, as the canonical ABI lays it out.
#[derive(Default)]
struct Image {
    bytes: Vec<u8>,
}

impl Image {
    /// Where the next piece may lie, before it is aligned.
    fn end(&self) -> u32 {
        BASE + u32::try_from(self.bytes.len()).unwrap()
    }

    fn put(&mut self, bytes: &[u8]) -> u32 {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let at = self.end();
        self.bytes.extend_from_slice(bytes);
        at
    }

    fn words(&mut self, words: &[u32]) -> u32 {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.put(&bytes)
    }

    /// A string: where it lies, and its length.
    fn text(&mut self, text: &str) -> [u32; 2] {
        [self.put(text.as_bytes()), u32::try_from(text.len()).unwrap()]
    }

    /// A list of strings.
    fn texts(&mut self, texts: &[String]) -> [u32; 2] {
        let words: Vec<u32> = texts.iter().flat_map(|text| self.text(text)).collect();
        [self.words(&words), u32::try_from(texts.len()).unwrap()]
    }
}

/// A CloudTrail record for a guest.
pub fn record(id: &str, event_name: &str, kind: &str) -> String {
    json!({
        "eventVersion": "1.11",
        "userIdentity": {"type": "IAMUser", "accountId": "111122223333", "userName": "probe"},
        "eventTime": "2025-06-03T09:00:00Z",
        "eventSource": "probe.amazonaws.com",
        "eventName": event_name,
        "awsRegion": "eu-central-1",
        "sourceIPAddress": "198.51.100.7",
        "requestParameters": {"kind": kind},
        "responseElements": null,
        "eventID": id,
        "recipientAccountId": "111122223333",
    })
    .to_string()
}
