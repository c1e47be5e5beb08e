//! Hosts as they are compared: lower case, no port, no trailing dot, names beyond ASCII as A-labels.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use crate::model::bounds::MAX_HOST_BYTES;

/// A host in comparable form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host<'a> {
    /// No host at all.
    Empty,
    /// An IP literal; IPv6 in brackets.
    Ip(Cow<'a, str>),
    /// A name.
    Name(Cow<'a, str>),
}

impl Host<'_> {
    /// The comparable text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Empty => "",
            Self::Ip(text) | Self::Name(text) => text,
        }
    }
}

/// Reads a host or `Host` header. `None`: no host can be made of it.
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

/// Whether a name stands in comparable form already, as it mostly does.
fn is_comparable(name: &str) -> bool {
    let (mut label, mut good) = (0_usize, true);
    for byte in name.bytes() {
        if byte == b'.' {
            good &= label > 0 && label <= 63;
            label = 0;
        } else {
            // INVARIANT (table): 256 entries, one for every byte.
            good &= LABEL.get(usize::from(byte)).copied().unwrap_or(false);
            label = label.saturating_add(1);
        }
    }
    good && label > 0 && label <= 63 && name.len() <= MAX_HOST_BYTES
}

/// Bytes of a label: lower-case letters, digits, hyphen and underscore.
#[expect(clippy::indexing_slicing, reason = "at compile time, where a mistake does not compile")]
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

/// A name whose last label is a number is an IPv4 address or nothing (WHATWG URL, "ends in a number").
fn is_ipv4(name: &str) -> bool {
    // Few names end in a digit, and hexadecimal ones in nothing else than hexadecimal digits.
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
    // The platform's URL class has made A-labels before a host comes here.
    #[cfg(target_family = "wasm")]
    return None;
}
