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
pub(crate) const OWN_HEADERS: [&str; 6] =
    ["accept", "authorization", "x-gate-explain", "x-forwarded-host", "x-gate-proxy-secret", "x-fault"];

fn names(catalog: &[String]) -> (Rc<[String]>, JsValue) {
    let names: Vec<String> = OWN_HEADERS.iter().map(ToString::to_string).chain(catalog.iter().cloned()).collect();
    let array: Array = names.iter().map(|name| JsValue::from(name.as_str())).collect();
    (names.into(), array.into())
}

/// The names, and the same list as a JavaScript array.
pub(crate) fn current() -> (Rc<[String]>, JsValue) {
    NAMES.with_borrow(|(names, array)| (Rc::clone(names), array.clone()))
}

/// Replaces the catalog's part of the list. Later requests are read with it.
pub(crate) fn read_also(catalog: &[String]) {
    NAMES.with_borrow_mut(|current| {
        let unchanged = current.0.get(OWN_HEADERS.len()..).is_some_and(|known| known == catalog);
        if !unchanged {
            *current = names(catalog);
        }
    });
}
