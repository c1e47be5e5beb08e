// The shared vectors, through the decision API of the built Worker. Steps with a time of their own need a clock that
// can be set: they run natively, in the browser and through the npm package.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, test } from "node:test";
import { difference, vectors, worker } from "./harness.mjs";

// The status of each code, as the Worker's own description says.
const openapi = JSON.parse(readFileSync(new URL("../../src/worker/openapi.json", import.meta.url), "utf8"));
const statuses = Object.fromEntries([...openapi.info.description.matchAll(/- `(\w+)` \((\d+)\)/g)].map(([, code, status]) => [code, Number(status)]));

for (const file of await vectors()) {
  const cases = file.cases.filter((one) => one.ask && !one.at);
  if (!cases.length) continue;
  test(`${file.name}: ${file.about}`, async (t) => {
    const { catalog, tenants, api_keys = [], keys = {}, secrets = {} } = file;
    const gate = await worker({ seed: { catalog, tenants: tenants.filter(valid(catalog)), api_keys }, bindings: secrets });
    after(() => gate.stop());
    for (const [url, jwks] of Object.entries(keys)) await gate.kv.put(`jwks:${url}`, JSON.stringify({ fetched_at: Date.now(), jwks }));
    for (const tenant of file.tenants) {
      await gate.kv.put(`tenant:${tenant.id}`, JSON.stringify(tenant));
      await gate.kv.put(`slug:${tenant.slug}`, tenant.id);
    }
    for (const { name, ask, expect } of cases) {
      await t.test(name, async () => {
        const { status, headers, body } = await gate.decide(ask);
        assert.equal(status, 200);
        assert.equal(difference(expect.decision ?? {}, body), undefined);
        // The answer about a request is 200 and challenges nobody; the request itself would be.
        const { "www-authenticate": _, ...limits } = expect.headers ?? {};
        for (const [header, value] of Object.entries(limits)) assert.equal(headers.get(header), value);
        if (expect.status) assert.equal(statuses[body.code], expect.status, body.code);
      });
    }
  });
}

/** A record whose plan the catalog lacks is a case of its own; a publication refuses it. */
function valid({ plans }) {
  return ({ plan }) => !plan || plan in plans;
}
