import { RemoteGate } from "tenantgate/remote";
import { testGate } from "tenantgate/testing";
import { expect, test } from "vitest";
import catalog from "../catalog.json";
import tenants from "../tenants.json";

test("the pro plan has exports, the free plan has not", async () => {
  const gate = new RemoteGate({ service: testGate(catalog, tenants).service });
  expect((await gate.features("t_acme")).get("exports", false)).toBe(true);
  expect((await gate.features("t_globex")).get("exports", true)).toBe(false);
});

test("a month of the free plan has 100 calls", async () => {
  const gate = new RemoteGate({ service: testGate(catalog, tenants).service });
  expect((await gate.take("t_globex", { api_calls: 100 })).allowed).toBe(true);
  expect((await gate.take("t_globex", { api_calls: 1 })).code).toBe("QUOTA_EXCEEDED");
});
