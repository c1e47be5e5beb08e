// Ways to be taken for another tenant, or to get more than the plan allows: what is sent, and the
// right outcomes.
//
// `acme` attacks, `victim` is attacked. Each entry names the attack, the request and the right
// outcomes: a status, or the tenant for which the request is served. With any other outcome, the
// attack got through. The same table runs against the Worker in the tests and, with
// `npm run attack -- --url …`, against any deployment.

import { createHmac, generateKeyPairSync, sign as signRaw } from "node:crypto";

const b64 = (value) => Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");
const read = (part) => JSON.parse(Buffer.from(part, "base64url").toString());
const bearer = (token) => ["Authorization", `Bearer ${token}`];
/** The name with its first letter escaped, which is the same name once it is decoded. */
const escaped = (name) => `%${name.charCodeAt(0).toString(16)}${name.slice(1)}`;
const flip = (text, at) => text.slice(0, at) + (text[at] === "A" ? "B" : "A") + text.slice(at + 1);

/** Changes the parts of a token and joins them again. */
const forged = (token, { header = {}, claims = {}, signature = (old) => old }) => {
  const [head, body, tail] = token.split(".");
  const [h, c] = [{ ...read(head), ...header }, { ...read(body), ...claims }];
  const signed = `${b64(h)}.${b64(c)}`;
  return `${signed}.${signature(tail, signed)}`;
};
// The attacker's own key. Its signatures are valid, but it belongs to no issuer.
const own = generateKeyPairSync("ec", { namedCurve: "P-256" });
const byOwnKey = (_, signed) => signRaw("sha256", Buffer.from(signed), { key: own.privateKey, dsaEncoding: "ieee-p1363" }).toString("base64url");
const asVictim = (t) => ({ [t.claim]: t.victim.id });

/**
 * The attacks. `from`: the number in the original list, absent for attacks that were found later.
 * `needs`: what the target must offer, or else the attack is skipped. `request`: what is sent to
 * the target `t`. `right`: the right outcomes.
 */
export const attacks = [];

function group(about, entries, alike = []) {
  for (const entry of entries) attacks.push({ about, ...entry, needs: [...alike, ...(entry.needs ?? [])] });
}

const at = (host, more = {}) => (t) => ({ host: typeof host === "function" ? host(t) : host, ...more });
const sub = (slug) => (t) => `${slug}.${t.base}`;
const token = { needs: ["token"] };
const key = { needs: ["key"] };
// A token or an API key, whichever the attacker has.
const credential = { needs: ["credential"] };
const withCredential = (request) => (t) => {
  const sent = request(t);
  return { host: t.central, ...sent, headers: [t.acme.token ? bearer(t.acme.token) : ["X-API-Key", t.acme.key], ...(sent.headers ?? [])] };
};

