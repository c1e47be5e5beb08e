// Before Next.js: the gate decides each request, and Next.js serves those that it allows.

import gateway, { edgeGate, TenantLedger, withTenant } from "tenantgate/worker";
// @ts-ignore: `opennextjs-cloudflare build` makes it.
import next from "./.open-next/worker.js";

const served = withTenant(async (request, env, ctx, { tenant }) => {
  // Only the gate says who the tenant is: a header of the client is replaced. See `tenant.ts`.
  const headers = new Headers(request.headers);
  headers.delete("x-gate-tenant");
  if (tenant) {
    const all = await edgeGate(env, ctx).features(tenant.id);
    const features = Object.fromEntries([...all].map(([key, { value }]) => [key, { value }]));
    headers.set("x-gate-tenant", encodeURIComponent(JSON.stringify({ ...tenant, features })));
  }
  return next.fetch(new Request(request, { headers }), env, ctx);
});

export default {
  fetch(request: Request, env: object, ctx: ExecutionContext): Response | Promise<Response> {
    // The gate's own endpoints: the admin API, the decision API, features for pages.
    if (new URL(request.url).pathname.startsWith("/_gate/")) return gateway.fetch(request, env, ctx);
    return served(request, env, ctx);
  },
  scheduled: gateway.scheduled,
};
export { TenantLedger };
