import { testGate } from "tenantgate/testing";
import { expect, test } from "vitest";
import catalog from "../catalog.json";
import app from "../src/index";
import tenants from "../tenants.json";

/** A request to the application, with a gate in memory. */
function request(path: string, tenant: string, method = "GET") {
  const { env } = testGate(catalog, tenants);
  const context = { waitUntil() {}, passThroughOnException() {} } as unknown as ExecutionContext;
  return app.fetch(new Request(`https://example.com${path}`, { method, headers: { "x-tenant-id": tenant } }), env, context);
}

test("each tenant sees its own slug", async () => {
  expect(await (await request("/api", "acme")).json()).toEqual({ tenant: "acme" });
  expect((await request("/api", "nobody")).status).toBe(404);
});

test("only the pro plan exports", async () => {
  expect(await (await request("/api/exports", "acme", "POST")).json()).toEqual({ exported: true, callsLeft: 9990 });
  expect((await request("/api/exports", "globex", "POST")).status).toBe(403);
});
