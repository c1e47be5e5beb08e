// (a) A full decision from JavaScript through WebAssembly, and all 64 flags for one context,
// compared with flag engines that evaluate the same rules and rollouts. Each engine has its own
// process, so that it does not affect the JIT compilation of another, and the engines take turns.

import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { median } from "./measure.mjs";

const ENGINES = ["tenantgate", "flagd", "growthbook", "unleash", "launchdarkly", "flipt", "cedar"];
const WORK = ["one", "all"];
const ROUNDS = 15;

/** A catalog in which one request passes all stages. */
export const catalog = {
  version: 1,
  resolution: { strategies: [{ strategy: "subdomain", base_domains: ["app.example.com"] }] },
  routes: [{ path: "/api", feature: "checkout", limits: { requests: 1, api_calls: 1 } }],
  features: {
    checkout: {
      rules: [{
        name: "half-of-nl",
        when: [{ attribute: "country", op: "eq", value: "NL" }],
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

async function start(engine) {
  const child = fork(join(import.meta.dirname, "engine.mjs"), [engine]);
  const ended = once(child, "exit").then(([code]) => Promise.reject(new Error(`the engine ${engine} ended with ${code}`)));
  const received = async () => (await Promise.race([once(child, "message"), ended]))[0];
  const { name, sizes } = await received();
  return {
    name,
    samples: { one: [], all: [] },
    run(work) {
      child.send({ work, n: sizes[work] });
      return received();
    },
    stop() {
      ended.catch(() => {});
      child.disconnect();
    },
  };
}

/** Rows of the comparison. */
export async function decision() {
  const engines = [];
  for (const engine of ENGINES) engines.push(await start(engine));
  for (let round = 0; round < ROUNDS; round++) {
    for (const work of WORK) for (const { samples, run } of engines) samples[work].push(await run(work));
  }
  for (const { stop } of engines) stop();
  const [own, ...peers] = engines.map(({ name, samples }) => ({ name, one: median(samples.one), all: median(samples.all) }));
  const alone = (name, value, target) => ({ name, value, unit: "ns", peer: null, ratio: null, target, ok: value <= target });
  const compared = (name, value, peer, target = null) => ({
    name, value, unit: "ns", peer, ratio: value / peer, target, ok: target === null ? null : value / peer <= target,
  });
  return [
    alone("full decision, JS to WASM", own.one, 500),
    ...peers.map(({ name, one }) => {
      return compared(`full decision compared with one flag of ${name}`, own.one, one, name.includes("flagd") ? 1 : null);
    }),
    alone("all 64 flags, JS to WASM", own.all, 1500),
    ...peers.map(({ name, all }) => compared(`all 64 flags compared with ${name}`, own.all, all)),
  ];
}

if (process.argv[1] === import.meta.filename) console.table(await decision());
