// The OpenFeature Remote Evaluation Protocol: what the Worker responds, to whom, and that
// OpenFeature's own SDKs understand it.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { OFREPProvider } from "@openfeature/ofrep-provider";
import { OFREPWebProvider } from "@openfeature/ofrep-web-provider";
import { OpenFeature } from "@openfeature/server-sdk";
import { OpenFeature as OpenFeatureWeb, ClientProviderEvents, ClientProviderStatus } from "@openfeature/web-sdk";
import { OPERATOR, worker } from "../support/harness.mjs";
import { issuer } from "../support/issuer.mjs";
import { until } from "../support/wait.mjs";

const [PAST, FUTURE] = ["2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"];
const dutch = { name: "dutch", when: [{ attribute: "country", op: "eq", value: "NL" }] };
const features = {
  webhooks: { client: true },
  plain: { client: true, default: true },
  gone: { client: true, default: true, kill: true },
  "needs-gone": { client: true, default: true, requires: ["gone"] },
  theme: { client: true, type: "string", default: "light", variants: { night: "dark" }, rules: [{ ...dutch, variant: "night" }, { name: "long", when: [{ attribute: "note", op: "starts_with", value: "x" }], value: "long" }] },
  checkout: { client: true, type: "string", default: "off", variants: { a: "A" }, rules: [{ name: "all", rollout: { split: [{ weight: 1, variant: "a" }] } }] },
  rows: { client: true, type: "number", default: 0.5, rules: [{ ...dutch, value: 12 }] },
  layout: { client: true, type: "json", default: { columns: [1, { wide: null }], "ä": "ö" } },
  list: { client: true, type: "json", default: [] },
  nothing: { client: true, type: "json", default: [], variants: { none: null }, rules: [{ name: "always", variant: "none" }] },
  "New.Editor_2": { client: true },
  secret: { type: "string", default: "not for pages" },
};
const catalog = {
  version: 1,
  resolution: { strategies: [{ strategy: "subdomain", base_domains: ["app.example.com"] }], central_hosts: ["127.0.0.1"] },
  features,
  plans: { "free@1": {}, "pro@1": { features: ["webhooks"] } },
  addons: { big: { features: { rows: 99 } } },
};
const tenants = [
  { id: "t_acme", slug: "acme", plan: "pro@1" },
  { id: "t_globex", slug: "globex", plan: "free@1", addons: ["big"], overrides: [{ feature: "theme", value: "" }], contract: { features: { list: [7] }, starts_at: PAST, ends_at: FUTURE } },
  { id: "t_off", slug: "off", plan: "free@1", status: "suspended" },
  { id: "t_busy", slug: "busy", plan: "free@1", status: "maintenance" },
];

const source = await issuer();
const gate = await worker({ control: true });
after(() => Promise.all([gate.stop(), source.stop()]));
const { admin } = gate;
const imported = await admin("POST", "/import", { catalog, tenants });
assert.equal(imported.status, 200, JSON.stringify(imported.body));

const baseUrl = `${gate.url}_gate`;
const operator = { authorization: `Bearer ${OPERATOR}` };
const host = (slug) => `${slug}.app.example.com`;
/**
 * Evaluates the flag `key`, which is written as in the path, or all flags if there is no key.
 * Returns the status, the body and the headers.
 */
async function ask(key, context, { as = "acme", body = JSON.stringify({ context }), ...init } = {}) {
  const path = `/_gate/ofrep/v1/evaluate/flags${key === undefined ? "" : `/${key}`}`;
  const response = await gate.send(path, { method: "POST", host: host(as), body, ...init });
  const text = await response.text();
  return { status: response.status, body: text === "" ? null : JSON.parse(text), headers: response.headers };
}
const keysOf = ({ body }) => body.flags.map(({ key }) => key);
const forPages = Object.keys(features).filter((key) => features[key].client).sort();

