//! A TCP proxy between the program and one broker, whose connections a test cuts, stalls or slows down.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::kafka::free_port;
use crate::wait;

/// What a network does to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Nothing.
    Passes,
    /// Connections break, and new ones are closed at once.
    Cut,
    /// Connections stay, and nothing arrives.
    Stalls,
    /// What arrives is late.
    Slow {
        /// How many bytes a second each connection carries in each direction.
        bytes_per_second: u32,
        /// How late each piece is besides.
        delay: Duration,
    },
}

/// A running proxy. It ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// The port that connections are made to.
    target: u16,
    /// None when the proxy has ended.
    network: Mutex<Option<Network>>,
    /// Both ends of each connection, by number.
    connections: Mutex<BTreeMap<u64, [TcpStream; 2]>>,
}

impl Proxy {
    /// Starts a proxy before the loopback port `target`, where nobody need listen yet.
    pub fn start(target: u16) -> Proxy {
        let port = free_port();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a free port");
        let state =
            Arc::new(State { target, network: Mutex::new(Some(Network::Passes)), connections: Mutex::default() });
        let own = Arc::clone(&state);
        std::thread::spawn(move || {
            for (number, stream) in (0..).zip(listener.incoming()) {
                match (own.network(), stream) {
                    (None, _) => return,
                    (Some(Network::Cut), _) | (_, Err(_)) => {}
                    (Some(_), Ok(stream)) => connect(&own, number, stream),
                }
            }
        });
        Proxy { port, state }
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on the network does this.
    pub fn set(&self, network: Network) {
        *self.state.lock_network() = Some(network);
        if network == Network::Cut {
            self.state.break_all();
        }
    }

    /// The network does nothing any more.
    pub fn pass(&self) {
        self.set(Network::Passes);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        *self.state.lock_network() = None;
        self.state.break_all();
        // Wakes the thread that accepts, which then sees that it is over.
        let _woken = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl State {
    fn lock_network(&self) -> MutexGuard<'_, Option<Network>> {
        self.network.lock().expect("no poison")
    }

    fn network(&self) -> Option<Network> {
        *self.lock_network()
    }

    fn break_all(&self) {
        let all = std::mem::take(&mut *self.connections.lock().expect("no poison"));
        all.values().for_each(shut);
    }
}

fn shut(ends: &[TcpStream; 2]) {
    for end in ends {
        // It may be shut already.
        let _shut = end.shutdown(Shutdown::Both);
    }
}

/// Connects on, and starts a thread for each direction. Where nobody listens the stream is closed.
fn connect(state: &Arc<State>, number: u64, near: TcpStream) {
    let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, state.target)) else { return };
    for end in [&near, &far] {
        // Small requests are not to wait for each other.
        let _set = end.set_nodelay(true);
    }
    let copy = |end: &TcpStream| end.try_clone().expect("a descriptor");
    let directions = [[copy(&near), copy(&far)], [copy(&far), copy(&near)]];
    state.connections.lock().expect("no poison").insert(number, [near, far]);
    for [from, to] in directions {
        let state = Arc::clone(state);
        std::thread::spawn(move || {
            pump(&state, from, to);
            if let Some(ends) = state.connections.lock().expect("no poison").remove(&number) {
                shut(&ends);
            }
        });
    }
}

/// Carries bytes until either end closes or the network is cut.
fn pump(state: &State, mut from: TcpStream, mut to: TcpStream) {
    const PIECE: usize = 16 << 10;
    const FOREVER: Duration = Duration::from_secs(3_600);
    let mut piece = vec![0; PIECE];
    loop {
        let Ok(length @ 1..) = from.read(&mut piece) else { return };
        match state.network() {
            None | Some(Network::Cut) => return,
            Some(Network::Passes) => {}
            Some(Network::Stalls) => {
                wait::poll(FOREVER, || (state.network() != Some(Network::Stalls)).then_some(()));
            }
            Some(slow @ Network::Slow { bytes_per_second, delay }) => {
                let late = delay + Duration::from_secs_f64(length as f64 / f64::from(bytes_per_second.max(1)));
                wait::poll(late, || (state.network() != Some(slow)).then_some(()));
            }
        }
        if to.write_all(&piece[..length]).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it gets.
    fn echo() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || std::io::copy(&mut stream.try_clone().expect("a descriptor"), &mut stream));
            }
        });
        port
    }

    fn answers(stream: &mut TcpStream) -> bool {
        let mut answer = [0; 4];
        stream.write_all(b"ping").and_then(|()| stream.read_exact(&mut answer)).is_ok()
    }

    #[test]
    fn it_passes_cuts_stalls_and_passes_again() {
        let proxy = Proxy::start(echo());
        let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).expect("a connection");
        let mut old = connect();
        assert!(answers(&mut old));
        proxy.set(Network::Slow { bytes_per_second: 1_000, delay: Duration::from_millis(30) });
        let started = std::time::Instant::now();
        assert!(answers(&mut old));
        assert!(started.elapsed() >= Duration::from_millis(60), "late in both directions");
        proxy.set(Network::Cut);
        assert!(!answers(&mut old) && !answers(&mut connect()));
        proxy.set(Network::Stalls);
        let mut new = connect();
        new.set_read_timeout(Some(Duration::from_millis(50))).expect("a time-out");
        assert!(!answers(&mut new));
        proxy.pass();
        assert!(answers(&mut connect()));
    }
}
