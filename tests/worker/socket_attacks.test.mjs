// Sockets under attack and with faults: what hostile clients send, what slow ones leave unread, and
// what a hub does when what it depends on fails, or when its clock steps back.

import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { after, describe, mock, test } from "node:test";
import { deflateRawSync } from "node:zlib";
import { issueApiKey } from "../../pkg/node.js";
import { connect as connectClient } from "../../pkg/ws-client.js";
import { filesOf, OPERATOR, workers } from "../support/harness.mjs";
import { issuer } from "../support/issuer.mjs";
import { admitted, connect } from "../support/sockets.mjs";
import { sleep, until, untilEqual } from "../support/wait.mjs";

const root = join(import.meta.dirname, "../..");

// The built Worker, with bindings that can fail, hubs that can be told to do what is due, and a
// clock that can be set.
const COMPANION = `
import gate, { TenantHub, TenantLedger } from "./gate.js";
const dead = new Set();
const check = (name) => { if (dead.has(name)) throw new Error(name + " is broken by a test"); };
const clock = { ahead: 0 };
const time = Date.now;
Date.now = () => time() + clock.ahead;
const stubs = (space, fails) => new Proxy(space, { get(target, name) {
  if (name === "get") return (id) => ({ fetch: async (url, init) => (fails(url), target.get(id).fetch(url, init)) });
  return typeof target[name] === "function" ? target[name].bind(target) : target[name];
} });
const kv = (space) => Object.fromEntries(["get", "put", "delete", "list", "getWithMetadata"].map((name) => [name, async (...given) => (check("kv"), space[name](...given))]));
let own;
const wrapped = (env) => own ??= {
  ...env, SNAPSHOTS: kv(env.SNAPSHOTS), LEDGER: stubs(env.LEDGER, () => check("ledger")),
  HUBS: stubs(env.HUBS, (url) => { if (url.endsWith("/changed")) check("push"); }),
};
class Hub extends TenantHub {
  constructor(state, env) { super(state, wrapped(env)); }
  async fetch(request) {
    if (!request.url.endsWith("/test/alarms")) return super.fetch(request);
    await Promise.all(Array.from(await request.text(), () => this.alarm()));
    return new Response("done");
  }
}
class Ledger extends TenantLedger { constructor(state, env) { super(state, wrapped(env)); } }
export { Hub as TenantHub, Ledger as TenantLedger };
export default {
  async fetch(request, env, context) {
    if (!request.url.endsWith("/test/faults")) return gate.fetch(request, wrapped(env), context);
    const told = await request.json();
    dead.clear();
    for (const name of told.dead ?? []) dead.add(name);
    clock.ahead = told.ahead ?? 0;
    return new Response("done");
  },
  scheduled: (event, env, context) => gate.scheduled(event, wrapped(env), context),
};`;
const folder = mkdtempSync(join(tmpdir(), "tenantgate-attacks-"));
for (const name of filesOf("build/test")) cpSync(join(root, "build/test", name), join(folder, name === "entry.js" ? "gate.js" : name));
writeFileSync(join(folder, "entry.js"), COMPANION);

const idp = await issuer({ label: "attacks" });
const key = issueApiKey({ tenant: "t_keys", scopes: ["staff"] });
const SHARED = "ws.example.com";
const HOST = (slug) => `${slug}.app.example.com`;
const tenant = (slug, more = {}) => ({ id: `t_${slug}`, slug, plan: "pro@1", ...more });
const catalog = (more = {}) => ({
  version: 1,
  resolution: {
    strategies: [{ strategy: "subdomain", base_domains: ["app.example.com"] }, { strategy: "jwt", cookie_name: "session" }, { strategy: "api_key" }],
    central_hosts: ["app.example.com", SHARED],
  },
  issuers: { main: { ...idp.entry, leeway_ms: 0 } },
  features: { live: { type: "boolean", default: true } },
  limits: { connections: { kind: "concurrency", mode: "strict" } },
  routes: [{ path: "/_gate/v1/connect", feature: "live" }],
  realtime: { connections: "connections", channels: { news: {}, "chat:*": { publish: {} } } },
  plans: { "pro@1": { limits: { connections: { limit: 200 } } }, "small@1": { limits: { connections: { limit: 3 } } } },
  ...more,
});
const SLUGS = ["acme", "other", "doors", "idle", "bombs", "large", "bytes", "trickle", "closing", "away", "apart", "names", "big", "flaps", "lists", "mine", "theirs"];
const hubs = { durableObjects: { LEDGER: { className: "TenantLedger", useSQLite: true }, HUBS: { className: "TenantHub", useSQLite: true } } };
const companion = { folder: relative(root, folder), direct: true, more: hubs };
const seed = {
  catalog: catalog(),
  tenants: [...SLUGS, "keys"].map((slug) => tenant(slug)).concat(
    ["trap", "alarms"].map((slug) => tenant(slug, { plan: "small@1" })), tenant("parent"), tenant("child", { parent: "t_parent" })),
  api_keys: [key.record],
};
const DEAD = { KV: ["kv"], "the database": [], "the ledger": ["ledger"] };
const controlled = Object.fromEntries([...Object.keys(DEAD), "the clock"].map((_, i) => [`control${i}`, { ...companion, control: true }]));
const gates = await workers({
  gate: { ...companion, seed },
  acting: { seed: { ...seed, catalog: catalog({ routes: [{ path: "/_gate/v1/connect", feature: "live", act_for_descendants: true }] }) }, direct: true },
  control: { control: true, direct: true },
  ...controlled,
}, { durable: true });
const { gate, control } = gates;
after(async () => {
  await gate.stop();
  await idp.stop();
  rmSync(folder, { recursive: true, force: true });
});

