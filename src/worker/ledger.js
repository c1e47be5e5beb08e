// The ledger's side of JavaScript: SQLite, groups of orders, the outbox.

import { sleep, text } from "./edge.js";

/** What a ledger keeps in memory, each a table of JSON texts by name. */
const KEPT = ["counters", "leases", "holds", "breakers", "epochs", "gone"];
/** Names that are remembered for a while, each in two generations: the older one is emptied as a whole, which costs no row each. */
const REMEMBERED = ["keys", "events"];

/** Opens a ledger's tables and reads them: of each kept one `[[name, text], …]`, as JSON. */
export function openBook(state) {
  const { sql } = state.storage;
  const table = (name) => sql.exec(`CREATE TABLE IF NOT EXISTS ${name} (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID`);
  for (const kind of REMEMBERED) for (const half of [0, 1]) table(`${kind}_${half}`);
  sql.exec("CREATE TABLE IF NOT EXISTS generations (name TEXT PRIMARY KEY, current INTEGER NOT NULL) WITHOUT ROWID");
  table("tallies");
  table("series");
  table("closed");
  table("distinct_values");
  sql.exec("CREATE TABLE IF NOT EXISTS outbox (number INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL, queued INTEGER NOT NULL DEFAULT 0)");
  const read = (name) => {
    table(name);
    return sql.exec(`SELECT name, value FROM ${name}`).raw().toArray();
  };
  return JSON.stringify(KEPT.map(read));
}

/** Of these names, a JSON array, those that are remembered in this generation or the one before: `{name: value}` as JSON. */
export function remembered(state, kind, names, generation) {
  const { sql } = state.storage;
  const last = sql.exec("SELECT current FROM generations WHERE name = ?", kind).raw().toArray()[0]?.[0];
  if (last !== generation) {
    state.storage.transactionSync(() => {
      if (last !== generation - 1) sql.exec(`DELETE FROM ${kind}_${(generation + 1) % 2}`);
      sql.exec(`DELETE FROM ${kind}_${generation % 2}`);
      sql.exec("INSERT INTO generations (name, current) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET current = excluded.current", kind, generation);
    });
  }
  const of = (table) => sql.exec(`SELECT name, value FROM ${table} WHERE name IN (SELECT value FROM json_each(?))`, names).raw().toArray();
  return JSON.stringify(Object.fromEntries([...of(`${kind}_0`), ...of(`${kind}_1`)]));
}

/** Of these names, a JSON array, what stands in a table: `{name: text}` as JSON. */
export function stored(state, table, names) {
  const rows = state.storage.sql.exec(`SELECT name, value FROM ${table} WHERE name IN (SELECT value FROM json_each(?))`, names).raw().toArray();
  return JSON.stringify(Object.fromEntries(rows));
}

/** What stands in a table under these names, a JSON array, and below them: `{name: text}` as JSON. */
export function storedBelow(state, table, names) {
  const rows = state.storage.sql.exec(
    // `0` comes after `/`.
    `SELECT name, ${table}.value FROM json_each(?) AS asked JOIN ${table} ON name = asked.value OR name > asked.value || '/' AND name < asked.value || '0'`,
    names,
  );
  return JSON.stringify(Object.fromEntries(rows.raw().toArray()));
}

/**
 * Writes what has changed, all of it or nothing. `slices`: three lines each. Names of tables that something is written to; names of
 * tables from which names whose text is null are deleted; JSON, of each table an object of texts by name, and a list of events.
 */
export function saveBook(state, slices) {
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

/** Milliseconds after which events are handed on, and between two tries where that fails: twice as long each time, up to a minute. */
const OUTBOX_MS = 1_000;
const OUTBOX_MAX_MS = 60_000;

/** Has the outbox emptied soon, if it is not to be already. The alarm is as durable as what is written with it. */
export async function wakeOutbox(state) {
  if ((await state.storage.getAlarm()) === null) await state.storage.setAlarm(Date.now() + OUTBOX_MS);
}

/** Has an outbox emptied that an earlier life has left. */
export function reviveOutbox(state) {
  if (state.storage.sql.exec("SELECT 1 FROM outbox LIMIT 1").raw().toArray().length) state.waitUntil(wakeOutbox(state));
}

let failures = 0;

/**
 * Hands events on to the queue and the database that are bound, in batches, and forgets them then: at least once each, under names
 * that never change. An alarm that comes twice finds less to do.
 */
export async function emptyOutbox(state, env, maxEvents, maxBytes) {
  const { sql } = state.storage;
  const { USAGE_QUEUE: queue, USAGE_DB: db } = env;
  try {
    for (;;) {
      const rows = batch(sql.exec("SELECT number, event, queued, length(CAST(event AS BLOB)) AS bytes FROM outbox ORDER BY number LIMIT ?", maxEvents), maxBytes);
      if (!rows.length) break;
      const last = rows.at(-1).number;
      const queued = rows.filter((row) => !row.queued);
      if (queue && queued.length) {
        await queue.sendBatch(queued.map(({ event }) => ({ body: JSON.parse(event), contentType: "json" })));
        // So that the queue is not told again where only the database fails.
        if (db) sql.exec("UPDATE outbox SET queued = 1 WHERE number <= ?", last);
      }
      if (db) await db.batch(rows.map(({ event }) => inserted(db, JSON.parse(event))));
      sql.exec("DELETE FROM outbox WHERE number <= ?", last);
    }
    failures = 0;
  } catch (error) {
    console.error(`usage is not handed on, and will be: ${error}`);
    await state.storage.setAlarm(Date.now() + Math.min(OUTBOX_MS * 2 ** failures++, OUTBOX_MAX_MS));
  }
}

/** Rows up to so many bytes, one at least where there is any. */
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

/** Milliseconds that a message may take to arrive. */
const MESSAGE_MS = 5_000;

/**
 * Serves a ledger: messages that arrive together are handed to `commit` as one text. `commit` takes orders, one a line, and
 * returns their answers, one a line; where it throws, or traps, the whole group fails.
 *
 * Every request waits for a timer of its own, and whoever wakes first commits for all: a request that waited for another
 * one's timer would hang when that one is cut off, and the runtime then ends the whole object.
 */
export function serveLedger(commit, maxBytes, maxWaiting) {
  let waiting = [];
  let orders = 0;
  let length = 0;
  const turn = () => {
    const group = waiting;
    [waiting, orders, length] = [[], 0, 0];
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
    if (orders + count > maxWaiting || (orders && length + message.length > maxBytes)) return new Response(null, { status: 503, headers: { "retry-after": "1" } });
    const own = { message, count, answer: null, error: null };
    waiting.push(own);
    orders += count;
    length += message.length;
    await sleep(0);
    if (waiting.includes(own)) turn();
    if (own.error) throw own.error;
    return new Response(own.answer);
  };
}
