//! Faults on request, for tests of the built Worker. A release ignores them.

/// Panics where a test asks for it, which traps.
pub(crate) fn fault(asked: Option<&str>, here: &str) {
    assert!(!cfg!(feature = "faults") || asked != Some(here), "a fault was asked for: {here}");
}
