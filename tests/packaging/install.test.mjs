// The package as npm packs it, installed in projects: it decides in Node (ES modules and CommonJS,
// every sub-path), Bun and Deno, in bundles of esbuild and Vite, in Chromium and on workerd.

import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, readFileSync, readdirSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { transformSync } from "esbuild";
import { Miniflare, convertV4MiniflareOptions } from "miniflare";
import { root } from "../../scripts/setup.mjs";
import { chrome } from "../support/chrome.mjs";
import { fileServer, modules, node, project, remove, run, sizes, tarball } from "../support/project.mjs";

after(remove);

const catalog = {
  version: 1,
  resolution: { strategies: [{ strategy: "header" }] },
  features: { webhooks: {}, theme: { type: "string", default: "plain" } },
  routes: [{ path: "/webhooks", feature: "webhooks", limits: { calls: 1 } }],
  limits: { calls: { kind: "quota", period: "month" } },
  plans: { "pro@1": { features: { webhooks: true, theme: "dark" }, limits: { calls: 1 } } },
};
const tenants = [{ id: "t_acme", slug: "acme", plan: "pro@1" }];
/** A gate that allows one call a month: it allows the first request and denies the second. */
const GATE = `new Gate(${JSON.stringify(catalog)}, ${JSON.stringify(tenants)})`;
const DECIDE = `const gate = ${GATE};
const decide = () => gate.decide({ host: "app.example.com", path: "/webhooks", headers: { "x-tenant-id": "acme" } });
const outcome = [decide(), decide()].map(({ code, tenant }) => code + " " + tenant.id);`;
const DECIDED = ["ALLOWED t_acme", "QUOTA_EXCEEDED t_acme"];
const REQUEST = 'new Request("http://app.example.com/webhooks", { headers: { "x-tenant-id": "acme" } })';
const ANSWERED = [[200, "t_acme"], [429, "QUOTA_EXCEEDED"]];
/** A page's snapshot, and a client that receives it without a gate. */
const snapshot = {
  tenant: { id: "t_acme", slug: "acme" }, catalog: 1, epoch: 1,
  settled: { webhooks: { value: true, enabled: true, tier: "plan", reason: "PLAN" } },
  features: { theme: { type: "string", default: "plain", rules: [{ name: "nl", when: [{ attribute: "country", op: "eq", value: "NL" }], value: "dark" }] } },
};
const CLIENT = `new FeatureClient({ url: "http://app.example.com/", storage: null, fetch: async () => new Response(${JSON.stringify(JSON.stringify(snapshot))}) })`;

