//! Who a token is of, by itself: for endpoints of the gate's own, where no route says what is needed.

use std::sync::Arc;

use super::decision::Bearer;
use super::need::Need;
use super::pipeline::Gate;
use super::run::{Cx, Exit};
use crate::model::UnixMillis;
use crate::resolve::Carrier;

/// What a token says.
#[derive(Debug)]
pub enum Caller {
    /// It is good, and its tenant is served.
    Known(Bearer),
    /// It is not, or its tenant is not served.
    Refused,
    /// Fetch this, put it in, and ask again.
    Fetch(Need),
}

impl Gate {
    /// Verifies a token (RFC 7519) of any issuer of the catalog.
    pub fn caller(&mut self, token: &str, now: UnixMillis) -> Caller {
        match self.bearer(token, now) {
            Ok(bearer) => Caller::Known(bearer),
            Err(Some(need)) => Caller::Fetch(need),
            Err(None) => Caller::Refused,
        }
    }

    fn bearer(&mut self, token: &str, now: UnixMillis) -> Result<Bearer, Option<Need>> {
        let mut run = Cx::silent(now);
        let plans = self.snapshots.plans(now, &mut run.refresh).map_err(Some)?;
        let halted = |halt: Exit| match halt {
            Exit::Fetch(need) => Some(need),
            Exit::Deny(_) => None,
        };
        let route = plans.everywhere();
        let credential = self.token(&mut run, &plans, token, route).map_err(halted)?;
        let found = self.holder(&mut run, &plans, &credential, route).map_err(halted)?;
        if found.tenant.barrier().is_some() {
            return Err(None);
        }
        Ok(Bearer {
            credential: Arc::clone(&credential),
            tenant: found.tenant.tenant().id.clone(),
            from: Carrier::Header,
        })
    }
}
