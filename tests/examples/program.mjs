// Shared by the tests of the examples: copies an example into a project, starts its program, and
// sends the requests of its README.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { root } from "../../scripts/setup.mjs";
import { project, quiet } from "../support/project.mjs";

/** Returns a copy of an example with the packed npm package installed. `links`: see `project`. */
export function example(name, links = []) {
  const folder = join(root, "examples", name);
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1));
  const files = paths.filter((path) => !/^(node_modules|\.wrangler)\//.test(path));
  return project(name, Object.fromEntries(files.map((path) => [path, readFileSync(join(folder, path))])), links);
}

/** Starts a program, and waits until it prints its address. */
export async function listening(place, command, args, env = {}) {
  const child = spawn(command, args, { cwd: place, env: { ...quiet, PORT: "0", ...env }, stdio: ["ignore", "pipe", "inherit"] });
  const stop = () => {
    if (child.exitCode !== null || child.signalCode !== null) return undefined;
    child.kill();
    return new Promise((exited) => child.once("exit", exited));
  };
  for await (const line of createInterface({ input: child.stdout })) {
    const origin = /https?:\/\/\S+/.exec(line)?.[0];
    if (origin) return { origin, stop };
  }
  throw new Error(`\`${command} ${args.join(" ")}\` ended without an address`);
}

/** Checks what every server example answers, and what its README prints for both tenants. */
export async function asked(name, get) {
  const as = (tenant) => ({ headers: { "x-tenant-id": tenant } });
  for (const tenant of ["acme", "globex"]) {
    const response = await get("/", as(tenant));
    assert.deepEqual([response.status, await response.text()], [200, `hello ${tenant}\n`]);
    assert.match(response.headers.get("ratelimit"), /^"requests";r=\d+/);
  }
  const unknown = await get("/", as("nobody"));
  assert.deepEqual([unknown.status, (await unknown.json()).error.code], [404, "TENANT_NOT_FOUND"]);

  const readme = readFileSync(join(root, "examples", name, "README.md"), "utf8");
  const requests = [...readme.matchAll(/^\$ curl -s -H 'X-Tenant-ID: (\w+)' http:\/\/[\d.:]+(\S+)\n(.*)$/gm)];
  const statuses = [];
  for (const [, tenant, path, printed] of requests) {
    const response = await get(path, as(tenant));
    statuses.push(response.status);
    assert.equal((await response.text()).trimEnd(), printed);
  }
  assert.deepEqual(statuses, [200, 403]);
}