/** For each sub-path: its imports, a program that uses them, and the expected outcome. */
const PATHS = {
  "": [`import { Gate } from "tenantgate";`, `${DECIDE} return outcome;`, DECIDED],
  middleware: [`import { Gate } from "tenantgate"; import { createTenantMiddleware, handler } from "tenantgate/middleware";`, `
    const fetch = handler((body, ctx) => ({ said: ctx.tenant.id }), { middleware: [createTenantMiddleware({ gate: ${GATE} })] });
    return [await told(await fetch(${REQUEST})), await told(await fetch(${REQUEST}))];`, ANSWERED],
  hono: [`import { Hono } from "hono"; import { Gate } from "tenantgate"; import { createTenantMiddleware, onError } from "tenantgate/hono";`, `
    const app = new Hono().use(createTenantMiddleware({ gate: ${GATE} })).get("/webhooks", (c) => c.json({ said: c.get("tenant").id }));
    app.onError(onError);
    return [await told(await app.request(${REQUEST})), await told(await app.request(${REQUEST}))];`, ANSWERED],
  express: [`import express from "express"; import { Gate } from "tenantgate"; import { createTenantMiddleware, errorHandler } from "tenantgate/express";`, `
    const app = express().use(createTenantMiddleware({ gate: ${GATE} })).get("/webhooks", (req, res) => res.json({ said: req.tenant.id })).use(errorHandler);
    const server = app.listen(0, "127.0.0.1");
    await new Promise((listening) => server.once("listening", listening));
    const get = async () => told(await fetch("http://127.0.0.1:" + server.address().port + "/webhooks", { headers: { "x-tenant-id": "acme" } }));
    const outcome = [await get(), await get()];
    server.close();
    server.closeAllConnections();
    return outcome;`, ANSWERED],
  openfeature: [`import { OpenFeature } from "@openfeature/server-sdk"; import { Gate } from "tenantgate"; import { TenantgateProvider } from "tenantgate/openfeature";`, `
    await OpenFeature.setProviderAndWait(new TenantgateProvider(${GATE}));
    const { value, reason, flagMetadata } = await OpenFeature.getClient().getStringDetails("theme", "none", { tenant: "t_acme" });
    return [value, reason, flagMetadata.tier];`, ["dark", "TARGETING_MATCH", "plan"]],
  "openfeature/web": [`import { OpenFeature } from "@openfeature/web-sdk"; import { FeatureClient } from "tenantgate/client"; import { TenantgateWebProvider } from "tenantgate/openfeature/web";`, `
    await OpenFeature.setProviderAndWait(new TenantgateWebProvider(${CLIENT}), { targetingKey: "user-1", country: "NL" });
    const outcome = [OpenFeature.getClient().getStringValue("theme", "none"), OpenFeature.getClient().getBooleanValue("webhooks", false)];
    await OpenFeature.close();
    return outcome;`, ["dark", true]],
  remote: [`import { RemoteGate } from "tenantgate/remote"; import { testGate } from "tenantgate/testing";`, `
    const gate = new RemoteGate({ service: testGate(${JSON.stringify(catalog)}, ${JSON.stringify(tenants)}).service });
    return (await gate.features("t_acme")).get("theme", "none");`, "dark"],
  ws: [`import { connectionStore, createConnectionStore } from "tenantgate/ws";`, `
    const asked = [];
    const store = createConnectionStore({ service: { async publishMessages(body) { asked.push(body); return { seq: 1 }; } } });
    await store.sendToTenant("example.com", "prod", "t_acme", { text: "Hello!" }, { channel: "news" });
    return [asked, await connectionStore.getByTenant("t_acme").catch(({ code }) => code)];`,
    [[{ tenant: "t_acme", messages: [{ channel: "news", data: { text: "Hello!" } }], descendants: false }], "MISCONFIGURED"]],
  "ws/client": [`import { connect } from "tenantgate/ws/client";`, `
    const opened = await new Promise((resolve) => {
      class Recorded { constructor(url, protocols) { resolve([url, protocols]); } close() {} }
      globalThis.socket = connect("https://acme.app.example.com", { token: "t", channels: ["news"], WebSocket: Recorded });
    });
    socket.close();
    return opened;`, ["wss://acme.app.example.com/_gate/v1/connect?packed=true&channel=news", ["tenantgate", "bearer.t"]]],
  testing: [`import { testGate } from "tenantgate/testing";`, `return testGate(${JSON.stringify(catalog)}, ${JSON.stringify(tenants)}).gate.features("t_acme").get("theme", "none");`, "dark"],
  react: [`import { createElement } from "react"; import { renderToString } from "react-dom/server"; import { FeatureProvider, useFeature } from "tenantgate/react";`, `
    const Theme = () => useFeature("theme", "none");
    return renderToString(createElement(FeatureProvider, { features: { theme: { value: "dark", tier: "plan" } } }, createElement(Theme)));`, "dark"],
  kysely: [`import { DummyDriver, Kysely, SqliteAdapter, SqliteIntrospector, SqliteQueryCompiler } from "kysely"; import { tenantPlugin } from "tenantgate/kysely";`, `
    const dialect = { createAdapter: () => new SqliteAdapter(), createDriver: () => new DummyDriver(), createIntrospector: (db) => new SqliteIntrospector(db), createQueryCompiler: () => new SqliteQueryCompiler() };
    const db = new Kysely({ dialect }).withPlugin(tenantPlugin({ tenant: "t_acme", tables: ["tasks"] }));
    return db.deleteFrom("tasks").compile().parameters;`, ["t_acme"]],
  drizzle: [`import { drizzle } from "drizzle-orm/sqlite-proxy"; import { integer, sqliteTable } from "drizzle-orm/sqlite-core"; import { tenantDb } from "tenantgate/drizzle";`, `
    const own = tenantDb(drizzle(async () => ({ rows: [] })), { tenant: "t_acme", tables: ["tasks"] });
    return own.delete(sqliteTable("tasks", { id: integer() })).toSQL().params;`, ["t_acme"]],
  prisma: [`import { tenantExtension } from "tenantgate/prisma";`, `return typeof tenantExtension({ tenant: "t_acme", models: ["Task"] });`, "function"],
  postgres: [`import { rowLevelSecurity } from "tenantgate/postgres";`, `return rowLevelSecurity({ tables: ["tasks"] }).startsWith('ALTER TABLE "tasks" ENABLE');`, true],
  client: [`import { FeatureClient, init } from "tenantgate/client";`, `
    await init();
    const client = ${CLIENT};
    await client.ready;
    const outcome = [client.get("theme").value, client.evaluate({ country: "NL" }).get("theme").value, client.enabled("webhooks"), client.tenant.slug];
    client.close();
    return outcome;`, ["plain", "dark", true, "acme"]],
  slim: [`import { readFileSync } from "node:fs"; import { createRequire } from "node:module"; import { Gate, initSync } from "tenantgate/slim";`, `
    initSync(readFileSync(createRequire(process.argv[1]).resolve("tenantgate/dist/tenantgate_bg.wasm")));
    ${DECIDE} return outcome;`, DECIDED],
  "schema/catalog.json": [`import schema from "tenantgate/schema/catalog.json" with { type: "json" };`, `
    return ${JSON.stringify(Object.keys(catalog))}.filter((member) => !(member in schema.properties));`, []],
};

