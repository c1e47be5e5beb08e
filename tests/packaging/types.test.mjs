// The package's types: they resolve everywhere, refuse wrong uses, match the exports, and document
// them.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { checkPackage, createPackageFromTarballData } from "@arethetypeswrong/core";
import { buildSync } from "esbuild";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { documentTypes } from "../../scripts/types.mjs";
import { CODES } from "../../pkg/codes.js";
import { modules, node, project, remove, run, tarball } from "../support/project.mjs";

after(remove);

const LINKS = ["kysely", "drizzle-orm", "react", "react-dom", "hono", "express", "@openfeature/core", "@openfeature/server-sdk", "@openfeature/web-sdk", "@types/express", "@types/node", "@cloudflare/workers-types"];
const place = project("types", {}, LINKS);
const read = (path) => readFileSync(join(place, "node_modules/tenantgate", path), "utf8");
const fixture = (name) => readFileSync(join(import.meta.dirname, "types", name), "utf8");
const entries = Object.keys(JSON.parse(read("package.json")).exports).filter((path) => !/json|wasm/.test(path)).map((path) => path.replace(".", "tenantgate"));

/**
 * What each entry exports at runtime, with the members of its classes: `own` without and `all` with
 * inherited members.
 */
const ofNode = entries.filter((path) => !/\/workers?$/.test(path));
const found = await node(place, "--input-type=module", "--eval", `
  const named = (prototype) => (prototype && prototype !== Object.prototype ? Object.getOwnPropertyNames(prototype) : []);
  const chain = (prototype) => (prototype ? [...named(prototype), ...chain(Object.getPrototypeOf(prototype))] : []);
  const members = ({ prototype }) => ({ own: named(prototype).filter((name) => name !== "constructor"), all: chain(prototype) });
  const described = async (entry) => Object.entries(await import(entry)).map(([name, value]) => ({ name, ...members(value) }));
  console.log(JSON.stringify(Object.fromEntries(await Promise.all(${JSON.stringify(ofNode)}.map(async (entry) => [entry, await described(entry)])))));`);
// Those for Workers need workerd: the bundler knows the names of their exports.
for (const entry of entries.filter((path) => !ofNode.includes(path))) {
  const built = { entryPoints: [join(place, "node_modules", `${entry}.js`)], bundle: true, write: false, metafile: true, format: "esm", external: ["cloudflare:*"], loader: { ".wasm": "empty" }, outfile: "entry.js" };
  found[entry] = Object.values(buildSync(built).metafile.outputs)[0].exports.map((name) => ({ name, own: [], all: [] }));
}

const STRICT = { strict: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, noEmit: true, esModuleInterop: true, target: "es2023", skipLibCheck: true };
const RESOLUTIONS = { nodenext: { module: "nodenext", moduleResolution: "nodenext" }, bundler: { module: "preserve", moduleResolution: "bundler" } };
const lib = ["es2023", "esnext.disposable"];
const RUNTIMES = { pages: { lib: [...lib, "dom"], types: ["node"] }, Node: { lib, types: ["node"] }, Workers: { lib, types: ["@cloudflare/workers-types"] } };

let runs = 0;
/** Compiles files. Returns the output of tsc, which is empty without errors. */
async function compile(files, options = {}) {
  const folder = join(place, `run-${++runs}`);
  mkdirSync(folder);
  for (const [name, code] of Object.entries(files)) writeFileSync(join(folder, name), code);
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions: { ...STRICT, ...RESOLUTIONS.nodenext, ...RUNTIMES.pages, ...options }, files: Object.keys(files) }));
  return (await run(folder, join(modules, ".bin/tsc"), ["--pretty", "false"])).stdout;
}

test("the types of documents are those of their schemas", async () => {
  assert.equal(read("documents.d.ts"), await documentTypes(), "run `node scripts/types.mjs`");
});

test("publint reports no problems", async () => {
  const { buffer } = Uint8Array.from(readFileSync(tarball.path));
  const { messages, pkg } = await publint({ pack: { tarball: buffer }, strict: true });
  assert.equal(pkg.name, "tenantgate");
  assert.deepEqual(messages.map((message) => formatMessage(message, pkg, { color: false })), []);
});

test("attw reports no problems", async () => {
  const { entrypoints, problems } = await checkPackage(createPackageFromTarballData(readFileSync(tarball.path)));
  assert.deepEqual(entries.filter((entry) => !(entry.replace("tenantgate", ".") in entrypoints)), []);
  // Workers load ES modules only.
  assert.deepEqual(problems.filter(({ kind, entrypoint }) => kind !== "CJSResolvesToESM" || !/^\.\/workers?$/.test(entrypoint)), []);
});

