//! What stands before a real receiver: it passes requests on, and does to some of them what networks and busy targets do.

use super::{Reply, Request, Stub};
use crate::http;

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It is passed on, and so is its answer.
    None,
    /// It is answered so, and the receiver never sees it.
    Instead(Reply),
    /// The receiver takes it, and the connection is cut before the answer.
    LostAnswer,
    /// The receiver takes it, and the answer never comes.
    NeverAnswered,
}

/// Starts a gateway to the receiver on this loopback port. `fault` sees each request and its number, from 0.
pub fn gateway(port: u16, mut fault: impl FnMut(&Request, usize) -> Fault + Send + 'static) -> Stub {
    Stub::start(move |request, number| {
        let fault = fault(request, number);
        if let Fault::Instead(reply) = fault {
            return reply;
        }
        // The stub has decompressed the body, and lengths and connections are each server's own.
        let own = ["content-length", "content-encoding", "connection", "host", "transfer-encoding"];
        let headers: Vec<(&str, &str)> = request
            .headers
            .iter()
            .filter(|(name, _)| !own.contains(&name.as_str()))
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        match (http::send(port, &request.method, &request.path, &headers, &request.body), fault) {
            (Ok((status, body)), Fault::None) => Reply::status(status, &body),
            (Ok(_), Fault::NeverAnswered) => Reply::Never,
            _ => Reply::Cut,
        }
    })
}
