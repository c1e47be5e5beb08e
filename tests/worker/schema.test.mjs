// The tables of the control plane and the Worker may be of different versions for a while: the
// Worker says so in one sentence, or works with them.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { after, test } from "node:test";
import { worker } from "../support/harness.mjs";

const read = (name) => readFileSync(new URL(`../../migrations/${name}`, import.meta.url), "utf8");
/** The migrations of released versions: databases have run them, so they never change again. */
const RELEASED = {
  "0001_usage.sql": "a7b796ece86aa0a11c61f066d057f45f49d89590de4f41e872e9584cd5e38556",
  "0002_control.sql": "2c1e4917654cc655a4d88bb3ffea87f466f6f5a04ad1d3fc409a1a02be0309af",
  "0003_hardening.sql": "f9488fee38f3f48fa9f675175949e3f9d53174068218ee9d35d37f803cd28373",
  "0004_lifecycle.sql": "31b9e81f3ae04c1f5ebd70f40ec0b6bb6654490eb84c689f10c8375e29260155",
  "0005_job_failures.sql": "673a382272eedce257341589567992d55fb1d30d683e33d6e037d1e38b5b475b",
};
const catalog = { version: 1, resolution: { strategies: [{ strategy: "header" }] }, features: {}, plans: { "pro@1": {} } };

const gate = await worker({ control: true, isolates: 2 });
after(() => gate.stop());
let id;
/** What the admin API says of the tenant: its plan, or why there is none. */
const refusal = async () => {
  const { status, body } = await gate.admin("GET", `/tenants/${id}`);
  return status === 503 ? body.error : body.plan;
};

test("migrations that were released have not changed", () => {
  const changed = Object.entries(RELEASED).filter(([name, digest]) => createHash("sha256").update(read(name)).digest("hex") !== digest);
  assert.deepEqual(changed.map(([name]) => name), []);
});

test("the last migration raises the version of the tables to its own number, and the Worker needs it", async () => {
  const last = readdirSync(new URL("../../migrations", import.meta.url)).sort().at(-1);
  const { version } = await gate.db.prepare("SELECT version FROM schema_version").first();
  assert.equal(version, Number(last.slice(0, 4)));
  await gate.db.prepare("UPDATE schema_version SET version = version - 1").run();
  assert.match((await refusal()).message, /older than this Worker/);
  await gate.db.prepare("UPDATE schema_version SET version = version + 1").run();
});

test("the tables of the first release are refused until they are migrated, and keep what is in them", async () => {
  assert.equal((await gate.admin("PUT", "/catalog", catalog)).status, 200);
  const made = await gate.admin("POST", "/tenants", { slug: "acme", name: "Acme", plan: "pro@1" });
  ({ tenant: { id } } = made.body);
  // All that the first release lacks.
  for (const table of ["schema_version", "hubs"]) await gate.db.prepare(`DROP TABLE ${table}`).run();
  const { code, message } = await refusal();
  assert.equal(code, "CONTROL_UNAVAILABLE");
  assert.match(message, /older than this Worker: apply the migrations/);
  const later = ["0006_schema_version.sql", "0007_hubs.sql"].map(read).join("\n").replace(/--.*$/gm, "").split(/;\s*\n/).map((sql) => sql.trim()).filter(Boolean);
  await gate.db.batch(later.map((sql) => gate.db.prepare(sql)));
  assert.equal(await refusal(), "pro@1");
});

test("newer tables are refused unless they say that this Worker can use them", async () => {
  await gate.db.prepare("UPDATE schema_version SET version = 99, oldest = 98").run();
  const { code, message } = await refusal();
  assert.equal(code, "CONTROL_UNAVAILABLE");
  assert.match(message, /newer than this Worker, which cannot use them: deploy the version/);
  await gate.db.prepare("UPDATE schema_version SET oldest = 6").run();
  assert.equal(await refusal(), "pro@1");
});

test("the gate goes on deciding, whatever the tables are", async () => {
  await gate.db.prepare("UPDATE schema_version SET version = 99, oldest = 98").run();
  const response = await gate.sendTo(1, "/", { headers: { "x-tenant-id": "acme" } });
  assert.notEqual(response.status, 503);
  await response.text();
  assert(gate.log.some((line) => /newer than this Worker/.test(line)), "the log says why changes are not followed");
});
