// Tenants: setting up, reading, changing, and their life cycle.

import { randomUUID } from "node:crypto";
import { path } from "../client.js";
import { EXIT, Failure, wrongUsage } from "../failure.js";
import { listing } from "../listing.js";
import { flag, given, list as texts, reason, text, whole } from "../options.js";
import { patch } from "../patch.js";

const id = { id: "The tenant's id." };
const NEEDED_REASON = text("The reason, for the audit trail.", { demandOption: true });

/**
 * Sends a change that is made once under its idempotency key. If the deployment does not answer,
 * the hint names the key for a retry, since the change may have been made.
 */
async function once(client, target, idempotencyKey, body) {
  try {
    return await client.admin("POST", target, { body, headers: { "idempotency-key": idempotencyKey } });
  } catch (error) {
    if (error instanceof Failure && error.exit === EXIT.unreachable) {
      error.hint = `Retry with --idempotency-key ${idempotencyKey}: the change is made only once.`;
    }
    throw error;
  }
}

const create = {
  command: "create",
  describe: "Set up a tenant and show its API key, only once.",
  options: {
    name: text("A name for people."),
    slug: text("Its slug in hosts and paths; default derived from --name."),
    plan: text("Its plan version; default its parent's plan."),
    parent: text("The id of its parent."),
    region: text("The region of its data."),
    scopes: texts("Comma-separated scopes of its first API key."),
    "idempotency-key": text("The tenant is set up once under this key; default a random key."),
  },
  async run({ argv, client, out }) {
    const { name, slug, plan, parent, region, scopes, idempotencyKey = randomUUID() } = argv;
    const body = given({ name, slug, plan, parent, region, api_key_scopes: scopes });
    const made = await once(client, "/tenants", idempotencyKey, body);
    out.result(made, () => {
      const { tenant, api_key: key, api_key_id: keyId } = made;
      const { id, slug, name, plan, parent, status } = tenant;
      out.members({ id, slug, name, plan, parent, status, features: made.features.join(", ") });
      if (key) out.secret("Its API key", key);
      else if (keyId) out.line(`Its API key ${keyId} was shown before; \`tenantgate key rotate ${id} ${keyId}\` issues a new one.`);
    });
  },
};

const list = listing({
  command: "list",
  describe: "List tenants.",
  options: {
    status: text("Only tenants with this status."), plan: text("Only tenants with this plan version."),
    parent: text("Only sub-tenants of this tenant."), slug: text("Only the tenant with this slug."),
  },
  at: () => "/tenants",
  query: ({ status, plan, parent, slug }) => ({ status, plan, parent, slug }),
  head: ["Id", "Slug", "Name", "Status", "Plan", "Parent", "Changed"],
  row: (one) => [one.id, one.slug, one.name, one.status, one.plan, one.parent, one.changed_at],
  none: "No tenants.",
});

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
  describe: "Show a tenant's entitlements and what is left of its limits.",
  positionals: id,
  async run({ argv, client, out }) {
    const has = await client.admin("GET", path`/tenants/${argv.id}/entitlements`);
    out.result(has, () => {
      out.members(has.tenant);
      out.line();
      const features = Object.entries(has.features).map(([key, one]) => [
        key, JSON.stringify(one.value), one.enabled ? "on" : "off", one.tier, one.rule,
      ]);
      out.table(["Feature", "Value", "State", "Tier", "Rule"], features, "No features.");
      out.line();
      const limits = has.limits.map((one) => [
        one.key, one.kind, one.tenant === has.tenant.id ? "its own" : one.tenant, one.limit ?? "unlimited", one.used ?? "unknown",
        one.remaining, one.resets_at,
      ]);
      out.table(["Limit", "Kind", "Counted for", "Allowed", "Used", "Left", "Resets"], limits, "No limits.");
    });
  },
};

