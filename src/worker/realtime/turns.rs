//! Turns: the effects of an event, carried out without waiting in between.
//!
//! Rows of the log come first, then frames, in one turn of the event loop. The runtime holds frames
//! back until the rows are on disk (the output gate), so nobody has seen a message that is not in
//! the log.

use std::collections::VecDeque;
use std::rc::Rc;

use js_sys::Uint32Array;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;

use super::state::{Core, HubObject, StoredRow, js, now, row_of, units};
use crate::gate::Code;
use crate::model::UnixMillis;
use crate::model::bounds::{
    DRAIN_MS, HUB_RETRY_MS, HUB_TRUST_MS, MAX_HUB_UNSENT_BYTES, MAX_PACKED, MAX_UNSENT_BYTES, MIN_DRAIN_MS,
};
use crate::realtime::{Effect, StoredMessage};
use crate::worker::runtime::{edge, task};

/// The least number of milliseconds until an alarm.
const SOON_MS: u64 = 20;

impl HubObject {
    /// Takes an event, and carries out what it leads to.
    pub(super) fn turn(self: &Rc<Self>, event: impl FnOnce(&mut Core, UnixMillis) -> Vec<Effect>) {
        let now = now();
        let effects = event(&mut self.core.borrow_mut(), now);
        if let Err(error) = self.carry_out(effects.into(), now) {
            // What memory and log say differs. The log is right.
            self.give_up(&error);
            return;
        }
        self.schedule(now);
        self.watch_slow_readers();
    }

