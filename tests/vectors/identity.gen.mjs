// Writes `identity.json`: tokens signed by `jose` and by Node, API keys made by hand, valid and broken in every field.
// The keys are new at every run, and are kept nowhere. Usage: node tests/vectors/identity.gen.mjs

import { createHash, generateKeyPairSync, sign as signRaw } from "node:crypto";
import { writeFileSync } from "node:fs";
import { crc32 } from "node:zlib";
import * as jose from "jose";

const AUDIENCE = "https://api.example.com";
const MAIN = "https://id.example.com/";
const KEYS_URL = "https://id.example.com/keys";
const FAR = 4102444800; // 2100-01-01
const PAST = 1700000000; // 2023-11-14
const NOW = 1795348800; // 2026-11-22T12:00:00Z
const at = "2026-11-22T12:00:00Z";

const ASYMMETRIC = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
const SHARED = ["HS256", "HS384", "HS512"];
const secrets = Object.fromEntries(SHARED.map((alg) => [`SHARED_${alg}`, createHash("sha512").update(alg + Math.random()).digest("hex")]));

const pairs = {};
for (const alg of ASYMMETRIC) pairs[alg] = await jose.generateKeyPair(alg, { extractable: true, modulusLength: 2048 });
const foreign = {};
for (const alg of ASYMMETRIC) foreign[alg] = await jose.generateKeyPair(alg, { extractable: true, modulusLength: 2048 });
const acmePair = await jose.generateKeyPair("EdDSA", { extractable: true });
const euPair = await jose.generateKeyPair("RS256", { extractable: true });
const weakPair = generateKeyPairSync("rsa", { modulusLength: 1024 });
const shared = (alg) => new TextEncoder().encode(secrets[`SHARED_${alg}`]);

const jwk = async (key, kid, more = {}) => ({ ...(await jose.exportJWK(key)), kid, ...more });
const published = { keys: [] };
for (const alg of ASYMMETRIC) published.keys.push(await jwk(pairs[alg].publicKey, alg, { use: "sig", alg }));
published.keys.push(
  await jwk(foreign.ES256.publicKey, "enc", { use: "enc" }),
  { ...(await jwk(weakPair.publicKey, "weak")), use: "sig", alg: "RS256" },
  await jwk(foreign.EdDSA.publicKey, "twice"), await jwk(pairs.EdDSA.publicKey, "twice"),
  await jwk(foreign.RS256.publicKey, "signs", { key_ops: ["encrypt"] }),
  { kty: "EC", crv: "P-521", kid: "p521", x: "AA", y: "AA" },
  { kty: "OKP", crv: "Ed25519", kid: "short", x: "AAAA" },
  { kty: "OKP", crv: "Ed25519", kid: "zero", x: jose.base64url.encode(new Uint8Array(32)) },
  { kty: "oct", kid: "oct", k: jose.base64url.encode(shared("HS256")) },
);

const catalog = {
  version: 1,
  resolution: {
    strategies: [
      { strategy: "jwt", cookie_name: "session" }, { strategy: "api_key" },
      { strategy: "subdomain", base_domains: ["app.example.com"] }, { strategy: "path" }, { strategy: "header", identifies: "id" }, { strategy: "query" },
    ],
    central_hosts: ["central.example.com"],
  },
  issuers: {
    main: { issuer: MAIN, audience: [AUDIENCE], algorithms: ASYMMETRIC, tenants: "all", jwks_url: KEYS_URL },
    shared: { issuer: "shared", audience: [AUDIENCE], algorithms: SHARED, tenants: "all", keys: SHARED.map((alg) => ({ secret: `SHARED_${alg}`, kid: alg })) },
    acme: { issuer: "https://login.acme.example", audience: [AUDIENCE], algorithms: ["EdDSA"], tenants: ["t_acme"], keys: [{ jwk: await jwk(acmePair.publicKey, "a1") }] },
    eu: {
      issuer: "https://eu.example.com", audience: [AUDIENCE, "eu-api"], algorithms: ["RS256"], tenants: { prefix: "t_eu_" }, tenant_claim: "org.tenant", typ: "at+jwt", leeway_ms: 0,
      keys: [{ pem: await jose.exportSPKI(euPair.publicKey) }],
    },
  },
  routes: [
    { path: "/" },
    { path: "/open", auth: "none" }, { path: "/token", auth: "jwt" }, { path: "/key", auth: "api_key" },
    { path: "/scoped", scopes: ["api.read", "api.write"] }, { path: "/family", act_for_descendants: true },
    { path: "/public", access: "public" }, { path: "/central", access: "central" },
  ],
  plans: { "pro@1": {} },
};

const tenants = [
  { id: "t_acme", slug: "acme", plan: "pro@1" },
  { id: "t_victim", slug: "victim", plan: "pro@1" },
  { id: "t_eu_one", slug: "eu-one", plan: "pro@1" },
  { id: "t_org", slug: "org", plan: "pro@1" },
  { id: "t_team", slug: "team", parent: "t_org" },
  { id: "t_project", slug: "project", parent: "t_team" },
  { id: "t_suspended", slug: "suspended", plan: "pro@1", status: "suspended" },
  { id: "t_deleted", slug: "deleted", plan: "pro@1", status: "deleted" },
  { id: "t_reset", slug: "reset", plan: "pro@1", credentials_from: "2026-01-01T00:00:00Z" },
];

