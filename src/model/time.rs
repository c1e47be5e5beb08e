//! Points in time. The core has no clock; callers pass the current time.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::{Read, Reader};

/// Milliseconds since 1970-01-01T00:00:00Z, up to the end of the year 9999.
///
/// Documents contain either RFC 3339 text (`2026-01-31T00:00:00Z`) or a number of milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(u64);

impl UnixMillis {
    /// 9999-12-31T23:59:59.999Z, the last time that RFC 3339 can represent.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// A time. Values after [`Self::MAX`] become [`Self::MAX`].
    pub const fn new(millis: u64) -> Self {
        if millis > Self::MAX.0 { Self::MAX } else { Self(millis) }
    }

    /// Converts a JavaScript number. Fractions are dropped; NaN and negative numbers become 0.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates, which is the contract"
    )]
    pub fn from_js(millis: f64) -> Self {
        Self::new(millis as u64)
    }

    /// Parses RFC 3339 text. Returns `None` if it is invalid or before 1970.
    pub fn parse(text: &str) -> Option<Self> {
        let time = DateTime::parse_from_rfc3339(text).ok()?;
        u64::try_from(time.timestamp_millis()).ok().map(Self::new)
    }

    /// The number of milliseconds.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The time `millis` milliseconds later.
    #[must_use]
    pub const fn plus(self, millis: u64) -> Self {
        Self::new(self.0.saturating_add(millis))
    }

    /// Milliseconds since `earlier`, or 0 if `earlier` is later than this time.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whether this time is within `millis` after `earlier`. After a clock has stepped back,
    /// `earlier` may lie in the future: then nothing is known about how long ago that was.
    pub const fn is_within(self, millis: u64, earlier: Self) -> bool {
        earlier.0 <= self.0 && self.since(earlier) < millis
    }

    pub(crate) fn utc(self) -> DateTime<Utc> {
        // INVARIANT (time in range): `new` keeps the value below the year 10000, which chrono can
        // represent.
        i64::try_from(self.0).ok().and_then(DateTime::from_timestamp_millis).unwrap_or_default()
    }
}

/// When a request was sent to a ledger.
///
/// INVARIANT (time across waiting): this time is in the past once the reply has arrived. A decision
/// is completed at a [`HeardAt`], and no function converts one into the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AskedAt(UnixMillis);

/// When a reply arrived or the wait for it was abandoned: the current time after a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeardAt(UnixMillis);

impl AskedAt {
    /// A request that is sent now.
    pub const fn now(now: UnixMillis) -> Self {
        Self(now)
    }

    /// Whether the request is at least `millis` milliseconds old.
    pub const fn is_older(self, millis: u64, now: UnixMillis) -> bool {
        now.since(self.0) >= millis
    }

    /// The time `millis` milliseconds after the request.
    #[must_use]
    pub const fn plus(self, millis: u64) -> UnixMillis {
        self.0.plus(millis)
    }
}

impl HeardAt {
    /// A reply that arrives now. Read the clock after the wait.
    pub const fn now(now: UnixMillis) -> Self {
        Self(now)
    }

    /// The time.
    pub const fn get(self) -> UnixMillis {
        self.0
    }

    /// Milliseconds between the request and its reply.
    pub const fn since(self, asked: AskedAt) -> u64 {
        self.0.since(asked.0)
    }
}

impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.utc().to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

impl Serialize for UnixMillis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Read for UnixMillis {
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        value
            .as_str()
            .and_then(Self::parse)
            .or_else(|| value.as_u64().filter(|millis| *millis <= Self::MAX.0).map(Self))
            .or_else(|| reader.unexpected(value, "a time as RFC 3339 text or as milliseconds since 1970"))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for UnixMillis {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "RFC 3339 text, or milliseconds since 1970-01-01T00:00:00Z",
            "anyOf": [{ "type": "string", "format": "date-time" }, { "type": "integer", "minimum": 0, "maximum": Self::MAX.0 }],
        })
    }
}
