//! Paths as they are compared.

use std::borrow::Cow;

use crate::model::bounds::MAX_PATH_BYTES;

/// The path in the form in which prefixes are compared: escapes of unreserved characters undone (RFC 3986 §6.2.2.2),
/// and whether it has runs of slashes, which [`folded`] folds.
/// `None`: the path is too long, or was never normalised (dot segments, also escaped; backslashes), so that an origin
/// might read it as another one.
pub fn comparable(path: &str) -> Option<(Cow<'_, str>, bool)> {
    if !path.starts_with('/') || path.len() > MAX_PATH_BYTES {
        return None;
    }
    let (mut seen, mut before) = (PLAIN, PLAIN);
    for byte in path.bytes() {
        // INVARIANT (table): 256 entries, one for every byte.
        let class = CLASSES.get(usize::from(byte)).copied().unwrap_or(BAD);
        seen |= class;
        if before == SLASH && class & (SLASH | DOT) != 0 {
            seen |= class << 1;
        }
        before = class;
    }
    if seen & BAD != 0 {
        return None;
    }
    let path = if seen & ESCAPE != 0 { Cow::Owned(unescape(path)) } else { Cow::Borrowed(path) };
    let climbs = seen & (ESCAPE | DOTTED) != 0 && path.split('/').any(|segment| segment == "." || segment == "..");
    (!climbs).then_some((path, seen & DOUBLE != 0))
}

// Classes of bytes in a path, as bits. `DOUBLE` and `DOTTED` are a slash and a dot after a slash: their class, shifted.
const PLAIN: u8 = 0;
const SLASH: u8 = 1;
const DOUBLE: u8 = 2;
const DOT: u8 = 4;
const DOTTED: u8 = 8;
const ESCAPE: u8 = 16;
const BAD: u8 = 32;

const CLASSES: [u8; 256] = classes();

#[expect(clippy::indexing_slicing, reason = "at compile time, where a mistake does not compile")]
const fn classes() -> [u8; 256] {
    let mut classes = [PLAIN; 256];
    classes[b'/' as usize] = SLASH;
    classes[b'.' as usize] = DOT;
    classes[b'%' as usize] = ESCAPE;
    classes[b'\\' as usize] = BAD;
    classes[b'?' as usize] = BAD;
    classes[b'#' as usize] = BAD;
    classes[0] = BAD;
    classes
}

/// The path in the form in which routes are compared: runs of slashes folded, as many origins do.
pub fn folded(path: &str) -> String {
    let mut folded = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !folded.ends_with('/') {
            folded.push(c);
        }
    }
    folded
}

fn unescape(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(c) = rest.chars().next() {
        let escape = rest.get(..3).and_then(unescaped);
        let (c, length) = escape.map_or((c, c.len_utf8()), |c| (c, 3));
        plain.push(c);
        rest = rest.get(length..).unwrap_or_default();
    }
    plain
}

/// The unreserved character behind `%41`; others stay escaped.
fn unescaped(escape: &str) -> Option<char> {
    let digits = escape.strip_prefix('%')?;
    let byte = u8::from_str_radix(digits, 16).ok().filter(|_| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    (byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')).then(|| char::from(byte))
}

/// The tenant segment after `prefix`, and the rest of the path, which starts with `/`. `None`: not under the prefix.
pub(super) fn split<'a>(path: &'a str, prefix: &str) -> Option<(&'a str, &'a str)> {
    let tail = path.strip_prefix(prefix)?;
    let end = tail.find('/').unwrap_or(tail.len());
    let (segment, rest) = tail.split_at_checked(end)?;
    Some((segment, if rest.is_empty() { "/" } else { rest }))
}
