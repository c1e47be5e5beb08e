// An issuer whose keys are a few hundred bytes, which unpack to 100 MB.

import { brotliCompressSync, constants } from "node:zlib";
import { AUDIENCE } from "../support/issuer.mjs";
import { serve } from "../support/server.mjs";

const SIZE = 100 << 20;

/** Starts the issuer for these tenants. A token of `token(tenant, kid)` makes a gate fetch keys. */
export async function bomb(tenants) {
  const packed = brotliCompressSync(Buffer.alloc(SIZE, " "), { params: { [constants.BROTLI_PARAM_QUALITY]: 5 } });
  const server = await serve((_, response) => {
    response.writeHead(200, { "content-type": "application/json", "content-encoding": "br", "content-length": packed.length });
    response.end(packed);
  });
  const entry = {
    issuer: "https://login.mallory.example", audience: [AUDIENCE], algorithms: ["ES256"], tenants,
    jwks_url: `${server.url}/keys`,
  };
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  return {
    entry,
    token(tenant, kid) {
      const now = Math.floor(Date.now() / 1000);
      const claims = { iss: entry.issuer, aud: AUDIENCE, sub: "user-1", tenant_id: tenant, iat: now, exp: now + 600 };
      return `${part({ alg: "ES256", kid, typ: "JWT" })}.${part(claims)}.${"A".repeat(86)}`;
    },
    stop: server.stop,
  };
}
