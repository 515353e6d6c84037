//! An entry as a file holds it: a mark, a seal, and the functions. The seal is a SHA-256 over the module's digest and all
//! that follows, so that what is damaged, cut off or another module's is never taken for the real thing.

use sha2::{Digest, Sha256};

use super::Functions;

/// What a file starts with, and the format's version.
const MARK: &[u8] = b"trailhound compiled functions 1\n";

/// Bytes of a seal.
const SEAL: usize = 32;

/// The entry of the module with this digest.
pub(super) fn encode(digest: &str, functions: &Functions) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, function) in functions {
        for part in [key, function] {
            body.extend_from_slice(&(part.len() as u64).to_le_bytes());
            body.extend_from_slice(part);
        }
    }
    [MARK, &seal(digest, &body), &body].concat()
}

/// The functions of that module's entry; None where it is not exactly what `encode` has made for it.
pub(super) fn decode(digest: &str, bytes: &[u8]) -> Option<Functions> {
    let (sealed, mut body) = bytes.strip_prefix(MARK)?.split_at_checked(SEAL)?;
    if sealed != seal(digest, body) {
        return None;
    }
    let mut functions = Functions::default();
    while !body.is_empty() {
        let key = part(&mut body)?.to_owned();
        functions.insert(key, part(&mut body)?.to_owned());
    }
    Some(functions)
}

/// Takes one part off `rest`.
fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk()?;
    let (part, after) = after.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    *rest = after;
    Some(part)
}

fn seal(digest: &str, body: &[u8]) -> [u8; SEAL] {
    let mut seal = Sha256::new();
    for part in [MARK, digest.as_bytes(), b"\n", body] {
        seal.update(part);
    }
    seal.finalize().into()
}
