//! Stage 8: the circuit breaker of the route, as far as this isolate knows its state.
//!
//! A half-open breaker is asked together with the charges; see [`crate::gate::spend`].

use std::sync::Arc;

use crate::gate::answer::{BreakerUse, Stage};
use crate::gate::code::Code;
use crate::gate::compiled::{BreakerState, CompiledRoute, Entitlements};
use crate::gate::cx::{Cx, Exit};
use crate::gate::spend::Breakers;
use crate::ledger::Circuit;
use crate::model::bounds::RETRY_AFTER_MS;
use crate::model::{BreakerMode, UnixMillis};

pub(super) fn check(
    breakers: &Breakers,
    cx: &mut Cx,
    tenant: &Entitlements,
    route: Option<&CompiledRoute>,
) -> Result<(), Exit> {
    let Some(breaker) = route.and_then(|route| tenant.breaker(route.breaker?)) else { return Ok(()) };
    let (circuit, state) = match breaker.mode {
        BreakerMode::Auto => {
            let circuit = breakers.circuit(tenant.root(), breaker, cx.now);
            (circuit, circuit.into())
        }
        BreakerMode::ForcedOpen => (Circuit::Open(cx.now.plus(RETRY_AFTER_MS).get()), BreakerState::ForcedOpen),
        BreakerMode::Disabled => (Circuit::Closed, BreakerState::Disabled),
    };
    let used = BreakerUse { breaker: Arc::clone(breaker), state, trial: None };
    cx.decision.extras_mut().breaker = Some(used);
    let Circuit::Open(until_ms) = circuit else {
        if state != BreakerState::HalfOpen {
            cx.trace.pass(Stage::Breaker, || format!("`{}` is {}", breaker.name, state.as_str()));
        }
        return Ok(());
    };
    let until = UnixMillis::new(until_ms);
    cx.trace.stop(Stage::Breaker, || {
        let remedy = match state {
            BreakerState::ForcedOpen => String::from("another mode in the catalog or the tenant's record"),
            _ => format!("wait until {until}, when the breaker admits trial calls"),
        };
        (format!("`{}` is {}", breaker.name, state.as_str()), remedy)
    });
    cx.decision.extras_mut().retry_after_ms = Some(until.since(cx.now));
    Err(cx.deny(Stage::Breaker, Code::TenantCircuitOpen, "the circuit breaker is open"))
}
