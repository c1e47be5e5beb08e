// What pages receive of their tenant's features: nothing of other tenants, and enough to evaluate
// them as the gate does.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { FeatureClient } from "../../pkg/client/node.js";
import { worker } from "../support/harness.mjs";

const [PAST, FUTURE] = ["2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"];
const when = (attribute, op, value, not) => ({ attribute, op, ...(value !== undefined && { value }), ...(not && { not }) });
const rule = (name, conditions, served) => ({ name, when: conditions, ...served });
const split = (...buckets) => buckets.map(([weight, served]) => ({ weight, ...served }));
const half = split([50, { value: true }], [50, { value: false }]);

/** One feature for each operator on an attribute, as it is and negated. */
const operators = Object.fromEntries([
  ["eq", "country", "NL"], ["eq", "age", 18], ["eq", "beta", true], ["in", "country", ["NL", "DE"]], ["in", "age", [17, 18, 19.5]], ["in", "beta", [true]],
  ["lt", "age", 18], ["lte", "age", 18], ["gt", "age", 18], ["gte", "age", 18], ["starts_with", "email", "ann"], ["ends_with", "email", "@example.com"],
  ["contains", "email", "ü"], ["semver", "version", ">=2.1, <3"], ["exists", "email"], ["eq", "tenant.region", "eu"], ["exists", "tenant.region"],
  ["starts_with", "tenant.plan", "pro@"], ["in", "tenant.slug", ["acme", "team"]],
].flatMap(([op, attribute, value], i) => [false, true].map((not) =>
  [`op-${i}-${op}${not ? "-not" : ""}`, { client: true, rules: [rule("asks", [when(attribute, op, value, not)], { value: true })] }])));

/** The ways in which a feature, or one that it requires, can be on or off. */
const kinds = {
  on: { default: true },
  off: {},
  killed: { default: true, kill: true },
  granted: {},
  denied: { default: true },
  rule: { rules: [rule("dutch", [when("country", "eq", "NL")], { value: true })] },
  tenant: { rules: [rule("pro", [when("tenant.plan", "starts_with", "pro@")], { value: true })] },
  rollout: { rules: [rule("half", [], { rollout: { split: half } })] },
};
/**
 * Chains of up to three features, each of which requires the one before. The first is of any kind,
 * the others are of kinds that can be on.
 */
const chains = {};
const chain = (key, requires) => { chains[key] = { client: true, requires, ...kinds[key.split(".").at(-1)] }; };
const on = ["on", "granted", "rule", "tenant"];
for (const low of Object.keys(kinds)) {
  chain(`chain.${low}`, []);
  for (const mid of on) {
    chain(`chain.${low}.${mid}`, [`chain.${low}`]);
    for (const top of on) chain(`chain.${low}.${mid}.${top}`, [`chain.${low}.${mid}`]);
  }
}
const chained = (kind, value) => Object.fromEntries(Object.keys(chains).filter((key) => key.endsWith(`.${kind}`)).map((key) => [key, value]));

/** Whatever pages of `acme` must not receive has the word `hidden` in it. */
const secrets = {
  "hidden-feature": { default: true, description: "not for pages", rules: [rule("staff", [when("country", "eq", "NL")], { value: false })] },
  foreign: {
    client: true, type: "string", default: "ours", description: "hidden", variants: { "hidden-variant": "hidden-value", "hidden-unserved": "hidden-unserved", shown: "shown" },
    rules: [
      rule("hidden-by-id", [when("tenant.id", "eq", "t_hidden"), when("country", "eq", "NL")], { variant: "hidden-variant" }),
      rule("hidden-by-ids", [when("tenant.id", "in", ["t_hidden", "t_other"])], { value: "hidden" }),
      rule("hidden-by-slug", [when("tenant.slug", "starts_with", "hid")], { value: "hidden" }),
      rule("hidden-by-plan", [when("tenant.plan", "in", ["hidden@1"])], { value: "hidden" }),
      rule("hidden-by-region", [when("tenant.region", "eq", "hidden")], { value: "hidden" }),
      { ...rule("hidden-over", [when("country", "eq", "NL")], { value: "hidden" }), ends_at: PAST },
      rule("dutch", [when("tenant.id", "in", ["t_acme", "t_hidden"]), when("tenant.plan", "eq", "hidden@1", true), when("country", "eq", "NL")], { variant: "shown" }),
      rule("rest", [when("tenant.slug", "eq", "hidden", true)], { value: "ours" }),
      rule("hidden-later", [when("country", "eq", "DE")], { variant: "hidden-unserved" }),
    ],
  },
  "granted-rules": { client: true, type: "string", default: "hidden-default", variants: { hidden: "hidden" }, rules: [rule("hidden", [when("country", "eq", "NL")], { variant: "hidden" })] },
  "killed-rules": { client: true, kill: true, rules: [rule("hidden", [when("country", "eq", "NL")], { value: true })] },
  "no-region": { client: true, type: "string", default: "ours", rules: [rule("hidden", [], { rollout: { by: "tenant.region", split: split([1, { value: "hidden" }]) } })] },
  "own-bucket": { client: true, type: "string", default: "hidden-default", rules: [rule("all", [], { rollout: { by: "tenant.id", split: split([1, { value: "ours" }], [0, { value: "hidden" }]) } })] },
};

