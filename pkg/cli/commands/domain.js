// Domains of tenants: claimed, proven by a TXT record, given up.

import { path } from "../client.js";

const host = { tenant: "The tenant's id.", host: "The exact host, as A-labels." };

const claim = {
  command: "claim <tenant> <host>",
  describe: "Claim a domain for a tenant, and say which TXT record proves it.",
  positionals: host,
  async run({ argv, client, out }) {
    const claimed = await client.admin("POST", path`/tenants/${argv.tenant}/domains`, { body: { host: argv.host } });
    out.result(claimed, () => {
      out.line(`${claimed.host} is ${claimed.state}. This record proves it:`);
      out.table(["Type", "Name", "Value"], [[claimed.proof.type, claimed.proof.name, claimed.proof.value]]);
    });
  },
};

const verify = {
  command: "verify <tenant> <host>",
  describe: "Look for the proof of a domain, and serve it.",
  positionals: host,
  async run({ argv, client, out }) {
    const proven = await client.admin("POST", path`/tenants/${argv.tenant}/domains/${argv.host}/verify`);
    out.result(proven, () => out.line(`${proven.host} is ${proven.state}.`));
  },
};

const remove = {
  command: "remove <tenant> <host>",
  describe: "Give a domain up.",
  positionals: host,
  async run({ argv, client, out }) {
    const record = await client.admin("DELETE", path`/tenants/${argv.tenant}/domains/${argv.host}`);
    out.result(record, () => out.line(`${argv.host} is no longer ${record.id}'s.`));
  },
};

const list = {
  command: "list <tenant>",
  describe: "List a tenant's domains.",
  positionals: { tenant: host.tenant },
  async run({ argv, client, out }) {
    const { domains = [] } = await client.admin("GET", path`/tenants/${argv.tenant}`);
    out.result(domains, () => out.table(["Host", "State"], domains.map(({ host: name, state = "pending" }) => [name, state]), "No domains."));
  },
};

export const group = { command: "domain", describe: "Claim, prove and give up domains of tenants.", commands: [claim, verify, list, remove] };
