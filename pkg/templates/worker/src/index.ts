import gateway, { denialOf, edgeGate, TenantLedger } from "tenantgate/worker";

export default {
  async fetch(request: Request, env: object, ctx: ExecutionContext): Promise<Response> {
    // The gate's own endpoints: the admin API, the decision API, features for pages.
    if (new URL(request.url).pathname.startsWith("/_gate/")) return gateway.fetch(request, env, ctx);
    const decision = await edgeGate(env, ctx).decide(request);
    if (!decision.allowed) return denialOf(decision).getResponse();
    return Response.json({ tenant: decision.tenant?.slug });
  },
  scheduled: gateway.scheduled,
};
export { TenantLedger };
