//! The loop that every question to the gate runs through.
//!
//! 1. If the last read of the feed is too old, the loop reads the feed.
//! 2. It asks the gate. If the gate lacks data, it fetches the data and asks again.
//! 3. If the gate answers that the tenant is unknown, the tenant may have been created a moment
//!    ago: the loop reads the feed once more, at a bounded rate, and asks again.

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

    /// Asks the gate. `awaited` is the reason why the ledger's response to another request does not
    /// serve this one, if the question has waited for such a response.
    fn ask(&mut self, gate: &mut Gate, awaited: Option<&WaitFailure>, now: UnixMillis) -> Progress<Self::Answer>;

    /// Whether the answer is that the tenant is unknown.
    fn is_unknown(answer: &Self::Answer) -> bool;

    /// Asks the custom resolver about the request. Returns false if there is no request to ask
    /// about.
    async fn ask_resolver(&mut self) -> bool {
        false
    }
}

/// Asks the gate, and fetches what it lacks, until it answers.
pub(crate) async fn drive<Q: GateQuestion>(
    question: Q,
    config: &Rc<Config>,
    context: &edge::ExecutionContext,
    patience: Patience,
) -> Result<Q::Answer, Unavailable> {
    if feed::is_due(config, context, clock::now()) {
        // If another request's reading hangs, the held snapshots serve.
        let _ = feed::read(config, patience).await;
    }
    ask_until_ready(question, None, config, patience).await
}

/// Like [`drive`], for a caller that has begun without waiting. `progress` is the first answer.
/// `None` means that the feed has to be read first: nothing is decided by older snapshots.
pub(crate) async fn drive_on<Q: GateQuestion>(
    question: Q,
    progress: Option<Progress<Q::Answer>>,
    config: &Rc<Config>,
    patience: Patience,
) -> Result<Q::Answer, Unavailable> {
    if progress.is_none() {
        feed::read(config, patience).await?;
    }
    ask_until_ready(question, progress, config, patience).await
}

async fn ask_until_ready<Q: GateQuestion>(
    mut question: Q,
    mut progress: Option<Progress<Q::Answer>>,
    config: &Rc<Config>,
    patience: Patience,
) -> Result<Q::Answer, Unavailable> {
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
