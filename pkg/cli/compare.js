// Compares two documents: where they differ, and what each tenant gains or loses.

import { Gate } from "../node.js";
import { own } from "../own.js";

/** Maximum number of limits in one question. */
const MAX_LIMITS = 64;

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const step = (key) => (/^[A-Za-z_][A-Za-z0-9_]*$/.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`);

/**
 * The members of an object or an array by their path step. Array entries that all have distinct ids
 * are compared by id, not by position, and have a filter as their path step (RFC 9535).
 */
function members(value) {
  if (isObject(value)) return new Map(Object.entries(value).map(([key, member]) => [step(key), member]));
  const ids = value.map((entry) => (isObject(entry) && typeof entry.id === "string" ? entry.id : undefined));
  const named = !ids.includes(undefined) && new Set(ids).size === ids.length;
  return new Map(value.map((entry, i) => [named ? `[?@.id==${JSON.stringify(ids[i])}]` : `[${i}]`, entry]));
}

/**
 * Finds the places where two JSON values differ.
 * @returns {{path: string, before?: unknown, after?: unknown}[]} `before` or `after` is missing for
 *   an absent value
 */
export function differences(before, after, path = "$") {
  const both = (isObject(before) && isObject(after)) || (Array.isArray(before) && Array.isArray(after));
  if (!both) return JSON.stringify(before) === JSON.stringify(after) ? [] : [{ path, before, after }];
  const [old, now] = [members(before), members(after)];
  return [...new Set([...old.keys(), ...now.keys()])].flatMap((key) => {
    if (!now.has(key)) return [{ path: path + key, before: old.get(key) }];
    if (!old.has(key)) return [{ path: path + key, after: now.get(key) }];
    return differences(old.get(key), now.get(key), path + key);
  });
}

const has = (value) => value !== undefined && value !== null && value !== false;

function size(value) {
  if (typeof value === "number") return value;
  if (value === "unlimited") return Infinity;
  return isObject(value) && value.limit !== undefined && value.window_ms ? size(value.limit) / value.window_ms : undefined;
}

/** Whether a tenant has more than before: `gain`, `loss`, or `change` if that is undecidable. */
function effect(before, after) {
  if (has(before) !== has(after)) return has(after) ? "gain" : "loss";
  const [was, is] = [size(before), size(after)];
  if (was === undefined || is === undefined || was === is) return "change";
  return is > was ? "gain" : "loss";
}

function shifts(before, after) {
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
  const pairs = keys.map((key) => [key, own(before, key), own(after, key)]);
  const changed = pairs.filter(([, was, is]) => JSON.stringify(was) !== JSON.stringify(is));
  return Object.fromEntries(changed.map(([key, was, is]) => [key, { before: was ?? null, after: is ?? null, effect: effect(was, is) }]));
}

/** One of the two seeds, with a gate for it. */
class Side {
  constructor({ catalog, tenants }) {
    this.gate = new Gate(catalog, tenants);
    this.limits = catalog.limits ?? {};
    this.ids = new Set(tenants.map(({ id }) => id));
  }

  /** The entitlements of a tenant. */
  of(tenant, now) {
    const keys = Object.keys(this.limits);
    // Without prototypes, so that a key such as `__proto__` is an ordinary member.
    const found = { code: null, features: Object.create(null), limits: Object.create(null) };
    for (let start = 0; start === 0 || start < keys.length; start += MAX_LIMITS) {
      const limits = Object.fromEntries(keys.slice(start, start + MAX_LIMITS).map((key) => [key, 0]));
      const { decision } = this.gate.ask({ tenant, all_features: true, look: true, limits }, { now });
      found.code = decision.code;
      for (const [key, { value }] of Object.entries(decision.features)) found.features[key] = value;
      // The tenant's own budget comes before those of its ancestors.
      for (const limit of decision.limits) found.limits[limit.key] ??= this.#allowance(limit);
    }
    return found;
  }

  #allowance({ key, kind, limit, remaining }) {
    const allowed = limit ?? "unlimited";
    // The gate is new, so the remaining units of a rate are its burst.
    return kind === "rate" ? { limit: allowed, burst: remaining, window_ms: this.limits[key].window_ms } : allowed;
  }
}

/**
 * Determines what each tenant would gain or lose between two seeds, with a gate for each seed.
 * @returns {{tenant: string, code?: object, features: Record<string, object>, limits:
 *   Record<string, object>}[]} only affected tenants
 */
export function impacts(before, after, now = Date.now()) {
  const [old, next] = [new Side(before), new Side(after)];
  const changed = [];
  for (const tenant of new Set([...old.ids, ...next.ids])) {
    const [was, is] = [old.of(tenant, now), next.of(tenant, now)];
    const [allowed, allows] = [was, is].map(({ code }) => code === "ALLOWED");
    const effect = allowed === allows ? "change" : allows ? "gain" : "loss";
    const code = was.code !== is.code && { before: was.code, after: is.code, effect };
    const [features, limits] = [shifts(was.features, is.features), shifts(was.limits, is.limits)];
    if (code || Object.keys(features).length || Object.keys(limits).length) {
      changed.push({ tenant, ...(code && { code }), features, limits });
    }
  }
  old.gate.free();
  next.gate.free();
  return changed;
}

/** The rows of a table of impacts: tenant, what, effect, before, after. */
export function impactRows(tenants, show) {
  return tenants.flatMap(({ tenant, code, features = {}, limits = {} }) => [
    ...(code ? [[tenant, "decision", code.effect, code.before, code.after]] : []),
    ...Object.entries(features).map(([key, { effect, before, after }]) => [tenant, `feature ${key}`, effect, show(before), show(after)]),
    ...Object.entries(limits).map(([key, { effect, before, after }]) => [tenant, `limit ${key}`, effect, show(before), show(after)]),
  ]);
}
