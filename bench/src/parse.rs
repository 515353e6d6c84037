//! How peers parse: both ways for each of them, so that no peer is slow for its parser's sake.

use anyhow::Result;
use serde::de::DeserializeOwned;

/// Makes a peer's own tree of a record.
pub(crate) type Parse<V> = fn(&[u8]) -> Result<V>;

/// By serde_json, as the peers' own programs do.
pub(crate) fn serde<V: DeserializeOwned>(record: &[u8]) -> Result<V> {
    Ok(serde_json::from_slice(record)?)
}

/// By sonic-rs, which is faster.
pub(crate) fn sonic<V: DeserializeOwned>(record: &[u8]) -> Result<V> {
    Ok(sonic_rs::from_slice(record)?)
}
