//! [`Roster`]: the connections of each user and in each channel, and who is present there.
//!
//! A user is present in a channel while one of its connections is in it, and for [`PRESENCE_MS`]
//! after that: a user who reconnects within that time has never left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::model::bounds::{MAX_PRESENT, PRESENCE_MS};
use crate::model::{ChannelName, UnixMillis, gather};

/// Who is where in one hub. A connection without a user can be in a channel, and is present
/// nowhere.
#[derive(Debug, Default)]
pub(super) struct Roster {
    users: FxHashMap<Arc<str>, BTreeSet<u32>>,
    /// The connections in each channel, with their users. A connection keeps its user.
    channels: FxHashMap<ChannelName, BTreeMap<u32, Option<Arc<str>>>>,
    /// Users whose last connection to a channel has ended, with the time from which they count as
    /// gone.
    leaving: BTreeMap<(ChannelName, Arc<str>), UnixMillis>,
}

impl Roster {
    /// A user has a connection.
    pub fn connect(&mut self, who: u32, user: &Arc<str>) {
        self.users.entry(Arc::clone(user)).or_default().insert(who);
    }

    /// A user no longer has a connection.
    pub fn disconnect(&mut self, who: u32, user: &Arc<str>) {
        if let Some(own) = self.users.get_mut(user) {
            own.remove(&who);
            if own.is_empty() {
                self.users.remove(user);
            }
        }
    }

    /// A connection that the runtime has kept is in a channel.
    pub fn restore(&mut self, who: u32, user: Option<&Arc<str>>, channel: &ChannelName) {
        self.channels.entry(channel.clone()).or_default().insert(who, user.cloned());
    }

    /// A connection joins a channel. Returns its user, if the user was not present before.
    pub fn join(&mut self, who: u32, user: Option<&Arc<str>>, channel: &ChannelName) -> Option<Arc<str>> {
        let is_elsewhere = user.is_some_and(|user| self.is_in(user, channel, who));
        let was_here = self.channels.entry(channel.clone()).or_default().insert(who, user.cloned()).is_some();
        let user = Arc::clone(user?);
        let returns = self.leaving.remove(&(channel.clone(), Arc::clone(&user))).is_some();
        (!is_elsewhere && !was_here && !returns).then_some(user)
    }

    /// A connection leaves a channel. Its user leaves a little later, if it has no other one there.
    pub fn leave(&mut self, who: u32, channel: &ChannelName, now: UnixMillis) {
        let Some(members) = self.channels.get_mut(channel) else { return };
        let user = members.remove(&who).flatten();
        if members.is_empty() {
            self.channels.remove(channel);
        }
        if let Some(user) = user.filter(|user| !self.is_in(user, channel, who)) {
            self.leaving.insert((channel.clone(), user), now.plus(PRESENCE_MS));
        }
    }

    /// Takes out those who count as gone by now.
    pub fn take_left(&mut self, now: UnixMillis) -> Vec<(ChannelName, Arc<str>)> {
        let left: Vec<_> = self.leaving.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for key in &left {
            self.leaving.remove(key);
        }
        left
    }

    /// When the next of them counts as gone.
    pub fn next_left(&self) -> Option<UnixMillis> {
        self.leaving.values().copied().min()
    }

    /// The connections of a user.
    pub fn of_user(&self, user: &str) -> impl Iterator<Item = u32> {
        self.users.get(user).into_iter().flatten().copied()
    }

    /// The connections in a channel.
    pub fn in_channel(&self, channel: &ChannelName) -> impl Iterator<Item = u32> {
        self.channels.get(channel).into_iter().flat_map(BTreeMap::keys).copied()
    }

    /// The users in a channel, at most [`MAX_PRESENT`], and how many there are.
    pub fn present(&self, channel: &ChannelName) -> (Vec<Arc<str>>, usize) {
        let members = self.channels.get(channel).into_iter().flat_map(BTreeMap::values);
        let mut users: BTreeSet<Arc<str>> = gather(members.flatten().cloned());
        users.extend(self.leaving.keys().filter(|(left, _)| left == channel).map(|(_, user)| Arc::clone(user)));
        let all = users.len();
        (users.into_iter().take(MAX_PRESENT).collect(), all)
    }

    /// Whether a user is in a channel by a connection other than `but`.
    fn is_in(&self, user: &str, channel: &ChannelName, but: u32) -> bool {
        let Some(members) = self.channels.get(channel) else { return false };
        self.of_user(user).any(|who| who != but && members.contains_key(&who))
    }
}