group("host", [
  ...["X-Forwarded-Host", "X-Forwarded-Server", "X-Host", "X-Original-Host", "X-HTTP-Host-Override", "Forwarded", "X-Real-Host"].map((name, i) => ({
    from: i ? undefined : 1, name: `the header ${name} with victim's host`, ...token, right: ["acme"],
    request: withCredential((t) => ({ host: `${t.acme.slug}.${t.base}`, headers: [[name, name === "Forwarded" ? `host=${t.victim.slug}.${t.base}` : `${t.victim.slug}.${t.base}`]] })),
  })),
  { name: "X-Forwarded-Host with a guessed proxy secret", ...credential, right: ["acme"], request: withCredential((t) => ({ host: `${t.acme.slug}.${t.base}`, headers: [["X-Forwarded-Host", `${t.victim.slug}.${t.base}`], ["X-Gate-Proxy-Secret", "secret"]] })) },
  { from: 2, name: "a host that ends with the base domain without a dot", ...credential, right: ["404"], request: withCredential((t) => ({ host: `evil${t.base}` })) },
  { from: 2, name: "victim's label joined to the base domain without a dot", ...credential, right: ["404"], request: withCredential((t) => ({ host: `${t.victim.slug}${t.base}` })) },
  { from: 2, name: "the base domain inside another domain", ...credential, right: ["404"], request: withCredential((t) => ({ host: `${t.victim.slug}.${t.base}.evil.net` })) },
  { from: 2, name: "victim's label under another domain", ...credential, right: ["404"], request: withCredential((t) => ({ host: `${t.victim.slug}.attacker.com` })) },
  { name: "victim's label below acme's host", ...credential, right: ["404"], request: withCredential((t) => ({ host: `${t.victim.slug}.${t.acme.slug}.${t.base}` })) },
  { name: "acme's label below victim's host", ...credential, right: ["404"], request: withCredential((t) => ({ host: `${t.acme.slug}.${t.victim.slug}.${t.base}` })) },
  { from: 3, name: "victim's host in upper case", ...credential, right: ["403"], request: withCredential((t) => ({ host: `${t.victim.slug}.${t.base}`.toUpperCase() })) },
  { from: 3, name: "victim's host with a trailing dot", ...credential, right: ["403"], request: withCredential((t) => ({ host: `${t.victim.slug}.${t.base}.` })) },
  { from: 3, name: "victim's host with a port", ...credential, right: ["403"], request: withCredential((t) => ({ host: `${t.victim.slug}.${t.base}:8443` })) },
  { from: 3, name: "acme's host in upper case with a trailing dot and a port", ...credential, right: ["acme"], request: withCredential((t) => ({ host: `${t.acme.slug}.${t.base}.:8443`.toUpperCase() })) },
  { name: "victim's host with two trailing dots", ...credential, right: ["400", "404"], request: withCredential((t) => ({ host: `${t.victim.slug}.${t.base}..` })) },
  { name: "victim's host with an escaped letter", ...credential, right: ["400", "403", "404"], request: withCredential((t) => ({ host: `${escaped(t.victim.slug)}.${t.base}` })) },
  { name: "acme's host as user information of victim's host", ...credential, right: ["400", "403", "404"], request: withCredential((t) => ({ host: `${t.acme.slug}.${t.base}@${t.victim.slug}.${t.base}` })) },
  { name: "victim's label with a look-alike letter", ...credential, right: ["404"], request: withCredential((t) => ({ host: `xn--${t.victim.slug}-8g3.${t.base}` })) },
  // 500 is the response of workerd itself, before it calls a Worker.
  { name: "two Host headers", ...credential, right: ["400", "0", "403", "404", "500"], request: withCredential((t) => ({ host: `${t.acme.slug}.${t.base}`, headers: [["Host", `${t.victim.slug}.${t.base}`]] })) },
  { name: "victim's host in the request line", ...credential, right: ["400", "403", "acme"], request: withCredential((t) => ({ host: `${t.acme.slug}.${t.base}`, target: `http://${t.victim.slug}.${t.base}${t.path}` })) },
  { from: 4, name: "victim's URL in the query", ...credential, right: ["acme"], request: withCredential((t) => ({ host: `${t.acme.slug}.${t.base}`, target: `${t.path}?n=http://${t.victim.slug}.${t.base}&u=//${t.victim.slug}.localhost` })) },
  ...["www", "api", "admin", "_dmarc"].map((label) => ({ from: 5, name: `the reserved label ${label} with victim in the header`, ...credential, right: ["403", "404"], request: withCredential((t) => ({ host: `${label}.${t.base}`, headers: [[t.header, t.victim.slug]] })) })),
  { from: 5, name: "a reserved label without a credential", right: ["401", "404"], request: at(sub("admin")) },
  // The outcome is acme if the host is a central host, because the credential is acme's.
  ...["127.0.0.1", "[::1]", "0x7f.1", "2130706433", "10.0.0.7:80", ""].map((host) => ({ from: 7, name: `the host ${JSON.stringify(host)}`, ...credential, right: ["400", "404", "0", "acme"], request: withCredential(() => ({ host })) })),
]);

group("method", [
  // An origin that answers these echoes what the gate has added, such as its assertion.
  ...["TRACE", "TRACK"].map((method) => ({ name: `${method}, which an origin may answer with an echo`, ...credential, right: ["405", "0", "501", "400"], request: withCredential((t) => ({ method, target: t.path })) })),
]);

