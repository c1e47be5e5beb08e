//! The wire formats: JSON shapes of requests and responses, the error envelope and response
//! headers.
//!
//! The shapes are a public contract. Members are added, never renamed or removed. With the feature
//! `schema` they are the source of the `OpenAPI` document, whose descriptions are these comments.

#![forbid(unsafe_code)]

mod binding;
mod body;
pub mod buffer;
mod callers;
mod client;
mod cors;
mod entitlements;
mod headers;
mod messages;
mod ofrep;
mod seed;
mod usage;
mod view;

pub use binding::Binding;
pub use body::{Borrowed, DecideBody, LimitOp};
pub use client::client_snapshot;
pub use cors::{CORS_ANSWERS, cors_headers};
pub use entitlements::EntitlementsView;
pub use headers::{rate_limit_headers, retry_after_s, www_authenticate};
pub use messages::{MessagesBody, OutgoingMessage};
pub use ofrep::{OfrepContext, OfrepFailure, ofrep_answer, ofrep_failure};
pub use seed::publication;
pub use usage::{DayView, MetricView, QuotaView, ReceiptView, UsageView, parse_events};
pub use view::{
    AnswerView, CredentialView, DecisionView, ErrorView, HoldView, PROBLEMS, Transcript, api_key_record, asserted,
    error_body, problem_body, transcript,
};
