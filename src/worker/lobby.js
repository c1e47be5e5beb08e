// The JavaScript side of a lobby: sockets whose requests name no tenant. Once the first message of
// one has brought a credential, the lobby pairs it with a socket of its tenant's hub.
//
// Others' sockets are in the same object, so a lobby never ends itself while it has any, and keeps
// little of what a client does not read: it has the hub pause. The hub then treats the client like
// any slow reader. What a client leaves unread counts even after its sockets have been closed.

import { Closing, Lobby as Core } from "./index.js";
import { ofInstance } from "./instance.js";

/** Milliseconds between two looks at closed sockets that keep bytes. */
const LOOK_MS = 2_000;
/** Milliseconds between two looks at a client that has to read. */
const DRAIN_MS = 50;
/** Milliseconds for which a count of unsent bytes is used. */
const COUNT_MS = 20;

const PAUSE = '{"action":"pause"}';
const RESUME = '{"action":"resume"}';

/** The sockets of one lobby. */
export class Lobby {
  #state;
  /** What decides. */
  #current;
  #rules;
  /** The sockets that wait, and those that are admitted. */
  #visitors = new Set();
  #closing = new Closing();
  /** The clients of closed sockets. */
  #clients = new WeakMap();
  /** Unsent bytes, of all and by client, and when they were counted. */
  #count = { at: 0, all: 0, by: new Map() };
  #looks = false;

