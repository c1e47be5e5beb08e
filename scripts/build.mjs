// Builds the Worker (`build/`) and the npm package's generated files (`pkg/dist/`).
// Usage: node scripts/build.mjs [worker|edge|npm …] [--quick] [--faults]

import { copyFileSync, cpSync, existsSync, readdirSync, statSync, readFileSync, rmSync, writeFileSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join, relative } from "node:path";
import { gzipSync } from "node:zlib";
import { root, run, setup, step } from "./setup.mjs";

const target = process.env.CARGO_TARGET_DIR ?? join(root, "target");

/** Whether modules keep the names of their functions, for profilers. Panics name file and line without them. */
const names = process.env.TENANTGATE_NAMES === "1";

/** The JavaScript of both Workers, and of the complete one alone. */
const WORKER_PARTS = ["instance.js", "tenant_ledger.js"];
const WHOLE_PARTS = ["entry.js", "tenant_hub.js", "lobby.js"];

/**
 * The complete Worker: its parts in `pkg/dist/worker`, for the npm package, and in `out` one module of
 * them. `quick`: minutes faster to build, a little larger. `faults`: for tests only.
 */
export function buildWorker({ quick = false, faults = false, out = "build" } = {}) {
  const folder = join(root, out);
  const features = faults ? "worker,faults" : "worker";
  buildParts({ what: "the Worker", features, profile: quick ? "quick" : "small", folder, exports: "fetch, scheduled, TenantHub, Lobby", parts: [...WORKER_PARTS, ...WHOLE_PARTS], dist: "worker", shares: ["Closing", "hub.js"] });
  // One file that stays readable, beside the module.
  const contents = 'export { default, TenantGate, TenantHub, TenantLedger } from "./worker.js";';
  const whole = { stdin: { contents, resolveDir: join(root, "pkg") }, outfile: join(folder, "entry.js"), loader: { ".wasm": "copy" }, assetNames: "[name]" };
  esbuild().buildSync({ ...whole, bundle: true, external: ["cloudflare:*"], format: "esm", logLevel: "warning" });
}

/** The gate for other Workers, in `pkg/dist/edge`: without the gateway and the control plane. */
export function buildEdge({ quick = false } = {}) {
  buildParts({ what: "the gate for other Workers", features: "edge", profile: quick ? "quick" : "compact", folder: join(root, "build/edge"), parts: WORKER_PARTS, dist: "edge" });
}

/**
 * Builds the module of a Worker and its glue in `folder`, and copies what runs to `pkg/dist`.
 * `shares`: what the parts use of a file that the crate imports.
 */
function buildParts({ what, features, profile, folder, exports, parts, dist, shares }) {
  const [made, glue] = [join(folder, "parts"), join(folder, "glue")];
  const module = { what, name: "index", features, profile, folder: glue, options: ["--force-enable-abort-handler"] };
  buildModule(module, join(made, "index.js"), () => {
    // The glue and the JavaScript that the crate imports become one file.
    const names = ["__wbg_reset_state", "EdgeBinding", "initSync", "TenantLedger", exports].filter(Boolean).join(", ");
    const imported = readdirSync(join(glue, "snippets")).find((name) => name.startsWith("tenantgate-"));
    const shared = shares ? `export { ${shares[0]} } from "./snippets/${imported}/src/worker/${shares[1]}";` : "";
    const entry = { stdin: { contents: `export { ${names} } from "./index.js"; ${shared}`, resolveDir: glue }, outfile: join(made, "index.js") };
    esbuild().buildSync({ ...entry, bundle: true, external: ["cloudflare:*"], format: "esm", minify: true, logLevel: "warning" });
    copyFileSync(join(glue, "index_bg.wasm"), join(made, "index_bg.wasm"));
  });
  const target = join(root, "pkg/dist", dist);
  rmSync(target, { recursive: true, force: true });
  mkdirSync(target, { recursive: true });
  for (const name of parts) copyFileSync(join(root, "src/worker", name), join(target, name));
  for (const name of ["index.js", "index_bg.wasm"]) copyFileSync(join(made, name), join(target, name));
}

