//! Faults on request, for tests of the built Worker. Only builds with the feature `faults` contain
//! them.

/// Panics, which traps the module, if a test has requested the fault `here`.
pub(crate) fn fault(asked: Option<&str>, here: &str) {
    assert!(!cfg!(feature = "faults") || asked != Some(here), "fault on request: {here}");
}
