// The middleware through each framework, by a gate and by a configuration with a lookup: the same requests, the same answers.

import assert from "node:assert/strict";
import { request as connect } from "node:http";
import { after, before, describe, test } from "node:test";
import express from "express";
import { Hono } from "hono";
import * as jose from "jose";
import { CODES } from "../../pkg/codes.js";
import * as forExpress from "../../pkg/express.js";
import * as forHono from "../../pkg/hono.js";
import * as forFetch from "../../pkg/middleware.js";
import { memory } from "../../pkg/module.js";
import { Gate, InputError, issueApiKey } from "../../pkg/node.js";
import { serve as serveHttp } from "../support/server.mjs";
import { until } from "../support/wait.mjs";

const BASE = "app.example.com";

// Frameworks: each with the middleware before one handler. What the handler does is a generator of what it answers, so that
// the same one runs everywhere; a client sends requests as they are written, and reads the answer piece by piece.

async function* whoAmI({ tenant }) {
  yield JSON.stringify({ tenant: tenant.id });
}
const streamed = (chunks) => ReadableStream.from(chunks).pipeThrough(new TextEncoderStream());
const silent = () => ({ debug() {}, info() {}, warn() {}, error() {} });

const frameworks = {
  fetch: (options, work = whoAmI, { scopes = [], logger = silent } = {}) => {
    const middleware = [forFetch.createTenantMiddleware(options)];
    return overFetch(forFetch.handler((_body, ctx) => new Response(streamed(work({ ...ctx, tenant: forFetch.getCurrentTenant(ctx) }))), { middleware, scopes, logger }));
  },
  hono: (options, work = whoAmI) => {
    const app = new Hono();
    app.use(forHono.createTenantMiddleware(options));
    app.all("*", (c) => c.body(streamed(work({ ...c.var, tenant: forFetch.getCurrentTenant(c) }))));
    app.onError(forHono.onError);
    return overFetch(app.fetch);
  },
  express: (options, work = whoAmI) => {
    const app = express();
    app.use(forExpress.createTenantMiddleware(options));
    app.use((req, res) => answer(res, work({ ...req, tenant: forFetch.getCurrentTenant(req) })));
    app.use(forExpress.errorHandler);
    return overPort(app);
  },
  http: (options, work = whoAmI) => {
    const middleware = forExpress.createTenantMiddleware(options);
    return overPort((req, res) => middleware(req, res, (error) => {
      if (error) return forExpress.errorHandler(error, req, res, () => res.writeHead(500).end());
      answer(res, work({ ...req, tenant: forFetch.getCurrentTenant(req) }));
    }));
  },
};
const onNode = new Set(["express", "http"]);

async function answer(res, chunks) {
  try {
    for await (const chunk of chunks) res.write(chunk);
    res.end();
  } catch {
    res.destroy();
  }
}

/** A client of a `fetch` handler. What no URL can say is not sent: status 0. */
function overFetch(fetch) {
  return client(async ({ method = "GET", host = BASE, target = "/", headers = [], body }) => {
    if (!URL.canParse(`http://${host}${target}`)) return { status: 0, headers: {}, read: async () => undefined };
    const response = await fetch(new Request(`http://${host}${target}`, { method, headers, body }));
    // A runtime sends nobody the body of an answer to HEAD; a denial has none by itself.
    const reader = method === "HEAD" && response.ok ? undefined : response.body?.pipeThrough(new TextDecoderStream()).getReader();
    return {
      status: response.status, headers: Object.fromEntries(response.headers),
      read: async () => (await reader?.read())?.value,
      leave: () => reader.cancel(),
    };
  });
}

/** A client of a server on a real port; nothing is normalised on the way. */
async function overPort(listener) {
  const { port, stop } = await serveHttp(listener);
  const open = ({ method = "GET", host = BASE, target = "/", headers = [], body }) => new Promise((resolve, reject) => {
    const pairs = [["Host", host], ...headers, ["Connection", "close"]].flat();
    const sent = connect({ port, host: "127.0.0.1", method, path: target, setHost: false, headers: pairs }, (response) => {
      const chunks = response.setEncoding("utf8")[Symbol.asyncIterator]();
      resolve({
        status: response.statusCode, headers: response.headers,
        read: async () => (await chunks.next()).value,
        leave: () => sent.destroy(),
      });
    });
    sent.on("error", reject).end(body);
  });
  return { ...client(open), port, stop };
}

const client = (open) => ({
  open,
  stop: async () => {},
  send: async (request) => {
    const { status, headers, read } = await open(request);
    let body = "";
    for (let chunk; (chunk = await read()) !== undefined;) body += chunk;
    return { status, headers, body };
  },
});

/** A framework that stops with the test. */
async function serve(t, name, ...more) {
  const app = await frameworks[name](...more);
  t.after(app.stop);
  return app;
}

/** Checks an answer: the id of the tenant that is served, or the code of a denial. */
function check({ status, headers, body }, right, about) {
  if (!(right in CODES)) return assert.deepEqual([status, body && JSON.parse(body).tenant], [200, right], about);
  assert.equal(status, CODES[right][0], `${about}: ${body}`);
  if (body !== "") assert.equal(JSON.parse(body).error.code, right, about);
  assert.equal(headers["content-type"], "application/json", about);
  assert.equal(headers["cache-control"], "private, no-store", about);
  if (status === 401) assert.match(headers["www-authenticate"], /realm="tenantgate"/, about);
}

// Ids are slugs here, so that one request names the same tenant by either.
const statuses = { acme: "active", victim: "active", suspended: "suspended", inactive: "inactive", setup: "provisioning", repair: "maintenance", gone: "deleted" };
const tenants = Object.entries(statuses).map(([slug, status]) => ({
  id: slug, slug, plan: "pro@1", status, domains: [{ host: `www.${slug}.test`, state: "verified" }, { host: `new.${slug}.test`, state: "pending" }],
}));
const lookupTenant = async (id) => tenants.find((tenant) => tenant.id === id) ?? null;
const domainLookup = async (host) => tenants.find(({ slug }) => host === `www.${slug}.test`)?.id ?? null;

const slugs = [...Object.keys(statuses), "nobody"];
const keys = Object.fromEntries(slugs.map((slug) => [slug, issueApiKey({ tenant: slug, scopes: ["api.read"] })]));
const apiKeyLookup = async (text) => {
  const owner = slugs.find((slug) => keys[slug].key === text);
  return owner ? { ...(await lookupTenant(owner)), scopes: ["api.read"] } : null;
};

const JWKS = "https://id.example.com/keys";
const { publicKey, privateKey } = await jose.generateKeyPair("ES256");
const stranger = await jose.generateKeyPair("ES256");
const jwks = { keys: [{ ...(await jose.exportJWK(publicKey)), kid: "k" }] };
const now = Math.floor(Date.now() / 1000);
const sign = (claims, key = privateKey) => new jose.SignJWT({ iss: "main", aud: "api", sub: "alice", scope: "api.read", exp: now + 600, ...claims }).setProtectedHeader({ alg: "ES256", kid: "k" }).sign(key);
const tokens = Object.fromEntries(await Promise.all(slugs.map(async (slug) => [slug, await sign({ tenant_id: slug, org: { id: slug } })])));
const verifyToken = async (token) => (await jose.jwtVerify(token, publicKey, { issuer: "main", audience: "api" })).payload;
const bearer = (token) => ({ headers: [["Authorization", `Bearer ${token}`]] });
const issuers = (more = {}) => ({ main: { issuer: "main", audience: ["api"], algorithms: ["ES256"], tenants: "all", jwks_url: JWKS, ...more } });

