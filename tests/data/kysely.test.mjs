// The plugin for Kysely, on real SQLite and PostgreSQL: whatever a query does, it sees and changes
// rows of its tenant only, or is refused before it reaches the database.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { CompiledQuery, Kysely, PostgresDialect, sql, SqliteDialect } from "kysely";
import { TenantScopeError } from "../../pkg/errors.js";
import { tenantPlugin } from "../../pkg/kysely.js";
import { postgres, sqlite } from "../support/databases.mjs";

const SCHEMA = `
CREATE TABLE projects (id integer PRIMARY KEY, tenant_id text NOT NULL, name text NOT NULL);
CREATE TABLE tasks (id integer PRIMARY KEY, tenant_id text NOT NULL, project integer, title text NOT NULL, hours integer NOT NULL DEFAULT 1);
CREATE TABLE countries (code text PRIMARY KEY, name text NOT NULL);`;
const ROWS = `
INSERT INTO projects VALUES (1, 't_acme', 'site'), (2, 't_acme', 'app'), (3, 't_other', 'secret site');
INSERT INTO tasks VALUES (1, 't_acme', 1, 'draw', 2), (2, 't_acme', 2, 'build', 5), (3, 't_other', 3, 'secret work', 7), (4, 't_other', 1, 'secret link', 9);
INSERT INTO countries VALUES ('NL', 'Netherlands');`;

const DATABASES = {
  SQLite: async () => {
    const db = sqlite();
    return { exec: async (text) => db.exec(text), dialect: new SqliteDialect({ database: db }), stop: async () => db.close() };
  },
  PostgreSQL: async () => {
    const server = await postgres();
    return { exec: (text) => server.owner.query(text), dialect: new PostgresDialect({ pool: server.owner }), stop: server.stop };
  },
};

