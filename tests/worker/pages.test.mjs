// CORS for pages of other origins, and upstreams behind a path prefix that they do not see.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { OPERATOR, workers } from "../support/harness.mjs";

const APP = "https://app.example.com";
const seed = {
  catalog: {
    version: 1,
    resolution: { strategies: [{ strategy: "path" }, { strategy: "header" }, { strategy: "api_key" }] },
    routes: [
      { path: "/", auth: "none" },
      { path: "/api", cors: "app" },
      { path: "/api/open", auth: "none", cors: "app", limits: { few: 1 } },
      { path: "/api/webhooks", auth: "none", feature: "webhooks", cors: "app" },
      { path: "/posted", cors: "app" },
      { path: "/posted", methods: ["POST"], cors: "poster" },
      { path: "/all", auth: "none", cors: "all" },
      { path: "/own", auth: "none", cors: "own" },
      { path: "/_gate/v1/features", auth: "none", cors: "app" },
      { path: "/_gate/ofrep", auth: "none", cors: "app" },
    ],
    cors: {
      app: { origins: [APP, "https://*.pages.example.com"], expose_headers: ["X-Total"], max_age_s: 60 },
      all: { origins: ["*"], headers: ["X-One"], methods: ["GET"] },
      own: { origins: [APP], credentials: true },
      poster: { origins: ["https://poster.example"] },
    },
    features: { webhooks: { client: true } },
    limits: { few: { kind: "quota", period: "month", mode: "strict", default: 2 } },
    plans: { "free@1": {} },
  },
  tenants: [{ id: "t_acme", slug: "acme", plan: "free@1" }, { id: "t_suspended", slug: "suspended", plan: "free@1", status: "suspended" }],
};

// Responds with CORS headers of its own, with headers that the query names, and with what it was
// sent.
const origin = `export default { async fetch(request) {
  const { searchParams, pathname } = new URL(request.url);
  const headers = new Headers({ "access-control-allow-origin": "https://origins-own.example", "access-control-max-age": "7", "x-total": "1" });
  for (const [name, value] of searchParams) headers.append(name, value);
  return Response.json({ path: pathname, prefix: request.headers.get("x-forwarded-prefix") }, { headers, status: headers.has("location") ? 302 : 200 });
} }`;

const preflight = (gate, path, from, asked = {}) =>
  gate.send(path, { method: "OPTIONS", headers: { origin: from, "access-control-request-method": "GET", ...asked } });
const told = ({ headers }) => Object.fromEntries([...headers].filter(([name]) => name.startsWith("access-control-")));
const varies = ({ headers }) => (headers.get("vary") ?? "").toLowerCase().split(",").map((name) => name.trim()).sort();

const withCatalog = (changes) => ({ ...seed, catalog: { ...seed.catalog, ...changes } });
const gates = await workers({
  own: { seed },
  before: { seed, origin },
  prefix: { seed, origin, bindings: { UPSTREAM_URL: "http://origin.internal:8080" } },
  segment: {
    seed: withCatalog({
      resolution: { strategies: [{ strategy: "path", prefix: "/" }, { strategy: "header" }, { strategy: "api_key" }] },
      routes: [...seed.catalog.routes, { path: "/login", access: "public" }],
    }),
    origin,
  },
  adds: { seed: withCatalog({ origin: { adds_prefix: true } }), origin },
  down: { seed, origin: "export default { fetch() { throw new Error('down'); } }" },
});
after(() => gates.own.stop());