const features = {
  ...operators, ...chains, ...secrets,
  on: { client: true, default: true },
  off: { client: true },
  text: { client: true, type: "string", default: "" },
  number: { client: true, type: "number", default: 0.5, rules: [rule("adults", [when("age", "gte", 18)], { value: 0 })] },
  json: {
    client: true, type: "json", default: { rows: [1, { deep: null }] }, variants: { wide: { columns: ["ä", 2] }, none: null },
    rules: [rule("dutch", [when("country", "eq", "NL")], { variant: "wide" }), rule("young", [when("age", "lt", 18)], { variant: "none" })],
  },
  tiers: { client: true, type: "string", default: "default", rules: [rule("dutch", [when("country", "eq", "NL")], { value: "rule" })] },
  zero: { client: true, type: "number", default: 1 },
  dated: {
    client: true, type: "string", default: "none",
    rules: [
      { ...rule("ended", [], { value: "ended" }), ends_at: PAST }, { ...rule("not-yet", [], { value: "not yet" }), starts_at: FUTURE },
      { ...rule("now", [when("tenant.plan", "exists"), when("beta", "eq", true)], { value: "now" }), starts_at: PAST, ends_at: FUTURE },
      { ...rule("begun", [when("tenant.region", "exists", undefined, true)], { value: "begun" }), starts_at: PAST },
    ],
  },
  rollout: {
    client: true, type: "string", default: "nobody", variants: { a: "A", b: "B" },
    rules: [
      rule("salted", [when("country", "eq", "DE")], { rollout: { salt: "summer", split: split([1, { variant: "a" }], [2, { variant: "b" }], [3, { value: "C" }]) } }),
      rule("by-mail", [when("beta", "eq", true)], { rollout: { by: "email", split: half.map(({ value }, i) => ({ weight: 1, value: `${value}${i}` })) } }),
      rule("by-number", [when("age", "gt", 0)], { rollout: { by: "age", split: split([1, { value: "never" }]) } }),
      rule("rest", [], { rollout: { split: split([10, { variant: "a" }], [0, { value: "never" }], [90, { variant: "b" }]) } }),
    ],
  },
  ...Object.fromEntries(["id", "slug", "plan", "region"].map((by) => [`by-${by}`, {
    client: true, rules: [rule("share", [], { rollout: { by: `tenant.${by}`, split: half } }), rule("rest", [when("country", "eq", "NL")], { value: true })],
  }])),
  "context-then-tenant": { client: true, rules: [rule("dutch", [when("country", "eq", "NL")], { value: true }), rule("share", [], { rollout: { by: "tenant.id", split: half } })] },
};

