// Sockets of tenants on real workerd, over real TCP: who may open one, who receives what and in
// which order, what a client that was away receives, and when sockets are closed.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { issueApiKey } from "../../pkg/node.js";
import { OPERATOR, workers } from "../support/harness.mjs";
import { issuer } from "../support/issuer.mjs";
import { admitted, connect } from "../support/sockets.mjs";
import { sleep, until, untilEqual } from "../support/wait.mjs";

const idp = await issuer({ label: "realtime" });
const second = await issuer({ label: "second" });
after(() => Promise.all([idp.stop(), second.stop()]));
const key = issueApiKey({ tenant: "t_acme", scopes: ["staff"] });

const HOST = (slug) => `${slug}.app.example.com`;
const tenant = (slug, more = {}) => ({ id: `t_${slug}`, slug, plan: "pro@1", ...more });
const catalog = (changes = {}) => ({
  version: 1,
  resolution: {
    strategies: [
      { strategy: "subdomain", base_domains: ["app.example.com"] },
      { strategy: "jwt", cookie_name: "session" },
      { strategy: "api_key" },
    ],
    central_hosts: ["app.example.com"],
  },
  issuers: { main: { ...idp.entry, leeway_ms: 0 }, second: second.entry },
  features: { live: { type: "boolean", default: true }, premium: { type: "boolean", default: false } },
  limits: {
    connections: { kind: "concurrency", mode: "strict" },
    messages: { kind: "quota", period: "month", mode: "leased" },
  },
  routes: [{ path: "/_gate/v1/connect", feature: "live" }],
  realtime: {
    connections: "connections",
    limits: { messages: 1 },
    channels: {
      news: {},
      "chat:*": { publish: {} },
      vip: { subscribe: { feature: "premium" } },
      "staff:*": { subscribe: { scopes: ["staff"] }, publish: { scopes: ["staff"] } },
    },
  },
  plans: { "pro@1": { features: [], limits: { connections: { limit: 100 }, messages: { limit: 100_000 } } }, "small@1": { limits: { connections: { limit: 10 }, messages: { limit: 20 } } } },
  ...changes,
});

const SLUGS = ["acme", "other", "order", "away", "slow", "flood", "list", "full", "parent", "chat", "trap", "attack", "burst"];
const gates = await workers({
  gate: {
    seed: {
      catalog: catalog(),
      tenants: [
        ...SLUGS.map((slug) => tenant(slug)), tenant("small", { plan: "small@1" }), tenant("off", { overrides: [{ feature: "live", value: false }] }),
        tenant("gone", { status: "suspended" }), { id: "t_child", slug: "child", parent: "t_parent" },
      ],
      api_keys: [key.record],
    },
    direct: true,
  },
  plain: { seed: { catalog: catalog({ realtime: undefined, routes: [] }), tenants: [tenant("acme")] }, direct: true },
  control: { control: true, direct: true },
  // Ten sockets fill a hub.
  sharded: { seed: { catalog: catalog(), tenants: ["acme", "gone", "race"].map((slug) => tenant(slug)) }, direct: true, bindings: { HUB_SOCKETS: "10" } },
});
const { gate, control } = gates;
after(() => gate.stop());

const token = (slug, claims, header) => idp.sign(`t_${slug}`, claims, header);
const open = async (slug, { claims, ...options } = {}) => admitted(options.gate ?? gate, { host: HOST(slug), token: await token(slug, claims), ...options });
const operator = (path, init = {}, of = gate) => fetch(new URL(path, of.urls[0]), { ...init, headers: { authorization: `Bearer ${OPERATOR}`, ...init.headers } });
const publish = async (slug, messages, more = {}, of = gate) => {
  const response = await operator("/_gate/v1/messages", { method: "POST", body: JSON.stringify({ tenant: `t_${slug}`, messages: messages.map((one) => (Object(one).data === undefined ? { data: one } : one)), ...more }) }, of);
  return { status: response.status, body: await response.json() };
};
const seqs = (client) => client.messages.map(({ seq }) => seq);