// ---- tokens

const base = { iss: MAIN, aud: AUDIENCE, sub: "user-1", tenant_id: "t_acme", iat: PAST, exp: FAR };
const text = (value) => new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));
const b64 = (value) => jose.base64url.encode(text(value));
/** A token by `jose`. Members that are undefined go. */
const token = (claims = {}, { alg = "EdDSA", key = pairs[alg]?.privateKey ?? shared(alg), ...header } = {}) =>
  new jose.CompactSign(text({ ...base, ...claims })).setProtectedHeader({ alg, kid: alg, ...header }).sign(key);
/** A token whose header and claims are texts as they are given, signed with the Ed25519 key of `main`. */
const ed = await jose.exportJWK(pairs.EdDSA.privateKey).then((d) => import("node:crypto").then(({ createPrivateKey }) => createPrivateKey({ key: d, format: "jwk" })));
const raw = (header, claims) => {
  const signed = `${b64(header)}.${b64(claims)}`;
  return `${signed}.${signRaw(null, Buffer.from(signed), ed).toString("base64url")}`;
};
const parts = (jws, change) => {
  const list = jws.split(".");
  change(list);
  return list.join(".");
};
const flip = (base64, index = 10) => base64.slice(0, index) + (base64[index] === "A" ? "B" : "A") + base64.slice(index + 1);

const cases = [];
const bearer = (jws) => ({ authorization: `Bearer ${jws}` });
const add = (name, ask, expect, more = {}) => cases.push({ name, ...more, ask: { host: "central.example.com", path: "/", ...ask }, expect });
const allowed = (tenant, more = {}) => ({ status: 200, decision: { allowed: true, tenant: { id: tenant }, ...more } });
const refused = { status: 401, headers: { "www-authenticate": 'Bearer realm="tenantgate", error="invalid_token", ApiKey realm="tenantgate"' }, decision: { code: "UNAUTHENTICATED", tenant: null } };
const wanting = { status: 401, headers: { "www-authenticate": 'Bearer realm="tenantgate", ApiKey realm="tenantgate"' }, decision: { code: "UNAUTHENTICATED", tenant: null } };
const denied = (status, code) => ({ status, decision: { code } });
const good = (name, jws, tenant = "t_acme", more = {}) => add(name, { headers: bearer(jws) }, allowed(tenant), more);
const bad = (name, jws, more = {}) => add(name, { headers: bearer(jws) }, refused, more);

for (const alg of [...ASYMMETRIC, ...SHARED]) {
  const iss = SHARED.includes(alg) ? "shared" : MAIN;
  const jws = await token({ iss }, { alg });
  good(`${alg}: a good token`, jws);
  bad(`${alg}: another tenant in the claims`, parts(jws, (p) => { p[1] = b64({ ...base, iss, tenant_id: "t_victim" }); }));
  bad(`${alg}: a bit of the signature`, parts(jws, (p) => { p[2] = flip(p[2]); }));
  bad(`${alg}: a bit of the claims`, parts(jws, (p) => { p[1] = flip(p[1], 5); }));
  bad(`${alg}: a shorter signature`, parts(jws, (p) => { p[2] = p[2].slice(0, -4); }));
  bad(`${alg}: a longer signature`, parts(jws, (p) => { p[2] += "AAAA"; }));
  bad(`${alg}: no signature`, parts(jws, (p) => { p[2] = ""; }));
  bad(`${alg}: zeros for a signature`, parts(jws, (p) => { p[2] = jose.base64url.encode(new Uint8Array(jose.base64url.decode(p[2]).length)); }));
  for (const none of ["none", "None", "NONE", "nOnE", "", alg.toLowerCase() === alg ? alg.toUpperCase() : alg.toLowerCase()]) {
    bad(`${alg}: alg ${JSON.stringify(none)}`, parts(jws, (p) => { p[0] = b64({ alg: none, kid: alg }); }));
  }
  bad(`${alg}: alg none without a signature`, parts(jws, (p) => { p[0] = b64({ alg: "none", kid: alg }); p[2] = ""; }));
  bad(`${alg}: signed by another key of the same name`, await token({ iss }, { alg, key: foreign[alg]?.privateKey ?? new Uint8Array(64) }));
  for (const other of [...ASYMMETRIC, ...SHARED].filter((one) => one !== alg)) {
    bad(`${alg}: called ${other}`, parts(jws, (p) => { p[0] = b64({ alg: other, kid: alg }); }));
  }
}

// A public key as the secret of an HMAC: as PEM, as JWK, as raw bytes.
const pem = await jose.exportSPKI(pairs.RS256.publicKey);
for (const [name, secret] of [["PEM", text(pem)], ["trimmed PEM", text(pem.trim())], ["JWK", text(published.keys[0])], ["modulus", jose.base64url.decode(published.keys[0].n)]]) {
  for (const [iss, kid] of [[MAIN, "RS256"], [MAIN, "HS256"], ["shared", "HS256"], ["shared", "RS256"]]) {
    bad(`the public key as a secret: ${name}, issuer ${iss}, kid ${kid}`, await token({ iss }, { alg: "HS256", key: secret, kid }));
  }
}
bad("the empty secret", await token({ iss: "shared" }, { alg: "HS256", key: new Uint8Array(1) }));
bad("HS512's secret for HS256", await token({ iss: "shared" }, { alg: "HS256", key: shared("HS512"), kid: "HS256" }));