describe("evaluations", () => {
  const nl = { targetingKey: "user-1", country: "NL" };

  test("an evaluation has the value, the reason, the variant and metadata of a flag", async () => {
    for (const [key, context, expected] of [
      ["webhooks", {}, { value: true, reason: "TARGETING_MATCH", metadata: { tier: "plan", reason: "PLAN" } }],
      ["plain", {}, { value: true, reason: "STATIC", metadata: { tier: "default", reason: "DEFAULT" } }],
      ["gone", {}, { value: false, reason: "DISABLED", metadata: { tier: "kill", reason: "KILLED" } }],
      ["needs-gone", {}, { value: false, reason: "DISABLED", metadata: { tier: "default", reason: "PREREQUISITE" } }],
      ["theme", nl, { value: "dark", variant: "night", reason: "TARGETING_MATCH", metadata: { tier: "default", reason: "RULE", rule: "dutch" } }],
      ["checkout", nl, { value: "A", variant: "a", reason: "SPLIT", metadata: { tier: "default", reason: "ROLLOUT", rule: "all" } }],
      ["checkout", {}, { value: "off", reason: "STATIC", metadata: { tier: "default", reason: "DEFAULT" } }],
    ]) assert.deepEqual((await ask(key, context)).body, { key, ...expected });
    for (const [key, value, tier] of [["theme", "", "override"], ["rows", 99, "addon"], ["list", [7], "contract"]]) {
      assert.deepEqual((await ask(key, nl, { as: "globex" })).body, { key, value, reason: "TARGETING_MATCH", metadata: { tier, reason: tier.toUpperCase() } });
    }
  });

  test("an evaluation can have a value of every type", async () => {
    for (const key of ["plain", "theme", "rows", "layout", "list"]) assert.deepEqual((await ask(key, {})).body.value, features[key].default);
    assert.equal((await ask("rows", nl)).body.value, 12);
    assert.equal((await ask("nothing", {})).body.value, null);
  });

  test("an evaluation of all flags equals the evaluations of each flag", async () => {
    const all = await ask(undefined, nl);
    assert.deepEqual([all.status, all.headers.get("content-type"), all.body.metadata], [200, "application/json", { catalog: 1 }]);
    assert.deepEqual(keysOf(all), forPages);
    for (const flag of all.body.flags) assert.deepEqual((await ask(flag.key, nl)).body, flag);
  });

  test("the key of a flag is decoded from the path and must match exactly", async () => {
    assert.equal((await ask("New.Editor_2", {})).body.key, "New.Editor_2");
    assert.equal((await ask("%74heme", nl)).body.value, "dark");
    for (const [path, key] of [["a%20b", "a b"], ["a%2Fb", "a/b"], ["%E2%82%AC", "€"], ["new.editor_2", "new.editor_2"], ["constructor", "constructor"], ["", ""], ["theme/x", "theme/x"]]) {
      const { status, body } = await ask(path, {});
      assert.deepEqual([status, body.key, body.errorCode], [404, key, "FLAG_NOT_FOUND"]);
    }
  });

  test("an evaluation ignores context values that rules cannot read, and refuses too many others", async () => {
    const value = async (context) => (await ask("theme", context)).body.value;
    assert.equal(await value({ country: { eq: "NL" } }), "light");
    assert.equal(await value({ ...nl, user: { country: "DE", tenant: "t_globex" }, roles: ["admin"], none: null }), "dark");
    assert.equal(await value({ note: "x".repeat(1_024) }), "long");
    assert.equal(await value({ note: "x".repeat(1_025) }), "light", "the text is too long to be compared");
    assert.equal((await ask("checkout", { targeting_key: "user-1" })).body.value, "A", "the targeting key may have its name among attributes");
    for (const body of ["", "{}", '{"context": null}', '{"context": {}, "flags": ["theme"]}']) assert.equal((await ask("theme", {}, { body })).body.value, "light", body);
    const many = (count) => ({ ...Object.fromEntries(Array.from({ length: count - 1 }, (_, i) => [`a${i}`, i])), country: "NL" });
    assert.equal(await value({ ...many(64), more: {}, most: [] }), "dark");
    assert.deepEqual([(await ask("theme", many(65))).status, (await ask("theme", many(65))).body.errorCode], [400, "INVALID_CONTEXT"]);
  });

  test("an evaluation that fails has an error code and details", async () => {
    for (const [body, errorCode] of [
      ["{", "PARSE_ERROR"], ["[]", "PARSE_ERROR"], ["null", "PARSE_ERROR"], ['"x"', "PARSE_ERROR"], ['{"context": {"a": 1e999}}', "PARSE_ERROR"], [" ".repeat(10), "PARSE_ERROR"],
      ['{"context": []}', "INVALID_CONTEXT"], ['{"context": "x"}', "INVALID_CONTEXT"], ['{"context": {"targetingKey": 7}}', "INVALID_CONTEXT"], ['{"context": {"tenant": {}}}', "INVALID_CONTEXT"],
    ]) {
      for (const key of [undefined, "theme"]) {
        const failed = await ask(key, {}, { body });
        assert.deepEqual([failed.status, failed.body.errorCode, failed.body.key], [400, errorCode, key], body);
        assert.equal(typeof failed.body.errorDetails, "string");
      }
    }
    for (const method of ["GET", "PUT", "DELETE"]) {
      const { status, headers } = await ask("theme", {}, { method, body: null });
      assert.deepEqual([status, headers.get("allow")], [405, "POST"]);
    }
    const large = JSON.stringify({ context: { note: "x".repeat(65_536) } });
    // The gate may close the connection while a body that it refuses is still being sent. Then the
    // client sees no response, and asks again.
    const refused = async (question) => {
      for (let attempt = 1; ; attempt++) {
        const answer = await ask(...question()).catch((error) => error);
        if (!(answer instanceof Error) || attempt === 5) return answer.status;
      }
    };
    assert.equal(await refused(() => ["theme", {}, { body: large }]), 413);
    assert.equal(await refused(() => [undefined, {}, { body: new Blob([large]).stream(), duplex: "half" }]), 413, "a body without a declared length is bounded too");
  });
});

