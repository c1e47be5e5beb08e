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
  good(`${alg}: a good token is accepted`, jws);
  bad(`${alg}: a token with another tenant in its claims is rejected`, parts(jws, (p) => { p[1] = b64({ ...base, iss, tenant_id: "t_victim" }); }));
  bad(`${alg}: a token with a changed signature is rejected`, parts(jws, (p) => { p[2] = flip(p[2]); }));
  bad(`${alg}: a token with changed claims is rejected`, parts(jws, (p) => { p[1] = flip(p[1], 5); }));
  bad(`${alg}: a token with a shortened signature is rejected`, parts(jws, (p) => { p[2] = p[2].slice(0, -4); }));
  bad(`${alg}: a token with a lengthened signature is rejected`, parts(jws, (p) => { p[2] += "AAAA"; }));
  bad(`${alg}: a token without a signature is rejected`, parts(jws, (p) => { p[2] = ""; }));
  bad(`${alg}: a token with a signature of zeros is rejected`, parts(jws, (p) => { p[2] = jose.base64url.encode(new Uint8Array(jose.base64url.decode(p[2]).length)); }));
  for (const none of ["none", "None", "NONE", "nOnE", "", alg.toLowerCase() === alg ? alg.toUpperCase() : alg.toLowerCase()]) {
    bad(`${alg}: a token with alg ${JSON.stringify(none)} is rejected`, parts(jws, (p) => { p[0] = b64({ alg: none, kid: alg }); }));
  }
  bad(`${alg}: a token with alg none and no signature is rejected`, parts(jws, (p) => { p[0] = b64({ alg: "none", kid: alg }); p[2] = ""; }));
  bad(`${alg}: a token signed by another key of the same name is rejected`, await token({ iss }, { alg, key: foreign[alg]?.privateKey ?? new Uint8Array(64) }));
  for (const other of [...ASYMMETRIC, ...SHARED].filter((one) => one !== alg)) {
    bad(`${alg}: a token whose header says ${other} is rejected`, parts(jws, (p) => { p[0] = b64({ alg: other, kid: alg }); }));
  }
}

// A public key as the secret of an HMAC: as PEM, as JWK, as raw bytes.
const pem = await jose.exportSPKI(pairs.RS256.publicKey);
for (const [name, secret] of [["PEM", text(pem)], ["trimmed PEM", text(pem.trim())], ["JWK", text(published.keys[0])], ["modulus", jose.base64url.decode(published.keys[0].n)]]) {
  for (const [iss, kid] of [[MAIN, "RS256"], [MAIN, "HS256"], ["shared", "HS256"], ["shared", "RS256"]]) {
    bad(`an HMAC with the public key as its secret is rejected: ${name}, issuer ${iss}, kid ${kid}`, await token({ iss }, { alg: "HS256", key: secret, kid }));
  }
}
bad("a token signed with the empty secret is rejected", await token({ iss: "shared" }, { alg: "HS256", key: new Uint8Array(1) }));
bad("an HS256 token signed with the HS512 secret is rejected", await token({ iss: "shared" }, { alg: "HS256", key: shared("HS512"), kid: "HS256" }));

