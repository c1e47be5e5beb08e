// The client of Durable Objects that answer many questions in one message: of ledgers, and of hubs
// that publish.
//
// An isolate sends its questions to one object together: while one message is in flight, further
// questions wait in the object's queue for the next message. A message carries one question a line,
// and the response has one answer a line, in the same order.
//
// Incoming requests share data here, never promises. If one incoming request continued because
// another resolved a promise, the runtime would sooner or later consider one of them hung, or end
// the object. So each one polls its own entry with its own timer, and any of them may send the next
// message.
//
// INVARIANT (overload is not absence): a question that finds the queue full, or is not sent in
// time, resolves to nothing and is refused. Only a question whose own message failed throws.

import { sleep } from "./edge.js";

/**
 * Finds the Durable Objects of a namespace by name. `jurisdictions`: JSON, `[[prefix,
 * jurisdiction], …]`. The objects of a family whose `root` starts with a prefix are kept in that
 * jurisdiction. The id of a root never changes, so they never move.
 */
export function places(namespace, jurisdictions) {
  const list = JSON.parse(jurisdictions);
  return (root, name = root) => {
    const found = list.find(([prefix]) => root.startsWith(prefix));
    const space = found ? namespace.jurisdiction(found[1]) : namespace;
    return space.get(space.idFromName(name));
  };
}

/** The client of the ledgers behind a namespace. A ledger has the name of its family's root. */
export function ledgers(namespace, jurisdictions) {
  const at = places(namespace, jurisdictions);
  return new ObjectClient("ledger", LEDGER_MS, (root, body) => at(root).fetch("https://ledger/", { method: "POST", body }));
}

/** Milliseconds after which a message to a ledger has failed if there is no response. */
const LEDGER_MS = 5_000;
/** Maximum number of queues. Beyond it, idle ones are removed. */
const MAX_QUEUES = 1_024;
/** Maximum number of questions in one message. */
const MAX_BATCH = 256;
/** Maximum number of characters in one message, unless a single question has more. */
const MAX_BATCH_LENGTH = 2 << 20;
/** Maximum number of messages in flight to one object: a full message does not wait for others. */
const MAX_IN_FLIGHT = 4;
/** Maximum number of questions that wait in one queue, and of their characters. */
const MAX_WAITING = MAX_IN_FLIGHT * MAX_BATCH;
const MAX_WAITING_LENGTH = 2 * MAX_BATCH_LENGTH;
/** Maximum number of characters that wait in all queues of one client. */
const MAX_TOTAL_LENGTH = 16 << 20;
/** Maximum number of messages in a row that one incoming request sends, its own included. */
const MAX_SENT = 8;
/**
 * A timer that fires this many milliseconds late shows that the isolate, not the object, is
 * overloaded.
 */
const LATE_MS = 1_000;
/** Polling for an overdue answer slows down to this interval, in milliseconds. */
const MAX_POLL_MS = 50;

/**
 * Sends questions to objects of one kind. Its queues have
 *
 * - `waiting`: unsent entries, oldest first; `length`: their characters.
 * - `inFlight`: messages without a response, oldest first.
 * - `tripMs`: a moving average of the time from message to response.
 */
export class ObjectClient {
  #kind;
  #messageMs;
  #fetch;
  /** Queues by the name of the object. */
  #queues = new Map();
  /** Characters that wait in all queues. */
  #length = 0;

  /**
   * `messageMs`: milliseconds after which a message without a response has failed. `fetch`: sends
   * one message, a text, to an object by its name.
   */
  constructor(kind, messageMs, fetch) {
    this.#kind = kind;
    this.#messageMs = messageMs;
    this.#fetch = fetch;
  }

