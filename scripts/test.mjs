// Runs test suites. `tests/README.md` says what each of them covers.
// Usage: npm test [-- SUITE …]   the named suites; without a name, all but `slow`
//        npm test -- --fast      native Rust alone, in seconds

import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { buildEdge, buildNpm, buildWorker } from "./build.mjs";
import { browser, env, fail, output, root, setup } from "./setup.mjs";

/** What a suite may need before it runs. Each is made once, whatever the number of suites. */
const BUILDS = {
  npm: () => buildNpm({ quick: true }),
  worker: () => buildWorker({ quick: true, faults: true, out: "build/test" }),
  edge: () => buildEdge({ quick: true }),
};
const BUILD_TOOLS = ["wasm-bindgen"];
/** Unoptimised, the simulation and the properties would take minutes. */
const OPTIMISED = { CARGO_PROFILE_TEST_OPT_LEVEL: "1" };
const WASM = ["--target", "wasm32-unknown-unknown"];
/** The builds of the crate: in Rust, for Node and pages, for pages alone, in Workers, the complete Worker. */
const CRATES = [
  ["--no-default-features"], WASM, [...WASM, "--no-default-features", "--features", "client"],
  [...WASM, "--no-default-features", "--features", "edge"], [...WASM, "--no-default-features", "--features", "worker"],
];

/** Runs as a suite of its own: schemathesis is asked for there alone. */
const API = join("tests", "worker", "openapi.test.mjs");

/** What runs a second time against a Worker with the gate inside: what asks for decisions and forwards nothing. */
const EMBEDDED = ["worker/vectors", "worker/ledger", "worker/line", "worker/left", "worker/usage", "worker/faults", "attacks/attacks"];
const INSIDE = { more: { TENANTGATE_GATE: "embedded" } };

const SUITES = {
  rust: {
    about: "native Rust: unit tests, vectors, properties, documents, a short simulation",
    run: () => execute("cargo", ["test", "--no-default-features", "--no-fail-fast"], OPTIMISED),
  },
  lint: {
    about: "formatting, clippy in each build of the crate, and that the fuzz targets compile",
    wasm: true,
    run() {
      if (output("cargo", ["fmt", "--version"])) execute("cargo", ["fmt", "--check"]);
      else console.log("cargo fmt is not installed (`rustup component add rustfmt`): not run");
      if (output("cargo", ["clippy", "--version"])) for (const crate of CRATES) execute("cargo", ["clippy", "--lib", ...crate, "--", "--deny", "warnings"]);
      else console.log("cargo clippy is not installed (`rustup component add clippy`): not run");
      // In a folder of their own: their lock file has other versions of what the crate depends on.
      execute("cargo", ["check", "--manifest-path", "fuzz/Cargo.toml", "--target-dir", join(env.CARGO_TARGET_DIR ?? "target", "fuzz")]);
    },
  },
  docs: {
    about: "the book builds, and its links lead somewhere",
    packages: true,
    run: () => execute("node", [join("scripts", "docs.mjs")]),
  },
  browser: {
    about: "the vectors in headless Chromium, through the crate's own bindings",
    wasm: true,
    packages: true,
    tools: ["wasm-bindgen", "wasm-pack"],
    run() {
      const { driver } = browser();
      const args = ["--headless", "--chrome", "--chromedriver", driver, "--mode", "no-install", "--", "--test", "browser", "--features", "client"];
      execute("wasm-pack", ["test", ...args], { WASM_BINDGEN_TEST_TIMEOUT: "120" });
    },
  },
  npm: {
    about: "the npm package in Node, installed, bundled, and in pages; the examples",
    builds: ["npm", "worker", "edge"],
    files: () => [...files("tests/npm"), ...files("tests/packaging"), ...files("tests/examples")],
  },
  data: {
    about: "data access within a tenant, on SQLite and PostgreSQL",
    packages: true,
    files: () => files("tests/data"),
  },
  worker: {
    about: "the Worker on workerd, with real KV, D1 and Durable Objects",
    builds: ["npm", "worker", "edge"],
    files: () => [...files("tests/worker").filter((file) => file !== API), ...files("tests/attacks")],
  },
  embedded: {
    about: "the vectors, the ledger's tests and the attacks, against a Worker with the gate inside",
    builds: ["npm", "worker", "edge"],
    run: () => node(EMBEDDED.map((name) => `tests/${name}.test.mjs`), INSIDE),
  },
  api: {
    about: "the HTTP API against its OpenAPI description, by schemathesis",
    builds: ["npm", "worker", "edge"],
    files: () => [API],
  },
  slow: {
    about: "real waits, kills, memory, hostile tenants, real origins, Prisma, the long simulation",
    builds: ["npm", "worker", "edge"],
    run() {
      // One file after the other: these measure latencies, memory and real time.
      node([...files("tests/slow"), ...files("tests/origins"), ...files("tests/hostile")], { concurrency: 1 });
      node(["tests/slow/kill.test.mjs"], { concurrency: 1, ...INSIDE });
      execute("cargo", ["test", "--no-default-features", "--test", "sim"], { ...OPTIMISED, SIM_STEPS: env.SIM_STEPS ?? "1000000" });
    },
  },
};

