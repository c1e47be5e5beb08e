// Finds the tenant of a request without a gate: the core finds the signals, and the application
// looks up the tenants.

import "#entry";
import { Resolver } from "./dist/tenantgate.js";
import { denied } from "./denials.js";
import { ConfigurationError, DocumentError, TenantMismatchError, TenantNotFoundError, UnauthenticatedError } from "./errors.js";
import { factsOf, headersOf } from "./facts.js";
import { options as known, text } from "./input.js";
import { failure, generation, ready } from "./module.js";
import { own } from "./own.js";
import { byGate, custom, scopesOf } from "./tenancy.js";

/**
 * `identify` of `byGate`, by the options of `createTenantMiddleware`: with a gate or without one.
 */
export function tenancy(options) {
  const names = ["gate", "customResolver", "config", "lookupTenant"];
  const { gate, customResolver, config, lookupTenant } = known(options ?? {}, names, "`createTenantMiddleware`");
  if (gate) return byGate(gate, customResolver);
  if (!config || typeof lookupTenant !== "function") {
    throw new ConfigurationError("`createTenantMiddleware` needs a `gate`, or `config` and `lookupTenant`");
  }
  const lookup = new Lookup(config, lookupTenant);
  return (request) => lookup.identify(request);
}

/** Challenges for an unauthenticated caller, by strategy (RFC 9110 §11.6.1). */
const CHALLENGES = { jwt: 'Bearer realm="tenantgate"', api_key: 'ApiKey realm="tenantgate"' };
/** The values of `strategy`: how an application separates the data of its tenants. */
const ISOLATION = ["shared", "schema", "database", "hybrid"];
const STATUSES = {
  suspended: "TENANT_SUSPENDED", inactive: "TENANT_INACTIVE", provisioning: "TENANT_PROVISIONING", maintenance: "TENANT_MAINTENANCE",
  deleted: "TENANT_NOT_FOUND",
};
/** The functions that strategies require. */
const NEEDS = { custom: "customResolver", custom_domain: "domainLookup", jwt: "verifyToken", api_key: "apiKeyLookup" };
/** Options, with the strategies that read them. */
const BELONGS = {
  baseDomains: ["subdomain"], reserved: ["subdomain", "path"], domainLookup: ["custom_domain"], pathPrefix: ["path"],
  headerName: ["header", "api_key"], queryParam: ["query"], verifyToken: ["jwt"], jwtClaim: ["jwt"], cookieName: ["jwt"],
  apiKeyLookup: ["api_key"], apiKeyHeader: ["api_key"], credentials: ["jwt", "api_key"], customResolver: ["custom"],
};
const OPTIONS = ["strategy", "resolution", "mode", "centralHosts", ...Object.keys(BELONGS)];
/** A tenant's id, as in the core. */
const TENANT_ID = /^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/;
const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
/** A base domain that no host can have (RFC 6761). */
const NOWHERE = "nowhere.invalid";
/** Maximum number of cached resolvers for base domains that were derived from a host. */
const MAX_BASES = 64;
class Lookup {
  #config;
  #lookupTenant;
  #strategies;
  #headers;
  #resolvers = new Map();
  #generation = -1;

  constructor(config, lookupTenant) {
    const wrong = (what) => { throw new ConfigurationError(what); };
    for (const name of Object.keys(config)) {
      if (!OPTIONS.includes(name)) wrong(`unknown option \`${name}\`: the options are ${OPTIONS.join(", ")}`);
    }
    const { strategy, resolution, credentials } = config;
    if (strategy !== undefined && !ISOLATION.includes(strategy)) {
      wrong(`unknown isolation \`${strategy}\`: it must be one of ${ISOLATION.join(", ")}`);
    }
    if (credentials !== undefined && credentials !== "required" && credentials !== "optional") {
      wrong("`credentials` must be `required` or `optional`");
    }
    this.#config = config;
    this.#lookupTenant = lookupTenant;
    this.#strategies = [resolution].flat().map((name) => (typeof name === "string" ? name.replace("-", "_") : name));
    for (const name of this.#strategies) {
      const needed = own(NEEDS, name);
      if (needed && typeof config[needed] !== "function") wrong(`the resolution \`${name}\` needs the function \`${needed}\``);
    }
    // An option without its strategy would have no effect, contrary to what the application
    // expects.
    for (const [option, strategies] of Object.entries(BELONGS)) {
      if (config[option] === undefined || strategies.some((one) => this.#strategies.includes(one))) continue;
      wrong(`\`${option}\` belongs to ${strategies.map((one) => `\`${one}\``).join(" and ")}, which \`resolution\` does not include`);
    }
    // Without base domains any host could be a subdomain, so a custom domain would name the tenant
    // whose slug is its first label.
    if (config.baseDomains === undefined && this.#strategies.includes("subdomain") && this.#strategies.includes("custom_domain")) {
      wrong("`subdomain` together with `custom_domain` needs `baseDomains`");
    }
    ready();
    // An invalid configuration fails here, not at the first request.
    this.#headers = this.#resolver(this.#bases("")).headers;
  }

