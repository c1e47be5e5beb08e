// Every export of the package, used as its types say. Compiled as a module and as CommonJS; never run.

import { OpenFeature } from "@openfeature/server-sdk";
import { OpenFeature as OpenFeatureWeb } from "@openfeature/web-sdk";
import express from "express";
import { Hono } from "hono";
import * as root from "tenantgate";
import type { CatalogDocument, TenantDocument } from "tenantgate";
import { ConfigurationError, defineCatalog, denialOf, DeniedError, DocumentError, FeatureNotAvailableError, Features, Gate, GateFailedError, InputError, InsufficientScopeError, InternalError, QuotaExceededError, RateLimitedError, RemoteGate, TenantScopeError, TenantInactiveError, TenantMismatchError, TenantNotFoundError, TenantSuspendedError, TenantgateError, UnauthenticatedError, init, issueApiKey, publish, verifyAssertion } from "tenantgate";
import type { Answer, AnyGate, AnyRequest, Assertion, Context, Credential, Decision, DecisionCode, Denial, Document, GateOptions, LimitState, NodeRequest, Problem, Question, RequestFacts, ShortDecision, TenantQuestions, TenantRecord, Transcript } from "tenantgate";
import { FeatureClient, init as initClient } from "tenantgate/client";
import type { FeatureClientOptions } from "tenantgate/client";
import { createTenantMiddleware as forExpress, errorHandler, requireFeature as requiredByExpress } from "tenantgate/express";
import type { ConnectMiddleware, TenantRequest } from "tenantgate/express";
import { createTenantMiddleware as forHono, onError, requireFeature as requiredByHono } from "tenantgate/hono";
import type { TenantEnv } from "tenantgate/hono";
import { checkLimit, checkQuotas, configure, createQuotaMiddleware, createTenantMiddleware, fromGateway, getCurrentTenant, handler, meterUsage, owned, provisionTenant, requireFeature, resolveFeature, withTenantScope } from "tenantgate/middleware";
import type { FeatureOptions, HandlerContext, IsolationConfig, Logger, Middleware, ResolutionStrategy, Tenant, TenantOptions } from "tenantgate/middleware";
import { TenantgateProvider } from "tenantgate/openfeature";
import { TenantgateWebProvider } from "tenantgate/openfeature/web";
import type { KyselyPlugin } from "kysely";
import { tenantPlugin } from "tenantgate/kysely";
import { drizzle } from "drizzle-orm/sqlite-proxy";
import { tenantDb } from "tenantgate/drizzle";
import { tenantExtension } from "tenantgate/prisma";
import { rowLevelSecurity, withTenant } from "tenantgate/postgres";
import { FeatureProvider, useFeature } from "tenantgate/react";
import * as slim from "tenantgate/slim";
import { testGate } from "tenantgate/testing";
import complete, { gateway, scheduled, TenantGate, TenantHub, tenants as tenantsOfWhole } from "tenantgate/worker";
import { connectionStore, createConnectionStore } from "tenantgate/ws";
import type { Connection } from "tenantgate/ws";
import { connect as connectSocket, TenantSocket } from "tenantgate/ws/client";
import { edgeGate, TenantLedger, tenants } from "tenantgate/workers";
import type { EdgeGate } from "tenantgate/workers";

type Same<A, B> = (<T,>() => T extends A ? 1 : 2) extends <T,>() => T extends B ? 1 : 2 ? true : false;
/** Compiles where the value is exactly of the type, and not `any`. */
const exactly = <Expected,>() => <Found,>(value: Found, same: Same<Found, Expected>) => [value, same];

