// Licences: for software that runs elsewhere. A key is shown once.

import { path } from "../client.js";
import { EXIT } from "../failure.js";
import { given, list as texts, more, paging, text, whole } from "../options.js";

const terms = {
  name: text("For people."),
  domains: texts("Hosts that it is good for, with commas between; `*.` and a host for those with one label more."),
  "expires-at": text("Until when it is good, exclusive (RFC 3339); by default for ever."),
  "max-activations": whole("Instances that may be activated; by default any number."),
  "offline-ms": whole("Milliseconds for which a signed token stands in for an answer; by default a week."),
};

const termsOf = ({ name, domains, expiresAt, maxActivations, offlineMs, status }) =>
  given({ name, domains, status, expires_at: expiresAt, max_activations: maxActivations, offline_ms: offlineMs });

const row = ({ id, terms, activations }) => [
  id, terms.name, terms.status ?? "active", (terms.domains ?? []).join(", "), terms.expires_at,
  activations === undefined ? undefined : `${activations}${terms.max_activations === undefined ? "" : ` of ${terms.max_activations}`}`,
];
const HEAD = ["Id", "Name", "Status", "Domains", "Expires", "Activations"];

const issue = {
  command: "issue <tenant>",
  describe: "Issue a licence key, and show it once.",
  positionals: { tenant: "The tenant's id." },
  options: terms,
  async run({ argv, client, out }) {
    const made = await client.admin("POST", path`/tenants/${argv.tenant}/licences`, { body: termsOf(argv) });
    out.result(made, () => {
      out.table(HEAD, [row(made)]);
      out.secret("The licence key", made.key);
    });
  },
};

const list = {
  command: "list <tenant>",
  describe: "List a tenant's licences, with the instances that use them.",
  positionals: { tenant: "The tenant's id." },
  options: paging,
  async run({ argv, client, out }) {
    const page = await client.list(path`/tenants/${argv.tenant}/licences`, argv);
    out.result(page, () => {
      out.table(HEAD, page.items.map(row), "No licences.");
      more(out, page);
    });
  },
};

const change = {
  command: "change <tenant> <licence>",
  describe: "Change a licence: suspend it, revoke it, bind it to other domains.",
  positionals: { tenant: "The tenant's id.", licence: "The licence's id." },
  options: { ...terms, status: text("Where it stands.", { choices: ["active", "suspended", "revoked"] }) },
  async run({ argv, client, out }) {
    const changed = await client.admin("PATCH", path`/tenants/${argv.tenant}/licences/${argv.licence}`, { body: termsOf(argv) });
    out.result(changed, () => out.table(HEAD, [row(changed)]));
  },
};

const validate = {
  command: "validate <key>",
  describe: "Ask whether a licence key is good, as the software would.",
  positionals: { key: "The licence key." },
  options: { domain: text("The host that it is used on."), instance: text("The name of the instance, which this activates.") },
  async run({ argv, client, out }) {
    const { key, domain, instance } = argv;
    const answer = await client.json("POST", "/_gate/v1/licences/validate", { body: given({ key, domain, instance }) });
    out.result(answer, () => {
      const { code, licence, tenant, plan, features, offline } = answer;
      out.members({ code, licence, tenant, plan, features: features?.join(", "), "offline until": offline?.until });
    });
    return answer.valid ? EXIT.done : EXIT.no;
  },
};

const instances = {
  command: "activations <tenant> <licence>",
  describe: "List the instances that use a licence.",
  positionals: { tenant: "The tenant's id.", licence: "The licence's id." },
  options: paging,
  async run({ argv, client, out }) {
    const page = await client.list(path`/tenants/${argv.tenant}/licences/${argv.licence}/activations`, argv);
    out.result(page, () => {
      const rows = page.items.map((one) => [one.instance, one.domain, one.activated_at, one.seen_at, one.ended_at, one.holds_until_at]);
      out.table(["Instance", "Domain", "Activated", "Seen", "Ended", "Holds its place until"], rows, "No activations.");
      more(out, page);
    });
  },
};

const end = {
  command: "end-activation <tenant> <licence> <instance>",
  describe: "End the activation of an instance, without its key.",
  positionals: { tenant: "The tenant's id.", licence: "The licence's id.", instance: "The name of the instance." },
  async run({ argv, client, out }) {
    const { tenant, licence, instance } = argv;
    const ended = await client.admin("DELETE", path`/tenants/${tenant}/licences/${licence}/activations/${instance}`);
    out.result(ended, () => out.line(`The activation of ${instance} has ended${ended.free_at ? `; its place is free at ${ended.free_at}` : ""}.`));
  },
};

export const group = { command: "licence", describe: "Licence keys of tenants.", commands: [issue, list, change, validate, instances, end] };
