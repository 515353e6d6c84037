//! Programs that are killed, come, go and freeze.

use std::time::Duration;

use super::Scene;
use crate::trailhound::{Config, Delivery, Trailhound};
use crate::wait::{self, PATIENCE};

/// Two programs share the group; one or both are killed and started again.
pub(super) fn kill9(scene: &mut Scene<'_>) -> Vec<Trailhound> {
    let mut config = scene.config_logged_in();
    config.workers = 1;
    scene.traffic();
    let mut programs = vec![Trailhound::ready(&config), Trailhound::ready(&config)];
    for round in 0..scene.rounds() {
        let victim = usize::try_from(scene.random.below(2)).unwrap_or_default();
        let what = match round % 3 {
            0 => {
                let count = 1 + scene.random.below(5_000);
                programs[victim].until_received(count);
                programs[victim].kill9();
                "at any moment"
            }
            1 => {
                programs[victim].until_received(1);
                scene.until_offsets_move();
                programs[victim].kill9();
                "as offsets move"
            }
            _ => {
                both_held_up(scene, &mut programs, victim);
                "both, with findings held up"
            }
        };
        scene.round_done(round, what);
        for program in &mut programs {
            if program.has_ended() {
                *program = Trailhound::ready(&config);
            }
        }
    }
    programs
}

/// Both hold findings that they cannot deliver. One is killed, so the other is asked to give its partitions back with
/// those findings in hand, and is killed next: nothing of them may be committed.
fn both_held_up(scene: &mut Scene<'_>, programs: &mut [Trailhound], first: usize) {
    programs.iter_mut().for_each(|program| program.until_received(1));
    scene.forbid_findings();
    programs.iter_mut().for_each(Trailhound::until_waiting);
    let second = &programs[1 - first];
    let revocations = |program: &Trailhound| program.stderr().matches("partitions revoked").count();
    let before = revocations(second);
    programs[first].kill9();
    programs[1 - first].until("a rebalance", |program| (revocations(program) > before).then_some(()));
    programs[1 - first].kill9();
    scene.allow_findings();
}

const SESSION: Duration = Duration::from_millis(1_500);
const POLL_INTERVAL: Duration = Duration::from_millis(3_000);

/// Programs of one worker join and leave, and freeze for as long as it takes to lose their place.
pub(super) fn members(scene: &mut Scene<'_>) -> Vec<Trailhound> {
    const MOST: usize = 4;
    let config = one_worker(scene);
    scene.traffic();
    let mut programs = vec![Trailhound::ready(&config), Trailhound::ready(&config)];
    for program in &mut programs {
        program.until_joined(1);
    }
    for round in 0..scene.rounds() {
        let any = usize::try_from(scene.random.below(programs.len() as u64)).unwrap_or_default();
        let what = match round % 5 {
            0 => freeze(scene, &mut programs[any], SESSION, "frozen beyond the session"),
            1 if programs.len() < MOST => {
                let program = freeze_while_one_joins(scene, &mut programs[any], &config);
                programs.push(program);
                "one has joined, one was frozen meanwhile"
            }
            2 if scene.delivery() == Delivery::ExactlyOnce => {
                programs[any] = rival(&config, &mut programs[any], round);
                "two with one name"
            }
            3 => freeze(scene, &mut programs[any], POLL_INTERVAL, "frozen beyond the poll interval"),
            // With a single one left nothing would be shared.
            _ if programs.len() > 2 => {
                let program = programs.swap_remove(any);
                scene.stop(program);
                "one has left"
            }
            _ => freeze(scene, &mut programs[any], SESSION, "frozen beyond the session"),
        };
        // The group is at work again before it is disturbed again.
        scene.until_offsets_move();
        scene.round_done(round, what);
    }
    programs
}

/// A program joins, and another is frozen while partitions move: what its client has heard of it and not yet acted on is
/// old news once it goes on.
fn freeze_while_one_joins(scene: &mut Scene<'_>, other: &mut Trailhound, config: &Config) -> Trailhound {
    other.until_joined(1);
    let mut program = Trailhound::ready(config);
    wait::pause(scene.between(0, 600));
    freeze_now(scene, other, SESSION);
    program.until_joined(1);
    program
}

/// A program starts under the name of another, whose transactions are over with that: it ends by itself.
fn rival(config: &Config, other: &mut Trailhound, round: u32) -> Trailhound {
    let named = Config { instance: format!("rival{round}"), ..config.clone() };
    other.kill9();
    let mut older = Trailhound::ready(&named);
    older.until_joined(1);
    let newer = Trailhound::ready(&named);
    assert_eq!(older.wait(PATIENCE), 1, "{}", older.stderr());
    assert!(older.stderr().contains("fenced"), "{}", older.stderr());
    newer
}

fn one_worker(scene: &Scene<'_>) -> Config {
    let mut config = scene.config();
    config.workers = 1;
    let (session, interval) = (SESSION.as_millis(), POLL_INTERVAL.as_millis());
    let properties = format!(
        r#""session.timeout.ms" = "{session}", "heartbeat.interval.ms" = "200", "max.poll.interval.ms" = "{interval}""#
    );
    let name = &scene.name;
    config.source = format!(
        r#"{{ kafka = {{ topics = ["{name}.cloudtrail"], group = "{name}", properties = {{ {properties} }} }} }}"#
    );
    config
}

/// Stops a program where it stands, for longer than `limit`, and lets it go on. Others have its partitions by then.
fn freeze(scene: &mut Scene<'_>, program: &mut Trailhound, limit: Duration, what: &'static str) -> &'static str {
    program.until_joined(1);
    let received = program.received();
    freeze_now(scene, program, limit);
    program.until_received(received + 1);
    what
}

fn freeze_now(scene: &mut Scene<'_>, program: &mut Trailhound, limit: Duration) {
    let time = limit + scene.between(300, 1_500);
    program.signal("STOP");
    wait::pause(time);
    program.signal("CONT");
}
