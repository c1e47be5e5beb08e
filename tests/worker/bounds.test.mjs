// Bounds on a tenant, its admins and its lists, tested at each bound and beyond it.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { OPERATOR, workers } from "../support/harness.mjs";
import { issuer } from "../support/issuer.mjs";
import { until } from "../support/wait.mjs";

const DAY = 86_400_000;
/** The values of `src/model/bounds.rs`. */
const MAX_OVERLAP_MS = 90 * DAY;
const MAX_NAME_BYTES = 200;
const MAX_ISSUED = 1_000;
const MAX_PAGE_BYTES = 1 << 20;
const ADMIN_BURST_CHANGES = 120;

const plain = { version: 1, resolution: { strategies: [{ strategy: "api_key" }] }, plans: { "pro@1": {} } };
// Each gate has its own tenants, budgets and catalog, so the suites do not affect each other.
const gates = await workers(Object.fromEntries(["keys", "pages", "changes", "ended", "teams"].map((name) => [name, { control: true }])));
after(() => gates.keys.stop());
/** Gives a gate its catalog, and adds helpers that create tenants and rows. */
const prepared = async (gate, catalog = plain) => {
  const put = await gate.admin("PUT", "/catalog", catalog);
  assert.equal(put.status, 200, JSON.stringify(put.body));
  const tenant = async (more = {}) => {
    const made = await gate.admin("POST", "/tenants", { plan: "pro@1", api_key_scopes: null, ...more });
    assert.equal(made.status, 201, JSON.stringify(made.body));
    return made.body.tenant;
  };
  /** Inserts rows into D1, one hundred in each batch. */
  const rows = async (sql, list) => {
    const statement = gate.db.prepare(sql);
    for (let i = 0; i < list.length; i += 100) await gate.db.batch(list.slice(i, i + 100).map((values) => statement.bind(...values)));
  };
  return { ...gate, tenant, rows };
};
const hex = (bytes) => randomBytes(bytes).toString("hex");
const KEY = "INSERT INTO api_keys (id, tenant, epoch, record, created_at) VALUES (?, ?, 1, ?, ?)";
const keyRow = (tenant, more = {}, id = hex(8)) => {
  const record = { id, tenant: tenant.id, hash: hex(32), epoch: 1, scopes: [], created_at: "2026-01-01T00:00:00Z", ...more };
  return [id, tenant.id, JSON.stringify(record), Date.now()];
};
const ago = (ms) => new Date(Date.now() - ms).toISOString();

