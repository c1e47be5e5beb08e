// Who is it, and may it pass: what every middleware does with a request, whatever framework it came through.

import "#entry";
import { Resolver } from "./dist/tenantgate.js";
import { denial, denied } from "./denials.js";
import { ConfigurationError, DocumentError, FeatureNotAvailableError, InsufficientScopeError, TenantMismatchError, TenantNotFoundError, UnauthenticatedError } from "./errors.js";
import { factsOf, headersOf } from "./facts.js";
import { text } from "./input.js";
import { failure, generation, ready } from "./module.js";
import { configured } from "./settings.js";

/**
 * What finds the tenant of a request: `identify(request)` gives `{tenant, credential, headers, decision, done}` or throws what the
 * request is denied with. `done` is called once the response has ended.
 */
export function tenancy(options) {
  const { gate, customResolver, config, lookupTenant } = options ?? {};
  if (gate) return { identify: async (request) => ask(gate, await custom(customResolver, request), request) };
  if (!config || typeof lookupTenant !== "function") {
    throw new ConfigurationError("`createTenantMiddleware` needs a `gate`, or `config` and `lookupTenant`");
  }
  const lookup = new Lookup(config, lookupTenant);
  return { identify: (request) => lookup.identify(request) };
}

async function ask(gate, named, request) {
  const { headers, decision } = await gate.ask({ ...gate.question(request), ...named });
  if (!decision.allowed) throw denial(decision, headers);
  const { tenant, credential = null, hold } = decision;
  const own = tenant && { ...tenant, metadata: { plan: tenant.plan } };
  // What is in flight holds its slots until the response has ended.
  const done = hold && (() => gate.ask({ tenant: tenant.id, settle: hold.id }));
  return { tenant: own, credential, headers, decision, done };
}

/** What is asked of whom shows nothing good, by strategy. */
const CHALLENGES = { jwt: 'Bearer realm="tenantgate"', api_key: 'ApiKey realm="tenantgate"' };
/** How data of tenants is kept apart. */
const ISOLATION = ["shared", "schema", "database", "hybrid"];
const STATUSES = {
  suspended: "TENANT_SUSPENDED", inactive: "TENANT_INACTIVE", provisioning: "TENANT_PROVISIONING", maintenance: "TENANT_MAINTENANCE",
  deleted: "TENANT_NOT_FOUND",
};
const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
/** A base domain that no host has (RFC 6761). */
const NOWHERE = "nowhere.invalid";
/** Resolvers for bases that were read off a host; there are few in earnest. */
const MAX_BASES = 64;

/** Tenants that the application looks up itself: the core finds what a request says, the application whom it means. */
class Lookup {
  #config;
  #lookupTenant;
  #strategies;
  #resolvers = new Map();
  #generation = -1;

  constructor(config, lookupTenant) {
    if (config.strategy !== undefined && !ISOLATION.includes(config.strategy)) {
      throw new ConfigurationError(`the isolation \`${config.strategy}\` is none of ${ISOLATION.join(", ")}`);
    }
    this.#config = config;
    this.#lookupTenant = lookupTenant;
    this.#strategies = [config.resolution].flat().map((name) => (typeof name === "string" ? name.replace("-", "_") : name));
    const needs = { custom: "customResolver", custom_domain: "domainLookup", jwt: "verifyToken", api_key: "apiKeyLookup" };
    for (const strategy of this.#strategies) {
      const option = needs[strategy];
      if (option && typeof config[option] !== "function") throw new ConfigurationError(`the resolution \`${strategy}\` needs the function \`${option}\``);
    }
    ready();
    // What is wrong with the configuration shows here, not with the first request.
    this.#resolver(this.#bases(""));
  }

