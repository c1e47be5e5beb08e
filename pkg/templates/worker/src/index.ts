import gateway, { TenantLedger, withTenant } from "tenantgate/worker";

// Every request is decided: which tenant it is, what it may use, how much is left.
const served = withTenant(async (request, env, ctx, { tenant }) => Response.json({ tenant: tenant.slug }));

export default {
  fetch(request: Request, env: object, ctx: ExecutionContext): Response | Promise<Response> {
    // The gate's own endpoints: the admin API, the decision API, features for pages.
    if (new URL(request.url).pathname.startsWith("/_gate/")) return gateway.fetch(request, env, ctx);
    return served(request, env, ctx);
  },
  scheduled: gateway.scheduled,
};
export { TenantLedger };
