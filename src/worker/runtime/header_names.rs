//! The names of the headers that are read of every request: those by which the configuration and
//! the catalog decide. Other headers are read where they are needed.
//!
//! JavaScript holds the list too, so that the names cross the boundary once and not with every
//! request. The Worker's own headers come first, then those of the catalog.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::Array;
use wasm_bindgen::JsValue;

/// Asks for the trace of a decision; the value is the operator token.
pub(crate) const EXPLAIN: &str = "x-gate-explain";
/// The secret of the trusted proxy.
pub(crate) const PROXY_SECRET: &str = "x-gate-proxy-secret";
/// The host that the client asked the trusted proxy for.
pub(crate) const FORWARDED_HOST: &str = "x-forwarded-host";

/// The list.
#[derive(Debug, Default)]
pub(crate) struct HeaderNames {
    all: Vec<String>,
    /// The number of headers that the Worker itself reads.
    own: usize,
}

impl HeaderNames {
    /// The place of a header that the Worker itself reads. `None` if the configuration gives it no
    /// meaning.
    pub(crate) fn own(&self, name: &str) -> Option<usize> {
        self.all.iter().take(self.own).position(|known| known == name)
    }

    /// The catalog's headers, with their places.
    pub(crate) fn of_catalog(&self) -> impl Iterator<Item = (usize, &str)> {
        self.all.iter().map(String::as_str).enumerate().skip(self.own)
    }
}

thread_local! {
    static NAMES: RefCell<(Rc<HeaderNames>, JsValue)> = RefCell::new((Rc::default(), Array::new().into()));
}

/// Runs `read` with the list in JavaScript. Returns its result with the names.
pub(crate) fn read<T>(read: impl FnOnce(&JsValue) -> T) -> (Rc<HeaderNames>, T) {
    NAMES.with_borrow(|(names, array)| (Rc::clone(names), read(array)))
}

/// Whether the list is still the one that [`read`] returned.
pub(crate) fn is_current(names: &Rc<HeaderNames>) -> bool {
    NAMES.with_borrow(|current| Rc::ptr_eq(&current.0, names))
}

/// Replaces the Worker's part of the list.
pub(crate) fn read_own(own: &[&str]) {
    NAMES.with_borrow_mut(|current| {
        let of_catalog: Vec<_> = current.0.of_catalog().map(|(_, name)| name.to_owned()).collect();
        *current = names(own.iter().map(ToString::to_string), own.len(), &of_catalog);
    });
}

/// Replaces the catalog's part of the list. Later requests are read with it.
pub(crate) fn read_also(of_catalog: &[String]) {
    NAMES.with_borrow_mut(|current| {
        let before = &current.0;
        if before.of_catalog().map(|(_, name)| name).ne(of_catalog.iter().map(String::as_str)) {
            *current = names(before.all.iter().take(before.own).cloned(), before.own, of_catalog);
        }
    });
}

fn names(own: impl Iterator<Item = String>, count: usize, of_catalog: &[String]) -> (Rc<HeaderNames>, JsValue) {
    let all: Vec<String> = own.chain(of_catalog.iter().cloned()).collect();
    let array: Array = all.iter().map(|name| JsValue::from(name.as_str())).collect();
    (Rc::new(HeaderNames { all, own: count }), array.into())
}