// Keys that the token brings, or points to.
const own = foreign.EdDSA;
const ownJwk = await jwk(own.publicKey, "EdDSA");
bad("`jwk` in the header", await token({}, { key: own.privateKey, jwk: ownJwk }));
bad("`jwk` in the header, no kid", await token({}, { key: own.privateKey, jwk: ownJwk, kid: undefined }));
bad("`jku` in the header", await token({}, { key: own.privateKey, jku: "https://attacker.example/keys" }));
bad("`x5u` in the header", await token({}, { key: own.privateKey, x5u: "https://attacker.example/cert" }));
bad("`x5c` in the header", await token({}, { key: own.privateKey, x5c: ["MIIB"] }));
good("`jku`, `jwk` and `x5u` of a good token are not looked at", await token({}, { jku: "https://attacker.example/keys", jwk: ownJwk, x5u: "https://attacker.example" }));
for (const kid of ["nobody", "../../etc/passwd", "' OR 1=1 --", "EdDSA\u0000", "eddsa", "__proto__", "constructor", "k".repeat(129), "enc", "weak", "twice", "signs", "p521", "short", "zero", "oct"]) {
  bad(`kid ${JSON.stringify(kid.slice(0, 30))}`, await token({}, { kid }));
}
bad("kid of another key", await token({}, { kid: "ES256" }));
for (const kid of ["[\"EdDSA\"]", "1", "null", "{}"]) bad(`kid is ${kid}`, raw(`{"alg":"EdDSA","kid":${kid}}`, base));
good("no kid, where one key fits", raw({ alg: "EdDSA" }, base));
bad("no kid, where several fit", await token({}, { alg: "RS256", kid: undefined, key: foreign.RS256.privateKey }));
bad("the weak key itself", await token({}, { alg: "RS256", kid: "weak", key: foreign.RS256.privateKey }));
const zeros = (algorithm, kid) => `${b64({ alg: algorithm, kid })}.${b64(base)}.`;
bad("a key of small order takes any signature", zeros("EdDSA", "zero") + jose.base64url.encode(Uint8Array.of(1, ...new Uint8Array(63))));
bad("a key that is too short", zeros("EdDSA", "short") + jose.base64url.encode(new Uint8Array(64)));
bad("crit", raw({ alg: "EdDSA", kid: "EdDSA", crit: ["exp"], exp: FAR }, base));
bad("crit, empty", raw({ alg: "EdDSA", kid: "EdDSA", crit: [] }, base));
bad("alg twice", raw('{"alg":"none","alg":"EdDSA","kid":"EdDSA"}', base));
bad("a claim twice", raw({ alg: "EdDSA", kid: "EdDSA" }, JSON.stringify(base).replace("{", '{"tenant_id":"t_victim",')));
bad("a claim twice, deep inside", raw({ alg: "EdDSA", kid: "EdDSA" }, JSON.stringify({ ...base, x: 1 }).replace('"x":1', '"x":[{"a":1,"a":2}]')));
bad("alg is a number", raw('{"alg":1,"kid":"EdDSA"}', base));
bad("no alg", raw({ kid: "EdDSA" }, base));
bad("header is a list", raw("[]", base));
bad("claims are a list", raw({ alg: "EdDSA", kid: "EdDSA" }, "[]"));
bad("claims are text", raw({ alg: "EdDSA", kid: "EdDSA" }, "hello"));
bad("claims end early", raw({ alg: "EdDSA", kid: "EdDSA" }, JSON.stringify(base).slice(0, -1)));
bad("claims with something behind", raw({ alg: "EdDSA", kid: "EdDSA" }, `${JSON.stringify(base)}{}`));
bad("claims nested very deep", raw({ alg: "EdDSA", kid: "EdDSA" }, JSON.stringify(base).replace("{", `{"x":${"[".repeat(2000)}${"]".repeat(2000)},`)));