for (const [gate, about] of [[gates.own, "without an upstream"], [gates.before, "with an upstream"]]) {
  const upstream = gate === gates.before;
  describe(`CORS ${about}`, () => {

    test("a preflight is answered without a credential", async () => {
      const response = await preflight(gate, "/t/acme/api/exports", APP, { "access-control-request-headers": "x-api-key, content-type" });
      assert.equal(response.status, 204);
      assert.equal(await response.text(), "");
      assert.deepEqual(told(response), {
        "access-control-allow-origin": APP, "access-control-allow-methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
        "access-control-allow-headers": "x-api-key, content-type", "access-control-max-age": "60",
      });
      assert.deepEqual(varies(response), ["access-control-request-headers", "access-control-request-method", "origin"]);
    });

    test("a preflight needs no valid tenant, and follows the policy of the route for its method", async () => {
      const asks = (path, from, method) => preflight(gate, path, from, { "access-control-request-method": method });
      for (const path of ["/t/nobody/api/exports", "/t/suspended/api/exports", "/t/No%20Name/api/exports"]) assert.equal((await asks(path, APP, "GET")).status, 204, path);
      assert.equal((await asks("/t/acme/posted", "https://poster.example", "POST")).status, 204);
      assert.equal((await asks("/t/acme/api/exports", "https://acme.pages.example.com", "GET")).status, 204);
      assert.equal((await asks("/t/acme/posted", "https://poster.example", "DELETE")).status, 403);
      const none = [{ origin: APP }, { "access-control-request-method": "GET" }];
      for (const headers of none) assert.equal((await gate.send("/t/acme/api/exports", { method: "OPTIONS", headers })).status, 401);
      const post = await gate.send("/t/acme/api/exports", { method: "POST", headers: { origin: APP, "access-control-request-method": "GET" } });
      assert.equal(post.status, 401);
    });

    test("an `Origin` header that does not match a policy exactly is refused and not repeated", async () => {
      for (const from of ["https://a\tb c.pages.example.com", "https://A.pages.example.com", "https://a.b.pages.example.com", "https://a, b.pages.example.com", "null"]) {
        const response = await preflight(gate, "/t/acme/api/exports", from);
        assert.equal(response.status, 403, from);
        assert.deepEqual(told(response), {});
        assert.equal((await gate.send("/t/acme/api/exports", { headers: { origin: from } })).status, 401);
      }
    });

    test("a preflight from an origin that the policy does not allow is refused with an error code", async () => {
      const response = await preflight(gate, "/t/acme/api/exports", "https://evil.example");
      assert.equal(response.status, 403);
      assert.equal((await response.json()).error.code, "ORIGIN_NOT_ALLOWED");
      assert.deepEqual(told(response), {});
      assert.deepEqual(varies(response), ["origin"]);
    });

    test("a preflight for a route without a policy is not answered as a preflight", async () => {
      assert.notEqual((await preflight(gate, "/t/acme/other", APP)).status, 204);
    });

    test("a policy sets the methods, headers and credentials that a preflight allows", async () => {
      assert.deepEqual(told(await preflight(gate, "/t/acme/all", "https://any.example", { "access-control-request-headers": "x-two" })), {
        "access-control-allow-origin": "*", "access-control-allow-methods": "GET", "access-control-allow-headers": "X-One", "access-control-max-age": "600",
      });
      assert.equal(told(await preflight(gate, "/t/acme/own", APP))["access-control-allow-credentials"], "true");
    });

    test("requested headers that are not a list of names are not repeated", async () => {
      for (const asked of ["x-a; y", "x-\u00fc", "x".repeat(5_000)]) {
        const response = await preflight(gate, "/t/acme/api/exports", APP, { "access-control-request-headers": asked });
        assert.equal(response.status, 204);
        assert.equal(response.headers.get("access-control-allow-headers"), null);
      }
    });

    test("an allowed page can read responses and denials, with the headers that the policy exposes", async () => {
      const exposed = "RateLimit-Policy, RateLimit, Retry-After, ETag, WWW-Authenticate, X-Total";
      const readable = { "access-control-allow-origin": "https://acme.pages.example.com", "access-control-expose-headers": exposed };
      const ask = (path, headers = {}) => gate.send(path, { headers: { origin: "https://acme.pages.example.com", "x-tenant-id": "acme", ...headers } });
      const answers = [await ask("/api/open"), await ask("/api/open"), await ask("/api/open"), await ask("/api/webhooks"), await ask("/api/exports"),
        await ask("/api/open", { "x-tenant-id": "nobody" }), await ask("/api/open", { "x-tenant-id": "no name" }), await ask("/api/open", { "x-tenant-id": "a,b" })];
      assert.deepEqual(answers.map(({ status }) => status), [200, 200, 429, 403, 401, 404, 400, 400]);
      for (const answer of answers) {
        assert.deepEqual(told(answer), readable);
        assert.ok(varies(answer).includes("origin"));
      }
      assert.match(answers[2].headers.get("ratelimit"), /r=0/);
      assert.ok(answers[4].headers.get("www-authenticate"));
    });

    test("other pages cannot read responses, which vary by `Origin`", async () => {
      const other = await gate.send("/t/acme/own", { headers: { origin: "https://evil.example" } });
      assert.equal(other.status, 200);
      assert.deepEqual(told(other), {});
      assert.ok(varies(other).includes("origin"));
      const none = await gate.send("/t/acme/own");
      assert.deepEqual(told(none), {});
      assert.ok(varies(none).includes("origin"));
      assert.deepEqual(told(await gate.send("/t/acme/all", { headers: { origin: "null" } }))["access-control-allow-origin"], "*");
    });

    test("an allowed page can read its tenant's features and evaluate flags with OpenFeature", async () => {
      const headers = { origin: APP, "x-tenant-id": "acme" };
      const asked = { "access-control-request-headers": "if-none-match, prefer", "access-control-request-method": "GET" };
      assert.equal(told(await preflight(gate, "/_gate/v1/features", APP, asked))["access-control-allow-headers"], "if-none-match, prefer");
      const features = await gate.send("/_gate/v1/features", { headers });
      assert.equal(features.status, 200);
      assert.equal(told(features)["access-control-allow-origin"], APP);
      const same = await gate.send("/_gate/v1/features", { headers: { ...headers, "if-none-match": features.headers.get("etag") } });
      assert.equal(same.status, 304);
      assert.equal(told(same)["access-control-allow-origin"], APP);
      const unknown = await gate.send("/_gate/v1/features", { headers: { ...headers, "x-tenant-id": "nobody" } });
      assert.equal(unknown.status, 404);
      assert.equal(told(unknown)["access-control-allow-origin"], APP);

      const path = "/_gate/ofrep/v1/evaluate/flags";
      const post = { "access-control-request-method": "POST", "access-control-request-headers": "content-type" };
      assert.equal((await preflight(gate, path, APP, post)).status, 204);
      assert.equal((await preflight(gate, path, "https://evil.example", post)).status, 403);
      const flags = await gate.send(path, { method: "POST", headers, body: "{}" });
      assert.equal(flags.status, 200);
      assert.equal(told(flags)["access-control-allow-origin"], APP);
      const broken = await gate.send(path, { method: "POST", headers, body: "{" });
      assert.equal(broken.status, 400);
      assert.equal(told(broken)["access-control-allow-origin"], APP);
    });

    test("endpoints that are not for pages refuse preflights", async () => {
      for (const path of ["/_gate/v1/decide", "/_gate/v1/admin/tenants", "/_gate/v1/usage"]) {
        const response = await preflight(gate, path, APP, { authorization: `Bearer ${OPERATOR}` });
        assert.ok(response.status >= 400, path);
        assert.deepEqual(told(response), {});
      }
    });

    test("an explanation shows the preflight in its trace", async () => {
      const response = await preflight(gate, "/t/acme/api/exports", APP, { "x-gate-explain": OPERATOR });
      assert.match((await response.json()).trace[0].found, /preflight/);
    });
  });
}