// Keys that the token brings, or points to.
const own = foreign.EdDSA;
const ownJwk = await jwk(own.publicKey, "EdDSA");
bad("a token that brings its own key in `jwk` is rejected", await token({}, { key: own.privateKey, jwk: ownJwk }));
bad("a token that brings its own key in `jwk` and has no kid is rejected", await token({}, { key: own.privateKey, jwk: ownJwk, kid: undefined }));
bad("a token that points to its own keys with `jku` is rejected", await token({}, { key: own.privateKey, jku: "https://attacker.example/keys" }));
bad("a token that points to its own certificate with `x5u` is rejected", await token({}, { key: own.privateKey, x5u: "https://attacker.example/cert" }));
bad("a token that brings its own certificate in `x5c` is rejected", await token({}, { key: own.privateKey, x5c: ["MIIB"] }));
good("a good token is accepted, whatever its `jku`, `jwk` and `x5u` say", await token({}, { jku: "https://attacker.example/keys", jwk: ownJwk, x5u: "https://attacker.example" }));
for (const kid of ["nobody", "../../etc/passwd", "' OR 1=1 --", "EdDSA\u0000", "eddsa", "__proto__", "constructor", "k".repeat(129), "enc", "weak", "twice", "signs", "p521", "short", "zero", "oct"]) {
  bad(`a token with the kid ${JSON.stringify(kid.slice(0, 30))} is rejected`, await token({}, { kid }));
}
bad("a token with the kid of another key is rejected", await token({}, { kid: "ES256" }));
for (const kid of ["[\"EdDSA\"]", "1", "null", "{}"]) bad(`a token whose kid is the JSON value ${kid} is rejected`, raw(`{"alg":"EdDSA","kid":${kid}}`, base));
good("a token without a kid is accepted where one key fits", raw({ alg: "EdDSA" }, base));
bad("a token without a kid, signed by a key for encryption, is rejected", await token({}, { alg: "RS256", kid: undefined, key: foreign.RS256.privateKey }));
// Signed by the very key that the kid names, which is refused for what it is.
const weakly = `${b64({ alg: "RS256", kid: "weak" })}.${b64(base)}`;
bad("a token of a weak key is rejected", `${weakly}.${signRaw("sha256", Buffer.from(weakly), weakPair.privateKey).toString("base64url")}`);
bad("a token of a key for encryption is rejected", await token({}, { alg: "ES256", kid: "enc", key: foreign.ES256.privateKey }));
bad("a token of a key whose operations leave out verifying is rejected", await token({}, { alg: "RS256", kid: "signs", key: foreign.RS256.privateKey }));
for (const [which, { privateKey }] of [["first", foreign.EdDSA], ["second", pairs.EdDSA]]) bad(`a token of the ${which} of two keys with one kid is rejected`, await token({}, { kid: "twice", key: privateKey }));
bad("a token of a published secret is rejected", await token({}, { alg: "HS256", kid: "oct" }));
const zeros = (algorithm, kid) => `${b64({ alg: algorithm, kid })}.${b64(base)}.`;
bad("a forged signature for a key of small order is rejected", zeros("EdDSA", "zero") + jose.base64url.encode(Uint8Array.of(1, ...new Uint8Array(63))));
bad("a token for a key that is too short is rejected", zeros("EdDSA", "short") + jose.base64url.encode(new Uint8Array(64)));
bad("a token with a `crit` header is rejected", raw({ alg: "EdDSA", kid: "EdDSA", crit: ["exp"], exp: FAR }, base));
bad("a token with an empty `crit` header is rejected", raw({ alg: "EdDSA", kid: "EdDSA", crit: [] }, base));
bad("a token with a duplicate alg is rejected", raw('{"alg":"none","alg":"EdDSA","kid":"EdDSA"}', base));
bad("a token with a duplicate claim is rejected", raw({ alg: "EdDSA", kid: "EdDSA" }, JSON.stringify(base).replace("{", '{"tenant_id":"t_victim",')));
bad("a token with a duplicate member deep inside a claim is rejected", raw({ alg: "EdDSA", kid: "EdDSA" }, JSON.stringify({ ...base, x: 1 }).replace('"x":1', '"x":[{"a":1,"a":2}]')));
bad("a token whose alg is a number is rejected", raw('{"alg":1,"kid":"EdDSA"}', base));
bad("a token without an alg is rejected", raw({ kid: "EdDSA" }, base));
bad("a token whose header is a list is rejected", raw("[]", base));
bad("a token whose claims are a list is rejected", raw({ alg: "EdDSA", kid: "EdDSA" }, "[]"));
bad("a token whose claims are not JSON is rejected", raw({ alg: "EdDSA", kid: "EdDSA" }, "hello"));
bad("a token whose claims end early is rejected", raw({ alg: "EdDSA", kid: "EdDSA" }, JSON.stringify(base).slice(0, -1)));
bad("a token with data after its claims is rejected", raw({ alg: "EdDSA", kid: "EdDSA" }, `${JSON.stringify(base)}{}`));
bad("a token with very deeply nested claims is rejected", raw({ alg: "EdDSA", kid: "EdDSA" }, JSON.stringify(base).replace("{", `{"x":${"[".repeat(2000)}${"]".repeat(2000)},`)));