  /**
   * Asks an object. Returns its answer, or null if the object or its queue is overloaded: nothing was
   * done. Returns undefined if the isolate is overloaded and may have missed the answer. Throws if the
   * message failed.
   *
   * - `context`: of the incoming request, which may send messages for others after its own answer.
   * - `queueMs`: how many milliseconds the question may wait to be sent.
   */
  async ask(name, body, context, queueMs = this.#messageMs) {
    const messageMs = this.#messageMs;
    const queue = this.#queueOf(name);
    if (this.#length + body.length > MAX_TOTAL_LENGTH) this.#sweep();
    const full = queue.waiting.length >= MAX_WAITING || queue.length + body.length > MAX_WAITING_LENGTH;
    if ((full && queue.waiting.length) || this.#length + body.length > MAX_TOTAL_LENGTH) return null;
    const end = Date.now() + queueMs;
    const own = { body, end, message: null, answer: undefined, error: null };
    queue.waiting.push(own);
    this.#add(queue, body.length);
    // The largest delay of a timer in this loop, in milliseconds.
    let lateness = 0;
    for (let polls = 0; own.answer === undefined && !own.error; polls++) {
      if (!own.message && this.#maySend(queue)) {
        const begun = Date.now();
        await atMost(messageMs, this.#sendNext(name, queue));
        lateness = Math.max(lateness, Date.now() - begun - messageMs);
        if (this.#maySend(queue)) context.waitUntil(this.#sendForOthers(name, queue));
        continue;
      }
      const now = Date.now();
      const { sentAt } = own.message ?? queue.inFlight[0];
      // Once sent, a message has its whole time, however long the question has waited in the queue.
      // Otherwise a flood of requests would look like a failure of the object.
      if (own.message ? now - sentAt >= messageMs : now >= end) {
        if (!own.message) this.#leave(queue, own);
        // INVARIANT (overload is not absence): if timers are late, the isolate is overloaded, and
        // the answer may have arrived unread.
        if (!own.message) return null;
        if (lateness > LATE_MS) return undefined;
        throw new Error(`the ${this.#kind} did not answer in time`);
      }
      // The first poll is when the answer is due; polls of an overdue answer grow apart.
      const due = sentAt + queue.tripMs;
      const overdue = Math.min(Math.max((now - due) / 4, polls < 4 ? 0 : 1), MAX_POLL_MS);
      const pause = Math.min(due > now ? due - now : overdue, own.message ? sentAt + messageMs - now : end - now);
      await sleep(pause);
      lateness = Math.max(lateness, Date.now() - now - pause);
    }
    if (own.error) throw own.error;
    return own.answer;
  }

  #queueOf(name) {
    const known = this.#queues.get(name);
    if (known) return known;
    if (this.#queues.size >= MAX_QUEUES) {
      // Only idle queues are removed: an entry that waits must keep its queue.
      this.#sweep();
      for (const [other, queue] of this.#queues) {
        if (!this.#maySend(queue) && !queue.waiting.length && !queue.inFlight.length) this.#queues.delete(other);
      }
    }
    const queue = { waiting: [], length: 0, inFlight: [], tripMs: 1 };
    this.#queues.set(name, queue);
    return queue;
  }

  #add(queue, length) {
    queue.length += length;
    this.#length += length;
  }

  /**
   * Removes overdue entries: the runtime has cancelled their incoming requests, so nothing polls
   * them.
   */
  #sweep() {
    const now = Date.now();
    for (const queue of this.#queues.values()) for (const one of queue.waiting.filter(({ end }) => end < now)) this.#leave(queue, one);
  }

  /** Removes an unsent entry from its queue. */
  #leave(queue, own) {
    const place = queue.waiting.indexOf(own);
    if (place < 0) return;
    queue.waiting.splice(place, 1);
    this.#add(queue, -own.body.length);
    own.answer = null;
  }

  /**
   * Whether a message may be sent now: none is in flight, or the waiting entries fill another one.
   */
  #maySend(queue) {
    const now = Date.now();
    // A message leaves `inFlight` by itself unless the runtime has cancelled the request that sent
    // it.
    while (queue.inFlight.length && now - queue.inFlight[0].sentAt >= this.#messageMs) queue.inFlight.shift();
    if (!queue.waiting.length) return false;
    const fills = queue.waiting.length >= MAX_BATCH || queue.length >= MAX_BATCH_LENGTH;
    return !queue.inFlight.length || (fills && queue.inFlight.length < MAX_IN_FLIGHT);
  }

  /** Sends one message with as many of the waiting entries as fit, and gives each its answer. */
  async #sendNext(name, queue) {
    const { waiting } = queue;
    let length = 0;
    let count = 0;
    while (count < Math.min(waiting.length, MAX_BATCH) && (length += waiting[count].body.length) <= MAX_BATCH_LENGTH) count++;
    const batch = waiting.splice(0, Math.max(count, 1));
    const message = { sentAt: Date.now() };
    queue.inFlight.push(message);
    for (const one of batch) {
      one.message = message;
      this.#add(queue, -one.body.length);
    }
    try {
      const answers = await this.#send(name, batch.map((one) => one.body));
      batch.forEach((one, i) => { one.answer = i < answers.length ? answers[i] : ""; });
    } catch (error) {
      for (const one of batch) one.error = error;
    }
    queue.inFlight = queue.inFlight.filter((one) => one !== message);
    queue.tripMs += (Date.now() - message.sentAt - queue.tripMs) / 4;
  }

  /** Sends further messages at once, so that the waiting entries need not poll first. */
  async #sendForOthers(name, queue) {
    for (let sent = 1; sent < MAX_SENT && this.#maySend(queue); sent++) await this.#sendNext(name, queue);
  }

  /** Sends one message. Returns one answer for each question; all null if the object is overloaded. */
  async #send(name, bodies) {
    try {
      const response = await this.#fetch(name, bodies.join("\n"));
      if (response.status === 503 || response.status === 413) return bodies.map(() => null);
      if (!response.ok) throw new Error(`the ${this.#kind} answered ${response.status}`);
      return (await response.text()).split("\n");
    } catch (error) {
      if (error.overloaded) return bodies.map(() => null);
      throw error;
    }
  }
}

/** Waits for a promise for at most `ms` milliseconds. */
async function atMost(ms, promise) {
  let timer;
  const end = new Promise((resolve) => { timer = setTimeout(resolve, ms); });
  await Promise.race([promise, end]);
  clearTimeout(timer);
}
