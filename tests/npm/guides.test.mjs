// The guides for contributors name files that exist.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";

const root = join(import.meta.dirname, "../..");
/** Files that commands generate and that are not committed. */
const GENERATED = ["node_modules", ".tools", "pkg/dist", "pkg/cjs"];
const GUIDES = ["CONTRIBUTING.md", "RELEASING.md", "SECURITY.md", ...["axum", "express", "hono-worker", "page"].map((name) => `examples/${name}/README.md`)];

for (const guide of GUIDES) {
  test(`${guide} names only files that exist`, () => {
    const text = readFileSync(join(root, guide), "utf8").replace(/```[^]*?```/g, "");
    const links = [...text.matchAll(/\]\(([^)#]+)(#[^)]*)?\)/g)].map(([, target]) => target).filter((target) => !target.includes("://"));
    for (const target of links) assert(existsSync(join(root, dirname(guide), target)), `link to ${target}`);
    const named = [...text.matchAll(/`([^`\s]+)`/g)].map(([, name]) => name);
    const paths = named.filter((name) => /^(\.ci|\.github|bench|docs|examples|fuzz|migrations|pkg|scripts|src|tests|www)\/|^[\w.-]+\.(md|toml|json)$/.test(name));
    for (const path of paths) {
      if (GENERATED.includes(path)) continue;
      // Checks the folder of a pattern.
      const [known] = path.split(/[^/]*\*/);
      assert([root, join(root, dirname(guide))].some((folder) => existsSync(join(folder, known))), `\`${path}\``);
    }
  });
}
