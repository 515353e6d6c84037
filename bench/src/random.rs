//! Numbers from a seed: SplitMix64 (Steele, Lea, Flood 2014), so that everybody measures on the same bytes.

/// A stream of numbers.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// One of a list that is not empty.
    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// `len` characters of upper case hex, as ids and tokens have them.
    pub(crate) fn token(&mut self, len: usize) -> String {
        let mut token = String::with_capacity(len + 16);
        while token.len() < len {
            token.push_str(&format!("{:016X}", self.next()));
        }
        token.truncate(len);
        token
    }

    /// A UUID of version 4, as eventID is.
    pub(crate) fn uuid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        let (low, variant, node) = (a & 0xfff, 0x8000 | (b >> 48 & 0x3fff), b & 0xffff_ffff_ffff);
        format!("{:08x}-{:04x}-4{low:03x}-{variant:04x}-{node:012x}", a >> 32, a >> 16 & 0xffff)
    }
}