describe("who may open a socket", () => {
  test("a token in the header, as a subprotocol, in a cookie of the same origin, and an API key", async () => {
    const good = await token("acme");
    const ways = [
      { token: good },
      { protocols: ["tenantgate", `bearer.${good}`] },
      { headers: { cookie: `session=${good}`, origin: `https://${HOST("acme")}` } },
      { headers: { "x-api-key": key.key } },
      { protocols: ["tenantgate", `bearer.${key.key}`] },
    ];
    for (const way of ways) {
      const client = await admitted(gate, { host: HOST("acme"), ...way });
      assert.equal(client.greeting.userId, JSON.stringify(way).includes(key.key) ? `key:${key.record.id}` : "user-1");
      assert.equal(client.socket.protocol, way.protocols ? "tenantgate" : "");
      // A compressed frame could be a thousand times as large as it looks.
      assert.equal(client.socket.extensions, "");
      client.close();
    }
  });

  test("the first message brings the token, and nothing comes before it", async () => {
    const client = connect(gate, { host: HOST("acme") });
    await until(() => client.socket.readyState === 1);
    await publish("acme", ["not for you"]);
    client.send({ action: "auth", token: await token("acme"), tenantId: "acme" });
    assert.equal((await client.next("auth")).success, true);
    assert.deepEqual(client.frames.map(({ action }) => action), ["auth"]);
    assert.deepEqual(await client.ask({ action: "ping" }), { action: "pong", id: 1 });
    client.close();
  });

  const refusals = {
    "a token of another tenant": [async () => ({ token: await token("other") }), 403, "TENANT_MISMATCH"],
    "an expired token": [async () => ({ token: await token("acme", { exp: 1_000 }) }), 401, "UNAUTHENTICATED"],
    "a token of another audience": [async () => ({ token: await token("acme", { aud: "else" }) }), 401, "UNAUTHENTICATED"],
    "a token that is not valid yet": [async () => ({ token: await token("acme", { nbf: Date.now() / 1_000 + 500 }) }), 401, "UNAUTHENTICATED"],
    "a token in the URL": [async () => ({ query: `token=${await token("acme")}` }), 400, "BAD_REQUEST"],
    "a position that is no number": [async () => ({ token: await token("acme"), query: "seq=-1" }), 400, "BAD_REQUEST"],
    "a suspended tenant": [async () => ({ host: HOST("gone"), token: await token("gone") }), 403, "TENANT_SUSPENDED"],
    "a suspended tenant, without a token": [async () => ({ host: HOST("gone") }), 403, "TENANT_SUSPENDED"],
    "a tenant without the feature": [async () => ({ host: HOST("off"), token: await token("off") }), 403, "FEATURE_NOT_AVAILABLE"],
    "an unknown tenant": [async () => ({ host: HOST("nobody") }), 404, "TENANT_NOT_FOUND"],
  };
  for (const [name, [options, status, code]] of Object.entries(refusals)) {
    test(`${name}: refused`, async () => {
      const given = await options();
      const refused = await connect(gate, { host: HOST("acme"), ...given }).ended();
      assert.deepEqual([refused.status, refused.body.error.code], [status, code]);
      if (status === 400) return;
      // A page reads frames alone.
      const page = connect(gate, { host: HOST("acme"), ...given, protocols: ["tenantgate"] });
      const { code: closed, reason } = await page.ended();
      assert.equal(reason, code);
      assert.equal(closed, status === 401 ? 4401 : 4403);
      assert.equal(page.frames[0].error.code, code);
    });
  }

  test("a cookie of another origin is no credential", async () => {
    const cookie = `session=${await token("acme")}`;
    const client = connect(gate, { host: HOST("acme"), headers: { cookie, origin: "https://evil.example" } });
    await until(() => client.socket.readyState === 1);
    client.send({ action: "broadcast", data: 1 });
    assert.equal((await client.ended()).code, 4401);
    assert.deepEqual(client.frames, []);
  });

  const firsts = {
    "a token of another tenant": [async () => ({ action: "auth", token: await token("other") }), 4403, "TENANT_MISMATCH"],
    "another tenant in the message": [async () => ({ action: "auth", token: await token("acme"), tenantId: "other" }), 4403, "TENANT_MISMATCH"],
    "an unsigned token": [async () => ({ action: "auth", token: `${btoa('{"alg":"none"}').replace(/=/g, "")}.e30.` }), 4401, "UNAUTHENTICATED"],
    "a message instead": [async () => ({ action: "broadcast", data: 1 }), 4401, "UNAUTHENTICATED"],
    "text that is not JSON": [async () => "hello", 4400, "BAD_REQUEST"],
    "a repeated member": [async () => `{"action":"auth","token":"a","token":"b"}`, 4400, "BAD_REQUEST"],
    "a message of more than 8 KiB": [async () => ({ action: "auth", token: "x".repeat(8 << 10) }), 4413, "PAYLOAD_TOO_LARGE"],
    "a binary message": [async () => Buffer.from("{}"), 4400, "BAD_REQUEST"],
  };
  for (const [name, [message, status, reason]] of Object.entries(firsts)) {
    test(`${name} as the first message: closed`, async () => {
      const client = connect(gate, { host: HOST("acme") });
      await until(() => client.socket.readyState === 1);
      const made = await message();
      if (made instanceof Buffer) client.socket.send(made);
      else client.send(made);
      assert.deepEqual(await client.ended(), { code: status, reason });
    });
  }

  test("at most five sockets of one address wait for a credential", async () => {
    const waiting = Array.from({ length: 5 }, () => connect(gate, { host: HOST("attack") }));
    await until(() => waiting.every(({ socket }) => socket.readyState === 1));
    const refused = await connect(gate, { host: HOST("attack") }).ended();
    assert.deepEqual([refused.status, refused.body.error.code], [429, "CONCURRENCY_LIMITED"]);
    // A member is not kept out by them.
    (await open("attack")).close();
    for (const client of waiting) client.close();
  });

  test("a catalog without `realtime` has no sockets, and a request without an upgrade none either", async () => {
    const refused = await connect(gates.plain, { host: HOST("acme"), token: await token("acme") }).ended();
    assert.equal(refused.status, 404);
    const response = await gate.send("/_gate/v1/connect", { host: HOST("acme") });
    assert.deepEqual([response.status, (await response.json()).error.code], [426, "UPGRADE_REQUIRED"]);
  });
});

