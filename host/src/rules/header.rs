//! What a module's bytes say before anything is compiled: is it a component, what does it import, which contract does
//! it export.

use wasmparser::{ComponentInstance, Encoding, Instance, Parser, Payload};

use super::contract;
use super::refusal::Refusal;

/// Instances that a component may be made of, core instances and components each. The compiler writes down what each
/// instance holds, so that components which instantiate components that do the same multiply: 2 KB become 2^26. What
/// `wit-component` makes has fewer than ten, and none within another component.
const INSTANCES_MAX: u32 = 256;

/// Checks magic, imports and contract version of a component. Only top-level sections are read; what they claim is
/// checked again by the compiler's validation and by the linker.
pub(super) fn check(bytes: &[u8]) -> Result<(), Refusal> {
    let mut exported: Option<String> = None;
    let mut depth = 0u32;
    let (mut cores, mut components) = (0u32, 0u32);
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
                    // A module may speak another version too.
                    if let Some(version) = version_of(name, contract::DETECTION)
                        && exported.as_deref() != Some(contract::VERSION)
                    {
                        exported = Some(version.to_owned());
                    }
                }
            }
            Payload::InstanceSection(instances) => {
                for instance in instances {
                    cores += u32::from(matches!(instance.map_err(Refusal::NotWasm)?, Instance::Instantiate { .. }));
                }
            }
            Payload::ComponentInstanceSection(instances) => {
                for instance in instances {
                    if let ComponentInstance::Instantiate { .. } = instance.map_err(Refusal::NotWasm)? {
                        components += 1;
                        if depth > 0 {
                            return Err(Refusal::Nested);
                        }
                    }
                }
            }
            _ => {}
        }
        if cores > INSTANCES_MAX || components > INSTANCES_MAX {
            return Err(Refusal::ManyInstances { instances_max: INSTANCES_MAX });
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
