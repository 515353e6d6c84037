//! What a pipeline that carries leaves out: whole messages, and parts of them.

use super::section::{Findings, Section};
use crate::carry::{Filter, Redact, SEVERITIES, Shadow};

/// Entries of a list.
const LIST_MAX: usize = 1_000;

/// Reads `filter`.
pub(super) fn read_filter(mut section: Section<'_>, findings: &mut Findings) -> Option<Filter> {
    let severity = section.one_of("min_severity", SEVERITIES, findings);
    let shadow = match section.one_of("shadow", ["include", "exclude", "only"], findings) {
        "exclude" => Shadow::Exclude,
        "only" => Shadow::Only,
        _ => Shadow::Include,
    };
    let rules = read_list(&mut section, "rules", findings);
    let accounts = read_list(&mut section, "accounts", findings);
    section.finish(findings);
    let severity_min = SEVERITIES.iter().position(|known| *known == severity).unwrap_or_default();
    let severity_min = u8::try_from(severity_min).unwrap_or_default();
    Some(Filter { severity_min, rules: rules?, accounts: accounts?, shadow })
}

/// Reads `redact`.
pub(super) fn read_redact(mut section: Section<'_>, findings: &mut Findings) -> Option<Redact> {
    let drop = read_list(&mut section, "drop", findings)?;
    if drop.iter().any(|path| path.split('.').any(str::is_empty)) {
        let hint = "names joined by dots: drop = [\"evidences\", \"actor.session\"]";
        findings.wrong(section.span_of("drop").as_ref(), &section.key("drop"), "has a path that is none", hint);
    }
    let evidence_bytes_max = section.limit("evidence_bytes_max", [0, 1 << 30], findings);
    section.finish(findings);
    Some(Redact { drop, evidence_bytes_max })
}

fn read_list(section: &mut Section<'_>, name: &'static str, findings: &mut Findings) -> Option<Vec<String>> {
    let list = section.list(name, findings)?;
    if list.len() > LIST_MAX {
        let what = format!("has {} entries, over the limit of {LIST_MAX}", list.len());
        findings.wrong(section.span_of(name).as_ref(), &section.key(name), what, "carry with several pipelines");
        return None;
    }
    Some(list)
}
