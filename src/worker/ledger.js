// The JavaScript side of the ledger: SQLite, batches of ledger requests, and the outbox of usage
// events.
//
// Names and documents cross the boundary as JSON. `saveState` takes slices of three lines, and
// `serveLedger` exchanges ledger requests and answers one a line: see there.

import { sleep, text } from "./edge.js";

/** Tables that a ledger keeps in memory, each with JSON texts by name. */
const KEPT = ["counters", "leases", "holds", "breakers", "epochs", "gone"];
/**
 * Kinds of names that a ledger remembers for a limited time. Each has two tables, one for the
 * current generation and one for the previous one. Emptying a whole table costs no row write for
 * each name.
 */
const REMEMBERED = ["keys", "events"];

/**
 * Creates a ledger's tables. Returns the contents of the tables in `KEPT`, `[[name, text], …]`
 * each, as JSON.
 */
export function openState(state) {
  const { sql } = state.storage;
  const table = (name) => sql.exec(`CREATE TABLE IF NOT EXISTS ${name} (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID`);
  for (const kind of REMEMBERED) for (const half of [0, 1]) table(`${kind}_${half}`);
  sql.exec("CREATE TABLE IF NOT EXISTS generations (name TEXT PRIMARY KEY, current INTEGER NOT NULL) WITHOUT ROWID");
  table("tallies");
  table("series");
  table("closed");
  table("distinct_values");
  sql.exec(`CREATE TABLE IF NOT EXISTS outbox
    (number INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL, queued INTEGER NOT NULL DEFAULT 0)`);
  const read = (name) => {
    table(name);
    return sql.exec(`SELECT name, value FROM ${name}`).raw().toArray();
  };
  return JSON.stringify(KEPT.map(read));
}

/**
 * Of these names, a JSON array, returns those that the ledger remembers from this generation or the
 * previous one: `{name: value}` as JSON. Empties the tables of older generations.
 */
export function remembered(state, kind, names, generation) {
  const { sql } = state.storage;
  const last = sql.exec("SELECT current FROM generations WHERE name = ?", kind).raw().toArray()[0]?.[0];
  if (last !== generation) {
    state.storage.transactionSync(() => {
      if (last !== generation - 1) sql.exec(`DELETE FROM ${kind}_${(generation + 1) % 2}`);
      sql.exec(`DELETE FROM ${kind}_${generation % 2}`);
      const advance = "INSERT INTO generations (name, current) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET current = excluded.current";
      sql.exec(advance, kind, generation);
    });
  }
  const of = (table) => sql.exec(`SELECT name, value FROM ${table} WHERE name IN (SELECT value FROM json_each(?))`, names).raw().toArray();
  return JSON.stringify(Object.fromEntries([...of(`${kind}_0`), ...of(`${kind}_1`)]));
}

/** Reads the rows with these names, a JSON array, from a table: `{name: text}` as JSON. */
export function stored(state, table, names) {
  const { sql } = state.storage;
  const rows = sql.exec(`SELECT name, value FROM ${table} WHERE name IN (SELECT value FROM json_each(?))`, names).raw().toArray();
  return JSON.stringify(Object.fromEntries(rows));
}

/**
 * Reads the rows with these names, a JSON array, and with names below them (`name/…`) from a table:
 * `{name: text}` as JSON.
 */
export function storedBelow(state, table, names) {
  const rows = state.storage.sql.exec(
    // `0` is the character after `/`.
    `SELECT name, ${table}.value FROM json_each(?) AS asked
     JOIN ${table} ON name = asked.value OR name > asked.value || '/' AND name < asked.value || '0'`,
    names,
  );
  return JSON.stringify(Object.fromEntries(rows.raw().toArray()));
}

/**
 * Writes changes, all or nothing. `slices` has three lines for each slice:
 *
 * 1. the tables that rows are written to, separated by spaces;
 * 2. the tables that rows are deleted from, separated by spaces;
 * 3. JSON: for each table an object of texts by name, where null deletes the row; for `outbox`, a
 *    list of events.
 */
export function saveState(state, slices) {
  const lines = slices.split("\n");
  state.storage.transactionSync(() => {
    for (let i = 0; i + 2 < lines.length; i += 3) saveSlice(state.storage.sql, lines[i], lines[i + 1], lines[i + 2]);
  });
}

function saveSlice(sql, written, deleted, changes) {
  for (const table of written.split(" ").filter(Boolean)) {
    if (table === "outbox") {
      sql.exec("INSERT INTO outbox (event) SELECT value FROM json_each(?, '$.outbox')", changes);
      continue;
    }
    sql.exec(
      `INSERT INTO ${table} (name, value) SELECT key, value FROM json_each(?, '$.${table}') WHERE value IS NOT NULL
       ON CONFLICT (name) DO UPDATE SET value = excluded.value`,
      changes,
    );
  }
  for (const table of deleted.split(" ").filter(Boolean)) {
    sql.exec(`DELETE FROM ${table} WHERE name IN (SELECT key FROM json_each(?, '$.${table}') WHERE value IS NULL)`, changes);
  }
}

