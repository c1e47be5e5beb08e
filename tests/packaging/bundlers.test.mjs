// The package in bundlers and test runners with default settings: it is imported without an error
// and finds its module. Where it cannot find the module, the error states what to do.

import assert from "node:assert/strict";
import { cpSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { transformSync } from "esbuild";
import webpack from "webpack";
import { chrome } from "../support/chrome.mjs";
import { fileServer, modules, node, project, remove, run, sizes } from "../support/project.mjs";

after(remove);

const catalog = { version: 1, resolution: { strategies: [{ strategy: "header" }] }, plans: { "p@1": {} } };
const snapshot = {
  tenant: { id: "t_acme", slug: "acme" }, catalog: 1, epoch: 1,
  features: { theme: { type: "string", default: "plain", rules: [{ name: "nl", when: [{ attribute: "country", op: "eq", value: "NL" }], value: "dark" }] } },
};
const IMPORTS = 'import { DeniedError, Gate, init } from "tenantgate"; import { FeatureClient, init as initClient } from "tenantgate/client"; import { createTenantMiddleware, handler } from "tenantgate/middleware";';
/** Uses the gate, both forms of the middleware, and the client. `said` collects the results. */
const USE = `
  const gate = new Gate(${JSON.stringify(catalog)}, [{ id: "t_acme", slug: "acme", plan: "p@1" }]);
  const denied = (() => { try { gate.features("t_nobody"); } catch (error) { return error instanceof DeniedError; } })();
  const said = [gate.decide({ path: "/", headers: { "x-tenant-id": "acme" } }).code, denied];
  for (const options of [{ gate }, { config: { resolution: "header" }, lookupTenant: (id) => ({ id, slug: id }) }]) {
    const serve = handler((_, ctx) => ctx.tenant.slug, { middleware: [createTenantMiddleware(options)] });
    said.push(await (await serve(new Request("https://app.example.com/", { headers: { "x-tenant-id": "acme" } }))).json());
  }
  const client = new FeatureClient({ url: "https://app.example.com/", storage: null, fetch: async () => new Response(${JSON.stringify(JSON.stringify(snapshot))}) });
  await client.ready;
  said.push(client.evaluate({ country: "NL" }).get("theme").value);
  client.close();`;
const SAID = ["ALLOWED", true, "acme", "acme", "dark"];
const INIT = "await init(); await initClient();";
const program = (first, use = USE) => `${IMPORTS}\n(async () => { ${first} ${use} console.log(JSON.stringify(said)); })();\n`;
/** Collects the errors of first uses. */
const FAILS = `
  const fails = (run) => { try { run(); return "nothing"; } catch ({ code, message }) { return code + ": " + message; } };
  const said = [fails(() => new Gate({})), fails(() => new FeatureClient()), fails(() => createTenantMiddleware({ config: { resolution: "header" }, lookupTenant() {} }))];`;

const MODULES = ["tenantgate_bg.wasm", "client_bg.wasm"];
let place;
before(() => {
  place = project("bundled", {
    "main.js": program(""), "awaited.js": program(INIT), "fails.js": program("", FAILS), "main.cjs": transformSync(program(""), { format: "cjs" }).code,
    "awaited.cjs": transformSync(program(INIT), { format: "cjs" }).code,
    "given.js": `import { readFileSync } from "node:fs";\n${program(["tenantgate_bg", "client_bg"].map((name, i) => `await ${["init", "initClient"][i]}(readFileSync("given/${name}.wasm"));`).join(" "))}`,
  });
  for (const module of MODULES) cpSync(join(place, "node_modules/tenantgate/dist", module), join(place, "given", module));
});

/**
 * Runs `work` while the package's modules are missing, as on another machine: some bundlers embed
 * their absolute paths.
 */
async function elsewhere(work) {
  const paths = MODULES.map((module) => join(place, "node_modules/tenantgate/dist", module));
  for (const path of paths) renameSync(path, `${path}.away`);
  try {
    return await work();
  } finally {
    for (const path of paths) renameSync(`${path}.away`, path);
  }
}
const outcome = (file) => elsewhere(() => node(place, file));

describe("esbuild", () => {
  const build = async (input, output, ...options) => {
    const built = await run(place, join(modules, ".bin/esbuild"), [input, "--bundle", "--platform=node", "--log-level=error", `--outfile=${output}`, ...options]);
    assert.deepEqual(built, { code: 0, stdout: "", stderr: "" });
    return output;
  };
  for (const [format, file] of [["cjs", "out.cjs"], ["esm", "out.mjs"]]) {
    test(`esbuild as ${format}: one file contains the module, with and without \`init\``, async (t) => {
      for (const input of ["main.js", "awaited.js", "main.cjs"]) assert.deepEqual(await outcome(await build(input, `esbuild/${input}-${file}`, `--format=${format}`)), SAID, input);
      assert.deepEqual(await outcome(await build("main.js", `esbuild/small-${file}`, `--format=${format}`, "--minify")), SAID, "minified");
      t.diagnostic(`minified: ${sizes(readFileSync(join(place, `esbuild/small-${file}`)))}`);
    });

    test(`esbuild as ${format} with custom conditions: \`init\` loads the module, and its lack is explained`, async () => {
      const conditions = [`--format=${format}`, "--conditions=own"];
      for (const input of ["awaited.js", "given.js"]) assert.deepEqual(await outcome(await build(input, `esbuild/own-${input}-${file}`, ...conditions)), SAID, input);
      for (const [i, sentence] of (await outcome(await build("fails.js", `esbuild/fails-${file}`, ...conditions))).entries()) {
        const [code, module] = [["MISCONFIGURED", "tenantgate_bg.wasm"], ["INVALID_INPUT", "client_bg.wasm"], ["MISCONFIGURED", "tenantgate_bg.wasm"]][i];
        assert.equal(sentence, `${code}: the WebAssembly module is not loaded yet: call \`await init()\` first, or pass it the bytes of \`tenantgate/dist/${module}\`, or exclude \`tenantgate\` from the bundle`);
      }
    });
  }

  test("esbuild for pages: errors state what to do without `init` or without the module's address", async () => {
    for (const format of ["esm", "iife"]) {
      const page = await run(place, join(modules, ".bin/esbuild"), ["fails.js", "--bundle", "--platform=browser", "--log-level=error", `--format=${format}`, `--outfile=esbuild/page-${format}.mjs`]);
      assert.deepEqual(page, { code: 0, stdout: "", stderr: "" });
      const said = await outcome(`esbuild/page-${format}.mjs`);
      assert.deepEqual([...new Set(said.map((sentence) => sentence.split(": ").slice(1).join(": ")))], ["the WebAssembly module is not loaded yet: call `await init()` first"]);
    }
    const code = transformSync(`${IMPORTS} (async () => { const said = []; for (const load of [init, initClient]) await load().catch(({ code, message }) => said.push(code + ": " + message)); console.log(JSON.stringify(said)); })();`, { format: "esm" }).code;
    writeFileSync(join(place, "unfound.js"), code);
    await run(place, join(modules, ".bin/esbuild"), ["unfound.js", "--bundle", "--platform=browser", "--log-level=error", "--format=iife", "--outfile=esbuild/unfound.mjs"]);
    const said = ["tenantgate_bg.wasm", "client_bg.wasm"].map((file) => `GATE_FAILED: the WebAssembly module could not be loaded: pass \`init\` the bytes or the URL of \`tenantgate/dist/${file}\`, or exclude \`tenantgate\` from the bundle`);
    assert.deepEqual(await outcome("esbuild/unfound.mjs"), said);
  });
});

describe("bun build", () => {
  for (const [target, format, input] of [["node", "esm", "awaited.js"], ["bun", "esm", "awaited.js"], ["node", "cjs", "awaited.cjs"]]) {
    test(`bun build --target=${target} as ${format}: one file contains the module`, async () => {
      const folder = `bun-${target}-${format}`;
      const built = await run(place, join(modules, ".bin/bun"), ["build", input, `--target=${target}`, `--format=${format}`, `--outdir=${folder}`]);
      assert.equal(built.code, 0, built.stderr);
      if (format === "cjs") writeFileSync(join(place, folder, "package.json"), '{"type":"commonjs"}');
      const runtime = target === "bun" ? join(modules, ".bin/bun") : process.execPath;
      const { stdout, stderr } = await elsewhere(() => run(place, runtime, [join(folder, input.replace("cjs", "js"))]));
      assert.deepEqual(stdout && JSON.parse(stdout), SAID, stderr.slice(0, 2_000));
    });
  }
});

describe("webpack", () => {
  /** Builds a file with webpack, without errors and warnings. Returns the names of the assets. */
  async function build(name, config) {
    const stats = await new Promise((resolve, reject) => {
      const settings = { mode: "production", context: place, optimization: { minimize: false }, performance: { hints: false }, ...config, output: { path: join(place, name), ...config.output } };
      webpack(settings, (error, made) => (error ? reject(error) : resolve(made)));
    });
    const { errors, warnings, assets } = stats.toJson({ all: false, errors: true, warnings: true, assets: true });
    assert.deepEqual([errors, warnings], [[], []]);
    return assets.map((asset) => asset.name.replace(/^[0-9a-f]{20}/, "hash"));
  }

  test("webpack for Node as CommonJS: one file contains the module", async () => {
    for (const input of ["./main.js", "./main.cjs"]) {
      const assets = await build("webpack-cjs", { entry: input, target: "node", output: { filename: "main.cjs" } });
      assert.deepEqual(assets, ["main.cjs"]);
      assert.deepEqual(await outcome("webpack-cjs/main.cjs"), SAID, input);
    }
  });

  test("webpack for Node as an ES module: one file contains the module", async () => {
    const output = { filename: "main.mjs", module: true, chunkFormat: "module" };
    assert.deepEqual(await build("webpack-esm", { entry: "./main.js", target: "node", experiments: { outputModule: true }, output }), ["main.mjs"]);
    assert.deepEqual(await outcome("webpack-esm/main.mjs"), SAID);
  });

  test("webpack for pages: the package finds its modules by itself", async () => {
    const page = program(INIT).replace("console.log(", "document.title = (");
    mkdirSync(join(place, "page"));
    writeFileSync(join(place, "page/main.js"), page);
    const assets = await build("webpack-page", { entry: "./page/main.js", target: "web", output: { filename: "main.js" } });
    assert.deepEqual(assets.sort(), ["hash.wasm", "hash.wasm", "main.js"]);
    writeFileSync(join(place, "webpack-page/index.html"), '<!doctype html><link rel="icon" href="data:,"><script src="main.js"></script>');
    const [server, chromium] = [await fileServer(join(place, "webpack-page")), await chrome()];
    try {
      const opened = await chromium.newPage();
      const failed = new Promise((_, reject) => opened.on("pageerror", reject));
      await opened.goto(server.url);
      await Promise.race([failed, opened.waitForFunction("document.title")]);
      assert.deepEqual(JSON.parse(await opened.title()), SAID);
    } finally {
      await chromium.close();
      await server.stop();
    }
  });
});

describe("test runners", () => {
  let tests;
  before(() => {
    const vitest = `${IMPORTS}\nimport { expect, test } from "vitest";\ntest("decides", async () => { ${INIT} ${USE} expect(said).toEqual(${JSON.stringify(SAID)}); });\n`;
    // Pages in Jest have neither `fetch` nor `Response`.
    const jest = (environment, first) => `/** @jest-environment ${environment} */
const { FeatureClient, init } = require("tenantgate/client");
test("evaluates", async () => {
  ${first}
  const answer = { status: 200, headers: { get: () => null }, text: async () => ${JSON.stringify(JSON.stringify(snapshot))} };
  const client = new FeatureClient({ url: "https://app.example.com/", storage: null, fetch: async () => answer });
  await client.ready;
  expect([client.get("theme").value, client.evaluate({ country: "NL" }).get("theme").value, client.evaluate({ country: "ü".repeat(70) }).get("theme").value]).toEqual(["plain", "dark", "plain"]);
  client.close();
});
test("the client reports a missing fetch", () => {
  if (typeof fetch === "undefined") expect(() => new FeatureClient({ storage: null })).toThrow(/the runtime has no \`fetch\`/);
});
test("every entry can be required", () => {
  const { Gate, DeniedError } = require("tenantgate");
  const gate = new Gate(${JSON.stringify(catalog)}, [{ id: "t_acme", slug: "acme", plan: "p@1" }]);
  expect(gate.decide({ path: "/", headers: { "x-tenant-id": "acme" } }).code).toBe("ALLOWED");
  expect(() => gate.features("t_nobody")).toThrow(DeniedError);
  expect(require("tenantgate/middleware").DeniedError).toBe(DeniedError);
  for (const entry of ["slim", "hono", "express", "openfeature", "openfeature/web"]) require("tenantgate/" + entry);
});
`;
    tests = project("runners", {
      "vitest/uses.test.js": vitest, "jest/jsdom.test.cjs": jest("jsdom", "await init();"), "jest/jsdom-at-once.test.cjs": jest("jsdom", ""), "jest/node.test.cjs": jest("node", "await init();"),
    }, ["vitest", "jest", "jest-environment-jsdom", "jest-environment-node", "@openfeature/core", "@openfeature/server-sdk", "@openfeature/web-sdk", "hono"]);
  });

  test("Jest: `require` of the package works in Node and in pages (jsdom)", async () => {
    const { code, stderr } = await run(tests, process.execPath, [join(modules, "jest/bin/jest.js"), "--rootDir=jest", "--runInBand", "--colors=false"]);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /^Tests: +9 passed, 9 total$/m);
  });

  for (const [name, settings] of [["with default settings", {}], ["with the package inlined", { server: { deps: { inline: ["tenantgate"] } } }], ["with jsdom", { environment: "jsdom" }], ["with jsdom and the package inlined", { environment: "jsdom", server: { deps: { inline: ["tenantgate"] } } }]]) {
    test(`Vitest ${name}: the package is imported and decides`, async () => {
      writeFileSync(join(tests, "vitest.config.mjs"), `export default ${JSON.stringify({ test: { include: ["vitest/*.test.js"], ...settings } })};\n`);
      const { code, stdout, stderr } = await run(tests, process.execPath, [join(modules, "vitest/vitest.mjs"), "run", "--no-color"]);
      assert.equal(code, 0, stdout + stderr);
      assert.match(stdout, /Tests +1 passed \(1\)/);
    });
  }
});
