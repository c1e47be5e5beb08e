// The client of the ledgers: sends ledger requests, batched per ledger.
//
// An isolate sends its requests to one ledger together: while one message is in flight, further
// requests wait in the ledger's queue for the next message. A message carries one request a line,
// and the ledger's response has one answer a line, in the same order (`serveLedger` in
// `ledger.js`).
//
// Incoming requests share data here, never promises. If one incoming request continued because
// another resolved a promise, the runtime would sooner or later consider one of them hung, or end
// the ledger. So each one polls its own entry with its own timer, and any of them may send the next
// message.
//
// INVARIANT (overload is not absence): a request that finds the queue full, or is not sent in time,
// resolves to null and is refused. Only a request whose own message failed throws, and is then
// decided by `on_error`.

import { sleep } from "./edge.js";

/**
 * The ledgers behind a namespace. `jurisdictions`: JSON, `[[prefix, jurisdiction], …]`; a ledger
 * whose name starts with a prefix is kept in that jurisdiction. A ledger's name never changes, so
 * it never moves.
 */
export function ledgers(namespace, jurisdictions) {
  const list = JSON.parse(jurisdictions);
  return {
    stub(name) {
      const found = list.find(([prefix]) => name.startsWith(prefix));
      const space = found ? namespace.jurisdiction(found[1]) : namespace;
      return space.get(space.idFromName(name));
    },
  };
}

/** Queues by the name of the ledger. */
const queues = new Map();
/** Maximum number of queues. Beyond it, idle ones are removed. */
const MAX_QUEUES = 1_024;
/** Maximum number of requests in one message. */
const MAX_BATCH = 256;
/** Maximum number of characters in one message, unless a single request has more. */
const MAX_BATCH_LENGTH = 2 << 20;
/** Maximum number of messages in flight to one ledger: a full message does not wait for others. */
const MAX_IN_FLIGHT = 4;
/** Maximum number of requests that wait in one queue, and of their characters. */
const MAX_WAITING = MAX_IN_FLIGHT * MAX_BATCH;
const MAX_WAITING_LENGTH = 2 * MAX_BATCH_LENGTH;
/** Maximum number of characters that wait in all queues of the isolate. */
const MAX_TOTAL_LENGTH = 16 << 20;
/** Maximum number of messages in a row that one incoming request sends, its own included. */
const MAX_SENT = 8;
/** Milliseconds after which a message without a response has failed. */
const MESSAGE_MS = 5_000;
/**
 * A timer that fires this many milliseconds late shows that the isolate, not the ledger, is
 * overloaded.
 */
const LATE_MS = 1_000;
/** Polling for an overdue answer slows down to this interval, in milliseconds. */
const MAX_POLL_MS = 50;
/** Characters that wait in all queues of the isolate. */
let totalLength = 0;

/**
 * The queue of a ledger.
 *
 * - `waiting`: unsent entries, oldest first; `length`: their characters.
 * - `inFlight`: messages without a response, oldest first.
 * - `tripMs`: a moving average of the time from message to response.
 */
function queueOf(name) {
  const known = queues.get(name);
  if (known) return known;
  if (queues.size >= MAX_QUEUES) {
    // Only idle queues are removed: an entry that waits must keep its queue.
    sweep();
    for (const [other, queue] of queues) if (!maySend(queue) && !queue.waiting.length && !queue.inFlight.length) queues.delete(other);
  }
  const queue = { waiting: [], length: 0, inFlight: [], tripMs: 1 };
  queues.set(name, queue);
  return queue;
}

/**
 * Sends one ledger request. Returns the ledger's answer, or null if the ledger or its queue is
 * overloaded. Throws if the message failed.
 *
 * - `context`: of the incoming request, which may send messages for others after its own answer.
 * - `queueMs`: how many milliseconds the ledger request may wait to be sent.
 */
