// Options: JavaScript checks each option as the core does. An option that is misspelt, misplaced or
// empty is never ignored.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as jose from "jose";
import { FeatureClient } from "../../pkg/client/node.js";
import * as forExpress from "../../pkg/express.js";
import * as forHono from "../../pkg/hono.js";
import { ConfigurationError, DocumentError, InputError, configure, createQuotaMiddleware, createTenantMiddleware, handler, requireFeature } from "../../pkg/middleware.js";
import { Gate, RemoteGate, issueApiKey } from "../../pkg/node.js";

const SECRET = "a secret of thirty-two bytes or more";
const issuers = { main: { issuer: "main", audience: ["api"], algorithms: ["HS256"], tenants: "all", keys: [{ secret: "S" }] } };
const tenants = ["t_acme", "t_victim"].map((id) => ({ id, slug: id.slice(2), plan: "p@1" }));
const lookupTenant = (id) => tenants.find((tenant) => tenant.id === id) ?? null;
const verifyToken = async (token) => (await jose.jwtVerify(token, new TextEncoder().encode(SECRET), { issuer: "main", audience: "api" })).payload;
const sign = (claims) => new jose.SignJWT({ iss: "main", aud: "api", ...claims }).setExpirationTime("10m").setProtectedHeader({ alg: "HS256" }).sign(new TextEncoder().encode(SECRET));
const silent = () => ({ debug() {}, info() {}, warn() {}, error() {} });

const gateOf = (strategies, { apiKeys, ...resolution } = {}) => {
  const known = strategies.some(({ strategy }) => strategy === "jwt") ? { issuers } : {};
  return new Gate({ version: 1, resolution: { strategies, ...resolution }, ...known, plans: { "p@1": {} } }, tenants, { secrets: { S: SECRET }, ...(apiKeys && { apiKeys }) });
};
/** The tenant's id, or the code of the denial. */
const byGate = (gate, request) => {
  const { code, tenant } = gate.decide(request);
  return code === "ALLOWED" ? tenant.id : code;
};
const byConfig = async (config, request) => {
  const serve = handler((_, ctx) => ({ tenant: ctx.tenant.id }), { middleware: [createTenantMiddleware({ config, lookupTenant })], logger: silent });
  const { tenant, error } = await (await serve(request)).json();
  return tenant ?? error.code;
};

