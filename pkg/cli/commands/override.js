// Overrides of single tenants, and entitlements that end soon.

import { path } from "../client.js";
import { wrongUsage } from "../failure.js";
import { given, reason, text, whole } from "../options.js";

const tenant = { tenant: "The tenant's id." };
const HEAD = ["Of", "Value", "From", "To", "Reason", "By"];
const row = (one) => [
  one.feature ?? one.limit, JSON.stringify(one.value ?? one.allowance ?? null), one.starts_at, one.ends_at, one.reason, one.actor,
];

/** The value of a text: JSON if it parses, otherwise the text itself. */
function parsed(value) {
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

const set = {
  command: "set <tenant>",
  describe: "Override a feature's value or a limit's allowance.",
  positionals: tenant,
  options: {
    feature: text("The feature's key."), value: text("Its value: JSON, or else text; default true."),
    limit: text("The limit's key."), allowance: text("Its allowance: a number, `unlimited`, or JSON."),
    "starts-at": text("When it starts (RFC 3339); default now."),
    "ends-at": text("When it ends, exclusive (RFC 3339); default never."),
    "grace-ms": whole("Milliseconds after its end for which it still applies if no other override does."),
    reason,
  },
  async run({ argv, client, out }) {
    const { feature, limit, value, allowance, startsAt, endsAt, graceMs } = argv;
    if ((feature === undefined) === (limit === undefined)) throw wrongUsage("an override needs exactly one of --feature and --limit");
    if (limit !== undefined && allowance === undefined) throw wrongUsage("a --limit needs an --allowance");
    const what = feature === undefined
      ? { limit, allowance: parsed(allowance) }
      : { feature, value: value === undefined ? true : parsed(value) };
    const body = given({ ...what, starts_at: startsAt, ends_at: endsAt, grace_ms: graceMs, reason: argv.reason });
    const record = await client.admin("PUT", path`/tenants/${argv.tenant}/overrides`, { body });
    out.result(record, () => out.table(HEAD, record.overrides.map(row)));
  },
};

const remove = {
  command: "remove <tenant> <key>",
  describe: "Remove a tenant's overrides of a feature or a limit.",
  positionals: { ...tenant, key: "The key of the feature or the limit." },
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

export const group = { command: "override", describe: "Set, remove and list overrides of tenants.", commands: [set, remove, list] };

export const expiring = {
  command: "expiring",
  describe: "List overrides, contracts and trials that end soon.",
  options: {
    before: text("The latest end to list (RFC 3339); default in 30 days."),
    limit: whole("The maximum number of tenants to read, 1 to 1000."),
  },
  async run({ argv, client, out }) {
    const { before, limit } = argv;
    const found = await client.admin("GET", "/expiring", { query: { before, limit } });
    out.result(found, () => {
      const rows = found.items.map(({ ends_at: at, tenant: id, slug, kind, what }) => [
        at, id, slug, kind, what.feature ?? what.limit ?? what.plan,
      ]);
      out.table(["Ends", "Tenant", "Slug", "Kind", "Of"], rows, "Nothing ends.");
      if (!found.complete) out.note("The list is incomplete: use a higher --limit.");
    });
  },
};
