// The control plane's side of JavaScript: D1, KV, the queue, DNS, the provisioner.

import { answered } from "./edge.js";

/**
 * Runs statements, `[[sql, ...values], …]` as JSON, in one transaction: the rows of each, as JSON. Where a constraint refuses them,
 * `!` and what it is on: then nothing was done. Throws where there is no answer in time.
 */
export async function transact(db, statements, timeoutMs) {
  const list = JSON.parse(statements).map(([sql, ...values]) => db.prepare(sql).bind(...values));
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error("no answer in time")), timeoutMs); });
  try {
    const answered = list.length === 1 ? list[0].all().then((one) => [one]) : db.batch(list);
    const results = await Promise.race([answered, late]);
    return JSON.stringify(results.map(({ results }) => results));
  } catch (error) {
    const refused = /(?:UNIQUE|NOT NULL|CHECK) constraint failed: ([\w., ]+)/.exec(error.message);
    if (refused) return `!${refused[1].trim()}`;
    // What a change requires does not hold.
    if (error.message.includes("malformed JSON")) return "!premise";
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** Writes entries, `[[key, value | null], …]` as JSON, to KV, null deletes: the keys that failed, one a line. */
export async function putEntries(kv, entries) {
  const list = JSON.parse(entries);
  const written = await Promise.allSettled(list.map(([key, value]) => (value === null ? kv.delete(key) : kv.put(key, value))));
  const failed = list.map(([key], i) => ({ key, ...written[i] })).filter(({ status }) => status === "rejected");
  for (const { key, reason } of failed) console.error(`\`${key}\` is not published: ${reason}`);
  return failed.map(({ key }) => key).join("\n");
}

/** What KV has under keys, a JSON array: a JSON array of texts and nulls. */
export const getEntries = async (kv, keys) => JSON.stringify(await Promise.all(JSON.parse(keys).map((key) => kv.get(key))));

/** Puts an event on a queue. */
export const tell = (queue, event) => queue.send(JSON.parse(event), { contentType: "json" });

/** Runs `ask` with a signal that ends it after a while; no timer is left behind. */
async function within(timeoutMs, ask) {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(new Error("no answer in time")), timeoutMs);
  try {
    return await ask(controller.signal);
  } finally {
    clearTimeout(timer);
  }
}

/** Bytes of what DNS and the provisioner answer. */
const MAX_DNS_BYTES = 131_072;
const MAX_PROVISIONER_BYTES = 4_096;

/** The TXT records of a name, by DNS over HTTPS (the JSON form of Cloudflare and Google): one a line. Throws where it cannot say. */
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
  if (!Array.isArray(answers)) throw new Error("the resolver's answers are not a list");
  // 3: there is no such name.
  if (status !== 0 && status !== 3) throw new Error(`the resolver failed with ${status}`);
  const TXT = 16;
  // A record is one or more quoted strings, which belong together.
  return answers.filter(({ type }) => type === TXT).map(({ data }) => data.replace(/^"|"$/g, "").replace(/" "/g, "")).join("\n");
}

/** Has a tenant's data set up: null, or why it cannot be. Throws where it may yet work. */
export async function setUpData(provisioner, question, timeoutMs) {
  const init = { method: "POST", body: question, headers: { "content-type": "application/json" } };
  const { ok, status, text } = await within(timeoutMs, async (signal) => {
    const response = await provisioner.fetch("https://provisioner/", { ...init, signal });
    // Only a refusal says anything, and what is longer than that says nothing useful.
    const reason = response.ok ? "" : await answered(response, MAX_PROVISIONER_BYTES, timeoutMs).catch(() => "");
    return { ok: response.ok, status: response.status, text: reason.slice(0, 500) };
  });
  if (ok) return null;
  if (status >= 400 && status < 500 && status !== 408 && status !== 429) return text || `status ${status}`;
  throw new Error(`the provisioner answered ${status}`);
}

/** Random bytes, in hexadecimal. */
export const random = (bytes) => Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => byte.toString(16).padStart(2, "0")).join("");
