// Domains of tenants: claimed, verified by a TXT record, and removed.

import { path } from "../client.js";

const host = { tenant: "The tenant's id.", host: "The exact host; non-ASCII names as A-labels." };

const claim = {
  command: "claim <tenant> <host>",
  describe: "Claim a domain, and show the TXT record that proves it.",
  positionals: host,
  async run({ argv, client, out }) {
    const claimed = await client.admin("POST", path`/tenants/${argv.tenant}/domains`, { body: { host: argv.host } });
    out.result(claimed, () => {
      out.line(`${claimed.host} is ${claimed.state}. Create this record to prove it:`);
      out.table(["Type", "Name", "Value"], [[claimed.proof.type, claimed.proof.name, claimed.proof.value]]);
    });
  },
};

const verify = {
  command: "verify <tenant> <host>",
  describe: "Verify a domain by its TXT record, and serve it.",
  positionals: host,
  async run({ argv, client, out }) {
    const proven = await client.admin("POST", path`/tenants/${argv.tenant}/domains/${argv.host}/verify`);
    out.result(proven, () => out.line(`${proven.host} is ${proven.state}.`));
  },
};

const remove = {
  command: "remove <tenant> <host>",
  describe: "Remove a domain from a tenant.",
  positionals: host,
  async run({ argv, client, out }) {
    const record = await client.admin("DELETE", path`/tenants/${argv.tenant}/domains/${argv.host}`);
    out.result(record, () => out.line(`${argv.host} no longer belongs to ${record.id}.`));
  },
};

const list = {
  command: "list <tenant>",
  describe: "List a tenant's domains.",
  positionals: { tenant: host.tenant },
  async run({ argv, client, out }) {
    const { domains = [] } = await client.admin("GET", path`/tenants/${argv.tenant}`);
    const rows = domains.map(({ host: name, state = "pending" }) => [name, state]);
    out.result(domains, () => out.table(["Host", "State"], rows, "No domains."));
  },
};

export const group = {
  command: "domain", describe: "Claim, verify, list and remove domains of tenants.", commands: [claim, verify, list, remove],
};
