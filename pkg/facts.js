// What the gate looks at in a request, whichever way a runtime represents one: a `Request`, Node's `IncomingMessage`, or plain
// facts.

import { InputError } from "./errors.js";
import { header, textual } from "./input.js";

/**
 * The facts of a request; those with `headers` that are read by name, all the same.
 * @returns {{method: string, host: string, path: string, query: string, headers: Record<string, string | undefined>}}
 */
export function factsOf(request, names) {
  if (typeof request !== "object" || request === null || request instanceof URL) throw new InputError("a request is a `Request`, Node's, or its facts");
  if (typeof request.url !== "string") return request;
  if (typeof request.headers !== "object" || request.headers === null) throw new InputError("a request has headers");
  return typeof request.headers.get === "function" ? ofFetch(request, names) : ofNode(request);
}

/** Those headers of the facts that are read by name. */
export function headersOf(headers, names) {
  const read = [];
  for (const name of names) {
    const value = header(headers, name);
    if (value !== undefined) read.push([name, textual(value, "the value of a header")]);
  }
  // Whatever a header is called, it is only a member then.
  return Object.fromEntries(read);
}

function ofFetch({ method, url, headers }, names) {
  const parsed = URL.canParse(url) ? new URL(url) : null;
  if (parsed === null) throw new InputError("the URL of the request is none");
  const { host, pathname, search } = parsed;
  const read = Object.create(null);
  for (const name of names) read[name] = headers.get(name) ?? undefined;
  return { method, host, path: pathname, query: search.slice(1), headers: read };
}

// The path stays as it arrived: what has dot segments is refused, since the application behind routes by the same text. Express
// shortens `url` below a mount point, and keeps the whole in `originalUrl`.
function ofNode(request) {
  const { method = "GET", url, originalUrl, headers } = request;
  const target = typeof originalUrl === "string" ? originalUrl : url;
  // An absolute target names the host itself (RFC 9112 §3.2.2).
  const absolute = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)(.*)$/i.exec(target);
  const [named, rest] = absolute ? [absolute[1], absolute[2] || "/"] : [headers[":authority"] ?? headers.host ?? "", target];
  const host = forwarded(request) ?? named;
  const [locator] = rest.split("#", 1);
  const mark = locator.indexOf("?");
  const path = mark < 0 ? locator : locator.slice(0, mark);
  return { method, host, path: path === "*" ? "/" : path, query: mark < 0 ? "" : locator.slice(mark + 1), headers };
}

/**
 * The host that a proxy says it was asked for, where the framework trusts the proxy: its `hostname` is another one then than `Host`
 * says (`trust proxy` of Express). By itself the package trusts no proxy.
 */
function forwarded(request) {
  const { headers } = request;
  if (headers["x-forwarded-host"] === undefined || typeof request.hostname !== "string") return undefined;
  return request.hostname === withoutPort(headers.host ?? "") ? undefined : request.hostname;
}

/** As frameworks do it: what stands behind the first colon, for IPv6 behind the bracket, is the port. */
function withoutPort(host) {
  const colon = host.indexOf(":", host.startsWith("[") ? host.indexOf("]") + 1 : 0);
  return colon < 0 ? host : host.slice(0, colon);
}
