//! How fast findings get to a target, beside a client that does nothing but send.

use std::io::Write as _;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use harness::firehose::Connection;
use harness::kafka::Kafka;
use harness::measure::{median, processor_seconds};
use harness::say;
use harness::siem::{Request, Stub};
use harness::trailhound::{Config, Trailhound};
use harness::wait::{poll, until};
use serde_json::{Value, json};

use crate::supply;
use crate::target::Target;

/// The pipeline's name, and so its topics'.
const NAME: &str = "bench";
/// How long a turn may take.
const TURN: Duration = Duration::from_secs(600);

/// Who sends; the number of one is how many workers it has.
const CONTENDERS: [&str; 3] = ["bare client", "trailhound", "trailhound, 2 workers"];

/// What one turn came to.
#[derive(Debug, Clone, Copy)]
struct Sample {
    /// Findings a second.
    per_second: f64,
    /// Processor time of the program for each finding, in microseconds; 0 for the bare client.
    cpu_us: f64,
}

/// What a contender came to.
#[derive(Debug)]
pub(crate) struct Row {
    target: &'static str,
    client: &'static str,
    /// The middle of all rounds.
    sample: Sample,
    /// Findings a second by those of the bare client: the middle of all rounds, the least and the most. None where the target
    /// does nothing with what a bare client sends, so that it says nothing.
    of_bare: Option<[f64; 3]>,
}

impl Row {
    pub(crate) fn json(&self) -> Value {
        json!({
            "target": self.target, "client": self.client,
            "findings_per_second": self.sample.per_second, "cpu_us_a_finding": self.sample.cpu_us,
            "of_bare": self.of_bare,
        })
    }
}

/// Lets every contender forward `count` findings to every target, `rounds` times. None where a target cannot be had.
pub(crate) fn measure(kafka: &Kafka, count: usize, rounds: usize) -> Option<Vec<Row>> {
    let targets = Target::all()?;
    let findings = supply::findings(count);
    let bytes: usize = findings.iter().filter_map(|finding| finding.value.as_ref()).map(Vec::len).sum();
    say(&format!("{count} findings of {} bytes", bytes / count));
    let client = kafka.client();
    client.create_topic(&format!("{NAME}.findings"), 4, &[]);
    client.create_topic(&format!("{NAME}.dead"), 4, &[]);
    client.produce(&format!("{NAME}.findings"), &findings, &supply::PRODUCER);
    assert_eq!(client.end_offsets(&format!("{NAME}.findings")).iter().sum::<i64>(), count as i64);
    drop(findings);
    Some(targets.iter().flat_map(|target| rows(kafka, target, count, rounds)).collect())
}

fn rows(kafka: &Kafka, target: &Target, count: usize, rounds: usize) -> Vec<Row> {
    let bodies = recorded(kafka, target, count);
    let mut samples: [Vec<Sample>; 3] = Default::default();
    let turn = |contender, name: &str| {
        target.clear();
        let sample = match contender {
            0 => bare(target, &bodies, count),
            workers => forwarded(kafka, target, &format!("{} {name}", target.name()), workers, count),
        };
        if let Some(stored) = target.stored() {
            assert_eq!(stored, count, "findings at {}", target.name());
        }
        sample
    };
    // The target warms up; and nobody is always the one who finds it warmer.
    turn(0, "warm");
    let contenders: &[usize] = if let Target::Stub(..) = target { &[1, 2] } else { &[0, 1, 2] };
    for round in 0..rounds {
        for next in 0..contenders.len() {
            let contender = contenders[(next + round) % contenders.len()];
            samples[contender].push(turn(contender, &format!("{round} {contender}")));
        }
    }
    let middle = |part: fn(&Sample) -> f64, samples: &[Sample]| median(samples.iter().map(part).collect());
    let row = |contender: &usize| {
        let of_one = &samples[*contender];
        let pairs = of_one.iter().zip(&samples[0]);
        let mut ratios: Vec<f64> = pairs.map(|(one, bare)| one.per_second / bare.per_second).collect();
        ratios.sort_by(f64::total_cmp);
        Row {
            target: target.name(),
            client: CONTENDERS[*contender],
            sample: Sample {
                per_second: middle(|sample| sample.per_second, of_one),
                cpu_us: middle(|sample| sample.cpu_us, of_one),
            },
            of_bare: ratios.first().zip(ratios.last()).map(|(min, max)| [median(ratios.clone()), *min, *max]),
        }
    };
    let rows: Vec<Row> = contenders.iter().map(row).collect();
    say(&table(&rows));
    rows
}

