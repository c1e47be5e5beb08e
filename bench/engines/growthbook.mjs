// GrowthBook's client for servers, which receives the user with each call.

import { GrowthBookClient } from "@growthbook/growthbook";

export async function open({ users, country, flags }) {
  const rule = ({ rollout }) => ({ condition: { country }, force: true, ...(rollout && { coverage: 0.5, hashAttribute: "id" }) });
  const client = new GrowthBookClient().initSync({
    payload: { features: Object.fromEntries(flags.map((flag) => [flag.key, { defaultValue: false, rules: [rule(flag)] }])) },
  });
  const context = ({ id, country }) => ({ attributes: { id, country } });
  return {
    name: "@growthbook/growthbook",
    one: (i) => client.isOn(flags[0].key, context(users[i])),
    all(i) {
      const user = context(users[i]);
      let on = 0;
      for (const { key } of flags) on += client.isOn(key, user) ? 1 : 0;
      return on;
    },
  };
}
