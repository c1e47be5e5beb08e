//! The names of the request headers that the Worker reads.
//!
//! JavaScript holds the list too, so that the names cross the boundary once and not with every
//! request. The Worker's own headers come first, then those of the catalog.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::Array;
use wasm_bindgen::JsValue;

thread_local! {
    static NAMES: RefCell<(Rc<[String]>, JsValue)> = RefCell::new(names(&[]));
}

/// The headers that the Worker itself reads.
const OWN: [&str; 6] =
    ["accept", "authorization", "x-gate-explain", "x-forwarded-host", "x-gate-proxy-secret", "x-fault"];

/// The number of headers that the Worker itself reads. Those of the catalog follow.
pub(crate) const OWN_COUNT: usize = OWN.len();

// The places of the Worker's own headers in the list.
pub(crate) const ACCEPT: usize = 0;
pub(crate) const AUTHORIZATION: usize = 1;
pub(crate) const EXPLAIN: usize = 2;
pub(crate) const FORWARDED_HOST: usize = 3;
pub(crate) const PROXY_SECRET: usize = 4;
pub(crate) const FAULT: usize = 5;

fn names(catalog: &[String]) -> (Rc<[String]>, JsValue) {
    let names: Vec<String> = OWN.iter().map(ToString::to_string).chain(catalog.iter().cloned()).collect();
    let array: Array = names.iter().map(|name| JsValue::from(name.as_str())).collect();
    (names.into(), array.into())
}

/// Runs `read` with the list in JavaScript. Returns its result with the names.
pub(crate) fn read<T>(read: impl FnOnce(&JsValue) -> T) -> (Rc<[String]>, T) {
    NAMES.with_borrow(|(names, array)| (Rc::clone(names), read(array)))
}

/// Whether the list is still the one that [`read`] returned.
pub(crate) fn is_current(names: &Rc<[String]>) -> bool {
    NAMES.with_borrow(|current| Rc::ptr_eq(&current.0, names))
}

/// Replaces the catalog's part of the list. Later requests are read with it.
pub(crate) fn read_also(catalog: &[String]) {
    NAMES.with_borrow_mut(|current| {
        let unchanged = current.0.get(OWN_COUNT..).is_some_and(|known| known == catalog);
        if !unchanged {
            *current = names(catalog);
        }
    });
}
