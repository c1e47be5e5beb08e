// Shows, exports and verifies audit trails, and lists denials.

import { openSync, closeSync, writeSync } from "node:fs";
import { path } from "../client.js";
import { read } from "../documents.js";
import { EXIT, wrongUsage } from "../failure.js";
import { listing } from "../listing.js";
import { text, whole } from "../options.js";
import { clipped } from "../output.js";
import { Trail } from "../trail.js";

const CATALOG = "catalog";
const PAGE = 1_000;
const whose = { of: "A tenant's id, or `catalog`." };

const at = (chain) => (chain === CATALOG ? "/audit" : path`/tenants/${chain}/audit`);
const pages = (client, chain, format) => client.texts(at(chain), { format, limit: PAGE });

/** Reads a whole trail as one document. */
async function entries(client, chain) {
  const whole = { items: [], head: null };
  for await (const page of pages(client, chain, "json")) {
    const { items, head } = JSON.parse(page);
    whole.items.push(...items);
    whole.head = head;
  }
  return whole;
}

const who = ({ kind, id, tenant }) => [kind, tenant, id].filter(Boolean).join(" ");

const show = {
  command: "show <of>",
  describe: "Show the audit trail of a tenant or of the catalog.",
  positionals: whose,
  options: {
    action: text("Show only entries with this action, such as tenant.suspend."),
    last: whole("Show only this number of entries, the latest."),
  },
  async run({ argv, client, out }) {
    const trail = await entries(client, argv.of);
    const wanted = trail.items.filter(({ action }) => argv.action === undefined || action === argv.action);
    const items = argv.last === undefined ? wanted : wanted.slice(Math.max(0, wanted.length - argv.last));
    out.result({ items, head: trail.head }, () => {
      const changed = ({ changes = {} }) => clipped(Object.keys(changes ?? {}).join(", "));
      const rows = items.map((one) => [one.number, one.at, who(one.actor), one.action, one.reason, changed(one)]);
      out.table(["Number", "At", "Actor", "Action", "Reason", "Changed"], rows, "No entries.");
    });
  },
};

/** The parts of a file with a whole trail in one format. */
async function* parts(client, chain, format) {
  if (format === "json") {
    yield `${JSON.stringify(await entries(client, chain), null, 2)}\n`;
    return;
  }
  let first = true;
  for await (const page of pages(client, chain, format)) {
    // Every page of CSV starts with a header row; only the first one is kept.
    yield first || format !== "csv" ? page : page.slice(page.indexOf("\r\n") + 2);
    first = false;
  }
}

const exported = {
  command: "export <of>",
  describe: "Print or save an audit trail as verifiable lines, CSV or JSON.",
  positionals: whose,
  options: {
    format: text("The format; default lines, or json with --json.", { choices: ["lines", "csv", "json"] }),
    output: text("The file to write to.", { alias: "o" }),
  },
  async run({ argv, client, out }) {
    const format = argv.format ?? (out.json ? "json" : "lines");
    if (out.json && format !== "json" && argv.output === undefined) {
      throw wrongUsage(`--json prints JSON only: write ${format} to a file with -o`);
    }
    const source = parts(client, argv.of, format);
    // Reads the first page before it creates the file, so that a refused request leaves no file
    // behind.
    let part = await source.next();
    const file = argv.output === undefined ? undefined : create(argv.output);
    for (; !part.done; part = await source.next()) {
      if (file === undefined) out.raw(part.value);
      else writeSync(file, part.value);
    }
    if (file === undefined) return;
    closeSync(file);
    out.result({ file: argv.output, format }, () => out.note(`Written to ${argv.output}.`));
  },
};

function create(name) {
  try {
    return openSync(name, "w");
  } catch (error) {
    throw wrongUsage(`\`${name}\` cannot be written: ${error.code}`);
  }
}

/**
 * Compares the end of a trail with the head that the deployment reports. No later entry contains
 * the hash of the last one, so nothing else would reveal a change to it.
 */
async function agree(client, trail, chain) {
  const query = { format: "json", limit: 1, cursor: Math.max(0, trail.head.number - 1) };
  const { head } = await client.admin("GET", at(chain), { query });
  const cut = head.number < trail.head.number;
  if (cut || (head.number === trail.head.number && head.hash !== trail.head.hash)) {
    trail.broken = { number: trail.head.number, why: "it differs from the last entry that the deployment reports" };
  }
}

const verify = {
  command: "verify [file]",
  describe: "Verify exported lines or the deployment's own trail.",
  positionals: { file: "A file with exported lines; default: the trail of the deployment." },
  options: {
    tenant: text("The id of the trail's tenant; the default for a deployment is the catalog's trail."),
    head: text("The hash of an entry that the trail must contain."),
  },
  async run(command) {
    const { argv, out } = command;
    const trail = new Trail(argv.tenant ?? (argv.file === undefined ? CATALOG : undefined));
    if (argv.file !== undefined) {
      trail.add(read(argv.file));
      if (!trail.head.number) trail.broken ??= { number: 1, why: "it is missing" };
    } else {
      for await (const page of pages(command.client, trail.chain, "lines")) trail.add(page);
      if (!trail.broken) await agree(command.client, trail, trail.chain);
    }
    if (!trail.broken && argv.head && !trail.knows(argv.head)) {
      trail.broken = { number: trail.head.number, why: "the trail ends here, without the entry that --head names" };
    }
    const { chain, head, broken } = trail;
    out.result({ valid: !broken, chain, head, ...(broken && { broken }) }, () => {
      if (broken) out.line(`Entry ${broken.number} breaks the chain: ${broken.why}.`);
      else out.line(`The trail of ${chain} is valid.`);
      out.members({ "verified entries": head.number, head: head.hash });
    });
    return broken ? EXIT.no : EXIT.done;
  },
};

export const group = { command: "audit", describe: "Show, export and verify audit trails.", commands: [show, exported, verify] };

export const denials = listing({
  command: "denials <tenant>",
  describe: "List the denials of a tenant, by day and code, latest first.",
  positionals: { tenant: "The tenant's id." },
  at: ({ tenant }) => path`/tenants/${tenant}/denials`,
  head: ["Last", "Code", "Times", "Of", "Method", "Path", "API key"],
  row: (one) => [one.last_at, one.code, one.count, one.feature ?? one.limit, one.method, one.path, one.key],
  none: "No denials.",
});
