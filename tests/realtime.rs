//! A hub over random histories: connections come and go, are slow, return; members publish. At
//! every moment a client has seen a run of the messages that it may see, in order, without a gap
//! and each once.

#![cfg(not(target_family = "wasm"))]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};
use tenantgate::model::{Catalog, ChannelName, Realtime, UnixMillis};
use tenantgate::realtime::{
    Admission, Draft, Effect, Guest, Hub, LogIndex, Membership, Next, Opening, Position, Rules, StoredMessage, Target,
};

fn realtime(channels: &Value) -> Realtime {
    let catalog = json!({
        "version": 1,
        "resolution": { "strategies": [{ "strategy": "header" }] },
        "features": { "premium": { "type": "boolean", "default": false } },
        "realtime": { "channels": channels },
    });
    Catalog::parse(&catalog.to_string()).unwrap().realtime.unwrap()
}

fn rules() -> Rules {
    Rules::new(
        &realtime(&json!({ "a": { "publish": {} }, "b": {}, "vip": { "subscribe": { "feature": "premium" } } })),
        BTreeSet::new(),
    )
}

fn admission(user: &str) -> Admission {
    Admission {
        user: Some(user.into()),
        holder: user.into(),
        scopes: Vec::new(),
        expires_at: None,
        credential: String::from("{}"),
    }
}

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

/// What an adapter does: the log, the sockets, and what clients have received.
#[derive(Default)]
struct World {
    hub: Hub,
    log: Vec<StoredMessage>,
    trimmed: u64,
    /// Frames by socket, parsed.
    received: BTreeMap<u32, Vec<Value>>,
    closed: BTreeMap<u32, (u16, &'static str)>,
    attachments: BTreeMap<u32, String>,
    /// Sockets whose client does not read.
    stuck: BTreeSet<u32>,
    now: u64,
}

impl World {
    fn new() -> Self {
        let mut world =
            Self { hub: Hub::new(LogIndex::new(String::from("e"), 0, Vec::new())), now: 1_000_000, ..Self::default() };
        let effects = world.hub.set_rules(rules(), world.time());
        world.carry_out(effects);
        world
    }

