// Exceptions for single tenants, and what ends soon.

import { path } from "../client.js";
import { wrongUsage } from "../failure.js";
import { given, reason, text, whole } from "../options.js";

const tenant = { tenant: "The tenant's id." };
const HEAD = ["Of", "Value", "From", "To", "Reason", "By"];
const row = (one) => [one.feature ?? one.limit, JSON.stringify(one.value ?? one.allowance ?? null), one.starts_at, one.ends_at, one.reason, one.actor];

/** JSON where it parses, and text otherwise. */
function parsed(value) {
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

const set = {
  command: "set <tenant>",
  describe: "Give a tenant another value of a feature, or another allowance.",
  positionals: tenant,
  options: {
    feature: text("The feature."), value: text("Its value, as JSON where it parses; by default true."),
    limit: text("The limit."), allowance: text("Its allowance: a number, `unlimited`, or JSON."),
    "starts-at": text("From when it holds (RFC 3339); by default at once."),
    "ends-at": text("Until when it holds, exclusive (RFC 3339); by default for ever."),
    "grace-ms": whole("Milliseconds after its end for which it serves where nothing of its tier is in force."),
    reason,
  },
  async run({ argv, client, out }) {
    const { feature, limit, value, allowance, startsAt, endsAt, graceMs } = argv;
    if ((feature === undefined) === (limit === undefined)) throw wrongUsage("an override is for a --feature or a --limit: one of them");
    if (limit !== undefined && allowance === undefined) throw wrongUsage("a --limit needs an --allowance");
    const what = feature === undefined ? { limit, allowance: parsed(allowance) } : { feature, value: value === undefined ? true : parsed(value) };
    const body = given({ ...what, starts_at: startsAt, ends_at: endsAt, grace_ms: graceMs, reason: argv.reason });
    const record = await client.admin("PUT", path`/tenants/${argv.tenant}/overrides`, { body });
    out.result(record, () => out.table(HEAD, record.overrides.map(row)));
  },
};

const remove = {
  command: "remove <tenant> <key>",
  describe: "Remove a tenant's overrides of a feature or a limit.",
  positionals: { ...tenant, key: "The feature's or the limit's key." },
  async run({ argv, client, out }) {
    const record = await client.admin("DELETE", path`/tenants/${argv.tenant}/overrides/${argv.key}`);
    out.result(record, () => out.line(`${record.id} has no override of ${argv.key}.`));
  },
};

const list = {
  command: "list <tenant>",
  describe: "List a tenant's overrides.",
  positionals: tenant,
  async run({ argv, client, out }) {
    const { overrides = [] } = await client.admin("GET", path`/tenants/${argv.tenant}`);
    out.result(overrides, () => out.table(HEAD, overrides.map(row), "No overrides."));
  },
};

export const group = { command: "override", describe: "Exceptions for single tenants.", commands: [set, remove, list] };

export const expiring = {
  command: "expiring",
  describe: "List overrides, contracts and trials that end soon.",
  options: { before: text("The latest end to list (RFC 3339); by default in 30 days."), limit: whole("The maximum number of tenants to read, 1 to 1000.") },
  async run({ argv, client, out }) {
    const { before, limit } = argv;
    const found = await client.admin("GET", "/expiring", { query: { before, limit } });
    out.result(found, () => {
      const rows = found.items.map(({ ends_at: at, tenant: id, slug, kind, what }) => [at, id, slug, kind, what.feature ?? what.limit ?? what.plan]);
      out.table(["Ends", "Tenant", "Slug", "Kind", "Of"], rows, "Nothing ends.");
      if (!found.complete) out.note("More tenants have something that ends: ask with a higher --limit.");
    });
  },
};