group("path", [
  { from: 8, name: "victim in the path", ...credential, right: ["403"], request: withCredential((t) => ({ target: `${t.prefix}${t.victim.slug}${t.path}` })) },
  { from: 9, name: "acme and victim with an escaped slash between them", ...credential, right: ["400"], request: withCredential((t) => ({ target: `${t.prefix}${t.acme.slug}%2F${t.victim.slug}` })) },
  { from: 9, name: "an empty segment before victim", ...credential, right: ["400"], request: withCredential((t) => ({ target: `${t.prefix}/${t.victim.slug}` })) },
  { from: 9, name: "victim as a path parameter of acme's segment", ...credential, right: ["400"], request: withCredential((t) => ({ target: `${t.prefix}${t.acme.slug};v=${t.victim.slug}` })) },
  { from: 9, name: "escaped dot segments before victim's prefix", ...credential, right: ["400", "403"], request: withCredential((t) => ({ target: `${t.prefix}%2e%2e${t.prefix}${t.victim.slug}` })) },
  { name: "dot segments from acme to victim", ...credential, right: ["400", "403"], request: withCredential((t) => ({ target: `${t.prefix}${t.acme.slug}/../..${t.prefix}${t.victim.slug}${t.path}` })) },
  { name: "dot segments from acme to victim, escaped twice", ...credential, right: ["400", "403", "acme"], request: withCredential((t) => ({ target: `${t.prefix}${t.acme.slug}/%252e%252e/${t.victim.slug}` })) },
  { name: "dot segments from acme to victim with backslashes", ...credential, right: ["400", "403"], request: withCredential((t) => ({ target: `${t.prefix}${t.acme.slug}/..\\..${t.prefix.replaceAll("/", "\\")}${t.victim.slug}` })) },
  { name: "dot segments from acme to victim with escaped backslashes", ...credential, right: ["400", "403"], request: withCredential((t) => ({ target: `${t.prefix}${t.acme.slug}/..%5c..${t.prefix.replaceAll("/", "%5c")}${t.victim.slug}` })) },
  { name: "dot segments from acme to victim with path parameters", ...credential, right: ["400", "403"], request: withCredential((t) => ({ target: `${t.prefix}${t.acme.slug}/..;/..;${t.prefix}${t.victim.slug}` })) },
  { name: "acme and victim with a slash in overlong UTF-8 between them", ...credential, right: ["400", "404"], request: withCredential((t) => ({ target: `${t.prefix}${t.acme.slug}%c0%af${t.victim.slug}` })) },
  { name: "a NUL after victim", ...credential, right: ["400"], request: withCredential((t) => ({ target: `${t.prefix}${t.victim.slug}%00` })) },
  { name: "a line feed between acme and victim", ...credential, right: ["400"], request: withCredential((t) => ({ target: `${t.prefix}${t.acme.slug}%0a${t.victim.slug}` })) },
  { name: "victim with an escaped letter", ...credential, right: ["403"], request: withCredential((t) => ({ target: `${t.prefix}${escaped(t.victim.slug)}` })) },
  { name: "victim in upper case", ...credential, right: ["400", "403", "404"], request: withCredential((t) => ({ target: `${t.prefix}${t.victim.slug.toUpperCase()}` })) },
], ["prefix"]);

const header = (...values) => (t) => ({ headers: values.map((value) => [t.header, value(t)]) });
const victim = (t) => t.victim.slug;
const acme = (t) => t.acme.slug;
group("header", [
  { from: 10, name: "victim in the header with acme's key", ...key, right: ["403"], request: (t) => ({ host: t.central, headers: [["X-API-Key", t.acme.key], [t.header, t.victim.slug]] }) },
  { name: "victim in the header with acme's credential", ...credential, right: ["403"], request: withCredential(header(victim)) },
  { name: "the tenant header twice", ...credential, right: ["400", "403"], request: withCredential(header(acme, victim)) },
  { name: "acme and victim in one header with a comma between them", ...credential, right: ["400"], request: withCredential(header((t) => `${t.acme.slug}, ${t.victim.slug}`)) },
  { name: "the tenant header twice, once in lower case", ...credential, right: ["400", "403"], request: withCredential((t) => ({ headers: [[t.header, t.acme.slug], [t.header.toLowerCase(), t.victim.slug]] })) },
  { name: "victim in the header without a credential", right: ["401"], request: (t) => ({ host: t.central, ...header(victim)(t) }) },
  { name: "an empty tenant header", ...credential, right: ["400", "404"], request: withCredential(header(() => "")) },
  { name: "acme and victim in one header with a tab between them", ...credential, right: ["400"], request: withCredential(header((t) => `${t.acme.slug}\t${t.victim.slug}`)) },
  { name: "victim in Origin and Referer", ...credential, right: ["acme"], request: withCredential((t) => ({ headers: [["Origin", `https://${t.victim.slug}.${t.base}`], ["Referer", `https://${t.victim.slug}.${t.base}/`]] })) },
  { name: "victim in X-Tenant-Slug, X-Tenant-Plan and X-Tenant-Assertion", ...credential, right: ["acme"], request: withCredential((t) => ({ headers: [["X-Tenant-Slug", t.victim.slug], ["X-Tenant-Plan", "enterprise@1"], ["X-Tenant-Assertion", "e30.e30.AA"]] })) },
  { name: "victim in the body", ...credential, right: ["acme"], request: withCredential((t) => ({ method: "POST", headers: [["Content-Type", "application/json"]], body: JSON.stringify({ tenant: t.victim.slug, tenant_id: t.victim.id }) })) },
  ...["__proto__", "constructor", "../../", "a".repeat(10_000)].map((value) => ({ from: 12, name: `the tenant header ${value.slice(0, 20)}`, ...credential, right: ["400", "0"], request: withCredential(header(() => value)) })),
  { from: 13, name: "an unknown host with acme's header", ...credential, right: ["404"], request: withCredential((t) => ({ host: `no-such-tenant.${t.base}`, ...header(acme)(t) })) },
  { from: 13, name: "a foreign host with acme's header", ...credential, right: ["404"], request: withCredential((t) => ({ host: "unknown.example.net", ...header(acme)(t) })) },
], ["header"]);

