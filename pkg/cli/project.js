// A project with tenantgate on this machine: its files, its wrangler, its seed.

import { spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { parse, printParseErrorCode } from "jsonc-parser";
import { parse as parseToml } from "smol-toml";
import { DocumentError, publish } from "../node.js";
import { read } from "./documents.js";
import { Failure, invalid, wrongUsage } from "./failure.js";
import { text } from "./options.js";

/** The options of commands that read a seed. */
export const SEED = {
  catalog: text("The file with the catalog.", { default: "catalog.json" }),
  tenants: text("The file with the list of tenants.", { default: "tenants.json" }),
};

/** The project's own commands come first on the path. */
const environment = () => ({
  ...process.env,
  PATH: [join(process.cwd(), "node_modules/.bin"), process.env.PATH].join(delimiter),
  WRANGLER_SEND_METRICS: "false",
  // Requests here have no country; asking for a sample fails without a network.
  CLOUDFLARE_CF_FETCH_ENABLED: "false",
});

const MISSING = () => new Failure("wrangler is missing: run `npm install --save-dev wrangler`", { code: "WRANGLER_MISSING" });

/** Runs wrangler to its end. Returns what it prints; `input` goes to its standard input. */
export function wrangler(args, { input, quiet = false } = {}) {
  const { status, error, stdout } = spawnSync("wrangler", args, {
    env: environment(), input, encoding: "utf8", stdio: [input === undefined ? "ignore" : "pipe", "pipe", "inherit"],
  });
  if (error) throw MISSING();
  if (!quiet) process.stderr.write(stdout);
  if (status !== 0) throw new Failure(`\`wrangler ${args.join(" ")}\` failed with exit code ${status}`, { code: "WRANGLER_FAILED" });
  return stdout;
}

/** Starts wrangler and leaves it running. */
export function started(args) {
  const child = spawn("wrangler", args, { env: environment(), stdio: ["ignore", "inherit", "pipe"] });
  return new Promise((resolve, reject) => {
    child.once("error", () => reject(MISSING()));
    child.once("spawn", () => resolve(child));
  });
}

/** The names of wrangler's configuration file. Wrangler reads the first one that exists. */
const CONFIGURATIONS = ["wrangler.json", "wrangler.jsonc", "wrangler.toml"];

/** Returns the name of wrangler's configuration file in a folder, or undefined. */
export const configurationIn = (folder) => CONFIGURATIONS.find((name) => existsSync(join(folder, name)));

/** The path of the project's configuration for wrangler. */
export function configuration() {
  const found = configurationIn(".");
  if (found === undefined) throw wrongUsage("there is no wrangler.jsonc here: run `tenantgate init` first");
  return found;
}

/** The settings in a configuration file of wrangler. */
export function settingsOf(file) {
  const text = readFileSync(file, "utf8");
  const refused = (reason) => new Failure(`${file} is not valid: ${reason}`, { code: "INVALID" });
  if (file.endsWith(".toml")) {
    try {
      return parseToml(text);
    } catch (error) {
      // The lines after the first one show the text around the place.
      throw refused(`${error.message.split("\n")[0].replace(/^Invalid TOML document: /, "")} at line ${error.line}, column ${error.column}`);
    }
  }
  const problems = [];
  const settings = parse(text, problems, { allowTrailingComma: true });
  if (problems.length === 0 && typeof settings === "object" && settings !== null) return settings;
  const [problem] = problems;
  throw refused(problem ? `${printParseErrorCode(problem.error)} at character ${problem.offset}` : "it must be an object");
}

/** Whether the configuration has a binding of this name. */
export function hasBinding(file, name) {
  return Object.values(settingsOf(file)).flat().some((one) => one?.binding === name);
}

/** The catalog and the tenants of these files, checked. */
export function seedOf(catalogFile, tenantsFile) {
  // For editors; within a seed it has no place.
  const { $schema, ...catalog } = parsedFile(catalogFile);
  const seed = { catalog, tenants: existsSync(tenantsFile) ? parsedFile(tenantsFile) : [] };
  try {
    publish(seed);
  } catch (error) {
    if (error instanceof DocumentError) {
      const inFile = (path) => path.replace(/^\$\.catalog/, `${catalogFile}: $`).replace(/^\$\.tenants/, `${tenantsFile}: $`);
      throw invalid(`${catalogFile}, ${tenantsFile}`, error.problems.map((problem) => ({ ...problem, path: inFile(problem.path) })));
    }
    throw error;
  }
  return seed;
}

function parsedFile(file) {
  const text = read(file);
  try {
    return Object(JSON.parse(text));
  } catch (error) {
    throw new Failure(`\`${file}\` is not valid JSON: ${error.message}`, { code: "INVALID" });
  }
}

/** The operator's token in `.dev.vars`, which git ignores: a new one in a fresh clone. */
export function localToken() {
  const lines = existsSync(".dev.vars") ? readFileSync(".dev.vars", "utf8") : "";
  const known = /^OPERATOR_TOKEN=(.+)$/m.exec(lines)?.[1].trim();
  if (known) return known;
  const token = randomBytes(16).toString("hex");
  appendFileSync(".dev.vars", `${lines === "" || lines.endsWith("\n") ? "" : "\n"}OPERATOR_TOKEN=${token}\n`);
  return token;
}

/** Writes a seed to KV, for a Worker without a control plane. `where`: `--local` or `--remote`. */
export function putSnapshots(seed, where) {
  const folder = mkdtempSync(join(tmpdir(), "tenantgate-"));
  try {
    const file = join(folder, "snapshots.json");
    writeFileSync(file, JSON.stringify(publish(seed).map(([key, value]) => ({ key, value }))));
    wrangler(["kv", "bulk", "put", file, "--binding", "SNAPSHOTS", where], { quiet: true });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Sends the seed to a deployment, which keeps what is the same. */
export async function importSeed(base, token, seed) {
  const init = { method: "POST", headers: { authorization: `Bearer ${token}` }, body: JSON.stringify(seed) };
  const response = await fetch(new URL("/_gate/v1/admin/import?overwrite=true", base), init);
  const body = await response.json().catch(() => ({}));
  if (response.ok) return;
  const { code = "IMPORT_FAILED", message = `the deployment answered ${response.status}`, details = {} } = body.error ?? {};
  const hint = code === "PLAN_IN_USE" ? "A plan version that tenants have stays as it is: add a new version, or start over with `tenantgate dev --reset`." : undefined;
  throw new Failure(`the catalog was not taken over: ${message}`, { code, details, hint });
}

/** A first request that the catalog lets through: a `curl` command. */
export function firstRequest(base, { catalog, tenants }) {
  const tenant = tenants.find(({ status = "active" }) => status === "active");
  const header = catalog.resolution.strategies.find(({ strategy }) => strategy === "header");
  const path = catalog.routes?.[0]?.path ?? "/";
  if (!tenant || !header) return `curl ${new URL("/_gate/healthz", base)}`;
  const name = header.identifies === "id" ? tenant.id : tenant.slug;
  return `curl -H '${header.header_name ?? "X-Tenant-ID"}: ${name}' ${new URL(path, base)}`;
}
