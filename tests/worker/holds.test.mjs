// What is set aside and what is in flight, sliding windows and overage: many isolates, clients that leave, origins that fail.

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

// Answers as `how` says; with `id`, the answer ends when `/told?id=` was asked for it.
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

  test("count as used at once, and give back what was not", async () => {
    assert.equal(await reserve("t_a", "r1", { tokens: 80, calls: 1 }), "ALLOWED held 1 80");
    assert.equal(await take("t_a", { tokens: 21 }), "QUOTA_EXCEEDED 80");
    assert.equal(await reserve("t_a", "r2", { tokens: 21 }), "QUOTA_EXCEEDED 80");
    assert.equal(await settle("t_a", "r1", { tokens: 30 }), "ALLOWED 30");
    // What was reserved and is not named was not used.
    assert.equal(await used("t_a", "calls"), 0);
    // A reservation that was refused was not made: the same id may try again.
    assert.equal(await reserve("t_a", "r2", { tokens: 70 }), "ALLOWED held 100");
    assert.equal(await settle("t_a", "r2"), "ALLOWED");
    assert.equal(await used("t_a", "tokens"), 30);
    const { hold } = await ask("t_a", { tokens: 1 }, { reserve: { id: "r3", for_ms: 60_000 } });
    assert(hold.id === "r3" && Math.abs(Date.parse(hold.ends_at) - Date.now() - 60_000) < 5_000, JSON.stringify(hold));
  });

  test("settled for more, they count it beyond the limit, and the next request is refused", async () => {
    await reserve("t_b", "r1", { tokens: 90 });
    assert.equal(await settle("t_b", "r1", { tokens: 120 }), "ALLOWED 120");
    assert.equal(await take("t_b", { tokens: 1 }), "QUOTA_EXCEEDED 120");
  });

  test("asked for twice, they take once; with other units, nothing", async () => {
    const answers = await many(20, () => reserve("t_c", "r1", { tokens: 40 }));
    assert.deepEqual(answers.sort(), ["ALLOWED held 40", ...Array(19).fill("ALLOWED held repeated 40")]);
    for (const other of [{ tokens: 41 }, { tokens: 40, calls: 1 }, { calls: 40 }]) assert.equal(await reserve("t_c", "r1", other), "IDEMPOTENCY_KEY_REUSED");
    assert.equal(await take("t_c", { calls: 0, tokens: 0 }), "ALLOWED 0 40");
    const settled = await many(10, () => settle("t_c", "r1", { tokens: 30 }));
    assert.deepEqual(settled.sort(), ["ALLOWED 30", ...Array(9).fill("ALLOWED repeated 30")]);
    assert.equal(await settle("t_c", "r1", { tokens: 31 }), "IDEMPOTENCY_KEY_REUSED");
    // Its work is done: whoever asks for it again gets no second one.
    assert.equal(await reserve("t_c", "r1", { tokens: 40 }), "ALLOWED repeated lapsed 30");
    // Ids are the tenant's own, and are not idempotency keys.
    assert.equal(await reserve("t_other", "r1", { tokens: 1 }), "ALLOWED held 1");
    assert.equal(await take("t_c", { tokens: 1 }, { idempotency_key: "r1" }), "ALLOWED 31");
  });

  test("many at once: exactly as many as there is room for; one that is only looked at is none", async () => {
    assert.equal((await ask("t_d", { tokens: 10 }, { reserve: { id: "r0" }, look: true })).hold, undefined);
    const answers = await many(20, (i) => reserve("t_d", `r${i}`, { tokens: 10 }));
    assert.deepEqual(answers.map((said) => said.replace(/ \d+$/, "")).sort(), [...Array(10).fill("ALLOWED held"), ...Array(10).fill("QUOTA_EXCEEDED")]);
    assert.equal(await used("t_d", "tokens"), 100);
  });

  test("that nobody settles end by themselves; what was used counts all the same", async () => {
    assert.equal(await reserve("t_e", "r1", { tokens: 100 }, 1000), "ALLOWED held 100");
    assert.equal(await take("t_e", { tokens: 1 }), "QUOTA_EXCEEDED 100");
    await until(async () => (await used("t_e", "tokens")) === 0, "the reservation has ended");
    assert.equal(await settle("t_e", "r1", { tokens: 40 }), "ALLOWED lapsed 40");
    assert.equal(await settle("t_e", "never", { tokens: 1 }), "ALLOWED lapsed 41");
  });

  test("a child's holds its parent's units too", async () => {
    assert.equal(await reserve("t_team", "r1", { tokens: 60 }), "ALLOWED held 60 60");
    assert.equal(await reserve("t_team", "r2", { tokens: 1 }), "QUOTA_EXCEEDED 60 60");
    assert.equal(await reserve("t_acme", "r2", { tokens: 41 }), "QUOTA_EXCEEDED 60");
    // The parent's reservation of the same name is another one.
    assert.equal(await settle("t_acme", "r1", { tokens: 0 }), "ALLOWED lapsed 60");
    assert.equal(await settle("t_team", "r1", { tokens: 10 }), "ALLOWED 10 10");
    assert.equal(await take("t_acme", { tokens: 90 }), "ALLOWED 100");
  });

  test("what is none is refused, with its path", async () => {
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

describe("what is in flight", () => {
  const gate = gates.before;
  const { used } = questions(gate);
  const tell = (id) => gate.askOrigin(`/told?id=${id}`);
  const free = (slug, what = slug) => until(async () => (await used(`t_${slug}`, "slots")) === 0, `a slot is held: ${what}`);

  test("exactly the limit is let through, whatever isolate is asked; slots are free when the answers have ended", async () => {
    const answers = await many(20, (i) => gate.sendTo(i % 4, "/work?id=many", as("a")));
    const through = answers.filter(({ status }) => status === 200);
    assert.equal(through.length, 3);
    const texts = through.map((answer) => answer.text());
    for (const refused of answers.filter(({ status }) => status !== 200)) {
      const { error: { code, details: { rate, limit } } } = await refused.json();
      assert.deepEqual([refused.status, code, rate, limit], [429, "CONCURRENCY_LIMITED", "slots", 3]);
      assert(Number(refused.headers.get("retry-after")) >= 1);
    }
    // Refusals have freed nothing, and another tenant has slots of its own.
    assert.equal(await used("t_a", "slots"), 3);
    assert.equal((await gate.send("/work", as("b"))).status, 200);
    assert.equal((await gate.send("/work", as("a"))).status, 429);
    await tell("many");
    assert.deepEqual(await Promise.all(texts), ["begun", "begun", "begun"]);
    await free("a");
    assert.equal((await gate.send("/work", as("a"))).status, 200);
  });

  test("at no time more than the limit, in a long rush", async () => {
    let [now, most, through] = [0, 0, 0];
    await many(40, async (i) => {
      for (let round = 0; round < 5; round++) {
        const answer = await gate.sendTo(i % 4, `/work?id=${i}.${round}`, as("c"));
        if (answer.status === 429) { await answer.text(); continue; }
        most = Math.max(most, now += 1);
        through += 1;
        // Read from now on: Node's fetch ends a body that nobody reads once the response it was taken from is collected.
        const text = answer.text();
        // The answer cannot end before it is told to: what is counted here is in flight for certain.
        await used("t_c", "slots");
        now -= 1;
        await tell(`${i}.${round}`);
        assert.equal(await text, "begun");
      }
    });
    assert(most <= 3 && through >= 3, `${most} at once, ${through} in all`);
    await free("c");
  });

  test("a slot lasts as long as the call that it stands for, also where its client leaves", async () => {
    const { hostname, port } = new URL(gate.url);
    const open = (path) => request({ hostname, port, path, agent: false, headers: { host: "app.example.com", "x-tenant-id": "d" } });
    /** Leaves before the answer begins, or in the middle of it. */
    const leave = (how) => new Promise((resolve, reject) => {
      const client = open(`/work?id=${how}&how=${how}`);
      const go = () => { client.socket.resetAndDestroy(); resolve(); };
      client.on("error", how === "thinks" ? () => {} : reject).end();
      if (how === "thinks") until(async () => (await used("t_d", "slots")) === 1, "it holds a slot").then(go, reject);
      else client.on("response", (response) => response.on("error", () => {}).once("data", go));
    });
    // The origin notices when it writes: its call ends, and the slot with it.
    await leave("talks");
    await free("d", "talks");
    for (const how of ["is-silent", "thinks"]) {
      await leave(how);
      // The origin does not notice: it works on, and what it does counts.
      for (let i = 0; i < 20; i++) assert.equal(await used("t_d", "slots"), 1, how);
      await tell(how);
      await free("d", how);
    }
  });

  test("the length of an answer stays known", async () => {
    const answer = await gate.send("/work", { headers: { "x-tenant-id": "e", "accept-encoding": "identity" } });
    assert.deepEqual([answer.headers.get("content-length"), await answer.text()], ["4", "done"]);
  });

  test("an origin that fails, before its answer or within, frees the slot", async () => {
    assert.equal((await gate.send("/work?how=throws", as("g"))).status, 502);
    await free("g", "it threw");
    const broken = await gate.send("/work?id=breaks&how=breaks", as("g"));
    assert.equal(await used("t_g", "slots"), 1);
    await tell("breaks");
    await assert.rejects(broken.text());
    await free("g", "it broke");
  });

  test("answers without a body free their slots", async () => {
    for (const [path, method, status] of [["/work?how=empty", "GET", 204], ["/work", "HEAD", 200], ["/work?how=empty", "POST", 204]]) {
      assert.equal((await gate.send(path, { ...as("h"), method })).status, status);
      await free("h", path);
    }
  });

  test("what another limit refuses holds no slot, and what has no slot uses up no other limit", async () => {
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

  test("leased by many isolates: never more than the limit, and nearly all of it", async () => {
    const statuses = [];
    for (let round = 0; round < 25; round++) statuses.push(...(await many(40, (i) => gate.sendTo(i % 4, "/window", as("a")))).map(({ status }) => status));
    const admitted = statuses.filter((status) => status === 200).length;
    assert(statuses.every((status) => status === 200 || status === 429));
    assert(admitted <= 300 && admitted >= 297, String(admitted));
  });
});

describe("beyond the limit", () => {
  const gate = gates.own;
  const { ask, take } = questions(gate);

  test("soft and paid allowances let through and say so; hard ones refuse", async () => {
    for (let i = 1; i <= 15; i++) {
      const [{ used, remaining, overage }] = (await (await gate.send("/soft", as("soft"))).json()).limits;
      assert.deepEqual([used, remaining, overage], [i, Math.max(10 - i, 0), { policy: "soft", units: Math.max(i - 10, 0) }]);
    }
    // Reservations go beyond it too; what was not used is not paid for.
    const keys = ["k1", "k2", "k3"].map((idempotency_key) => ({ idempotency_key }));
    for (const [tokens, how, units] of [[100, keys[0], 0], [50, keys[1], 50], [1, keys[2], 51], [200, { reserve: { id: "r" } }, 251], [20, { settle: "r" }, 71]]) {
      const { allowed, limits: [{ overage }] } = await ask("t_payer", { tokens }, how);
      assert.deepEqual([allowed, overage], [true, { policy: "paid", units }]);
    }
    // A plan's own word stands above the limit's.
    const answers = await many(15, () => gate.send("/soft", as("payer")));
    assert.equal(answers.filter(({ status }) => status === 200).length, 10);
    const { code, limits: [{ overage, used }] } = await ask("t_soft", { tokens: 101 });
    assert.deepEqual([code, overage, used], ["QUOTA_EXCEEDED", undefined, 0]);
  });

  test("all limits that refuse are named, and none takes anything", async () => {
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
