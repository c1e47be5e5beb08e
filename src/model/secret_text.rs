//! Secrets that are shown once: API keys, admin tokens and tickets.
//!
//! A secret is a prefix of 8 characters that gives its type, an id of 16 characters, a secret part
//! of 32 characters (190 bits), and a checksum of 6 characters over everything before it. The
//! alphabet is `0-9A-Za-z`. The checksum rejects mistyped and made-up secrets without a lookup, and
//! lets scanners for leaked secrets recognise real ones. Only the SHA-256 of the whole text is
//! stored.

use crc::{CRC_32_ISO_HDLC, Crc, NoTable};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::KeyId;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
// Without a table, which would be larger than all other code for secrets and gain little on sixty
// bytes per request.
const CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);
const PREFIX_BYTES: usize = 8;
const ID_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 6;
/// Bytes of a secret text.
pub const SECRET_TEXT_BYTES: usize = PREFIX_BYTES + ID_BYTES + SECRET_BYTES + CHECKSUM_BYTES;
/// Bytes of randomness for one secret: twice as many as it has random characters, because some
/// bytes are discarded.
pub const ENTROPY_BYTES: usize = 96;

/// A secret that was made or presented: well-formed, but not verified.
#[derive(Clone)]
pub struct SecretText<T> {
    text: T,
    id: KeyId,
}

impl<T: AsRef<str>> std::fmt::Debug for SecretText<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretText").field("id", &self.id).finish_non_exhaustive()
    }
}

impl SecretText<String> {
    /// Makes a secret from randomness that the caller provides. Returns `None` if the randomness
    /// has too few usable bytes, or if the prefix is not 8 characters long.
    pub fn make(prefix: &str, entropy: &[u8; ENTROPY_BYTES]) -> Option<Self> {
        // 248 is the largest multiple of 62 in a byte. Larger bytes would favour some characters.
        let mut characters = entropy.iter().filter(|byte| **byte < 248).map(|byte| character(u32::from(*byte)));
        let mut take = |count| (0..count).map(|_| characters.next()).collect::<Option<String>>();
        let (id, secret) = (take(ID_BYTES)?, take(SECRET_BYTES)?);
        let body = format!("{prefix}{id}{secret}");
        let text = format!("{body}{}", checksum_of(&body));
        (prefix.len() == PREFIX_BYTES).then_some(Self { text, id: KeyId::parse(&id)? })
    }

    /// The text, for the secret's holder. Never stored.
    pub fn into_text(self) -> String {
        self.text
    }
}

impl<'a> SecretText<&'a str> {
    /// Parses a secret with the given prefix. Returns `None` if it is malformed.
    pub fn parse(text: &'a str, prefix: &str) -> Option<Self> {
        let (body, checksum) = text.split_at_checked(SECRET_TEXT_BYTES.saturating_sub(CHECKSUM_BYTES))?;
        let rest = body.strip_prefix(prefix)?;
        let plain =
            checksum.len() == CHECKSUM_BYTES && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        Some(Self { text, id: KeyId::parse(rest.get(..ID_BYTES)?)? }).filter(|_| plain)
    }

    /// Whether the checksum is correct. Mistyped and made-up secrets are rejected without a lookup.
    pub fn is_whole(&self) -> bool {
        let parts = self.text.split_at_checked(SECRET_TEXT_BYTES.saturating_sub(CHECKSUM_BYTES));
        parts.is_some_and(|(body, checksum)| checksum == checksum_of(body))
    }
}

impl<T: AsRef<str>> SecretText<T> {
    /// The id: the public part of the secret.
    pub const fn id(&self) -> &KeyId {
        &self.id
    }

    /// The SHA-256 of the whole text.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.text.as_ref()).into()
    }

    /// The SHA-256 of the whole text in hexadecimal, the only form in which a secret is stored.
    pub fn hash(&self) -> String {
        hex(&self.digest())
    }

    /// Whether the secret has the given stored hash. Compares in constant time.
    pub fn has_hash(&self, hash: &str) -> bool {
        self.hash().as_bytes().ct_eq(hash.as_bytes()).into()
    }
}

/// Formats bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len().saturating_mul(2)), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    })
}

fn character(number: u32) -> char {
    let index = usize::try_from(number % 62).unwrap_or(0);
    ALPHABET.get(index).copied().map_or('0', char::from)
}

/// CRC-32 in base 62, most significant digit first.
fn checksum_of(body: &str) -> String {
    let mut rest = CRC.checksum(body.as_bytes());
    let mut digits = [0_u32; CHECKSUM_BYTES];
    for digit in digits.iter_mut().rev() {
        (*digit, rest) = (rest % 62, rest / 62);
    }
    digits.map(character).iter().collect()
}
