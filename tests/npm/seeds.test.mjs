// The code of the two texts that the product is based on runs unchanged, and the package's exports
// of the same names behave alike.
//
// Blocks are verbatim, except for the names of the two packages that they import. SQL, file trees
// and shell commands are left out. `tests/worker/sockets.test.mjs` runs the WebSocket blocks.

import assert from "node:assert/strict";
import { afterEach, describe, test } from "node:test";
import { transformSync } from "esbuild";
import { Hono } from "hono";
import * as forHono from "../../pkg/hono.js";
import * as forFetch from "../../pkg/middleware.js";
import { Gate, InputError, issueApiKey } from "../../pkg/node.js";

const GUIDE = {
  requireFeature: `
// Middleware: enforce tenant feature access
const requireFeature = (feature) => {
return async (c, next) => {
const tenant = c.get('tenant')
const plan = await getTenantPlan(tenant.id)
if (!plan.features.includes(feature)) {
return c.json({
error: 'Feature not available',
feature,
upgrade_url: '/pricing',
current_plan: plan.name
}, 403)
}
await next()
}
}
`,
  routes: `
// Usage in routes
app.post('/api/v1/webhooks', requireFeature('webhooks'), handleWebhooks)
app.get('/api/v1/analytics', requireFeature('analytics'), handleAnalytics)
`,
  resolveFeature: `
// Feature resolution hierarchy
// 1. Tenant override (highest priority)
// 2. Plan default
// 3. Global default (lowest priority)
const resolveFeature = async (tenantId, featureName) => {
// Check tenant-specific override first
const override = await getTenantOverride(tenantId, featureName)
if (override !== null) return override
// Check plan-level default
const plan = await getTenantPlan(tenantId)
const planDefault = plan.features[featureName]
if (planDefault !== undefined) return planDefault
// Fall back to global default
return GLOBAL_DEFAULTS[featureName] ?? false
}
`,
  metering: `
// Request → Tenant Context → Business Logic → Metering
// 1. Extract tenant from request
const getTenant = async (c) => {
const apiKey = c.req.header('X-API-Key')
const tenant = await lookupTenantByApiKey(apiKey)
c.set('tenant', tenant)
}
// 2. Meter usage with tenant context
const meterUsage = async (tenantId, metric, quantity = 1) => {
await usageStore.increment({
tenant_id: tenantId,
metric,
quantity,
timestamp: Date.now(),
period: getCurrentBillingPeriod(tenantId)
})
}
// 3. Enforce limits
const checkLimit = async (tenantId, metric) => {
const usage = await usageStore.getUsage(tenantId, metric)
const limit = await getPlanLimit(tenantId, metric)
return usage < limit
}
`,
  provisionTenant: `
const provisionTenant = async (tenantData) => {
// Create tenant
const tenant = await db.tenants.create({
id: generateTenantId(),
name: tenantData.company,
plan: tenantData.selectedPlan,
created_at: Date.now()
})
// Generate API keys
const apiKey = await generateApiKey(tenant.id)
// Set plan features
const planFeatures = PLAN_FEATURES[tenantData.selectedPlan]
await setTenantFeatures(tenant.id, planFeatures)
// Initialize usage tracking
await initializeUsageCounters(tenant.id)
return { tenant, apiKey }
}
`,
  withTenantScope: `
// ALWAYS include tenant_id in every query
// Use middleware to inject it automatically
const withTenantScope = (tenantId) => ({
where: (conditions) => ({
...conditions,
tenant_id: tenantId
})
})
`,
  getLicenses: `
// Every data access goes through scoped queries
const getLicenses = async (tenantId) => {
return db.licenses.findMany(
withTenantScope(tenantId).where({ status: 'active' })
)
}
`,
};

