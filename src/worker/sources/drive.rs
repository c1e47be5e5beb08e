//! The loop of every question to the gate.
//!
//! 1. If the feed has not been read for too long, it is read first.
//! 2. The gate is asked. If it lacks data, the data is fetched and the gate is asked again.
//! 3. If it answers that a tenant is unknown, the tenant may have been created a moment ago: the
//!    feed is read once more, at a bounded rate, and the gate is asked again.

use std::rc::Rc;

use super::coalesce::Unavailable;
use super::feed;
use super::fetch::{Fetched, fetch};
use crate::gate::{Gate, Need, Progress};
use crate::ledger::WaitFailure;
use crate::model::UnixMillis;
use crate::worker::config::Config;
use crate::worker::runtime::cell::with_gate;
use crate::worker::runtime::clock::{self, Patience};
use crate::worker::runtime::edge;

/// A question to the gate.
pub(crate) trait GateQuestion {
    /// The answer.
    type Answer;

    /// Asks. `awaited`: why the ledger's answer to another request does not serve this one.
    fn ask(&mut self, gate: &mut Gate, awaited: Option<&WaitFailure>, now: UnixMillis) -> Progress<Self::Answer>;

    /// Whether the answer says that a tenant is unknown.
    fn is_unknown(answer: &Self::Answer) -> bool;

    /// Asks the custom resolver about the request. Returns false if there is no request to ask about.
    async fn ask_resolver(&mut self) -> bool {
        false
    }
}

/// Asks until the gate answers.
pub(crate) async fn drive<Q: GateQuestion>(
    question: Q,
    config: &Rc<Config>,
    context: &edge::ExecutionContext,
    patience: Patience,
) -> Result<Q::Answer, Unavailable> {
    drive_on(question, None, config, context, patience).await
}

/// As [`drive`], where the gate has been asked once already.
pub(crate) async fn drive_on<Q: GateQuestion>(
    mut question: Q,
    mut progress: Option<Progress<Q::Answer>>,
    config: &Rc<Config>,
    context: &edge::ExecutionContext,
    patience: Patience,
) -> Result<Q::Answer, Unavailable> {
    if progress.is_none() && feed::is_due(config, context, clock::now()) {
        feed::read(config, patience).await?;
    }
    let mut awaited = None;
    loop {
        let now = clock::now();
        let asked = progress.take().unwrap_or_else(|| with_gate(|gate| question.ask(gate, awaited.as_ref(), now)));
        match asked {
            Progress::Ready(answer) if Q::is_unknown(&answer) && feed::may_know_more(config, now) => {
                feed::read(config, patience).await?;
            }
            Progress::Ready(answer) => return Ok(answer),
            Progress::Need(Need::CustomResolver) => {
                if !question.ask_resolver().await {
                    return Err(Unavailable);
                }
            }
            Progress::Need(need) => match fetch(need, config, patience).await {
                Fetched::Yes => {}
                Fetched::Awaited(why) => awaited = Some(why),
                Fetched::No => return Err(Unavailable),
            },
        }
    }
}