const whoHeader = (request) => (typeof request.headers.get === "function" ? request.headers.get("x-who") : (request.headers["x-who"] ?? null));

function gateOf(strategies, { catalog = {}, ...options } = {}) {
  const base = { version: 1, resolution: { strategies }, plans: { "pro@1": {} } };
  return new Gate({ ...base, ...catalog }, tenants, { keys: { [JWKS]: jwks }, apiKeys: Object.values(keys).map(({ record }) => record), ...options });
}

/**
 * Every strategy: how `strategy` of a catalog and `config` say it, a request that names a tenant, what else there is to try.
 * Without `strategy` there is no gate that does the same.
 */
const strategies = {
  "subdomain": {
    strategy: { strategy: "subdomain", base_domains: [BASE] }, config: { resolution: "subdomain", baseDomains: [BASE] },
    named: (slug) => ({ host: `${slug}.${BASE}` }),
    more: [
      [{ host: `ACME.App.Example.Com:8443` }, "acme"], [{ host: `acme.${BASE}.` }, "acme"], [{ host: `www.${BASE}` }, "TENANT_NOT_FOUND"],
      [{ host: `x.acme.${BASE}` }, "TENANT_NOT_FOUND"], [{ host: "acme.example.net" }, "TENANT_NOT_FOUND"], [{ host: "localhost" }, "TENANT_NOT_FOUND"],
    ],
  },
  "subdomain without base domains": {
    config: { resolution: "subdomain" },
    named: (slug) => ({ host: `${slug}.${BASE}` }),
    more: [
      [{ host: "acme.example.net:8443" }, "acme"], [{ host: "acme.a.b.c.example.net" }, "acme"], [{ host: "www.example.com" }, "TENANT_NOT_FOUND"],
      [{ host: "example.com" }, "TENANT_NOT_FOUND"], [{ host: "acme.localhost" }, "TENANT_NOT_FOUND"], [{ host: "10.0.0.7" }, "TENANT_NOT_FOUND"],
      [{ host: "[::1]:80" }, "TENANT_NOT_FOUND"],
    ],
  },
  "custom_domain": {
    strategy: { strategy: "custom_domain", domain_lookup: "index" }, config: { resolution: "custom-domain", domainLookup },
    named: (slug) => ({ host: `www.${slug}.test` }),
    more: [[{ host: "WWW.Acme.Test.:443" }, "acme"], [{ host: "new.acme.test" }, "TENANT_NOT_FOUND"], [{ host: "x.www.acme.test" }, "TENANT_NOT_FOUND"]],
  },
  "path": {
    strategy: { strategy: "path" }, config: { resolution: "path" },
    named: (slug) => ({ target: `/t/${slug}/api/tasks` }),
    more: [[{ target: "/t/acme" }, "acme"], [{ target: "/t/%61cme/" }, "acme"], [{ target: "/T/acme" }, "TENANT_NOT_FOUND"], [{ target: "/t/a%20b" }, "BAD_REQUEST"], [{ target: "/t/" }, "BAD_REQUEST"]],
  },
  "path under a prefix of its own": {
    strategy: { strategy: "path", prefix: "/w/" }, config: { resolution: "path", pathPrefix: "/w/" },
    named: (slug) => ({ target: `/w/${slug}` }), more: [[{ target: "/t/acme" }, "TENANT_NOT_FOUND"]],
  },
  "header": {
    strategy: { strategy: "header" }, config: { resolution: "header" },
    named: (slug) => ({ headers: [["X-Tenant-ID", slug]] }),
    more: [
      [{ headers: [["x-tenant-id", "  acme "]] }, "acme"], [{ headers: [["X-Tenant-ID", "acme, victim"]] }, "TENANT_AMBIGUOUS"],
      [{ headers: [["X-Tenant-ID", ""]] }, "BAD_REQUEST"], [{ headers: [["X-Org", "acme"]] }, "TENANT_NOT_FOUND"],
    ],
  },
  "header of its own": {
    strategy: { strategy: "header", header_name: "X-Org" }, config: { resolution: "header", headerName: "X-Org" },
    named: (slug) => ({ headers: [["x-org", slug]] }), more: [[{ headers: [["X-Tenant-ID", "acme"]] }, "TENANT_NOT_FOUND"]],
  },
  "query": {
    strategy: { strategy: "query" }, config: { resolution: "query" },
    named: (slug) => ({ target: `/hook?event=1&tenant=${slug}` }),
    more: [[{ target: "/?tenant=acme&tenant=victim" }, "TENANT_AMBIGUOUS"], [{ target: "/?tenant=" }, "BAD_REQUEST"], [{ target: "/?org=acme" }, "TENANT_NOT_FOUND"]],
  },
  "query of its own": {
    strategy: { strategy: "query", query_param: "org" }, config: { resolution: "query", queryParam: "org" },
    named: (slug) => ({ target: `/?org=${slug}` }), more: [[{ target: "/?tenant=acme" }, "TENANT_NOT_FOUND"]],
  },
  "jwt": {
    strategy: { strategy: "jwt" }, issuers: issuers(), config: { resolution: "jwt", verifyToken },
    named: (slug) => bearer(tokens[slug]), unnamed: "UNAUTHENTICATED",
    more: [
      [bearer(await sign({ tenant_id: "acme" }, stranger.privateKey)), "UNAUTHENTICATED"], [bearer(await sign({ tenant_id: "acme", exp: now - 600 })), "UNAUTHENTICATED"],
      [bearer(await sign({ tenant_id: "acme", aud: "billing" })), "UNAUTHENTICATED"], [bearer(await sign({})), "UNAUTHENTICATED"],
      [bearer(await sign({ tenant_id: 7 })), "UNAUTHENTICATED"],
      [bearer(await sign({ tenant_id: ["acme"] })), "UNAUTHENTICATED"], [bearer("x.y.z"), "UNAUTHENTICATED"], [{ headers: [["Authorization", "Basic YTpi"]] }, "UNAUTHENTICATED"],
      [{ headers: [["Cookie", `session=${tokens.acme}`]] }, "UNAUTHENTICATED"],
    ],
  },
  "jwt with a claim and a cookie of its own": {
    strategy: { strategy: "jwt", cookie_name: "session", jwt_claim: "org.id" }, issuers: issuers({ tenant_claim: "org.id" }),
    config: { resolution: "jwt", verifyToken, jwtClaim: "org.id", cookieName: "session" },
    named: (slug) => ({ headers: [["Cookie", `a=b; session=${tokens[slug]}`]] }), unnamed: "UNAUTHENTICATED",
    more: [[bearer(tokens.acme), "acme"], [bearer(await sign({ tenant_id: "acme" })), "UNAUTHENTICATED"], [bearer(await sign({ org: { id: null } })), "UNAUTHENTICATED"]],
  },
  "api_key": {
    strategy: { strategy: "api_key" }, config: { resolution: "api-key", apiKeyLookup },
    named: (slug) => ({ headers: [["X-API-Key", keys[slug].key]] }), unnamed: "UNAUTHENTICATED",
    more: [[{ headers: [["X-API-Key", "tg_live_x"]] }, "UNAUTHENTICATED"], [{ headers: [["X-API-Key", `${keys.acme.key},${keys.victim.key}`]] }, "TENANT_AMBIGUOUS"]],
  },
  "custom": {
    strategy: { strategy: "custom" }, config: { resolution: "custom", customResolver: async (request) => whoHeader(request) },
    named: (slug) => ({ headers: [["X-Who", slug]] }), more: [[{ headers: [["X-Who", "../acme"]] }, "BAD_REQUEST"]],
    // What the application's own resolver says is part of the question.
    asked: (gate) => ({ question: (request) => ({ ...gate.question(request), custom: whoHeader(request) ?? undefined }), ask: (question) => gate.ask(question) }),
  },
};

