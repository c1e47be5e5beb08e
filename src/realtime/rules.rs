//! What members may do, by the catalog and the tenant's features.

use std::collections::BTreeSet;

use super::connection::Admission;
use super::frame::SocketFailure;
use crate::gate::Code;
use crate::model::{ChannelName, Key, Realtime, Requirement};

/// The catalog's rules, with the tenant's features.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    realtime: Option<Realtime>,
    /// The features that the tenant has, of those that the rules name.
    features: BTreeSet<Key>,
}

impl Rules {
    /// The rules for a tenant that has `features`.
    pub fn new(realtime: &Realtime, features: BTreeSet<Key>) -> Self {
        Self { realtime: Some(realtime.clone()), features }
    }

    fn meets(&self, admission: &Admission, requirement: &Requirement) -> Result<(), SocketFailure> {
        if requirement.feature.as_ref().is_some_and(|feature| !self.features.contains(feature)) {
            return Err(SocketFailure::by(Code::FeatureNotAvailable));
        }
        let has = |scope: &crate::model::Scope| admission.scopes.iter().any(|own| own == scope.as_str());
        if requirement.scopes.iter().all(has) { Ok(()) } else { Err(SocketFailure::by(Code::InsufficientScope)) }
    }

    pub(super) fn broadcast(&self, admission: &Admission) -> Result<(), SocketFailure> {
        let realtime = self.realtime.as_ref().ok_or(SocketFailure::FORBIDDEN)?;
        self.meets(admission, &realtime.broadcast)
    }

    pub(super) fn send(&self, admission: &Admission) -> Result<(), SocketFailure> {
        let realtime = self.realtime.as_ref().ok_or(SocketFailure::FORBIDDEN)?;
        self.meets(admission, &realtime.send)
    }

    pub(super) fn subscribe(&self, admission: &Admission, channel: &ChannelName) -> Result<(), SocketFailure> {
        let known = self.realtime.as_ref().and_then(|realtime| realtime.channel(channel.as_str()));
        self.meets(admission, &known.ok_or(SocketFailure::NO_CHANNEL)?.subscribe)
    }

    pub(super) fn publish(&self, admission: &Admission, channel: &ChannelName) -> Result<(), SocketFailure> {
        let known = self.realtime.as_ref().and_then(|realtime| realtime.channel(channel.as_str()));
        let publish = known.ok_or(SocketFailure::NO_CHANNEL)?.publish.as_ref();
        self.meets(admission, publish.ok_or(SocketFailure::FORBIDDEN)?)
    }

    /// Whether the operator's own code may publish to the channel: it exists.
    pub fn has_channel(&self, channel: &ChannelName) -> bool {
        self.realtime.as_ref().is_some_and(|realtime| realtime.channel(channel.as_str()).is_some())
    }
}
