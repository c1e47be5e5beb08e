// Inherited names, which are those of the members of `Object.prototype` (`constructor`, `toString`,
// `__proto__`, …), are ordinary names in every entry of the package.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { OpenFeature } from "@openfeature/server-sdk";
import { OpenFeature as OpenFeatureWeb } from "@openfeature/web-sdk";
import { impacts } from "../../pkg/cli/compare.js";
import { FeatureClient } from "../../pkg/client/node.js";
import { statusOf } from "../../pkg/codes.js";
import { denied } from "../../pkg/denials.js";
import {
  ConfigurationError, DeniedError, DocumentError, FeatureNotAvailableError, checkLimit, checkQuotas, createQuotaMiddleware, createTenantMiddleware, handler, meterUsage, requireFeature, resolveFeature,
} from "../../pkg/middleware.js";
import { Gate, RemoteGate } from "../../pkg/node.js";
import { TenantgateWebProvider } from "../../pkg/openfeature-web.js";
import { TenantgateProvider } from "../../pkg/openfeature.js";

const NAMES = Object.getOwnPropertyNames(Object.prototype);
assert(["constructor", "toString", "hasOwnProperty", "valueOf", "__proto__", "__defineGetter__"].every((name) => NAMES.includes(name)));
/** Keys of features and limits begin with a letter. */
const KEYS = NAMES.filter((name) => /^[A-Za-z]/.test(name));
/** Headers have lower-case names. The list includes the methods of `Headers`. */
const HEADERS = ["constructor", "__proto__", "get", "set", "has", "append", "delete", "keys", "values", "entries"];
/** Returns an object with its own member of that name, even for `__proto__`. */
const having = (name, value) => ({ [name]: value });

const silent = () => ({ debug() {}, info() {}, warn() {}, error() {} });
const base = { version: 1, resolution: { strategies: [{ strategy: "header" }] }, plans: { "p@1": {} } };
const tenants = [{ id: "t_acme", slug: "acme", plan: "p@1" }];
const headers = { "x-tenant-id": "acme" };
const rule = (attribute) => ({ rules: [{ name: "r", when: [{ attribute, op: "eq", value: "ferrari" }], value: true }] });
/** A remote gate whose Worker is a local gate. */
const remoteOf = (gate) => new RemoteGate({ url: "https://gate.example.com", token: "t", fetch: async (_, { body }) => Response.json(gate.ask(body).decision) });