describe("messages", () => {
  test("reach all, a user, a channel; the seed's actions are answered", async () => {
    const ann = await open("chat", { claims: { sub: "ann" } });
    const bob = await open("chat", { claims: { sub: "bob" } });
    assert.equal((await ann.ask({ action: "broadcast", data: { text: "Hello!" } })).success, true);
    assert.equal((await ann.ask({ action: "send", to: "bob", data: { text: "Hi!" } })).success, true);
    await ann.ask({ action: "subscribe", channel: "chat:1" });
    await bob.ask({ action: "publish", channel: "chat:1", data: 3 });
    await until(() => ann.messages.length === 2 && bob.messages.length === 2);
    assert.deepEqual(ann.messages.map(({ data, from, channel }) => [data, from, channel]), [[{ text: "Hello!" }, "ann", undefined], [3, "bob", "chat:1"]]);
    assert.deepEqual(bob.messages.map(({ data }) => data), [{ text: "Hello!" }, { text: "Hi!" }]);
    const sent = await publish("chat", [{ data: null, user: "ann" }, { data: 5, channel: "news" }]);
    assert.equal(sent.status, 200);
    await until(() => ann.messages.length === 3);
    assert.equal(ann.messages[2].data, null);
    ann.close();
    bob.close();
  });

  test("of a tenant reach no other", async () => {
    const [own, other] = [await open("acme"), await open("other")];
    await publish("acme", ["secret"]);
    await until(() => own.messages.length === 1);
    await other.ask({ action: "ping" });
    assert.deepEqual(other.messages, []);
    own.close();
    other.close();
  });

  test("of a parent reach its children if it says so", async () => {
    const child = await open("child");
    await publish("parent", ["for me alone"]);
    assert.equal((await publish("parent", ["for all"], { descendants: true })).status, 400, "without a control plane nobody knows them");
    await child.ask({ action: "ping" });
    assert.deepEqual(child.messages, []);
    child.close();
  });

  test("have one order for all, whoever sends them", async () => {
    const clients = await Promise.all(Array.from({ length: 8 }, (_, i) => open("order", { claims: { sub: `u${i}` } })));
    await Promise.all([
      ...clients.map(async (client, i) => { for (let n = 0; n < 20; n++) await client.ask({ action: "broadcast", data: [i, n] }); }),
      ...Array.from({ length: 10 }, (_, n) => publish("order", [["op", n], ["op", n, "b"]])),
    ]);
    await until(() => clients.every((client) => client.messages.length === 180));
    const [first] = clients;
    assert.deepEqual(seqs(first), Array.from({ length: 180 }, (_, i) => i + 1));
    for (const client of clients) assert.deepEqual(client.messages, first.messages);
    for (let i = 0; i < 8; i++) assert.deepEqual(first.messages.filter(({ data }) => data[0] === i).map(({ data }) => data[1]), Array.from({ length: 20 }, (_, n) => n));
    for (const client of clients) client.close();
  });

  test("that were missed are received after a return, packed or not", async () => {
    const client = await open("away");
    await publish("away", ["a"]);
    await until(() => client.messages.length === 1);
    const { epoch } = client.greeting;
    client.close();
    await client.ended();
    await publish("away", Array.from({ length: 100 }, (_, i) => i));
    await publish("away", ["last"]);
    for (const packed of [false, true]) {
      const back = await open("away", { query: `epoch=${epoch}&seq=1${packed ? "&packed=true" : ""}` });
      assert.equal(back.greeting.recovered, true);
      await until(() => back.messages.length === 101);
      assert.deepEqual(seqs(back), Array.from({ length: 101 }, (_, i) => i + 2));
      assert.equal(back.frames.some(({ action }) => action === "messages"), packed);
      back.close();
    }
    for (const query of [`epoch=${epoch}&seq=999`, `epoch=other&seq=1`, "epoch=&seq=0"]) {
      const lost = await open("away", { query });
      assert.equal(lost.greeting.recovered ?? false, false, query);
      assert.equal(lost.greeting.seq, 102);
      await lost.ask({ action: "ping" });
      assert.deepEqual(lost.messages, []);
      lost.close();
    }
  });

  test("cost what the catalog says, exactly", async () => {
    const client = await open("small");
    let passed = 0;
    for (let n = 0; n < 25; n++) passed += (await client.ask({ action: "broadcast", data: n })).success;
    assert.equal(passed, 20);
    const refused = await client.ask({ action: "broadcast", data: 1 });
    assert.equal(refused.error.code, "QUOTA_EXCEEDED");
    assert.deepEqual(await publish("small", [1]).then(({ status, body }) => [status, body.error.code]), [429, "QUOTA_EXCEEDED"]);
    assert.equal(client.messages.length, 20);
    client.close();
  });
});

