// Row-level security on real PostgreSQL: a transaction sees and writes rows of its tenant only, also
// on a pooled connection that another tenant has used before.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { rowLevelSecurity, withTenant } from "../../pkg/postgres.js";
import { postgres } from "./databases.mjs";

let server;
before(async () => {
  server = await postgres();
  await server.owner.query(`
    CREATE TABLE tasks (id integer PRIMARY KEY, tenant_id text NOT NULL, title text NOT NULL);
    CREATE TABLE "odd ""name" (id integer, tenant_id text NOT NULL);
    GRANT ALL ON tasks, "odd ""name" TO app;`);
  await server.owner.query("INSERT INTO tasks VALUES (1, 't_acme', 'draw'), (2, 't_other', 'secret')");
  const script = rowLevelSecurity({ tables: ["tasks", 'odd "name'] });
  // A migration may run again.
  for (let i = 0; i < 2; i++) await server.owner.query(script);
});
after(() => server?.stop());

const titles = async (client) => (await client.query("SELECT title FROM tasks ORDER BY id")).rows.map(({ title }) => title);

describe("row-level security", () => {
  test("a transaction sees rows of its tenant, and none without a tenant", async () => {
    assert.deepEqual(await withTenant(server.app, "t_acme", titles), ["draw"]);
    assert.deepEqual(await withTenant(server.app, "t_other", titles), ["secret"]);
    assert.deepEqual(await titles(server.app), []);
    assert.deepEqual(await withTenant(server.app, "' OR true --", titles), []);
  });

  test("a transaction writes rows of its tenant only", async () => {
    const denied = /row-level security/;
    await assert.rejects(withTenant(server.app, "t_acme", (client) => client.query("INSERT INTO tasks VALUES (3, 't_other', 'planted')")), denied);
    await assert.rejects(withTenant(server.app, "t_acme", (client) => client.query("UPDATE tasks SET tenant_id = 't_other'")), denied);
    const { rowCount } = await withTenant(server.app, "t_acme", (client) => client.query("DELETE FROM tasks WHERE id = 2"));
    assert.equal(rowCount, 0);
    await assert.rejects(server.app.query("INSERT INTO tasks VALUES (4, 't_acme', 'without a tenant')"), denied);
  });

  test("a failed transaction leaves no tenant behind on its connection", async () => {
    await assert.rejects(withTenant(server.app, "t_other", async (client) => { await titles(client); throw new Error("the application failed"); }), /application failed/);
    assert.deepEqual(await titles(server.app), []);
    await assert.rejects(withTenant(server.app, "t_other", (client) => client.query("SELECT nothing FROM tasks")));
    assert.deepEqual(await withTenant(server.app, "t_acme", titles), ["draw"]);
  });

  test("a connection that is lost is replaced", async () => {
    await assert.rejects(withTenant(server.app, "t_acme", async (client) => {
      const { rows: [{ pid }] } = await client.query("SELECT pg_backend_pid() AS pid");
      await server.owner.query("SELECT pg_terminate_backend($1)", [pid]);
      await titles(client);
    }));
    assert.deepEqual(await withTenant(server.app, "t_acme", titles), ["draw"]);
  });

  test("wrong arguments are refused before a connection is taken", async () => {
    for (const tenant of ["", undefined, 7]) await assert.rejects(withTenant(server.app, tenant, titles), { code: "INVALID_INPUT" });
    for (const options of [{}, { tables: [] }, { tables: [7] }, { tables: ["tasks"], columns: "x" }]) assert.throws(() => rowLevelSecurity(options), { code: "INVALID_INPUT" });
  });
});
