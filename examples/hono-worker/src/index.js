// A Worker with Hono: the gate decides every request before its handler runs.

import { Hono } from "hono";
import { Gate } from "tenantgate";
import { createTenantMiddleware, onError, requireFeature } from "tenantgate/hono";

const catalog = {
  version: 1,
  upgrade_url: "https://example.com/pricing",
  resolution: { strategies: [{ strategy: "header" }] },
  routes: [{ path: "/", limits: { requests: 1 } }],
  features: { webhooks: {} },
  limits: { requests: { kind: "rate", window_ms: 60_000 } },
  plans: {
    "free@1": { limits: { requests: 60 } },
    "pro@1": { features: ["webhooks"], limits: { requests: 600 } },
  },
};
const tenants = [
  { id: "t_acme", slug: "acme", plan: "free@1" },
  { id: "t_globex", slug: "globex", plan: "pro@1" },
];

// The gate counts in this isolate. All isolates share one ledger through a `RemoteGate`.
const gate = new Gate(catalog, tenants);

const app = new Hono();
app.onError(onError);
app.use(createTenantMiddleware({ gate }));
app.get("/", (c) => c.text(`hello ${c.get("tenant").slug}\n`));
app.get("/webhooks", requireFeature("webhooks", { gate, upgradeUrl: catalog.upgrade_url }), (c) => c.text("webhooks\n"));

export default app;