// The gate.
const catalog: Document = { version: 1 };
const options: GateOptions = { keys: { "https://issuer.example.com/jwks": "{}" }, secrets: { name: "value" }, apiKeys: [{}], environment: "test" };
const gate: Gate = new Gate(catalog, [{ id: "t_acme", slug: "acme" }], options);
const context: Context = { targeting_key: "user-1", age: 7, beta: true, nothing: undefined };
const facts: RequestFacts = { method: "GET", host: "acme.example.com", path: "/", query: "a=b", headers: { cookie: ["a=b"], absent: undefined }, context, features: ["webhooks"] };
const nodeRequest: NodeRequest = { method: "GET", url: "/", headers: {} };
const requests: AnyRequest[] = [facts, nodeRequest, new Request("https://acme.example.com")];
const short = gate.decide(facts, { context, features: ["webhooks"], look: true, now: 0 });
exactly<ShortDecision>()(short, true);
exactly<Answer | undefined>()(Object.values(short.features).at(0), true);
exactly<number | null | undefined>()(short.limits.at(0)?.remaining, true);
exactly<Credential | null>()(short.credential, true);
const features = gate.features("t_acme", context, { now: 0 });
exactly<Features>()(features, true);
exactly<Answer>()(features.get("webhooks"), true);
exactly<boolean>()(features.get("webhooks").enabled, true);
exactly<unknown>()(features.get("webhooks").value, true);
exactly<boolean>()(features.enabled("webhooks"), true);
exactly<boolean>()(features.has("webhooks"), true);
for (const entry of features) exactly<[string, Answer]>()(entry, true);
exactly<number>()(features.size, true);
exactly<string[]>()([...features.keys()], true);
exactly<Record<string, Answer>>()(features.toJSON(), true);
const question: Question = { tenant: "t_acme", limits: { calls: 1, seats: { set: 5 }, bytes: { release: 1 } }, reserve: { id: "job", for_ms: 1 }, explain: true };
const transcript: Transcript = gate.ask(question, { now: 0 });
const decision: Decision = transcript.decision;
exactly<DecisionCode>()(decision.code, true);
exactly<number>()(transcript.status, true);
exactly<string | undefined>()(decision.trace?.at(0)?.stage, true);
exactly<Transcript>()(gate.explain(facts, { ...question, now: 0 }), true);
exactly<Question>()(gate.question(nodeRequest), true);
exactly<() => void>()(gate.onChange(() => gate.removeTenant("t_acme")), true);
gate.putCatalog(catalog);
gate.putTenant({ id: "t_acme" });
gate.putKeys("https://issuer.example.com/jwks", {});
gate.putSecret("name", "value");
gate.putApiKey({});
exactly<number>()(Gate.memoryBytes(), true);
{
  using brief = new Gate(catalog);
  brief.free();
}
const remote = new RemoteGate({ url: "https://gate.example.com", token: "secret", headers: ["x-tenant-id"], fetch, timeoutMs: 1 });
const bound = new RemoteGate({ url: new URL("https://gate"), token: "secret", service: { fetch } });
const gates: AnyGate[] = [gate, remote, bound];
exactly<Promise<ShortDecision>>()(remote.decide(facts, { look: true }), true);
exactly<Promise<Features>>()(remote.features("t_acme", context), true);
exactly<Promise<Transcript>>()(remote.ask(question), true);
exactly<Promise<Transcript>>()(remote.explain(nodeRequest, question), true);
exactly<Question>()(remote.question(facts), true);
exactly<Promise<{ tenant: TenantRecord; apiKey: string | null }>>()(remote.provisionTenant({ company: "Acme", selectedPlan: "pro@1", region: "eu" }, { idempotencyKey: "1" }), true);
const { key, record } = issueApiKey({ tenant: "t_acme", environment: "live", scopes: [], name: "ci", expires_at: 0 });
exactly<string>()(key + record.id, true);
exactly<number>()(record.epoch, true);
const assertion: Assertion = verifyAssertion(null, { keys: {}, audience: "https://origin.example.com", now: 0 });
exactly<string | null>()(assertion.plan, true);
exactly<[key: string, value: string][]>()(publish({ catalog, tenants: [] }), true);
exactly<Promise<void>>()(init(new URL("https://example.com/module.wasm")), true);
exactly<typeof Gate>()(root.Gate, true);

// Errors.
const denial: Denial = { details: {}, headers: {}, decision: null, cause: 1 };
const problem: Problem = { path: "$", found: "nothing", expected: "a catalog" };
const errors: TenantgateError[] = [
  new TenantgateError("CODE", "message", { status: 409, details: {}, headers: {}, cause: 1 }), new InputError("message", 1), new DocumentError([problem]), new ConfigurationError("message", 1), new GateFailedError("message", 1, 503), new InternalError(1),
  new DeniedError("RESIDENCY_VIOLATION", denial), new TenantNotFoundError({}, denial), new TenantMismatchError(), new TenantSuspendedError(), new TenantInactiveError(), new UnauthenticatedError(), new InsufficientScopeError({ scopes: ["a"] }),
  new FeatureNotAvailableError({ feature: "webhooks", current_plan: null, upgrade_url: "/pricing" }), new RateLimitedError({ rate: "calls", limit: 1, retry_after_ms: 1 }), new QuotaExceededError({ quota: "calls", violations: [{}] }),
];
for (const error of errors) {
  exactly<string>()(error.code, true);
  exactly<number>()(error.status, true);
  exactly<Record<string, unknown>>()(error.details, true);
  exactly<Record<string, string>>()(error.headers, true);
  exactly<{ status: number; headers: Record<string, string>; body: string }>()(error.toReply("application/problem+json"), true);
  exactly<Response>()(error.getResponse(), true);
  if (error instanceof DocumentError) exactly<Problem[]>()(error.problems, true);
  if (error instanceof DeniedError) exactly<object | null>()(error.decision, true);
}

