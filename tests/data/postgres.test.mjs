// Row-level security on real PostgreSQL: a transaction sees and writes rows of its tenant only,
// also on a pooled connection that another tenant has used before.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { rowLevelSecurity, withTenant } from "../../pkg/postgres.js";
import { postgres } from "../support/databases.mjs";

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

  test("work that goes on after its end does not run as the next tenant", async () => {
    let kept;
    await assert.rejects(withTenant(server.app, "t_acme", async (client) => { kept = client; throw new Error("failed"); }), /failed/);
    await withTenant(server.app, "t_other", async (client) => {
      assert.throws(() => kept.query("SELECT title FROM tasks"), { code: "TENANT_SCOPE" });
      assert.deepEqual(await titles(client), ["secret"]);
    });
  });

  test("a transaction that PostgreSQL has rolled back is no success", async () => {
    const swallowed = withTenant(server.app, "t_acme", async (client) => {
      await client.query("INSERT INTO tasks VALUES (30, 't_acme', 'lost')");
      await client.query("SELECT nothing FROM tasks").catch(() => {});
      return "done";
    });
    await assert.rejects(swallowed, { code: "TENANT_SCOPE" });
    assert.deepEqual(await withTenant(server.app, "t_acme", titles), ["draw"]);
  });

  test("a session carries nothing of a tenant to the next one", async () => {
    await withTenant(server.app, "t_other", async (client) => {
      await client.query("SET app.tenant_id = 't_other'");
      await client.query("CREATE TEMP TABLE kept AS SELECT * FROM tasks");
      await client.query("DECLARE left_open CURSOR WITH HOLD FOR SELECT * FROM tasks");
    });
    assert.deepEqual(await titles(server.app), []);
    await assert.rejects(withTenant(server.app, "t_acme", (client) => client.query("SELECT * FROM kept")), /does not exist/);
    await assert.rejects(withTenant(server.app, "t_acme", (client) => client.query("FETCH ALL FROM left_open")), /does not exist/);
  });

  test("another policy does not widen it, and the column may have another type", async () => {
    await server.owner.query("CREATE POLICY everybody ON tasks USING (true)");
    assert.deepEqual(await withTenant(server.app, "t_acme", titles), ["draw"]);
    await server.owner.query("DROP POLICY everybody ON tasks");
    await server.owner.query("CREATE TABLE numbered (tenant uuid, name text); GRANT ALL ON numbered TO app; INSERT INTO numbered VALUES ('00000000-0000-0000-0000-000000000001', 'one'), ('00000000-0000-0000-0000-000000000002', 'two')");
    await server.owner.query(rowLevelSecurity({ tables: ["public.numbered"], column: "tenant", type: "uuid", role: "app" }));
    const { rows } = await withTenant(server.app, "00000000-0000-0000-0000-000000000002", (client) => client.query("SELECT name FROM numbered"));
    assert.deepEqual(rows, [{ name: "two" }]);
  });

  test("wrong arguments are refused before a connection is taken", async () => {
    for (const tenant of ["", undefined, 7]) await assert.rejects(withTenant(server.app, tenant, titles), { code: "INVALID_INPUT" });
    for (const options of [{}, { tables: [] }, { tables: [7] }, { tables: ["tasks"], columns: "x" }, { tables: ["tasks"], type: "text); --" }]) assert.throws(() => rowLevelSecurity(options), { code: "INVALID_INPUT" });
  });
});
