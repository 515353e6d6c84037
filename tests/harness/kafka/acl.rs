//! Forbidding a user to write to a topic, and allowing it again. librdkafka's Rust client has no call for access
//! lists, so the two requests are written here as the protocol describes them (CreateAcls and DeleteAcls, version 1).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::{Client, USER};
use crate::wait::{self, PATIENCE};

const CREATE: i16 = 30;
const DELETE: i16 = 31;

impl Client {
    /// Forbids [`USER`] to write to a topic.
    pub fn deny_write(&self, topic: &str) {
        self.acl(CREATE, topic);
    }

    /// Takes back [`Client::deny_write`].
    pub fn allow_write(&self, topic: &str) {
        self.acl(DELETE, topic);
    }

    /// Sends the request to any broker that answers; it hands it on to the controller.
    fn acl(&self, key: i16, topic: &str) {
        let request = request(key, topic);
        let brokers: Vec<String> = self.brokers().map(str::to_owned).collect();
        let code = wait::until(PATIENCE, "a broker to change an access list", || {
            brokers.iter().find_map(|broker| exchange(broker, &request).ok())
        });
        assert_eq!(code, 0, "the error code of the answer");
    }
}

/// The request for one entry: `USER` may not write to `topic`, from wherever.
fn request(key: i16, topic: &str) -> Vec<u8> {
    const VERSION: i16 = 1;
    const TOPIC: u8 = 2;
    const LITERAL: u8 = 3;
    const WRITE: u8 = 4;
    const DENY: u8 = 2;
    let mut body = Vec::new();
    body.extend(key.to_be_bytes());
    body.extend(VERSION.to_be_bytes());
    body.extend(1_i32.to_be_bytes());
    text(&mut body, "harness");
    body.extend(1_i32.to_be_bytes());
    body.push(TOPIC);
    text(&mut body, topic);
    body.push(LITERAL);
    text(&mut body, &format!("User:{USER}"));
    text(&mut body, "*");
    body.extend([WRITE, DENY]);
    let length = i32::try_from(body.len()).expect("a short request");
    [length.to_be_bytes().as_slice(), &body].concat()
}

fn text(body: &mut Vec<u8>, text: &str) {
    body.extend(i16::try_from(text.len()).expect("a short text").to_be_bytes());
    body.extend(text.as_bytes());
}

/// Sends a request and returns the error code of its one result: behind the correlation id, the throttle time and the
/// number of results.
fn exchange(broker: &str, request: &[u8]) -> std::io::Result<i16> {
    let mut stream = TcpStream::connect(broker)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap_or_default()];
    stream.read_exact(&mut answer)?;
    let code = answer.get(12..14).and_then(|code| code.try_into().ok());
    Ok(i16::from_be_bytes(code.ok_or(std::io::ErrorKind::UnexpectedEof)?))
}