/** Runs a command of a suite. */
function execute(command, args, more = {}) {
  const { status, error, signal } = spawnSync(command, args, { cwd: root, env: { ...env, ...more }, stdio: "inherit" });
  if (error) throw new Error(`\`${command}\` could not be started: ${error.message}`);
  if (status !== 0) throw new Error(`\`${command} ${args.slice(0, 3).join(" ")} …\` failed (${signal ?? `exit code ${status}`})`);
}

/** Runs test files under the pinned Node, two at a time unless they measure something. */
const node = (files, { concurrency = 2, more } = {}) => execute("node", ["--test", `--test-concurrency=${concurrency}`, ...files], more);

/** The test files of a folder. A folder without any is a mistake: its tests would be left out silently. */
function files(folder) {
  const found = readdirSync(join(root, folder)).filter((name) => name.endsWith(".test.mjs")).map((name) => join(folder, name));
  if (!found.length) fail(`There are no tests in ${folder}.`);
  return found;
}

/** The named suites, in the order of the table. */
function chosen(names) {
  if (names.includes("--fast")) return ["rust"];
  const unknown = names.filter((name) => !(name in SUITES));
  if (unknown.length) fail(`Unknown suite: ${unknown.join(", ")}. Suites are ${Object.keys(SUITES).join(", ")}.`);
  return Object.keys(SUITES).filter((name) => (names.length ? names.includes(name) : name !== "slow"));
}

const seconds = (begun) => `${((performance.now() - begun) / 1000).toFixed(0)} s`;

const names = chosen(process.argv.slice(2));
const suites = names.map((name) => SUITES[name]);
const builds = Object.keys(BUILDS).filter((build) => suites.some((suite) => suite.builds?.includes(build)));
setup({
  wasm: builds.length > 0 || suites.some(({ wasm }) => wasm),
  packages: (builds.length > 0 || suites.some(({ packages }) => packages)) && "all",
  tools: [...(builds.length ? BUILD_TOOLS : []), ...suites.flatMap(({ tools = [] }) => tools)],
});

const summary = [];
const timed = (name, work) => {
  const begun = performance.now();
  try {
    work();
    summary.push([name, "ok", seconds(begun)]);
  } catch (error) {
    console.error(`\n${error.message}`);
    summary.push([name, "FAILED", seconds(begun)]);
    process.exitCode = 1;
  }
};
if (builds.length) {
  console.log(`\n— build: ${builds.join(", ")}`);
  timed("build", () => builds.forEach((build) => BUILDS[build]()));
}
const built = !process.exitCode;
// Suites of test files run as one, so that no processor waits for the last file of each. The longest file comes first.
const ofFiles = names.filter((name) => SUITES[name].files).reverse();
const together = () => node(ofFiles.flatMap((name) => SUITES[name].files()));
const runs = names.filter((name) => SUITES[name].run).map((name) => [[name], SUITES[name].run]);
if (ofFiles.length) runs.splice(names.includes("slow") ? -1 : runs.length, 0, [ofFiles, together]);
for (const [suites, run] of runs) {
  const name = suites.join(", ");
  if (suites.some((suite) => SUITES[suite].builds) && !built) {
    summary.push([name, "not run", ""]);
    continue;
  }
  for (const suite of suites) console.log(`\n— ${suite}: ${SUITES[suite].about}`);
  timed(name, run);
  console.log(`— ${name}: ${summary.at(-1).slice(1).join(" after ")}`);
}
console.log(`\n${summary.map(([name, state, time]) => `${name.padEnd(18)} ${state.padEnd(8)} ${time.padStart(6)}`).join("\n")}`);
