//! What a caller asks of a decision beyond what the route says.

use crate::ledger::{CounterOp, WaitFailure};

/// What a caller asks beyond what the route says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask<'a> {
    /// A tenant that the caller vouches for: no signal is read and no route applies.
    pub tenant: Option<&'a str>,
    /// Features to answer.
    pub features: &'a [&'a str],
    /// Whether every feature is answered.
    pub all_features: bool,
    /// What to do to limits. Replaces what the route says of the same limit.
    pub limits: &'a [(&'a str, CounterOp)],
    /// What the decision is for.
    pub intent: Intent<'a>,
    /// Decides as usual, but takes nothing.
    pub dry_run: bool,
    /// Why the ledger's answer that the request waited for does not serve it. The ledger is not
    /// asked for the same units again.
    pub awaited: Option<&'a WaitFailure>,
}

/// What a decision is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Intent<'a> {
    /// Decides, and takes what the request costs.
    #[default]
    Decide,
    /// As [`Self::Decide`], but the ledger takes the same key once only, for a day at least. What
    /// this isolate counts alone is taken each time.
    Once {
        /// The idempotency key.
        key: &'a str,
    },
    /// Sets aside what the request costs, under an id that is an idempotency key too.
    Reserve {
        /// The id of the reservation, among those of the tenant.
        id: &'a str,
        /// Milliseconds after which the reservation ends by itself.
        for_ms: u64,
    },
    /// Ends a hold: [`Ask::limits`] say what was used, and limits that they do not name were not
    /// used. It has happened already, so neither status nor features nor limits refuse it.
    Settle {
        /// The id of the hold.
        id: &'a str,
    },
    /// Finds the tenant and whether it may pass, and nothing else: the features, breakers and
    /// limits of the route are left alone.
    Identify,
}

impl Ask<'_> {
    /// Whether leases may pay for the request.
    pub(super) fn may_use_leases(&self) -> bool {
        !self.dry_run && matches!(self.intent, Intent::Decide | Intent::Identify)
    }

    pub(super) const fn settles(&self) -> bool {
        matches!(self.intent, Intent::Settle { .. })
    }

    pub(super) const fn reserves(&self) -> bool {
        matches!(self.intent, Intent::Reserve { .. })
    }
}
