//! The budget of changes of tenant admins. The ledger of the tenant's family counts it.
//!
//! Each change writes rows to a database that all tenants share, and the audit trail only grows.
//! Without a budget, one tenant could fill the database.

use serde_json::json;

use super::error::AdminError;
use super::request::AdminRequest;
use crate::control::Operation;
use crate::ledger::{Charge, CounterOp, LedgerRequest, Meter, Rate};
use crate::model::bounds::{
    ADMIN_BURST_BYTES, ADMIN_BURST_CHANGES, ADMIN_DAY_BYTES, ADMIN_DAY_CHANGES, ADMIN_ROW_BYTES, ADMIN_SHARES,
    MAX_WINDOW_MS,
};

impl AdminRequest<'_> {
    /// Debits a change from the budget of the tenant admin's tenant. Operators have no budget.
    ///
    /// INVARIANT (nobody is locked out from below): a root has a budget of its own. All tenants
    /// below it share a second one, of which each tenant may use a quarter.
    pub(super) async fn spend(&self, operation: &Operation) -> Result<(), AdminError> {
        let Some(own) = self.actor.tenant.as_ref().filter(|_| operation.method != "GET") else { return Ok(()) };
        let root = self.store.record(own.as_str()).await?.ok_or(AdminError::NOT_FOUND)?.root;
        // A change stores its body about four times: the record and the trail, before and after.
        let bytes =
            u64::try_from(self.body.len()).unwrap_or(u64::MAX).saturating_mul(4).saturating_add(ADMIN_ROW_BYTES);
        let is_root = root == own.as_str();
        let share = |units: u64| if is_root { units } else { units / ADMIN_SHARES };
        let [changes_a_day, changes_at_once] = [share(ADMIN_DAY_CHANGES), share(ADMIN_BURST_CHANGES)];
        let [bytes_a_day, bytes_at_once] = [share(ADMIN_DAY_BYTES), share(ADMIN_BURST_BYTES)];
        let rate = |limit, burst| Meter::Rate(Rate { limit, burst, window_ms: MAX_WINDOW_MS });
        // Keys of limits never contain `#`, so these counters do not collide with theirs.
        let mut counters = vec![
            (format!("{own}/#changes"), rate(changes_a_day, changes_at_once), 1),
            (format!("{own}/#bytes"), rate(bytes_a_day, bytes_at_once), bytes),
        ];
        if !is_root {
            counters.push((format!("{root}/#changes-below"), rate(ADMIN_DAY_CHANGES, ADMIN_BURST_CHANGES), 1));
            counters.push((format!("{root}/#bytes-below"), rate(ADMIN_DAY_BYTES, ADMIN_BURST_BYTES), bytes));
        }
        let charges = counters.iter().map(|(counter, meter, units)| Charge {
            counter,
            meter: *meter,
            op: CounterOp::Take(*units),
            shadow: false,
        });
        let question =
            LedgerRequest { tenant: Some(own.as_str()), charges: charges.collect(), ..LedgerRequest::default() };
        let outcome = self.ask_ledger(&root, &question).await?;
        if outcome.allowed {
            return Ok(());
        }
        let wait_ms = outcome.verdicts.iter().filter_map(|verdict| verdict.retry_after_ms).max();
        let most = json!({
            "changes_per_day": changes_a_day, "changes_at_once": changes_at_once,
            "bytes_per_day": bytes_a_day, "retry_after_ms": wait_ms,
        });
        Err(AdminError::BUDGET.with(most))
    }
}