describe("API keys", () => {
  let gate, acme;
  before(async () => {
    gate = await prepared(gates.keys);
    acme = await gate.tenant({ name: "Acme" });
  });
  const issue = (body, tenant = acme) => gate.admin("POST", `/tenants/${tenant.id}/api-keys`, body);
  const rotate = (id, body, tenant = acme) => gate.admin("POST", `/tenants/${tenant.id}/api-keys/${id}/rotate`, body);
  const path = ({ body }) => body.error.details.problems[0].path;

  test("an API key has a name of at most 200 bytes and at most 64 scopes of 128 bytes", async () => {
    // The bound counts bytes, not characters.
    for (const name of ["n".repeat(MAX_NAME_BYTES), "ä".repeat(MAX_NAME_BYTES / 2), ""]) {
      assert.equal((await issue({ name })).status, 201, name.slice(0, 9));
    }
    for (const name of ["n".repeat(MAX_NAME_BYTES + 1), `n${"ä".repeat(MAX_NAME_BYTES / 2)}`]) {
      const refused = await issue({ name });
      assert.deepEqual([refused.status, path(refused)], [400, "$.name"]);
    }
    const scopes = (count, bytes) => Array.from({ length: count }, (_, i) => `s${i}.`.padEnd(bytes, "x"));
    assert.equal((await issue({ scopes: scopes(64, 128) })).status, 201);
    assert.deepEqual([(await issue({ scopes: scopes(65, 8) })).status, (await issue({ scopes: scopes(1, 129) })).status], [400, 400]);
  });

  test("API keys expire at most ninety days after rotation", async () => {
    const { id } = (await issue({})).body.record;
    const refused = await rotate(id, { overlap_ms: MAX_OVERLAP_MS + 1 });
    assert.deepEqual([refused.status, path(refused)], [400, "$.overlap_ms"]);
    assert.equal((await rotate(id, { overlap_ms: -1 })).status, 400);
    assert.equal((await gate.admin("GET", `/tenants/${acme.id}/api-keys`)).body.items.find((key) => key.id === id).expires_at, undefined);
    const since = Date.now();
    const { body, status } = await rotate(id, { overlap_ms: MAX_OVERLAP_MS });
    assert.equal(status, 201);
    const end = Date.parse(body.replaced.expires_at) - MAX_OVERLAP_MS;
    assert(end >= since - 1_000 && end <= Date.now(), body.replaced.expires_at);
    // A second rotation does not extend the overlap.
    const again = await rotate(id, { overlap_ms: MAX_OVERLAP_MS });
    assert.deepEqual([again.status, again.body.replaced.expires_at], [201, body.replaced.expires_at]);
    // Without an overlap the key expires at once, and an expired key cannot be rotated.
    const at = (await rotate(body.record.id, { overlap_ms: 0 })).body.replaced.expires_at;
    assert(Date.parse(at) <= Date.now());
    assert.equal((await rotate(body.record.id, {})).body.error.code, "WRONG_STATUS");
  });

  test("a tenant has at most a thousand working API keys, issued and rotated ones together", async () => {
    const full = await gate.tenant({ name: "Full" });
    const { id } = (await issue({}, full)).body.record;
    // Expired and revoked keys do not count; a key that expires later does.
    await gate.rows(KEY, [
      ...Array.from({ length: MAX_ISSUED - 3 }, () => keyRow(full)),
      keyRow(full, { expires_at: new Date(Date.now() + DAY).toISOString() }),
      ...Array.from({ length: 20 }, (_, i) => keyRow(full, i % 2 ? { revoked_at: ago(DAY) } : { expires_at: ago(DAY) })),
    ]);
    assert.equal((await rotate(id, {}, full)).status, 201);
    for (const refused of [await rotate(id, {}, full), await issue({}, full), await rotate(id, { overlap_ms: 0 }, full)]) {
      assert.deepEqual([refused.status, refused.body.error.code, refused.body.error.details], [409, "TOO_MANY", { limit: MAX_ISSUED }]);
    }
    assert.equal((await gate.admin("DELETE", `/tenants/${full.id}/api-keys/${id}`)).status, 200);
    assert.equal((await issue({}, full)).status, 201);
    assert.equal((await issue({}, full)).status, 409);
    // Another tenant is not affected.
    assert.equal((await issue({})).status, 201);
  });
});

