//! Checks of signatures: what [`super::provider`] builds for `jsonwebtoken`.

use jsonwebtoken::errors::{Error, ErrorKind};

/// Returns whether a signature (second argument) of a message (first argument) is valid.
pub(super) type Check = Box<dyn Fn(&[u8], &[u8]) -> bool>;

/// The error for a key that does not fit its algorithm.
pub(super) fn unfit<E>(_: E) -> Error {
    ErrorKind::InvalidKeyFormat.into()
}
