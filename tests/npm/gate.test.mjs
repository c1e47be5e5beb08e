// The npm package in Node: the shared vectors through `ask` and `decide`.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { DocumentError, Gate, InputError, publish } from "../../pkg/node.js";
import { difference, vectors } from "../support/vectors.mjs";
import { ask, catalog, tenant } from "../support/feature_gate.mjs";

const at = (step) => ({ now: step.at ? Date.parse(step.at) : 1_780_000_000_000 });

const open = ({ catalog, tenants, keys, secrets, api_keys }) => new Gate(catalog, tenants, { keys, secrets, apiKeys: api_keys });

for (const file of await vectors()) {
  test(`${file.name}: ${file.about}`, async (t) => {
    for (const one of file.cases) {
      await t.test(one.name, () => {
        const gate = open(file);
        for (const step of one.steps ?? [one]) {
          assert.equal(difference(step.expect, gate.ask(step.ask, at(step))), undefined);
        }
        gate.free();
      });
    }
  });

  test(`${file.name}: \`decide\` agrees with \`ask\``, () => {
    for (const one of file.cases) {
      const [quick, full] = [open(file), open(file)];
      for (const step of one.steps ?? [one]) {
        // `decide` has no options for these members, which only operators and tools use.
        if (["tenant", "limits", "custom", "all_features", "look"].some((name) => name in step.ask)) continue;
        const headers = Object.fromEntries(Object.entries(step.ask.headers ?? {}).map(([name, value]) => [name.toLowerCase(), value]));
        const short = quick.decide({ ...step.ask, headers }, at(step));
        const { decision } = full.ask(step.ask, at(step));
        assert.equal(short.code, decision.code, one.name);
        assert.deepEqual(short.tenant, decision.tenant, one.name);
        assert.deepEqual(short.credential, decision.credential ?? null, one.name);
        assert.deepEqual(short.features, decision.features, one.name);
        assert.deepEqual(short.limits.map(({ key, used, remaining }) => ({ key, used, remaining })), decision.limits.map(({ key, used, remaining }) => ({ key, used, remaining })), one.name);
      }
      quick.free();
      full.free();
    }
  });
}

test("an invalid document throws a DocumentError with every problem", () => {
  assert.throws(() => new Gate({ version: -1, resolution: { strategies: [] }, plan: {} }), (error) => {
    assert(error instanceof DocumentError);
    assert.deepEqual(error.problems.map(({ path }) => path), ["$.plan", "$.version", "$.resolution.strategies"]);
    return true;
  });
  assert.throws(() => publish("{"), DocumentError);
});

test("a context may contain numbers, strings and booleans, but no objects", () => {
  const gate = new Gate(catalog, [tenant]);
  assert.equal(ask(gate, { path: "/f", context: { n: 2, s: "ü".repeat(100), b: true } }).code, "ALLOWED");
  assert.equal(ask(gate, { path: "/f", context: { n: 1.5 } }).code, "FEATURE_NOT_AVAILABLE");
  assert.throws(() => ask(gate, { context: { n: {} } }), InputError);
});

test("a request that is too large throws an InputError, and the gate decides the next one", () => {
  const gate = new Gate(catalog, [tenant]);
  assert.throws(() => ask(gate, { path: `/${"a".repeat(100_000)}` }), InputError);
  assert.throws(() => ask(gate, { features: Array(1000).fill("f") }), InputError);
  assert.equal(ask(gate).code, "ALLOWED");
});

test("a gate with 10,000 tenants decides requests with up to 256 features, known or unknown", () => {
  const gate = new Gate(catalog, Array.from({ length: 10_000 }, (_, i) => ({ id: `n${i}`, slug: `n${i}`, plan: "p@1" })));
  const features = Array.from({ length: 256 }, (_, i) => (i ? `unknown-${i}` : "f"));
  for (let i = 0; i < 10_000; i++) assert.equal(gate.decide({ host: `n${i}.app.example.com` }).code, "ALLOWED");
  const answer = gate.decide({ host: "n0.app.example.com", features });
  assert.equal(Object.keys(answer.features).length, 256);
  assert.deepEqual(answer.features["unknown-255"], { value: false, enabled: false, tier: "unknown", reason: "FEATURE_UNKNOWN", rule: null, variant: null });
  assert.equal(gate.decide({ host: "n0.app.example.com", features: [...features, "g"] }).code, "BAD_REQUEST");
  gate.free();
});

test("older documents are refused, and the gate keeps the newer ones", () => {
  const gate = new Gate(catalog, [tenant]);
  assert.throws(() => gate.putCatalog({ ...catalog, version: 1 }), /older/);
  assert.throws(() => gate.putCatalog({ ...catalog, features: {}, routes: [] }), /higher version/);
  assert.throws(() => gate.putTenant({ ...tenant, epoch: 1 }), /older/);
  assert.equal(ask(gate).tenant.id, "t");
  gate.putTenant({ ...tenant, epoch: 3, status: "suspended" });
  assert.equal(ask(gate).code, "TENANT_SUSPENDED");
  gate.removeTenant("t");
  assert.equal(ask(gate).code, "TENANT_NOT_FOUND");
});

test("importing the package and deciding load no HTTP client", () => {
  const entry = JSON.stringify(new URL("../../pkg/node.js", import.meta.url).href);
  const script = `const { Gate } = await import(${entry});
    const gate = new Gate(${JSON.stringify(catalog)}, [${JSON.stringify(tenant)}]);
    gate.decide({ host: "t.app.example.com", path: "/" });
    gate.decide({ url: "/", method: "GET", headers: { host: "t.app.example.com" } });
    console.log(process.moduleLoadList.filter((name) => /undici|http2|tls$/.test(name)).join());`;
  assert.equal(execFileSync(process.execPath, ["--input-type=module", "--eval", script], { encoding: "utf8" }).trim(), "");
});
