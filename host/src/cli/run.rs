//! `trailhound run`: all pipelines of a configuration, until a signal.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use tokio::signal::unix::{SignalKind, signal};

use super::Failure;
use super::validate::{check_kafka, engine, no_rules, open_rules, unusable};
use super::workers::Workers;
use crate::admin::{self, Health};
use crate::config::{self, Config};
use crate::metrics::Metrics;
use crate::overview::Does;
use crate::rules::RuleSet;
use crate::shutdown::Shutdown;
use crate::swap::{Keeper, Wake};

pub(super) fn run(file: &Path) -> Result<(), Failure> {
    let config = Arc::new(config::load(file).map_err(Failure::usage)?);
    let (metrics, wake) = (Metrics::default(), Wake::default());
    let (shutdown, health) = (Arc::new(Shutdown::new(config.drain_max)), Health::default());
    for (name, pipeline) in &config.pipelines {
        let does = if pipeline.detect { Does::Detect } else { Does::Carry };
        metrics.overview().add(name, does, pipeline.workers);
    }
    serve(&config, &metrics, &health, &shutdown, &wake)?;
    let keeper = prepare(&config, &metrics)?;
    let mut workers = Workers::new(&config, &metrics, &health, &shutdown)?;
    let keep = match begin(&config, keeper, &mut workers, &shutdown, wake) {
        Ok(keep) => keep,
        Err(failure) => {
            // What carries already ends in good order. A worker that has failed is why the others are stopped.
            shutdown.request();
            return workers.finish().and(Err(failure));
        }
    };
    health.running();
    let live = keep.as_ref().map(|(rules, _)| rules.load_full());
    tracing::info!(
        pipelines = config.pipelines.len(),
        workers = workers.running_len(),
        modules = live.as_ref().map(|live| live.modules.len()),
        rules = live.as_ref().map(|live| live.rules_len()),
        generation = live.as_ref().map(|live| live.generation),
        "running"
    );
    drop(live);
    let finished = workers.finish();
    // Its last words to the fleet.
    shutdown.request();
    let _ = keep.map(|(_, keep)| keep.join());
    finished
}

/// Proves the modules of the folder where some pipeline detects, and checks the clusters meanwhile, most of which is
/// waiting. A mistake in the folder is said without waiting for the brokers.
fn prepare(config: &Arc<Config>, metrics: &Metrics) -> Result<Option<Keeper>, Failure> {
    let asked = Arc::clone(config);
    let check = move || check_kafka(&asked, true);
    let check = std::thread::Builder::new().name("check".to_owned()).spawn(check).map_err(Failure::new)?;
    let keeper = match config.detects() {
        true => Some(open_rules(&engine(config)?, config, false, metrics)?),
        false => None,
    };
    let mistakes =
        check.join().map_err(|_| Failure::new("the check of the brokers panicked; this is a fault of trailhound"))?;
    if mistakes.is_empty() { Ok(keeper) } else { Err(unusable(&mistakes)) }
}

/// The live rule set, and the thread that keeps it.
type Kept = (Arc<ArcSwap<RuleSet>>, JoinHandle<()>);

/// Starts all workers, and the thread that keeps the rules. Those that only carry start at once: they need no rule, and
/// what is sent to an endpoint that is not there yet must be sent again. Those that detect wait for the rules topic.
fn begin(
    config: &Config,
    keeper: Option<Keeper>,
    workers: &mut Workers<'_>,
    shutdown: &Arc<Shutdown>,
    wake: Wake,
) -> Result<Option<Kept>, Failure> {
    workers.start(None)?;
    let Some(mut keeper) = keeper else { return Ok(None) };
    keeper.follow(config, &|| shutdown.requested()).map_err(no_rules)?;
    wait_for_rules(config, &mut keeper, shutdown, &wake);
    let rules = keeper.rules();
    workers.start(Some(&rules))?;
    let stop = Arc::clone(shutdown);
    let keep = move || keeper.keep(&wake, &stop);
    let keep = std::thread::Builder::new().name("rules".to_owned()).spawn(keep).map_err(Failure::new)?;
    Ok(Some((rules, keep)))
}

/// Nothing is received for detection before there is something to detect with.
fn wait_for_rules(config: &Config, keeper: &mut Keeper, shutdown: &Shutdown, wake: &Wake) {
    let rules = keeper.rules();
    if rules.load().modules.is_empty() {
        tracing::warn!(
            topic = config.rules.topic,
            "waiting for the first module: publish one with `trailhound rule publish`"
        );
    }
    while rules.load().modules.is_empty() && !shutdown.requested() {
        keeper.turn(wake);
    }
}

/// Starts the thread of all that is asynchronous: signals and the admin page.
fn serve(
    config: &Config,
    metrics: &Metrics,
    health: &Health,
    shutdown: &Arc<Shutdown>,
    wake: &Wake,
) -> Result<(), Failure> {
    let listener = match config.admin {
        Some(address) => {
            let listener = admin::bind(address).map_err(|error| {
                let hint = "another program has the port: set another, or listen = \"off\"";
                Failure::new(format!("admin.listen: {address}: {error}\nhint: {hint}"))
            })?;
            let address = listener.local_addr().map_err(Failure::new)?;
            tracing::info!(%address, "admin page: /metrics /healthz /readyz /status");
            Some(listener)
        }
        None => None,
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(Failure::new)?;
    let (metrics, health, shutdown, wake) = (metrics.clone(), health.clone(), Arc::clone(shutdown), wake.clone());
    let instance = config.instance.clone();
    let (mut terminate, mut interrupt, mut hangup) = {
        let _guard = runtime.enter();
        let listen = |kind| signal(kind).map_err(Failure::new);
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?, listen(SignalKind::hangup())?)
    };
    let serve = move || {
        let page = health.clone();
        runtime.block_on(async move {
            if let Some(listener) = listener {
                tokio::spawn(admin::serve(listener, instance, metrics, page));
            }
            let mut signals = 0;
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                    _ = hangup.recv() => {
                        wake.ask();
                        continue;
                    }
                }
                signals += 1;
                if signals > 1 {
                    tracing::warn!("second signal: stopping at once; what is not acknowledged will be read again");
                    std::process::exit(i32::from(super::FAILURE));
                }
                tracing::info!("stopping after the batches in hand");
                health.stopping();
                shutdown.request();
            }
        });
    };
    std::thread::Builder::new().name("admin".to_owned()).spawn(serve).map(drop).map_err(Failure::new)
}
