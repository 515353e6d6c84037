//! Modules that must not go live, one for each step that refuses.

use crate::guest::{Guest, Rule};

/// A module that must not go live.
pub(super) struct Bad {
    pub(super) what: &'static str,
    pub(super) bytes: Vec<u8>,
    /// Through the watched folder and not through the topic, which takes nothing of its size.
    pub(super) in_folder: bool,
    /// The step that refuses it.
    pub(super) step: &'static str,
    /// What the cause must hold.
    pub(super) cause: &'static str,
}

const LOOP: &str = "(loop $again (br $again))";
const GROW: &str = "(loop $again (drop (memory.grow (i32.const 16))) (br $again))";

/// The bad module of a round; `good` is a live one.
pub(super) fn bad(round: u32, good: &[u8]) -> Bad {
    let guest = || Guest::new(&format!("B{round}"));
    let export = r#"(export "trailhound:rule/detection@1.0.0" (instance $detection))"#;
    let (what, bytes, step, cause) = match round % 15 {
        0 => ("truncated", good[..good.len() / 2].to_vec(), "parse", "not a WebAssembly component"),
        1 => ("no module", b"not a module at all".to_vec(), "parse", "not a WebAssembly component"),
        2 => ("a core module", b"\0asm\x01\0\0\0".to_vec(), "parse", "core"),
        3 => ("another contract", guest().with("exports", export).wasm(), "contract", "1.0.0"),
        4 => {
            let import = r#"(import "wasi:clocks/wall-clock@0.2.0" (instance))"#;
            ("a foreign import", guest().with("imports", import).wasm(), "imports", "wasi:clocks")
        }
        5 => ("a start without end", guest().with("start", LOOP).wasm(), "start", "took longer"),
        6 => ("a describe without end", guest().with("describe", LOOP).wasm(), "describe", "took longer"),
        7 => ("a describe that traps", guest().with("describe", "unreachable").wasm(), "describe", "trapped"),
        8 => ("memory without end", guest().with("describe", GROW).wasm(), "describe", "memory"),
        9 => ("a large memory", guest().with("pages", "2000").wasm(), "start", "memory"),
        10 => ("examples without end", guest().with("finish", LOOP).wasm(), "examples", "took longer"),
        11 => ("examples that disagree", guest().rule(contradict).wasm(), "examples", "disagree"),
        12 => {
            ("a rule of another module", guest().rule(|rule| rule.id = "RTM-001".to_owned()).wasm(), "set", "already")
        }
        13 => ("no example that fires", guest().rule(|rule| rule.examples.truncate(0)).wasm(), "describe", "example"),
        _ => ("60 MB", vec![0; 60_000_000], "size", "over the limit"),
    };
    Bad { what, bytes, in_folder: round % 15 == 14, step, cause }
}

/// Every example claims the contrary of what it does.
fn contradict(rule: &mut Rule) {
    rule.examples.iter_mut().for_each(|example| example.2 = !example.2);
}