const seed = {
  catalog: {
    version: 1,
    resolution: { strategies: [{ strategy: "subdomain", base_domains: ["app.example.com"] }] },
    features,
    limits: { month: { kind: "quota", period: "month" } },
    plans: {
      "free@1": { limits: { month: 1 } },
      "pro@1": { features: { tiers: "plan", zero: 0, "granted-rules": "ours", ...chained("granted", true), ...chained("denied", false) }, limits: { month: 1 } },
      "pro@2": { features: { tiers: "trial" }, limits: { month: 1 } },
      "hidden@1": { title: "hidden", limits: { month: 1 } },
    },
    addons: { extra: { features: { tiers: "addon" } } },
  },
  tenants: [
    {
      id: "t_acme", slug: "acme", plan: "pro@1", name: "hidden", metadata: { note: "hidden" },
      overrides: [{ feature: "off", value: true, reason: "hidden-reason", actor: "hidden-actor" }, { feature: "hidden-feature", value: true }],
      contract: { features: { text: "agreed" }, starts_at: PAST, ends_at: FUTURE },
    },
    { id: "t_hidden", slug: "hidden", plan: "hidden@1", region: "hidden" },
    { id: "t_globex", slug: "globex", plan: "free@1", region: "eu", addons: ["extra"], overrides: [{ feature: "tiers", value: "ended", ends_at: PAST }, { feature: "tiers", value: "not yet", starts_at: FUTURE }] },
    { id: "t_org", slug: "org", plan: "pro@1", region: "us", addons: ["extra"], overrides: [{ feature: "json", value: [] }, { feature: "tiers", value: "org" }, { feature: "chain.rule", value: true }] },
    { id: "t_team", slug: "team", parent: "t_org", overrides: [{ feature: "tiers", value: "team" }, { feature: "rollout", value: "" }] },
    { id: "t_lab", slug: "lab", parent: "t_team" },
    { id: "t_trial", slug: "trial", plan: "free@1", trial: { plan: "pro@2", ends_at: FUTURE }, contract: { features: { text: "ended" }, ends_at: PAST } },
    { id: "t_off", slug: "off", plan: "free@1", status: "suspended" },
  ],
};
const shown = Object.keys(features).filter((key) => features[key].client).sort();
const served = seed.tenants.filter(({ status }) => !status);

const gate = await worker({ control: true, isolates: 2 });
after(() => gate.stop());
const { admin } = gate;
assert.deepEqual((await admin("POST", "/import", seed)).body, { catalog: true, tenants: seed.tenants.length, api_keys: 0 });
const host = (slug) => `${slug}.app.example.com`;
const look = (slug, headers = {}, isolate = 0) => gate.sendTo(isolate, "/_gate/v1/features", { host: host(slug), headers });
const etag = async (slug, isolate) => (await look(slug, {}, isolate)).headers.get("etag");
const grant = (tenant, feature, value) => admin("PUT", `/tenants/${tenant}/overrides`, { feature, value });

// A request that waits at another isolate is answered once that isolate reads the feed. The tests
// below run in the meantime.
const known = await etag("trial", 1);
const elsewhere = look("trial", { "if-none-match": known, prefer: "wait=30" }, 1).then(async (response) => [response.status, await response.json()]);
assert.equal((await grant("t_trial", "number", 7)).status, 200);

describe("the features that a page receives", () => {
  test("a page receives its tenant's client features, and nothing that names other tenants or plans", async () => {
    const text = await (await look("acme")).text();
    const told = JSON.parse(text);
    assert.deepEqual([...new Set([...Object.keys(told.settled), ...Object.keys(told.features)])].sort(), shown);
    assert.deepEqual(told.tenant, { id: "t_acme", slug: "acme", plan: "pro@1" });
    assert.doesNotMatch(text, /hidden/);
    const words = new Set(text.match(/[\w@.-]+/g));
    const others = seed.tenants.filter(({ id }) => id !== "t_acme").flatMap(({ id, slug, plan }) => (slug in features ? [id, plan] : [id, slug, plan]));
    for (const name of others) assert(name === "pro@1" || !words.has(name), name);
    // Rules that apply to the tenant are there, without the conditions that it meets.
    assert.deepEqual(told.features.foreign, {
      type: "string", default: "ours", variants: { shown: "shown" },
      rules: [{ name: "dutch", when: [{ attribute: "country", op: "eq", value: "NL" }], variant: "shown" }, { name: "rest", value: "ours" }],
    });
    assert.deepEqual(told.settled.off, { value: true, enabled: true, tier: "override", reason: "OVERRIDE", rule: null, variant: null });
  });

  test("a page receives the rules that name its own tenant", async () => {
    const text = await (await look("hidden")).text();
    for (const name of ["t_hidden", "hidden@1", "hidden-variant", "hidden-by-id"]) assert(text.includes(name), name);
    for (const name of ["hidden-feature", "hidden-over", "hidden-later", "hidden-reason", "hidden-actor", "t_acme"]) assert(!text.includes(name), name);
  });

  test("the features come with the time until which they are valid", async () => {
    const { valid_until } = await (await look("acme")).json();
    assert(Date.parse(valid_until) > Date.now(), "the features are valid until the quota's period ends, which is in the future");
  });
});