describe("attributes with inherited names", () => {
  const features = { ...Object.fromEntries(NAMES.map((name, i) => [`f${i}`, rule(name)])), other: { default: true } };
  const gate = new Gate({ ...base, features }, tenants);
  const remote = remoteOf(gate);
  const snapshot = JSON.stringify({ tenant: { id: "t_acme", slug: "acme" }, catalog: 1, epoch: 1, features });
  const page = new FeatureClient({ url: "http://app.example.com/", storage: null, fetch: async () => new Response(snapshot) });
  after(() => page.close());
  const on = (answers) => Object.entries(answers).filter(([, { enabled }]) => enabled).map(([key]) => key);
  const asked = Object.keys(features);
  /** Every way to evaluate a context. Each one returns the features that are on. */
  const ways = {
    "Gate.features": (context) => on(gate.features("t_acme", context).toJSON()),
    "Gate.decide": (context) => on(gate.decide({ path: "/", headers }, { context, features: asked }).features),
    "Gate.decide, of the facts": (context) => on(gate.decide({ path: "/", headers, context, features: asked }).features),
    "Gate.ask": (context) => on(gate.ask({ tenant: "t_acme", context, features: asked }).decision.features),
    "RemoteGate.features": async (context) => on((await remote.features("t_acme", context)).toJSON()),
    "RemoteGate.decide": async (context) => on((await remote.decide({ path: "/", headers }, { context, features: asked })).features),
    "FeatureClient.evaluate": async (context) => { await page.ready; return on(page.evaluate(context).toJSON()); },
    "FeatureClient.context": async (context) => { await page.ready; page.context = context; return asked.filter((key) => page.enabled(key)); },
  };
  for (const [way, evaluate] of Object.entries(ways)) {
    test(`${way}: an attribute with an inherited name counts only if the context itself has it`, async () => {
      assert.deepEqual(await evaluate({}), ["other"]);
      assert.deepEqual(await evaluate(Object.create(null)), ["other"]);
      for (const [i, name] of NAMES.entries()) {
        assert.deepEqual((await evaluate(having(name, "ferrari"))).sort(), [`f${i}`, "other"].sort(), name);
        assert.deepEqual(await evaluate(having(name, "fiat")), ["other"], name);
      }
    });
  }

  test("attributes that a context inherits do not count, even from a polluted `Object.prototype`", (t) => {
    t.after(() => delete Object.prototype.country);
    const local = new Gate({ ...base, features: { f: rule("country") } }, tenants);
    assert.equal(local.features("t_acme", Object.create({ country: "ferrari" })).enabled("f"), false);
    Object.defineProperty(Object.prototype, "country", { value: "ferrari", configurable: true, enumerable: true, writable: true });
    assert.equal(local.features("t_acme", {}).enabled("f"), false);
    assert.equal(local.decide({ path: "/", headers }, { context: {}, features: ["f"] }).features.f.enabled, false);
  });

  test("OpenFeature: attributes and flags with inherited names exist only if they are defined", async () => {
    await OpenFeature.setProviderAndWait(new TenantgateProvider(gate));
    await page.ready;
    await OpenFeatureWeb.setProviderAndWait(new TenantgateWebProvider(page), {});
    const [server, web] = [OpenFeature.getClient(), OpenFeatureWeb.getClient()];
    const everywhere = async (key, context) => {
      await OpenFeatureWeb.setContext(context);
      return [await server.getBooleanValue(key, "none", { tenant: "t_acme", ...context }), web.getBooleanValue(key, "none")];
    };
    assert.deepEqual(await everywhere("other", {}), [true, true]);
    // The SDK merges contexts, and what it keeps of `__proto__` is not decided by this package.
    for (const [i, name] of NAMES.entries()) {
      assert.deepEqual(await everywhere(`f${i}`, {}), [false, false], name);
      if (name !== "__proto__") assert.deepEqual(await everywhere(`f${i}`, having(name, "ferrari")), [true, true], name);
    }
    for (const name of NAMES) assert.deepEqual([(await server.getBooleanDetails(name, false, { tenant: "t_acme" })).errorCode, web.getBooleanDetails(name, false).errorCode], ["FLAG_NOT_FOUND", "FLAG_NOT_FOUND"], name);
    await OpenFeatureWeb.clearProviders();
    await OpenFeature.close();
  });
});