/** The npm package's modules, with the glue that wasm-bindgen generates: the gate, and what pages need of it. */
export function buildNpm({ quick = false, pages = true } = {}) {
  const folder = join(root, "pkg/dist");
  const gate = { what: "the npm package", name: "tenantgate", features: "npm", profile: quick ? "quick" : "release", folder };
  const client = { what: "the npm package's client", name: "client", features: "client", profile: quick ? "quick" : "small", folder };
  for (const module of pages ? [gate, client] : [gate]) buildModule(module, join(folder, `${module.name}.js`));
  if (pages) buildJs();
}

/** What is made of the modules and of the files written by hand. */
export function buildJs() {
  for (const name of ["tenantgate", "client"]) embed(name);
  buildCommonJs();
  cpSync(join(root, "migrations"), join(root, "pkg/migrations"), { recursive: true });
  for (const name of ["LICENSE-MIT", "LICENSE-APACHE"]) copyFileSync(join(root, name), join(root, "pkg", name));
}

/** A module as JavaScript, packed, for bundlers that leave files behind. */
function embed(name) {
  const dist = join(root, "pkg/dist");
  const packed = gzipSync(readFileSync(join(dist, `${name}_bg.wasm`)), { level: 9 }).toString("base64");
  writeFileSync(join(dist, `${name}_wasm.js`), `export default ${JSON.stringify(packed)};\n`);
}

/** The package for `require`: the same files, one by one, so that each class is there once however it is imported. */
function buildCommonJs() {
  const { transformSync } = esbuild();
  const from = join(root, "pkg");
  const to = join(from, "cjs");
  // What has no original any more would be published.
  rmSync(to, { recursive: true, force: true });
  const sources = readdirSync(from, { recursive: true }).filter((name) => /^(client\/|dist\/)?[a-z-]+\.js$/.test(name) && !LEFT_OUT.test(name));
  for (const name of sources) {
    const code = readFileSync(join(from, name), "utf8");
    // Where the file would be if it were the original: the modules in `dist` are there once.
    const place = `require("node:url").pathToFileURL(require("node:path").join(__dirname, ${JSON.stringify(`${relative(join(to, name, ".."), join(from, name, ".."))}/`)}))`;
    const own = /\bimport\.meta\.url\b/.test(code) ? `const importMetaUrl = ${place}.href;\n` : "";
    const banner = own + (/\bText(De|En)coder\b/.test(code) ? TEXT_CODERS : "");
    const define = { "import.meta.url": "importMetaUrl" };
    const { code: converted } = transformSync(code, { format: "cjs", target: "node20", platform: "node", define, banner });
    mkdirSync(join(to, name, ".."), { recursive: true });
    // Named directly: not every tool reads `imports` of a nested package.json.
    const named = converted.replace('require("#entry")', 'require("./node.js")');
    // The modules in `dist` are there once, also as JavaScript.
    writeFileSync(join(to, name), named.replace(/import\("(?:\.\/)?((?:\.\.\/)*dist\/\w+_wasm\.js)"\)/, 'import("../$1")'));
  }
  for (const name of readdirSync(from, { recursive: true }).filter((name) => /^(client\/)?[a-z-]+\.d\.ts$/.test(name))) {
    copyFileSync(join(from, name), join(to, name));
  }
  writeFileSync(join(to, "package.json"), `${JSON.stringify({ type: "commonjs" }, null, 2)}\n`);
}

/** Jest's pages (jsdom) have none of their own. */
const TEXT_CODERS = 'const { TextDecoder, TextEncoder } = globalThis.TextDecoder ? globalThis : require("node:util");';

