// The vector files that every runtime runs, and how a decision is compared with them.

import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";

const folder = join(import.meta.dirname, "../vectors");

/** All vector files: `name` is the file's name, the rest is its content. */
export async function vectors() {
  const names = (await readdir(folder)).filter((name) => name.endsWith(".json")).sort();
  return Promise.all(names.map(async (name) => ({ name, ...JSON.parse(await readFile(join(folder, name), "utf8")) })));
}

/**
 * The first difference between `expected` and `found` as one sentence, or `undefined`. Members
 * that `expected` does not name are ignored.
 */
export function difference(expected, found, path = "$") {
  if (Array.isArray(expected) && Array.isArray(found) && expected.length === found.length) {
    return expected.map((value, i) => difference(value, found[i], `${path}[${i}]`)).find(Boolean);
  }
  if (expected && found && typeof expected === "object" && typeof found === "object" && !Array.isArray(expected)) {
    return Object.entries(expected).map(([key, value]) => difference(value, found[key] ?? null, `${path}.${key}`)).find(Boolean);
  }
  return expected === found ? undefined : `${path} is ${JSON.stringify(found)}, expected ${JSON.stringify(expected)}`;
}
