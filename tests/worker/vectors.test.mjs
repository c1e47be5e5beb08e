// The shared vectors, through the decision API of the built Worker. Cases with a time of their own
// need a clock that can be set, so they run natively, in the browser and through the npm package.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, test } from "node:test";
import { workers } from "../support/harness.mjs";
import { difference, vectors } from "../support/vectors.mjs";
import { sleep } from "../support/wait.mjs";

// The status of each code, from the Worker's own description.
const openapi = JSON.parse(readFileSync(new URL("../../src/worker/openapi.json", import.meta.url), "utf8"));
const statuses = Object.fromEntries([...openapi.info.description.matchAll(/- `(\w+)` \((\d+)\)/g)].map(([, code, status]) => [code, Number(status)]));

const files = (await vectors()).map((file) => ({ ...file, cases: file.cases.filter((one) => one.ask && !one.at) })).filter(({ cases }) => cases.length);
// Each file has its own catalog and secrets, and so a gate of its own.
const gates = await workers(Object.fromEntries(files.map(({ name, catalog, tenants, api_keys = [], secrets = {} }) =>
  [name.replace(".json", ""), { seed: { catalog, tenants: tenants.filter(valid(catalog)), api_keys }, bindings: secrets }])));
after(() => Object.values(gates)[0].stop());

for (const file of files) {
  test(`${file.name}: ${file.about}`, async (t) => {
    const gate = gates[file.name.replace(".json", "")];
    for (const [url, jwks] of Object.entries(file.keys ?? {})) await gate.putIssuerKeys(url, jwks.keys);
    for (const tenant of file.tenants) await gate.putTenant(tenant);
    for (const { name, ask, expect } of file.cases) {
      await t.test(name, async () => {
        const { status, headers, body } = await patiently(gate, ask, expect);
        assert.equal(status, 200);
        assert.equal(difference(expect.decision ?? {}, body), undefined);
        // The response about a request is 200 and has no challenge; the request itself would be
        // challenged.
        const { "www-authenticate": _, ...limits } = expect.headers ?? {};
        for (const [header, value] of Object.entries(limits)) assert.equal(headers.get(header), value);
        if (expect.status) assert.equal(statuses[body.code], expect.status, body.code);
      });
    }
  });
}

/** Asks once more, after the pause that follows too many invalid tokens in a short time. */
async function patiently(gate, ask, expect) {
  const answer = await gate.decide(ask);
  if (answer.body.code !== "RATE_LIMITED" || JSON.stringify(expect).includes("RATE_LIMITED")) return answer;
  await sleep(answer.body.error.details.retry_after_ms);
  return gate.decide(ask);
}

/** A record whose plan the catalog lacks has cases of its own, but a publication refuses it. */
function valid({ plans }) {
  return ({ plan }) => !plan || plan in plans;
}
