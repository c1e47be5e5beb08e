// Builds what is measured, as it is released, and measures it on Node 22. Usage: npm run bench [-- --json FILE]

import { buildNpm, buildWorker } from "./build.mjs";
import { run, setup } from "./setup.mjs";

setup({ tools: ["wasm-bindgen"] });
buildNpm();
buildWorker();
run("node", ["bench/run.mjs", ...process.argv.slice(2)]);
