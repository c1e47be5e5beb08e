//! [`Ask`]: the caller's instructions for one decision, in addition to the route.

use crate::ledger::{CounterOp, Renewal, WaitFailure};

/// The caller's instructions for one decision, in addition to the route.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask<'a> {
    /// A tenant that the caller vouches for: no signal is read and no route applies.
    pub tenant: Option<&'a str>,
    /// The features to evaluate.
    pub features: &'a [&'a str],
    /// Whether to evaluate all features.
    pub all_features: bool,
    /// Operations on limits. They replace the route's costs of the same limits.
    pub limits: &'a [(&'a str, CounterOp)],
    /// Whether to report every limit as it stands, also those that nothing is taken from.
    pub all_limits: bool,
    /// The purpose of the decision.
    pub intent: Intent<'a>,
    /// Whether to decide as usual but debit nothing.
    pub dry_run: bool,
    /// Whether the decision may wait for a ledger.
    pub waiting: Waiting<'a>,
}

/// Whether a decision may wait for a ledger.
#[derive(Debug, Clone, Copy, Default)]
pub enum Waiting<'a> {
    /// It may.
    #[default]
    Allowed,
    /// It has waited for the response to another request's question. For this reason that does not
    /// serve it, and the gate does not claim the same units again.
    Failed(&'a WaitFailure),
    /// It may not. If a ledger has to be asked, the answer is
    /// [`Need::Ledger`](super::Need::Ledger), and nothing is debited.
    Never,
}

impl<'a> From<Option<&'a WaitFailure>> for Waiting<'a> {
    fn from(failure: Option<&'a WaitFailure>) -> Self {
        failure.map_or(Self::Allowed, Self::Failed)
    }
}

/// The purpose of a decision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Intent<'a> {
    /// Decides, and debits what the request costs.
    #[default]
    Decide,
    /// Like [`Self::Decide`], but the ledger counts the same key only once, for at least a day.
    /// Limits that this isolate counts alone are debited each time.
    Once {
        /// The idempotency key.
        key: &'a str,
    },
    /// Reserves what the request costs, under an id that is also an idempotency key.
    Reserve {
        /// The id of the reservation, unique for the tenant.
        id: &'a str,
        /// Milliseconds until the end time of the reservation.
        for_ms: u64,
        /// The number of this change, if an open reservation of this id is to be changed and
        /// extended. `None`: the request is a repetition, and the reservation stays as it is.
        renewal: Option<Renewal>,
    },
    /// Settles a hold. [`Ask::limits`] contains the units that were used; limits that it does not
    /// name were not used. The use has already happened, so no status, feature or limit denies it.
    Settle {
        /// The id of the hold.
        id: &'a str,
    },
    /// Identifies the tenant and checks that it may be served. The features, breakers and limits of
    /// the route are not evaluated.
    Identify,
}

impl Ask<'_> {
    /// Whether the decision is made without a ledger or not at all.
    pub(super) const fn is_at_once(&self) -> bool {
        matches!(self.waiting, Waiting::Never)
    }

    /// Why a response that the request has waited for does not serve it.
    pub(super) fn awaited(&self) -> Option<WaitFailure> {
        if let Waiting::Failed(failure) = self.waiting { Some(failure.clone()) } else { None }
    }

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
