// Reservations, requests in flight, sliding windows and overage, with many isolates, clients that
// leave and origins that fail.

import assert from "node:assert/strict";
import { request } from "node:http";
import { after, describe, test } from "node:test";
import { as, workers } from "../support/harness.mjs";
import { questions } from "../support/questions.mjs";
import { until } from "../support/wait.mjs";

const seed = {
  catalog: {
    version: 1,
    resolution: { strategies: [{ strategy: "header" }] },
    routes: [
      { path: "/work", limits: { slots: 1 } }, { path: "/exact", limits: { slots: 1, exact: 1 } }, { path: "/leased", limits: { slots: 1, month: 1 } },
      { path: "/window", limits: { day: 1 } }, { path: "/sliding", limits: { sliding: 1 } },
      { path: "/soft", limits: { soft: 1 } }, { path: "/hard", limits: { month: 1, exact: 1 } },
    ],
    limits: {
      slots: { kind: "concurrency", default: 3 },
      exact: { kind: "quota", period: "month", mode: "strict", default: 10 }, month: { kind: "quota", period: "month", default: 10 },
      tokens: { kind: "quota", period: "month", default: 100 }, soft: { kind: "quota", period: "month", overage: "soft", default: 10 },
      calls: { kind: "rate", window_ms: 86_400_000, default: 100 },
      day: { kind: "window", window_ms: 86_400_000, default: 300 }, sliding: { kind: "window", window_ms: 2000, default: 20 },
      seats: { kind: "gauge", default: 5 }, desks: { kind: "gauge", overage: "soft", default: 5 },
    },
    plans: { "pro@1": {}, "paid@1": { limits: { tokens: { limit: 100, overage: "paid" }, soft: { limit: 10, overage: "hard" } } } },
  },
  tenants: [
    ...["acme", "other", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "soft", "hard"].map((slug) => ({ id: `t_${slug}`, slug, plan: "pro@1" })),
    { id: "t_payer", slug: "payer", plan: "paid@1" },
    { id: "t_team", slug: "team", parent: "t_acme", overrides: [{ limit: "tokens", allowance: 60 }] },
  ],
};
const many = (count, ask) => Promise.all(Array.from({ length: count }, (_, i) => ask(i)));

// Responds as `how` says; with `id`, the response ends once `/told?id=` has been requested.
const origin = `const told = new Set();
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export default { async fetch(request) {
  const { pathname, searchParams } = new URL(request.url);
  const [how, id] = [searchParams.get("how"), searchParams.get("id")];
  if (pathname === "/told") return new Response(told.add(id) && "");
  if (how === "throws") throw new Error("no");
  if (how === "empty") return new Response(null, { status: 204 });
  if (how === "thinks") while (!told.has(id)) await sleep(10);
  if (!id) return new Response("done", { headers: { "content-length": "4" } });
  let begun = false;
  return new Response(new ReadableStream({ async pull(stream) {
    const write = (text) => stream.enqueue(new TextEncoder().encode(text));
    if (!begun) return (begun = true) && write("begun");
    if (how === "talks") { await sleep(10); return write("."); }
    while (!told.has(id)) await sleep(10);
    if (how === "breaks") throw new Error("broken");
    stream.close();
  } }));
} }`;
const gates = await workers({ own: { seed, isolates: 4 }, before: { seed, origin, isolates: 4, direct: true } });
after(() => gates.own.stop());