  async identify(request) {
    const facts = factsOf(request, this.#resolver(this.#bases("")).headers);
    const { signals } = this.#signals(facts, await custom(this.#config.customResolver, request));
    if (signals.length === 0) {
      throw this.#strategies.every((strategy) => strategy in CHALLENGES) ? this.#unauthenticated() : new TenantNotFoundError();
    }
    let found = null;
    let credential = null;
    for (const signal of signals) {
      const { tenant, shown } = await this.#find(signal);
      if (!tenant || typeof tenant.id !== "string" || tenant.status === "deleted") throw new TenantNotFoundError();
      if (found !== null && found.id !== tenant.id) throw new TenantMismatchError();
      found = tenant;
      credential ??= shown;
    }
    const code = STATUSES[found.status];
    if (code) throw denied(code);
    return { tenant: found, credential, headers: {}, decision: null, done: null };
  }

  /** Whom a signal means, and the credential that it came by. */
  async #find({ strategy, names, value }) {
    const { domainLookup, verifyToken, apiKeyLookup, jwtClaim = "tenant_id" } = this.#config;
    if (names === "nobody") return { tenant: null };
    if (names === "domain") {
      const id = await domainLookup(value);
      return { tenant: id === null || id === undefined ? null : await this.#lookupTenant(id) };
    }
    if (strategy === "api_key") {
      const tenant = await apiKeyLookup(value);
      if (!tenant) throw this.#unauthenticated();
      return { tenant, shown: { kind: "api_key", tenant: tenant.id, scopes: tenant.scopes ?? [] } };
    }
    if (strategy === "jwt") {
      const claims = await this.#verified(verifyToken, value);
      const id = jwtClaim.split(".").reduce((part, name) => (Object.hasOwn(Object(part), name) ? part[name] : undefined), claims);
      if (typeof id !== "string") throw this.#unauthenticated();
      const scopes = Array.isArray(claims.scp) ? claims.scp : String(claims.scope ?? "").split(" ").filter(Boolean);
      return { tenant: await this.#lookupTenant(id), shown: { kind: "jwt", tenant: id, subject: claims.sub, scopes } };
    }
    return { tenant: await this.#lookupTenant(value) };
  }

  /** Says what a caller could show (RFC 9110 §11.6.1). */
  #unauthenticated(cause) {
    const challenges = this.#strategies.filter((strategy) => strategy in CHALLENGES).map((strategy) => CHALLENGES[strategy]);
    return new UnauthenticatedError({}, { headers: { "www-authenticate": challenges.join(", ") }, cause });
  }

  async #verified(verifyToken, token) {
    try {
      return Object(await verifyToken(token));
    } catch (cause) {
      throw this.#unauthenticated(cause);
    }
  }

  #signals(facts, named) {
    const { host = "", path = "/", query = "", method = "GET", headers = {} } = facts;
    const { resolver, headers: names } = this.#resolver(this.#bases(host));
    const question = text({ method, host, path, query, headers: headersOf(headers, names), ...named });
    try {
      return resolver.signals(question);
    } catch (error) {
      if (typeof error === "string") throw denied(error);
      throw Array.isArray(error) ? denied("BAD_REQUEST", { cause: new DocumentError(error) }) : failure(error);
    }
  }

  /** Base domains: those that are configured; without, whatever stands behind the first of three labels or more. */
  #bases(host) {
    if (this.#config.baseDomains) return this.#config.baseDomains;
    const labels = host.replace(/:\d+$/, "").replace(/\.$/, "").toLowerCase().split(".");
    const named = labels.length > 2 && host.length < 254 && labels.every((label) => LABEL.test(label)) && /[a-z]/.test(labels.at(-1));
    return [named ? labels.slice(1).join(".") : NOWHERE];
  }

  #resolver(bases) {
    if (this.#generation !== generation || this.#resolvers.size >= MAX_BASES) {
      if (this.#generation === generation) for (const { resolver } of this.#resolvers.values()) resolver.free();
      this.#resolvers.clear();
      this.#generation = generation;
    }
    const name = bases.join(" ");
    let known = this.#resolvers.get(name);
    if (known === undefined) {
      const { headerName, queryParam, pathPrefix, reserved, mode, cookieName, centralHosts } = this.#config;
      const options = {
        subdomain: { base_domains: bases, reserved }, custom_domain: { domain_lookup: "index" }, path: { prefix: pathPrefix },
        header: { header_name: headerName }, query: { query_param: queryParam }, jwt: { cookie_name: cookieName },
      };
      const strategies = this.#strategies.map((strategy) => ({
        strategy, identifies: ["path", "header", "query", "custom"].includes(strategy) ? "id" : undefined, ...options[strategy],
      }));
      try {
        const resolver = new Resolver(text({ strategies, mode, central_hosts: centralHosts }));
        this.#resolvers.set(name, (known = { resolver, headers: resolver.headers() }));
      } catch (error) {
        throw Array.isArray(error) ? new DocumentError(error) : failure(error);
      }
    }
    return known;
  }
}

/** What the application's own resolver says; it failing is not the same as naming nobody. */
async function custom(resolve, request) {
  if (!resolve) return {};
  try {
    const name = await resolve(request);
    return name === null || name === undefined ? {} : { custom: name };
  } catch (cause) {
    throw denied("RESOLVER_FAILED", { cause });
  }
}

/** Throws unless a credential allows all of these scopes. */
export function requireScopes(credential, scopes) {
  if (scopes.every((scope) => credential?.scopes.includes(scope))) return;
  throw credential ? new InsufficientScopeError({ scopes }) : new UnauthenticatedError();
}

/** Throws unless the tenant has the feature. */
export async function checkFeature(tenant, feature, { gate, getTenantPlan, upgradeUrl = "/pricing" } = {}) {
  const lacks = (plan) => new FeatureNotAvailableError({ feature, upgrade_url: upgradeUrl, current_plan: plan });
  if (getTenantPlan) {
    const plan = await getTenantPlan(tenant.id);
    const { features = [] } = plan ?? {};
    const has = Array.isArray(features) ? features.includes(feature) : Object.hasOwn(features, feature) && Boolean(features[feature]);
    if (!has) throw lacks(plan?.name ?? null);
    return;
  }
  const { decision } = await configured(gate).ask({ tenant: tenant.id, features: [feature], look: true });
  if (!decision.allowed) throw denial(decision);
  if (!decision.features[feature].enabled) throw lacks(decision.tenant.plan);
}
