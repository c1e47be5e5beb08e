// The JavaScript side of the control plane: D1, KV, queues, DNS and the provisioner.
//
// Values cross the boundary as JSON, with two exceptions. `transact` returns JSON, or `!` and the
// reason why the database refused: `Store::run` in `sources/d1.rs` reads it. Lists of texts that
// cannot contain a line break (KV keys, TXT records) are returned one a line.

import { answered } from "./edge.js";

/** The version of the tables that this code needs: the number of the last migration. */
const SCHEMA = 7;
const FITS = `SELECT CASE WHEN EXISTS (SELECT 1 FROM schema_version WHERE version >= ${SCHEMA} AND oldest <= ${SCHEMA}) THEN 1 ELSE json('no') END`;
/** Why the tables of a database do not fit: `older` or `newer`; undefined if they do. */
async function misfit(db) {
  const found = await db.prepare("SELECT version, oldest FROM schema_version").first().catch((error) => {
    if (!error.message.includes("no such table: schema_version")) throw error;
    return null;
  });
  const { version = 0, oldest = 0 } = found ?? {};
  return version < SCHEMA ? "older" : oldest > SCHEMA ? "newer" : undefined;
}

/**
 * Runs statements, `[[sql, ...values], …]` as JSON, in one transaction. Returns the rows of each
 * statement, as JSON. If the database refuses the transaction, nothing has changed, and the result
 * is one of:
 *
 * - `!` and the columns of the violated constraint, such as `!slugs.slug`;
 * - `!schema older` or `!schema newer`, if the tables are of a version that this code cannot use;
 * - `!premise`, if a precondition does not hold (`Transaction::precondition` in
 *   `admin/transaction.rs`).
 *
 * Throws if the database fails or times out.
 */
export async function transact(db, statements, timeoutMs) {
  const own = JSON.parse(statements).map(([sql, ...values]) => db.prepare(sql).bind(...values));
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error("the database timed out")), timeoutMs); });
  try {
    // A migration can come between two transactions, so each one looks.
    const [, ...results] = await Promise.race([db.batch([db.prepare(FITS), ...own]), late]);
    return JSON.stringify(results.map(({ results }) => results));
  } catch (error) {
    const violated = /(?:UNIQUE|NOT NULL|CHECK) constraint failed: ([\w., ]+)/.exec(error.message);
    if (violated) return `!${violated[1].trim()}`;
    const why = await Promise.race([misfit(db), late]).catch(() => undefined);
    if (why !== undefined) return `!schema ${why}`;
    if (isFailedPrecondition(error)) return "!premise";
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Whether a failed precondition aborted the transaction. SQL has no statement that raises an error
 * outside a trigger, so `fail_unless` in `sources/d1.rs` parses malformed JSON instead. No other
 * statement can cause this error: everything else that D1 stores as JSON was serialized from a
 * value.
 */
const isFailedPrecondition = (error) => error.message.includes("malformed JSON");

/**
 * Writes entries, `[[key, value | null], …]` as JSON, to KV; null deletes a key. Returns the keys
 * that failed, one a line.
 */
export async function putEntries(kv, entries) {
  const list = JSON.parse(entries);
  const written = await Promise.allSettled(list.map(([key, value]) => (value === null ? kv.delete(key) : kv.put(key, value))));
  const failed = list.map(([key], i) => ({ key, ...written[i] })).filter(({ status }) => status === "rejected");
  for (const { key, reason } of failed) console.error(`publishing \`${key}\` failed: ${reason}`);
  return failed.map(({ key }) => key).join("\n");
}

/**
 * Reads keys, a JSON array, from KV. Returns a JSON array of the values, null for an absent key.
 */
export const getEntries = async (kv, keys) => JSON.stringify(await Promise.all(JSON.parse(keys).map((key) => kv.get(key))));

/** Sends an event to a queue. */
export const sendEvent = (queue, event) => queue.send(JSON.parse(event), { contentType: "json" });

/** Runs `ask` with a signal that aborts it after `timeoutMs`. Leaves no timer behind. */
async function within(timeoutMs, ask) {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(new Error("the request timed out")), timeoutMs);
  try {
    return await ask(controller.signal);
  } finally {
    clearTimeout(timer);
  }
}

/** Maximum sizes of the responses of the DNS resolver and the provisioner. */
const MAX_DNS_BYTES = 131_072;
const MAX_PROVISIONER_BYTES = 4_096;

/**
 * Looks up the TXT records of a name over DNS over HTTPS, in the JSON format of Cloudflare and
 * Google. Returns them one a line. Throws if the lookup fails.
 */
export async function txtRecords(url, name, timeoutMs) {
  const asked = new URL(url);
  asked.searchParams.set("name", name);
  asked.searchParams.set("type", "TXT");
  const { Status: status, Answer: answers = [] } = await within(timeoutMs, async (signal) => {
    const headers = { accept: "application/dns-json", "accept-encoding": "identity" };
    const response = await fetch(asked, { headers, redirect: "manual", signal });
    if (!response.ok) throw new Error(`the resolver answered ${response.status}`);
    return JSON.parse(await answered(response, MAX_DNS_BYTES, timeoutMs));
  });
  if (!Array.isArray(answers)) throw new Error("the resolver's `Answer` must be an array");
  // 3 (NXDOMAIN): the name does not exist.
  if (status !== 0 && status !== 3) throw new Error(`the resolver failed with ${status}`);
  const TXT = 16;
  // A record consists of one or more quoted strings, which are concatenated.
  return answers.filter(({ type }) => type === TXT).map(({ data }) => data.replace(/^"|"$/g, "").replace(/" "/g, "")).join("\n");
}

/**
 * Asks the provisioner to set up a tenant's data. Returns null if that succeeded, or the reason if
 * the provisioner refused it for good. Throws if a retry may succeed.
 */
export async function setUpData(provisioner, question, timeoutMs) {
  const init = { method: "POST", body: question, headers: { "content-type": "application/json" } };
  const { ok, status, text } = await within(timeoutMs, async (signal) => {
    const response = await provisioner.fetch("https://provisioner/", { ...init, signal });
    // Only a refusal has a reason, and a body over the maximum is not a useful one.
    const reason = response.ok ? "" : await answered(response, MAX_PROVISIONER_BYTES, timeoutMs).catch(() => "");
    return { ok: response.ok, status: response.status, text: reason.slice(0, 500) };
  });
  if (ok) return null;
  if (status >= 400 && status < 500 && status !== 408 && status !== 429) return text || `status ${status}`;
  throw new Error(`the provisioner answered ${status}`);
}

/** Random bytes, in hexadecimal. */
export function random(bytes) {
  const values = crypto.getRandomValues(new Uint8Array(bytes));
  return Array.from(values, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
