// The call to the origin: what it receives of the client's request, how long it may take, and what
// the client receives of its response.

import { aborted } from "./edge.js";

/**
 * What forwarding needs of the configuration and of the catalog.
 *
 * - `upstream`: the service binding, or undefined for `fetch`.
 * - `base`: scheme and authority of the origin's URL, or undefined for those of the request.
 * - `passes`: whether the origin receives a header; see `filter`.
 * - `cookie`: undefined if the origin may receive tokens; otherwise the name of the cookie that may
 *   hold a token, or an empty text.
 * - `vary`: the headers that a response depends on, or undefined if shared caches may not keep any.
 * - `addsPrefix`: whether the origin itself adds a removed prefix to its URLs.
 * - `failed`: makes the response to a request from the error and the CORS headers. The error is
 *   null if the origin timed out.
 */
export function origin(upstream, base, passes, cookie, vary, addsPrefix, failed) {
  return { upstream, passes, cookie, vary, addsPrefix, failed, host: base && new URL(base).host };
}

/** Methods whose requests have no body. */
const isBare = (method) => method === "GET" || method === "HEAD";

/** Headers that say how long a body is. */
const OF_BODY = new Set(["content-length", "transfer-encoding"]);

/**
 * Forwards a request to the origin and adds the gate's headers to the response. Removes everything
 * that the client said about its tenant, in any spelling that an origin may read.
 *
 * `text` has one line for each of: the URL, empty for the request's own; the prefix that was
 * removed from the path; the host and the scheme that the client asked for; the authority of the
 * request's URL; id, slug, plan and data route of the tenant; its assertion; the policy and the
 * state of rate limits. Each may be empty. Names and values of CORS headers follow in turn; an
 * empty value removes the header.
 *
 * `timeoutMs`: how long the origin may take for the head of its response. `flight`: a `flight` if
 * the end of the call matters. Without one, the response reports a failed call. With one, this
 * throws null if the origin timed out, and the error if the call failed otherwise.
 */
export async function forward(request, origin, text, timeoutMs, flight) {
  const lines = text.split("\n");
  try {
    return await exchange(request, origin, lines, timeoutMs, flight);
  } catch (error) {
    if (flight) throw error;
    return origin.failed(request, error, lines.slice(RATE_LIMIT_END).join("\n"));
  }
}

async function exchange(request, origin, lines, timeoutMs, flight) {
  const [ownUrl, prefix, host, scheme, authority, id, slug, plan, route, assertion, policy, state] = lines;
  const url = ownUrl || request.url;
  const { method } = request;
  const bare = isBare(method);
  const headers = new Headers(request.headers);
  for (const name of request.headers.keys()) {
    if (origin.passes(name) || (!bare && OF_BODY.has(name)) || (name === "upgrade" && opensWebSocket(request))) continue;
    headers.delete(name);
  }
  if (origin.cookie !== undefined) hideToken(headers, origin.cookie);
  headers.set("x-forwarded-host", host);
  headers.set("x-forwarded-proto", scheme);
  if (prefix) headers.set("x-forwarded-prefix", prefix);
  if (id) {
    headers.set("x-tenant-id", id);
    headers.set("x-tenant-slug", slug);
    if (plan) headers.set("x-tenant-plan", plan);
    if (route) headers.set("x-tenant-data-route", route);
    if (assertion) headers.set("x-tenant-assertion", assertion);
  }
  // The origin receives the host that the gate judged, not the text that the gate read it from.
  headers.set("host", origin.host ?? authority);
  const body = bare || !request.body ? null : flight?.watches ? watched(request, flight) : request.body;
  // `no-store`: tenants may request the same URL, and one must not receive another's response.
  const init = { method, headers, body, redirect: "manual", cache: "no-store" };
  const response = await (flight ? observed(origin, url, init, timeoutMs, flight) : timed(origin, url, init, timeoutMs));
  if (flight && aborted(request) && !response.webSocket) {
    // The client no longer reads the response, so the call ends here.
    await response.body?.cancel().catch(() => {});
    flight.done();
    return new Response(null, response);
  }
  // A WebSocket is returned unchanged, and its end cannot be observed here.
  const through = flight && response.body && !response.webSocket ? passage(response.headers) : null;
  if (through) response.body.pipeTo(through.writable).then(flight.done, flight.done);
  else flight?.done();
  if (response.webSocket) return response;
  const marked = new Response(through ? through.readable : response.body, response);
  const answer = marked.headers;
  for (let i = RATE_LIMIT_END; i + 1 < lines.length; i += 2) {
    if (lines[i] === "vary") answer.append("vary", lines[i + 1]);
    else if (lines[i + 1] === "") answer.delete(lines[i]);
    else answer.set(lines[i], lines[i + 1]);
  }
  if (policy) {
    answer.set("ratelimit-policy", policy);
    answer.set("ratelimit", state);
  }
  if (origin.vary === undefined) keepPrivate(answer);
  else if (origin.vary) answer.append("vary", origin.vary);
  restoreUrls(answer, url, request.url, host, origin.addsPrefix ? "" : prefix);
  return marked;
}

/** The line after those about rate limits. */
const RATE_LIMIT_END = 12;

const opensWebSocket = (request) => request.headers.get("upgrade").toLowerCase() === "websocket";

const send = ({ upstream }, url, init) => (upstream ?? globalThis).fetch(url, init);

/**
 * Calls the origin. Throws null after `timeoutMs`. The runtime cancels the call and the timer once
 * the request has been answered: clearing the timer would take longer than setting it.
 */
function timed(origin, url, init, timeoutMs) {
  return new Promise((resolve, reject) => {
    setTimeout(reject, timeoutMs, null);
    send(origin, url, init).then(resolve, reject);
  });
}

