// Which headers of a client an origin is given: all but those by which it may serve something else than the gate has judged.
//
// A list of forbidden names has holes: every framework has its own. So whatever speaks of a path, a method, a host or a scheme is left
// out, in any spelling, and the names that do so harmlessly are listed.

/** Servers that hand headers on as variables make one name of these: `X-A`, `x_a`, `X.A`. */
const NAME = /^[a-z0-9-]+$/;

/** What a part of a name says that may lead to another route, method, host or scheme; or whom a server takes the client for. */
const REROUTING = new RegExp(`^(?:${[
  ".*(?:url|uri|path|pathname|prefix)", ".*method", "override", "rewrite", "subrequest", "invoke", "middleware", "root", "script",
  "host", "port", "proxy(?:host|port)", ".*scheme", ".*proto", "protocol", "https?", "http2", "ssl", "forwarded", "remote", "cgi", "gateway", "wsgi", "asgi", "php",
].join("|")})$`);

/** Names that are variables of their own where headers become variables (RFC 3875 §4.1), or of programs that an origin starts. */
const VARIABLES = new Set([
  "auth-type", "path-info", "path-translated", "query-string", "request-method", "server-name", "server-software", "server-addr",
  "document-root", "proxy",
]);

/** Names that say such a thing of something else. */
const HARMLESS = new Set([
  "access-control-request-method", "dropbox-api-path-root", "git-protocol", "hx-current-url", "next-url", "paypal-cert-url", "sec-websocket-protocol",
  "x-forwarded-for", "x-goog-resource-uri", "x-goog-upload-protocol", "x-http-accept", "x-rapidapi-host",
]);

/** Of the connection to the gate, not of the request (RFC 9110 §7.6.1). What they name could be a header that the gate sets. */
const OF_CONNECTION = new Set(["connection", "keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer"]);

/** In `strict` mode, what is passed on beside the names that the catalog allows. */
const STANDARD = new RegExp(`^(?:${[
  "accept(?:-charset|-encoding|-language)?", "access-control-request-(?:headers|method)", "authorization", "baggage", "cache-control",
  "content-(?:digest|disposition|encoding|language|length|location|range|type)", "cookie", "date", "dnt", "expect", "from",
  "idempotency-key", "if-(?:match|modified-since|none-match|range|unmodified-since)", "last-event-id", "max-forwards", "origin", "pragma",
  "prefer", "priority", "range", "referer", "sec-[a-z0-9-]+", "traceparent", "tracestate", "transfer-encoding", "upgrade", "user-agent",
  "via", "x-csrf-token", "x-forwarded-for", "x-request-id", "x-requested-with", "x-xsrf-token", "cf-[a-z0-9-]+",
].join("|")})$`);

/** How many names are remembered: clients make up as many as they like. */
const MANY_NAMES = 1_000;

function passes(name, strict) {
  if (!NAME.test(name) || OF_CONNECTION.has(name) || VARIABLES.has(name)) return false;
  if (strict) return STANDARD.test(name);
  return HARMLESS.has(name) || !name.split("-").some((part) => REROUTING.test(part));
}

/** Filters by their texts: catalogs change seldom. */
const filters = new Map();

/**
 * Whether a header, in lower case, is passed on. `policy`: `safe` or `strict`, and the names that the catalog allows, each after a
 * comma.
 */
export function filter(policy) {
  const known = filters.get(policy);
  if (known) return known;
  if (filters.size >= 100) filters.clear();
  const [mode, ...allowed] = policy.split(",");
  const [may, seen] = [new Set(allowed), new Map()];
  const isPassed = (name) => {
    let passed = seen.get(name);
    if (passed === undefined) {
      if (seen.size >= MANY_NAMES) seen.clear();
      passed = may.has(name) || passes(name, mode === "strict");
      seen.set(name, passed);
    }
    return passed;
  };
  filters.set(policy, isPassed);
  return isPassed;
}
