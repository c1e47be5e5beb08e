// Roles: no token lets its holder do, grant or become more than its permissions say.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { OPERATOR, workers } from "../support/harness.mjs";
import { issuer } from "../support/issuer.mjs";

const ALL = [
  "tenants:read", "tenants:write", "catalog:read", "catalog:write", "identity:write", "keys:write", "audit:read", "publish", "support",
  "tokens:write",
];
const resolution = { strategies: [{ strategy: "header" }] };
const plain = { version: 1, resolution, plans: { "pro@1": {} } };

// Each gate has its own tenants, tokens and catalog, so the suites do not affect each other.
const NAMES = ["permissions", "catalogs", "records", "tokens", "places", "support", "issuers"];
const gates = await workers(Object.fromEntries(NAMES.map((name) => [name, { control: true }])));
after(() => gates.permissions.stop());
/** Gives a gate its catalog, and adds helpers that create tokens and tenants. */
const prepared = async (gate, catalog) => {
  const put = await gate.admin("PUT", "/catalog", catalog);
  assert.equal(put.status, 200, JSON.stringify(put.body));
  /** Creates an admin token with these permissions; `as` is the token that creates it. */
  const token = async (permissions, { as, expires_at } = {}) => {
    const made = await gate.admin("POST", "/tokens", { name: permissions.join(" ").slice(0, 100), permissions, expires_at }, { as });
    assert.equal(made.status, 201, JSON.stringify(made.body));
    return made.body;
  };
  const tenant = async (more = {}) => {
    const made = await gate.admin("POST", "/tenants", { plan: "pro@1", ...more });
    assert.equal(made.status, 201, JSON.stringify(made.body));
    return made.body.tenant;
  };
  /** The status of a response, with its error code if it has one. */
  const judged = async (as, method, path, body) => {
    const { status, body: said } = await gate.admin(method, path, body, { as });
    return said.error ? `${status} ${said.error.code}` : status;
  };
  return { ...gate, token, tenant, judged };
};

describe("permissions", () => {
  let gate, acme, licence, operations, known;
  const tokens = new Map();
  before(async () => {
    gate = await prepared(gates.permissions, { ...plain, features: { sso: {} } });
    acme = await gate.tenant({ name: "Acme" });
    licence = (await gate.admin("POST", `/tenants/${acme.id}/licences`, {})).body.id;
    const { body: job } = await gate.admin("POST", "/plans/pro@1/move", { to: "pro@1" });
    assert.equal(job.error.code, "BAD_REQUEST");
    const { paths, components } = await (await gate.send("/_gate/openapi.json")).json();
    known = components.schemas.Permission.enum;
    operations = Object.entries(paths).filter(([path]) => path.startsWith("/_gate/v1/admin/")).flatMap(([path, methods]) =>
      Object.entries(methods).filter(([, { operationId }]) => operationId).map(([method, { operationId, description }]) => {
        const needs = [...description.split(", or ")[0].matchAll(/`([a-z:]+)`/g)].map(([, permission]) => permission);
        return { id: operationId, method: method.toUpperCase(), path: path.slice("/_gate/v1/admin".length), needs };
      }));
    for (const permission of known) tokens.set(permission, (await gate.token([permission])).token);
  });

  /**
   * A read refers to something that exists, a change to something that does not, so that nothing is
   * changed.
   */
  const ask = (as, { method, path }) => {
    const names = { tenant: method === "GET" ? acme.id : "t_nobody", feature: "nothing", plan: "none@1", job: "j_none", host: "a.example", ...(method === "GET" && { licence }) };
    const filled = path.replace(/\{(\w+)\}/g, (_, name) => names[name] ?? "0000000000000000");
    return gate.judged(as, method, filled, method === "GET" || method === "DELETE" ? undefined : {});
  };

  test("the API description names the permissions of every admin operation", () => {
    assert.deepEqual([...known].sort(), [...ALL].sort());
    assert(operations.length >= 44, `${operations.length} operations`);
    for (const { id, needs } of operations) assert(needs.length && needs.every((one) => known.includes(one)), `${id}: ${needs}`);
    assert.deepEqual(new Set(operations.flatMap(({ needs }) => needs)), new Set(known));
  });

  for (const permission of ALL) {
    test(`\`${permission}\` opens exactly the operations that need this permission alone`, async () => {
      const wrong = [];
      for (const operation of operations) {
        const said = await ask(tokens.get(permission), operation);
        // The import is for the operator alone.
        const opens = operation.id !== "import" && operation.needs.every((needed) => needed === permission);
        const good = opens ? !/^(401|403|429|5)/.test(said) : said === "403 FORBIDDEN";
        if (!good) wrong.push(`${operation.id}: ${said}`);
        if (opens && operation.method === "GET" && operation.id !== "getJob" && said !== 200) wrong.push(`${operation.id}: ${said}`);
      }
      assert.deepEqual(wrong, []);
    });
  }

  test("an operation that needs two permissions is open only to a token with both", async () => {
    const both = operations.filter(({ needs }) => needs.length > 1);
    assert(both.some(({ id }) => id === "moveTenant"));
    for (const operation of both) {
      assert.doesNotMatch(String(await ask((await gate.token(operation.needs)).token, operation)), /^(401|403|5)/, operation.id);
      // All other permissions together do not open it.
      for (const needed of operation.needs) {
        const { token } = await gate.token(ALL.filter((permission) => permission !== needed));
        assert.equal(await ask(token, operation), "403 FORBIDDEN", `${operation.id} without ${needed}`);
      }
    }
  });

  test("only the operator can import, whatever permissions an admin token has", async () => {
    const { token } = await gate.token(ALL);
    const seed = { catalog: plain, tenants: [], api_keys: [] };
    assert.equal(await gate.judged(token, "POST", "/import", seed), "403 FORBIDDEN");
    assert.equal(await gate.judged(OPERATOR, "POST", "/import", seed), 200);
  });
});

