// The JavaScript side of a hub: its sockets, its log in SQLite, its alarm. `src/realtime` decides;
// this file holds the sockets, each under a number.

import { ObjectClient, places } from "./object_client.js";

/** Milliseconds after which a message with publications has failed if there is no response. */
const PUBLISH_MS = 20_000;
/** Milliseconds for which a closed socket may keep bytes that its client does not read. */
const CLOSING_MS = 60_000;

/**
 * Closed sockets with bytes that their clients do not read. They keep their object in memory, and
 * nothing but its end frees them.
 */
export class Closing {
  #since = new Map();

  /** Closes a socket. */
  close(socket, code, reason) {
    try {
      socket.close(code, reason);
    } catch {
      // It has closed already.
    }
    if (socket.bufferedAmount > 0) this.#since.set(socket, Date.now());
  }

  /** The sockets. Forgets those that keep nothing any more. */
  *[Symbol.iterator]() {
    for (const socket of this.#since.keys()) {
      if (socket.readyState === WebSocket.CLOSED || socket.bufferedAmount === 0) this.#since.delete(socket);
      else yield socket;
    }
  }

  /** Their bytes. */
  get unsent() {
    let unsent = 0;
    for (const socket of this) unsent += socket.bufferedAmount;
    return unsent;
  }

  /** Whether there are any. Ends the object after a minute if it `isIdle`. */
  linger(state, isIdle) {
    let oldest = Date.now();
    for (const socket of this) oldest = Math.min(oldest, this.#since.get(socket));
    if (isIdle && Date.now() - oldest >= CLOSING_MS) state.abort("closed sockets keep unsent bytes");
    return this.#since.size > 0;
  }
}

/**
 * The sockets of one hub. A socket that has too much unsent is *behind* from the first message that
 * it was not sent: it receives no later one before that.
 */
class Sockets {
  #state;
  #sockets = new Map();
  #numbers = new WeakMap();
  /** For each socket that is behind, by its number: the last message that it was sent. */
  #behind = new Map();
  #closing = new Closing();
  #last = 0;
  #client = null;

  constructor(state) {
    this.#state = state;
    // Answered by the runtime, without waking a hibernated hub.
    state.setWebSocketAutoResponse(new WebSocketRequestResponsePair('{"action":"ping"}', '{"action":"pong"}'));
    for (const socket of state.getWebSockets()) if (socket.readyState === WebSocket.OPEN) this.#add(socket);
  }

  #add(socket) {
    const number = ++this.#last;
    this.#sockets.set(number, socket);
    this.#numbers.set(socket, number);
    return number;
  }

  /** The number of a socket; 0 if the hub has closed it. */
  number(socket) {
    const number = this.#numbers.get(socket) ?? 0;
    return this.#sockets.has(number) ? number : 0;
  }