// The form.
const fine = await token();
bad("two parts", fine.split(".").slice(0, 2).join("."));
bad("four parts", `${fine}.AAAA`);
bad("five parts", `${fine}.AAAA.AAAA`);
bad("an empty part", parts(fine, (p) => { p[1] = ""; }));
bad("padding", `${fine}==`);
bad("padding in the claims", parts(fine, (p) => { p[1] += "="; }));
bad("a space inside", fine.replace(".", ". "));
bad("letters of another alphabet", parts(fine, (p) => { p[2] = `+/${p[2].slice(2)}`; }));
bad("trailing bits", parts(fine, (p) => { p[2] = p[2].slice(0, -1) + String.fromCharCode(p[2].at(-1).charCodeAt(0) + 1); }));
bad("nothing", "");
bad("dots", "..");
bad("not ASCII", `${fine.slice(0, -1)}é`);
bad("too long", await token({ more: "x".repeat(9000) }));
good("long", await token({ more: "x".repeat(4000) }));
add("two tokens", { headers: { authorization: `Bearer ${fine}, Bearer ${fine}` } }, denied(400, "TENANT_AMBIGUOUS"));
add("the scheme in another case", { headers: { authorization: `bEaReR ${fine}` } }, allowed("t_acme"));
add("another scheme shows nothing", { headers: { authorization: "Basic YWNtZTpzZWNyZXQ=" } }, wanting);
for (const between of ["\t", ": ", ":", "  \t", "=", ","]) {
  add(`the scheme, then ${JSON.stringify(between)}`, { headers: { authorization: `Bearer${between}${fine}` } }, between === "," ? denied(400, "TENANT_AMBIGUOUS") : refused);
}
add("a space before the scheme", { headers: { authorization: ` Bearer ${fine}` } }, allowed("t_acme"));
add("a scheme that begins alike", { headers: { authorization: `BearerX ${fine}` } }, wanting);
add("the scheme alone", { headers: { authorization: "Bearer" } }, refused);
add("no scheme", { headers: { authorization: fine } }, wanting);

// Every claim.
for (const [name, claims] of Object.entries({
  "no issuer": { iss: undefined }, "an unknown issuer": { iss: "https://id.attacker.example/" }, "an issuer without its slash": { iss: MAIN.slice(0, -1) },
  "an issuer in another case": { iss: MAIN.toUpperCase() }, "issuers in a list": { iss: [MAIN] }, "an issuer from the prototype": { iss: "__proto__" },
  "no audience": { aud: undefined }, "another audience": { aud: "https://other.example.com" }, "an audience with a slash": { aud: `${AUDIENCE}/` }, "an empty list of audiences": { aud: [] },
  "audiences of several types": { aud: [AUDIENCE, 1] }, "an audience that is a number": { aud: 1 }, "an audience that is true": { aud: true }, "audiences in an object": { aud: { [AUDIENCE]: 1 } },
  "too many audiences": { aud: [AUDIENCE, ...Array.from({ length: 16 }, (_, i) => `a${i}`)] }, "the client's id for an audience, as an ID token has": { aud: "client-7", nonce: "n" },
  "no expiry": { exp: undefined }, "an expiry that is text": { exp: String(FAR) }, "an expiry that is null": { exp: null }, "an expiry that is true": { exp: true }, "an expiry in a list": { exp: [FAR] },
  "an expiry before 1970": { exp: -1 }, "an expiry of zero": { exp: 0 }, "an expiry in milliseconds": { exp: FAR * 1000 }, "an expiry of 1e308": { exp: 1e308 }, "expired": { exp: PAST },
  "a start that is text": { nbf: "0" }, "a start that is null": { nbf: null }, "a start in 2099": { nbf: FAR - 1 }, "issued in 2099": { iat: FAR - 1 }, "issued at a text": { iat: "x" },
  "a subject that is a number": { sub: 7 }, "a subject that is a list": { sub: ["user-1"] }, "a subject of 256 bytes": { sub: "s".repeat(256) },
  "no tenant": { tenant_id: undefined }, "a tenant that is a number": { tenant_id: 1 }, "a tenant that is null": { tenant_id: null }, "tenants in a list": { tenant_id: ["t_acme"] }, "a tenant in an object": { tenant_id: { id: "t_acme" } },
  "an empty tenant": { tenant_id: "" }, "a tenant with a path": { tenant_id: "../t_victim" }, "a tenant with a NUL": { tenant_id: "t_acme\u0000" }, "a tenant with a comma": { tenant_id: "t_acme,t_victim" },
  "a tenant of __proto__": { tenant_id: "__proto__" }, "scopes that are a number": { scope: 1 }, "too many scopes": { scope: Array.from({ length: 65 }, (_, i) => `s${i}`) },
})) {
  bad(name, await token(claims));
}
bad("an expiry of 1e400", raw({ alg: "EdDSA", kid: "EdDSA" }, JSON.stringify(base).replace(String(FAR), "1e400")));
good("audiences in a list", await token({ aud: ["x", AUDIENCE] }));
good("an expiry with a fraction", await token({ exp: FAR + 0.5 }));
good("no subject", await token({ sub: undefined }));
good("a subject of 255 bytes", await token({ sub: "s".repeat(255) }));
add("a tenant that does not exist", { headers: bearer(await token({ tenant_id: "t_nobody" })) }, denied(404, "TENANT_NOT_FOUND"));
add("a deleted tenant", { headers: bearer(await token({ tenant_id: "t_deleted" })) }, denied(404, "TENANT_NOT_FOUND"));
add("a suspended tenant", { headers: bearer(await token({ tenant_id: "t_suspended" })) }, denied(403, "TENANT_SUSPENDED"));
add("a slug where an id belongs", { headers: bearer(await token({ tenant_id: "acme" })) }, denied(404, "TENANT_NOT_FOUND"));