describe("conditional requests", () => {
  const again = (etag, context, more) => ask(undefined, context, { headers: { "if-none-match": etag, ...more } });
  const etagOf = async (context) => (await ask(undefined, context)).headers.get("etag");

  test("unchanged evaluations are not sent again, and changed ones are", async () => {
    const etag = await etagOf({ country: "NL" });
    assert.match(etag, /^"[\w-]+"$/);
    const same = await again(etag, { country: "NL" });
    assert.deepEqual([same.status, same.headers.get("etag"), same.body], [304, etag, null]);
    assert.equal((await again(etag, { country: "NL", age: 7 })).status, 304, "another context with the same evaluations is unchanged too");
    const other = await again(etag, { country: "DE" });
    assert.equal(other.status, 200);
    assert.notEqual(other.headers.get("etag"), etag);
    const change = await admin("PUT", "/tenants/t_acme/overrides", { feature: "rows", value: 3 });
    assert.equal(change.status, 200);
    const changed = await again(etag, { country: "NL" });
    assert.equal(changed.status, 200);
    assert.notEqual(changed.headers.get("etag"), etag);
    assert.equal((await admin("DELETE", "/tenants/t_acme/overrides/rows")).status, 200);
    assert.equal((await again(etag, { country: "NL" })).status, 304);
  });

  test("`If-None-Match` compares ETags of evaluations weakly, with every entry of a list", async () => {
    const etag = await etagOf({});
    for (const list of [`W/${etag}`, `"other", ${etag}`, "*"]) assert.equal((await again(list, {})).status, 304, list);
    for (const list of ['"other"', etag.slice(1, -1)]) assert.equal((await again(list, {})).status, 200, list);
  });
});

