// The providers for OpenFeature's own SDKs: over gates in this process and elsewhere, and in pages with and without a network.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { EventEmitter, once } from "node:events";
import { after, afterEach, describe, test } from "node:test";
import { OpenFeature, ServerProviderEvents, ServerProviderStatus } from "@openfeature/server-sdk";
import { ClientProviderEvents, ClientProviderStatus, ErrorCode, OpenFeature as OpenFeatureWeb } from "@openfeature/web-sdk";
import { FeatureClient } from "../../pkg/client/node.js";
import { Gate, RemoteGate } from "../../pkg/node.js";
import { TenantgateWebProvider } from "../../pkg/openfeature-web.js";
import { TenantgateProvider } from "../../pkg/openfeature.js";
import { serve } from "../support/server.mjs";
import { until } from "../support/wait.mjs";

const rule = (name, attribute, op, value, served) => ({ name, when: [{ attribute, op, value }], ...served });

describe("the provider for servers", () => {
  const always = { rules: [{ name: "always", value: true }] };
  const catalog = {
    version: 1,
    resolution: { strategies: [{ strategy: "header" }] },
    features: {
      plan: {}, addon: {}, contract: {}, override: {}, default: { default: true }, killed: { ...always, kill: true }, needs: { ...always, requires: ["killed"] }, always,
      theme: { type: "string", default: "light", variants: { night: "dark" }, rules: [rule("dutch", "country", "eq", "NL", { variant: "night" }), rule("old", "since", "starts_with", "2024-02-03T", { value: "old" })] },
      rows: { type: "number", default: 0.5 },
      layout: { type: "json", default: { columns: [1, { wide: null }] } },
      list: { type: "json", default: [1] },
      checkout: { type: "string", default: "off", variants: { a: "A" }, rules: [{ name: "all", rollout: { split: [{ weight: 1, variant: "a" }] } }] },
    },
    plans: { "free@1": {}, "pro@1": { features: ["plan"] } },
    addons: { more: { features: ["addon"] } },
  };
  const acme = { id: "t_acme", slug: "acme", plan: "pro@1", addons: ["more"], contract: { features: ["contract"] }, overrides: [{ feature: "override", value: true }] };
  const off = { id: "t_off", slug: "off", plan: "free@1", status: "suspended" };
  const open = () => new Gate(catalog, [acme, off]);

  /** What answers for a Worker: a gate here, or whatever it is told to. */
  const decider = open();
  let fails = null;
  const server = serve(async (request, response) => {
    const chunks = await request.toArray();
    if (fails) return fails(response);
    const { decision } = decider.ask(JSON.parse(Buffer.concat(chunks).toString()));
    response.setHeader("content-type", "application/json").end(JSON.stringify(decision));
  });
  after(async () => {
    await OpenFeature.close();
    await (await server).stop();
  });
  const elsewhere = async () => new RemoteGate({ url: (await server).url, token: "t" });
  const connect = async (domain, gate) => {
    await OpenFeature.setProviderAndWait(domain, new TenantgateProvider(gate));
    return OpenFeature.getClient(domain);
  };
  const tenant = "t_acme";

  for (const [where, gate] of [["here", async () => open()], ["elsewhere", elsewhere]]) {
    describe(`over a gate ${where}`, () => {
      test("has values of every type, with why", async () => {
        const flags = await connect(where, await gate());
        assert.equal(flags.providerStatus, ServerProviderStatus.READY);
        const nl = { tenant, targetingKey: "user-1", country: "NL" };
        assert.deepEqual(await flags.getStringDetails("theme", "none", nl), {
          flagKey: "theme", value: "dark", variant: "night", reason: "TARGETING_MATCH", flagMetadata: { tier: "default", reason: "RULE", rule: "dutch" },
        });
        assert.equal(await flags.getNumberValue("rows", 0, nl), 0.5);
        assert.deepEqual(await flags.getObjectValue("layout", {}, nl), catalog.features.layout.default);
        assert.deepEqual(await flags.getObjectValue("list", [], nl), [1]);
        assert.deepEqual(await flags.getStringDetails("checkout", "none", nl), {
          flagKey: "checkout", value: "A", variant: "a", reason: "SPLIT", flagMetadata: { tier: "default", reason: "ROLLOUT", rule: "all" },
        });
        assert.equal(await flags.getStringValue("checkout", "none", { tenant }), "off", "without a targeting key");
        for (const [key, value, reason, tier, why] of [
          ["plan", true, "TARGETING_MATCH", "plan", "PLAN"], ["addon", true, "TARGETING_MATCH", "addon", "ADDON"], ["contract", true, "TARGETING_MATCH", "contract", "CONTRACT"],
          ["override", true, "TARGETING_MATCH", "override", "OVERRIDE"], ["default", true, "DEFAULT", "default", "DEFAULT"], ["killed", false, "DISABLED", "kill", "KILLED"],
          ["needs", false, "DISABLED", "default", "PREREQUISITE"],
        ]) assert.deepEqual(await flags.getBooleanDetails(key, !value, { tenant }), { flagKey: key, value, reason, flagMetadata: { tier, reason: why } });
        assert.equal((await flags.getBooleanDetails("always", false, { tenant })).flagMetadata.rule, "always");
      });

      test("gives the default where there is no answer, and says why", async () => {
        const flags = await connect(where, await gate());
        for (const [key, context, code, message] of [
          ["absent", { tenant }, "FLAG_NOT_FOUND", /no such feature/], ["theme", { tenant }, "TYPE_MISMATCH", /not of type number/], ["layout", { tenant }, "TYPE_MISMATCH", /not of type number/],
          ["plan", {}, "INVALID_CONTEXT", /`tenant`/],
          ["plan", { tenant: 7 }, "INVALID_CONTEXT", /`tenant`/], ["plan", { tenant: "t_off" }, "GENERAL", /^TENANT_SUSPENDED: /], ["plan", { tenant: "t_nobody" }, "GENERAL", /^TENANT_NOT_FOUND: /], ["plan", { tenant: "../x" }, "GENERAL", /^BAD_REQUEST: /],
        ]) {
          const { value, reason, errorCode, errorMessage } = await flags.getNumberDetails(key, 42, context);
          assert.deepEqual([value, reason, errorCode], [42, "ERROR", code]);
          assert.match(errorMessage, message);
        }
        for (const [ask, key] of [["getBooleanDetails", "rows"], ["getStringDetails", "plan"], ["getObjectDetails", "theme"]]) assert.equal((await flags[ask](key, undefined, { tenant })).errorCode, "TYPE_MISMATCH", key);
      });

      test("reads contexts as rules can", async () => {
        const flags = await connect(where, await gate());
        const theme = (context) => flags.getStringValue("theme", "none", { tenant, ...context });
        assert.equal(await theme({ since: new Date("2024-02-03T04:05:06Z") }), "old");
        assert.equal(await theme({ since: new Date(NaN), country: { is: "NL" }, roles: ["admin"], none: null, missing: undefined }), "light");
        OpenFeature.setContext({ tenant: "t_nobody", country: "NL" });
        assert.equal(await theme(), "dark", "what is asked with comes before what is set");
        OpenFeature.setContext({});
      });
    });
  }

  test("says what of a context is too large", async () => {
    const flags = await connect("here", open());
    assert.equal((await flags.getStringDetails("theme", "none", { tenant, country: "x".repeat(70_000) })).errorCode, "INVALID_CONTEXT");
  });

  test("hears of what has changed", async () => {
    const gate = open();
    const flags = await connect("changes", gate);
    const heard = [];
    flags.addHandler(ServerProviderEvents.ConfigurationChanged, ({ providerName }) => heard.push(providerName));
    gate.putCatalog({ ...catalog, version: 2, features: { ...catalog.features, rows: { type: "number", default: 7 } } });
    await until(() => heard.length === 1);
    assert.equal(await flags.getNumberValue("rows", 0, { tenant }), 7);
    gate.putTenant({ ...acme, epoch: 2, overrides: [{ feature: "rows", value: 8 }] });
    await until(() => heard.length === 2);
    assert.equal(await flags.getNumberValue("rows", 0, { tenant }), 8);
    gate.removeTenant("t_acme");
    await until(() => heard.length === 3);
    assert.throws(() => gate.putCatalog({ version: -1 }));
    assert.deepEqual(heard, ["tenantgate", "tenantgate", "tenantgate"]);
    gate.free();
  });

  test("lets go of its gate when it is closed", async () => {
    const listeners = new Set();
    const gate = open();
    gate.onChange = (listener) => listeners.add(listener) && (() => listeners.delete(listener));
    await connect("closing", gate);
    assert.equal(listeners.size, 1);
    await connect("closing", open());
    await until(() => listeners.size === 0);
  });

  describe("says once that its gate cannot be reached, and once that it can again", () => {
    for (const [how, answer] of [
      ["ends", (response) => response.destroy()], ["answers what is no JSON", (response) => response.writeHead(502).end("<html>")],
      ["answers an error of somebody else", (response) => response.writeHead(503, { "content-type": "application/json" }).end('{"message": "no upstream"}')],
    ]) {
      test(`where it ${how}`, async () => {
        const flags = await connect(how, await elsewhere());
        const heard = [];
        flags.addHandler(ServerProviderEvents.Error, ({ message }) => heard.push(message));
        const ask = () => flags.getBooleanDetails("plan", false, { tenant });
        assert.equal((await ask()).value, true);
        fails = answer;
        for (let i = 0; i < 3; i++) {
          const { value, reason, errorCode, errorMessage } = await ask();
          assert.deepEqual([value, reason, errorCode, errorMessage.startsWith("GATE_FAILED: ")], [false, "ERROR", "GENERAL", true]);
        }
        fails = null;
        assert.deepEqual([heard.length, flags.providerStatus], [1, ServerProviderStatus.ERROR]);
        // Handlers of what is so already are called at once: from here on, those that follow.
        flags.addHandler(ServerProviderEvents.Ready, () => heard.push("ready"));
        for (let i = 0; i < 2; i++) assert.equal((await ask()).value, true);
        assert.deepEqual([heard.slice(1), flags.providerStatus], [["ready"], ServerProviderStatus.READY]);
      });
    }
    after(() => { fails = null; });
  });

  test("needs a gate", () => {
    for (const gate of [undefined, {}, catalog]) assert.throws(() => new TenantgateProvider(gate), TypeError);
  });
});

