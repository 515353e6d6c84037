//! The signature of a request: who has the secret can tell that we sent it, and when.
//!
//! `X-Trailhound-Timestamp` is the time in seconds since the epoch, `X-Trailhound-Signature` is `v1=` and the hex digits of
//! HMAC-SHA256 (RFC 2104) over the timestamp, a full stop, and the body before it is compressed. A receiver that refuses old
//! timestamps refuses replays.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::secret::Secret;

/// Both headers of a request with this body.
pub(super) fn headers(secret: &Secret, seconds: i64, body: &[u8]) -> [(&'static str, String); 2] {
    let mut signature = "v1=".to_owned();
    // A key of any length is a key.
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()) {
        mac.update(seconds.to_string().as_bytes());
        mac.update(b".");
        mac.update(body);
        signature.extend(mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")));
    }
    [("x-trailhound-timestamp", seconds.to_string()), ("x-trailhound-signature", signature)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_papers() {
        // printf '1767323045.{"finding":"one"}' | openssl dgst -sha256 -hmac 'a shared secret'
        let secret = Secret::new("a shared secret".to_owned());
        let expect = "v1=dec00834314fba7d2f4ead048af32b2b4fb66a59b7458652658f6a7c0075a123";
        let headers = headers(&secret, 1_767_323_045, br#"{"finding":"one"}"#);
        assert_eq!(
            headers,
            [("x-trailhound-timestamp", "1767323045".to_owned()), ("x-trailhound-signature", expect.to_owned())]
        );
    }
}
