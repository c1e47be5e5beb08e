// (g) The control plane with 100,000 tenants in D1: reads, provisioning, moves between plans, and
// publication.

import assert from "node:assert/strict";
import { worker } from "../tests/support/harness.mjs";

const TENANTS = Number(process.env.TENANTS ?? 100_000);
const catalog = {
  version: 1,
  resolution: { strategies: [{ strategy: "header" }] },
  features: { sso: {}, webhooks: {} },
  limits: { month: { kind: "quota", period: "month" } },
  plans: {
    "pro@1": { features: ["webhooks"], limits: { month: 1000 } },
    "pro@2": { features: ["webhooks", "sso"], limits: { month: 2000 } },
  },
};

const median = (numbers) => numbers.sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
const timed = async (work) => {
  const begun = performance.now();
  const result = await work();
  return [performance.now() - begun, result];
};

export async function control({ tenants = TENANTS, folder = "build" } = {}) {
  const gate = await worker({ control: true, folder });
  const { admin, db } = gate;
  const good = async (method, path, body, more) => {
    const answer = await admin(method, path, body, more);
    assert(answer.status < 300, `${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer.body;
  };
  await good("PUT", "/catalog", catalog);
  // Writes the same rows as the API, but no audit entries, which would need one call for each
  // tenant.
  const record = `json_object('id', 't_' || i, 'slug', 's-' || i, 'plan', 'pro@1', 'epoch', 1, 'status', 'active')`;
  for (let from = 0; from < tenants; from += 10_000) {
    const series = `WITH RECURSIVE n (i) AS (SELECT ${from} UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ${from + 10_000})`;
    await db.batch([
      db.prepare(`INSERT INTO tenants (id, slug, status, plan, root, epoch, record, created_at, changed_at) ${series}
        SELECT 't_' || i, 's-' || i, 'active', 'pro@1', 't_' || i, 1, ${record}, 0, 0 FROM n`),
      db.prepare(`INSERT INTO slugs (slug, tenant) ${series} SELECT 's-' || i, 't_' || i FROM n`),
    ]);
  }
  const rows = [];
  const row = (name, value, unit, target = null, ok = null) => rows.push({
    name: `${name}, ${tenants.toLocaleString("en")} tenants`, value, unit, peer: null, ratio: null, target, ok,
  });
  const each = async (name, ask, times = 50) => {
    const taken = [];
    for (let i = 0; i < times; i++) taken.push((await timed(() => ask(i)))[0]);
    row(name, median(taken), "ms");
  };
  await each("a tenant by its id", (i) => good("GET", `/tenants/t_${(i * 7919) % tenants}`));
  await each("a tenant by its slug", (i) => good("GET", `/tenants?slug=s-${(i * 7919) % tenants}`));
  await each("a page of 100 tenants", (i) => good("GET", `/tenants?limit=100&cursor=t_${(i * 7919) % tenants}`));
  await each("a page of 100 tenants of a plan", (i) => good("GET", `/tenants?plan=pro@1&limit=100&cursor=t_${(i * 7919) % tenants}`));
  await each("a change of a tenant, published", (i) => good("PATCH", `/tenants/t_${i}`, { metadata: { i } }));
  await each("setting a tenant up, published", (i) => good("POST", "/tenants", { slug: `new-${i}`, plan: "pro@1" }), 20);
  {
    let compared = 0;
    const [ms] = await timed(async () => {
      for (let cursor; compared < 10_000 && cursor !== null;) {
        const page = await good("POST", "/catalog/impact", { plans: { "pro@1": "pro@2" }, limit: 1_000, ...(cursor && { cursor }) });
        compared += page.compared;
        cursor = page.next_cursor;
      }
    });
    row("a dry run of a move between plans", (compared / ms) * 1_000, "tenants/s");
  }
  {
    const { id } = await good("POST", "/plans/pro@1/move", { to: "pro@2" });
    const [ms, done] = await timed(async () => {
      let job;
      for (let slices = 0; slices < 40; slices++) job = await good("POST", `/jobs/${id}/run`);
      return job.done;
    });
    row("a move of tenants between plans, published", (done / ms) * 1_000, "tenants/s");
  }
  {
    await good("POST", "/publications?all=true");
    const [ms, published] = await timed(async () => {
      let published = 0;
      for (let slices = 0; slices < 20; slices++) published += (await good("POST", "/publications")).published;
      return published;
    });
    row("publication", (published / ms) * 1_000, "entries/s");
  }
  await gate.stop();
  return rows;
}

if (process.argv[1] === import.meta.filename) {
  console.table(await control({ folder: process.argv[2] ?? "build" }));
  process.exit(0);
}