const query = (text) => withCredential((t) => ({ target: `${t.path}?${text(t)}` }));
group("query", [
  { from: 11, name: "victim in the query, acme in the header", ...credential, right: ["400", "403"], request: withCredential((t) => ({ target: `${t.path}?${t.query}=${t.victim.slug}`, ...header(acme)(t) })) },
  { name: "victim in the query with acme's credential", ...credential, right: ["403"], request: query((t) => `${t.query}=${t.victim.slug}`) },
  { name: "the tenant parameter twice", ...credential, right: ["400"], request: query((t) => `${t.query}=${t.acme.slug}&${t.query}=${t.victim.slug}`) },
  { name: "victim in the query with the parameter's name escaped", ...credential, right: ["403"], request: query((t) => `${escaped(t.query)}=${t.victim.slug}`) },
  { name: "the tenant parameter twice, once with its name escaped", ...credential, right: ["400"], request: query((t) => `${t.query}=${t.acme.slug}&${escaped(t.query)}=${t.victim.slug}`) },
  ...["[]", "%5B%5D", "[x]", "[__proto__]"].map((index) => ({ from: 12, name: `tenant${index}=victim`, ...credential, right: ["400"], request: query((t) => `${t.query}${index}=${t.victim.slug}`) })),
  ...["__proto__", "constructor", "..%2F..%2F", "%00", "a".repeat(10_000)].map((value) => ({ from: 12, name: `tenant=${value.slice(0, 20)}`, ...credential, right: ["400", "0", "414", "431"], request: query((t) => `${t.query}=${value}`) })),
  { name: "the token in the query", ...token, right: ["401"], request: (t) => ({ host: t.central, target: `${t.path}?access_token=${t.acme.token}` }) },
  { name: "the API key in the query", ...key, right: ["401"], request: (t) => ({ host: t.central, target: `${t.path}?api_key=${t.acme.key}&x-api-key=${t.acme.key}` }) },
], ["query"]);

