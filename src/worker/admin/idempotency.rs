//! Idempotency keys of admin requests: a request under a key takes effect once, however often it is
//! sent.
//!
//! The response is stored with the change, in the same transaction. A repetition gets the stored
//! response.

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
    /// Distinguishes a repetition from a different request under the same key.
    fingerprint: String,
}

impl RequestKey {
    /// Reads the `Idempotency-Key` of a request. Returns `None` without the header, and for reads.
    pub(super) fn of(
        call: &Call,
        operation: &Operation,
        actor: &Actor,
        segments: &[String],
        body: &str,
    ) -> Result<Option<RequestKey>, AdminError> {
        let Some(key) = edge::header(&call.request, "idempotency-key") else { return Ok(None) };
        // Reads may be repeated anyway.
        if operation.method == "GET" {
            return Ok(None);
        }
        if !operation.once {
            return Err(AdminError::problem(
                "Idempotency-Key",
                key,
                "no `Idempotency-Key`, since this operation is safe to repeat",
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
