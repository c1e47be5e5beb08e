// Sockets as applications use them: `tenantgate/ws` on the server, by HTTP and by RPC, and
// `tenantgate/ws/client` in Node and in Chromium.

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { buildSync } from "esbuild";
import { connectionStore, createConnectionStore } from "../../pkg/ws.js";
import { connect } from "../../pkg/ws-client.js";
import { COMPATIBILITY_DATE, OPERATOR, workers } from "../support/harness.mjs";
import { issuer } from "../support/issuer.mjs";
import { chrome } from "../support/chrome.mjs";
import { serve } from "../support/server.mjs";
import { sleep, until } from "../support/wait.mjs";

const root = join(import.meta.dirname, "../..");
const idp = await issuer({ label: "sockets" });
const seed = {
  catalog: {
    version: 1,
    resolution: { strategies: [{ strategy: "subdomain", base_domains: ["app.localhost"] }, { strategy: "jwt" }] },
    issuers: { main: { ...idp.entry, leeway_ms: 0 } },
    realtime: { channels: { news: {}, "chat:*": { publish: {} } } },
    plans: { "pro@1": {} },
  },
  tenants: ["acme", "seed", "client", "page", "renewed", "worker"].map((slug) => ({ id: `t_${slug}`, slug, plan: "pro@1" })),
};

// An application with a service binding to the gate. The block is the seed's.
const APP = `
import { connectionStore } from "tenantgate/ws";
export default {
  async fetch(request) {
    const { domainName, stage, tenantId, data } = await request.json();
// Broadcast within a tenant
await connectionStore.sendToTenant(domainName, stage, tenantId, data);
// Query tenant connections
const connections = await connectionStore.getByTenant(tenantId);
    const refused = await connectionStore.sendToTenant(domainName, stage, "t_nobody", data).catch(({ code, status }) => ({ code, status }));
    return Response.json({ connections, refused });
  },
};`;
const bundled = () => buildSync({
  stdin: { contents: APP, resolveDir: root }, bundle: true, format: "esm", write: false, external: ["cloudflare:*"], alias: { "tenantgate/ws": join(root, "pkg/ws-workerd.js") },
}).outputFiles[0].text;

const { gate, control } = await workers({
  control: { control: true, direct: true },
  gate: {
    seed, direct: true,
    beside: [{ name: "app", modules: true, script: bundled(), compatibilityDate: COMPATIBILITY_DATE, serviceBindings: { GATE: { name: "gate", entrypoint: "TenantGate" } } }],
  },
}, { durable: true });
after(async () => {
  await gate.stop();
  await idp.stop();
});

const url = () => new URL(gate.urls[0]);
/** Where a tenant's host leads to in this test. */
const at = (slug) => `http://${slug}.app.localhost:${url().port}`;
const token = (slug, claims) => idp.sign(`t_${slug}`, claims);

/** Node resolves no name below `localhost`: connects to the address, with the host in its header. */
class HostedSocket {
  constructor(address, protocols) {
    const { host, port } = new URL(address);
    return new Ws(address.replace(host, `127.0.0.1:${port}`), protocols, { headers: { host } });
  }
}
const { WebSocket: Ws } = await import("ws");
const socketOf = (slug, options = {}) => connect(at(slug), { token: () => token(slug, options.claims), WebSocket: HostedSocket, ...options.more });
/** The events of a socket. */
const recorded = (socket) => {
  const events = [];
  for (const name of ["message", "open", "close", "presence", "gap", "unsubscribed", "end"]) socket.on(name, (detail) => events.push([name, detail]));
  return events;
};
const messages = (events) => events.filter(([name]) => name === "message").map(([, { data }]) => data);
const store = createConnectionStore({ url: String(url()), token: OPERATOR });

