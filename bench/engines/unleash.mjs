// Unleash's client, started with flags in memory. It never contacts a server.

import unleash from "unleash-client";

export async function open({ users, country, flags }) {
  const constraints = [{ contextName: "country", operator: "IN", values: [country] }];
  const strategy = ({ key, rollout }) => (rollout
    ? { name: "flexibleRollout", parameters: { rollout: "50", stickiness: "userId", groupId: key }, constraints }
    : { name: "default", constraints });
  const client = new unleash.Unleash({
    appName: "bench", url: "http://127.0.0.1:1/", disableMetrics: true, refreshInterval: 0, skipInstanceCountWarning: true,
    storageProvider: new unleash.InMemStorageProvider(),
    bootstrap: { data: flags.map((flag) => ({ name: flag.key, enabled: true, strategies: [strategy(flag)] })) },
  });
  // No server listens at that address, so the client emits errors, which do not matter.
  client.on("error", () => {});
  await new Promise((resolve) => client.once("ready", resolve));
  const context = ({ id, country }) => ({ userId: id, properties: { country } });
  return {
    name: "unleash-client",
    one: (i) => client.isEnabled(flags[0].key, context(users[i])),
    all(i) {
      const user = context(users[i]);
      let on = 0;
      for (const { key } of flags) on += client.isEnabled(key, user) ? 1 : 0;
      return on;
    },
  };
}