for (const [name, make] of Object.entries(DATABASES)) {
  describe(`Kysely on ${name}`, () => {
    let database, all, own;
    before(async () => {
      database = await make();
      await database.exec(SCHEMA);
      all = new Kysely({ dialect: database.dialect });
      own = all.withPlugin(tenantPlugin({ tenant: "t_acme", tables: ["projects", "tasks"], shared: ["countries"] }));
    });
    after(() => database?.stop());
    const reset = async () => database.exec(`DELETE FROM tasks; DELETE FROM projects; DELETE FROM countries; ${ROWS}`);
    /** What stands in the tables, of every tenant. */
    const stored = async () => (await all.selectFrom("tasks").select(["id", "tenant_id", "title"]).orderBy("id").execute()).map(({ id, tenant_id, title }) => `${id} ${tenant_id} ${title}`);
    const OTHERS = ["3 t_other secret work", "4 t_other secret link"];

    const READS = {
      "a select": (db) => db.selectFrom("tasks").select("title"),
      "a select with an alias and a condition with `or`": (db) => db.selectFrom("tasks as t").select("t.title").where((eb) => eb.or([eb("t.hours", ">", 0), eb("t.title", "=", "x")])),
      "an inner join": (db) => db.selectFrom("projects").innerJoin("tasks", "tasks.project", "projects.id").select("tasks.title"),
      "a left join": (db) => db.selectFrom("projects as p").leftJoin("tasks as t", "t.project", "p.id").select("t.title"),
      "a cross join": (db) => db.selectFrom(["projects", "tasks"]).select("tasks.title"),
      "a subquery in `from`": (db) => db.selectFrom((eb) => eb.selectFrom("tasks").select("title").as("inner")).select("inner.title"),
      "a subquery in the selection": (db) => db.selectFrom("projects").select((eb) => eb.selectFrom("tasks").select((e) => e.fn.max("title").as("m")).as("title")),
      "a subquery in `where`": (db) => db.selectFrom("tasks").select("title").where("project", "in", (eb) => eb.selectFrom("projects").select("id")),
      "`exists`": (db) => db.selectFrom("tasks").select("title").where((eb) => eb.exists(eb.selectFrom("projects").select("id").whereRef("projects.id", "=", "tasks.project"))),
      "a union": (db) => db.selectFrom("tasks").select("title").union(db.selectFrom("projects").select("name as title")),
      "a common table expression": (db) => db.with("mine", (d) => d.selectFrom("tasks").select("title")).selectFrom("mine").select("title"),
      "a recursive expression": (db) => db.withRecursive("mine", (d) => d.selectFrom("tasks").select(["id", "title"]).unionAll(d.selectFrom("tasks").innerJoin("mine", "mine.id", "tasks.project").select(["tasks.id", "tasks.title"]).where("tasks.id", "<", 0))).selectFrom("mine").select("title"),
      "an order and a direction": (db) => db.selectFrom("tasks").select("title").orderBy("id", "desc").orderBy((eb) => eb.ref("title"), (ob) => ob.asc()),
      "a reference and a value of `sql`": (db) => db.selectFrom("tasks").select(sql.ref("title").as("title")).where("id", "<", sql.val(100)),
      "functions and windows": (db) => db.selectFrom("tasks").select((eb) => [eb.fn.coalesce("title", eb.val("none")).as("title"), eb.fn.agg("row_number").over((ob) => ob.orderBy("id", "desc")).as("n")]),
      "a self join": (db) => db.selectFrom("tasks as a").innerJoin("tasks as b", "b.id", "a.id").select("b.title"),
      "two expressions, the second of the first": (db) => db.with("one", (d) => d.selectFrom("tasks").select("title")).with("two", (d) => d.selectFrom("one").select("title")).selectFrom("two").select("title"),
      "reviewed raw SQL with parts": (db) => db.selectFrom("tasks").select(sql`/* reviewed */ upper(${sql.ref("title")}) || ${sql`lower(${sql.val("X")})`}`.as("title")),
      "reviewed raw SQL within a query": (db) => db.selectFrom("tasks").select(sql`/* reviewed */ upper(title)`.as("title")),
    };
    for (const [what, query] of Object.entries(READS)) {
      test(`${what} reads rows of the tenant only`, async () => {
        await reset();
        const [without, within] = [await query(all).execute(), await query(own).execute()];
        const secret = (rows) => rows.filter(({ title }) => /secret/i.test(title ?? ""));
        assert(secret(without).length > 0, "without the plugin another tenant's rows are read");
        assert(within.length > 0);
        assert.deepEqual(secret(within), []);
      });
    }

    test("a table that everybody shares is read and written as it is", async () => {
      await reset();
      await own.insertInto("countries").values({ code: "BE", name: "Belgium" }).execute();
      assert.equal((await own.selectFrom("countries").selectAll().execute()).length, 2);
    });

    test("updates and deletes change rows of the tenant only", async () => {
      await reset();
      await own.updateTable("tasks").set({ title: "mine" }).execute();
      await own.updateTable("tasks").set({ title: "still mine" }).where((eb) => eb.or([eb("id", "=", 3), eb("id", "=", 1)])).execute();
      assert.deepEqual(await stored(), ["1 t_acme still mine", "2 t_acme mine", ...OTHERS]);
      await own.deleteFrom("tasks").where((eb) => eb.or([eb("id", ">", 0), eb("id", "<", 0)])).execute();
      assert.deepEqual(await stored(), OTHERS);
    });

    test("an update that reads other tables reads rows of the tenant only", async () => {
      await reset();
      await own.updateTable("tasks").set((eb) => ({ title: eb.selectFrom("projects").select((e) => e.fn.max("name").as("m")) })).execute();
      assert.deepEqual(await stored(), ["1 t_acme site", "2 t_acme site", ...OTHERS]);
    });

    test("inserts have the tenant's id, one row or many, and an upsert changes no other tenant's row", async () => {
      await reset();
      await own.insertInto("tasks").values({ id: 10, title: "one" }).execute();
      await own.insertInto("tasks").values([{ id: 11, title: "two", hours: 3 }, { id: 12, title: "three", hours: 4 }]).execute();
      await own.insertInto("tasks").values({ id: 13, title: "named", tenant_id: "t_acme" }).execute();
      const upsert = (id) => own.insertInto("tasks").values({ id, title: "upserted" }).onConflict((oc) => oc.column("id").doUpdateSet({ title: "upserted" })).execute();
      await upsert(1);
      await upsert(3);
      assert.deepEqual(await stored(), ["1 t_acme upserted", "2 t_acme build", ...OTHERS, "10 t_acme one", "11 t_acme two", "12 t_acme three", "13 t_acme named"]);
      await own.insertInto("tasks").values({ id: 4, title: "x" }).onConflict((oc) => oc.doNothing()).execute();
      assert.deepEqual((await stored()).slice(2, 4), OTHERS);
    });

    test("a transaction keeps the plugin", async () => {
      await reset();
      const titles = await own.transaction().execute((trx) => trx.selectFrom("tasks").select("title").orderBy("id").execute());
      assert.deepEqual(titles.map(({ title }) => title), ["draw", "build"]);
    });

    const REFUSED = {
      "a row of another tenant": (db) => db.insertInto("tasks").values({ id: 20, title: "x", tenant_id: "t_other" }),
      "a row of another tenant by an expression": (db) => db.insertInto("tasks").values({ id: 20, title: "x", tenant_id: sql`/* reviewed */ 't_other'` }),
      "reviewed SQL with a comment, which hides the condition": (db) => db.updateTable("tasks").set({ title: sql`/* reviewed */ 'x' --` }),
      "reviewed SQL that closes the condition": (db) => db.deleteFrom("tasks").where(sql`/* reviewed */ true) or (true`),
      "reviewed SQL with one more assignment": (db) => db.updateTable("tasks").set({ title: sql`/* reviewed */ 'x', tenant_id = 't_other'` }),
      "reviewed SQL with an open literal": (db) => db.selectFrom("tasks").selectAll().where(sql`/* reviewed */ title = '`),
      "reviewed SQL with a second statement": (db) => db.selectFrom("tasks").selectAll().where(sql`/* reviewed */ true; delete from tasks`),
      "an update that gives a row away": (db) => db.updateTable("tasks").set({ tenant_id: "t_other" }),
      "an upsert that gives a row away": (db) => db.insertInto("tasks").values({ id: 1, title: "x" }).onConflict((oc) => oc.column("id").doUpdateSet({ tenant_id: "t_other" })),
      "an insert from a query": (db) => db.insertInto("tasks").columns(["id", "title"]).expression(db.selectFrom("projects").select(["id", "name"])),
      "a table that nobody has classified": (db) => db.selectFrom("secrets").selectAll(),
      "an unclassified table in a join": (db) => db.selectFrom("tasks").innerJoin("secrets", "secrets.id", "tasks.id").selectAll(),
      "raw SQL in a selection": (db) => db.selectFrom("tasks").select(sql`(select max(title) from tasks)`.as("title")),
      "raw SQL in a condition": (db) => db.selectFrom("tasks").select("title").where(sql`1 = 1 or tenant_id = 't_other'`),
      "raw SQL as a source": (db) => db.selectFrom(sql`tasks`.as("t")).selectAll(),
      "an expression with the name of a table": (db) => db.with("tasks", (d) => d.selectFrom("tasks").selectAll()).selectFrom("tasks").selectAll(),
      "a query in the name of a function": (db) => db.selectFrom("tasks").select((eb) => eb.fn("(select max(title) from tasks) || lower", [eb.val("x")]).as("title")),
      "an unknown function": (db) => db.selectFrom("tasks").select((eb) => eb.fn("query_to_xml", [eb.val("select * from tasks")]).as("title")),
      "a table in parentheses": (db) => db.selectFrom((eb) => eb.parens(eb.table("tasks")).as("t")).selectAll(),
      "a table as an argument": (db) => db.selectFrom((eb) => eb.fn("only", [eb.table("tasks")]).as("t")).selectAll(),
      "a table as a list of values": (db) => db.selectFrom("tasks").select("title").where((eb) => eb("title", "in", eb.table("tasks"))),
      "a table of `sql`": (db) => db.selectFrom("tasks").select(sql.table("secrets").as("title")),
      "an alias with more than a name": (db) => db.selectFrom((eb) => eb.table("countries").as(sql`c cross join tasks`)).selectAll(),
      "a tuple with the tenant's column": (db) => db.updateTable("tasks").set((eb) => eb.refTuple("title", "tenant_id"), (eb) => eb.selectFrom("countries").select(["name", "code"])),
      "the tenant's column in another case": (db) => db.updateTable("tasks").set({ TENANT_ID: "t_other" }),
      "an insert with it in another case": (db) => db.insertInto("tasks").values({ id: 20, title: "x", TENANT_ID: "t_other" }),
      "an expression whose definition reads a table of its name": (db) => db.with("secrets", (d) => d.selectFrom("secrets").selectAll()).selectFrom("secrets").selectAll(),
      "an expression that reads a later one's name": (db) => db.with("a", (d) => d.selectFrom("secrets").selectAll()).with("secrets", (d) => d.selectFrom("countries").selectAll()).selectFrom("a").selectAll(),
      "a table of a schema beside an expression of its name": (db) => db.with("secrets", (d) => d.selectFrom("countries").selectAll()).selectFrom("public.secrets").selectAll(),
      "a table of a schema that nobody has classified": (db) => db.selectFrom("priv.countries").selectAll(),
      "`replace`": (db) => db.replaceInto("tasks").values({ id: 3, title: "x" }),
      "a change of the schema": (db) => db.schema.dropTable("tasks"),
    };
    for (const [what, query] of Object.entries(REFUSED)) {
      test(`${what} is refused`, async () => {
        await reset();
        const before = await stored();
        await assert.rejects(async () => query(own).execute(), TenantScopeError);
        assert.deepEqual(await stored(), before);
      });
    }

    test("a query that was compiled elsewhere shows nothing", async () => {
      await reset();
      await assert.rejects(own.executeQuery(CompiledQuery.raw("select * from tasks")), TenantScopeError);
      await assert.rejects(own.executeQuery(all.selectFrom("tasks").selectAll().compile()), TenantScopeError);
    });

    test("a refused query leaves nothing behind for the next one", async () => {
      await reset();
      for (let i = 0; i < 3; i++) await assert.rejects(async () => own.with("x", (d) => d.selectFrom("tasks").selectAll()).selectFrom("secrets").selectAll().execute(), TenantScopeError);
      await assert.rejects(async () => own.selectFrom("x").selectAll().execute(), TenantScopeError);
      assert.equal((await own.selectFrom("tasks").selectAll().execute()).length, 2);
    });

    test("raw SQL alone is refused, unless somebody has reviewed it", async () => {
      await reset();
      await assert.rejects(sql`select title from tasks`.execute(own), TenantScopeError);
      await assert.rejects(sql`delete from tasks`.execute(own), TenantScopeError);
      const { rows } = await sql`/* reviewed */ select count(*) as n from tasks`.execute(own);
      assert.equal(Number(rows[0].n), 4);
    });
  });
}

test("options that could keep nothing within are refused", () => {
  for (const options of [{}, { tenant: "", tables: [] }, { tenant: 7, tables: [] }, { tenant: "t", tables: "tasks" }, { tenant: "t", tables: [], share: [] }]) {
    assert.throws(() => tenantPlugin(options), { code: "INVALID_INPUT" });
  }
});