const TOLD = "const told = async (response) => { const { said, error } = await response.json(); return [response.status, said ?? error.code]; };";
const program = ([imports, body]) => `${imports}\n${TOLD}\n(async () => {${body}})().then((outcome) => console.log(JSON.stringify(outcome)));\n`;
const commonJs = (code) => transformSync(code, { format: "cjs", platform: "node" }).code;

const { exports } = JSON.parse(readFileSync(join(root, "pkg/package.json"), "utf8"));
const names = tarball.files.map(({ path }) => path);
const unpacked = () => join(plain, "node_modules/tenantgate");
const read = (path) => readFileSync(join(unpacked(), path));
let plain;
before(() => {
  plain = project("plain");
});

describe("the tarball", () => {
  test("the tarball contains only the package's files, and no references to source maps", (t) => {
    const PARTS = /^(README\.md|LICENSE[-A-Z]*|package\.json|cli\.js|(cjs\/)?(client\/)?[a-z-]+\.(js|d\.ts)|cjs\/(dist\/(tenantgate|client)\.js|package\.json)|cli\/(commands\/)?[a-z]+\.js|dist\/(tenantgate|client)(\.js|_bg\.wasm|_wasm\.js)|dist\/(worker|edge)\/(index|instance|tenant_ledger|tenant_hub|lobby|entry)(\.js|_bg\.wasm)|schema\/[a-z_]+\.json|migrations\/\d{4}_\w+\.sql|templates\/.*\.(tsx?|jsonc?))$/;
    assert.deepEqual(names.filter((path) => !PARTS.test(path)), []);
    const links = names.flatMap((path) => (/sourceMappingURL=(?!data:)/.test(read(path).toString("latin1")) ? [path] : []));
    assert.deepEqual(links, [], "no file refers to a source map");
    t.diagnostic(`tarball: ${tarball.size} bytes, ${tarball.unpackedSize} unpacked, ${names.length} files`);
    for (const path of ["dist/tenantgate_bg.wasm", "dist/client_bg.wasm"]) t.diagnostic(`${path}: ${sizes(read(path))}`);
  });

  test("the tarball contains every file that package.json names", () => {
    const { imports, main, types, bin } = JSON.parse(read("package.json"));
    const targets = (entry) => (typeof entry === "string" ? [entry] : Object.values(entry).flatMap(targets));
    const named = targets([exports, imports, main, types, bin]).map((path) => path.replace("./", ""));
    assert(named.length > 30);
    const there = (path) => names.includes(path) || (path.includes("*") && names.some((name) => name.startsWith(path.split("*")[0]) && name.endsWith(path.split("*")[1])));
    assert.deepEqual(named.filter((path) => !there(path)), []);
  });

  test("the tarball contains the same declarations for `require` as for `import`", () => {
    const copies = names.filter((path) => path.startsWith("cjs/") && path !== "cjs/package.json").map((path) => path.replace("cjs/", ""));
    assert.deepEqual(copies.filter((path) => !names.includes(path)), []);
    const declarations = names.filter((path) => path.endsWith(".d.ts") && !path.startsWith("cjs/"));
    assert(declarations.length > 5);
    assert.deepEqual(declarations.filter((path) => !copies.includes(path) || !read(path).equals(read(`cjs/${path}`))), []);
  });

  test("the tarball contains the texts of both licences", () => {
    assert.deepEqual(["LICENSE-APACHE", "LICENSE-MIT"].filter((name) => !names.includes(name)), []);
  });

  test("the tarball contains no paths of the machine that packed it", () => {
    const places = [root, homedir(), tmpdir(), process.env.CARGO_HOME ?? join(homedir(), ".cargo")].filter((place) => place.length > 1).map((place) => place.replace(/\/$/, ""));
    const found = names.flatMap((path) => {
      const text = read(path).toString("latin1");
      return [...places.filter((place) => new RegExp(`(?<![\\w.])${place.replaceAll(".", "\\.")}/`).test(text)), ...(text.match(/(?<![\w.])(\/(home|root|Users)\/|[A-Z]:\\Users\\)[\w.-]+/g) ?? [])].map((place) => `${path}: ${place}`);
    });
    assert.deepEqual([...new Set(found)], []);
  });

  test("neither the package nor its dependencies run scripts when they are installed", () => {
    assert.equal(JSON.parse(read("package.json")).scripts, undefined);
    const { packages } = JSON.parse(readFileSync(join(plain, "package-lock.json"), "utf8"));
    assert("node_modules/tenantgate" in packages);
    assert.deepEqual(Object.keys(packages).filter((path) => packages[path].hasInstallScript), []);
  });
});