describe("access to flags", () => {
  test("the operator can evaluate every flag of every tenant, whatever the host", async () => {
    const own = { as: "globex", headers: operator };
    assert.deepEqual(keysOf(await ask(undefined, { tenant: "t_acme" }, own)), Object.keys(features).sort());
    assert.equal((await ask("secret", { tenant: "t_acme" }, own)).body.value, "not for pages");
    assert.equal((await ask("webhooks", { tenant: "t_acme" }, own)).body.value, true);
    assert.equal((await ask("webhooks", { tenant: "t_globex" }, { as: "acme", headers: operator })).body.value, false);
    assert.equal((await ask("nothing-such", { tenant: "t_acme" }, own)).body.errorCode, "FLAG_NOT_FOUND");
    for (const key of [undefined, "webhooks"]) {
      for (const [tenant, status, errorCode] of [[undefined, 400, "INVALID_CONTEXT"], ["../x", 400, "GENERAL"], ["t_nobody", 404, "GENERAL"], ["t_off", 403, "GENERAL"]]) {
        const failed = await ask(key, { tenant }, own);
        assert.deepEqual([failed.status, failed.body.errorCode, failed.body.key], [status, errorCode, key], tenant);
      }
    }
  });

  test("a caller without a token can evaluate only client flags of the host's tenant", async () => {
    for (const headers of [{}, { authorization: "Bearer wrong" }]) {
      const own = await ask(undefined, { tenant: "t_globex" }, { headers });
      assert.deepEqual(keysOf(own), forPages);
      assert.equal(own.body.flags.find(({ key }) => key === "webhooks").value, true, "the host decides on the tenant, and not the context");
      const hidden = await ask("secret", {}, { headers });
      const absent = await ask("absent", {}, { headers });
      assert.deepEqual([hidden.status, hidden.body], [404, { ...absent.body, key: "secret" }]);
    }
  });

  test("unknown tenants and tenants that are not served get no evaluations", async () => {
    for (const key of [undefined, "theme"]) {
      for (const [as, status, code] of [["nobody", 404, "TENANT_NOT_FOUND"], ["off", 403, "TENANT_SUSPENDED"], ["busy", 503, "TENANT_MAINTENANCE"]]) {
        const failed = await ask(key, {}, { as });
        assert.deepEqual([failed.status, failed.body.errorCode, failed.body.key], [status, "GENERAL", key]);
        assert.match(failed.body.errorDetails, new RegExp(`^${code}: `));
      }
    }
  });

  test("an evaluation for a tenant in maintenance is refused with `Retry-After`", async () => {
    assert.equal((await gate.send("/", { host: host("busy") })).headers.get("retry-after"), "5");
    assert.equal((await ask(undefined, {}, { as: "busy" })).headers.get("retry-after"), "5");
  });
});

