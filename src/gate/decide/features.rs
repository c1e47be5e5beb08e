//! Stage 7: the feature that the route needs, and the features that were asked for.

use std::sync::Arc;

use crate::gate::answer::{Stage, read, remedy};
use crate::gate::ask::Ask;
use crate::gate::code::Code;
use crate::gate::compiled::{CompiledCatalog, CompiledRoute, Entitlements};
use crate::gate::cx::{Cx, Exit};
use crate::resolve::EvalContext;

pub(super) fn evaluate(
    cx: &mut Cx,
    catalog: &CompiledCatalog,
    tenant: &Entitlements,
    route: Option<&CompiledRoute>,
    context: EvalContext<'_>,
    ask: &Ask<'_>,
) -> Result<(), Exit> {
    let slots;
    let context = match context {
        EvalContext::Placed(slots) => slots,
        EvalContext::Named(attributes) => {
            slots = catalog.features.slots(attributes);
            &slots
        }
    };
    let facts = tenant.facts(context, cx.now);
    if let Some(answer) = route.and_then(|route| catalog.features.evaluate(route.feature?, facts)) {
        let key = Arc::clone(&answer.key);
        if !answer.enabled {
            cx.trace.stop(Stage::Feature, || (read(&answer), remedy(&answer, catalog)));
            cx.decision.features.push(answer);
            cx.decision.extras_mut().denied_feature = Some(key);
            let reason = "the route needs a feature that is off";
            return Err(cx.deny(Stage::Feature, Code::FeatureNotAvailable, reason));
        }
        cx.trace.pass(Stage::Feature, || read(&answer));
        cx.decision.features.push(answer);
    }
    if ask.all_features {
        cx.decision.features = catalog.features.evaluate_all(facts);
    }
    for key in ask.features {
        let answer = catalog.features.evaluate_named(key, facts);
        cx.trace.pass(Stage::Feature, || format!("asked for `{key}`: {}", read(&answer)));
        cx.decision.features.push(answer);
    }
    Ok(())
}
