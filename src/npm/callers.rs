//! Callers by number: who shows the same credential again is not described to JavaScript again.

use std::sync::Arc;

use crate::gate::Bearer;
use crate::model::Cache;
use crate::model::bounds::MAX_CACHED_TOKENS;

/// Numbers of callers. A credential that is held here keeps its address, so that the address can stand for it.
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
    /// The number of a caller: 1 and up, never that of another one.
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
