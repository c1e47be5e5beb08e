// What the types refuse: each line below a `@ts-expect-error` is a mistake that people make.

import { Hono } from "hono";
import type { CatalogDocument, TenantDocument } from "tenantgate";
import { defineCatalog, DeniedError, Features, Gate, RemoteGate, TenantNotFoundError, issueApiKey, verifyAssertion } from "tenantgate";
import { FeatureClient } from "tenantgate/client";
import { createTenantMiddleware as forExpress } from "tenantgate/express";
import { createTenantMiddleware as forHono, type TenantEnv } from "tenantgate/hono";
import { checkQuotas, createQuotaMiddleware, createTenantMiddleware, handler, meterUsage, provisionTenant, requireFeature, withTenantScope } from "tenantgate/middleware";
import { TenantgateProvider } from "tenantgate/openfeature";
import { TenantgateWebProvider } from "tenantgate/openfeature/web";
import { initSync } from "tenantgate/slim";

const gate = new Gate({});

// @ts-expect-error: the catalog is required
new Gate();
// @ts-expect-error: tenants are a list
new Gate({}, { id: "t_acme" });
// @ts-expect-error: the option is `apiKeys`
new Gate({}, [], { api_keys: [] });
// @ts-expect-error: there are two environments
new Gate({}, [], { environment: "staging" });
// @ts-expect-error: a host is text
gate.decide({ host: 7 });
// @ts-expect-error: the option is `features`
gate.decide({}, { feature: ["webhooks"] });
// @ts-expect-error: attributes are text, numbers, booleans
gate.features("t_acme", { user: { id: 1 } });
// @ts-expect-error: there is no such member
gate.decide({}).denied;
// @ts-expect-error: there is no such code
gate.decide({}).code === "RATE_LIMIT";
// @ts-expect-error: decisions are not changed
gate.decide({}).allowed = true;
// @ts-expect-error: nobody's tenant is null
gate.decide({}).tenant.slug;
// @ts-expect-error: units are numbers
gate.ask({ limits: { calls: "1" } });
// @ts-expect-error: a reservation has an id
gate.ask({ reserve: { for_ms: 1 } });
// @ts-expect-error: the trace is there where it was asked for
gate.ask({}).decision.trace.length;
// @ts-expect-error: a feature's value is of no type that is known here
gate.features("t_acme").get("limit").value + 1;
// @ts-expect-error: a key is needed
gate.features("t_acme").get();
// @ts-expect-error: a key is text
gate.features("t_acme").get(7);
// @ts-expect-error: tiers are known
gate.features("t_acme").get("webhooks").tier === "tenant";
// @ts-expect-error: they are made by a gate
new Features();
// @ts-expect-error: the token is required
new RemoteGate({ url: "https://gate.example.com" });
// @ts-expect-error: a service binding has a `fetch`
new RemoteGate({ url: "https://gate", token: "t", service: {} });
// @ts-expect-error: a remote gate answers later
new RemoteGate({ url: "", token: "" }).decide({}).allowed;
// @ts-expect-error: a key is some tenant's
issueApiKey({ scopes: [] });
// @ts-expect-error: an assertion is for somebody
verifyAssertion("", { keys: {} });
// @ts-expect-error: codes are not changed
new TenantNotFoundError().code = "OTHER";
// @ts-expect-error: codes are text
new TenantNotFoundError().code === 404;
// @ts-expect-error: a denial has a code
new DeniedError();

