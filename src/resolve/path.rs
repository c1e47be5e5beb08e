//! Paths as they are compared.

use std::borrow::Cow;

use crate::model::bounds::MAX_PATH_BYTES;

/// The path in the form in which prefixes are compared: escapes of unreserved characters undone (RFC 3986 §6.2.2.2).
/// `None`: the path is too long, or was never normalised (dot segments, also escaped; backslashes), so that an origin
/// might read it as another one.
pub fn comparable(path: &str) -> Option<Cow<'_, str>> {
    if !path.starts_with('/') || path.len() > MAX_PATH_BYTES || path.contains(['\\', '?', '#', '\0']) {
        return None;
    }
    let path = if path.contains('%') { Cow::Owned(unescape(path)) } else { Cow::Borrowed(path) };
    let dotted = path.contains("/.") && path.split('/').any(|segment| segment == "." || segment == "..");
    (!dotted).then_some(path)
}

/// The path in the form in which routes are compared: runs of slashes folded, as many origins do.
pub fn folded(path: &str) -> Cow<'_, str> {
    if !path.contains("//") {
        return path.into();
    }
    let mut folded = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !folded.ends_with('/') {
            folded.push(c);
        }
    }
    folded.into()
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