describe("in Node", () => {
  const LINKS = ["hono", "express", "@openfeature/server-sdk", "@openfeature/web-sdk", "react", "react-dom", "kysely", "drizzle-orm"];
  let place;
  before(() => {
    const files = Object.entries(PATHS).flatMap(([path, parts]) => [[`${flat(path)}.mjs`, program(parts)], [`${flat(path)}.cjs`, commonJs(program(parts))]]);
    place = project("node", Object.fromEntries(files), LINKS);
  });
  const flat = (path) => `use-${path.replaceAll(/\W/g, "-")}`;

  test("every entry of `exports` has a program in these tests", () => {
    // Those for Workers run in `tests/worker/embedded.test.mjs`.
    const tried = ["./worker", "./workers", "./package.json", "./dist/*.wasm", "./schema/*.json", ...Object.keys(PATHS).map((path) => (path ? `./${path}` : "."))];
    assert.deepEqual(Object.keys(exports).filter((path) => !tried.includes(path)), []);
  });

  for (const [path, [, , outcome]] of Object.entries(PATHS)) {
    const name = path ? `tenantgate/${path}` : "tenantgate";
    test(`import "${name}" works in Node`, async () => assert.deepEqual(await node(place, `${flat(path)}.mjs`), outcome));
    test(`require("${name}") works in Node`, async () => assert.deepEqual(await node(place, `${flat(path)}.cjs`), outcome));
  }

  test("all entries share their classes and the configuration of `configure`", async () => {
    const imports = `import { DeniedError as ofRoot, Gate } from "tenantgate"; import { DeniedError as ofSlim } from "tenantgate/slim";
import { configure, DeniedError as ofMiddleware, TenantgateError as ofErrors } from "tenantgate/middleware"; import { TenantgateError as ofClient } from "tenantgate/client"; import { requireFeature } from "tenantgate/hono";`;
    const code = program([imports, `
      configure({ gate: ${GATE} });
      let passed = false;
      await requireFeature("webhooks")({ tenant: { id: "t_acme" } }, async () => (passed = true));
      return [ofRoot === ofSlim, ofRoot === ofMiddleware, ofErrors === ofClient, passed];`]);
    for (const [flag, form] of [["--input-type=module", code], ["--input-type=commonjs", commonJs(code)]]) {
      assert.deepEqual(await node(place, flag, "--eval", form), [true, true, true, true], flag);
    }
  });

  test("a closed client leaves no timer behind", async () => {
    const [imports] = PATHS.client;
    const code = program([imports, `
      const client = ${CLIENT};
      await client.ready;
      client.close();
      await new Promise(setImmediate);
      return process.getActiveResourcesInfo().filter((name) => name === "Timeout");`]);
    assert.deepEqual(await node(place, "--input-type=module", "--eval", code), []);
  });

  for (const [runtime, ...args] of [["bun"], ["deno", "run", "--allow-all", "--node-modules-dir=manual"]]) {
    test(`every entry except Express works in ${runtime}`, async () => {
      for (const [path, [, , outcome]] of Object.entries(PATHS).filter(([path]) => path !== "express")) {
        const { code, stdout, stderr } = await run(place, join(modules, ".bin", runtime), [...args, `${flat(path)}.mjs`]);
        assert.deepEqual([code, stdout && JSON.parse(stdout)], [0, outcome], `${path}: ${stderr}`);
      }
    });
  }

  test("the installed command line prints its help", async () => {
    const { code, stdout } = await run(place, process.execPath, [join("node_modules", ".bin", "tenantgate"), "--help"]);
    assert.equal(code, 0);
    assert.match(stdout, /validate/);
  });
});

