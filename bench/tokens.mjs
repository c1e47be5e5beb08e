// (e) New tokens in the Worker, compared with `jose` on the same runtime.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildSync } from "esbuild";
import * as jose from "jose";
import { publish } from "../pkg/node.js";
import { workerd } from "../tests/support/workerd.mjs";
import { get, ratio, turns } from "./load.mjs";

const ALGORITHMS = ["EdDSA", "ES256", "ES384", "RS256"];
const AUDIENCE = "https://api.example.com";
/** More tokens than an isolate remembers, so that a repeated token is new again. */
const TOKENS = 6_000;

async function issuer(alg) {
  const { publicKey, privateKey } = await jose.generateKeyPair(alg, { extractable: true });
  const claims = { iss: alg, aud: AUDIENCE, tenant_id: "t_acme", scope: "api.read", exp: Math.floor(Date.now() / 1000) + 3600 };
  const sign = (_, i) => new jose.SignJWT({ ...claims, sub: `user-${i}` }).setProtectedHeader({ alg, kid: alg }).sign(privateKey);
  const jwk = { ...(await jose.exportJWK(publicKey)), kid: alg };
  return { alg, jwk, tokens: await Promise.all(Array.from({ length: TOKENS }, sign)) };
}

/** Rows of the comparison. */
export async function tokens() {
  const issuers = await Promise.all(ALGORITHMS.map(issuer));
  const catalog = {
    version: 1,
    resolution: { strategies: [{ strategy: "jwt" }] },
    routes: [{ path: "/", scopes: ["api.read"] }],
    plans: { "pro@1": {} },
    issuers: Object.fromEntries(issuers.map(({ alg, jwk }) => [
      alg.toLowerCase(), { issuer: alg, audience: [AUDIENCE], algorithms: [alg], tenants: "all", keys: [{ jwk }] },
    ])),
  };
  const folder = mkdtempSync(join(tmpdir(), "tenantgate-tokens-"));
  const bundle = buildSync({ entryPoints: [join(import.meta.dirname, "workers/jose.js")], bundle: true, format: "esm", write: false, conditions: ["workerd"] });
  const script = bundle.outputFiles[0].text;
  const peers = Object.fromEntries(issuers.map(({ alg, jwk }) => [
    `jose${alg}`, { script, bindings: { JWKS: JSON.stringify({ keys: [jwk] }), ISSUER: alg, AUDIENCE } },
  ]));
  const { ports, pid, kill } = await workerd({
    folder, entries: publish({ catalog, tenants: [{ id: "t_acme", slug: "acme", plan: "pro@1" }] }), workers: peers,
  }).start();
  try {
    const rows = [];
    for (const { alg, tokens } of issuers) {
      const next = () => {
        let i = 0;
        return () => get("/", { Authorization: `Bearer ${tokens[i++ % TOKENS]}` });
      };
      const contenders = { own: { port: ports.gate, request: next() }, jose: { port: ports[`jose${alg}`], request: next() } };
      const { own, jose } = await turns(contenders, { pid, slices: 16 });
      const times = 1 / ratio(own, jose);
      const us = ({ rate }) => 1e6 / rate;
      rows.push({
        name: `a request with a new token in the Worker, ${alg}, beside jose`,
        value: us(own), unit: "µs", peer: us(jose), ratio: times, target: 1.2, ok: times <= 1.2,
      });
    }
    return rows;
  } finally {
    await kill();
    rmSync(folder, { recursive: true, force: true });
  }
}

if (process.argv[1] === import.meta.filename) {
  console.table(await tokens());
  process.exit(0);
}