// Clocks: 30 s of leeway, but for `eu`, which has none.
const timed = (name, claims, expect) => async () => add(name, { headers: bearer(await token(claims)) }, expect, { at });
for (const one of [
  timed("expires in a second", { exp: NOW + 1 }, allowed("t_acme")), timed("expired a second ago, within the leeway", { exp: NOW - 1 }, allowed("t_acme")),
  timed("expired 29 s ago", { exp: NOW - 29 }, allowed("t_acme")), timed("expired 30 s ago: the leeway is over", { exp: NOW - 30 }, refused),
  timed("good in 30 s", { nbf: NOW + 30 }, allowed("t_acme")), timed("good in 31 s", { nbf: NOW + 31 }, refused),
  timed("issued in 30 s", { iat: NOW + 30 }, allowed("t_acme")), timed("issued in 31 s", { iat: NOW + 31 }, refused),
]) await one();

// Issuers are bound to their tenants.
const acme = (claims, header) => token({ iss: "https://login.acme.example", ...claims }, { key: acmePair.privateKey, kid: "a1", ...header });
good("an issuer of one tenant", await acme({}));
good("an issuer of one tenant needs no claim", await acme({ tenant_id: undefined }));
bad("an issuer of one tenant says another", await acme({ tenant_id: "t_victim" }));
bad("an issuer of one tenant says one that does not exist", await acme({ tenant_id: "t_nobody" }));
bad("its key in the name of another issuer", await acme({ iss: MAIN }));
bad("another issuer's key in its name", await token({ iss: "https://login.acme.example" }));
bad("an algorithm that is not its own", await token({ iss: "https://login.acme.example" }, { alg: "ES256", key: foreign.ES256.privateKey, kid: "a1" }));
const eu = (claims, header) => token({ iss: "https://eu.example.com", tenant_id: undefined, org: { tenant: "t_eu_one" }, ...claims }, { alg: "RS256", key: euPair.privateKey, kid: undefined, typ: "at+jwt", ...header });
good("a prefix, a path to the claim, a type, a PEM key", await eu({}), "t_eu_one");
good("the type as a media type", await eu({}, { typ: "application/AT+JWT" }), "t_eu_one");
good("a claim whose name has the dot", await eu({ org: undefined, "org.tenant": "t_eu_one" }), "t_eu_one");
good("any kid, where the only key has none", await eu({}, { kid: "whatever" }), "t_eu_one");
good("the other audience", await eu({ aud: "eu-api" }), "t_eu_one");
bad("another type", await eu({}, { typ: "JWT" }));
bad("no type", await eu({}, { typ: undefined }));
bad("outside the prefix", await eu({ org: { tenant: "t_acme" } }));
bad("the claim of other issuers", await eu({ org: undefined, tenant_id: "t_eu_one" }));
bad("the path ends early", await eu({ org: "t_eu_one" }));
bad("no leeway", await eu({ exp: NOW }), { at });

// Agreement.
const mismatch = denied(403, "TENANT_MISMATCH");
const is = bearer(fine);
add("host and token agree", { host: "acme.app.example.com", headers: is }, allowed("t_acme", { credential: { kind: "jwt", tenant: "t_acme", issuer: "main", subject: "user-1", scopes: [] } }));
add("host of another", { host: "victim.app.example.com", headers: is }, mismatch);
add("header of another", { headers: { ...is, "x-tenant-id": "t_victim" } }, mismatch);
add("query of another", { query: "tenant=victim", headers: is }, mismatch);
for (const query of ["a=1;tenant=victim", "%20tenant=victim", "Tenant=victim", "tenant.x=victim", "tenant%00=victim", "tenant%20=victim", "tenant[]=victim", "a;tenant=victim"]) {
  add(`query of another, spelled ${query}`, { query, headers: is }, denied(400, "BAD_REQUEST"));
}
add("a query that names something else", { query: "tenants=victim&subtenant=victim&x=tenant&y=a;b", headers: is }, allowed("t_acme"));
add("path of another", { path: "/t/victim/api", headers: is }, mismatch);
add("all agree but one", { host: "acme.app.example.com", path: "/t/acme/api", query: "tenant=victim", headers: is }, mismatch);
add("all agree", { host: "acme.app.example.com", path: "/t/acme/api", query: "tenant=acme", headers: { ...is, "x-tenant-id": "t_acme" } }, allowed("t_acme"));
add("an unknown host", { host: "nobody.app.example.com", headers: is }, denied(404, "TENANT_NOT_FOUND"));
add("a foreign host", { host: "acme.app.example.com.evil.net", headers: is }, denied(404, "TENANT_NOT_FOUND"));
add("a header without a token", { headers: { "x-tenant-id": "t_acme" } }, wanting);
add("a host without a token", { host: "acme.app.example.com" }, wanting);
add("a host that names nobody, without a token: 401 comes first", { host: "nobody.app.example.com" }, wanting);
add("nothing at all", {}, wanting);
add("an open route needs nothing", { path: "/open", host: "acme.app.example.com" }, allowed("t_acme"));
add("what an open route is shown must be good", { path: "/open", host: "acme.app.example.com", headers: bearer(flip(fine)) }, refused);
add("what an open route is shown must agree", { path: "/open", host: "victim.app.example.com", headers: is }, mismatch);
add("a public route looks at nothing", { path: "/public", headers: bearer("rubbish") }, { status: 200, decision: { tenant: null } });
for (const [what, headers] of [["two cookies", { cookie: "session=a; session=b" }], ["two tokens", { authorization: "Bearer a, Bearer b" }], ["two API keys", { "x-api-key": "a,b" }], ["two tenants", { "x-tenant-id": "a,b" }], ["very long cookies", { cookie: "a=b; ".repeat(4000) }]]) {
  add(`a public route does not mind ${what}`, { path: "/public", headers }, { status: 200, decision: { tenant: null } });
}
add("a public route behind a tenant's prefix", { path: "/t/NOBODY/public", query: "tenant[]=x" }, { status: 200, path: "/public", decision: { tenant: null } });
add("a central route without a tenant", { path: "/central" }, { status: 200, decision: { tenant: null } });
add("a central route with a tenant and no token", { path: "/central", headers: { "x-tenant-id": "t_acme" } }, wanting);
add("a central route with a token", { path: "/central", headers: is }, allowed("t_acme"));