/**
 * Milliseconds before the outbox is emptied. If that fails, the delay doubles with each failure in
 * a row, up to the maximum.
 */
const OUTBOX_MS = 1_000;
const OUTBOX_MAX_MS = 60_000;

/**
 * Schedules emptying the outbox, unless it is scheduled already. The alarm is as durable as the
 * rows.
 */
export async function wakeOutbox(state) {
  if ((await state.storage.getAlarm()) === null) await state.storage.setAlarm(Date.now() + OUTBOX_MS);
}

/** Schedules emptying an outbox in which an earlier instance of the ledger has left events. */
export function reviveOutbox(state) {
  if (state.storage.sql.exec("SELECT 1 FROM outbox LIMIT 1").raw().toArray().length) state.waitUntil(wakeOutbox(state));
}

let failures = 0;

/**
 * Delivers events in batches to the queue and the database, if they are bound, and then deletes
 * them. Delivers each event at least once, under a name that never changes. A repeated alarm does
 * no harm.
 */
export async function emptyOutbox(state, env, maxEvents, maxBytes) {
  const { sql } = state.storage;
  const { USAGE_QUEUE: queue, USAGE_DB: db } = env;
  try {
    for (;;) {
      const oldest = "SELECT number, event, queued, length(CAST(event AS BLOB)) AS bytes FROM outbox ORDER BY number LIMIT ?";
      const rows = batch(sql.exec(oldest, maxEvents), maxBytes);
      if (!rows.length) break;
      const last = rows.at(-1).number;
      const queued = rows.filter((row) => !row.queued);
      if (queue && queued.length) {
        await queue.sendBatch(queued.map(({ event }) => ({ body: JSON.parse(event), contentType: "json" })));
        // If only the database fails, the queue does not receive the events again.
        if (db) sql.exec("UPDATE outbox SET queued = 1 WHERE number <= ?", last);
      }
      if (db) await db.batch(rows.map(({ event }) => inserted(db, JSON.parse(event))));
      sql.exec("DELETE FROM outbox WHERE number <= ?", last);
    }
    failures = 0;
  } catch (error) {
    console.error(`delivering usage events failed and will be retried: ${error}`);
    await state.storage.setAlarm(Date.now() + Math.min(OUTBOX_MS * 2 ** failures++, OUTBOX_MAX_MS));
  }
}

/** The first rows, at most `maxBytes` in total, but at least one if there is any. */
function batch(rows, maxBytes) {
  const taken = [];
  let bytes = 0;
  for (const row of rows) {
    bytes += row.bytes;
    if (taken.length && bytes > maxBytes) break;
    taken.push(row);
  }
  return taken;
}

const inserted = (db, { subject, source, id, type, time, metrics, data }) => db.prepare(
  "INSERT INTO usage_events (tenant, source, id, type, time, metrics, data) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
).bind(subject, source, id, type, time, JSON.stringify(metrics), JSON.stringify(data));

/** Milliseconds that the body of a message may take to arrive. */
const MESSAGE_MS = 5_000;

/**
 * Serves a ledger: messages that arrive together form a group, which `commit` takes as one text.
 * `commit` takes ledger requests, one a line, and returns one answer a line, in the same order. If
 * it throws or traps, the whole group fails.
 *
 * Each message waits for its own timer, and the first one to wake commits the whole group. A
 * message that waited for another one's timer would hang if the runtime cancelled that one, and the
 * runtime would then end the whole Durable Object.
 */
export function serveLedger(commit, maxBytes, maxWaiting) {
  let waiting = [];
  // The ledger requests that wait, and their characters.
  let requests = 0;
  let length = 0;
  const commitGroup = () => {
    const group = waiting;
    [waiting, requests, length] = [[], 0, 0];
    try {
      const answers = commit(group.map(({ message }) => message).join("\n")).split("\n");
      for (const one of group) one.answer = answers.splice(0, one.count).join("\n");
    } catch (error) {
      for (const one of group) one.error = error;
    }
  };
  return async (request) => {
    const message = await text(request, maxBytes, MESSAGE_MS);
    if (typeof message !== "string") return new Response(null, { status: 413 });
    const count = message.split("\n").length;
    if (requests + count > maxWaiting || (requests && length + message.length > maxBytes)) {
      return new Response(null, { status: 503, headers: { "retry-after": "1" } });
    }
    const own = { message, count, answer: null, error: null };
    waiting.push(own);
    requests += count;
    length += message.length;
    await sleep(0);
    if (waiting.includes(own)) commitGroup();
    if (own.error) throw own.error;
    return new Response(own.answer);
  };
}
