//! The hash by which rollouts choose. Frozen: golden vectors hold it.

/// The bucket of a hash, from 0 to `total - 1`, in proportion: flagd's fractional evaluation, version 2.
pub fn bucket(hash: u32, total: u32) -> u32 {
    (u64::from(hash).wrapping_mul(u64::from(total)) >> 32) as u32
}

/// `MurmurHash3_x86_32` with seed 0 (Appleby, public domain), of text that comes in parts.
///
/// # Examples
/// ```
/// use tenantgate::flags::Murmur3;
/// assert_eq!(Murmur3::default().and(b"hello, ").and(b"world").finish(), Murmur3::default().and(b"hello, world").finish());
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Murmur3 {
    hash: u32,
    /// The bytes of the word begun, and how many bytes came in all.
    word: u32,
    length: u32,
}

impl Murmur3 {
    /// With more bytes.
    #[must_use]
    pub fn and(mut self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<4>();
        // Where a word is begun, each further one ends it and begins the next.
        let begun = (self.length & 3) << 3;
        for bytes in words {
            let word = u32::from_le_bytes(*bytes);
            self.step(self.word | word << begun);
            self.word = if begun == 0 { 0 } else { word >> (32_u32.wrapping_sub(begun)) };
            self.length = self.length.wrapping_add(4);
        }
        for byte in rest {
            self.word |= u32::from(*byte) << ((self.length & 3) << 3);
            self.length = self.length.wrapping_add(1);
            if self.length.is_multiple_of(4) {
                self.step(self.word);
                self.word = 0;
            }
        }
        self
    }

    fn step(&mut self, word: u32) {
        self.hash = (self.hash ^ mix(word)).rotate_left(13).wrapping_mul(5).wrapping_add(0xE654_6B64);
    }

    /// The hash of all bytes so far.
    pub fn finish(self) -> u32 {
        let hash = self.hash ^ mix(self.word) ^ self.length;
        let hash = (hash ^ (hash >> 16)).wrapping_mul(0x85EB_CA6B);
        let hash = (hash ^ (hash >> 13)).wrapping_mul(0xC2B2_AE35);
        hash ^ (hash >> 16)
    }
}

fn mix(word: u32) -> u32 {
    word.wrapping_mul(0xCC9E_2D51).rotate_left(15).wrapping_mul(0x1B87_3593)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_it_is_cut_the_hash_is_the_same() {
        let text = b"the same text, cut in three";
        let whole = Murmur3::default().and(text).finish();
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let parts = Murmur3::default().and(&text[..first]).and(&text[first..second]).and(&text[second..]);
                assert_eq!(parts.finish(), whole, "{first}, {second}");
            }
        }
    }
}
