//! Stages 5 and 6: the status of the tenant and its ancestors, and residency.

use crate::gate::answer::Stage;
use crate::gate::code::Code;
use crate::gate::compiled::Entitlements;
use crate::gate::cx::{Cx, Exit};

pub(super) fn status(cx: &mut Cx, tenant: &Entitlements) -> Result<(), Exit> {
    if let Some(code) = tenant.barrier() {
        cx.trace.stop(Stage::Status, || {
            let states = tenant.line().iter().map(|t| format!("`{}` is {}", t.id, t.status.as_str()));
            let states: Vec<_> = states.collect();
            (states.join(", "), String::from("an active tenant with active ancestors"))
        });
        return Err(cx.deny(Stage::Status, code, "the tenant, or an ancestor, is not active"));
    }
    cx.trace.pass(Stage::Status, || {
        let ancestors = tenant.line().len().saturating_sub(1);
        format!("`{}` and {ancestors} above it are active", tenant.tenant().id)
    });
    Ok(())
}

pub(super) fn residency(cx: &mut Cx, tenant: &Entitlements, place: Option<&str>) -> Result<(), Exit> {
    if !tenant.may_be_served_from(place) {
        cx.trace.stop(Stage::Residency, || {
            let here = format!("this is `{}`", place.unwrap_or("an unknown place"));
            (here, format!("one of: {}", tenant.tenant().residency.join(", ")))
        });
        let reason = "this place may not serve the tenant";
        return Err(cx.deny(Stage::Residency, Code::ResidencyViolation, reason));
    }
    cx.trace.pass(Stage::Residency, || format!("`{}` may serve it", place.unwrap_or("any place")));
    Ok(())
}