describe("channels", () => {
  test("need features and scopes, for readers and for writers", async () => {
    const member = await open("chat");
    const staff = await admitted(gate, { host: HOST("acme"), headers: { "x-api-key": key.key } });
    const codes = async (client, ...messages) => Promise.all(messages.map(async (message) => (await client.ask(message)).error?.code));
    assert.deepEqual(
      await codes(member, { action: "subscribe", channel: "vip" }, { action: "subscribe", channel: "staff:1" }, { action: "publish", channel: "news", data: 1 },
        { action: "subscribe", channel: "none" }, { action: "subscribe", channel: "a#b" }, { action: "subscribe", channel: "x".repeat(1_024) }, { action: "presence", channel: "vip" }),
      ["FEATURE_NOT_AVAILABLE", "INSUFFICIENT_SCOPE", "FORBIDDEN", "NOT_FOUND", "NOT_FOUND", "NOT_FOUND", "FEATURE_NOT_AVAILABLE"]);
    assert.deepEqual(await codes(staff, { action: "subscribe", channel: "staff:1" }, { action: "publish", channel: "staff:1", data: 1 }), [undefined, undefined]);
    member.close();
    staff.close();
  });

  test("at most 32 of one connection", async () => {
    const client = await open("chat");
    for (let n = 0; n < 32; n++) assert.equal((await client.ask({ action: "subscribe", channel: `chat:${String(n).padStart(59, "0")}` })).success, true);
    assert.equal((await client.ask({ action: "subscribe", channel: "chat:33" })).error.code, "TOO_MANY");
    client.close();
  });

  test("show who is present", async () => {
    const ann = await open("list", { claims: { sub: "ann" } });
    assert.deepEqual((await ann.ask({ action: "subscribe", channel: "chat:p", presence: true })).users, ["ann"]);
    const bob = await open("list", { claims: { sub: "bob" }, query: "channel=chat:p" });
    assert.deepEqual((await ann.next("presence")).joined, ["bob"]);
    const response = await operator("/_gate/v1/presence?tenant=t_list&channel=chat:p");
    assert.deepEqual(await response.json(), { channel: "chat:p", users: ["ann", "bob"], total: 2 });
    bob.close();
    assert.deepEqual((await ann.next("presence")).left, ["bob"]);
    ann.close();
  });
});

describe("the operator", () => {
  test("lists and closes connections", async () => {
    const client = await open("list", { claims: { sub: "cat" } });
    const list = async () => (await (await operator("/_gate/v1/connections?tenant=t_list")).json()).connections;
    const [found] = (await list()).filter(({ userId }) => userId === "cat");
    assert.equal(found.connectionId, client.greeting.connectionId);
    const closed = await operator(`/_gate/v1/connections?tenant=t_list&id=${found.connectionId}`, { method: "DELETE" });
    assert.deepEqual(await closed.json(), { closed: true });
    assert.deepEqual(await client.ended(), { code: 4401, reason: "UNAUTHENTICATED" });
    await untilEqual(async () => (await list()).filter(({ userId }) => userId === "cat"), []);
    for (const path of ["/_gate/v1/connections?tenant=t_list", "/_gate/v1/presence?tenant=t_list&channel=news"]) {
      assert.equal((await fetch(new URL(path, gate.urls[0]))).status, 401);
    }
    assert.equal((await operator("/_gate/v1/connections")).status, 400);
    assert.equal((await operator("/_gate/v1/connections?tenant=t_none")).status, 404);
  });

  test("is told what is wrong with messages", async () => {
    const bad = await publish("acme", []);
    assert.equal(bad.status, 400);
    const { body } = await publish("acme", [{ data: 1, channel: "news", user: "x" }, { data: "x".repeat(33_000) }]);
    assert.deepEqual(body.error.details.problems.map(({ path }) => path), ["$.messages[0]", "$.messages[1].data"]);
    assert.equal((await publish("none", [1])).status, 404);
  });
});

