//! The questions that the gateway asks the gate about one request; see [`drive`].
//!
//! [`drive`]: crate::worker::sources::drive

use std::rc::Rc;

use crate::gate::{Ask, Code, Gate, Intent, Progress, Step};
use crate::ledger::WaitFailure;
use crate::model::UnixMillis;
use crate::worker::config::Config;
use crate::worker::http::call::Call;
use crate::worker::sources::custom_resolver;
use crate::worker::sources::drive::GateQuestion;

/// The full question: whether the request may pass, and what it debits.
pub(super) struct CallQuestion<'c> {
    pub(super) call: &'c mut Call,
    pub(super) config: &'c Rc<Config>,
}

/// The question of [`Intent::Identify`]: which tenant the request belongs to, and whether it may
/// pass. Debits nothing.
pub(super) struct Identification<'c> {
    pub(super) call: &'c mut Call,
    pub(super) config: &'c Rc<Config>,
    pub(super) ask: &'c Ask<'c>,
}

/// Asks the gate about a request.
pub(super) fn ask(
    call: &Call,
    config: &Config,
    gate: &mut Gate,
    awaited: Option<&WaitFailure>,
    now: UnixMillis,
) -> Progress<Step> {
    let headers = call.headers();
    // An explanation shows the decision that would be made. It is a dry run.
    let ask = Ask { dry_run: call.explain, awaited, ..Ask::default() };
    gate.decide(&call.request(&headers, config), &ask, now)
}

/// Whether the decision is that the tenant is unknown.
pub(crate) fn is_unknown(step: &Step) -> bool {
    matches!(step, Step::Decided(decision) if decision.code == Code::TenantNotFound)
}

impl GateQuestion for CallQuestion<'_> {
    type Answer = Step;

    fn ask(&mut self, gate: &mut Gate, awaited: Option<&WaitFailure>, now: UnixMillis) -> Progress<Step> {
        // A catalog that has arrived meanwhile may need other headers.
        self.call.read_again(self.config);
        ask(self.call, self.config, gate, awaited, now)
    }

    fn is_unknown(answer: &Step) -> bool {
        is_unknown(answer)
    }

    async fn ask_resolver(&mut self) -> bool {
        self.call.custom = custom_resolver::resolve(self.call, self.config).await;
        true
    }
}

impl GateQuestion for Identification<'_> {
    type Answer = Step;

    fn ask(&mut self, gate: &mut Gate, awaited: Option<&WaitFailure>, now: UnixMillis) -> Progress<Step> {
        self.call.read_again(self.config);
        let headers = self.call.headers();
        let ask = Ask { intent: Intent::Identify, awaited, ..*self.ask };
        gate.decide(&self.call.request(&headers, self.config), &ask, now)
    }

    fn is_unknown(answer: &Step) -> bool {
        is_unknown(answer)
    }

    async fn ask_resolver(&mut self) -> bool {
        self.call.custom = custom_resolver::resolve(self.call, self.config).await;
        true
    }
}
