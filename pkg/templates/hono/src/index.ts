import { Hono } from "hono";
import { gateway, onError, requireFeature, scheduled, TenantLedger, tenants, type TenantEnv } from "tenantgate/worker";

const app = new Hono<TenantEnv>();

// The gate's own endpoints: the admin API, the decision API, features for pages.
app.all("/_gate/*", gateway());
// Every other request is decided: which tenant it is, what it may use, how much is left.
app.use(tenants());
app.onError(onError);

app.get("/api", (c) => c.json({ tenant: c.get("tenant").slug }));
app.post("/api/exports", requireFeature("exports"), async (c) => {
  const { api_calls } = await c.get("gate").limits();
  return c.json({ exported: true, callsLeft: api_calls.remaining });
});

export default { fetch: app.fetch, scheduled };
export { TenantLedger };
