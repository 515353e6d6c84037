//! Getting real parts, once: what is fetched or built lies in a folder of `target`, and processes wait for each other.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::say;

/// The folder `target/NAME`, filled by `make` unless that has succeeded before. What an interrupted try has left is made
/// again.
pub(crate) fn prepared(name: &str, make: impl FnOnce(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").join(name);
    let at = |error| format!("{}: {error}", folder.display());
    fs::create_dir_all(&folder).map_err(at)?;
    let folder = folder.canonicalize().map_err(at)?;
    let lock = File::create(folder.join("lock")).map_err(|error| format!("lock: {error}"))?;
    lock.lock().map_err(|error| format!("lock: {error}"))?;
    let ready = folder.join("ready");
    if !ready.exists() {
        make(&folder)?;
        fs::write(&ready, "").map_err(|error| format!("{}: {error}", ready.display()))?;
    }
    Ok(folder)
}

/// Fetches artifacts (`group:artifact:version`) and what they depend on with Maven, into `jars` below `folder`.
pub(crate) fn maven(folder: &Path, artifacts: &[&str]) -> Result<(), String> {
    runs("mvn", "-version")?;
    let mut dependencies = String::new();
    for artifact in artifacts {
        let [group, name, version] = artifact.split(':').collect::<Vec<_>>()[..] else {
            return Err(format!("{artifact} is no artifact"));
        };
        let _infallible = writeln!(
            dependencies,
            "<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version></dependency>"
        );
    }
    let pom = format!(
        r#"<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>trailhound</groupId><artifactId>part</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
{dependencies}</dependencies></project>
"#
    );
    fs::write(folder.join("pom.xml"), pom).map_err(|error| format!("pom.xml: {error}"))?;
    let mut maven = Command::new("mvn");
    maven.args(["--batch-mode", "--quiet", "dependency:copy-dependencies", "-DoutputDirectory=jars"]);
    succeeds(maven.current_dir(folder))
}

/// All jars of a folder, joined as Java wants them, in one order.
pub(crate) fn class_path(jars: &Path) -> Result<String, String> {
    let entries = fs::read_dir(jars).map_err(|error| format!("{}: {error}", jars.display()))?;
    let mut paths: Vec<String> = entries.flatten().map(|entry| entry.path().display().to_string()).collect();
    paths.sort();
    Ok(paths.join(":"))
}

/// Whether a program is there and runs.
pub(crate) fn runs(program: &str, argument: &str) -> Result<(), String> {
    let mut command = Command::new(program);
    succeeds(command.arg(argument))
}

/// Runs a command to its end; what it says is shown only when it fails.
pub(crate) fn succeeds(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().display().to_string();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("{program}: {}: {}", output.status, String::from_utf8_lossy(&said).trim()))
}

/// Says that the test that runs on this thread is skipped, for want of `part`. On a build server (`CI=true`) that is a
/// failure.
pub(crate) fn skip(part: &str, why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "no real {part} to test against: {why}");
    say(&format!("skipped: {}: {why}", std::thread::current().name().unwrap_or("a test")));
}
