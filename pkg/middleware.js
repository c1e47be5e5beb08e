// Middleware for plain `fetch` handlers, and the functions that handlers call for their tenant.

import { denial, ownResponse, replyTo } from "./denials.js";
import {
  ConfigurationError, InputError, QuotaExceededError, TenantMismatchError, TenantgateError,
} from "./errors.js";
import { options as known } from "./input.js";
import { own } from "./own.js";
import { causesOf, isFailure, reasonOf, sentenceOf } from "./reports.js";
import { ended, finished, withHeaders } from "./responses.js";
import { authenticated, configured } from "./settings.js";
import { tenancy } from "./lookup.js";
import { answerOf, checkFeature, featureOptions, getCurrentTenant, requireScopes } from "./tenancy.js";

export * from "./errors.js";
export { fromGateway } from "./from-gateway.js";
export { getCurrentTenant, owned } from "./tenancy.js";
export { configure } from "./settings.js";

export function handler(handle, options) {
  const given = known(options, ["scopes", "middleware", "logger", "maxBodyBytes"], "`handler`");
  const { scopes = [], middleware = [], logger = consoleLogger, maxBodyBytes = MAX_BODY_BYTES } = given;
  if (typeof handle !== "function") throw new InputError("a handler must be a function");
  if (!Array.isArray(middleware) || middleware.some((one) => typeof one !== "function")) {
    throw new InputError("`middleware` must be an array of functions");
  }
  return async (request, env, execution) => {
    const ctx = { request, env, execution, scopes, tenant: null, credential: null, decision: null, gate: null, headers: {}, done: [] };
    const log = logger(ctx);
    const waitUntil = execution?.waitUntil?.bind(execution);
    try {
      const known = await authenticated(request);
      if (known !== undefined) requireScopes(ctx.credential = known, scopes);
      const result = await run(middleware, ctx, async () => {
        requireScopes(ctx.credential, scopes);
        return handle(await bodyOf(request, maxBodyBytes), ctx, log);
      });
      return await finished(request, withHeaders(responseOf(result), ctx.headers), ctx.done, waitUntil);
    } catch (error) {
      const { status, headers, body } = ownResponse(error) ?? replyTo(error, request.headers.get("accept"));
      if (isFailure(error, status)) {
        log.error("request failed", { reason: reasonOf(error), error: causesOf(error).map(traceOf).join("\ncaused by ") });
      }
      await ended(ctx.done, waitUntil);
      return withHeaders(new Response(request.method === "HEAD" ? null : body, { status, headers }), ctx.headers);
    }
  };
}

const traceOf = (error) => (typeof error?.stack === "string" ? error.stack : sentenceOf(error));

/** Runs the middleware around the handler: each one either replies itself or calls `next` once. */
async function run(middleware, ctx, last) {
  const step = async (index) => {
    if (index === middleware.length) return last();
    let called = false;
    return middleware[index](ctx, () => {
      if (called) throw new ConfigurationError("a middleware called `next` twice");
      called = true;
      return step(index + 1);
    });
  };
  return step(0);
}

export function createTenantMiddleware(options) {
  const identify = tenancy(options);
  return async (ctx, next) => {
    const { tenant, credential, headers, decision, gate = null, done } = await identify(ctx.request, ctx);
    ctx.done.push(...done);
    // A caller that `authenticate` knows must belong to the same tenant. A credential that the gate
    // has verified takes precedence over that caller.
    if (typeof ctx.credential?.tenant === "string" && ctx.credential.tenant !== tenant?.id) throw new TenantMismatchError();
    ctx.tenant = tenant;
    ctx.credential = credential ?? ctx.credential;
    ctx.decision = decision;
    ctx.gate = gate;
    Object.assign(ctx.headers, headers);
    // Before anything is counted, so that a denied caller consumes nothing.
    requireScopes(ctx.credential, ctx.scopes);
    return next();
  };
}

export function createQuotaMiddleware(options) {
  const names = ["quotaKey", "checkUsage", "limit", "cost", "gate"];
  const { quotaKey, checkUsage, limit, cost = 1, gate } = known(options, names, "`createQuotaMiddleware`");
  if (typeof quotaKey !== "string") throw new ConfigurationError("`quotaKey` must be the key of a quota");
  units(cost, "cost");
  return async (ctx, next) => {
    const tenant = getCurrentTenant(ctx);
    if (checkUsage) {
      const given = limit ?? own(tenant.quotas, quotaKey) ?? own(tenant.metadata?.quotas, quotaKey);
      const allowed = typeof limit === "function" ? await limit(tenant) : given;
      await checkQuotas(tenant.id, { [quotaKey]: allowed ?? 0 }, checkUsage, { cost });
    } else {
      const { decision, headers } = await answerOf(() => configured(gate).ask({ tenant: tenant.id, limits: { [quotaKey]: cost } }));
      Object.assign(ctx.headers, headers);
      if (!decision.allowed) throw denial(decision, headers);
      const { hold } = decision;
      if (hold) ctx.done.push(() => configured(gate).ask({ tenant: tenant.id, settle: hold.id }));
    }
    return next();
  };
}