describe("every strategy", () => {
  for (const [name, { strategy, issuers, config, named, unnamed = "TENANT_NOT_FOUND", more, asked = (gate) => gate }] of Object.entries(strategies)) {
    const forms = { config: () => ({ config, lookupTenant }), ...(strategy && { gate: () => ({ gate: asked(gateOf([strategy], { catalog: issuers && { issuers } })) }) }) };
    for (const framework of Object.keys(frameworks)) {
      for (const form of Object.keys(forms)) {
        test(`${name}, ${framework}, by ${form}`, async (t) => {
          const { send } = await serve(t, framework, forms[form]());
          const cases = [
            [named("acme"), "acme"], [named("victim"), "victim"], [named("nobody"), "TENANT_NOT_FOUND"], [{}, unnamed],
            [named("suspended"), "TENANT_SUSPENDED"], [named("inactive"), "TENANT_INACTIVE"], [named("gone"), "TENANT_NOT_FOUND"],
            [named("setup"), "TENANT_PROVISIONING"], [named("repair"), "TENANT_MAINTENANCE"], ...more,
          ];
          for (const [request, right] of cases) check(await send(request), right, JSON.stringify(request));
        });
      }
    }
  }
});

// Several places at once, each of which names a tenant of its own.
const everywhere = {
  strategies: [
    { strategy: "subdomain", base_domains: [BASE] }, { strategy: "custom_domain", domain_lookup: "index" }, { strategy: "path" }, { strategy: "header" },
    { strategy: "query" }, { strategy: "jwt" }, { strategy: "api_key" },
  ],
  config: {
    credentials: "optional", resolution: ["subdomain", "custom_domain", "path", "header", "query", "jwt", "api_key"], baseDomains: [BASE], centralHosts: ["api.example.com"], domainLookup, verifyToken, apiKeyLookup,
  },
};
const allForms = {
  config: () => ({ config: everywhere.config, lookupTenant }),
  // Where no credential is needed, as the configuration needs none.
  gate: () => ({
    gate: gateOf([], {
      catalog: {
        resolution: { strategies: everywhere.strategies, central_hosts: ["api.example.com"] }, issuers: issuers(), routes: [{ path: "/", auth: "none", limits: { calls: 1 } }],
        limits: { calls: { kind: "quota", period: "month", default: 1_000_000 } },
      },
    }),
  }),
};

describe("signals that disagree", () => {
  const places = {
    host: (slug) => ({ host: `${slug}.${BASE}` }), path: (slug) => ({ target: `/t/${slug}/x` }), header: (slug) => ({ headers: [["X-Tenant-ID", slug]] }),
    query: (slug) => ({ target: `/?tenant=${slug}` }), token: (slug) => bearer(tokens[slug]), key: (slug) => ({ headers: [["X-API-Key", keys[slug].key]] }),
  };
  const central = { host: "api.example.com" };
  const both = (one, other) => ({ ...central, ...one, ...other, headers: [...(one.headers ?? []), ...(other.headers ?? [])] });
  for (const framework of Object.keys(frameworks)) {
    for (const form of Object.keys(allForms)) {
      test(`${framework}, by ${form}`, async (t) => {
        const { send } = await serve(t, framework, allForms[form]());
        for (const [first, one] of Object.entries(places)) {
          for (const [second, other] of Object.entries(places)) {
            if (first === second || one("acme").target && other("acme").target) continue;
            check(await send(both(one("acme"), other("acme"))), "acme", `${first} and ${second} agree`);
            check(await send(both(one("acme"), other("victim"))), "TENANT_MISMATCH", `${first} says acme, ${second} victim`);
            check(await send(both(one("acme"), other("nobody"))), "TENANT_NOT_FOUND", `${first} says acme, ${second} nobody`);
          }
        }
      });
    }
  }

  test("with `mode: \"first\"` the first that is there decides, even where it names nobody", async (t) => {
    const { send } = await serve(t, "fetch", { config: { resolution: ["header", "query"], mode: "first" }, lookupTenant });
    const ask = (slug, other) => send({ target: `/?tenant=${other}`, headers: slug ? [["X-Tenant-ID", slug]] : [] });
    check(await ask("acme", "victim"), "acme");
    check(await ask("nobody", "victim"), "TENANT_NOT_FOUND");
    check(await ask(null, "victim"), "victim");
  });
});

