// What opens the door: admin tokens of operators, API keys of tenants. Each is shown once.

import { path } from "../client.js";
import { given, list as texts, more, paging, text, whole } from "../options.js";

const tenant = { tenant: "The tenant's id." };
const key = { ...tenant, key: "The key's id." };
const expires = { "expires-at": text("Until when it works, exclusive (RFC 3339); by default for ever.") };

const issueToken = {
  command: "issue",
  describe: "Issue an admin token, and show it once.",
  options: {
    name: text("For people.", { demandOption: true }),
    permissions: texts("What its holder may do, with commas between, such as tenants:read,audit:read.", { demandOption: true }),
    ...expires,
  },
  async run({ argv, client, out }) {
    const body = given({ name: argv.name, permissions: argv.permissions, expires_at: argv.expiresAt });
    const made = await client.admin("POST", "/tokens", { body });
    out.result(made, () => {
      out.members({ id: made.id, name: made.name, permissions: made.permissions.join(", ") });
      out.secret("The token", made.token);
    });
  },
};

const listTokens = {
  command: "list",
  describe: "List admin tokens, without secrets.",
  options: paging,
  async run({ argv, client, out }) {
    const page = await client.list("/tokens", argv);
    out.result(page, () => {
      const rows = page.items.map((token) => [token.id, token.name, token.permissions.join(", "), token.created_at, token.expires_at, token.revoked_at]);
      out.table(["Id", "Name", "Permissions", "Created", "Expires", "Revoked"], rows, "No tokens.");
      more(out, page);
    });
  },
};

const revokeToken = {
  command: "revoke <id>",
  describe: "End an admin token.",
  positionals: { id: "The token's id." },
  async run({ argv, client, out }) {
    const ended = await client.admin("DELETE", path`/tokens/${argv.id}`);
    out.result(ended, () => out.line(`The token ${ended.id} is revoked.`));
  },
};

const keyRow = (record) => ({ id: record.id, tenant: record.tenant, name: record.name, scopes: (record.scopes ?? []).join(", "), expires_at: record.expires_at });

const issueKey = {
  command: "issue <tenant>",
  describe: "Issue an API key for a tenant, and show it once.",
  positionals: tenant,
  options: {
    name: text("For people."),
    scopes: texts("What its holder may do, with commas between."),
    environment: text("Where it works; by default live.", { choices: ["live", "test"] }),
    ...expires,
  },
  async run({ argv, client, out }) {
    const body = given({ name: argv.name, scopes: argv.scopes, environment: argv.environment, expires_at: argv.expiresAt });
    const made = await client.admin("POST", path`/tenants/${argv.tenant}/api-keys`, { body });
    out.result(made, () => {
      out.members(keyRow(made.record));
      out.secret("The API key", made.key);
    });
  },
};

const listKeys = {
  command: "list <tenant>",
  describe: "List a tenant's API keys, without secrets.",
  positionals: tenant,
  options: paging,
  async run({ argv, client, out }) {
    const page = await client.list(path`/tenants/${argv.tenant}/api-keys`, argv);
    out.result(page, () => {
      const rows = page.items.map((one) => [one.id, one.name, stateOf(one), (one.scopes ?? []).join(", "), one.expires_at, one.revoked_at]);
      out.table(["Id", "Name", "State", "Scopes", "Expires", "Revoked"], rows, "No API keys.");
      more(out, page);
    });
  },
};

/** Whether a key works, by this machine's clock. */
function stateOf({ expires_at: ends, revoked_at: revoked }) {
  if (revoked) return "revoked";
  return ends && Date.parse(ends) <= Date.now() ? "expired" : "active";
}

const rotateKey = {
  command: "rotate <tenant> <key>",
  describe: "Issue an API key in place of another, which works on for a while.",
  positionals: key,
  options: { "overlap-ms": whole("Milliseconds for which the old key works on; by default a day.") },
  async run({ argv, client, out }) {
    const body = given({ overlap_ms: argv.overlapMs });
    const made = await client.admin("POST", path`/tenants/${argv.tenant}/api-keys/${argv.key}/rotate`, { body });
    out.result(made, () => {
      out.members({ ...keyRow(made.record), replaces: made.replaced.id, "which works until": made.replaced.expires_at });
      out.secret("The API key", made.key);
    });
  },
};

const revokeKey = {
  command: "revoke <tenant> <key>",
  describe: "End an API key.",
  positionals: key,
  async run({ argv, client, out }) {
    const ended = await client.admin("DELETE", path`/tenants/${argv.tenant}/api-keys/${argv.key}`);
    out.result(ended, () => out.line(`The API key ${ended.id} is revoked since ${ended.revoked_at}.`));
  },
};

export const tokens = { command: "token", describe: "Issue and end admin tokens.", commands: [issueToken, listTokens, revokeToken] };
export const keys = { command: "key", describe: "Issue, replace and end API keys of tenants.", commands: [issueKey, listKeys, rotateKey, revokeKey] };