describe("changes of features", () => {
  test("changed features have another ETag, and unchanged ones are not sent again", async () => {
    const first = await look("acme");
    const tag = first.headers.get("etag");
    assert.match(tag, /^"[\w-]+"$/);
    const same = await look("acme", { "if-none-match": tag });
    assert.deepEqual([same.status, same.headers.get("etag"), await same.text()], [304, tag, ""]);
    const other = await look("globex", { "if-none-match": tag });
    assert.equal(other.status, 200);
    assert.notEqual(other.headers.get("etag"), tag);
    assert.equal((await grant("t_acme", "number", 41)).status, 200);
    const changed = await look("acme", { "if-none-match": tag });
    assert.equal(changed.status, 200);
    assert.notEqual(changed.headers.get("etag"), tag);
    assert.equal((await changed.json()).settled.number.value, 41);
  });

  test("`If-None-Match` compares ETags of features weakly, with every entry of a list", async () => {
    // RFC 9110 §13.1.2: proxies that compress make a tag weak.
    const tag = await etag("acme");
    for (const list of [`W/${tag}`, `"other", ${tag}`, "*"]) assert.equal((await look("acme", { "if-none-match": list })).status, 304, list);
    for (const list of ['"other"', 'W/"other"', tag.slice(1, -1)]) assert.equal((await look("acme", { "if-none-match": list })).status, 200, list);
  });

  test("a request for features waits for a change as long as its `Prefer` header asks", async () => {
    const tag = await etag("acme");
    const ask = async (headers) => (await look("acme", { "if-none-match": tag, ...headers })).status;
    let answered = 0;
    const waits = ask({ prefer: 'respond-async, wait="1"' }).then((status) => [status, answered]);
    for (; answered < 5; answered++) assert.equal(await ask(), 304);
    assert.deepEqual(await waits, [304, 5], "other requests are answered in the meantime");
    assert.equal((await look("acme", { prefer: "wait=30" })).status, 200, "a request without an ETag does not wait");
    for (const prefer of ["wait=soon", "wait=-1", "wait"]) assert.equal(await ask({ prefer }), 304);
  });

  test("a waiting request is answered as soon as a record or the catalog changes", async () => {
    const waits = async () => {
      const tag = await etag("acme");
      return { told: look("acme", { "if-none-match": tag, prefer: "wait=30" }) };
    };
    const record = await waits();
    assert.equal((await grant("t_acme", "number", 42)).status, 200);
    assert.equal((await (await record.told).json()).settled.number.value, 42);
    const catalog = await waits();
    assert.equal((await admin("POST", "/features/on/kill", { reason: "incident" })).status, 200);
    assert.equal((await (await catalog.told).json()).settled.on.tier, "kill");
    assert.equal((await admin("POST", "/features/on/revive")).status, 200);
    const end = await waits();
    assert.equal((await admin("POST", "/tenants/t_acme/suspend", { reason: "unpaid" })).status, 200);
    assert.equal((await end.told).status, 403);
    assert.equal((await admin("POST", "/tenants/t_acme/reactivate")).status, 200);
  });
});

/** A page of a tenant: its client, which fetches features once and learns of no changes. */
async function page(slug, headers) {
  const url = `http://${host(slug)}/_gate/v1/features`;
  const fetch = (_, { headers, signal }) => (headers.prefer ? new Promise((_, reject) => signal.addEventListener("abort", reject)) : look(slug, headers));
  const client = new FeatureClient({ url, headers, fetch, storage: null });
  await client.ready;
  client.close();
  return client;
}