const tokens = [];
const token = async (slug, claims, header) => {
  const made = await idp.sign(slug.startsWith("t_") ? slug : `t_${slug}`, claims, header);
  tokens.push(made);
  return made;
};
const now = () => Math.floor(Date.now() / 1_000);
const unsigned = (slug) => `${[{ alg: "none", kid: "k1" }, { iss: idp.name, sub: "user-1", tenant_id: `t_${slug}`, exp: now() + 600 }].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".")}.`;
const open = async (slug, { claims, ...options } = {}) => admitted(options.gate ?? gate, { host: HOST(slug), token: await token(slug, claims), ...options });
/** A socket without a credential, by the host of a tenant or the shared one. */
async function waiting(host, options = {}) {
  const client = connect(options.gate ?? gate, { host, ...options });
  await until(() => client.socket.readyState === 1 || client.refused !== null);
  assert.equal(client.refused, null);
  return client;
}
/** A member who came by the header, by the first message, and by the shared host. */
const DOORS = {
  "the header": (slug, claims) => open(slug, { claims }),
  "the first message": async (slug, claims) => {
    const client = await waiting(HOST(slug));
    client.send({ action: "auth", token: await token(slug, claims) });
    return Object.assign(client, { greeting: await client.next("auth") });
  },
  "the shared host": async (slug, claims) => {
    const client = await waiting(SHARED);
    client.send({ action: "auth", token: await token(slug, claims) });
    return Object.assign(client, { greeting: await client.next("auth") });
  },
};
const operator = async (path, init = {}, of = gate) => {
  const response = await fetch(new URL(path, of.urls[0]), { ...init, headers: { authorization: `Bearer ${OPERATOR}`, ...init.headers } });
  // A request that is under way when the module traps is answered by the runtime, in text.
  return { status: response.status, body: await response.json().catch(() => null) };
};
const publish = (slug, messages, of) => operator("/_gate/v1/messages", { method: "POST", body: JSON.stringify({ tenant: slug.startsWith("t_") ? slug : `t_${slug}`, messages }) }, of);
const connections = async (slug, of) => (await operator(`/_gate/v1/connections?tenant=t_${slug}`, {}, of)).body.connections;
const seqs = (client) => client.messages.map(({ seq }) => seq);
const faults = async (of, told) => assert.equal((await fetch(new URL("/test/faults", of.urls[0]), { method: "POST", body: JSON.stringify(told) })).status, 200);
const inHub = async (name, path, body) => {
  const space = await gate.flare.getDurableObjectNamespace("HUBS", "gate");
  return (await space.get(space.idFromName(name)).fetch(`https://hub${path}`, { method: "POST", body })).text();
};

/** Whether a member is served: it sends to all, and receives that. */
async function works(client, data) {
  const reply = await client.ask({ action: "broadcast", data });
  assert.equal(reply?.success, true, JSON.stringify(reply ?? client.closed));
  await until(() => client.messages.some((one) => one.data === data));
}

/** Frames as a client sends them, without `ws`. The mask is zeros. */
function frame(opcode, payload, { last = true, compressed = false } = {}) {
  const head = [(last ? 0x80 : 0) | (compressed ? 0x40 : 0) | opcode];
  const { length } = payload;
  if (length < 126) head.push(0x80 | length);
  else if (length < 65_536) head.push(0x80 | 126, length >> 8, length & 255);
  else head.push(0x80 | 127, 0, 0, 0, 0, ...[24, 16, 8, 0].map((bits) => (length >>> bits) & 255));
  return Buffer.concat([Buffer.from([...head, 0, 0, 0, 0]), payload]);
}
const repeated = (count, one) => Buffer.concat(Array.from({ length: count }, () => one));

// Suspensions of which hubs are not told. They begin here, because a hub may rely for eight seconds
// on what it knows; the last tests have their outcomes. A hub is asked before it hibernates, because
// one that wakes relies on nothing.

/** A tenant with two sockets. */
async function untold(of) {
  assert.equal((await of.admin("PUT", "/catalog", catalog())).status, 200);
  const { tenant: { id, slug } } = (await of.admin("POST", "/tenants", { name: "untold", plan: "pro@1" })).body;
  const claims = { iat: now() - 7_200, exp: now() + 7_200 };
  const clients = [];
  for (const sub of ["talks", "hears"]) clients.push(await admitted(of, { host: HOST(slug), token: await token(id, { sub, ...claims }) }));
  await works(clients[0], "before");
  return { of, id, clients };
}
/** Suspends it in secret, and lets eight seconds pass. */
async function suspended({ of, id, ...found }, { dead = [], ahead = 0, isLost = false }) {
  await faults(of, { dead: ["push"], ahead });
  const { status } = await of.admin("POST", `/tenants/${id}/suspend`, { reason: "unpaid" });
  assert(status < 300, String(status));
  if (isLost) await of.db.batch(["tenants", "publications"].map((table) => of.db.prepare(`ALTER TABLE ${table} RENAME TO ${table}_away`)));
  await faults(of, { dead: ["push", ...dead], ahead });
  await sleep(8_200);
  return { of, id, ...found };
}
/** Nothing passes, in or out. */
async function isDeaf({ of, id, clients: [talks, hears] }, codes) {
  const received = hears.frames.length;
  assert.notEqual((await publish(id, [{ data: "from the operator" }], of)).status, 200);
  talks.send({ action: "broadcast", data: "from a member" });
  hears.send({ action: "presence", channel: "news" });
  for (const client of [talks, hears]) {
    await until(() => client.closed !== null || hears.frames.length > received, "the socket is closed", { ms: 5_000 });
    assert.deepEqual(hears.frames.slice(received), []);
    assert(codes.includes(client.closed.code), String(client.closed.code));
  }
}
const secrets = Object.fromEntries(Object.entries(DEAD).map(([name, dead], i) => [name, (async () => {
  const isLost = name === "the database";
  const found = await suspended(await untold(gates[`control${i}`]), { dead, isLost });
  await isDeaf(found, isLost ? [4503, 4403] : [4403]);
})()]));
const steppedBack = (async () => {
  const found = await untold(gates[`control${Object.keys(DEAD).length}`]);
  const [talks, hears] = found.clients;
  await faults(found.of, { ahead: -3_600_000 });
  for (let n = 0; n < 20; n++) await works(talks, `back ${n}`);
  await until(() => hears.messages.length === 21);
  assert.deepEqual(seqs(hears), Array.from({ length: 21 }, (_, seq) => seq + 1));
  await isDeaf(await suspended(found, { ahead: -3_600_000 }), [4403, 4503]);
})();
for (const one of [...Object.values(secrets), steppedBack]) one.catch(() => {});
describe("a credential on an open socket", () => {
  for (const [door, enter] of Object.entries(DOORS)) {
    test(`by ${door}: one of another tenant closes it, and that tenant sees nothing of it`, async () => {
      const other = await open("other");
      for (const more of [{}, { tenantId: "doors" }, { tenantId: "other" }]) {
        const client = await enter("doors");
        const reply = await client.ask({ action: "auth", token: await token("other"), ...more });
        assert.equal(reply.error.code, "TENANT_MISMATCH");
        assert.deepEqual(await client.ended(), { code: 4403, reason: "TENANT_MISMATCH" });
      }
      const known = await connections("other");
      assert.deepEqual(known.map(({ connectionId }) => connectionId), [other.greeting.connectionId]);
      assert.deepEqual(other.messages, []);
      other.close();
      await until(async () => (await connections("other")).length === 0);
    });

    test(`by ${door}: one that is not valid closes it`, async () => {
      const bad = {
        unsigned: unsigned("doors"), expired: await token("doors", { exp: 1_000 }), "not valid yet": await token("doors", { nbf: now() + 500 }),
        "for another audience": await token("doors", { aud: "else" }), "of no issuer": await token("doors", { iss: "https://evil.example" }),
        "no token": "x",
      };
      for (const [name, made] of Object.entries(bad)) {
        const client = await enter("doors");
        assert.equal((await client.ask({ action: "auth", token: made })).error.code, "UNAUTHENTICATED", name);
        assert.deepEqual(await client.ended(), { code: 4401, reason: "UNAUTHENTICATED" }, name);
      }
    });
  }
});