// The form.
const fine = await token();
bad("a token of two parts is rejected", fine.split(".").slice(0, 2).join("."));
bad("a token of four parts is rejected", `${fine}.AAAA`);
bad("a token of five parts is rejected", `${fine}.AAAA.AAAA`);
bad("a token with an empty part is rejected", parts(fine, (p) => { p[1] = ""; }));
bad("a token with base64 padding is rejected", `${fine}==`);
bad("a token with base64 padding in its claims is rejected", parts(fine, (p) => { p[1] += "="; }));
bad("a token with a space inside is rejected", fine.replace(".", ". "));
bad("a token in the standard alphabet of base64 is rejected", parts(fine, (p) => { p[2] = `+/${p[2].slice(2)}`; }));
bad("a token with stray trailing bits in its base64 is rejected", parts(fine, (p) => { p[2] = p[2].slice(0, -1) + String.fromCharCode(p[2].at(-1).charCodeAt(0) + 1); }));
bad("an empty token is rejected", "");
bad("a token of dots alone is rejected", "..");
bad("a token with a non-ASCII character is rejected", `${fine.slice(0, -1)}é`);
bad("a token above the size bound is rejected", await token({ more: "x".repeat(9000) }));
good("a long token within the size bound is accepted", await token({ more: "x".repeat(4000) }));
add("two tokens in one header are ambiguous", { headers: { authorization: `Bearer ${fine}, Bearer ${fine}` } }, denied(400, "TENANT_AMBIGUOUS"));
add("the scheme Bearer is accepted in any letter case", { headers: { authorization: `bEaReR ${fine}` } }, allowed("t_acme"));
add("a credential of another scheme counts as no credential", { headers: { authorization: "Basic YWNtZTpzZWNyZXQ=" } }, wanting);
for (const between of ["\t", ": ", ":", "  \t", "=", ","]) {
  add(`a token separated from its scheme by ${JSON.stringify(between)} is rejected`, { headers: { authorization: `Bearer${between}${fine}` } }, between === "," ? denied(400, "TENANT_AMBIGUOUS") : refused);
}
add("a space before the scheme is ignored", { headers: { authorization: ` Bearer ${fine}` } }, allowed("t_acme"));
add("a scheme that only begins with Bearer counts as no credential", { headers: { authorization: `BearerX ${fine}` } }, wanting);
add("the scheme without a token is rejected", { headers: { authorization: "Bearer" } }, refused);
add("a token without a scheme counts as no credential", { headers: { authorization: fine } }, wanting);

// Every claim.
for (const [name, claims] of Object.entries({
  "no issuer": { iss: undefined }, "an unknown issuer": { iss: "https://id.attacker.example/" }, "an issuer that lacks its final slash": { iss: MAIN.slice(0, -1) },
  "an issuer in upper case": { iss: MAIN.toUpperCase() }, "a list of issuers": { iss: [MAIN] }, "the issuer `__proto__`": { iss: "__proto__" },
  "no audience": { aud: undefined }, "another audience": { aud: "https://other.example.com" }, "an audience that has an extra slash": { aud: `${AUDIENCE}/` }, "an empty list of audiences": { aud: [] },
  "audiences of mixed types": { aud: [AUDIENCE, 1] }, "a number as its audience": { aud: 1 }, "`true` as its audience": { aud: true }, "an object as its audience": { aud: { [AUDIENCE]: 1 } },
  "too many audiences": { aud: [AUDIENCE, ...Array.from({ length: 16 }, (_, i) => `a${i}`)] }, "the client's id as its audience, like an ID token,": { aud: "client-7", nonce: "n" },
  "no expiry": { exp: undefined }, "a string as its expiry": { exp: String(FAR) }, "`null` as its expiry": { exp: null }, "`true` as its expiry": { exp: true }, "a list as its expiry": { exp: [FAR] },
  "an expiry before 1970": { exp: -1 }, "an expiry of zero": { exp: 0 }, "an expiry in milliseconds": { exp: FAR * 1000 }, "an expiry of 1e308": { exp: 1e308 }, "an expiry in the past": { exp: PAST },
  "a string as its start": { nbf: "0" }, "`null` as its start": { nbf: null }, "a start in 2099": { nbf: FAR - 1 }, "an issue time in 2099": { iat: FAR - 1 }, "a string as its issue time": { iat: "x" },
  "a number as its subject": { sub: 7 }, "a list as its subject": { sub: ["user-1"] }, "a subject of 256 bytes": { sub: "s".repeat(256) },
  "no tenant": { tenant_id: undefined }, "a number as its tenant": { tenant_id: 1 }, "`null` as its tenant": { tenant_id: null }, "a list of tenants": { tenant_id: ["t_acme"] }, "an object as its tenant": { tenant_id: { id: "t_acme" } },
  "an empty tenant": { tenant_id: "" }, "a path as its tenant": { tenant_id: "../t_victim" }, "NUL in its tenant": { tenant_id: "t_acme\u0000" }, "a comma in its tenant": { tenant_id: "t_acme,t_victim" },
  "the tenant `__proto__`": { tenant_id: "__proto__" }, "a number as its scopes": { scope: 1 }, "too many scopes": { scope: Array.from({ length: 65 }, (_, i) => `s${i}`) },
})) {
  bad(`a token with ${name} is rejected`, await token(claims));
}
bad("a token with an expiry of 1e400 is rejected", raw({ alg: "EdDSA", kid: "EdDSA" }, JSON.stringify(base).replace(String(FAR), "1e400")));
good("a token with a list of audiences is accepted", await token({ aud: ["x", AUDIENCE] }));
good("a token with a fraction in its expiry is accepted", await token({ exp: FAR + 0.5 }));
good("a token without a subject is accepted", await token({ sub: undefined }));
good("a token with a subject of 255 bytes is accepted", await token({ sub: "s".repeat(255) }));
add("a token for an unknown tenant gets 404", { headers: bearer(await token({ tenant_id: "t_nobody" })) }, denied(404, "TENANT_NOT_FOUND"));
add("a token for a deleted tenant gets 404", { headers: bearer(await token({ tenant_id: "t_deleted" })) }, denied(404, "TENANT_NOT_FOUND"));
add("a token for a suspended tenant gets 403", { headers: bearer(await token({ tenant_id: "t_suspended" })) }, denied(403, "TENANT_SUSPENDED"));
add("a token with a slug in place of the tenant's id gets 404", { headers: bearer(await token({ tenant_id: "acme" })) }, denied(404, "TENANT_NOT_FOUND"));

