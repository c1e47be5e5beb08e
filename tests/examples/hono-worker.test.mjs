import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { Miniflare, convertV4MiniflareOptions } from "miniflare";
import { modules, remove, run } from "../support/project.mjs";
import { asked, example } from "./program.mjs";

after(remove);

test("examples/hono-worker: one tenant is allowed, the other is denied", async () => {
  const place = example("hono-worker", ["hono"]);
  // The files that `wrangler deploy` would upload.
  const built = await run(place, join(modules, ".bin/wrangler"), ["deploy", "--dry-run", "--outdir=out"]);
  assert.equal(built.code, 0, built.stderr);
  const config = readFileSync(join(place, "wrangler.toml"), "utf8");
  const [compatibilityDate] = /\d{4}-\d\d-\d\d/.exec(config);
  const files = readdirSync(join(place, "out")).filter((name) => /\.(js|wasm)$/.test(name)).sort((one) => (one === "index.js" ? -1 : 1));
  const modulesOf = files.map((name) => ({ type: name.endsWith(".wasm") ? "CompiledWasm" : "ESModule", path: join(place, "out", name) }));
  const options = { workers: [{ name: "example", compatibilityDate, modulesRoot: join(place, "out"), modules: modulesOf }] };
  const flare = new Miniflare(convertV4MiniflareOptions(options));
  after(() => flare.dispose());
  await asked("hono-worker", (path, init) => flare.dispatchFetch(`http://app.example.com${path}`, init));
});
