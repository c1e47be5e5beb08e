import { after, test } from "node:test";
import { remove } from "../support/project.mjs";
import { asked, example, listening } from "./program.mjs";

after(remove);

test("examples/express: one tenant is allowed, the other is denied", async () => {
  const { origin, stop } = await listening(example("express", ["express"]), process.execPath, ["server.js"]);
  after(stop);
  await asked("express", (path, init) => fetch(origin + path, init));
});