describe("the first message", () => {
  for (const [name, host] of [["the host of a tenant", HOST("doors")], ["the shared host", SHARED]]) {
    test(`at ${name}: 8 KiB are read, and not a byte more, whatever its letters are`, async () => {
      const sized = (bytes, letter) => {
        const rest = bytes - Buffer.byteLength('{"action":"auth","token":""}');
        const letters = letter.repeat(Math.floor(rest / Buffer.byteLength(letter)));
        return `{"action":"auth","token":"${letters}${"x".repeat(rest - Buffer.byteLength(letters))}"}`;
      };
      for (const letter of ["x", "é", "€"]) {
        for (const [bytes, closed] of [[8_192, { code: 4401, reason: "UNAUTHENTICATED" }], [8_193, { code: 4413, reason: "PAYLOAD_TOO_LARGE" }]]) {
          const text = sized(bytes, letter);
          assert.equal(Buffer.byteLength(text), bytes);
          const client = await waiting(host);
          client.send(text);
          assert.deepEqual(await client.ended(), closed, `${bytes} bytes of ${letter}`);
        }
      }
    });

    test(`at ${name}: a token that is not valid, or a member that is repeated or of the wrong type, closes the socket`, async () => {
      const good = await token("doors");
      const firsts = [
        ...await Promise.all([{ exp: 1_000 }, { nbf: now() + 500 }, { aud: "else" }].map(async (claims) => [JSON.stringify({ action: "auth", token: await token("doors", claims) }), 4401])),
        [`{"action":"auth","token":"${good}","token":"${good}"}`, 4400],
        [`{"action":"auth","token":"${good}","tenantId":"doors","tenantId":"other"}`, 4400],
        [`{"action":"ping","action":"auth","token":"${good}"}`, 4400],
        [`{"action":"auth","token":"${good}","since":{"epoch":"a","seq":-1}}`, 4400],
        [`{"action":"auth","token":"${good}","since":{"epoch":"a","seq":1,"seq":2}}`, 4400],
        [`{"action":"auth","token":"${good}","since":7}`, 4400],
        [`{"action":"auth","token":"${good}","since":{"epoch":"a","seq":18446744073709551616}}`, 4400],
        [`{"action":"auth","token":["${good}"]}`, 4400], ["[]", 4400], ["null", 4400], ["", 4400],
      ];
      for (const [text, code] of firsts) {
        const client = await waiting(host);
        client.send(text);
        assert.equal((await client.ended()).code, code, text.replace(good, "…"));
      }
    });
  }

  test("in two frames at once: only the first one counts", async () => {
    for (const host of [HOST("doors"), SHARED]) {
      const client = await waiting(host);
      client.send({ action: "auth", token: "x" });
      client.send({ action: "auth", token: await token("doors") });
      client.send({ action: "broadcast", data: "in" });
      assert.deepEqual(await client.ended(), { code: 4401, reason: "UNAUTHENTICATED" });
      assert(!client.frames.some(({ success }) => success));
    }
  });
});

test("a token in the URL is refused on every host", async () => {
  const made = await token("acme");
  for (const host of [HOST("acme"), SHARED]) {
    for (const name of ["token", "access_token", "api_key"]) {
      const given = name === "api_key" ? key.key : made;
      const refused = await connect(gate, { host, query: `${name}=${given}` }).ended();
      assert.deepEqual([refused.status, refused.body.error.code], [400, "BAD_REQUEST"]);
      assert(!JSON.stringify(refused.body).includes(given));
    }
  }
});

test("a cookie is no credential for a page of another origin", async () => {
  const cookie = `session=${await token("acme")}`;
  const own = await admitted(gate, { host: HOST("acme"), headers: { cookie, origin: `https://${HOST("acme")}` } });
  own.close();
  const pages = [
    { origin: "https://evil.example" }, { origin: "null" }, {}, { origin: `https://${HOST("other")}` }, { origin: "https://app.example.com" },
    { origin: `https://${HOST("acme")}.evil.example` }, { origin: `https://evil.example/${HOST("acme")}` }, { origin: `https://${HOST("acme")}@evil.example` },
    { origin: `https://${HOST("acme")}`, "sec-fetch-site": "same-site" }, { origin: `https://${HOST("acme")}`, "sec-fetch-site": "cross-site" },
  ];
  for (const headers of pages) {
    const client = await waiting(HOST("acme"), { headers: { cookie, ...headers }, protocols: ["tenantgate"] });
    client.send({ action: "broadcast", data: 1 });
    assert.deepEqual(await client.ended(), { code: 4401, reason: "UNAUTHENTICATED" }, JSON.stringify(headers));
    assert.deepEqual(client.frames, []);
  }
});