    fn time(&self) -> UnixMillis {
        UnixMillis::new(self.now)
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut effects: std::collections::VecDeque<Effect> = effects.into();
        let now = self.time();
        let mut skipping: BTreeSet<u32> = BTreeSet::new();
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Send { to, frame } if self.stuck.contains(&to) => {
                    drop(frame);
                    effects.extend(self.hub.too_slow(to, now));
                }
                Effect::Send { to, frame } => self.receive(to, &frame),
                Effect::Store(message) => {
                    assert_eq!(
                        message.seq,
                        self.log.last().map_or(self.trimmed, |last| last.seq) + 1,
                        "a gap in the log"
                    );
                    self.log.push(message);
                }
                Effect::Fan { to, frame, first } => {
                    let mut skipped = Vec::new();
                    for who in to {
                        if self.stuck.contains(&who) || skipping.contains(&who) {
                            if first > 0 && skipping.insert(who) {
                                skipped.push(who);
                            }
                        } else {
                            // Nobody sees what is not in the log.
                            assert!(first <= self.log.last().map_or(0, |last| last.seq));
                            self.receive(who, &frame);
                        }
                    }
                    self.hub.skipped(&skipped, first, now);
                }
                Effect::CatchUp { who, after } => {
                    if self.stuck.contains(&who) {
                        continue;
                    }
                    let rows: Vec<StoredMessage> =
                        self.log.iter().filter(|one| one.seq > after).take(3).cloned().collect();
                    let is_all =
                        rows.last().map_or(after, |last| last.seq) == self.log.last().map_or(after, |last| last.seq);
                    let more = self.hub.missed(who, &rows, is_all);
                    self.carry_out(more);
                    if !is_all {
                        let after = rows.last().map_or(after, |last| last.seq);
                        effects.push_front(Effect::CatchUp { who, after });
                    }
                }
                Effect::Behind { .. } => {}
                Effect::Attach { who, text } => {
                    self.attachments.insert(who, text);
                }
                Effect::Close { who, why } => {
                    self.closed.insert(who, (why.status, why.reason));
                    self.attachments.remove(&who);
                }
                Effect::Trim { through } => {
                    self.trimmed = through;
                    self.log.retain(|one| one.seq > through);
                }
            }
        }
    }

    fn receive(&mut self, who: u32, frame: &str) {
        assert!(!self.closed.contains_key(&who), "a byte after the end");
        let frame: Value = serde_json::from_str(frame).unwrap_or_else(|error| panic!("{error}: {frame}"));
        self.received.entry(who).or_default().push(frame);
    }

    fn open(&mut self, who: u32, user: &str, opening: &Opening) {
        let effects = self.hub.open(who, format!("c{who}").into(), admission(user), opening, self.time());
        self.carry_out(effects);
    }

    /// A client has sent a message.
    fn hear(&mut self, who: u32, text: Option<&str>) -> Next {
        let (wanted, effects) = self.hub.screen(who, text.map(str::len), self.time());
        self.carry_out(effects);
        if !wanted {
            return Next::Nothing;
        }
        let turn = self.hub.message(who, text.unwrap(), self.time());
        self.carry_out(turn.effects);
        turn.next
    }

    fn say(&mut self, who: u32, message: &Value) {
        let next = self.hear(who, Some(&message.to_string()));
        match next {
            Next::Nothing => {}
            Next::Publish(draft) => {
                let effects = self.hub.publish(vec![*draft], self.time());
                self.carry_out(effects);
            }
            Next::Authenticate(asked) => {
                let effects = self.hub.authenticated(&asked, Ok(admission(&asked.presented.token)), self.time());
                self.carry_out(effects);
            }
        }
    }

    fn publish(&mut self, target: Target, count: usize) {
        let drafts = (0..count).map(|n| Draft::from_elsewhere(None, target.clone(), n.to_string())).collect();
        let effects = self.hub.publish(drafts, self.time());
        self.carry_out(effects);
    }

    fn drain(&mut self) {
        let behind: Vec<u32> = self.hub.behind().collect();
        for who in behind {
            if !self.stuck.contains(&who) {
                let effects = self.hub.drained(who, self.time());
                self.carry_out(effects);
            }
        }
    }

    /// The numbers of the messages that a socket has received.
    fn seqs(&self, who: u32) -> Vec<u64> {
        let of = |frame: &Value| match frame["action"].as_str() {
            Some("message") => vec![frame["seq"].as_u64().unwrap()],
            Some("messages") => {
                frame["messages"].as_array().unwrap().iter().map(|one| one["seq"].as_u64().unwrap()).collect()
            }
            _ => Vec::new(),
        };
        self.received.get(&who).into_iter().flatten().flat_map(of).collect()
    }

    fn frames(&self, who: u32, action: &str) -> Vec<&Value> {
        self.received.get(&who).into_iter().flatten().filter(|frame| frame["action"] == action).collect()
    }
}

fn opening(channels: &[&str]) -> Opening {
    Opening { channels: channels.iter().map(ToString::to_string).collect(), ..Opening::default() }
}

#[test]
fn messages_reach_those_whom_they_are_for() {
    let mut world = World::new();
    world.open(1, "ann", &opening(&["a"]));
    world.open(2, "bob", &opening(&["b"]));
    world.open(3, "ann", &Opening::default());
    world.publish(Target::All, 1);
    world.publish(Target::Channel(channel("a")), 1);
    world.publish(Target::User(String::from("ann")), 1);
    assert_eq!((world.seqs(1), world.seqs(2), world.seqs(3)), (vec![1, 2, 3], vec![1], vec![1, 3]));
}

#[test]
fn a_client_that_was_away_receives_what_it_has_missed_or_is_told() {
    let mut world = World::new();
    world.publish(Target::All, 5);
    let since = |seq, epoch: &str| Opening { since: Some(Position { epoch: epoch.into(), seq }), ..Opening::default() };
    world.open(1, "ann", &since(2, "e"));
    assert_eq!(world.frames(1, "auth")[0]["recovered"], true);
    assert_eq!(world.seqs(1), [3, 4, 5]);
    for (who, seq, epoch) in [(2, 2, "other"), (3, 6, "e")] {
        world.open(who, "ann", &since(seq, epoch));
        assert_eq!(world.frames(who, "auth")[0]["recovered"], false, "{seq} of {epoch}");
        assert_eq!(world.seqs(who), Vec::<u64>::new());
    }
    world.now += 300_000;
    world.publish(Target::All, 1);
    world.open(4, "ann", &since(2, "e"));
    assert_eq!(world.frames(4, "auth")[0]["recovered"], false, "the log has forgotten them");
    world.open(5, "ann", &since(5, "e"));
    assert_eq!(world.seqs(5), [6]);
}

