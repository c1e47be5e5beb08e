// Shared by the tests of the package: its tarball, as npm packs it, and projects that install it.

import { execFile, execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, extname, join } from "node:path";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { env, root } from "../../scripts/setup.mjs";
import { serve } from "./server.mjs";

const folder = mkdtempSync(join(tmpdir(), "packaging-"));
/** Removes all projects. */
export const remove = () => rmSync(folder, { recursive: true, force: true });

export const modules = join(root, "node_modules");
const [packed] = JSON.parse(execFileSync("npm", ["pack", join(root, "pkg"), "--pack-destination", folder, "--json"], { env, encoding: "utf8" }));
/** The tarball that would be published: `path`, and npm's `files`, `size` and `unpackedSize`. */
export const tarball = { ...packed, path: join(folder, packed.filename) };

/**
 * Creates a project with the tarball installed. `files`: its files by path; `links`: packages that
 * it takes from this repository's `node_modules`, because their installation is not tested.
 */
export function project(name, files = {}, links = []) {
  const place = join(folder, name);
  mkdirSync(place);
  writeFileSync(join(place, "package.json"), JSON.stringify({ name, private: true, type: "module" }));
  execFileSync("npm", ["install", tarball.path, "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"], { cwd: place, env });
  for (const link of links) {
    mkdirSync(dirname(join(place, "node_modules", link)), { recursive: true });
    symlinkSync(join(modules, link), join(place, "node_modules", link));
  }
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(place, path)), { recursive: true });
    writeFileSync(join(place, path), content);
  }
  return place;
}

/** The environment of programs in a project, without settings of the test run and telemetry. */
export const quiet = { ...env, NODE_OPTIONS: "", NODE_TEST_CONTEXT: undefined, NEXT_TELEMETRY_DISABLED: "1", NEXT_IGNORE_INCORRECT_LOCKFILE: "1" };

/** Runs a program in a project. Returns its output, also if it fails. */
export async function run(place, command, args) {
  const options = { cwd: place, env: quiet, maxBuffer: 1 << 26, timeout: 240_000 };
  const done = ({ code = 0, signal, stdout, stderr }) => ({ code: signal ?? code, stdout, stderr });
  return promisify(execFile)(command, args, options).then(done, done);
}

/** Runs a Node program. Returns the JSON that it prints. */
export async function node(place, ...args) {
  const { code, stdout, stderr } = await run(place, process.execPath, args);
  // The lines of a bundle may be megabytes long.
  if (code !== 0) throw new Error((stderr || stdout).split("\n").map((line) => line.slice(0, 200)).join("\n"));
  return JSON.parse(stdout);
}

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".json": "application/json", ".css": "text/css", ".wasm": "application/wasm" };

/** A file of a folder with its content type, or `undefined` if it does not exist. */
export function served(place, path) {
  try {
    return { type: TYPES[extname(path)] ?? "application/octet-stream", body: readFileSync(join(place, path)) };
  } catch {
    return undefined;
  }
}

/** Serves the files of a folder. */
export const fileServer = (place) =>
  serve((request, response) => {
    const { pathname } = new URL(request.url, "http://files");
    const file = served(place, pathname.endsWith("/") ? `${pathname}index.html` : pathname);
    response.writeHead(file ? 200 : 404, { "content-type": file?.type ?? "text/plain" }).end(file?.body);
  });

/** The size of a file as readable text. */
export const sizes = (bytes) => `${bytes.length} bytes, ${gzipSync(bytes, { level: 9 }).length} gzipped`;
