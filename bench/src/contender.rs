//! What is measured, and how: contenders of one data set, checked to find the same, then timed in turn.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::time::{ClockId, clock_gettime};

/// What a contender looks for. All that look for the same must find the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    /// Nothing: it is a floor, which nobody who does the job can be under.
    None,
    /// Sign-ins of root, as the module `root_login` defines them.
    Root,
    /// Sign-ins of root, and the first 59 rules of the table.
    Rules60,
    /// Sign-ins of root, and the first 999 rules of the table.
    Rules1000,
    /// The Sigma rules of the data folder.
    Sigma,
}

/// One row of the table: one way to do a task over all records of a data set.
pub(crate) struct Contender<'a> {
    /// The row's name.
    pub(crate) name: &'static str,
    /// What it looks for.
    pub(crate) task: Task,
    /// Goes over all records once, on this thread, and returns how many hits it found.
    pub(crate) run: Box<dyn FnMut() -> Result<u64> + 'a>,
}

impl<'a> Contender<'a> {
    pub(crate) fn new(name: &'static str, task: Task, run: impl FnMut() -> Result<u64> + 'a) -> Contender<'a> {
        Contender { name, task, run: Box::new(run) }
    }
}

/// What was measured of a contender.
#[derive(Debug)]
pub(crate) struct Measured {
    /// The row's name.
    pub(crate) name: &'static str,
    /// Hits over all records; None for a floor.
    pub(crate) hits: Option<u64>,
    /// Nanoseconds of processor time a record, one figure a round.
    pub(crate) cpu: Vec<f64>,
    /// The same by the clock on the wall. Higher where the machine had other work.
    pub(crate) wall: Vec<f64>,
}

/// The least time that one figure is taken over, so that clock and cold start do not count.
const FIGURE_MIN: Duration = Duration::from_millis(100);

/// Runs every contender once, which warms it up too, and fails unless those of one task agree. `known` are hits that the
/// data set's maker knows of.
pub(crate) fn check(contenders: &mut [Contender<'_>], known: &BTreeMap<Task, u64>) -> Result<()> {
    let mut expected: BTreeMap<Task, (&str, u64)> =
        known.iter().map(|(task, hits)| (*task, ("the data set", *hits))).collect();
    let mut wrong = Vec::new();
    for Contender { name, task, run } in contenders.iter_mut().filter(|contender| contender.task != Task::None) {
        let hits = run()?;
        let (other, expect) = *expected.entry(*task).or_insert((name, hits));
        if hits != expect {
            wrong.push(format!("{name} finds {hits}, {other} says {expect}"));
        }
    }
    if !wrong.is_empty() {
        bail!("contenders do not agree, so nothing is timed:\n{}", wrong.join("\n"));
    }
    Ok(())
}

/// Times contenders over `records` records: in each round every one of them in turn, so that whatever else the machine
/// does meets all of them alike.
pub(crate) fn measure(contenders: &mut [Contender<'_>], records: usize, rounds: usize) -> Result<Vec<Measured>> {
    let mut passes = Vec::new();
    for contender in contenders.iter_mut() {
        let (_, once, _) = time(contender, 1)?;
        passes.push(FIGURE_MIN.div_duration_f64(once.max(Duration::from_nanos(1))).ceil().max(1.0) as u32);
    }
    let measured = |contender: &Contender<'_>| Measured {
        name: contender.name,
        hits: None,
        cpu: Vec::with_capacity(rounds),
        wall: Vec::with_capacity(rounds),
    };
    let mut all: Vec<Measured> = contenders.iter().map(measured).collect();
    for _ in 0..rounds {
        for ((contender, passes), measured) in contenders.iter_mut().zip(&passes).zip(&mut all) {
            let (hits, cpu, wall) = time(contender, *passes)?;
            let per_record = |time: Duration| time.as_secs_f64() * 1e9 / f64::from(*passes) / records as f64;
            measured.cpu.push(per_record(cpu));
            measured.wall.push(per_record(wall));
            measured.hits = (contender.task != Task::None).then_some(hits);
        }
    }
    Ok(all)
}

/// Runs a contender so many times: hits of the last, processor time and wall time of all.
fn time(contender: &mut Contender<'_>, passes: u32) -> Result<(u64, Duration, Duration)> {
    let (wall, cpu) = (Instant::now(), cpu_time());
    let mut hits = 0;
    for _ in 0..passes {
        hits = std::hint::black_box((contender.run)()?);
    }
    Ok((hits, cpu_time().saturating_sub(cpu), wall.elapsed()))
}

/// Processor time of this thread. Every contender works on the thread that calls it.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // Neither is negative.
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}
