// Builds the release artifacts and runs the benchmarks on Node 22.
// Usage: npm run bench [-- --json FILE]

import { buildNpm, buildWorker } from "./build.mjs";
import { run, setup } from "./setup.mjs";

setup({ tools: ["wasm-bindgen"] });
buildNpm();
buildWorker();
run("node", ["bench/run.mjs", ...process.argv.slice(2)]);