describe("`catalog:write`", () => {
  const base = {
    version: 1,
    resolution: { strategies: [{ strategy: "jwt" }, { strategy: "header" }] },
    features: { sso: {} },
    limits: { month: { kind: "quota", period: "month" } },
    plans: { "pro@1": { limits: { month: 10 } } },
    routes: [{ path: "/open", auth: "none" }, { path: "/write", methods: ["POST"], scopes: ["api.write"], limits: { month: 1 } }],
  };
  let gate, source, prices, both;
  before(async () => {
    source = await issuer();
    base.issuers = { main: source.entry };
    gate = await prepared(gates.catalogs, base);
    [prices, both] = [(await gate.token(["catalog:write"])).token, (await gate.token(["catalog:write", "identity:write"])).token];
  });
  after(() => source.stop());

  const changed = (edit) => {
    const catalog = structuredClone(base);
    edit(catalog);
    return catalog;
  };
  const said = {
    "an added issuer": (catalog) => { catalog.issuers.other = { ...source.entry, issuer: "https://other.example" }; },
    "no issuers": (catalog) => { delete catalog.issuers; catalog.resolution.strategies.shift(); delete catalog.routes[1].scopes; },
    "another key URL": (catalog) => { catalog.issuers.main.jwks_url = "https://mallory.example/keys"; },
    "an added strategy": (catalog) => { catalog.resolution.strategies.push({ strategy: "query" }); },
    "a removed strategy": (catalog) => { catalog.resolution.strategies.pop(); },
    "another resolution mode": (catalog) => { catalog.resolution.mode = "first"; },
    "an added route": (catalog) => { catalog.routes.push({ path: "/other" }); },
    "a removed route": (catalog) => { catalog.routes.pop(); },
    "no routes": (catalog) => { delete catalog.routes; },
    "another path of a route": (catalog) => { catalog.routes[1].path = "/"; },
    "other methods of a route": (catalog) => { catalog.routes[1].methods = ["PUT"]; },
    "all methods of a route": (catalog) => { delete catalog.routes[1].methods; },
    "public access to a route": (catalog) => { catalog.routes[1] = { path: "/write", methods: ["POST"], access: "public" }; },
    "another auth of a route": (catalog) => { catalog.routes[0].auth = "jwt"; },
    "no scopes of a route": (catalog) => { delete catalog.routes[1].scopes; },
    "other scopes of a route": (catalog) => { catalog.routes[1].scopes = ["api.read"]; },
    "access for descendants": (catalog) => { catalog.routes[1].act_for_descendants = true; },
  };

  for (const [what, edit] of Object.entries(said)) {
    test(`\`catalog:write\` alone cannot change who may act for a tenant: ${what}`, async () => {
      const catalog = changed(edit);
      const { status, body } = await gate.admin("PUT", "/catalog", catalog, { as: prices });
      assert.equal(status, 403, JSON.stringify(body));
      assert.deepEqual([body.error.code, body.error.details], ["FORBIDDEN", { permission: "identity:write" }]);
      // With both permissions it can make the change and undo it.
      for (const document of [catalog, base]) assert.equal(await gate.judged(both, "PUT", "/catalog", document), 200);
    });
  }

  test("computing an impact or killing a feature leaves the issuers unchanged", async () => {
    const mine = changed((catalog) => { catalog.issuers.main.jwks_url = "https://mallory.example/keys"; });
    const { token } = await gate.token(["catalog:read", "catalog:write", "tenants:read"]);
    assert.equal(await gate.judged(token, "POST", "/catalog/impact", { catalog: mine }), 200);
    assert.equal(await gate.judged(prices, "POST", "/features/sso/kill", { reason: "x" }), 200);
    assert.equal(await gate.judged(prices, "POST", "/features/sso/revive", { reason: "x" }), 200);
    assert.equal((await gate.admin("GET", "/catalog")).body.issuers.main.jwks_url, source.url);
  });

  test("`catalog:write` alone can change plans, features, limits and what routes cost", async () => {
    for (const edit of [
      (catalog) => { catalog.plans["pro@2"] = { features: ["sso"], limits: { month: 100 } }; },
      (catalog) => { catalog.plans["pro@1"].retired = true; },
      (catalog) => { catalog.features.webhooks = {}; },
      (catalog) => { catalog.limits.day = { kind: "quota", period: "day", default: 5 }; },
      (catalog) => { catalog.routes[1].limits.month = 5; },
      (catalog) => { catalog.routes[0].feature = "sso"; },
      (catalog) => { catalog.upgrade_url = "/more"; },
    ]) {
      const put = await gate.admin("PUT", "/catalog", changed(edit), { as: prices });
      assert.equal(put.status, 200, `${edit}: ${JSON.stringify(put.body)}`);
    }
    assert.equal(await gate.judged(prices, "PUT", "/catalog", base), 200);
  });
});

