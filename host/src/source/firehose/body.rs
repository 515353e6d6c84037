//! Reads the body of a request into room that was reserved before.

use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use super::FirehoseLimits;
use super::answer::Answer;
use super::room::{Reservation, Room};

/// What is reserved at first for a body of unknown length, in bytes; then as much again, and again.
const CHUNKED_BYTES: usize = 64 << 10;

/// Bytes of a body that was refused before it was read, of which is taken note of nothing.
const DRAINED_BYTES_MAX: usize = 64 << 20;

/// A body, and the room it takes.
pub(super) struct Read {
    pub(super) bytes: Vec<u8>,
    pub(super) room: Reservation,
}

/// Reserves the first room for a body: all of it where its length is known. Nothing has been read yet.
pub(super) fn reserve(body: &Incoming, room: &Room, limits: &FirehoseLimits) -> Result<Read, Answer> {
    let length = body.size_hint().exact().map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if length.is_some_and(|length| length > limits.body_bytes_max) {
        return Err(too_large(limits));
    }
    let bytes = length.unwrap_or(CHUNKED_BYTES.min(limits.body_bytes_max));
    let room = room.reserve(bytes).ok_or_else(no_room)?;
    Ok(Read { bytes: Vec::with_capacity(bytes), room })
}

/// Reads all of a body.
pub(super) async fn read(body: &mut Incoming, read: &mut Read, limits: &FirehoseLimits) -> Result<(), Answer> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Answer::Bad(format!("the body ends early: {error}")))?;
        // Trailers say nothing here.
        let Ok(data) = frame.into_data() else { continue };
        if read.bytes.len() + data.len() > limits.body_bytes_max {
            return Err(too_large(limits));
        }
        let room = read.bytes.capacity();
        if read.bytes.len() + data.len() > room {
            let more = room.max(data.len()).min(limits.body_bytes_max - room.min(limits.body_bytes_max));
            let more = more.max(read.bytes.len() + data.len() - room);
            if !read.room.grow(more) {
                return Err(no_room());
            }
            read.bytes.reserve_exact(room + more - read.bytes.len());
        }
        read.bytes.extend_from_slice(&data);
    }
    Ok(())
}

/// Reads the rest of a refused request and forgets it. A client that is still sending would otherwise see its connection
/// break, and not the answer. The caller limits the time.
pub(super) async fn drain(mut body: Incoming) {
    let mut drained = 0;
    while let Some(Ok(frame)) = body.frame().await {
        drained += frame.data_ref().map_or(0, |data| data.len());
        if drained > DRAINED_BYTES_MAX {
            return;
        }
    }
}

fn too_large(limits: &FirehoseLimits) -> Answer {
    let max = limits.body_bytes_max;
    Answer::Bad(format!("the body is larger than body_bytes_max, {max} bytes: make the stream's buffer smaller"))
}

fn no_room() -> Answer {
    Answer::Later("no room for this request now: in_flight_bytes_max are in hand".to_owned())
}
