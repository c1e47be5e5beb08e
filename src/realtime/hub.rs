//! [`Hub`]: the connections of one tenant, and the order of its messages.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::json;

use super::arrival::{Arrival, Opening};
use super::connection::{Admission, Connection, Guest, Holder, MessageRate, Reading};
use super::frame::{ClientFrame, CloseCode, Position, SocketFailure, Target, done, failed, message, packed, pong};
use super::log::LogIndex;
use super::roster::Roster;
use super::rules::Rules;
use super::turn::{Authentication, Draft, Effect, Next, StoredMessage, Turn};
use crate::gate::Code;
use crate::model::bounds::{
    BEHIND_MS, MAX_AUTH_MESSAGE_BYTES, MAX_CHANNELS, MAX_PACKED, MAX_PACKED_BYTES, MAX_SOCKET_MESSAGE_BYTES,
    MAX_SOCKETS, MAX_WAITING_BY_ONE, MAX_WAITING_SOCKETS,
};
use crate::model::{ChannelName, UnixMillis};

/// A connection, for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The id of the connection.
    pub id: Arc<str>,
    /// Its user.
    pub user: Option<Arc<str>>,
    /// Since when it is open.
    pub since: UnixMillis,
    /// Its channels.
    pub channels: Vec<ChannelName>,
}

/// The connections of one tenant.
#[derive(Debug, Default)]
pub struct Hub {
    /// The id of the tenant, for clients.
    tenant: String,
    log: LogIndex,
    rules: Rules,
    connections: BTreeMap<u32, Connection>,
    roster: Roster,
    max_sockets: usize,
    /// How many connections have a credential.
    member_count: usize,
    /// The connections that are behind.
    late: BTreeSet<u32>,
    soonest: Soonest,
}

/// When something is due next for a connection.
#[derive(Debug, Default)]
enum Soonest {
    /// It has to be looked for.
    #[default]
    Unknown,
    /// `None`: never.
    At(Option<UnixMillis>),
}

impl Hub {
    /// A hub without connections, whose log is `log`.
    pub fn new(log: LogIndex) -> Self {
        Self { log, max_sockets: MAX_SOCKETS, ..Self::default() }
    }

    /// Sets how many sockets it takes, instead of [`MAX_SOCKETS`].
    pub fn set_room(&mut self, sockets: usize) {
        self.max_sockets = sockets;
    }

    /// Learns the id of its tenant.
    pub fn set_tenant(&mut self, id: &str) {
        id.clone_into(&mut self.tenant);
    }

    /// Takes in a connection that the runtime has kept. `after`: the number of the last message
    /// that it was sent, if it is behind. Returns false if the attachment is not one of a hub.
    pub fn restore(&mut self, who: u32, attachment: &str, after: Option<u64>, now: UnixMillis) -> bool {
        let Some(mut connection) = Connection::restored(attachment) else { return false };
        if let Some(after) = after {
            connection.reading = Reading::Behind { after, since: now };
            self.late.insert(who);
        }
        self.insert(who, connection);
        true
    }

    // Questions.

    /// The number of connections with a credential.
    pub fn members(&self) -> usize {
        self.member_count
    }

    /// Whether there is no connection at all.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Whether another socket may be opened.
    pub fn has_room(&self) -> bool {
        self.connections.len() < self.max_sockets
    }

    /// Whether another socket without a credential may be opened by this client.
    pub fn has_room_for_guest(&self, client: &str) -> bool {
        let guests = || self.connections.values().filter_map(Connection::guest);
        let own = guests().filter(|guest| guest.client == client).count();
        self.has_room() && guests().count() < MAX_WAITING_SOCKETS && own < MAX_WAITING_BY_ONE
    }

    /// The position after the last message.
    pub fn end(&self) -> Position {
        self.log.end()
    }

    /// The position before the first message that the log keeps.
    pub fn start(&self) -> Position {
        Position { seq: self.log.start(), ..self.log.end() }
    }

    /// Whether the log has everything after a position.
    pub fn reaches(&self, position: &Position) -> bool {
        self.log.reaches(position)
    }

    /// The connections with a credential, and what the gate has found about it.
    pub fn admissions(&self) -> impl Iterator<Item = (u32, &Admission)> {
        self.connections.iter().filter_map(|(who, connection)| Some((*who, connection.admission()?)))
    }

    /// What the gate has found about the credential of a connection.
    pub fn admission(&self, who: u32) -> Option<&Admission> {
        self.connections.get(&who)?.admission()
    }