describe("members of a record with permissions of their own", () => {
  let gate, acme;
  const tokens = {};
  before(async () => {
    gate = await prepared(gates.records, { ...plain, shards: { "eu-1": { region: "eu" } } });
    acme = await gate.tenant({ name: "Acme", data_route: { strategy: "schema" } });
    for (const [name, permissions] of Object.entries({
      writer: ["tenants:write"], places: ["tenants:write", "identity:write"], keys: ["tenants:write", "keys:write"],
      mover: ["identity:write"], prices: ["catalog:write"],
    })) tokens[name] = (await gate.token(permissions)).token;
  });
  const patch = (who, body) => gate.judged(tokens[who], "PATCH", `/tenants/${acme.id}`, body);
  const create = (who, body) => gate.judged(tokens[who], "POST", "/tenants", { name: "New", plan: "pro@1", ...body });

  test("changing a tenant's data route or credential settings needs more than `tenants:write`", async () => {
    assert.equal(await patch("writer", { name: "Acme Inc" }), 200);
    for (const data_route of [null, {}, { name: "other" }, { strategy: "schema", shard: "eu-1", name: "other" }]) {
      for (const who of ["writer", "keys"]) assert.equal(await patch(who, { data_route }), "403 FORBIDDEN");
    }
    for (const credentials_from of [null, 0, "2020-01-01T00:00:00Z"]) {
      for (const who of ["writer", "places"]) assert.equal(await patch(who, { credentials_from }), "403 FORBIDDEN");
    }
    assert.equal(await patch("writer", { api_key_scopes: ["api.write"] }), "403 FORBIDDEN");
    assert.equal(await patch("writer", { name: "Both", credentials_from: null }), "403 FORBIDDEN");
    const { body } = await gate.admin("GET", `/tenants/${acme.id}`);
    assert.deepEqual([body.name, body.credentials_from, body.data_route.name], ["Acme Inc", undefined, `tenant_${acme.id}`]);
    assert.equal(await patch("keys", { credentials_from: "2020-01-01T00:00:00Z" }), 200);
    assert.equal(await patch("places", { data_route: { name: "acme_data" } }), 200);
  });

  test("creating a tenant with a named data route or key scopes needs more than `tenants:write`", async () => {
    assert.equal(await create("writer", {}), 201);
    // A data route that the gate chooses and a key without scopes give no access to anything.
    assert.equal(await create("writer", { data_route: { strategy: "schema" } }), 201);
    assert.equal(await create("writer", { api_key_scopes: [] }), 201);
    for (const body of [{ data_route: { strategy: "schema", name: `tenant_${acme.id}` } }, { api_key_scopes: ["api.write"] }]) {
      assert.equal(await create("writer", body), "403 FORBIDDEN", JSON.stringify(body));
    }
    // A request for a new tenant cannot have this member at all.
    for (const who of ["writer", "keys"]) assert.match(await create(who, { credentials_from: null }), /^40[03] /);
    assert.equal(await create("keys", { data_route: { name: "somewhere" } }), "403 FORBIDDEN");
    assert.equal(await create("places", { api_key_scopes: ["api.write"] }), "403 FORBIDDEN");
    assert.equal(await create("keys", { api_key_scopes: ["api.write"] }), 201);
    assert.equal(await create("places", { data_route: { strategy: "schema", name: "somewhere" } }), 201);
  });

  for (const [member, value] of Object.entries({
    data_route: { strategy: "schema", shard: "eu-1", name: "victim_data" }, credentials_from: "2020-01-01T00:00:00Z", parent: "t_victim",
    status: "suspended", domains: [{ host: "victim.example", state: "verified" }],
  })) {
    test(`\`catalog:write\` alone cannot preset \`${member}\` for new tenants`, async () => {
      const before = (await gate.admin("GET", "/catalog")).body;
      const put = await gate.admin("PUT", "/catalog", { ...before, tenant_defaults: { [member]: value } }, { as: tokens.prices });
      const made = put.status === 200 ? await gate.admin("POST", "/tenants", { name: "Mallory", plan: "pro@1" }) : undefined;
      await gate.admin("PUT", "/catalog", before);
      // The default is either refused or has no effect.
      if (made) assert.doesNotMatch(JSON.stringify(made.body.tenant?.[member] ?? ""), /victim|2020|suspended/, JSON.stringify(made.body));
      else assert.match(String(put.status), /^40[03]$/);
    });
  }

  test("moving a tenant needs both `tenants:write` and `identity:write`", async () => {
    const [one, other] = [await gate.tenant({ name: "One" }), await gate.tenant({ name: "Other" })];
    const move = (who) => gate.judged(tokens[who], "POST", `/tenants/${one.id}/move`, { parent: other.id });
    assert.deepEqual([await move("writer"), await move("mover"), await move("keys")], Array(3).fill("403 FORBIDDEN"));
    assert.equal((await gate.admin("GET", `/tenants/${one.id}`)).body.parent, undefined);
    assert.equal(await move("places"), 200);
  });
});