// The list of attacks that the product began with, as far as host, path, query and header are concerned: number, request, what
// is right. `acme` attacks with a key of its own, `victim` is attacked. What a URL cannot say, or says otherwise, differs
// between what the frameworks are handed: `url` and `target`.
const acmes = ["X-API-Key", keys.acme.key];
const at = (slug, ...headers) => ({ host: `${slug}.${BASE}`, headers });
const centrally = (target, ...headers) => ({ host: "api.example.com", target, headers });
const attacks = [
  ...["X-Forwarded-Host", "X-Forwarded-Server", "X-Host", "X-Original-Host", "X-HTTP-Host-Override", "X-Real-Host"].map((name) => [1, at("acme", [name, `victim.${BASE}`]), "acme"]),
  [1, at("acme", ["Forwarded", `host=victim.${BASE}`]), "acme"],
  ...[`evil${BASE}`, `victim${BASE}`, `victim.${BASE}.evil.net`, "victim.attacker.com", `victim.acme.${BASE}`].map((host) => [2, { host }, "TENANT_NOT_FOUND"]),
  ...[`VICTIM.App.Example.Com`, `victim.${BASE}.`, `victim.${BASE}:8443`, `victim.${BASE}.:8443`].map((host) => [3, { host }, "victim"]),
  [3, { host: `VICTIM.${BASE}`, headers: [acmes] }, "TENANT_MISMATCH"],
  [4, { host: `acme.${BASE}`, target: `/?n=http://victim.${BASE}&u=//victim.localhost` }, "acme"],
  ...["www", "api", "admin", "_dmarc"].flatMap((label) => [[5, at(label), "TENANT_NOT_FOUND"], [5, at(label, acmes, ["X-Tenant-ID", "victim"]), "TENANT_MISMATCH"]]),
  [6, { host: "www.victim.test" }, "victim"], [6, { host: "new.victim.test" }, "TENANT_NOT_FOUND"],
  [6, { host: "new.victim.test", headers: [["X-Tenant-ID", "acme"]] }, "TENANT_NOT_FOUND"],
  ...["127.0.0.1", "[::1]", "0x7f.1", "2130706433", "10.0.0.7:80", "preview.example.net"].map((host) => [7, { host, headers: [["X-Tenant-ID", "acme"]] }, "TENANT_NOT_FOUND"]),
  [7, { host: "", headers: [["X-Tenant-ID", "acme"]] }, { target: "TENANT_NOT_FOUND" }], [7, centrally("/", ["X-Tenant-ID", "acme"]), "acme"],
  [8, centrally("/t/victim/api", acmes), "TENANT_MISMATCH"], [8, centrally("/t/victim/api", ...bearer(tokens.acme).headers), "TENANT_MISMATCH"],
  ...["/t/acme%2Fvictim", "/t//victim", "/t/acme;v=victim", "/t/victim%00", "/t/acme%0avictim", "/t/acme%c0%afvictim", "/t/acme%"].map((target) => [9, centrally(target), "BAD_REQUEST"]),
  ...["/t/%2e%2e/t/victim", "/t/acme/../victim", "/t/./victim", "/x/..\\t\\victim"].map((target) => [9, centrally(target, acmes), { url: "TENANT_MISMATCH", target: "BAD_REQUEST" }]),
  // What some origin behind a gate would read as another path; to the application itself it is one of acme's.
  ...["/t/acme/..%2f..%2ft/victim", "/t/acme/..%5c..%5ct%5cvictim", "/t/acme/%252e%252e/victim", "/t/acme/..;/..;/t/victim"].map((target) => [9, centrally(target), { gate: "BAD_REQUEST", config: "acme" }]),
  [10, centrally("/", acmes, ["X-Tenant-ID", "victim"]), "TENANT_MISMATCH"], [10, centrally("/", ["X-Tenant-ID", "acme"], ["X-Tenant-ID", "victim"]), "TENANT_AMBIGUOUS"],
  [11, centrally("/?tenant=victim", ["X-Tenant-ID", "acme"]), "TENANT_MISMATCH"], [11, centrally("/?tenant=victim", acmes), "TENANT_MISMATCH"],
  ...["tenant[]", "tenant%5B%5D", "tenant[x]", "tenant[__proto__]", "%20tenant", "Tenant", "x=1;tenant"].map((name) => [12, centrally(`/?${name}=victim`), "BAD_REQUEST"]),
  ...["__proto__", "../../", "%00", "a".repeat(10_000), "%2e%2e%2f"].map((value) => [12, centrally(`/?tenant=${value}`), "BAD_REQUEST"]),
  ...["__proto__", "../../", "a".repeat(10_000), "acme\tvictim"].map((value) => [12, centrally("/", ["X-Tenant-ID", value]), "BAD_REQUEST"]),
  // Ids may be called so; a lookup knows nobody of that name.
  [12, centrally("/?tenant=constructor"), { gate: "BAD_REQUEST", config: "TENANT_NOT_FOUND" }],
  [12, centrally("/", ["X-Tenant-ID", "constructor"]), { gate: "BAD_REQUEST", config: "TENANT_NOT_FOUND" }],
  [13, at("nobody", ["X-Tenant-ID", "acme"]), "TENANT_NOT_FOUND"], [13, { host: "unknown.example.net", headers: [["X-Tenant-ID", "acme"]] }, "TENANT_NOT_FOUND"],
  [13, { host: "unknown.example.net", headers: [acmes] }, "TENANT_NOT_FOUND"],
  ...["OPTIONS", "HEAD", "PUT", "DELETE", "PATCH", "PROPFIND"].map((method) => [14, { method, ...at("suspended") }, "TENANT_SUSPENDED"]),
  ...["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"].map((name) => [14, { method: "POST", ...at("suspended", [name, "OPTIONS"]) }, "TENANT_SUSPENDED"]),
  [14, at("suspended", ["Upgrade", "websocket"], ["Sec-WebSocket-Version", "13"], ["Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="]), "TENANT_SUSPENDED"],
  [14, { ...at("suspended"), target: "/.well-known/anything" }, "TENANT_SUSPENDED"],
  [14, at("suspended", ["X-Original-URL", "/t/acme"], ["X-Rewrite-URL", "/t/acme"]), "TENANT_SUSPENDED"],
];

describe("attacks on host, path, query and header", () => {
  for (const framework of Object.keys(frameworks)) {
    for (const form of Object.keys(allForms)) {
      test(`${framework}, by ${form}`, async (t) => {
        const { send } = await serve(t, framework, allForms[form]());
        const kinds = [form, onNode.has(framework) ? "target" : "url"];
        for (const [number, request, expected] of attacks) {
          const right = typeof expected === "string" ? expected : expected[kinds.find((kind) => kind in expected)];
          if (right) check(await send(request), right, `${number}: ${JSON.stringify(request).slice(0, 200)}`);
        }
      });
    }
    test(`${framework}: spellings of one host are one counter`, async (t) => {
      const { send } = await serve(t, framework, allForms.gate());
      const left = [];
      for (const host of [`victim.${BASE}`, `VICTIM.App.Example.Com`, `victim.${BASE}.`, `victim.${BASE}:8443`]) left.push(/r=(\d+)/.exec((await send({ host })).headers.ratelimit)[1]);
      assert.deepEqual(left, ["999999", "999998", "999997", "999996"]);
    });
  }

  // Requests that no `Request` can be, as Node hands them on.
  const raw = [
    [{ target: "/t/../admin" }, "BAD_REQUEST"], [{ target: "/t/acme/../../admin" }, "BAD_REQUEST"], [{ target: "/%2e%2e/admin" }, "BAD_REQUEST"],
    [{ target: `http://victim.${BASE}/api`, host: `acme.${BASE}` }, "victim"], [{ target: `http://victim.${BASE}`, host: `acme.${BASE}` }, "victim"],
    [{ target: `HTTP://VICTIM.${BASE}:80/?a=b`, host: `acme.${BASE}` }, "victim"],
    [{ target: `http://victim.${BASE}/api`, host: `acme.${BASE}`, headers: [acmes] }, "TENANT_MISMATCH"],
    [{ target: "http://api.example.com/t/acme?tenant=acme", host: "" }, "acme"],
    [{ target: `http://acme.${BASE}@victim.${BASE}/`, host: `acme.${BASE}` }, "BAD_REQUEST"], [{ target: `//victim.${BASE}/api`, host: `acme.${BASE}` }, "acme"],
    [{ target: `/http://victim.${BASE}/`, host: `acme.${BASE}` }, "acme"],
    [centrally("/", ["X-Tenant-ID", "acme"], ["x-tenant-id", "victim"]), "TENANT_AMBIGUOUS"],
    [centrally("/", ["X-Tenant-ID", "acme"], ["X-Tenant-ID", "acme"]), "TENANT_AMBIGUOUS"],
    [centrally("/t/acme#/t/victim"), "acme"], [centrally("/t/acme#?tenant=victim"), "acme"], [centrally("/t/acme?x#&tenant=victim"), "acme"],
    [{ method: "OPTIONS", target: "*", host: `acme.${BASE}` }, "acme"],
    [{ host: `acme.${BASE}, victim.${BASE}` }, "BAD_REQUEST"], [{ host: `acme.${BASE}/victim` }, "BAD_REQUEST"], [{ host: `acme.${BASE}#victim` }, "BAD_REQUEST"],
  ];
  for (const framework of onNode) {
    for (const form of Object.keys(allForms)) {
      test(`${framework}, by ${form}: as they are written`, async (t) => {
        const { send } = await serve(t, framework, allForms[form]());
        for (const [request, right] of raw) check(await send(request), right, JSON.stringify(request));
      });
    }
  }

  test("a lookup in a plain object finds nobody by the names that every object has", async (t) => {
    const plain = { acme: { id: "acme", slug: "acme" } };
    const { send } = await serve(t, "fetch", { config: { resolution: "header" }, lookupTenant: (id) => plain[id] });
    check(await send({ headers: [["X-Tenant-ID", "acme"]] }), "acme");
    for (const name of ["constructor", "toString", "valueOf", "hasOwnProperty"]) check(await send({ headers: [["X-Tenant-ID", name]] }), "TENANT_NOT_FOUND", name);
  });

  test("below a mount point of Express the whole path is read", async (t) => {
    const app = express();
    app.use("/t", forExpress.createTenantMiddleware({ config: { resolution: "path" }, lookupTenant }), (req, res) => res.json({ tenant: req.tenant.id, url: req.url }));
    const { send, stop } = await overPort(app);
    t.after(stop);
    assert.deepEqual(JSON.parse((await send({ target: "/t/acme/api" })).body), { tenant: "acme", url: "/acme/api" });
    check(await send({ target: "/t/acme/../victim" }), "BAD_REQUEST");
  });
});