// Middleware for `fetch`.
const strategies: ResolutionStrategy[] = ["subdomain", "custom-domain"];
const config: IsolationConfig = { strategy: "schema", resolution: strategies, mode: "first", baseDomains: ["example.com"], domainLookup: async () => null, customResolver: () => "t_acme", headerName: "X-Org", apiKeyHeader: "X-Key" };
const lookupTenant = async (id: string): Promise<Tenant | null> => ({ id, slug: "acme", quotas: { calls: "unlimited" }, own: 1 });
const byLookup: TenantOptions = { config, lookupTenant };
const featureOptions: FeatureOptions = { gate, getTenantPlan: async () => ({ name: "pro", features: ["webhooks"] }), upgradeUrl: "/pricing" };
configure({ gate, authenticate: async (request) => (exactly<Request>()(request, true), { scopes: [] }) });
const own: Middleware = async (ctx, next) => {
  exactly<Tenant | null>()(ctx.tenant, true);
  return next();
};
const logger = (ctx: HandlerContext): Logger => ({ debug() {}, info() {}, warn() {}, error: (message, fields) => console.error(message, fields, ctx.tenant?.id) });
const fetchHandler = handler(async (body: { id: string }, ctx, log) => {
  exactly<Tenant | null>()(ctx.tenant, true);
  exactly<ShortDecision | null>()(ctx.decision, true);
  exactly<Request>()(ctx.request, true);
  log.info("seen", { id: body.id });
  exactly<{ id: number }>()(owned(ctx, { id: 7 }, { column: "org" }), true);
  return { id: body.id, tenant: getCurrentTenant(ctx).slug };
}, { scopes: ["api.read"], middleware: [own, createTenantMiddleware({ gate: remote }), createTenantMiddleware(byLookup), requireFeature("webhooks", featureOptions), createQuotaMiddleware({ quotaKey: "calls", checkUsage: () => 1, limit: (tenant) => tenant.slug.length, cost: 1 })], logger });
exactly<Promise<Response>>()(fetchHandler(new Request("https://acme.example.com"), {}, {}), true);
exactly<Promise<Record<string, { limit: number | "unlimited"; used: number; remaining: number | null }>>>()(checkQuotas("t_acme", { calls: "unlimited" }, () => 1, { cost: 2 }), true);
exactly<Promise<unknown>>()(resolveFeature("t_acme", "webhooks", context, { gate }), true);
exactly<Promise<void>>()(meterUsage("t_acme", "calls", 2, { gate, id: "1" }), true);
exactly<Promise<boolean>>()(checkLimit("t_acme", "calls", { gate }), true);
exactly<Promise<{ tenant: TenantRecord; apiKey: string | null }>>()(provisionTenant({ company: "Acme" }, { gate: remote, idempotencyKey: "1" }), true);
exactly<{ tenant_id: string; status: string }>()({ ...withTenantScope("t_acme").where({ status: "active", tenant_id: 7 }) }, true);

// Frameworks.
const app = new Hono<TenantEnv>();
app.use(forHono({ gate }));
app.get("/", requiredByHono("webhooks", { gate }), (c) => {
  exactly<Tenant>()(c.get("tenant"), true);
  exactly<Credential | null>()(c.get("credential"), true);
  exactly<ShortDecision | null>()(c.var.decision, true);
  return c.json({ slug: getCurrentTenant(c).slug });
});
app.onError(onError);
new Hono().use(forHono({ gate })).get("/", (c) => {
  exactly<Tenant>()(c.get("tenant"), true);
  return c.text(c.var.tenant.slug);
});
const connect: ConnectMiddleware = forExpress({ gate });
const web = express();
web.use(connect);
web.get("/", requiredByExpress("webhooks", { gate }), (req, res) => {
  const { tenant, credential } = req as typeof req & TenantRequest;
  exactly<Tenant>()(tenant, true);
  exactly<Credential | null>()(credential, true);
  res.json({ slug: getCurrentTenant(req).slug });
});
web.use(errorHandler);

// OpenFeature, and pages.
OpenFeature.setProvider(new TenantgateProvider(gate));
OpenFeature.setProvider(new TenantgateProvider(remote));
const clientOptions: FeatureClientOptions = { url: "/features", context, headers: { authorization: "Bearer" }, fetch, storage: localStorage, waitS: 5 };
const client = new FeatureClient(clientOptions);
client.addEventListener("change", (event) => exactly<string[]>()(event.detail.changed, true));
client.addEventListener("stale", (event) => exactly<Event>()(event, true));
client.addEventListener("fresh", () => {});
client.context = { targeting_key: "user-2" };
exactly<Promise<void>>()(client.ready, true);
exactly<boolean>()(client.stale, true);
exactly<string | undefined>()(client.tenant?.slug, true);
exactly<Answer>()(client.get("theme"), true);
exactly<boolean>()(client.enabled("theme"), true);
exactly<Features>()(client.evaluate({ country: "NL" }), true);
OpenFeatureWeb.setProvider(new TenantgateWebProvider(client), { targetingKey: "user-1" });
client.close();
exactly<Promise<void>>()(initClient(), true);

