// `tenantDb` for Drizzle, on real SQLite and PostgreSQL: whatever a query does, it sees and changes
// rows of its tenant only, or is refused before it reaches the database.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { asc, eq, exists, gt, inArray, max, or, sql } from "drizzle-orm";
import { drizzle as overPostgres } from "drizzle-orm/node-postgres";
import * as pgCore from "drizzle-orm/pg-core";
import { drizzle as overProxy } from "drizzle-orm/sqlite-proxy";
import * as sqliteCore from "drizzle-orm/sqlite-core";
import { tenantDb } from "../../pkg/drizzle.js";
import { TenantScopeError } from "../../pkg/errors.js";
import { postgres, sqlite } from "./databases.mjs";

const SCHEMA = `
CREATE TABLE projects (id integer PRIMARY KEY, tenant_id text NOT NULL, name text NOT NULL);
CREATE TABLE tasks (id integer PRIMARY KEY, tenant_id text NOT NULL, project integer, title text NOT NULL);
CREATE TABLE countries (code text PRIMARY KEY, name text NOT NULL);`;
const ROWS = `
INSERT INTO projects VALUES (1, 't_acme', 'site'), (2, 't_acme', 'app'), (3, 't_other', 'secret site');
INSERT INTO tasks VALUES (1, 't_acme', 1, 'draw'), (2, 't_acme', 2, 'build'), (3, 't_other', 3, 'secret work'), (4, 't_other', 1, 'secret link');
INSERT INTO countries VALUES ('NL', 'Netherlands');`;

const tablesOf = ({ table, integer, text }) => ({
  projects: table("projects", { id: integer("id").primaryKey(), tenantId: text("tenant_id").notNull(), name: text("name").notNull() }),
  tasks: table("tasks", { id: integer("id").primaryKey(), tenantId: text("tenant_id").notNull(), project: integer("project"), title: text("title").notNull() }),
  countries: table("countries", { code: text("code").primaryKey(), name: text("name").notNull() }),
  secrets: table("secrets", { id: integer("id").primaryKey() }),
});

const DATABASES = {
  SQLite: async () => {
    const db = sqlite();
    const all = overProxy(async (query, values, method) => {
      const statement = db.prepare(query);
      if (method === "run") return { rows: [statement.run(values)] };
      const rows = statement.rows(values);
      return { rows: method === "get" ? rows[0] : rows };
    });
    return { exec: async (text) => db.exec(text), all, tables: tablesOf({ ...sqliteCore, table: sqliteCore.sqliteTable }), stop: async () => db.close() };
  },
  PostgreSQL: async () => {
    const server = await postgres();
    return { exec: (text) => server.owner.query(text), all: overPostgres(server.owner), tables: tablesOf({ ...pgCore, table: pgCore.pgTable }), stop: server.stop };
  },
};

