import assert from "node:assert/strict";
import { join } from "node:path";
import { after, test } from "node:test";
import { root } from "../../scripts/setup.mjs";
import { DENIAL, asked, listening } from "./program.mjs";

test("examples/axum: one tenant is allowed, the other one is denied", async () => {
  const { origin, stop } = await listening(join(root, "examples/axum"), "cargo", ["run", "--quiet", "--locked"]);
  after(stop);
  assert.deepEqual(await asked((path, init) => fetch(origin + path, init)), DENIAL);
});