// Clocks: 30 s of leeway, but for `eu`, which has none.
const timed = (name, claims, expect) => async () => add(name, { headers: bearer(await token(claims)) }, expect, { at });
for (const one of [
  timed("a token is accepted 1 s before its expiry", { exp: NOW + 1 }, allowed("t_acme")), timed("a token is accepted 1 s after its expiry, within the leeway", { exp: NOW - 1 }, allowed("t_acme")),
  timed("a token is accepted 29 s after its expiry, within the leeway", { exp: NOW - 29 }, allowed("t_acme")), timed("a token is rejected 30 s after its expiry, when the leeway ends", { exp: NOW - 30 }, refused),
  timed("a token is accepted 30 s before its start, within the leeway", { nbf: NOW + 30 }, allowed("t_acme")), timed("a token is rejected 31 s before its start", { nbf: NOW + 31 }, refused),
  timed("a token is accepted 30 s before its issue time, within the leeway", { iat: NOW + 30 }, allowed("t_acme")), timed("a token is rejected 31 s before its issue time", { iat: NOW + 31 }, refused),
]) await one();

// Issuers are bound to their tenants.
const acme = (claims, header) => token({ iss: "https://login.acme.example", ...claims }, { key: acmePair.privateKey, kid: "a1", ...header });
good("an issuer of one tenant signs for that tenant", await acme({}));
good("an issuer of one tenant needs no tenant claim", await acme({ tenant_id: undefined }));
bad("an issuer of one tenant cannot sign for another tenant", await acme({ tenant_id: "t_victim" }));
bad("an issuer of one tenant cannot sign for an unknown tenant", await acme({ tenant_id: "t_nobody" }));
bad("the key of an issuer of one tenant cannot sign in the name of another issuer", await acme({ iss: MAIN }));
bad("another issuer's key cannot sign in the name of an issuer of one tenant", await token({ iss: "https://login.acme.example" }));
bad("an issuer rejects an algorithm that it does not list", await token({ iss: "https://login.acme.example" }, { alg: "ES256", key: foreign.ES256.privateKey, kid: "a1" }));
const eu = (claims, header) => token({ iss: "https://eu.example.com", tenant_id: undefined, org: { tenant: "t_eu_one" }, ...claims }, { alg: "RS256", key: euPair.privateKey, kid: undefined, typ: "at+jwt", ...header });
good("an issuer with a tenant prefix, a claim path, a type and a PEM key accepts its token", await eu({}), "t_eu_one");
good("a token's type may be a media type in any letter case", await eu({}, { typ: "application/AT+JWT" }), "t_eu_one");
good("a tenant claim may have a dot in its name", await eu({ org: undefined, "org.tenant": "t_eu_one" }), "t_eu_one");
good("any kid is accepted where the only key has no kid", await eu({}, { kid: "whatever" }), "t_eu_one");
good("an issuer accepts its second audience", await eu({ aud: "eu-api" }), "t_eu_one");
bad("a token of another type is rejected", await eu({}, { typ: "JWT" }));
bad("a token without a type is rejected where its issuer requires one", await eu({}, { typ: undefined }));
bad("a tenant outside the issuer's prefix is rejected", await eu({ org: { tenant: "t_acme" } }));
bad("the default tenant claim is rejected where the issuer names another one", await eu({ org: undefined, tenant_id: "t_eu_one" }));
bad("a tenant claim whose path ends early is rejected", await eu({ org: "t_eu_one" }));
bad("an issuer without leeway rejects a token at its expiry", await eu({ exp: NOW }), { at });