for (const [name, make] of Object.entries(DATABASES)) {
  describe(`Drizzle on ${name}`, () => {
    let database, all, own, projects, tasks, countries, secrets;
    before(async () => {
      database = await make();
      ({ all, tables: { projects, tasks, countries, secrets } } = database);
      await database.exec(SCHEMA);
      own = tenantDb(all, { tenant: "t_acme", tables: [projects, tasks], shared: [countries] });
    });
    after(() => database?.stop());
    const reset = () => database.exec(`DELETE FROM tasks; DELETE FROM projects; DELETE FROM countries; ${ROWS}`);
    const stored = async () => (await all.select().from(tasks).orderBy(asc(tasks.id))).map(({ id, tenantId, title }) => `${id} ${tenantId} ${title}`);
    const OTHERS = ["3 t_other secret work", "4 t_other secret link"];

    const READS = {
      "a select": (db) => db.select().from(tasks),
      "a select of fields with a condition with `or`": (db) => db.select({ title: tasks.title }).from(tasks).where(or(gt(tasks.id, 0), eq(tasks.title, "x"))),
      "an inner join": (db) => db.select({ title: tasks.title }).from(projects).innerJoin(tasks, eq(tasks.project, projects.id)),
      "a left join": (db) => db.select({ title: tasks.title }).from(projects).leftJoin(tasks, eq(tasks.project, projects.id)),
      "a subquery as a source": (db) => { const inner = db.select({ title: tasks.title }).from(tasks).as("inner"); return db.select().from(inner); },
      "a subquery in a condition": (db) => db.select({ title: tasks.title }).from(tasks).where(inArray(tasks.project, db.select({ id: projects.id }).from(projects))),
      "`exists`": (db) => db.select({ title: tasks.title }).from(tasks).where(exists(db.select().from(projects).where(gt(projects.id, 0)))),
      "an aggregate": (db) => db.select({ title: max(tasks.title) }).from(tasks),
      "a common table expression": (db) => { const mine = db.$with("mine").as(db.select({ title: tasks.title }).from(tasks)); return db.with(mine).select().from(mine); },
      "raw SQL in a selection": (db) => db.select({ title: sql`upper(${tasks.title})` }).from(tasks),
    };
    for (const [what, query] of Object.entries(READS)) {
      test(`${what} reads rows of the tenant only`, async () => {
        await reset();
        const [without, within] = [await query(all), await query(own)];
        const secret = (rows) => rows.filter(({ title }) => /secret/i.test(title ?? ""));
        assert(secret(without).length > 0, "without it another tenant's rows are read");
        assert(within.length > 0);
        assert.deepEqual(secret(within), []);
      });
    }

    test("a join without fields has the rows of both tables by name", async () => {
      await reset();
      const rows = await own.select().from(projects).innerJoin(tasks, eq(tasks.project, projects.id)).orderBy(asc(tasks.id));
      assert.deepEqual(rows.map((row) => [row.projects.name, row.tasks.title]), [["site", "draw"], ["app", "build"]]);
    });

    test("updates and deletes change rows of the tenant only", async () => {
      await reset();
      await own.update(tasks).set({ title: "mine" });
      await own.update(tasks).set({ title: "still mine" }).where(or(eq(tasks.id, 3), eq(tasks.id, 1)));
      assert.deepEqual(await stored(), ["1 t_acme still mine", "2 t_acme mine", ...OTHERS]);
      await own.delete(tasks).where(or(gt(tasks.id, 0), eq(tasks.id, 0)));
      assert.deepEqual(await stored(), OTHERS);
      await reset();
      await own.delete(tasks);
      assert.deepEqual(await stored(), OTHERS);
    });

    test("inserts have the tenant's id, and an upsert changes no other tenant's row", async () => {
      await reset();
      await own.insert(tasks).values({ id: 10, title: "one" });
      await own.insert(tasks).values([{ id: 11, title: "two" }, { id: 12, title: "three", tenantId: "t_acme" }]);
      for (const id of [1, 3]) await own.insert(tasks).values({ id, title: "upserted" }).onConflictDoUpdate({ target: tasks.id, set: { title: "upserted" } });
      await own.insert(tasks).values({ id: 4, title: "x" }).onConflictDoNothing();
      assert.deepEqual(await stored(), ["1 t_acme upserted", "2 t_acme build", ...OTHERS, "10 t_acme one", "11 t_acme two", "12 t_acme three"]);
      assert.deepEqual(await own.insert(tasks).values({ id: 13, title: "four" }).returning({ tenant: tasks.tenantId }), [{ tenant: "t_acme" }]);
      await own.insert(countries).values({ code: "BE", name: "Belgium" });
      assert.equal((await own.select().from(countries)).length, 2);
    });

    const REFUSED = {
      "a row of another tenant": (db) => db.insert(tasks).values({ id: 20, title: "x", tenantId: "t_other" }),
      "an update that gives a row away": (db) => db.update(tasks).set({ tenantId: "t_other" }),
      "an upsert that gives a row away": (db) => db.insert(tasks).values({ id: 1, title: "x" }).onConflictDoUpdate({ target: tasks.id, set: { tenantId: "t_other" } }),
      "an insert from a query": (db) => db.insert(tasks).select(db.select().from(projects)),
      "a table that nobody has classified": (db) => db.select().from(secrets),
      "a join with such a table": (db) => db.select().from(tasks).innerJoin(secrets, eq(secrets.id, tasks.id)),
      "a change of such a table": (db) => db.delete(secrets),
      "raw SQL with a statement in a selection": (db) => db.select({ title: sql`(select max(title) from tasks)` }).from(tasks),
      "raw SQL with a statement in a condition": (db) => db.select().from(tasks).where(or(eq(tasks.id, 1), sql`exists (select 1 from tasks)`)),
      "raw SQL as a source": (db) => db.select().from(sql`tasks`),
      "raw SQL alone": (db) => (db.run ?? db.execute)(sql`delete from tasks`),
      "an expression from a function": (db) => db.$with("mine").as((qb) => qb.select().from(tasks)),
      "a relational query": (db) => db.query.tasks.findMany(),
    };
    for (const [what, query] of Object.entries(REFUSED)) {
      test(`${what} is refused`, async () => {
        await reset();
        const before = await stored();
        await assert.rejects(async () => query(own), TenantScopeError);
        assert.deepEqual(await stored(), before);
      });
    }
  });
}

test("a transaction keeps within", async () => {
  const { all, tables: { tasks }, exec, stop } = await DATABASES.PostgreSQL();
  try {
    await exec(SCHEMA);
    await exec(ROWS);
    const own = tenantDb(all, { tenant: "t_acme", tables: [tasks] });
    assert.equal((await own.transaction((tx) => tx.select().from(tasks))).length, 2);
  } finally {
    await stop();
  }
});

test("options that could keep nothing within are refused", () => {
  const { table, integer } = { ...sqliteCore, table: sqliteCore.sqliteTable };
  const without = table("without", { id: integer("id") });
  for (const options of [{}, { tenant: "", tables: [] }, { tenant: "t", tables: ["tasks"] }, { tenant: "t", tables: [without] }, { tenant: "t", tables: [], share: [] }]) {
    assert.throws(() => tenantDb({}, options), { code: "INVALID_INPUT" });
  }
});
