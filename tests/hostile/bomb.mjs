// An issuer that publishes a few hundred bytes, which unpack to a hundred megabytes.

import { createServer } from "node:http";
import { brotliCompressSync, constants } from "node:zlib";
import { AUDIENCE } from "../worker/issuer.mjs";

const SIZE = 100 << 20;

/** Starts the issuer for these tenants. `token(tenant, kid)` makes a gate ask for its keys. */
export async function bomb(tenants) {
  const packed = brotliCompressSync(Buffer.alloc(SIZE, " "), { params: { [constants.BROTLI_PARAM_QUALITY]: 5 } });
  const server = createServer((_, response) => {
    response.writeHead(200, { "content-type": "application/json", "content-encoding": "br", "content-length": packed.length });
    response.end(packed);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const entry = {
    issuer: "https://login.mallory.example", audience: [AUDIENCE], algorithms: ["ES256"], tenants,
    jwks_url: `http://127.0.0.1:${server.address().port}/keys`,
  };
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  return {
    entry,
    token(tenant, kid) {
      const now = Math.floor(Date.now() / 1000);
      const claims = { iss: entry.issuer, aud: AUDIENCE, sub: "user-1", tenant_id: tenant, iat: now, exp: now + 600 };
      return `${part({ alg: "ES256", kid, typ: "JWT" })}.${part(claims)}.${"A".repeat(86)}`;
    },
    stop: () => new Promise((resolve) => { server.close(resolve); server.closeAllConnections(); }),
  };
}
