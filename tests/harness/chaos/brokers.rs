//! Brokers that are killed, and a network that does not reach one of them.

use std::time::Duration;

use super::Scene;
use crate::kafka::BROKERS;
use crate::proxy::Network;
use crate::trailhound::Trailhound;
use crate::wait;

/// Entries that prove that the program is at work again.
const PROGRESS: u64 = 1_000;

/// Brokers are killed in turn. With one of three gone all goes on; with two gone everything waits.
pub(super) fn kill9(scene: &mut Scene<'_>) -> Vec<Trailhound> {
    const TWO_EVERY: u32 = 3;
    let mut program = Trailhound::ready(&scene.config());
    scene.traffic();
    program.until_received(PROGRESS);
    for round in 0..scene.rounds() {
        let first = round as usize % BROKERS;
        let before = program.received();
        let what = if round % TWO_EVERY == TWO_EVERY - 1 {
            let second = (first + 1) % BROKERS;
            scene.cluster.kill9(first);
            scene.cluster.kill9(second);
            scene.cluster.until_missed(2);
            let time = scene.between(200, 2_000);
            wait::pause(time);
            scene.cluster.restart(second);
            scene.cluster.restart(first);
            "two killed at once"
        } else {
            scene.cluster.kill9(first);
            scene.cluster.until_missed(1);
            program.until_received(before + PROGRESS);
            scene.cluster.restart(first);
            "one killed"
        };
        scene.cluster.until_in_sync();
        let before = program.received();
        program.until_received(before + PROGRESS);
        scene.round_done(round, what);
    }
    vec![program]
}

/// The network to one broker at a time breaks, while the brokers reach each other: nobody else takes over.
pub(super) fn network(scene: &mut Scene<'_>) -> Vec<Trailhound> {
    let mut program = Trailhound::ready(&scene.config());
    scene.traffic();
    program.until_received(PROGRESS);
    for round in 0..scene.rounds() {
        let broker = usize::try_from(scene.random.below(BROKERS as u64)).unwrap_or_default();
        let (network, what) = match round % 3 {
            0 => (Network::Cut, "cut"),
            1 => (Network::Slow { bytes_per_second: 50_000, delay: Duration::from_millis(100) }, "slow"),
            _ => (Network::Stalls, "stalled"),
        };
        let time = scene.between(500, 4_000);
        scene.cluster.proxy(broker).set(network);
        wait::pause(time);
        scene.cluster.proxy(broker).pass();
        let before = program.received();
        program.until_received(before + PROGRESS);
        scene.until_offsets_move();
        scene.round_done(round, what);
    }
    vec![program]
}
