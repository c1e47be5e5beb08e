// Sets up what building and testing need, once. Everything lands in the project folder; a second run finds it there.

import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("..", import.meta.url));

// A folder may be shared by several checkouts, so that continuous integration builds the tools once per machine.
const tools = process.env.TENANTGATE_TOOLS ?? join(root, ".tools");
const bin = (name) => join(tools, "bin", name);
const modules = (path) => join(root, "node_modules", path);

// wasm-bindgen-cli must equal the crate in Cargo.lock; the others are what this version was tested with.
const TOOLS = {
  "wasm-bindgen": { crate: "wasm-bindgen-cli", version: "0.2.130", locked: false },
  "worker-build": { crate: "worker-build", version: "0.8.7", locked: true },
  "wasm-pack": { crate: "wasm-pack", version: "0.15.1", locked: true },
};

const SCHEMATHESIS = "4.32.5";

// Where a panic happened is written into what is built: by crate, not by where this machine keeps its crates.
const crates = join(process.env.CARGO_HOME ?? join(homedir(), ".cargo"), "registry/src");
const remapped = crates.includes(" ") ? {} : { CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS: `--remap-path-prefix=${crates}=crates` };

/** The environment in which builds and tests run: pinned tools, Node 22, helpers that would otherwise be downloaded. */
export const env = {
  ...process.env,
  ...remapped,
  PATH: [join(tools, "bin"), modules("node/bin"), modules(".bin"), process.env.PATH].join(delimiter),
  WASM_BINDGEN_BIN: bin("wasm-bindgen"),
  WASM_OPT_BIN: modules("binaryen/bin/wasm-opt"),
  ESBUILD_BIN: modules(".bin/esbuild"),
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

function step(what, usually, work) {
  console.log(`set-up: ${what} (usually ${usually})`);
  const begun = Date.now();
  work();
  console.log(`set-up: done in ${Math.round((Date.now() - begun) / 1000)} s`);
}

/**
 * Rust, and where they are asked for the wasm32 target, the npm packages and pinned tools.
 * `tools`: their names.
 */
export function setup({ wasm = true, packages = wasm, tools: wanted = Object.keys(TOOLS) } = {}) {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major < 20 || (major === 20 && minor < 11)) fail(`tenantgate needs Node 20.11 or newer; this is ${process.versions.node}. See https://nodejs.org.`);
  if (!output("cargo", ["--version"])) fail("tenantgate needs Rust: install it from https://rustup.rs, then run this again.");
  if (packages) {
    const locked = readFileSync(join(root, "package-lock.json"), "utf8");
    // Not `npm ci`: it refuses a lock file made where some platforms' optional packages could not be seen.
    const stamp = modules(".package-lock.json");
    if (!existsSync(stamp) || !sameVersions(locked, readFileSync(stamp, "utf8"))) {
      step("npm packages", "20 s", () => run("npm", ["install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error"]));
    }
  }
  if (wasm && !existsSync(join(output("rustc", ["--print", "sysroot"]).trim(), "lib/rustlib/wasm32-unknown-unknown"))) {
    if (!output("rustup", ["--version"])) fail("tenantgate needs Rust's wasm32 target: install Rust with https://rustup.rs, or `rust-std` for wasm32-unknown-unknown with your package manager.");
    step("Rust's wasm32 target", "10 s", () => run("rustup", ["target", "add", "wasm32-unknown-unknown"]));
  }
  if (!wasm) return;
  mkdirSync(tools, { recursive: true });
  for (const [name, { crate, version, locked }] of Object.entries(TOOLS)) {
    if (!wanted.includes(name)) continue;
    if (existsSync(bin(name)) && output(bin(name), ["--version"]).includes(version)) continue;
    step(`${crate} ${version}`, "2 to 5 min", () => {
      const args = ["install", crate, "--version", version, "--root", tools, "--target-dir", join(tools, "target"), "--quiet", "--force"];
      // Tools run for seconds: what counts is that they are built soon.
      const profile = { CARGO_PROFILE_RELEASE_OPT_LEVEL: "1", CARGO_PROFILE_RELEASE_LTO: "off", CARGO_PROFILE_RELEASE_CODEGEN_UNITS: "16" };
      run("cargo", locked ? [...args, "--locked"] : args, { env: { ...env, ...profile } });
    });
  }
}

function sameVersions(wanted, installed) {
  const versions = (text) => Object.entries(JSON.parse(text).packages).filter(([path]) => path).map(([path, { version }]) => `${path}@${version}`);
  const have = new Set(versions(installed));
  const optional = (entry) => JSON.parse(wanted).packages[entry.slice(0, entry.lastIndexOf("@"))].optional;
  return versions(wanted).every((entry) => have.has(entry) || optional(entry));
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
  step(`schemathesis ${SCHEMATHESIS}`, "30 s", () => {
    run("python3", ["-m", "venv", "--clear", folder]);
    run(join(folder, "bin", "pip"), ["install", "--quiet", "--disable-pip-version-check", `schemathesis==${SCHEMATHESIS}`]);
  });
  return tool;
}

/** Chromium and its driver, for tests in a browser. */
export function browser() {
  const find = (...names) => names.map((name) => output("sh", ["-c", `command -v ${name}`]).trim()).find(Boolean);
  const found = () => ({ chromium: find("chromium", "chromium-browser", "google-chrome"), driver: find("chromedriver") });
  const { chromium, driver } = found();
  if (chromium && driver) return { chromium, driver };
  if (existsSync("/etc/debian_version") && process.getuid?.() === 0) {
    step("Chromium from Debian's packages", "1 min", () => {
      const quiet = { stdio: ["ignore", "ignore", "inherit"], env: { ...env, DEBIAN_FRONTEND: "noninteractive" } };
      run("apt-get", ["update", "-qq"], quiet);
      run("apt-get", ["install", "-y", "-qq", "chromium", "chromium-driver"], quiet);
    });
    return found();
  }
  return fail("The browser tests need Chromium and its driver: install `chromium` and `chromium-driver` (Debian: `apt-get install chromium chromium-driver`), or run `npm test -- --fast` without them.");
}
