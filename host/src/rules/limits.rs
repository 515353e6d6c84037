//! What a rule module may cost, in bytes, milliseconds and counts.

/// Limits on a module and on each of its calls. Every value has a default; `pipeline.toml` may set it in
/// `[limits.rules]`.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleLimits {
    /// Size of a module's file, in bytes: compiling takes time and memory in proportion to it.
    pub module_bytes_max: usize,
    /// Modules in a rule set.
    pub modules_max: usize,
    /// Rules in one module.
    pub rules_max: usize,
    /// Examples in one module: each is a call, and all of them together are one, whenever the module is loaded.
    pub examples_max: usize,
    /// Fields that one module reads: each costs a cell an event.
    pub fields_max: usize,
    /// Linear memory of one instance, in bytes. Growing beyond it traps.
    pub memory_bytes_max: usize,
    /// Time of one call into a module, in milliseconds. A call that takes longer is interrupted.
    pub call_ms_max: u64,
    /// Events handed to a module in one call.
    pub call_events_max: usize,
    /// Text handed to a module in one call, in bytes; one event alone may exceed it.
    pub call_text_bytes_max: usize,
    /// What a module may hand back in one call, in bytes, whatever it claims: strings may overlap in its memory, so
    /// without this limit a small guest makes the host allocate without end.
    pub answer_bytes_max: usize,
    /// Findings that one module may make of one event.
    pub event_findings_max: usize,
    /// Labels of one finding.
    pub labels_max: usize,
    /// Length of a label's key, in bytes.
    pub label_key_bytes_max: usize,
    /// Length of a label's value or of a finding's own title, in bytes; longer ones are cut and marked. Values come
    /// from the record (a user agent, say), so refusing them would let an attacker hide behind a long one.
    pub label_bytes_max: usize,
    /// Events of one failed call that are tried again alone and fail, before the rest of the call is given up: bounds
    /// the time that one bad module takes from a batch at this number times `call_ms_max`.
    pub retries_failed_max: usize,
    /// Events that may fail in a row before the module is set aside.
    pub failures_in_row_max: u32,
    /// How long a module is set aside at first, in milliseconds; doubled each time that it then fails again.
    pub quarantine_ms_min: u64,
    /// How long it is set aside at most, in milliseconds.
    pub quarantine_ms_max: u64,
    /// Time that all examples of a module may take together, in milliseconds.
    pub prove_ms_max: u64,
}

impl Default for RuleLimits {
    fn default() -> Self {
        RuleLimits {
            module_bytes_max: 16 << 20,
            modules_max: 2_000,
            rules_max: 2_000,
            examples_max: 10_000,
            fields_max: 512,
            memory_bytes_max: 64 << 20,
            call_ms_max: 1_000,
            call_events_max: 256,
            call_text_bytes_max: 1 << 20,
            answer_bytes_max: 16 << 20,
            event_findings_max: 100,
            labels_max: 32,
            label_key_bytes_max: 64,
            label_bytes_max: 1_024,
            retries_failed_max: 4,
            failures_in_row_max: 8,
            quarantine_ms_min: 1_000,
            quarantine_ms_max: 300_000,
            prove_ms_max: 30_000,
        }
    }
}

/// Log messages that one call may write; more are dropped and counted.
pub(super) const LOG_MESSAGES_MAX: u32 = 16;

/// Length of one log message, in bytes; a longer one is cut.
pub(super) const LOG_BYTES_MAX: usize = 1_024;

/// Cuts `text` to at most `bytes_max` bytes at a character boundary and marks the cut with an ellipsis.
pub fn cut(text: &mut String, bytes_max: usize) {
    const MARK: &str = "…";
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max.saturating_sub(MARK.len())));
        text.push_str(MARK);
    }
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn a_cut_keeps_characters_whole_and_is_marked() {
        let check = |text: &str, bytes_max, expect: &str| {
            let mut text = text.to_owned();
            cut(&mut text, bytes_max);
            assert_eq!(text, expect);
            assert!(text.len() <= bytes_max);
        };
        check("abcdef", 6, "abcdef");
        check("abcdefg", 6, "abc…");
        check("aéééé", 6, "aé…");
    }
}