describe("the provider for pages", () => {
  const settled = (value, more) => ({ value, enabled: Boolean(value), tier: "plan", reason: "PLAN", rule: null, variant: null, ...more });
  const snapshot = (rows = 1, more = {}) => ({
    tenant: { id: "t_acme", slug: "acme", plan: "pro@1" }, catalog: 1, epoch: 1,
    settled: {
      plan: settled(true), rows: settled(rows, { tier: "override", reason: "OVERRIDE" }), layout: settled({ columns: [1, { wide: null }] }),
      off: settled(false, { tier: "kill", reason: "KILLED" }), always: settled(true, { tier: "default", reason: "RULE", rule: "always" }),
    },
    features: {
      theme: { type: "string", default: "light", variants: { night: "dark" }, rules: [rule("dutch", "country", "eq", "NL", { variant: "night" }), rule("old", "since", "starts_with", "2024-02-03T", { value: "old" })] },
      checkout: { type: "string", default: "off", variants: { a: "A" }, rules: [{ name: "all", rollout: { split: [{ weight: 1, variant: "a" }] } }] },
    },
    ...more,
  });

  /** A gate, as far as pages ask it: what it says now, whether it can be reached, who has asked. */
  function source(body = snapshot()) {
    const changes = new EventEmitter();
    const state = { body, status: 200, offline: false, asked: [] };
    const tag = () => `"${createHash("sha256").update(JSON.stringify(state.body)).digest("hex")}"`;
    state.fetch = async (_, { headers, signal }) => {
      state.asked.push({ ...headers, signal });
      const same = () => headers["if-none-match"] === tag();
      const [, wait] = /^wait=(.+)$/.exec(headers.prefer) ?? [];
      if (wait && same() && !state.offline) {
        const enough = AbortSignal.any([signal, AbortSignal.timeout(wait * 1_000)]);
        await once(changes, "change", { signal: enough }).catch(() => signal.throwIfAborted());
      }
      if (state.offline) throw new TypeError("fetch failed");
      const { body, status } = state;
      if (status === 200 && same()) return new Response(null, { status: 304 });
      return new Response(typeof body === "object" ? JSON.stringify(body) : body, { status, headers: { etag: tag() } });
    };
    /** From now on it says something else, or nothing; who waits hears of it. */
    state.become = (change) => {
      Object.assign(state, change);
      changes.emit("change");
    };
    return state;
  }
  /** What keeps texts as a page's storage does. */
  const storage = (kept = new Map()) => ({ kept, getItem: (name) => kept.get(name) ?? null, setItem: (name, value) => { kept.set(name, value); } });
  const URL_HERE = "https://acme.app.example.com/_gate/v1/features";

  let pages = 0;
  /** A page: its flags, and all events that it hears of. `keeps`: its storage. */
  async function page({ from, keeps = null, context, ...more }) {
    const domain = `page-${++pages}`;
    const client = new FeatureClient({ url: URL_HERE, fetch: from.fetch, storage: keeps, waitS: 0.125, ...more });
    const flags = OpenFeatureWeb.getClient(domain);
    const heard = [];
    for (const event of Object.values(ClientProviderEvents)) flags.addHandler(event, ({ flagsChanged }) => heard.push(flagsChanged ? [event, ...flagsChanged] : event));
    const started = OpenFeatureWeb.setProviderAndWait(domain, new TenantgateWebProvider(client), context ?? {});
    const error = await started.then(() => null, (error) => error);
    return { domain, client, flags, heard, error };
  }
  afterEach(() => OpenFeatureWeb.clearProviders());
  const { Ready, Stale, ContextChanged, ConfigurationChanged } = ClientProviderEvents;

  test("has values of every type for the page's context, with why", async () => {
    const { flags } = await page({ from: source(), context: { targetingKey: "user-1", country: "NL", user: { nested: true } } });
    assert.deepEqual(flags.getStringDetails("theme", "none"), {
      flagKey: "theme", value: "dark", variant: "night", reason: "TARGETING_MATCH", flagMetadata: { tier: "default", reason: "RULE", rule: "dutch" },
    });
    assert.deepEqual(flags.getStringDetails("checkout", "none"), {
      flagKey: "checkout", value: "A", variant: "a", reason: "SPLIT", flagMetadata: { tier: "default", reason: "ROLLOUT", rule: "all" },
    });
    assert.deepEqual(flags.getNumberDetails("rows", 0), { flagKey: "rows", value: 1, reason: "TARGETING_MATCH", flagMetadata: { tier: "override", reason: "OVERRIDE" } });
    assert.deepEqual([flags.getBooleanValue("plan", false), flags.getObjectValue("layout", {})], [true, { columns: [1, { wide: null }] }]);
    assert.equal(flags.getBooleanDetails("off", true).reason, "DISABLED");
    for (const [key, code] of [["absent", "FLAG_NOT_FOUND"], ["theme", "TYPE_MISMATCH"], ["layout", "TYPE_MISMATCH"]]) {
      const { value, reason, errorCode } = flags.getNumberDetails(key, 42);
      assert.deepEqual([value, reason, errorCode], [42, "ERROR", code]);
    }
  });

  test("reads a snapshot of a tenant that has nothing", async () => {
    const { settled, features, ...nothing } = snapshot();
    for (const body of [{ ...nothing, settled: {}, features: {} }, nothing]) {
      const { flags, error } = await page({ from: source(body) });
      assert.deepEqual([error, flags.getBooleanDetails("plan", true).errorCode], [null, "FLAG_NOT_FOUND"]);
    }
  });

  test("evaluates anew where the context changes", async () => {
    const { domain, flags, heard } = await page({ from: source() });
    assert.deepEqual([flags.getStringValue("theme", ""), flags.getStringValue("checkout", "")], ["light", "off"]);
    for (const [context, theme] of [[{ country: "NL" }, "dark"], [{ since: new Date("2024-02-03T04:05:06Z") }, "old"], [{ country: { is: "NL" } }, "light"]]) {
      await OpenFeatureWeb.setContext(domain, context);
      assert.equal(flags.getStringValue("theme", ""), theme);
    }
    await OpenFeatureWeb.setContext(domain, { targetingKey: "user-1" });
    assert.equal(flags.getStringValue("checkout", ""), "A");
    assert.deepEqual(heard, [Ready, ContextChanged, ContextChanged, ContextChanged, ContextChanged]);
  });

  test("hears of what has changed for the page, of what is old, and of what is no longer", async () => {
    const from = source();
    const { client, flags, heard } = await page({ from, context: { country: "NL" } });
    assert.deepEqual([flags.providerStatus, heard], [ClientProviderStatus.READY, [Ready]]);
    // What changes for others only is no change here.
    const next = snapshot(2);
    next.features.theme.default = "pale";
    from.become({ body: next });
    await until(() => heard.length === 2);
    assert.deepEqual([heard[1], flags.getNumberValue("rows", 0)], [[ConfigurationChanged, "rows"], 2]);
    const { plan, ...fewer } = next.settled;
    from.become({ body: { ...next, settled: { ...fewer, "a-new-one": plan } } });
    await until(() => heard.length === 3);
    assert.deepEqual([heard[2].toSorted(), flags.getBooleanDetails("plan", true).errorCode], [[ConfigurationChanged, "a-new-one", "plan"], "FLAG_NOT_FOUND"]);
    from.become({ offline: true });
    await until(() => heard.length === 4);
    assert.deepEqual([heard[3], flags.providerStatus, flags.getNumberValue("rows", 0)], [Stale, ClientProviderStatus.STALE, 2]);
    from.become({ offline: false });
    await until(() => heard.length === 5);
    assert.deepEqual([heard[4], flags.providerStatus, client.stale], [Ready, ClientProviderStatus.READY, false]);
  });

  test("stays stale where the context changes meanwhile", async () => {
    const from = source();
    const { domain, flags } = await page({ from });
    from.become({ offline: true });
    await until(() => flags.providerStatus === ClientProviderStatus.STALE);
    await OpenFeatureWeb.setContext(domain, { country: "NL" });
    assert.equal(flags.getStringValue("theme", ""), "dark");
    await until(() => flags.providerStatus === ClientProviderStatus.STALE);
  });

  test("is stale where something dated of the tenant has passed, and nobody says what is so now", async () => {
    const { flags } = await page({ from: source(snapshot(1, { valid_until: "2020-01-01T00:00:00Z" })) });
    await until(() => flags.providerStatus === ClientProviderStatus.STALE);
    assert.equal(flags.getNumberValue("rows", 0), 1);
  });

  test("serves the last good snapshot where there is no network, until there is", async () => {
    const [from, keeps] = [source(), storage()];
    await page({ from, keeps });
    assert.equal(keeps.kept.size, 1);
    from.become({ offline: true });
    const { flags, heard, error } = await page({ from, keeps, context: { country: "NL" } });
    assert.equal(error, null);
    assert.deepEqual([flags.getStringValue("theme", ""), flags.getNumberValue("rows", 0)], ["dark", 1]);
    await until(() => flags.providerStatus === ClientProviderStatus.STALE);
    from.asked.length = 0;
    from.become({ offline: false });
    await until(() => flags.providerStatus === ClientProviderStatus.READY);
    assert.deepEqual(heard.slice(-3), [Ready, Stale, Ready]);
    assert.match(from.asked[0]["if-none-match"], /^"/, "what is held is not sent again");
  });

  test("does without storage that is corrupt, full or forbidden", async () => {
    const [good, broken] = [storage(), () => { throw new Error("forbidden"); }];
    await page({ from: source(), keeps: good });
    const [[name, text]] = good.kept;
    const kept = JSON.parse(text);
    const useless = () => [
      "{", "null", "7", "{}", JSON.stringify({ ...kept, json: "{}" }), JSON.stringify({ ...kept, json: kept.json.slice(1) }), JSON.stringify({ json: { ...snapshot() } }),
    ].map((value) => storage(new Map([[name, value]])));
    for (const keeps of [...useless(), { getItem: broken, setItem: broken }, { getItem: () => text, setItem: broken }]) {
      const { flags, error } = await page({ from: source(snapshot(3)), keeps });
      assert.deepEqual([error, flags.getNumberValue("rows", 0)], [null, 3]);
    }
    for (const keeps of [...useless(), { getItem: broken, setItem: broken }]) {
      const { flags, client, error } = await page({ from: { fetch: () => Promise.reject(new TypeError("fetch failed")) }, keeps });
      assert.deepEqual([error?.code, flags.providerStatus, flags.getNumberValue("rows", 42)], ["GATE_FAILED", ClientProviderStatus.ERROR, 42], String([...(keeps.kept?.values() ?? [])]));
      client.close();
    }
  });

  test("keeps for one caller what is no other's", async () => {
    const [from, keeps] = [source({ ...snapshot(), by_credential: true }), storage()];
    await page({ from, keeps, headers: { "x-api-key": "of acme" } });
    from.become({ offline: true });
    const { client, error } = await page({ from, keeps, headers: { "x-api-key": "of globex" } });
    client.close();
    assert.equal(error?.code, "GATE_FAILED");
  });

  test("takes no snapshot that cannot be read", async () => {
    for (const body of ["", "<html>", "{}", { ...snapshot(), settled: { plan: { value: true } } }, { ...snapshot(), features: { theme: { type: "colour" } } }]) {
      const { flags, error } = await page({ from: source(body) });
      assert.equal(error?.code, "GATE_FAILED", JSON.stringify(body));
      assert.deepEqual([flags.providerStatus, flags.getNumberValue("rows", 42)], [ClientProviderStatus.ERROR, 42]);
    }
    const [from, keeps] = [source(), storage()];
    const { flags, heard } = await page({ from, keeps });
    from.become({ body: "<html>" });
    await until(() => heard.length === 2);
    assert.deepEqual([heard[1], flags.getNumberValue("rows", 0)], [Stale, 1], "what was good serves");
    assert.equal(JSON.parse(JSON.parse([...keeps.kept.values()][0]).json).settled.rows.value, 1);
    from.become({ body: snapshot(5) });
    await until(() => flags.providerStatus === ClientProviderStatus.READY);
    assert.equal(flags.getNumberValue("rows", 0), 5);
  });

  test("believes no answer that is refused", async () => {
    for (const status of [401, 403, 404, 429, 500, 503]) {
      const from = source();
      from.become({ status });
      const { flags, client, error } = await page({ from });
      client.close();
      assert.deepEqual([error?.code, flags.getNumberValue("rows", 42)], ["GATE_FAILED", 42], String(status));
    }
    const from = source();
    const { flags } = await page({ from });
    from.become({ status: 403, body: snapshot(6) });
    await until(() => flags.providerStatus === ClientProviderStatus.STALE);
    assert.equal(flags.getNumberValue("rows", 0), 1);
    from.become({ status: 200 });
    await until(() => flags.providerStatus === ClientProviderStatus.READY);
    assert.equal(flags.getNumberValue("rows", 0), 6);
  });

  test("says in OpenFeature's words why it has no answer", async () => {
    const { flags, client } = await page({ from: { fetch: () => Promise.reject(new TypeError("fetch failed")) } });
    client.close();
    const unready = flags.getNumberDetails("rows", 42);
    assert.deepEqual([unready.value, Object.hasOwn(ErrorCode, unready.errorCode)], [42, true], unready.errorCode);
    const large = await page({ from: source(), context: { country: "x".repeat(70_000) } });
    assert.equal(large.flags.getStringDetails("theme", "").errorCode, ErrorCode.INVALID_CONTEXT);
  });

  test("is ready once the network is there that was not when it began", async () => {
    const from = source();
    let tries = 0;
    const { flags, error } = await page({ from: { fetch: (...asked) => (tries++ ? from.fetch(...asked) : Promise.reject(new TypeError("fetch failed"))) }, context: { country: "NL" } });
    assert.equal(error?.code, "GATE_FAILED");
    await until(() => from.asked.length > 1);
    const now = [flags.getNumberValue("rows", 0), flags.getStringValue("theme", ""), flags.providerStatus];
    assert.deepEqual(now, [1, "dark", ClientProviderStatus.READY], "by the context that it began with");
  });

  test("ends its connection when it is closed", async () => {
    const from = source();
    await page({ from, waitS: 25 });
    await until(() => from.asked.length === 2);
    assert.deepEqual([from.asked[1].prefer, from.asked[1].signal.aborted], ["wait=25", false]);
    await OpenFeatureWeb.clearProviders();
    assert.equal(from.asked[1].signal.aborted, true);
  });

  test("needs a client", () => {
    for (const client of [undefined, {}, snapshot()]) assert.throws(() => new TenantgateWebProvider(client), TypeError);
  });
});