#[test]
fn a_connection_keeps_its_user() {
    let mut world = World::new();
    world.open(1, "ann", &Opening::default());
    world.say(1, &json!({ "action": "auth", "token": "ann" }));
    assert_eq!(world.frames(1, "auth").len(), 2);
    world.say(1, &json!({ "action": "auth", "token": "bob" }));
    assert_eq!(world.closed[&1], (4403, "TENANT_MISMATCH"));
}

#[test]
fn a_socket_without_a_credential_may_only_present_one() {
    let mut world = World::new();
    let guest = |address: &str| Guest { until: 1_030_000, question: String::new(), client: address.into() };
    for (who, message) in [
        (1, json!({ "action": "broadcast", "data": 1 })),
        (2, json!({ "action": "auth", "token": "x".repeat(9_000) })),
        (3, json!(7)),
    ] {
        let effects = world.hub.open_guest(who, "c".into(), guest("a"), world.time());
        world.carry_out(effects);
        world.say(who, &message);
    }
    assert_eq!(world.closed.values().map(|(status, _)| *status).collect::<Vec<_>>(), [4401, 4413, 4400]);
    for who in 10..15 {
        assert!(world.hub.has_room_for_guest("b"));
        let effects = world.hub.open_guest(who, "c".into(), guest("b"), world.time());
        world.carry_out(effects);
    }
    assert!(!world.hub.has_room_for_guest("b"), "one address");
    assert!(world.hub.has_room_for_guest("c"));
    world.publish(Target::All, 1);
    assert!(world.received.values().all(Vec::is_empty) || world.received.is_empty(), "nothing before a credential");
    assert_eq!(world.hub.next_due(), Some(UnixMillis::new(1_030_000)));
    world.now = 1_030_000;
    let effects = world.hub.due(world.time());
    world.carry_out(effects);
    assert!((10..15).all(|who| world.closed[&who] == (4401, "UNAUTHENTICATED")));
}

#[test]
fn a_slow_reader_costs_others_nothing_and_catches_up() {
    let mut world = World::new();
    world.open(1, "ann", &Opening::default());
    world.open(2, "bob", &Opening::default());
    world.stuck.insert(1);
    world.publish(Target::All, 1);
    world.publish(Target::All, 3);
    assert_eq!((world.seqs(1), world.seqs(2)), (vec![], vec![1, 2, 3, 4]));
    world.drain();
    assert_eq!(world.seqs(1), Vec::<u64>::new());
    world.stuck.clear();
    world.drain();
    assert_eq!(world.seqs(1), [1, 2, 3, 4]);
    world.publish(Target::All, 1);
    assert_eq!(world.seqs(1), [1, 2, 3, 4, 5]);
}

#[test]
fn a_client_that_pauses_receives_what_it_has_missed_when_it_resumes() {
    let mut world = World::new();
    world.open(1, "ann", &Opening::default());
    world.say(1, &json!({ "action": "pause" }));
    world.publish(Target::All, 2);
    world.drain();
    assert_eq!(world.seqs(1), Vec::<u64>::new());
    world.say(1, &json!({ "action": "resume" }));
    assert_eq!(world.seqs(1), [1, 2]);
    world.say(1, &json!({ "action": "pause" }));
    world.now += 30_000;
    let effects = world.hub.due(world.time());
    world.carry_out(effects);
    assert_eq!(world.closed[&1].0, 4408, "not for longer than a slow reader may be behind");
}

#[test]
fn a_reader_that_stays_behind_is_disconnected() {
    let mut world = World::new();
    world.open(1, "ann", &Opening::default());
    world.stuck.insert(1);
    world.publish(Target::All, 1);
    world.now += 30_000;
    let effects = world.hub.due(world.time());
    world.carry_out(effects);
    assert_eq!(world.closed[&1].0, 4408);
}