// Cookies.
add("a token in the cookie", { headers: { cookie: `theme=dark; session=${fine}` } }, allowed("t_acme"));
// Tenants under one base domain are one site: only the browser's word says that a request comes from its own origin.
const ambient = { cookie: `session=${fine}` };
const here = { host: "acme.app.example.com", method: "POST", path: "/" };
for (const [what, headers] of [
  ["its own origin, as browsers say", { "sec-fetch-site": "same-origin" }], ["nowhere: an address that was typed", { "sec-fetch-site": "none" }],
  ["its own origin, as older browsers say", { origin: "https://acme.app.example.com" }], ["its own origin, in other spelling", { origin: "https://ACME.app.example.com:443" }],
]) add(`a cookie that changes something, from ${what}`, { ...here, headers: { ...ambient, ...headers } }, allowed("t_acme"));
for (const [what, headers] of [
  ["a sibling", { "sec-fetch-site": "same-site", origin: "https://victim.app.example.com" }], ["another site", { "sec-fetch-site": "cross-site", origin: "https://evil.example" }],
  ["a sibling, as older browsers say", { origin: "https://victim.app.example.com" }], ["an origin that is hidden", { origin: "null" }], ["nobody knows where", {}],
  ["two places", { "sec-fetch-site": "same-origin, same-site" }], ["a sibling that says the right origin", { "sec-fetch-site": "same-site", origin: "https://acme.app.example.com" }],
]) add(`a cookie that changes something, from ${what}`, { ...here, headers: { ...ambient, ...headers } }, wanting);
for (const method of ["PUT", "PATCH", "DELETE", "PROPFIND"]) add(`a cookie with ${method}, from a sibling`, { ...here, method, headers: { ...ambient, "sec-fetch-site": "same-site" } }, wanting);
for (const method of ["GET", "HEAD", "OPTIONS"]) add(`a cookie with ${method}, from a sibling`, { ...here, method, headers: { ...ambient, "sec-fetch-site": "same-site" } }, allowed("t_acme"));
add("a cookie that opens a socket, from a sibling", { ...here, method: "GET", headers: { ...ambient, upgrade: "websocket", origin: "https://victim.app.example.com" } }, wanting);
add("a cookie that opens a socket, from its own origin", { ...here, method: "GET", headers: { ...ambient, upgrade: "websocket", origin: "https://acme.app.example.com" } }, allowed("t_acme"));
add("a token in a header that changes something, from anywhere", { ...here, headers: { ...is, "sec-fetch-site": "cross-site" } }, allowed("t_acme"));
add("the cookie on another's host", { host: "victim.app.example.com", headers: { cookie: `session=${fine}` } }, mismatch);
add("two cookies of that name", { headers: { cookie: `session=${fine}; session=${fine}` } }, denied(400, "TENANT_AMBIGUOUS"));
add("cookie and header say the same", { headers: { ...is, cookie: `session=${fine}` } }, allowed("t_acme"));
add("cookie and header say different things", { headers: { ...is, cookie: `session=${await token({ tenant_id: "t_victim" })}` } }, denied(400, "TENANT_AMBIGUOUS"));
add("a cookie with another name", { headers: { cookie: `xsession=${fine}; session2=${fine}` } }, wanting);
add("a broken cookie", { headers: { cookie: `session=${flip(fine)}` } }, refused);
add("an empty cookie, as signing out leaves it", { headers: { cookie: "session=; theme=dark" } }, wanting);
add("an empty cookie beside a token", { headers: { ...is, cookie: "session=" } }, allowed("t_acme"));
add("an empty cookie beside another one", { headers: { cookie: `session=; session=${fine}` } }, denied(400, "TENANT_AMBIGUOUS"));
add("a cookie in a second header, joined", { headers: { cookie: `a=1, session=${fine}` } }, denied(400, "TENANT_AMBIGUOUS"));
add("a cookie with a quoted name", { headers: { cookie: `"session"=${fine}` } }, denied(400, "TENANT_AMBIGUOUS"));
add("very long cookies", { headers: { cookie: "a=b; ".repeat(4000) } }, denied(400, "BAD_REQUEST"));

