// Sockets on a host that all tenants share: the first message names the tenant, by its credential.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { issueApiKey } from "../../pkg/node.js";
import { network } from "../../src/worker/hub.js";
import { OPERATOR, workers } from "../support/harness.mjs";
import { issuer } from "../support/issuer.mjs";
import { connect } from "../support/sockets.mjs";
import { until } from "../support/wait.mjs";

const idp = await issuer({ label: "lobby" });
after(() => idp.stop());

const key = issueApiKey({ tenant: "t_acme" });
const SHARED = "ws.example.com";
const tenant = (slug, more = {}) => ({ id: `t_${slug}`, slug, plan: "pro@1", ...more });
const catalog = (strategies) => ({
  version: 1,
  resolution: { strategies: [{ strategy: "subdomain", base_domains: ["app.example.com"] }, ...strategies], central_hosts: [SHARED] },
  ...(strategies.some(({ strategy }) => strategy === "jwt") && { issuers: { main: { ...idp.entry, leeway_ms: 0 } } }),
  limits: { connections: { kind: "concurrency", mode: "strict" } },
  realtime: { connections: "connections", channels: { news: {}, "chat:*": { publish: {} } } },
  plans: { "pro@1": { limits: { connections: { limit: 100 } } }, "small@1": { limits: { connections: { limit: 2 } } } },
});
const SLUGS = ["acme", "other", "chat", "away", "gate", "slow", "trap", "closed"];
const tenants = [...SLUGS.map((slug) => tenant(slug)), tenant("small", { plan: "small@1" }), tenant("gone", { status: "suspended" }), { id: "t_eu_one", slug: "eu", plan: "pro@1" }];
const gates = await workers({
  gate: { seed: { catalog: catalog([{ strategy: "jwt" }]), tenants }, direct: true, bindings: { LEDGER_JURISDICTIONS: "t_eu_=eu" } },
  // Nothing but a host names a tenant here.
  named: { seed: { catalog: catalog([]), tenants: [tenant("acme")] }, direct: true },
  control: { control: true, direct: true },
  keyed: { seed: { catalog: catalog([{ strategy: "api_key", header_name: "x-own-key" }]), tenants: [tenant("acme")], api_keys: [key.record] }, direct: true },
}, { durable: true });
const { gate, control } = gates;
after(() => gate.stop());

const token = (slug, claims) => idp.sign(`t_${slug}`, claims);
/** Opens a socket whose request names no tenant. */
async function waiting(options = {}) {
  const client = connect(options.gate ?? gate, { host: SHARED, ...options });
  await until(() => client.socket.readyState === 1 || client.refused !== null);
  return client;
}
/** The same, admitted by its first message. */
async function admitted(slug, { claims, first, ...options } = {}) {
  const client = await waiting(options);
  client.send({ action: "auth", token: await token(slug, claims), tenantId: slug, ...first });
  const greeting = await client.next("auth");
  assert.equal(greeting.success, true, JSON.stringify(greeting));
  return Object.assign(client, { greeting });
}
const operator = async (path, init = {}, of = gate) => {
  const response = await fetch(new URL(path, of.urls[0]), { ...init, headers: { authorization: `Bearer ${OPERATOR}` } });
  return { status: response.status, body: await response.json() };
};
const publish = (id, messages, of) => operator("/_gate/v1/messages", { method: "POST", body: JSON.stringify({ tenant: id, messages }) }, of);