#[test]
fn several_messages_share_a_frame_for_clients_that_take_it() {
    let mut world = World::new();
    world.open(1, "ann", &Opening { packed: true, ..Opening::default() });
    world.open(2, "bob", &Opening::default());
    world.publish(Target::All, 70);
    assert_eq!(world.frames(1, "messages").len(), 2, "64 in the first");
    assert_eq!(world.frames(2, "message").len(), 70);
    assert_eq!(world.seqs(1), world.seqs(2));
}

#[test]
fn channels_need_what_the_catalog_says() {
    let mut world = World::new();
    world.open(1, "ann", &opening(&["a", "vip", "unknown", "!"]));
    let greeting = world.frames(1, "auth")[0].clone();
    assert_eq!(greeting["channels"], json!(["a"]));
    let refused: Vec<&Value> = greeting["refused"].as_array().unwrap().iter().map(|one| &one["code"]).collect();
    assert_eq!(refused, ["FEATURE_NOT_AVAILABLE", "NOT_FOUND", "NOT_FOUND"]);
    world.say(1, &json!({ "action": "publish", "channel": "b", "data": 1, "id": 7 }));
    let reply = world.frames(1, "publish")[0];
    assert_eq!(
        (&reply["success"], &reply["id"], &reply["error"]["code"]),
        (&json!(false), &json!(7), &json!("FORBIDDEN"))
    );
    world.say(1, &json!({ "action": "publish", "channel": "a", "data": 1, "id": "x" }));
    assert_eq!(world.frames(1, "publish")[1], &json!({ "action": "publish", "success": true, "seq": 1, "id": "x" }));

    let premium = [tenantgate::model::Key::parse("premium").unwrap()].into();
    let rules = Rules::new(&realtime(&json!({ "vip": { "subscribe": { "feature": "premium" } } })), premium);
    let effects = world.hub.set_rules(rules, world.time());
    world.carry_out(effects);
    assert_eq!(world.frames(1, "unsubscribed")[0]["channel"], "a", "the channel is gone");
    world.say(1, &json!({ "action": "subscribe", "channel": "vip" }));
    assert_eq!(world.frames(1, "subscribe")[0]["success"], true);
}

#[test]
fn presence_is_of_sockets_and_ignores_short_absences() {
    let mut world = World::new();
    world.open(1, "ann", &Opening::default());
    world.say(1, &json!({ "action": "subscribe", "channel": "a", "presence": true }));
    assert_eq!(world.frames(1, "subscribe")[0]["users"], json!(["ann"]));
    world.open(2, "bob", &opening(&["a"]));
    world.say(2, &json!({ "action": "subscribe", "channel": "a", "presence": true }));
    world.open(3, "bob", &opening(&["a"]));
    assert_eq!(world.frames(1, "presence").len(), 1, "bob joins once");
    for who in [2, 3] {
        let effects = world.hub.closed(who, world.time());
        world.carry_out(effects);
    }
    world.now += 5_000;
    world.open(4, "bob", &opening(&["a"]));
    assert_eq!(world.frames(1, "presence").len(), 1, "a short absence is not seen");
    let effects = world.hub.closed(4, world.time());
    world.carry_out(effects);
    assert_eq!(world.hub.present(&channel("a")).1, 2);
    world.now += 10_000;
    let effects = world.hub.due(world.time());
    world.carry_out(effects);
    assert_eq!(world.frames(1, "presence")[1], &json!({ "action": "presence", "channel": "a", "left": ["bob"] }));
    assert_eq!(world.hub.present(&channel("a")).1, 1);
}

#[test]
fn a_credential_ends_with_a_warning() {
    let mut world = World::new();
    let ends = Admission { expires_at: Some(1_200_000), ..admission("ann") };
    let effects = world.hub.open(1, "c".into(), ends, &Opening::default(), world.time());
    world.carry_out(effects);
    for (at, warned, closed) in
        [(1_139_999, 0, false), (1_140_000, 1, false), (1_199_999, 1, false), (1_200_000, 1, true)]
    {
        world.now = at;
        let effects = world.hub.due(world.time());
        world.carry_out(effects);
        assert_eq!((world.frames(1, "expiring").len(), world.closed.contains_key(&1)), (warned, closed), "{at}");
    }
}