describe("pages of lists", () => {
  let gate, acme;
  before(async () => {
    gate = await prepared(gates.pages);
    acme = await gate.tenant({ name: "Acme" });
  });
  const read = async (path) => {
    const response = await gate.sendTo(0, `/_gate/v1/admin${path}`, { headers: { authorization: `Bearer ${OPERATOR}` } });
    assert.equal(response.status, 200, path);
    return { text: await response.text(), link: response.headers.get("link") };
  };
  /** Follows a list to its end; returns its entries and the size of each page in bytes. */
  const walk = async (path, from) => {
    const [items, bytes] = [[], []];
    for (let cursor = from; bytes.length < 60;) {
      const { text } = await read(`${path}?limit=1000${cursor === undefined ? "" : `&cursor=${encodeURIComponent(cursor)}`}`);
      const page = JSON.parse(text);
      items.push(...page.items);
      bytes.push(Buffer.byteLength(text));
      cursor = page.next_cursor;
      assert(page.items.length > 0 || cursor === null, "an empty page has a next cursor");
      if (cursor === null) return { items, bytes };
    }
    assert.fail("the list has more than sixty pages");
  };
  /**
   * Checks that no page exceeds a megabyte by more than one entry, and that only the last is much
   * smaller.
   */
  const whole = ({ items, bytes }) => {
    const largest = Math.max(...items.map((item) => Buffer.byteLength(JSON.stringify(item))));
    for (const size of bytes) assert(size <= MAX_PAGE_BYTES * 1.05 + largest, `pages of ${bytes} bytes`);
    for (const size of bytes.slice(0, -1)) assert(size >= MAX_PAGE_BYTES * 0.8 - largest, `pages of ${bytes} bytes`);
    assert(bytes.length > 2, `${bytes.length} pages`);
  };
  const scopes = Array.from({ length: 64 }, (_, i) => `scope-${i}.`.padEnd(128, "x"));
  let ids;

  test("a page of API keys ends at a megabyte, and its cursor leads on to the end of the list", async () => {
    await gate.rows(KEY, Array.from({ length: 400 }, () => keyRow(acme, { scopes })));
    const own = (await gate.admin("POST", `/tenants/${acme.id}/api-keys`, { scopes })).body.record.id;
    const walked = await walk(`/tenants/${acme.id}/api-keys`);
    ids = walked.items.map(({ id }) => id);
    whole(walked);
    assert.deepEqual([ids.length, new Set(ids).size, ids.includes(own)], [401, 401, true]);
    assert(walked.items.every((item) => item.hash === undefined && item.scopes.length === 64));
    // Pages of 67 entries stay below a megabyte, so only `limit` ends them.
    const small = [];
    for (let cursor = ""; cursor !== null;) {
      const page = (await gate.admin("GET", `/tenants/${acme.id}/api-keys?limit=67&cursor=${cursor}`)).body;
      assert(page.items.length === 67 || page.next_cursor === null);
      small.push(...page.items.map(({ id }) => id));
      cursor = page.next_cursor;
    }
    assert.deepEqual(small, ids);
  });

  test("an export contains the first API keys and a link to the rest", async () => {
    const { text } = await read(`/tenants/${acme.id}/export`);
    const { api_keys: first, more_api_keys: more } = JSON.parse(text);
    assert(first.length < 401 && Buffer.byteLength(text) < MAX_PAGE_BYTES * 1.1, `${first.length} keys`);
    const url = new URL(more, "http://gate");
    assert.equal(url.pathname, `/_gate/v1/admin/tenants/${acme.id}/api-keys`);
    const rest = await walk(`/tenants/${acme.id}/api-keys`, url.searchParams.get("cursor"));
    assert.deepEqual([...first, ...rest.items].map(({ id }) => id), ids);
    const few = await gate.tenant({ name: "Few" });
    assert.equal((await gate.admin("GET", `/tenants/${few.id}/export`)).body.more_api_keys, null);
  });

  test("a page of licences ends at a megabyte, and its cursor leads on to the end of the list", async () => {
    const domains = Array.from({ length: 256 }, (_, i) => `${"a".repeat(60)}.${"b".repeat(60)}.host-${i}.example`);
    const issued = (await gate.admin("POST", `/tenants/${acme.id}/licences`, { domains })).body.id;
    const terms = JSON.stringify({ domains });
    const insert = "INSERT INTO licences (id, tenant, hash, terms, created_at) VALUES (?, ?, '', ?, 1)";
    await gate.rows(insert, Array.from({ length: 80 }, () => [hex(8), acme.id, terms]));
    const walked = await walk(`/tenants/${acme.id}/licences`);
    whole(walked);
    const found = walked.items.map(({ id }) => id);
    assert.deepEqual([found.length, new Set(found).size, found.includes(issued)], [81, 81, true]);
    assert.deepEqual(Object.keys(walked.items[0]).sort(), ["activations", "created_at", "id", "instances", "terms"]);
  });

  // Each audit entry contains the old and the new text, of a hundred kilobytes each.
  const changes = async (tenant, letter) => {
    for (let i = 0; i < 16; i++) {
      const text = `${i} ${letter.repeat(100_000 / Buffer.byteLength(letter))}`;
      const { status } = await gate.admin("PATCH", `/tenants/${tenant.id}`, { metadata: { text } });
      assert.equal(status, 200);
    }
  };
  const last = async (tenant) => (await gate.admin("GET", `/tenants/${tenant.id}/audit?limit=1`)).body.head.number;
  const upTo = (number) => Array.from({ length: number }, (_, i) => i + 1);

  test("a page of an audit trail ends at a megabyte and leads on to the end, in every format", async () => {
    const tenant = await gate.tenant({ name: "Changing" });
    await changes(tenant, "x");
    const walked = await walk(`/tenants/${tenant.id}/audit`);
    whole(walked);
    const expected = upTo(await last(tenant));
    assert.deepEqual(walked.items.map(({ number }) => number), expected);
    for (const format of ["lines", "csv"]) {
      const numbers = [];
      for (let query = `?format=${format}&limit=1000`; query;) {
        const { text, link } = await read(`/tenants/${tenant.id}/audit${query}`);
        assert(Buffer.byteLength(text) < 1.5 * MAX_PAGE_BYTES);
        if (format === "lines") numbers.push(...text.trimEnd().split("\n").map((line) => JSON.parse(line).number));
        else numbers.push(...text.trimEnd().split("\r\n").slice(1).map((line) => Number(/^"(\d+)"/.exec(line)[1])));
        query = /^<(\?[^>]+)>; rel="next"$/.exec(link ?? "")?.[1];
      }
      assert.deepEqual(numbers, expected, format);
    }
  });

  test("the size of a page is measured in bytes, not in characters", async () => {
    const tenant = await gate.tenant({ name: "Writing" });
    await changes(tenant, "語");
    const walked = await walk(`/tenants/${tenant.id}/audit`);
    assert.deepEqual(walked.items.map(({ number }) => number), upTo(await last(tenant)));
    whole(walked);
  });
});