// Agreement.
const mismatch = denied(403, "TENANT_MISMATCH");
const is = bearer(fine);
add("a token that agrees with the host is accepted", { host: "acme.app.example.com", headers: is }, allowed("t_acme", { credential: { kind: "jwt", tenant: "t_acme", issuer: "main", subject: "user-1", scopes: [] } }));
add("a token on another tenant's host is a mismatch", { host: "victim.app.example.com", headers: is }, mismatch);
add("a token beside a header that names another tenant is a mismatch", { headers: { ...is, "x-tenant-id": "t_victim" } }, mismatch);
add("a token beside a query that names another tenant is a mismatch", { query: "tenant=victim", headers: is }, mismatch);
for (const query of ["a=1;tenant=victim", "%20tenant=victim", "Tenant=victim", "tenant.x=victim", "tenant%00=victim", "tenant%20=victim", "tenant[]=victim", "a;tenant=victim"]) {
  add(`a query that an origin may read as another tenant is rejected: ${query}`, { query, headers: is }, denied(400, "BAD_REQUEST"));
}
add("query parameters with similar names are ignored", { query: "tenants=victim&subtenant=victim&x=tenant&y=a;b", headers: is }, allowed("t_acme"));
add("a token beside a path that names another tenant is a mismatch", { path: "/t/victim/api", headers: is }, mismatch);
add("one signal that disagrees with all others is a mismatch", { host: "acme.app.example.com", path: "/t/acme/api", query: "tenant=victim", headers: is }, mismatch);
add("signals that all agree with the token are accepted", { host: "acme.app.example.com", path: "/t/acme/api", query: "tenant=acme", headers: { ...is, "x-tenant-id": "t_acme" } }, allowed("t_acme"));
add("a token on the host of an unknown tenant gets 404", { host: "nobody.app.example.com", headers: is }, denied(404, "TENANT_NOT_FOUND"));
add("a token on a foreign host gets 404", { host: "acme.app.example.com.evil.net", headers: is }, denied(404, "TENANT_NOT_FOUND"));
add("a header without a credential gets 401", { headers: { "x-tenant-id": "t_acme" } }, wanting);
add("a host without a credential gets 401", { host: "acme.app.example.com" }, wanting);
add("the host of an unknown tenant without a credential gets 401, not 404", { host: "nobody.app.example.com" }, wanting);
add("a request without signals and credentials gets 401", {}, wanting);
add("an open route needs no credential", { path: "/open", host: "acme.app.example.com" }, allowed("t_acme"));
add("an open route rejects a bad token", { path: "/open", host: "acme.app.example.com", headers: bearer(flip(fine)) }, refused);
add("a token that contradicts the host is a mismatch on an open route too", { path: "/open", host: "victim.app.example.com", headers: is }, mismatch);
add("a public route ignores a bad token", { path: "/public", headers: bearer("rubbish") }, { status: 200, decision: { tenant: null } });
for (const [what, headers] of [["two cookies", { cookie: "session=a; session=b" }], ["two tokens", { authorization: "Bearer a, Bearer b" }], ["two API keys", { "x-api-key": "a,b" }], ["two tenants", { "x-tenant-id": "a,b" }], ["very long cookies", { cookie: "a=b; ".repeat(4000) }]]) {
  add(`a public route ignores ${what}`, { path: "/public", headers }, { status: 200, decision: { tenant: null } });
}
add("a public route is allowed behind the prefix of an invalid tenant", { path: "/t/NOBODY/public", query: "tenant[]=x" }, { status: 200, path: "/public", decision: { tenant: null } });
add("a central route without a tenant needs no credential", { path: "/central" }, { status: 200, decision: { tenant: null } });
add("a central route that names a tenant needs a credential", { path: "/central", headers: { "x-tenant-id": "t_acme" } }, wanting);
add("a central route with a token is served as its tenant", { path: "/central", headers: is }, allowed("t_acme"));