describe("the server", () => {
  test("sends and lists by the environment's deployment, as the seed's blocks do", async () => {
    const socket = socketOf("seed");
    const events = recorded(socket);
    await socket.ready();
    Object.assign(process.env, { TENANTGATE_URL: String(url()), TENANTGATE_TOKEN: OPERATOR });
    const [domainName, stage, tenantId, data] = ["api.example.com", "prod", "t_seed", { text: "Hello!" }];
    // Broadcast within a tenant
    await connectionStore.sendToTenant(domainName, stage, tenantId, data);
    // Query tenant connections
    const connections = await connectionStore.getByTenant(tenantId);
    assert.equal(connections.length, 1);
    assert.equal(connections[0].userId, "user-1");
    await until(() => messages(events).length === 1);
    assert.deepEqual(messages(events), [data]);
    // The seed's message, on a socket without a credential.
    const raw = new HostedSocket(`${at("seed").replace("http", "ws")}/_gate/v1/connect`);
    const replies = [];
    raw.on("message", (text) => replies.push(JSON.parse(text)));
    await new Promise((resolve) => raw.on("open", resolve));
    raw.send(JSON.stringify({ action: "auth", token: await token("seed"), tenantId: "seed" }));
    await until(() => replies.length === 1);
    assert.deepEqual([replies[0].action, replies[0].success, replies[0].tenantId], ["auth", true, "t_seed"]);
    raw.terminate();
    socket.close();
  });

  test("the same block runs in a Worker, by RPC", async () => {
    const socket = socketOf("worker");
    const events = recorded(socket);
    await socket.ready();
    const app = await gate.flare.getWorker("app");
    const response = await app.fetch("http://app/", { method: "POST", body: JSON.stringify({ domainName: "x", stage: "prod", tenantId: "t_worker", data: 7 }) });
    const { connections, refused } = await response.json();
    assert.equal(connections.length, 1);
    assert.deepEqual(refused, { code: "TENANT_NOT_FOUND", status: 404 });
    await until(() => messages(events).length === 1);
    socket.close();
  });

  test("names what is wrong", async () => {
    const code = (promise) => promise.then(() => "none", (error) => error.code);
    assert.equal(await code(store.sendToTenant(undefined, undefined, "t_acme", undefined)), "INVALID_INPUT");
    assert.equal(await code(store.sendToTenant(undefined, undefined, "", 1)), "INVALID_INPUT");
    assert.equal(await code(store.sendToTenant(undefined, undefined, "t_acme", 1, { chanel: "news" })), "INVALID_INPUT");
    assert.equal(await code(store.publish("t_acme", [{ data: 1, channel: "a b" }])), "INVALID_DOCUMENT");
    assert.equal(await code(store.getByTenant("t_nobody")), "TENANT_NOT_FOUND");
    assert.equal(await code(createConnectionStore({ url: String(url()), token: "wrong" }).getByTenant("t_acme")), "UNAUTHENTICATED");
    for (const options of [{}, { url: "nowhere", token: "x" }, { service: undefined }, { url: "https://x", token: "x", servce: 1 }]) {
      assert.throws(() => createConnectionStore(options), { code: "INVALID_INPUT" });
    }
  });
});