describe("reservations", () => {
  const gate = gates.own;
  const { ask, used, take, reserve, settle } = questions(gate);

  test("a reservation counts as used at once, and its settlement releases the unused units", async () => {
    assert.equal(await reserve("t_a", "r1", { tokens: 80, calls: 1 }), "ALLOWED held 1 80");
    assert.equal(await take("t_a", { tokens: 21 }), "QUOTA_EXCEEDED 80");
    assert.equal(await reserve("t_a", "r2", { tokens: 21 }), "QUOTA_EXCEEDED 80");
    assert.equal(await settle("t_a", "r1", { tokens: 30 }), "ALLOWED 30");
    // A reserved limit that the settlement does not name was not used.
    assert.equal(await used("t_a", "calls"), 0);
    // A refused reservation was not made, so its id can be used again.
    assert.equal(await reserve("t_a", "r2", { tokens: 70 }), "ALLOWED held 100");
    assert.equal(await settle("t_a", "r2"), "ALLOWED");
    assert.equal(await used("t_a", "tokens"), 30);
    const { hold } = await ask("t_a", { tokens: 1 }, { reserve: { id: "r3", for_ms: 60_000 } });
    assert(hold.id === "r3" && Math.abs(Date.parse(hold.ends_at) - Date.now() - 60_000) < 5_000, JSON.stringify(hold));
  });

  test("a settlement for more than was reserved counts beyond the limit", async () => {
    await reserve("t_b", "r1", { tokens: 90 });
    assert.equal(await settle("t_b", "r1", { tokens: 120 }), "ALLOWED 120");
    assert.equal(await take("t_b", { tokens: 1 }), "QUOTA_EXCEEDED 120");
  });

  test("a repeated reservation or settlement counts once, and one with other units is refused", async () => {
    const answers = await many(20, () => reserve("t_c", "r1", { tokens: 40 }));
    assert.deepEqual(answers.sort(), ["ALLOWED held 40", ...Array(19).fill("ALLOWED held repeated 40")]);
    for (const other of [{ tokens: 41 }, { tokens: 40, calls: 1 }, { calls: 40 }]) assert.equal(await reserve("t_c", "r1", other), "IDEMPOTENCY_KEY_REUSED");
    assert.equal(await take("t_c", { calls: 0, tokens: 0 }), "ALLOWED 0 40");
    const settled = await many(10, () => settle("t_c", "r1", { tokens: 30 }));
    assert.deepEqual(settled.sort(), ["ALLOWED 30", ...Array(9).fill("ALLOWED repeated 30")]);
    assert.equal(await settle("t_c", "r1", { tokens: 31 }), "IDEMPOTENCY_KEY_REUSED");
    // The reservation is settled, so asking for it again does not create another.
    assert.equal(await reserve("t_c", "r1", { tokens: 40 }), "ALLOWED repeated lapsed 30");
    // Each tenant has ids of its own, and they are separate from its idempotency keys.
    assert.equal(await reserve("t_other", "r1", { tokens: 1 }), "ALLOWED held 1");
    assert.equal(await take("t_c", { tokens: 1 }, { idempotency_key: "r1" }), "ALLOWED 31");
  });

  test("concurrent reservations take exactly the units that are left, and a dry run takes nothing", async () => {
    assert.equal((await ask("t_d", { tokens: 10 }, { reserve: { id: "r0" }, look: true })).hold, undefined);
    const answers = await many(20, (i) => reserve("t_d", `r${i}`, { tokens: 10 }));
    assert.deepEqual(answers.map((said) => said.replace(/ \d+$/, "")).sort(), [...Array(10).fill("ALLOWED held"), ...Array(10).fill("QUOTA_EXCEEDED")]);
    assert.equal(await used("t_d", "tokens"), 100);
  });

  test("a reservation that is not settled ends by itself, and a late settlement still counts", async () => {
    assert.equal(await reserve("t_e", "r1", { tokens: 100 }, 1000), "ALLOWED held 100");
    assert.equal(await take("t_e", { tokens: 1 }), "QUOTA_EXCEEDED 100");
    await until(async () => (await used("t_e", "tokens")) === 0, "the reservation has ended");
    assert.equal(await settle("t_e", "r1", { tokens: 40 }), "ALLOWED lapsed 40");
    assert.equal(await settle("t_e", "never", { tokens: 1 }), "ALLOWED lapsed 41");
  });

  test("a child's reservation holds units of its parent, too", async () => {
    assert.equal(await reserve("t_team", "r1", { tokens: 60 }), "ALLOWED held 60 60");
    assert.equal(await reserve("t_team", "r2", { tokens: 1 }), "QUOTA_EXCEEDED 60 60");
    assert.equal(await reserve("t_acme", "r2", { tokens: 41 }), "QUOTA_EXCEEDED 60");
    // The parent's reservation with the same id is another one.
    assert.equal(await settle("t_acme", "r1", { tokens: 0 }), "ALLOWED lapsed 60");
    assert.equal(await settle("t_team", "r1", { tokens: 10 }), "ALLOWED 10 10");
    assert.equal(await take("t_acme", { tokens: 90 }), "ALLOWED 100");
  });

  test("an invalid reservation or settlement is refused with the path of the problem", async () => {
    const paths = async (question) => {
      const { status, body } = await gate.decide({ tenant: "t_f", limits: { tokens: 1 }, ...question });
      assert.equal(status, 400, JSON.stringify(question));
      return body.error.details.problems.map(({ path }) => path).join();
    };
    for (const id of ["", "a b", "a\"b", "a\\b", "é", "k".repeat(256)]) {
      assert.equal(await paths({ reserve: { id } }), "$.reserve.id");
      assert.equal(await paths({ settle: id }), "$.settle");
    }
    for (const for_ms of [0, 86_400_001, -1, 1.5, "1", 1e300]) assert.equal(await paths({ reserve: { id: "r", for_ms } }), "$.reserve.for_ms");
    for (const [reserve, path] of [[{}, ".id"], [{ id: "r", for: 1 }, ".for"], ["r", ""]]) assert.equal(await paths({ reserve }), `$.reserve${path}`);
    assert.equal(await paths({ settle: "r", limits: { seats: { release: 1 } } }), "$.limits");
    const names = { idempotency_key: "k", reserve: { id: "r" }, settle: "r" };
    for (const name of Object.keys(names)) assert.equal(await paths({ ...names, [name]: undefined }), "$", name);
    assert.match(await reserve("t_f", "r", { seats: { set: 1 } }), /^BAD_REQUEST/);
    for (const for_ms of [1, 86_400_000]) assert.match(await reserve("t_f", `${for_ms % 2}`.repeat(255), { tokens: 1 }, for_ms), /^ALLOWED held/);
  });
});