const PROBLEM = ["Accept", "application/problem+json"];
const asAcme = ["X-Tenant-ID", "acme"];
const counting = () => ({
  gate: gateOf([{ strategy: "header" }, { strategy: "jwt" }, { strategy: "api_key" }], {
    catalog: {
      issuers: issuers(), features: { webhooks: {} },
      routes: [
        { path: "/rate", auth: "none", limits: { requests: 1 } }, { path: "/quota", auth: "none", limits: { calls: 1 } }, { path: "/feature", auth: "none", feature: "webhooks" },
        { path: "/open", auth: "none" }, { path: "/scoped", scopes: ["api.write"] },
      ],
      limits: { requests: { kind: "rate", window_ms: 3_600_000, default: 1 }, calls: { kind: "quota", period: "month", default: 1 } },
    },
  }),
});

describe("denials", () => {
  for (const framework of Object.keys(frameworks)) {
    test(`${framework}: limits, with their headers`, async (t) => {
      const { send } = await serve(t, framework, counting());
      for (const [target, code, key, kind] of [["/rate", "RATE_LIMITED", "requests", "rate"], ["/quota", "QUOTA_EXCEEDED", "calls", "quota"]]) {
        const request = { target, headers: [asAcme] };
        const first = await send(request);
        check(first, "acme");
        assert.match(first.headers.ratelimit, new RegExp(`^"${key}";r=0;t=\\d+$`));
        assert.match(first.headers["ratelimit-policy"], new RegExp(`^"${key}";q=1`));
        assert.equal(first.headers["retry-after"], undefined);
        const second = await send(request);
        check(second, code);
        assert(Number(second.headers["retry-after"]) > 1, second.headers["retry-after"]);
        assert.match(second.headers.ratelimit, new RegExp(`^"${key}";r=0;t=\\d+$`));
        const { error: { message, details }, ...more } = JSON.parse(second.body);
        assert.deepEqual([details[kind], details.limit, details.requested, message, more], [key, 1, 1, CODES[code][1], {}]);
        const third = await send({ target, headers: [asAcme, PROBLEM] });
        assert.deepEqual([third.status, third.headers["content-type"], third.headers["cache-control"]], [429, "application/problem+json", "private, no-store"]);
        assert(Number(third.headers["retry-after"]) > 1);
        const { type, title, status, code: said, ...details2 } = JSON.parse(third.body);
        assert.deepEqual([type, title, status, said, details2[kind], details2.limit], [`urn:tenantgate:error:${code}`, CODES[code][1], 429, code, key, 1]);
        const { status: short, headers, body } = await send({ ...request, method: "HEAD" });
        assert.deepEqual([short, headers["content-type"], body], [429, "application/json", ""]);
        assert(Number(headers["retry-after"]) > 1);
        check(await send({ target, headers: [["X-Tenant-ID", "victim"]] }), "victim", "another tenant has its own");
      }
    });

    test(`${framework}: features, credentials, scopes`, async (t) => {
      const { send } = await serve(t, framework, counting());
      const feature = await send({ target: "/feature", headers: [asAcme] });
      check(feature, "FEATURE_NOT_AVAILABLE");
      assert.deepEqual(JSON.parse(feature.body).error.details, { feature: "webhooks", current_plan: "pro@1", upgrade_url: "/pricing" });
      const nobody = await send({ target: "/any", headers: [asAcme] });
      check(nobody, "UNAUTHENTICATED");
      assert.equal(nobody.headers["www-authenticate"], 'Bearer realm="tenantgate", ApiKey realm="tenantgate"');
      const bad = await send({ target: "/any", ...bearer("x.y.z") });
      check(bad, "UNAUTHENTICATED");
      assert.match(bad.headers["www-authenticate"], /^Bearer realm="tenantgate", error="invalid_token"/);
      const less = await send({ target: "/scoped", ...bearer(tokens.acme) });
      check(less, "INSUFFICIENT_SCOPE");
      assert.match(less.headers["www-authenticate"], /error="insufficient_scope", scope="api.write"/);
      check(await send({ target: "/any", ...bearer(tokens.acme) }), "acme");
      check(await send({ target: "/open", headers: [asAcme] }), "acme");
    });

    for (const form of Object.keys(allForms)) {
      test(`${framework}, by ${form}: problems as JSON (RFC 9457), HEAD without a body`, async (t) => {
        const { send } = await serve(t, framework, allForms[form]());
        for (const [slug, code] of [["suspended", "TENANT_SUSPENDED"], ["nobody", "TENANT_NOT_FOUND"]]) {
          const request = { host: `${slug}.${BASE}` };
          const { status, headers, body } = await send({ ...request, headers: [PROBLEM] });
          assert.deepEqual([status, headers["content-type"]], [CODES[code][0], "application/problem+json"]);
          const { type, title, ...more } = JSON.parse(body);
          assert.deepEqual([type, title, more.status, more.code], [`urn:tenantgate:error:${code}`, CODES[code][1], status, code]);
          const head = await send({ ...request, method: "HEAD" });
          assert.deepEqual([head.status, head.headers["content-type"], head.body], [status, "application/json", ""]);
        }
        const head = await send({ method: "HEAD", host: `acme.${BASE}` });
        assert.deepEqual([head.status, head.body], [200, ""]);
      });

      test(`${framework}, by ${form}: who is to come back is told when`, async (t) => {
        const { send } = await serve(t, framework, allForms[form]());
        for (const slug of ["setup", "repair"]) {
          const { status, headers } = await send({ host: `${slug}.${BASE}` });
          assert.equal(status, 503);
          assert(Number(headers["retry-after"]) >= 1, `Retry-After: ${headers["retry-after"]}`);
        }
      });
    }
  }

  test("an API key that is missing or bad is asked for by its own scheme", async (t) => {
    const { send } = await serve(t, "fetch", { config: { resolution: "api_key", apiKeyLookup }, lookupTenant });
    for (const headers of [[], [["X-API-Key", "tg_live_x"]]]) {
      assert.equal((await send({ headers })).headers["www-authenticate"], 'ApiKey realm="tenantgate"');
    }
  });

  test("scopes that a handler needs are those of the tenant's token or key", async (t) => {
    const listed = bearer(await sign({ tenant_id: "acme", scope: undefined, scp: ["api.read", "api.write"] }));
    for (const [name, text] of [["jwt", bearer(tokens.acme)], ["jwt", listed], ["api_key", { headers: [acmes] }]]) {
      const { strategy, issuers, config } = strategies[name];
      for (const options of [{ config, lookupTenant }, { gate: gateOf([strategy], { catalog: issuers && { issuers } }) }]) {
        const ask = async (...scopes) => (await serve(t, "fetch", options, whoAmI, { scopes })).send(text);
        check(await ask("api.read"), "acme", name);
        check(await ask("api.read", "admin"), "INSUFFICIENT_SCOPE", name);
      }
    }
  });

  test("`requireFeature` of each framework, over a gate and over plans", async (t) => {
    const { gate } = counting();
    gate.putTenant({ ...(await lookupTenant("victim")), overrides: [{ feature: "webhooks", value: true, reason: "sold" }], epoch: 2 });
    const getTenantPlan = async (id) => ({ name: "free@7", features: { webhooks: id === "victim" } });
    for (const options of [{ gate }, { getTenantPlan, upgradeUrl: "/more" }]) {
      const [mw, feature] = [createOf(forExpress, options), (module) => module.requireFeature("webhooks", options)];
      const app = express();
      app.use(mw, feature(forExpress), (req, res) => res.json({ tenant: req.tenant.id }));
      const overExpress = await overPort(app);
      t.after(overExpress.stop);
      const main = overFetch(forFetch.handler((_body, ctx) => ({ tenant: ctx.tenant.id }), { middleware: [createOf(forFetch, options), feature(forFetch)] }));
      for (const { send } of [overExpress, main]) {
        check(await send({ target: "/open", headers: [["X-Tenant-ID", "victim"]] }), "victim");
        const denied = await send({ target: "/open", headers: [asAcme] });
        check(denied, "FEATURE_NOT_AVAILABLE");
        assert.deepEqual(JSON.parse(denied.body).error.details, { feature: "webhooks", upgrade_url: options.upgradeUrl ?? "/pricing", current_plan: options.gate ? "pro@1" : "free@7" });
      }
    }
  });
});