describe("access to flags where the catalog reads credentials", () => {
  let keys;
  before(async () => {
    const { version, ...open } = (await admin("GET", "/catalog")).body;
    open.resolution.strategies.push({ strategy: "api_key" }, { strategy: "jwt" });
    assert.equal((await admin("PUT", "/catalog", { ...open, issuers: { main: source.entry } })).status, 200);
    const issued = async (tenant) => (await admin("POST", `/tenants/${tenant}/api-keys`, {})).body.key;
    keys = { acme: { "x-api-key": await issued("t_acme") }, globex: { "x-api-key": await issued("t_globex") } };
  });

  test("a caller without a valid credential gets no evaluations", async () => {
    for (const [headers, challenge] of [
      [{}, 'Bearer realm="tenantgate", ApiKey realm="tenantgate"'],
      [{ "x-api-key": keys.acme["x-api-key"].replace(/.$/, "_") }, 'Bearer realm="tenantgate", ApiKey realm="tenantgate"'],
      [{ authorization: "Bearer wrong" }, 'Bearer realm="tenantgate", error="invalid_token", ApiKey realm="tenantgate"'],
    ]) {
      const refused = await ask("theme", {}, { headers });
      assert.deepEqual([refused.status, refused.body.errorCode, refused.headers.get("www-authenticate")], [401, "GENERAL", challenge]);
      assert.equal((await ask(undefined, {}, { headers })).status, 401);
    }
  });

  test("an API key or a token of a tenant gives access to the tenant's client flags", async () => {
    const token = { authorization: `Bearer ${await source.sign("t_acme")}` };
    for (const headers of [keys.acme, token]) {
      assert.deepEqual(keysOf(await ask(undefined, { tenant: "t_globex" }, { headers })), forPages);
      assert.equal((await ask("webhooks", {}, { headers })).body.value, true);
      assert.equal((await ask("secret", {}, { headers })).status, 404);
    }
  });

  test("a credential of another tenant gives no access to flags", async () => {
    const token = { authorization: `Bearer ${await source.sign("t_globex")}` };
    for (const headers of [keys.globex, token, { ...keys.acme, ...token }]) {
      for (const key of [undefined, "theme"]) {
        const refused = await ask(key, {}, { headers });
        assert.deepEqual([refused.status, refused.body.errorDetails.split(":")[0]], [403, "TENANT_MISMATCH"]);
      }
    }
    assert.equal((await ask("webhooks", {}, { as: "globex", headers: keys.globex })).body.value, false);
  });

  test("the operator token gives access to flags without another credential", async () => {
    assert.deepEqual(keysOf(await ask(undefined, { tenant: "t_acme" }, { headers: operator })), Object.keys(features).sort());
  });

  describe("OpenFeature's SDK for servers", () => {
    const client = async (domain, headers) => {
      await OpenFeature.setProviderAndWait(domain, new OFREPProvider({ baseUrl, headers: Object.entries(headers) }));
      return OpenFeature.getClient(domain);
    };
    after(() => OpenFeature.close());

    test("the server SDK evaluates flags of every tenant with the operator token", async () => {
      const flags = await client("operator", operator);
      const acme = { tenant: "t_acme", targetingKey: "user-1", country: "NL", since: new Date(0), user: { nested: true } };
      assert.deepEqual(await flags.getStringDetails("theme", "default", acme), {
        flagKey: "theme", value: "dark", variant: "night", reason: "TARGETING_MATCH", flagMetadata: { tier: "default", reason: "RULE", rule: "dutch" },
      });
      assert.equal(await flags.getBooleanValue("webhooks", false, acme), true);
      assert.equal(await flags.getBooleanValue("webhooks", true, { ...acme, tenant: "t_globex" }), false);
      assert.equal(await flags.getNumberValue("rows", 0, acme), 12);
      assert.deepEqual(await flags.getObjectValue("layout", {}, acme), features.layout.default);
      assert.deepEqual(await flags.getObjectValue("list", {}, { tenant: "t_globex" }), [7]);
      assert.equal(await flags.getStringValue("secret", "", acme), "not for pages");
      for (const [key, reason] of [["plain", "STATIC"], ["gone", "DISABLED"], ["webhooks", "TARGETING_MATCH"]]) assert.equal((await flags.getBooleanDetails(key, true, acme)).reason, reason);
      assert.equal((await flags.getStringDetails("checkout", "", acme)).reason, "SPLIT");
    });

    test("the server SDK returns the default and an error code if an evaluation fails", async () => {
      const flags = await client("operator", operator);
      const failed = async (key, context) => {
        const { value, reason, errorCode, errorMessage } = await flags.getBooleanDetails(key, true, context);
        assert.deepEqual([value, reason], [true, "ERROR"]);
        return [errorCode, errorMessage];
      };
      assert.equal((await failed("absent", { tenant: "t_acme" }))[0], "FLAG_NOT_FOUND");
      assert.equal((await failed("theme", { tenant: "t_acme" }))[0], "TYPE_MISMATCH");
      assert.equal((await failed("theme", {}))[0], "INVALID_CONTEXT");
      const [code, message] = await failed("theme", { tenant: "t_nobody" });
      assert.equal(code, "GENERAL");
      assert.match(message, /^TENANT_NOT_FOUND: /);
      for (const tenant of ["t_off", "t_busy"]) assert.equal((await failed("theme", { tenant }))[0], "GENERAL");
    });

    test("the server SDK evaluates flags of a tenant with the tenant's API key", async () => {
      const flags = await client("key", keys.acme);
      assert.equal(await flags.getBooleanValue("webhooks", false), true);
      assert.equal((await flags.getStringDetails("secret", "none")).errorCode, "FLAG_NOT_FOUND");
      const stranger = await client("nobody", { "x-api-key": "tg_live_none" });
      assert.equal((await stranger.getBooleanDetails("webhooks", false)).errorCode, "GENERAL");
    });
  });

  describe("OpenFeature's SDK for pages", () => {
    /** The statuses of the responses. */
    const answered = [];
    const provider = (headers, more) => new OFREPWebProvider({
      baseUrl, headers: Object.entries(headers), cacheMode: "disabled",
      fetchImplementation: async (...args) => {
        const response = await fetch(...args);
        answered.push(response.status);
        return response;
      },
      ...more,
    });
    after(() => OpenFeatureWeb.close());

    test("the web SDK evaluates all flags, and again when the context changes", async () => {
      await OpenFeatureWeb.setContext({ targetingKey: "user-1", country: "DE" });
      await OpenFeatureWeb.setProviderAndWait(provider(keys.acme));
      const flags = OpenFeatureWeb.getClient();
      assert.deepEqual([flags.getBooleanValue("webhooks", false), flags.getNumberValue("rows", 0), flags.getStringValue("theme", "")], [true, 0.5, "light"]);
      assert.deepEqual(flags.getObjectValue("layout", {}), features.layout.default);
      assert.deepEqual(flags.getStringDetails("checkout", ""), {
        flagKey: "checkout", value: "A", variant: "a", reason: "SPLIT", flagMetadata: { tier: "default", reason: "ROLLOUT", rule: "all" },
      });
      for (const key of ["secret", "absent"]) assert.deepEqual(flags.getStringDetails(key, "none").errorCode, "FLAG_NOT_FOUND");
      assert.equal(flags.getBooleanDetails("theme", false).errorCode, "TYPE_MISMATCH");
      await OpenFeatureWeb.setContext({ targetingKey: "user-1", country: "NL" });
      assert.deepEqual([flags.getNumberValue("rows", 0), flags.getStringValue("theme", "")], [12, "dark"]);
    });

    test("the web SDK polls, and reports the flags that have changed", async () => {
      await OpenFeatureWeb.setProviderAndWait(provider(keys.acme, { pollInterval: 20 }));
      const flags = OpenFeatureWeb.getClient();
      const changes = [];
      flags.addHandler(ClientProviderEvents.ConfigurationChanged, ({ flagsChanged }) => changes.push(flagsChanged));
      answered.length = 0;
      await until(() => answered.length >= 3);
      assert.deepEqual([new Set(answered), changes], [new Set([304]), []]);
      assert.equal((await admin("PUT", "/tenants/t_acme/overrides", { feature: "theme", value: "new" })).status, 200);
      await until(() => changes.length);
      assert.deepEqual([changes[0], flags.getStringValue("theme", "")], [["theme"], "new"]);
      assert.equal((await admin("DELETE", "/tenants/t_acme/overrides/theme")).status, 200);
      await until(() => flags.getStringValue("theme", "") === "dark");
    });

    test("the web SDK reports an error if it may not evaluate flags", async () => {
      await assert.rejects(OpenFeatureWeb.setProviderAndWait("stranger", provider({ "x-api-key": "tg_live_none" })));
      assert.equal(OpenFeatureWeb.getClient("stranger").providerStatus, ClientProviderStatus.FATAL);
      await assert.rejects(OpenFeatureWeb.setProviderAndWait("nobody", provider(operator)));
      assert.equal(OpenFeatureWeb.getClient("nobody").providerStatus, ClientProviderStatus.ERROR);
    });
  });
});
