// The files of a new project. `init` writes those that do not exist yet.

import { randomBytes } from "node:crypto";
import { version } from "./client.js";

/** The catalog and the tenants that every template begins with. */
const CATALOG = {
  $schema: "./node_modules/tenantgate/schema/catalog.json",
  version: 1,
  resolution: { strategies: [{ strategy: "header" }] },
  features: { exports: {} },
  limits: { api_calls: { kind: "quota", period: "month" }, requests: { kind: "rate", window_ms: 60_000 } },
  routes: [{ path: "/api", limits: { api_calls: 1, requests: 1 } }, { path: "/api/exports", feature: "exports", limits: { api_calls: 10, requests: 1 } }],
  plans: { "free@1": { limits: { api_calls: 100, requests: 10 } }, "pro@1": { features: ["exports"], limits: { api_calls: 10_000, requests: 100 } } },
};
const TENANTS = [{ id: "t_acme", slug: "acme", plan: "pro@1" }, { id: "t_globex", slug: "globex", plan: "free@1" }];

const GATEWAY = `// The gateway: requests to your hosts are decided here, and the allowed ones go to your origin. Set
// UPSTREAM_URL in wrangler.jsonc; without an origin the decision itself is the answer.
export { default, TenantGate, TenantLedger } from "tenantgate/worker";
`;

const HONO = `import { Hono } from "hono";
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
`;

const WORKER = `import gateway, { edgeGate, TenantLedger } from "tenantgate/worker";

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
`;

const TEST = `import { RemoteGate } from "tenantgate/remote";
import { testGate } from "tenantgate/testing";
import { expect, test } from "vitest";
import catalog from "../catalog.json";
import tenants from "../tenants.json";

test("the pro plan has exports, the free plan has not", async () => {
  const gate = new RemoteGate({ service: testGate(catalog, tenants).service });
  expect((await gate.features("t_acme")).get("exports", false)).toBe(true);
  expect((await gate.features("t_globex")).get("exports", true)).toBe(false);
});

test("a month of the free plan has 100 calls", async () => {
  const gate = new RemoteGate({ service: testGate(catalog, tenants).service });
  expect((await gate.take("t_globex", { api_calls: 100 })).allowed).toBe(true);
  expect((await gate.take("t_globex", { api_calls: 1 })).code).toBe("QUOTA_EXCEEDED");
});
`;

const TYPES = { compilerOptions: { target: "esnext", module: "esnext", moduleResolution: "bundler", strict: true, skipLibCheck: true, noEmit: true, resolveJsonModule: true, types: ["@cloudflare/workers-types"] } };

/** Each template: what it is for, its main module, and the packages that it needs besides. */
export const TEMPLATES = {
  gateway: { about: "a gateway before an origin", main: GATEWAY, needs: {} },
  hono: { about: "an application with Hono and the gate in one Worker", main: HONO, needs: { hono: "^4.0.0" } },
  worker: { about: "a Worker without a framework", main: WORKER, needs: {} },
};

/** The configuration of the Worker. wrangler reads comments. */
const configuration = (name, template) => `{
  "$schema": "./node_modules/wrangler/config-schema.json",
  "name": ${JSON.stringify(name)},
  "main": "src/index.ts",
  "compatibility_date": "2026-11-01",
  "compatibility_flags": ["enable_request_signal"],
  // The published catalog and tenants.
  "kv_namespaces": [{ "binding": "SNAPSHOTS" }],
  // The ledgers, one for each family of tenants.
  "durable_objects": { "bindings": [{ "name": "LEDGER", "class_name": "TenantLedger" }] },
  "migrations": [{ "tag": "v1", "new_sqlite_classes": ["TenantLedger"] }],
  // The control plane's database.
  "d1_databases": [{ "binding": "CONTROL_DB", "database_name": ${JSON.stringify(`${name}-control`)}, "migrations_dir": "node_modules/tenantgate/migrations" }],
  // The clock repairs and retries.
  "triggers": { "crons": ["* * * * *"] }${template === "gateway" ? `,
  // Your origin.
  "vars": { "UPSTREAM_URL": "" }` : ""}
}
`;

const pretty = (value) => `${JSON.stringify(value, null, 2)}\n`;

/** The files of a project, by their paths. */
export function files(name, template) {
  const { main } = TEMPLATES[template];
  return {
    "wrangler.jsonc": configuration(name, template),
    "catalog.json": pretty(CATALOG),
    "tenants.json": pretty(TENANTS),
    "src/index.ts": main,
    "test/tenants.test.ts": TEST,
    "tsconfig.json": pretty(TYPES),
    ".dev.vars": `OPERATOR_TOKEN=${randomBytes(16).toString("hex")}\n`,
  };
}

/** What \`package.json\` needs. */
export const manifest = (template) => ({
  scripts: { dev: "tenantgate dev", deploy: "tenantgate deploy", test: "vitest run" },
  dependencies: { tenantgate: `^${version}`, ...TEMPLATES[template].needs },
  devDependencies: { "@cloudflare/workers-types": "^5.0.0", typescript: ">=5", vitest: ">=3", wrangler: "^4.60.0" },
});