describe("on a host that names no tenant", () => {
  test("a first message with a token and a tenantId admits a client to the tenant of its token", async () => {
    const client = await waiting();
    assert.deepEqual(await client.ask({ action: "ping" }), { action: "pong", id: 1 });
    client.send({ action: "auth", token: await token("acme"), tenantId: "acme", id: "mine" });
    const { success, tenantId, userId, id } = await client.next("auth");
    assert.deepEqual({ success, tenantId, userId, id }, { success: true, tenantId: "t_acme", userId: "user-1", id: "mine" });
    const { body } = await operator("/_gate/v1/connections?tenant=t_acme");
    assert.equal(body.connections.length, 1);
    client.close();
    await until(async () => (await operator("/_gate/v1/connections?tenant=t_acme")).body.connections.length === 0);
  });

  test("members of a tenant meet, by whichever host they come", async () => {
    const ann = await admitted("chat", { claims: { sub: "ann" }, first: { channels: ["chat:1", "news"] } });
    const bob = connect(gate, { host: "chat.app.example.com", token: await token("chat", { sub: "bob" }), query: "channel=chat:1" });
    await bob.next("auth");
    const stranger = await admitted("other");
    assert.deepEqual(ann.greeting.channels, ["chat:1", "news"]);
    assert.equal((await bob.ask({ action: "publish", channel: "chat:1", data: "Hello!" })).success, true);
    assert.equal((await ann.ask({ action: "broadcast", data: { text: "Hi!" } })).success, true);
    await until(() => ann.messages.length === 2 && bob.messages.length === 2);
    assert.deepEqual(ann.messages.map(({ from, data }) => [from, data]), [["bob", "Hello!"], ["ann", { text: "Hi!" }]]);
    await stranger.ask({ action: "ping" });
    assert.deepEqual(stranger.messages, []);
    for (const client of [ann, bob, stranger]) client.close();
  });

  test("messages right behind the credential are read in their order", async () => {
    const client = await waiting();
    client.send({ action: "auth", token: await token("chat"), channels: ["chat:2"], id: 0 });
    for (let n = 1; n <= 8; n++) client.send({ action: "publish", channel: "chat:2", data: n, id: n });
    await until(() => client.messages.length === 8);
    assert.deepEqual(client.messages.map(({ data }) => data), [1, 2, 3, 4, 5, 6, 7, 8]);
    client.close();
  });

  test("a client that returns receives what it has missed, a whole log of it", async () => {
    const first = await admitted("away");
    const { epoch, seq } = first.greeting;
    first.close();
    const data = "x".repeat(30_000);
    for (let n = 0; n < 4; n++) assert.equal((await publish("t_away", Array.from({ length: 30 }, () => ({ data })))).status, 200);
    const back = await admitted("away", { first: { since: { epoch, seq }, packed: true } });
    assert.equal(back.greeting.recovered, true);
    await until(() => back.messages.length === 120);
    assert.deepEqual(back.messages.map((message) => message.seq), Array.from({ length: 120 }, (_, n) => seq + n + 1));
    back.close();
  });

  const firsts = {
    "a token of an unknown tenant": [async () => ({ action: "auth", token: await token("nobody") }), 4403, "TENANT_NOT_FOUND"],
    "another tenant in the message": [async () => ({ action: "auth", token: await token("acme"), tenantId: "other" }), 4403, "TENANT_MISMATCH"],
    "a suspended tenant": [async () => ({ action: "auth", token: await token("gone") }), 4403, "TENANT_SUSPENDED"],
    "a tenant that must stay in a jurisdiction": [async () => ({ action: "auth", token: await token("eu_one") }), 4403, "RESIDENCY_VIOLATION"],
    "an expired token": [async () => ({ action: "auth", token: await token("acme", { exp: 1_000 }) }), 4401, "UNAUTHENTICATED"],
    "an unsigned token": [async () => ({ action: "auth", token: `${btoa('{"alg":"none"}').replace(/=/g, "")}.e30.` }), 4401, "UNAUTHENTICATED"],
    "a message instead": [async () => ({ action: "broadcast", data: 1 }), 4401, "UNAUTHENTICATED"],
    "text that is not JSON": [async () => "hello", 4400, "BAD_REQUEST"],
    "a message of more than 8 KiB": [async () => ({ action: "auth", token: "x".repeat(8 << 10) }), 4413, "PAYLOAD_TOO_LARGE"],
    "a binary message": [async () => Buffer.from("{}"), 4400, "BAD_REQUEST"],
  };
  for (const [name, [message, status, reason]] of Object.entries(firsts)) {
    test(`${name} as the first message: closed`, async () => {
      const client = await waiting();
      const made = await message();
      if (made instanceof Buffer) client.socket.send(made);
      else client.send(made);
      assert.deepEqual(await client.ended(), { code: status, reason });
      if (made.action === "auth" && status !== 4413) assert.equal(client.frames[0].error.code, reason);
    });
  }

  test("a client that asks without end before it is admitted is closed", async () => {
    const client = await waiting();
    for (let n = 0; n < 20; n++) client.send({ action: "ping" });
    assert.deepEqual(await client.ended(), { code: 4429, reason: "RATE_LIMITED" });
  });

  test("at most five sockets of one address wait, and members do not count", async () => {
    const members = [await admitted("acme"), await admitted("acme")];
    const clients = await Promise.all(Array.from({ length: 5 }, () => waiting()));
    const refused = await waiting();
    assert.deepEqual([refused.refused.status, refused.refused.body.error.code], [429, "CONCURRENCY_LIMITED"]);
    const page = connect(gate, { host: SHARED, protocols: ["tenantgate"] });
    assert.deepEqual(await page.ended(), { code: 4429, reason: "CONCURRENCY_LIMITED" });
    clients[0].close();
    let next;
    await until(async () => (next = await waiting()).refused === null);
    for (const client of [...members, ...clients, next]) client.close();
  });

  test("an API key is read from the header that the catalog names", async () => {
    const client = await waiting({ gate: gates.keyed });
    client.send({ action: "auth", token: key.key });
    assert.deepEqual((({ success, userId }) => ({ success, userId }))(await client.next("auth")), { success: true, userId: `key:${key.record.id}` });
    client.close();
    await gates.keyed.restart();
    const page = connect(gates.keyed, { host: SHARED, protocols: ["tenantgate", `bearer.${key.key}`] });
    assert.equal((await page.next("auth")).success, true);
    page.close();
  });

  test("what a client asks for belongs in its first message", async () => {
    for (const query of ["channel=news", "packed=true", "epoch=a&seq=1"]) {
      const { status, body } = await connect(gate, { host: SHARED, query }).ended();
      assert.deepEqual([status, body.error.code], [400, "BAD_REQUEST"]);
      assert.match(JSON.stringify(body), /first message/);
    }
  });

  test("connections are counted, and a place is free again once its client has left", async () => {
    const clients = [await admitted("small"), await admitted("small")];
    const third = await waiting();
    third.send({ action: "auth", token: await token("small") });
    assert.deepEqual(await third.ended(), { code: 4429, reason: "CONCURRENCY_LIMITED" });
    clients[0].socket.terminate();
    await until(async () => {
      const client = await waiting();
      client.send({ action: "auth", token: await token("small") });
      const { success } = await client.next("auth");
      client.close();
      return success;
    });
    clients[1].close();
  });

  test("a client that does not read for a moment receives everything afterwards, and costs the others nothing", async () => {
    const [slow, quick] = [await admitted("slow", { first: { packed: true } }), await admitted("slow", { claims: { sub: "quick" } })];
    slow.socket.pause();
    const data = "x".repeat(30_000);
    // More than the connection holds; less than the hub's log.
    for (let n = 1; n <= 4; n++) {
      assert.equal((await publish("t_slow", Array.from({ length: 30 }, () => ({ data })))).status, 200);
      await until(() => quick.messages.length === 30 * n);
    }
    slow.socket.resume();
    await until(() => slow.messages.length === 120);
    assert.deepEqual(slow.messages.map(({ seq }) => seq), quick.messages.map(({ seq }) => seq));
    assert.equal((await slow.ask({ action: "ping" })).action, "pong");
    for (const client of [slow, quick]) client.close();
  });

  test("a trap of the module leaves other sockets open, and the lobby usable", async () => {
    const member = await admitted("trap");
    const [client, judged] = [await waiting(), await waiting()];
    judged.send({ action: "auth", token: await token("trap") });
    client.send({ action: "trap" });
    assert.equal((await client.ended()).code, 4503);
    // One that was judged at that moment is told so at once, or was admitted before.
    await until(() => judged.closed?.code === 4503 || judged.frames.length > 0);
    judged.close();
    const { status } = await publish("t_trap", [{ data: "after" }]);
    assert.equal(status, 200);
    await until(() => member.messages.length === 1);
    (await admitted("trap")).close();
    member.close();
  });

  test("without a strategy that reads credentials, the shared host refuses sockets", async () => {
    const refused = await waiting({ gate: gates.named });
    assert.deepEqual([refused.refused.status, refused.refused.body.error.code], [404, "TENANT_NOT_FOUND"]);
  });
});