  async identify(request) {
    const facts = factsOf(request, this.#headers);
    const { signals, shown } = this.#signals(facts, await custom(this.#config.customResolver, request));
    const known = [];
    // Every presented credential must be valid, even if another signal has named the tenant
    // already.
    for (const { strategy, value } of shown) known.push(await this.#verify(strategy, value));
    const protectedBy = this.#strategies.filter((strategy) => strategy in CHALLENGES);
    if (known.length === 0 && protectedBy.length > 0 && this.#config.credentials !== "optional") throw this.#unauthenticated();
    const found = known.map(({ tenant }) => tenant);
    for (const signal of signals) if (signal.names !== "credential") found.push(await this.#find(signal));
    if (found.length === 0) throw new TenantNotFoundError();
    for (const tenant of found) {
      if (!tenant || typeof tenant.id !== "string" || tenant.status === "deleted") throw new TenantNotFoundError();
    }
    const [tenant] = found;
    if (found.some(({ id }) => id !== tenant.id)) throw new TenantMismatchError();
    // An unknown status counts as inactive.
    const { status = "active" } = tenant;
    if (status !== "active" && status !== null) throw denied(own(STATUSES, status) ?? "TENANT_INACTIVE");
    return { tenant, credential: known[0]?.credential ?? null, headers: {}, decision: null, done: [] };
  }
  /** The tenant that a signal names, or null. */
  async #find({ names, value }) {
    if (names === "nobody") return null;
    if (names === "slug") return this.#lookup(value, "slug");
    const id = names === "domain" ? await this.#config.domainLookup(value) : value;
    return typeof id === "string" ? this.#lookup(id, "id") : null;
  }

  /**
   * Looks up a tenant. Ignores a result whose slug or id differs from the one that was looked up.
   */
  async #lookup(value, by) {
    const tenant = await this.#lookupTenant(value, { by });
    return tenant && tenant[by] !== undefined && tenant[by] !== value ? null : tenant;
  }

  /** Verifies a credential. Returns the tenant that it names, and the credential. */
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

  /** The denial of an unauthenticated caller, with the accepted challenges. */
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
  /**
   * The configured base domains; by default the host without its first label, if it has at least
   * three.
   */
  #bases(host) {
    if (this.#config.baseDomains !== undefined) return this.#config.baseDomains;
    const labels = host.replace(/:\d+$/, "").replace(/\.$/, "").toLowerCase().split(".");
    const isName = host.length < 254 && labels.every((label) => LABEL.test(label)) && /[a-z]/.test(labels.at(-1));
    return [isName && labels.length > 2 ? labels.slice(1).join(".") : NOWHERE];
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
      // `headerName` applies to either strategy, as in a catalog. With both, it applies to
      // `header`.
      const keyHeader = apiKeyHeader ?? (this.#strategies.includes("header") ? undefined : headerName);
      // Together with subdomains, reserved labels apply to the path only if its prefix is `/`.
      // Without subdomains they are always passed on, so that the core refuses them with another
      // prefix.
      const reservedPaths = pathPrefix === "/" || !this.#strategies.includes("subdomain") ? reserved : undefined;
      const options = {
        subdomain: { base_domains: bases, reserved }, custom_domain: { domain_lookup: "index" },
        path: { prefix: pathPrefix, reserved: reservedPaths }, header: { header_name: headerName }, query: { query_param: queryParam },
        jwt: { jwt_claim: jwtClaim, cookie_name: cookieName }, api_key: { header_name: keyHeader },
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

/**
 * The claim with exactly this name, or else the one at the path that its dots spell, as in the
 * core.
 */
function claimOf(claims, name) {
  const whole = own(claims, name);
  if (whole !== undefined) return whole;
  return name.split(".").reduce((part, step) => (typeof part === "object" && !Array.isArray(part) ? own(part, step) : undefined), claims);
}
