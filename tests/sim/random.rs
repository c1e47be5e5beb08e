//! Random numbers that are the same for the same seed (SplitMix64).

/// An inclusive range.
pub type Range = (u64, u64);

/// The generator of one world. Every draw advances it, so the order of draws is part of a history.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the generator's state.
    pub const fn state(&self) -> u64 {
        self.0
    }

    /// Returns a number below `bound`, which counts as at least 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// Returns a number of a range.
    pub fn within(&mut self, (low, high): Range) -> u64 {
        low + self.below(high - low + 1)
    }

    /// Returns an index of a list that has `len` items.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }

    /// Returns true `per_million` times in a million.
    pub fn chance(&mut self, per_million: u64) -> bool {
        self.below(1_000_000) < per_million
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
