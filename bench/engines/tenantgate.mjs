// tenantgate: `one` makes a full decision (tenant, status, the feature that the route needs, rate,
// quota); `all` evaluates all features of a tenant.

import { Gate } from "../../pkg/node.js";
import { catalog } from "../decision.mjs";

export async function open({ users, country, flags }) {
  const when = [{ attribute: "country", op: "eq", value: country }];
  const half = { rollout: { split: [{ weight: 50, value: true }, { weight: 50, value: false }] } };
  const outcome = (rollout) => (rollout ? half : { value: true });
  const feature = ({ rollout }) => ({ rules: [{ name: "country", when, ...outcome(rollout) }] });
  const features = Object.fromEntries(flags.map((flag) => [flag.key, feature(flag)]));
  const tenants = users.map((_, i) => ({ id: `t_${i}`, slug: `tenant-${i}`, plan: "pro@1" }));
  const hosts = tenants.map(({ slug }) => `${slug}.app.example.com`);
  const gate = new Gate({ ...catalog, features }, tenants);
  const now = Date.now();
  return {
    name: "tenantgate",
    one(i) {
      const context = { targeting_key: users[i].id, country: users[i].country };
      return gate.decide({ host: hosts[i], path: "/api/tasks", context }, { now }).allowed;
    },
    all(i) {
      const features = gate.features(tenants[i].id, { targeting_key: users[i].id, country: users[i].country }, { now });
      let on = 0;
      for (const { key } of flags) on += features.get(key).enabled ? 1 : 0;
      return on;
    },
  };
}
