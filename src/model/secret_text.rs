//! Secrets that are shown once: API keys, admin tokens, tickets.
//!
//! A prefix of 8 characters that says what it is, then 16 characters that name it, 32 that are its secret (190 bits), and 6 that
//! are a checksum of all before, so that a mistyped or made-up one is refused without a look-up, and scanners of leaked secrets
//! can tell one from noise. The alphabet is `0-9A-Za-z`. Only the SHA-256 of the whole text is kept.

use crc::{CRC_32_ISO_HDLC, Crc, NoTable};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::KeyId;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
// Without a table: it would be larger than all else that secrets need, for sixty bytes a request.
const CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);
const PREFIX_BYTES: usize = 8;
const ID_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 6;
/// Bytes of a secret text.
pub const SECRET_TEXT_BYTES: usize = PREFIX_BYTES + ID_BYTES + SECRET_BYTES + CHECKSUM_BYTES;
/// Bytes of randomness that one is made of: twice what it needs, since some are passed over.
pub const ENTROPY_BYTES: usize = 96;

/// A secret that was made, or that somebody presented: well-formed, not verified.
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
    /// Makes one out of randomness that the caller provides. `None`: what was provided is not random, or the prefix is no prefix.
    pub fn make(prefix: &str, entropy: &[u8; ENTROPY_BYTES]) -> Option<Self> {
        // 248 is the largest multiple of 62 in a byte: larger bytes would favour some characters.
        let mut characters = entropy.iter().filter(|byte| **byte < 248).map(|byte| character(u32::from(*byte)));
        let mut take = |count| (0..count).map(|_| characters.next()).collect::<Option<String>>();
        let (id, secret) = (take(ID_BYTES)?, take(SECRET_BYTES)?);
        let body = format!("{prefix}{id}{secret}");
        let text = format!("{body}{}", checksum_of(&body));
        (prefix.len() == PREFIX_BYTES).then_some(Self { text, id: KeyId::parse(&id)? })
    }

    /// The text: for its holder, and kept nowhere.
    pub fn into_text(self) -> String {
        self.text
    }
}

impl<'a> SecretText<&'a str> {
    /// Reads one with this prefix; `None`: it has not the form of one.
    pub fn parse(text: &'a str, prefix: &str) -> Option<Self> {
        let (body, checksum) = text.split_at_checked(SECRET_TEXT_BYTES.saturating_sub(CHECKSUM_BYTES))?;
        let rest = body.strip_prefix(prefix)?;
        let plain =
            checksum.len() == CHECKSUM_BYTES && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        Some(Self { text, id: KeyId::parse(rest.get(..ID_BYTES)?)? }).filter(|_| plain)
    }

    /// Whether the checksum is right: what is mistyped, or made up, is told apart without looking it up.
    pub fn is_whole(&self) -> bool {
        let parts = self.text.split_at_checked(SECRET_TEXT_BYTES.saturating_sub(CHECKSUM_BYTES));
        parts.is_some_and(|(body, checksum)| checksum == checksum_of(body))
    }
}

impl<T: AsRef<str>> SecretText<T> {
    /// The part that names it; no secret.
    pub const fn id(&self) -> &KeyId {
        &self.id
    }

    /// The SHA-256 of all of it.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.text.as_ref()).into()
    }

    /// The same in hexadecimal: what is kept of it.
    pub fn hash(&self) -> String {
        hex(&self.digest())
    }

    /// Whether it is the one of which this hash was kept. Takes the same time whatever the answer.
    pub fn has_hash(&self, hash: &str) -> bool {
        self.hash().as_bytes().ct_eq(hash.as_bytes()).into()
    }
}

/// Bytes in hexadecimal, lower case.
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

/// CRC-32 in base 62, most significant first.
fn checksum_of(body: &str) -> String {
    let mut rest = CRC.checksum(body.as_bytes());
    let mut digits = [0_u32; CHECKSUM_BYTES];
    for digit in digits.iter_mut().rev() {
        (*digit, rest) = (rest % 62, rest / 62);
    }
    digits.map(character).iter().collect()
}