describe("bundles for Node", () => {
  /** Bundles a project's `main.js` with esbuild. */
  const bundle = (place, options) => run(place, join(modules, ".bin/esbuild"), ["main.js", "--bundle", "--format=esm", "--log-level=warning", "--outdir=out", ...options]);

  test("esbuild for Node: one file contains the module", async () => {
    const place = project("esbuild-node", { "main.js": `import wasm from "tenantgate/dist/tenantgate_bg.wasm"; import { Gate, initSync } from "tenantgate/slim"; initSync(wasm); ${DECIDE} console.log(JSON.stringify(outcome));` });
    assert.deepEqual(await bundle(place, ["--platform=node", "--target=node20", "--loader:.wasm=binary"]), { code: 0, stdout: "", stderr: "" });
    assert.deepEqual(readdirSync(join(place, "out")), ["main.js"]);
    assert.deepEqual(await node(project("esbuild-node-alone", { "main.js": readFileSync(join(place, "out/main.js")) }), "main.js"), DECIDED);
  });

  test("esbuild for Node: a bundle with middleware and an embedded module decides", async () => {
    const [imports, body] = PATHS.hono;
    const place = project("esbuild-hono", { "main.js": `import wasm from "tenantgate/dist/tenantgate_bg.wasm"; import { initSync } from "tenantgate/slim"; initSync(wasm); ${program([imports.replace('"tenantgate"', '"tenantgate/slim"'), body])}` }, ["hono"]);
    assert.deepEqual(await bundle(place, ["--platform=node", "--target=node20", "--loader:.wasm=binary"]), { code: 0, stdout: "", stderr: "" });
    assert.deepEqual(await node(place, "out/main.js"), ANSWERED);
  });

  test("esbuild for Node: a bundle finds the module in `dist` beside it", async () => {
    const place = project("esbuild-beside", { "main.js": program(PATHS[""]) });
    assert.deepEqual(await bundle(place, ["--platform=node"]), { code: 0, stdout: "", stderr: "" });
    mkdirSync(join(place, "out/dist"));
    copyFileSync(join(place, "node_modules/tenantgate/dist/tenantgate_bg.wasm"), join(place, "out/dist/tenantgate_bg.wasm"));
    assert.deepEqual(await node(place, "out/main.js"), DECIDED);
  });
});