  constructor(state, env) {
    this.#state = state;
    this.#current = ofInstance(() => {
      this.#rules ??= JSON.parse(Core.rules());
      // Nobody answers those that the instance before was judging.
      for (const visitor of this.#visitors) visitor.giveUp();
      return new Core(state, env);
    });
  }

  /** Gives up what an instance was judging that has trapped. */
  recover() {
    this.#current();
  }

  /** Opens a socket. `upgrade`: the request, as JSON. Returns its response. */
  open(upgrade) {
    this.#current();
    const { client, protocol } = JSON.parse(upgrade);
    const waiting = [...this.#visitors].filter((visitor) => !visitor.isAdmitted);
    const own = waiting.filter((visitor) => visitor.client === client);
    const { maxWaiting, maxWaitingByOne, maxSockets, maxUnsentByOne } = this.#rules;
    if (this.#visitors.size >= maxSockets || waiting.length >= maxWaiting) return Core.full();
    if (own.length >= maxWaitingByOne || this.#unsent().by.get(client) > maxUnsentByOne / 2) return Core.crowded();
    const { 0: theirs, 1: socket } = new WebSocketPair();
    this.#visitors.add(new Visitor(this, socket, { client, upgrade }));
    return new Response(null, { status: 101, webSocket: theirs, headers: protocol ? { "sec-websocket-protocol": protocol } : {} });
  }

  get rules() {
    return this.#rules;
  }

  /** Reads a message of a socket that is not admitted: `[frame, close, socket of the hub]`. */
  read(upgrade, text) {
    return this.#current().message(upgrade, text);
  }

  /** Unsent bytes, of all and by client. */
  #unsent() {
    const now = Date.now();
    if (now - this.#count.at < COUNT_MS) return this.#count;
    this.#count = { at: now, all: 0, by: new Map() };
    for (const { client, unsent } of this.#visitors) this.#add(client, unsent);
    for (const socket of this.#closing) this.#add(this.#clients.get(socket), socket.bufferedAmount);
    return this.#count;
  }

  #add(client, bytes) {
    this.#count.all += bytes;
    this.#count.by.set(client, (this.#count.by.get(client) ?? 0) + bytes);
  }

  /** Whether another frame may be kept for a client that does not read at the moment. */
  mayKeep(client, bytes) {
    const { all, by } = this.#unsent();
    if (all + bytes > this.#rules.maxUnsent || (by.get(client) ?? 0) + bytes > this.#rules.maxUnsentByOne) return false;
    this.#add(client, bytes);
    return true;
  }

  /** Closes the socket of a visitor, who leaves. */
  dismiss(visitor, socket, code, reason) {
    this.#visitors.delete(visitor);
    this.#clients.set(socket, visitor.client);
    this.#closing.close(socket, code, reason);
    this.#look();
  }

  /** Looks after closed sockets that keep bytes, while there are any. */
  #look() {
    if (this.#looks || !this.#closing.linger(this.#state, this.#visitors.size === 0)) return;
    this.#looks = true;
    setTimeout(() => {
      this.#looks = false;
      this.#look();
    }, LOOK_MS);
  }
}

/** One client's socket. */
class Visitor {
  #lobby;
  #socket;
  #upgrade;
  /** The socket of the hub, once the client is admitted. */
  #hub = null;
  /** Messages that have arrived while an earlier one was read. */
  #queue = [];
  #isReading = false;
  #isPaused = false;
  #early = 0;
  #hasLeft = false;
  #timer;

  constructor(lobby, socket, { client, upgrade }) {
    this.#lobby = lobby;
    this.#socket = socket;
    this.#upgrade = upgrade;
    this.client = client;
    socket.accept();
    socket.addEventListener("message", ({ data }) => this.#receive(data));
    socket.addEventListener("close", () => this.#leave());
    socket.addEventListener("error", () => this.#leave());
    // A credential that is being judged is not late.
    this.#timer = setTimeout(() => this.#end(this.#isReading ? lobby.rules.lost : lobby.rules.late), lobby.rules.authMs);
  }

  get isAdmitted() {
    return this.#hub !== null;
  }

  /** The bytes that the client has not read. */
  get unsent() {
    return this.#socket.bufferedAmount;
  }

  /** What judged it is gone. */
  giveUp() {
    if (this.#isReading) this.#end(this.#lobby.rules.lost);
  }

  #receive(data) {
    if (this.#hasLeft) return;
    const { maxMessage, maxAuthMessage, maxEarly, maxUnsentOfSocket, large, many, unreadable } = this.#lobby.rules;
    if (typeof data !== "string") return this.#end(unreadable);
    if (data.length > (this.#hub || this.#isReading ? maxMessage : maxAuthMessage)) return this.#end(large);
    if (this.#hub) {
      if (this.#hub.bufferedAmount > maxUnsentOfSocket) return this.#end(many);
      return this.#hub.send(data);
    }
    this.#early += 1;
    if (this.#early > maxEarly) return this.#end(many);
    this.#queue.push(data);
    if (!this.#isReading) this.#read();
  }

  /** Reads messages in their order until one has brought a credential. */
  async #read() {
    // Gives up those that a trapped instance was judging. This one is not judged yet.
    this.#lobby.recover();
    this.#isReading = true;
    while (this.#queue.length > 0 && !this.#hub && !this.#hasLeft) {
      try {
        const [frame, close, hub] = await this.#lobby.read(this.#upgrade, this.#queue.shift());
        if (hub) this.#join(hub);
        else if (!this.#hasLeft) {
          if (frame) this.#socket.send(frame);
          if (close) this.#end(close);
        }
      } catch (error) {
        console.error("realtime: the lobby failed", error);
        this.#end(this.#lobby.rules.lost);
        this.#lobby.recover();
      }
    }
    this.#isReading = false;
  }

  /** Passes messages between the client and the hub from now on. */
  #join(hub) {
    clearTimeout(this.#timer);
    hub.accept();
    if (this.#hasLeft) return hub.close(1000);
    this.#hub = hub;
    hub.addEventListener("message", ({ data }) => this.#pass(data));
    // The hub closes with a code of its own, or it has failed.
    hub.addEventListener("close", ({ code, reason }) => this.#end(code >= 4000 ? [code, reason] : this.#lobby.rules.lost));
    hub.addEventListener("error", () => this.#end(this.#lobby.rules.lost));
    for (const data of this.#queue.splice(0)) hub.send(data);
  }

  /** Passes a frame of the hub on. */
  #pass(data) {
    if (this.#hasLeft) return;
    if (this.unsent > 0 && !this.#lobby.mayKeep(this.client, data.length)) return this.#end(this.#lobby.rules.slow);
    this.#socket.send(data);
    if (this.unsent > this.#lobby.rules.maxUnsentOfSocket && !this.#isPaused) {
      this.#isPaused = true;
      this.#hub.send(PAUSE);
      this.#drain();
    }
  }

  /** Has the hub go on once the client has read. */
  #drain() {
    setTimeout(() => {
      if (this.#hasLeft) return;
      if (this.unsent > this.#lobby.rules.maxUnsentOfSocket / 2) return this.#drain();
      this.#isPaused = false;
      this.#hub.send(RESUME);
    }, DRAIN_MS);
  }

  /** Closes the client's socket. */
  #end(why) {
    if (!this.#hasLeft) this.#leave(why);
  }

  /** The client leaves, and with it the socket of the hub. */
  #leave([code, reason] = [1000, ""]) {
    if (this.#hasLeft) return;
    this.#hasLeft = true;
    clearTimeout(this.#timer);
    this.#queue = [];
    this.#lobby.dismiss(this, this.#socket, code, reason);
    try {
      this.#hub?.close(1000);
    } catch {
      // It has closed already.
    }
  }
}