// API keys.
const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const checksum = (body) => {
  let n = crc32(body);
  let digits = "";
  for (let i = 0; i < 6; i++, n = Math.floor(n / 62)) digits = BASE62[n % 62] + digits;
  return digits;
};
const whole = (body) => body + checksum(body);
const id = (name) => name.padEnd(16, "0");
const key = (name, secret = name, environment = "live") => whole(`tg_${environment}_${id(name)}${createHash("sha256").update(secret).digest("hex").slice(0, 32)}`);
const record = (name, tenant, more = {}, environment = "live") => ({
  id: id(name), tenant, hash: createHash("sha256").update(key(name, name, environment)).digest("hex"), environment, created_at: "2026-02-01T00:00:00Z", ...more,
});
const api_keys = [
  record("Acme", "t_acme", { scopes: ["api.read"], name: "for tests" }), record("Both", "t_acme", { scopes: ["api.read", "api.write"] }),
  record("Write", "t_acme", { scopes: ["api.write"] }), record("Victim", "t_victim"), record("Trial", "t_acme", {}, "test"),
  record("Expired", "t_acme", { expires_at: "2026-11-22T12:00:00Z" }), record("Revoked", "t_acme", { revoked_at: "2026-11-22T12:00:00Z" }),
  record("Suspended", "t_suspended"), record("Deleted", "t_deleted"), record("Org", "t_org"), record("Team", "t_team"),
  record("Old", "t_reset", { created_at: "2025-12-31T23:59:59Z" }), record("New", "t_reset"),
];
const shows = (text) => ({ "x-api-key": text });
const keyed = (name, headers, expect, more = {}, ask = {}) => add(`API key: ${name}`, { headers, ...ask }, expect, more);
keyed("good", shows(key("Acme")), allowed("t_acme", { credential: { kind: "api_key", tenant: "t_acme", key: id("Acme"), scopes: ["api.read"] } }));
keyed("spaces around it", shows(` ${key("Acme")} `), allowed("t_acme"));
keyed("another secret, the checksum right", shows(key("Acme", "other")), wanting);
keyed("unknown", shows(key("Nobody")), wanting);
keyed("another's name with its own secret", shows(key("Victim", "Acme")), wanting);
keyed("a wrong checksum", shows(flip(key("Acme"), 60)), wanting);
keyed("a character less", shows(key("Acme").slice(0, -1)), wanting);
keyed("a character more", shows(`${key("Acme")}0`), wanting);
keyed("empty", shows(""), wanting);
keyed("the prefix in capitals", shows(key("Acme").replace("tg_live_", "TG_LIVE_")), wanting);
keyed("another prefix", shows(whole(key("Acme").slice(0, 56).replace("tg_live_", "tg_prod_"))), wanting);
keyed("the test key called live", shows(whole(key("Trial", "Trial", "test").slice(0, 56).replace("tg_test_", "tg_live_"))), wanting);
keyed("a test key here, where it is live", shows(key("Trial", "Trial", "test")), wanting);
keyed("signs in its name", shows(whole(`tg_live_${"../../victim0000"}${"0".repeat(32)}`)), wanting);
keyed("not ASCII", shows(`tg_live_${"é".repeat(27)}`), wanting);
keyed("two of them", shows(`${key("Acme")}, ${key("Victim")}`), denied(400, "TENANT_AMBIGUOUS"));
keyed("very long", shows("tg_live_".repeat(100)), denied(400, "BAD_REQUEST"));
keyed("a millisecond before it expires", shows(key("Expired")), allowed("t_acme"), { at: "2026-11-22T11:59:59.999Z" });
keyed("expired", shows(key("Expired")), wanting, { at });
keyed("a millisecond before it is revoked", shows(key("Revoked")), allowed("t_acme"), { at: "2026-11-22T11:59:59.999Z" });
keyed("revoked", shows(key("Revoked")), wanting, { at });
keyed("of a suspended tenant", shows(key("Suspended")), denied(403, "TENANT_SUSPENDED"));
keyed("of a deleted tenant", shows(key("Deleted")), denied(404, "TENANT_NOT_FOUND"));
keyed("older than its tenant accepts", shows(key("Old")), wanting);
keyed("younger than that", shows(key("New")), allowed("t_reset"));
keyed("header of another tenant", { ...shows(key("Acme")), "x-tenant-id": "t_victim" }, mismatch);
keyed("host of another tenant", shows(key("Acme")), mismatch, {}, { host: "victim.app.example.com" });
keyed("with a token of the same tenant", { ...shows(key("Acme")), ...is }, allowed("t_acme"));
keyed("with a token of another tenant", { ...shows(key("Victim")), ...is }, mismatch);
keyed("a bad one beside a good token", { ...shows(key("Nobody")), ...is }, wanting);
keyed("a good one beside a bad token", { ...shows(key("Acme")), ...bearer(flip(fine)) }, refused);
keyed("as a bearer token", bearer(key("Acme")), refused);
bad("a token older than its tenant accepts", await token({ tenant_id: "t_reset" }));
bad("a token without its age, where that matters", await token({ tenant_id: "t_reset", iat: undefined }));
good("a token younger than that", await token({ tenant_id: "t_reset", iat: 1769904000 }), "t_reset");

// What a route asks for.
const insufficient = (challenge = 'Bearer realm="tenantgate", error="insufficient_scope", scope="api.read api.write", ApiKey realm="tenantgate"') =>
  ({ status: 403, headers: { "www-authenticate": challenge }, decision: { code: "INSUFFICIENT_SCOPE", error: { details: { scopes: ["api.read", "api.write"] } } } });
