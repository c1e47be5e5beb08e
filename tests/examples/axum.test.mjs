import { join } from "node:path";
import { after, test } from "node:test";
import { root } from "../../scripts/setup.mjs";
import { asked, listening } from "./program.mjs";

test("examples/axum: one tenant is allowed, the other one is denied", async () => {
  // Shares what the other suites have built.
  const env = { CARGO_TARGET_DIR: process.env.CARGO_TARGET_DIR ?? join(root, "target") };
  const { origin, stop } = await listening(join(root, "examples/axum"), "cargo", ["run", "--quiet", "--locked"], env);
  after(stop);
  await asked("axum", (path, init) => fetch(origin + path, init));
});
