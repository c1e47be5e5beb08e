// The middleware in each framework, from a gate and from a configuration with a lookup: the same
// requests have the same responses.

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

// Each framework runs the middleware before one handler. A handler is a generator of the chunks of
// its response, so that the same handler runs in every framework. The client sends requests as they
// are written and reads the response chunk by chunk.

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

/** A client of a `fetch` handler. A request that no URL can express is not sent: status 0. */
function overFetch(fetch) {
  return client(async ({ method = "GET", host = BASE, target = "/", headers = [], body }) => {
    if (!URL.canParse(`http://${host}${target}`)) return { status: 0, headers: {}, read: async () => undefined };
    const response = await fetch(new Request(`http://${host}${target}`, { method, headers, body }));
    // Runtimes do not send the body of a response to HEAD. A denial of HEAD has no body by itself.
    const reader = method === "HEAD" && response.ok ? undefined : response.body?.pipeThrough(new TextDecoderStream()).getReader();
    return {
      status: response.status, headers: Object.fromEntries(response.headers),
      read: async () => (await reader?.read())?.value,
      leave: () => reader.cancel(),
    };
  });
}

/** A client of a server on a real port. It sends requests without normalisation. */
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

/** Starts a framework that stops after the test. */
async function serve(t, name, ...more) {
  const app = await frameworks[name](...more);
  t.after(app.stop);
  return app;
}

/** Checks a response. `right` is the id of the tenant that is served, or the code of a denial. */
function check({ status, headers, body }, right, about) {
  if (!(right in CODES)) return assert.deepEqual([status, body && JSON.parse(body).tenant], [200, right], about);
  assert.equal(status, CODES[right][0], `${about}: ${body}`);
  if (body !== "") assert.equal(JSON.parse(body).error.code, right, about);
  assert.equal(headers["content-type"], "application/json", about);
  assert.equal(headers["cache-control"], "private, no-store", about);
  if (status === 401) assert.match(headers["www-authenticate"], /realm="tenantgate"/, about);
}

