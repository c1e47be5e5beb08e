// (c) The time to compile a snapshot, and (e) how the time of a decision grows with tenants and
// features.

import assert from "node:assert/strict";
import { Gate } from "../pkg/node.js";
import { catalog } from "./decision.mjs";
import { compare } from "./measure.mjs";

const keyed = (count, prefix, value) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`${prefix}${i}`, value]));

const plan = (features, limits) => ({
  ...catalog,
  features: { ...catalog.features, ...keyed(features, "feature-", {}) },
  limits: { ...catalog.limits, ...keyed(limits, "limit-", { kind: "quota", period: "month" }) },
  plans: {
    "pro@1": {
      features: keyed(features, "feature-", true), limits: { ...catalog.plans["pro@1"].limits, ...keyed(limits, "limit-", 1000) },
    },
  },
});

/** Rows for compiling a tenant's snapshot and a catalog, with 100 features and 20 limits. */
export function compile() {
  const text = JSON.stringify(plan(100, 20));
  const gate = new Gate(text);
  let epoch = 0;
  const tenant = () => gate.putTenant(`{"id": "t", "slug": "t", "plan": "pro@1", "epoch": ${++epoch}}`);
  const request = { host: "t.app.example.com", path: "/x" };
  const loop = (body) => (n) => { for (let i = 0; i < n; i++) body(); };
  tenant();
  const ns = compare({
    record: loop(() => { tenant(); gate.decide(request, { now: 0 }); }),
    decide: loop(() => gate.decide(request, { now: 0 })),
    catalog: loop(() => new Gate(text).free()),
  }, { rounds: 9, roundMs: 40 });
  const record = (ns.record - ns.decide) / 1000;
  gate.free();
  const row = (name, value, target, ok) => ({
    name: `${name}, 100 features, 20 limits`, value, unit: "us", peer: null, ratio: null, target, ok,
  });
  return [
    row("compile a tenant's snapshot", record, 200, record <= 200),
    row("parse and compile a catalog", ns.catalog / 1000, null, null),
  ];
}

/** Rows for the same decision with few and many features or tenants. */
export function growth() {
  const decide = (features, tenants, step) => {
    const gate = new Gate(plan(features, 0), []);
    for (let i = 0; i < tenants; i++) gate.putTenant(`{"id": "t_${i}", "slug": "t-${i}", "plan": "pro@1"}`);
    const hosts = Array.from({ length: Math.min(tenants, 1000) }, (_, i) => `t-${(i * step) % tenants}.app.example.com`);
    const request = (i) => gate.decide({ host: hosts[i % hosts.length], path: "/x" }, { now: 0 });
    for (let i = 0; i < hosts.length; i++) assert(request(i).allowed, hosts[i]);
    return (n) => { for (let i = 0; i < n; i++) request(i); };
  };
  const features = compare({ few: decide(10, 1, 1), many: decide(1000, 1, 1) });
  const tenants = compare({ few: decide(10, 1, 1), many: decide(10, 100_000, 97) });
  const row = (name, { few, many }) => ({ name, value: many, unit: "ns", peer: few, ratio: many / few, target: null, ok: null });
  return [
    row("decision with 1000 features compared with 10", features),
    row("decision with 100,000 tenants compared with 1", tenants),
  ];
}

if (process.argv[1] === import.meta.filename) console.table([...compile(), ...growth()]);