describe("behind a path prefix", () => {
  const gate = gates.prefix;

  test("the origin learns the removed prefix from the gate, never from the client", async () => {
    const body = await (await gate.send("/t/acme/x", { headers: { "x-forwarded-prefix": "/evil" } })).json();
    assert.deepEqual(body, { path: "/x", prefix: "/t/acme" });
    const bare = await (await gate.send("/x", { headers: { "x-tenant-id": "acme", "x-forwarded-prefix": "/evil" } })).json();
    assert.deepEqual(bare, { path: "/x", prefix: null });
  });

  const lead = async (location, path = "/t/acme/x", headers = {}) =>
    (await gate.send(`${path}?${new URLSearchParams({ location })}`, { headers })).headers.get("location");

  test("redirects to the origin's own paths get the prefix back", async () => {
    for (const [said, seen] of [
      ["/dashboard", "/t/acme/dashboard"], ["/", "/t/acme"], ["/?q=1#x", "/t/acme/?q=1#x"], ["/%2e%2e/x", "/t/acme/%2e%2e/x"],
      // The origin may have such paths of its own, so the gate does not guess.
      ["/t/acme/dashboard", "/t/acme/t/acme/dashboard"], ["/t/acme", "/t/acme/t/acme"],
      ["next", "next"], ["?page=2", "?page=2"], ["../up", "../up"],
      ["http://origin.internal:8080/a?b#c", "http://app.example.com/t/acme/a?b#c"], ["//origin.internal:8080/a", "http://app.example.com/t/acme/a"],
      ["http://app.example.com/a", "http://app.example.com/t/acme/a"], ["https://app.example.com/a", "https://app.example.com/t/acme/a"],
      ["https://elsewhere.example/a", "https://elsewhere.example/a"], ["//elsewhere.example/a", "//elsewhere.example/a"],
      ["/\\elsewhere.example", "/\\elsewhere.example"], ["mailto:a@example.com", "mailto:a@example.com"], ["https://", "https://"],
    ]) assert.equal(await lead(said), seen, said);
  });

  test("without a prefix a redirect changes only where it names the origin's own host", async () => {
    const headers = { "x-tenant-id": "acme" };
    assert.equal(await lead("/a", "/x", headers), "/a");
    assert.equal(await lead("http://origin.internal:8080/a", "/x", headers), "http://app.example.com/a");
    assert.equal(await lead("http://app.example.com/a", "/x", headers), "http://app.example.com/a");
  });

  test("cookies of the origin apply to the tenant's paths only", async () => {
    const cookies = ["a=1; Path=/; HttpOnly", "b=2; path=/sub;Secure", "c=3", "__Host-d=4; Path=/; Secure", "e=path=/x; Max-Age=1", "f=6; Path=/t/acme", "g=\"x; y\"; Path=/"];
    const search = new URLSearchParams(cookies.map((cookie) => ["set-cookie", cookie]));
    const response = await gate.send(`/t/acme/x?${search}`);
    assert.deepEqual(response.headers.getSetCookie(), [
      "a=1; Path=/t/acme; HttpOnly", "b=2; path=/t/acme/sub;Secure", "c=3", "__Host-d=4; Path=/; Secure", "e=path=/x; Max-Age=1", "f=6; Path=/t/acme/t/acme", "g=\"x; y\"; Path=/t/acme",
    ]);
    const bare = await gate.send(`/x?${search}`, { headers: { "x-tenant-id": "acme" } });
    assert.deepEqual(bare.headers.getSetCookie(), cookies);
  });
});

