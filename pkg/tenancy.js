// Decides a request by a gate, for the middleware of every framework, and checks what follows from
// it: scopes and features. Needs no WebAssembly of its own.

import { denial, denied, isOurs } from "./denials.js";
import {
  ConfigurationError, FeatureNotAvailableError, GateFailedError, InsufficientScopeError, TenantgateError, TenantNotFoundError, UnauthenticatedError,
} from "./errors.js";
import { options as known } from "./input.js";
import { own } from "./own.js";
import { ANSWER, Questions } from "./questions.js";
import { boundTo, configured } from "./settings.js";

/**
 * Returns `identify(request, ctx)`, which returns `{tenant, credential, headers, decision, gate,
 * done}` or throws the error for a denied request. The caller must run the functions in `done` when
 * the response has ended. `gate`: a gate, or a function that returns it for the framework's
 * context.
 */
export function byGate(gate, customResolver) {
  const find = typeof gate === "function" ? gate : () => gate;
  return async (request, ctx) => ask(find(ctx), await custom(customResolver, request), request);
}

async function ask(gate, named, request) {
  // Another implementation of a gate has `question` and `ask`.
  const answer = gate[ANSWER] ?? Questions.prototype[ANSWER];
  const { headers, decision } = await answered(() => answer.call(gate, request, named));
  if (!decision.allowed) throw denial(decision, headers);
  const { tenant, credential = null, hold } = decision;
  const seen = tenant && { ...tenant, metadata: { plan: tenant.plan } };
  // A request in flight holds its slots until its response has ended.
  const done = hold ? [() => gate.ask({ tenant: tenant.id, settle: hold.id })] : [];
  return { tenant: seen, credential, headers, decision, gate: tenant && boundTo(gate, tenant), done };
}

/** Asks a gate to decide a request. A request that the gate cannot read is the caller's mistake. */
async function answered(question) {
  try {
    return await answerOf(question);
  } catch (cause) {
    throw cause?.code === "INVALID_DOCUMENT" || cause?.code === "INVALID_INPUT" ? denied("BAD_REQUEST", { cause }) : cause;
  }
}
/** Codes of errors that are rethrown unchanged. */
const UNCHANGED = new Set(["GATE_FAILED", "INVALID_DOCUMENT", "INVALID_INPUT", "MISCONFIGURED"]);

/**
 * Asks a gate on behalf of the application. If the gate rejects the application itself, for
 * instance because of a wrong token, this throws a `GateFailedError`, not a denial of the caller.
 */
export async function answerOf(question) {
  try {
    return await question();
  } catch (cause) {
    if (!isOurs(cause) || UNCHANGED.has(cause.code) || "decision" in cause) throw cause;
    throw new GateFailedError(`the gate rejected the application: ${cause.code}`, cause, 503);
  }
}

/** Milliseconds that the custom resolver may take, as in the Worker. */
const CUSTOM_RESOLVER_MS = 2_000;
/**
 * Asks the custom resolver. A resolver that fails or times out is an error, not a request without a
 * tenant.
 */
export async function custom(resolve, request) {
  if (!resolve) return {};
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("the resolver timed out")), CUSTOM_RESOLVER_MS);
  });
  try {
    const name = await Promise.race([resolve(request), late]);
    if (name === null || name === undefined) return {};
    if (typeof name !== "string") throw new TypeError("the resolver must return a string or null");
    return { custom: name };
  } catch (cause) {
    throw denied("RESOLVER_FAILED", { cause });
  } finally {
    clearTimeout(timer);
  }
}

/** Scopes from an array, or from a text with spaces between them (RFC 6749 §3.3). */
export function scopesOf(scopes) {
  if (Array.isArray(scopes)) return scopes.filter((scope) => typeof scope === "string");
  return typeof scopes === "string" ? scopes.split(" ").filter(Boolean) : [];
}

/** Throws unless a credential allows all of these scopes. */
export function requireScopes(credential, scopes) {
  const allowed = scopesOf(credential?.scopes ?? credential?.scope);
  if (scopes.every((scope) => allowed.includes(scope))) return;
  throw credential ? new InsufficientScopeError({ scopes }) : new UnauthenticatedError();
}
export function getCurrentTenant(ctx) {
  const tenant = variable(ctx, "tenant");
  if (!tenant) throw new TenantNotFoundError();
  return tenant;
}

/**
 * What a middleware has set. Hono stores variables in its context. Express has a `get` too, but for
 * headers.
 */
const variable = (ctx, name) => ctx?.[name] ?? (typeof ctx?.set === "function" && ctx.req !== undefined ? ctx.get(name) : undefined);

export function owned(ctx, row, options) {
  const { column = "tenant_id" } = known(options ?? {}, ["column"], "`owned`");
  const { id } = getCurrentTenant(ctx);
  if (row !== null && row !== undefined) {
    if (row[column] === undefined) throw new ConfigurationError(`the row has no \`${column}\`: select it, or name the column that has the tenant's id`);
    if (row[column] === id) return row;
  }
  // Another tenant's row does not exist for this one.
  throw new TenantgateError("NOT_FOUND", "there is no such record", { status: 404 });
}

/** Throws unless the tenant has the feature. `ctx`: the argument of a `context` function. */
export async function checkFeature(tenant, feature, ctx, { gate, getTenantPlan, context, upgradeUrl }) {
  const lacks = (plan, url = "/pricing") => new FeatureNotAvailableError({ feature, upgrade_url: upgradeUrl ?? url, current_plan: plan });
  if (getTenantPlan) {
    const plan = await getTenantPlan(tenant.id);
    const { features = [] } = plan ?? {};
    const has = Array.isArray(features) ? features.includes(feature) : Object.hasOwn(features, feature) && Boolean(features[feature]);
    if (!has) throw lacks(plan?.name ?? null);
    return;
  }
  // The decision that has let the request in may know already.
  const [asker, decided] = [variable(ctx, "gate")?.of, variable(ctx, "decision")];
  const isOfAnother = context || (gate && gate !== asker) || decided?.tenant?.id !== tenant.id;
  const known = isOfAnother ? undefined : own(decided.features, feature);
  if (known?.enabled) return;
  if (known && decided.upgrade_url !== undefined) throw lacks(decided.tenant.plan, decided.upgrade_url);
  const question = { tenant: tenant.id, features: [feature], look: true };
  if (context) question.context = typeof context === "function" ? await context(ctx) : context;
  // By default the gate that has let the request in.
  const { decision } = await answerOf(() => (gate ?? asker ?? configured()).ask(question));
  if (!decision.allowed) throw denial(decision);
  const answer = own(decision.features, feature);
  if (answer?.reason === "FEATURE_UNKNOWN") throw new ConfigurationError(`the catalog has no feature \`${feature}\``);
  if (!answer?.enabled) throw lacks(decision.tenant.plan, decision.upgrade_url);
}

/** The options of `requireFeature`. */
export const featureOptions = (options) => known(options, ["gate", "getTenantPlan", "context", "upgradeUrl"], "`requireFeature`");
