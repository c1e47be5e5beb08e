//! Resolution alone, for callers that look up tenants themselves.

use serde_json::{Value, json};
use wasm_bindgen::prelude::*;

use super::{comfortable, problems};
use crate::gate::Code;
use crate::model::Resolution;
use crate::resolve::{KnownHost, Name, PresentedCredential, ResolveError, Resolver as Strategies};
use crate::wire::DecideBody;

/// Finds the signals and the presented credentials of a request.
#[wasm_bindgen(js_name = Resolver)]
pub struct JsResolver {
    strategies: Strategies,
}

#[wasm_bindgen(js_class = Resolver)]
impl JsResolver {
    /// Creates a resolver for a resolution as JSON text. Throws the list of problems.
    #[wasm_bindgen(constructor)]
    pub fn new(resolution: &str) -> Result<JsResolver, JsValue> {
        let resolution = Resolution::parse(resolution).map_err(problems)?;
        Ok(Self { strategies: Strategies::new(&resolution) })
    }

    /// Returns the lower-case names of the headers that strategies read.
    pub fn headers(&self) -> Vec<String> {
        self.strategies.headers().to_vec()
    }

    /// Returns `{signals: [{strategy, names, value}], shown: [{strategy, value}], path}` for a
    /// request. `names` is `slug`, `id`, `domain`, `credential` or `nobody`. `shown` contains the
    /// presented credentials, which are not verified. Throws the list of problems or a code.
    pub fn signals(&self, body: &str) -> Result<JsValue, JsValue> {
        let body = DecideBody::parse(body).map_err(problems)?;
        let parts = body.borrow();
        let request = body.request(&parts, None);
        let host: KnownHost = self.strategies.host(request.host).map_err(code)?;
        let signals = self.strategies.signals(&request, &host).map_err(code)?;
        let found = signals.found.iter().map(|signal| {
            let (names, value) = match &signal.name {
                Name::Slug(slug) => ("slug", Some(slug.as_ref())),
                Name::Id(id) => ("id", Some(id.as_ref())),
                Name::Domain(host) => ("domain", Some(host.as_ref())),
                Name::Credential => ("credential", None),
                Name::Nobody => ("nobody", None),
            };
            json!({ "strategy": signal.strategy, "names": names, "value": value })
        });
        let shown = signals.shown.iter().map(|shown| match shown {
            PresentedCredential::Token(text, _) | PresentedCredential::ApiKey(text) => {
                json!({ "strategy": shown.kind(), "value": text })
            }
        });
        let (found, shown): (Vec<Value>, Vec<Value>) = (found.collect(), shown.collect());
        comfortable(&json!({ "signals": found, "shown": shown, "path": signals.path }))
    }
}

fn code(refusal: ResolveError) -> JsValue {
    let code = match refusal {
        ResolveError::Unreadable(_) => Code::BadRequest,
        ResolveError::Repeated(_) => Code::TenantAmbiguous,
        ResolveError::AskCustom | ResolveError::CustomFailed => Code::ResolverFailed,
    };
    code.as_str().into()
}