// Cookies.
add("a token in the session cookie is accepted", { headers: { cookie: `theme=dark; session=${fine}` } }, allowed("t_acme"));
// Tenants under one base domain are one site: only the browser's word says that a request comes from its own origin.
const ambient = { cookie: `session=${fine}` };
const here = { host: "acme.app.example.com", method: "POST", path: "/" };
for (const [what, headers] of [
  ["its own origin, by Sec-Fetch-Site", { "sec-fetch-site": "same-origin" }], ["the user's own navigation", { "sec-fetch-site": "none" }],
  ["its own origin, by Origin alone", { origin: "https://acme.app.example.com" }], ["its own origin in another spelling", { origin: "https://ACME.app.example.com:443" }],
]) add(`a cookie counts for POST from ${what}`, { ...here, headers: { ...ambient, ...headers } }, allowed("t_acme"));
for (const [what, headers] of [
  ["a sibling tenant's host", { "sec-fetch-site": "same-site", origin: "https://victim.app.example.com" }], ["another site", { "sec-fetch-site": "cross-site", origin: "https://evil.example" }],
  ["a sibling tenant's host, by Origin alone", { origin: "https://victim.app.example.com" }], ["an opaque origin", { origin: "null" }], ["an unknown origin", {}],
  ["two sites at once", { "sec-fetch-site": "same-origin, same-site" }], ["a sibling tenant's host with a forged Origin", { "sec-fetch-site": "same-site", origin: "https://acme.app.example.com" }],
]) add(`a cookie does not count for POST from ${what}`, { ...here, headers: { ...ambient, ...headers } }, wanting);
for (const method of ["PUT", "PATCH", "DELETE", "PROPFIND"]) add(`a cookie does not count for ${method} from a sibling tenant's host`, { ...here, method, headers: { ...ambient, "sec-fetch-site": "same-site" } }, wanting);
for (const method of ["GET", "HEAD", "OPTIONS"]) add(`a cookie counts for ${method} from a sibling tenant's host`, { ...here, method, headers: { ...ambient, "sec-fetch-site": "same-site" } }, allowed("t_acme"));
add("a cookie does not count for a WebSocket from a sibling tenant's host", { ...here, method: "GET", headers: { ...ambient, upgrade: "websocket", origin: "https://victim.app.example.com" } }, wanting);
add("a cookie counts for a WebSocket from its own origin", { ...here, method: "GET", headers: { ...ambient, upgrade: "websocket", origin: "https://acme.app.example.com" } }, allowed("t_acme"));
add("a token in a header counts for POST from another site", { ...here, headers: { ...is, "sec-fetch-site": "cross-site" } }, allowed("t_acme"));
add("a cookie on another tenant's host is a mismatch", { host: "victim.app.example.com", headers: { cookie: `session=${fine}` } }, mismatch);
add("two session cookies are ambiguous", { headers: { cookie: `session=${fine}; session=${fine}` } }, denied(400, "TENANT_AMBIGUOUS"));
add("the same token in the cookie and the header is accepted", { headers: { ...is, cookie: `session=${fine}` } }, allowed("t_acme"));
add("different tokens in the cookie and the header are ambiguous", { headers: { ...is, cookie: `session=${await token({ tenant_id: "t_victim" })}` } }, denied(400, "TENANT_AMBIGUOUS"));
add("a cookie with a similar name counts as no credential", { headers: { cookie: `xsession=${fine}; session2=${fine}` } }, wanting);
add("a bad token in the session cookie is rejected", { headers: { cookie: `session=${flip(fine)}` } }, refused);
add("an empty session cookie counts as no credential", { headers: { cookie: "session=; theme=dark" } }, wanting);
add("an empty session cookie beside a token in the header is ignored", { headers: { ...is, cookie: "session=" } }, allowed("t_acme"));
add("an empty session cookie beside a second one is ambiguous", { headers: { cookie: `session=; session=${fine}` } }, denied(400, "TENANT_AMBIGUOUS"));
add("a session cookie after a comma is ambiguous", { headers: { cookie: `a=1, session=${fine}` } }, denied(400, "TENANT_AMBIGUOUS"));
add("a session cookie with a quoted name is ambiguous", { headers: { cookie: `"session"=${fine}` } }, denied(400, "TENANT_AMBIGUOUS"));
add("a cookie header above the size bound is rejected", { headers: { cookie: "a=b; ".repeat(4000) } }, denied(400, "BAD_REQUEST"));

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
const keyed = (name, headers, expect, more = {}, ask = {}) => add(name, { headers, ...ask }, expect, more);
keyed("a good API key is accepted", shows(key("Acme")), allowed("t_acme", { credential: { kind: "api_key", tenant: "t_acme", key: id("Acme"), scopes: ["api.read"] } }));
keyed("spaces around an API key are ignored", shows(` ${key("Acme")} `), allowed("t_acme"));
keyed("an API key with another secret and the right checksum is rejected", shows(key("Acme", "other")), wanting);
keyed("an unknown API key is rejected", shows(key("Nobody")), wanting);
keyed("an API key with the id of another key is rejected", shows(key("Victim", "Acme")), wanting);
keyed("an API key with a wrong checksum is rejected", shows(flip(key("Acme"), 60)), wanting);
keyed("an API key that lacks a character is rejected", shows(key("Acme").slice(0, -1)), wanting);
keyed("an API key with an extra character is rejected", shows(`${key("Acme")}0`), wanting);
keyed("an empty API key is rejected", shows(""), wanting);
keyed("an API key with its prefix in upper case is rejected", shows(key("Acme").replace("tg_live_", "TG_LIVE_")), wanting);
keyed("an API key with an unknown prefix is rejected", shows(whole(key("Acme").slice(0, 56).replace("tg_live_", "tg_prod_"))), wanting);
keyed("a test key with the prefix of a live key is rejected", shows(whole(key("Trial", "Trial", "test").slice(0, 56).replace("tg_test_", "tg_live_"))), wanting);
keyed("a test key is rejected where the environment is live", shows(key("Trial", "Trial", "test")), wanting);
keyed("an API key with a path as its id is rejected", shows(whole(`tg_live_${"../../victim0000"}${"0".repeat(32)}`)), wanting);
keyed("an API key with non-ASCII characters is rejected", shows(`tg_live_${"é".repeat(27)}`), wanting);
keyed("two API keys in one header are ambiguous", shows(`${key("Acme")}, ${key("Victim")}`), denied(400, "TENANT_AMBIGUOUS"));
keyed("an API key above the size bound is rejected", shows("tg_live_".repeat(100)), denied(400, "BAD_REQUEST"));
keyed("an API key is accepted a millisecond before it expires", shows(key("Expired")), allowed("t_acme"), { at: "2026-11-22T11:59:59.999Z" });
keyed("an API key is rejected when it expires", shows(key("Expired")), wanting, { at });
keyed("an API key is accepted a millisecond before it is revoked", shows(key("Revoked")), allowed("t_acme"), { at: "2026-11-22T11:59:59.999Z" });
keyed("an API key is rejected when it is revoked", shows(key("Revoked")), wanting, { at });
keyed("an API key of a suspended tenant gets 403", shows(key("Suspended")), denied(403, "TENANT_SUSPENDED"));
keyed("an API key of a deleted tenant gets 404", shows(key("Deleted")), denied(404, "TENANT_NOT_FOUND"));
keyed("an API key older than its tenant's `credentials_from` is rejected", shows(key("Old")), wanting);
keyed("an API key newer than its tenant's `credentials_from` is accepted", shows(key("New")), allowed("t_reset"));
keyed("an API key beside a header that names another tenant is a mismatch", { ...shows(key("Acme")), "x-tenant-id": "t_victim" }, mismatch);
keyed("an API key on another tenant's host is a mismatch", shows(key("Acme")), mismatch, {}, { host: "victim.app.example.com" });
keyed("an API key beside a token of the same tenant is accepted", { ...shows(key("Acme")), ...is }, allowed("t_acme"));
keyed("an API key beside a token of another tenant is a mismatch", { ...shows(key("Victim")), ...is }, mismatch);
keyed("a bad API key beside a good token is rejected", { ...shows(key("Nobody")), ...is }, wanting);
keyed("a good API key beside a bad token is rejected", { ...shows(key("Acme")), ...bearer(flip(fine)) }, refused);
keyed("an API key as a bearer token is rejected", bearer(key("Acme")), refused);
bad("a token older than its tenant's `credentials_from` is rejected", await token({ tenant_id: "t_reset" }));
bad("a token without an issue time is rejected where its tenant has `credentials_from`", await token({ tenant_id: "t_reset", iat: undefined }));
good("a token newer than its tenant's `credentials_from` is accepted", await token({ tenant_id: "t_reset", iat: 1769904000 }), "t_reset");