describe("admin tokens", () => {
  const HOUR = 3_600_000;
  let gate;
  before(async () => { gate = await prepared(gates.tokens, plain); });
  const works = async ({ token }) => (await gate.judged(token, "GET", "/tokens")) === 200;
  const later = (ms) => new Date(Date.now() + ms).toISOString();
  const issue = (as, body) => gate.admin("POST", "/tokens", { name: "child", permissions: ["tokens:write"], ...body }, { as: as.token });

  test("an admin token cannot grant a permission that it does not have", async () => {
    for (const permission of ALL) {
      const maker = await gate.token(["tokens:write", permission].filter((one, i, all) => all.indexOf(one) === i));
      for (const given of ALL) {
        const { status } = await issue(maker, { permissions: [given] });
        assert.equal(status, [permission, "tokens:write"].includes(given) ? 201 : 403, `${permission} grants ${given}`);
      }
      assert.equal((await issue(maker, { permissions: ALL })).status, 403);
    }
    assert.equal((await issue({ token: OPERATOR }, { permissions: ["everything"] })).status, 400);
    assert.equal((await issue({ token: OPERATOR }, { permissions: [] })).status, 400);
  });

  test("a child token expires no later than its maker, and by default at the same time", async () => {
    const maker = await gate.token(["tokens:write"], { expires_at: later(HOUR) });
    const refused = await issue(maker, { expires_at: later(2 * HOUR) });
    assert.deepEqual([refused.status, refused.body.error.details.problems[0].path], [400, "$.expires_at"]);
    const same = (one, other) => assert.equal(Date.parse(one.expires_at), Date.parse(other.expires_at));
    const child = (await issue(maker)).body;
    same(child, maker);
    same((await issue(maker, { expires_at: null })).body, maker);
    same((await issue(maker, { expires_at: maker.expires_at })).body, maker);
    const shorter = (await issue(maker, { expires_at: later(HOUR / 2) })).body;
    assert(Date.parse(shorter.expires_at) < Date.parse(maker.expires_at));
    same((await issue(shorter)).body, shorter);
    assert.equal((await issue(shorter, { expires_at: maker.expires_at })).status, 400);
    // The same holds for a grandchild.
    same((await issue(child)).body, maker);
    // The child of a token without an expiry has no expiry either.
    const endless = await gate.token(["tokens:write"]);
    assert.equal((await issue(endless)).body.expires_at, null);
  });

  const chain = async () => {
    const first = await gate.token(["tokens:write"], { expires_at: later(HOUR) });
    const second = (await issue(first)).body;
    const third = (await issue(second)).body;
    assert.deepEqual([await works(first), await works(second), await works(third)], [true, true, true]);
    return [first, second, third];
  };
  const standing = async (tokens) => Promise.all(tokens.map(works));

  test("revoking an admin token ends every token below it, and its makers keep working", async () => {
    let tokens = await chain();
    assert.equal(await gate.judged(OPERATOR, "DELETE", `/tokens/${tokens[0].id}`), 200);
    assert.deepEqual(await standing(tokens), [false, false, false]);
    tokens = await chain();
    assert.equal(await gate.judged(OPERATOR, "DELETE", `/tokens/${tokens[1].id}`), 200);
    assert.deepEqual(await standing(tokens), [true, false, false]);
    tokens = await chain();
    // A token can be revoked by its own child, which ends at once as well.
    assert.equal(await gate.judged(tokens[2].token, "DELETE", `/tokens/${tokens[1].id}`), 200);
    assert.deepEqual(await standing(tokens), [true, false, false]);
  });

  test("an admin token that expires or is deleted ends every token below it", async () => {
    for (const statement of ["UPDATE admin_tokens SET expires_at = 1 WHERE id = ?", "DELETE FROM admin_tokens WHERE id = ?"]) {
      for (const [ended, left] of [[0, [false, false, false]], [1, [true, false, false]], [2, [true, true, false]]]) {
        const tokens = await chain();
        await gate.db.prepare(statement).bind(tokens[ended].id).run();
        assert.deepEqual(await standing(tokens), left, `${statement} ${ended}`);
      }
    }
  });

  test("an admin token cannot revoke a token with more permissions", async () => {
    const [small, large] = [await gate.token(["tokens:write"]), await gate.token(["tokens:write", "tenants:read"])];
    assert.equal(await gate.judged(small.token, "DELETE", `/tokens/${large.id}`), "403 FORBIDDEN");
    assert(await works(large));
    assert.equal(await gate.judged(large.token, "DELETE", `/tokens/${small.id}`), 200);
    assert.equal(await works(small), false);
    assert.equal(await gate.judged(large.token, "DELETE", `/tokens/${large.id}`), 200);
    assert.equal(await works(large), false);
  });

  test("a chain of admin tokens made by one another has at most eight tokens", async () => {
    let last = await gate.token(["tokens:write"]);
    for (let made = 2; made <= 8; made++) {
      const next = await issue(last);
      assert.equal(next.status, 201, `${made}: ${JSON.stringify(next.body)}`);
      last = next.body;
    }
    assert(await works(last));
    const ninth = await issue(last);
    assert.deepEqual([ninth.status, ninth.body.error.code, ninth.body.error.details], [409, "TOO_MANY", { limit: 8 }]);
  });
});