// Spellings that some origins take for the plain path.
const SPELLINGS = [
  (p) => `${p}.json`, (p) => `${p}.`, (p) => `${p}%20`, (p) => `${p}%00`, (p) => `${p}%00.html`, (p) => `${p}%0a`, (p) => `${p}%3Fx`, (p) => `${p}%23x`, (p) => `${p};v=1`,
  (p) => `${p}%252f`, (p) => `/%25${escaped(p.slice(1)).slice(1)}`, (p) => p.toUpperCase(), (p) => `/x/..%2f${p.slice(1)}`, (p) => `/x/%252e%252e${p}`, (p) => `/x/..%20${p}`,
];
group("route", [
  { name: "a route whose scope the credential lacks", needs: ["credential", "scoped"], right: ["403"], request: withCredential((t) => ({ target: t.scoped })) },
  ...SPELLINGS.map((spell) => ({ name: `a route whose scope the credential lacks, spelled like ${spell("/path")}`, needs: ["credential", "scoped"], right: ["400", "403", "404"], request: withCredential((t) => ({ target: spell(t.scoped) })) })),
  ...["%252e%252e", "..%00", "..%20", "%ef%bc%8e%ef%bc%8e", "..%5c", "%u002e%u002e"].map((up) => ({ name: `a way out of a public path by ${up}`, needs: ["public"], right: ["400", "401", "403", "404"], request: (t) => ({ host: sub(t.victim.slug)(t), target: `${t.public}/${up}${t.path}` }) })),
  { name: "a way out of a public path by an escaped slash", needs: ["public"], right: ["400", "401", "403", "404"], request: (t) => ({ host: sub(t.victim.slug)(t), target: `${t.public}/..%2f${t.path.slice(1)}` }) },
  { name: "a way out of a public path by a path parameter", needs: ["public"], right: ["400", "401", "403", "404"], request: (t) => ({ host: sub(t.victim.slug)(t), target: `${t.public};/..${t.path}` }) },
  ...["OPTIONS", "HEAD", "PUT", "DELETE", "PATCH", "PROPFIND"].map((method) => ({ from: 14, name: `${method} without a credential`, right: ["401", "501", "400", "405"], request: (t) => ({ method, host: sub(t.victim.slug)(t), target: t.path }) })),
  ...["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"].map((name) => ({ from: 14, name: `${name} without a credential`, right: ["401"], request: (t) => ({ method: "POST", host: sub(t.victim.slug)(t), target: t.path, headers: [[name, "OPTIONS"]] }) })),
  { from: 14, name: "an upgrade without a credential", right: ["401"], request: (t) => ({ host: sub(t.victim.slug)(t), target: t.path, headers: [["Upgrade", "websocket"], ["Sec-WebSocket-Version", "13"], ["Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="]] }) },
  { from: 14, name: "/.well-known without a credential", needs: ["own"], right: ["401"], request: (t) => ({ host: sub(t.victim.slug)(t), target: "/.well-known/anything" }) },
  { name: "X-Original-URL and X-Rewrite-URL into a public path", right: ["401"], needs: ["public"], request: (t) => ({ host: sub(t.victim.slug)(t), target: t.path, headers: [["X-Original-URL", t.public], ["X-Rewrite-URL", t.public]] }) },
  { name: "the decision API without the operator's token", right: ["401"], request: (t) => ({ method: "POST", host: t.central, target: "/_gate/v1/decide", body: JSON.stringify({ tenant: t.victim.id }) }) },
  { name: "the decision API with a tenant's token", ...token, right: ["401"], request: (t) => ({ method: "POST", host: t.central, target: "/_gate/v1/decide", headers: [bearer(t.acme.token)], body: JSON.stringify({ tenant: t.victim.id }) }) },
  { from: 15, name: "a response that a shared cache could store for victim", ...credential, right: ["acme"], request: withCredential((t) => ({ host: `${t.acme.slug}.${t.base}` })), keeps: false },
]);

