// The call to the origin: what it receives of the client's request, how long it may take, and what
// the client receives of its response.

import { aborted, pairs } from "./edge.js";

// Servers that turn headers into variables do not distinguish `-`, `_`, `.` and other punctuation.
const plain = (name) => name.toLowerCase().replace(/[^a-z0-9]/g, "-");

/**
 * Forwards a request to the origin and adds the gate's headers to the response. Removes everything
 * that the client said about its tenant, in any spelling that an origin may read.
 *
 * - `isPassed`: whether the origin receives a header.
 * - `removed`: names of further headers to remove.
 * - `cookie`: undefined if the origin may receive tokens; otherwise the name of the cookie that may
 *   hold a token, or an empty text.
 * - `added`, `marks`: headers of the request and of the response, as pairs.
 * - `isPrivate`: whether shared caches may not keep the response.
 * - `prefix`: the prefix that was removed from the path, or an empty text.
 * - `timeoutMs`: how long the origin may take for the head of its response.
 * - `flight`: a `flight` if the end of the call matters.
 *
 * Throws null if the origin timed out, and the error if the call failed otherwise.
 */
export async function forward(
  request, upstream, url, isPassed, removed, cookie, added, marks, isPrivate, prefix, timeoutMs, flight,
) {
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
  // The origin receives the host that the gate judged, not the text that the gate read it from.
  headers.set("host", new URL(url).host);
  const sent = bare || !request.body ? null : flight?.watches ? watched(request, flight) : request.body;
  const late = new AbortController();
  // `no-store`: tenants may request the same URL, and one must not receive another's response.
  const init = { method: request.method, headers, body: sent, redirect: "manual", cache: "no-store", signal: late.signal };
  // INVARIANT (slots last as long as calls): when the client disconnects, the call and its slot
  // continue. Otherwise an origin that does not notice would have more concurrent calls than the
  // limit allows.
  const begun = Date.now();
  const timers = [];
  // Time that the client takes to send its body does not count against the origin.
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
  for (const [name, value] of pairs(marks)) {
    if (name === "vary") marked.headers.append(name, value);
    else if (value === "") marked.headers.delete(name);
    else marked.headers.set(name, value);
  }
  if (isPrivate) keepPrivate(marked.headers);
  restoreUrls(marked.headers, url, request.url, headers.get("x-forwarded-host"), prefix);
  return marked;
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

/** Forbids shared caches to keep a response; the client's own cache may still keep it. */
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