describe("a hostile member", () => {
  test("is not taken for the operator when it leaves at once", async () => {
    const other = await open("attack", { claims: { sub: "other" } });
    for (let n = 0; n < 20; n++) {
      const client = await open("attack", { claims: { sub: "mallory" } });
      client.send({ action: "broadcast", data: n });
      client.close();
      await client.ended();
    }
    await publish("attack", ["last"]);
    await until(() => other.messages.at(-1)?.data === "last");
    assert(other.messages.slice(0, -1).every(({ from }) => from === "mallory"), JSON.stringify(other.messages));
    assert.equal(other.messages.at(-1).from, undefined);
    other.close();
  });

  test("cannot be present where it may not read", async () => {
    const client = await open("attack");
    for (const channel of ["staff:secret", "no.such"]) {
      await client.ask({ action: "subscribe", channel });
      await client.ask({ action: "unsubscribe", channel });
      const response = await operator(`/_gate/v1/presence?tenant=t_attack&channel=${channel}`);
      assert.deepEqual((await response.json()).users, []);
    }
    client.close();
  });

  test("sends frames of megabytes in vain", async () => {
    for (const size of [33 << 10, 8 << 20, 31 << 20]) {
      const client = await open("attack");
      client.send("é".repeat(size / 2));
      assert.equal((await client.ended()).code, 4413);
    }
    assert.equal((await publish("attack", ["on"])).status, 200);
  });

  test("is told once that its token ends, though it presents the same one again and again", async () => {
    const own = await token("attack", { exp: Math.floor(Date.now() / 1_000) + 40 });
    const client = await admitted(gate, { host: HOST("attack"), token: own });
    client.socket.on("message", (text) => {
      if (JSON.parse(text).action === "expiring") client.send({ action: "auth", token: own });
    });
    for (let n = 0; n < 5; n++) assert.equal((await client.ask({ action: "auth", token: own })).success, true);
    await sleep(1_000);
    assert(client.frames.filter(({ action }) => action === "expiring").length <= 1);
    client.close();
  });

  test("cannot name another tenant later", async () => {
    const client = await open("attack");
    const reply = await client.ask({ action: "auth", token: await token("attack"), tenantId: "other" });
    assert.equal(reply.error.code, "TENANT_MISMATCH");
    assert.equal((await client.ended()).code, 4403);
  });

  test("of one issuer is not a user of another, and an API key replaces no other", async () => {
    const keyed = await admitted(gate, { host: HOST("acme"), headers: { "x-api-key": key.key } });
    assert.equal((await keyed.ask({ action: "auth", token: await token("acme") })).error.code, "TENANT_MISMATCH");
    const client = await admitted(gate, { host: HOST("acme"), token: await second.sign("t_acme", { sub: "user-1" }) });
    assert.equal((await client.ask({ action: "auth", token: await token("acme", { sub: "user-1" }) })).error.code, "TENANT_MISMATCH");
  });
});

describe("connections", () => {
  test("of a plan: 64 race for 10, and 10 get one", async () => {
    const racing = await Promise.all(Array.from({ length: 64 }, async (_, i) => connect(gate, { host: HOST("small"), token: await token("small", { sub: `u${i}` }) })));
    await until(() => racing.every((client) => client.refused || client.frames.length || client.closed));
    const won = racing.filter((client) => client.frames.some(({ action, success }) => action === "auth" && success));
    assert.equal(won.length, 10);
    assert(racing.filter((client) => !won.includes(client)).every(({ refused }) => refused.status === 429 && refused.body.error.code === "CONCURRENCY_LIMITED"));
    won[0].close();
    await won[0].ended();
    const next = await open("small");
    for (const client of [...won, next]) client.close();
  });

  test("keep their user and tenant when a token is replaced", async () => {
    const client = await open("acme");
    assert.equal((await client.ask({ action: "auth", token: await token("acme") })).success, true);
    assert.equal((await client.ask({ action: "auth", token: await token("acme", { sub: "user-2" }) })).error.code, "TENANT_MISMATCH");
    assert.deepEqual(await client.ended(), { code: 4403, reason: "TENANT_MISMATCH" });
  });

  test("end with their token, after a warning", async () => {
    const client = await open("acme", { claims: { exp: Math.floor(Date.now() / 1_000) + 3 } });
    assert.equal(typeof (await client.next("expiring")).expiresAt, "string");
    assert.deepEqual(await client.ended(), { code: 4401, reason: "UNAUTHENTICATED" });
  });

  test("that send too much are told, then closed", async () => {
    const client = await open("flood");
    for (let n = 0; n < 1_000; n++) client.send({ action: "presence", channel: "none" });
    assert.deepEqual(await client.ended(), { code: 4429, reason: "RATE_LIMITED" });
    assert.equal(client.frames.filter(({ error }) => error?.code === "RATE_LIMITED").length, 1);
    const large = await open("flood");
    large.send({ action: "broadcast", data: "x".repeat(32 << 10) });
    assert.equal((await large.ended()).code, 4413);
  });

  test("survive a trap of the module", async () => {
    const [client, other] = [await open("trap"), await open("trap", { query: "channel=news" })];
    await publish("trap", ["before"]);
    client.send({ action: "trap" });
    await until(async () => (await publish("trap", [{ data: "after", channel: "news" }])).status === 200);
    await until(() => other.messages.some(({ data }) => data === "after"));
    assert.deepEqual(seqs(other), other.messages.map((_, i) => i + 1));
    assert.equal((await client.ask({ action: "broadcast", data: "still" })).success, true);
    client.close();
    other.close();
  });

  test("whose client does not read cost the others nothing", async () => {
    const [slow, other] = [await open("slow", { claims: { sub: "slow" } }), await open("slow", { claims: { sub: "other" } })];
    const text = "x".repeat(8 << 10);
    const flood = async (count) => { for (let n = 0; n < count; n++) await publish("slow", Array.from({ length: 4 }, () => text)); };
    slow.socket._socket.pause();
    await flood(100);
    await until(() => other.messages.length === 400);
    slow.socket._socket.resume();
    await until(() => slow.messages.length === 400);
    assert.deepEqual(seqs(slow), seqs(other));
    // Who has missed more than the log keeps is disconnected, and told so when it returns.
    slow.socket._socket.pause();
    await flood(400);
    await until(() => other.messages.length === 2_000);
    slow.socket._socket.resume();
    assert.deepEqual(await slow.ended(), { code: 4408, reason: "REQUEST_TIMEOUT" });
    assert.deepEqual(seqs(slow), Array.from({ length: slow.messages.length }, (_, i) => i + 1));
    for (const client of [slow, other]) client.close();
  });
});