describe("changes by tenant admins", () => {
  let gate, source;
  const limits = { teams: { kind: "gauge" } };
  before(async () => {
    source = await issuer();
    gate = await prepared(gates.changes, {
      version: 1, resolution: { strategies: [{ strategy: "jwt" }] }, issuers: { main: source.entry }, limits, sub_tenants: "teams",
      plans: { "pro@1": { limits: { teams: 5 } } },
    });
  });
  after(() => source.stop());
  const tokenOf = ({ id }) => source.sign(id, { scope: "tenantgate:admin" });
  /** Makes a change without an effect: it draws on the budget, which a read does not. */
  const change = (as, tenant) => gate.admin("DELETE", `/tenants/${tenant.id}/api-keys/0000000000000000`, undefined, { as });
  /** Makes changes until one is refused; `done` is the number of those before it. */
  const spend = async (as, tenant, most = ADMIN_BURST_CHANGES + 20) => {
    for (let done = 0; done < most; done++) {
      const { status, body, headers } = await change(as, tenant);
      if (status !== 404) return { done, status, code: body.error.code, details: body.error.details, after: headers.get("retry-after") };
    }
    return { done: most };
  };
  // The budget regains one change every 43 seconds.
  const about = (found, expected) => assert(found >= expected && found <= expected + 3, `${found} changes`);

  test("a tenant's admins make at most 120 changes at once, and nobody else is held up", async () => {
    const [acme, victim] = [await gate.tenant({ name: "Acme" }), await gate.tenant({ name: "Victim" })];
    const [own, other] = [await tokenOf(acme), await tokenOf(victim)];
    const { done, status, code, after: wait, details } = await spend(own, acme);
    about(done, ADMIN_BURST_CHANGES);
    assert.deepEqual([status, code, details.changes_at_once], [429, "RATE_LIMITED", ADMIN_BURST_CHANGES]);
    assert.match(wait, /^\d+$/);
    assert(Number(wait) >= 1 && Number(wait) <= 44, wait);
    // Every operation and every admin of the tenant draw on the same budget.
    assert.equal((await gate.admin("POST", `/tenants/${acme.id}/api-keys`, {}, { as: own })).status, 429);
    assert.equal((await gate.admin("POST", "/tenants", { name: "Team", parent: acme.id }, { as: own })).status, 429);
    const second = await source.sign(acme.id, { scope: "tenantgate:admin", sub: "user-2" });
    assert.equal((await change(second, acme)).status, 429);
    // The admin can still read. Other tenants' admins and the operator can still make changes.
    assert.equal((await gate.admin("GET", `/tenants/${acme.id}`, undefined, { as: own })).status, 200);
    assert.equal((await change(other, victim)).status, 404);
    assert.equal((await gate.admin("POST", `/tenants/${acme.id}/api-keys`, {})).status, 201);
    const { token } = (await gate.admin("POST", "/tokens", { name: "keys", permissions: ["keys:write"] })).body;
    assert.equal((await gate.admin("POST", `/tenants/${acme.id}/api-keys`, {}, { as: token })).status, 201);
    assert.equal((await spend(OPERATOR, acme)).done, ADMIN_BURST_CHANGES + 20);
  });

  test("sub-tenants share one budget, of which each has at most a quarter, and leave the root's alone", async () => {
    const root = await gate.tenant({ name: "Root" });
    const teams = [];
    for (const name of ["A", "B", "C", "D", "E"]) teams.push(await gate.tenant({ name, plan: undefined, parent: root.id }));
    const last = teams.pop();
    for (const team of teams) {
      const { done, status, details } = await spend(await tokenOf(team), team);
      about(done, ADMIN_BURST_CHANGES / 4);
      assert.deepEqual([status, details.changes_at_once], [429, ADMIN_BURST_CHANGES / 4]);
    }
    assert((await spend(await tokenOf(last), last)).done <= 3, "a fifth team finds the shared budget used up");
    about((await spend(await tokenOf(root), root)).done, ADMIN_BURST_CHANGES);
  });

  test("large changes use up the budget sooner than small ones", async () => {
    const bulky = await gate.tenant({ name: "Bulky" });
    const as = await tokenOf(bulky);
    let refused;
    for (let sent = 0; !refused && sent < 40; sent++) {
      const body = { parent: bulky.id, name: "x", metadata: { text: "x".repeat(60_000) }, plan: "pro@1" };
      const { status } = await gate.admin("POST", "/tenants", body, { as });
      if (status === 429) refused = sent;
      else assert.equal(status, 403);
    }
    assert(refused > 5 && refused < 25, `${refused} changes of 60 kB`);
  });
});

