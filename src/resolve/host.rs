//! Hosts in comparable form: lower case, no port, no trailing dot, non-ASCII labels as A-labels.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use crate::model::bounds::MAX_HOST_BYTES;

/// A host in comparable form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host<'a> {
    /// An empty host.
    Empty,
    /// An IP literal. IPv6 in brackets.
    Ip(Cow<'a, str>),
    /// A host name.
    Name(Cow<'a, str>),
}

impl Host<'_> {
    /// The host as text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Empty => "",
            Self::Ip(text) | Self::Name(text) => text,
        }
    }
}

/// Parses a host or a `Host` header. Returns `None` if it is invalid.
///
/// # Examples
/// ```
/// use tenantgate::resolve::host::parse;
/// assert_eq!(parse("ACME.App.Example.Com.:8443").unwrap().as_str(), "acme.app.example.com");
/// assert!(parse("acme.example.com@evil.net").is_none());
/// ```
pub fn parse(text: &str) -> Option<Host<'_>> {
    if is_comparable(text) {
        return Some(if is_ipv4(text) { Host::Ip(text.into()) } else { Host::Name(text.into()) });
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        address.parse::<Ipv6Addr>().ok()?;
        return (port.is_empty() || is_port(port.strip_prefix(':')?)).then(|| {
            Host::Ip(text.get(..address.len().saturating_add(2)).unwrap_or_default().to_ascii_lowercase().into())
        });
    }
    let name = match text.split_once(':') {
        Some((name, port)) => is_port(port).then_some(name)?,
        None => text,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        return text.is_empty().then_some(Host::Empty);
    }
    let name = to_ascii(name)?;
    is_comparable(&name).then(|| if is_ipv4(&name) { Host::Ip(name) } else { Host::Name(name) })
}

/// Whether a name is already in comparable form, as most are.
fn is_comparable(name: &str) -> bool {
    let (mut label, mut valid) = (0_usize, true);
    for byte in name.bytes() {
        if byte == b'.' {
            valid &= label > 0 && label <= 63;
            label = 0;
        } else {
            // INVARIANT (table): 256 entries, one for every byte.
            valid &= LABEL.get(usize::from(byte)).copied().unwrap_or(false);
            label = label.saturating_add(1);
        }
    }
    valid && label > 0 && label <= 63 && name.len() <= MAX_HOST_BYTES
}

/// The bytes allowed in a label: lower-case letters, digits, hyphen and underscore.
#[expect(clippy::indexing_slicing, reason = "evaluated at compile time, where an invalid index is a compile error")]
const LABEL: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128_u8 {
        table[byte as usize] = byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
        byte += 1;
    }
    table
};

fn is_port(text: &str) -> bool {
    text.is_empty() || text.len() <= 5 && text.parse::<u16>().is_ok() && !text.starts_with('+')
}

/// Whether a name is an IPv4 address. A name whose last label is a number is an IPv4 address or
/// invalid (WHATWG URL, "ends in a number").
fn is_ipv4(name: &str) -> bool {
    // Fast path: a number, decimal or hexadecimal, ends with a hexadecimal digit.
    if !name.ends_with(|c: char| c.is_ascii_hexdigit()) {
        return false;
    }
    name.rsplit('.').next().is_some_and(|last| {
        last.bytes().all(|b| b.is_ascii_digit())
            || last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
    })
}

fn to_ascii(name: &str) -> Option<Cow<'_, str>> {
    if name.is_ascii() {
        let lower = !name.bytes().any(|b| b.is_ascii_uppercase());
        return Some(if lower { name.into() } else { name.to_ascii_lowercase().into() });
    }
    #[cfg(not(target_family = "wasm"))]
    return idna::domain_to_ascii_cow(name.as_bytes(), idna::AsciiDenyList::URL).ok();
    // In WebAssembly, the adapter passes hosts from the platform's URL class, which has already
    // converted them to A-labels.
    #[cfg(target_family = "wasm")]
    return None;
}