describe("in Chromium", () => {
  let chromium;
  before(async () => {
    chromium = await chrome();
  });
  after(() => chromium.close());

  const PAGE = '<!doctype html><link rel="icon" href="data:,"><script type="module" src="main.js"></script>';
  const MAIN = `await init(); ${DECIDE} document.title = JSON.stringify(outcome);`;
  /** Opens a page and returns its title as JSON. Fails with the page's error. */
  async function outcome(folder) {
    const server = await fileServer(folder);
    const page = await chromium.newPage();
    try {
      const failed = new Promise((_, reject) => page.on("pageerror", reject));
      await page.goto(server.url);
      await Promise.race([failed, page.waitForFunction("document.title")]);
      return JSON.parse(await page.title());
    } finally {
      await page.close();
      await server.stop();
    }
  }

  test("Chromium: a script imports the package's files without a bundler", async () => {
    const place = project("script", { "index.html": PAGE, "main.js": `import { Gate, init } from "./node_modules/tenantgate/web.js"; ${MAIN}` });
    assert.deepEqual(await outcome(place), DECIDED);
  });

  test("Chromium: a bundle of esbuild passes the module's address to `init`", async () => {
    const place = project("esbuild-browser", { "out/index.html": PAGE, "main.js": `import { Gate, init } from "tenantgate"; import address from "tenantgate/dist/tenantgate_bg.wasm"; ${MAIN.replace("init()", "init(address)")}` });
    const bundled = await run(place, join(modules, ".bin/esbuild"), ["main.js", "--bundle", "--format=esm", "--platform=browser", "--loader:.wasm=file", "--outdir=out", "--log-level=warning"]);
    assert.deepEqual(bundled, { code: 0, stdout: "", stderr: "" });
    assert.deepEqual(await outcome(join(place, "out")), DECIDED);
  });

  test("Chromium: a build of Vite finds the module by itself", async (t) => {
    const place = project("vite", { "index.html": PAGE.replace("main.js", "/main.js"), "main.js": `import { Gate, init } from "tenantgate"; ${MAIN}` });
    const built = await run(place, join(modules, ".bin/vite"), ["build", "--logLevel=warn"]);
    assert.deepEqual(built, { code: 0, stdout: "", stderr: "" });
    const assets = readdirSync(join(place, "dist/assets"));
    assert.deepEqual(assets.map((name) => name.replace(/-[\w-]{8}\./, ".")).sort(), ["index.js", "tenantgate_bg.wasm"]);
    for (const name of assets) t.diagnostic(`${name}: ${sizes(readFileSync(join(place, "dist/assets", name)))}`);
    assert.deepEqual(await outcome(join(place, "dist")), DECIDED);
  });
});

