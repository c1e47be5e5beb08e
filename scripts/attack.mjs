// Tries every attack of tests/attacks/table.mjs on a deployment, and says what got through.
// Usage: npm run attack -- --url https://… --base app.example.com --tenant acme --tenant-id t_acme --victim … --victim-id …

import { parseArgs } from "node:util";
import { attempt } from "../tests/attacks/run.mjs";
import { attacks } from "../tests/attacks/table.mjs";
import { fail } from "./setup.mjs";

const OPTIONS = {
  url: "of the deployment; without it, the Worker of this folder is attacked",
  base: "the base domain whose subdomains name tenants",
  tenant: "slug of a tenant of yours, who attacks", "tenant-id": "its id",
  victim: "slug of another tenant of yours, who is attacked", "victim-id": "its id",
  central: "a host that names no tenant (default: that of --url)",
  path: "a path that needs a credential (default: /)",
  public: "a path that is public", scoped: "a path that needs a scope which the credential lacks",
  prefix: "the prefix of paths that name tenants, such as /t/", header: "the header that names tenants", query: "the query parameter that does",
  claim: "the claim of tokens that does (default: tenant_id)", cookie: "the cookie that may hold a token",
  token: "a valid token of the attacking tenant", "api-key": "a valid API key of the attacking tenant",
  operator: "the operator's token: with it the gate says as whom it would serve, and nothing is served",
  limit: "a limit of the catalog, for wrong quantities",
};
const REQUIRED = ["base", "tenant", "tenant-id", "victim", "victim-id"];
const usage = () => `npm run attack -- [--list] [--url URL …]\n${Object.entries(OPTIONS).map(([name, about]) => `  --${name.padEnd(10)} ${about}`).join("\n")}`;

const { values } = options();
if (values.help) console.log(usage());
else if (values.list) list();
else process.exitCode = await report(values.url ? given() : await own());

function options() {
  try {
    const named = Object.fromEntries(Object.keys(OPTIONS).map((name) => [name, { type: "string" }]));
    return parseArgs({ options: { ...named, list: { type: "boolean" }, help: { type: "boolean" } } });
  } catch (error) {
    return fail(`${error.message}\n\n${usage()}`);
  }
}

function list() {
  for (const { about, name, needs, right } of attacks) {
    console.log(`${about}: ${name}\n    right: ${right.join(", ")}${needs.length ? `; needs ${needs.join(", ")}` : ""}`);
  }
  console.log(`\n${attacks.length} attacks`);
}

/** The target that the options describe. */
function given() {
  const missing = REQUIRED.filter((name) => !values[name]);
  if (missing.length) fail(`An attack needs ${missing.map((name) => `--${name}`).join(", ")}.\n\n${usage()}`);
  if (!values.token && !values["api-key"]) fail(`An attack needs a credential of the attacker's own, --token or --api-key: refusals of strangers prove little.`);
  if (!URL.canParse(values.url) || !/^https?:/.test(values.url)) fail(`--url takes an http or https URL, not \`${values.url}\`.`);
  const { base, central = new URL(values.url).hostname, path = "/", claim = "tenant_id", prefix, header, query, cookie, operator, limit } = values;
  return {
    url: values.url, base, central, path, claim, prefix, header, query, cookie, operator, limit, public: values.public, scoped: values.scoped,
    acme: { slug: values.tenant, id: values["tenant-id"], token: values.token, key: values["api-key"] },
    victim: { slug: values.victim, id: values["victim-id"] },
    stop: () => {},
  };
}

/** The Worker of this folder, with tenants, issuers and keys for every attack. */
async function own() {
  const { setup } = await import("./setup.mjs");
  const { buildNpm, buildWorker } = await import("./build.mjs");
  setup({ tools: ["wasm-bindgen"] });
  buildNpm({ quick: true });
  buildWorker({ quick: true, faults: true, out: "build/test" });
  const { target } = await import("../tests/attacks/target.mjs");
  return target();
}

/** What is right must be served: where it is not, refusals prove nothing. */
async function controls(target) {
  const { acme, central } = target;
  const good = { token: acme.token && ["Authorization", `Bearer ${acme.token}`], key: acme.key && ["X-API-Key", acme.key] };
  for (const [what, header] of Object.entries(good).filter(([, header]) => header)) {
    const control = { needs: [], right: ["acme"], request: () => ({ host: central, headers: [header] }) };
    const { verdict, outcome } = await attempt(control, target);
    if (outcome === "0") fail(`Nothing answers on ${target.url}.`);
    if (verdict !== "held" && verdict !== "untold") fail(`The attacker's own ${what} should be served on ${central}, and came to ${outcome}: attacks with it would prove nothing.`);
  }
}

async function report(target) {
  await controls(target);
  const count = { held: 0, otherwise: 0, through: 0, untold: 0, skipped: 0 };
  const missing = new Set();
  for (const attack of attacks) {
    const result = await attempt(attack, target);
    count[result.verdict]++;
    result.missing?.forEach((need) => missing.add(need));
    const text = {
      through: `GOT THROUGH  ${attack.about}: ${attack.name} → ${result.outcome}, right is ${attack.right.join(" or ")}`,
      otherwise: `otherwise    ${attack.about}: ${attack.name} → refused with ${result.outcome}, right is ${attack.right.join(" or ")}`,
      untold: `untold       ${attack.about}: ${attack.name} → served, as whom only --operator can tell`,
    }[result.verdict];
    if (text) console.log(text);
  }
  await target.stop();
  if (missing.size) console.log(`left out for want of: ${[...missing].sort().join(", ")} (see --help)`);
  console.log(`${attacks.length} attacks: ${count.held} held, ${count.otherwise} refused otherwise, ${count.untold} untold, ${count.skipped} left out, ${count.through} got through`);
  return count.through ? 1 : 0;
}
