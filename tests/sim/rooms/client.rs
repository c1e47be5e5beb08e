//! Clients: they connect, send, stop reading, vanish, and return to where they were.

use std::rc::Rc;

use serde_json::Value;
use tenantgate::realtime::{Admission, Position};

use super::world::Rooms;

/// One client.
#[derive(Debug, Default)]
pub struct Client {
    pub tenant: usize,
    /// Its socket: the hub, and the number there.
    pub socket: Option<(usize, u32)>,
    pub is_connecting: bool,
    /// The position of the last message that it has seen.
    pub position: Option<Position>,
    /// Whether its present socket is admitted.
    pub is_greeted: bool,
}

/// What a hub knows of a client.
pub fn admission(client: usize) -> Admission {
    Admission {
        user: Some(format!("u{client}").into()),
        holder: format!("u{client}"),
        scopes: Vec::new(),
        expires_at: None,
        credential: String::from("{}"),
    }
}

impl Rooms {
    /// A client does something.
    pub fn act(self: &Rc<Self>, client: usize) {
        let (socket, is_connecting, tenant) = {
            let clients = self.clients.borrow();
            (clients[client].socket, clients[client].is_connecting, clients[client].tenant)
        };
        let Some((hub, who)) = socket else {
            if !is_connecting {
                self.come(client, tenant);
            }
            return;
        };
        match self.within((0, 9)) {
            0 => self.hang_up_as(client, hub, who),
            1 | 2 => {
                if let Some(socket) = self.hubs.borrow_mut()[hub].sockets.get_mut(&who) {
                    socket.is_stuck = !socket.is_stuck;
                }
            }
            3..=5 => {
                let (rooms, data) = (Rc::clone(self), self.unique().to_string());
                let owner = Some((hub, self.hubs.borrow()[hub].life));
                self.tasks.spawn(owner, rooms.hear(hub, who, data));
            }
            6 => self.turn(hub, |core, now| core.hub.pause(who, now)),
            7 | 8 => self.turn(hub, |core, now| core.hub.resume(who, now)),
            _ => {}
        }
    }

    /// Connects to the hubs of its tenant, one after the other, until one has room.
    fn come(self: &Rc<Self>, client: usize, tenant: usize) {
        self.clients.borrow_mut()[client].is_connecting = true;
        let rooms = Rc::clone(self);
        self.tasks.spawn(None, async move {
            let since = rooms.clients.borrow()[client].position.clone();
            for shard in 0..rooms.options.shards {
                let hub = rooms.hub_of(tenant, shard);
                // The hub that is full says so; a hub that fails ends the attempt.
                if rooms.with(hub, |core, _| !core.hub.has_room()) {
                    continue;
                }
                let done = rooms.run_in(hub, {
                    let rooms = Rc::clone(&rooms);
                    let since = since.clone();
                    async move { rooms.connect(hub, client, since).await }
                });
                let _ = done.await;
                break;
            }
            rooms.clients.borrow_mut()[client].is_connecting = false;
        });
    }

    /// Opens a socket. Returns its number.
    pub fn accept(&self, hub: usize, client: usize) -> u32 {
        let mut hubs = self.hubs.borrow_mut();
        let object = &mut hubs[hub];
        object.last_socket += 1;
        let who = object.last_socket;
        let socket = super::object::Socket { client, attachment: String::new(), seen: None, is_stuck: false };
        object.sockets.insert(who, socket);
        let client = &mut self.clients.borrow_mut()[client];
        (client.socket, client.is_greeted) = (Some((hub, who)), false);
        who
    }

    fn hang_up_as(self: &Rc<Self>, client: usize, hub: usize, who: u32) {
        self.lose(client);
        self.hang_up(hub, who);
    }

    /// A client's socket has closed.
    pub fn lose(&self, client: usize) {
        self.clients.borrow_mut()[client].socket = None;
    }

    /// A client receives a frame.
    pub fn receive(&self, client: usize, hub: usize, frame: &str) {
        let frame: Value = serde_json::from_str(frame).unwrap();
        match frame["action"].as_str() {
            Some("auth") => self.greet(client, &frame),
            Some("message") => self.see(client, hub, &frame),
            Some("messages") => frame["messages"].as_array().unwrap().iter().for_each(|one| self.see(client, hub, one)),
            _ => {}
        }
    }

    /// The greeting says where the client goes on.
    fn greet(&self, client: usize, frame: &Value) {
        assert_eq!(frame["success"], true, "{frame}");
        let mut clients = self.clients.borrow_mut();
        let client = &mut clients[client];
        client.is_greeted = true;
        let end = Position { epoch: frame["epoch"].as_str().unwrap().to_owned(), seq: frame["seq"].as_u64().unwrap() };
        if frame["recovered"] == true {
            self.happened.borrow_mut().recovered += 1;
        } else {
            self.happened.borrow_mut().gaps += u64::from(client.position.is_some());
            client.position = Some(end);
        }
    }
}