export async function askLedger(ledgers, name, body, context, queueMs = MESSAGE_MS) {
  const queue = queueOf(name);
  if (totalLength + body.length > MAX_TOTAL_LENGTH) sweep();
  const full = queue.waiting.length >= MAX_WAITING || queue.length + body.length > MAX_WAITING_LENGTH;
  if ((full && queue.waiting.length) || totalLength + body.length > MAX_TOTAL_LENGTH) return null;
  const end = Date.now() + queueMs;
  const own = { body, end, message: null, answer: undefined, error: null };
  queue.waiting.push(own);
  add(queue, body.length);
  // The largest delay of a timer in this loop, in milliseconds.
  let lateness = 0;
  for (let polls = 0; own.answer === undefined && !own.error; polls++) {
    if (!own.message && maySend(queue)) {
      const begun = Date.now();
      await atMost(MESSAGE_MS, sendNext(ledgers, name, queue));
      lateness = Math.max(lateness, Date.now() - begun - MESSAGE_MS);
      if (maySend(queue)) context.waitUntil(sendForOthers(ledgers, name, queue));
      continue;
    }
    const now = Date.now();
    const { sentAt } = own.message ?? queue.inFlight[0];
    // Once sent, a message has its whole time, however long the request has waited in the queue.
    // Otherwise a flood of requests would look like a failure of the ledger.
    if (own.message ? now - sentAt >= MESSAGE_MS : now >= end) {
      if (!own.message) leave(queue, own);
      // INVARIANT (overload is not absence): if timers are late, the isolate is overloaded, and the
      // answer may have arrived unread.
      if (!own.message || lateness > LATE_MS) return null;
      throw new Error("the ledger did not answer in time");
    }
    // The first poll is when the answer is due; polls of an overdue answer grow apart.
    const due = sentAt + queue.tripMs;
    const overdue = Math.min(Math.max((now - due) / 4, polls < 4 ? 0 : 1), MAX_POLL_MS);
    const pause = Math.min(due > now ? due - now : overdue, own.message ? sentAt + MESSAGE_MS - now : end - now);
    await sleep(pause);
    lateness = Math.max(lateness, Date.now() - now - pause);
  }
  if (own.error) throw own.error;
  return own.answer;
}

function add(queue, length) {
  queue.length += length;
  totalLength += length;
}

/**
 * Removes overdue entries: the runtime has cancelled their incoming requests, so nothing polls
 * them.
 */
function sweep() {
  const now = Date.now();
  for (const queue of queues.values()) for (const one of queue.waiting.filter(({ end }) => end < now)) leave(queue, one);
}

/** Removes an unsent entry from its queue. */
function leave(queue, own) {
  const place = queue.waiting.indexOf(own);
  if (place < 0) return;
  queue.waiting.splice(place, 1);
  add(queue, -own.body.length);
  own.answer = null;
}

/**
 * Whether a message may be sent now: none is in flight, or the waiting entries fill another one.
 */
function maySend(queue) {
  const now = Date.now();
  // A message leaves `inFlight` by itself unless the runtime has cancelled the request that sent
  // it.
  while (queue.inFlight.length && now - queue.inFlight[0].sentAt >= MESSAGE_MS) queue.inFlight.shift();
  if (!queue.waiting.length) return false;
  const fills = queue.waiting.length >= MAX_BATCH || queue.length >= MAX_BATCH_LENGTH;
  return !queue.inFlight.length || (fills && queue.inFlight.length < MAX_IN_FLIGHT);
}

/** Sends one message with as many of the waiting entries as fit, and gives each its answer. */
async function sendNext(ledgers, name, queue) {
  const { waiting } = queue;
  let length = 0;
  let count = 0;
  while (count < Math.min(waiting.length, MAX_BATCH) && (length += waiting[count].body.length) <= MAX_BATCH_LENGTH) count++;
  const batch = waiting.splice(0, Math.max(count, 1));
  const message = { sentAt: Date.now() };
  queue.inFlight.push(message);
  for (const one of batch) {
    one.message = message;
    add(queue, -one.body.length);
  }
  try {
    const answers = await send(ledgers, name, batch.map((one) => one.body));
    batch.forEach((one, i) => { one.answer = i < answers.length ? answers[i] : ""; });
  } catch (error) {
    for (const one of batch) one.error = error;
  }
  queue.inFlight = queue.inFlight.filter((one) => one !== message);
  queue.tripMs += (Date.now() - message.sentAt - queue.tripMs) / 4;
}

/** Sends further messages at once, so that the waiting entries need not poll first. */
async function sendForOthers(ledgers, name, queue) {
  for (let sent = 1; sent < MAX_SENT && maySend(queue); sent++) await sendNext(ledgers, name, queue);
}

/** Sends one message. Returns one answer for each request; all null if the ledger is overloaded. */
async function send(ledgers, name, bodies) {
  try {
    const response = await ledgers.stub(name).fetch("https://ledger/", { method: "POST", body: bodies.join("\n") });
    if (response.status === 503 || response.status === 413) return bodies.map(() => null);
    if (!response.ok) throw new Error(`the ledger answered ${response.status}`);
    return (await response.text()).split("\n");
  } catch (error) {
    if (error.overloaded) return bodies.map(() => null);
    throw error;
  }
}

/** Waits for a promise for at most `ms` milliseconds. */
async function atMost(ms, promise) {
  let timer;
  const end = new Promise((resolve) => { timer = setTimeout(resolve, ms); });
  await Promise.race([promise, end]);
  clearTimeout(timer);
}
