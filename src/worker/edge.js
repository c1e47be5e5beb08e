// What crosses between JavaScript and WebAssembly, in as few crossings as it can.

/** Method, URL and the named headers, one a line; a header that is absent is a NUL. */
export function facts(request, names) {
  const { headers } = request;
  let text = `${request.method}\n${request.url}`;
  for (const name of names) text += `\n${headers.get(name) ?? "\0"}`;
  return text;
}

/**
 * A response of the gate. `text` is one line each of content type, `RateLimit-Policy`, `RateLimit`, `Retry-After` and
 * one further header as `name: value`, empty where there is none; what follows is the body.
 */
export function respond(status, text) {
  let start = 0;
  const line = () => {
    const end = text.indexOf("\n", start);
    const value = text.slice(start, end);
    start = end + 1;
    return value;
  };
  const [type, policy, state, retry, other] = [line(), line(), line(), line(), line()];
  // Some statuses have none, which is not the same as an empty one.
  const body = text.slice(start) || null;
  // Answers are about one caller at one moment: no cache may keep them. The usual ones are objects of one shape, which
  // the runtime takes several times as fast as a list of pairs.
  const headers = policy
    ? { "cache-control": "private, no-store", "content-type": type, "ratelimit-policy": policy, ratelimit: state }
    : { "cache-control": "private, no-store", "content-type": type };
  if (retry) headers["retry-after"] = retry;
  if (other) headers[other.slice(0, other.indexOf(":"))] = other.slice(other.indexOf(":") + 2);
  return new Response(body, status === 200 ? { headers } : { status, headers });
}

/** Whether the client of a request has gone. */
export const aborted = (request) => request.signal?.aborted === true;

/** A header of a request. */
export const header = (request, name) => request.headers.get(name) ?? undefined;

function pairs(lines) {
  const list = lines.split("\n");
  const result = [];
  for (let i = 0; i + 1 < list.length; i += 2) result.push([list[i], list[i + 1]]);
  return result;
}

/** The body as text; null where it is longer than `maxBytes`, which is then not read to its end. */
export async function text(request, maxBytes) {
  const length = request.headers.get("content-length");
  if (length !== null) return Number(length) > maxBytes ? null : request.text();
  const chunks = [];
  let read = 0;
  for await (const chunk of request.body ?? []) {
    read += chunk.length;
    if (read > maxBytes) return null;
    chunks.push(chunk);
  }
  return new TextDecoder().decode(await new Blob(chunks).arrayBuffer());
}

// By these an origin may take the request for another one than the gate has judged.
const REROUTING = [
  "forwarded", "x-original-url", "x-original-uri", "x-original-host", "x-rewrite-url", "x-host", "x-real-host", "base-url",
  "x-http-host-override", "x-http-method", "x-http-method-override", "x-method-override", "x-forwarded-server",
  "x-forwarded-prefix", "x-forwarded-path", "x-forwarded-uri", "x-forwarded-method", "x-envoy-original-path", "x-waws-unencoded-url",
];
// Servers that hand headers on as variables make no difference between `-`, `_`, `.` and the like.
const plain = (name) => name.toLowerCase().replace(/[^a-z0-9]/g, "-");

/**
 * Hands the request to the upstream and marks the response. Of what the client said of its tenant nothing is left, in
 * whatever spelling an origin may read. `cookie`: where tokens are hidden,
 * the name of the cookie that may hold one, or empty. `ending`: of `ending`, where something is held while the response lasts.
 */
export async function forward(request, upstream, url, removed, cookie, added, marks, ending) {
  const headers = new Headers(request.headers);
  const hidden = new Set([...REROUTING, ...removed.map(plain)]);
  for (const name of [...headers.keys()]) {
    if (plain(name).startsWith("x-tenant-") || hidden.has(plain(name))) headers.delete(name);
  }
  if (cookie !== undefined) hideToken(headers, cookie);
  for (const [name, value] of pairs(added)) headers.set(name, value);
  const bare = request.method === "GET" || request.method === "HEAD";
  if (bare) for (const name of ["content-length", "transfer-encoding"]) headers.delete(name);
  // Tenants may ask for the same URL: what answers one must not be kept for another.
  // The origin is told the host that was judged, not the text that it was read from.
  headers.set("host", new URL(url).host);
  const init = { method: request.method, headers, body: bare ? null : request.body, redirect: "manual", cache: "no-store" };
  const response = await (upstream ?? globalThis).fetch(new Request(url, init)).catch((error) => {
    ending?.done();
    throw error;
  });
  // A socket is handed on as it is: nobody here sees it close.
  const through = ending && response.body && !response.webSocket ? passage(response.headers) : null;
  if (through) response.body.pipeTo(through.writable).then(ending.done, ending.done);
  else ending?.done();
  if (response.webSocket) return response;
  const marked = new Response(through ? through.readable : response.body, response);
  for (const [name, value] of pairs(marks)) {
    if (name === "vary") marked.headers.append(name, value);
    else marked.headers.set(name, value);
  }
  return marked;
}

/** What a body passes through whose end is to be noticed; its length stays known. */
function passage(headers) {
  const length = headers.get("content-length");
  return length === null || headers.has("content-encoding") ? new IdentityTransformStream() : new FixedLengthStream(Number(length));
}

/** The end of what a request holds: `done` is called, or its client goes away. */
export function ending(request) {
  let done;
  const ended = new Promise((resolve) => { done = resolve; });
  request.signal?.addEventListener("abort", done);
  return { ended, done };
}