describe("tsc", () => {
  for (const [name, resolution] of Object.entries(RESOLUTIONS)) {
    for (const form of ["mts", "cts"]) {
      test(`tsc, .${form} with ${name} resolution: correct uses compile, and every mistake is refused`, async () => {
        assert.equal(await compile({ [`usage.${form}`]: fixture("usage.ts"), [`refused.${form}`]: fixture("refused.ts") }, resolution), "");
      });
    }
  }

  test("tsc resolves the package for `require` with bundler resolution", async () => {
    const code = 'import root = require("tenantgate"); import client = require("tenantgate/client"); const gate: root.Gate = new root.Gate({}); new client.FeatureClient().get("a").enabled; export = gate;';
    assert.equal(await compile({ "required.cts": code }, RESOLUTIONS.bundler), "");
  });

  test("the fixture usage.ts uses every export", () => {
    const names = [...new Set(Object.values(found).flatMap((exports) => exports.map(({ name }) => name)))].filter((name) => name !== "default");
    assert(names.length > 40);
    assert.deepEqual(names.filter((name) => !new RegExp(`\\b${name}\\b`).test(fixture("usage.ts"))), []);
  });

  test("declarations compile with the types of pages, Node and Workers", async () => {
    const wrong = {};
    for (const [name, options] of Object.entries(RUNTIMES)) {
      // The types of Express need those of Node.
      const code = entries.filter((entry) => name !== "Workers" || !entry.endsWith("express")).map((entry) => `import "${entry}";`).join("\n");
      const said = await compile({ "all.mts": code }, { ...options, skipLibCheck: false });
      // Only errors in this package's declarations count.
      wrong[name] = said.split("\n").filter((line) => line.includes("node_modules/tenantgate/"));
    }
    assert.deepEqual(wrong, { pages: [], Node: [], Workers: [] });
  });

  test("declarations and runtime exports name the same members", async () => {
    const union = (names) => names.map((name) => JSON.stringify(name)).join(" | ") || "never";
    const files = Object.entries(found).map(([entry, exports], i) => [`entry-${i}.mts`, `// ${entry}
import * as entry from "${entry}";
type None<Missing extends never> = Missing;
type Methods<Value> = { [Name in keyof Value & string]: Value[Name] extends (...given: never[]) => unknown ? Name : never }[keyof Value & string];
type Names = ${union(exports.map(({ name }) => name))};
export type Undeclared = None<Exclude<Names, keyof typeof entry>>;
export type NotThere = None<Exclude<keyof typeof entry, Names>>;
${exports.filter(({ own }) => own.length).map(({ name, own, all }) => `
export type UndeclaredOf${name} = None<Exclude<${union(own)}, keyof (typeof entry.${name})["prototype"]>>;
export type NotThereOf${name} = None<Exclude<Methods<(typeof entry.${name})["prototype"]>, ${union(all)}>>;`).join("")}`]);
    assert.equal(files.length, entries.length);
    assert.equal(await compile(Object.fromEntries(files)), "");
  });
});

test("`DecisionCode` has the codes of decisions, and no others", async () => {
  const codes = ["ALLOWED", ...Object.keys(CODES)].map((code) => JSON.stringify(code)).join(" | ");
  const source = `import type { DecisionCode } from "tenantgate";
type None<Missing extends never> = Missing;
export type Missing = None<Exclude<${codes}, DecisionCode>>;
export type Unknown = None<Exclude<DecisionCode, ${codes}>>;`;
  assert.equal(await compile({ "codes.mts": source }), "");
});

describe("documentation", () => {
  const declarations = tarball.files.map(({ path }) => path).filter((path) => path.endsWith(".d.ts") && !path.startsWith("cjs/"));
  /** The exports of a declaration file, each with its comment and its body. */
  const exported = (path) => {
    const parts = read(path).matchAll(/(\/\*\*(?:(?!\*\/)[^])*\*\/\n)?^export (class|function|const|interface|type) (\w+)([^]*?)(?=^(?:\/\*\*|export |\})|$(?![^]))/gm);
    return [...parts].map(([, comment = "", kind, name, body]) => ({ title: `${path}: ${name}`, kind, comment, body }));
  };
  const all = declarations.flatMap(exported);

  test("every export has a comment", () => {
    assert(all.length > 60);
    assert.deepEqual(all.filter(({ comment }) => !/\w/.test(comment)).map(({ title }) => title), []);
  });

  test("every function and class has an example", () => {
    const values = all.filter(({ kind }) => kind !== "interface" && kind !== "type");
    assert(values.length > 40);
    // The example of a class may be at its constructor.
    const shown = ({ comment, kind, body }) => comment.includes("@example") || (kind === "class" && /@example(?:(?!\*\/)[^])*\*\/\s*constructor/.test(body));
    assert.deepEqual(values.filter((value) => !shown(value)).map(({ title }) => title), []);
  });

  test("every example compiles", async () => {
    const files = { "given.d.ts": fixture("given.d.ts") };
    for (const path of declarations) {
      const own = `tenantgate/${path.replace(/(\/?index)?\.d\.ts$/, "").replace("openfeature-", "openfeature/").replace("ws-", "ws/")}`.replace(/\/(errors)?$/, "");
      const origins = [own, "tenantgate", "tenantgate/middleware", "tenantgate/client"];
      for (const [, block] of read(path).matchAll(/\* @example\n?((?:(?!\*\/|\* @)[^])*)/g)) {
        const example = block.replaceAll(/^\s*\* ?/gm, "").replace("export default", "void").replace(/^import wasm .*$/m, "declare const wasm: object;");
        const uses = (name) => new RegExp(`\\b${name}\\b`).test(example);
        const imports = Object.entries(Object.fromEntries(origins.toReversed().flatMap((from) => found[from].map(({ name }) => [name, from])))).filter(([name]) => uses(name));
        if (uses("Hono")) imports.push(["Hono", "hono"], ["type TenantEnv", "tenantgate/hono"]);
        if (uses("OpenFeature")) imports.push(["OpenFeature", `@openfeature/${path.includes("web") ? "web" : "server"}-sdk`]);
        if (uses("readFileSync")) imports.push(["readFileSync", "node:fs"]);
        const code = uses("return") ? `export const example = async () => {\n${example}\n};` : `${example}\nexport {};`;
        files[`example-${Object.keys(files).length}.mts`] = `// ${path}\n${imports.map(([name, from]) => `import { ${name} } from "${from}";\n`).join("")}${code}\n`;
      }
    }
    assert(Object.keys(files).length > 40);
    assert.equal(await compile(files), "");
  });
});