test("a flood of upgrades for tenants that there are not makes no object", async () => {
  const objects = () => readdirSync(gate.disk, { recursive: true }).filter((name) => name.includes("TenantHub") && name.endsWith(".sqlite")).length;
  const visitor = await waiting(SHARED);
  visitor.send({ action: "auth", token: await token("nobody") });
  assert.equal((await visitor.ended()).reason, "TENANT_NOT_FOUND");
  (await open("acme")).close();
  const before = objects();
  assert(before > 0);
  const refused = await Promise.all(Array.from({ length: 150 }, async (_, i) => {
    const host = HOST(`nobody-${i}`);
    const ways = [{}, { token: await token(`nobody_${i}`) }, { protocols: ["tenantgate"] }];
    return connect(gate, { host, ...ways[i % 3] }).ended();
  }));
  assert.deepEqual([...new Set(refused.map(({ status, reason }) => status ?? reason))].sort(), [404, "TENANT_NOT_FOUND"]);
  for (let i = 0; i < 10; i++) {
    const client = await waiting(SHARED);
    client.send({ action: "auth", token: await token(`nobody_${i}`) });
    assert.equal((await client.ended()).reason, "TENANT_NOT_FOUND");
    assert.equal((await publish(`nobody_${i}`, [{ data: 1 }])).status, 404);
  }
  assert.equal(objects(), before);
});

test("500 clients without a credential leave room for members, and hear nothing", async () => {
  const heard = [];
  const sockets = [];
  const statuses = await Promise.all(Array.from({ length: 500 }, async (_, i) => {
    const response = await gate.send("/_gate/v1/connect", { host: HOST("idle"), headers: { upgrade: "websocket", "cf-connecting-ip": `198.51.${i >> 8}.${i & 255}` } });
    if (response.webSocket) {
      response.webSocket.accept();
      response.webSocket.addEventListener("message", ({ data }) => heard.push(data));
      sockets.push(response.webSocket);
    } else await response.text();
    return response.status;
  }));
  assert.equal(statuses.filter((status) => status === 101).length, 64);
  assert(statuses.every((status) => status === 101 || status === 429), String([...new Set(statuses)]));
  const member = await open("idle");
  await works(member, "all");
  await publish("idle", [{ data: "more" }]);
  await until(() => member.messages.length === 2);
  assert.deepEqual(heard, []);
  assert.equal((await connections("idle")).length, 1);
  for (const socket of sockets) socket.close();
  member.close();
});

