// Who is it, and may it pass: what every middleware does with a request, whatever framework it came through.

import "#entry";
import { Resolver } from "./dist/tenantgate.js";
import { denial, denied, isOurs } from "./denials.js";
import {
  ConfigurationError, DocumentError, FeatureNotAvailableError, GateFailedError, InsufficientScopeError, TenantMismatchError, TenantNotFoundError,
  UnauthenticatedError,
} from "./errors.js";
import { factsOf, headersOf } from "./facts.js";
import { options as known, text } from "./input.js";
import { failure, generation, ready } from "./module.js";
import { own } from "./own.js";
import { configured } from "./settings.js";

/**
 * What finds the tenant of a request: `identify(request)` gives `{tenant, credential, headers, decision, done}` or throws what the
 * request is denied with. `done` is to be called once the response has ended.
 */
export function tenancy(options) {
  const names = ["gate", "customResolver", "config", "lookupTenant"];
  const { gate, customResolver, config, lookupTenant } = known(options ?? {}, names, "`createTenantMiddleware`");
  if (gate) return { identify: async (request) => ask(gate, await custom(customResolver, request), request) };
  if (!config || typeof lookupTenant !== "function") {
    throw new ConfigurationError("`createTenantMiddleware` needs a `gate`, or `config` and `lookupTenant`");
  }
  const lookup = new Lookup(config, lookupTenant);
  return { identify: (request) => lookup.identify(request) };
}

async function ask(gate, named, request) {
  const { headers, decision } = await answered(() => gate.ask({ ...gate.question(request), ...named }));
  if (!decision.allowed) throw denial(decision, headers);
  const { tenant, credential = null, hold } = decision;
  const seen = tenant && { ...tenant, metadata: { plan: tenant.plan } };
  // What is in flight holds its slots until the response has ended.
  const done = hold ? [() => gate.ask({ tenant: tenant.id, settle: hold.id })] : [];
  return { tenant: seen, credential, headers, decision, done };
}

/** What a gate answers to a request. A request that it cannot read is the caller's doing. */
async function answered(question) {
  try {
    return await answerOf(question);
  } catch (cause) {
    throw cause?.code === "INVALID_DOCUMENT" || cause?.code === "INVALID_INPUT" ? denied("BAD_REQUEST", { cause }) : cause;
  }
}

/** Errors of questions that are told as what they are. */
const TOLD = new Set(["GATE_FAILED", "INVALID_DOCUMENT", "INVALID_INPUT", "MISCONFIGURED"]);

/**
 * What a gate answers to the application. Where it refuses to answer, such as to a wrong token, that is not told as if it had refused
 * the caller.
 */
export async function answerOf(question) {
  try {
    return await question();
  } catch (cause) {
    if (!isOurs(cause) || TOLD.has(cause.code) || "decision" in cause) throw cause;
    throw new GateFailedError(`the gate refused to answer: ${cause.code}`, cause, 503);
  }
}

