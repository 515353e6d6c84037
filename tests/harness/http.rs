//! A blocking HTTP/1.1 client as small as the admin page of the program needs it, and a reader of its metrics.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long a single request may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Gets a path from a loopback port; returns the status code and the body.
///
/// # Errors
/// When nobody listens, or what listens does not answer in time or not in HTTP.
pub fn get(port: u16, path: &str) -> io::Result<(u16, String)> {
    send(port, "GET", path, &[], b"")
}

/// Sends a request to a loopback port; returns the status code and the body.
///
/// # Errors
/// As [`get`].
pub fn send(port: u16, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<(u16, String)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        let _infallible = write!(request, "{name}: {value}\r\n");
    }
    if !body.is_empty() {
        let _infallible = write!(request, "Content-Length: {}\r\n", body.len());
    }
    request.push_str("\r\n");
    stream.write_all(&[request.as_bytes(), body].concat())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| invalid("no end of the header"))?;
    let status = head.split_ascii_whitespace().nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or_else(|| invalid("no status code"))?, body.to_owned()))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// One moment's metrics in the text format of Prometheus.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    samples: Vec<Sample>,
}

/// A line of the text format.
#[derive(Debug, Clone)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Reads the text format.
    pub fn parse(text: &str) -> Metrics {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Metrics { samples: lines.filter_map(sample).collect() }
    }

    /// The sum of a metric over all samples that carry these labels, as a whole number; 0 when there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let wanted = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|found| found == value))
        };
        let sum: f64 = self.samples.iter().filter(wanted).map(|sample| sample.value).sum();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters are whole and positive")]
        let whole = sum as u64;
        whole
    }

    /// A metric's values by one of its labels.
    pub fn by_label(&self, name: &str, label: &str) -> BTreeMap<String, u64> {
        let named = self.samples.iter().filter(|sample| sample.name == name);
        let values: Vec<&String> = named.filter_map(|sample| sample.labels.get(label)).collect();
        values.into_iter().map(|value| (value.clone(), self.sum(name, &[(label, value)]))).collect()
    }
}

/// Reads one line: `name{key="value",…} 12`.
fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, rest)) => (name, labels(rest.strip_suffix('}')?)),
        None => (series, BTreeMap::new()),
    };
    Some(Sample { name: name.to_owned(), labels, value: value.parse().ok()? })
}

/// Reads `key="value",…`; the values of this program's labels hold neither quotes nor commas.
fn labels(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_the_labels_that_are_not_named() {
        let text = "# TYPE a counter\na_total{p=\"x\",kind=\"one\"} 2\na_total{p=\"x\",kind=\"two\"} 3\nb 1\n# EOF\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.sum("a_total", &[("p", "x")]), 5);
        assert_eq!(metrics.sum("a_total", &[("kind", "two")]), 3);
        assert_eq!(metrics.sum("a_total", &[("p", "y")]), 0);
        assert_eq!(metrics.sum("b", &[]), 1);
        let by_kind = metrics.by_label("a_total", "kind");
        assert_eq!(by_kind, BTreeMap::from([("one".to_owned(), 2), ("two".to_owned(), 3)]));
    }
}