const shown = (make) => (t) => ({ host: t.central, target: t.path, headers: [bearer(make(t))] });
group("token", [
  ...["none", "None", "NONE", "nOnE", ""].map((alg) => ({ from: 16, name: `alg ${JSON.stringify(alg)}, victim in the claims`, ...token, right: ["401"], request: shown((t) => forged(t.acme.token, { header: { alg }, claims: asVictim(t) })) })),
  { from: 16, name: "alg none without a signature", ...token, right: ["401"], request: shown((t) => forged(t.acme.token, { header: { alg: "none" }, claims: asVictim(t), signature: () => "" })) },
  { from: 16, name: "victim in the claims without a signature", ...token, right: ["401"], request: shown((t) => forged(t.acme.token, { claims: asVictim(t), signature: () => "" })) },
  { from: 16, name: "the published key as an HMAC secret", needs: ["token", "jwk"], right: ["401"], request: shown((t) => forged(t.acme.token, { header: { alg: "HS256" }, claims: asVictim(t), signature: (_, signed) => createHmac("sha256", JSON.stringify(t.jwk)).update(signed).digest("base64url") })) },
  { from: 16, name: "an empty HMAC secret", ...token, right: ["401"], request: shown((t) => forged(t.acme.token, { header: { alg: "HS256" }, claims: asVictim(t), signature: (_, signed) => createHmac("sha256", "").update(signed).digest("base64url") })) },
  { name: "victim in the claims with the original signature", ...token, right: ["401"], request: shown((t) => forged(t.acme.token, { claims: asVictim(t) })) },
  { name: "a later expiry with the original signature", ...token, right: ["401"], request: shown((t) => forged(t.acme.token, { claims: { exp: 4_102_444_800 } })) },
  { name: "more scopes with the original signature", ...token, right: ["401"], request: shown((t) => forged(t.acme.token, { claims: { scope: "admin" } })) },
  { from: 17, name: "the attacker's key in the header", ...token, right: ["401"], request: shown((t) => forged(t.acme.token, { header: { alg: "ES256", jwk: own.publicKey.export({ format: "jwk" }) }, claims: asVictim(t), signature: byOwnKey })) },
  { from: 17, name: "the attacker's keys behind jku", ...token, right: ["401"], request: shown((t) => forged(t.acme.token, { header: { alg: "ES256", jku: "https://attacker.example/keys" }, claims: asVictim(t), signature: byOwnKey })) },
  { from: 17, name: "the attacker's certificate behind x5u", ...token, right: ["401"], request: shown((t) => forged(t.acme.token, { header: { alg: "ES256", x5u: "https://attacker.example/cert", x5c: ["MIIB"] }, claims: asVictim(t), signature: byOwnKey })) },
  { name: "a signature by the attacker's key", ...token, right: ["401"], request: shown((t) => forged(t.acme.token, { header: { alg: "ES256" }, claims: asVictim(t), signature: byOwnKey })) },
  ...["../../../../dev/null", "' UNION SELECT 'secret' --", "|whoami", "", "k".repeat(10_000)].map((kid) => ({ from: 18, name: `kid ${JSON.stringify(kid.slice(0, 24))}`, ...token, right: ["401", "400", "431", "0"], request: shown((t) => forged(t.acme.token, { header: { kid }, claims: asVictim(t) })) })),
  ...[["a"], 1, null, { a: 1 }].map((kid) => ({ from: 18, name: `kid ${JSON.stringify(kid)}`, ...token, right: ["401"], request: shown((t) => forged(t.acme.token, { header: { kid } })) })),
  { name: "a critical header parameter (b64)", ...token, right: ["401"], request: shown((t) => forged(t.acme.token, { header: { crit: ["b64"], b64: false } })) },
  { name: "a token in five parts", ...token, right: ["401"], request: shown((t) => `${t.acme.token}.AAAA.AAAA`) },
  { name: "padding after the signature", ...token, right: ["401"], request: shown((t) => `${t.acme.token}=`) },
  { name: "a changed character of the signature", ...token, right: ["401"], request: shown((t) => flip(t.acme.token, t.acme.token.length - 20)) },
  { name: "the claims twice in one part", ...token, right: ["401"], request: shown((t) => { const [h, c, s] = t.acme.token.split("."); return `${h}.${c}${c}.${s}`; }) },
  { name: "two Authorization headers", ...token, right: ["400"], request: (t) => ({ host: t.central, target: t.path, headers: [bearer(t.acme.token), bearer(forged(t.acme.token, { claims: asVictim(t) }))] }) },
  { name: "a valid token and another scheme in one header", ...token, right: ["400", "401"], request: (t) => ({ host: t.central, target: t.path, headers: [["Authorization", `Bearer ${t.acme.token}, Basic YTpi`]] }) },
  { name: "the token as a Basic password", ...token, right: ["401"], request: (t) => ({ host: t.central, target: t.path, headers: [["Authorization", `Basic ${Buffer.from(`x:${t.acme.token}`).toString("base64")}`]] }) },
  { name: "the token in headers that are not configured", ...token, right: ["401"], request: (t) => ({ host: t.central, target: t.path, headers: [["X-Authorization", `Bearer ${t.acme.token}`], ["Proxy-Authorization", `Bearer ${t.acme.token}`], ["X-Access-Token", t.acme.token]] }) },
  { name: "acme's token on victim's host", ...token, right: ["403"], request: (t) => ({ host: sub(t.victim.slug)(t), target: t.path, headers: [bearer(t.acme.token)] }) },
  { name: "acme's token with an upgrade on victim's host", ...token, right: ["403"], request: (t) => ({ host: sub(t.victim.slug)(t), target: t.path, headers: [bearer(t.acme.token), ["Upgrade", "websocket"], ["Sec-WebSocket-Version", "13"], ["Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="]] }) },
  { name: "a request without a credential", right: ["401"], request: (t) => ({ host: sub(t.victim.slug)(t), target: t.path }) },
]);

