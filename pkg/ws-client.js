// The entry `tenantgate/ws/client`: a tenant's socket in a page or in Node. It reconnects, and then
// receives what it has missed.

import { ConfigurationError, InputError, TenantgateError } from "./errors.js";
import { options as known } from "./input.js";

/** Milliseconds between two signs of life, and within which the gate answers one. */
const PING_MS = 25_000;
const ANSWER_MS = 10_000;
/** Milliseconds before a connection is tried again: at random up to the first, then to twice that. */
const RETRY_MS = 1_000;
const MAX_RETRY_MS = 30_000;
/** Milliseconds over which clients spread their return after the gate has restarted. */
const SPREAD_MS = 5_000;
/** Milliseconds within which a connection opens. */
const OPEN_MS = 15_000;
/** Milliseconds for which a connection has to last to count as a success. */
const STEADY_MS = 10_000;
/** Refused tokens in a row after which the client gives up. */
const MAX_REFUSED_TOKENS = 3;

/** The codes of a socket that is not opened again: the request itself is wrong. */
const FINAL = new Set([4400, 4403, 4413]);

export function connect(url, options) {
  return new TenantSocket(url, options);
}

/**
 * A tenant's socket. Events: `message`, `open`, `close` (of one connection), `presence`, `changed`
 * (of the tenant or the catalog), `gap` (messages were missed that the gate no longer has),
 * `unsubscribed`, `end` (it is not opened again).
 */
export class TenantSocket {
  #url;
  #token;
  #Socket;
  #socket = null;
  #listeners = new Map();
  /** Handlers of messages by channel. */
  #handlers = new Map();
  /** The channels, with whether their presence is wanted. */
  #channels = new Map();
  /** The position of the last message seen. */
  #position = null;
  #waiting = new Map();
  #asked = 0;
  #failures = 0;
  #refusals = 0;
  #timers = new Map();
  #ended = false;
  #opened = false;

  constructor(url, options) {
    const given = known(options, ["token", "channels", "since", "WebSocket"], "`connect`");
    const { token, channels = [], since = null, WebSocket = globalThis.WebSocket } = given;
    if (typeof token !== "string" && typeof token !== "function") throw new InputError("`token` must be a token, or a function that returns one");
    if (!Array.isArray(channels)) throw new InputError("`channels` must be a list of names");
    if (typeof WebSocket !== "function") throw new ConfigurationError("the runtime has no `WebSocket`: pass a class as the option `WebSocket`, such as that of the package `ws`");
    this.#url = address(url);
    this.#token = typeof token === "function" ? token : () => token;
    this.#Socket = WebSocket;
    this.#position = position(since);
    for (const channel of channels) this.#channels.set(channel, false);
    globalThis.addEventListener?.("online", this.#online);
    this.#connect();
  }

  /** The position of the last message seen: pass it as `since` to go on from there later. */
  get position() {
    return this.#position && { ...this.#position };
  }

  get isOpen() {
    return this.#opened;
  }

  /** Calls `listener` for each event. Returns a function that ends that. */
  on(event, listener) {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(listener));
    return () => { listeners.delete(listener); };
  }

