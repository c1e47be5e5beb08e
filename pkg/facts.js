// The facts of a request that the gate reads, from any representation: a `Request`, Node's
// `IncomingMessage`, or plain facts.

import { InputError } from "./errors.js";
import { header, textual } from "./input.js";

/**
 * Whether it is a `Request` of the runtime. The tag comes first: naming `Request` makes Node load its
 * HTTP client. Some runtimes have no `Request`, such as the pages of Jest, and some set no tag: there
 * `ofFetch` reads it.
 */
const isRequest = (one) => one[Symbol.toStringTag] === "Request" && typeof Request === "function" && one instanceof Request;

/**
 * The facts of a request. `names`: the headers to read from a `Request`; Node's headers and plain
 * facts are returned unchanged.
 * @returns {{method: string, host: string, path: string, query: string, headers: Record<string,
 *   string | undefined>}}
 */
export function factsOf(request, names) {
  if (typeof request !== "object" || request === null || request instanceof URL) {
    throw new InputError("a request must be a `Request`, a Node request, or an object with its facts");
  }
  if (isRequest(request)) return ofRequest(request, names);
  if (typeof request.url !== "string") return request;
  if (typeof request.headers !== "object" || request.headers === null) throw new InputError("a request must have headers");
  return typeof request.headers.get === "function" ? ofFetch(request, names) : ofNode(request);
}

/** The named headers, as an object without absent ones. */
export function headersOf(headers, names) {
  const read = [];
  for (const name of names) {
    const value = header(headers, name);
    if (value !== undefined) read.push([name, textual(value, "the value of a header")]);
  }
  // `fromEntries` makes own properties, even of a header that is named `__proto__`.
  return Object.fromEntries(read);
}

/**
 * The URL of a `Request` is normalized and has no credentials, so that its parts are slices of it.
 * Each property is read once: in Workers that calls the runtime.
 */
function ofRequest(request, names) {
  const { method, url, headers } = request;
  const start = url.indexOf("://") + 3;
  const slash = url.indexOf("/", start);
  if (start < 3 || slash < 0) return ofFetch({ method, url, headers }, names);
  const fragment = url.indexOf("#", slash);
  const end = fragment < 0 ? url.length : fragment;
  const mark = url.indexOf("?", slash);
  const query = mark < 0 || mark > end ? end : mark;
  const read = Object.create(null);
  for (let i = 0; i < names.length; i++) read[names[i]] = headers.get(names[i]) ?? undefined;
  return { method, host: url.slice(start, slash), path: url.slice(slash, query), query: url.slice(query + 1, end), headers: read };
}

function ofFetch({ method, url, headers }, names) {
  const parsed = URL.canParse(url) ? new URL(url) : null;
  if (parsed === null) throw new InputError("the URL of the request is invalid");
  const { host, pathname, search } = parsed;
  const read = Object.create(null);
  for (const name of names) read[name] = headers.get(name) ?? undefined;
  return { method, host, path: pathname, query: search.slice(1), headers: read };
}

// Does not normalize the path: the application routes by the same text, so the gate must see and
// refuse dot segments. Express shortens `url` below a mount point and keeps the original in
// `originalUrl`.
function ofNode(request) {
  const { method = "GET", url, originalUrl, headers } = request;
  const target = typeof originalUrl === "string" ? originalUrl : url;
  // An absolute target includes the host (RFC 9112 §3.2.2).
  const absolute = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)(.*)$/i.exec(target);
  const [named, rest] = absolute ? [absolute[1], absolute[2] || "/"] : [headers[":authority"] ?? headers.host ?? "", target];
  const host = forwarded(request) ?? named;
  const [locator] = rest.split("#", 1);
  const mark = locator.indexOf("?");
  const path = mark < 0 ? locator : locator.slice(0, mark);
  return { method, host, path: path === "*" ? "/" : path, query: mark < 0 ? "" : locator.slice(mark + 1), headers };
}

/**
 * The host that a trusted proxy was asked for. If the framework trusts the proxy (`trust proxy` of
 * Express), its `hostname` differs from `Host`. The package itself trusts no proxy.
 */
function forwarded(request) {
  const { headers } = request;
  if (headers["x-forwarded-host"] === undefined || typeof request.hostname !== "string") return undefined;
  return request.hostname === withoutPort(headers.host ?? "") ? undefined : request.hostname;
}

/**
 * Removes the port in the same way as frameworks do: everything from the first colon on, which for
 * IPv6 is the first one after the bracket.
 */
function withoutPort(host) {
  const colon = host.indexOf(":", host.startsWith("[") ? host.indexOf("]") + 1 : 0);
  return colon < 0 ? host : host.slice(0, colon);
}
