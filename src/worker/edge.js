// The Worker's boundary between JavaScript and WebAssembly: requests, responses and external
// services.
//
// Each crossing of the boundary costs time, so one crossing carries one text with everything.
// `edge.rs` binds these functions. Texts have the following formats, which both sides must keep:
//
// - Values that cannot contain a line break (methods, URLs, header names and values) go one a line.
//   `facts` writes the one-character text NUL, which no header value can be, for an absent header,
//   so an absent header differs from an empty one.
// - `respond`, `forward` and `serveLedger` take or return texts line by line: see there.
// - Everything else is JSON.
// - `transact` in `control.js` returns JSON, or `!` and the reason why the database refused.

/** Method, URL and the named headers, one a line; NUL stands for an absent header. */
export function facts(request, names) {
  const { headers } = request;
  let text = `${request.method}\n${request.url}`;
  for (const name of names) text += `\n${headers.get(name) ?? "\0"}`;
  return text;
}

/**
 * Makes a response of the gate's own. The first five lines of `text` are: content type,
 * `RateLimit-Policy`, `RateLimit`, `Retry-After`, and further headers as `name: value`, separated
 * by tabs. Each may be empty. The rest is the body.
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
  // Some statuses forbid a body, and an empty text is a body.
  const body = text.slice(start) || null;
  // An answer is for one caller at one moment, so no cache may keep it. The usual headers are
  // object literals of one shape, which the runtime reads several times faster than a list of
  // pairs.
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

/** Whether the client of a request has disconnected. */
export const aborted = (request) => request.signal?.aborted === true;

/**
 * The client's address. Only Cloudflare sets `cf`; without it, the client could have forged the
 * header.
 */
export const address = (request) => (request.cf ? request.headers.get("cf-connecting-ip") ?? undefined : undefined);

/**
 * Logs a failure of the gate. Returns its id: Cloudflare's own of the request, by which its logs find
 * it too, or else a new one. Leaves out the query, which may contain a credential.
 */
export function noteFailure(request, code, status, reason) {
  const id = request.headers.get("cf-ray") ?? crypto.randomUUID();
  const { host, pathname } = new URL(request.url);
  console.error(JSON.stringify({ event: "failed", request_id: id, status, code, reason, method: request.method, host, path: pathname.slice(0, 512) }));
  return id;
}

/** One header of a request, or undefined. */
export const header = (request, name) => request.headers.get(name) ?? undefined;

/**
 * Reads the body of a request or a response as text. Returns null if it is longer than `maxBytes`,
 * and undefined if reading takes longer than `timeoutMs`.
 *
 * INVARIANT (bytes, not claims): counts the bytes after decompression, whatever `Content-Length`
 * says.
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
    // The server has already enforced the declared length of a request, and nothing decompresses
    // it. Neither is true for a response.
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

/**
 * Reads the body of another service's response, at most `maxBytes`. Throws if it is longer or
 * compressed, or if reading takes longer than `timeoutMs`.
 */
export async function answered(response, maxBytes, timeoutMs) {
  // The request asked for an uncompressed body; a compressed one could expand to any size.
  if (response.headers.has("content-encoding")) {
    await response.body?.cancel().catch(() => {});
    throw new Error("the response is compressed");
  }
  const answer = await text(response, maxBytes, timeoutMs);
  if (typeof answer !== "string") throw new Error(answer === null ? "the response is too large" : "the response timed out");
  return answer;
}

/**
 * Fetches an issuer's key set. Follows no redirect. Throws if that fails, or if the key set is
 * longer than `maxBytes`.
 */
export async function fetchKeys(url, maxBytes, timeoutMs) {
  const headers = { accept: "application/json", "accept-encoding": "identity" };
  const response = await fetch(url, { headers, redirect: "manual", signal: AbortSignal.timeout(timeoutMs) });
  if (response.status !== 200) throw new Error(`the issuer answered ${response.status}`);
  return answered(response, maxBytes, timeoutMs);
}

// The operator types a token into the page, so only the script and the style of `www/index.html`
// may run, identified by their digests, and no site may embed the page in a frame.
const PAGE_POLICY = [
  "default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'",
  "script-src 'sha256-y8u0uHkMSrvLSHBP1DoG8UeBZ8R9c3cDvwMesjzJkmA='",
  "style-src 'sha256-dGx95C2TpnflCMU8Aq/qTeadxOpO8kK91BLB7QVKAsE='",
].join("; ");

/**
 * The pages of the book load scripts and styles of their own. Its highlighter sets styles inline.
 */
const BOOK_POLICY = [
  "default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'",
  "script-src 'self'", "style-src 'self' 'unsafe-inline'", "img-src 'self' data:", "font-src 'self'",
].join("; ");

/** Serves one of the gate's own pages. */
export async function page(assets, url) {
  const found = await assets.fetch(url);
  const response = new Response(found.body, found);
  const headers = {
    "content-security-policy": new URL(url).pathname.startsWith("/docs") ? BOOK_POLICY : PAGE_POLICY, "x-frame-options": "DENY", "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer", "cache-control": "no-store",
  };
  for (const [name, value] of Object.entries(headers)) response.headers.set(name, value);
  return response;
}

/** Maximum size of the custom resolver's response, which holds one name. */
const MAX_RESOLVED_BYTES = 4_096;

/**
 * Asks the custom resolver which tenant a request names. Returns null if it names none. Throws if
 * the resolver fails or times out. `reads`: the headers that the resolver receives, one a line;
 * undefined for all headers.
 */
export async function resolveCustom(resolver, request, reads, timeoutMs) {
  const names = reads?.split("\n").filter((name) => request.headers.has(name));
  const headers = names ? Object.fromEntries(names.map((name) => [name, request.headers.get(name)])) : request.headers;
  const asked = new Request(request.url, { headers, redirect: "manual", signal: AbortSignal.timeout(timeoutMs) });
  const response = await resolver.fetch(asked);
  if (response.status === 204) return null;
  if (!response.ok) throw new Error(`the resolver answered ${response.status}`);
  const { tenant } = JSON.parse(await answered(response, MAX_RESOLVED_BYTES, timeoutMs));
  if (tenant !== null && typeof tenant !== "string") throw new Error("the resolver's `tenant` must be a string or null");
  return tenant;
}

/** Resolves after `ms` milliseconds. */
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A unique name. */
export const unique = () => crypto.randomUUID();
