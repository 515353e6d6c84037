//! The contract `wit/rule.wit` as Rust types, generated. The only place with unsafe code, none of it written here.

#![allow(unsafe_code, reason = "generated: the canonical ABI passes pointers")]
#![allow(missing_docs, unreachable_pub, rust_2018_idioms, reason = "generated from the WIT, documented there")]

wit_bindgen::generate!({
    path: "wit",
    world: "rule-module",
    pub_export_macro: true,
    default_bindings_module: "trailhound_rule::contract",
});

/// No hits.
impl Default for exports::trailhound::rule::detection::Answer {
    fn default() -> Self {
        Self { hits: Vec::new(), labels: Vec::new(), text: String::new() }
    }
}
