//! Idempotency keys: a request under a key is carried out once, however often it is sent.

use serde_json::json;

use super::actor::Actor;
use super::error::AdminError;
use crate::control::Operation;
use crate::control::audit::hash;
use crate::model::bounds::MAX_IDEMPOTENCY_KEY_BYTES;
use crate::worker::http::call::Call;
use crate::worker::runtime::edge;

/// The idempotency key of a request.
pub(super) struct RequestKey {
    key: String,
    /// Tells a repetition from another request under the same key.
    fingerprint: String,
}

impl RequestKey {
    /// Reads the `Idempotency-Key` of a request. `None`: it has none, or it only reads.
    pub(super) fn of(
        call: &Call,
        operation: &Operation,
        actor: &Actor,
        segments: &[String],
        body: &str,
    ) -> Result<Option<RequestKey>, AdminError> {
        let Some(key) = edge::header(&call.request, "idempotency-key") else { return Ok(None) };
        // A request that only reads needs no key.
        if operation.method == "GET" {
            return Ok(None);
        }
        if !operation.once {
            return Err(AdminError::problem(
                "Idempotency-Key",
                key,
                "no such header: this operation may be repeated safely",
            ));
        }
        if key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY_BYTES || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            let found = format!("{} bytes", key.len());
            return Err(AdminError::problem("Idempotency-Key", found, "1 to 255 visible ASCII characters"));
        }
        let fingerprint = hash(&json!([actor.name(), operation.route.as_str(), segments, body]).to_string());
        Ok(Some(RequestKey { key, fingerprint }))
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}