  /** Resolves once the socket is open; rejects if it ends before. */
  async ready() {
    if (this.#opened) return;
    if (this.#ended) throw gone("the socket has ended");
    await new Promise((resolve, reject) => {
      const ends = [this.on("open", () => { done(); resolve(); }), this.on("end", (error) => { done(); reject(error); })];
      const done = () => { for (const end of ends) end(); };
    });
  }

  /** Subscribes to a channel, also after each reconnection. */
  async subscribe(channel, handler, options) {
    const { presence = false } = known(options, ["presence"], "`subscribe`");
    if (typeof channel !== "string") throw new InputError("`channel` must be the name of a channel");
    if (handler !== undefined && typeof handler !== "function") throw new InputError("`handler` must be a function");
    this.#channels.set(channel, presence);
    if (handler) this.#handlers.set(channel, handler);
    try {
      return await this.#ask({ action: "subscribe", channel, presence });
    } catch (error) {
      // It may be subscribed all the same, or will be with the next connection.
      if (!["DISCONNECTED", "REQUEST_TIMEOUT", "RATE_LIMITED"].includes(error.code)) this.#forget(channel);
      throw error;
    }
  }

  async unsubscribe(channel) {
    this.#forget(channel);
    await this.#ask({ action: "unsubscribe", channel });
  }

  /** Publishes to a channel. Resolves to the number of the message. */
  publish(channel, data) {
    return this.#sent({ action: "publish", channel, data });
  }

  /** Sends to all connections of the tenant. */
  broadcast(data) {
    return this.#sent({ action: "broadcast", data });
  }

  /** Sends to a user of the tenant. */
  send(to, data) {
    return this.#sent({ action: "send", to, data });
  }

  /** The users in a channel. */
  async presence(channel) {
    const { users, total } = await this.#ask({ action: "presence", channel });
    return { users, total };
  }

  /** Closes the socket for good. */
  close() {
    this.#end(gone("the socket was closed"));
    this.#socket?.close(1000);
  }

  async #sent(message) {
    if (message.data === undefined) throw new InputError("`data` must be something that JSON can express, such as null");
    return (await this.#ask(message)).seq;
  }

  #forget(channel) {
    this.#channels.delete(channel);
    this.#handlers.delete(channel);
  }

  async #ask(message) {
    await this.ready();
    const id = ++this.#asked;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new TenantgateError("REQUEST_TIMEOUT", "the gate did not answer in time", { status: 503 }));
      }, ANSWER_MS);
      this.#waiting.set(id, { resolve, reject, timer });
      this.#socket.send(JSON.stringify({ ...message, id }));
    });
  }

  #connect = async () => {
    if (this.#ended || this.#socket) return;
    const attempt = { close() {} };
    this.#socket = attempt;
    let token;
    try {
      token = await this.#token();
    } catch (error) {
      this.#socket = null;
      this.#emit("close", { code: 4401, reason: "UNAUTHENTICATED", error });
      this.#again();
      return;
    }
    if (this.#ended || this.#socket !== attempt) return;
    const url = new URL(this.#url);
    url.searchParams.set("packed", "true");
    for (const channel of this.#channels.keys()) url.searchParams.append("channel", channel);
    if (this.#position) {
      url.searchParams.set("epoch", this.#position.epoch);
      url.searchParams.set("seq", this.#position.seq);
    }
    this.#presented = token;
    let socket;
    try {
      // In the header of the upgrade: URLs are logged on their way.
      socket = new this.#Socket(url.href, ["tenantgate", `bearer.${token}`]);
    } catch (error) {
      this.#socket = null;
      this.#end(new InputError("`token` must be a token or an API key, without spaces or line breaks", error));
      return;
    }
    this.#socket = socket;
    this.#after("open", OPEN_MS, () => this.#broken(socket, 1006, ""));
    socket.onmessage = ({ data }) => {
      if (this.#socket === socket && !this.#ended) this.#receive(data);
    };
    socket.onclose = ({ code, reason }) => this.#broken(socket, code, reason);
    socket.onerror = () => {};
  };

  #receive(data) {
    this.#alive();
    const frame = JSON.parse(data);
    const { action, id } = frame;
    if (action === "message") return this.#deliver(frame);
    if (action === "messages") return frame.messages.forEach((message) => this.#deliver(message));
    if (action === "pong") return;
    if (action === "auth" && id === undefined) return this.#greeted(frame);
    if (action === "expiring") return this.#renew();
    if (action === "presence" && id === undefined) return this.#emit("presence", frame);
    if (action === "changed") return this.#emit("changed", {});
    if (action === "error") {
      // The gate did not read the message that it refused.
      this.#fail(refusal(frame.error));
      return;
    }
    if (action === "unsubscribed") {
      this.#forget(frame.channel);
      return this.#emit("unsubscribed", frame);
    }
    const waiting = this.#waiting.get(id);
    if (!waiting) return;
    clearTimeout(waiting.timer);
    this.#waiting.delete(id);
    if (frame.success) waiting.resolve(frame);
    else waiting.reject(refusal(frame.error));
  }

  #deliver(message) {
    const { seq, channel } = message;
    // Sent again after a reconnection.
    if (seq <= this.#position.seq) return;
    this.#position.seq = seq;
    const handler = this.#handlers.get(channel);
    if (handler) guarded(handler, message);
    this.#emit("message", message);
  }

  #greeted(frame) {
    if (!frame.success) {
      this.#lastError = refusal(frame.error);
      return;
    }
    const before = this.#position;
    const continues = frame.recovered === true;
    if (!continues) this.#position = { epoch: frame.epoch, seq: frame.seq };
    this.#timers.get("open")?.();
    // One that is closed again at once has not succeeded.
    this.#after("steady", STEADY_MS, () => {
      this.#failures = 0;
      this.#refusals = 0;
    });
    this.#opened = true;
    this.#emit("open", { connectionId: frame.connectionId, userId: frame.userId, tenantId: frame.tenantId });
    for (const { channel, code } of frame.refused ?? []) {
      this.#forget(channel);
      this.#emit("unsubscribed", { channel, error: { code } });
    }
    for (const [channel, presence] of this.#channels) if (presence) this.#ask({ action: "subscribe", channel, presence }).catch(() => {});
    if (before && !continues) this.#emit("gap", { since: before, now: { ...this.#position } });
  }

  #lastError = null;
  /** The token that was presented last. */
  #presented = null;

  /** Presents a new token before the old one ends. */
  async #renew() {
    try {
      const token = await this.#token();
      // The same one would end at the same time.
      if (token === this.#presented) return;
      this.#presented = token;
      await this.#ask({ action: "auth", token });
    } catch {
      // The gate closes the connection when the token ends; the next one needs a new token.
    }
  }

  /** Notes a sign of life. Without one for a while the client asks for one. */
  #alive() {
    this.#after("ping", PING_MS, () => {
      const socket = this.#socket;
      socket.send('{"action":"ping"}');
      // A page that has slept may hold a connection that nobody answers.
      this.#after("ping", ANSWER_MS, () => this.#broken(socket, 1006, ""));
    });
  }

  #broken(socket, code, reason) {
    if (this.#socket !== socket) return;
    this.#socket = null;
    this.#opened = false;
    for (const cancel of this.#timers.values()) cancel();
    socket.onmessage = null;
    socket.onclose = null;
    try {
      socket.close();
    } catch {
      // It has closed already.
    }
    const error = this.#lastError;
    this.#lastError = null;
    this.#fail(gone("the connection broke"));
    this.#emit("close", { code, reason, error });
    if (this.#ended) return;
    if (code === 4401) this.#refusals += 1;
    if (FINAL.has(code) || this.#refusals >= MAX_REFUSED_TOKENS) this.#end(error ?? refusal({ code: reason || "DISCONNECTED", message: "the gate does not admit this client" }));
    else this.#again(code, error?.details?.retry_after_ms);
  }

  /** Connects again, later. */
  #again(code = 1006, waitMs = 0) {
    const limit = Math.min(RETRY_MS * 2 ** this.#failures++, MAX_RETRY_MS);
    // A gate that restarts loses all its clients at once.
    const isOwn = code === 4401 || code === 4408;
    const spread = isOwn ? limit / 2 : this.#failures === 1 ? SPREAD_MS : limit;
    this.#after("retry", waitMs + Math.random() * spread + (isOwn && this.#failures > 1 ? limit / 2 : 0), this.#connect);
  }

  #online = () => {
    if (this.#socket || this.#ended) return;
    this.#after("retry", Math.random() * RETRY_MS, this.#connect);
  };

  /** Ends the socket for good. */
  #end(error) {
    if (this.#ended) return;
    this.#ended = true;
    this.#opened = false;
    for (const cancel of this.#timers.values()) cancel();
    globalThis.removeEventListener?.("online", this.#online);
    this.#fail(error);
    this.#emit("end", error);
  }

  /** Rejects everything that waits for an answer. */
  #fail(error) {
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(error);
    }
    this.#waiting.clear();
  }

  /** Calls `f` in `ms` milliseconds, in place of an earlier call of the same name. */
  #after(name, ms, f) {
    this.#timers.get(name)?.();
    const timer = setTimeout(() => {
      this.#timers.delete(name);
      f();
    }, ms);
    this.#timers.set(name, () => {
      clearTimeout(timer);
      this.#timers.delete(name);
    });
  }

  /** Calls listeners. One that throws stops neither the others nor the socket. */
  #emit(event, detail) {
    for (const listener of this.#listeners.get(event) ?? []) {
      guarded(listener, detail);
    }
  }
}

/** Calls a function of the application. If it throws, what follows goes on. */
function guarded(f, detail) {
  try {
    f(detail);
  } catch (error) {
    queueMicrotask(() => { throw error; });
  }
}

/** A copy of a position, checked. */
function position(since) {
  if (since === null || since === undefined) return null;
  const { epoch, seq } = Object(since);
  if (typeof epoch !== "string" || !Number.isSafeInteger(seq) || seq < 0) throw new InputError("`since` must be a position: `{ epoch, seq }`");
  return { epoch, seq };
}

const gone = (message) => new TenantgateError("DISCONNECTED", message, { status: 503 });

const refusal = ({ code, message, ...details }) => new TenantgateError(code, message, { status: 403, details });

function address(url) {
  const text = String(url);
  if (!URL.canParse(text)) throw new InputError("`url` must be the address of a host of the tenant, such as wss://acme.app.example.com");
  const parsed = new URL(text);
  parsed.protocol = parsed.protocol.replace(/^http/, "ws");
  if (!/^wss?:$/.test(parsed.protocol)) throw new InputError("`url` must begin with wss: or https:");
  if (parsed.pathname === "/") parsed.pathname = "/_gate/v1/connect";
  return parsed;
}
