import { join } from "node:path";
import { after, test } from "node:test";
import { root } from "../../scripts/setup.mjs";
import { asked, listening } from "./program.mjs";

test("examples/axum: one tenant is allowed, the other is denied", async () => {
  // A separate folder, because the example locks other versions of the dependencies.
  const env = { CARGO_TARGET_DIR: join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), "examples") };
  const { origin, stop } = await listening(join(root, "examples/axum"), "cargo", ["run", "--quiet", "--locked"], env);
  after(stop);
  await asked("axum", (path, init) => fetch(origin + path, init));
});