const VENTUREKIT = {
  resolution: `
import { handler } from '@venturekit/runtime';
import { createTenantMiddleware } from '@venturekit-pro/tenancy';
import type { IsolationConfig, Tenant } from '@venturekit-pro/tenancy';
// \`strategy\` is the **data** isolation model (shared tables, schema-per-tenant,
// database-per-tenant, or hybrid). \`resolution\` is how the tenant is identified
// from the incoming request.
const tenantConfig: IsolationConfig = {
strategy: 'shared',
resolution: 'subdomain',
};
// Lookup function returns the resolved tenant (or null) given the resolved id
async function lookupTenant(tenantId: string): Promise<Tenant | null> {
return loadTenant(tenantId);
}
export const main = handler(async (_body, ctx, logger) => {
const tenant = ctx.tenant!;
logger.info('Request for tenant', { tenantId: tenant.id, slug: tenant.slug });
return { tenantId: tenant.id };
}, {
scopes: ['api.read'],
middleware: [
createTenantMiddleware({ config: tenantConfig, lookupTenant }),
],
});
`,
  // This block uses the imports and the constants of the text's first block.
  quotas: `
import { createQuotaMiddleware, checkQuotas } from '@venturekit-pro/tenancy';
// As middleware (automatic per-request) — must specify which quota to enforce
// and how to read current usage. Throws QuotaExceededError when over budget.
export const main = handler(async (_body, ctx, logger) => {
return { ok: true };
}, {
scopes: ['api.read'],
middleware: [
createTenantMiddleware({ config: tenantConfig, lookupTenant }),
createQuotaMiddleware({
quotaKey: 'apiRequests',
checkUsage: async (tenantId) => getMonthlyUsage(tenantId, 'apiRequests'),
}),
],
});
// Programmatic check — (tenantId, quotas, checkUsage)
// quotas: TenantQuotas — a record of quotaKey → numeric limit
// checkUsage: (tenantId, quotaKey) => Promise<number>
await checkQuotas(
tenantId,
{ apiRequests: 10_000, storage: 5_000_000_000 },
async (id, key) => loadCurrentUsage(id, key),
);
`,
  currentTenant: `
import { getCurrentTenant } from '@venturekit-pro/tenancy';
const tenant = getCurrentTenant(ctx);
// { id: 'acme', slug: 'acme', metadata: { plan: 'pro', ... } }
`,
  errors: `
import {
TenantNotFoundError,
TenantSuspendedError,
TenantInactiveError,
QuotaExceededError,
} from '@venturekit-pro/tenancy';
`,
};

const PACKAGE = new URL("../../pkg/middleware.js", import.meta.url).href;
let blocks = 0;

/**
 * Runs a block as a module, with `given` for the names that it leaves undefined. Returns its
 * exports and the `names` that it declares.
 */
