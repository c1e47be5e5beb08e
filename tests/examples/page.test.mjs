import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { root } from "../../scripts/setup.mjs";
import { chrome } from "../support/chrome.mjs";
import { remove } from "../support/project.mjs";
import { worker } from "../support/harness.mjs";
import { example, listening } from "./program.mjs";

after(remove);

test("examples/page: one tenant's call is allowed, the other's is denied", async () => {
  const site = await listening(example("page"), process.execPath, ["server.js"]);
  after(site.stop);
  // The demo with the page's address in its CORS policy, because the example's port may be taken.
  const seed = JSON.parse(readFileSync(join(root, "examples/demo.json"), "utf8"));
  assert(seed.catalog.cors.pages.origins.includes("http://localhost:5173"));
  seed.catalog.cors.pages.origins.push(site.origin);
  const gate = await worker({ seed });
  after(gate.stop);
  const chromium = await chrome();
  after(() => chromium.close());

  const open = async (tenant) => {
    const page = await chromium.newPage();
    page.on("pageerror", (error) => assert.fail(error));
    await page.goto(`${site.origin}/?tenant=${tenant}&gate=${gate.url.port}`);
    await page.waitForFunction(() => document.querySelector("#upload").textContent !== "…");
    await page.click("#call");
    await page.waitForFunction(() => document.querySelector("#outcome").textContent !== "");
    return Promise.all(["#tenant", "#upload", "#outcome"].map((id) => page.textContent(id)));
  };
  assert.deepEqual(await open("globex"), ["globex, pro@2", "100", "200 ALLOWED"]);
  assert.deepEqual(await open("acme"), ["acme, free@1", "10", "403 FEATURE_NOT_AVAILABLE"]);

  // The server serves no files outside its folders.
  for (const path of ["/tenantgate//etc/passwd", "/tenantgate/..%2f..%2f..%2fpackage.json", "/tenantgate/file:///etc/passwd"]) {
    assert.equal((await fetch(site.origin + path)).status, 404, path);
  }
});
