//! Realtime: what the members of a tenant may do over sockets, and what a message costs.

use std::collections::BTreeMap;

use super::bounds::{MAX_CHANNEL_PATTERNS, MAX_SCOPES};
use super::ids::ChannelPattern;
use super::{Key, Quantity, Reader, Scope, document};

document! {
    /// Sockets of tenants at `/_gate/v1/connect`. The route of that path says which tenants and
    /// credentials may connect. Without this member there are no sockets.
    pub struct Realtime {
        /// The limit of kind `concurrency` that counts a tenant's connections. Default: they are
        /// not counted.
        connections: Option<Key> = None,
        /// Units of each limit that one published message costs.
        limits: BTreeMap<Key, Quantity> = BTreeMap::new(),
        /// What a member needs to send a message to all connections of its tenant. Default: every
        /// member may.
        broadcast: Requirement = Requirement::default(),
        /// What a member needs to send a message to one user of its tenant. Default: every member
        /// may.
        send: Requirement = Requirement::default(),
        /// Channels, by name. A name that ends with `*` stands for all names that begin so; the
        /// longest one that matches applies. Other channels do not exist.
        channels: BTreeMap<ChannelPattern, Channel> = BTreeMap::new(),
    } => Realtime::check
}

document! {
    /// A channel, or all channels of a pattern.
    pub struct Channel {
        /// What a member needs to subscribe. Default: every member may.
        subscribe: Requirement = Requirement::default(),
        /// What a member needs to publish. Default: only the operator's own code publishes.
        publish: Option<Requirement> = None,
    }
}

document! {
    /// What a member of a tenant needs: all that is named.
    pub struct Requirement {
        /// The feature that the tenant must have.
        feature: Option<Key> = None,
        /// The scopes that the member's credential must have.
        scopes: Vec<Scope> = Vec::new(),
    } => Requirement::check
}

#[expect(clippy::derivable_impls, reason = "`document!` takes no attributes")]
impl Default for Requirement {
    fn default() -> Self {
        Self { feature: None, scopes: Vec::new() }
    }
}

impl Realtime {
    fn check(&self, r: &mut Reader) {
        r.at("channels", |r| r.at_most(self.channels.len(), MAX_CHANNEL_PATTERNS));
    }

    /// Every requirement, with its path.
    pub(super) fn requirements(&self) -> impl Iterator<Item = (Vec<&str>, &Requirement)> {
        let own = [(vec!["broadcast"], &self.broadcast), (vec!["send"], &self.send)];
        let channels = self.channels.iter().flat_map(|(name, channel)| {
            let publish = channel.publish.as_ref().map(|publish| (vec!["channels", name.as_str(), "publish"], publish));
            let subscribe = (vec!["channels", name.as_str(), "subscribe"], &channel.subscribe);
            std::iter::once(subscribe).chain(publish)
        });
        own.into_iter().chain(channels)
    }

    /// The channel of a name: the entry with this very name, or the longest pattern that matches.
    pub fn channel(&self, name: &str) -> Option<&Channel> {
        let matches = |pattern: &&ChannelPattern| match pattern.as_str().strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => pattern.as_str() == name,
        };
        // An exact name is as long as what it matches, so no pattern is longer.
        let found = self.channels.iter().filter(|(pattern, _)| matches(pattern));
        found.max_by_key(|(pattern, _)| (pattern.as_str().len(), !pattern.as_str().ends_with('*'))).map(|(_, one)| one)
    }

    /// The features that a requirement names.
    pub fn features(&self) -> impl Iterator<Item = &Key> {
        self.requirements().filter_map(|(_, requirement)| requirement.feature.as_ref())
    }
}

impl Requirement {
    fn check(&self, r: &mut Reader) {
        r.at("scopes", |r| r.at_most(self.scopes.len(), MAX_SCOPES));
    }
}