// What a route asks for.
const insufficient = (challenge = 'Bearer realm="tenantgate", error="insufficient_scope", scope="api.read api.write", ApiKey realm="tenantgate"') =>
  ({ status: 403, headers: { "www-authenticate": challenge }, decision: { code: "INSUFFICIENT_SCOPE", error: { details: { scopes: ["api.read", "api.write"] } } } });
add("a token is rejected where the route requires an API key", { path: "/key", headers: is }, { status: 401, headers: { "www-authenticate": 'ApiKey realm="tenantgate"' }, decision: { code: "UNAUTHENTICATED" } });
add("an API key is rejected where the route requires a token", { path: "/token", headers: shows(key("Acme")) }, { status: 401, headers: { "www-authenticate": 'Bearer realm="tenantgate"' }, decision: { code: "UNAUTHENTICATED" } });
add("an API key is accepted where the route requires an API key", { path: "/key", headers: shows(key("Acme")) }, allowed("t_acme"));
add("a token is accepted where the route requires a token", { path: "/token", headers: is }, allowed("t_acme"));
for (const path of [
  "/scoped.json", "/scoped.", "/scoped..", "/scoped%20", "/scoped%3Fx", "/scoped%23x", "/scoped%252fx", "/%2573coped", "/%252573coped", "/SCOPED.json", "/scoped;v.json",
  "/scoped%09", "/scoped%0a", "/scoped%00", "/scoped%00.html", "/scoped%7f", "/open%2f..%2fscoped", "/open/%252e%252e/scoped", "/open/..%20/scoped", "/open/...%20/scoped", "/open/%ef%bc%8e%ef%bc%8e/scoped",
  "/public/%252e%252e/scoped", "/public/..%00/scoped", "/public/..%20/scoped", "/public/%ef%bc%8e%ef%bc%8e/scoped", "/public/..;/scoped", "/public%5c..%5cscoped",
]) add(`a path that an origin may read as another route is rejected: ${path}`, { path, headers: is }, denied(400, "BAD_REQUEST"));
for (const path of ["/files/report.pdf", "/files/a%20b.txt", "/public/app.js", "/public/what%3F.html", "/scoped-out", "/Files/README.md"]) {
  add(`a path with only one reading is allowed: ${path}`, { path, headers: is }, { status: 200 });
}
add("a token may have its scopes in one string", { path: "/scoped", headers: bearer(await token({ scope: "api.write api.read" })) }, allowed("t_acme", { credential: { scopes: ["api.write", "api.read"] } }));
add("a token may have its scopes in a list", { path: "/scoped", headers: bearer(await token({ scp: ["api.read", "api.write", "x y", 7] })) }, allowed("t_acme"));
add("an API key with all scopes of the route is allowed", { path: "/scoped", headers: shows(key("Both")) }, allowed("t_acme"));
add("a token without scopes is denied where the route requires some", { path: "/scoped", headers: is }, insufficient());
add("an API key with one of two required scopes is denied", { path: "/scoped", headers: shows(key("Acme")) }, insufficient());
add("a scope that only begins like a required one does not count", { path: "/scoped", headers: bearer(await token({ scope: "api.read2 api.writer" })) }, insufficient());
add("the scopes of two credentials do not add up", { path: "/scoped", headers: { ...shows(key("Write")), ...bearer(await token({ scope: "api.read" })) } }, insufficient());
add("one of two credentials may have all required scopes", { path: "/scoped", headers: { ...shows(key("Both")), ...is } }, allowed("t_acme", { credential: { kind: "api_key" } }));