describe("on workerd", () => {
  /** Starts a Worker that wrangler has bundled. Returns it with its files. */
  async function worker(name, code, options = {}) {
    const place = project(name, { "wrangler.toml": 'name = "w"\nmain = "main.js"\ncompatibility_date = "2026-11-01"\n', "main.js": code }, ["hono"]);
    const bundled = await run(place, join(modules, ".bin/wrangler"), ["deploy", "--dry-run", "--outdir=out"]);
    assert.equal(bundled.code, 0, bundled.stderr);
    const files = readdirSync(join(place, "out")).filter((file) => /\.(js|wasm)$/.test(file));
    const module = files.find((file) => file.endsWith(".wasm"));
    const parts = [{ type: "ESModule", path: join(place, "out/main.js") }, { type: "CompiledWasm", path: join(place, "out", module) }];
    const flare = new Miniflare(convertV4MiniflareOptions({ workers: [{ name: "w", modules: parts, modulesRoot: join(place, "out"), compatibilityDate: "2026-11-01", ...options }] }));
    after(() => flare.dispose());
    return { flare, files: files.map((file) => ({ file, text: readFileSync(join(place, "out", file)) })) };
  }

  test("workerd: a Worker bundled by wrangler decides and asks a remote gate", async (t) => {
    const [imports, body] = PATHS.hono;
    const { flare, files } = await worker("worker", `${imports.replace("Gate", "Gate, RemoteGate")}\n${TOLD}\nexport default { async fetch(request, env) {
      ${DECIDE} const answered = await (async () => {${body}})();
      const remote = async (how) => new RemoteGate({ url: "https://gate", token: "t", ...how }).ask({ tenant: "t_acme" }).then(({ decision }) => decision.code, (error) => error.code);
      const asked = [await remote({ service: env.GATE }), await remote({ fetch: (url, init) => env.GATE.fetch(url, init) }), await remote({ fetch: env.GATE.fetch.bind(env.GATE) })];
      for (const how of [{ fetch: env.GATE.fetch }, { fetch: env.GATES?.fetch }, { service: env.GATES }]) asked.push(await remote(how).catch((error) => error.code));
      new RemoteGate({ url: "https://gate", token: "t", fetch });
      return Response.json({ outcome, answered, asked });
    } };`, { serviceBindings: { GATE: () => Response.json({ allowed: true, code: "ALLOWED", tenant: null, features: {}, limits: [] }) } });
    assert.deepEqual(files.map(({ file }) => file.replace(/^[0-9a-f]+-/, "")).sort(), ["main.js", "tenantgate_bg.wasm"]);
    for (const { file, text } of files) t.diagnostic(`${file.replace(/^[0-9a-f]+-/, "")}: ${sizes(text)}`);
    const response = await flare.dispatchFetch("http://w.example.com/");
    const asked = ["ALLOWED", "ALLOWED", "ALLOWED", "INVALID_INPUT", "INVALID_INPUT", "INVALID_INPUT"];
    assert.deepEqual(await response.json(), { outcome: DECIDED, answered: ANSWERED, asked });
  });

  test("workerd: a WebSocket opened through the middleware receives messages and holds no slot", async () => {
    const { flare } = await worker("sockets", `import { Hono } from "hono"; import { Gate } from "tenantgate"; import { createTenantMiddleware as forHono } from "tenantgate/hono"; import { createTenantMiddleware, handler } from "tenantgate/middleware";
const gate = new Gate(${JSON.stringify({ ...catalog, limits: { ...catalog.limits, slots: { kind: "concurrency" } }, routes: [{ path: "/", limits: { calls: 1, slots: 1 } }], plans: { "pro@1": { limits: { calls: 100, slots: 1 } } } })}, ${JSON.stringify(tenants)});
const echo = (slug) => { const { 0: client, 1: server } = new WebSocketPair(); server.accept(); server.addEventListener("message", ({ data }) => server.send(slug + " " + data)); return new Response(null, { status: 101, webSocket: client }); };
const app = new Hono().use(forHono({ gate })).get("/hono", (c) => echo(c.get("tenant").slug));
const bare = handler((body, ctx) => echo(ctx.tenant.slug), { middleware: [createTenantMiddleware({ gate })] });
export default { fetch: (request, env, execution) => (new URL(request.url).pathname === "/hono" ? app.fetch(request, env, execution) : bare(request, env, execution)) };`);
    // There is one slot, so an open socket must not hold it.
    for (const path of ["/hono", "/bare", "/hono"]) {
      const { status, webSocket } = await flare.dispatchFetch(`http://w.example.com${path}`, { headers: { upgrade: "websocket", "x-tenant-id": "acme" } });
      assert.equal(status, 101, path);
      webSocket.accept();
      const said = new Promise((resolve) => webSocket.addEventListener("message", ({ data }) => resolve(data)));
      webSocket.send("hello");
      assert.equal(await said, "acme hello");
    }
  });
});
