// Sets up what building and testing need, once. Everything lands in the project folder; a second run finds it there.

import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";

export const root = fileURLToPath(new URL("..", import.meta.url));

// A folder may be shared by several checkouts, so that continuous integration builds the tools once per machine.
const tools = process.env.TENANTGATE_TOOLS ?? join(root, ".tools");
const modules = (path) => join(root, "node_modules", path);

// wasm-bindgen-cli must equal the crate in Cargo.lock; wasm-pack is the version that the tests were tried with.
// Neither has a kept prebuilt package, so Cargo builds them. The features left out are TLS, for downloads that
// never happen here.
const BINDGEN = { crate: "wasm-bindgen-cli", version: "0.2.130", args: ["--no-default-features"] };
const TOOLS = {
  "wasm-bindgen": { ...BINDGEN, usually: "1 min" },
  "wasm-pack": { crate: "wasm-pack", version: "0.15.1", args: ["--locked"], usually: "2 min", needs: ["wasm-bindgen-test-runner"] },
  "wasm-bindgen-test-runner": { ...BINDGEN, usually: "10 s" },
};

const SCHEMATHESIS = "4.32.5";
const PRISMA = { prisma: "7.10.0", "@prisma/client": "7.10.0", "@prisma/adapter-pg": "7.10.0", "@prisma/adapter-libsql": "7.10.0" };

// Where a panic happened is written into what is built: by crate, not by where this machine keeps its crates.
const crates = join(process.env.CARGO_HOME ?? join(homedir(), ".cargo"), "registry/src");
const remapped = crates.includes(" ") ? {} : { CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS: `--remap-path-prefix=${crates}=crates` };

/** The environment of builds and tests: pinned tools and Node 22 first on the path. */
export const env = {
  ...process.env,
  ...remapped,
  PATH: [join(tools, "bin"), modules("node/bin"), modules(".bin"), process.env.PATH].join(delimiter),
  WRANGLER_SEND_METRICS: "false",
  WRANGLER_SEND_ERROR_REPORTS: "false",
  CLOUDFLARE_CF_FETCH_ENABLED: "false",
  CI: process.env.CI ?? "",
};

/** Ends with one sentence that says how to go on. */
export function fail(sentence) {
  console.error(`\n${sentence}`);
  process.exit(1);
}

/** Runs a command to its end; ends with it if it fails. */
export function run(command, args, options = {}) {
  const { status, error, signal } = spawnSync(command, args, { cwd: root, env, stdio: "inherit", ...options });
  if (error) fail(`\`${command}\` could not be started: ${error.message}.`);
  if (status !== 0) {
    console.error(`\n\`${command} ${args.join(" ")}\` failed (${signal ?? `exit code ${status}`}).`);
    process.exit(status || 1);
  }
}

/** Starts a command that goes on. */
export const start = (command, args, options = {}) => spawn(command, args, { cwd: root, env, ...options });

/** What a command prints; nothing if it cannot be run. */
export const output = (command, args) => spawnSync(command, args, { cwd: root, env, encoding: "utf8" }).stdout ?? "";

/**
 * Does `work`, and says so: what it is, how long it usually takes, how long it has taken so far. On a terminal one
 * line is updated; elsewhere there is a line every 15 seconds.
 */
export function step(what, usually, work) {
  const begun = Date.now();
  const title = `${what} (usually ${usually})`;
  const terminal = Boolean(process.stdout.isTTY);
  writeSync(1, terminal ? title : `${title}\n`);
  // The main thread waits for commands, so another one keeps the time.
  const clock = new Worker(CLOCK, { eval: true, workerData: { begun, title, terminal }, stdout: false, stderr: false });
  // A terminal that has gone stops no build.
  clock.on("error", () => {});
  try {
    work();
  } finally {
    clock.unref();
    clock.terminate();
    const seconds = Math.round((Date.now() - begun) / 1000);
    writeSync(1, terminal ? `\r\x1b[K${what}: ${seconds} s\n` : `${what}: ${seconds} s\n`);
  }
}

const CLOCK = `
const { writeSync } = require("node:fs");
const { begun, title, terminal } = require("node:worker_threads").workerData;
setInterval(() => {
  const seconds = Math.round((Date.now() - begun) / 1000);
  writeSync(1, terminal ? "\\r\\x1b[K" + title + ": " + seconds + " s" : "  " + seconds + " s so far\\n");
}, terminal ? 1_000 : 15_000);`;

/**
 * Rust, and where they are asked for the wasm32 target, the npm packages and pinned tools. `packages`: `"all"`, or
 * `"serving"` for the few that building and serving the Worker need. `tools`: their names.
 */
export function setup({ wasm = true, packages = wasm && "all", tools: wanted = Object.keys(TOOLS) } = {}) {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major < 20 || (major === 20 && minor < 11)) fail(`tenantgate needs Node 20.11 or newer; this is ${process.versions.node}. See https://nodejs.org.`);
  if (!output("cargo", ["--version"])) fail("tenantgate needs Rust: install it from https://rustup.rs, then run this again.");
  if (packages) npmPackages(packages);
  if (!wasm) return;
  if (!existsSync(join(output("rustc", ["--print", "sysroot"]).trim(), "lib/rustlib/wasm32-unknown-unknown"))) {
    if (!output("rustup", ["--version"])) fail("tenantgate needs Rust's wasm32 target: install Rust with https://rustup.rs, or `rust-std` for wasm32-unknown-unknown with your package manager.");
    step("set-up: Rust's wasm32 target", "10 s", () => run("rustup", ["target", "add", "wasm32-unknown-unknown"]));
  }
  for (const name of Object.keys(TOOLS)) if (wanted.includes(name)) tool(name);
}

