// The package in Next.js without settings: the build, then its routes, its middleware and a page.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { after, before, test } from "node:test";
import { join } from "node:path";
import { chrome } from "../support/chrome.mjs";
import { freePort } from "../support/server.mjs";
import { until } from "../support/wait.mjs";
import { modules, project, quiet, remove, run } from "../support/project.mjs";

after(remove);

const catalog = { version: 1, resolution: { strategies: [{ strategy: "header" }] }, routes: [{ path: "/api", limits: { calls: 1 } }], limits: { calls: { kind: "quota", period: "month", default: 1 } }, plans: { "p@1": {} } };
const GATE = `import { Gate } from "tenantgate";
export const gate = new Gate(${JSON.stringify(catalog)}, [{ id: "t_acme", slug: "acme", plan: "p@1" }]);
`;
const byHeader = '{ config: { resolution: "header" }, lookupTenant: (id) => ({ id, slug: id }) }';
const files = {
  "package.json": JSON.stringify({ name: "next-app", private: true }),
  "gate.js": GATE,
  "middleware.js": `import { NextResponse } from "next/server";
import { gate } from "./gate.js";
export function middleware(request) {
  const { code, tenant } = gate.decide(request, { look: true });
  return NextResponse.next({ headers: { "x-code": code, "x-tenant": tenant?.slug ?? "" } });
}
export const config = { matcher: "/api/:path*" };
`,
  "app/layout.js": "export default function Layout({ children }) { return <html><body>{children}</body></html>; }\n",
  "app/page.js": 'import Features from "./features.js";\nexport default function Page() { return <main><Features /></main>; }\n',
  "app/features.js": `"use client";
import { useEffect, useState } from "react";
import { FeatureClient, init } from "tenantgate/client";
export default function Features() {
  const [shown, show] = useState("waiting");
  useEffect(() => {
    const started = async () => {
      await init();
      const client = new FeatureClient({ url: "/snapshot", storage: null });
      await client.ready;
      show(client.evaluate({ country: "NL" }).get("theme").value);
      client.close();
    };
    started().catch((error) => show(String(error)));
  }, []);
  return <output>{shown}</output>;
}
`,
  "app/snapshot/route.js": `export const dynamic = "force-dynamic";
export const GET = () => Response.json({ tenant: { id: "t_acme", slug: "acme" }, catalog: 1, epoch: 1, features: { theme: { type: "string", default: "plain", rules: [{ name: "nl", when: [{ attribute: "country", op: "eq", value: "NL" }], value: "dark" }] } } });
`,
  ...Object.fromEntries(["nodejs", "edge"].map((runtime) => [`app/api/${runtime}/route.js`, `import { createTenantMiddleware, handler } from "tenantgate/middleware";
import { gate } from "../../../gate.js";
export const runtime = "${runtime}";
export const dynamic = "force-dynamic";
const [byGate, byConfig] = [{ gate }, ${byHeader}].map((options) => handler((_, ctx) => ({ tenant: ctx.tenant.slug }), { middleware: [createTenantMiddleware(options)] }));
export const GET = (request) => byGate(request);
export const POST = (request) => byConfig(request);
`])),
};

let built, app;
before(async () => {
  const place = project("next", files, ["next", "react", "react-dom"]);
  const next = join(modules, "next/dist/bin/next");
  built = await run(place, process.execPath, [next, "build"]);
  assert.equal(built.code, 0, built.stdout + built.stderr);
  const port = await freePort();
  const child = spawn(process.execPath, [next, "start", "--port", port], { cwd: place, env: quiet, stdio: "ignore" });
  app = { origin: `http://localhost:${port}`, stop: () => child.kill() };
  await until(async () => {
    assert.equal(child.exitCode, null, "`next start` has ended");
    return fetch(app.origin).then(({ ok }) => ok, () => false);
  }, "`next start` answers", { ms: 60_000, everyMs: 100 });
});
after(() => app?.stop());

const ask = async (path, method = "GET") => {
  const response = await fetch(app.origin + path, { method, headers: { "x-tenant-id": "acme" } });
  const { tenant, error } = await response.json();
  return [response.status, tenant ?? error.code, response.headers.get("x-code"), response.headers.get("x-tenant")];
};

test("Next.js builds the application without settings and without warnings about the package", () => {
  assert.doesNotMatch(built.stdout + built.stderr, /tenantgate|wasm|Failed|TypeError/);
});

for (const runtime of ["nodejs", "edge"]) {
  test(`Next.js: a route of the runtime ${runtime} and the middleware before it both decide`, async () => {
    assert.deepEqual(await ask(`/api/${runtime}`), [200, "acme", "ALLOWED", "acme"]);
    assert.deepEqual((await ask(`/api/${runtime}`)).slice(0, 2), [429, "QUOTA_EXCEEDED"], "the route's own gate counts");
    assert.deepEqual((await ask(`/api/${runtime}`, "POST")).slice(0, 2), [200, "acme"]);
  });
}

test("Next.js: a client component evaluates features", async () => {
  const chromium = await chrome();
  try {
    const page = await chromium.newPage();
    await page.goto(app.origin);
    await page.waitForFunction('document.querySelector("output").textContent !== "waiting"');
    assert.equal(await page.textContent("output"), "dark");
  } finally {
    await chromium.close();
  }
});
