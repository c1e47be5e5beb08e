// flagd's in-process evaluation: JSON Logic over an in-memory store.

import { MemoryStorage, FlagdCore } from "@openfeature/flagd-core";

export async function open({ users, country, flags }) {
  const core = new FlagdCore(new MemoryStorage());
  const flag = ({ rollout }) => ({
    state: "ENABLED", variants: { on: true, off: false }, defaultVariant: "off",
    targeting: { if: [{ "==": [{ var: "country" }, country] }, rollout ? { fractional: [["on", 50], ["off", 50]] } : "on", "off"] },
  });
  core.setConfigurations(JSON.stringify({ flags: Object.fromEntries(flags.map((one) => [one.key, flag(one)])) }));
  const context = ({ id, country }) => ({ targetingKey: id, country });
  return {
    name: "@openfeature/flagd-core",
    one: (i) => core.resolveBooleanEvaluation(flags[0].key, false, context(users[i])).value,
    all(i) {
      let on = 0;
      for (const { value } of core.resolveAll(context(users[i]))) on += value ? 1 : 0;
      return on;
    },
  };
}