/**
 * Calls the origin, and records in `flight` how long it takes.
 *
 * INVARIANT (slots last as long as calls): when the client disconnects, the call and its slot
 * continue. Otherwise an origin that does not notice would have more concurrent calls than the
 * limit allows.
 */
async function observed(origin, url, init, timeoutMs, flight) {
  const late = new AbortController();
  const timers = [];
  // Time that the client takes to send its body does not count against the origin.
  const after = (ms, act) => {
    const check = () => {
      const left = flight.since + ms - Date.now();
      if (left > 0) timers.push(setTimeout(check, left));
      else act();
    };
    timers.push(setTimeout(check, ms));
  };
  after(timeoutMs, () => late.abort());
  if (flight.slowMs) after(flight.slowMs, () => { flight.isSlow = true; flight.late(); });
  try {
    const response = await send(origin, url, { ...init, signal: late.signal });
    flight.originMs = Date.now() - flight.since;
    return response;
  } catch (error) {
    flight.done();
    throw late.signal.aborted ? null : error;
  } finally {
    timers.forEach(clearTimeout);
  }
}

/**
 * Rewrites the URLs and paths in the origin's response headers to those that the client knows: the
 * origin sees neither the removed prefix nor the host that the client asked for. `prefix` is empty
 * if the origin adds it itself.
 */
function restoreUrls(headers, asked, known, host, prefix) {
  for (const name of ["location", "content-location"]) {
    const value = headers.get(name);
    if (value !== null) headers.set(name, clientUrl(value, new URL(asked), new URL(known), host, prefix));
  }
  if (!prefix) return;
  const cookies = headers.getSetCookie();
  if (!cookies.some((cookie) => PATH_OF_COOKIE.test(cookie))) return;
  headers.delete("set-cookie");
  for (const cookie of cookies) {
    // Browsers accept a `__Host-` cookie with the path `/` only.
    const isBound = /^\s*__host-/i.test(cookie);
    headers.append("set-cookie", isBound ? cookie : cookie.replace(PATH_OF_COOKIE, (_, start, path) => start + below(prefix, path)));
  }
}

const PATH_OF_COOKIE = /^([^;]*;(?:[^;]*;)*?\s*path\s*=\s*)(\/[^;]*)/i;

/** A path of the origin, with the prefix in front. */
const below = (prefix, path) => (path === "/" ? prefix : prefix + path);

/** A URL of the origin as the client knows it. URLs of other hosts stay unchanged. */
function clientUrl(value, asked, known, host, prefix) {
  // A path stays a path. A text that begins with two slashes names a host.
  if (/^\/(?![/\\])/.test(value)) return prefix ? below(prefix, value) : value;
  if (!/^(?:https?:)?\/\//i.test(value)) return value;
  let url;
  try {
    url = new URL(value, asked);
  } catch {
    return value;
  }
  const isOwn = url.host === asked.host || url.host === known.host || url.host === host;
  if (!isOwn) return value;
  const path = `${url.pathname}${url.search}${url.hash}`;
  // If the origin has the same host as the gate, it may still redirect to another scheme.
  const isInner = url.host === asked.host && asked.host !== known.host;
  return `${isInner ? `${known.protocol}//${host ?? known.host}` : url.origin}${prefix ? below(prefix, path) : path}`;
}

/** Keeps shared caches from storing a response; the client's own cache may still keep it. */
function keepPrivate(headers) {
  const directives = (headers.get("cache-control") ?? "").split(",").map((directive) => directive.trim()).filter(Boolean);
  const shared = /^(public|private|s-maxage|proxy-revalidate|stale-while-revalidate|stale-if-error)\b/i;
  headers.set("cache-control", ["private", ...directives.filter((directive) => !shared.test(directive))].join(", "));
  // Some vendors' caches obey headers of their own (RFC 9213).
  for (const name of [...headers.keys()]) if (/(^|-)(cdn-cache-control|surrogate-control|accel-expires)$/.test(name)) headers.delete(name);
}

/** The request's body, while `flight` records when the client last sent a part of it. */
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
  // An origin that stops reading the body gives the reason in its response.
  send().catch(() => {});
  return through.readable;
}

/** A transform stream whose end can be observed, and which keeps the known length of a body. */
function passage(headers) {
  const length = headers.get("content-length");
  return length === null || headers.has("content-encoding") ? new IdentityTransformStream() : new FixedLengthStream(Number(length));
}

/**
 * The state of a call to the origin.
 *
 * - `watches`: whether the call observes how the client sends its body.
 * - `slow` resolves once the origin has taken `slowMs` without a response; never if `slowMs` is 0.
 * - `ended` resolves when the call has ended; `forward` calls `done`.
 */
export function flight(watches, slowMs) {
  let done, late;
  const ended = new Promise((resolve) => { done = resolve; });
  const slow = new Promise((resolve) => { late = resolve; });
  return { ended, done, watches, slowMs, slow, late, isSlow: false, since: Date.now(), broken: false, originMs: 0 };
}

/**
 * Removes tokens: an `Authorization` header with the scheme `Bearer`, and the cookie of this name.
 * Other cookies stay.
 */
function hideToken(headers, cookie) {
  if (/^\s*bearer\b/i.test(headers.get("authorization") ?? "")) headers.delete("authorization");
  const cookies = headers.get("cookie");
  if (!cookie || cookies === null) return;
  const others = cookies.split(";").filter((pair) => pair.split("=", 1)[0].trim() !== cookie);
  if (others.length) headers.set("cookie", others.join(";").trim());
  else headers.delete("cookie");
}