describe("features and limits with inherited names", () => {
  const features = Object.fromEntries(KEYS.map((key, i) => [key, { default: i % 2 === 0 }]));
  const limits = Object.fromEntries(KEYS.map((key) => [key, { kind: "quota", period: "month", default: 2 }]));
  const gate = new Gate({ ...base, features, limits }, tenants);
  const unnamed = new Gate({ ...base, features: { f: {} }, limits: { l: { kind: "quota", period: "month", default: 2 } } }, tenants);

  test("a feature with an inherited name has the value that the catalog gives it", async () => {
    const remote = remoteOf(gate);
    for (const [i, key] of KEYS.entries()) {
      const right = i % 2 === 0;
      assert.equal(gate.features("t_acme").get(key).value, right);
      assert.equal((await remote.features("t_acme")).get(key).value, right);
      const decided = gate.decide({ path: "/", headers, features: [key, "f"] }).features;
      assert.deepEqual([Object.keys(decided), decided[key].value], [[key, "f"], right]);
      assert.equal(await resolveFeature("t_acme", key, {}, { gate }), right);
    }
    assert.deepEqual([...gate.features("t_acme").keys()].sort(), [...KEYS].sort());
  });

  test("a feature with an inherited name is unknown if the catalog does not define it", async () => {
    for (const key of NAMES) {
      assert.deepEqual([unnamed.features("t_acme").has(key), unnamed.features("t_acme").get(key).reason], [false, "FEATURE_UNKNOWN"]);
      assert.equal(await resolveFeature("t_acme", key, {}, { gate: unnamed }), false);
    }
  });

  test("`requireFeature` passes a feature with an inherited name only if the gate or the plan has it", async () => {
    const ask = async (key, options) => {
      const run = requireFeature(key, options)({ tenant: { id: "t_acme" } }, () => "passed");
      return run.catch((error) => (error instanceof FeatureNotAvailableError ? "denied" : error.code));
    };
    for (const [i, key] of KEYS.entries()) {
      assert.equal(await ask(key, { gate }), i % 2 === 0 ? "passed" : "denied");
      assert.equal(await ask(key, { gate: unnamed }), "MISCONFIGURED");
      assert.equal(await ask(key, { getTenantPlan: async () => ({ features: {} }) }), "denied");
      assert.equal(await ask(key, { getTenantPlan: async () => ({ features: having(key, true) }) }), "passed");
      assert.equal(await ask(key, { getTenantPlan: async (id) => ({})[id] ?? { features: [key] } }), "passed");
      // A gate of the application's own, which omits features that it does not know.
      assert.equal(await ask(key, { gate: { ask: () => ({ decision: { allowed: true, tenant: { plan: "p@1" }, features: {} } }) } }), "denied");
    }
  });

  test("a quota with an inherited name exists only if the tenant or the catalog defines it", async () => {
    const ask = async (quotaKey, tenant, more = { checkUsage: () => 0 }) => {
      const run = createQuotaMiddleware({ quotaKey, ...more })({ tenant: { id: "t_acme", ...tenant }, headers: {}, done: [] }, () => "passed");
      return run.catch((error) => error.code);
    };
    for (const name of NAMES) {
      assert.equal(await ask(name, { quotas: {}, metadata: { quotas: {} } }), "QUOTA_EXCEEDED", name);
      assert.equal(await ask(name, { quotas: having(name, 1) }), "passed", name);
      assert.equal(await ask(name, { metadata: { quotas: having(name, 1) } }), "passed", name);
      assert.deepEqual(Object.entries(await checkQuotas("t_acme", having(name, 3), () => 1)), [[name, { limit: 3, used: 1, remaining: 2 }]]);
    }
    for (const key of KEYS) {
      assert.equal(await checkLimit("t_acme", key, { gate }), true);
      assert.equal(await ask(key, {}, { gate }), "passed");
      await meterUsage("t_acme", key, 1, { gate });
      assert.equal(await checkLimit("t_acme", key, { gate }), false);
      assert.equal(await ask(key, {}, { gate }), "QUOTA_EXCEEDED");
    }
  });

  test("`FeatureClient` has features with inherited names only if its snapshot has them", async () => {
    const settled = { value: true, enabled: true, tier: "plan", reason: "PLAN" };
    const [some, others] = [KEYS.slice(0, 3), KEYS.slice(3)];
    const body = JSON.stringify({
      tenant: { id: "t_acme", slug: "acme" }, catalog: 1, epoch: 1, settled: Object.fromEntries(some.map((key) => [key, settled])), features: Object.fromEntries(others.map((key) => [key, { default: true }])),
    });
    const page = new FeatureClient({ url: "http://app.example.com/", storage: null, fetch: async () => new Response(body) });
    await page.ready;
    assert.deepEqual(KEYS.map((key) => page.get(key).reason), KEYS.map((key) => (some.includes(key) ? "PLAN" : "DEFAULT")));
    page.close();
    const empty = new FeatureClient({ url: "http://app.example.com/", storage: null, fetch: async () => Response.json({ tenant: { id: "t_acme", slug: "acme" }, catalog: 1, epoch: 1 }) });
    await empty.ready;
    for (const name of NAMES) assert.equal(empty.get(name).reason, "FEATURE_UNKNOWN", name);
    empty.close();
  });

  test("`impacts` of the command line compares features and limits with inherited names", () => {
    const sides = [{ features: {}, limits: {} }, { features: { constructor: { default: true } }, limits: { toString: { kind: "quota", period: "month", default: 2 } } }].map((more) => ({ catalog: { ...base, ...more }, tenants }));
    const none = (object) => JSON.parse(JSON.stringify(object));
    assert.deepEqual(none(impacts(...sides, 0)), [{ tenant: "t_acme", features: { constructor: { before: null, after: true, effect: "gain" } }, limits: { toString: { before: null, after: 2, effect: "gain" } } }]);
    assert.deepEqual(none(impacts(...sides.toReversed(), 0)), [{ tenant: "t_acme", features: { constructor: { before: true, after: null, effect: "loss" } }, limits: { toString: { before: 2, after: null, effect: "loss" } } }]);
  });
});

