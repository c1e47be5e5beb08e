//! Verification of credentials: tokens, licences, and the seals of snapshots. Also the gate's own
//! signatures: assertions for the origin, licences and seals.
//!
//! Everything that decides about a token is pinned: algorithms, audience, keys and the tenants that
//! an issuer may name come from the catalog, never from the token. The caller passes in the current
//! time and the keys that have to be fetched.
//!
//! A token is checked in three steps: [`Jwt::parse`] decodes it, [`Issuers::judge`] checks
//! everything except the signature, and [`Keyring::verify`] checks the signature, or the adapter
//! does with [`Keyring::signature`]. API keys are checked by [`crate::model::ApiKey`].

#![forbid(unsafe_code)]

mod assertion;
mod check;
mod issuers;
mod key_pair;
mod keyring;
mod licence;
mod provider;
#[cfg(not(feature = "edge"))]
mod rsa_and_ecdsa;
mod seal;
mod strict_json;
mod token;

pub use assertion::{Asserted, Assertion, Signer};
pub use issuers::{Claims, IssuerKeys, Issuers, Validity};
pub use keyring::{Keyring, Signature};
pub use licence::{LicenceSigner, Licensed, verify_licence};
pub use seal::{Sealer, Seals};
pub use token::Jwt;

/// Why something was rejected. For the operator's log, never for the caller.
pub type RefusalReason = &'static str;
