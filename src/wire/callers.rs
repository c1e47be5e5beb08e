//! Numbers for callers, so that JavaScript reads the description of a caller only once.

use std::sync::Arc;

use crate::gate::Bearer;
use crate::model::Cache;
use crate::model::bounds::MAX_CACHED_TOKENS;

/// The numbers of callers by the address of their credential. The cache keeps the credential alive,
/// so its address is not reused.
#[derive(Debug)]
pub(super) struct Callers {
    known: Cache<usize, (Bearer, f64)>,
    last: f64,
}

impl Default for Callers {
    fn default() -> Self {
        Self { known: Cache::new(MAX_CACHED_TOKENS), last: 0.0 }
    }
}

impl Callers {
    /// Returns the number of a caller, from 1. Numbers are never reused.
    pub(super) fn number(&mut self, bearer: &Bearer) -> f64 {
        let address = Arc::as_ptr(&bearer.credential).addr();
        match self.known.get_mut(&address) {
            Some((known, number)) if known.tenant == bearer.tenant => *number,
            _ => {
                self.last += 1.0;
                self.known.insert(address, (bearer.clone(), self.last));
                self.last
            }
        }
    }
}