describe("the claim that names the tenant", () => {
  const URI = "https://acme.example/tenant_id";
  const id = "t_acme", other = "t_victim";
  const vectors = [
    ["tenant_id", { tenant_id: id }, id], ["tenant_id", { tenant: id }], ["org", { org: id }, id],
    // A claim with exactly this name comes first, even if the name looks like a path.
    [URI, { [URI]: id }, id], ["acme.tenant", { "acme.tenant": id }, id], ["org.id", { "org.id": id, org: { id: other } }, id],
    ["org.id", { "org.id": null, org: { id } }], ["org.id", { "org.id": 7, org: { id } }], ["org.id", { "org.id": { id }, org: { id } }],
    // Otherwise the name is a path through objects, and only through objects.
    ["org.id", { org: { id } }, id], ["a.b.c", { a: { b: { c: id } } }, id], ["a..b", { a: { "": { b: id } } }, id], ["a.", { a: { "": id } }, id],
    ["a.b.c", { "a.b": { c: id } }], ["a.b.c", { a: { "b.c": id } }], ["org.id", { org: [{ id }] }], ["org.0", { org: [id] }], ["org.0", { org: id }], ["org.length", { org: id }], ["org.id", { org: null }],
    ["https://acme.example/org", { "https://acme": { "example/org": id } }, id],
    // Inherited members of objects are not claims.
    ["constructor", {}], ["constructor.name", {}], ["__proto__", {}], ["toString", {}], ["org.constructor", { org: {} }], ["org.__proto__.id", { org: {} }],
    ["__proto__", JSON.parse(`{"__proto__": "${id}"}`), id], ["constructor.id", { constructor: { id } }, id],
    // The value must be a string and a valid id.
    ...[7, true, null, { id }, "", "../acme", "t acme", " t_acme", "é", "a".repeat(129)].map((value) => ["tenant_id", { tenant_id: value }]),
    ["tenant_id", { tenant_id: other }, other],
  ];
  for (const [claim, claims, right = "UNAUTHENTICATED"] of vectors) {
    test(`the claim ${claim} of ${JSON.stringify(claims).slice(0, 80)} gives ${right}`, async () => {
      // `SignJWT` copies the claims and would lose `__proto__`.
      const token = await signed(claims);
      const request = () => new Request("https://app.example.com/", { headers: { authorization: `Bearer ${token}` } });
      assert.equal(byGate(gateOf([{ strategy: "jwt", jwt_claim: claim }]), request()), right, "by the gate");
      assert.equal(await byConfig({ resolution: "jwt", jwtClaim: claim, verifyToken }, request()), right, "by the configuration");
    });
  }

  /** Signs claims without `jose`, as they are written. */
  async function signed(claims) {
    const part = (text) => Buffer.from(text).toString("base64url");
    const payload = JSON.stringify(claims).replace(/^\{/, `{"iss":"main","aud":"api","exp":${Math.floor(Date.now() / 1000) + 600}${Object.keys(claims).length ? "," : ""}`);
    const input = `${part('{"alg":"HS256"}')}.${part(payload)}`;
    const key = await crypto.subtle.importKey("raw", new TextEncoder().encode(SECRET), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
    return `${input}.${Buffer.from(await crypto.subtle.sign("HMAC", key, Buffer.from(input))).toString("base64url")}`;
  }
});

describe("options of strategies", () => {
  /** Strategy, name in a catalog, name in JavaScript, and values to try beside the wrong types. */
  const OPTIONS = [
    ["subdomain", "base_domains", "baseDomains", [["app.example.com"], ["a.example", "b.example"], [], ["APP.example.com"], ["https://example.com"], ["x:80"], "app.example.com"]],
    ["subdomain", "reserved", "reserved", [[], ["www"], ["x", 7], "www"]],
    ["path", "prefix", "pathPrefix", ["/w/", "/a/b/", "/", "w", "/w", "//", "/a b/"]],
    ["header", "header_name", "headerName", ["X-Org", "x_org", "X Org", "X-Org:", "Authorization", "cookie", "é"]],
    ["api_key", "header_name", "headerName", ["X-Org", "X Org", "Authorization"]],
    ["api_key", "header_name", "apiKeyHeader", ["X-Org", "X Org", "Authorization"]],
    ["query", "query_param", "queryParam", ["org", "o.r-g_1", "a b", "a[]", "tenant=", "é"]],
    ["jwt", "jwt_claim", "jwtClaim", ["org.id", "https://acme.example/org", "a".repeat(128), "a".repeat(129)]],
    ["jwt", "cookie_name", "cookieName", ["session", "__Host-s", "a;b", "a b", "é"]],
  ];
  const NEEDED = { subdomain: [{ base_domains: ["app.example.com"] }, { baseDomains: ["app.example.com"] }], jwt: [{}, { verifyToken }], api_key: [{}, { apiKeyLookup: () => null }] };
  /** The problems that the core reports; empty if the value was accepted. */
  const problemsOf = (run) => {
    try {
      run();
      return [];
    } catch (error) {
      assert(error instanceof DocumentError, String(error));
      return error.problems.map(({ path, found, expected }) => [path.replace("$.resolution", "$"), found, expected]);
    }
  };
  test("`reserved` of `path` is refused for the same reasons as in a catalog", async () => {
    for (const [prefix, reserved] of [["/", ["www"]], ["/", []], ["/", "www"], ["/", ["x", 7]], ["/t/", ["www"]], [undefined, ["www"]]]) {
      const wrong = problemsOf(() => gateOf([{ strategy: "path", prefix, reserved }]));
      const config = { resolution: "path", pathPrefix: prefix, reserved };
      assert.deepEqual(problemsOf(() => createTenantMiddleware({ config, lookupTenant })), wrong, JSON.stringify([prefix, reserved]));
      assert.equal(wrong.length > 0, prefix !== "/" || !Array.isArray(reserved) || reserved.includes(7));
    }
  });

  for (const [strategy, name, option, values] of OPTIONS) {
    test(`\`${option}\` of \`${strategy}\` is refused for the same reasons as \`${name}\` in a catalog`, () => {
      const [own, here] = NEEDED[strategy] ?? [{}, {}];
      for (const value of [...values, null, "", 7, true, {}, [7]]) {
        const wrong = problemsOf(() => gateOf([{ strategy, ...own, [name]: value }]));
        assert.deepEqual(problemsOf(() => createTenantMiddleware({ config: { resolution: strategy, ...here, [option]: value }, lookupTenant })), wrong, `${JSON.stringify(value)}`);
      }
      assert.deepEqual(problemsOf(() => gateOf([{ strategy, ...own, [name]: values[0] }])), [], "the first value is accepted");
    });

    test(`\`${option}\` is refused without the strategy \`${strategy}\`, as \`${name}\` is in a catalog`, () => {
      const other = strategy === "query" ? "header" : "query";
      assert(problemsOf(() => gateOf([{ strategy: other, [name]: values[0] }])).length > 0);
      assert.throws(() => createTenantMiddleware({ config: { resolution: other, [option]: values[0] }, lookupTenant }), (error) => error instanceof ConfigurationError && error.message.includes(`\`${option}\` belongs to \``));
    });
  }

  test("`mode` and `centralHosts` are refused for the same reasons as in a catalog", () => {
    for (const [name, option, values] of [["mode", "mode", ["agree", "first", "any", null, 7]], ["central_hosts", "centralHosts", [[], ["api.example.com"], ["http://x"], "x", null, 7]]]) {
      for (const value of values) {
        const wrong = problemsOf(() => gateOf([{ strategy: "header" }], { [name]: value }));
        assert.deepEqual(problemsOf(() => createTenantMiddleware({ config: { resolution: "header", [option]: value }, lookupTenant })), wrong, JSON.stringify(value));
      }
    }
  });

  test("functions and `credentials` are refused without a strategy that uses them", () => {
    for (const more of [{ verifyToken }, { apiKeyLookup: () => null }, { domainLookup: () => null }, { customResolver: () => null }, { credentials: "required" }]) {
      assert.throws(() => createTenantMiddleware({ config: { resolution: "header", ...more }, lookupTenant }), (error) => error instanceof ConfigurationError && error.message.includes(`\`${Object.keys(more)[0]}\` belongs to`));
    }
  });

  test("`apiKeyHeader` names the header of the API key apart from the tenant's header", async () => {
    const { key, record } = issueApiKey({ tenant: "t_acme" });
    const apiKeyLookup = (text) => (text === key ? tenants[0] : null);
    const ask = async (strategies, config, headers) => {
      const request = () => new Request("https://app.example.com/", { headers });
      const right = byGate(gateOf(strategies, { apiKeys: [record] }), request());
      assert.equal(await byConfig({ apiKeyLookup, ...config }, request()), right);
      return right;
    };
    const alone = [[{ strategy: "api_key", header_name: "X-Key" }], { resolution: "api_key", headerName: "X-Key" }];
    assert.deepEqual([await ask(...alone, { "x-key": key }), await ask(...alone, { "x-api-key": key })], ["t_acme", "UNAUTHENTICATED"]);
    const named = [alone[0], { resolution: "api_key", apiKeyHeader: "X-Key" }];
    assert.deepEqual([await ask(...named, { "x-key": key }), await ask(...named, { "x-api-key": key })], ["t_acme", "UNAUTHENTICATED"]);
    const header = { strategy: "header", header_name: "X-Org", identifies: "id" };
    const usual = [[header, { strategy: "api_key" }], { resolution: ["header", "api_key"], headerName: "X-Org" }];
    assert.equal(await ask(...usual, { "x-org": "t_acme", "x-api-key": key }), "t_acme");
    const both = [[header, { strategy: "api_key", header_name: "X-Key" }], { resolution: ["header", "api_key"], headerName: "X-Org", apiKeyHeader: "X-Key" }];
    assert.deepEqual([await ask(...both, { "x-org": "t_acme", "x-key": key }), await ask(...both, { "x-org": "t_victim", "x-key": key })], ["t_acme", "TENANT_MISMATCH"]);
    assert.throws(() => createTenantMiddleware({ config: { resolution: ["header", "api_key"], headerName: "X-Key", apiKeyHeader: "X-Key", apiKeyLookup }, lookupTenant }), DocumentError);
  });
});

describe("unknown options", () => {
  const url = "https://gate.example.com", token = "t";
  const config = { resolution: "header" };
  const gate = gateOf([{ strategy: "header" }]);
  const refused = {
    Gate: [InputError, () => new Gate({ version: 1, resolution: { strategies: [{ strategy: "header" }] }, plans: { "p@1": {} } }, [], { apikeys: [] }), /unknown option `apikeys` of `Gate`: the options are keys, secrets, apiKeys, environment/],
    RemoteGate: [InputError, () => new RemoteGate({ url, token, fetcher: () => {} }), /unknown option `fetcher` of `RemoteGate`/],
    FeatureClient: [InputError, () => new FeatureClient({ waitMs: 1 }), /unknown option `waitMs` of `FeatureClient`/],
    configure: [InputError, () => configure({ authentication: () => null }), /unknown option `authentication` of `configure`/],
    handler: [InputError, () => handler(() => 1, { scope: ["admin"] }), /unknown option `scope` of `handler`/],
    createQuotaMiddleware: [InputError, () => createQuotaMiddleware({ quotaKey: "q", checkusage: () => 1 }), /unknown option `checkusage`/],
    "config of createTenantMiddleware": [ConfigurationError, () => createTenantMiddleware({ config: { ...config, header_name: "X-Org" }, lookupTenant }), /unknown option `header_name`/],
    ...Object.fromEntries(Object.entries({ fetch: { createTenantMiddleware, requireFeature }, Hono: forHono, Express: forExpress }).flatMap(([name, module]) => [
      [`createTenantMiddleware of ${name}`, [InputError, () => module.createTenantMiddleware({ gate, customresolver: () => null }), /unknown option `customresolver`/]],
      [`requireFeature of ${name}`, [InputError, () => module.requireFeature("f", { gates: gate }), /unknown option `gates`/]],
    ])),
  };
  for (const [what, [type, run, message]] of Object.entries(refused)) {
    test(`an unknown option of ${what} is refused and named`, () => assert.throws(run, (error) => error instanceof type && message.test(error.message)));
  }
});

describe("a remote gate", () => {
  const url = "https://gate.example.com", token = "operator-token";
  const allowed = { allowed: true, code: "ALLOWED", tenant: null, features: {}, limits: [] };
  const ask = (gate) => gate.ask({ tenant: "t_acme" });

  test("a remote gate sends requests by a given function, a service binding, or the runtime's current `fetch`", async (t) => {
    const asked = [];
    // Like the runtime's `fetch`, it refuses to be called as a method of another object.
    function loose(...given) {
      assert.equal(this, undefined, "Illegal invocation");
      asked.push(["loose", ...given]);
      return Promise.resolve(Response.json(allowed));
    }
    class Binding {
      #mine = "binding";
      fetch(...given) {
        asked.push([this.#mine, ...given]);
        return Promise.resolve(Response.json(allowed));
      }
    }
    const usual = new RemoteGate({ url, token });
    t.mock.method(globalThis, "fetch", async (...given) => { asked.push(["own", ...given]); return Response.json(allowed); });
    for (const gate of [new RemoteGate({ url, token, fetch: loose }), new RemoteGate({ url, token, service: new Binding() }), usual]) await ask(gate);
    assert.deepEqual(asked.map(([who, to, init, ...more]) => [who, to, init.headers.authorization, more.length]), ["loose", "binding", "own"].map((who) => [who, `${url}/_gate/v1/decide`, `Bearer ${token}`, 0]));
  });

  test("a remote gate refuses a missing `fetch` or `service`, so that its token does not go elsewhere", (t) => {
    const sent = t.mock.method(globalThis, "fetch", async () => Response.json(allowed));
    const env = {};
    for (const fetch of [env.GATE?.fetch, undefined, null, {}, "fetch", 7, { fetch() {} }]) {
      assert.throws(() => new RemoteGate({ url, token, fetch }), (error) => error instanceof InputError && /^`fetch` is .+, not a function: omit it to use the runtime's own$/.test(error.message));
      assert.throws(() => new FeatureClient({ url, fetch, storage: null }), (error) => error instanceof InputError && error.message.startsWith("`fetch` is "));
    }
    for (const service of [env.GATE, null, {}, () => {}, "GATE"]) {
      assert.throws(() => new RemoteGate({ url, token, service }), (error) => error instanceof InputError && /^`service` is .+, not a service binding/.test(error.message));
    }
    assert.throws(() => new RemoteGate({ url, token, service: { fetch() {} }, fetch() {} }), InputError);
    assert.equal(sent.mock.callCount(), 0);
  });

  test("in Workers, a remote gate refuses the `fetch` of a binding without its binding", (t) => {
    const navigator = Object.getOwnPropertyDescriptor(globalThis, "navigator");
    t.after(() => Object.defineProperty(globalThis, "navigator", navigator));
    Object.defineProperty(globalThis, "navigator", { value: { userAgent: "Cloudflare-Workers" }, configurable: true });
    // A native function, whose source text is like that of a binding's method.
    const native = Array.prototype.at;
    const fetch = new Proxy(native, { get: (target, name) => (name === "name" ? "fetch" : target[name]) });
    assert.throws(() => new RemoteGate({ url, token, fetch }), (error) => error instanceof InputError && error.message.includes("`service: env.GATE`"));
    new RemoteGate({ url, token, fetch: globalThis.fetch });
    new RemoteGate({ url, token, fetch: native.bind([]) });
    new RemoteGate({ url, token, fetch: async () => Response.json(allowed) });
  });

  test("`RemoteGate` and `FeatureClient` refuse a runtime without `fetch`", (t) => {
    const { fetch } = globalThis;
    t.after(() => { globalThis.fetch = fetch; });
    globalThis.fetch = undefined;
    for (const run of [() => new RemoteGate({ url, token }), () => new FeatureClient({ url, storage: null })]) assert.throws(run, (error) => error instanceof InputError && /no `fetch`/.test(error.message));
  });

  test("a remote gate refuses a URL, token, headers or timeout with which every request would fail", () => {
    const wrong = [
      undefined, null, 7, {}, { url }, { token }, { url: "gate.example.com", token }, { url: "localhost:8787", token }, { url: "ftp://gate.example.com", token }, { url: "https://", token },
      { url, token: `${token}\n` }, { url, token: `Bearer ${token}` }, { url, token: "tökén" }, { url, token: 7 },
      { url, token, headers: "x-org" }, { url, token, headers: null }, { url, token, headers: [7] },
      ...[0, -1, NaN, Infinity, "2000", null, 2 ** 31].map((timeoutMs) => ({ url, token, timeoutMs })),
    ];
    for (const options of wrong) assert.throws(() => new RemoteGate(options), InputError, JSON.stringify(options));
    new RemoteGate({ url: new URL(url), token, headers: [], timeoutMs: 1 });
  });

  test("a remote gate sends the headers that decide whether a cookie counts, and decides like a local gate", async () => {
    const cookies = gateOf([{ strategy: "jwt", cookie_name: "session" }]);
    const session = await sign({ tenant_id: "t_acme" });
    const remotes = [{}, { headers: ["Cookie"] }].map((more) => new RemoteGate({ url, token, ...more, fetch: async (_, { body }) => Response.json(cookies.ask(body).decision) }));
    const cases = [
      ["GET", {}, "ALLOWED"], ["POST", { "sec-fetch-site": "same-origin" }, "ALLOWED"], ["POST", { origin: "https://app.example.com" }, "ALLOWED"],
      ["POST", {}, "UNAUTHENTICATED"], ["POST", { "sec-fetch-site": "cross-site" }, "UNAUTHENTICATED"], ["POST", { origin: "https://evil.example" }, "UNAUTHENTICATED"],
      // A WebSocket from another site would act for the user who has the page open.
      ["GET", { upgrade: "websocket", origin: "https://evil.example" }, "UNAUTHENTICATED"], ["GET", { upgrade: "websocket", "sec-fetch-site": "cross-site" }, "UNAUTHENTICATED"],
    ];
    for (const [method, headers, right] of cases) {
      const request = { url: "/", method, headers: { host: "app.example.com", cookie: `session=${session}`, ...headers } };
      assert.equal(cookies.decide(request).code, right);
      for (const remote of remotes) assert.equal((await remote.decide(request)).code, right, `${method} ${JSON.stringify(headers)}`);
    }
  });
});
