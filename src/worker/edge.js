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
 * further headers as `name: value` with tabs between, empty where there is none; what follows is the body.
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
  if (other) {
    for (const one of other.split("\t")) {
      const [name, value] = [one.slice(0, one.indexOf(":")), one.slice(one.indexOf(":") + 2)];
      headers[name] = headers[name] ? `${headers[name]}, ${value}` : value;
    }
  }
  return new Response(body, status === 200 ? { headers } : { status, headers });
}

/** Whether the client of a request has gone. */
export const aborted = (request) => request.signal?.aborted === true;

/** The address that a request comes from. Only Cloudflare sets `cf`; without it the header could be forged. */
export const address = (request) => (request.cf ? request.headers.get("cf-connecting-ip") ?? undefined : undefined);

/** A header of a request. */
export const header = (request, name) => request.headers.get(name) ?? undefined;

function pairs(lines) {
  const list = lines.split("\n");
  const result = [];
  for (let i = 0; i + 1 < list.length; i += 2) result.push([list[i], list[i + 1]]);
  return result;
}

/**
 * The body of a request or a response as text: null where it is longer than `maxBytes`, undefined where it takes longer than
 * `timeoutMs`. INVARIANT (bytes, not claims): bytes are counted as they are unpacked, whatever `Content-Length` says.
 */
export async function text(message, maxBytes, timeoutMs) {
  if (!message.body) return "";
  const declared = message.headers.get("content-length");
  if (Number(declared) > maxBytes) {
    await message.body.cancel().catch(() => {});
    return null;
  }
  let timer;
  const late = new Promise((resolve) => { timer = setTimeout(resolve, timeoutMs, { late: true }); });
  try {
    // A request has as many bytes as it says, for the server has counted them, and nobody unpacks it; a response has not.
    if (message instanceof Request && declared !== null) {
      const whole = await Promise.race([message.text(), late]);
      return whole.late ? undefined : whole;
    }
    return await counted(message.body.getReader(), maxBytes, late);
  } finally {
    clearTimeout(timer);
  }
}

async function counted(reader, maxBytes, late) {
  const decoder = new TextDecoder();
  let [result, length] = ["", 0];
  for (;;) {
    const read = await Promise.race([reader.read(), late]);
    if (read.done) return result + decoder.decode();
    length += read.late ? 0 : read.value.length;
    if (read.late || length > maxBytes) {
      reader.cancel().catch(() => {});
      return read.late ? undefined : null;
    }
    result += decoder.decode(read.value, { stream: true });
  }
}

/** What another service answers, as text of at most `maxBytes`. Throws where it is longer, packed, or takes too long. */
export async function answered(response, maxBytes, timeoutMs) {
  // It was asked for plain text: what comes packed may be of any size.
  if (response.headers.has("content-encoding")) {
    await response.body?.cancel().catch(() => {});
    throw new Error("the answer is packed");
  }
  const answer = await text(response, maxBytes, timeoutMs);
  if (typeof answer !== "string") throw new Error(answer === null ? "the answer is too large" : "no answer in time");
  return answer;
}

// Servers that hand headers on as variables make no difference between `-`, `_`, `.` and the like.
const plain = (name) => name.toLowerCase().replace(/[^a-z0-9]/g, "-");

/**
 * Hands the request to the upstream and marks the response. Of what the client said of its tenant nothing is left, in
 * whatever spelling an origin may read. `isPassed`: whether a header is passed on. `cookie`: where tokens are hidden,
 * the name of the cookie that may hold one, or empty. `isPrivate`: no shared cache may keep the answer. `prefix`: what was taken off the
 * path, or empty. `timeoutMs`: what the origin has for the head of its answer. `flight`: of `flight`, where it matters how the call ends.
 */