/** Entries for other runtimes, and the command line. */
const LEFT_OUT = /(^|\/)(workerd|ws-workerd|web|edge|embedded|cli)\.js$/;

/** Not there before `setup` has been run. */
const esbuild = () => createRequire(import.meta.url)("esbuild");

const USUALLY = { quick: "1 min", release: "3 min", compact: "3 min", small: "2 min" };

/**
 * Builds the crate for one adapter: the module and the glue that wasm-bindgen generates, both in `folder`. `then` makes
 * of them what is served. Nothing is done if `product`, the last file made, is newer than the sources.
 */
function buildModule({ what, name, features, profile, folder, options = [] }, product, then = () => {}) {
  const kind = `${features} ${profile}${names ? " names" : ""}`;
  if (upToDate(product, kind)) return;
  rmSync(`${product}.stamp`, { force: true });
  step(`build: ${what}`, USUALLY[profile], () => {
    run("cargo", ["build", "--quiet", "--lib", "--target", "wasm32-unknown-unknown", "--profile", profile, "--no-default-features", "--features", features]);
    mkdirSync(folder, { recursive: true });
    // A snippet that the crate no longer imports would be bundled as it was.
    rmSync(join(folder, "snippets"), { recursive: true, force: true });
    // The state can be reset: after a trap there is a new instance.
    const shape = ["--target", "web", "--experimental-reset-state-function", "--no-typescript", ...options];
    const bindgen = [...shape, ...(names ? [] : ["--remove-name-section"]), "--out-dir", folder, "--out-name", name];
    run("wasm-bindgen", [join(target, "wasm32-unknown-unknown", profile, "tenantgate.wasm"), ...bindgen]);
    if (profile !== "quick") optimise(join(folder, `${name}_bg.wasm`), profile);
    then();
  });
  stamp(product, kind);
}

function optimise(wasm, profile) {
  const features = ["bulk-memory", "nontrapping-float-to-int", "sign-ext", "mutable-globals", "reference-types", "multivalue", "exception-handling"];
  // Functions with one caller are not inlined: a first decision would wait until code of rare cases
  // is compiled, and the module would compress worse.
  const options = [profile === "small" ? "-Oz" : "-O3", "--one-caller-inline-max-function-size=0", ...(names ? ["--debuginfo"] : [])];
  run("wasm-opt", [...options, ...features.map((feature) => `--enable-${feature}`), wasm, "-o", wasm]);
}

// cargo itself is quick when nothing changed; wasm-bindgen and wasm-opt are not.
function upToDate(file, kind) {
  if (!existsSync(file) || !existsSync(`${file}.stamp`)) return false;
  const { mtimeMs } = statSync(file);
  return readFileSync(`${file}.stamp`, "utf8") === kind && newest() < mtimeMs;
}

const stamp = (file, kind) => writeFileSync(`${file}.stamp`, kind);

function newest() {
  const files = readdirSync(join(root, "src"), { recursive: true }).map((name) => join(root, "src", name));
  return Math.max(...[...files, ...["Cargo.toml", "Cargo.lock", "scripts/build.mjs"].map((name) => join(root, name))].map((file) => statSync(file).mtimeMs));
}

if (process.argv[1] === import.meta.filename) {
  const flags = process.argv.slice(2);
  const named = flags.filter((flag) => !flag.startsWith("--"));
  // `npm start` builds quickly, also where wrangler runs this script by itself.
  const options = { quick: flags.includes("--quick") || process.env.TENANTGATE_PROFILE === "quick", faults: flags.includes("--faults"), out: flags.includes("--faults") ? "build/test" : "build" };
  // A quick build is not optimised by wasm-opt, which is a package.
  setup({ packages: options.quick ? "serving" : "all", tools: ["wasm-bindgen"] });
  if (!named.length || named.includes("worker")) buildWorker(options);
  if (!named.length || named.includes("edge")) buildEdge(options);
  if (!named.length || named.includes("npm")) buildNpm(options);
}
