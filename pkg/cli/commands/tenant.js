// Tenants: set up, read, changed, and led through their life.

import { randomUUID } from "node:crypto";
import { path } from "../client.js";
import { EXIT, Failure, wrongUsage } from "../failure.js";
import { flag, given, list as texts, more, paging, reason, text, whole } from "../options.js";
import { patch } from "../patch.js";

const id = { id: "The tenant's id." };

const create = {
  command: "create",
  describe: "Set a tenant up, and show its API key once.",
  options: {
    name: text("Its name, for people."),
    slug: text("Its name in hosts and paths; by default made of --name."),
    plan: text("The plan version that it bought; without one it shares that of its parent."),
    parent: text("The id of the tenant that it belongs to."),
    region: text("Where its data lives."),
    scopes: texts("What its first API key may do, with commas between."),
    "idempotency-key": text("Under the same key a tenant is set up once, however often it is asked for; by default a random one."),
  },
  async run({ argv, client, out }) {
    const { name, slug, plan, parent, region, scopes, idempotencyKey = randomUUID() } = argv;
    const body = given({ name, slug, plan, parent, region, api_key_scopes: scopes });
    let made;
    try {
      made = await client.admin("POST", "/tenants", { body, headers: { "idempotency-key": idempotencyKey } });
    } catch (error) {
      // Whether it was done is not known: asked again with the same key it is done once.
      if (error instanceof Failure && error.exit === EXIT.unreachable) error.hint = `Try again with --idempotency-key ${idempotencyKey}: it is set up once.`;
      throw error;
    }
    out.result(made, () => {
      const { tenant, api_key: key, api_key_id: keyId, features } = made;
      out.members({ id: tenant.id, slug: tenant.slug, name: tenant.name, plan: tenant.plan, parent: tenant.parent, status: tenant.status, features: features.join(", ") });
      if (key) out.secret("Its API key", key);
      else if (keyId) out.line(`Its API key ${keyId} was shown before; \`tenantgate key rotate ${tenant.id} ${keyId}\` makes another.`);
    });
  },
};

const list = {
  command: "list",
  describe: "List tenants.",
  options: {
    status: text("Those of this status."), plan: text("Those of this plan version."),
    parent: text("Those that belong to this tenant."), slug: text("The one with this slug."), ...paging,
  },
  async run({ argv, client, out }) {
    const { status, plan, parent, slug } = argv;
    const page = await client.list("/tenants", argv, { status, plan, parent, slug });
    out.result(page, () => {
      const rows = page.items.map((tenant) => [tenant.id, tenant.slug, tenant.name, tenant.status, tenant.plan, tenant.parent, tenant.changed_at]);
      out.table(["Id", "Slug", "Name", "Status", "Plan", "Parent", "Changed"], rows, "No tenants.");
      more(out, page);
    });
  },
};

const get = {
  command: "get <id>",
  describe: "Show a tenant's record.",
  positionals: id,
  async run({ argv, client, out }) {
    const record = await client.admin("GET", path`/tenants/${argv.id}`);
    out.result(record, () => out.members(record));
  },
};

const show = {
  command: "show <id>",
  describe: "Show what a tenant has, why, and how much is left.",
  positionals: id,
  async run({ argv, client, out }) {
    const has = await client.admin("GET", path`/tenants/${argv.id}/entitlements`);
    out.result(has, () => {
      out.members(has.tenant);
      out.line();
      const features = Object.entries(has.features).map(([key, one]) => [key, JSON.stringify(one.value), one.enabled ? "on" : "off", one.tier, one.rule]);
      out.table(["Feature", "Value", "State", "By", "Rule"], features, "No features.");
      out.line();
      const limits = has.limits.map((one) => [
        one.key, one.kind, one.tenant === has.tenant.id ? "its own" : one.tenant, one.limit ?? "unlimited", one.used ?? "unknown", one.remaining, one.resets_at,
      ]);
      out.table(["Limit", "Kind", "Counted for", "Allowed", "Used", "Left", "Whole again"], limits, "No limits.");
    });
  },
};

