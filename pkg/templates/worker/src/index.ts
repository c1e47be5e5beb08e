import gateway, { edgeGate, TenantLedger } from "tenantgate/worker";

export default {
  async fetch(request: Request, env: object, ctx: ExecutionContext): Promise<Response> {
    // The gate's own endpoints: the admin API, the decision API, features for pages.
    if (new URL(request.url).pathname.startsWith("/_gate/")) return gateway.fetch(request, env, ctx);
    const { allowed, code, tenant, retry_after_ms } = await edgeGate(env, ctx).decide(request);
    if (!allowed || !tenant) return Response.json({ code, retry_after_ms }, { status: code === "TENANT_NOT_FOUND" ? 404 : 403 });
    return Response.json({ tenant: tenant.slug });
  },
  scheduled: gateway.scheduled,
};
export { TenantLedger };