/** A framework's middleware for the gate of `options`, or for the header. */
const createOf = (module, { gate }) => module.createTenantMiddleware(gate ? { gate } : { config: { resolution: "header" }, lookupTenant });

describe("what goes wrong", () => {
  const SECRET = "postgres://user:hunter2@db";
  const fails = () => { throw new Error(SECRET); };
  const byHeader = { config: { resolution: "header" }, lookupTenant };
  /** An answer that says nothing but that something went wrong. */
  const internal = ({ status, headers, body }) => {
    assert.deepEqual([status, headers["content-type"], JSON.parse(body)], [500, "application/json", { error: { code: "INTERNAL", message: "something went wrong", details: {} } }]);
  };

  test("an error that is not the package's is 500 `INTERNAL`, and is logged", async (t) => {
    const entries = [];
    const logger = (ctx) => ({ ...silent(), error: (message, { error }) => entries.push([message, error.includes(SECRET), ctx.tenant?.id]) });
    const broken = [
      [{ ...byHeader, lookupTenant: fails }], [{ config: { resolution: "custom_domain", domainLookup: fails }, lookupTenant }],
      [{ config: { resolution: "api_key", apiKeyLookup: fails }, lookupTenant }], [byHeader, fails],
    ];
    for (const framework of ["fetch", "hono"]) {
      for (const [options, work] of broken) {
        internal(await (await serve(t, framework, options, work, { logger })).send({ host: "www.acme.test", headers: [asAcme, acmes] }));
      }
    }
    internal(await (await serve(t, "fetch", byHeader, () => { throw SECRET; }, { logger })).send({ headers: [asAcme] }));
    const logged = (tenant) => ["request failed", true, tenant];
    assert.deepEqual(entries, [logged(), logged(), logged(), logged("acme"), logged("acme")]);
  });

  test("Express and `http` are handed it, unanswered", async (t) => {
    for (const thrown of [new Error(SECRET), SECRET]) {
      const handed = [];
      const middleware = forExpress.createTenantMiddleware({ ...byHeader, lookupTenant: () => { throw thrown; } });
      const app = express();
      app.use(middleware, forExpress.errorHandler, (error, req, res, next) => { handed.push(error); res.status(500).end("oh"); });
      for (const listener of [app, (req, res) => middleware(req, res, (error) => { handed.push(error); res.writeHead(500).end("oh"); })]) {
        const { send, stop } = await overPort(listener);
        t.after(stop);
        const { status, body } = await send({ headers: [asAcme] });
        assert.deepEqual([status, body], [500, "oh"]);
      }
      assert.deepEqual(handed, [thrown, thrown]);
    }
  });

  test("what is wrong with how the package is used is not told either", async (t) => {
    const bare = [
      forFetch.handler(() => 1, { middleware: [createOf(forFetch, {}), forFetch.requireFeature("f")], logger: silent }),
      forFetch.handler(() => 1, { middleware: [createOf(forFetch, {}), forFetch.createQuotaMiddleware({ quotaKey: "q" })], logger: silent }),
      forFetch.handler(() => 1, { middleware: [async (_ctx, next) => { await next(); return next(); }], logger: silent }),
    ];
    for (const fetch of bare) internal(await overFetch(fetch).send({ headers: [asAcme] }));
    const app = new Hono();
    app.use(createOf(forHono, {}), forHono.requireFeature("f")).onError(forHono.onError);
    internal(await overFetch(app.fetch).send({ headers: [asAcme] }));
    const overExpress = express();
    overExpress.use(createOf(forExpress, {}), forExpress.requireFeature("f"));
    const { send, stop } = await overPort(overExpress);
    t.after(stop);
    internal(await send({ headers: [asAcme] }));
  });

  test("a resolver of the application's own that throws is 503, never nobody", async (t) => {
    for (const framework of Object.keys(frameworks)) {
      for (const customResolver of [fails, async () => fails(), () => { throw SECRET; }]) {
        const { send } = await serve(t, framework, { config: { resolution: ["custom", "header"], customResolver }, lookupTenant });
        const answer = await send({ headers: [asAcme] });
        check(answer, "RESOLVER_FAILED");
        assert(!answer.body.includes("hunter2"));
      }
      const { send } = await serve(t, framework, { config: { resolution: ["custom", "header"], customResolver: () => null }, lookupTenant });
      check(await send({ headers: [asAcme] }), "acme", "null is nobody");
    }
  });

  test("the package's errors, thrown by a handler, are answered as what they are", async (t) => {
    const teapot = new forFetch.TenantgateError("TEAPOT", "short and stout", { status: 418, details: { handle: true }, headers: { "x-spout": "1" } });
    for (const framework of ["fetch", "hono"]) {
      const { status, headers, body } = await (await serve(t, framework, byHeader, () => { throw teapot; })).send({ headers: [asAcme] });
      assert.deepEqual([status, headers["x-spout"], JSON.parse(body)], [418, "1", { error: { code: "TEAPOT", message: "short and stout", details: { handle: true } } }]);
    }
    const app = express();
    app.use(() => { throw teapot; }, forExpress.errorHandler);
    const { send, stop } = await overPort(app);
    t.after(stop);
    assert.equal((await send({})).status, 418);
  });

  test("after a trap the resolver of a configuration is made anew", async (t) => {
    const { send } = await serve(t, "fetch", byHeader);
    check(await send({ headers: [asAcme] }), "acme");
    const bytes = new Uint8Array(memory.buffer);
    bytes.fill(0xff, bytes.length >> 1);
    // Whatever comes of it, the next test begins with an instance that works.
    t.after(() => { try { gateOf([{ strategy: "header" }]); } catch { /* made anew by this */ } });
    const { status, body } = await send({ headers: [asAcme] });
    assert.deepEqual([status, JSON.parse(body).error.code], [500, "GATE_FAILED"]);
    check(await send({ headers: [asAcme] }), "acme");
  });

  test("hosts without end take no memory without end", async () => {
    const middleware = forFetch.createTenantMiddleware({ config: { resolution: "subdomain" }, lookupTenant });
    const { send } = overFetch(forFetch.handler(whoAmI, { middleware: [middleware], logger: silent }));
    const flood = async (name, count) => { for (let i = 0; i < count; i++) await send({ host: `nobody.${name}${i}.example.net` }); };
    await flood("a", 1_000);
    const settled = Gate.memoryBytes();
    await flood("b", 3_000);
    assert.equal(Gate.memoryBytes(), settled);
  });
});

