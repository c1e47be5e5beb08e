// Audit trails: shown, written to files, verified.

import { openSync, closeSync, writeSync } from "node:fs";
import { path } from "../client.js";
import { read } from "../documents.js";
import { EXIT, wrongUsage } from "../failure.js";
import { more, paging, text, whole } from "../options.js";
import { clipped } from "../output.js";
import { Trail } from "../trail.js";

const CATALOG = "catalog";
const PAGE = 1_000;
const whose = { of: "A tenant's id, or `catalog`." };

const at = (chain) => (chain === CATALOG ? "/audit" : path`/tenants/${chain}/audit`);
const pages = (client, chain, format) => client.texts(at(chain), { format, limit: PAGE });

/** A whole trail as one document. */
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
  options: { action: text("Entries of this action only, such as tenant.suspend."), last: whole("So many entries from its end.") },
  async run({ argv, client, out }) {
    const trail = await entries(client, argv.of);
    const wanted = trail.items.filter(({ action }) => argv.action === undefined || action === argv.action);
    const items = argv.last === undefined ? wanted : wanted.slice(Math.max(0, wanted.length - argv.last));
    out.result({ items, head: trail.head }, () => {
      const rows = items.map((one) => [one.number, one.at, who(one.actor), one.action, one.reason, clipped(Object.keys(one.changes ?? {}).join(", "))]);
      out.table(["Number", "At", "Actor", "Action", "Reason", "Changed"], rows, "No entries.");
    });
  },
};

/** Pages of one format as the parts of one file. */
async function* parts(client, chain, format) {
  if (format === "json") {
    yield `${JSON.stringify(await entries(client, chain), null, 2)}\n`;
    return;
  }
  let first = true;
  for await (const page of pages(client, chain, format)) {
    // Every page of CSV says what its columns are: once is enough.
    yield first || format !== "csv" ? page : page.slice(page.indexOf("\r\n") + 2);
    first = false;
  }
}

const exported = {
  command: "export <of>",
  describe: "Print an audit trail as lines that verify, as CSV or as JSON, or write it to a file.",
  positionals: whose,
  options: {
    format: text("By default lines, with --json json.", { choices: ["lines", "csv", "json"] }),
    output: text("The file to write.", { alias: "o" }),
  },
  async run({ argv, client, out }) {
    const format = argv.format ?? (out.json ? "json" : "lines");
    if (out.json && format !== "json" && argv.output === undefined) throw wrongUsage(`--json prints JSON only: write ${format} to a file with -o`);
    const source = parts(client, argv.of, format);
    // The first page comes before the file: what is refused leaves none behind.
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

/** The deployment's own word on where its trail ends must fit: what was done to the last entry shows by nothing else. */
async function agree(client, trail, chain) {
  const { head } = await client.admin("GET", at(chain), { query: { format: "json", limit: 1, cursor: Math.max(0, trail.head.number - 1) } });
  const cut = head.number < trail.head.number;
  if (cut || (head.number === trail.head.number && head.hash !== trail.head.hash)) {
    trail.broken = { number: trail.head.number, why: "it is not what the deployment says is the last" };
  }
}

const verify = {
  command: "verify [file]",
  describe: "Verify the lines of a file, or the deployment's own trail, and say the first entry that does not fit.",
  positionals: { file: "Lines that were exported; without a file the deployment is asked." },
  options: {
    tenant: text("The tenant whose trail it is; by default of a deployment the catalog's."),
    head: text("The hash of an entry that you remember: it must be among them."),
  },
  async run(command) {
    const { argv, out } = command;
    const trail = new Trail(argv.tenant ?? (argv.file === undefined ? CATALOG : undefined));
    if (argv.file !== undefined) {
      trail.add(read(argv.file));
      if (!trail.head.number) trail.broken ??= { number: 1, why: "there is none" };
    } else {
      for await (const page of pages(command.client, trail.chain, "lines")) trail.add(page);
      if (!trail.broken) await agree(command.client, trail, trail.chain);
    }
    if (!trail.broken && argv.head && !trail.knows(argv.head)) {
      trail.broken = { number: trail.head.number, why: "the trail ends with it, without the entry that you remember" };
    }
    const { chain, head, broken } = trail;
    out.result({ valid: !broken, chain, head, ...(broken && { broken }) }, () => {
      if (broken) out.line(`Entry ${broken.number} does not fit: ${broken.why}.`);
      else out.line(`The trail of ${chain} verifies.`);
      out.members({ "entries that fit": head.number, head: head.hash });
    });
    return broken ? EXIT.no : EXIT.done;
  },
};

export const group = { command: "audit", describe: "Show, export and verify audit trails.", commands: [show, exported, verify] };

export const denials = {
  command: "denials <tenant>",
  describe: "Show what a tenant was denied, by day and code, the latest first.",
  positionals: { tenant: "The tenant's id." },
  options: paging,
  async run({ argv, client, out }) {
    const page = await client.list(path`/tenants/${argv.tenant}/denials`, argv);
    out.result(page, () => {
      const rows = page.items.map((one) => [one.last_at, one.code, one.count, one.feature ?? one.limit, one.method, one.path, one.key]);
      out.table(["Last", "Code", "Times", "Of", "Method", "Path", "API key"], rows, "No denials.");
      more(out, page);
    });
  },
};
