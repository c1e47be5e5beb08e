// The JavaScript side of a lobby: sockets that name no tenant, each until its first message has
// brought a credential, and then the pair of it and a socket of its tenant's hub.

import { Closing, Lobby as Gate } from "./index.js";
import { generation, ready } from "./instance.js";

/** Milliseconds between two looks at closed sockets that keep bytes. */
const LOOK_MS = 2_000;

/** The sockets of one lobby. */
export class Lobby {
  #state;
  #env;
  #gate;
  #generation;
  #rules;
  /** The sockets that wait, and those that are admitted. */
  #visitors = new Set();
  #closing = new Closing();
  #looks = false;

  constructor(state, env) {
    this.#state = state;
    this.#env = env;
  }

  /** What decides, made anew after a trap. */
  #current() {
    ready();
    if (this.#generation !== generation) {
      this.#gate = new Gate(this.#state, this.#env);
      this.#rules ??= JSON.parse(Gate.rules());
      this.#generation = generation;
    }
    return this.#gate;
  }

  /** Opens a socket. `upgrade`: the request, as JSON. Returns its response. */
  open(upgrade) {
    this.#current();
    const { client, protocol } = JSON.parse(upgrade);
    const waiting = [...this.#visitors].filter((visitor) => !visitor.isAdmitted);
    const own = waiting.filter((visitor) => visitor.client === client);
    const { maxWaiting, maxWaitingByOne, maxSockets } = this.#rules;
    if (waiting.length >= maxWaiting || own.length >= maxWaitingByOne || this.#visitors.size >= maxSockets) return Gate.full();
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

  /** Whether another frame may be kept for a client that has this many bytes unsent. */
  mayKeep(unsent) {
    const { maxSent, maxUnsent, maxTotalUnsent } = this.#rules;
    if (unsent <= maxSent) return true;
    let total = 0;
    for (const visitor of this.#visitors) total += visitor.unsent;
    return unsent <= maxUnsent && total <= maxTotalUnsent;
  }

  /** Closes the socket of a visitor, who leaves. */
  dismiss(visitor, socket, code, reason) {
    this.#visitors.delete(visitor);
    this.#closing.close(socket, code, reason);
    this.#look();
  }

  /** Looks after closed sockets that keep bytes, while there are any. */
  #look() {
    if (this.#looks || !this.#closing.linger(this.#state, this.#visitors.size === 0, this.#rules.maxTotalUnsent)) return;
    this.#looks = true;
    setTimeout(() => {
      this.#looks = false;
      this.#look();
    }, LOOK_MS);
  }
}

/** One client. */
class Visitor {
  #lobby;
  #socket;
  #upgrade;
  /** The socket of the hub, once the client is admitted. */
  #hub = null;
  /** Messages that have arrived while an earlier one was read. */
  #queue = [];
  #isReading = false;
  #count = 0;
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
    this.#timer = setTimeout(() => this.#end(lobby.rules.late), lobby.rules.authMs);
  }

  get isAdmitted() {
    return this.#hub !== null;
  }

  /** The bytes that the client has not read. */
  get unsent() {
    return this.#socket.bufferedAmount;
  }

  #receive(data) {
    if (this.#hasLeft) return;
    const { maxMessage, maxAuthMessage, maxEarly, maxSent, large, many, unreadable } = this.#lobby.rules;
    if (typeof data !== "string") return this.#end(unreadable);
    if (data.length > (this.#hub || this.#isReading ? maxMessage : maxAuthMessage)) return this.#end(large);
    if (this.#hub) {
      if (this.#hub.bufferedAmount > maxSent) return this.#end(many);
      return this.#hub.send(data);
    }
    this.#count += 1;
    if (this.#count > maxEarly) return this.#end(many);
    this.#queue.push(data);
    if (!this.#isReading) this.#read();
  }

  /** Reads messages in their order until one has brought a credential. */
  async #read() {
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
    hub.addEventListener("message", ({ data }) => {
      if (this.#hasLeft) return;
      if (!this.#lobby.mayKeep(this.unsent)) return this.#end(this.#lobby.rules.slow);
      this.#socket.send(data);
    });
    // The hub closes with a code of its own, or it has failed.
    hub.addEventListener("close", ({ code, reason }) => this.#end(code >= 4000 ? [code, reason] : this.#lobby.rules.lost));
    hub.addEventListener("error", () => this.#end(this.#lobby.rules.lost));
    for (const data of this.#queue.splice(0)) hub.send(data);
  }

  /** Closes the client's socket. */
  #end([code, reason]) {
    if (this.#hasLeft) return;
    this.#leave([code, reason]);
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
