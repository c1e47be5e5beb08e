// What differs between two documents, and what that means for tenants.

import { Gate } from "../node.js";
import { own } from "../own.js";

/** So many limits may be asked of one decision. */
const MAX_LIMITS = 64;

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const step = (key) => (/^[A-Za-z_][A-Za-z0-9_]*$/.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`);

/** Records are the same where their ids are, wherever they stand: their paths say so (RFC 9535). */
function members(value) {
  if (isObject(value)) return new Map(Object.entries(value).map(([key, member]) => [step(key), member]));
  const ids = value.map((entry) => (isObject(entry) && typeof entry.id === "string" ? entry.id : undefined));
  const named = !ids.includes(undefined) && new Set(ids).size === ids.length;
  return new Map(value.map((entry, i) => [named ? `[?@.id==${JSON.stringify(ids[i])}]` : `[${i}]`, entry]));
}

/**
 * The places at which two JSON values differ.
 * @returns {{path: string, before?: unknown, after?: unknown}[]} without what is absent
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

/** Whether more is had than before: `gain`, `loss`, or `change` where neither can be said. */
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

/** Decides by one seed. */
class Side {
  constructor({ catalog, tenants }) {
    this.gate = new Gate(catalog, tenants);
    this.limits = catalog.limits ?? {};
    this.ids = new Set(tenants.map(({ id }) => id));
  }

  /** What a tenant has. */
  of(tenant, now) {
    const keys = Object.keys(this.limits);
    // Without prototypes: whatever a feature or a limit is called, it is only a member.
    const found = { code: null, features: Object.create(null), limits: Object.create(null) };
    for (let start = 0; start === 0 || start < keys.length; start += MAX_LIMITS) {
      const limits = Object.fromEntries(keys.slice(start, start + MAX_LIMITS).map((key) => [key, 0]));
      const { decision } = this.gate.ask({ tenant, all_features: true, look: true, limits }, { now });
      found.code = decision.code;
      for (const [key, { value }] of Object.entries(decision.features)) found.features[key] = value;
      // A tenant's own comes before those of the tenants above it.
      for (const limit of decision.limits) found.limits[limit.key] ??= this.#allowance(limit);
    }
    return found;
  }

  #allowance({ key, kind, limit, remaining }) {
    const allowed = limit ?? "unlimited";
    // Nothing has been taken: what remains of a rate is its burst.
    return kind === "rate" ? { limit: allowed, burst: remaining, window_ms: this.limits[key].window_ms } : allowed;
  }
}

/**
 * What each tenant would gain or lose between two seeds, decided by a gate for each.
 * @returns {{tenant: string, code?: object, features: Record<string, object>, limits: Record<string, object>}[]} those for whom
 *   something changes
 */
export function impacts(before, after, now = Date.now()) {
  const [old, next] = [new Side(before), new Side(after)];
  const changed = [];
  for (const tenant of new Set([...old.ids, ...next.ids])) {
    const [was, is] = [old.of(tenant, now), next.of(tenant, now)];
    const allowed = [was, is].map(({ code }) => code === "ALLOWED");
    const code = was.code !== is.code && { before: was.code, after: is.code, effect: allowed[0] === allowed[1] ? "change" : allowed[1] ? "gain" : "loss" };
    const [features, limits] = [shifts(was.features, is.features), shifts(was.limits, is.limits)];
    if (code || Object.keys(features).length || Object.keys(limits).length) changed.push({ tenant, ...(code && { code }), features, limits });
  }
  old.gate.free();
  next.gate.free();
  return changed;
}

/** Impacts as rows: tenant, what, effect, before, after. */
export function impactRows(tenants, show) {
  return tenants.flatMap(({ tenant, code, features = {}, limits = {} }) => [
    ...(code ? [[tenant, "decision", code.effect, code.before, code.after]] : []),
    ...Object.entries(features).map(([key, { effect, before, after }]) => [tenant, `feature ${key}`, effect, show(before), show(after)]),
    ...Object.entries(limits).map(([key, { effect, before, after }]) => [tenant, `limit ${key}`, effect, show(before), show(after)]),
  ]);
}