// Ancestors.
const org = bearer(await token({ tenant_id: "t_org" }));
const acting = (tenant) => allowed(tenant, { credential: { tenant: "t_org" } });
add("an ancestor acts for its child where the route allows it", { path: "/family", headers: { ...org, "x-tenant-id": "t_team" } }, acting("t_team"));
add("an ancestor acts for its grandchild where the route allows it", { path: "/family/x", headers: { ...org, "x-tenant-id": "t_project" } }, acting("t_project"));
add("an ancestor acts for itself where the route lets it act for descendants", { path: "/family", headers: org }, acting("t_org"));
add("an ancestor does not act for its child on any other route", { headers: { ...org, "x-tenant-id": "t_team" } }, mismatch);
add("an ancestor does not act for a tenant of another family", { path: "/family", headers: { ...org, "x-tenant-id": "t_victim" } }, mismatch);
add("a child does not act for its parent", { path: "/family", headers: { ...bearer(await token({ tenant_id: "t_team" })), "x-tenant-id": "t_org" } }, mismatch);
add("a tenant does not act for a tenant of another family", { path: "/family", headers: { ...shows(key("Acme")), "x-tenant-id": "t_team" } }, mismatch);
add("an ancestor's API key beside a child's token acts for the child", { path: "/family", headers: { ...shows(key("Org")), ...bearer(await token({ tenant_id: "t_team" })) } }, allowed("t_team"));
add("a child's API key beside an ancestor's token acts for the child", { path: "/family", headers: { ...shows(key("Team")), ...org } }, allowed("t_team"));
add("an ancestor's API key beside a child's token is a mismatch on any other route", { headers: { ...shows(key("Org")), ...bearer(await token({ tenant_id: "t_team" })) } }, mismatch);

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
