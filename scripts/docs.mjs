// Builds the book: `docs/`, with the pages that are made from sources, into `www/docs/`.
// Usage: node scripts/docs.mjs [--pages]   `--pages`: only makes the pages.

import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { register } from "node:module";
import { dirname, join } from "node:path";
import { CODES } from "../docs/.vitepress/codes.mjs";
import { fail, root, run } from "./setup.mjs";

// What the command line says of itself needs no WebAssembly, which may not be built yet.
const STUB = "data:text/javascript,export const DocumentError = Error, Gate = null, publish = null;";
const hook = `export const resolve = (name, context, next) => name === "../node.js" ? { url: ${JSON.stringify(STUB)}, shortCircuit: true } : next(name, context);`;
register(`data:text/javascript,${encodeURIComponent(hook)}`);
const { COMMANDS, EPILOGUE, GENERAL } = await import("../pkg/cli/main.js");

const read = (path) => readFileSync(join(root, path), "utf8");
const json = (path) => JSON.parse(read(path));

function write(path, ...lines) {
  const file = join(root, "docs/reference", path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${lines.flat(Infinity).join("\n")}\n`);
}

/** Text as Markdown has it: what is not code has no tags, and rows have no bars of their own. */
function prose(text = "") {
  const parts = text.replaceAll(/\s+/g, " ").trim().split(/(`[^`]*`)/);
  return parts.map((part) => (part.startsWith("`") ? part : part.replaceAll("<", "&lt;").replaceAll("{{", "{&#123;"))).join("").replaceAll("|", "\\|");
}

function table(head, rows) {
  if (!rows.length) return [];
  const row = (cells) => `| ${cells.join(" | ")} |`;
  return ["", row(head), row(head.map(() => "---")), ...rows.map(row), ""];
}

