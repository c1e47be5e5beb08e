//! A digest of everything that happens in a world. Two runs of the same seed have the same digest;
//! a change that is meant to keep behavior keeps the digests of all seeds.

/// A running digest (64-bit FNV-1a).
#[derive(Debug)]
pub struct History(u64);

impl History {
    pub const fn new() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }

    /// Adds bytes.
    pub fn note(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    /// Adds numbers.
    pub fn note_all(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.note(&number.to_le_bytes());
        }
    }

    /// Returns the digest of everything so far.
    pub const fn digest(&self) -> u64 {
        self.0
    }
}
