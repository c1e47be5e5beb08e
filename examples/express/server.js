// An Express server: the gate decides every request before its handler runs.

import express from "express";
import { Gate } from "tenantgate";
import { createTenantMiddleware, errorHandler } from "tenantgate/express";

const catalog = {
  version: 1,
  upgrade_url: "https://example.com/pricing",
  resolution: { strategies: [{ strategy: "header" }] },
  routes: [
    { path: "/", limits: { requests: 1 } },
    { path: "/webhooks", feature: "webhooks", limits: { requests: 1 } },
  ],
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

// The gate counts in this process. Several processes share one ledger through a `RemoteGate`.
const gate = new Gate(catalog, tenants);

const app = express();
app.use(createTenantMiddleware({ gate }));
app.get("/", (req, res) => {
  res.send(`hello ${req.tenant.slug}\n`);
});
app.get("/webhooks", (req, res) => {
  res.send("webhooks\n");
});
app.use(errorHandler);

const server = app.listen(Number(process.env.PORT ?? 3000), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