describe("the client", () => {
  test("subscribes, publishes, and sees who is present", async () => {
    const [ann, bob] = ["ann", "bob"].map((sub) => socketOf("client", { claims: { sub } }));
    const events = recorded(ann);
    const heard = [];
    const { users } = await ann.subscribe("chat:1", ({ data, from }) => heard.push([from, data]), { presence: true });
    assert.deepEqual(users, ["ann"]);
    await bob.subscribe("chat:1");
    assert.equal(typeof (await bob.publish("chat:1", { text: "Hi!" })), "number");
    await bob.send("ann", "you");
    await until(() => messages(events).length === 2);
    assert.deepEqual(heard, [["bob", { text: "Hi!" }]]);
    assert.deepEqual(events.filter(([name]) => name === "presence").map(([, { joined }]) => joined), [["bob"]]);
    assert.deepEqual(await ann.presence("chat:1"), { users: ["ann", "bob"], total: 2 });
    await assert.rejects(ann.publish("news", 1), { code: "FORBIDDEN" });
    await assert.rejects(ann.subscribe("none"), { code: "NOT_FOUND" });
    await assert.rejects(ann.broadcast(undefined), { code: "INVALID_INPUT" });
    ann.close();
    bob.close();
    await assert.rejects(ann.broadcast(1), { code: "DISCONNECTED" });
  });

  test("renews its token before it ends, and returns with a new one when it is closed", async () => {
    let asked = 0;
    const socket = connect(at("renewed"), { WebSocket: HostedSocket, token: () => token("renewed", { exp: Math.floor(Date.now() / 1_000) + (asked++ ? 600 : 4) }) });
    const events = recorded(socket);
    await socket.ready();
    // The token ends within a minute, so the gate says so at once.
    await until(() => asked === 2);
    const [{ connectionId }] = await store.getByTenant("t_renewed");
    await store.close("t_renewed", connectionId);
    await until(() => events.filter(([name]) => name === "open").length === 2);
    assert.equal(asked, 3);
    assert(!events.some(([name]) => name === "gap"));
    socket.close();
  });

  test("receives what it has missed, also over a restart of the gate", async () => {
    const socket = socketOf("acme");
    const events = recorded(socket);
    await socket.subscribe("news");
    await store.publish("t_acme", [{ data: 1 }, { data: 2, channel: "news" }]);
    await until(() => messages(events).length === 2);
    await gate.restart();
    const again = createConnectionStore({ url: String(url()), token: OPERATOR });
    await again.publish("t_acme", Array.from({ length: 30 }, (_, n) => ({ data: n + 3, ...(n % 2 && { channel: "news" }) })));
    // The port has changed, which no client would see in production.
    const returned = connect(at("acme"), { token: () => token("acme"), WebSocket: HostedSocket, channels: ["news"], since: socket.position });
    socket.close();
    const more = recorded(returned);
    await until(() => messages(more).length === 30);
    assert.deepEqual(messages(more), Array.from({ length: 30 }, (_, n) => n + 3));
    await again.publish("t_acme", [{ data: "last" }]);
    await until(() => messages(more).length === 31);
    returned.close();

    const lost = connect(at("acme"), { token: () => token("acme"), WebSocket: HostedSocket, since: { epoch: "other", seq: 5 } });
    const told = recorded(lost);
    await lost.ready();
    assert.deepEqual(told.map(([name]) => name), ["open", "gap"]);
    lost.close();
  });

  test("ends when the gate will not have it", async () => {
    const socket = connect(at("acme"), { token: () => token("client"), WebSocket: HostedSocket });
    const ended = await new Promise((resolve) => socket.on("end", resolve));
    assert.equal(ended.code, "TENANT_MISMATCH");
    await assert.rejects(socket.ready(), { code: "DISCONNECTED" });
    const refused = connect(at("acme"), { token: "no token", WebSocket: class { constructor() { throw new Error("not reached"); } } });
    refused.close();
    for (const options of [{}, { token: 1 }, { token: "x", channels: "news" }, { token: "x", chanels: [] }]) assert.throws(() => connect(at("acme"), options), { code: "INVALID_INPUT" });
    for (const bad of ["acme", "ftp://acme"]) assert.throws(() => connect(bad, { token: "x", WebSocket: HostedSocket }), { code: "INVALID_INPUT" });
  });

  test("tells a page's features of changes, so that they need not poll", async () => {
    const { FeatureClient, init } = await import("../../pkg/client/node.js");
    await init();
    const catalog = { ...seed.catalog, features: { beta: { client: true } } };
    assert.equal((await control.admin("PUT", "/catalog", catalog)).status, 200);
    const { body: { tenant: { id } } } = await control.admin("POST", "/tenants", { slug: "featured", name: "Featured", plan: "pro@1" });
    const socket = connect(`http://featured.app.localhost:${new URL(control.urls[0]).port}`, { token: () => idp.sign(id), WebSocket: HostedSocket });
    await socket.ready();
    let asked = 0;
    const headers = { authorization: `Bearer ${await idp.sign(id)}` };
    const features = new FeatureClient({
      url: `http://featured.app.localhost/_gate/v1/features`, headers, storage: null, socket, waitS: 2,
      fetch: (url, init) => (asked++, control.send(new URL(url).pathname, { host: "featured.app.localhost", headers: init.headers })),
    });
    await features.ready;
    assert.equal(features.enabled("beta"), false);
    await until(() => asked >= 2);
    await sleep(3_000);
    const before = asked;
    await sleep(3_000);
    assert.equal(asked, before, "it does not poll");
    const changed = new Promise((resolve) => features.addEventListener("change", resolve));
    assert.equal((await control.admin("PUT", `/tenants/${id}/overrides`, { feature: "beta", value: true })).status, 200);
    await changed;
    assert.equal(features.enabled("beta"), true);
    features.close();
    socket.close();
  });

  test("works in a page", async () => {
    const entry = `import { connect } from "tenantgate/ws/client"; globalThis.connect = connect;`;
    const script = buildSync({ stdin: { contents: entry, resolveDir: root }, bundle: true, format: "iife", write: false, minify: true, alias: { "tenantgate/ws/client": join(root, "pkg/ws-client.js") } }).outputFiles[0].text;
    assert(script.length < 20_000, `${script.length} bytes`);
    const site = await serve((request, response) => response.writeHead(200, { "content-type": "text/html" }).end(`<!doctype html><title>Socket</title><script>${script}</script>`));
    const chromium = await chrome();
    after(async () => {
      await chromium.close();
      await site.stop();
    });
    const page = await chromium.newPage();
    const errors = [];
    page.on("pageerror", (error) => errors.push(String(error)));
    await page.goto(`http://page.app.localhost:${site.port}/`);
    await page.evaluate(([address, token]) => {
      globalThis.events = [];
      globalThis.socket = connect(address, { token, channels: ["news"] });
      for (const name of ["message", "open", "close", "gap", "end"]) socket.on(name, (detail) => events.push([name, detail?.data ?? detail?.code ?? null]));
    }, [at("page"), await token("page")]);
    await page.waitForFunction("socket.isOpen");
    const again = createConnectionStore({ url: String(url()), token: OPERATOR });
    await again.publish("t_page", [{ data: "one" }, { data: "two", channel: "news" }]);
    await page.waitForFunction("events.length === 3");
    assert.deepEqual(await page.evaluate("events"), [["open", null], ["message", "one"], ["message", "two"]]);
    const [{ connectionId }] = await again.getByTenant("t_page");
    const begun = performance.now();
    await again.close("t_page", connectionId);
    await again.publish("t_page", [{ data: "missed" }]);
    await page.waitForFunction(`events.some(([, data]) => data === "missed")`);
    assert.deepEqual((await page.evaluate("events")).map(([name]) => name), ["open", "message", "message", "close", "open", "message"]);
    console.log(`back in the page after ${Math.round(performance.now() - begun)} ms`);
    assert.deepEqual(errors, []);
  });
});
