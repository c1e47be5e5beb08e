//! The decision API, `POST /_gate/v1/decide`: decides requests that the operator's own code serves.
//!
//! The body describes the request. The response contains the decision; nothing is forwarded.

use std::rc::Rc;

use web_sys::Response;

use crate::gate::{Ask, CallEnd, Decision, Gate, Progress, Step};
use crate::ledger::WaitFailure;
use crate::model::UnixMillis;
use crate::model::bounds::MAX_BODY_BYTES;
use crate::wire::DecideBody;
use crate::worker::config::Config;
use crate::worker::gateway;
use crate::worker::gateway::behind::{self, Asker};
use crate::worker::http::call::{About, Call};
use crate::worker::http::reply;
use crate::worker::ledger::keeper;
use crate::worker::runtime::clock::Patience;
use crate::worker::sources::drive::{GateQuestion, drive};

/// The question that a body asks.
struct BodyQuestion<'b> {
    body: &'b DecideBody,
    region: Option<&'b str>,
}

impl GateQuestion for BodyQuestion<'_> {
    type Answer = Step;

    fn ask(&mut self, gate: &mut Gate, awaited: Option<&WaitFailure>, now: UnixMillis) -> Progress<Step> {
        let parts = self.body.borrow();
        let ask = Ask { waiting: awaited.into(), ..self.body.ask(&parts) };
        gate.decide(&self.body.request(&parts, self.region), &ask, now)
    }

    fn is_unknown(answer: &Step) -> bool {
        answer.is_unknown_tenant()
    }
}

/// Answers a request to the decision API.
pub(crate) async fn answer(call: &Call, config: &Rc<Config>) -> Response {
    let text = match reply::body(call, MAX_BODY_BYTES).await {
        Ok(text) => text,
        Err(failure) => return failure.respond(call),
    };
    let body = match DecideBody::parse(&text) {
        Ok(body) => body,
        Err(problems) => return reply::invalid(call, &problems),
    };
    let asker = Asker { request: Some(&call.request), context: &call.context, explain: call.explain };
    reply::answer(&decide(&body, asker, config).await)
}

/// Decides the question in a body.
pub(crate) async fn decide(body: &DecideBody, asker: Asker<'_>, config: &Rc<Config>) -> Decision {
    let patience = Patience::new();
    let question = BodyQuestion { body, region: config.region.as_deref() };
    let Ok(step) = drive(question, config, asker.context, patience).await else {
        return gateway::unavailable();
    };
    let mut decision: Decision = keeper::conclude(step, config, asker.context, patience).await;
    // Other code serves the request, and does not report how the call ended.
    keeper::ended(&decision, CallEnd::Unknown, config, asker.context);
    let parts = body.borrow();
    let about = About::from(&body.request(&parts, config.region.as_deref()));
    behind::after_question(asker, &about, config, &mut decision);
    decision
}