describe("retention", () => {
  let gate, acme;
  before(async () => {
    gate = await prepared(gates.ended);
    acme = await gate.tenant({ name: "Acme", metadata: { note: "made-by-hand" }, branding: { name: "Acme Branding" } });
  });

  test("API keys are deleted from D1 and KV thirty days after they expire or are revoked", async () => {
    const rows = {
      revoked: keyRow(acme, { revoked_at: ago(30 * DAY + 60_000) }),
      expired: keyRow(acme, { expires_at: ago(31 * DAY) }),
      "revoked before its end": keyRow(acme, { revoked_at: ago(31 * DAY), expires_at: ago(-31 * DAY) }),
      lately: keyRow(acme, { revoked_at: ago(30 * DAY - 60_000) }),
      "expired lately": keyRow(acme, { expires_at: ago(29 * DAY) }),
      working: keyRow(acme, { expires_at: ago(-DAY) }),
      endless: keyRow(acme),
    };
    await gate.rows(KEY, Object.values(rows));
    for (const [id, , record] of Object.values(rows)) await gate.kv.put(`key:${id}`, record);
    const left = async () => {
      const { results } = await gate.db.prepare("SELECT id FROM api_keys").all();
      const there = results.map(({ id }) => id);
      const found = {};
      for (const [name, [id]] of Object.entries(rows)) found[name] = `${there.includes(id)} ${(await gate.kv.get(`key:${id}`)) !== null}`;
      return found;
    };
    const gone = ["revoked", "expired", "revoked before its end"];
    await until(async () => {
      await gate.tick();
      const found = await left();
      return gone.every((name) => found[name] === "false false");
    }, "keys that ended more than thirty days ago are deleted");
    const found = await left();
    for (const name of Object.keys(rows).filter((name) => !gone.includes(name))) assert.equal(found[name], "true true", name);
  });

  test("ended API keys that one scheduled run leaves over are deleted by later runs", async () => {
    const revoked_at = ago(40 * DAY);
    const many = Array.from({ length: 250 }, () => keyRow(acme, { revoked_at }));
    await gate.rows(KEY, many);
    const left = gate.db.prepare("SELECT count(*) AS n FROM api_keys WHERE record LIKE ?").bind(`%${revoked_at}%`);
    const count = async () => (await left.first()).n;
    assert.equal(await count(), 250);
    await until(async () => {
      await gate.tick();
      return (await count()) === 0;
    }, "all ended keys are deleted");
  });

  test("after provisioning, a tenant's metadata and branding remain in its record alone", async () => {
    const row = await gate.db.prepare("SELECT state, question FROM provisionings WHERE tenant = ?").bind(acme.id).first();
    assert.equal(row.state, "done");
    assert.doesNotMatch(row.question, /made-by-hand|Acme Branding|metadata|branding/);
    assert.equal((await gate.admin("GET", `/tenants/${acme.id}`)).body.metadata.note, "made-by-hand");
    // Once the tenant is deleted, nothing of its request remains.
    await gate.admin("DELETE", `/tenants/${acme.id}`);
    const after = await gate.db.prepare("SELECT question FROM provisionings WHERE tenant = ?").bind(acme.id).first();
    assert.equal(after?.question ?? "{}", "{}");
  });
});

