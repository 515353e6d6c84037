//! Sinks that refuse what they are given.

use std::process::Command;

use super::Scene;
use crate::say;
use crate::trailhound::{Delivery, STOP, Trailhound};

/// Entries that are received meanwhile.
const SOME: u64 = 2_000;

/// The findings' topic refuses. What it will never take is a dead letter; what it may take later is waited for.
pub(super) fn refuses(scene: &mut Scene<'_>) -> Vec<Trailhound> {
    let mut config = scene.config_logged_in();
    if scene.delivery() == Delivery::AtLeastOnce {
        // It soon tells what it cannot deliver; a transaction has a time of its own.
        config = config.property("message.timeout.ms", "2000");
    }
    let mut program = Trailhound::ready(&config);
    scene.traffic();
    program.until_received(SOME);
    for round in 0..scene.rounds() {
        let what = match round % 3 {
            0 => {
                let before = program.received();
                scene.configure_findings(&[("max.message.bytes", "100")]);
                program.until_received(before + SOME);
                scene.configure_findings(&[]);
                "too large"
            }
            1 => {
                delete_and_create(scene, &mut program);
                "deleted, and created again"
            }
            _ => {
                scene.forbid_findings();
                program.until_waiting();
                scene.allow_findings();
                "forbidden, and allowed again"
            }
        };
        let before = program.received();
        program.until_received(before + SOME);
        scene.until_offsets_move();
        scene.round_done(round, what);
    }
    vec![program]
}

/// What lies in a topic goes with it, so everything is delivered and read before it is deleted.
fn delete_and_create(scene: &mut Scene<'_>, program: &mut Trailhound) {
    scene.stop_traffic();
    scene.until_all_committed();
    scene.audit.check_committed();
    scene.client.delete_topic(&scene.findings());
    scene.traffic();
    program.until_waiting();
    scene.findings_anew();
}

/// The dead letters' file cannot be written, so the program must end with the reason and commit nothing that needs it.
/// Another program then does the rest, with the dead letters in their topic.
pub(super) fn dead_letter_file(scene: &mut Scene<'_>) -> Vec<Trailhound> {
    let healthy = scene.config();
    scene.traffic();
    for round in 0..scene.rounds() {
        let (what, system) = if round % 2 == 0 { ("full", "No space left") } else { ("read-only", "Read-only") };
        let mut config = healthy.clone();
        let mut program = if may_mount() {
            config.dead_letters = r#"{ file = { path = "disk/dead.ndjson" } }"#.to_owned();
            Trailhound::start_in(&config, |program| on_disk(what, &program))
        } else if what == "full" {
            config.dead_letters = r#"{ file = { path = "/dev/full" } }"#.to_owned();
            Trailhound::start(&config)
        } else {
            scene.note("no read-only disk: this user may not mount one");
            continue;
        };
        assert_eq!(program.wait(STOP), 1, "{what}: the exit code");
        let log = program.stderr();
        let told = log.lines().any(|line| line.contains("cannot be written") && line.contains(system));
        assert!(told, "{what}: no clear error in {log}");
        // There is no dead letter in the topic yet, so a message that must be one and is committed is reported.
        scene.round_done(round, what);
        scene.note(format!("{what}: {}", if may_mount() { "a tmpfs of its own" } else { "/dev/full" }));
        let mut program = Trailhound::ready(&healthy);
        program.until_received(SOME);
        scene.stop(program);
    }
    vec![Trailhound::ready(&healthy)]
}

/// The program with a small disk of its own at `disk`, which nobody else sees and which is gone when it ends.
fn on_disk(what: &str, program: &Command) -> Command {
    const FULL: &str = "mkdir disk && mount -t tmpfs -o size=64k tmpfs disk && \
                        { head -c 1000000 /dev/zero >disk/filler 2>/dev/null || true; } && exec \"$@\"";
    const READ_ONLY: &str = "mkdir disk && mount -t tmpfs -o ro tmpfs disk && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", if what == "full" { FULL } else { READ_ONLY }, "sh"]);
    command.arg(program.get_program()).args(program.get_args());
    if let Some(folder) = program.get_current_dir() {
        command.current_dir(folder);
    }
    command
}

/// Whether this user may mount a disk.
fn may_mount() -> bool {
    let tried = Command::new("unshare").args(["--mount", "sh", "-c", "mount -t tmpfs tmpfs /tmp"]).output();
    let may = tried.is_ok_and(|output| output.status.success());
    if !may {
        say("this user may not mount a disk");
    }
    may
}