/** Fails on unknown sections, and on scripts and images of other hosts: VitePress checks pages. */
function links() {
  const folder = join(root, "www/docs");
  const names = readdirSync(folder, { recursive: true }).map((name) => name.replaceAll("\\", "/"));
  const pages = new Map(names.filter((name) => name.endsWith(".html")).map((name) => [name, readFileSync(join(folder, name), "utf8")]));
  const ids = new Map([...pages].map(([name, html]) => [name, new Set([...html.matchAll(/ id="([^"]*)"/g)].map(([, id]) => decodeURIComponent(id)))]));
  const wrong = [];
  for (const [name, html] of pages) {
    for (const [, kind, link] of html.matchAll(/ (href|src)="([^"]*)"/g)) {
      const { origin, pathname, hash } = new URL(link, `http://book/_gate/docs/${name}`);
      if (origin !== "http://book") {
        if (kind === "src" && !link.startsWith("data:")) wrong.push(`${name}: ${link} is on another host`);
        continue;
      }
      const path = decodeURIComponent(pathname).slice("/_gate/docs/".length);
      const found = [path, `${path}.html`, `${path}index.html`].find((one) => names.includes(one) && /\.\w+$/.test(one));
      if (!pathname.startsWith("/_gate/docs/") || !found) wrong.push(`${name}: ${link}`);
      else if (hash && ids.has(found) && !ids.get(found).has(decodeURIComponent(hash.slice(1)))) wrong.push(`${name}: ${link} is no section`);
    }
  }
  if (wrong.length) fail(`The book has links that lead nowhere:\n  ${[...new Set(wrong)].join("\n  ")}`);
}

// Codes: what the sources answer with, and what `docs/.vitepress/codes.mjs` says of each.

function errors() {
  const gate = read("src/gate/code.rs");
  const body = (name) => new RegExp(`fn ${name}\\(.*?\\n    }`, "s").exec(gate)?.[0] ?? "";
  const names = new Map([...body("as_str").matchAll(/Self::(\w+) => \{?\s*"([A-Z_]+)"/g)].map(([, name, code]) => [name, code]));
  const messages = new Map([...body("message").matchAll(/Self::(\w+) => \{?\s*"([^"]*)"/g)].map(([, name, message]) => [name, message]));
  const statuses = new Map([...body("status").matchAll(/((?:Self::\w+[\s|]*)+)=> (\d{3})/g)].flatMap(([, which, status]) => [...which.matchAll(/Self::(\w+)/g)].map(([, name]) => [name, status])));
  const answers = [...names].map(([name, code]) => ({ code, status: statuses.get(name), message: messages.get(name), by: "decisions" }));
  for (const [file, by] of [["src/worker/http/reply.rs", "endpoints of the gate"], ["src/worker/admin/error.rs", "the admin API"]]) {
    const text = read(file);
    for (const [, status, code, message] of text.matchAll(/status: (\d{3}),\s*code: (.*?),\s*message:\s*"([^"]*)"/g)) {
      answers.push({ code: code.startsWith('"') ? code.slice(1, -1) : names.get(/Code::(\w+)/.exec(code)[1]), status, message, by });
    }
    for (const [, status, code, message] of text.matchAll(/^ {4}[A-Z_]+ (\d{3}) "([A-Z_]+)" "([^"]*)";/gm)) answers.push({ code, status, message, by });
  }
  if (names.size < 20 || answers.some(({ code, status, message }) => !code || !status || !message)) fail("scripts/docs.mjs no longer understands the sources of the codes.");
  const codes = new Map();
  for (const answer of answers) codes.set(answer.code, [...(codes.get(answer.code) ?? []), answer]);
  const missing = [...codes.keys()].filter((code) => !CODES[code]);
  const extra = Object.keys(CODES).filter((code) => !codes.has(code));
  if (missing.length || extra.length) fail(`docs/.vitepress/codes.mjs: missing: ${missing.join(", ") || "nothing"}; unknown to the sources: ${extra.join(", ") || "nothing"}.`);

  for (const [code, given] of codes) {
    const { meaning, action } = CODES[code];
    write(`errors/${code}.md`, `# ${code}`, "",
      table(["Status", "Answered by", "Message"], given.map(({ status, by, message }) => [status, by, prose(message)])),
      "## What it means", "", meaning, "", "## What to do", "", action.map((line) => `- ${line}`));
  }
  const row = (code) => [`[\`${code}\`](./${code})`, [...new Set(codes.get(code).map(({ status }) => status))].join(", "), CODES[code].meaning.split(/(?<=[.:])\s/)[0].replace(/:$/, ".")];
  const by = (who) => [...codes.keys()].filter((code) => codes.get(code)[0].by === who);
  write("errors/index.md", "# Codes", "",
    "Every answer of the gate has a code. Codes are stable: a release never renames one. Messages are for people and may change.", "",
    "Errors have the form `{\"error\": {\"code\", \"message\", \"details\"}}`. Clients that accept `application/problem+json` get that form",
    "(RFC 9457). Codes with status 503, and 429 where waiting helps, come with `Retry-After`.", "",
    "## Decisions", table(["Code", "Status", "Meaning"], by("decisions").map(row)),
    "## Endpoints of the gate", table(["Code", "Status", "Meaning"], by("endpoints of the gate").map(row)),
    "## Admin API", table(["Code", "Status", "Meaning"], by("the admin API").map(row)));
}

// Bounds: the constants with their comments.

function bounds() {
  const values = {};
  const rows = [];
  for (const [, comment, name, text] of read("src/model/bounds.rs").matchAll(/((?:^\/\/\/.*\n)+)^pub const (\w+): \w+ = (.*?);$/gm)) {
    const expression = text.replaceAll(/\b[A-Z]\w+\b/g, (other) => values[other]).replaceAll("_", "");
    if (!/^[\d\s<*+]+$/.test(expression)) fail(`scripts/docs.mjs does not understand the bound \`${name}\`: ${text}.`);
    values[name] = Function(`return ${expression}`)();
    const said = comment.replaceAll(/^\/\/\/ ?/gm, "").replaceAll(/\[(`\w+`)\](\([^)]*\))?/g, "$1");
    rows.push([`\`${name}\``, size(name, values[name]), prose(said)]);
  }
  write("generated/bounds.md", table(["Name", "Value", "What it bounds"], rows));
}

/** A value with its unit, which the end of its name says. */
function size(name, value) {
  const in_ = (steps) => steps.find(([factor]) => value >= factor && value % factor === 0);
  const said = (step, unit) => (step ? `${(value / step[0]).toLocaleString("en")}&nbsp;${step[1]}` : `${value.toLocaleString("en")}&nbsp;${unit}`);
  if (/_BYTES$/.test(name)) return said(in_([[1 << 20, "MiB"], [1 << 10, "KiB"]]), "bytes");
  if (/_MS$/.test(name)) return said(in_([[86_400_000, "days"], [3_600_000, "h"], [60_000, "min"], [1_000, "s"]]), "ms");
  return /_S$/.test(name) ? said(undefined, "s") : value.toLocaleString("en");
}

// The command line: its commands with what they take.

function commands() {
  const options = (given = {}) => Object.entries(given).map(([name, { describe, demandOption, choices }]) => [
    `\`--${name}\``, prose(describe) + (demandOption ? " Required." : "") + (choices ? ` One of ${choices.map((one) => `\`${one}\``).join(", ")}.` : ""),
  ]);
  const section = (spec, before, level) => {
    const name = `${before} ${spec.command}`;
    const head = [`${"#".repeat(level)} \`${name}\``, "", prose(spec.describe), ""];
    if (spec.commands) return [...head, ...spec.commands.map((one) => section(one, `${before} ${spec.command}`, level + 1))];
    const places = Object.entries(spec.positionals ?? {}).map(([name, said]) => [`\`${name}\``, prose(said)]);
    return [...head, table(["Option", "Meaning"], [...places, ...options(spec.options)])];
  };
  write("generated/cli.md", "## Options of every command", table(["Option", "Meaning"], options(GENERAL)), prose(EPILOGUE), "", COMMANDS.map((spec) => section(spec, "tenantgate", 2)));
}

// Documents: their members, from the JSON Schemas that editors use.

/** What a schema takes, in a few words. `link` makes the link to a type's section. */
function kind(schema, link) {
  if (schema === true || schema === undefined) return "any";
  if (schema.$ref) return link(schema.$ref.split("/").at(-1));
  if (schema.anyOf ?? schema.oneOf) return (schema.anyOf ?? schema.oneOf).filter(({ type }) => type !== "null").map((one) => kind(one, link)).join(" or ");
  if (schema.const !== undefined) return `\`${JSON.stringify(schema.const).replaceAll('"', "")}\``;
  if (schema.enum) return schema.enum.filter((one) => one !== null).map((one) => `\`${one}\``).join(", ");
  const types = [schema.type ?? (schema.properties || schema.patternProperties ? "object" : "any")].flat().filter((type) => type !== "null");
  return types.map((type) => {
    if (type === "array") return `list of ${kind(schema.items, link)}`;
    const values = schema.patternProperties ? Object.values(schema.patternProperties)[0] : typeof schema.additionalProperties === "object" ? schema.additionalProperties : undefined;
    if (type === "object" && values) return `object of ${kind(values, link)}`;
    return type;
  }).join(" or ");
}

const members = ({ properties = {}, required = [] }, link) => Object.entries(properties).map(([name, schema]) => [
  `\`${name}\`${required.includes(name) ? " \\*" : ""}`, kind(schema, link), prose(schema.description),
]);

/** A section for each type, as far as it says more than its name. */
function types(definitions, level) {
  const simple = (schema) => schema.type === "integer" || schema.type === "string" && !schema.enum;
  const link = (name) => (definitions[name] ? `[${name}](#${name.toLowerCase()})` : name);
  return Object.entries(definitions).map(([name, schema]) => [
    `${"#".repeat(level)} ${name} {#${name.toLowerCase()}}`, "", prose(schema.description), schema.description ? "" : [],
    schema.properties ? table(["Member", "Type", "Meaning"], members(schema, link))
    : schema.enum ? `One of ${schema.enum.map((one) => `\`${one}\``).join(", ")}.\n`
    : simple(schema) ? `${range(schema)}\n`
    : `${capital(kind(schema, link))}.\n`,
  ]);
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** The bounds of a number or a text. */
function range({ type, minimum, maximum, maxLength, pattern, format }) {
  if (type === "integer") return `A whole number${minimum === undefined ? "" : ` from ${minimum.toLocaleString("en")}`}${maximum === undefined ? "" : ` to ${maximum.toLocaleString("en")}`}.`;
  return `Text${maxLength === undefined ? "" : ` of at most ${maxLength.toLocaleString("en")} bytes`}${pattern ? ` that matches \`${pattern.replaceAll("|", "\\|")}\`` : ""}${format ? ` in the format \`${format}\`` : ""}.`;
}

function documents() {
  for (const name of ["catalog", "tenant", "api_key", "decide", "decision"]) {
    const schema = json(`pkg/schema/${name}.json`);
    const link = (type) => `[${type}](#${type.toLowerCase()})`;
    write(`generated/${name}.md`, "Members with \\* are required.", table(["Member", "Type", "Meaning"], members(schema, link)), types(schema.$defs ?? {}, 3));
  }
}

// The API: its operations, from the description that the Worker serves at `/_gate/openapi.json`.

function api() {
  const { paths, components } = json("src/worker/openapi.json");
  const GROUPS = [
    ["tenants", "Tenants", /\/tenants(\/\{tenant\})?$/],
    ["life", "Life of a tenant", /\/(suspend|reactivate|deactivate|maintenance|offboard|move|export)$/, /\/tenants\//],
    ["entitlements", "Entitlements, overrides, refunds", /\/(entitlements|refunds|overrides.*|expiring)$/],
    ["domains", "Domains", /\/domains/],
    ["api-keys", "API keys", /\/api-keys/],
    ["licences", "Licences", /admin.*\/licences/],
    ["catalog", "Catalog, plans, jobs", /\/(catalog|features|plans|jobs)/, /\/admin\//],
    ["audit", "Audit trail, denials", /\/(audit|denials)$/],
    ["tokens", "Admin tokens, support", /\/(tokens|impersonate)/, /\/admin\//],
    ["publications", "Publication, import", /\/(publications|import)$/],
  ];
  const operations = Object.entries(paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), ...operation })));
  const links = (from) => (name) => (components.schemas[name] ? `[${name}](${from}#${name.toLowerCase()})` : name);
  const left = new Set(operations);
  const grouped = new Map();
  for (const [name, title, ...patterns] of GROUPS) {
    const found = operations.filter((one) => left.has(one) && one.path.includes("/admin/") && patterns.every((pattern) => pattern.test(one.path)));
    found.forEach((one) => left.delete(one));
    grouped.set(name, found);
    if (!found.length) fail(`scripts/docs.mjs finds no operation of the admin API for \`${name}\`.`);
    write(`api/${name}.md`, `# ${title}`, "", found.map((one) => operation(one, links("./types"))));
  }
  const other = [...left].filter(({ path }) => path.includes("/admin/"));
  if (other.length) fail(`scripts/docs.mjs puts no page around ${other.map(({ path }) => path).join(", ")}.`);
  write("generated/endpoints.md", [...left].map((one) => operation(one, links("./api/types"))));
  write("api/types.md", "# Types", "", "Members with \\* are required.", "", types(components.schemas, 2));
  const index = GROUPS.map(([name, title]) => [
    `## ${title}`,
    table(["Operation", "Request"], grouped.get(name).map((one) => [
      `[${prose(one.summary).replace(/\.$/, "")}](./${name}#${one.operationId.toLowerCase()})`,
      `\`${one.method} ${one.path.replace("/_gate/v1/admin", "")}\``,
    ])),
  ]);
  write("api/index.md", "# Admin API", "",
    "The admin API is under `/_gate/v1/admin`. It needs the database `CONTROL_DB`, and `Authorization: Bearer` with the secret",
    "`OPERATOR_TOKEN`, an admin token, or a token of a tenant's admin. This page is made from the description that a deployment serves",
    "at `/_gate/openapi.json`.", "",
    "[Operate a deployment](../../how-to/operate) shows the API in use; [codes](../errors/) lists its errors.", "", index);

  function operation({ path, method, operationId, summary, description, parameters = [], requestBody, responses }, link) {
    const body = requestBody?.content?.["application/json"]?.schema;
    const said = (schema, name) => {
      const whole = schema?.properties ? table(["Member", "Type", "Meaning"], members(schema, link)) : [];
      return schema ? [`**${name}**: ${schema.properties ? "" : `${kind(schema, link)}.`}`, whole, ""] : [];
    };
    const good = Object.entries(responses).filter(([status]) => status.startsWith("2"));
    const bad = Object.keys(responses).filter((status) => !status.startsWith("2"));
    return [
      `## ${prose(summary).replace(/\.$/, "")} {#${operationId.toLowerCase()}}`, "", "```text", `${method} ${path}`, "```", "",
      description ? [description.split("\n\n").map((part) => prose(part)).join("\n\n"), ""] : [],
      table(["Parameter", "In", "Type", "Meaning"], parameters.map((one) => [`\`${one.name}\`${one.required ? " \\*" : ""}`, one.in, kind(one.schema, link), prose(one.description)])),
      said(body, "Body"),
      good.map(([status, response]) => said(response.content?.["application/json"]?.schema, `Answer ${status}`)),
      bad.length ? [`Errors: ${bad.join(", ")}.`, ""] : [],
    ];
  }
}

for (const made of ["api", "errors", "generated"]) rmSync(join(root, "docs/reference", made), { recursive: true, force: true });
errors();
bounds();
commands();
documents();
api();
if (!process.argv.includes("--pages")) {
  run("vitepress", ["build", "docs"]);
  links();
  console.log("The book is in www/docs/; the Worker serves it at /_gate/docs/.");
}
