// Flipt's client, which fetches a snapshot from its server and evaluates it in WebAssembly.

import { FliptClient } from "@flipt-io/flipt-client-js";

export async function open({ users, country, flags }) {
  const segment = (operator, value) => ({
    segment: {
      segmentOperator: "OR_SEGMENT_OPERATOR", value,
      segments: [{
        key: `country-${operator}`, matchType: "ALL_SEGMENT_MATCH_TYPE",
        constraints: [{ type: "STRING_CONSTRAINT_COMPARISON_TYPE", property: "country", operator, value: country }],
      }],
    },
  });
  // The first matching rollout decides, and a threshold cannot be limited to a segment. So the
  // first rollout excludes users from other countries.
  const half = [segment("neq", false), { threshold: { percentage: 50, value: true } }];
  const snapshot = {
    namespace: { key: "default" },
    flags: flags.map(({ key, rollout }) => ({
      key, name: key, type: "BOOLEAN_FLAG_TYPE", enabled: false, rules: [], rollouts: rollout ? half : [segment("eq", true)],
    })),
  };
  const client = await FliptClient.init({ fetcher: async () => Response.json(snapshot) });
  const question = (flagKey, { id, country }) => ({ flagKey, entityId: id, context: { country } });
  return {
    name: "@flipt-io/flipt-client-js",
    one: (i) => client.evaluateBoolean(question(flags[0].key, users[i])).enabled,
    all(i) {
      const { responses } = client.evaluateBatch(flags.map(({ key }) => question(key, users[i])));
      let on = 0;
      for (const { booleanEvaluationResponse } of responses) on += booleanEvaluationResponse.enabled ? 1 : 0;
      return on;
    },
  };
}
