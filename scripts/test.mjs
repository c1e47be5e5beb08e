// Runs everything: native Rust, the shared vectors in headless Chromium, the npm package in Node, the Worker on workerd.
// Usage: npm test [-- --fast]   `--fast`: native Rust only, in seconds.
//        npm run test:hostile   real origins and headers that mislead them; ledgers that are far away, floods, a hostile tenant beside a victim.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { buildNpm, buildWorker } from "./build.mjs";
import { browser, env, output, root, run, setup } from "./setup.mjs";

const fast = process.argv.includes("--fast");
const hostile = process.argv.includes("--hostile");
const head = (title) => console.log(`\n— ${title}`);

setup({ wasm: !fast });
if (hostile) {
  head("the victim's side of distance, floods and hostile tenants");
  buildNpm({ quick: true });
  buildWorker({ quick: true, faults: true, out: "build/test" });
  // One after the other: latencies are compared within one run.
  run("node", ["--test", "--test-concurrency=1", ...tests("tests/origins"), ...tests("tests/hostile")]);
  process.exit(0);
}
head("native Rust: unit, vectors, properties, documents, structure");
// The simulation takes a million steps; what is built for the browser should rather be built soon.
run("cargo", ["test", "--no-default-features"], { env: { ...env, CARGO_PROFILE_TEST_OPT_LEVEL: "1" } });
if (fast) process.exit(0);

head("lints, in each of the builds");
const wasm = ["--target", "wasm32-unknown-unknown"];
const builds = [["--no-default-features"], wasm, [...wasm, "--no-default-features", "--features", "client"], [...wasm, "--no-default-features", "--features", "worker"]];
if (output("cargo", ["clippy", "--version"])) for (const build of builds) run("cargo", ["clippy", "--lib", ...build, "--", "--deny", "warnings"]);
else console.log("cargo clippy is not installed (`rustup component add clippy`): not run");

head("the fuzz targets build");
run("cargo", ["build", "--manifest-path", "fuzz/Cargo.toml"]);

head("the vectors in Chromium");
const { driver } = browser();
run("wasm-pack", ["test", "--headless", "--chrome", "--chromedriver", driver, "--mode", "no-install", "--", "--test", "browser", "--features", "client"], {
  env: { ...env, WASM_BINDGEN_TEST_TIMEOUT: "120" },
});

head("the book builds, and its links lead somewhere");
run("node", ["scripts/docs.mjs"]);

head("the npm package in Node, bundled, and in pages; the Worker on workerd");
buildNpm({ quick: true });
buildWorker({ quick: true, faults: true, out: "build/test" });
run("node", ["--test", "--test-concurrency=1", ...["tests/npm", "tests/packaging", "tests/worker"].flatMap(tests)]);

function tests(folder) {
  return readdirSync(join(root, folder)).filter((name) => name.endsWith(".test.mjs")).map((name) => join(folder, name));
}
