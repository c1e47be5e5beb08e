//! Holds: units set aside under a name until their use is known.
//!
//! A reservation holds units of quotas and rates for work whose cost is known later. It is settled
//! with the units that were used, which may be more than were held, or it is released. A request in
//! flight holds slots of concurrency limits. Held units count as used. A hold that is not settled
//! in time expires and its units are free again, whereas the open units of an expired
//! [`super::Lease`] count as spent.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Meter;

/// The name under which a request sets units aside, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold<'a> {
    /// The name, which no other open hold of the ledger has.
    pub name: &'a str,
    /// Milliseconds after which the hold expires.
    pub for_ms: u64,
    /// The number of this change, if an open hold of this name is to be changed to the units of
    /// the request, and to last from now on. `None`: an open hold stays as it is.
    #[serde(rename = "again", default, skip_serializing_if = "Option::is_none")]
    pub renewal: Option<Renewal>,
}

/// The number of a change to an open hold. A change with a smaller number than the last one is
/// refused: it was overtaken. 0 if the changes of a hold are not numbered.
pub type Renewal = u64;

/// A hold, as its ledger stores it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldUnits {
    /// The held units of each counter, with the meter at the time of the hold.
    pub(super) parts: Vec<(Arc<str>, Meter, u64)>,
    pub(super) ends_ms: u64,
    /// The number of the last change.
    #[serde(rename = "again", default, skip_serializing_if = "super::verdict::is_zero")]
    pub(super) renewal: Renewal,
}

impl HeldUnits {
    pub(super) const fn ends_ms(&self) -> u64 {
        self.ends_ms
    }
}