#[test]
fn a_flood_is_told_once_and_then_not_listened_to() {
    let mut world = World::new();
    world.open(1, "ann", &Opening::default());
    for _ in 0..600 {
        world.say(1, &json!({ "action": "nothing" }));
    }
    assert_eq!(world.frames(1, "error").iter().filter(|frame| frame["error"]["code"] == "RATE_LIMITED").count(), 1);
    assert_eq!(world.closed[&1], (4429, "RATE_LIMITED"));
}

#[test]
fn no_message_of_a_client_stops_the_hub() {
    let mut world = World::new();
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for (who, text) in (1_u32..).zip([
        "",
        "{",
        "null",
        "[]",
        "{\"action\":1}",
        "{\"action\":\"auth\",\"action\":\"ping\"}",
        "{\"action\":\"send\",\"to\":\"\",\"data\":1}",
        "{\"action\":\"subscribe\",\"channel\":\"../x\"}",
        "{\"action\":\"broadcast\"}",
        &deep,
    ]) {
        world.open(who, "ann", &Opening::default());
        assert!(matches!(world.hear(who, Some(text)), Next::Nothing), "{text}");
        let last = world.received[&who].last().unwrap();
        assert_eq!(last["success"], false, "{text}");
    }
    world.open(100, "ann", &Opening::default());
    world.hear(100, None);
    assert_eq!(world.closed[&100].0, 4400, "binary");
    world.open(101, "ann", &Opening::default());
    world.hear(101, Some(&"x".repeat(32_769)));
    assert_eq!(world.closed[&101].0, 4413);
}

#[derive(Debug, Clone)]
enum Event {
    Open {
        user: u8,
        channels: u8,
        since: Option<u8>,
        packed: bool,
    },
    Close(u8),
    Publish {
        target: u8,
        count: u8,
    },
    Say {
        who: u8,
        target: u8,
    },
    Subscribe {
        who: u8,
        channel: bool,
        leave: bool,
    },
    Stick(u8),
    Unstick(u8),
    Drain,
    Wait(u16),
    /// The hub is hibernated, and made again from what the runtime has kept.
    Wake,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0..3_u8, 0..4_u8, proptest::option::of(0..30_u8), any::<bool>()).prop_map(|(user, channels, since, packed)| Event::Open { user, channels, since, packed }),
        1 => any::<u8>().prop_map(Event::Close),
        4 => (0..6_u8, 1..5_u8).prop_map(|(target, count)| Event::Publish { target, count }),
        2 => (any::<u8>(), 0..6_u8).prop_map(|(who, target)| Event::Say { who, target }),
        2 => (any::<u8>(), any::<bool>(), any::<bool>()).prop_map(|(who, channel, leave)| Event::Subscribe { who, channel, leave }),
        2 => any::<u8>().prop_map(Event::Stick),
        2 => any::<u8>().prop_map(Event::Unstick),
        2 => Just(Event::Drain),
        1 => any::<u16>().prop_map(Event::Wait),
        1 => Just(Event::Wake),
    ]
}

fn target(number: u8) -> Target {
    match number {
        0 => Target::Channel(channel("a")),
        1 => Target::Channel(channel("b")),
        2..=4 => Target::User(format!("u{}", number - 2)),
        _ => Target::All,
    }
}

/// What a socket may see: from which number on, by which target.
#[derive(Default)]
struct Client {
    user: String,
    /// The number of the last message before it was admitted, or of the position it came back to.
    from: u64,
    /// The channels with the number from which on it has them.
    channels: BTreeMap<String, u64>,
    /// Whether it has ever changed its channels while it was behind, so that messages of the time
    /// before may be given or not.
    blurred: bool,
}