const refund = {
  command: "refund <id> <limit> <units>",
  describe: "Give back units of a quota that were charged by mistake.",
  positionals: { ...id, limit: "The quota.", units: "How many units." },
  options: { reason: text("Why, for the audit trail.", { demandOption: true }), "idempotency-key": text("Under the same key units are given back once; by default a random one.") },
  async run({ argv, client, out }) {
    const { limit, units, idempotencyKey = randomUUID() } = argv;
    if (!/^\d{1,15}$/.test(units)) throw wrongUsage(`\`${units}\` is no whole number`);
    const body = { limit, units: Number(units), reason: argv.reason };
    let done;
    try {
      done = await client.admin("POST", path`/tenants/${argv.id}/refunds`, { body, headers: { "idempotency-key": idempotencyKey } });
    } catch (error) {
      if (error instanceof Failure && error.exit === EXIT.unreachable) error.hint = `Try again with --idempotency-key ${idempotencyKey}: it is done once.`;
      throw error;
    }
    out.result(done, () => out.line(`${done.units} units of ${done.limit} are given back: ${done.used} are used.`));
  },
};

const impersonate = {
  command: "impersonate <id>",
  describe: "Make a ticket, good once and for a minute, for an API key of a tenant that lasts a quarter of an hour; on the record.",
  positionals: id,
  options: { reason: text("Why, for the audit trail.", { demandOption: true }), scopes: texts("What the key may do, with commas between.") },
  async run({ argv, client, out }) {
    const made = await client.admin("POST", path`/tenants/${argv.id}/impersonate`, { body: given({ reason: argv.reason, scopes: argv.scopes }) });
    out.result(made, () => {
      out.members({ "good until": made.expires_at, "redeemed at": made.redeem });
      out.secret("The ticket", made.ticket);
    });
  },
};

const set = {
  command: "set <id> <changes..>",
  describe: "Change members of a tenant's record; null removes one.",
  positionals: { ...id, changes: "Changes as key=value; dots in a key lead into an object, values are JSON where they parse." },
  options: { "if-match": whole("Only if the record is still at this epoch.") },
  async run({ argv, client, out }) {
    const headers = argv.ifMatch === undefined ? {} : { "if-match": `"${argv.ifMatch}"` };
    const record = await client.admin("PATCH", path`/tenants/${argv.id}`, { body: patch(argv.changes), headers });
    out.result(record, () => out.members(record));
  },
};

/** A step of a tenant's life. */
const pass = (verb, describe, options = {}) => ({
  command: `${verb} <id>`,
  describe,
  positionals: id,
  options: { reason, ...options },
  async run({ argv, client, out }) {
    const body = given({ reason: argv.reason, retention_days: argv.retentionDays });
    const record = await client.admin("POST", `${path`/tenants/${argv.id}`}/${verb}`, { body });
    out.result(record, () => out.line(`${record.id} is ${record.status}.`));
  },
});

const remove = {
  command: "delete <id>",
  describe: "Delete a tenant for good.",
  positionals: id,
  options: { reason },
  async run({ argv, client, out }) {
    const stone = await client.admin("DELETE", path`/tenants/${argv.id}`, { query: { reason: argv.reason } });
    out.result(stone, () => out.line(`${stone.id} is ${stone.status}.`));
  },
};

const move = {
  command: "move <id>",
  describe: "Move a tenant, and those below it, under another one.",
  positionals: id,
  options: { parent: text("The id of the tenant that it will belong to."), root: flag("It will belong to none."), reason },
  async run({ argv, client, out }) {
    if ((argv.parent === undefined) === !argv.root) throw wrongUsage("a tenant moves to --parent, or becomes a --root: one of them");
    const body = given({ parent: argv.root ? null : argv.parent, reason: argv.reason });
    const record = await client.admin("POST", path`/tenants/${argv.id}/move`, { body });
    out.result(record, () => out.line(record.parent ? `${record.id} belongs to ${record.parent}.` : `${record.id} belongs to none.`));
  },
};

const exported = {
  command: "export <id>",
  describe: "Print all that is kept of a tenant as JSON, or write it to a file.",
  positionals: id,
  options: { output: text("The file to write.", { alias: "o" }) },
  async run({ argv, client, out }) {
    const all = await client.admin("GET", path`/tenants/${argv.id}/export`);
    out.file(argv.output, `${JSON.stringify(all, null, 2)}\n`);
  },
};

export const group = {
  command: "tenant",
  describe: "Set up, change and end tenants.",
  commands: [
    create, list, show, get, set,
    pass("suspend", "Stop serving a tenant."),
    pass("reactivate", "Serve a tenant again."),
    pass("deactivate", "Stop a tenant at its own wish."),
    pass("maintenance", "Ask a tenant's callers to come back later."),
    pass("offboard", "Stop a tenant, and have it deleted when its time is over.", {
      "retention-days": whole("Days for which its data is kept; by default 30."),
    }),
    remove, move, exported, refund, impersonate,
  ],
};