describe("requests in flight", () => {
  const gate = gates.before;
  const { used } = questions(gate);
  const tell = (id) => gate.askOrigin(`/told?id=${id}`);
  const free = (slug, what = slug) => until(async () => (await used(`t_${slug}`, "slots")) === 0, `every slot is free: ${what}`);

  test("all isolates let exactly the limit through at once, and a slot is free once its response ends", async () => {
    const answers = await many(20, (i) => gate.sendTo(i % 4, "/work?id=many", as("a")));
    const through = answers.filter(({ status }) => status === 200);
    assert.equal(through.length, 3);
    const texts = through.map((answer) => answer.text());
    for (const refused of answers.filter(({ status }) => status !== 200)) {
      const { error: { code, details: { rate, limit } } } = await refused.json();
      assert.deepEqual([refused.status, code, rate, limit], [429, "CONCURRENCY_LIMITED", "slots", 3]);
      assert(Number(refused.headers.get("retry-after")) >= 1);
    }
    // Refusals have released no slot, and another tenant has its own slots.
    assert.equal(await used("t_a", "slots"), 3);
    assert.equal((await gate.send("/work", as("b"))).status, 200);
    assert.equal((await gate.send("/work", as("a"))).status, 429);
    await tell("many");
    assert.deepEqual(await Promise.all(texts), ["begun", "begun", "begun"]);
    await free("a");
    assert.equal((await gate.send("/work", as("a"))).status, 200);
  });

  test("the requests in flight never exceed the limit during a long rush", async () => {
    let [now, most, through] = [0, 0, 0];
    await many(40, async (i) => {
      for (let round = 0; round < 5; round++) {
        const answer = await gate.sendTo(i % 4, `/work?id=${i}.${round}`, as("c"));
        if (answer.status === 429) { await answer.text(); continue; }
        most = Math.max(most, now += 1);
        through += 1;
        // The body is read from now on, because Node's fetch ends a body that nobody reads once its
        // response is garbage-collected.
        const text = answer.text();
        // The response cannot end before it is told to, so what is counted here is certainly in
        // flight.
        await used("t_c", "slots");
        now -= 1;
        await tell(`${i}.${round}`);
        assert.equal(await text, "begun");
      }
    });
    assert(most <= 3 && through >= 3, `${most} at once, ${through} in all`);
    await free("c");
  });

  test("a slot is held until the call to the origin ends, even if the client leaves before", async () => {
    const { hostname, port } = new URL(gate.url);
    const open = (path) => request({ hostname, port, path, agent: false, headers: { host: "app.example.com", "x-tenant-id": "d" } });
    /** Leaves before the response begins, or in the middle of it. */
    const leave = (how) => new Promise((resolve, reject) => {
      const client = open(`/work?id=${how}&how=${how}`);
      const go = () => { client.socket.resetAndDestroy(); resolve(); };
      client.on("error", how === "thinks" ? () => {} : reject).end();
      if (how === "thinks") until(async () => (await used("t_d", "slots")) === 1, "the request holds a slot").then(go, reject);
      else client.on("response", (response) => response.on("error", () => {}).once("data", go));
    });
    // This origin notices when it writes, so its call ends, and the slot is free.
    await leave("talks");
    await free("d", "talks");
    for (const how of ["is-silent", "thinks"]) {
      await leave(how);
      // This origin does not notice and works on, so the slot stays held.
      for (let i = 0; i < 20; i++) assert.equal(await used("t_d", "slots"), 1, how);
      await tell(how);
      await free("d", how);
    }
  });

  test("a response that holds a slot keeps its `Content-Length`", async () => {
    const answer = await gate.send("/work", { headers: { "x-tenant-id": "e", "accept-encoding": "identity" } });
    assert.deepEqual([answer.headers.get("content-length"), await answer.text()], ["4", "done"]);
  });

  test("an origin that fails before or during its response frees the slot", async () => {
    assert.equal((await gate.send("/work?how=throws", as("g"))).status, 502);
    await free("g", "the origin threw");
    const broken = await gate.send("/work?id=breaks&how=breaks", as("g"));
    assert.equal(await used("t_g", "slots"), 1);
    await tell("breaks");
    await assert.rejects(broken.text());
    await free("g", "the response broke off");
  });

  test("a response without a body frees its slot", async () => {
    for (const [path, method, status] of [["/work?how=empty", "GET", 204], ["/work", "HEAD", 200], ["/work?how=empty", "POST", 204]]) {
      assert.equal((await gate.send(path, { ...as("h"), method })).status, status);
      await free("h", path);
    }
  });

  test("a request that one limit refuses holds no slot, and one without a slot consumes no other limit", async () => {
    for (const [path, limit, slug] of [["/exact", "exact", "i"], ["/leased", "month", "j"]]) {
      const answers = await many(20, () => gate.send(`${path}?id=${slug}`, as(slug)));
      assert.equal(answers.filter(({ status }) => status === 200).length, 3, path);
      if (limit === "exact") assert.equal(await used(`t_${slug}`, limit), 3);
      await tell(slug);
      for (const answer of answers) await answer.text();
      await free(slug);
      let through = 3;
      for (let i = 0; i < 15; i++) {
        const answer = await gate.send(path, as(slug));
        const { error } = await answer.json().catch(() => ({}));
        assert.equal(error?.code, answer.status === 200 ? undefined : "QUOTA_EXCEEDED", path);
        through += answer.status === 200 ? 1 : 0;
        await free(slug, `${path} was answered ${answer.status}`);
      }
      assert.equal(through, 10, path);
    }
  });
});

