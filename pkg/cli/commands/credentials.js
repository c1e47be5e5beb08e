// Admin tokens of operators and API keys of tenants. Each secret is printed only once.

import { path } from "../client.js";
import { listing } from "../listing.js";
import { given, list as texts, text, whole } from "../options.js";

const tenant = { tenant: "The tenant's id." };
const key = { ...tenant, key: "The key's id." };
const expires = { "expires-at": text("When it expires, exclusive (RFC 3339); default never.") };

const issueToken = {
  command: "issue",
  describe: "Issue an admin token and show it, only once.",
  options: {
    name: text("A name for people.", { demandOption: true }),
    permissions: texts("Comma-separated permissions, such as tenants:read,audit:read.", { demandOption: true }),
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

const listTokens = listing({
  command: "list",
  describe: "List admin tokens, without secrets.",
  at: () => "/tokens",
  head: ["Id", "Name", "Permissions", "Created", "Expires", "Revoked"],
  row: (one) => [one.id, one.name, one.permissions.join(", "), one.created_at, one.expires_at, one.revoked_at],
  none: "No tokens.",
});

const revokeToken = {
  command: "revoke <id>",
  describe: "Revoke an admin token.",
  positionals: { id: "The token's id." },
  async run({ argv, client, out }) {
    const ended = await client.admin("DELETE", path`/tokens/${argv.id}`);
    out.result(ended, () => out.line(`The token ${ended.id} has been revoked.`));
  },
};

const described = ({ id, tenant, name, scopes, expires_at }) => ({ id, tenant, name, scopes: (scopes ?? []).join(", "), expires_at });

const issueKey = {
  command: "issue <tenant>",
  describe: "Issue an API key for a tenant and show it, only once.",
  positionals: tenant,
  options: {
    name: text("A name for people."),
    scopes: texts("Comma-separated scopes."),
    environment: text("The environment that accepts it; default live.", { choices: ["live", "test"] }),
    ...expires,
  },
  async run({ argv, client, out }) {
    const body = given({ name: argv.name, scopes: argv.scopes, environment: argv.environment, expires_at: argv.expiresAt });
    const made = await client.admin("POST", path`/tenants/${argv.tenant}/api-keys`, { body });
    out.result(made, () => {
      out.members(described(made.record));
      out.secret("The API key", made.key);
    });
  },
};

const listKeys = listing({
  command: "list <tenant>",
  describe: "List a tenant's API keys, without secrets.",
  positionals: tenant,
  at: (argv) => path`/tenants/${argv.tenant}/api-keys`,
  head: ["Id", "Name", "State", "Scopes", "Expires", "Revoked"],
  row: (one) => [one.id, one.name, stateOf(one), (one.scopes ?? []).join(", "), one.expires_at, one.revoked_at],
  none: "No API keys.",
});

/** The state of a key according to the local clock. */
function stateOf({ expires_at: ends, revoked_at: revoked }) {
  if (revoked) return "revoked";
  return ends && Date.parse(ends) <= Date.now() ? "expired" : "active";
}

const rotateKey = {
  command: "rotate <tenant> <key>",
  describe: "Replace an API key; the old key keeps working for a while.",
  positionals: key,
  options: { "overlap-ms": whole("Milliseconds for which the old key keeps working; default one day.") },
  async run({ argv, client, out }) {
    const body = given({ overlap_ms: argv.overlapMs });
    const made = await client.admin("POST", path`/tenants/${argv.tenant}/api-keys/${argv.key}/rotate`, { body });
    out.result(made, () => {
      out.members({ ...described(made.record), replaces: made.replaced.id, "old key works until": made.replaced.expires_at });
      out.secret("The API key", made.key);
    });
  },
};

const revokeKey = {
  command: "revoke <tenant> <key>",
  describe: "Revoke an API key.",
  positionals: key,
  async run({ argv, client, out }) {
    const ended = await client.admin("DELETE", path`/tenants/${argv.tenant}/api-keys/${argv.key}`);
    out.result(ended, () => out.line(`The API key ${ended.id} has been revoked since ${ended.revoked_at}.`));
  },
};

export const tokens = {
  command: "token", describe: "Issue, list and revoke admin tokens.", commands: [issueToken, listTokens, revokeToken],
};
export const keys = {
  command: "key", describe: "Issue, list, replace and revoke API keys of tenants.", commands: [issueKey, listKeys, rotateKey, revokeKey],
};
