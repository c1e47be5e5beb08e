// The providers for the OpenFeature SDKs: over local and remote gates, and in pages with and
// without a network.

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

describe("the server provider", () => {
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

  /** Stands in for a Worker: a local gate decides, unless `fails` answers instead. */
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

  for (const [where, gate] of [["local", async () => open()], ["remote", elsewhere]]) {
    describe(`over a ${where} gate`, () => {
      test(`the server provider over a ${where} gate returns values of every type with their reasons`, async () => {
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
        assert.equal(await flags.getStringValue("checkout", "none", { tenant }), "off", "there is no targeting key");
        for (const [key, value, reason, tier, why] of [
          ["plan", true, "TARGETING_MATCH", "plan", "PLAN"], ["addon", true, "TARGETING_MATCH", "addon", "ADDON"], ["contract", true, "TARGETING_MATCH", "contract", "CONTRACT"],
          ["override", true, "TARGETING_MATCH", "override", "OVERRIDE"], ["default", true, "DEFAULT", "default", "DEFAULT"], ["killed", false, "DISABLED", "kill", "KILLED"],
          ["needs", false, "DISABLED", "default", "PREREQUISITE"],
        ]) assert.deepEqual(await flags.getBooleanDetails(key, !value, { tenant }), { flagKey: key, value, reason, flagMetadata: { tier, reason: why } });
        assert.equal((await flags.getBooleanDetails("always", false, { tenant })).flagMetadata.rule, "always");
      });

      test(`the server provider over a ${where} gate returns the caller's default with an error code`, async () => {
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

      test(`the server provider over a ${where} gate reads dates of a context and ignores nested values`, async () => {
        const flags = await connect(where, await gate());
        const theme = (context) => flags.getStringValue("theme", "none", { tenant, ...context });
        assert.equal(await theme({ since: new Date("2024-02-03T04:05:06Z") }), "old");
        assert.equal(await theme({ since: new Date(NaN), country: { is: "NL" }, roles: ["admin"], none: null, missing: undefined }), "light");
        OpenFeature.setContext({ tenant: "t_nobody", country: "NL" });
        assert.equal(await theme(), "dark", "the context of the call takes precedence over the global one");
        OpenFeature.setContext({});
      });
    });
  }

  test("the server provider reports INVALID_CONTEXT for a context that is too large", async () => {
    const flags = await connect("here", open());
    assert.equal((await flags.getStringDetails("theme", "none", { tenant, country: "x".repeat(70_000) })).errorCode, "INVALID_CONTEXT");
  });

  test("the server provider reports each change of the catalog or of a tenant once", async () => {
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

  test("the server provider stops listening to its gate when another provider replaces it", async () => {
    const listeners = new Set();
    const gate = open();
    gate.onChange = (listener) => listeners.add(listener) && (() => listeners.delete(listener));
    await connect("closing", gate);
    assert.equal(listeners.size, 1);
    await connect("closing", open());
    await until(() => listeners.size === 0);
  });

  describe("the server provider reports a failing gate once, and its recovery once", () => {
    for (const [how, answer] of [
      ["drops connections", (response) => response.destroy()], ["does not respond with JSON", (response) => response.writeHead(502).end("<html>")],
      ["responds with an error of another server", (response) => response.writeHead(503, { "content-type": "application/json" }).end('{"message": "no upstream"}')],
    ]) {
      test(`the server provider reports once that its gate ${how}, and once that it works again`, async () => {
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
        // The SDK calls a handler at once if its event has occurred, so this one is added only now.
        flags.addHandler(ServerProviderEvents.Ready, () => heard.push("ready"));
        for (let i = 0; i < 2; i++) assert.equal((await ask()).value, true);
        assert.deepEqual([heard.slice(1), flags.providerStatus], [["ready"], ServerProviderStatus.READY]);
      });
    }
    after(() => { fails = null; });
  });

  test("the server provider refuses anything but a gate", () => {
    for (const gate of [undefined, {}, catalog]) assert.throws(() => new TenantgateProvider(gate), TypeError);
  });
});

describe("the web provider", () => {
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

  /** A stand-in for the gate of a page: what it answers now, and the requests that it received. */
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
    /** Changes what it answers, and wakes the requests that wait. */
    state.become = (change) => {
      Object.assign(state, change);
      changes.emit("change");
    };
    return state;
  }
  /** A stand-in for a page's `localStorage`. */
  const storage = (kept = new Map()) => ({ kept, getItem: (name) => kept.get(name) ?? null, setItem: (name, value) => { kept.set(name, value); } });
  const URL_HERE = "https://acme.app.example.com/_gate/v1/features";

  let pages = 0;
  /** Opens a page. Returns its flags and the events that it receives. `keeps` is its storage. */
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

  test("the web provider returns values of every type with their reasons", async () => {
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

  test("the web provider reads a snapshot without features", async () => {
    const { settled, features, ...nothing } = snapshot();
    for (const body of [{ ...nothing, settled: {}, features: {} }, nothing]) {
      const { flags, error } = await page({ from: source(body) });
      assert.deepEqual([error, flags.getBooleanDetails("plan", true).errorCode], [null, "FLAG_NOT_FOUND"]);
    }
  });

  test("the web provider evaluates again when the context changes", async () => {
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

  test("the web provider reports changed values, a lost connection, and its return", async () => {
    const from = source();
    const { client, flags, heard } = await page({ from, context: { country: "NL" } });
    assert.deepEqual([flags.providerStatus, heard], [ClientProviderStatus.READY, [Ready]]);
    // The changed default of `theme` does not affect this page's context.
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

  test("the web provider stays stale when the context changes without a network", async () => {
    const from = source();
    const { domain, flags } = await page({ from });
    from.become({ offline: true });
    await until(() => flags.providerStatus === ClientProviderStatus.STALE);
    await OpenFeatureWeb.setContext(domain, { country: "NL" });
    assert.equal(flags.getStringValue("theme", ""), "dark");
    await until(() => flags.providerStatus === ClientProviderStatus.STALE);
  });

  test("the web provider is stale when the end of the snapshot's validity has passed", async () => {
    const { flags } = await page({ from: source(snapshot(1, { valid_until: "2020-01-01T00:00:00Z" })) });
    await until(() => flags.providerStatus === ClientProviderStatus.STALE);
    assert.equal(flags.getNumberValue("rows", 0), 1);
  });

  test("the web provider serves the stored snapshot until the network is back", async () => {
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
    assert.match(from.asked[0]["if-none-match"], /^"/, "the page sends the ETag of its snapshot");
  });

  test("the web provider works without storage that is corrupt, full or forbidden", async () => {
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

  test("the web provider does not serve a stored snapshot to a caller with another credential", async () => {
    const [from, keeps] = [source({ ...snapshot(), by_credential: true }), storage()];
    await page({ from, keeps, headers: { "x-api-key": "of acme" } });
    from.become({ offline: true });
    const { client, error } = await page({ from, keeps, headers: { "x-api-key": "of globex" } });
    client.close();
    assert.equal(error?.code, "GATE_FAILED");
  });

  test("the web provider refuses an invalid snapshot and keeps the last valid one", async () => {
    for (const body of ["", "<html>", "{}", { ...snapshot(), settled: { plan: { value: true } } }, { ...snapshot(), features: { theme: { type: "colour" } } }]) {
      const { flags, error } = await page({ from: source(body) });
      assert.equal(error?.code, "GATE_FAILED", JSON.stringify(body));
      assert.deepEqual([flags.providerStatus, flags.getNumberValue("rows", 42)], [ClientProviderStatus.ERROR, 42]);
    }
    const [from, keeps] = [source(), storage()];
    const { flags, heard } = await page({ from, keeps });
    from.become({ body: "<html>" });
    await until(() => heard.length === 2);
    assert.deepEqual([heard[1], flags.getNumberValue("rows", 0)], [Stale, 1], "the last valid snapshot is served");
    assert.equal(JSON.parse(JSON.parse([...keeps.kept.values()][0]).json).settled.rows.value, 1);
    from.become({ body: snapshot(5) });
    await until(() => flags.providerStatus === ClientProviderStatus.READY);
    assert.equal(flags.getNumberValue("rows", 0), 5);
  });

  test("the web provider ignores the body of a response with an error status", async () => {
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

  test("the web provider reports failures with error codes of OpenFeature", async () => {
    const { flags, client } = await page({ from: { fetch: () => Promise.reject(new TypeError("fetch failed")) } });
    client.close();
    const unready = flags.getNumberDetails("rows", 42);
    assert.deepEqual([unready.value, Object.hasOwn(ErrorCode, unready.errorCode)], [42, true], unready.errorCode);
    const large = await page({ from: source(), context: { country: "x".repeat(70_000) } });
    assert.equal(large.flags.getStringDetails("theme", "").errorCode, ErrorCode.INVALID_CONTEXT);
  });

  test("the web provider becomes ready when the network returns after a failed start", async () => {
    const from = source();
    let tries = 0;
    const { flags, error } = await page({ from: { fetch: (...asked) => (tries++ ? from.fetch(...asked) : Promise.reject(new TypeError("fetch failed"))) }, context: { country: "NL" } });
    assert.equal(error?.code, "GATE_FAILED");
    await until(() => from.asked.length > 1);
    const now = [flags.getNumberValue("rows", 0), flags.getStringValue("theme", ""), flags.providerStatus];
    assert.deepEqual(now, [1, "dark", ClientProviderStatus.READY], "evaluated with the context of the start");
  });

  test("the web provider aborts its request when it is closed", async () => {
    const from = source();
    await page({ from, waitS: 25 });
    await until(() => from.asked.length === 2);
    assert.deepEqual([from.asked[1].prefer, from.asked[1].signal.aborted], ["wait=25", false]);
    await OpenFeatureWeb.clearProviders();
    assert.equal(from.asked[1].signal.aborted, true);
  });

  test("the web provider refuses anything but a client", () => {
    for (const client of [undefined, {}, snapshot()]) assert.throws(() => new TenantgateWebProvider(client), TypeError);
  });
});