#[test]
fn a_message_with_an_unknown_target_keeps_its_number() {
    let mut world = World::new();
    world.open(1, "ann", &opening(&["a"]));
    let stored = |seq, target: &str| StoredMessage {
        seq,
        at: world.time(),
        target: target.to_owned(),
        frame: json!({ "action": "message", "seq": seq }).to_string(),
    };
    let messages = vec![stored(1, "?"), stored(2, &Target::All.to_string())];
    let effects = world.hub.apply(messages, world.time());
    world.carry_out(effects);
    assert_eq!((world.hub.end().seq, world.log.len(), world.seqs(1)), (2, 2, vec![2]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_client_sees_its_messages_in_order_each_once(events in proptest::collection::vec(event(), 1..80)) {
        let mut world = World::new();
        let mut clients: BTreeMap<u32, Client> = BTreeMap::new();
        let mut next = 0_u32;
        let mut all: Vec<(u64, Target)> = Vec::new();
        let pick = |clients: &BTreeMap<u32, Client>, n: u8| clients.keys().nth(usize::from(n) % clients.len().max(1)).copied();
        for event in events {
            let before = world.log.last().map_or(world.trimmed, |last| last.seq);
            match event {
                Event::Open { user, channels, since, packed } => {
                    next += 1;
                    let names: Vec<&str> = [(1, "a"), (2, "b")].iter().filter(|(bit, _)| channels & bit > 0).map(|(_, name)| *name).collect();
                    let since = since.map(|seq| Position { epoch: String::from("e"), seq: seq.into() });
                    let opening = Opening { since: since.clone(), packed, ..opening(&names) };
                    let user = format!("u{user}");
                    world.open(next, &user, &opening);
                    let recovered = world.frames(next, "auth")[0]["recovered"] == true;
                    let from = since.filter(|_| recovered).map_or(before, |since| since.seq);
                    let channels = names.iter().map(|name| ((*name).to_owned(), from)).collect();
                    clients.insert(next, Client { user, from, channels, blurred: false });
                }
                Event::Close(n) => if let Some(who) = pick(&clients, n) {
                    let effects = world.hub.closed(who, world.time());
                    world.carry_out(effects);
                    clients.remove(&who);
                    world.stuck.remove(&who);
                    world.attachments.remove(&who);
                },
                Event::Publish { target: number, count } => world.publish(target(number), count.into()),
                Event::Say { who, target: number } => if let Some(who) = pick(&clients, who).filter(|who| !world.stuck.contains(who)) {
                    let message = match target(number) {
                        Target::All => json!({ "action": "broadcast", "data": 1 }),
                        Target::User(user) => json!({ "action": "send", "to": user, "data": 1 }),
                        Target::Channel(channel) => json!({ "action": "publish", "channel": channel, "data": 1 }),
                    };
                    world.say(who, &message);
                },
                Event::Subscribe { who, channel, leave } => if let Some(who) = pick(&clients, who).filter(|who| !world.stuck.contains(who)) {
                    let name = if channel { "a" } else { "b" };
                    let is_behind = world.hub.behind().any(|other| other == who);
                    world.say(who, &json!({ "action": if leave { "unsubscribe" } else { "subscribe" }, "channel": name }));
                    let client = clients.get_mut(&who).unwrap();
                    client.blurred |= is_behind;
                    if leave {
                        // What it has seen of the channel until now stays seen.
                        client.blurred = true;
                        client.channels.remove(name);
                    } else {
                        client.channels.entry(name.to_owned()).or_insert(before);
                    }
                },
                Event::Stick(n) => world.stuck.extend(pick(&clients, n)),
                Event::Unstick(n) => if let Some(who) = pick(&clients, n) { world.stuck.remove(&who); },
                Event::Drain => world.drain(),
                Event::Wait(ms) => {
                    world.now += u64::from(ms);
                    let effects = world.hub.due(world.time());
                    world.carry_out(effects);
                }
                Event::Wake => if world.hub.behind().next().is_none() {
                    let entries = world.log.iter().map(|one| tenantgate::realtime::LogEntry { seq: one.seq, at: one.at, bytes: one.frame.len() }).collect();
                    let mut hub = Hub::new(LogIndex::new(String::from("e"), before, entries));
                    for (who, attachment) in &world.attachments {
                        prop_assert!(hub.restore(*who, attachment, None, world.time()));
                    }
                    world.hub = hub;
                    let effects = world.hub.set_rules(rules(), world.time());
                    prop_assert!(effects.is_empty());
                },
            }
            for one in world.log.iter().filter(|one| one.seq > before) {
                all.push((one.seq, Target::parse(&one.target).unwrap()));
            }
            for who in world.closed.keys() {
                clients.remove(who);
            }
            let behind: BTreeSet<u32> = world.hub.behind().collect();
            for (who, client) in &clients {
                let seen = world.seqs(*who);
                prop_assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "out of order: {seen:?}");
                if client.blurred {
                    continue;
                }
                let visible: Vec<u64> = all.iter().filter(|(seq, target)| match target {
                    Target::All => *seq > client.from,
                    Target::User(user) => *seq > client.from && *user == client.user,
                    Target::Channel(channel) => client.channels.get(channel.as_str()).is_some_and(|from| seq > from),
                }).map(|(seq, _)| *seq).collect();
                if behind.contains(who) {
                    prop_assert!(visible.starts_with(&seen), "not a beginning: {seen:?} of {visible:?}");
                } else {
                    prop_assert_eq!(&seen, &visible, "socket {}", who);
                }
            }
        }
    }

    /// The first hub numbers; another one has a copy. Whatever is lost, repeated or overtaken
    /// between them, the copy is a run of the same messages, and complete once everything has come
    /// through.
    #[test]
    fn a_copy_of_the_log_is_never_anything_else(events in proptest::collection::vec((0..6_u8, 0..4_usize, 0..8_usize), 1..120)) {
        let (mut first, mut copy) = (World::new(), World::new());
        first.open(1, "ann", &opening(&["a"]));
        copy.open(1, "ann", &opening(&["a"]));
        // Messages under way, each from a number on.
        let mut on_the_way: Vec<Vec<StoredMessage>> = Vec::new();
        let mut confirmed = 0;
        for (what, count, pick) in events {
            match what {
                0 | 1 => first.publish(target(u8::try_from(pick).unwrap() % 6), count + 1),
                // Sent from what was last confirmed, or from after what is still under way.
                2 => {
                    let from = confirmed + u64::try_from(pick % 5).unwrap();
                    on_the_way.push(first.log.iter().filter(|one| one.seq > from).take(3).cloned().collect());
                }
                // Lost.
                3 if !on_the_way.is_empty() => drop(on_the_way.remove(pick % on_the_way.len())),
                // Arrives, and may arrive again.
                _ if !on_the_way.is_empty() => {
                    let place = pick % on_the_way.len();
                    let messages = if what == 4 { on_the_way.remove(place) } else { on_the_way[place].clone() };
                    let effects = copy.hub.apply(messages, copy.time());
                    copy.carry_out(effects);
                    confirmed = copy.hub.end().seq;
                }
                _ => {}
            }
            let same = copy.log.iter().zip(&first.log).all(|(one, other)| one == other);
            prop_assert!(same && copy.log.len() <= first.log.len());
            prop_assert!(first.seqs(1).starts_with(&copy.seqs(1)));
        }
        while copy.hub.end().seq < first.hub.end().seq {
            let rest = first.log.iter().filter(|one| one.seq > copy.hub.end().seq).cloned().collect();
            let effects = copy.hub.apply(rest, copy.time());
            copy.carry_out(effects);
        }
        prop_assert_eq!(first.seqs(1), copy.seqs(1));
    }
}

#[test]
fn a_further_hub_is_level_once_it_has_what_was_there_when_it_joined() {
    let at = |epoch: &str, seq| Position { epoch: epoch.to_owned(), seq };
    let mut membership = Membership::default();
    assert!(!membership.is_level(&at("e", 9)), "it has not joined");
    assert!(membership.begin("name", UnixMillis::new(1)));
    assert!(membership.join("name", at("e", 5)));
    assert!(membership.has_joined());
    assert!(!membership.is_level(&at("e", 4)));
    let restored = Membership::restored(membership.remembered().as_deref());
    assert!(restored.has_joined() && !restored.is_level(&at("e", 4)), "a restart changes nothing");
    assert!(membership.is_level(&at("e", 5)));
    assert!(membership.is_level(&at("later", 0)), "the first hub has begun a new log");
}
