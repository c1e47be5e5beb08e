// Brings a project to Cloudflare by wrangler's commands, each of which is shown.

import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { applyEdits, modify } from "jsonc-parser";
import { Failure, hide, wrongUsage } from "../failure.js";
import { flag, text } from "../options.js";
import { configuration, firstRequest, importSeed, putSnapshots, SEED, seedOf, settingsOf, wrangler } from "../project.js";

const deploy = {
  command: "deploy",
  describe: "Create what the project lacks at Cloudflare, deploy it, and publish the catalog.",
  options: {
    ...SEED,
    "dry-run": flag("Show the steps, and do nothing."),
    "worker-url": text("The address of the deployed Worker; by default the one that wrangler prints."),
    "keep-token": flag("Keep the Worker's operator token, which TENANTGATE_TOKEN holds; otherwise a new one replaces it."),
  },
  async run({ argv, out }) {
    const file = configuration();
    if (file.endsWith(".toml")) throw wrongUsage("`deploy` reads and completes wrangler.jsonc: write your wrangler.toml as one");
    const settings = settingsOf(file);
    const seed = seedOf(argv.catalog, argv.tenants);
    const token = tokenOf(argv["keep-token"]);
    hide(token);
    let address = argv["worker-url"];
    const steps = [
      ...creations(file, settings),
      { what: "Deploy the Worker", args: ["deploy"], then: (printed) => { address ??= /https:\/\/[\w.-]+\.workers\.dev/.exec(printed)?.[0]; } },
      !argv["keep-token"] && { what: "Set a new operator token", args: ["secret", "put", "OPERATOR_TOKEN"], input: token },
    ].filter(Boolean);
    if (argv["dry-run"]) {
      const shown = steps.map(({ what, args }) => ({ what, command: `wrangler ${args.join(" ")}` }));
      const last = { what: "Publish the catalog and the tenants", command: `${seed.tenants.length} tenants, catalog version ${seed.catalog.version}` };
      out.result({ steps: [...shown, last] }, () => out.table(["Step", "Command"], [...shown, last].map(({ what, command }) => [what, command])));
      return;
    }
    for (const { what, args, then, input } of steps) {
      out.note(`${what}: wrangler ${args.join(" ")}`);
      const printed = wrangler(args, { input });
      then?.(printed);
    }
    const isNew = !argv["keep-token"];
    try {
      if (address === undefined) throw new Failure("wrangler printed no address of the Worker: run again with --worker-url", { code: "NO_ADDRESS" });
      if (bindingOf(settings, "d1_databases", "CONTROL_DB")) await importWhenReady(new URL(address), token, seed);
      else putSnapshots(seed, "--remote");
    } catch (error) {
      // The Worker has it already, and nobody can read it there.
      if (isNew) out.secret("OPERATOR_TOKEN", token);
      throw error;
    }
    const base = new URL(address);
    out.result({ url: base.href, operator_token: isNew ? token : undefined, first_request: firstRequest(base, seed) }, () => {
      if (isNew) out.secret("OPERATOR_TOKEN", token);
      out.lines(["", `Deployed to ${base.href} Try:`, "", `  ${firstRequest(base, seed)}`, ""]);
    });
  },
};

function tokenOf(isKept) {
  const token = isKept ? process.env.TENANTGATE_TOKEN : randomBytes(24).toString("hex");
  if (!token) throw wrongUsage("--keep-token needs the Worker's operator token in TENANTGATE_TOKEN");
  return token;
}

/** The place of a binding in a list of the settings; undefined if it is not there. */
function bindingOf(settings, list, name) {
  const place = (settings[list] ?? []).findIndex(({ binding }) => binding === name);
  return place < 0 ? undefined : { path: [list, place], ...settings[list][place] };
}

/**
 * The steps that create what the settings name without an id. A Worker can be without a control
 * plane.
 */
function creations(file, settings) {
  const { name = "tenantgate" } = settings;
  const snapshots = bindingOf(settings, "kv_namespaces", "SNAPSHOTS");
  const control = bindingOf(settings, "d1_databases", "CONTROL_DB");
  if (snapshots === undefined) throw wrongUsage(`${file} has no binding \`SNAPSHOTS\` in \`kv_namespaces\``);
  const { database_name: database = `${name}-control` } = control ?? {};
  return [
    snapshots.id === undefined && {
      what: "Create the KV namespace", args: ["kv", "namespace", "create", `${name}-snapshots`],
      then: (printed) => complete(file, [...snapshots.path, "id"], /"id":\s*"([0-9a-f]{32})"/.exec(printed)?.[1]),
    },
    control !== undefined && control.database_id === undefined && {
      what: "Create the D1 database", args: ["d1", "create", database],
      then: (printed) => complete(file, [...control.path, "database_id"], /"database_id":\s*"([0-9a-f-]{36})"/.exec(printed)?.[1]),
    },
    control !== undefined && { what: "Create the control plane's tables", args: ["d1", "migrations", "apply", "CONTROL_DB", "--remote"] },
  ];
}

/** Writes the id of what was created into the configuration, which keeps its comments. */
function complete(file, path, id) {
  if (id === undefined) throw new Failure(`wrangler printed no id: add \`${path.join(".")}\` to ${file} and run again`, { code: "NO_ID" });
  const settings = readFileSync(file, "utf8");
  writeFileSync(file, applyEdits(settings, modify(settings, path, id, { formattingOptions: { insertSpaces: true, tabSize: 2 } })));
}

/** Imports the seed. A new secret and a new host take a moment to be known everywhere. */
async function importWhenReady(base, token, seed) {
  for (let attempt = 0; ; attempt++) {
    try {
      return await importSeed(base, token, seed);
    } catch (error) {
      const passes = error.code === "UNAUTHENTICATED" || error.code === "IMPORT_FAILED" || error instanceof TypeError;
      if (!passes || attempt === 20) throw error;
      await pause(1_500);
    }
  }
}

export const commands = [deploy];