describe("what is missing shows when the middleware is made", () => {
  const own = { lookupTenant };
  const by = (resolution, more) => ({ ...own, config: { resolution, ...more } });
  const missing = [
    {}, { lookupTenant }, { config: { resolution: "header" } }, { config: { resolution: "header" }, lookupTenant: 7 }, { gate: null },
    by("custom_domain"), by("custom-domain"), by("jwt"), by("api_key"), by("api-key"), by("custom"), by(["header", "jwt"]), by("jwt", { verifyToken: "secret" }), by("header", { strategy: "sharded" }),
  ];
  const wrong = [
    [by("nowhere"), "$.strategies[0].strategy"], [by(undefined), "$.strategies[0].strategy"], [by(null), "$.strategies[0].strategy"],
    [by(7), "$.strategies[0].strategy"], [by([]), "$.strategies"],
    [by(["header", "header"]), "$.strategies[1]"], [by("header", { mode: "any" }), "$.mode"],
    [by("subdomain", { baseDomains: ["APP.example.com"] }), "$.strategies[0].base_domains[0]"],
    [by("subdomain", { baseDomains: ["https://example.com"] }), "$.strategies[0].base_domains[0]"], [by("path", { pathPrefix: "t" }), "$.strategies[0].prefix"],
    [by("header", { headerName: "X Tenant" }), "$.strategies[0].header_name"],
    [by("header", { headerName: "Authorization" }), "$.strategies"], [by("query", { queryParam: "a b" }), "$.strategies[0].query_param"],
    [by("jwt", { verifyToken, cookieName: "a;b" }), "$.strategies[0].cookie_name"],
    [by("header", { centralHosts: ["http://x"] }), "$.central_hosts[0]"],
  ];
  for (const [name, { createTenantMiddleware }] of Object.entries({ middleware: forFetch, hono: forHono, express: forExpress })) {
    test(name, () => {
      for (const options of missing) assert.throws(() => createTenantMiddleware(options), forFetch.ConfigurationError, JSON.stringify(options));
      for (const [options, path] of wrong) {
        assert.throws(() => createTenantMiddleware(options), (error) => error instanceof forFetch.DocumentError && error.problems.some((problem) => problem.path === path), `${path}: ${JSON.stringify(options)}`);
      }
      for (const resolution of ["custom_domain", "custom-domain"]) createTenantMiddleware(by(resolution, { domainLookup }));
    });

    test(`${name}, without anything`, () => {
      for (const options of [undefined, null]) assert.throws(() => createTenantMiddleware(options), forFetch.ConfigurationError);
    });
  }

  test("handlers, quotas, settings", () => {
    for (const handle of [undefined, null, {}, "x"]) assert.throws(() => forFetch.handler(handle), InputError);
    for (const middleware of [null, {}, [null], [whoAmI, "x"]]) assert.throws(() => forFetch.handler(whoAmI, { middleware }), InputError);
    assert.throws(() => forFetch.configure({ authenticate: "me" }), InputError);
    assert.throws(() => forFetch.createQuotaMiddleware({}), forFetch.ConfigurationError);
    for (const cost of [-1, 0.5, NaN, "1"]) assert.throws(() => forFetch.createQuotaMiddleware({ quotaKey: "q", cost }), InputError);
    assert.throws(() => forFetch.provisionTenant({}), forFetch.ConfigurationError);
    assert.throws(() => forFetch.provisionTenant({}, { gate: counting().gate }), forFetch.ConfigurationError);
  });
});

describe("the body of a request", () => {
  const main = overFetch(forFetch.handler((body, ctx) => ({ body: body ?? "none", again: ctx.request.bodyUsed })));
  const post = (body, type = "application/json") => main.send({ method: "POST", body, headers: type ? [["Content-Type", type]] : [] });

  test("is parsed where it is JSON, and can be read again", async () => {
    for (const type of ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.api+json"]) {
      assert.deepEqual(JSON.parse((await post('{"a":[1]}', type)).body), { body: { a: [1] }, again: false }, type);
    }
    for (const [body, type] of [["{}", "text/plain"], ["", "application/json"], [undefined, "application/json"], ["{}", "application/jsonp"], ["{}", "text/plain, application/json"]]) {
      assert.deepEqual(JSON.parse((await post(body, type)).body), { body: "none", again: false }, type);
    }
  });

  test("that is not JSON is 400, and nothing of it is said", async () => {
    for (const body of ["{", "secret", "{}{}", "\u{feff}{}x", "NaN"]) {
      const { status, headers, body: said } = await post(body);
      assert.deepEqual([status, headers["content-type"], JSON.parse(said)], [400, "application/json", { error: { code: "BAD_REQUEST", message: "the body is not valid JSON", details: {} } }], body);
    }
  });

  test("what a handler returns is answered: JSON, nothing, a response", async () => {
    const answered = async (value) => {
      const { status, headers, body } = await overFetch(forFetch.handler(() => value)).send({});
      return [status, headers["content-type"], headers["cache-control"], body];
    };
    assert.deepEqual(await answered({ a: 1 }), [200, "application/json", "private, no-store", '{"a":1}']);
    assert.deepEqual(await answered(null), [200, "application/json", "private, no-store", "null"]);
    assert.deepEqual(await answered(undefined), [204, undefined, undefined, ""]);
    assert.deepEqual(await answered(new Response("x", { status: 202, headers: { "cache-control": "public" } })), [202, "text/plain;charset=UTF-8", "public", "x"]);
  });
});