// Ids equal slugs here, so that a request names the same tenant by either.
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
 * Every strategy. `strategy` configures it in a catalog, `config` in the middleware; `named` makes
 * a request that names a tenant, and `more` has further requests with their outcomes. A case
 * without `strategy` cannot be configured in a catalog.
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
  "path with another prefix": {
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
  "header with another name": {
    strategy: { strategy: "header", header_name: "X-Org" }, config: { resolution: "header", headerName: "X-Org" },
    named: (slug) => ({ headers: [["x-org", slug]] }), more: [[{ headers: [["X-Tenant-ID", "acme"]] }, "TENANT_NOT_FOUND"]],
  },
  "query": {
    strategy: { strategy: "query" }, config: { resolution: "query" },
    named: (slug) => ({ target: `/hook?event=1&tenant=${slug}` }),
    more: [[{ target: "/?tenant=acme&tenant=victim" }, "TENANT_AMBIGUOUS"], [{ target: "/?tenant=" }, "BAD_REQUEST"], [{ target: "/?org=acme" }, "TENANT_NOT_FOUND"]],
  },
  "query with another parameter": {
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
  "jwt with another claim and a cookie": {
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
    // The application calls its own resolver and adds the result to the request.
    asked: (gate) => ({ question: (request) => ({ ...gate.question(request), custom: whoHeader(request) ?? undefined }), ask: (question) => gate.ask(question) }),
  },
};

describe("every strategy", () => {
  for (const [name, { strategy, issuers, config, named, unnamed = "TENANT_NOT_FOUND", more, asked = (gate) => gate }] of Object.entries(strategies)) {
    const forms = { config: () => ({ config, lookupTenant }), ...(strategy && { gate: () => ({ gate: asked(gateOf([strategy], { catalog: issuers && { issuers } })) }) }) };
    for (const framework of Object.keys(frameworks)) {
      for (const form of Object.keys(forms)) {
        test(`strategy ${name} resolves the tenant in ${framework}, from a ${form}`, async (t) => {
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

// All strategies at once, so that each place of a request can name a different tenant.
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
  // The route needs no credential, because the configuration makes credentials optional.
  gate: () => ({
    gate: gateOf([], {
      catalog: {
        resolution: { strategies: everywhere.strategies, central_hosts: ["api.example.com"] }, issuers: issuers(), routes: [{ path: "/", auth: "none", limits: { calls: 1 } }],
        limits: { calls: { kind: "quota", period: "month", default: 1_000_000 } },
      },
    }),
  }),
};

describe("signals and credentials that disagree", () => {
  const places = {
    host: (slug) => ({ host: `${slug}.${BASE}` }), path: (slug) => ({ target: `/t/${slug}/x` }), header: (slug) => ({ headers: [["X-Tenant-ID", slug]] }),
    query: (slug) => ({ target: `/?tenant=${slug}` }), token: (slug) => bearer(tokens[slug]), key: (slug) => ({ headers: [["X-API-Key", keys[slug].key]] }),
  };
  const central = { host: "api.example.com" };
  const both = (one, other) => ({ ...central, ...one, ...other, headers: [...(one.headers ?? []), ...(other.headers ?? [])] });
  for (const framework of Object.keys(frameworks)) {
    for (const form of Object.keys(allForms)) {
      test(`signals that name different tenants are denied in ${framework}, from a ${form}`, async (t) => {
        const { send } = await serve(t, framework, allForms[form]());
        for (const [first, one] of Object.entries(places)) {
          for (const [second, other] of Object.entries(places)) {
            if (first === second || one("acme").target && other("acme").target) continue;
            check(await send(both(one("acme"), other("acme"))), "acme", `${first} and ${second} agree`);
            check(await send(both(one("acme"), other("victim"))), "TENANT_MISMATCH", `${first} names acme, ${second} names victim`);
            check(await send(both(one("acme"), other("nobody"))), "TENANT_NOT_FOUND", `${first} names acme, ${second} names an unknown tenant`);
          }
        }
      });
    }
  }

  test("with `mode: \"first\"`, the first signal decides, even if it names an unknown tenant", async (t) => {
    const { send } = await serve(t, "fetch", { config: { resolution: ["header", "query"], mode: "first" }, lookupTenant });
    const ask = (slug, other) => send({ target: `/?tenant=${other}`, headers: slug ? [["X-Tenant-ID", slug]] : [] });
    check(await ask("acme", "victim"), "acme");
    check(await ask("nobody", "victim"), "TENANT_NOT_FOUND");
    check(await ask(null, "victim"), "victim");
  });
});

// The original list of attacks, as far as it concerns host, path, query and header: number, request
// and right outcome. `acme` attacks with its own key, `victim` is attacked. Some outcomes depend on
// what the framework receives: a parsed URL (`url`) or the target as it was sent (`target`).
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
  // An origin behind a gate may read another path from these. For the application itself, they are
  // paths of acme.
  ...["/t/acme/..%2f..%2ft/victim", "/t/acme/..%5c..%5ct%5cvictim", "/t/acme/%252e%252e/victim", "/t/acme/..;/..;/t/victim"].map((target) => [9, centrally(target), { gate: "BAD_REQUEST", config: "acme" }]),
  [10, centrally("/", acmes, ["X-Tenant-ID", "victim"]), "TENANT_MISMATCH"], [10, centrally("/", ["X-Tenant-ID", "acme"], ["X-Tenant-ID", "victim"]), "TENANT_AMBIGUOUS"],
  [11, centrally("/?tenant=victim", ["X-Tenant-ID", "acme"]), "TENANT_MISMATCH"], [11, centrally("/?tenant=victim", acmes), "TENANT_MISMATCH"],
  ...["tenant[]", "tenant%5B%5D", "tenant[x]", "tenant[__proto__]", "%20tenant", "Tenant", "x=1;tenant"].map((name) => [12, centrally(`/?${name}=victim`), "BAD_REQUEST"]),
  ...["__proto__", "../../", "%00", "a".repeat(10_000), "%2e%2e%2f"].map((value) => [12, centrally(`/?tenant=${value}`), "BAD_REQUEST"]),
  ...["__proto__", "../../", "a".repeat(10_000), "acme\tvictim"].map((value) => [12, centrally("/", ["X-Tenant-ID", value]), "BAD_REQUEST"]),
  // This is a valid id, but not a valid slug. The lookup finds no tenant with this id.
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
      test(`attacks on host, path, query and header fail in ${framework}, from a ${form}`, async (t) => {
        const { send } = await serve(t, framework, allForms[form]());
        const kinds = [form, onNode.has(framework) ? "target" : "url"];
        for (const [number, request, expected] of attacks) {
          const right = typeof expected === "string" ? expected : expected[kinds.find((kind) => kind in expected)];
          if (right) check(await send(request), right, `${number}: ${JSON.stringify(request).slice(0, 200)}`);
        }
      });
    }
    test(`${framework}: all spellings of a host share one counter`, async (t) => {
      const { send } = await serve(t, framework, allForms.gate());
      const left = [];
      for (const host of [`victim.${BASE}`, `VICTIM.App.Example.Com`, `victim.${BASE}.`, `victim.${BASE}:8443`]) left.push(/r=(\d+)/.exec((await send({ host })).headers.ratelimit)[1]);
      assert.deepEqual(left, ["999999", "999998", "999997", "999996"]);
    });
  }

  // Requests that no `Request` can express, as Node passes them on.
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
      test(`unusual request lines reach their own tenant or are refused in ${framework}, from a ${form}`, async (t) => {
        const { send } = await serve(t, framework, allForms[form]());
        for (const [request, right] of raw) check(await send(request), right, JSON.stringify(request));
      });
    }
  }

  test("a lookup in a plain object finds no tenant named `constructor`, `toString` or the like", async (t) => {
    const plain = { acme: { id: "acme", slug: "acme" } };
    const { send } = await serve(t, "fetch", { config: { resolution: "header" }, lookupTenant: (id) => plain[id] });
    check(await send({ headers: [["X-Tenant-ID", "acme"]] }), "acme");
    for (const name of ["constructor", "toString", "valueOf", "hasOwnProperty"]) check(await send({ headers: [["X-Tenant-ID", name]] }), "TENANT_NOT_FOUND", name);
  });

  test("Express: the path strategy reads the whole path below a mount point", async (t) => {
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
    test(`${framework}: denials by a rate or a quota have the limit's headers and details`, async (t) => {
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
        check(await send({ target, headers: [["X-Tenant-ID", "victim"]] }), "victim", "another tenant has its own counter");
      }
    });

    test(`${framework}: denials by feature, credential or scope name what is missing`, async (t) => {
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
      test(`${framework}, from a ${form}: denials are problem details (RFC 9457) on request; HEAD has no body`, async (t) => {
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

      test(`${framework}, from a ${form}: the 503 of a tenant in set-up or maintenance has Retry-After`, async (t) => {
        const { send } = await serve(t, framework, allForms[form]());
        for (const slug of ["setup", "repair"]) {
          const { status, headers } = await send({ host: `${slug}.${BASE}` });
          assert.equal(status, 503);
          assert(Number(headers["retry-after"]) >= 1, `Retry-After: ${headers["retry-after"]}`);
        }
      });
    }
  }

  test("a missing or invalid API key is challenged with the scheme ApiKey", async (t) => {
    const { send } = await serve(t, "fetch", { config: { resolution: "api_key", apiKeyLookup }, lookupTenant });
    for (const headers of [[], [["X-API-Key", "tg_live_x"]]]) {
      assert.equal((await send({ headers })).headers["www-authenticate"], 'ApiKey realm="tenantgate"');
    }
  });

  test("the scopes that a handler needs are looked for in the tenant's token or API key", async (t) => {
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

  test("Express and fetch: `requireFeature` works over a gate and over `getTenantPlan`", async (t) => {
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

/** A framework's middleware: from the gate of `options`, or from a configuration. */
const createOf = (module, { gate }) => module.createTenantMiddleware(gate ? { gate } : { config: { resolution: "header" }, lookupTenant });

describe("errors", () => {
  const SECRET = "postgres://user:hunter2@db";
  const fails = () => { throw new Error(SECRET); };
  const byHeader = { config: { resolution: "header" }, lookupTenant };
  /** Checks for a 500 that discloses nothing. */
  const internal = ({ status, headers, body }) => {
    assert.deepEqual([status, headers["content-type"], JSON.parse(body)], [500, "application/json", { error: { code: "INTERNAL", message: "something went wrong", details: {} } }]);
  };

  test("fetch and Hono: an application's error becomes a 500 `INTERNAL`, and fetch logs it", async (t) => {
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

  test("Express and `http`: an application's error goes to `next` without a response", async (t) => {
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

  test("a wrong use of the package becomes a 500 that discloses nothing", async (t) => {
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

  test("a custom resolver that throws causes a 503, and is not skipped", async (t) => {
    for (const framework of Object.keys(frameworks)) {
      for (const customResolver of [fails, async () => fails(), () => { throw SECRET; }]) {
        const { send } = await serve(t, framework, { config: { resolution: ["custom", "header"], customResolver }, lookupTenant });
        const answer = await send({ headers: [asAcme] });
        check(answer, "RESOLVER_FAILED");
        assert(!answer.body.includes("hunter2"));
      }
      const { send } = await serve(t, framework, { config: { resolution: ["custom", "header"], customResolver: () => null }, lookupTenant });
      check(await send({ headers: [asAcme] }), "acme", "a resolver that returns null is skipped");
    }
  });

  test("an error of the package that a handler throws keeps its status, headers and details", async (t) => {
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

  test("after a trap, middleware from a configuration works again", async (t) => {
    const { send } = await serve(t, "fetch", byHeader);
    check(await send({ headers: [asAcme] }), "acme");
    const bytes = new Uint8Array(memory.buffer);
    bytes.fill(0xff, bytes.length >> 1);
    // The next test starts with a working instance, whatever this one did.
    t.after(() => { try { gateOf([{ strategy: "header" }]); } catch { /* the failure created a new instance */ } });
    const { status, body } = await send({ headers: [asAcme] });
    assert.deepEqual([status, JSON.parse(body).error.code], [500, "GATE_FAILED"]);
    check(await send({ headers: [asAcme] }), "acme");
  });

  test("requests for ever-new hosts do not grow memory", async () => {
    const middleware = forFetch.createTenantMiddleware({ config: { resolution: "subdomain" }, lookupTenant });
    const { send } = overFetch(forFetch.handler(whoAmI, { middleware: [middleware], logger: silent }));
    const flood = async (name, count) => { for (let i = 0; i < count; i++) await send({ host: `nobody.${name}${i}.example.net` }); };
    await flood("a", 1_000);
    const settled = Gate.memoryBytes();
    await flood("b", 3_000);
    assert.equal(Gate.memoryBytes(), settled);
  });
});

describe("missing and invalid options", () => {
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
    test(`${name}: \`createTenantMiddleware\` refuses missing and invalid options`, () => {
      for (const options of missing) assert.throws(() => createTenantMiddleware(options), forFetch.ConfigurationError, JSON.stringify(options));
      for (const [options, path] of wrong) {
        assert.throws(() => createTenantMiddleware(options), (error) => error instanceof forFetch.DocumentError && error.problems.some((problem) => problem.path === path), `${path}: ${JSON.stringify(options)}`);
      }
      for (const resolution of ["custom_domain", "custom-domain"]) createTenantMiddleware(by(resolution, { domainLookup }));
    });

    test(`${name}: \`createTenantMiddleware\` refuses a call without options`, () => {
      for (const options of [undefined, null]) assert.throws(() => createTenantMiddleware(options), forFetch.ConfigurationError);
    });
  }

  test("`handler`, `configure`, `createQuotaMiddleware` and `provisionTenant` refuse invalid arguments", () => {
    for (const handle of [undefined, null, {}, "x"]) assert.throws(() => forFetch.handler(handle), InputError);
    for (const middleware of [null, {}, [null], [whoAmI, "x"]]) assert.throws(() => forFetch.handler(whoAmI, { middleware }), InputError);
    assert.throws(() => forFetch.configure({ authenticate: "me" }), InputError);
    assert.throws(() => forFetch.createQuotaMiddleware({}), forFetch.ConfigurationError);
    for (const cost of [-1, 0.5, NaN, "1"]) assert.throws(() => forFetch.createQuotaMiddleware({ quotaKey: "q", cost }), InputError);
    assert.throws(() => forFetch.provisionTenant({}), forFetch.ConfigurationError);
    assert.throws(() => forFetch.provisionTenant({}, { gate: counting().gate }), forFetch.ConfigurationError);
  });
});

describe("bodies of requests and responses", () => {
  const main = overFetch(forFetch.handler((body, ctx) => ({ body: body ?? "none", again: ctx.request.bodyUsed })));
  const post = (body, type = "application/json") => main.send({ method: "POST", body, headers: type ? [["Content-Type", type]] : [] });

  test("a JSON body is parsed and can be read again, and other bodies are not parsed", async () => {
    for (const type of ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.api+json"]) {
      assert.deepEqual(JSON.parse((await post('{"a":[1]}', type)).body), { body: { a: [1] }, again: false }, type);
    }
    for (const [body, type] of [["{}", "text/plain"], ["", "application/json"], [undefined, "application/json"], ["{}", "application/jsonp"], ["{}", "text/plain, application/json"]]) {
      assert.deepEqual(JSON.parse((await post(body, type)).body), { body: "none", again: false }, type);
    }
  });

  test("a body with invalid JSON is refused with 400, without quoting it", async () => {
    for (const body of ["{", "secret", "{}{}", "\u{feff}{}x", "NaN"]) {
      const { status, headers, body: said } = await post(body);
      assert.deepEqual([status, headers["content-type"], JSON.parse(said)], [400, "application/json", { error: { code: "BAD_REQUEST", message: "the body is not valid JSON", details: {} } }], body);
    }
  });

  test("a handler's result is the response: a value as JSON, undefined as 204, a Response as it is", async () => {
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

// Tests with requests in flight have a deadline, because a missing response would hang them.
const flight = { timeout: 20_000 };
const deferred = () => {
  let resolve;
  const promise = new Promise((done) => { resolve = done; });
  return { promise, resolve };
};
const slots = () => {
  const gate = gateOf([{ strategy: "header" }], { catalog: { limits: { slots: { kind: "concurrency", default: 1 } }, routes: [{ path: "/", limits: { slots: 1 } }] } });
  const used = (tenant = "acme") => gate.ask({ tenant, limits: { slots: 0 }, look: true }).decision.limits[0].used;
  return { gate, used, free: (what) => until(() => used() === 0, `the slot is free: ${what}`) };
};
const request = { headers: [asAcme] };

describe("requests in flight", () => {
  for (const framework of Object.keys(frameworks)) {
    test(`${framework}: a response is passed on chunk by chunk`, flight, async (t) => {
      for (const options of [{ gate: slots().gate }, { config: { resolution: "header" }, lookupTenant }]) {
        const first = deferred();
        const { open } = await serve(t, framework, options, async function* () {
          yield "one";
          // The rest waits until the client has the first chunk, so a buffered response would hang.
          await first.promise;
          yield "two";
        });
        const { status, headers, read } = await open(request);
        assert.deepEqual([status, headers["content-length"], await read()], [200, undefined, "one"]);
        first.resolve();
        assert.deepEqual([await read(), await read()], ["two", undefined]);
      }
    });

    test(`${framework}: a slot is held until the response ends`, flight, async (t) => {
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
      assert.equal(used(), 1, "a denial frees no slot");
      const other = await open({ headers: [["X-Tenant-ID", "victim"]] });
      assert.deepEqual([other.status, await other.read()], [200, "victim"], "another tenant has its own slot");
      last.resolve();
      assert.equal(await read(), undefined);
      await other.read();
      await free("the response has ended");
      assert.equal((await send(request)).status, 200);
    });

    test(`${framework}: a client that disconnects frees its slot`, flight, async (t) => {
      for (const rest of [0, 100]) {
        const { gate, used, free } = slots();
        const never = deferred();
        // The client leaves while the handler is silent, or while chunks are unread.
        const { open } = await serve(t, framework, { gate }, async function* () {
          yield "begun";
          for (let i = 0; i < rest; i++) yield "x".repeat(100_000);
          await never.promise;
        });
        const { read, leave } = await open(request);
        assert.match(await read(), /^begun/);
        assert.equal(used(), 1);
        // Not awaited: cancelling waits for the source of the response, which never ends here.
        Promise.resolve(leave()).catch(() => {});
        await free(`the client has left ${rest} chunks before the end`);
        never.resolve();
      }
    });

    test(`${framework}: a response that breaks, is empty or never begins frees its slot`, flight, async (t) => {
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

    test(`${framework}: a response to HEAD, whose body is not read, frees its slot`, flight, async (t) => {
      const { gate, free } = slots();
      const { send } = await serve(t, framework, { gate });
      assert.equal((await send({ ...request, method: "HEAD" })).status, 200);
      await free("HEAD");
    });

    test(`${framework}: a ledger that fails to release a slot does not affect the response`, flight, async (t) => {
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

    test(`${framework}: concurrent requests never see each other's tenant`, flight, async (t) => {
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
    test(`${framework}: a client that disconnects before the decision holds no slot`, flight, async (t) => {
      const { gate, used, free } = slots();
      const [asked, left, decided] = [deferred(), deferred(), deferred()];
      // A remote gate answers later, so that the client can leave before the decision.
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
      await free("the client has left before the decision");
    });
  }

  test("hono: a thrown value that is not an Error frees the slot", flight, async () => {
    const { gate, free } = slots();
    const app = new Hono();
    app.use(forHono.createTenantMiddleware({ gate })).get("/", () => { throw "no error"; });
    await assert.rejects(async () => app.request("/", { headers: { "x-tenant-id": "acme" } }), (thrown) => thrown === "no error");
    await free("a string was thrown");
  });

  test("fetch: a request without the handler's scope holds no slot", flight, async (t) => {
    const { gate, free } = slots();
    const { send } = await serve(t, "fetch", { gate }, whoAmI, { scopes: ["api.read"] });
    check(await send(request), "UNAUTHENTICATED");
    await free("the request was denied");
  });
});
