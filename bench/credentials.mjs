// (e) The cost of credentials: decisions with a new token of each algorithm, compared with `jose`,
// which uses the runtime's native cryptography; with a token that was verified before; with an API
// key; and without a credential.

import assert from "node:assert/strict";
import * as jose from "jose";
import { Gate, issueApiKey } from "../pkg/node.js";
import { compare } from "./measure.mjs";

const ALGORITHMS = ["HS256", "EdDSA", "ES256", "ES384", "RS256", "PS256"];
const AUDIENCE = "https://api.example.com";
const TOKENS = 64;
const ROUNDS = 15;
const SECRET = "a secret of thirty-two bytes or more";

const catalog = {
  version: 1,
  resolution: { strategies: [{ strategy: "subdomain", base_domains: ["app.example.com"] }, { strategy: "jwt" }, { strategy: "api_key" }] },
  routes: [{ path: "/", scopes: ["api.read"] }, { path: "/open", auth: "none" }],
  plans: { "pro@1": {} },
};
const tenants = [{ id: "t_acme", slug: "acme", plan: "pro@1" }];
const at = (headers, path = "/api/tasks") => ({ host: "acme.app.example.com", path, headers });
const bearer = (token) => at({ authorization: `Bearer ${token}` });
const median = (numbers) => numbers.sort((a, b) => a - b)[Math.floor(numbers.length / 2)];

async function issuer(alg) {
  const shared = alg.startsWith("HS");
  const pair = shared ? undefined : await jose.generateKeyPair(alg, { extractable: true });
  const secret = new TextEncoder().encode(SECRET);
  const entry = { issuer: "bench", audience: [AUDIENCE], algorithms: [alg], tenants: "all" };
  const jwk = pair && { ...(await jose.exportJWK(pair.publicKey)), kid: "k" };
  const claims = { iss: "bench", aud: AUDIENCE, tenant_id: "t_acme", scope: "api.read", exp: Math.floor(Date.now() / 1000) + 3600 };
  const sign = (subject) => new jose.SignJWT({ ...claims, sub: subject })
    .setProtectedHeader({ alg, kid: "k" }).sign(pair?.privateKey ?? secret);
  const issuers = { main: { ...entry, keys: [shared ? { secret: "S", kid: "k" } : { jwk }] } };
  return {
    tokens: await Promise.all(Array.from({ length: TOKENS }, (_, i) => sign(`user-${i}`))),
    key: pair?.publicKey ?? secret,
    gate: () => new Gate({ ...catalog, issuers }, tenants, { secrets: { S: SECRET } }),
  };
}

/** Nanoseconds to verify a new token, by the gate and by `jose`. */
async function fresh({ tokens, key, gate }) {
  const [own, peer] = [[], []];
  for (let round = 0; round < ROUNDS; round++) {
    // A new gate has an empty cache.
    const empty = gate();
    const requests = tokens.map(bearer);
    assert(empty.decide(requests[0]).allowed);
    let begun = performance.now();
    for (let i = 1; i < TOKENS; i++) assert(empty.decide(requests[i]).allowed);
    own.push(((performance.now() - begun) * 1e6) / (TOKENS - 1));
    empty.free();
    begun = performance.now();
    for (let i = 1; i < TOKENS; i++) await jose.jwtVerify(tokens[i], key, { issuer: "bench", audience: AUDIENCE });
    peer.push(((performance.now() - begun) * 1e6) / (TOKENS - 1));
  }
  return [median(own), median(peer)];
}

/** Rows for credentials. */
export async function credentials() {
  const rows = [];
  for (const alg of ALGORITHMS) {
    const [value, peer] = await fresh(await issuer(alg));
    rows.push({ name: `a new token, ${alg}, compared with jose`, value, unit: "ns", peer, ratio: value / peer, target: null, ok: null });
  }
  const { tokens, gate } = await issuer("ES256");
  const { key, record } = issueApiKey({ tenant: "t_acme", scopes: ["api.read"] });
  const held = gate();
  held.putApiKey(record);
  const kinds = { none: at(undefined, "/open/tasks"), token: bearer(tokens[0]), key: at({ "x-api-key": key }) };
  const ns = compare(Object.fromEntries(Object.entries(kinds).map(([name, request]) => [name, (n) => {
    let allowed = 0;
    for (let i = 0; i < n; i++) allowed += held.decide(request).allowed ? 1 : 0;
    assert.equal(allowed, n);
    return allowed;
  }])));
  const row = (name, value) => ({
    name: `${name}, compared with no credential`, value, unit: "ns", peer: ns.none, ratio: value / ns.none, target: null, ok: null,
  });
  return [...rows, row("a verified token", ns.token), row("an API key", ns.key)];
}

if (process.argv[1] === import.meta.filename) console.table(await credentials());