// What is in flight. A deadline instead of a wait for ever, where an answer never comes.
const flight = { timeout: 20_000 };
const deferred = () => {
  let resolve;
  const promise = new Promise((done) => { resolve = done; });
  return { promise, resolve };
};
const slots = () => {
  const gate = gateOf([{ strategy: "header" }], { catalog: { limits: { slots: { kind: "concurrency", default: 1 } }, routes: [{ path: "/", limits: { slots: 1 } }] } });
  const used = (tenant = "acme") => gate.ask({ tenant, limits: { slots: 0 }, look: true }).decision.limits[0].used;
  return { gate, used, free: (what) => until(() => used() === 0, `a slot is held: ${what}`) };
};
const request = { headers: [asAcme] };

describe("what is in flight", () => {
  for (const framework of Object.keys(frameworks)) {
    test(`${framework}: an answer is handed on piece by piece`, flight, async (t) => {
      for (const options of [{ gate: slots().gate }, { config: { resolution: "header" }, lookupTenant }]) {
        const first = deferred();
        const { open } = await serve(t, framework, options, async function* () {
          yield "one";
          // Buffered, the answer would never begin: the rest waits until the client has the first piece.
          await first.promise;
          yield "two";
        });
        const { status, headers, read } = await open(request);
        assert.deepEqual([status, headers["content-length"], await read()], [200, undefined, "one"]);
        first.resolve();
        assert.deepEqual([await read(), await read()], ["two", undefined]);
      }
    });

    test(`${framework}: a slot is held until the answer has ended`, flight, async (t) => {
      const { gate, used, free } = slots();
      const last = deferred();
      const { open, send } = await serve(t, framework, { gate }, async function* ({ decision }) {
        yield decision.tenant.id;
        await last.promise;
      });
      const { status, headers, read } = await open(request);
      assert.deepEqual([status, headers.ratelimit, await read(), used()], [200, '"slots";r=0', "acme", 1]);
      const refused = await send(request);
      check(refused, "CONCURRENCY_LIMITED");
      assert(Number(refused.headers["retry-after"]) >= 1);
      assert.equal(used(), 1, "a refusal frees nothing");
      const other = await open({ headers: [["X-Tenant-ID", "victim"]] });
      assert.deepEqual([other.status, await other.read()], [200, "victim"], "another tenant has its own");
      last.resolve();
      assert.equal(await read(), undefined);
      await other.read();
      await free("the answer has ended");
      assert.equal((await send(request)).status, 200);
    });

    test(`${framework}: a client that leaves frees its slot`, flight, async (t) => {
      for (const rest of [0, 100]) {
        const { gate, used, free } = slots();
        const never = deferred();
        // In the middle of a silence, and while more is there than was read.
        const { open } = await serve(t, framework, { gate }, async function* () {
          yield "begun";
          for (let i = 0; i < rest; i++) yield "x".repeat(100_000);
          await never.promise;
        });
        const { read, leave } = await open(request);
        assert.match(await read(), /^begun/);
        assert.equal(used(), 1);
        // Cancelling waits for the answer's source, which waits for ever here.
        Promise.resolve(leave()).catch(() => {});
        await free(`the client has left, ${rest} pieces before the end`);
        never.resolve();
      }
    });

    test(`${framework}: an answer that breaks, that is empty, that never begins frees its slot`, flight, async (t) => {
      const works = {
        breaks: async function* () { yield "begun"; throw new Error("broken"); },
        "is empty": async function* () {},
      };
      for (const [how, work] of Object.entries(works)) {
        const { gate, free } = slots();
        const { send } = await serve(t, framework, { gate }, work);
        await send(request).catch((error) => assert.equal(how, "breaks", error));
        await free(how);
      }
      if (onNode.has(framework)) return;
      const { gate, free } = slots();
      const { send } = await serve(t, framework, { gate }, () => { throw new Error("no"); });
      const { status, headers } = await send(request);
      assert.deepEqual([status, headers.ratelimit], [500, '"slots";r=0']);
      await free("the handler threw");
    });

    test(`${framework}: an answer to HEAD, whose body nobody reads, frees its slot`, flight, async (t) => {
      const { gate, free } = slots();
      const { send } = await serve(t, framework, { gate });
      assert.equal((await send({ ...request, method: "HEAD" })).status, 200);
      await free("HEAD");
    });

    test(`${framework}: a ledger that fails to take a slot back does not spoil the answer`, flight, async (t) => {
      const { gate } = slots();
      const settling = deferred();
      const ask = (question) => {
        if (!question.settle) return gate.ask(question);
        settling.resolve();
        throw new Error("the ledger is gone");
      };
      const { send } = await serve(t, framework, { gate: { question: (asked) => gate.question(asked), ask } });
      check(await send(request), "acme");
      await settling.promise;
    });

    test(`${framework}: requests in flight never see each other's tenant`, flight, async (t) => {
      for (const form of Object.keys(allForms)) {
        const all = deferred();
        let [arrived, count] = [0, 24];
        const { send } = await serve(t, framework, allForms[form](), async function* ({ tenant }) {
          yield `${tenant.id} `;
          if (++arrived === count) all.resolve();
          await all.promise;
          yield tenant.id;
        });
        const slugs = Array.from({ length: count }, (_, i) => ["acme", "victim"][i % 2]);
        const answers = await Promise.all(slugs.map((slug) => send({ host: `${slug}.${BASE}` })));
        assert.deepEqual(answers.map(({ body }) => body), slugs.map((slug) => `${slug} ${slug}`));
      }
    });
  }

  for (const framework of onNode) {
    test(`${framework}: a client that has left before the decision holds no slot`, flight, async (t) => {
      const { gate, used, free } = slots();
      const [asked, left, decided] = [deferred(), deferred(), deferred()];
      // A gate that is asked over the network answers later.
      const remote = {
        question: (incoming) => { incoming.once("close", left.resolve); return gate.question(incoming); },
        ask: async (question) => {
          if (question.settle) return gate.ask(question);
          asked.resolve();
          await left.promise;
          const answer = gate.ask(question);
          decided.resolve(used());
          return answer;
        },
      };
      const { port } = await serve(t, framework, { gate: remote });
      const sent = connect({ port, host: "127.0.0.1", headers: { "x-tenant-id": "acme" } }).on("error", () => {});
      sent.end();
      await asked.promise;
      sent.destroy();
      assert.equal(await decided.promise, 1);
      await free("the client has left before");
    });
  }

  test("hono: what is thrown and no error frees the slot too", flight, async () => {
    const { gate, free } = slots();
    const app = new Hono();
    app.use(forHono.createTenantMiddleware({ gate })).get("/", () => { throw "no error"; });
    await assert.rejects(async () => app.request("/", { headers: { "x-tenant-id": "acme" } }), (thrown) => thrown === "no error");
    await free("something was thrown");
  });

  test("fetch: who lacks a scope of the handler holds no slot", flight, async (t) => {
    const { gate, free } = slots();
    const { send } = await serve(t, "fetch", { gate }, whoAmI, { scopes: ["api.read"] });
    check(await send(request), "UNAUTHENTICATED");
    await free("it was denied");
  });
});
