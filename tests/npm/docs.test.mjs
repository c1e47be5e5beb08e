// The JavaScript examples of the READMEs and of `docs/` run and print what they state. Catalogs and
// records there are valid. Every other block is run elsewhere, or states why nothing runs it.

import assert from "node:assert/strict";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { publish } from "../../pkg/node.js";
import { blocks, lines, pages, place, read, root, runnable } from "../docs/examples.mjs";

const { exports: entries } = JSON.parse(read("pkg/package.json"));
const { scripts } = JSON.parse(read("package.json"));

/** The URL of an entry of the package, as Node resolves it. */
const entry = (name) => {
  const { node, default: plain } = entries[`.${name}`];
  return pathToFileURL(join(root, "pkg", typeof node === "string" ? node : (node?.default ?? plain))).href;
};

// In this repository, because the examples also import packages of its `node_modules`.
const folder = join(root, "build/docs-examples");
mkdirSync(folder, { recursive: true });
after(() => rmSync(folder, { recursive: true }));

test("the pages contain examples in JavaScript and in JSON", () => {
  const found = (language) => pages().flatMap((page) => runnable(page, language)).length;
  assert(found("js") >= 10 && found("json") >= 20, `${found("js")} in JavaScript, ${found("json")} documents`);
  assert(runnable("README.md", "js").length >= 1);
});

describe("JavaScript examples", () => {
  for (const page of pages()) {
    for (const [index, block] of runnable(page, "js").entries()) {
      test(`the example at ${place(block)} prints what its comment states`, async () => {
        assert.match(block.code, /console\.log\(.*\); \/\/ /, "the example prints no line with a stated result");
        const code = block.code
          .replaceAll(/"tenantgate(\/[a-z/]+)?"/g, (_, name = "") => JSON.stringify(entry(name)))
          .replace("console.log(", "export const printed = [")
          .replace(/\); \/\/ (.*)\n/, "].join(' ');\nexport const said = String.raw`$1`;\n");
        const module = join(folder, `${page.replaceAll(/\W/g, "-")}-${index}.mjs`);
        writeFileSync(module, code);
        const { printed, said } = await import(pathToFileURL(module).href);
        assert.equal(printed, said);
      });
    }
  }
});

const members = (schema) => Object.keys(JSON.parse(read(`pkg/schema/${schema}.json`)).properties);
const CATALOG = members("catalog");
const TENANT = members("tenant");

/** Merges two catalogs: lists and objects are joined, other members come from `more`. */
function merged(base, more) {
  const grown = { ...base };
  for (const [name, value] of Object.entries(more)) {
    const held = base[name];
    if (name === "resolution") {
      // Routes of the demo with scopes need a strategy that reads credentials.
      const reads = value.strategies.some(({ strategy }) => ["jwt", "api_key"].includes(strategy));
      grown[name] = value;
      grown.routes = grown.routes.filter(({ scopes }) => reads || !scopes);
    }
    else if (Array.isArray(held) && Array.isArray(value)) {
      grown[name] = [...held.filter(({ path, methods }) => !value.some((route) => route.path === path && !route.methods === !methods)), ...value];
    } else if (held && value && typeof held === "object" && typeof value === "object") grown[name] = { ...held, ...value };
    else grown[name] = value;
  }
  return grown;
}

describe("catalogs and records", () => {
  for (const page of pages()) {
    const found = runnable(page, "json");
    if (!found.length) continue;
    test(`the catalogs and records in ${page} are valid`, () => {
      let { catalog, tenants } = JSON.parse(read("examples/demo.json"));
      for (const block of found) {
        const value = JSON.parse(block.code.trim().startsWith("{") ? block.code : `{${block.code}}`);
        const names = Object.keys(value);
        if (names.includes("catalog")) publish(JSON.stringify(value));
        else if (names.every((name) => CATALOG.includes(name))) catalog = merged(catalog, value);
        else if (names.every((name) => TENANT.includes(name))) {
          const id = value.id ?? "t_acme";
          const held = tenants.find((tenant) => tenant.id === id);
          tenants = [...tenants.filter((tenant) => tenant !== held), { ...(held ?? { slug: id.replaceAll(/\W|_/g, "-"), plan: "free@1" }), ...value, id }];
        } else assert.fail(`${place(block)} is neither a catalog nor a record: ${names}`);
        try {
          publish(JSON.stringify({ catalog, tenants }));
        } catch (error) {
          assert.fail(`${place(block)}: ${JSON.stringify(error.problems ?? error.message)}`);
        }
      }
    });
  }
});

// The reasons for which a block may stay unrun, each with a check that the reason fits the block.
const REASONS = {
  "needs a Cloudflare account": ({ language, code }) => language === "sh" && /wrangler|tenantgate deploy/.test(code),
  "needs a browser": ({ language }) => ["html", "jsx"].includes(language),
  "needs a socket": ({ language, code }) => language === "js" && /from "tenantgate\/ws/.test(code),
  "needs Next.js": ({ language, code }) => language === "js" && /from "next\//.test(code),
  "needs a database": ({ language, code }) => language === "js" && /from "pg"|tenantgate\/prisma|findInvoice/.test(code),
  "needs a Worker": ({ language, code }) => language === "js" && /\benv\./.test(code),
  "needs a deployment": ({ language, code }) => language === "sh" && /https:\/\/(…|\S+\.example)/.test(code),
  "needs a DNS record": ({ language, code }) => language === "sh" && /verify/.test(code),
  "makes a key": ({ language, code }) => language === "sh" && /openssl genpkey|npm run key|openssl rand/.test(code),
  "is a part of a configuration": ({ language, code }) => language === "json" && /"(services|durable_objects)"/.test(code),
  "is a fragment of a message": ({ language }) => language === "json",
};

test("every code block is run, or states why nothing runs it", () => {
  const doctests = read("src/lib.rs");
  const configuration = read("wrangler.toml") + read("src/worker/config.rs");
  for (const page of pages()) {
    for (const block of blocks(page)) {
      const { language, code, reason } = block;
      if (reason) {
        assert(Object.hasOwn(REASONS, reason), `${place(block)}: \`${reason}\` is an unknown reason`);
        assert(REASONS[reason](block), `${place(block)}: \`${reason}\` does not fit the block`);
      } else if (language === "rust") {
        assert(doctests.includes(`include_str!("../${page}")`), `${place(block)}: src/lib.rs does not run it`);
      } else if (language === "toml") {
        for (const [, name] of code.matchAll(/(?:binding = "|^)([A-Z][A-Z_]+)\b/gm)) {
          assert(configuration.includes(name), `${place(block)}: \`${name}\` is unknown to the Worker`);
        }
      } else if (language === "sh") {
        for (const line of lines(code)) {
          const script = /^npm (start|test|run (\S+))/.exec(line);
          if (script) assert(scripts[script[2] ?? script[1]], `${place(block)}: unknown npm script in \`${line}\``);
          else assert.match(line, /^(curl|npx tenantgate|npm install tenantgate|export TENANTGATE_\w+=)/, `${place(block)}: nothing runs \`${line}\``);
        }
      } else assert(["js", "json", "console", "text"].includes(language), `${place(block)}: nothing runs \`${language}\``);
    }
  }
});

// `npm run docs` checks the links within the book.
test("links in README.md and ARCHITECTURE.md lead to existing files", () => {
  for (const page of ["README.md", "ARCHITECTURE.md"]) {
    for (const [, path] of read(page).matchAll(/\]\((?!https?:)([^)#]+)/g)) assert(existsSync(join(root, path)), `${page}: ${path}`);
  }
});
