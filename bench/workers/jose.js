// The Worker that an engineer writes to verify a token with `jose`.

import { createLocalJWKSet, jwtVerify } from "jose";

let keys;

export default {
  async fetch(request, { JWKS, ISSUER, AUDIENCE }) {
    keys ??= createLocalJWKSet(JSON.parse(JWKS));
    const token = request.headers.get("authorization").slice("Bearer ".length);
    const { payload } = await jwtVerify(token, keys, { issuer: ISSUER, audience: AUDIENCE });
    const body = { allowed: true, tenant: { id: payload.tenant_id }, subject: payload.sub, scopes: payload.scope.split(" ") };
    return Response.json(body, { headers: { "cache-control": "private, no-store" } });
  },
};