// @ts-expect-error: without a gate there is a lookup
createTenantMiddleware({ config: { resolution: "header" } });
// @ts-expect-error: a gate looks up by itself
createTenantMiddleware({ gate, config: { resolution: "header" }, lookupTenant: () => null });
// @ts-expect-error: strategies are known
createTenantMiddleware({ config: { resolution: "cookie" }, lookupTenant: () => null });
// @ts-expect-error: so are the ways to keep data apart
createTenantMiddleware({ config: { strategy: "silo", resolution: "header" }, lookupTenant: () => null });
// @ts-expect-error: a tenant has a slug
createTenantMiddleware({ config: { resolution: "header" }, lookupTenant: (id) => ({ id }) });
// @ts-expect-error: Hono's middleware needs the same options
forHono({});
// @ts-expect-error: so does Express's
forExpress({ config: { resolution: "header" } });
// @ts-expect-error: a handler is a function
handler({ fetch() {} });
// @ts-expect-error: there is no such member of `ctx`
handler((body, ctx) => ctx.user);
// @ts-expect-error: without a tenant it is null
handler((body, ctx) => ctx.tenant.slug);
// @ts-expect-error: the id is text
handler((body, ctx) => ctx.tenant!.id * 2);
// @ts-expect-error: there is no such level
handler((body, ctx, logger) => logger.fatal("message"));
// @ts-expect-error: scopes are a list
handler(() => 1, { scopes: "api.read" });
// @ts-expect-error: middleware is of this package's kind
handler(() => 1, { middleware: [forExpress({ gate })] });
// @ts-expect-error: the quota has a name
createQuotaMiddleware({ checkUsage: () => 1 });
// @ts-expect-error: there is one word for what has no bound
checkQuotas("t_acme", { calls: "infinite" }, () => 1);
// @ts-expect-error: units are numbers
meterUsage("t_acme", "calls", "3");
// @ts-expect-error: a gate of this process sets nobody up
provisionTenant({}, { gate });
// @ts-expect-error: features have names
requireFeature(["webhooks"]);
// @ts-expect-error: a tenant has an id
withTenantScope(undefined);

new Hono<TenantEnv>().get("/", (c) => {
  // @ts-expect-error: there is no such variable
  c.get("tenants");
  // @ts-expect-error: the slug is text
  c.get("tenant").slug * 2;
  // @ts-expect-error: nobody's credential is null
  c.get("credential").scopes;
  return c.text(c.get("tenant").slug);
});
new Hono().get("/", (c) => {
  // @ts-expect-error: nobody has said that there is a tenant
  c.get("tenant").slug;
  return c.text("");
});

// @ts-expect-error: the option is `waitS`
new FeatureClient({ waitMs: 1 });
// @ts-expect-error: attributes are text, numbers, booleans
new FeatureClient({ context: { user: {} } });
const client = new FeatureClient();
// @ts-expect-error: there is no such detail
client.addEventListener("change", ({ detail }) => detail.keys);
// @ts-expect-error: keys are text
client.addEventListener("change", ({ detail }) => detail.changed[0]! * 2);
// @ts-expect-error: only changes have details
client.addEventListener("stale", ({ detail }) => detail);
// @ts-expect-error: whether it is stale is found out, not said
client.stale = false;
// @ts-expect-error: before there is a snapshot it is null
client.tenant.slug;
// @ts-expect-error: the provider of a server is of a gate
new TenantgateProvider(client);
// @ts-expect-error: that of a page is of a client
new TenantgateWebProvider(gate);
// @ts-expect-error: what is loaded later is not there at once
initSync("https://example.com/module.wasm");

const known = defineCatalog({ version: 1, resolution: { strategies: [] }, features: { exports: {}, theme: { type: "string" } }, limits: { calls: { kind: "quota" } }, plans: {} });
const typed = new Gate<typeof known>(known);
// @ts-expect-error: the catalog has no such limit
typed.take("t_acme", { cals: 1 });
// @ts-expect-error: the catalog has no such feature
typed.features("t_acme").get("themes", "light");
// @ts-expect-error: the feature is a text
typed.features("t_acme").get("theme", 7);
// @ts-expect-error: the catalog has no such limit
typed.limits("t_acme").cals;

// @ts-expect-error: there is no such kind of limit
({ version: 1, resolution: { strategies: [] }, limits: { calls: { kind: "quotas" } } }) satisfies CatalogDocument;
// @ts-expect-error: there is no such member
({ id: "t_acme", slug: "acme", plans: "pro@1" }) satisfies TenantDocument;