pub(crate) fn table(rows: &[Row]) -> String {
    let mut table = format!(
        "{:<20} {:<22} {:>11} {:>15} {:>8}  min .. max\n",
        "target", "client", "findings/s", "CPU µs/finding", "of bare"
    );
    for Row { target, client, sample: Sample { per_second, cpu_us }, of_bare } in rows {
        let of_bare =
            of_bare.map(|[middle, min, max]| format!(" {middle:>8.2}  {min:.2} .. {max:.2}")).unwrap_or_default();
        table += &format!("{target:<20} {client:<22} {per_second:>11.0} {cpu_us:>15.1}{of_bare}\n");
    }
    table
}

/// A forwarder of the whole topic to `url`, as a group that has read nothing of it.
fn forwarder(kafka: &Kafka, target: &Target, url: &str, group: &str, workers: usize) -> Trailhound {
    let mut config = Config::forward(&kafka.bootstrap(), NAME, &target.sink(url));
    config.source = format!(r#"{{ kafka = {{ topics = ["{NAME}.findings"], group = "{group}" }} }}"#);
    config.workers = u32::try_from(workers).unwrap_or(1);
    Trailhound::start(&config)
}

fn forwarded_by(program: &Trailhound) -> usize {
    usize::try_from(program.metrics().sum("trailhound_forwarded_total", &[])).unwrap_or_default()
}

/// The requests that the program makes of the topic, head and body, as a bare client sends them.
fn recorded(kafka: &Kafka, target: &Target, count: usize) -> Vec<Vec<u8>> {
    let answer = target.answer();
    let stub = Stub::start(move |request, _| answer(request));
    let mut program = forwarder(kafka, target, &stub.url(), &format!("{}-recorded", target.name()), 1);
    until(TURN, "all findings to be recorded", || (forwarded_by(&program) == count).then_some(()));
    let summary = program.stop();
    assert_eq!(summary.count("dead_lettered"), 0, "{summary:?}");
    let requests = stub.requests();
    let (first, plain) = (&requests[0], requests.iter().map(|request| request.body.len()).sum::<usize>());
    let all: Vec<Vec<u8>> = requests.iter().map(raw).collect();
    let sent: usize = all.iter().map(Vec::len).sum();
    let (mean, of) = (plain / all.len(), sent / all.len());
    let sizes: Vec<usize> = requests.iter().take(8).map(|request| request.body.len() >> 10).collect();
    say(&format!(
        "{}: {} requests {}, {mean} bytes on average, {of} as sent; the first have {sizes:?} KiB",
        target.name(),
        all.len(),
        first.path
    ));
    all
}

/// A request as it came, byte for byte but for the order of headers: the same compression of the same body.
fn raw(request: &Request) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&request.body).expect("memory");
    let body = encoder.finish().expect("memory");
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.path);
    for (name, value) in request.headers.iter().filter(|(name, _)| name != "content-length") {
        head += &format!("{name}: {value}\r\n");
    }
    assert_eq!(request.header("content-length"), body.len().to_string(), "compressed as the program does");
    head += &format!("content-length: {}\r\n\r\n", body.len());
    [head.into_bytes(), body].concat()
}

/// One connection, one request after the other. The first is not counted, as in the program's turn.
fn bare(target: &Target, bodies: &[Vec<u8>], count: usize) -> Sample {
    let port = target.url().rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port");
    let mut connection = Connection::plain(port).expect("a connection");
    let mut send = |body: &[u8]| {
        let answer = connection.ask(body).expect("an answer");
        assert!(answer.status == 200 && !answer.body.contains("\"errors\":true"), "{answer:?}");
    };
    let (first, rest) = bodies.split_first().expect("a request");
    send(first);
    let started = Instant::now();
    rest.iter().for_each(|body| send(body));
    let share = rest.len() as f64 / bodies.len() as f64;
    Sample { per_second: count as f64 * share / started.elapsed().as_secs_f64(), cpu_us: 0.0 }
}

/// The program, from the first findings that it has forwarded to the last: its start and its group's are no part of it.
fn forwarded(kafka: &Kafka, target: &Target, group: &str, workers: usize, count: usize) -> Sample {
    let mut program = forwarder(kafka, target, &target.url(), group, workers);
    let look = |program: &Trailhound, least: usize| {
        let done = poll(TURN, || Some(forwarded_by(program)).filter(|done| *done >= least));
        (done.expect("findings are forwarded"), Instant::now(), processor_seconds(program.pid()))
    };
    let (first, started, spent_before) = look(&program, 1);
    let (last, ended, spent) = look(&program, count);
    let (findings, seconds) = ((last - first) as f64, (ended - started).as_secs_f64());
    let summary = program.stop();
    assert_eq!(summary.count("dead_lettered"), 0, "{summary:?}");
    Sample { per_second: findings / seconds, cpu_us: (spent - spent_before) * 1e6 / findings }
}
