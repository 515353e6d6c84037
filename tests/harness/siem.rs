//! What findings are sent to, for tests: real receivers on loopback, and a stub for what the real ones cannot be brought
//! to show. Nothing is installed on the machine; what is fetched or built lies in `target/siem`.
//!
//! A receiver that cannot be had (no Java, no Go, no Debian) gives None: the test is then skipped, which is printed, and
//! on a build server (`CI=true`) that is a failure.

mod gateway;
mod hec;
mod opensearch;
mod rsyslog;
mod scene;
mod stub;
mod supply;
mod tls;
mod whole_way;

pub use gateway::{Fault, gateway};
pub use hec::{Hec, HecOptions, TOKEN};
pub use opensearch::OpenSearch;
pub use rsyslog::{Rsyslog, RsyslogTls, Writes};
pub use scene::{Scene, finding, finding_with, key};
pub use stub::{Reply, Request, Stub};
pub use supply::{Finding, Forward};
pub use tls::{Authority, Certificate};
pub use whole_way::{WholeWay, whole_way};

use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::child::{Child, tail};
use crate::wait;

/// How long a start may take on a loaded machine.
const START: Duration = Duration::from_secs(90);

/// A file of this part of the harness that is no Rust.
fn source(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("harness/siem").join(name)
}

/// A short name for the content of files: what is built from them has it in its folder's name.
fn digest(files: &[&PathBuf]) -> Result<String, String> {
    let mut hash = Sha256::new();
    for file in files {
        hash.update(std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?);
    }
    Ok(hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect())
}

/// Waits for a child to start: until `look` is content with it.
fn until_started<T>(name: &str, child: &mut Child, mut look: impl FnMut(&Child) -> Option<T>) -> T {
    wait::until(START, &format!("{name} to start"), || {
        let answer = look(child);
        if answer.is_none()
            && let Some(code) = child.exit_code()
        {
            panic!("{name} ended with {code}\n{}\n{}", tail(&child.stdout()), tail(&child.stderr()));
        }
        answer
    })
}

#[cfg(test)]
mod tests;
