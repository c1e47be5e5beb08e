//! The list of hubs that have sockets, in D1: those are told of changes.

use std::rc::Rc;

use wasm_bindgen::JsValue;

use super::client::register;
use super::state::{HubObject, now};
use crate::model::bounds::HUB_RETRY_MS;
use crate::worker::runtime::{edge, task};

impl HubObject {
    /// Has the list of hubs show whether this one has sockets.
    pub(super) async fn change_list(self: &Rc<Self>) {
        loop {
            let Some(address) = self.core.borrow().address.clone() else { return };
            let has_sockets = !self.core.borrow().hub.is_empty();
            if has_sockets == self.core.borrow().is_listed {
                self.core.borrow_mut().list_at = None;
                // It may have joined for a connection that was refused.
                if !has_sockets {
                    self.leave().await;
                }
                return;
            }
            let Some(number) = self.core.borrow_mut().listing.begin(now()) else { return };
            if !has_sockets {
                // Whatever becomes of the removal, the hub does not count on being listed.
                self.core.borrow_mut().is_listed = false;
                let _ = edge::remember(&self.state, "listed", None);
            }
            let is_done = register(&self.config, &address, has_sockets).await;
            if !self.core.borrow_mut().listing.end(number) {
                return;
            }
            if has_sockets && is_done {
                self.core.borrow_mut().is_listed = true;
                let _ = edge::remember(&self.state, "listed", Some("1"));
                // Until now nobody could tell it of a change.
                let _ = self.look(0).await;
            }
            if !has_sockets && self.core.borrow().hub.is_empty() {
                self.leave().await;
            }
            if !is_done {
                self.turn(|core, now| {
                    core.list_at = Some(now.plus(HUB_RETRY_MS));
                    Vec::new()
                });
                return;
            }
        }
    }

    /// Enters the hub into the list of hubs, behind the answer.
    pub(super) fn be_listed(self: &Rc<Self>) {
        if self.core.borrow().is_listed {
            return;
        }
        let object = Rc::clone(self);
        self.context.wait_until(&task::promise(async move {
            object.change_list().await;
            JsValue::UNDEFINED
        }));
    }
}
