// Before Next.js: the gate decides each request, and Next.js serves those that it allows.

import gateway, { denialOf, edgeGate, TenantLedger } from "tenantgate/worker";
// @ts-ignore: `opennextjs-cloudflare build` makes it.
import next from "./.open-next/worker.js";

export default {
  async fetch(request: Request, env: object, ctx: ExecutionContext): Promise<Response> {
    // The gate's own endpoints: the admin API, the decision API, features for pages.
    if (new URL(request.url).pathname.startsWith("/_gate/")) return gateway.fetch(request, env, ctx);
    const gate = edgeGate(env, ctx);
    const { tenant, ...decision } = await gate.decide(request);
    if (!decision.allowed || !tenant) return denialOf({ tenant, ...decision }).getResponse();
    const features = Object.fromEntries([...(await gate.features(tenant.id))].map(([key, { value }]) => [key, { value }]));
    // Only the gate says who the tenant is: a header of the client is replaced. See `tenant.ts`.
    const headers = new Headers(request.headers);
    headers.set("x-gate-tenant", encodeURIComponent(JSON.stringify({ ...tenant, features })));
    return next.fetch(new Request(request, { headers }), env, ctx);
  },
  scheduled: gateway.scheduled,
};
export { TenantLedger };
