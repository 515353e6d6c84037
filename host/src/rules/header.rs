//! What a module's bytes say before anything is compiled: is it a component, what does it import, which contract does
//! it export.

use wasmparser::{Encoding, Parser, Payload};

use super::contract;
use super::refusal::Refusal;

/// Checks magic, imports and contract version of a component. Only top-level sections are read; what they claim is
/// checked again by the compiler's validation and by the linker.
pub(super) fn check(bytes: &[u8]) -> Result<(), Refusal> {
    let mut exported = None;
    let mut depth = 0u32;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(Refusal::NotWasm)?;
        match payload {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => return Err(Refusal::CoreModule),
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(imports) if depth == 0 => {
                for import in imports {
                    check_import(import.map_err(Refusal::NotWasm)?.name.name)?;
                }
            }
            Payload::ComponentExportSection(exports) if depth == 0 => {
                for export in exports {
                    let name = export.map_err(Refusal::NotWasm)?.name.name;
                    if let Some(version) = version_of(name, contract::DETECTION) {
                        exported = Some(version.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    match exported {
        None => Err(Refusal::NoContract),
        Some(theirs) if theirs != contract::VERSION => Err(Refusal::OtherVersion { theirs }),
        Some(_) => Ok(()),
    }
}

fn check_import(name: &str) -> Result<(), Refusal> {
    match version_of(name, contract::HOST) {
        None => Err(Refusal::ForeignImport { name: name.to_owned() }),
        Some(theirs) if theirs != contract::VERSION => Err(Refusal::OtherVersion { theirs: theirs.to_owned() }),
        Some(_) => Ok(()),
    }
}

/// The version in `interface@version`; empty when the name carries none.
fn version_of<'a>(name: &'a str, interface: &str) -> Option<&'a str> {
    let rest = name.strip_prefix(interface)?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix('@') }
}