describe("sub-tenants", () => {
  let source, gate;
  before(async () => {
    source = await issuer();
    const resolution = { strategies: [{ strategy: "jwt" }] };
    gate = await prepared(gates.teams, { version: 1, resolution, issuers: { main: source.entry }, plans: { "pro@1": {} } });
  });
  after(() => source.stop());
  const below = async (parent, who, name) =>
    gate.admin("POST", "/tenants", { name, parent: parent.id }, { as: await source.sign(who.id, { scope: "tenantgate:admin" }) });

  test("a tenant admin can create sub-tenants only if the catalog allows a number of them", async () => {
    const acme = await gate.tenant({ name: "Acme" });
    const refused = await below(acme, acme, "Team");
    assert.deepEqual([refused.status, refused.body.error.code], [409, "TOO_MANY"]);
    // The operator can create one all the same.
    assert.equal((await gate.admin("POST", "/tenants", { name: "Team", parent: acme.id })).status, 201);
    const { body: catalog } = await gate.admin("GET", "/catalog");
    const put = async (more) => assert.equal((await gate.admin("PUT", "/catalog", { ...catalog, ...more })).status, 200);
    // A plan without this limit has the limit's default, which is 0.
    const limits = { teams: { kind: "gauge", default: 0 } };
    await put({ sub_tenants: "teams", limits, plans: { ...catalog.plans, "pro@2": { limits: { teams: 2 } } } });
    assert.equal((await below(acme, acme, "Team")).body.error?.code, "TOO_MANY");
    const other = await gate.tenant({ name: "Other", plan: "pro@2" });
    assert.equal((await below(other, other, "Team")).status, 201);
  });

  test("a sub-tenant's admin does not learn how many sub-tenants its ancestors have", async () => {
    const root = await gate.tenant({ name: "Root", plan: "pro@2" });
    const team = (await gate.admin("POST", "/tenants", { name: "One", parent: root.id })).body.tenant;
    assert.equal((await gate.admin("POST", "/tenants", { name: "Two", parent: root.id })).status, 201);
    const own = await below(root, root, "Three");
    assert.deepEqual([own.status, own.body.error.code, own.body.error.details], [409, "TOO_MANY", { limit: 2, used: 2 }]);
    // The team's admin is refused as well, but without the numbers of the root's allowance.
    const hidden = await below(team, team, "Three");
    assert.deepEqual([hidden.status, hidden.body.error.code], [409, "TOO_MANY"]);
    assert.deepEqual(hidden.body.error.details ?? {}, {});
    assert(!JSON.stringify(hidden.body).includes(root.id));
    const deep = await below(team, root, "Three");
    assert.deepEqual([deep.status, deep.body.error.details], [409, { limit: 2, used: 2 }]);
  });
});
