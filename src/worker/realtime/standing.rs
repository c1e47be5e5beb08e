//! Whether a tenant may still be served, and its members may stay.
//!
//! A request is over in a moment; a socket lasts. So a hub judges its tenant and all its members
//! again: when it is told of a change, and before anything enters or leaves if the last judgement
//! is too old.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::json;

use super::client::Address;
use super::judge::{self, Judgement};
use super::state::{HubObject, now};
use crate::gate::Code;
use crate::model::bounds::HUB_TRUST_MS;
use crate::model::{TenantId, gather};
use crate::worker::runtime::edge;

impl HubObject {
    /// Judges the tenant and its members again if that was done more than `trust_ms` milliseconds
    /// ago. Members that are no longer admitted are closed. `Err`: the tenant is not served.
    pub(super) async fn look(self: &Rc<Self>, trust_ms: u64) -> Result<(), Code> {
        if self.core.borrow().trust.is_fresh(trust_ms, now()) {
            return Ok(());
        }
        let Some((tenant, root)) = self.tenant() else { return Err(Code::TenantNotFound) };
        let (judging, members) = {
            let core = self.core.borrow();
            let members = core.hub.admissions().map(|(who, admission)| (who, admission.credential.clone()));
            (core.trust.ask(now()), members.collect::<Vec<(u32, String)>>())
        };
        let judged = judge::standing(&tenant, &members, &self.config, &self.context).await;
        let Some(Judgement { tenant: found, denied, rules, connections, costs }) = judged else {
            return Err(Code::SnapshotUnavailable);
        };
        let verdict = match &found {
            Some(Ok(_)) if rules.is_none() => Err(Code::TenantNotFound),
            // It has moved to another family, whose ledger counts from now on.
            Some(Ok(now)) if *now.root() != root => {
                self.move_to(now.root());
                Err(Code::SnapshotUnavailable)
            }
            Some(Ok(_)) => Ok(()),
            Some(Err(code)) => Err(*code),
            None => Err(Code::SnapshotUnavailable),
        };
        self.turn(|core, now| {
            let mut effects = Vec::new();
            match verdict {
                Ok(()) => {
                    core.trust.judged(&judging);
                    core.slots.set_limit(connections);
                    core.costs = costs;
                    let asked: BTreeMap<u32, String> = gather(members);
                    for (who, code) in denied {
                        // Not one that has presented another credential meanwhile.
                        if core.hub.admission(who).map(|admission| &admission.credential) == asked.get(&who) {
                            effects.extend(core.hub.dismiss(who, code, now));
                        }
                    }
                    effects.extend(rules.map(|rules| core.hub.set_rules(rules, now)).into_iter().flatten());
                }
                Err(code) => {
                    core.trust.lose();
                    for who in core.hub.all() {
                        effects.extend(core.hub.dismiss(who, code, now));
                    }
                }
            }
            effects
        });
        verdict
    }

    /// Whether the last judgement is young enough to rely on.
    pub(super) fn is_fresh(&self) -> bool {
        self.core.borrow().trust.is_fresh(HUB_TRUST_MS, now())
    }

    /// Learns whose hub this is, and makes sure that the tenant is served. A tenant that has moved
    /// has another root, which the system of record knows, and not every caller.
    pub(super) async fn confirm_address(self: &Rc<Self>, address: &Address) -> Result<(), Code> {
        if self.core.borrow().address.is_none() {
            self.adopt(address.clone());
        }
        let is_known = self.core.borrow().address.as_ref() == Some(address);
        if !is_known {
            let _ = self.look(0).await;
            if self.core.borrow().address.as_ref() != Some(address) {
                return Err(Code::SnapshotUnavailable);
            }
        }
        self.look(HUB_TRUST_MS).await
    }

    /// Belongs to another family from now on.
    fn move_to(&self, root: &TenantId) {
        let address = self.core.borrow().address.clone();
        if let Some(address) = address {
            self.adopt(Address { root: root.to_string(), ..address });
        }
    }

    fn adopt(&self, address: Address) {
        let mut core = self.core.borrow_mut();
        core.hub.set_tenant(&address.tenant);
        // The ledger of the other family counts from now on, and the list has the old one.
        core.slots.forget();
        core.trust.lose();
        core.is_listed = false;
        let written = edge::remember(&self.state, "address", Some(&json!(address).to_string()));
        let forgotten = written.and_then(|()| edge::remember(&self.state, "listed", None));
        core.address = Some(address);
        drop(core);
        if let Err(error) = forgotten {
            self.give_up(&error);
        }
    }
}