export async function checkQuotas(tenantId, quotas, checkUsage, { cost = 1 } = {}) {
  tenantIdOf(tenantId);
  units(cost, "`cost`");
  const entries = Object.entries(quotas);
  for (const [key, limit] of entries) if (limit !== "unlimited") units(limit, `the quota \`${key}\``);
  const standing = await Promise.all(entries.map(async ([quota, limit]) => {
    const used = units(await checkUsage(tenantId, quota), `the result of \`checkUsage\` for \`${quota}\``);
    return { quota, limit, used, requested: cost, allowed: limit === "unlimited" || used + cost <= limit };
  }));
  const violations = standing.filter(({ allowed }) => !allowed).map(({ allowed, ...violation }) => violation);
  if (violations.length > 0) throw new QuotaExceededError({ ...violations[0], violations });
  return Object.fromEntries(standing.map(({ quota, limit, used }) => {
    const remaining = limit === "unlimited" ? null : limit - used;
    return [quota, { limit, used, remaining }];
  }));
}

export function requireFeature(feature, options) {
  const how = featureOptions(options);
  return async (ctx, next) => {
    await checkFeature(getCurrentTenant(ctx), feature, ctx, how);
    return next();
  };
}

export async function resolveFeature(tenantId, feature, context = {}, { gate } = {}) {
  const id = tenantIdOf(tenantId);
  return (await answerOf(() => configured(gate).features(id, context))).get(feature).value;
}

export async function meterUsage(tenantId, metric, quantity = 1, { gate, id = crypto.randomUUID() } = {}) {
  // Settling counts past usage whatever the limit is, and counts each id only once.
  const question = { tenant: tenantIdOf(tenantId), settle: id, limits: { [metric]: units(quantity, "the quantity") } };
  const { decision } = await answerOf(() => configured(gate).ask(question));
  if (!decision.allowed) throw denial(decision);
}

export async function checkLimit(tenantId, metric, { gate } = {}) {
  const question = { tenant: tenantIdOf(tenantId), limits: { [metric]: 1 }, look: true };
  const { decision } = await answerOf(() => configured(gate).ask(question));
  if (decision.allowed) return true;
  if (["QUOTA_EXCEEDED", "RATE_LIMITED", "CONCURRENCY_LIMITED"].includes(decision.code)) return false;
  throw denial(decision);
}

export function provisionTenant(tenantData, { gate, ...options } = {}) {
  const remote = configured(gate);
  if (typeof remote.provisionTenant !== "function") {
    throw new ConfigurationError("only the Worker can set up tenants: `provisionTenant` needs a `RemoteGate`");
  }
  return remote.provisionTenant(tenantData, options);
}

export function withTenantScope(tenantId) {
  tenantIdOf(tenantId);
  return { where: (conditions = {}) => ({ ...conditions, tenant_id: tenantId }) };
}

function tenantIdOf(tenantId) {
  if (typeof tenantId !== "string" || tenantId === "") throw new InputError("a tenant's id must be a non-empty string");
  return tenantId;
}

/** Checks a number of units. */
function units(value, what) {
  if (!Number.isSafeInteger(value) || value < 0) throw new InputError(`${what} must be a whole number from 0 to 2^53 - 1`);
  return value;
}

/** The default maximum size of a body that is parsed. */
const MAX_BODY_BYTES = 1 << 20;

async function bodyOf(request, maxBytes) {
  if (request.body === null || request.body === undefined) return undefined;
  if (!/^application\/(.+\+)?json\b/i.test(request.headers.get("content-type") ?? "")) return undefined;
  const chunks = [];
  let read = 0;
  // Reads a clone: middleware and the handler may read the body too.
  const reader = request.clone().body.getReader();
  for (let part; !(part = await reader.read()).done;) {
    read += part.value.length;
    if (read > maxBytes) {
      // Not awaited: the cancellation of one branch of a clone waits for that of the other branch.
      reader.cancel().catch(() => {});
      throw new TenantgateError("PAYLOAD_TOO_LARGE", "the body is too large", { status: 413 });
    }
    chunks.push(part.value);
  }
  if (read === 0) return undefined;
  try {
    return JSON.parse(await new Blob(chunks).text());
  } catch (cause) {
    throw new TenantgateError("BAD_REQUEST", "the body is not valid JSON", { status: 400, cause });
  }
}

function responseOf(result) {
  if (result instanceof Response) return result;
  if (result === undefined) return new Response(null, { status: 204 });
  return Response.json(result, { headers: { "cache-control": "private, no-store" } });
}

/** Writes each entry to the console as one line of JSON with the tenant's id. */
const consoleLogger = (ctx) =>
  Object.fromEntries(["debug", "info", "warn", "error"].map((level) => [level, (message, fields = {}) =>
    console[level](JSON.stringify({ level, message, tenant: ctx.tenant?.id ?? null, ...fields }))]));