// Brought by oneself: the classes are the same.
slim.initSync(new Uint8Array());
exactly<Promise<void>>()(slim.init(new Response()), true);
const same: Gate = new slim.Gate(catalog);

// Questions about a tenant, by every gate.
exactly<ShortDecision>()(gate.take("t_acme", { exports: 1 }), true);
exactly<Promise<ShortDecision>>()(remote.reserve({ id: "t_acme" }, { tokens: 1 }, { forMs: 1000 }), true);
exactly<Record<string, LimitState>>()(gate.limits("t_acme"), true);
exactly<boolean>()(gate.features("t_acme").get("webhooks", false), true);
exactly<string>()(gate.features("t_acme").get("theme", "light"), true);
const behind: AnyGate & TenantQuestions<true> = fromGateway({ url: "https://gate.example.com", audience: "app" });
const { service } = testGate(catalog, [], { now: () => 0 });
new RemoteGate({ service });
FeatureProvider({ features: gate.features("t_acme").toJSON(), client, children: "page" });
exactly<string>()(useFeature("theme", "light"), true);

exactly<DeniedError>()(denialOf(gate.decide({ host: "x" })), true);

// A catalog with known keys.
const known = defineCatalog({ version: 1, resolution: { strategies: [] }, features: { exports: {}, theme: { type: "string" } }, limits: { calls: { kind: "quota" } }, plans: {} });
const typed = new Gate<typeof known>(known);
exactly<string>()(typed.features("t_acme").get("theme", "light"), true);
typed.take("t_acme", { calls: 1 }).allowed;
exactly<LimitState>()(typed.limits("t_acme").calls, true);
export const typedOthers = [new RemoteGate<typeof known>({ service }).take("t_acme", { calls: 1 }), edgeGate<typeof known>({}, { waitUntil() {} }).take("t_acme", { calls: 1 })];

// Data.
const plugin: KyselyPlugin = tenantPlugin({ tenant: "t_acme", tables: ["tasks"], shared: ["countries"], column: "tenant" });
exactly<string>()(rowLevelSecurity({ tables: ["tasks"], role: "app" }), true);
exactly<Promise<number>>()(withTenant({ connect: async () => ({ query() {}, release() {} }) }, "t_acme", async () => 7), true);
const database = drizzle(async () => ({ rows: [] }));
exactly<typeof database>()(tenantDb(database, { tenant: "t_acme", tables: ["tasks"], functions: ["slug"] }), true);
declare const prisma: { name: "a client" };
exactly<typeof prisma>()(tenantExtension({ tenant: "t_acme", models: ["Task"], shared: ["Country"], column: "tenant" })(prisma), true);
export const ofData = [plugin, new TenantScopeError("refused")];

// In a Worker.
const edge: EdgeGate = edgeGate({}, { waitUntil() {} });
exactly<ShortDecision | null>()(edge.decideNow(new Request("https://x")), true);
const one = new Hono<TenantEnv>();
one.all("/_gate/*", gateway());
one.use(tenants(), tenantsOfWhole({ gate: edge }));
one.get("/", async (c) => c.json(await c.get("gate").take({ exports: 1 })));
export const whole = { fetch: complete.fetch, scheduled, TenantLedger, TenantHub, rpc: TenantGate };

// Sockets.
const store = createConnectionStore({ url: "https://gate.example.com", token: "token" });
exactly<Promise<Connection[]>>()(connectionStore.getByTenant("t_acme"), true);
export const sent = store.sendToTenant(undefined, undefined, "t_acme", { text: "Hello!" }, { channel: "news" });
const socket: TenantSocket<{ text: string }> = connectSocket("wss://acme.app.example.com", { token: async () => "token" });
socket.on("message", ({ data, seq }) => {
  exactly<string>()(data.text, true);
  exactly<number>()(seq, true);
});
exactly<Promise<number>>()(socket.publish("news", 1), true);
export const made = new TenantSocket("wss://acme.app.example.com", { token: "token" });

export { behind, gates, requests, same };

const written = {
  version: 1, resolution: { strategies: [{ strategy: "jwt" }, { strategy: "header" }] }, features: { exports: {}, theme: { type: "string", default: "light" } },
  limits: { calls: { kind: "quota", period: "month" } }, plans: { "pro@1": { features: ["exports"], limits: { calls: 5 } } },
} satisfies CatalogDocument;
new Gate(written, [{ id: "t_acme", slug: "acme", plan: "pro@1" } satisfies TenantDocument]);
