// Tries every attack of tests/attacks/table.mjs on a deployment, and reports which ones succeed.
// Usage: npm run attack -- --url https://… --base app.example.com --tenant acme --tenant-id t_acme
// --victim … --victim-id …

import { parseArgs } from "node:util";
import { attempt } from "../tests/attacks/run.mjs";
import { attacks } from "../tests/attacks/table.mjs";
import { fail } from "./setup.mjs";

const OPTIONS = {
  url: "the deployment's address; default: the Worker in this folder",
  base: "the base domain whose subdomains are tenants",
  tenant: "the slug of your tenant that attacks", "tenant-id": "its id",
  victim: "the slug of your other tenant, which is attacked", "victim-id": "its id",
  central: "a host that names no tenant (default: the host of --url)",
  path: "a path that needs a credential (default: /)",
  public: "a public path", scoped: "a path that needs a scope that the credential lacks",
  prefix: "the path prefix before a tenant, such as /t/", header: "the header that names the tenant",
  query: "the query parameter that names the tenant",
  claim: "the token claim that names the tenant (default: tenant_id)", cookie: "the cookie that may hold a token",
  token: "a valid token of the attacking tenant", "api-key": "a valid API key of the attacking tenant",
  operator: "the operator token: the gate then reports which tenant it would serve, without serving it",
  limit: "a limit of the catalog, for attacks with invalid quantities",
};
const REQUIRED = ["base", "tenant", "tenant-id", "victim", "victim-id"];
const usage = () => {
  const options = Object.entries(OPTIONS).map(([name, about]) => `  --${name.padEnd(10)} ${about}`);
  return `npm run attack -- [--list] [--url URL …]\n${options.join("\n")}`;
};

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
    console.log(`${about}: ${name}\n    expected: ${right.join(", ")}${needs.length ? `; needs ${needs.join(", ")}` : ""}`);
  }
  console.log(`\n${attacks.length} attacks`);
}

/** The target that the options describe. */
function given() {
  const missing = REQUIRED.filter((name) => !values[name]);
  if (missing.length) fail(`Missing options: ${missing.map((name) => `--${name}`).join(", ")}.\n\n${usage()}`);
  if (!values.token && !values["api-key"]) {
    fail("The attacker's credential is missing: set --token or --api-key. Denials of unauthenticated requests prove little.");
  }
  if (!URL.canParse(values.url) || !/^https?:/.test(values.url)) fail(`--url must be an http or https URL, not \`${values.url}\`.`);
  const { base, central = new URL(values.url).hostname, path = "/", claim = "tenant_id" } = values;
  const { prefix, header, query, cookie, operator, limit } = values;
  return {
    url: values.url, base, central, path, claim, prefix, header, query, cookie, operator, limit,
    public: values.public, scoped: values.scoped,
    acme: { slug: values.tenant, id: values["tenant-id"], token: values.token, key: values["api-key"] },
    victim: { slug: values.victim, id: values["victim-id"] },
    stop: () => {},
  };
}

/** The Worker in this folder, with tenants, issuers and keys for every attack. */
async function own() {
  const { setup } = await import("./setup.mjs");
  const { buildNpm, buildWorker } = await import("./build.mjs");
  setup({ tools: ["wasm-bindgen"] });
  buildNpm({ quick: true });
  buildWorker({ quick: true, faults: true, out: "build/test" });
  const { target } = await import("../tests/attacks/target.mjs");
  return target();
}

/** Checks that valid requests are served. Otherwise a refused attack would prove nothing. */
async function controls(target) {
  const { acme, central } = target;
  const good = { token: acme.token && ["Authorization", `Bearer ${acme.token}`], key: acme.key && ["X-API-Key", acme.key] };
  for (const [what, header] of Object.entries(good).filter(([, header]) => header)) {
    const control = { needs: [], right: ["acme"], request: () => ({ host: central, headers: [header] }) };
    const { verdict, outcome } = await attempt(control, target);
    if (outcome === "0") fail(`${target.url} does not respond.`);
    if (verdict !== "held" && verdict !== "untold") {
      const should = `A request with the attacker's own ${what} to ${central} should be served`;
      fail(`${should}, but the outcome is ${outcome}: attacks would prove nothing.`);
    }
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
    const named = `${attack.about}: ${attack.name}`;
    const expected = attack.right.join(" or ");
    const text = {
      through: `GOT THROUGH  ${named} → ${result.outcome}, expected ${expected}`,
      otherwise: `otherwise    ${named} → refused with ${result.outcome}, expected ${expected}`,
      untold: `untold       ${named} → served; --operator is needed to see for which tenant`,
    }[result.verdict];
    if (text) console.log(text);
  }
  await target.stop();
  if (missing.size) console.log(`Skipped attacks need these options: ${[...missing].sort().join(", ")} (see --help)`);
  const { held, otherwise, untold, skipped, through } = count;
  const refused = `${held} held, ${otherwise} refused otherwise, ${untold} untold, ${skipped} skipped`;
  console.log(`${attacks.length} attacks: ${refused}, ${through} got through`);
  return count.through ? 1 : 0;
}
