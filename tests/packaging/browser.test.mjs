// A page that Vite built, with the real Worker behind it. It evaluates features like the gate,
// follows publications, works without a network, and receives nothing about other tenants.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { root } from "../../scripts/setup.mjs";
import { chrome } from "../support/chrome.mjs";
import { worker } from "../support/harness.mjs";
import { serve } from "../support/server.mjs";
import { modules, project, remove, run, served, sizes } from "../support/project.mjs";

after(remove);

/** Words that pages of `acme` must never receive. */
const SECRET = ["globex", "enterprise", "free@", "pilot", "hidden-feature", "hidden-rule", "extra-seats", "hidden.example"];
const catalog = {
  version: 1,
  upgrade_url: "https://hidden.example/pricing",
  resolution: { strategies: [{ strategy: "subdomain", base_domains: ["app.example.com"] }] },
  features: {
    editor: {
      client: true,
      description: "A pilot at Globex.",
      rules: [
        { name: "pilot", when: [{ attribute: "tenant.id", op: "in", value: ["t_globex"] }], value: true },
        { name: "half", rollout: { split: [{ weight: 50, value: true }, { weight: 50, value: false }] } },
      ],
    },
    checkout: {
      client: true, type: "string", default: "old",
      rules: [
        { name: "enterprise-checkout", when: [{ attribute: "tenant.plan", op: "starts_with", value: "enterprise@" }], value: "made for enterprise" },
        { name: "nl", when: [{ attribute: "country", op: "in", value: ["NL", "BE"] }, { attribute: "tenant.slug", op: "eq", value: "globex", not: true }], value: "new" },
      ],
    },
    webhooks: { client: true },
    seats: { client: true, type: "number", default: 1 },
    "hidden-feature": { rules: [{ name: "hidden-rule", when: [{ attribute: "country", op: "eq", value: "NL" }], value: true }] },
  },
  plans: {
    "free@1": { features: { seats: 3 } },
    "pro@1": { features: { seats: 20, "hidden-feature": true } },
    "enterprise@1": { features: { seats: 5000, checkout: "sold to enterprise" } },
  },
  addons: { "extra-seats": { features: { seats: 40 } } },
};
const acme = { id: "t_acme", slug: "acme", name: "Acme", plan: "pro@1" };
const globex = { id: "t_globex", slug: "globex", name: "Globex", plan: "enterprise@1" };

let gate, site, chromium, context, page;
/** Whether requests to `/_gate/` reach the gate. */
let reachable = true;
/** Controllers that abort the requests in flight. */
const waiting = [];
/** Everything that the page of `acme` has received: statuses, headers and bodies. */
const received = [];

before(async () => {
  gate = await worker({ control: true });
  const imported = await gate.admin("POST", "/import", { catalog, tenants: [acme, globex] });
  assert.equal(imported.status, 200, JSON.stringify(imported.body));

  const files = Object.fromEntries(["index.html", "main.js"].map((name) => [name, readFileSync(join(import.meta.dirname, "page", name))]));
  const place = project("page", files, ["@openfeature/web-sdk"]);
  assert.deepEqual(await run(place, join(modules, ".bin/vite"), ["build", "--logLevel=warn"]), { code: 0, stdout: "", stderr: "" });

  // The page's origin. It serves the page's files and is a reverse proxy before the gate.
  site = await serve(async (request, response) => {
    const tenant = request.headers.host.split(".")[0];
    const answer = request.url.startsWith("/_gate/") ? await forward(tenant, request, response).catch(() => null) : file(join(place, "dist"), request.url);
    if (answer === null) return request.destroy();
    if (tenant === "acme") received.push(JSON.stringify([answer.status, answer.headers]), answer.body.toString("latin1"));
    response.writeHead(answer.status, answer.headers).end(answer.body);
  });
  chromium = await chrome();
  context = await chromium.newContext();
  page = await open("acme");
});
after(async () => {
  await chromium?.close();
  await site?.stop();
  await gate?.stop();
});

function file(folder, path) {
  const found = served(folder, path === "/" ? "index.html" : path);
  return found ? { status: 200, headers: { "content-type": found.type }, body: found.body } : { status: 404, headers: {}, body: Buffer.alloc(0) };
}

async function forward(tenant, request, response) {
  if (!reachable) return null;
  const gone = new AbortController();
  response.on("close", () => gone.abort());
  waiting.push(gone);
  const { host, connection, ...headers } = request.headers;
  const answer = await gate.send(request.url, { host: `${tenant}.app.example.com`, method: request.method, headers, signal: gone.signal });
  const body = Buffer.from(await answer.arrayBuffer());
  const { "content-encoding": encoding, "content-length": length, "transfer-encoding": transfer, ...more } = Object.fromEntries(answer.headers);
  return { status: answer.status, headers: more, body };
}
/** Makes the gate unreachable, also for waiting requests, or reachable again. */
function reach(yes) {
  reachable = yes;
  if (!yes) for (const one of waiting.splice(0)) one.abort();
}
/** Takes the page offline, or online again. */
async function network(there) {
  // Requests in flight survive Chromium's offline mode, but not a lost network.
  reach(there);
  await context.setOffline(!there);
}

/** Opens the page of a tenant and waits until it shows features. */
async function open(tenant) {
  const opened = await context.newPage();
  opened.on("pageerror", (error) => assert.fail(error));
  await opened.goto(`http://${tenant}.localhost:${site.port}/`);
  await opened.waitForFunction("globalThis.app");
  return opened;
}
const shown = async (of = page) => JSON.parse(await of.textContent("#features"));
/**
 * Waits until the page shows the text. It waits for less than the 25 seconds for which the gate
 * holds a request, so that a page that does not receive changes at once fails.
 */