const signed = { needs: ["issuer"] };
const minted = (make) => async (t) => ({ host: t.central, target: t.path, headers: [bearer(await make(t))] });
group("issuer token", [
  { from: 19, name: "victim in a token of acme's own issuer", ...signed, right: ["401"], request: minted((t) => t.acme.issuer.sign(t.victim.id)) },
  { from: 19, name: "an unknown tenant in a token of acme's own issuer", ...signed, right: ["401"], request: minted((t) => t.acme.issuer.sign("t_nobody")) },
  { from: 19, name: "a token of acme's own issuer in the name of the operator's issuer", ...signed, right: ["401"], request: minted((t) => t.acme.issuer.sign(t.victim.id, { iss: t.issuer.name })) },
  { from: 19, name: "a token of acme's own issuer with the name and the kid of the operator's issuer", ...signed, right: ["401"], request: minted((t) => t.acme.issuer.sign(t.victim.id, { iss: t.issuer.name }, { kid: "k1" })) },
  { from: 20, name: "a token for another audience", ...signed, right: ["401"], request: minted((t) => t.issuer.sign(t.acme.id, { aud: "https://billing.example.com" })) },
  { from: 20, name: "an ID token", ...signed, right: ["401"], request: minted((t) => t.issuer.sign(t.acme.id, { aud: "client-7", nonce: "n-0S6" })) },
  { from: 20, name: "a refresh token", ...signed, right: ["401"], request: minted((t) => t.issuer.sign(t.acme.id, { aud: "https://id.example.com/token" }, { typ: "rt+jwt" })) },
  { from: 21, name: "a token that expired a minute ago", ...signed, right: ["401"], request: minted((t) => t.issuer.sign(t.acme.id, { exp: Math.floor(Date.now() / 1000) - 60 })) },
  ...[["\"9999999999\"", "9999999999"], ["missing", undefined], ["null", null], ["1e300", 1e300], ["-1", -1], ["true", true]].map(([name, exp]) => ({ from: 21, name: `exp ${name}`, ...signed, right: ["401"], request: minted((t) => t.issuer.sign(t.acme.id, { exp })) })),
  { from: 21, name: "nbf in an hour", ...signed, right: ["401"], request: minted((t) => t.issuer.sign(t.acme.id, { nbf: Math.floor(Date.now() / 1000) + 3600 })) },
  ...[[["t_acme", "t_victim"]], [{ id: "t_victim" }], [7], [null], ["../t_victim"], [""]].map(([claim]) => ({ name: `the tenant claim ${JSON.stringify(claim)}`, ...signed, right: ["401"], request: minted((t) => t.issuer.sign(claim)) })),
  { name: "claims to act for victim", ...signed, right: ["acme"], request: minted((t) => t.issuer.sign(t.acme.id, { act: { sub: t.victim.id }, may_act: { sub: t.victim.id }, tenant: t.victim.id, tenants: [t.victim.id] })) },
  { name: "a parent's token for its child on a route that does not allow it", ...signed, right: ["403"], request: async (t) => ({ host: t.central, target: t.path, headers: [bearer(await t.issuer.sign(t.parent.id)), [t.header, t.child.slug]] }) },
  { name: "a child's token for its parent", ...signed, right: ["403"], request: async (t) => ({ host: t.central, target: t.path, headers: [bearer(await t.issuer.sign(t.child.id)), [t.header, t.parent.slug]] }) },
  { from: 22, name: "a token of a suspended tenant", ...signed, right: ["403"], request: minted((t) => t.issuer.sign("t_suspended")) },
  { from: 22, name: "a token of a deleted tenant", ...signed, right: ["404"], request: minted((t) => t.issuer.sign("t_deleted")) },
  { from: 40, name: "a token from before its tenant's credentials were reset", ...signed, right: ["401"], request: minted((t) => t.issuer.sign("t_reset")) },
  { from: 23, name: "a header that asks the issuer for victim", ...signed, right: ["403"], request: async (t) => ({ host: t.central, target: t.path, headers: [bearer(await t.issuer.sign(t.acme.id)), [t.header, t.victim.slug], ["X-Refresh-Tenant", t.victim.id]] }) },
]);

const cookie = { needs: ["token", "cookie"] };
group("cookie", [
  { name: "acme's cookie on victim's host", ...cookie, right: ["403"], request: (t) => ({ host: sub(t.victim.slug)(t), target: t.path, headers: [["Cookie", `${t.cookie}=${t.acme.token}`]] }) },
  { name: "a second cookie, set by a sibling host", ...cookie, right: ["400"], request: (t) => ({ host: sub(t.acme.slug)(t), target: t.path, headers: [["Cookie", `${t.cookie}=${t.acme.token}; ${t.cookie}=x`]] }) },
  { name: "two Cookie headers", ...cookie, right: ["400", "401"], request: (t) => ({ host: sub(t.acme.slug)(t), target: t.path, headers: [["Cookie", `${t.cookie}=x`], ["Cookie", `${t.cookie}=${t.acme.token}`]] }) },
  { name: "a cookie that disagrees with the header", ...cookie, right: ["400"], request: (t) => ({ host: t.central, target: t.path, headers: [bearer(t.acme.token), ["Cookie", `${t.cookie}=${forged(t.acme.token, { claims: asVictim(t) })}`]] }) },
  { name: "a forged cookie", ...cookie, right: ["401"], request: (t) => ({ host: sub(t.victim.slug)(t), target: t.path, headers: [["Cookie", `${t.cookie}=${forged(t.acme.token, { claims: asVictim(t) })}`]] }) },
]);