describe("what happens to a tenant", () => {
  const scene = { control: gates.control };
  const made = new Map();

  async function setUp() {
    const { status } = await control.admin("PUT", "/catalog", catalog({ cors: {} }));
    assert.equal(status, 200);
  }

  /** A tenant of its own, with an open socket that has seen a message. */
  async function tenantWithSocket(name, more = {}) {
    if (made.size === 0) await setUp();
    const { body, status } = await control.admin("POST", "/tenants", { name, plan: "pro@1", ...more });
    assert.equal(status, 201, JSON.stringify(body));
    const { id, slug } = body.tenant;
    made.set(name, id);
    const client = await admitted(control, { host: HOST(slug), token: await idp.sign(id) });
    return { id, slug, client, key: body.api_key };
  }

  const send = async (id, data) => {
    const response = await operator("/_gate/v1/messages", { method: "POST", body: JSON.stringify({ tenant: id, messages: [{ data }] }) }, scene.control);
    return response.status;
  };

  const changes = {
    suspended: [(id) => control.admin("POST", `/tenants/${id}/suspend`, { reason: "unpaid" }), 4403, "TENANT_SUSPENDED"],
    deactivated: [(id) => control.admin("POST", `/tenants/${id}/deactivate`, {}), 4403, "TENANT_INACTIVE"],
    deleted: [(id) => control.admin("DELETE", `/tenants/${id}`), 4403, "TENANT_NOT_FOUND"],
    maintained: [(id) => control.admin("POST", `/tenants/${id}/maintenance`, {}), 4503, "TENANT_MAINTENANCE"],
    "without the feature": [(id) => control.admin("PUT", `/tenants/${id}/overrides`, { feature: "live", value: false }), 4403, "FEATURE_NOT_AVAILABLE"],
    "of credentials from now on": [(id) => control.admin("PATCH", `/tenants/${id}`, { credentials_from: new Date(Date.now() + 1_000).toISOString() }), 4401, "UNAUTHENTICATED"],
  };
  for (const [name, [change, status, reason]] of Object.entries(changes)) {
    test(`${name}: its sockets are closed within a second, others stay`, async () => {
      const [one, other] = [await tenantWithSocket(`one ${name}`), await tenantWithSocket(`other ${name}`)];
      assert.equal(await send(one.id, "before"), 200);
      await until(() => one.client.messages.length === 1);
      const begun = performance.now();
      const done = await change(one.id);
      assert(done.status < 300, JSON.stringify(done.body));
      assert.deepEqual(await one.client.ended(), { code: status, reason });
      assert(performance.now() - begun < 5_000);
      const received = one.client.frames.length;
      if (name !== "without the feature" && !name.includes("credentials")) assert.notEqual(await send(one.id, "after"), 200);
      assert.equal(one.client.frames.length, received);
      assert.equal((await other.client.ask({ action: "broadcast", data: 1 })).success, true);
      other.client.close();
    });
  }

  test("a revoked key closes its sockets alone", async () => {
    const { id, slug, client } = await tenantWithSocket("keys");
    const { body } = await control.admin("POST", `/tenants/${id}/api-keys`, { name: "one", scopes: [] });
    const keyed = await admitted(control, { host: HOST(slug), headers: { "x-api-key": body.key } });
    const revoked = await control.admin("DELETE", `/tenants/${id}/api-keys/${body.record.id}`);
    assert(revoked.status < 300, JSON.stringify(revoked.body));
    assert.deepEqual(await keyed.ended(), { code: 4401, reason: "UNAUTHENTICATED" });
    assert.equal((await client.ask({ action: "ping" })).action, "pong");
    client.close();
  });

  test("a killed feature closes sockets of all tenants", async () => {
    const [one, two] = [await tenantWithSocket("killed one"), await tenantWithSocket("killed two")];
    assert((await control.admin("POST", "/features/live/kill", { reason: "broken" })).status < 300);
    for (const { client } of [one, two]) assert.deepEqual(await client.ended(), { code: 4403, reason: "FEATURE_NOT_AVAILABLE" });
    assert((await control.admin("POST", "/features/live/revive", { reason: "mended" })).status < 300);
    const back = await admitted(control, { host: HOST(one.slug), token: await idp.sign(one.id) });
    back.close();
  });

  test("a killed feature closes sockets of more tenants than one invocation can tell", async () => {
    const all = [];
    for (let n = 0; n < 125; n++) all.push(await tenantWithSocket(`many ${n}`));
    assert((await control.admin("POST", "/features/live/kill", { reason: "broken" })).status < 300);
    for (const { client } of all) assert.deepEqual(await client.ended(), { code: 4403, reason: "FEATURE_NOT_AVAILABLE" });
    assert((await control.admin("POST", "/features/live/revive", { reason: "mended" })).status < 300);
  });

  test("a message to a parent reaches its descendants, and a parent's suspension closes their sockets", async () => {
    const parent = await tenantWithSocket("the parent");
    const child = await tenantWithSocket("the child", { parent: parent.id });
    const response = await operator("/_gate/v1/messages", { method: "POST", body: JSON.stringify({ tenant: parent.id, messages: [{ data: "all" }], descendants: true }) }, control);
    assert.deepEqual((await response.json()).tenants.sort(), [parent.id, child.id].sort());
    await until(() => parent.client.messages.length === 1 && child.client.messages.length === 1);
    await control.admin("POST", `/tenants/${parent.id}/suspend`, { reason: "unpaid" });
    for (const { client } of [parent, child]) assert.deepEqual(await client.ended(), { code: 4403, reason: "TENANT_SUSPENDED" });
  });

  test("connections of a family share its limit", async () => {
    const parent = await tenantWithSocket("crowded", { plan: "small@1" });
    const child = await tenantWithSocket("crowded child", { parent: parent.id });
    const more = [];
    for (let n = 0; n < 8; n++) more.push(await admitted(control, { host: HOST(n % 2 ? parent.slug : child.slug), token: await idp.sign(n % 2 ? parent.id : child.id) }));
    for (const { id, slug } of [parent, child]) {
      const refused = await connect(control, { host: HOST(slug), token: await idp.sign(id) }).ended();
      assert.deepEqual([refused.status, refused.body?.error.code], [429, "CONCURRENCY_LIMITED"]);
    }
    for (const client of [...more, parent.client, child.client]) client.close();
  });

  test("slots come back, however often a family's hubs take and leave them", async () => {
    const parent = await tenantWithSocket("cycle", { plan: "small@1" });
    const child = await tenantWithSocket("cycle child", { parent: parent.id });
    parent.client.close();
    const join = async ({ id, slug }, count) => Promise.all(Array.from({ length: count }, async () => connect(control, { host: HOST(slug), token: await idp.sign(id) })));
    const settled = async (clients) => {
      await until(() => clients.every((client) => client.refused || client.frames.length || client.closed));
      return clients.filter(({ refused }) => !refused);
    };
    for (let round = 0; round < 3; round++) {
      const mine = await settled(await join(round % 2 ? parent : child, 9));
      assert.equal(mine.length, 9, `round ${round}`);
      const refused = await settled(await join(round % 2 ? child : parent, 1));
      assert.equal(refused.length, 0);
      for (const client of mine) client.close();
      await Promise.all(mine.map((client) => client.ended()));
      // The other hub asks for what this one holds ahead.
      await sleep(2_100);
    }
    child.client.close();
  });

  test("credentials end on time, whatever becomes of the limit that counts connections", async () => {
    const { id, slug, client } = await tenantWithSocket("uncounted");
    const ends = await admitted(control, { host: HOST(slug), token: await idp.sign(id, { exp: Math.floor(Date.now() / 1_000) + 14 }) });
    const { realtime } = catalog();
    assert.equal((await control.admin("PUT", "/catalog", catalog({ cors: {}, realtime: { ...realtime, connections: undefined } }))).status, 200);
    client.close();
    await client.ended();
    assert.deepEqual(await ends.ended(), { code: 4401, reason: "UNAUTHENTICATED" });
    assert.equal((await control.admin("PUT", "/catalog", catalog({ cors: {} }))).status, 200);
  });

  test("a moved tenant's sockets return to its new family, and are closed when it is suspended", async () => {
    const { id, slug, client } = await tenantWithSocket("moved");
    const { id: root } = await tenantWithSocket("new family");
    const moved = await control.admin("POST", `/tenants/${id}/move`, { parent: root });
    assert(moved.status < 300, JSON.stringify(moved.body));
    assert.deepEqual(await client.ended(), { code: 4503, reason: "SNAPSHOT_UNAVAILABLE" });
    let back;
    await until(async () => {
      back = connect(control, { host: HOST(slug), token: await idp.sign(id) });
      await until(() => back.refused || back.frames.length || back.closed);
      return back.frames.length > 0;
    });
    await untilEqual(async () => (await control.db.prepare("SELECT root FROM hubs WHERE tenant = ?").bind(id).first())?.root, root);
    await control.admin("POST", `/tenants/${id}/suspend`, { reason: "unpaid" });
    assert.deepEqual(await back.ended(), { code: 4403, reason: "TENANT_SUSPENDED" });
  });

  test("a hub that is not told of a suspension finds out before anything enters or leaves, eight seconds later", async () => {
    const [{ id, client: sender }, { id: silent, client }] = [await tenantWithSocket("untold"), await tenantWithSocket("untold and silent")];
    for (const one of [id, silent]) {
      const { record, epoch } = await control.db.prepare("SELECT record, epoch FROM tenants WHERE id = ?").bind(one).first();
      const changed = JSON.stringify({ ...JSON.parse(record), status: "suspended", epoch: epoch + 1 });
      await control.db.batch([
        control.db.prepare("UPDATE tenants SET record = ?, epoch = epoch + 1, status = 'suspended' WHERE id = ?").bind(changed, one),
        // As if it had been published: nobody tells the hub.
        control.db.prepare("INSERT INTO publications (key, epoch, at, done_at) VALUES (?, ?, ?, ?)").bind(`tenant:${one}`, epoch + 1, Date.now(), Date.now()),
      ]);
    }
    await sleep(8_200);
    sender.send({ action: "broadcast", data: "from a suspended tenant" });
    assert.deepEqual(await sender.ended(), { code: 4403, reason: "TENANT_SUSPENDED" });
    assert.deepEqual(sender.messages, []);
    assert.equal(await send(silent, "to a suspended tenant"), 403);
    client.send({ action: "presence", channel: "news" });
    assert.deepEqual(await client.ended(), { code: 4403, reason: "TENANT_SUSPENDED" });
    assert.deepEqual(client.frames.length, 1);
  });

  test("a hub without sockets is forgotten", async () => {
    await untilEqual(async () => (await control.db.prepare("SELECT count(*) AS n FROM hubs WHERE tenant = ?").bind(made.get("keys")).first()).n, 0, { ms: 30_000 });
  });
});

