// An issuer of tokens: real keys, real signatures (by `jose`), published over real HTTP.

import * as jose from "jose";
import { serve } from "./server.mjs";

export const AUDIENCE = "https://api.example.com";

/** Starts an issuer. `tenants`: those that it may name; `label`: the first label of its name. */
export async function issuer({ alg = "ES256", kid = "k1", label = kid, tenants = "all", claims: usual = {} } = {}) {
  const keys = new Map();
  const add = async (name) => {
    const pair = await jose.generateKeyPair(alg, { extractable: true });
    keys.set(name, { ...pair, jwk: { ...(await jose.exportJWK(pair.publicKey)), kid: name, alg, use: "sig" } });
  };
  await add(kid);
  const state = { requests: 0, status: 200, headers: {}, body: undefined, wait: undefined };
  const server = await serve(async (request, response) => {
    state.requests++;
    await state.wait;
    response.writeHead(state.status, { "content-type": "application/json", ...state.headers });
    response.end(state.body ?? JSON.stringify({ keys: [...keys.values()].map(({ jwk }) => jwk) }));
  });
  const url = `${server.url}/keys`;
  const name = `https://${label}.id.example.com`;
  const now = () => Math.floor(Date.now() / 1000);
  return {
    url, state, keys, add, name,
    /** The issuer's entry in the catalog. */
    entry: { issuer: name, audience: [AUDIENCE], algorithms: [alg], tenants, jwks_url: url },
    /** Signs a token for `tenant`. Claims and header members that are undefined are left out. */
    sign: (tenant, claims = {}, { key, ...header } = {}) =>
      new jose.SignJWT({ iss: name, aud: AUDIENCE, sub: "user-1", tenant_id: tenant, iat: now(), exp: now() + 600, ...usual, ...claims })
        .setProtectedHeader({ alg, kid, typ: "JWT", ...header }).sign(key ?? keys.get(kid).privateKey),
    stop: server.stop,
  };
}
