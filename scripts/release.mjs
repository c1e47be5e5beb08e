// Prepares a release: writes one version to every file that has one, and to the changelog.
// Usage: npm run release -- 1.2.3      writes the version; needs a clean working tree
//        npm run release -- --check    verifies that all files have the same version

import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

const LOCK = /(\[\[package\]\]\nname = "tenantgate"\nversion = ")([^"]+)(?=")/;
/** Each file with the text before its version, and the version. The others follow Cargo.toml. */
const FILES = {
  "Cargo.toml": /(^\[package\]\nname = "tenantgate"\nversion = ")([^"]+)(?=")/m,
  "Cargo.lock": LOCK,
  "fuzz/Cargo.lock": LOCK,
  "examples/axum/Cargo.lock": LOCK,
  "pkg/package.json": /(^ {2}"version": ")([^"]+)(?=")/m,
  "create/package.json": /(^ {2}"version": ")([^"]+)(?=")/m,
  "src/worker/openapi.json": /("title": "tenantgate",\n {4}"version": ")([^"]+)(?=")/,
};
const UNRELEASED = "## [Unreleased]\n";

const argument = process.argv[2] ?? "";
if (process.argv.length !== 3) fail("Usage: npm run release -- x.y.z, or npm run release -- --check");
if (argument === "--check") check();
else release(argument);

function check() {
  const versions = Object.keys(FILES).map((path) => [path, versionOf(path)]);
  const [, version] = versions[0];
  for (const [path, found] of versions) if (found !== version) fail(`${path} has version ${found}; Cargo.toml has ${version}.`);
  const changelog = read("CHANGELOG.md");
  if (!changelog.includes(UNRELEASED)) fail("CHANGELOG.md has no section [Unreleased].");
  if (!changelog.includes(`\n## [${version}] - `)) fail(`CHANGELOG.md has no entry for version ${version}.`);
  console.log(`version ${version} in ${versions.length} files and in CHANGELOG.md`);
}

function release(version) {
  if (parts(version) === null) fail(`\`${version}\` is not a version: expected three numbers, such as 1.2.3.`);
  const current = versionOf("Cargo.toml");
  if (!isLater(parts(version), parts(current))) fail(`Version ${version} is not later than ${current}.`);
  const status = git("status", "--porcelain");
  if (status !== "") fail(`The working tree is not clean; commit or stash first:\n${status}`);

  const changelog = read("CHANGELOG.md");
  const [before, rest] = changelog.split(UNRELEASED);
  if (rest === undefined) fail("CHANGELOG.md has no section [Unreleased].");
  const [changes] = rest.split(/^## /m);
  if (changes.trim() === "") fail("The section [Unreleased] of CHANGELOG.md is empty: a release needs at least one change.");
  const today = new Date().toISOString().slice(0, 10);

  // All texts are complete before the first write: a missing version changes no file.
  const texts = Object.entries(FILES).map(([path, pattern]) => {
    versionOf(path);
    return [path, read(path).replace(pattern, `$1${version}`)];
  });
  texts.push(["CHANGELOG.md", `${before}${UNRELEASED}\n## [${version}] - ${today}\n${rest}`]);
  for (const [path, text] of texts) writeFileSync(join(root, path), text);
  check();
  console.log(`
Next:
  git diff                                  read what has changed
  npm test && npm run build                 test, and build the npm package in release profile
  git commit --all --message "Release ${version}"
  git tag --annotate v${version} --message "tenantgate ${version}"
  git push --follow-tags
  cargo publish
  npm publish ./pkg
  npm publish ./create`);
}

function versionOf(path) {
  if (!existsSync(join(root, path))) fail(`${path} is missing.`);
  return FILES[path].exec(read(path))?.[2] ?? fail(`${path} has no version where one is expected.`);
}

function read(path) {
  return readFileSync(join(root, path), "utf8");
}

function parts(version) {
  return /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$/.exec(version)?.slice(1).map(Number) ?? null;
}

function isLater(one, other) {
  const index = one.findIndex((part, i) => part !== other[i]);
  return index >= 0 && one[index] > other[index];
}

function git(...args) {
  const { status, stdout, stderr, error } = spawnSync("git", args, { cwd: root, encoding: "utf8" });
  return status === 0 ? stdout.trimEnd() : fail(`\`git ${args.join(" ")}\` failed: ${error?.message ?? stderr.trim()}`);
}

function fail(sentence) {
  console.error(sentence);
  process.exit(1);
}