test("sockets that came by the shared host are closed by the operator, and by a suspension", async () => {
  await control.admin("PUT", "/catalog", catalog([{ strategy: "jwt" }]));
  const { body } = await control.admin("POST", "/tenants", { name: "one", plan: "pro@1" });
  const { id } = body.tenant;
  const open = async () => {
    const client = await waiting({ gate: control });
    client.send({ action: "auth", token: await idp.sign(id) });
    const greeting = await client.next("auth");
    assert.equal(greeting.success, true, JSON.stringify(greeting));
    return Object.assign(client, { greeting });
  };
  const [one, two] = [await open(), await open()];
  const closed = await operator(`/_gate/v1/connections?tenant=${id}&id=${one.greeting.connectionId}`, { method: "DELETE" }, control);
  assert.equal(closed.status, 200, JSON.stringify(closed.body));
  assert.deepEqual(await one.ended(), { code: 4401, reason: "UNAUTHENTICATED" });
  await control.admin("POST", `/tenants/${id}/suspend`, { reason: "unpaid" });
  assert.deepEqual(await two.ended(), { code: 4403, reason: "TENANT_SUSPENDED" });
});

test("addresses of one IPv6 network count as one client", () => {
  const networks = { "203.0.113.7": "203.0.113.7", "2a01:4f8:1:2:3:4:5:6": "2a01:4f8:1:2", "2a01:4f8::1:2:3:4": "2a01:4f8:0:0", "2a01:4f8::5:2:3:4": "2a01:4f8:0:0", "::1": "0:0:0:0", "2a01::": "2a01:0:0:0" };
  for (const [address, own] of Object.entries(networks)) assert.equal(network(address), own, address);
});