async function run(block, given = {}, names = []) {
  globalThis.given = given;
  const imported = block.replace(/'@venturekit(-pro)?\/(runtime|tenancy)'/g, JSON.stringify(PACKAGE));
  const source = `const { ${Object.keys(given).join(", ")} } = globalThis.given;\n${imported}\nexport { ${names.join(", ")} };`;
  const { code } = transformSync(source, { loader: "ts", format: "esm", tsconfigRaw: { compilerOptions: { verbatimModuleSyntax: true } } });
  // The number makes each run a separate module, also if the same block runs twice.
  return import(`data:text/javascript,${encodeURIComponent(`${code}// ${blocks++}`)}`);
}

const catalog = {
  version: 1,
  resolution: { strategies: [{ strategy: "header" }, { strategy: "api_key" }] },
  routes: [{ path: "/", auth: "none" }],
  features: { webhooks: {}, analytics: {}, beta: {}, reports: { type: "number", default: 3 }, "old-editor": { default: true } },
  limits: { api_calls: { kind: "quota", period: "month" } },
  plans: {
    "free@1": { features: { analytics: true }, limits: { api_calls: 3 } },
    "pro@1": { features: { analytics: true, webhooks: true, reports: 10, "old-editor": false }, limits: { api_calls: 1000 } },
  },
};
const tenants = [
  { id: "t_acme", slug: "acme", plan: "free@1", overrides: [{ feature: "beta", value: true, reason: "beta test" }] },
  { id: "t_globex", slug: "globex", plan: "pro@1", overrides: [{ feature: "webhooks", value: false, reason: "incident" }] },
  { id: "t_hooli", slug: "hooli", plan: "pro@1" },
  { id: "t_umbrella", slug: "umbrella", plan: "pro@1", status: "suspended" },
];
const record = (id) => tenants.find((tenant) => tenant.id === id);
/** A tenant's plan, with its features by key. */
const planOf = (id) => ({ name: record(id).plan, ...catalog.plans[record(id).plan] });
/** The same, with its features as a list. */
const listed = ({ name, features }) => ({ name, features: Object.keys(features).filter((key) => features[key]) });

afterEach(() => forFetch.configure());

describe("the guide", () => {
  const forms = [
    ["of the guide", async (given) => run(GUIDE.requireFeature + GUIDE.routes, { ...given, getTenantPlan: async (id) => listed(planOf(id)) })],
    ["of the package over the same plans", async (given) => {
      const getTenantPlan = async (id) => listed(planOf(id));
      await run(GUIDE.routes, { ...given, requireFeature: (feature) => forHono.requireFeature(feature, { getTenantPlan }) });
    }],
    ["of the package over a gate", async (given) => {
      forFetch.configure({ gate: given.gate });
      await run(GUIDE.routes, { ...given, requireFeature: forHono.requireFeature });
    }],
  ];
  for (const [whose, mount] of forms) {
    test(`\`requireFeature\` ${whose} denies a missing feature with the guide's body`, async () => {
      const gate = new Gate(catalog, tenants);
      const app = new Hono();
      app.use(forHono.createTenantMiddleware({ gate }));
      await mount({ app, gate, handleWebhooks: (c) => c.json({ delivered: c.get("tenant").id }, 201), handleAnalytics: (c) => c.json({ visits: 7 }) });
      const ask = async (method, path, tenant) => {
        const response = await app.request(path, { method, headers: { "x-tenant-id": tenant } });
        return [response.status, response.headers.get("content-type"), await response.json()];
      };
      assert.deepEqual(await ask("POST", "/api/v1/webhooks", "hooli"), [201, "application/json", { delivered: "t_hooli" }]);
      assert.deepEqual(await ask("GET", "/api/v1/analytics", "acme"), [200, "application/json", { visits: 7 }]);
      assert.deepEqual(await ask("POST", "/api/v1/webhooks", "acme"), [403, "application/json", {
        error: "Feature not available", feature: "webhooks", upgrade_url: "/pricing", current_plan: "free@1",
      }]);
      assert.equal((await ask("GET", "/api/v1/analytics", "nobody"))[0], 404);
      assert.equal((await ask("GET", "/api/v1/analytics", "umbrella"))[0], 403);
    });
  }

  test("`resolveFeature` uses the override, then the plan, then the global default", async () => {
    const gate = new Gate(catalog, tenants);
    forFetch.configure({ gate });
    const { resolveFeature } = await run(GUIDE.resolveFeature, {
      getTenantOverride: async (id, name) => record(id).overrides?.find(({ feature }) => feature === name)?.value ?? null,
      getTenantPlan: async (id) => planOf(id),
      GLOBAL_DEFAULTS: Object.fromEntries(Object.entries(catalog.features).map(([key, { default: value }]) => [key, value])),
    }, ["resolveFeature"]);
    const worth = [
      ["t_acme", "beta", true], ["t_globex", "webhooks", false],
      ["t_acme", "analytics", true], ["t_hooli", "webhooks", true], ["t_hooli", "reports", 10], ["t_hooli", "old-editor", false],
      ["t_acme", "webhooks", false], ["t_acme", "reports", 3], ["t_acme", "old-editor", true], ["t_hooli", "beta", false], ["t_hooli", "no-such-feature", false],
    ];
    for (const [tenant, feature, value] of worth) {
      assert.equal(await resolveFeature(tenant, feature), value, `the guide's: ${tenant} ${feature}`);
      assert.equal(await forFetch.resolveFeature(tenant, feature), value, `the package's: ${tenant} ${feature}`);
    }
    // The guide's version finds inherited members of objects here.
    for (const feature of ["constructor", "toString", "__proto__"]) assert.equal(await forFetch.resolveFeature("t_acme", feature), false);
    await assert.rejects(forFetch.resolveFeature("t_nobody", "beta"), forFetch.TenantNotFoundError);
  });

  test("`getTenant` finds the tenant of an API key", async () => {
    const { key, record: issued } = issueApiKey({ tenant: "t_acme" });
    const gate = new Gate(catalog, tenants, { apiKeys: [issued] });
    const lookupTenantByApiKey = async (text = "") => gate.decide({ headers: { "x-api-key": text } }).tenant;
    const { getTenant } = await run(GUIDE.metering, { lookupTenantByApiKey, usageStore: {}, getCurrentBillingPeriod: () => "", getPlanLimit: () => 0 }, ["getTenant"]);
    const own = forHono.createTenantMiddleware({ config: { resolution: "api_key", apiKeyLookup: lookupTenantByApiKey }, lookupTenant: () => null });
    for (const middleware of [async (c, next) => { await getTenant(c); await next(); }, own, forHono.createTenantMiddleware({ gate })]) {
      const app = new Hono();
      app.use(middleware).get("/", (c) => c.json(forFetch.getCurrentTenant(c).id));
      app.onError(forHono.onError);
      const ask = async (headers) => {
        const response = await app.request("/", { headers });
        return response.ok ? response.json() : response.status;
      };
      assert.equal(await ask({ "x-api-key": key }), "t_acme");
      assert([401, 404].includes(await ask({ "x-api-key": `${key.slice(0, -1)}!` })));
    }
  });

  test("`meterUsage` counts usage, and `checkLimit` is false once the limit is reached", async () => {
    const gate = new Gate(catalog, tenants);
    forFetch.configure({ gate });
    const counted = [];
    const text = await run(GUIDE.metering, {
      lookupTenantByApiKey: () => null,
      usageStore: {
        increment: async (event) => counted.push(event),
        getUsage: async (tenant, metric) => counted.filter((event) => event.tenant_id === tenant && event.metric === metric).reduce((sum, { quantity }) => sum + quantity, 0),
      },
      getCurrentBillingPeriod: () => new Date().toISOString().slice(0, 7),
      getPlanLimit: async (tenant, metric) => planOf(tenant).limits[metric],
    }, ["meterUsage", "checkLimit"]);
    for (const { meterUsage, checkLimit } of [text, forFetch]) {
      assert.equal(await checkLimit("t_acme", "api_calls"), true);
      await meterUsage("t_acme", "api_calls");
      await meterUsage("t_acme", "api_calls", 1);
      assert.equal(await checkLimit("t_acme", "api_calls"), true);
      await meterUsage("t_acme", "api_calls", 5);
      assert.equal(await checkLimit("t_acme", "api_calls"), false);
      assert.equal(await checkLimit("t_hooli", "api_calls"), true, "another tenant has its own counter");
    }
    const used = () => gate.ask({ tenant: "t_acme", limits: { api_calls: 0 }, look: true }).decision.limits[0].used;
    assert.equal(used(), 7, "usage beyond the limit counts");
    // The guide's version would give units back, or count something that is not a number.
    for (const quantity of [-100, 0.1, NaN, 1e308, "5"]) await assert.rejects(forFetch.meterUsage("t_acme", "api_calls", quantity), InputError);
    await forFetch.meterUsage("t_acme", "api_calls", 2, { id: "request-4711" });
    await forFetch.meterUsage("t_acme", "api_calls", 2, { id: "request-4711" });
    assert.equal(used(), 9, "usage with the same id counts once");
    await assert.rejects(forFetch.checkLimit("t_umbrella", "api_calls"), forFetch.TenantSuspendedError);
  });

  // `provisionTenant` of the package is tested against the Worker, which provisions tenants.
  test("`provisionTenant` of the guide works over a gate", async () => {
    const gate = new Gate(catalog);
    const { provisionTenant } = await run(GUIDE.provisionTenant, {
      generateTenantId: () => `t_${crypto.randomUUID()}`,
      db: { tenants: { create: async (row) => { gate.putTenant({ id: row.id, slug: row.name.toLowerCase(), name: row.name, plan: row.plan }); return row; } } },
      generateApiKey: async (tenant) => {
        const { key, record: issued } = issueApiKey({ tenant });
        gate.putApiKey(issued);
        return key;
      },
      PLAN_FEATURES: Object.fromEntries(Object.entries(catalog.plans).map(([plan, { features }]) => [plan, features])),
      setTenantFeatures: async (id, features) => assert.deepEqual(Object.keys(features).filter((key) => gate.features(id).get(key).value !== features[key]), []),
      initializeUsageCounters: async (id) => assert.equal(gate.ask({ tenant: id, limits: { api_calls: 0 } }).decision.limits[0].used, 0),
    }, ["provisionTenant"]);
    const { tenant, apiKey } = await provisionTenant({ company: "Hooli", selectedPlan: "pro@1" });
    assert.equal(tenant.name, "Hooli");
    assert.deepEqual(gate.decide({ headers: { "x-api-key": apiKey } }).tenant, { id: tenant.id, slug: "hooli", plan: "pro@1", status: "active" });
  });

  test("`withTenantScope` overrides a `tenant_id` in the conditions", async () => {
    const rows = tenants.map(({ id }) => ({ tenant_id: id, status: "active" })).concat({ tenant_id: "t_acme", status: "expired" });
    const db = { licenses: { findMany: async (where) => rows.filter((row) => Object.entries(where).every(([column, value]) => row[column] === value)) } };
    const text = await run(GUIDE.withTenantScope, {}, ["withTenantScope"]);
    for (const { withTenantScope } of [text, forFetch]) {
      const { getLicenses } = await run(GUIDE.getLicenses, { db, withTenantScope }, ["getLicenses"]);
      assert.deepEqual(await getLicenses("t_acme"), [{ tenant_id: "t_acme", status: "active" }]);
      for (const conditions of [{ tenant_id: "t_victim" }, { tenant_id: undefined }, JSON.parse('{"__proto__": {"tenant_id": "t_victim"}}'), undefined]) {
        assert.equal(withTenantScope("t_acme").where(conditions).tenant_id, "t_acme");
      }
      assert.deepEqual(await db.licenses.findMany(withTenantScope("t_acme").where({ tenant_id: "t_globex", status: "active" })), [{ tenant_id: "t_acme", status: "active" }]);
    }
    // The guide's version would read the rows of all tenants.
    for (const id of ["", undefined, null, 7]) assert.throws(() => forFetch.withTenantScope(id), InputError);
  });
});

describe("venturekit", () => {
  const loaded = new Map([
    ["acme", { id: "acme", slug: "acme", metadata: { plan: "pro" }, quotas: { apiRequests: 2 } }],
    ["unlimited", { id: "unlimited", slug: "unlimited", quotas: { apiRequests: "unlimited" } }],
    ["bare", { id: "bare", slug: "bare" }],
    ["umbrella", { id: "umbrella", slug: "umbrella", status: "suspended" }],
    ["old", { id: "old", slug: "old", status: "inactive" }],
    ["gone", { id: "gone", slug: "gone", status: "deleted" }],
  ]);
  const loadTenant = async (id) => loaded.get(id) ?? null;
  const asks = (main) => async (host, path = "/api/tasks") => {
    const response = await main(new Request(`https://${host}${path}`));
    return [response.status, await response.json()];
  };
  const reading = { authenticate: async () => ({ scopes: ["api.read"] }) };
  /** The status and the code of a denial. */
  const short = ([status, { error }]) => [status, error.code];
  const resolution = () => run(VENTUREKIT.resolution, { loadTenant }, ["tenantConfig", "lookupTenant"]);

  test("a subdomain names the tenant of a handler", async (t) => {
    const lines = t.mock.method(console, "info", () => {}).mock;
    forFetch.configure(reading);
    const ask = asks((await resolution()).main);
    assert.deepEqual(await ask("acme.app.example.com"), [200, { tenantId: "acme" }]);
    assert.deepEqual(JSON.parse(lines.calls[0].arguments[0]), { level: "info", message: "Request for tenant", tenant: "acme", tenantId: "acme", slug: "acme" });
    assert.deepEqual(short(await ask("nobody.app.example.com")), [404, "TENANT_NOT_FOUND"]);
    assert.deepEqual(short(await ask("gone.app.example.com")), [404, "TENANT_NOT_FOUND"]);
    assert.deepEqual(short(await ask("umbrella.app.example.com")), [403, "TENANT_SUSPENDED"]);
    assert.deepEqual(short(await ask("old.app.example.com")), [403, "TENANT_INACTIVE"]);
    assert.equal(lines.callCount(), 1, "the handler runs only for the active tenant");
  });

  test("`scopes` of a handler require an authenticated caller with these scopes", async (t) => {
    t.mock.method(console, "info", () => {});
    const ask = asks((await resolution()).main);
    assert.deepEqual(short(await ask("acme.app.example.com")), [401, "UNAUTHENTICATED"], "`authenticate` is missing");
    forFetch.configure({ authenticate: async () => null });
    assert.deepEqual(short(await ask("acme.app.example.com")), [401, "UNAUTHENTICATED"], "`authenticate` returns null");
    assert.deepEqual(short(await ask("nobody.app.example.com")), [401, "UNAUTHENTICATED"], "the response does not disclose whether a tenant exists");
    forFetch.configure({ authenticate: async () => ({ scopes: ["api.write"] }) });
    for (const slug of ["acme", "nobody"]) assert.deepEqual(short(await ask(`${slug}.app.example.com`)), [403, "INSUFFICIENT_SCOPE"]);
    forFetch.configure(reading);
    assert.equal((await ask("acme.app.example.com"))[0], 200);
  });

  /** Runs the block on quotas, with the names that it leaves undefined. */
  const quotas = async (more) => {
    const { tenantConfig, lookupTenant } = await resolution();
    const { handler, createTenantMiddleware } = forFetch;
    const usage = { getMonthlyUsage: async () => 0, loadCurrentUsage: async () => 0 };
    return run(VENTUREKIT.quotas, { handler, createTenantMiddleware, tenantConfig, lookupTenant, tenantId: "acme", ...usage, ...more });
  };

  test("`createQuotaMiddleware` enforces a quota on each request", async () => {
    forFetch.configure(reading);
    let used = 0;
    const ask = asks((await quotas({ getMonthlyUsage: async (id, key) => (assert.equal(key, "apiRequests"), id === "acme" ? used++ : 1e9) })).main);
    assert.deepEqual(await ask("acme.app.example.com"), [200, { ok: true }]);
    assert.deepEqual(await ask("acme.app.example.com"), [200, { ok: true }]);
    const [status, { error }] = await ask("acme.app.example.com");
    assert.deepEqual([status, error.code], [429, "QUOTA_EXCEEDED"]);
    assert.deepEqual(error.details, { quota: "apiRequests", limit: 2, used: 2, requested: 1, violations: [{ quota: "apiRequests", limit: 2, used: 2, requested: 1 }] });
    assert.deepEqual(await ask("unlimited.app.example.com"), [200, { ok: true }]);
    assert.deepEqual(short(await ask("bare.app.example.com")), [429, "QUOTA_EXCEEDED"], "a tenant without a quota may use nothing");
    assert.deepEqual(short(await ask("umbrella.app.example.com")), [403, "TENANT_SUSPENDED"], "the status is checked before usage");
  });

  test("`createQuotaMiddleware` over a gate enforces the quota that the gate counts", async () => {
    const gate = new Gate({ ...catalog, resolution: { strategies: [{ strategy: "subdomain", base_domains: ["app.example.com"] }] } }, tenants);
    forFetch.configure({ ...reading, gate });
    const main = forFetch.handler(async () => ({ ok: true }), {
      scopes: ["api.read"], middleware: [forFetch.createTenantMiddleware({ gate }), forFetch.createQuotaMiddleware({ quotaKey: "api_calls" })],
    });
    for (const left of [2, 1, 0]) {
      const response = await main(new Request("https://acme.app.example.com/"));
      assert.equal(response.status, 200);
      assert.match(response.headers.get("ratelimit"), new RegExp(`^"api_calls";r=${left};`));
    }
    const [status, { error }] = await asks(main)("acme.app.example.com");
    assert.deepEqual([status, error.code, error.details.limit, error.details.used, error.details.requested], [429, "QUOTA_EXCEEDED", 3, 3, 1]);
    assert.deepEqual(short(await asks(main)("umbrella.app.example.com")), [403, "TENANT_SUSPENDED"]);
  });

  test("`checkQuotas` checks every quota and reports all violations", async () => {
    const seen = [];
    await quotas({ loadCurrentUsage: async (...of) => (seen.push(of.join(" ")), 9_999) });
    assert.deepEqual(seen, ["acme apiRequests", "acme storage"]);
    await assert.rejects(quotas({ loadCurrentUsage: async (_, key) => ({ apiRequests: 10_000, storage: 6_000_000_000 })[key] }), (error) => {
      assert(error instanceof forFetch.QuotaExceededError);
      assert.equal(error.status, 429);
      assert.deepEqual(error.details.violations.map(({ quota, limit, used }) => [quota, limit, used]), [["apiRequests", 10_000, 10_000], ["storage", 5_000_000_000, 6_000_000_000]]);
      return true;
    });
    // The same with the counts of a gate.
    const gate = new Gate(catalog, tenants);
    const used = async (id, key) => gate.ask({ tenant: id, limits: { [key]: 0 }, look: true }).decision.limits[0].used;
    await forFetch.meterUsage("t_acme", "api_calls", 2, { gate });
    assert.deepEqual(await forFetch.checkQuotas("t_acme", { api_calls: 3 }, used), { api_calls: { limit: 3, used: 2, remaining: 1 } });
    await assert.rejects(forFetch.checkQuotas("t_acme", { api_calls: 3 }, used, { cost: 2 }), forFetch.QuotaExceededError);
    assert.deepEqual(await forFetch.checkQuotas("t_acme", { api_calls: "unlimited" }, used), { api_calls: { limit: "unlimited", used: 2, remaining: null } });
    for (const limit of [-1, 0.5, NaN, "3"]) await assert.rejects(forFetch.checkQuotas("t_acme", { api_calls: limit }, used), InputError);
    for (const said of [-1, 0.5, NaN, "2", undefined]) await assert.rejects(forFetch.checkQuotas("t_acme", { api_calls: 3 }, async () => said), InputError);
  });

  test("`getCurrentTenant` returns the tenant in a handler and in Hono, from a lookup and from a gate", async () => {
    const tenantOf = async (ctx) => (await run(VENTUREKIT.currentTenant, { ctx }, ["tenant"])).tenant;
    const { tenantConfig, lookupTenant } = await resolution();
    const gate = new Gate(catalog, tenants);
    const options = [
      [{ config: tenantConfig, lookupTenant }, { id: "acme", slug: "acme", metadata: { plan: "pro" } }],
      [{ gate }, { id: "t_acme", slug: "acme", metadata: { plan: "free@1" } }],
    ];
    const request = () => new Request("https://acme.app.example.com/", { headers: { "x-tenant-id": "acme" } });
    for (const [option, expected] of options) {
      const app = new Hono();
      app.use(forHono.createTenantMiddleware(option)).get("/", async (c) => c.json(await tenantOf(c)));
      const main = forFetch.handler(async (_body, ctx) => tenantOf(ctx), { middleware: [forFetch.createTenantMiddleware(option)] });
      for (const fetch of [main, app.fetch]) {
        const { id, slug, metadata } = await (await fetch(request())).json();
        assert.deepEqual({ id, slug, metadata }, expected);
      }
    }
    await assert.rejects(tenantOf({ tenant: null }), forFetch.TenantNotFoundError);
    await assert.rejects(tenantOf(undefined), forFetch.TenantNotFoundError);
  });

  test("the four error classes become JSON responses with their status", async () => {
    const names = ["TenantNotFoundError", "TenantSuspendedError", "TenantInactiveError", "QuotaExceededError"];
    const errors = await run(VENTUREKIT.errors, {}, names);
    const expected = { TenantNotFoundError: [404, "TENANT_NOT_FOUND"], TenantSuspendedError: [403, "TENANT_SUSPENDED"], TenantInactiveError: [403, "TENANT_INACTIVE"], QuotaExceededError: [429, "QUOTA_EXCEEDED"] };
    for (const name of names) {
      const thrown = new errors[name]({ quota: "apiRequests" });
      assert.equal(thrown.name, name);
      const app = new Hono();
      app.get("/", () => { throw thrown; }).onError(forHono.onError);
      for (const fetch of [forFetch.handler(() => { throw thrown; }), app.fetch]) {
        const response = await fetch(new Request("https://app.example.com/"));
        assert.equal(response.headers.get("content-type"), "application/json");
        const { error: { code, message, details }, ...more } = await response.json();
        assert.deepEqual([response.status, code, details, more], [...expected[name], { quota: "apiRequests" }, {}]);
        assert(message.length > 10, "the message is a sentence");
      }
    }
  });
});
