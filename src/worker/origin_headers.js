// Which of a client's headers the origin receives: all except those that may make it serve another
// request than the one that the gate judged.
//
// A list of forbidden names would have gaps, since every framework adds its own. So a header is
// removed if any part of its name refers to a path, a method, a host or a scheme, in any spelling.
// Harmless names with such a part are listed as exceptions.

/**
 * Names without ambiguous punctuation. Servers that turn headers into variables map `X-A`, `x_a`
 * and `X.A` to one name.
 */
const NAME = /^[a-z0-9-]+$/;

/**
 * Parts of names that may select another route, method, host or scheme, or change which client a
 * server believes it talks to.
 */
const REROUTING = new RegExp(`^(?:${[
  ".*(?:url|uri|path|pathname|prefix)", ".*method", "override", "rewrite", "subrequest", "invoke", "middleware", "root", "script",
  "host", "port", "proxy(?:host|port)", ".*scheme", ".*proto", "protocol", "https?", "http2", "ssl", "forwarded", "remote", "cgi",
  "gateway", "wsgi", "asgi", "php",
].join("|")})$`);

/**
 * Names that collide with other variables when headers become variables: those of CGI (RFC 3875
 * §4.1), and those that programs started by an origin read.
 */
const VARIABLES = new Set([
  "auth-type", "path-info", "path-translated", "query-string", "request-method", "server-name", "server-software", "server-addr",
  "document-root", "proxy",
]);

/** Names with a rerouting part that do not concern the request itself. */
const HARMLESS = new Set([
  "access-control-request-method", "dropbox-api-path-root", "git-protocol", "hx-current-url", "next-url", "paypal-cert-url",
  "sec-websocket-protocol", "x-forwarded-for", "x-goog-resource-uri", "x-goog-upload-protocol", "x-http-accept", "x-rapidapi-host",
]);

/**
 * Headers of the connection to the gate, not of the request (RFC 9110 §7.6.1). `Connection` could
 * name a header that the gate sets, and have it removed.
 */
const OF_CONNECTION = new Set(["connection", "keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer"]);

/**
 * Names that the origin receives in `strict` mode, in addition to those that the catalog allows.
 */
const STANDARD = new RegExp(`^(?:${[
  "accept(?:-charset|-encoding|-language)?", "access-control-request-(?:headers|method)", "authorization", "baggage", "cache-control",
  "content-(?:digest|disposition|encoding|language|length|location|range|type)", "cookie", "date", "dnt", "expect", "from",
  "idempotency-key", "if-(?:match|modified-since|none-match|range|unmodified-since)", "last-event-id", "max-forwards", "origin", "pragma",
  "prefer", "priority", "range", "referer", "sec-[a-z0-9-]+", "traceparent", "tracestate", "transfer-encoding", "upgrade", "user-agent",
  "via", "x-csrf-token", "x-forwarded-for", "x-request-id", "x-requested-with", "x-xsrf-token", "cf-[a-z0-9-]+",
].join("|")})$`);

/** Maximum number of cached names for each filter, since clients can send any number of names. */
const MAX_NAMES = 1_000;

function passes(name, strict) {
  if (!NAME.test(name) || OF_CONNECTION.has(name) || VARIABLES.has(name)) return false;
  if (strict) return STANDARD.test(name);
  return HARMLESS.has(name) || !name.split("-").some((part) => REROUTING.test(part));
}

/**
 * Servers that turn headers into variables do not distinguish `-`, `_`, `.` and other punctuation.
 */
const plain = (name) => name.toLowerCase().replace(/[^a-z0-9]/g, "-");

/** Headers that the origin receives only from certain requests; `forward` decides. */
const CONDITIONAL = new Set(["upgrade", "content-length", "transfer-encoding"]);

/**
 * Returns a function that reports whether the origin receives a header of every request; it takes
 * the name in lower case. `policy`: `safe` or `strict`, followed by the names that the catalog
 * allows, each after a comma. `removed`: names of headers that the origin never receives.
 */
export function filter(policy, removed) {
  const [mode, ...allowed] = policy.split(",");
  const [may, hidden, seen] = [new Set(allowed), new Set(removed.map(plain)), new Map()];
  const judge = (name) => (may.has(name) || passes(name, mode === "strict"))
    && !name.startsWith("x-tenant-") && !hidden.has(name) && !CONDITIONAL.has(name);
  return (name) => {
    let passed = seen.get(name);
    if (passed === undefined) {
      if (seen.size >= MAX_NAMES) seen.clear();
      passed = judge(name);
      seen.set(name, passed);
    }
    return passed;
  };
}