/** What is asked of whom shows nothing good, by strategy. */
const CHALLENGES = { jwt: 'Bearer realm="tenantgate"', api_key: 'ApiKey realm="tenantgate"' };
/** How data of tenants is kept apart. */
const ISOLATION = ["shared", "schema", "database", "hybrid"];
const STATUSES = {
  suspended: "TENANT_SUSPENDED", inactive: "TENANT_INACTIVE", provisioning: "TENANT_PROVISIONING", maintenance: "TENANT_MAINTENANCE",
  deleted: "TENANT_NOT_FOUND",
};
/** What strategies need beside their options. */
const NEEDS = { custom: "customResolver", custom_domain: "domainLookup", jwt: "verifyToken", api_key: "apiKeyLookup" };
/** Options of strategies, with those that they belong to. */
const BELONGS = {
  baseDomains: ["subdomain"], reserved: ["subdomain", "path"], domainLookup: ["custom_domain"], pathPrefix: ["path"],
  headerName: ["header", "api_key"], queryParam: ["query"], verifyToken: ["jwt"], jwtClaim: ["jwt"], cookieName: ["jwt"],
  apiKeyLookup: ["api_key"], apiKeyHeader: ["api_key"], credentials: ["jwt", "api_key"], customResolver: ["custom"],
};
const OPTIONS = ["strategy", "resolution", "mode", "centralHosts", ...Object.keys(BELONGS)];
/** Ids of tenants, as the core has them. */
const TENANT_ID = /^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/;
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
  #headers;
  #resolvers = new Map();
  #generation = -1;

  constructor(config, lookupTenant) {
    const wrong = (what) => { throw new ConfigurationError(what); };
    for (const name of Object.keys(config)) if (!OPTIONS.includes(name)) wrong(`\`${name}\` is no option: there are ${OPTIONS.join(", ")}`);
    const { strategy, resolution, credentials } = config;
    if (strategy !== undefined && !ISOLATION.includes(strategy)) wrong(`the isolation \`${strategy}\` is none of ${ISOLATION.join(", ")}`);
    if (credentials !== undefined && credentials !== "required" && credentials !== "optional") wrong("`credentials` are `required` or `optional`");
    this.#config = config;
    this.#lookupTenant = lookupTenant;
    this.#strategies = [resolution].flat().map((name) => (typeof name === "string" ? name.replace("-", "_") : name));
    for (const name of this.#strategies) {
      const needed = own(NEEDS, name);
      if (needed && typeof config[needed] !== "function") wrong(`the resolution \`${name}\` needs the function \`${needed}\``);
    }
    // It would be ignored, and whoever has set it would rely on it.
    for (const [option, strategies] of Object.entries(BELONGS)) {
      if (config[option] === undefined || strategies.some((one) => this.#strategies.includes(one))) continue;
      wrong(`\`${option}\` belongs to ${strategies.map((one) => `\`${one}\``).join(" and ")}, which \`resolution\` does not name`);
    }
    // Any host could be somebody's subdomain then, and custom domains would lead to whoever has their first label.
    if (config.baseDomains === undefined && this.#strategies.includes("subdomain") && this.#strategies.includes("custom_domain")) {
      wrong("`subdomain` beside `custom_domain` needs `baseDomains`");
    }
    ready();
    // What is wrong with the configuration shows here, not with the first request.
    this.#headers = this.#resolver(this.#bases("")).headers;
  }

  async identify(request) {
    const facts = factsOf(request, this.#headers);
    const { signals, shown } = this.#signals(facts, await custom(this.#config.customResolver, request));
    const known = [];
    // Whatever is shown must be good, also where something else has named the tenant already.
    for (const { strategy, value } of shown) known.push(await this.#verify(strategy, value));
    const protectedBy = this.#strategies.filter((strategy) => strategy in CHALLENGES);
    if (known.length === 0 && protectedBy.length > 0 && this.#config.credentials !== "optional") throw this.#unauthenticated();
    const found = known.map(({ tenant }) => tenant);
    for (const signal of signals) if (signal.names !== "credential") found.push(await this.#find(signal));
    if (found.length === 0) throw new TenantNotFoundError();
    for (const tenant of found) if (!tenant || typeof tenant.id !== "string" || tenant.status === "deleted") throw new TenantNotFoundError();
    const [tenant] = found;
    if (found.some(({ id }) => id !== tenant.id)) throw new TenantMismatchError();
    // A status that nobody knows is not taken for a good one.
    const { status = "active" } = tenant;
    if (status !== "active" && status !== null) throw denied(own(STATUSES, status) ?? "TENANT_INACTIVE");
    return { tenant, credential: known[0]?.credential ?? null, headers: {}, decision: null, done: [] };
  }

  /** Whom a signal means. What the application returns must have the name that it was looked up by. */
  async #find({ names, value }) {
    if (names === "nobody") return null;
    if (names === "slug") return this.#lookup(value, "slug");
    const id = names === "domain" ? await this.#config.domainLookup(value) : value;
    return typeof id === "string" ? this.#lookup(id, "id") : null;
  }

  async #lookup(value, by) {
    const tenant = await this.#lookupTenant(value, { by });
    return tenant && tenant[by] !== undefined && tenant[by] !== value ? null : tenant;
  }

  /** Whom a credential names, and the credential. */
  async #verify(strategy, value) {
    const { verifyToken, apiKeyLookup, jwtClaim = "tenant_id" } = this.#config;
    if (strategy === "api_key") {
      const tenant = await apiKeyLookup(value);
      if (typeof tenant !== "object" || tenant === null) throw this.#unauthenticated();
      return { tenant, credential: { kind: "api_key", tenant: tenant.id, scopes: scopesOf(tenant.scopes) } };
    }
    const claims = await this.#verified(verifyToken, value);
    const id = claimOf(claims, jwtClaim);
    if (typeof id !== "string" || !TENANT_ID.test(id)) throw this.#unauthenticated();
    const credential = { kind: "jwt", tenant: id, subject: claims.sub, scopes: scopesOf(claims.scope ?? claims.scp) };
    return { tenant: await this.#lookup(id, "id"), credential };
  }

  /** Says what a caller could show (RFC 9110 §11.6.1). */
  #unauthenticated(cause) {
    const challenges = this.#strategies.map((strategy) => CHALLENGES[strategy]).filter(Boolean);
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
    if (this.#config.baseDomains !== undefined) return this.#config.baseDomains;
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
    const name = JSON.stringify(bases);
    let known = this.#resolvers.get(name);
    if (known === undefined) {
      const { headerName, apiKeyHeader, queryParam, pathPrefix, reserved, mode, jwtClaim, cookieName, centralHosts } = this.#config;
      // As in a catalog it is the header of either strategy; of both, each has its own.
      const keyHeader = apiKeyHeader ?? (this.#strategies.includes("header") ? undefined : headerName);
      // Beside subdomains a prefix of its own reserves nothing; alone it is refused, as in a catalog.
      const reservedPaths = pathPrefix === "/" || !this.#strategies.includes("subdomain") ? reserved : undefined;
      const options = {
        subdomain: { base_domains: bases, reserved }, custom_domain: { domain_lookup: "index" }, path: { prefix: pathPrefix, reserved: reservedPaths },
        header: { header_name: headerName }, query: { query_param: queryParam }, jwt: { jwt_claim: jwtClaim, cookie_name: cookieName },
        api_key: { header_name: keyHeader },
      };
      const strategies = this.#strategies.map((strategy) => ({
        strategy, identifies: ["path", "header", "query", "custom"].includes(strategy) ? "id" : undefined, ...own(options, strategy),
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

/** A claim by its name, or by the path that the name spells with dots: as the core finds it. */
function claimOf(claims, name) {
  const whole = own(claims, name);
  if (whole !== undefined) return whole;
  return name.split(".").reduce((part, step) => (typeof part === "object" && !Array.isArray(part) ? own(part, step) : undefined), claims);
}

/** Milliseconds for which an application's own resolver is waited for: as long as the Worker does. */
const CUSTOM_RESOLVER_MS = 2_000;

/** What the application's own resolver says; it failing, or taking too long, is not the same as naming nobody. */
async function custom(resolve, request) {
  if (!resolve) return {};
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("the resolver takes too long")), CUSTOM_RESOLVER_MS);
  });
  try {
    const name = await Promise.race([resolve(request), late]);
    if (name === null || name === undefined) return {};
    if (typeof name !== "string") throw new TypeError("the resolver's answer is neither text nor null");
    return { custom: name };
  } catch (cause) {
    throw denied("RESOLVER_FAILED", { cause });
  } finally {
    clearTimeout(timer);
  }
}

/** Scopes, as a list or as a text with blanks between them (RFC 6749 §3.3). */
function scopesOf(scopes) {
  if (Array.isArray(scopes)) return scopes.filter((scope) => typeof scope === "string");
  return typeof scopes === "string" ? scopes.split(" ").filter(Boolean) : [];
}

/** Throws unless a credential allows all of these scopes. */
export function requireScopes(credential, scopes) {
  const allowed = scopesOf(credential?.scopes ?? credential?.scope);
  if (scopes.every((scope) => allowed.includes(scope))) return;
  throw credential ? new InsufficientScopeError({ scopes }) : new UnauthenticatedError();
}

/** Throws unless the tenant has the feature. `ctx`: of the request, for those who evaluate by what it says. */
export async function checkFeature(tenant, feature, ctx, { gate, getTenantPlan, context, upgradeUrl = "/pricing" }) {
  const lacks = (plan) => new FeatureNotAvailableError({ feature, upgrade_url: upgradeUrl, current_plan: plan });
  if (getTenantPlan) {
    const plan = await getTenantPlan(tenant.id);
    const { features = [] } = plan ?? {};
    const has = Array.isArray(features) ? features.includes(feature) : Object.hasOwn(features, feature) && Boolean(features[feature]);
    if (!has) throw lacks(plan?.name ?? null);
    return;
  }
  const question = { tenant: tenant.id, features: [feature], look: true };
  if (context) question.context = typeof context === "function" ? await context(ctx) : context;
  const { decision } = await answerOf(() => configured(gate).ask(question));
  if (!decision.allowed) throw denial(decision);
  if (!own(decision.features, feature)?.enabled) throw lacks(decision.tenant.plan);
}

/** The options of `requireFeature`. */
export const featureOptions = (options) => known(options, ["gate", "getTenantPlan", "context", "upgradeUrl"], "`requireFeature`");