describe("several hubs of a tenant", () => {
  const of = gates.sharded;
  const members = (slug, count, options = {}) => Promise.all(Array.from({ length: count }, (_, i) => open(slug, { gate: of, claims: { sub: `u${i}` }, ...options })));
  /** The shard of each socket, by the cursor under which it is listed. */
  const listed = async (id) => {
    const pages = [];
    let cursor;
    do {
      const response = await operator(`/_gate/v1/connections?tenant=${id}${cursor ? `&cursor=${cursor}` : ""}`, {}, of);
      const page = await response.json();
      pages.push(page.connections.length);
      ({ cursor } = page);
    } while (cursor);
    return pages;
  };

  test("hold more sockets than one may, in one order", async () => {
    const clients = [];
    for (let n = 0; n < 26; n++) clients.push(await open("acme", { gate: of, claims: { sub: `u${n}` }, query: "channel=chat:1" }));
    assert.deepEqual(await listed("t_acme"), [10, 10, 6]);
    await Promise.all([
      ...[0, 5, 12, 19, 25].map(async (i) => { for (let n = 0; n < 10; n++) assert.equal((await clients[i].ask({ action: "broadcast", data: [i, n] })).success, true); }),
      ...Array.from({ length: 10 }, (_, n) => publish("acme", [["op", n], { data: ["op", n, "b"], channel: "chat:1" }], {}, of)),
    ]);
    await until(() => clients.every((client) => client.messages.length === 70));
    assert.deepEqual(seqs(clients[0]), Array.from({ length: 70 }, (_, i) => i + 1));
    for (const client of clients) assert.deepEqual(client.messages, clients[0].messages);
    for (const i of [0, 5, 12, 19, 25]) assert.deepEqual(clients[0].messages.filter(({ data }) => data[0] === i).map(({ data }) => data[1]), Array.from({ length: 10 }, (_, n) => n));
    assert.equal((await clients[25].ask({ action: "send", to: "u3", data: "you" })).seq, 71);
    await until(() => clients[3].messages.length === 71);

    // The position of a client holds wherever it returns to.
    const { epoch } = clients[0].greeting;
    assert(clients.every(({ greeting }) => greeting.epoch === epoch));
    const back = await open("acme", { gate: of, claims: { sub: "u3" }, query: `epoch=${epoch}&seq=60&channel=chat:1` });
    assert.equal(back.greeting.recovered, true);
    await until(() => back.messages.length === 11);
    assert.deepEqual(seqs(back), Array.from({ length: 11 }, (_, i) => i + 61));

    const present = await (await operator("/_gate/v1/presence?tenant=t_acme&channel=chat:1", {}, of)).json();
    assert.equal(present.total, 26);
    const closed = await operator(`/_gate/v1/connections?tenant=t_acme&id=${clients[22].greeting.connectionId}`, { method: "DELETE" }, of);
    assert.deepEqual(await closed.json(), { closed: true });
    assert.equal((await clients[22].ended()).code, 4401);
    for (const client of [...clients, back]) client.close();
  });

  test("take what comes while sockets come and go", async () => {
    const first = await members("race", 12);
    const { epoch } = first[0].greeting;
    let sent = 0;
    let done = false;
    const talking = (async () => {
      while (!done) {
        await publish("race", [sent, sent + 1], {}, of);
        sent += 2;
        // The log keeps a thousand.
        await sleep(10);
      }
    })();
    for (let round = 0; round < 4; round++) {
      const more = await members("race", 13);
      for (const client of more) client.close();
      await Promise.all(more.map((client) => client.ended()));
    }
    done = true;
    await talking;
    await until(() => first.every((client) => client.messages.length === sent));
    for (const client of first) assert.deepEqual(client.messages.map(({ data }) => data), Array.from({ length: sent }, (_, n) => n));
    // All of them, from a hub that has just been made.
    const late = await members("race", 10, { query: `epoch=${epoch}&seq=0` });
    await until(() => late.every((client) => client.messages.length === sent));
    for (const client of [...first, ...late]) client.close();
  });
});