describe("data routes", () => {
  let gate;
  const shards = { "eu-1": { region: "eu" }, "eu-2": { region: "eu" } };
  before(async () => { gate = await prepared(gates.places, { ...plain, shards }); });
  const place = (name, shard = "eu-1") => ({ strategy: "schema", shard, name });
  const create = (data_route, more) => gate.judged(OPERATOR, "POST", "/tenants", { name: "Mallory", plan: "pro@1", data_route, ...more });
  const TAKEN = "409 DATA_ROUTE_TAKEN";

  test("two tenants cannot have the same data route", async () => {
    await gate.tenant({ name: "Acme", data_route: place("acme") });
    assert.equal(await create(place("acme")), TAKEN);
    assert.equal(await create({ ...place("acme"), strategy: "database" }), TAKEN);
    // The same name in another shard is another data route.
    assert.equal(await create(place("acme", "eu-2")), 201);
    // This holds for a data route that the gate has chosen, too.
    const chosen = await gate.tenant({ name: "Chosen", data_route: { strategy: "schema" } });
    assert.equal(await create(chosen.data_route), TAKEN);
  });

  test("the operator cannot give a tenant the data route of another one", async () => {
    const victim = await gate.tenant({ name: "Victim", data_route: place("victim") });
    const mallory = await gate.tenant({ name: "Mallory", data_route: place("mallory") });
    const patch = (data_route) => gate.judged(OPERATOR, "PATCH", `/tenants/${mallory.id}`, { data_route });
    assert.equal(await patch(place("victim")), TAKEN);
    assert.equal(await patch({ name: "victim" }), TAKEN);
    assert.deepEqual((await gate.admin("GET", `/tenants/${mallory.id}`)).body.data_route, place("mallory"));
    // A tenant may go elsewhere and come back: its former data route stays reserved for it.
    assert.deepEqual([await patch(place("elsewhere")), await patch(place("mallory"))], [200, 200]);
    assert.equal(await gate.judged(OPERATOR, "PATCH", `/tenants/${victim.id}`, { data_route: place("elsewhere") }), TAKEN);
  });

  test("the data route of a deleted tenant cannot be given to another tenant", async () => {
    const gone = await gate.tenant({ name: "Gone", data_route: place("gone") });
    assert.equal(await gate.judged(OPERATOR, "DELETE", `/tenants/${gone.id}`), 200);
    assert.equal(await create(place("gone")), TAKEN);
    const other = await gate.tenant({ name: "Other" });
    assert.equal(await gate.judged(OPERATOR, "PATCH", `/tenants/${other.id}`, { data_route: place("gone") }), TAKEN);
  });

  test("an import cannot give two tenants the same data route", async () => {
    const own = await gate.tenant({ name: "Own", data_route: place("own") });
    const take = (tenants, query = "") =>
      gate.judged(OPERATOR, "POST", `/import${query}`, { catalog: { ...plain, shards }, tenants, api_keys: [] });
    const imported = (id, data_route) => ({ id: `t_${id}`, slug: id, plan: "pro@1", data_route });
    assert.equal(await take([imported("late", place("own"))]), TAKEN);
    assert.equal(await take([imported("twin-a", place("twin")), imported("twin-b", place("twin"))]), TAKEN);
    assert.equal((await gate.admin("GET", "/tenants/t_twin-a")).status, 404);
    assert.equal(await take([imported("first", place("first"))]), 200);
    assert.equal(await create(place("first")), TAKEN);
    // Replacing a record does not get around that.
    assert.equal(await take([imported("first", place("own"))], "?overwrite=true"), TAKEN);
    assert.deepEqual((await gate.admin("GET", "/tenants/t_first")).body.data_route, place("first"));
    assert.deepEqual((await gate.admin("GET", `/tenants/${own.id}`)).body.data_route, place("own"));
  });
});