export async function forward(request, upstream, url, isPassed, removed, cookie, added, marks, isPrivate, prefix, timeoutMs, flight) {
  const headers = new Headers(request.headers);
  const hidden = removed.map(plain);
  const opens = request.headers.get("upgrade")?.toLowerCase() === "websocket";
  for (const name of [...headers.keys()]) {
    if (isPassed(name) && !name.startsWith("x-tenant-") && !hidden.includes(name) && (name !== "upgrade" || opens)) continue;
    headers.delete(name);
  }
  if (cookie !== undefined) hideToken(headers, cookie);
  for (const [name, value] of pairs(added)) headers.set(name, value);
  const bare = request.method === "GET" || request.method === "HEAD";
  if (bare) for (const name of ["content-length", "transfer-encoding"]) headers.delete(name);
  // Tenants may ask for the same URL: what answers one must not be kept for another.
  // The origin is told the host that was judged, not the text that it was read from.
  headers.set("host", new URL(url).host);
  const sent = bare || !request.body ? null : flight?.watches ? watched(request, flight) : request.body;
  const late = new AbortController();
  const init = { method: request.method, headers, body: sent, redirect: "manual", cache: "no-store", signal: late.signal };
  // INVARIANT (slots last as long as calls): the call goes on where the client leaves, and its slot with it. An origin that does
  // not notice would otherwise have more calls at once than the limit allows.
  const begun = Date.now();
  const timers = [];
  // While the client sends, the time is its own.
  const after = (ms, act) => {
    const check = () => {
      const left = (flight?.since ?? begun) + ms - Date.now();
      if (left > 0) timers.push(setTimeout(check, left));
      else act();
    };
    timers.push(setTimeout(check, ms));
  };
  after(timeoutMs, () => late.abort());
  if (flight?.slowMs) after(flight.slowMs, () => { flight.isSlow = true; flight.late(); });
  const response = await (upstream ?? globalThis).fetch(new Request(url, init)).catch((error) => {
    flight?.done();
    throw late.signal.aborted ? null : error;
  }).finally(() => timers.forEach(clearTimeout));
  if (flight) flight.originMs = Date.now() - flight.since;
  if (flight && aborted(request) && !response.webSocket) {
    // Nobody reads the answer any more: the call ends here.
    await response.body?.cancel().catch(() => {});
    flight.done();
    return new Response(null, response);
  }
  // A socket is handed on as it is: nobody here sees it close.
  const through = flight && response.body && !response.webSocket ? passage(response.headers) : null;
  if (through) response.body.pipeTo(through.writable).then(flight.done, flight.done);
  else flight?.done();
  if (response.webSocket) return response;
  const marked = new Response(through ? through.readable : response.body, response);
  for (const [name, value] of pairs(marks)) {
    if (name === "vary") marked.headers.append(name, value);
    else if (value === "") marked.headers.delete(name);
    else marked.headers.set(name, value);
  }
  if (isPrivate) keepPrivate(marked.headers);
  leadBack(marked.headers, url, request.url, headers.get("x-forwarded-host"), prefix);
  return marked;
}

/**
 * What the origin says of its own paths, as the client knows them: it does not see the prefix that was taken off, nor the host that the
 * client asked. `prefix` is empty where the origin adds it by itself.
 */
function leadBack(headers, asked, known, host, prefix) {
  for (const name of ["location", "content-location"]) {
    const said = headers.get(name);
    if (said !== null) headers.set(name, clientUrl(said, new URL(asked), new URL(known), host, prefix));
  }
  if (!prefix) return;
  const cookies = headers.getSetCookie();
  if (!cookies.some((cookie) => PATH_OF_COOKIE.test(cookie))) return;
  headers.delete("set-cookie");
  for (const cookie of cookies) {
    // Browsers take these for the root alone.
    const isBound = /^\s*__host-/i.test(cookie);
    headers.append("set-cookie", isBound ? cookie : cookie.replace(PATH_OF_COOKIE, (_, start, path) => start + below(prefix, path)));
  }
}

const PATH_OF_COOKIE = /^([^;]*;(?:[^;]*;)*?\s*path\s*=\s*)(\/[^;]*)/i;

/** A path of the origin's, behind the prefix. */
const below = (prefix, path) => (path === "/" ? prefix : prefix + path);

