//! Whether what a caller shows is true: tokens, API keys, and the gate's own word to the origin.
//!
//! Everything that decides is pinned: algorithms, audience, keys and the tenants an issuer may speak for come from the
//! catalog, never from the token. Keys that have to be fetched, and the time, are handed in.

#![forbid(unsafe_code)]

mod assertion;
mod issuers;
mod key_pair;
mod keyring;
mod licence;
mod provider;
mod seal;
mod strict_json;
mod token;

pub use assertion::{Asserted, Assertion, Signer};
pub use issuers::{Claims, IssuerKeys, Issuers, Validity};
pub use keyring::Keyring;
pub use licence::{LicenceSigner, Licensed, verify_licence};
pub use seal::{Sealer, Seals};
pub use token::Jwt;

/// Why something was not believed: for the operator's log, never for the caller.
pub type RefusalReason = &'static str;
