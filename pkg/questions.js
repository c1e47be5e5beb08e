// Questions about one tenant in the words of an application: `check`, `take`, `limits` and others.
// Every gate has them. They are `ask` with the members that each needs.

import { denial } from "./denials.js";
import { DocumentError, InputError } from "./errors.js";
import { named, options as known, readable } from "./input.js";

/** The codes of limits. */
const USED_UP = new Set(["RATE_LIMITED", "CONCURRENCY_LIMITED", "QUOTA_EXCEEDED"]);

/** Calls `read` with a value, or with the result of a promise. */
const then = (value, read) => (typeof value?.then === "function" ? value.then(read) : read(value));

/** The method of gates for middleware. Shared, even if the package was loaded twice. */
export const ANSWER = Symbol.for("tenantgate.answer");

export class Questions {
  /**
   * Decides a request for middleware: `{headers, decision}`, with a decision in its short form or a
   * denial in its full form. `named`: the answer of a custom resolver.
   */
  [ANSWER](request, named) {
    return then(this.ask({ ...this.question(request), ...named }), brief);
  }

  check(tenant, limits = {}, options) {
    return this.#count(tenant, limits, options, { look: true });
  }

  take(tenant, limits, options) {
    return this.#count(tenant, limits, options);
  }

  release(tenant, limits, options) {
    return this.#count(tenant, each(units(limits), (release) => ({ release })), options);
  }

  set(tenant, limits, options) {
    return this.#count(tenant, each(units(limits), (set) => ({ set })), options);
  }

  meter(tenant, limits, options) {
    const { id = crypto.randomUUID(), ...more } = known(options, ["id", "now"], "`meter`");
    // A settlement counts what has happened, whatever the limit is, and each id once.
    return this.#question({ tenant: idOf(tenant), limits: units(limits), settle: idempotency(id) }, more);
  }

  reserve(tenant, limits, options) {
    const { id = crypto.randomUUID(), forMs, ...more } = known(options, ["id", "forMs", "now"], "`reserve`");
    const reserve = { id: idempotency(id), ...(forMs !== undefined && { for_ms: forMs }) };
    return this.#question({ tenant: idOf(tenant), limits: units(limits), reserve }, more);
  }

  settle(tenant, hold, limits = {}, options) {
    const id = typeof hold === "string" ? hold : hold?.id;
    if (typeof id !== "string") throw new InputError("`settle` needs the hold of a decision, or its id");
    return this.#question({ tenant: idOf(tenant), limits: units(limits), settle: id }, known(options, ["now"], "`settle`"));
  }

  limits(tenant, options) {
    const question = { tenant: idOf(tenant), all_limits: true, look: true };
    return then(this.#ask(question, known(options, ["now"], "`limits`")), (decision) => {
      // A limit that is used up is no obstacle to reading it.
      if (!decision.allowed && !USED_UP.has(decision.code)) throw denial(decision);
      return tightest(short(decision).limits);
    });
  }

  #count(tenant, limits, options, more = {}) {
    const { idempotencyKey, context, features, ...rest } = known(options, ["idempotencyKey", "context", "features", "now"], "a question");
    const question = { tenant: idOf(tenant), limits: named(limits, "`limits`"), ...more };
    if (idempotencyKey !== undefined) question.idempotency_key = idempotencyKey;
    if (context !== undefined) question.context = readable(context);
    if (features !== undefined) question.features = features;
    return this.#question(question, rest);
  }

  #question(question, options) {
    return then(this.#ask(question, options), short);
  }

  /** The decision in its full form. Throws for a question that the catalog cannot answer. */
  #ask(question, options) {
    return then(this.ask(question, options), ({ decision }) => {
      if (decision.code !== "BAD_REQUEST") return decision;
      const { problems } = decision.error.details;
      throw problems ? new DocumentError(problems) : denial(decision);
    });
  }
}

/** An answer for middleware, which needs the full form only for denials. */
export const brief = ({ headers, decision }) => ({ headers, decision: decision.allowed ? short(decision) : decision });

/** The decision in the short form that `decide` returns. */
export function short({ allowed, code, tenant, credential = null, features, limits, hold = null, error }) {
  const now = Date.now();
  return {
    allowed,
    code,
    tenant,
    credential,
    features,
    limits: limits.map(({ key, limit, used, remaining, resets_at }) => ({
      key, limit, used, remaining, reset_ms: resets_at === null ? 0 : Math.max(0, Date.parse(resets_at) - now),
    })),
    retry_after_ms: error?.details.retry_after_ms ?? null,
    hold,
  };
}

/**
 * The limits by key. Of a limit that the tenant shares with tenants above it, the one that leaves
 * least.
 */
function tightest(limits) {
  const found = new Map();
  const left = ({ remaining }) => remaining ?? Infinity;
  for (const limit of limits) {
    const known = found.get(limit.key);
    if (known === undefined || left(limit) < left(known)) found.set(limit.key, limit);
  }
  return Object.fromEntries(found);
}

/** Applies `change` to each value. `fromEntries` makes own properties, even of `__proto__`. */
const each = (limits, change) => Object.fromEntries(Object.entries(limits).map(([key, value]) => [key, change(value)]));

/** Checks numbers of units by limit. */
function units(limits) {
  for (const [key, value] of Object.entries(named(limits, "`limits`"))) {
    if (!Number.isSafeInteger(value) || value < 0) throw new InputError(`the units of \`${key}\` must be a whole number from 0 to 2^53 - 1`);
  }
  return limits;
}

function idOf(tenant) {
  const id = typeof tenant === "object" ? tenant?.id : tenant;
  if (typeof id !== "string" || id === "") throw new InputError("a tenant must be its id, or an object with its `id`");
  return id;
}

function idempotency(id) {
  if (typeof id !== "string" || id === "") throw new InputError("`id` must be a non-empty string");
  return id;
}
