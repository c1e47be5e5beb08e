// The examples of the READMEs and of `docs/`, as the tests of both folders find and run them.

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

export const root = join(import.meta.dirname, "../..");
export const read = (path) => readFileSync(join(root, path), "utf8");

// `scripts/docs.mjs` writes these pages from sources that have tests of their own.
const GENERATED = /^docs\/(\.vitepress|reference\/(errors|api|generated))\//;

/** The pages whose examples are run, by their paths in the repository. */
export function pages() {
  const found = readdirSync(join(root, "docs"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".md"))
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1).replaceAll("\\", "/"));
  return ["README.md", "pkg/README.md", ...found.filter((path) => !GENERATED.test(path)).sort()];
}

/**
 * The code blocks of a page. `<!-- not run: reason -->` on the line before a block says why nothing
 * runs it; `reason` is undefined where something does. `file`: its name in brackets, such as
 * `[worker.js]` for a Worker, which `tests/worker/embedded.test.mjs` runs.
 */
export function blocks(page) {
  const text = read(page);
  return [...text.matchAll(/(?:<!-- not run: (.*?) -->\n)?^```(\w*) ?([^\n]*)\n(.*?)^```$/gms)].map((match) => ({
    page,
    line: text.slice(0, match.index).split("\n").length,
    reason: match[1],
    language: match[2],
    file: match[3],
    code: match[4],
  }));
}

/** The blocks of a page in one language that are to be run. */
export const runnable = (page, ...languages) =>
  blocks(page).filter(({ language, reason, file }) => languages.includes(language) && !reason && file !== "[worker.js]");

/** Where a block stands, for messages. */
export const place = ({ page, line }) => `${page}:${line}`;

/** Lines of a shell, with continued lines joined and comments left out. */
export function lines(code) {
  return code.replaceAll(/\\\n\s*/g, "").split("\n").map((line) => line.trim()).filter((line) => line && !line.startsWith("#"));
}

/** The words of a command line, as a shell reads them; `variables` are the values of `$NAME`. */
export function words(line, variables = {}) {
  const value = (text) => text.replaceAll(/\$(\w+)/g, (_, name) => {
    if (!(name in variables)) throw new Error(`\`$${name}\` has no value in: ${line}`);
    return variables[name];
  });
  return [...line.matchAll(/(?:'[^']*'|"(?:\\.|[^"\\])*"|[^\s'"])+/g)].map(([word]) =>
    word.replaceAll(/'([^']*)'|"((?:\\.|[^"\\])*)"|([^'"]+)/g, (_, single, double, bare) =>
      single ?? value((double ?? bare).replaceAll(/\\(["$\\])/g, "$1"))));
}

/** The request of a `curl` command. `status`: whether it prints the status alone. */
export function request(command, variables) {
  const found = { headers: {}, method: undefined, body: undefined, status: false, head: false, url: undefined };
  const [, ...rest] = words(command, variables);
  while (rest.length) {
    const word = rest.shift();
    if (word === "-H") {
      const [, name, value] = /^(.*?):\s*(.*)$/s.exec(rest.shift());
      found.headers[name.toLowerCase()] = value;
    } else if (word === "-d") found.body = rest.shift();
    else if (word === "-X") found.method = rest.shift();
    else if (word === "-o") rest.shift();
    else if (word === "-w") found.status = Boolean(rest.shift());
    else if (word === "-i" || word === "-si") found.head = true;
    else if (/^https?:/.test(word)) found.url = new URL(word);
    else if (word !== "-s") throw new Error(`\`${word}\` is unknown in: ${command}`);
  }
  found.method ??= found.body === undefined ? "GET" : "POST";
  const { host = found.url.host, ...headers } = found.headers;
  return { ...found, headers, host };
}

const TIME = /^\d{4}-\d\d-\d\dT[\d:.]+Z$/;
const MARK = '"…"';
const VARIES = new Set(["age_ms", "etag", "valid_until"]);

/**
 * Where an answer differs from the printed one. Times are compared by their kind. A printed text
 * that ends with `…` stands for every text that begins so; `…` between members stands for further
 * members. `kept` gets the texts that were cut off, by the names of their members in upper case.
 */
export function difference(printed, answer, kept = {}) {
  // `…` becomes a member, or the last entry of a list, so that it counts for its own place alone.
  const marked = printed.replaceAll(/"(?:[^"\\]|\\.)*"|…/g, (text) => (text === "…" ? MARK : text));
  const told = JSON.parse(marked.replaceAll(new RegExp(`(?<=[{,]\\s*)${MARK}(?=\\s*[,}])`, "g"), `${MARK}: 0`));
  const compare = (a, b, path) => {
    if (typeof a === "string" && a.endsWith("…") && typeof b === "string" && b.startsWith(a.slice(0, -1))) {
      kept[path.split(".").at(-1).toUpperCase()] = b;
      return undefined;
    }
    if (typeof a === "string" && TIME.test(a) && typeof b === "string" && TIME.test(b)) return undefined;
    if (VARIES.has(path.split(".").at(-1)) && typeof a === typeof b) return undefined;
    if (a && b && typeof a === "object" && typeof b === "object" && Array.isArray(a) === Array.isArray(b)) {
      const partial = Array.isArray(a) ? a.at(-1) === "…" : "…" in a;
      const printedNames = Object.keys(a).filter((name) => name !== "…" && a[name] !== "…");
      const names = partial ? printedNames : [...new Set([...printedNames, ...Object.keys(b)])];
      return names.map((name) => compare(a[name], b[name], `${path}.${name}`)).find(Boolean);
    }
    return a === b ? undefined : `${path}: the page has ${JSON.stringify(a)}, the answer ${JSON.stringify(b)}`;
  };
  return compare(told, JSON.parse(answer), "$");
}