describe("support", () => {
  let gate, acme;
  before(async () => {
    gate = await prepared(gates.support, { ...plain, resolution: { strategies: [{ strategy: "api_key" }] } });
    acme = await gate.tenant({ name: "Acme" });
  });
  const enter = ({ token }, scopes = []) =>
    gate.admin("POST", `/tenants/${acme.id}/impersonate`, { reason: "ticket 4711", scopes }, { as: token });
  const redeem = async (ticket) => (await gate.send("/_gate/v1/tickets", { method: "POST", body: JSON.stringify({ ticket }) })).status;

  test("a support ticket cannot have the scope of a tenant admin", async () => {
    for (const who of [await gate.token(["support"]), { token: OPERATOR }]) {
      for (const scopes of [["tenantgate:admin"], ["api.read", "tenantgate:admin"]]) assert.equal((await enter(who, scopes)).status, 403);
      assert.equal(await redeem((await enter(who, ["api.read"])).body.ticket), 201);
    }
  });

  test("a support ticket is void once the admin token that requested it has ended", async () => {
    const maker = await gate.token(["support", "tokens:write"]);
    const child = await gate.token(["support"], { as: maker.token });
    const [early, ofMaker, ofChild] = [await enter(maker), await enter(maker), await enter(child)].map(({ body }) => body.ticket);
    assert.equal(await redeem(early), 201);
    await gate.admin("DELETE", `/tokens/${maker.id}`);
    assert.deepEqual([await redeem(ofMaker), await redeem(ofChild)], [401, 401]);
    // No key is left that would work if the token came back.
    const keys = (await gate.admin("GET", `/tenants/${acme.id}/api-keys`)).body.items.filter(({ name }) => name?.includes(child.id));
    assert.deepEqual(keys, []);
    const short = await gate.token(["support"]);
    const late = (await enter(short)).body.ticket;
    await gate.db.prepare("UPDATE admin_tokens SET expires_at = 1 WHERE id = ?").bind(short.id).run();
    assert.equal(await redeem(late), 401);
  });
});

