//! How long a hub relies on what it knows of its tenant and its members.

use crate::model::UnixMillis;

/// When the tenant and the members were last judged.
#[derive(Debug, Default)]
pub struct Trust {
    /// When the judgement that counts was asked for.
    judged_at: Option<UnixMillis>,
    /// Of the members that no judgement has covered yet: when the first of them was decided.
    unjudged_since: Option<UnixMillis>,
    /// How many members have been admitted.
    admissions: u64,
}

/// A judgement that was asked for.
#[derive(Debug)]
pub struct Judging {
    asked_at: UnixMillis,
    admissions: u64,
}

impl Trust {
    /// Whether what is known is younger than `trust_ms` milliseconds.
    pub fn is_fresh(&self, trust_ms: u64, now: UnixMillis) -> bool {
        let is_young = |at| now.is_within(trust_ms, at);
        self.judged_at.is_some_and(is_young) && self.unjudged_since.is_none_or(is_young)
    }

    /// Whether there is a judgement, however old.
    pub const fn is_known(&self) -> bool {
        self.judged_at.is_some()
    }

    /// A member is admitted. `decided_at`: before its credential was decided.
    pub fn admit(&mut self, decided_at: UnixMillis) {
        self.admissions = self.admissions.saturating_add(1);
        self.unjudged_since = Some(self.unjudged_since.map_or(decided_at, |at| at.min(decided_at)));
    }

    /// Asks for a judgement of the tenant and all its members.
    pub const fn ask(&self, now: UnixMillis) -> Judging {
        Judging { asked_at: now, admissions: self.admissions }
    }

    /// The judgement is there. What it says counts from when it was asked for, and not for members
    /// who were admitted since.
    pub fn judged(&mut self, judging: &Judging) {
        self.judged_at = Some(judging.asked_at);
        if judging.admissions == self.admissions {
            self.unjudged_since = None;
        }
    }

    /// Nothing is known any more.
    pub const fn lose(&mut self) {
        self.judged_at = None;
    }
}