    fn carry_out(&self, mut effects: VecDeque<Effect>, now: UnixMillis) -> Result<(), JsValue> {
        let sockets = &self.sockets;
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Send { to, frame } => {
                    if !sockets.send(to, &frame, MAX_UNSENT_BYTES) {
                        effects.extend(self.core.borrow_mut().hub.too_slow(to, now));
                    }
                }
                Effect::Store(StoredMessage { seq, at, target, frame }) => {
                    edge::store_message(&self.state, js(seq), js(at.get()), &target, &frame)?;
                }
                Effect::Fan { to, frame, first } => {
                    let to = Uint32Array::from(to.as_slice());
                    let skipped = sockets.fan(&to, &frame, js(first), MAX_UNSENT_BYTES, MAX_HUB_UNSENT_BYTES);
                    if skipped.length() > 0 {
                        self.core.borrow_mut().hub.skipped(&skipped.to_vec(), first, now);
                    }
                }
                Effect::CatchUp { who, after } => effects.extend(self.catch_up(who, after)?),
                Effect::Behind { who, after } => sockets.seen(who, js(after)),
                Effect::Attach { who, text } => {
                    if !sockets.attach(who, &text) {
                        // Nothing that follows reaches it.
                        for effect in self.core.borrow_mut().hub.dismiss(who, Code::BadRequest, now) {
                            effects.push_front(effect);
                        }
                    }
                }
                Effect::Close { who, why } => sockets.close(who, why.status, why.reason),
                Effect::Trim { through } => {
                    let last = self.core.borrow().hub.end().seq;
                    edge::trim_log(&self.state, js(through), js(last))?;
                }
            }
        }
        Ok(())
    }

    /// Sends a socket the next messages that it has missed. Returns the effect for those after
    /// them, unless the client has to read first.
    fn catch_up(&self, who: u32, after: u64) -> Result<Vec<Effect>, JsValue> {
        self.sockets.seen(who, js(after));
        if self.sockets.unsent(who) > MAX_UNSENT_BYTES {
            return Ok(Vec::new());
        }
        let (rows, is_all) = self.rows_after(after, MAX_PACKED, MAX_UNSENT_BYTES)?;
        let messages: Vec<StoredMessage> = rows.into_iter().map(row_of).collect();
        for effect in self.core.borrow_mut().hub.missed(who, &messages, is_all) {
            if let Effect::Send { to, frame } = effect {
                self.sockets.send(to, &frame, u32::MAX);
            }
        }
        let after = messages.last().map_or(after, |last| last.seq);
        self.sockets.seen(who, if is_all { -1.0 } else { js(after) });
        Ok(if is_all { Vec::new() } else { vec![Effect::CatchUp { who, after }] })
    }

    /// The next rows of the log after a number, and whether they are all.
    pub(super) fn rows_after(&self, after: u64, limit: usize, bytes: u32) -> Result<(Vec<StoredRow>, bool), JsValue> {
        let text = edge::messages_after(&self.state, js(after), limit, bytes)?;
        serde_json::from_str(&text).map_err(|error| JsValue::from_str(&error.to_string()))
    }

    /// Sets the alarm for what is due next.
    fn schedule(&self, now: UnixMillis) {
        let mut core = self.core.borrow_mut();
        let is_late = core.copies.is_late(&core.hub);
        let used = units(core.hub.members());
        let slots = core.slots.plan(used, now);
        if core.hub.is_empty() && (core.is_listed || core.membership.has_joined()) && core.list_at.is_none() {
            core.list_at = Some(now.plus(HUB_RETRY_MS));
        }
        let copies = is_late.then(|| core.alarm.filter(|at| *at > now).unwrap_or_else(|| now.plus(HUB_RETRY_MS)));
        let due = [core.hub.next_due(), slots, core.list_at, copies].into_iter().flatten().min();
        // An alarm that is set for a time that has passed, while one is running, does not fire.
        let due = due.map(|at| at.max(now.plus(SOON_MS)));
        // One that fires too early does no harm.
        let is_set = match (core.alarm, due) {
            (Some(set), Some(due)) => now < set && set <= due,
            (set, due) => set == due,
        };
        if is_set {
            return;
        }
        core.alarm = due;
        if let Err(error) = edge::set_alarm(&self.state, js(due.map_or(0, UnixMillis::get))) {
            web_sys::console::error_2(&"realtime: no alarm".into(), &error);
            core.alarm = None;
        }
    }

    /// Looks after sockets that are behind, or that were closed with bytes unsent, while there are
    /// any: a timer keeps the hub from hibernation.
    fn watch_slow_readers(self: &Rc<Self>) {
        let is_needed = self.core.borrow().hub.behind().next().is_some() || self.sockets.lingers(MAX_HUB_UNSENT_BYTES);
        if !is_needed || std::mem::replace(&mut self.core.borrow_mut().watches, true) {
            return;
        }
        let object = Rc::clone(self);
        let _ = task::promise(async move {
            let pause = object.core.borrow().watch_ms.clamp(MIN_DRAIN_MS, DRAIN_MS);
            let _ = JsFuture::from(edge::sleep(u32::try_from(pause).unwrap_or(u32::MAX))).await;
            object.core.borrow_mut().watches = false;
            // What they have missed is for those alone who may still read it.
            let is_served = object.look(HUB_TRUST_MS).await.is_ok();
            object.turn(|core, now| {
                core.watch_ms = pause.saturating_mul(2);
                let mut behind: Vec<(u32, u32)> =
                    core.hub.behind().map(|who| (object.sockets.unsent(who), who)).collect();
                behind.sort_unstable();
                let mut unsent = behind.iter().fold(0_u32, |sum, (bytes, _)| sum.saturating_add(*bytes));
                let mut effects = core.hub.due(now);
                // The sockets with the most unsent bytes come last.
                while let Some((bytes, who)) = behind.pop() {
                    if unsent > MAX_HUB_UNSENT_BYTES {
                        unsent = unsent.saturating_sub(bytes);
                        effects.extend(core.hub.too_slow(who, now));
                    } else if is_served && bytes <= MAX_UNSENT_BYTES / 2 {
                        effects.extend(core.hub.drained(who, now));
                        core.watch_ms = 0;
                    }
                }
                effects
            });
            JsValue::UNDEFINED
        });
    }
}
