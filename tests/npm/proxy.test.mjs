// Behind proxies, the host of a request is the one that the framework trusts, and no other.

import assert from "node:assert/strict";
import { once } from "node:events";
import { request as connect } from "node:http";
import { describe, test } from "node:test";
import express from "express";
import { createTenantMiddleware, requireFeature } from "../../pkg/express.js";
import { Gate } from "../../pkg/node.js";
import { serve as serveHttp } from "../support/server.mjs";

const BASE = "app.example.com";
const catalog = { version: 1, resolution: { strategies: [{ strategy: "subdomain", base_domains: [BASE] }] }, features: { webhooks: { default: true } }, plans: { "p@1": {} } };
const slugs = ["acme", "victim"];
const gate = new Gate(catalog, slugs.map((slug) => ({ id: slug, slug, plan: "p@1" })));
const lookupTenant = (id) => (slugs.includes(id) ? { id, slug: id } : null);
const forms = { gate: { gate }, config: { config: { resolution: "subdomain", baseDomains: [BASE] }, lookupTenant } };

/** Starts a server. Returns a client that sends headers as they are written. */
async function serve(t, listener) {
  const { port, stop } = await serveHttp(listener);
  t.after(stop);
  return async ({ target = "/", ...headers }) => {
    const sent = connect({ port, host: "127.0.0.1", path: target, setHost: false, headers: Object.entries({ ...headers, connection: "close" }).flatMap(([name, value]) => [value].flat().map((one) => [name, one])).flat() });
    sent.end();
    const [response] = await once(sent, "response");
    const body = JSON.parse((await response.setEncoding("utf8").toArray()).join(""));
    return body.tenant ?? body.error.code;
  };
}
const answer = (req, res) => res.end(JSON.stringify({ tenant: req.tenant.id }));
const own = { host: `acme.${BASE}` };
const to = (forwarded, more) => ({ host: "internal:4000", "x-forwarded-host": forwarded, ...more });

describe("Express with `trust proxy`", () => {
  const trusting = { true: true, loopback: "loopback", "one hop": 1, "a function": () => true };
  for (const [form, options] of Object.entries(forms)) {
    for (const [how, trust] of Object.entries(trusting)) {
      test(`Express trusts the proxy (${how}), from a ${form}: X-Forwarded-Host names the host`, async (t) => {
        const app = express().set("trust proxy", trust);
        app.use(createTenantMiddleware(options), requireFeature("webhooks", { gate }), (req, res) => (assert.equal(req.hostname, `${req.tenant.id}.${BASE}`), answer(req, res)));
        const ask = await serve(t, app);
        assert.equal(await ask(to(`acme.${BASE}`)), "acme");
        assert.equal(await ask(to(`acme.${BASE}:8443`)), "acme", "the forwarded host has a port");
        assert.equal(await ask({ host: `victim.${BASE}`, "x-forwarded-host": `acme.${BASE}` }), "acme", "`Host` names another tenant");
        assert.equal(await ask({ host: `acme.${BASE}`, "x-forwarded-host": `acme.${BASE}` }), "acme");
        assert.equal(await ask(own), "acme", "the request has no forwarded host");
        assert.equal(await ask({ ...own, "x-forwarded-host": "" }), "acme");
      });
    }

    test(`Express trusts the proxy, from a ${form}: the first of several forwarded hosts counts`, async (t) => {
      const app = express().set("trust proxy", "loopback");
      app.use(createTenantMiddleware(options), answer);
      const ask = await serve(t, app);
      assert.equal(await ask(to(`acme.${BASE}, victim.${BASE}`)), "acme");
      assert.equal(await ask(to([`acme.${BASE}`, `victim.${BASE}`])), "acme");
      assert.equal(await ask(to(`acme.${BASE}:443, proxy.internal:80`)), "acme");
    });

    test(`Express trusts the proxy, from a ${form}: an unknown or invalid forwarded host does not fall back to Host`, async (t) => {
      const app = express().set("trust proxy", "loopback");
      app.use(createTenantMiddleware(options), answer);
      const ask = await serve(t, app);
      for (const host of ["nobody.example.net", `nobody.${BASE}`, "[::1]:80", "10.0.0.7"]) assert.equal(await ask(to(host, { host: `victim.${BASE}` })), "TENANT_NOT_FOUND", host);
      for (const host of ["acme/victim", "a b", `acme.${BASE}@evil.net`]) assert.equal(await ask(to(host, { host: `victim.${BASE}` })), "BAD_REQUEST", host);
    });

    test(`Express trusts the proxy, from a ${form}: the setting applies to a mounted application`, async (t) => {
      const inner = express();
      inner.use(createTenantMiddleware(options), answer);
      const app = express().set("trust proxy", "loopback").use("/inner", inner);
      assert.equal(await (await serve(t, app))(to(`acme.${BASE}`, { target: "/inner/x" })), "acme");
    });

    for (const [how, trust] of Object.entries({ "no setting": undefined, false: false, "another address": "10.9.9.9", "a function": () => false })) {
      test(`Express does not trust the proxy (${how}), from a ${form}: forwarded hosts are ignored`, async (t) => {
        const app = express();
        if (trust !== undefined) app.set("trust proxy", trust);
        app.use(createTenantMiddleware(options), answer);
        const ask = await serve(t, app);
        assert.equal(await ask({ ...own, "x-forwarded-host": `victim.${BASE}` }), "acme");
        assert.equal(await ask({ host: `acme.${BASE}:8443`, "x-forwarded-host": `victim.${BASE}` }), "acme");
        assert.equal(await ask(to(`victim.${BASE}`)), "TENANT_NOT_FOUND");
        assert.equal(await ask({ host: `acme.${BASE}:x`, "x-forwarded-host": `acme.${BASE}` }), "BAD_REQUEST", "the value of `Host` is checked");
        // An absolute target names the host (RFC 9112 §3.2.2), with and without a forwarded host.
        for (const more of [{}, { "x-forwarded-host": `acme.${BASE}` }]) assert.equal(await ask({ ...own, ...more, target: `http://victim.${BASE}/` }), "victim");
        for (const name of ["x-forwarded-server", "x-host", "x-original-host", "forwarded"]) assert.equal(await ask({ ...own, [name]: name === "forwarded" ? `host=victim.${BASE}` : `victim.${BASE}` }), "acme", name);
      });
    }
  }

  test("Express trusts the proxy: `decide`, `question` and `explain` of a gate use the forwarded host too", async (t) => {
    const app = express().set("trust proxy", "loopback");
    app.use((req, res) => res.json({ tenant: [gate.decide(req), gate.ask(gate.question(req)).decision, gate.explain(req).decision].map(({ tenant }) => tenant.id).join(" ") }));
    assert.equal(await (await serve(t, app))(to(`acme.${BASE}`)), "acme acme acme");
  });
});

test("Node's `http` has no setting for trusted proxies, so forwarded hosts are ignored", async (t) => {
  const middleware = createTenantMiddleware({ gate });
  const ask = await serve(t, (req, res) => middleware(req, res, () => answer(req, res)));
  assert.equal(await ask({ ...own, "x-forwarded-host": `victim.${BASE}` }), "acme");
  assert.equal(await ask(to(`victim.${BASE}`)), "TENANT_NOT_FOUND");
});
