//! The question that the gateway asks the gate about one request; see [`drive`].
//!
//! [`drive`]: crate::worker::sources::drive

use std::rc::Rc;
use std::sync::Arc;

use crate::gate::{Ask, CompiledCatalog, Gate, Intent, Progress, Step};
use crate::ledger::WaitFailure;
use crate::model::{Key, UnixMillis};
use crate::worker::config::Config;
use crate::worker::http::call::Call;
use crate::worker::sources::custom_resolver;
use crate::worker::sources::drive::GateQuestion;

/// A question about one request.
pub(super) struct CallQuestion<'c> {
    pub(super) call: &'c mut Call,
    pub(super) config: &'c Rc<Config>,
    pub(super) ask: Ask<'c>,
}

/// What is asked about a request that is served.
pub(super) fn to_serve(call: &Call) -> Ask<'static> {
    // An explanation shows the decision that would be made. It is a dry run.
    Ask { dry_run: call.explain, ..Ask::default() }
}

/// Asks the gate about a request. Also asks about the features that the assertion names, if the
/// request may be forwarded with one.
pub(super) fn ask(call: &Call, config: &Config, ask: &Ask<'_>, gate: &mut Gate, now: UnixMillis) -> Progress<Step> {
    let headers = call.headers();
    let request = call.request(&headers, config);
    let asks_for_features = |catalog: &&Arc<CompiledCatalog>| !catalog.document().asserted_features().is_empty();
    if ask.intent == Intent::Decide
        && config.assertions.is_some()
        && config.has_upstream()
        && let Some(catalog) = gate.current_catalog().filter(asks_for_features).cloned()
    {
        let asserted: Vec<&str> = catalog.document().asserted_features().iter().map(Key::as_str).collect();
        return gate.decide(&request, &Ask { features: &asserted, ..*ask }, now);
    }
    gate.decide(&request, ask, now)
}

impl GateQuestion for CallQuestion<'_> {
    type Answer = Step;

    fn ask(&mut self, gate: &mut Gate, awaited: Option<&WaitFailure>, now: UnixMillis) -> Progress<Step> {
        // The catalog may have arrived while the request waited, and may read other headers.
        self.call.read_again(self.config);
        ask(self.call, self.config, &Ask { waiting: awaited.into(), ..self.ask }, gate, now)
    }

    fn is_unknown(answer: &Step) -> bool {
        answer.is_unknown_tenant()
    }

    async fn ask_resolver(&mut self) -> bool {
        self.call.custom = custom_resolver::resolve(self.call, self.config).await;
        true
    }
}