const keyed = (make, more = []) => (t) => ({ host: t.central, target: t.path, headers: [["X-API-Key", make(t.acme.key, t)], ...more] });
group("API key", [
  { name: "a key with another secret", ...key, right: ["401"], request: keyed((k) => flip(k, 30)) },
  { name: "a key with another checksum", ...key, right: ["401"], request: keyed((k) => flip(k, k.length - 1)) },
  { name: "a key that is cut off", ...key, right: ["401"], request: keyed((k) => k.slice(0, -1)) },
  { name: "the id of a key alone", ...key, right: ["401"], request: keyed((k) => k.slice(0, 24)) },
  { name: "a key in upper case", ...key, right: ["401"], request: keyed((k) => k.toUpperCase()) },
  { name: "two X-API-Key headers", ...key, right: ["400"], request: keyed((k) => k, [["X-API-Key", "x"]]) },
  { name: "a key as a bearer token", ...key, right: ["401"], request: (t) => ({ host: t.central, target: t.path, headers: [bearer(t.acme.key)] }) },
  { name: "a key with a path as its id", right: ["401"], needs: ["key"], request: keyed(() => `tg_live_${"../../catalog000"}${"0".repeat(38)}`) },
  { name: "acme's key on victim's host", ...key, right: ["403"], request: (t) => ({ host: sub(t.victim.slug)(t), target: t.path, headers: [["X-API-Key", t.acme.key]] }) },
  { name: "acme's key with acme's token changed to name victim", needs: ["key", "token"], right: ["401"], request: (t) => ({ host: t.central, target: t.path, headers: [["X-API-Key", t.acme.key], bearer(forged(t.acme.token, { claims: asVictim(t) }))] }) },
  { from: 22, name: "a test key in the live environment", needs: ["keys"], right: ["401"], request: keyed((_, t) => t.keys.test) },
  { from: 22, name: "a revoked key", needs: ["keys"], right: ["401"], request: keyed((_, t) => t.keys.revoked) },
  { from: 22, name: "an expired key", needs: ["keys"], right: ["401"], request: keyed((_, t) => t.keys.expired) },
  { from: 22, name: "a key of a suspended tenant", needs: ["keys"], right: ["403"], request: keyed((_, t) => t.keys.suspended) },
  { from: 22, name: "a key of a deleted tenant", needs: ["keys"], right: ["404"], request: keyed((_, t) => t.keys.deleted) },
  { from: 40, name: "a key from before its tenant's credentials were reset", needs: ["keys"], right: ["401"], request: keyed((_, t) => t.keys.old) },
]);

group("plan", [
  { from: 33, name: "an unknown feature", needs: ["operator"], right: ["acme"], request: (t) => ask(t, { features: ["no-such-feature"] }), answers: ({ features }) => features["no-such-feature"].enabled === false },
  { from: 33, name: "a feature in upper case", needs: ["operator", "features"], right: ["acme"], request: (t) => ask(t, { features: ["SSO", "sso"] }), answers: ({ features }) => features.SSO.enabled === false && features.sso.enabled === true },
  { from: 34, name: "an override that has just ended", needs: ["operator", "features"], right: ["acme"], request: (t) => ask(t, { features: ["trial"] }), answers: ({ features }) => features.trial.enabled === false },
  ...["-100", "1e308", "0.1", "null", "\"1\"", "[1]"].map((quantity) => ({ from: 28, name: `the quantity ${quantity}`, needs: ["operator", "limit"], right: ["400"], request: (t) => ({ ...ask(t, {}), body: `{"tenant":"${t.acme.id}","limits":{"${t.limit}":${quantity}}}` }) })),
  { from: 31, name: "a Date header of the client", ...credential, right: ["acme"], request: withCredential(() => ({ headers: [["Date", "Thu, 01 Jan 1970 00:00:00 GMT"], ["X-Date", "1970-01-01T00:00:00Z"]] })) },
]);

const ask = (t, question) => ({ method: "POST", host: t.central, target: "/_gate/v1/decide", headers: [bearer(t.operator)], body: JSON.stringify({ tenant: t.acme.id, ...question }), asks: true });