  /** What is kept of each socket: `[[number, attachment, seen], …]` as JSON. */
  kept() {
    const all = [...this.#sockets].map(([number, socket]) => [number, String(socket.deserializeAttachment() ?? ""), this.#behind.get(number) ?? null]);
    return JSON.stringify(all);
  }

  /** Opens a socket. Returns its number. Throws if the runtime takes no more. */
  accept() {
    const { 0: client, 1: server } = new WebSocketPair();
    this.#state.acceptWebSocket(server);
    this.#client = client;
    return this.#add(server);
  }

  /** The response that gives the client the socket which was just opened. */
  upgraded(protocol) {
    const headers = protocol ? { "sec-websocket-protocol": protocol } : {};
    return new Response(null, { status: 101, webSocket: this.#client, headers });
  }

  /** Sends one frame. Returns false if the client does not read what it was sent. */
  send(number, frame, maxUnsent) {
    const socket = this.#sockets.get(number);
    if (!socket) return true;
    if (socket.bufferedAmount > maxUnsent) return false;
    try {
      socket.send(frame);
    } catch {
      // It has closed; its event follows.
    }
    return true;
  }

  /**
   * Sends a frame to these sockets. Leaves out those that have too much unsent, and returns them.
   * `first`: the number of the first message in the frame; 0 for a frame that nobody misses.
   */
  fan(numbers, frame, first, maxUnsent, maxTotal) {
    const skipped = [];
    let total = 0;
    for (const number of numbers) {
      const socket = this.#sockets.get(number);
      if (socket === undefined || this.#behind.has(number)) continue;
      const unsent = socket.bufferedAmount;
      total += unsent;
      if (unsent > maxUnsent || (total > maxTotal && unsent > 0)) {
        if (first === 0) continue;
        this.#behind.set(number, first - 1);
        skipped.push(number);
        continue;
      }
      try {
        socket.send(frame);
      } catch {
        // It has closed; its event follows.
      }
    }
    return new Uint32Array(skipped);
  }

  /** A socket that was behind has everything up to `seen`, or is no longer behind (-1). */
  seen(number, seen) {
    if (seen < 0) this.#behind.delete(number);
    else this.#behind.set(number, seen);
  }

  /** The bytes that a socket has unsent. */
  unsent(number) {
    return this.#sockets.get(number)?.bufferedAmount ?? 0;
  }

  /** Has the runtime keep a text for a socket. Returns false if it is too long. */
  attach(number, text) {
    try {
      this.#sockets.get(number)?.serializeAttachment(text);
      return true;
    } catch {
      return false;
    }
  }

  close(number, code, reason) {
    const socket = this.#sockets.get(number);
    if (!socket) return;
    this.#forget(number);
    this.#closing.close(socket, code, reason);
  }

  /** Forgets a socket that its client has closed, and closes this side. */
  ended(socket) {
    this.#forget(this.number(socket));
    try {
      socket.close(1000);
    } catch {
      // It has closed already.
    }
  }

  #forget(number) {
    this.#sockets.delete(number);
    this.#behind.delete(number);
  }

  /** Whether closed sockets still have bytes that their clients do not read. */
  lingers(maxTotal) {
    if (!this.#closing.linger(this.#state, this.#sockets.size === 0)) return false;
    if (this.#closing.unsent > maxTotal) this.#state.abort("closed sockets keep too many unsent bytes");
    return true;
  }
}

/** The sockets that the runtime has kept for a hub. */
export const sockets = (state) => new Sockets(state);

/**
 * Creates a hub's tables. Returns what it remembers: `{facts: {name: text}, log: [[seq, at, bytes],
 * …]}` as JSON.
 */
export function openHub(state) {
  const { sql } = state.storage;
  sql.exec("CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID");
  sql.exec("CREATE TABLE IF NOT EXISTS log (seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, target TEXT NOT NULL, frame TEXT NOT NULL)");
  const facts = Object.fromEntries(sql.exec("SELECT name, value FROM facts").raw());
  const log = sql.exec("SELECT seq, at, length(CAST(frame AS BLOB)) FROM log ORDER BY seq").raw().toArray();
  return JSON.stringify({ facts, log });
}

/** Remembers a text, or forgets it (null). */
export function remember(state, name, value) {
  const { sql } = state.storage;
  if (value === undefined || value === null) sql.exec("DELETE FROM facts WHERE name = ?", name);
  else sql.exec("INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, value);
}

/** Writes a message to the log. */
export function storeMessage(state, seq, at, target, frame) {
  state.storage.sql.exec("INSERT INTO log (seq, at, target, frame) VALUES (?, ?, ?, ?)", seq, at, target, frame);
}

/** Deletes the messages up to a number, and remembers the number of the last one. */
export function trimLog(state, through, last) {
  remember(state, "last", String(last));
  state.storage.sql.exec("DELETE FROM log WHERE seq <= ?", through);
}

/**
 * The messages after a number, oldest first, at most `limit` and about `maxBytes`, and whether the
 * log has no later ones: `[[[seq, at, target, frame], …], isAll]` as JSON.
 */
export function messagesAfter(state, after, limit, maxBytes) {
  const rows = [];
  let bytes = 0;
  for (const row of state.storage.sql.exec("SELECT seq, at, target, frame FROM log WHERE seq > ? ORDER BY seq LIMIT ?", after, limit + 1).raw()) {
    if (rows.length === limit || bytes > maxBytes) return JSON.stringify([rows, false]);
    rows.push(row);
    bytes += row[3].length;
  }
  return JSON.stringify([rows, true]);
}

/** Sets the alarm, or deletes it (0). Not awaited: the output gate waits for it. */
export function setAlarm(state, at) {
  if (at === 0) state.storage.deleteAlarm();
  else state.storage.setAlarm(at);
}

/** Ends the object: its memory cannot be relied on. Clients return. */
export function abort(state, reason) {
  state.abort(reason);
}

/**
 * The hubs behind a namespace. A hub has the name of its tenant, and the jurisdiction of the
 * family's ledger.
 */
export const hubs = (namespace, jurisdictions) => new Hubs(places(namespace, jurisdictions));

class Hubs {
  #at;
  #publishers;

  constructor(at) {
    this.#at = at;
    this.#publishers = new ObjectClient("hub", PUBLISH_MS, (about, body) => {
      const { name, root } = JSON.parse(about);
      return this.ask(root, name, "/publish", about, body);
    });
  }

  /** Asks a hub: an upgrade if there is no body. `about`: what the question is about, as JSON. */
  ask(root, name, path, about, body) {
    // Names of users and channels may have characters that no header has.
    const headers = { "x-hub": encodeURIComponent(about) };
    const init = body === undefined ? { headers: { ...headers, upgrade: "websocket" } } : { method: "POST", headers, body };
    return this.#at(root, name).fetch(`https://hub${path}`, init);
  }

  /**
   * Has a hub publish messages (one line of JSON) together with those of other requests. Resolves to
   * a line, or to nothing: see `ObjectClient.ask`.
   */
  publish(about, messages, context) {
    return this.#publishers.ask(about, messages, context);
  }
}

/** The response of a hub to anything but an upgrade: its status and its text. */
export async function hubAnswer(promise) {
  const response = await promise;
  return [response.status, await response.text()];
}

/**
 * A request like `request`, with its credential in a header. Returns undefined if it has one there
 * already.
 */
export function withCredential(request, name, value) {
  if (request.headers.has(name)) return undefined;
  const headers = new Headers(request.headers);
  headers.set(name, value);
  headers.delete("sec-websocket-protocol");
  return new Request(request, { headers });
}

/**
 * A socket that says why the request was refused and closes. A page sees nothing of a refused
 * upgrade but that it failed.
 */
export function refusedSocket(frame, code, reason, protocol) {
  const { 0: client, 1: server } = new WebSocketPair();
  server.accept();
  server.send(frame);
  server.close(code, reason);
  return new Response(null, { status: 101, webSocket: client, headers: { "sec-websocket-protocol": protocol } });
}

/** What is counted as one client: an IPv4 address, or the network of an IPv6 address (its /64). */
export function network(address) {
  if (!address.includes(":")) return address;
  const [left, right] = address.split("::");
  const groups = left ? left.split(":") : [];
  // `::` stands for as many zeros as are missing.
  const rest = right ? right.split(":") : [];
  if (right !== undefined) while (groups.length + rest.length < 8) groups.push("0");
  return [...groups, ...rest].slice(0, 4).join(":");
}