const shows = (id, text) => page.waitForFunction(([id, text]) => document.querySelector(id).textContent.includes(text), [id, text], { timeout: 15_000 });
/** The values of two features for a context, in the page and in the gate. */
const inPage = (attributes) =>
  page.evaluate(async ({ targeting_key: targetingKey, ...more }) => {
    await app.OpenFeature.setContext({ targetingKey, ...more });
    return { editor: app.flags.getBooleanValue("editor", false), checkout: app.flags.getStringValue("checkout", "none") };
  }, attributes);
const byGate = async (attributes) => {
  const { body } = await gate.decide({ tenant: acme.id, features: ["editor", "checkout"], context: attributes, look: true });
  return { editor: body.features.editor.value, checkout: body.features.checkout.value };
};

test("the page shows its tenant's features", async (t) => {
  const { checkout, webhooks, seats } = await shown();
  assert.deepEqual([checkout, webhooks, seats], ["old", false, 20]);
  assert.deepEqual(await page.evaluate("[app.client.tenant.slug, app.client.stale, app.flags.providerStatus]"), ["acme", false, "READY"]);
  const assets = readdirSync(join(root, "pkg/dist")).filter((name) => name.endsWith(".stamp") && name.startsWith("client"));
  for (const name of assets) t.diagnostic(`the module of the client was built as: ${readFileSync(join(root, "pkg/dist", name), "utf8")}`);
  const resources = await page.evaluate(() => performance.getEntriesByType("resource").map(({ name }) => new URL(name).pathname).filter((path) => path.startsWith("/assets/")));
  assert.deepEqual(resources.map((path) => path.split(".").at(-1)).sort(), ["js", "wasm"]);
  for (const path of resources) t.diagnostic(`${path}: ${sizes(Buffer.from(await (await fetch(site.url + path)).arrayBuffer()))}`);
});

test("the page evaluates features for a context like the gate", async () => {
  const seen = [];
  for (const country of ["NL", "BE", "DE", "nl"]) {
    const attributes = { targeting_key: "user-1", country };
    const found = await inPage(attributes);
    assert.deepEqual(found, await byGate(attributes), country);
    seen.push(found.checkout);
  }
  assert.deepEqual(seen, ["new", "new", "old", "old"]);
});

test("a rollout gives 50 users the same values in the page as in the gate", async () => {
  const users = Array.from({ length: 50 }, (_, i) => ({ targeting_key: `user-${i}`, country: "DE" }));
  const found = [];
  for (const user of users) found.push(await inPage(user));
  assert.deepEqual(found, await Promise.all(users.map(byGate)));
  const on = found.filter(({ editor }) => editor).length;
  assert(on > 10 && on < 40, `on for ${on} of 50`);
});

test("a published change appears in the page without a reload", async () => {
  assert.equal((await shown()).webhooks, false);
  const set = await gate.admin("PUT", `/tenants/${acme.id}/overrides`, { feature: "webhooks", value: true, reason: "demo" });
  assert.equal(set.status, 200, JSON.stringify(set.body));
  await shows("#features", '"webhooks":true');
  const [, changed] = await page.evaluate(() => app.events.find(([event]) => event === "PROVIDER_CONFIGURATION_CHANGED"));
  assert.deepEqual(changed, ["webhooks"]);
});

test("a page without a network keeps its features and is STALE, and is READY when the network returns", async () => {
  await network(false);
  await shows("#status", "STALE");
  assert.deepEqual([(await shown()).seats, await page.evaluate("app.client.stale")], [20, true]);
  await network(true);
  await shows("#status", "READY");
  assert.equal(await page.evaluate("app.client.stale"), false);
});

test("a page without a network evaluates another context and stays STALE", async () => {
  await network(false);
  await shows("#status", "STALE");
  const attributes = { targeting_key: "user-1", country: "NL" };
  assert.deepEqual(await inPage(attributes), await byGate(attributes));
  await page.waitForFunction('app.client.stale && app.flags.providerStatus === "STALE"', null, { timeout: 5_000 }).finally(() => network(true));
  await shows("#status", "READY");
});

test("a page that is reloaded without the gate serves its last snapshot until the gate is back", async () => {
  const { webhooks, seats } = await shown();
  reach(false);
  await page.reload();
  await page.waitForFunction("globalThis.app");
  await shows("#status", "STALE");
  const last = await shown();
  assert.deepEqual([last.webhooks, last.seats, last.checkout], [webhooks, seats, "old"]);
  assert.equal(await page.evaluate("app.client.stale"), true);
  // A change that was published meanwhile arrives with the connection.
  assert.equal((await gate.admin("PUT", `/tenants/${acme.id}/overrides`, { feature: "seats", value: 99, reason: "demo" })).status, 200);
  reach(true);
  await shows("#status", "READY");
  await shows("#features", '"seats":99');
  assert.equal(await page.evaluate("app.client.stale"), false);
});

test("the page receives nothing about other tenants and hidden features", async () => {
  const all = [...received, JSON.stringify(await page.evaluate("({ ...localStorage })")), await page.content()].join("\n").toLowerCase();
  // The search finds what the page may know. Otherwise, finding no secret would prove nothing.
  for (const word of ["editor", "checkout", "half", '"country"', "pro@1", acme.id]) assert(all.includes(word.toLowerCase()), word);
  assert.deepEqual(SECRET.filter((word) => all.includes(word.toLowerCase())), []);
  assert.equal(await page.evaluate(() => app.client.evaluate({ country: "NL" }).get("hidden-feature").reason), "FEATURE_UNKNOWN");
  const other = await open("globex");
  assert.deepEqual(await shown(other), { editor: true, checkout: "sold to enterprise", webhooks: false, seats: 5000 });
  await other.close();
});