    /// All sockets.
    pub fn all(&self) -> Vec<u32> {
        self.connections.keys().copied().collect()
    }

    /// The connections that are behind.
    pub fn behind(&self) -> impl Iterator<Item = u32> {
        self.late.iter().copied()
    }

    /// The connections with a credential, by their ids, after `cursor`.
    pub fn list(&self, cursor: &str, limit: usize) -> Vec<Member> {
        let mut members: Vec<&Connection> =
            self.connections.values().filter(|one| one.admission().is_some() && &*one.id > cursor).collect();
        members.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        let member = |one: &Connection| Member {
            id: Arc::clone(&one.id),
            user: one.user().cloned(),
            since: one.since,
            channels: one.channels.clone(),
        };
        members.into_iter().take(limit).map(member).collect()
    }

    /// The socket of a connection.
    pub fn find(&self, id: &str) -> Option<u32> {
        self.connections.iter().find(|(_, connection)| &*connection.id == id).map(|(who, _)| *who)
    }

    /// The users in a channel, at most
    /// [`MAX_PRESENT`](crate::model::bounds::MAX_PRESENT), and how many there are.
    pub fn present(&self, channel: &ChannelName) -> (Vec<Arc<str>>, usize) {
        self.roster.present(channel)
    }

    // Events.

    /// A socket without a credential has been opened.
    pub fn open_guest(&mut self, who: u32, id: Arc<str>, guest: Guest, now: UnixMillis) -> Vec<Effect> {
        let connection = Connection::new(id, Holder::Guest(guest), now);
        let attach = Effect::Attach { who, text: connection.attachment() };
        self.insert(who, connection);
        vec![attach]
    }

    /// A socket has been opened by a request whose credential the gate has accepted.
    pub fn open(
        &mut self,
        who: u32,
        id: Arc<str>,
        admission: Admission,
        opening: &Opening,
        now: UnixMillis,
    ) -> Vec<Effect> {
        let mut connection = Connection::new(id, Holder::Member(admission), now);
        connection.plan_warning(now);
        self.insert(who, connection);
        self.admit(who, opening, now)
    }

    /// A client has sent a message of this many bytes; `None`: a binary one. Checks what needs to
    /// know neither the message nor the tenant. Returns false if nothing else is to be done.
    pub fn screen(&mut self, who: u32, bytes: Option<usize>, now: UnixMillis) -> (bool, Vec<Effect>) {
        let Some(connection) = self.connections.get_mut(&who) else { return (false, Vec::new()) };
        let Some(bytes) = bytes else { return (false, self.close(who, CloseCode::UNREADABLE, now)) };
        let is_guest = connection.guest().is_some();
        if bytes > if is_guest { MAX_AUTH_MESSAGE_BYTES } else { MAX_SOCKET_MESSAGE_BYTES } {
            return (false, self.close(who, CloseCode::TOO_LARGE, now));
        }
        match connection.count_message(now) {
            MessageRate::Within => (true, Vec::new()),
            MessageRate::Refused(wait_ms) if !is_guest => {
                let frame = failed("error", SocketFailure::by(Code::RateLimited), Some(wait_ms), None);
                (false, vec![Effect::Send { to: who, frame }])
            }
            MessageRate::Ignored if !is_guest => (false, Vec::new()),
            _ => (false, self.close(who, CloseCode::TOO_MANY, now)),
        }
    }

