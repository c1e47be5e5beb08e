// All files have one version. The tests run `npm run release` on copies of the files.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, beforeEach, describe, test } from "node:test";

const root = join(import.meta.dirname, "../..");
const VERSIONED = ["Cargo.toml", "Cargo.lock", "fuzz/Cargo.lock", "examples/axum/Cargo.lock", "pkg/package.json", "create/package.json", "src/worker/openapi.json"];

function release(folder, ...args) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(folder, "scripts/release.mjs"), ...args], { encoding: "utf8" });
  return { status, stdout, stderr };
}

test("all files have the same version", () => {
  const { status, stdout, stderr } = release(root, "--check");
  assert.equal(status, 0, stderr);
  const { version } = JSON.parse(readFileSync(join(root, "pkg/package.json"), "utf8"));
  assert.equal(stdout, `version ${version} in ${VERSIONED.length} files and in CHANGELOG.md\n`);
});

describe("npm run release", () => {
  const folders = [];
  let folder;
  const read = (path) => readFileSync(join(folder, path), "utf8");
  const git = (...args) => execFileSync("git", ["-c", "user.name=test", "-c", "user.email=test@example.com", ...args], { cwd: folder, encoding: "utf8" });
  const commit = () => (git("add", "--all"), git("commit", "--quiet", "--message", "test"));
  /** Replaces a text that occurs once in a file. */
  const replace = (path, from, to) => {
    assert.equal(read(path).split(from).length, 2, `${path} has \`${from}\` once`);
    writeFileSync(join(folder, path), read(path).replace(from, to));
  };
  const refuses = (expected, ...args) => {
    const files = [...VERSIONED, "CHANGELOG.md"];
    const before = files.map(read);
    const { status, stderr } = release(folder, ...args);
    assert.equal(status, 1, stderr);
    assert.match(stderr, expected);
    assert.deepEqual(files.map(read), before);
  };

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "release-"));
    folders.push(folder);
    for (const path of [...VERSIONED, "CHANGELOG.md", "scripts/release.mjs"]) cpSync(join(root, path), join(folder, path));
    writeFileSync(join(folder, "CHANGELOG.md"), "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- A change.\n\n## [0.1.0] - 2026-11-27\n\nThe first release.\n");
    for (const path of VERSIONED) writeFileSync(join(folder, path), at(read(path), "0.1.0"));
    git("init", "--quiet");
    commit();
  });
  after(() => folders.forEach((one) => rmSync(one, { recursive: true, force: true })));

  /** Returns a file's text with its version replaced. */
  const at = (text, version) => {
    const present = JSON.parse(readFileSync(join(root, "pkg/package.json"), "utf8")).version;
    return present === version ? text : text.replaceAll(`"${present}"`, `"${version}"`);
  };

  test("`npm run release` writes the version to every file and adds the changelog entry", () => {
    const { status, stdout, stderr } = release(folder, "0.2.0");
    assert.equal(status, 0, stderr);
    for (const command of ['git commit --all --message "Release 0.2.0"', "git tag --annotate v0.2.0", "cargo publish", "npm publish ./pkg"]) assert(stdout.includes(command), command);
    const changed = git("diff", "--name-only").trim().split("\n");
    assert.deepEqual(changed.sort(), [...VERSIONED, "CHANGELOG.md"].sort());
    // One line in each file; the changelog gains two.
    const lines = git("diff", "--unified=0").split("\n").filter((line) => /^[+-][^+-]/.test(line));
    assert.deepEqual(lines.filter((line) => line.startsWith("-")).length, VERSIONED.length);
    assert.deepEqual(lines.filter((line) => line.startsWith("+") && line.includes("0.2.0")).length, VERSIONED.length + 1);
    const today = new Date().toISOString().slice(0, 10);
    assert.equal(read("CHANGELOG.md"), `# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - ${today}\n\n### Added\n\n- A change.\n\n## [0.1.0] - 2026-11-27\n\nThe first release.\n`);
    assert.equal(release(folder, "--check").status, 0);
    commit();
    refuses(/\[Unreleased\] of CHANGELOG\.md is empty/, "0.3.0");
  });

  test("`npm run release` refuses a version that is invalid or not later", () => {
    for (const version of ["0.1.0", "0.0.9"]) refuses(/is not later than 0\.1\.0/, version);
    for (const version of ["v0.2.0", "0.2", "0.2.0-beta.1", "00.2.0", ""]) refuses(/is not a version/, version);
    refuses(/Usage/);
    refuses(/Usage/, "0.2.0", "--check");
  });

  test("`npm run release` refuses a working tree with changes", () => {
    writeFileSync(join(folder, "notes.txt"), "x");
    refuses(/not clean[^]*notes\.txt/, "0.2.0");
  });

  test("`npm run release -- --check` reports a file with another version", () => {
    replace("pkg/package.json", '"version": "0.1.0"', '"version": "0.1.1"');
    refuses(/pkg\/package\.json has version 0\.1\.1; Cargo\.toml has 0\.1\.0/, "--check");
  });

  test("`npm run release -- --check` reports a missing changelog entry", () => {
    replace("CHANGELOG.md", "## [0.1.0]", "## [0.0.9]");
    refuses(/no entry for version 0\.1\.0/, "--check");
  });
});
