//! Paths in comparable form, and the other paths that an origin might read in them.
//!
//! The gate and the origin may read a path differently. [`comparable`] rejects paths that were
//! never normalised. [`lenient`] gives the reading of the most liberal origin; the gate denies a
//! request if that reading leads to another route.

use std::borrow::Cow;

use crate::model::bounds::MAX_PATH_BYTES;

/// Brings a path into the form in which prefixes are compared: escapes of unreserved characters are
/// decoded (RFC 3986 §6.2.2.2).
///
/// Returns `None` if the path is too long or was never normalised, so that an origin might read it
/// as another path: dot segments (escaped or not), backslashes, control characters.
pub fn comparable(path: &str) -> Option<Comparable<'_>> {
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
    if seen & BAD != 0 || seen & ESCAPE != 0 && !(is_well_escaped(path) && escapes_are_visible(path)) {
        return None;
    }
    let plain = if seen & ESCAPE != 0 { Cow::Owned(unescape(path)) } else { Cow::Borrowed(path) };
    let escapes_root = seen & (ESCAPE | DOTTED) != 0 && escapes_root(&plain);
    (!escapes_root).then_some(Comparable {
        path: plain,
        doubled: seen & DOUBLE != 0,
        ambiguous: seen & (ESCAPE | ODD | DOT | DOTTED) != 0,
    })
}

/// A path in comparable form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparable<'a> {
    /// The path.
    pub path: Cow<'a, str>,
    /// Whether the path has runs of slashes, which [`folded`] collapses.
    pub doubled: bool,
    /// Whether an origin might read the path as another one: see [`lenient`].
    pub ambiguous: bool,
}

fn escapes_root(path: &str) -> bool {
    path.split('/').any(|segment| segment == "." || segment == "..")
}

/// Whether every `%` starts an escape. Any other `%` could become an escape when the characters
/// after it are decoded.
fn is_well_escaped(path: &str) -> bool {
    path.split('%')
        .skip(1)
        .all(|rest| rest.get(..2).is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit())))
}

/// Whether no escape encodes a control character. Some origins truncate a path there.
fn escapes_are_visible(path: &str) -> bool {
    let is_hidden = |digits: &str| u8::from_str_radix(digits, 16).is_ok_and(|byte| byte.is_ascii_control());
    !path.split('%').skip(1).any(|rest| rest.get(..2).is_some_and(is_hidden))
}

/// How often [`lenient`] decodes escapes: nested escapes may be decoded by the origin and by
/// proxies before it.
const PASSES: usize = 3;

/// The path as the most liberal origin might read it: escapes decoded repeatedly, backslashes as
/// slashes, truncated at `?` and `#`, without path parameters (`;v=1`) and without dots and spaces
/// at the end of segments, slashes collapsed, lower case.
///
/// Returns `None` if such an origin might find a dot segment in the path.
pub fn lenient(path: &str) -> Option<String> {
    let mut text = path.to_owned();
    for _ in 0..PASSES {
        text = decoded(&text);
    }
    let text = text.split(['?', '#']).next().unwrap_or_default().to_lowercase();
    let text = text.replace(['\\', '\u{ff0f}', '\u{ff3c}'], "/").replace('\u{ff0e}', ".");
    let before_parameters = |segment| str::split(segment, ';').next().unwrap_or_default();
    let cut: Vec<_> = text.split('/').map(before_parameters).collect();
    let is_blank = |c: char| c == '.' || c.is_whitespace();
    let trimmed: Vec<_> = cut.iter().map(|segment| segment.trim_end_matches(is_blank)).collect();
    // Some origins read a segment of dots and spaces as a dot segment, and others as empty.
    if cut.iter().zip(&trimmed).any(|(segment, rest)| rest.is_empty() && !segment.is_empty()) {
        return None;
    }
    Some(folded(&trimmed.join("/")))
}

/// The path without the extension of its last segment, because many origins serve `/reports` for
/// `/reports.json`. Returns `None` if there is no extension.
pub fn without_extension(path: &str) -> Option<&str> {
    let (stem, extension) = path.rsplit_once('.')?;
    (!extension.contains('/') && !stem.ends_with('/')).then_some(stem)
}

/// The path with all escapes decoded once.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escape = tail.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = escape.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

// Classes of bytes in a path, as bits. `DOUBLE` and `DOTTED` are a slash and a dot after a slash:
// the class of the byte, shifted left by one.
const PLAIN: u8 = 0;
const SLASH: u8 = 1;
const DOUBLE: u8 = 2;
const DOT: u8 = 4;
const DOTTED: u8 = 8;
const ESCAPE: u8 = 16;
const BAD: u8 = 32;
const ODD: u8 = 64;

const CLASSES: [u8; 256] = classes();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated at compile time, where a mistake is a compile error"
)]
const fn classes() -> [u8; 256] {
    let mut classes = [PLAIN; 256];
    classes[b';' as usize] = ODD;
    let mut upper = b'A';
    while upper <= b'Z' {
        classes[upper as usize] = ODD;
        upper += 1;
    }
    let mut control = 0;
    while control <= b' ' {
        classes[control as usize] = BAD;
        control += 1;
    }
    let mut foreign = 0x7F;
    while foreign < 256 {
        classes[foreign] = ODD;
        foreign += 1;
    }
    classes[0x7F] = BAD;
    classes[b'/' as usize] = SLASH;
    classes[b'.' as usize] = DOT;
    classes[b'%' as usize] = ESCAPE;
    classes[b'\\' as usize] = BAD;
    classes[b'?' as usize] = BAD;
    classes[b'#' as usize] = BAD;
    classes
}

/// The path in the form in which routes are compared: runs of slashes collapsed, as many origins
/// do.
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

/// The character that an escape such as `%41` encodes, if it is unreserved. Others stay escaped.
fn unescaped(escape: &str) -> Option<char> {
    let digits = escape.strip_prefix('%')?;
    let byte = u8::from_str_radix(digits, 16).ok().filter(|_| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    (byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')).then(|| char::from(byte))
}

/// Splits a path into the tenant segment after `prefix` and the rest, which starts with `/`.
/// Returns `None` if the path does not start with the prefix.
pub(super) fn split<'a>(path: &'a str, prefix: &str) -> Option<(&'a str, &'a str)> {
    let tail = path.strip_prefix(prefix)?;
    let end = tail.find('/').unwrap_or(tail.len());
    let (segment, rest) = tail.split_at_checked(end)?;
    Some((segment, if rest.is_empty() { "/" } else { rest }))
}