/** A URL of the origin's, as the client knows it. Others stay as they are. */
function clientUrl(said, asked, known, host, prefix) {
  // A path by itself stays one. What begins with two slashes names a host.
  if (/^\/(?![/\\])/.test(said)) return prefix ? below(prefix, said) : said;
  if (!/^(?:https?:)?\/\//i.test(said)) return said;
  let url;
  try {
    url = new URL(said, asked);
  } catch {
    return said;
  }
  const isOwn = url.host === asked.host || url.host === known.host || url.host === host;
  if (!isOwn) return said;
  const path = `${url.pathname}${url.search}${url.hash}`;
  // Where the origin has the gate's own name it may still want another scheme.
  const isInner = url.host === asked.host && asked.host !== known.host;
  return `${isInner ? `${known.protocol}//${host ?? known.host}` : url.origin}${prefix ? below(prefix, path) : path}`;
}

/** Forbids shared caches to keep an answer; the client's own cache is not affected. */
function keepPrivate(headers) {
  const directives = (headers.get("cache-control") ?? "").split(",").map((directive) => directive.trim()).filter(Boolean);
  const shared = /^(public|private|s-maxage|proxy-revalidate|stale-while-revalidate|stale-if-error)\b/i;
  headers.set("cache-control", ["private", ...directives.filter((directive) => !shared.test(directive))].join(", "));
  // Caches of single vendors are told by headers of their own (RFC 9213).
  for (const name of [...headers.keys()]) if (/(^|-)(cdn-cache-control|surrogate-control|accel-expires)$/.test(name)) headers.delete(name);
}

/** The body on its way to the origin: how long the client takes for it is not the origin's time. */
function watched(request, flight) {
  const length = request.headers.get("content-length");
  const through = length === null ? new IdentityTransformStream() : new FixedLengthStream(Number(length));
  const send = async () => {
    const [reader, writer] = [request.body.getReader(), through.writable.getWriter()];
    for (;;) {
      const read = await reader.read().catch((error) => {
        flight.broken = true;
        return { error };
      });
      flight.since = Date.now();
      if (read.error) return writer.abort(read.error);
      if (read.done) return writer.close();
      await writer.write(read.value);
    }
  };
  // An origin that takes no more of it says why in its answer.
  send().catch(() => {});
  return through.readable;
}

/** What a body passes through whose end is to be noticed; its length stays known. */
function passage(headers) {
  const length = headers.get("content-length");
  return length === null || headers.has("content-encoding") ? new IdentityTransformStream() : new FixedLengthStream(Number(length));
}

/**
 * A call to the origin: `done` is called when it has ended. `watches`: whether it matters what the client does meanwhile. `slow` is settled
 * once the origin has taken `slowMs` without an answer; 0: never.
 */
export function flight(watches, slowMs) {
  let done, late;
  const ended = new Promise((resolve) => { done = resolve; });
  const slow = new Promise((resolve) => { late = resolve; });
  return { ended, done, watches, slowMs, slow, late, isSlow: false, since: Date.now(), broken: false, originMs: 0 };
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

/** What an issuer publishes. Follows no redirect. Throws where it fails, or is longer than `maxBytes`. */
export async function fetchKeys(url, maxBytes, timeoutMs) {
  const headers = { accept: "application/json", "accept-encoding": "identity" };
  const response = await fetch(url, { headers, redirect: "manual", signal: AbortSignal.timeout(timeoutMs) });
  if (response.status !== 200) throw new Error(`the issuer answered ${response.status}`);
  return answered(response, maxBytes, timeoutMs);
}

// Only what stands in `www/index.html` runs and styles, by its digest, and nobody puts the page into a frame: it is given the
// operator's token.
const PAGE_POLICY = [
  "default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'",
  "script-src 'sha256-YRLxEUpNFrHi05pcuVQiNvaJUJHtixnaKxCuVWNZs94='",
  "style-src 'sha256-8NpRZyxERqNHX/14+iffK7iPlGD/gDzjwbO4OCNumOA='",
].join("; ");

/** A page of the gate's own. */
export async function page(assets, url) {
  const found = await assets.fetch(url);
  const response = new Response(found.body, found);
  const headers = {
    "content-security-policy": PAGE_POLICY, "x-frame-options": "DENY", "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer", "cache-control": "no-store",
  };
  for (const [name, value] of Object.entries(headers)) response.headers.set(name, value);
  return response;
}

/** Bytes of what the custom resolver answers: a name. */
const MAX_RESOLVED_BYTES = 4_096;

/**
 * Asks the custom resolver: the tenant it names, null for nobody. Throws where it fails or takes too long. `reads`: the headers
 * that it is given, one a line; all of them where that is not said.
 */
export async function resolveCustom(resolver, request, reads, timeoutMs) {
  const names = reads?.split("\n").filter((name) => request.headers.has(name));
  const headers = names ? Object.fromEntries(names.map((name) => [name, request.headers.get(name)])) : request.headers;
  const asked = new Request(request.url, { headers, redirect: "manual", signal: AbortSignal.timeout(timeoutMs) });
  const response = await resolver.fetch(asked);
  if (response.status === 204) return null;
  if (!response.ok) throw new Error(`the resolver answered ${response.status}`);
  const { tenant } = JSON.parse(await answered(response, MAX_RESOLVED_BYTES, timeoutMs));
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
//
// INVARIANT (overload is not absence): an order that finds no room, or is not sent in time, is answered with null and refused.
// Only an order whose own message failed throws, and has `on_error` decide.
const lines = new Map();
/** Lines that are kept while nothing happens in them. */
const MAX_LINES = 1_024;
const MAX_TOGETHER = 256;
/** Characters of orders that travel together, unless one alone has more. */
const MAX_TOGETHER_LENGTH = 2 << 20;
/** Messages to one ledger under way at the same time: a full one does not wait for the one before. */
const MAX_UNDER_WAY = 4;
/** Orders, and their characters, that wait in one line. */
const MAX_WAITING = MAX_UNDER_WAY * MAX_TOGETHER;
const MAX_WAITING_LENGTH = 2 * MAX_TOGETHER_LENGTH;
/** Characters that wait in all lines of the isolate. */
const MAX_ALL_LENGTH = 16 << 20;
/** Messages in a row that one request sends for others, beside its own. */
const MAX_LED = 8;
/** Milliseconds after which a message without an answer has failed. */
const MESSAGE_MS = 5_000;
/** A timer that is later than this means that the isolate is overloaded, not the ledger. */
const LATE_MS = 1_000;
/** Overdue answers are looked for in growing intervals, up to this many milliseconds. */
const LONGEST_PAUSE_MS = 50;
let allLength = 0;

/** The line to a ledger. */
function lineTo(name) {
  const known = lines.get(name);
  if (known) return known;
  if (lines.size >= MAX_LINES) {
    // Only idle lines are removed: waiting requests keep theirs.
    sweep();
    for (const [other, line] of lines) if (!maySend(line) && !line.waiting.length && !line.underWay.length) lines.delete(other);
  }
  const line = { waiting: [], length: 0, underWay: [], tripMs: 1 };
  lines.set(name, line);
  return line;
}

/**
 * Asks a tenant's ledger: its answer, or null where it, or the line to it, has too much to do. Throws where the message failed.
 * `context`: of the request, which sends on for others for a while. `lineMs`: how long the order may wait to be sent.
 */
export async function order(ledgers, name, body, context, lineMs = MESSAGE_MS) {
  const line = lineTo(name);
  if (allLength + body.length > MAX_ALL_LENGTH) sweep();
  const full = line.waiting.length >= MAX_WAITING || line.length + body.length > MAX_WAITING_LENGTH;
  if ((full && line.waiting.length) || allLength + body.length > MAX_ALL_LENGTH) return null;
  const end = Date.now() + lineMs;
  const own = { body, end, message: null, answer: undefined, error: null };
  line.waiting.push(own);
  add(line, body.length);
  let latest = 0;
  for (let looks = 0; own.answer === undefined && !own.error; looks++) {
    if (!own.message && maySend(line)) {
      const begun = Date.now();
      await atMost(MESSAGE_MS, lead(ledgers, name, line));
      latest = Math.max(latest, Date.now() - begun - MESSAGE_MS);
      if (maySend(line)) context.waitUntil(leadOn(ledgers, name, line));
      continue;
    }
    const now = Date.now();
    const { sentAt } = own.message ?? line.underWay[0];
    // A message has its whole time, whatever the line has cost: otherwise a flood would be taken for a failure.
    if (own.message ? now - sentAt >= MESSAGE_MS : now >= end) {
      if (!own.message) leave(line, own);
      // INVARIANT: where timers are late, the isolate has too much to do, and the answer may be there unread.
      if (!own.message || latest > LATE_MS) return null;
      throw new Error("the ledger did not answer in time");
    }
    const due = sentAt + line.tripMs;
    const overdue = Math.min(Math.max((now - due) / 4, looks < 4 ? 0 : 1), LONGEST_PAUSE_MS);
    const pause = Math.min(due > now ? due - now : overdue, own.message ? sentAt + MESSAGE_MS - now : end - now);
    await sleep(pause);
    latest = Math.max(latest, Date.now() - now - pause);
  }
  if (own.error) throw own.error;
  return own.answer;
}

function add(line, length) {
  line.length += length;
  allLength += length;
}

/** Removes orders whose requests were cut off while they waited. */
function sweep() {
  const now = Date.now();
  for (const line of lines.values()) for (const one of line.waiting.filter(({ end }) => end < now)) leave(line, one);
}

/** Takes an order out of the line, unsent: nobody would hear of its answer. */
function leave(line, own) {
  const place = line.waiting.indexOf(own);
  if (place < 0) return;
  line.waiting.splice(place, 1);
  add(line, -own.body.length);
  own.answer = null;
}

/** Whether a message may be sent: none is under way, or what waits fills another one. */
function maySend(line) {
  const now = Date.now();
  // Their requests may have been cut off.
  while (line.underWay.length && now - line.underWay[0].sentAt >= MESSAGE_MS) line.underWay.shift();
  if (!line.waiting.length) return false;
  const fills = line.waiting.length >= MAX_TOGETHER || line.length >= MAX_TOGETHER_LENGTH;
  return !line.underWay.length || (fills && line.underWay.length < MAX_UNDER_WAY);
}

/** Sends what waits, as much as one message takes. */
async function lead(ledgers, name, line) {
  let length = 0;
  let count = 0;
  while (count < Math.min(line.waiting.length, MAX_TOGETHER) && (length += line.waiting[count].body.length) <= MAX_TOGETHER_LENGTH) count++;
  const group = line.waiting.splice(0, Math.max(count, 1));
  const message = { sentAt: Date.now() };
  line.underWay.push(message);
  for (const one of group) {
    one.message = message;
    add(line, -one.body.length);
  }
  try {
    const answers = await send(ledgers, name, group.map((one) => one.body));
    group.forEach((one, i) => { one.answer = i < answers.length ? answers[i] : ""; });
  } catch (error) {
    for (const one of group) one.error = error;
  }
  line.underWay = line.underWay.filter((one) => one !== message);
  line.tripMs += (Date.now() - message.sentAt - line.tripMs) / 4;
}

/** Sends on behind the request, so that those who wait need not first notice that they could. */
async function leadOn(ledgers, name, line) {
  for (let led = 1; led < MAX_LED && maySend(line); led++) await lead(ledgers, name, line);
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

/** Waits for a promise, for at most `ms`. */
async function atMost(ms, promise) {
  let timer;
  const end = new Promise((resolve) => { timer = setTimeout(resolve, ms); });
  await Promise.race([promise, end]);
  clearTimeout(timer);
}

/** The text of a KV entry, at most `cacheTtl` seconds old; null if there is no entry. */
export const getEntry = async (kv, key, cacheTtl) => kv.get(key, { type: "text", cacheTtl });

/** Writes a KV entry that expires after `expirationTtl` seconds. */
export const putEntry = async (kv, key, text, expirationTtl) => kv.put(key, text, { expirationTtl });

/** Some time. */
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A name that nobody else has. */
export const unique = () => crypto.randomUUID();
