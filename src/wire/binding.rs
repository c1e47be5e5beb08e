//! What a gate in WebAssembly exchanges with JavaScript: questions and results in buffers, and
//! descriptions as JSON text that JavaScript reads once and caches.

use std::sync::Arc;

use serde::Serialize;

use super::buffer::{self, Input, Names, NamesView, Outcomes, Results};
use super::callers::Callers;
use super::headers::rate_limit_headers;
use super::view::{AnswerView, CredentialView, HoldView, TenantView, transcript};
use crate::flags::AnswerId;
use crate::gate::{Ask, Code, CompiledCatalog, Decision, Entitlements};
use crate::model::{TenantId, UnixMillis};
use crate::resolve::Request;

/// The exchange between one gate and JavaScript. `pkg/codec.js` is its other side.
#[derive(Debug, Default)]
pub struct Binding {
    input: Input,
    results: Results,
    outcomes: Outcomes,
    names: Names,
    callers: Callers,
    last: Option<Box<Decision>>,
    /// The tenant and the catalog of the last call to [`Self::features`].
    asked: Option<(Arc<CompiledCatalog>, Arc<Entitlements>)>,
}

impl Binding {
    /// Reads questions by the names of this catalog from now on. Returns all names as JSON text.
    pub fn learn(&mut self, catalog: &CompiledCatalog) -> String {
        self.names = Names::of(catalog);
        json(&NamesView::from(catalog))
    }

    /// The addresses and lengths of the words, the text, the results and the outcomes.
    pub fn addresses(&self) -> Vec<usize> {
        vec![
            self.input.words() as usize,
            buffer::WORDS,
            self.input.text() as usize,
            buffer::BYTES,
            self.results.as_ptr() as usize,
            buffer::RESULTS,
            self.outcomes.as_ptr() as usize,
            buffer::OUTCOMES,
        ]
    }

    /// Runs `then` with the request in the buffer, which has `length` bytes of text.
    pub fn with_request<T>(&self, length: usize, then: impl FnOnce(&Request<'_>, &Ask<'_>) -> T) -> T {
        self.input.with_request(length, &self.names, then)
    }

    /// Takes back the last decision.
    pub fn take_last(&mut self) -> Option<Box<Decision>> {
        self.last.take()
    }

    /// Writes a decision for JavaScript, and keeps it for descriptions. Returns the packed word of
    /// [`Results::write`].
    pub fn answer(&mut self, decision: Box<Decision>) -> u32 {
        let caller = decision.extras().credential.as_ref().map_or(0.0, |bearer| self.callers.number(bearer));
        let packed = self.results.write(&decision, caller);
        self.last = Some(decision);
        packed
    }

    /// The last decision in its full form, with its status and headers; see [`transcript`].
    pub fn transcript(&self) -> String {
        self.last.as_deref().map_or_else(String::new, transcript)
    }

    /// The values of `RateLimit-Policy` and `RateLimit` for the last decision, one per line. Empty
    /// if the response has neither.
    pub fn rate_limit_headers(&self) -> String {
        let headers = self.last.as_deref().and_then(rate_limit_headers);
        headers.map_or_else(String::new, |(policy, state)| policy + "\n" + &state)
    }

    /// The tenant of the last decision; see [`TenantView`].
    pub fn tenant(&self) -> String {
        let tenant = self.last.as_ref().and_then(|decision| decision.tenant.as_deref());
        json(&tenant.map(TenantView::from))
    }

    /// The credential of the last decision.
    pub fn credential(&self) -> String {
        let bearer = self.last.as_ref().and_then(|decision| decision.extras().credential.as_ref());
        json(&bearer.map(CredentialView::from))
    }

    /// The hold of the last decision, as `{id, ends_at}`.
    pub fn hold(&self) -> String {
        json(&self.last.as_ref().and_then(|decision| decision.extras().hold.as_ref()).map(HoldView::from))
    }

    /// A feature of the last decision.
    pub fn feature(&self, index: usize) -> String {
        let answer = self.last.as_ref().and_then(|decision| decision.features.get(index));
        json(&answer.map(AnswerView::from))
    }

    /// Evaluates every feature for a tenant, which `find` returns by its id. The buffer contains
    /// the id and the context, with `length` bytes of text. Writes one outcome for each feature, in
    /// the order of [`NamesView`], and the number of the compiled tenant as the first result.
    ///
    /// JavaScript can cache answers by outcome: equal outcomes denote the same answer within a
    /// catalog, and outcome 0 the same answer within one compiled tenant.
    ///
    /// Returns the code. If it is not that of success, no outcomes are written.
    pub fn features<E>(
        &mut self,
        length: usize,
        catalog: Arc<CompiledCatalog>,
        now: UnixMillis,
        find: impl FnOnce(&TenantId) -> Result<Result<Arc<Entitlements>, Code>, E>,
    ) -> Result<Code, E> {
        let (id, context) = self.input.name_and_context(length, catalog.features());
        let Some(id) = TenantId::parse(id) else { return Ok(Code::BadRequest) };
        let tenant = match find(&id)? {
            Ok(tenant) => tenant,
            Err(code) => return Ok(code),
        };
        self.outcomes.write(catalog.features().outcomes(tenant.facts(&context, now)));
        self.results.write_tenant(tenant.serial());
        self.asked = Some((catalog, tenant));
        Ok(Code::Allowed)
    }

    /// The answer that an outcome of the last call to [`Self::features`] denotes.
    pub fn outcome(&self, feature: u32, outcome: u32) -> String {
        let answer = self.asked.as_ref().and_then(|(catalog, tenant)| {
            catalog.features().answer(feature, AnswerId::from(outcome), tenant.facts(&[], UnixMillis::default()))
        });
        json(&answer.as_ref().map(AnswerView::from))
    }
}

/// Serialises a value that always has a JSON form: text, numbers, lists and objects of them.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| String::from("null"))
}
