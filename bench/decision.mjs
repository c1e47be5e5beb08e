// (a) One full decision from JavaScript through WebAssembly, beside flag engines that evaluate one flag with the same
// rule and rollout. Each engine's on-count is asserted: what does not evaluate does not count.

import assert from "node:assert/strict";
import { MemoryStorage, FlagdCore } from "@openfeature/flagd-core";
import { GrowthBook } from "@growthbook/growthbook";
import unleash from "unleash-client";
import { Gate } from "../pkg/node.js";
import { compare } from "./measure.mjs";

const COUNTRY = "NL";
const users = Array.from({ length: 1000 }, (_, i) => `user-${i}`);
const hosts = Array.from({ length: 1000 }, (_, i) => `tenant-${i}.app.example.com`);

/** A catalog in which one request meets all stages. */
export const catalog = {
  version: 1,
  resolution: { strategies: [{ strategy: "subdomain", base_domains: ["app.example.com"] }] },
  routes: [{ path: "/api", feature: "checkout", limits: { requests: 1, api_calls: 1 } }],
  features: {
    checkout: {
      rules: [{
        name: "half-of-nl",
        when: [{ attribute: "country", op: "eq", value: COUNTRY }],
        rollout: { split: [{ weight: 50, value: true }, { weight: 50, value: false }] },
      }],
    },
  },
  limits: {
    requests: { kind: "rate", window_ms: 1000 },
    api_calls: { kind: "quota", period: "month" },
  },
  plans: { "pro@1": { limits: { requests: 1_000_000_000, api_calls: 1_000_000_000 } } },
};

function tenantgate() {
  const tenants = hosts.map((_, i) => ({ id: `t_${i}`, slug: `tenant-${i}`, plan: "pro@1" }));
  const gate = new Gate(catalog, tenants);
  const now = Date.now();
  return (i) => {
    const request = { host: hosts[i], path: "/api/tasks", context: { targeting_key: users[i], country: COUNTRY } };
    return gate.decide(request, { now }).allowed;
  };
}

function flagd() {
  const core = new FlagdCore(new MemoryStorage());
  const targeting = { if: [{ "==": [{ var: "country" }, COUNTRY] }, { fractional: [["on", 50], ["off", 50]] }, "off"] };
  core.setConfigurations(JSON.stringify({
    flags: { checkout: { state: "ENABLED", variants: { on: true, off: false }, defaultVariant: "off", targeting } },
  }));
  return (i) => core.resolveBooleanEvaluation("checkout", false, { targetingKey: users[i], country: COUNTRY }).value;
}

function growthbook() {
  const gb = new GrowthBook({
    features: { checkout: { defaultValue: false, rules: [{ condition: { country: COUNTRY }, force: true, coverage: 0.5, hashAttribute: "id" }] } },
  });
  return (i) => {
    gb.setAttributes({ id: users[i], country: COUNTRY });
    return gb.isOn("checkout");
  };
}

async function unleashed() {
  const client = new unleash.Unleash({
    appName: "bench", url: "http://127.0.0.1:1/", disableMetrics: true, refreshInterval: 0, skipInstanceCountWarning: true,
    storageProvider: new unleash.InMemStorageProvider(),
    bootstrap: { data: [{
      name: "checkout", enabled: true, strategies: [{
        name: "flexibleRollout",
        parameters: { rollout: "50", stickiness: "userId", groupId: "checkout" },
        constraints: [{ contextName: "country", operator: "IN", values: [COUNTRY] }],
      }],
    }] },
  });
  client.on("error", () => {});
  await new Promise((resolve) => client.once("ready", resolve));
  const evaluate = (i) => client.isEnabled("checkout", { userId: users[i], properties: { country: COUNTRY } });
  evaluate.end = () => client.destroy();
  return evaluate;
}

/** Rows of the comparison. */
export async function decision() {
  const engines = {
    tenantgate: tenantgate(),
    "@openfeature/flagd-core": flagd(),
    "@growthbook/growthbook": growthbook(),
    "unleash-client": await unleashed(),
  };
  for (const [name, evaluate] of Object.entries(engines)) {
    const on = users.reduce((count, _, i) => count + (evaluate(i) ? 1 : 0), 0);
    assert(on > 400 && on < 600, `${name} is on for ${on} of 1000, expected about half`);
  }
  const ns = compare(Object.fromEntries(Object.entries(engines).map(([name, evaluate]) => [name, (n) => {
    let on = 0;
    for (let i = 0; i < n; i++) on += evaluate(i % 1000) ? 1 : 0;
    return on;
  }])));
  engines["unleash-client"].end();
  const own = ns.tenantgate;
  return [
    { name: "full decision, JS to WASM", value: own, unit: "ns", peer: null, ratio: null, target: 500, ok: own <= 500 },
    ...Object.entries(ns).slice(1).map(([peer, value]) => ({
      name: `full decision beside one flag of ${peer}`, value: own, unit: "ns", peer: value, ratio: own / value,
      target: peer.includes("flagd") ? 1 : null, ok: peer.includes("flagd") ? own <= value : null,
    })),
  ];
}

if (process.argv[1] === import.meta.filename) console.table(await decision());