/** A pinned tool: the one on the path if it has the right version, otherwise one that Cargo builds. */
function tool(name) {
  const { crate, version, args, usually, needs = [] } = TOOLS[name];
  needs.forEach(tool);
  if (output(name, ["--version"]).split(/\s+/).includes(version)) return;
  mkdirSync(tools, { recursive: true });
  step(`set-up: ${name} ${version}`, usually, () => {
    // Tools run for seconds even unoptimised; building them optimised takes a minute longer.
    const profile = { CARGO_PROFILE_RELEASE_OPT_LEVEL: "0", CARGO_PROFILE_RELEASE_LTO: "off", CARGO_PROFILE_RELEASE_CODEGEN_UNITS: "16" };
    const place = ["--root", tools, "--target-dir", join(tools, "target")];
    run("cargo", ["install", crate, "--version", version, "--bin", name, ...args, ...place, "--quiet", "--force"], { env: { ...env, ...profile } });
  });
}

/** Installs the npm packages of the lock file, unless they are there. */
function npmPackages(which) {
  const lock = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")).packages;
  const stamp = modules(".package-lock.json");
  const installed = existsSync(stamp) ? JSON.parse(readFileSync(stamp, "utf8")).packages : {};
  const wanted = Object.entries(lock).filter(([path, { dev, optional }]) => path && !optional && (which === "all" || !dev));
  if (wanted.every(([path, { version }]) => installed[path]?.version === version)) return;
  const part = which === "all" ? [] : ["--omit=dev"];
  // Not `npm ci`: it refuses a lock file made where some platforms' optional packages could not be seen.
  step("set-up: npm packages", which === "all" ? "40 s" : "10 s", () => run("npm", ["install", "--no-save", ...part, "--no-audit", "--no-fund", "--loglevel=error"]));
}

/** What calls an API by its OpenAPI description, and holds it to that: a Python tool, in an environment of its own. */
export function schemathesis() {
  const folder = join(tools, "schemathesis");
  const tool = join(folder, "bin", "schemathesis");
  if (output(tool, ["--version"]).includes(SCHEMATHESIS)) return tool;
  const python = () => output("python3", ["-c", "import ensurepip, sys; print(sys.version_info >= (3, 10))"]).includes("True");
  if (!python() && existsSync("/etc/debian_version") && process.getuid?.() === 0) {
    const quiet = { stdio: ["ignore", "ignore", "inherit"], env: { ...env, DEBIAN_FRONTEND: "noninteractive" } };
    run("apt-get", ["update", "-qq"], quiet);
    run("apt-get", ["install", "-y", "-qq", "python3-venv"], quiet);
  }
  if (!python()) fail("The tests of the API need Python 3.10 or newer with `venv` (Debian: `apt-get install python3-venv`), or run `npm test -- --fast` without them.");
  step(`set-up: schemathesis ${SCHEMATHESIS}`, "30 s", () => {
    run("python3", ["-m", "venv", "--clear", folder]);
    run(join(folder, "bin", "pip"), ["install", "--quiet", "--disable-pip-version-check", `schemathesis==${SCHEMATHESIS}`]);
  });
  return tool;
}

/** Prisma, for tests of its extension: a third of a gigabyte that nothing else needs. Returns its folder. */
export function prisma() {
  const folder = join(tools, "prisma");
  const stamp = join(folder, "installed.json");
  const wanted = JSON.stringify(PRISMA);
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) return folder;
  step("set-up: Prisma", "1 min", () => {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "package.json"), '{ "private": true }\n');
    const packages = Object.entries(PRISMA).map(([name, version]) => `${name}@${version}`);
    run("npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", ...packages], { cwd: folder });
    writeFileSync(stamp, wanted);
  });
  return folder;
}

/** Chromium and its driver, for tests in a browser. */
export function browser() {
  const find = (...names) => names.map((name) => output("sh", ["-c", `command -v ${name}`]).trim()).find(Boolean);
  const found = () => ({ chromium: find("chromium", "chromium-browser", "google-chrome"), driver: find("chromedriver") });
  const { chromium, driver } = found();
  if (chromium && driver) return { chromium, driver };
  if (existsSync("/etc/debian_version") && process.getuid?.() === 0) {
    step("set-up: Chromium from Debian's packages", "1 min", () => {
      const quiet = { stdio: ["ignore", "ignore", "inherit"], env: { ...env, DEBIAN_FRONTEND: "noninteractive" } };
      run("apt-get", ["update", "-qq"], quiet);
      run("apt-get", ["install", "-y", "-qq", "chromium", "chromium-driver"], quiet);
    });
    return found();
  }
  return fail("The browser tests need Chromium and its driver: install `chromium` and `chromium-driver` (Debian: `apt-get install chromium chromium-driver`), or run `npm test -- --fast` without them.");
}
