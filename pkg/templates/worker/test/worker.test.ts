import { testGate } from "tenantgate/testing";
import { expect, test } from "vitest";
import catalog from "../catalog.json";
import worker from "../src/index";
import tenants from "../tenants.json";

test("each tenant sees its own slug", async () => {
  const { env } = testGate(catalog, tenants);
  const context = { waitUntil() {}, passThroughOnException() {} } as unknown as ExecutionContext;
  const request = (tenant: string) => worker.fetch(new Request("https://example.com/api", { headers: { "x-tenant-id": tenant } }), env, context);
  expect(await (await request("acme")).json()).toEqual({ tenant: "acme" });
  expect((await request("nobody")).status).toBe(404);
});