/** Takes the token away: `Authorization: Bearer`, and the cookie of this name, whatever else the header holds. */
function hideToken(headers, cookie) {
  if (/^\s*bearer\b/i.test(headers.get("authorization") ?? "")) headers.delete("authorization");
  const cookies = headers.get("cookie");
  if (!cookie || cookies === null) return;
  const others = cookies.split(";").filter((pair) => pair.split("=", 1)[0].trim() !== cookie);
  if (others.length) headers.set("cookie", others.join(";").trim());
  else headers.delete("cookie");
}

/** What an issuer publishes; null where it is longer than `maxBytes`. Follows no redirect. Throws where it fails. */
export async function fetchKeys(url, maxBytes, timeoutMs) {
  const init = { headers: { accept: "application/json" }, redirect: "manual", signal: AbortSignal.timeout(timeoutMs) };
  const response = await fetch(url, init);
  if (response.status !== 200) throw new Error(`the issuer answered ${response.status}`);
  return text(response, maxBytes);
}

/** A page of the gate's own. */
export const page = (assets, url) => assets.fetch(url);

/** Asks the custom resolver: the tenant it names, null for nobody. Throws where it fails or takes too long. */
export async function resolveCustom(resolver, request, timeoutMs) {
  const asked = new Request(request.url, { headers: request.headers, signal: AbortSignal.timeout(timeoutMs) });
  const response = await resolver.fetch(asked);
  if (response.status === 204) return null;
  if (!response.ok) throw new Error(`the resolver answered ${response.status}`);
  const { tenant } = await response.json();
  if (tenant !== null && typeof tenant !== "string") throw new Error("the resolver's `tenant` is neither text nor null");
  return tenant;
}

/**
 * The ledgers behind a namespace. `jurisdictions`: `[[prefix, jurisdiction], …]` as JSON: ledgers whose name begins so are kept there.
 * A ledger's name never changes, and neither does where it is.
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

// Orders of this isolate to one ledger travel together: while a message is under way, what comes meanwhile waits for the next.
//
// Requests share data here, never Promises: where one request goes on because another one resolved something, the runtime
// sooner or later takes one of them for hung, or ends the ledger. Whoever waits looks again by a timer of its own.
const lines = new Map();
/** Lines that are kept; whoever waits in one that is forgotten sends for it. */
const MAX_LINES = 1_024;
const MAX_TOGETHER = 256;
/** Characters of orders that travel together, unless one alone has more. */
const MAX_TOGETHER_LENGTH = 2 << 20;
/** So many messages a request sends in a row, the others than its own for those who wait. */
const MAX_LED = 8;
/** After so long a message is given up: whoever sent it was cut off. */
const PATIENCE_MS = 5_000;

/**
 * Asks a tenant's ledger: its answer, or null where it has too much to do. Throws where it cannot be reached. `context`: of the
 * request, which sends on for others for a while.
 */
export async function order(ledgers, name, body, context) {
  let line = lines.get(name);
  if (!line) {
    if (lines.size >= MAX_LINES) lines.clear();
    lines.set(name, (line = { waiting: [], sentAt: 0, moves: false, tripMs: 1 }));
  }
  const own = { body, answer: undefined, error: null };
  line.waiting.push(own);
  if (!moves(line)) {
    await lead(ledgers, name, line);
    if (line.waiting.length) context.waitUntil(leadOn(ledgers, name, line));
  }
  const end = Date.now() + 2 * PATIENCE_MS;
  for (let looks = 0; own.answer === undefined && !own.error; looks++) {
    // The message under way comes back after a trip; one that is late is looked for at once, and then every millisecond.
    const due = line.sentAt + line.tripMs - Date.now();
    await sleep(Math.min(Math.max(due, looks < 4 ? 0 : 1), 100));
    if (!moves(line) && line.waiting.includes(own)) await lead(ledgers, name, line);
    else if (Date.now() > end) {
      // What is not sent yet must not be: nobody would hear of it.
      line.waiting = line.waiting.filter((one) => one !== own);
      throw new Error("the ledger did not answer in time");
    }
  }
  if (own.error) throw own.error;
  return own.answer;
}

const moves = (line) => line.moves && Date.now() - line.sentAt < PATIENCE_MS;

/** Sends what waits. */
async function lead(ledgers, name, line) {
  let length = 0;
  let count = 0;
  while (count < Math.min(line.waiting.length, MAX_TOGETHER) && (length += line.waiting[count].body.length) <= MAX_TOGETHER_LENGTH) count++;
  const group = line.waiting.splice(0, Math.max(count, 1));
  const sentAt = Date.now();
  [line.moves, line.sentAt] = [true, sentAt];
  try {
    const answers = await send(ledgers, name, group.map((one) => one.body));
    group.forEach((one, i) => { one.answer = i < answers.length ? answers[i] : ""; });
  } catch (error) {
    for (const one of group) one.error = error;
  }
  if (line.sentAt === sentAt) line.moves = false;
  line.tripMs += (Date.now() - sentAt - line.tripMs) / 4;
}

/** Sends on behind the request, so that those who wait need not first notice that they could. */
async function leadOn(ledgers, name, line) {
  for (let led = 1; led < MAX_LED && line.waiting.length && !moves(line); led++) await lead(ledgers, name, line);
}

/** Sends orders, one a line: their answers, null each where the ledger has too much to do. */
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

/** Some time. */
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A name that nobody else has. */
export const unique = () => crypto.randomUUID();
