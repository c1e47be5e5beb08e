// LaunchDarkly's edge SDK, with the document that its integration writes to KV.

import { EdgeFeatureStore, init } from "@launchdarkly/cloudflare-server-sdk";

export async function open({ users, country, flags }) {
  const half = [{ variation: 0, weight: 50_000 }, { variation: 1, weight: 50_000 }];
  const flag = ({ key, rollout }) => ({
    key, version: 1, on: true, salt: key, variations: [true, false], offVariation: 1, fallthrough: { variation: 1 },
    targets: [], prerequisites: [],
    rules: [{
      id: "country", clauses: [{ contextKind: "user", attribute: "country", op: "in", values: [country], negate: false }],
      ...(rollout ? { rollout: { kind: "rollout", contextKind: "user", bucketBy: "key", variations: half } } : { variation: 0 }),
    }],
  });
  const document = JSON.stringify({ flags: Object.fromEntries(flags.map((one) => [one.key, flag(one)])), segments: {} });
  const kv = { get: async (key) => (key === "LD-Env-bench" ? document : null) };
  const logger = { debug() {}, info() {}, warn: console.warn, error: console.error };
  const client = init("bench", kv, { logger, featureStore: await cached(new EdgeFeatureStore(kv, "bench", "KV", logger)) });
  await client.waitForInitialization();
  const context = ({ id, country }) => ({ kind: "user", key: id, country });
  return {
    name: "@launchdarkly/cloudflare-server-sdk",
    one: (i) => client.variation(flags[0].key, context(users[i]), false),
    async all(i) {
      const state = await client.allFlagsState(context(users[i]));
      let on = 0;
      for (const value of Object.values(state.allValues())) on += value ? 1 : 0;
      return on;
    },
  };
}

/**
 * A store that caches the parsed document. Without it, this version of the SDK reads and parses the
 * whole document for each flag.
 */
async function cached(store) {
  const read = (namespace) => new Promise((resolve) => store.all({ namespace }, resolve));
  const kept = { features: await read("features"), segments: await read("segments") };
  return {
    get: ({ namespace }, key, done) => done(kept[namespace][key]),
    all: ({ namespace }, done) => done(kept[namespace]),
    initialized: (done) => done(true),
    close() {},
  };
}
