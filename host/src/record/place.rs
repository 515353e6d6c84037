//! Where bytes lie in a message, while its layers are read.

/// Where bytes lie.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// Offset in the innermost decoded layer.
    pub(super) byte: u64,
    /// Layers around.
    pub(super) nesting: u32,
    /// Whether the bytes were found within a value that does not parse: then they are not searched again.
    pub(super) rescued: bool,
}

impl Place {
    /// The place of `inner`, a part of `outer`, which lies here.
    pub(super) fn of(self, inner: &[u8], outer: &[u8]) -> Place {
        let by = (inner.as_ptr() as usize).saturating_sub(outer.as_ptr() as usize);
        Place { byte: self.byte + by as u64, ..self }
    }

    /// One layer further in, the bytes not decoded.
    pub(super) fn inside(self) -> Place {
        Place { nesting: self.nesting + 1, ..self }
    }

    /// The start of a layer that was decoded from here.
    pub(super) fn decoded(self) -> Place {
        Place { byte: 0, nesting: self.nesting + 1, rescued: false }
    }
}