describe("the tenant as the first segment", () => {
  const gate = gates.segment;

  test("redirects stay below the tenant's segment, and never lead to another host", async () => {
    const lead = async (path, location) => (await gate.send(`${path}?${new URLSearchParams({ location })}`)).headers.get("location");
    assert.equal(await lead("/acme/x", "/home"), "/acme/home");
    for (const path of ["/login", "//login", "///login"]) assert.equal(await lead(path, "/evil.example/"), "/evil.example/", path);
  });

  test("the gate's own endpoints are not taken for a tenant", async () => {
    const headers = { origin: APP, "x-tenant-id": "acme" };
    const features = await gate.send("/_gate/v1/features", { headers });
    assert.deepEqual([features.status, told(features)["access-control-allow-origin"]], [200, APP]);
    assert.equal((await preflight(gate, "/_gate/ofrep/v1/evaluate/flags", APP)).status, 204);
  });
});

test("redirects of an origin that adds the prefix itself are not changed, and keep their scheme", async () => {
  const gate = gates.adds;
  const lead = async (location) => (await gate.send(`/t/acme/x?${new URLSearchParams({ location })}`)).headers.get("location");
  assert.equal(await lead("https://app.example.com/t/acme/x"), "https://app.example.com/t/acme/x");
  assert.equal(await lead("/t/acme/x"), "/t/acme/x");
});

test("an allowed page can read the error of an origin that cannot be reached", async () => {
  const gate = gates.down;
  const response = await gate.send("/api/open", { headers: { origin: APP, "x-tenant-id": "acme" } });
  assert.equal(response.status, 502);
  assert.equal(told(response)["access-control-allow-origin"], APP);
});
