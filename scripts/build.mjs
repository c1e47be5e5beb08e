// Builds the Worker (`build/`) and the npm package's generated files (`pkg/dist/`).
// Usage: node scripts/build.mjs [worker|npm …] [--quick] [--faults]

import { copyFileSync, existsSync, readdirSync, statSync, rmSync, readFileSync, writeFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
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

/** The npm package's module, with the glue that wasm-bindgen makes. */
export function buildNpm({ quick = false } = {}) {
  const dist = join(root, "pkg/dist");
  if (upToDate(join(dist, "tenantgate.js"), `npm ${quick}`)) return;
  const profile = quick ? "quick" : "release";
  run("cargo", ["build", "--lib", "--target", "wasm32-unknown-unknown", "--profile", profile, "--no-default-features", "--features", "npm"]);
  rmSync(dist, { recursive: true, force: true });
  mkdirSync(dist, { recursive: true });
  run("wasm-bindgen", [join(target, "wasm32-unknown-unknown", profile, "tenantgate.wasm"), "--target", "web", "--out-dir", dist, "--out-name", "tenantgate"]);
  if (!quick) {
    const wasm = join(dist, "tenantgate_bg.wasm");
    run("wasm-opt", ["-O3", "--enable-bulk-memory", "--enable-nontrapping-float-to-int", "--enable-sign-ext", "--enable-mutable-globals", "--enable-reference-types", "--enable-multivalue", wasm, "-o", wasm]);
  }
  stamp(join(dist, "tenantgate.js"), `npm ${quick}`);
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