describe("two issuers of one tenant", () => {
  let gate, acme, main, other;
  before(async () => {
    [main, other] = [await issuer(), await issuer({ kid: "k2" })];
    gate = await prepared(gates.issuers, {
      ...plain, resolution: { strategies: [{ strategy: "jwt" }] }, issuers: { main: main.entry, other: other.entry },
      limits: { teams: { kind: "gauge" } }, sub_tenants: "teams", plans: { "pro@1": { limits: { teams: 10 } } },
    });
    acme = await gate.tenant({ name: "Acme" });
  });
  after(() => Promise.all([main.stop(), other.stop()]));
  const as = (source, claims) => source.sign(acme.id, { scope: "tenantgate:admin", sub: "user-1", ...claims });

  test("the audit trail distinguishes the same subject of two issuers", async () => {
    for (const source of [main, other]) {
      assert.equal((await gate.admin("POST", `/tenants/${acme.id}/api-keys`, {}, { as: await as(source) })).status, 201);
    }
    const { items } = (await gate.admin("GET", `/tenants/${acme.id}/audit`)).body;
    const actors = items.filter(({ actor }) => actor.kind === "tenant").map(({ actor }) => actor);
    assert.deepEqual(actors, ["main", "other"].map((issuer) => ({ kind: "tenant", id: "user-1", tenant: acme.id, issuer })));
  });

  test("the same subject and idempotency key from another issuer replay no response", async () => {
    const make = async (source, body, claims) => {
      const token = await as(source, claims);
      const made = await gate.admin("POST", "/tenants", { parent: acme.id, ...body }, { as: token, "idempotency-key": "once" });
      return [made.status, made.headers.get("idempotency-replayed"), made.body.tenant?.id];
    };
    const first = await make(main, { name: "Team" });
    assert.deepEqual(first.slice(0, 2), [201, null]);
    assert.deepEqual(await make(main, { name: "Team" }), [201, "true", first[2]]);
    const second = await make(other, { name: "Team" });
    assert.deepEqual(second.slice(0, 2), [201, null]);
    assert.notEqual(second[2], first[2]);
    // Nor does a subject that reads like another issuer and subject joined together.
    const third = await make(main, { name: "Team" }, { sub: "other user-1" });
    assert.deepEqual(third.slice(0, 2), [201, null]);
  });
});