describe("headers with inherited names", () => {
  for (const name of HEADERS) {
    test(`the header \`${name}\` names the tenant only if the request has it`, async () => {
      const gate = new Gate({ ...base, resolution: { strategies: [{ strategy: "header", header_name: name }] } }, tenants);
      const remote = remoteOf(gate);
      const remoteReading = new RemoteGate({ url: "https://gate.example.com", token: "t", headers: [name], fetch: async (_, { body }) => Response.json(gate.ask(body).decision) });
      const config = { config: { resolution: "header", headerName: name }, lookupTenant: (id) => (id === "acme" ? { id: "acme", slug: "acme" } : null) };
      const serve = handler((_, ctx) => ctx.tenant.slug, { middleware: [createTenantMiddleware(config)], logger: silent });
      /** Requests in every form, with the header or without. */
      const requests = (value) => {
        const own = value === undefined ? {} : having(name, value);
        return [
          { path: "/", headers: own }, { path: "/", headers: new Headers(value === undefined ? [] : [[name, value]]) }, { path: "/", headers: Object.assign(Object.create(null), own) },
          { url: "/", method: "GET", headers: own }, new Request("http://app.example.com/", { headers: value === undefined ? [] : [[name, value]] }),
        ];
      };
      for (const [value, right] of [[undefined, null], ["acme", "acme"], ["nobody", null]]) {
        for (const request of requests(value)) {
          assert.equal(gate.decide(request).tenant?.slug ?? null, right);
          assert.equal(gate.ask(gate.question(request)).decision.tenant?.slug ?? null, right);
          assert.equal(gate.explain(request).decision.tenant?.slug ?? null, right);
          assert.equal((await remoteReading.decide(request)).tenant?.slug ?? null, right);
          assert.equal((await remote.decide(request)).tenant, null, "a header that is not in `headers` is not sent");
        }
        const response = await serve(requests(value).at(-1));
        assert.deepEqual([response.status, value === "acme" ? await response.json() : null], value === "acme" ? [200, "acme"] : [404, null]);
      }
    });
  }
});

describe("tenants, statuses, credentials, strategies and codes with inherited names", () => {
  const plain = { acme: { id: "acme", slug: "acme" } };
  const ask = async (config, given, lookupTenant = (id) => plain[id]) => {
    const serve = handler((_, ctx) => ctx.tenant.id, { middleware: [createTenantMiddleware({ config, lookupTenant })], logger: silent });
    const response = await serve(new Request(given.url ?? "http://app.example.com/", { headers: given.headers ?? {} }));
    return response.ok ? response.json() : (await response.json()).error.code;
  };

  test("a lookup in a plain object finds no tenant, domain or credential with an inherited name", async () => {
    for (const name of NAMES) {
      const found = await ask({ resolution: "header" }, { headers: { "x-tenant-id": name } });
      assert(["TENANT_NOT_FOUND", "BAD_REQUEST"].includes(found), `${name}: ${found}`);
      const host = await ask({ resolution: "custom_domain", domainLookup: (host) => ({})[host] }, { url: `http://${name}/` });
      assert(["TENANT_NOT_FOUND", "BAD_REQUEST"].includes(host), `${name}: ${host}`);
      const key = await ask({ resolution: "api_key", apiKeyLookup: (key) => (name === "__proto__" ? null : ({})[key]) }, { headers: { "x-api-key": name } });
      assert.equal(key, "UNAUTHENTICATED", name);
      const claimed = await ask({ resolution: "jwt", verifyToken: () => ({ tenant_id: name }) }, { headers: { authorization: "Bearer t" } });
      assert(["TENANT_NOT_FOUND", "UNAUTHENTICATED"].includes(claimed), `${name}: ${claimed}`);
    }
  });

  test("a status with an inherited name makes a tenant inactive", async () => {
    for (const status of NAMES) assert.equal(await ask({ resolution: "header" }, { headers: { "x-tenant-id": "acme" } }, (id) => ({ id, slug: id, status })), "TENANT_INACTIVE", status);
  });

  test("a strategy or an option with an inherited name is refused as unknown", () => {
    for (const name of NAMES) {
      assert.throws(() => createTenantMiddleware({ config: { resolution: name }, lookupTenant: () => null }), DocumentError, name);
      assert.throws(() => createTenantMiddleware({ config: { resolution: "header", ...having(name, 1) }, lookupTenant: () => null }), ConfigurationError, name);
    }
  });

  test("a code with an inherited name is a denial like any unknown code", () => {
    for (const code of NAMES) {
      assert.equal(statusOf(code), 403);
      const error = denied(code);
      assert(error instanceof DeniedError);
      assert.deepEqual([error.code, error.status, error.message], [code, 403, "the request is denied"]);
    }
  });
});
