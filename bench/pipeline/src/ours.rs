//! Our own program, as a user starts it.

use harness::trailhound::{Config, Delivery};

use crate::contender::{Bench, Contender, Names};

/// Rows that ratios are made of.
pub(crate) const AT_LEAST_ONCE: &str = "Trailhound: at least once";
pub(crate) const EXACTLY_ONCE: &str = "Trailhound: exactly once";
pub(crate) const TWO_WORKERS: &str = "Trailhound: at least once, two workers";

/// The root rule, from topic to topic.
pub(crate) fn contenders() -> Vec<Contender> {
    vec![
        Contender::Ours(AT_LEAST_ONCE, Delivery::AtLeastOnce, 1),
        Contender::Ours(EXACTLY_ONCE, Delivery::ExactlyOnce, 1),
        Contender::Ours(TWO_WORKERS, Delivery::AtLeastOnce, 2),
    ]
}

/// The program's defaults, but for names.
pub(crate) fn config(bench: &Bench<'_>, names: &Names, delivery: Delivery, workers: u32) -> Config {
    let mut config = Config::new(&bench.kafka.bootstrap(), &names.group);
    config.kafka.retain(|(key, _)| key == "bootstrap.servers");
    config.instance.clone_from(&names.group);
    config.delivery = delivery;
    config.workers = workers;
    config.source = format!("{{ kafka = {{ topics = [{:?}], group = {:?} }} }}", bench.topic.name, names.group);
    config.sink = format!("{{ kafka = {{ topic = {:?} }} }}", names.findings);
    config.dead_letters = format!("{{ kafka = {{ topic = {:?} }} }}", names.dead);
    config
}
