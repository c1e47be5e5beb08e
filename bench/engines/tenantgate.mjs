// tenantgate: `one` is a full decision on a request (tenant, status, the feature that its route needs, rate, quota), `all`
// every feature of a tenant.

import { Gate } from "../../pkg/node.js";
import { catalog } from "../decision.mjs";

export async function open({ users, country, flags }) {
  const when = [{ attribute: "country", op: "eq", value: country }];
  const outcome = (rollout) => (rollout ? { rollout: { split: [{ weight: 50, value: true }, { weight: 50, value: false }] } } : { value: true });
  const features = Object.fromEntries(flags.map(({ key, rollout }) => [key, { rules: [{ name: "country", when, ...outcome(rollout) }] }]));
  const tenants = users.map((_, i) => ({ id: `t_${i}`, slug: `tenant-${i}`, plan: "pro@1" }));
  const hosts = tenants.map(({ slug }) => `${slug}.app.example.com`);
  const gate = new Gate({ ...catalog, features }, tenants);
  const now = Date.now();
  return {
    name: "tenantgate",
    one: (i) => gate.decide({ host: hosts[i], path: "/api/tasks", context: { targeting_key: users[i].id, country: users[i].country } }, { now }).allowed,
    all(i) {
      const features = gate.features(tenants[i].id, { targeting_key: users[i].id, country: users[i].country }, { now });
      let on = 0;
      for (const { key } of flags) on += features.get(key).enabled ? 1 : 0;
      return on;
    },
  };
}
