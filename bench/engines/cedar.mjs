// Cedar's policies, parsed in advance. Cedar has neither hashes nor rollouts, so this file computes
// the user's bucket, which is in Cedar's favour. A request evaluates all policies of a policy set,
// so each flag has its own set.

import cedar from "@cedar-policy/cedar-wasm/nodejs";

const BUCKETS = 100;

export async function open({ users, country, flags }) {
  for (const { key, rollout } of flags) {
    const policy = `permit(principal, action == Action::"use", resource == Flag::"${key}")
      when { context.country == "${country}"${rollout ? ` && context.bucket < ${BUCKETS / 2}` : ""} };`;
    const { type, errors } = cedar.preparsePolicySet(key, { staticPolicies: policy });
    if (type === "failure") throw new Error(errors[0].message);
  }
  const action = { type: "Action", id: "use" };
  const ask = (flag, i) => cedar.statefulIsAuthorized({
    principal: { type: "User", id: users[i].id }, action, resource: { type: "Flag", id: flags[flag].key },
    context: { country: users[i].country, bucket: (37 * i + 11 * flag) % BUCKETS },
    preparsedPolicySetId: flags[flag].key, entities: [],
  }).response.decision === "allow";
  return {
    name: "@cedar-policy/cedar-wasm",
    one: (i) => ask(0, i),
    all(i) {
      let on = 0;
      for (let flag = 0; flag < flags.length; flag++) on += ask(flag, i) ? 1 : 0;
      return on;
    },
  };
}