describe("pages evaluate as the gate does", () => {
  // The contexts are the same in every run, so that a mistake can be reproduced.
  let state = 7;
  const one = (...choices) => choices[(state = (state * 48_271) % 2_147_483_647) % choices.length];
  const contexts = Array.from({ length: 200 }, (_, i) => JSON.parse(JSON.stringify({
    targeting_key: one(`user-${i}`, `user-${i}`, `user-${i}`, "", undefined, i), country: one("NL", "DE", "nl", true, undefined), age: one(17, 18, 19.5, -1, "18", undefined),
    beta: one(true, false, "true", undefined), email: one("ann@example.com", `u${i}@example.org`, "üçé@example.com", "x".repeat(1_025), undefined), version: one("2.1.0", "3.0.0", "2.0.9", "2.1", 2, undefined),
    // A context cannot set the tenant's own attributes.
    "tenant.plan": one("pro@1", undefined), "tenant.region": one("eu", undefined),
  })));
  const differing = [];
  const met = { tier: new Set(), reason: new Set(), variant: new Set() };

  before(async () => {
    for (const { id, slug } of served) {
      const client = await page(slug);
      for (const context of contexts) {
        const { body } = await gate.decide({ tenant: id, context, all_features: true, look: true });
        const expected = Object.entries(body.features).filter(([key]) => features[key].client);
        const ours = client.evaluate(context);
        assert.deepEqual([...ours.keys()], expected.map(([key]) => key));
        for (const [key, answer] of expected) {
          for (const part of Object.keys(met)) met[part].add(answer[part]);
          if (!isDeepStrictEqual(ours.get(key), answer)) differing.push({ tenant: id, key, context, ours: ours.get(key), expected: answer });
        }
      }
    }
  });
  const none = (list) => assert.deepEqual(list.slice(0, 2), [], `${list.length} differ: ${[...new Set(list.map(({ key }) => key))].join(" ")}`);

  test("pages evaluate every tier, rule and rollout as the gate does, for every tenant", () => none(differing.filter(({ key }) => !(key in chains))));
  test("pages evaluate chains of prerequisites as the gate does, for every kind of feature", () => none(differing.filter(({ key }) => key in chains)));
  test("the comparison covers every tier, every reason and every variant", () => {
    assert.deepEqual([...met.tier].sort(), ["addon", "contract", "default", "kill", "override", "plan"]);
    assert.deepEqual([...met.reason].sort(), ["ADDON", "CONTRACT", "DEFAULT", "KILLED", "OVERRIDE", "PLAN", "PREREQUISITE", "ROLLOUT", "RULE"]);
    assert.deepEqual(met.variant, new Set([null, "a", "b", "wide", "none", "shown", "hidden", "hidden-variant"]));
  });
});

test("a change answers a request that waits at another isolate", async () => {
  const [status, { settled }] = await elsewhere;
  assert.deepEqual([status, settled.number.value], [200, 7]);
});

describe("refused requests for features", () => {
  const code = async (response) => [response.status, (await response.json()).error.code];

  test("unknown and suspended tenants receive no features", async () => {
    assert.deepEqual(await code(await look("nobody")), [404, "TENANT_NOT_FOUND"]);
    assert.deepEqual(await code(await gate.send("/_gate/v1/features")), [404, "TENANT_NOT_FOUND"]);
    assert.deepEqual(await code(await look("off", { prefer: "wait=30" })), [403, "TENANT_SUSPENDED"]);
  });

  test("requests for features with methods other than GET and HEAD are refused", async () => {
    for (const method of ["POST", "PUT", "DELETE"]) {
      const response = await gate.send("/_gate/v1/features", { host: host("acme"), method });
      assert.deepEqual([response.headers.get("allow"), ...(await code(response))], ["GET, HEAD", 405, "METHOD_NOT_ALLOWED"]);
    }
    const head = await gate.send("/_gate/v1/features", { host: host("acme"), method: "HEAD" });
    assert.deepEqual([head.status, head.headers.get("etag")], [200, await etag("acme")]);
  });

  test("where the catalog reads credentials, a page needs one of its own tenant", async () => {
    const { version, ...catalog } = (await admin("GET", "/catalog")).body;
    catalog.resolution.strategies.push({ strategy: "api_key" });
    assert.equal((await admin("PUT", "/catalog", catalog)).status, 200);
    const key = async (tenant) => ({ "x-api-key": (await admin("POST", `/tenants/${tenant}/api-keys`, {})).body.key });
    const [own, others] = [await key("t_acme"), await key("t_globex")];
    const refused = await look("acme");
    assert.equal(refused.headers.get("www-authenticate"), 'ApiKey realm="tenantgate"');
    assert.deepEqual(await code(refused), [401, "UNAUTHENTICATED"]);
    assert.deepEqual(await code(await look("acme", others)), [403, "TENANT_MISMATCH"]);
    assert.equal((await (await look("acme", own)).json()).tenant.id, "t_acme");
    assert.equal((await page("acme", own)).get("number").value, 42);
  });
});
