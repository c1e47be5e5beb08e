// Licences for software that runs elsewhere. A licence key is printed only once.

import { path } from "../client.js";
import { EXIT } from "../failure.js";
import { listing } from "../listing.js";
import { given, list as texts, text, whole } from "../options.js";

const terms = {
  name: text("A name for people."),
  domains: texts("Comma-separated hosts that it is valid for; `*.` and a host stands for its direct subdomains."),
  "expires-at": text("When it expires, exclusive (RFC 3339); default never."),
  "max-activations": whole("The maximum number of activated instances; default unlimited."),
  "offline-ms": whole("Milliseconds for which an instance may work offline with a signed token; default one week."),
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
  describe: "Issue a licence key and show it, only once.",
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

const list = listing({
  command: "list <tenant>",
  describe: "List a tenant's licences.",
  positionals: { tenant: "The tenant's id." },
  at: ({ tenant }) => path`/tenants/${tenant}/licences`,
  head: HEAD,
  row,
  none: "No licences.",
});

const change = {
  command: "change <tenant> <licence>",
  describe: "Change the status and terms of a licence.",
  positionals: { tenant: "The tenant's id.", licence: "The licence's id." },
  options: { ...terms, status: text("Its status.", { choices: ["active", "suspended", "revoked"] }) },
  async run({ argv, client, out }) {
    const changed = await client.admin("PATCH", path`/tenants/${argv.tenant}/licences/${argv.licence}`, { body: termsOf(argv) });
    out.result(changed, () => out.table(HEAD, [row(changed)]));
  },
};

const validate = {
  command: "validate <key>",
  describe: "Check a licence key as the licensed software does.",
  positionals: { key: "The licence key." },
  options: {
    domain: text("The host that the software runs on."),
    instance: text("The name of the instance; a valid check activates it."),
  },
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

const instances = listing({
  command: "activations <tenant> <licence>",
  describe: "List the instances that use a licence.",
  positionals: { tenant: "The tenant's id.", licence: "The licence's id." },
  at: ({ tenant, licence }) => path`/tenants/${tenant}/licences/${licence}/activations`,
  head: ["Instance", "Domain", "Activated", "Last seen", "Ended", "Holds its place until"],
  row: (one) => [one.instance, one.domain, one.activated_at, one.seen_at, one.ended_at, one.holds_until_at],
  none: "No activations.",
});

const end = {
  command: "end-activation <tenant> <licence> <instance>",
  describe: "End the activation of an instance.",
  positionals: { tenant: "The tenant's id.", licence: "The licence's id.", instance: "The name of the instance." },
  async run({ argv, client, out }) {
    const { tenant, licence, instance } = argv;
    const ended = await client.admin("DELETE", path`/tenants/${tenant}/licences/${licence}/activations/${instance}`);
    const free = ended.free_at ? `; its place becomes free at ${ended.free_at}` : "";
    out.result(ended, () => out.line(`The activation of ${instance} has ended${free}.`));
  },
};

export const group = {
  command: "licence", describe: "Issue, list, change and check licences of tenants.",
  commands: [issue, list, change, validate, instances, end],
};