add("a token where a key is asked for", { path: "/key", headers: is }, { status: 401, headers: { "www-authenticate": 'ApiKey realm="tenantgate"' }, decision: { code: "UNAUTHENTICATED" } });
add("a key where a token is asked for", { path: "/token", headers: shows(key("Acme")) }, { status: 401, headers: { "www-authenticate": 'Bearer realm="tenantgate"' }, decision: { code: "UNAUTHENTICATED" } });
add("a key where a key is asked for", { path: "/key", headers: shows(key("Acme")) }, allowed("t_acme"));
add("a token where a token is asked for", { path: "/token", headers: is }, allowed("t_acme"));
for (const path of [
  "/scoped.json", "/scoped.", "/scoped..", "/scoped%20", "/scoped%3Fx", "/scoped%23x", "/scoped%252fx", "/%2573coped", "/%252573coped", "/SCOPED.json", "/scoped;v.json",
  "/scoped%09", "/scoped%0a", "/scoped%00", "/scoped%00.html", "/scoped%7f", "/open%2f..%2fscoped", "/open/%252e%252e/scoped", "/open/..%20/scoped", "/open/...%20/scoped", "/open/%ef%bc%8e%ef%bc%8e/scoped",
  "/public/%252e%252e/scoped", "/public/..%00/scoped", "/public/..%20/scoped", "/public/%ef%bc%8e%ef%bc%8e/scoped", "/public/..;/scoped", "/public%5c..%5cscoped",
]) add(`another spelling of the path: ${path}`, { path, headers: is }, denied(400, "BAD_REQUEST"));
for (const path of ["/files/report.pdf", "/files/a%20b.txt", "/public/app.js", "/public/what%3F.html", "/scoped-out", "/Files/README.md"]) {
  add(`a path that nothing else is: ${path}`, { path, headers: is }, { status: 200 });
}
add("scopes as text", { path: "/scoped", headers: bearer(await token({ scope: "api.write api.read" })) }, allowed("t_acme", { credential: { scopes: ["api.write", "api.read"] } }));
add("scopes as a list", { path: "/scoped", headers: bearer(await token({ scp: ["api.read", "api.write", "x y", 7] })) }, allowed("t_acme"));
add("scopes of a key", { path: "/scoped", headers: shows(key("Both")) }, allowed("t_acme"));
add("no scopes", { path: "/scoped", headers: is }, insufficient());
add("one scope of two", { path: "/scoped", headers: shows(key("Acme")) }, insufficient());
add("a scope that begins alike", { path: "/scoped", headers: bearer(await token({ scope: "api.read2 api.writer" })) }, insufficient());
add("two credentials with a scope each", { path: "/scoped", headers: { ...shows(key("Write")), ...bearer(await token({ scope: "api.read" })) } }, insufficient());
add("two credentials, one of which has both", { path: "/scoped", headers: { ...shows(key("Both")), ...is } }, allowed("t_acme", { credential: { kind: "api_key" } }));

// Ancestors.
const org = bearer(await token({ tenant_id: "t_org" }));
const acting = (tenant) => allowed(tenant, { credential: { tenant: "t_org" } });
add("an ancestor acts for a child where the route says so", { path: "/family", headers: { ...org, "x-tenant-id": "t_team" } }, acting("t_team"));
add("and for a grandchild", { path: "/family/x", headers: { ...org, "x-tenant-id": "t_project" } }, acting("t_project"));
add("and for itself", { path: "/family", headers: org }, acting("t_org"));
add("but nowhere else", { headers: { ...org, "x-tenant-id": "t_team" } }, mismatch);
add("and not for others", { path: "/family", headers: { ...org, "x-tenant-id": "t_victim" } }, mismatch);
add("a child does not act for its parent", { path: "/family", headers: { ...bearer(await token({ tenant_id: "t_team" })), "x-tenant-id": "t_org" } }, mismatch);
add("nor for its sibling", { path: "/family", headers: { ...shows(key("Acme")), "x-tenant-id": "t_team" } }, mismatch);
add("an ancestor's key with a child's token", { path: "/family", headers: { ...shows(key("Org")), ...bearer(await token({ tenant_id: "t_team" })) } }, allowed("t_team"));
add("the other way round", { path: "/family", headers: { ...shows(key("Team")), ...org } }, allowed("t_team"));
add("and not where the route does not say so", { headers: { ...shows(key("Org")), ...bearer(await token({ tenant_id: "t_team" })) } }, mismatch);

const lines = (list) => list.map((one) => `    ${JSON.stringify(one)}`).join(",\n");
writeFileSync(new URL("./identity.json", import.meta.url), `{
  "about": "Tokens and API keys, good and broken in every field, and their agreement with hosts, paths, headers and queries. Written by identity.gen.mjs.",
  "secrets": ${JSON.stringify(secrets)},
  "keys": ${JSON.stringify({ [KEYS_URL]: published })},
  "catalog": ${JSON.stringify(catalog)},
  "tenants": [
${lines(tenants)}
  ],
  "api_keys": [
${lines(api_keys)}
  ],
  "cases": [
${lines(cases)}
  ]
}
`);
console.log(`${cases.length} cases`);