describe("frames that no page sends", () => {
  const strange = {
    "a text that is not UTF-8": frame(1, Buffer.from([0x22, 0xff, 0xfe, 0x22])),
    "an unknown opcode": frame(3, Buffer.from("x")),
    "a ping of more than 125 bytes": frame(9, Buffer.alloc(126)),
    "a continuation of nothing": frame(0, Buffer.from("x")),
    "a frame that claims to have 2^63 bytes": Buffer.from([0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    "a frame without a mask": Buffer.from([0x81, 0x02, 0x7b, 0x7d]),
  };
  for (const [name, bytes] of Object.entries(strange)) {
    test(`${name}: it is refused, and costs that socket alone`, async () => {
      const other = await open("bombs");
      for (const enter of Object.values(DOORS)) {
        const client = await enter("bombs");
        client.socket._socket.write(bytes);
        await until(() => client.closed !== null || client.frames.at(-1).error?.code === "BAD_REQUEST");
        client.socket.terminate();
      }
      await works(other, name);
      await untilEqual(async () => (await connections("bombs")).length, 1, { ms: 5_000 });
      assert.equal(other.messages.length, 1);
      other.close();
      await until(async () => (await connections("bombs")).length === 0);
    });
  }

  test("a compressed message, though compression was not agreed, is inflated by nobody", async () => {
    const other = await open("bombs");
    const bomb = deflateRawSync(Buffer.from(JSON.stringify({ action: "broadcast", data: "x".repeat(24_000_000) })));
    assert(bomb.length < 32 << 10);
    const small = deflateRawSync(Buffer.from(JSON.stringify({ action: "broadcast", data: "inflated" })));
    const clients = [];
    for (const enter of Object.values(DOORS)) {
      for (const bytes of [bomb, small]) {
        const client = await enter("bombs");
        client.socket._socket.write(frame(1, bytes, { compressed: true }));
        clients.push(client);
      }
    }
    await works(other, "on");
    await publish("bombs", [{ data: "and on" }]);
    await until(() => other.messages.length === 2);
    assert.deepEqual(other.messages.map(({ data }) => data), ["on", "and on"]);
    for (const client of clients) client.socket.terminate();
    await untilEqual(async () => (await connections("bombs")).length, 1, { ms: 5_000 });
    other.close();
  });

  test("8 messages of 31 MiB at the same time, of members and of strangers: those are closed, and the others served", async () => {
    const other = await open("large");
    const visitor = await DOORS["the shared host"]("large", { sub: "visitor" });
    const senders = [];
    for (let n = 0; n < 4; n++) senders.push(await open("large", { claims: { sub: `u${n}` } }));
    for (let n = 0; n < 2; n++) senders.push(await waiting(HOST("large")), await waiting(SHARED));
    const text = "x".repeat(31 << 20);
    for (const client of senders) client.send(text);
    for (const client of senders) assert.deepEqual(await client.ended(), { code: 4413, reason: "PAYLOAD_TOO_LARGE" });
    await works(other, "still here");
    await works(visitor, "still here too");
    other.close();
    visitor.close();
  });

  test("100,000 frames of a byte, or one message in as many frames, end with their socket", async () => {
    const other = await open("bytes");
    const floods = {
      messages: repeated(100_000, frame(1, Buffer.from("x"))),
      "empty messages": repeated(100_000, frame(1, Buffer.alloc(0))),
      "parts of one message": Buffer.concat([frame(1, Buffer.from("x"), { last: false }), repeated(100_000, frame(0, Buffer.from("x"), { last: false })), frame(0, Buffer.from("x"))]),
    };
    const expected = { messages: [4429, 4429, 4429], "empty messages": [4429, 4429, 4429], "parts of one message": [4413, 4413, 4413] };
    for (const [name, bytes] of Object.entries(floods)) {
      for (const [i, enter] of Object.values(DOORS).entries()) {
        const client = await enter("bytes");
        client.socket._socket.write(bytes);
        assert.equal((await client.ended()).code, expected[name][i], `${name} ${i}`);
        assert(client.frames.length < 500, `${client.frames.length} answers`);
      }
    }
    for (const host of [HOST("bytes"), SHARED]) {
      const stranger = await waiting(host);
      stranger.socket._socket.write(floods.messages);
      assert.equal((await stranger.ended()).code, 4400);
      assert.deepEqual(stranger.frames, []);
    }
    await works(other, "after all of them");
    other.close();
  });
});

test("a client that reads a byte at a time receives everything in the end, and costs the others nothing", async () => {
  const [slow, other] = [await open("trickle", { claims: { sub: "slow" }, query: "packed=true" }), await open("trickle", { claims: { sub: "other" } })];
  const { _socket: tcp } = slow.socket;
  const listeners = tcp.listeners("data");
  tcp.removeAllListeners("data");
  tcp.pause();
  const held = [];
  const drip = setInterval(() => {
    const byte = tcp.read(1);
    if (byte) held.push(byte);
  }, 20);
  const text = "x".repeat(30_000);
  const begun = performance.now();
  // More than the connection holds, and less than the log keeps.
  for (let n = 1; n <= 4; n++) {
    assert.equal((await publish("trickle", Array.from({ length: 30 }, () => ({ data: text })))).status, 200);
    await until(() => other.messages.length === 30 * n);
  }
  assert(performance.now() - begun < 10_000);
  await until(() => held.length > 20);
  assert.equal(slow.messages.length, 0);
  clearInterval(drip);
  for (const listener of listeners) tcp.on("data", listener);
  for (const byte of held) for (const listener of listeners) listener.call(tcp, byte);
  tcp.resume();
  await until(() => slow.messages.length === 120);
  assert.deepEqual(seqs(slow), seqs(other));
  slow.close();
  other.close();
});

test("a client that does not answer a close is gone all the same, and nothing that it still sends is taken", async () => {
  const other = await open("closing", { claims: { sub: "other" } });
  for (const enter of Object.values(DOORS)) {
    const client = await enter("closing", { sub: "stubborn" });
    client.socket._receiver.removeAllListeners("conclude");
    let isTold = false;
    client.socket._receiver.on("conclude", () => { isTold = true; });
    const closed = await operator(`/_gate/v1/connections?tenant=t_closing&id=${client.greeting.connectionId}`, { method: "DELETE" });
    assert.deepEqual(closed.body, { closed: true });
    await until(() => isTold);
    const tcp = client.socket._socket;
    for (let n = 0; n < 20; n++) tcp.write(frame(1, Buffer.from('{"action":"broadcast","data":"after the end"}')));
    await works(other, "on");
    assert.deepEqual((await connections("closing")).map(({ userId }) => userId), ["other"]);
    await works(other, "and on");
    assert(!other.messages.some(({ from }) => from === "stubborn"));
    client.socket.terminate();
  }
  other.close();
});

describe("what happens to a tenant while messages are published", () => {
  const made = [];
  const changes = {
    suspended: [({ id }) => control.admin("POST", `/tenants/${id}/suspend`, { reason: "unpaid" }), [4403, "TENANT_SUSPENDED"], 403],
    deleted: [({ id }) => control.admin("DELETE", `/tenants/${id}`), [4403, "TENANT_NOT_FOUND"], 404],
    "without the feature": [({ id }) => control.admin("PUT", `/tenants/${id}/overrides`, { feature: "live", value: false }), [4403, "FEATURE_NOT_AVAILABLE"], 200],
    moved: [({ id }) => control.admin("POST", `/tenants/${id}/move`, { parent: made[0] }), [4503, "SNAPSHOT_UNAVAILABLE"], 200],
    "with a revoked key": [({ id, record }) => control.admin("DELETE", `/tenants/${id}/api-keys/${record.id}`), [4401, "UNAUTHENTICATED"], 200],
  };
  for (const [name, [change, [code, reason], later]] of Object.entries(changes)) {
    test(`${name}: its sockets end in the middle of it, and nothing follows`, async () => {
      if (made.length === 0) {
        assert.equal((await control.admin("PUT", "/catalog", catalog({ cors: {} }))).status, 200);
        made.push((await control.admin("POST", "/tenants", { name: "the new root", plan: "pro@1" })).body.tenant.id);
      }
      const { tenant: { id, slug } } = (await control.admin("POST", "/tenants", { name, plan: "pro@1" })).body;
      const { record, key: own } = (await control.admin("POST", `/tenants/${id}/api-keys`, { name: "one", scopes: [] })).body;
      const credential = async () => (name === "with a revoked key" ? { headers: { "x-api-key": own } } : { token: await token(id) });
      const [talks, hears] = [await admitted(control, { host: HOST(slug), ...await credential() }), await admitted(control, { host: HOST(slug), ...await credential() })];
      let done = false;
      const talking = (async () => {
        for (let n = 0; !talks.closed; n++) await talks.ask({ action: "broadcast", data: n });
      })();
      const publishing = (async () => {
        while (!done) await publish(id, [{ data: "op" }], control);
      })();
      await until(() => hears.messages.some(({ from }) => from) && hears.messages.some(({ from }) => !from));
      const answer = await change({ id, record });
      done = true;
      assert(answer.status < 300, JSON.stringify(answer.body));
      for (const client of [talks, hears]) assert.deepEqual(await client.ended(), { code, reason });
      const received = hears.frames.length;
      assert.deepEqual(seqs(hears), Array.from({ length: hears.messages.length }, (_, i) => hears.messages[0].seq + i));
      await Promise.all([talking, publishing]);
      const after = await publish(id, [{ data: "after" }], control);
      if (later === 200) await until(async () => (await publish(id, [{ data: "after" }], control)).status === 200);
      else assert.equal(after.status, later, JSON.stringify(after.body));
      assert.equal(hears.frames.length, received);
      const again = await connect(control, { host: HOST(slug), ...await credential(), protocols: [] });
      if (name === "moved") assert.equal((await again.next("auth")).success, true);
      else assert((await again.ended()).status >= 401);
      again.close();
    });
  }
});

test("a trap of the module leaves the count of connections right", async () => {
  const [first, second] = [await open("trap"), await open("trap", { claims: { sub: "second" }, query: "channel=news" })];
  for (let n = 0; n < 3; n++) {
    first.send({ action: "trap" });
    await until(async () => (await publish("trap", [{ data: n, channel: "news" }])).status === 200);
    await until(() => second.messages.some(({ data }) => data === n));
    assert.deepEqual([(await connections("trap")).length, first.closed, second.closed], [2, null, null]);
  }
  const third = await open("trap");
  const refused = await connect(gate, { host: HOST("trap"), token: await token("trap") }).ended();
  assert.deepEqual([refused.status, refused.body.error.code], [429, "CONCURRENCY_LIMITED"]);
  third.close();
  await third.ended();
  await until(async () => (await connections("trap")).length === 2);
  const fourth = await open("trap");
  for (const client of [first, second, fourth]) client.close();
});

test("a position that is none of this log recovers nothing", async () => {
  const other = await open("apart");
  await publish("apart", [{ data: 1 }, { data: 2 }]);
  await until(() => other.messages.length === 2);
  await publish("away", Array.from({ length: 5 }, (_, n) => ({ data: n })));
  const client = await open("away");
  const { epoch, seq } = client.greeting;
  assert.notEqual(epoch, other.greeting.epoch);
  client.close();
  const positions = [[other.greeting.epoch, "1"], [other.greeting.epoch, "0"], [epoch, "6"], [epoch, "18446744073709551615"], [epoch, "9007199254740993"], ["", "0"], ["x".repeat(1_000), "1"]];
  for (const [from, at] of positions) {
    const byQuery = await open("away", { query: `epoch=${from}&seq=${at}` });
    const byMessage = await waiting(HOST("away"));
    byMessage.send(`{"action":"auth","token":"${await token("away")}","since":{"epoch":"${from}","seq":${at}}}`);
    for (const one of [byQuery, byMessage]) {
      const greeting = one.greeting ?? await one.next("auth");
      assert.deepEqual([greeting.recovered, greeting.epoch, greeting.seq], [false, epoch, seq], `${from} ${at}`);
      await one.ask({ action: "ping" });
      assert.deepEqual(one.messages, []);
      one.close();
    }
  }
  for (const query of ["seq=-1", "seq=1.5", "seq=1e3", "seq=", "seq=18446744073709551616", "seq=0x1", `epoch=${epoch}&seq=%201`]) {
    assert.equal((await connect(gate, { host: HOST("away"), token: await token("away"), query }).ended()).status, 400, query);
  }
  other.close();
});

test("names that are none of a channel reach nothing", async () => {
  const client = await open("names");
  const good = ["chat:1", `chat:${"x".repeat(59)}`];
  const bad = ["", "#chat:1", "chat:#", "chat:/", "../chat:1", "chat:1\n", "chat:\u0000", "chat:\u0007", "chat:\u007f", "chat:\u202e", "chat:é", "chat:*", "chat: 1", "chat:\"", "chat:\\", `chat:${"x".repeat(60)}`, "x".repeat(1_024), "@user-1", "*", "__proto__"];
  for (const channel of good) assert.equal((await client.ask({ action: "subscribe", channel })).success, true, channel);
  for (const channel of bad) {
    for (const action of ["subscribe", "unsubscribe", "publish", "presence"]) {
      const reply = await client.ask({ action, channel, data: 1 });
      // To leave where one never was is no failure.
      if (action === "unsubscribe" && reply.success) continue;
      assert.equal(reply.error.code, "NOT_FOUND", `${action} ${JSON.stringify(channel)}`);
    }
    const sent = await publish("names", [{ data: 1, channel }]);
    assert([400, 404].includes(sent.status), `${sent.status} ${JSON.stringify(channel)}`);
    const present = await operator(`/_gate/v1/presence?tenant=t_names&channel=${encodeURIComponent(channel)}`);
    if (present.status === 200) assert.deepEqual(present.body.users, [], channel);
    else assert.equal(present.status, 400);
  }
  const asked = await waiting(HOST("names"));
  asked.send({ action: "auth", token: await token("names"), channels: [...bad, ...good] });
  const greeting = await asked.next("auth");
  assert.deepEqual(greeting.channels, good);
  assert.deepEqual(greeting.refused, bad.map((channel) => ({ channel, code: "NOT_FOUND" })));
  await publish("names", [{ data: "real", channel: good[1] }]);
  await until(() => client.messages.length === 1 && asked.messages.length === 1);
  client.close();
  asked.close();
});

test("a member with the longest name, the most scopes and the longest channels stays one after a trap", async () => {
  const sub = "\"".repeat(255);
  const claims = { sub, scope: Array.from({ length: 64 }, (_, n) => `${n}`.padEnd(50, "x")).join(" ") };
  const client = await open("big", { claims });
  assert.equal(client.greeting.userId, sub);
  const channels = Array.from({ length: 32 }, (_, n) => `chat:${String(n).padStart(59, "0")}`);
  for (const channel of channels) {
    const reply = await client.ask({ action: "subscribe", channel, presence: true });
    assert.equal(reply?.success, true, JSON.stringify(client.closed));
  }
  client.send({ action: "trap" });
  await until(async () => (await publish("big", [{ data: "after", channel: channels[31] }])).status === 200);
  await until(() => client.messages.some(({ data }) => data === "after"));
  assert.deepEqual((await connections("big")).map(({ userId, channels: known }) => [userId, known]), [[sub, channels]]);
  assert.equal((await client.ask({ action: "send", to: sub, data: "me" })).success, true);
  await until(() => client.messages.at(-1).data === "me");
  client.close();
  for (const name of ["x".repeat(256), "é".repeat(128)]) {
    const refused = await connect(gate, { host: HOST("big"), token: await token("big", { sub: name }) }).ended();
    assert.deepEqual([refused.status, refused.body.error.code], [401, "UNAUTHENTICATED"]);
  }
});

test("presence that changes a hundred times is told once", async () => {
  const ann = await open("flaps", { claims: { sub: "ann" } });
  await ann.ask({ action: "subscribe", channel: "chat:1", presence: true });
  const bob = await open("flaps", { claims: { sub: "bob" } });
  for (let n = 0; n < 50; n++) {
    bob.send({ action: "subscribe", channel: "chat:1" });
    bob.send({ action: "unsubscribe", channel: "chat:1" });
  }
  assert.equal((await bob.ask({ action: "ping" })).action, "pong");
  for (let n = 0; n < 10; n++) {
    const again = await open("flaps", { claims: { sub: "bob" }, query: "channel=chat:1" });
    again.close();
    await again.ended();
  }
  await ann.ask({ action: "ping" });
  assert.deepEqual(ann.frames.filter(({ action }) => action === "presence"), [{ action: "presence", channel: "chat:1", joined: ["bob"] }]);
  assert.deepEqual((await operator("/_gate/v1/presence?tenant=t_flaps&channel=chat:1")).body.users, ["ann", "bob"]);
  ann.close();
  bob.close();
});

test("a page that was asleep for five minutes finds its connection dead, and returns to where it was", async () => {
  const sockets = [];
  class Silent {
    readyState = 1;
    sent = [];
    listeners = {};
    constructor(url) {
      this.url = url;
      sockets.push(this);
    }
    addEventListener(name, listener) { (this.listeners[name] ??= []).push(listener); }
    removeEventListener() {}
    send(text) { this.sent.push(text); }
    close() { this.readyState = 3; }
    hears(message) { this.emit("message", { data: JSON.stringify(message) }); }
    emit(name, event = {}) {
      for (const listener of [...this.listeners[name] ?? [], ...(this[`on${name}`] ? [this[`on${name}`]] : [])]) listener.call(this, event);
    }
  }
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    const socket = connectClient("https://acme.app.example.com", { token: "x.y.z", WebSocket: Silent });
    const settle = async () => { for (let n = 0; n < 20; n++) await Promise.resolve(); };
    await settle();
    sockets[0].emit("open");
    sockets[0].hears({ action: "auth", success: true, connectionId: "c", userId: "u", epoch: "e", seq: 6, channels: [] });
    sockets[0].hears({ action: "message", seq: 7, data: 1 });
    await settle();
    assert.equal(socket.isOpen, true);
    for (let s = 0; s < 300 && sockets.length === 1; s++) {
      mock.timers.tick(1_000);
      await settle();
    }
    assert(sockets[0].sent.includes('{"action":"ping"}'));
    assert.equal(sockets.length, 2);
    const { searchParams } = new URL(sockets[1].url);
    assert.deepEqual([searchParams.get("epoch"), searchParams.get("seq")], ["e", "7"]);
    socket.close();
  } finally {
    mock.timers.reset();
  }
});

describe("a parent and its child", () => {
  test("have channels, users and presence of their own", async () => {
    const [parent, child] = [await open("parent", { query: "channel=chat:1" }), await open("child", { query: "channel=chat:1" })];
    for (const [from, to] of [[child, parent], [parent, child]]) {
      const { length } = to.messages;
      assert.equal((await from.ask({ action: "publish", channel: "chat:1", data: "mine" })).success, true);
      assert.equal((await from.ask({ action: "send", to: "user-1", data: "to me" })).success, true);
      assert.equal((await from.ask({ action: "broadcast", data: "to us" })).success, true);
      await to.ask({ action: "ping" });
      assert.equal(to.messages.length, length);
      assert.equal((await from.ask({ action: "presence", channel: "chat:1" })).total, 1);
    }
    parent.close();
    child.close();
  });

  test("do not enter by each other's credentials", async () => {
    for (const [host, by] of [["child", "parent"], ["parent", "child"]]) {
      const refused = await connect(gate, { host: HOST(host), token: await token(by) }).ended();
      assert.deepEqual([refused.status, refused.body.error.code], [403, "TENANT_MISMATCH"]);
      const client = await waiting(SHARED);
      client.send({ action: "auth", token: await token(by), tenantId: host });
      assert.deepEqual(await client.ended(), { code: 4403, reason: "TENANT_MISMATCH" });
    }
  });

  test("even if the catalog lets a parent act for its children, it is no user of theirs, and they are none of its", async () => {
    const of = gates.acting;
    const [acting, own] = [await open("parent", { gate: of, host: HOST("child") }), await open("child", { gate: of })];
    assert.deepEqual([acting.greeting.tenantId, acting.greeting.userId, own.greeting.userId], ["t_child", "t_parent/user-1", "user-1"]);
    await acting.ask({ action: "send", to: "user-1", data: "to the child's" });
    await until(() => own.messages.length === 1);
    assert.equal(own.messages[0].from, "t_parent/user-1");
    await acting.ask({ action: "ping" });
    assert.deepEqual(acting.messages, []);
    assert.equal((await own.ask({ action: "auth", token: await token("parent") })).error.code, "TENANT_MISMATCH");
    const refused = await connect(of, { host: HOST("parent"), token: await token("child") }).ended();
    assert.deepEqual([refused.status, refused.body.error.code], [403, "TENANT_MISMATCH"]);
    acting.close();
    own.close();
  });
});

test("a subject that looks like a user of a tenant above, or like an API key, is taken for neither", async () => {
  const of = gates.acting;
  const [boss, keyed] = [await open("parent", { gate: of, host: HOST("child"), claims: { sub: "boss" } }), await admitted(of, { host: HOST("keys"), headers: { "x-api-key": key.key } })];
  for (const [slug, real] of [["child", boss], ["keys", keyed]]) {
    const { userId } = real.greeting;
    const client = connect(of, { host: HOST(slug), token: await token(slug, { sub: userId }) });
    await until(() => client.refused !== null || client.frames.length > 0);
    if (client.refused) continue;
    await real.ask({ action: "send", to: userId, data: "for me alone" });
    await until(() => real.messages.length === 1);
    await client.ask({ action: "broadcast", data: "from somebody else" });
    assert.deepEqual(client.messages.map(({ data }) => data), ["from somebody else"], `as ${userId}`);
    assert.notEqual(client.messages[0].from, userId);
    client.close();
  }
  boss.close();
  keyed.close();
});

describe("lists of connections", () => {
  test("are the operator's alone, and a cursor leads to no other tenant", async () => {
    const [mine, theirs] = [[], []];
    for (let n = 0; n < 3; n++) {
      mine.push(await open("mine", { claims: { sub: `m${n}` } }));
      theirs.push(await open("theirs", { claims: { sub: `t${n}` } }));
    }
    const ids = (clients) => clients.map(({ greeting }) => greeting.connectionId);
    const cursors = [...ids(theirs), ...ids(mine)].flatMap((id) => [id, `0:${id}`, `1:${id}`, `31:${id}`]).concat(["0:", "7:", ":", "x", "-1:x", "99999999999:", "t_theirs:", "0:' OR 1=1 --", "\u0000"]);
    for (const cursor of cursors) {
      const { status, body } = await operator(`/_gate/v1/connections?tenant=t_mine&cursor=${encodeURIComponent(cursor)}`);
      assert([200, 400].includes(status), cursor);
      for (const { connectionId } of body.connections ?? []) assert(ids(mine).includes(connectionId), cursor);
    }
    for (const tenant of ["t_mine%231", "lobby:1", "t_mine%2Ft_theirs", "T_MINE", ""]) {
      assert([400, 404].includes((await operator(`/_gate/v1/connections?tenant=${tenant}`)).status), tenant);
    }
    assert.equal((await operator("/_gate/v1/connections?tenant=t_mine&tenant=t_theirs")).body.connections?.some(({ userId }) => userId.startsWith("m")) ?? false, false);
    const paths = [["GET", "connections?tenant=t_mine"], ["DELETE", `connections?tenant=t_mine&id=${ids(mine)[0]}`], ["GET", "presence?tenant=t_mine&channel=news"], ["POST", "messages"]];
    for (const [method, path] of paths) {
      for (const credential of [await token("mine"), await token("theirs"), key.key]) {
        for (const headers of [{ authorization: `Bearer ${credential}` }, { "x-api-key": credential }, { cookie: `session=${credential}` }]) {
          const body = method === "POST" ? JSON.stringify({ tenant: "t_mine", messages: [{ data: 1 }] }) : undefined;
          const response = await fetch(new URL(`/_gate/v1/${path}`, gate.urls[0]), { method, body, headers });
          assert.equal(response.status, 401, `${method} ${path}`);
          await response.text();
        }
      }
    }
    assert([...mine, ...theirs].every(({ closed, messages }) => closed === null && messages.length === 0));
    for (const client of [...mine, ...theirs]) client.close();
  });

  test("have ids that cannot be guessed, and that lead to nothing under another tenant", async () => {
    const [mine, theirs] = [await open("mine"), await open("theirs")];
    const id = theirs.greeting.connectionId;
    const many = await Promise.all(Array.from({ length: 20 }, () => open("lists")));
    const ids = many.map(({ greeting }) => greeting.connectionId);
    assert.equal(new Set(ids.map((one) => one.slice(0, 8))).size, 20);
    for (const one of ids) assert.match(one, /^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$/);
    for (const guess of [id, id.toUpperCase(), id.slice(0, -1), "1", "*", "%25"]) {
      const { status, body } = await operator(`/_gate/v1/connections?tenant=t_mine&id=${guess}`, { method: "DELETE" });
      assert.deepEqual([status, body], [200, { closed: false }], guess);
    }
    for (const to of [id, mine.greeting.connectionId, "t_theirs/user-1"]) assert.equal((await mine.ask({ action: "send", to, data: "guessed" })).success, true);
    await mine.ask({ action: "ping" });
    await theirs.ask({ action: "ping" });
    assert.deepEqual([mine.messages, theirs.messages, theirs.closed], [[], [], null]);
    for (const client of [mine, theirs, ...many]) client.close();
  });
});

test("alarms that come many times at once do what is due once", async () => {
  const member = await open("alarms", { claims: { sub: "stays" } });
  const ends = await open("alarms", { claims: { sub: "ends", exp: now() + 3 } });
  await publish("alarms", [{ data: 1 }, { data: 2 }]);
  while (!ends.closed) {
    assert.equal(await inHub("t_alarms", "/test/alarms", "!!!!!"), "done");
    await sleep(20);
  }
  assert.deepEqual(ends.closed, { code: 4401, reason: "UNAUTHENTICATED" });
  assert.equal(ends.frames.filter(({ action }) => action === "expiring").length, 1);
  await inHub("t_alarms", "/test/alarms", "!!!!!");
  // Slots are neither lost nor given twice.
  const more = [await open("alarms"), await open("alarms")];
  assert.equal((await connect(gate, { host: HOST("alarms"), token: await token("alarms") }).ended()).status, 429);
  await works(member, "once");
  assert.deepEqual(seqs(member), [1, 2, 3]);
  for (const client of [member, ...more]) client.close();
});

describe("a suspension of which the hub is not told", () => {
  for (const [name, outcome] of Object.entries(secrets)) {
    test(`while ${name} is dead: nothing passes, eight seconds later`, () => outcome);
  }

  test("by a hub whose clock has stepped back an hour: messages keep their order, and nothing passes, eight seconds later", () => steppedBack);
});

test("no credential is in the logs", () => {
  const text = gate.log.join("\n");
  assert(text.length > 0);
  for (const made of [...tokens, key.key]) assert(!text.includes(made) && !text.includes(made.split(".").at(-1)));
});