    /// A client has sent a message that [`Self::screen`] has let through.
    pub fn message(&mut self, who: u32, text: &str, now: UnixMillis) -> Turn {
        let Some(connection) = self.connections.get(&who) else { return Turn::default() };
        let send = |frame| Turn::of(vec![Effect::Send { to: who, frame }]);
        if let Some(guest) = connection.guest() {
            return match Arrival::read(text) {
                Arrival::Answer(frame) => send(frame),
                Arrival::Authenticate(presented) => Turn::authenticate(who, *presented, Some(guest.question.clone())),
                Arrival::Close(why) => self.end_with(who, why, now),
            };
        }
        match serde_json::from_str::<ClientFrame<'_>>(text) {
            Ok(frame) => self.act(who, &frame, now),
            Err(_) => send(failed("error", SocketFailure::UNREADABLE, None, None)),
        }
    }

    /// The gate has judged a credential. A connection keeps its user, so only its credential can
    /// change. `Err`: the code of the denial, and after how many milliseconds it may pass.
    pub fn authenticated(
        &mut self,
        asked: &Authentication,
        answer: Result<Admission, (Code, Option<u64>)>,
        now: UnixMillis,
    ) -> Vec<Effect> {
        let (who, opening) = (asked.who, &asked.presented.opening);
        let id = opening.reply_id.as_deref();
        let Some(connection) = self.connections.get_mut(&who) else { return Vec::new() };
        let refuse =
            |failure: SocketFailure, wait_ms| Effect::Send { to: who, frame: failed("auth", failure, wait_ms, id) };
        let admission = match answer {
            Ok(admission) => admission,
            Err((code, wait_ms)) => {
                let mut effects = vec![refuse(SocketFailure::by(code), wait_ms)];
                // A member's old credential holds on while the new one cannot be judged.
                let may_retry = code.passes_by_itself() || code == Code::RateLimited;
                if connection.admission().is_none() || !may_retry {
                    effects.extend(self.close(who, CloseCode::by(code), now));
                }
                return effects;
            }
        };
        let renews = connection.admission().is_some();
        if connection.admission().is_some_and(|known| known.holder != admission.holder) {
            let mut effects = vec![refuse(SocketFailure::OTHER_USER, None)];
            effects.extend(self.close(who, CloseCode::by(Code::TenantMismatch), now));
            return effects;
        }
        let ends_at = admission.expires_at;
        let is_later = connection.admission().is_none_or(|known| known.expires_at < ends_at);
        connection.holder = Holder::Member(admission);
        self.soonest = Soonest::Unknown;
        self.member_count = self.member_count.saturating_add(usize::from(!renews));
        // A second warning would only bring the same credential again.
        if is_later {
            connection.plan_warning(now);
        } else {
            connection.warn_at = connection.warn_at.filter(|at| ends_at.is_some_and(|end| at.get() < end));
        }
        if renews {
            let frame = done("auth", &self.admitted(who), id);
            return self.attach(who).into_iter().chain([Effect::Send { to: who, frame }]).collect();
        }
        if let Some(user) = connection.user() {
            self.roster.connect(who, user);
        }
        self.admit(who, opening, now)
    }

    /// Numbers messages, and sends them. Answers the clients that have sent them.
    pub fn publish(&mut self, drafts: Vec<Draft>, now: UnixMillis) -> Vec<Effect> {
        // A member may have been closed, or have lost a right, while its message was charged.
        let (drafts, lost): (Vec<_>, Vec<_>) = drafts.into_iter().partition(|draft| self.is_welcome(draft));
        let (mut effects, mut messages, mut replies) = (Vec::new(), Vec::new(), Vec::new());
        for Draft { who, action, id, .. } in lost {
            let to = who.filter(|who| self.connections.contains_key(who));
            let frame = failed(action, SocketFailure::FORBIDDEN, None, id.as_deref());
            replies.extend(to.map(|to| Effect::Send { to, frame }));
        }
        for draft in drafts {
            let seq = self.log.last().saturating_add(1);
            let frame = message(seq, &draft.target, draft.user.as_deref(), &draft.data);
            self.log.push(frame.len(), now);
            replies.extend(draft.reply(seq));
            let target = draft.target.to_string();
            effects.push(Effect::Store(StoredMessage { seq, at: now, target, frame: frame.clone() }));
            messages.push((seq, draft.target, frame));
        }
        self.fan_out(&messages, &mut effects);
        effects.extend(replies);
        effects.extend(self.log.trim(now).map(|through| Effect::Trim { through }));
        effects
    }

    /// Whether the sender of a message may still send it.
    fn is_welcome(&self, draft: &Draft) -> bool {
        let Some(who) = draft.who else { return true };
        let Some(admission) = self.connections.get(&who).and_then(Connection::admission) else { return false };
        match &draft.target {
            Target::All => self.rules.broadcast(admission).is_ok(),
            Target::User(_) => self.rules.send(admission).is_ok(),
            Target::Channel(channel) => self.rules.publish(admission, channel).is_ok(),
        }
    }

    /// Whether the catalog has the channel of a target.
    pub fn knows(&self, target: &Target) -> bool {
        if let Target::Channel(channel) = target { self.rules.has_channel(channel) } else { true }
    }

    /// Answers a client whose message another hub has numbered.
    pub fn published(&self, draft: &Draft, seq: u64) -> Vec<Effect> {
        if self.is_welcome(draft) { draft.reply(seq).into_iter().collect() } else { Vec::new() }
    }

    /// Takes in messages that another hub has numbered, and sends them. Those that it has already
    /// are left out, and so are those after a gap.
    pub fn apply(&mut self, messages: Vec<StoredMessage>, now: UnixMillis) -> Vec<Effect> {
        let (mut effects, mut fresh) = (Vec::new(), Vec::new());
        for one in messages {
            if one.seq != self.log.last().saturating_add(1) {
                continue;
            }
            self.log.push(one.frame.len(), one.at);
            // A message whose target this version does not know keeps its number, and reaches
            // nobody.
            if let Some(target) = Target::parse(&one.target) {
                fresh.push((one.seq, target, one.frame.clone()));
            }
            effects.push(Effect::Store(one));
        }
        self.fan_out(&fresh, &mut effects);
        effects.extend(self.log.trim(now).map(|through| Effect::Trim { through }));
        effects
    }

    /// Begins anew at a position, unless the log has it: a request to begin may be late. The
    /// messages before it are not in this log. Members that are connected would miss them, so they
    /// are closed, and told when they return.
    pub fn begin_at(&mut self, position: Position, now: UnixMillis) -> Vec<Effect> {
        if self.log.reaches(&position) {
            return Vec::new();
        }
        let last = self.log.last();
        self.log = LogIndex::new(position.epoch, position.seq, Vec::new());
        let mut effects = vec![Effect::Trim { through: last.max(position.seq) }];
        for who in self.admissions().map(|(who, _)| who).collect::<Vec<_>>() {
            effects.extend(self.too_slow(who, now));
        }
        effects
    }

    fn fan_out(&self, messages: &[(u64, Target, String)], effects: &mut Vec<Effect>) {
        for run in messages.chunk_by(|(_, one, _), (_, other, _)| one == other) {
            self.fan(run, effects);
        }
    }

    /// Tells a client that its message was refused.
    pub fn refuse(&self, draft: &Draft, code: Code, retry_after_ms: Option<u64>) -> Vec<Effect> {
        let Some(to) = draft.who.filter(|who| self.connections.contains_key(who)) else { return Vec::new() };
        let frame = failed(draft.action, SocketFailure::by(code), retry_after_ms, draft.id.as_deref());
        vec![Effect::Send { to, frame }]
    }

    /// Sockets were left out of a frame, because too much is unsent.
    pub fn skipped(&mut self, sockets: &[u32], first: u64, now: UnixMillis) {
        for who in sockets {
            if let Some(connection) = self.connections.get_mut(who).filter(|one| one.reading == Reading::Live) {
                connection.reading = Reading::Behind { after: first.saturating_sub(1), since: now };
                self.late.insert(*who);
            }
        }
    }

    /// Sends messages of the log, oldest first, to a connection that is behind. `is_all`: the log
    /// has no later ones.
    pub fn missed(&mut self, who: u32, messages: &[StoredMessage], is_all: bool) -> Vec<Effect> {
        let Some(connection) = self.connections.get_mut(&who) else { return Vec::new() };
        let Reading::Behind { after, since } = connection.reading else { return Vec::new() };
        let after = messages.last().map_or(after, |last| last.seq);
        connection.reading = if is_all { Reading::Live } else { Reading::Behind { after, since } };
        if is_all {
            self.late.remove(&who);
        }
        let sees = |one: &&StoredMessage| match Target::parse(&one.target) {
            Some(Target::All) => true,
            Some(Target::Channel(channel)) => connection.channels.contains(&channel),
            Some(Target::User(user)) => connection.user().is_some_and(|own| **own == *user),
            None => false,
        };
        let frames: Vec<&str> = messages.iter().filter(sees).map(|one| one.frame.as_str()).collect();
        let send = |frame: String| Effect::Send { to: who, frame };
        if connection.packed && frames.len() > 1 {
            packs(&frames, |frame| frame.len()).into_iter().map(|pack| send(packed(pack))).collect()
        } else {
            frames.into_iter().map(|frame| send(frame.to_owned())).collect()
        }
    }

    /// A client takes nothing for now. What it misses meanwhile, it receives when it resumes.
    pub fn pause(&mut self, who: u32, now: UnixMillis) -> Vec<Effect> {
        let after = self.log.last();
        let Some(connection) = self.connections.get_mut(&who) else { return Vec::new() };
        connection.paused = true;
        if connection.reading != Reading::Live {
            return Vec::new();
        }
        connection.reading = Reading::Behind { after, since: now };
        self.late.insert(who);
        vec![Effect::Behind { who, after }]
    }

    /// A client takes messages again.
    pub fn resume(&mut self, who: u32, now: UnixMillis) -> Vec<Effect> {
        if let Some(connection) = self.connections.get_mut(&who) {
            connection.paused = false;
        }
        self.drained(who, now)
    }

    /// A connection that is behind can take more. Returns the effect that lets it catch up, or
    /// closes it if the log no longer covers its position.
    pub fn drained(&mut self, who: u32, now: UnixMillis) -> Vec<Effect> {
        let Some(connection) = self.connections.get(&who) else { return Vec::new() };
        match connection.reading {
            _ if connection.paused => Vec::new(),
            Reading::Live => Vec::new(),
            Reading::Behind { after, .. } if self.log.covers(after) => vec![Effect::CatchUp { who, after }],
            Reading::Behind { .. } => self.too_slow(who, now),
        }
    }

    /// Closes a socket whose client does not read.
    pub fn too_slow(&mut self, who: u32, now: UnixMillis) -> Vec<Effect> {
        self.close(who, CloseCode::TOO_SLOW, now)
    }

    /// Closes a connection that the gate no longer admits.
    pub fn dismiss(&mut self, who: u32, code: Code, now: UnixMillis) -> Vec<Effect> {
        self.close(who, CloseCode::by(code), now)
    }

    /// A socket has been closed.
    pub fn closed(&mut self, who: u32, now: UnixMillis) -> Vec<Effect> {
        self.remove(who, now);
        Vec::new()
    }

    /// The catalog or the tenant's features have changed: connections leave the channels that they
    /// may no longer read.
    pub fn set_rules(&mut self, rules: Rules, now: UnixMillis) -> Vec<Effect> {
        self.rules = rules;
        let mut lost = Vec::new();
        for (who, connection) in &self.connections {
            let Some(admission) = connection.admission() else { continue };
            for channel in &connection.channels {
                if let Err(failure) = self.rules.subscribe(admission, channel) {
                    lost.push((*who, channel.clone(), failure));
                }
            }
        }
        let mut effects = Vec::new();
        for (who, channel, failure) in lost {
            self.leave(who, &channel, now);
            let error = json!({ "code": failure.code, "message": failure.message });
            let frame = json!({ "action": "unsubscribed", "channel": channel, "error": error }).to_string();
            effects.extend(self.attach(who));
            effects.push(Effect::Send { to: who, frame });
        }
        effects
    }

    /// Tells all members that something about their tenant has changed, for example a feature.
    pub fn tell_changed(&self) -> Vec<Effect> {
        let to: Vec<u32> = self.admissions().map(|(who, _)| who).collect();
        let frame = String::from("{\"action\":\"changed\"}");
        if to.is_empty() { Vec::new() } else { vec![Effect::Fan { to, frame, first: 0 }] }
    }

    /// Does what is due.
    pub fn due(&mut self, now: UnixMillis) -> Vec<Effect> {
        self.soonest = Soonest::Unknown;
        let (mut effects, mut ended) = (Vec::new(), Vec::new());
        for (who, connection) in &mut self.connections {
            match (&connection.holder, connection.reading) {
                (Holder::Guest(guest), _) if guest.until <= now.get() => ended.push((*who, CloseCode::UNAUTHENTICATED)),
                (Holder::Member(Admission { expires_at: Some(end), .. }), _) if *end <= now.get() => {
                    ended.push((*who, CloseCode::UNAUTHENTICATED));
                }
                (_, Reading::Behind { since, .. }) if now.since(since) >= BEHIND_MS => {
                    ended.push((*who, CloseCode::TOO_SLOW));
                }
                (Holder::Member(Admission { expires_at: Some(end), .. }), _)
                    if connection.warn_at.is_some_and(|at| at <= now) =>
                {
                    connection.warn_at = None;
                    let frame = json!({ "action": "expiring", "expiresAt": UnixMillis::new(*end) }).to_string();
                    effects.push(Effect::Attach { who: *who, text: connection.attachment() });
                    effects.push(Effect::Send { to: *who, frame });
                }
                _ => {}
            }
        }
        for (who, why) in ended {
            effects.extend(self.close(who, why, now));
        }
        for (channel, user) in self.roster.take_left(now) {
            effects.extend(self.tell_presence(&channel, "left", &user));
        }
        effects.extend(self.log.trim(now).map(|through| Effect::Trim { through }));
        effects
    }

    /// When something is due next.
    pub fn next_due(&mut self) -> Option<UnixMillis> {
        let of = |connection: &Connection| match &connection.holder {
            Holder::Guest(guest) => Some(UnixMillis::new(guest.until)),
            Holder::Member(admission) => connection.warn_at.or(admission.expires_at.map(UnixMillis::new)),
        };
        let soonest = match self.soonest {
            Soonest::At(soonest) => soonest,
            Soonest::Unknown => self.connections.values().filter_map(of).min(),
        };
        self.soonest = Soonest::At(soonest);
        soonest.into_iter().chain(self.roster.next_left()).chain(self.log.next_trim()).min()
    }

    // Steps.

    fn insert(&mut self, who: u32, connection: Connection) {
        self.soonest = Soonest::Unknown;
        self.member_count = self.member_count.saturating_add(usize::from(connection.admission().is_some()));
        if let Some(user) = connection.user() {
            self.roster.connect(who, user);
        }
        for channel in &connection.channels {
            self.roster.restore(who, connection.user(), channel);
        }
        self.connections.insert(who, connection);
    }

    /// Forgets a connection. Its user leaves its channels a little later.
    fn remove(&mut self, who: u32, now: UnixMillis) {
        let channels = self.connections.get(&who).map(|connection| connection.channels.clone()).unwrap_or_default();
        for channel in channels {
            self.leave(who, &channel, now);
        }
        self.late.remove(&who);
        self.soonest = Soonest::Unknown;
        let connection = self.connections.remove(&who);
        let was_member = connection.as_ref().is_some_and(|connection| connection.admission().is_some());
        self.member_count = self.member_count.saturating_sub(usize::from(was_member));
        if let Some(user) = connection.as_ref().and_then(Connection::user) {
            self.roster.disconnect(who, user);
        }
    }

    fn close(&mut self, who: u32, why: CloseCode, now: UnixMillis) -> Vec<Effect> {
        if !self.connections.contains_key(&who) {
            return Vec::new();
        }
        self.remove(who, now);
        vec![Effect::Close { who, why }]
    }

    fn end_with(&mut self, who: u32, why: CloseCode, now: UnixMillis) -> Turn {
        Turn::of(self.close(who, why, now))
    }

    fn attach(&self, who: u32) -> Option<Effect> {
        let connection = self.connections.get(&who)?;
        Some(Effect::Attach { who, text: connection.attachment() })
    }

    /// What a client is told when it is admitted.
    fn admitted(&self, who: u32) -> serde_json::Value {
        let Some(connection) = self.connections.get(&who) else { return json!({}) };
        let admission = connection.admission();
        json!({
            "connectionId": connection.id,
            "tenantId": self.tenant,
            "userId": connection.user(),
            "expiresAt": admission.and_then(|admission| admission.expires_at).map(UnixMillis::new),
        })
    }

    /// Greets a connection that has just been admitted: its position, its channels, and what it has
    /// missed.
    fn admit(&mut self, who: u32, opening: &Opening, now: UnixMillis) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut refused = Vec::new();
        for name in &opening.channels {
            match self.join(who, name, false) {
                Ok(joined) => effects.extend(joined),
                Err(failure) => refused.push(json!({ "channel": name, "code": failure.code })),
            }
        }
        let recovered = opening.since.as_ref().map(|since| self.log.reaches(since));
        let end = self.log.end();
        let Some(connection) = self.connections.get_mut(&who) else { return Vec::new() };
        connection.packed = opening.packed;
        let channels = connection.channels.clone();
        let mut greeting = self.admitted(who);
        if let Some(greeting) = greeting.as_object_mut() {
            greeting.extend([
                (String::from("epoch"), end.epoch.clone().into()),
                (String::from("seq"), end.seq.into()),
                (String::from("channels"), json!(channels)),
            ]);
            if let Some(recovered) = recovered {
                greeting.insert(String::from("recovered"), recovered.into());
            }
            if !refused.is_empty() {
                greeting.insert(String::from("refused"), refused.into());
            }
        }
        effects.extend(self.attach(who));
        effects.push(Effect::Send { to: who, frame: done("auth", &greeting, opening.reply_id.as_deref()) });
        if let Some(since) = opening.since.as_ref().filter(|_| recovered == Some(true))
            && since.seq < end.seq
            && let Some(connection) = self.connections.get_mut(&who)
        {
            connection.reading = Reading::Behind { after: since.seq, since: now };
            self.late.insert(who);
            effects.push(Effect::CatchUp { who, after: since.seq });
        }
        effects
    }

    fn act(&mut self, who: u32, frame: &ClientFrame<'_>, now: UnixMillis) -> Turn {
        let id = frame.reply_id();
        let (action, outcome) = match &*frame.action {
            "auth" => ("auth", frame.presented().map(|presented| Turn::authenticate(who, presented, None))),
            "ping" => ("ping", Ok(Turn::of(vec![Effect::Send { to: who, frame: pong(id.as_deref()) }]))),
            "broadcast" => ("broadcast", self.draft(who, "broadcast", frame)),
            "send" => ("send", self.draft(who, "send", frame)),
            "publish" => ("publish", self.draft(who, "publish", frame)),
            "subscribe" => ("subscribe", self.subscribe(who, frame)),
            "unsubscribe" => ("unsubscribe", self.unsubscribe(who, frame, now)),
            "presence" => ("presence", self.presence(who, frame)),
            "pause" => return Turn::of(self.pause(who, now)),
            "resume" => return Turn::of(self.resume(who, now)),
            _ => ("error", Err(SocketFailure::UNKNOWN_ACTION)),
        };
        outcome.unwrap_or_else(|failure| {
            Turn::of(vec![Effect::Send { to: who, frame: failed(action, failure, None, id.as_deref()) }])
        })
    }

    fn draft(&self, who: u32, action: &'static str, frame: &ClientFrame<'_>) -> Result<Turn, SocketFailure> {
        let admission = self.connections.get(&who).and_then(Connection::admission).ok_or(SocketFailure::FORBIDDEN)?;
        let target = match action {
            "broadcast" => {
                self.rules.broadcast(admission)?;
                Target::All
            }
            "send" => {
                self.rules.send(admission)?;
                let user = frame.to.as_deref().filter(|user| !user.is_empty()).ok_or(SocketFailure::NO_USER)?;
                Target::User(user.to_owned())
            }
            _ => {
                let channel = channel_of(frame)?;
                self.rules.publish(admission, &channel)?;
                Target::Channel(channel)
            }
        };
        let data = frame.data.ok_or(SocketFailure::NO_DATA)?.get().to_owned();
        let user = admission.user.clone();
        let draft = Draft { who: Some(who), user, target, data, action, id: frame.reply_id() };
        Ok(Turn { effects: Vec::new(), next: Next::Publish(Box::new(draft)) })
    }

    fn subscribe(&mut self, who: u32, frame: &ClientFrame<'_>) -> Result<Turn, SocketFailure> {
        let channel = channel_of(frame)?;
        let mut effects = self.join(who, channel.as_str(), frame.presence)?;
        effects.extend(self.attach(who));
        let mut more = json!({ "channel": channel, "seq": self.log.last() });
        if let Some(more) = more.as_object_mut().filter(|_| frame.presence) {
            more.extend(self.presence_of(&channel));
        }
        effects.push(Effect::Send { to: who, frame: done("subscribe", &more, frame.reply_id().as_deref()) });
        Ok(Turn::of(effects))
    }

    fn unsubscribe(&mut self, who: u32, frame: &ClientFrame<'_>, now: UnixMillis) -> Result<Turn, SocketFailure> {
        let channel = channel_of(frame)?;
        self.leave(who, &channel, now);
        let frame = done("unsubscribe", &json!({ "channel": channel }), frame.reply_id().as_deref());
        Ok(Turn::of(self.attach(who).into_iter().chain([Effect::Send { to: who, frame }]).collect()))
    }

    fn presence(&self, who: u32, frame: &ClientFrame<'_>) -> Result<Turn, SocketFailure> {
        let channel = channel_of(frame)?;
        // Who may not read a channel may not know who does.
        let admission = self.connections.get(&who).and_then(Connection::admission).ok_or(SocketFailure::FORBIDDEN)?;
        self.rules.subscribe(admission, &channel)?;
        let mut more = json!({ "channel": channel });
        if let Some(more) = more.as_object_mut() {
            more.extend(self.presence_of(&channel));
        }
        let frame = done("presence", &more, frame.reply_id().as_deref());
        Ok(Turn::of(vec![Effect::Send { to: who, frame }]))
    }

    fn presence_of(&self, channel: &ChannelName) -> [(String, serde_json::Value); 2] {
        let (users, all) = self.present(channel);
        [(String::from("users"), json!(users)), (String::from("total"), all.into())]
    }

    /// Subscribes a connection to a channel. Returns what others are told of it.
    fn join(&mut self, who: u32, name: &str, watches: bool) -> Result<Vec<Effect>, SocketFailure> {
        let channel = ChannelName::parse(name).ok_or(SocketFailure::NO_CHANNEL)?;
        let connection = self.connections.get_mut(&who).ok_or(SocketFailure::FORBIDDEN)?;
        let admission = connection.admission().ok_or(SocketFailure::FORBIDDEN)?;
        self.rules.subscribe(admission, &channel)?;
        if !connection.channels.contains(&channel) {
            if connection.channels.len() >= MAX_CHANNELS {
                return Err(SocketFailure::TOO_MANY_CHANNELS);
            }
            connection.channels.push(channel.clone());
        }
        if watches && !connection.watches.contains(&channel) {
            connection.watches.push(channel.clone());
        }
        let joined = self.roster.join(who, connection.user(), &channel);
        Ok(joined.into_iter().flat_map(|user| self.tell_presence(&channel, "joined", &user)).collect())
    }

    /// Ends a subscription.
    fn leave(&mut self, who: u32, channel: &ChannelName, now: UnixMillis) {
        let Some(connection) = self.connections.get_mut(&who) else { return };
        if !connection.channels.contains(channel) {
            return;
        }
        connection.channels.retain(|own| own != channel);
        connection.watches.retain(|own| own != channel);
        self.roster.leave(who, channel, now);
    }

    /// Tells those who watch a channel, other than the user, who has joined or left it.
    fn tell_presence(&self, channel: &ChannelName, what: &str, user: &str) -> impl Iterator<Item = Effect> + use<> {
        let watches = |who: &u32| {
            let other = self.connections.get(who).filter(|one| one.user().is_none_or(|own| **own != *user));
            other.is_some_and(|one| one.watches.contains(channel))
        };
        let to: Vec<u32> = self.roster.in_channel(channel).filter(watches).collect();
        let frame = json!({ "action": "presence", "channel": channel, what: [user] }).to_string();
        (!to.is_empty()).then_some(Effect::Fan { to, frame, first: 0 }).into_iter()
    }

    /// Sends a run of messages for the same target.
    fn fan(&self, run: &[(u64, Target, String)], effects: &mut Vec<Effect>) {
        let Some((_, target, _)) = run.first() else { return };
        let live = |who: &u32| self.connections.get(who).filter(|connection| connection.is_live());
        let sockets: &mut dyn Iterator<Item = u32> = match target {
            Target::All => &mut self.connections.keys().copied(),
            Target::Channel(channel) => &mut self.roster.in_channel(channel),
            Target::User(user) => &mut self.roster.of_user(user),
        };
        let (mut one_by_one, mut together) = (Vec::new(), Vec::new());
        for who in sockets {
            match live(&who) {
                Some(connection) if connection.packed && run.len() > 1 => together.push(who),
                Some(_) => one_by_one.push(who),
                None => {}
            }
        }
        if !one_by_one.is_empty() {
            for (seq, _, frame) in run {
                effects.push(Effect::Fan { to: one_by_one.clone(), frame: frame.clone(), first: *seq });
            }
        }
        if !together.is_empty() {
            for pack in packs(run, |(_, _, frame)| frame.len()) {
                let frames: Vec<&str> = pack.iter().map(|(_, _, frame)| frame.as_str()).collect();
                let first = pack.first().map_or(0, |(seq, _, _)| *seq);
                effects.push(Effect::Fan { to: together.clone(), frame: packed(&frames), first });
            }
        }
    }
}

fn channel_of(frame: &ClientFrame<'_>) -> Result<ChannelName, SocketFailure> {
    frame.channel.as_deref().and_then(ChannelName::parse).ok_or(SocketFailure::NO_CHANNEL)
}

/// Splits items into groups that fit a frame: at most [`MAX_PACKED`], and [`MAX_PACKED_BYTES`]
/// unless a single one is larger.
fn packs<T>(items: &[T], bytes: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut groups = Vec::new();
    let mut rest = items;
    while !rest.is_empty() {
        let mut sum = 0_usize;
        let fits = rest.iter().take(MAX_PACKED).take_while(|item| {
            sum = sum.saturating_add(bytes(item));
            sum <= MAX_PACKED_BYTES
        });
        let (group, more) = rest.split_at(fits.count().clamp(1, rest.len()));
        groups.push(group);
        rest = more;
    }
    groups
}