describe("sliding windows", () => {
  const gate = gates.own;

  test("a window leased by many isolates never admits more than its limit, and admits nearly all of it", async () => {
    const statuses = [];
    for (let round = 0; round < 25; round++) statuses.push(...(await many(40, (i) => gate.sendTo(i % 4, "/window", as("a")))).map(({ status }) => status));
    const admitted = statuses.filter((status) => status === 200).length;
    assert(statuses.every((status) => status === 200 || status === 429));
    assert(admitted <= 300 && admitted >= 297, String(admitted));
  });
});

describe("overage", () => {
  const gate = gates.own;
  const { ask, take } = questions(gate);

  test("soft and paid allowances let requests through and report the overage; hard ones refuse them", async () => {
    for (let i = 1; i <= 15; i++) {
      const [{ used, remaining, overage }] = (await (await gate.send("/soft", as("soft"))).json()).limits;
      assert.deepEqual([used, remaining, overage], [i, Math.max(10 - i, 0), { policy: "soft", units: Math.max(i - 10, 0) }]);
    }
    // Reservations may go beyond the allowance too; a settlement takes back what was not used.
    const keys = ["k1", "k2", "k3"].map((idempotency_key) => ({ idempotency_key }));
    for (const [tokens, how, units] of [[100, keys[0], 0], [50, keys[1], 50], [1, keys[2], 51], [200, { reserve: { id: "r" } }, 251], [20, { settle: "r" }, 71]]) {
      const { allowed, limits: [{ overage }] } = await ask("t_payer", { tokens }, how);
      assert.deepEqual([allowed, overage], [true, { policy: "paid", units }]);
    }
    // The overage policy of a plan takes precedence over that of the limit.
    const answers = await many(15, () => gate.send("/soft", as("payer")));
    assert.equal(answers.filter(({ status }) => status === 200).length, 10);
    const { code, limits: [{ overage, used }] } = await ask("t_soft", { tokens: 101 });
    assert.deepEqual([code, overage, used], ["QUOTA_EXCEEDED", undefined, 0]);
  });

  test("a denial names every limit that refuses, and consumes nothing of any limit", async () => {
    const violations = ({ code, details }) => {
      assert.equal(code, "QUOTA_EXCEEDED");
      return details.violations.map(({ key, limit, used, requested }) => [key, limit, used, requested].join(" ")).sort();
    };
    const { error } = await ask("t_hard", { month: 11, exact: 12, tokens: 50, seats: 6 });
    assert.deepEqual(violations(error), ["exact 10 0 12", "month 10 0 11", "seats 5 0 6"]);
    assert.equal(await take("t_hard", { tokens: 0, month: 0 }), "ALLOWED 0 0");
    for (let i = 0; i < 10; i++) assert.equal((await gate.send("/hard", as("hard"))).status, 200);
    const refused = await gate.send("/hard", as("hard"));
    assert.deepEqual([refused.status, violations((await refused.json()).error)], [429, ["exact 10 10 1", "month 10 10 1"]]);
  });
});
