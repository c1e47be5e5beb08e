// Builds the Worker (`build/`) and the npm package's generated files (`pkg/dist/`).
// Usage: node scripts/build.mjs [worker|npm …] [--quick] [--faults]

import { copyFileSync, existsSync, readdirSync, statSync, readFileSync, rmSync, writeFileSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join, relative } from "node:path";
import { gzipSync } from "node:zlib";
import { root, run, setup } from "./setup.mjs";

const target = process.env.CARGO_TARGET_DIR ?? join(root, "target");

/** The Worker. `quick`: minutes faster to build, a little larger. `faults`: for tests only. */
export function buildWorker({ quick = false, faults = false, out = "build" } = {}) {
  const features = faults ? "worker,faults" : "worker";
  if (upToDate(join(root, out, "index.js"), `${features} ${quick}`)) return;
  const profile = quick ? ["--profile", "quick"] : ["--release"];
  run("worker-build", ["--out-dir", out, ...profile, ...(quick ? ["--no-opt"] : []), "--", "--no-default-features", "--features", features]);
  copyFileSync(join(root, "src/worker/entry.js"), join(root, out, "entry.js"));
  stamp(join(root, out, "index.js"), `${features} ${quick}`);
}

/** The npm package's modules, with the glue that wasm-bindgen makes: the gate, and what pages need of it. */
export function buildNpm({ quick = false } = {}) {
  buildModule("tenantgate", "npm", quick ? "quick" : "release");
  buildModule("client", "client", quick ? "quick" : "small");
  buildJs();
}

/** What is made of the modules and of the files written by hand. */
export function buildJs() {
  for (const name of ["tenantgate", "client"]) embed(name);
  buildCommonJs();
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
  // Not there before `setup` has been run.
  const { transformSync } = createRequire(import.meta.url)("esbuild");
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
const LEFT_OUT = /(^|\/)(workerd|web|edge|embedded|cli)\.js$/;

function buildModule(name, feature, profile) {
  const dist = join(root, "pkg/dist");
  const glue = join(dist, `${name}.js`);
  if (upToDate(glue, `${feature} ${profile}`)) return;
  rmSync(`${glue}.stamp`, { force: true });
  run("cargo", ["build", "--lib", "--target", "wasm32-unknown-unknown", "--profile", profile, "--no-default-features", "--features", feature]);
  mkdirSync(dist, { recursive: true });
  // The state can be reset: after a trap there is a new instance.
  const options = ["--target", "web", "--experimental-reset-state-function", "--no-typescript", "--out-dir", dist, "--out-name", name];
  run("wasm-bindgen", [join(target, "wasm32-unknown-unknown", profile, "tenantgate.wasm"), ...options]);
  if (profile !== "quick") {
    const wasm = join(dist, `${name}_bg.wasm`);
    const features = ["bulk-memory", "nontrapping-float-to-int", "sign-ext", "mutable-globals", "reference-types", "multivalue"];
    // What is called from one place alone is not put there where it is large: the first decision would have to wait for code of rare
    // cases to be compiled.
    const speed = ["-O3", "--one-caller-inline-max-function-size=100"];
    run("wasm-opt", [...(profile === "small" ? ["-Oz"] : speed), ...features.map((feature) => `--enable-${feature}`), wasm, "-o", wasm]);
  }
  stamp(glue, `${feature} ${profile}`);
}

// cargo itself is quick when nothing changed; worker-build and wasm-opt are not.
function upToDate(file, kind) {
  if (!existsSync(file) || !existsSync(`${file}.stamp`)) return false;
  const { mtimeMs } = statSync(file);
  return readFileSync(`${file}.stamp`, "utf8") === kind && newest() < mtimeMs;
}

const stamp = (file, kind) => writeFileSync(`${file}.stamp`, kind);

function newest() {
  const files = readdirSync(join(root, "src"), { recursive: true }).map((name) => join(root, "src", name));
  return Math.max(...[...files, join(root, "Cargo.toml"), join(root, "Cargo.lock")].map((file) => statSync(file).mtimeMs));
}

if (process.argv[1] === import.meta.filename) {
  const flags = process.argv.slice(2);
  const named = flags.filter((flag) => !flag.startsWith("--"));
  // `npm start` builds quickly, also where wrangler runs this script by itself.
  const options = { quick: flags.includes("--quick") || process.env.TENANTGATE_PROFILE === "quick", faults: flags.includes("--faults"), out: flags.includes("--faults") ? "build/test" : "build" };
  setup();
  if (!named.length || named.includes("worker")) buildWorker(options);
  if (!named.length || named.includes("npm")) buildNpm(options);
}