const refund = {
  command: "refund <id> <limit> <units>",
  describe: "Refund units of a quota that were charged by mistake.",
  positionals: { ...id, limit: "The quota's key.", units: "The number of units." },
  options: {
    reason: NEEDED_REASON, "idempotency-key": text("The units are refunded once under this key; default a random key."),
  },
  async run({ argv, client, out }) {
    const { limit, units, idempotencyKey = randomUUID() } = argv;
    if (!/^\d{1,15}$/.test(units)) throw wrongUsage(`\`${units}\` is not a whole number`);
    const body = { limit, units: Number(units), reason: argv.reason };
    const done = await once(client, path`/tenants/${argv.id}/refunds`, idempotencyKey, body);
    out.result(done, () => out.line(`${done.units} units of ${done.limit} have been refunded; ${done.used} are used.`));
  },
};

const impersonate = {
  command: "impersonate <id>",
  describe: "Issue a single-use ticket for a short-lived API key.",
  positionals: id,
  options: { reason: NEEDED_REASON, scopes: texts("Comma-separated scopes of the API key.") },
  async run({ argv, client, out }) {
    const body = given({ reason: argv.reason, scopes: argv.scopes });
    const made = await client.admin("POST", path`/tenants/${argv.id}/impersonate`, { body });
    out.result(made, () => {
      out.members({ "valid until": made.expires_at, "redeem at": made.redeem });
      out.secret("The ticket", made.ticket);
    });
  },
};

const set = {
  command: "set <id> <changes..>",
  describe: "Change members of a tenant's record.",
  positionals: {
    ...id,
    changes: "Changes as key=value. Dots in a key select members of objects. A value is JSON, or else text; null removes the member.",
  },
  options: { "if-match": whole("Change it only if its epoch still is this one.") },
  async run({ argv, client, out }) {
    const headers = argv.ifMatch === undefined ? {} : { "if-match": `"${argv.ifMatch}"` };
    const record = await client.admin("PATCH", path`/tenants/${argv.id}`, { body: patch(argv.changes), headers });
    out.result(record, () => out.members(record));
  },
};

/** A command for a step of a tenant's life cycle. */
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
  describe: "Delete a tenant permanently.",
  positionals: id,
  options: { reason },
  async run({ argv, client, out }) {
    const stone = await client.admin("DELETE", path`/tenants/${argv.id}`, { query: { reason: argv.reason } });
    out.result(stone, () => out.line(`${stone.id} is ${stone.status}.`));
  },
};

const move = {
  command: "move <id>",
  describe: "Move a tenant and its descendants to another parent.",
  positionals: id,
  options: { parent: text("The id of the new parent."), root: flag("Make it a root, without a parent."), reason },
  async run({ argv, client, out }) {
    if ((argv.parent === undefined) === !argv.root) throw wrongUsage("a move needs exactly one of --parent and --root");
    const body = given({ parent: argv.root ? null : argv.parent, reason: argv.reason });
    const record = await client.admin("POST", path`/tenants/${argv.id}/move`, { body });
    out.result(record, () => out.line(record.parent ? `${record.id} is a sub-tenant of ${record.parent}.` : `${record.id} is a root.`));
  },
};

const exported = {
  command: "export <id>",
  describe: "Print all data about a tenant as JSON, or write it to a file.",
  positionals: id,
  options: { output: text("The file to write to.", { alias: "o" }) },
  async run({ argv, client, out }) {
    const all = await client.admin("GET", path`/tenants/${argv.id}/export`);
    out.file(argv.output, `${JSON.stringify(all, null, 2)}\n`);
  },
};

export const group = {
  command: "tenant",
  describe: "Set up, read, change and delete tenants.",
  commands: [
    create, list, show, get, set,
    pass("suspend", "Stop serving a tenant."),
    pass("reactivate", "Serve a tenant again."),
    pass("deactivate", "Stop serving a tenant at its own request."),
    pass("maintenance", "Put a tenant under maintenance."),
    pass("offboard", "Stop serving a tenant; delete it after a retention period.", {
      "retention-days": whole("Days before it is deleted; default 30."),
    }),
    remove, move, exported, refund, impersonate,
  ],
};
