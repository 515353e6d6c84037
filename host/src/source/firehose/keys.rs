//! Access keys, several of which may be valid at once, so that one can be replaced without a gap.

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The shortest access key, in bytes: what is shorter can be guessed.
pub const KEY_BYTES_MIN: usize = 16;

/// The longest access key, in bytes, as Firehose has it.
pub const KEY_BYTES_MAX: usize = 4_096;

/// The keys that are let in. They are kept as hashes: nothing can show them, and all comparisons take the same time.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKeys(Vec<[u8; 32]>);

impl AccessKeys {
    /// These keys.
    pub fn new<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>) -> AccessKeys {
        AccessKeys(keys.into_iter().map(|key| hash(key.as_ref())).collect())
    }

    /// Whether `key` is one of them. The time this takes tells neither which one nor how much of it is right.
    pub fn let_in(&self, key: &[u8]) -> bool {
        let given = hash(key);
        let none = subtle::Choice::from(0);
        self.0.iter().fold(none, |found, known| found | known.ct_eq(&given)).into()
    }
}

impl std::fmt::Debug for AccessKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} access keys", self.0.len())
    }
}

fn hash(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_several_keys_is_let_in_and_nothing_else() {
        let keys = AccessKeys::new(["the old key of last year", "the new key of this year"]);
        assert!(keys.let_in(b"the old key of last year") && keys.let_in(b"the new key of this year"));
        for wrong in ["", "the old key of last yea", "the old key of last year ", "THE NEW KEY OF THIS YEAR"] {
            assert!(!keys.let_in(wrong.as_bytes()), "{wrong}");
        }
        assert!(!AccessKeys::new::<&str>([]).let_in(b""), "no key lets nobody in");
        assert_eq!(format!("{keys:?}"), "2 access keys");
    }
}
