// The wrapper for Drizzle, on real SQLite and PostgreSQL: whatever a query does, it sees and
// changes rows of its tenant only, or is refused before it reaches the database.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { DatabaseSync } from "node:sqlite";
import {
  aliasedTable, and, asc, avg, between, count, countDistinct, desc, entityKind, eq, exists, getTableColumns, gt, gte, ilike, inArray, isNotNull,
  isNull, like, lt, lte, max, min, ne, not, notBetween, notExists, notInArray, notLike, or, relations, SQL, sql, StringChunk, Subquery, sum, TransactionRollbackError, WithSubquery,
} from "drizzle-orm";
import { Cache } from "drizzle-orm/cache/core";
import { drizzle as nodePostgres } from "drizzle-orm/node-postgres";
import * as pgCore from "drizzle-orm/pg-core";
import * as sqliteCore from "drizzle-orm/sqlite-core";
import { drizzle as sqliteProxy } from "drizzle-orm/sqlite-proxy";
import { tenantDb } from "../../pkg/drizzle.js";
import { InputError, TenantScopeError } from "../../pkg/errors.js";
import { postgres } from "../support/databases.mjs";

const OPTIONS = { tenant: "t_acme", tables: ["projects", "tasks", "labels"], shared: ["countries", "country_names"] };

const SCHEMA = `
CREATE TABLE countries (code text PRIMARY KEY, name text NOT NULL);
CREATE TABLE projects (id integer PRIMARY KEY, tenant_id text NOT NULL, name text NOT NULL, parent integer, country text);
CREATE TABLE tasks (id integer PRIMARY KEY, tenant_id text NOT NULL, project integer, title text NOT NULL, hours integer NOT NULL DEFAULT 1);
CREATE TABLE labels (id integer PRIMARY KEY, tenant_id text, name text NOT NULL, UNIQUE (tenant_id, name));
CREATE UNIQUE INDEX long_tasks ON tasks (title) WHERE hours > 100;
CREATE TABLE notes (id integer PRIMARY KEY, account text NOT NULL, body text NOT NULL);
CREATE TABLE secrets (id integer PRIMARY KEY, project integer, title text NOT NULL);
CREATE TABLE words (word text NOT NULL);
CREATE VIEW task_titles AS SELECT id, title FROM tasks;
CREATE VIEW country_names AS SELECT name FROM countries;`;
// Rows refer to other tenants' rows, in both directions. What is not the tenant's is "secret".
const ROWS = `
DELETE FROM countries; DELETE FROM projects; DELETE FROM tasks; DELETE FROM labels; DELETE FROM notes; DELETE FROM secrets; DELETE FROM words;
INSERT INTO countries VALUES ('NL', 'Netherlands'), ('BE', 'Belgium');
INSERT INTO projects VALUES (1, 't_acme', 'site', NULL, 'NL'), (2, 't_acme', 'app', 1, 'BE'), (5, 't_acme', 'empty', 3, NULL), (3, 't_other', 'secret site', 1, 'NL'), (4, 'T_ACME', 'secret shout', NULL, 'BE');
INSERT INTO tasks VALUES (1, 't_acme', 1, 'draw', 2), (2, 't_acme', 2, 'build', 5), (5, 't_acme', 3, 'lend', 4), (3, 't_other', 3, 'secret work', 7), (4, 't_other', 5, 'secret link', 9), (6, 't_other', 1, 'secret peek', 2);
INSERT INTO labels VALUES (1, 't_acme', 'red'), (2, 't_other', 'secret red'), (3, NULL, 'secret orphan');
INSERT INTO notes VALUES (1, 't_acme', 'mine'), (2, 't_other', 'secret note'), (3, 't_other', 'secret word');
INSERT INTO secrets VALUES (1, 1, 'secret plan');
INSERT INTO words VALUES ('draw');`;
/** Leaves the tenant alone in the database, so that a query answers what it must answer. */
const ALONE = ["projects", "tasks", "labels"].map((table) => `DELETE FROM ${table} WHERE tenant_id IS DISTINCT FROM 't_acme';`).join(" ") + " DELETE FROM notes; DELETE FROM secrets;";

/** The other schema's function has an allowed name, and reads what it likes. */
const SCHEMA_OF_POSTGRES = `
CREATE MATERIALIZED VIEW all_titles AS SELECT id, title FROM tasks;
CREATE SCHEMA far;
CREATE TABLE far.tasks (id integer PRIMARY KEY, tenant_id text NOT NULL, title text NOT NULL);
CREATE TABLE far.countries (code text PRIMARY KEY, name text NOT NULL);
INSERT INTO far.tasks VALUES (1, 't_acme', 'far'), (2, 't_other', 'secret far');
INSERT INTO far.countries VALUES ('XX', 'secret country');
CREATE FUNCTION far.lower(text) RETURNS text LANGUAGE sql AS 'SELECT max(title) FROM public.tasks';
CREATE FUNCTION shout(text) RETURNS text LANGUAGE sql AS 'SELECT upper($1)';`;

const DATABASES = {
  SQLite: async () => {
    const db = new DatabaseSync(":memory:");
    db.exec(SCHEMA);
    db.function("shout", (text) => text.toUpperCase());
    const log = [];
    const ask = (text, params, method) => {
      log.push(text);
      const statement = db.prepare(text);
      statement.setReturnArrays(true);
      const rows = statement.all(...params);
      return { rows: method === "get" ? rows[0] : rows };
    };
    return {
      core: sqliteCore,
      log,
      exec: async (text) => db.exec(text),
      rows: async (text) => db.prepare(text).all(),
      drizzle: (config) => sqliteProxy(async (...query) => ask(...query), async (queries) => queries.map(({ sql, params, method }) => ask(sql, params, method)), config),
      taken: () => Number(db.isTransaction),
      stop: async () => db.close(),
    };
  },
  PostgreSQL: async () => {
    const server = await postgres();
    const log = [];
    const taken = new Set();
    server.owner.on("acquire", (client) => taken.add(client)).on("release", (_, client) => taken.delete(client));
    await server.owner.query(SCHEMA + SCHEMA_OF_POSTGRES);
    return {
      core: pgCore,
      log,
      exec: (text) => server.owner.query(text),
      rows: async (text) => (await server.owner.query(text)).rows,
      drizzle: (config) => nodePostgres(server.owner, { logger: { logQuery: (text) => log.push(text) }, ...config }),
      taken: () => taken.size,
      stop() {
        // A pool waits for each client that has not been given back.
        for (const client of taken) client.release(true);
        return server.stop();
      },
    };
  },
};

/** The tables of a dialect, and what looks like one of them. */
function world(core) {
  const { integer, text, customType } = core;
  const table = core.pgTable ?? core.sqliteTable;
  const view = core.pgView ?? core.sqliteView;
  const tenantId = () => text("tenant_id").notNull();
  const projects = table("projects", { id: integer("id").primaryKey(), tenantId: tenantId(), name: text("name").notNull(), parent: integer("parent"), country: text("country") });
  const columns = () => ({ id: integer("id").primaryKey(), tenantId: tenantId(), project: integer("project"), title: text("title").notNull(), hours: integer("hours").notNull().default(1) });
  const tasks = table("tasks", columns());
  const labels = table("labels", { id: integer("id").primaryKey(), tenantId: text("tenant_id"), name: text("name").notNull() });
  const countries = table("countries", { code: text("code").primaryKey(), name: text("name").notNull() });
  const secrets = table("secrets", { id: integer("id").primaryKey(), project: integer("project"), title: text("title").notNull() });
  const words = table("words", { word: text("word") });
  const variant = (name, more) => table(name, { ...columns(), ...more });
  const rawType = customType({ dataType: () => "text", toDriver: (value) => sql.raw(value) });
  const lowered = customType({ dataType: () => "text", toDriver: (value) => sql`lower(${value})` });
  const liar = customType({ dataType: () => "text", toDriver: () => "t_other" });
  const schema = {
    projects, tasks, labels, countries, secrets,
    projectsRelations: relations(projects, ({ one, many }) => ({
      tasks: many(tasks),
      above: one(projects, { fields: [projects.parent], references: [projects.id], relationName: "tree" }),
      below: many(projects, { relationName: "tree" }),
      home: one(countries, { fields: [projects.country], references: [countries.code] }),
      secrets: many(secrets),
    })),
    tasksRelations: relations(tasks, ({ one }) => ({ inside: one(projects, { fields: [tasks.project], references: [projects.id] }) })),
    countriesRelations: relations(countries, ({ many }) => ({ projects: many(projects) })),
    secretsRelations: relations(secrets, ({ one }) => ({ inside: one(projects, { fields: [secrets.project], references: [projects.id] }) })),
  };
  return {
    ...core, table, view, creator: core.pgTableCreator ?? core.sqliteTableCreator, schema, projects, tasks, labels, countries, secrets, words, variant,
    partial: table("tasks", { id: integer("id").primaryKey(), title: text("title").notNull(), hours: integer("hours").default(1) }),
    partialLabels: table("labels", { id: integer("id").primaryKey(), name: text("name").notNull() }),
    renamed: table("tasks", { id: integer("id").primaryKey(), owner: tenantId(), title: text("title").notNull() }),
    rawTitle: variant("tasks", { title: rawType("title") }),
    loweredTitle: variant("tasks", { title: lowered("title") }),
    touched: variant("tasks", { hours: integer("hours").notNull().$onUpdate(() => 8) }),
    liar: variant("tasks", { tenantId: liar("tenant_id") }),
    liarLabels: table("labels", { id: integer("id").primaryKey(), tenantId: liar("tenant_id"), name: text("name") }),
    // A shared table by its name, with the columns of another.
    decoy: variant("countries"),
    decoyView: view("country_names", { title: text("title") }).existing(),
    titles: view("task_titles", { id: integer("id"), title: text("title") }).existing(),
    countryNames: view("country_names", { name: text("name") }).existing(),
  };
}

const MAX_TITLE = () => sql.raw("(select max(title) from tasks)");
/** A name of a statement that PostgreSQL has not prepared yet. */
let prepared = 0;
const statement = () => `statement_${++prepared}`;
const raw = (db, query) => (db.execute ? db.execute(query) : db.all(query));

// Each of these reads or changes rows of other tenants, unless something keeps it within.
const WITHIN = {
  "a select": (db, { tasks }) => db.select().from(tasks),
  "a select of columns": (db, { tasks }) => db.select({ title: tasks.title }).from(tasks),
  "a selection without the tenant's column": (db, { tasks }) => {
    const { tenantId, ...rest } = getTableColumns(tasks);
    return db.select(rest).from(tasks);
  },
  "a select with conditions": (db, { tasks: t }) => db.select().from(t).where(and(gte(t.id, 1), lte(t.id, 100), gt(t.hours, 0), lt(t.hours, 99), ne(t.title, "x"), between(t.id, 0, 9), notBetween(t.id, 50, 60), like(t.title, "%"), notLike(t.title, "z%"), inArray(t.id, [1, 2, 3, 4, 5]), notInArray(t.id, [77]), isNotNull(t.project), not(isNull(t.title)))),
  "a condition with `or`": (db, { tasks }) => db.select().from(tasks).where(or(gt(tasks.hours, 0), eq(tasks.id, 3))),
  "a condition that asks for another tenant": (db, { tasks }) => db.select().from(tasks).where(or(eq(tasks.tenantId, "t_other"), ne(tasks.tenantId, "t_acme"), eq(tasks.id, 1))),
  "a condition that takes the place of an earlier one": (db, { tasks }) => db.select().from(tasks).where(eq(tasks.id, 1)).where(gt(tasks.id, 0)),
  "a condition by a callback": (db, { tasks }) => db.select({ id: tasks.id, t: tasks.title }).from(tasks).where((f) => gt(f.id, 0)).orderBy((f) => desc(f.t)),
  "no condition": (db, { tasks }) => db.select().from(tasks).where(undefined),
  "an empty list": (db, { tasks }) => db.select().from(tasks).where(or(inArray(tasks.id, []), notInArray(tasks.id, []))),
  "a list with a subquery": (db, { tasks }) => db.select().from(tasks).where(or(inArray(tasks.id, [1, db.select({ id: max(tasks.id) }).from(tasks)]))),
  "values within the text": (db, { tasks }) => db.select().from(tasks).where(or(eq(tasks.title, "it's' or 1 = 1 --"), gt(tasks.id, 0)).inlineParams()),
  "an inner join": (db, { tasks, projects }) => db.select().from(projects).innerJoin(tasks, eq(tasks.project, projects.id)),
  "a left join": (db, { tasks, projects }) => db.select().from(projects).leftJoin(tasks, eq(tasks.project, projects.id)),
  "a left join that finds what has none": (db, { tasks, projects }) => db.select({ name: projects.name }).from(projects).leftJoin(tasks, eq(tasks.project, projects.id)).where(isNull(tasks.id)),
  "a left join on `or`": (db, { tasks, projects }) => db.select().from(projects).leftJoin(tasks, or(eq(tasks.project, projects.id), gt(tasks.id, 0))),
  "a left join to a shared table": (db, { projects, countries }) => db.select().from(countries).leftJoin(projects, eq(projects.country, countries.code)),
  "a left join from a shared table and on": (db, { projects, tasks, countries }) => db.select().from(countries).leftJoin(projects, eq(projects.country, countries.code)).leftJoin(tasks, eq(tasks.project, projects.id)),
  "a right join": (db, { tasks, projects }) => db.select().from(tasks).rightJoin(projects, eq(tasks.project, projects.id)),
  "a full join": (db, { tasks, projects }) => db.select().from(projects).fullJoin(tasks, eq(tasks.project, projects.id)),
  "a cross join": (db, { tasks, projects }) => db.select({ name: projects.name, title: tasks.title }).from(projects).crossJoin(tasks),
  "a join with a nested selection": (db, { tasks, projects }) => db.select({ task: { id: tasks.id, title: tasks.title }, project: projects }).from(tasks).leftJoin(projects, eq(tasks.project, projects.id)),
  "a self join": (db, { tasks, alias }) => {
    const [a, b] = [alias(tasks, "a"), alias(tasks, "b")];
    return db.select({ a: a.title, b: b.title }).from(a).innerJoin(b, gt(b.id, a.id));
  },
  "a left self join": (db, { projects }) => {
    const above = aliasedTable(projects, "above");
    return db.select().from(projects).leftJoin(above, eq(above.id, projects.parent));
  },
  "an alias that is the name of a shared table": (db, { tasks, alias }) => db.select().from(alias(tasks, "countries")),
  "an alias that is the name of another table": (db, { tasks, projects, alias }) => db.select().from(alias(tasks, "projects")).innerJoin(alias(projects, "tasks"), gt(alias(projects, "tasks").id, 0)),
  "a table that has another name in the program": (db, { creator, text }) => db.select().from(creator(() => "tasks")("countries", { tenantId: text("tenant_id"), title: text("title") })),
  "a subquery in `from`": (db, { tasks }) => db.select().from(db.select().from(tasks).as("x")),
  "a subquery of a subquery": (db, { tasks }) => {
    const inner = db.select({ id: tasks.id, text: tasks.title }).from(tasks).where(gt(tasks.id, 0)).as("inner_one");
    const outer = db.select({ text: inner.text }).from(inner).as("outer_one");
    return db.select({ x: outer.text }).from(outer);
  },
  "a join with a subquery": (db, { tasks, projects }) => {
    const busy = db.select({ project: tasks.project, hours: sum(tasks.hours).as("hours") }).from(tasks).groupBy(tasks.project).as("busy");
    return db.select({ name: projects.name, hours: busy.hours }).from(projects).leftJoin(busy, eq(busy.project, projects.id));
  },
  "a subquery in the selection": (db, { tasks, projects }) => db.select({ name: projects.name, top: db.select({ m: max(tasks.title).as("m") }).from(tasks).where(eq(tasks.project, projects.id)).as("top") }).from(projects),
  "a subquery in a piece of `sql`": (db, { tasks, projects }) => db.select({ name: projects.name, top: sql`${db.select({ m: max(tasks.title) }).from(tasks)}`.as("top") }).from(projects),
  "a subquery in `in`": (db, { tasks, projects }) => db.select().from(tasks).where(inArray(tasks.project, db.select({ id: projects.id }).from(projects))),
  "a subquery in `not in`": (db, { tasks, projects, countries }) => db.select().from(countries).where(notInArray(countries.code, db.select({ c: sql`coalesce(${projects.country}, ${"?"})` }).from(projects).where(notInArray(projects.id, db.select({ id: sql`coalesce(${tasks.project}, ${0})` }).from(tasks))))),
  "a subquery that is compared": (db, { tasks, countries }) => db.select().from(countries).where(eq(db.select({ m: max(tasks.title) }).from(tasks), "secret work")),
  "`exists`": (db, { tasks, projects }) => db.select().from(projects).where(exists(db.select({ id: tasks.id }).from(tasks).where(eq(tasks.project, projects.id)))),
  "`exists` about another tenant's row": (db, { tasks, countries }) => db.select().from(countries).where(exists(db.select().from(tasks).where(eq(tasks.title, "secret work")))),
  "`not exists`": (db, { tasks, projects }) => db.select().from(projects).where(notExists(db.select({ id: tasks.id }).from(tasks).where(eq(tasks.project, projects.id)))),
  "an order by a subquery": (db, { tasks, countries }) => db.select().from(countries).orderBy(desc(db.select({ m: max(tasks.title) }).from(tasks))).where(gt(db.select({ n: count() }).from(tasks), 3)),
  "a common table expression": (db, { tasks }) => {
    const mine = db.$with("mine").as(db.select().from(tasks));
    return db.with(mine).select().from(mine);
  },
  "an expression by a callback": (db, { tasks }) => {
    const mine = db.$with("mine").as((qb) => qb.select({ title: tasks.title }).from(tasks).where(gt(tasks.id, 0)));
    return db.with(mine).select({ title: mine.title }).from(mine);
  },
  "two expressions, the second of the first": (db, { tasks, projects }) => {
    const one = db.$with("one").as(db.select({ project: tasks.project, title: tasks.title }).from(tasks));
    const two = db.$with("two").as(db.select({ name: projects.name, title: one.title }).from(projects).leftJoin(one, eq(one.project, projects.id)));
    return db.with(one, two).selectDistinct().from(two);
  },
  "a table beside an expression": (db, { tasks, countries }) => {
    const mine = db.$with("mine").as(db.select().from(countries));
    return db.with(mine).select({ title: tasks.title, name: mine.name }).from(mine).leftJoin(tasks, gt(tasks.id, 0));
  },
  "a union": (db, { tasks, projects }) => db.select({ title: tasks.title }).from(tasks).union(db.select({ title: projects.name }).from(projects)),
  "a union of three by the function": (db, { tasks, projects, labels, unionAll }) => unionAll(db.select({ x: tasks.title }).from(tasks), db.select({ x: projects.name }).from(projects), db.select({ x: labels.name }).from(labels)).orderBy(sql`${sql.identifier("title")}`).limit(50),
  "a union by a callback": (db, { tasks, projects }) => db.select({ x: tasks.title }).from(tasks).unionAll(({ unionAll }) => unionAll(db.select({ x: projects.name }).from(projects), db.select({ x: tasks.title }).from(tasks))),
  "an intersection": (db, { tasks, projects }) => db.select({ id: tasks.id }).from(tasks).intersect(db.select({ id: projects.id }).from(projects)),
  "an exception": (db, { tasks, projects }) => db.select({ id: tasks.project }).from(tasks).except(db.select({ id: projects.parent }).from(projects).where(isNotNull(projects.parent))),
  "a union in a subquery": (db, { tasks, projects }) => db.select().from(db.select({ x: tasks.title }).from(tasks).union(db.select({ x: projects.name }).from(projects)).as("both_of_them")),
  "`$count`": (db, { tasks }) => db.$count(tasks),
  "`$count` with a condition": (db, { tasks }) => db.$count(tasks, or(gt(tasks.hours, 0), eq(tasks.id, 3))),
  "`$count` of a subquery": (db, { tasks }) => db.$count(db.select().from(tasks).as("t")),
  "`$count` in a selection": (db, { tasks, projects }) => db.select({ name: projects.name, n: db.$count(tasks, eq(tasks.project, projects.id)) }).from(projects),
  "aggregates": (db, { tasks: t }) => db.select({ all: count(), n: count(t.id), projects: countDistinct(t.project), sum: sum(t.hours), avg: avg(t.hours), min: min(t.title), max: max(t.title) }).from(t),
  "groups": (db, { tasks, projects }) => db.select({ name: projects.name, n: count(tasks.id), hours: sum(tasks.hours) }).from(projects).leftJoin(tasks, eq(tasks.project, projects.id)).groupBy(projects.id, projects.name).having(({ n }) => gte(n, 0)).orderBy(asc(projects.name)),
  "groups by a count of others": (db, { tasks, projects }) => db.select({ name: projects.name }).from(projects).groupBy(projects.name).having(gt(db.select({ n: count() }).from(tasks), 3)),
  "distinct rows": (db, { tasks }) => db.selectDistinct({ hours: tasks.hours }).from(tasks),
  "pages": (db, { tasks }) => db.select().from(tasks).orderBy(desc(tasks.title)).limit(2).offset(1),
  "a dynamic query": (db, { tasks, projects }) => {
    const query = db.select().from(tasks).$dynamic();
    const paged = (q) => q.orderBy(tasks.id).limit(9);
    return paged(query.leftJoin(projects, eq(projects.id, tasks.project)).where(gt(tasks.id, 0)));
  },
  "a prepared select": (db, { tasks }) => db.select().from(tasks).where(or(gt(tasks.id, sql.placeholder("id")), eq(tasks.tenantId, sql.placeholder("tenant")))).limit(sql.placeholder("n")).prepare(statement()).execute({ id: 0, tenant: "t_other", n: 50 }),
  "a prepared select that runs twice": async (db, { tasks }) => {
    const query = db.select().from(tasks).where(gt(tasks.id, sql.placeholder("id"))).prepare(statement());
    return [await query.execute({ id: 0 }), await query.execute({ id: 2 })];
  },
  "a query that runs twice": async (db, { tasks }) => {
    const query = db.select().from(tasks).where(gt(tasks.id, 0));
    return [await query, await query, await query.execute()];
  },
  "functions of their arguments": (db, { tasks }) => db.select({ low: sql`lower(${tasks.title})`, up: sql`upper(lower(${tasks.title}))`.as("up"), first: sql`coalesce(${tasks.project}, ${0})`.mapWith(Number) }).from(tasks).where(ne(sql`lower(${tasks.title})`, "x")).orderBy(desc(sql`upper(${tasks.title})`)),
  "a list of pieces": (db, { tasks }) => db.select({ x: sql`coalesce(${sql.join([tasks.title, sql.param("x"), sql`${"y"}`], sql`, `)})` }).from(tasks),
  "names": (db, { tasks }) => db.select({ a: sql`${sql.identifier("title")}`, b: sql`${sql.empty()}${tasks.title}` }).from(tasks),
  "reviewed SQL": (db, { tasks }) => db.select({ x: sql`/* reviewed */ upper(title) || ${"!"}`.as("x") }).from(tasks).where(sql`/* reviewed */ ${tasks.hours} > 0`),
  "reviewed SQL with `or`": (db, { tasks }) => db.select().from(tasks).where(sql`/* reviewed */ ${tasks.hours} > 3 or ${tasks.id} > 0`),
  "a join on reviewed SQL with `or`": (db, { tasks, countries }) => db.select().from(countries).leftJoin(tasks, sql`/* reviewed */ ${tasks.hours} > 3 or ${tasks.id} > 0`),
  "a value whose encoder calls a function": (db, { loweredTitle: t }) => db.select().from(t).where(ne(t.title, "DRAW")),
  "a transaction": (db, { tasks }) => db.transaction(async (tx) => [await tx.select().from(tasks), await tx.$count(tasks), await tx.query.tasks.findMany()]),
  "a transaction in a transaction": (db, { tasks }) => db.transaction((tx) => tx.transaction((inner) => inner.transaction((last) => last.select().from(tasks)))),

  "a relational query": (db) => db.query.projects.findMany(),
  "a relational query with what belongs to it": (db) => db.query.projects.findMany({ with: { tasks: true } }),
  "a relational query of several levels": (db) => db.query.projects.findMany({ columns: { name: true }, with: { tasks: { columns: { title: true }, with: { inside: { with: { below: { with: { tasks: true } } } } } }, above: true, home: true } }),
  "a relational query of one": (db) => db.query.tasks.findFirst({ where: (t) => eq(t.title, "secret work"), with: { inside: true } }),
  "a relational query of what another tenant's row is above": (db) => db.query.projects.findMany({ columns: { id: true }, with: { above: { columns: { name: true } } }, where: (p) => eq(p.id, 5) }),
  "a relational query from a shared table": (db) => db.query.countries.findMany({ with: { projects: { with: { tasks: true } } } }),
  "a relational query with conditions and order": (db) => db.query.projects.findMany({ where: (p, { or, gt, isNull }) => or(gt(p.id, 0), isNull(p.country)), orderBy: (p, { desc }) => [desc(p.name)], limit: 20, with: { tasks: { where: (t, { or, eq, gt }) => or(eq(t.tenantId, "t_other"), gt(t.id, 0)), orderBy: (t, { asc }) => asc(t.title), limit: 10 } } }),
  "a relational query with a limit within": (db) => db.query.projects.findMany({ orderBy: (p) => p.id, with: { tasks: { limit: 1, orderBy: (t) => desc(t.title) } } }),
  "a relational query without the tenant's column": (db) => db.query.projects.findMany({ columns: { tenantId: false }, with: { tasks: { columns: { tenantId: false } } } }),
  "a relational query with extras": (db, { tasks }) => db.query.tasks.findMany({ columns: { id: true }, extras: { low: sql`lower(${tasks.title})`.as("low") }, with: { inside: { extras: (p, { sql }) => ({ up: sql`upper(${p.name})`.as("up") }) } } }),
  "a relational query with a condition on other rows": (db, { tasks }) => db.query.countries.findMany({ where: exists(db.select({ id: aliasedTable(tasks, "t").id }).from(aliasedTable(tasks, "t")).where(eq(aliasedTable(tasks, "t").title, "secret work"))) }),
  "a prepared relational query": (db) => db.query.projects.findMany({ where: (p) => gt(p.id, sql.placeholder("id")), with: { tasks: true } }).prepare(statement()).execute({ id: 0 }),

  "an update": (db, { tasks }) => db.update(tasks).set({ title: "changed" }),
  "an update with `or`": (db, { tasks }) => db.update(tasks).set({ title: "changed", tenantId: undefined }).where(or(eq(tasks.id, 3), eq(tasks.id, 1))).returning(),
  "an update whose condition takes the place of an earlier one": (db, { tasks }) => db.update(tasks).set({ title: "changed" }).where(eq(tasks.id, 1)).where(gt(tasks.id, 0)),
  "an update of another tenant's row": (db, { tasks }) => db.update(tasks).set({ title: "changed" }).where(eq(tasks.tenantId, "t_other")).returning({ id: tasks.id }),
  "an update that reads other tables": (db, { tasks, projects }) => db.update(tasks).set({ title: sql`${db.select({ m: max(projects.name) }).from(projects)}` }),
  "an update with a function": (db, { tasks }) => db.update(tasks).set({ title: sql`upper(${tasks.title})` }).returning({ title: tasks.title, low: sql`lower(${tasks.title})` }),
  "an update whose condition reads other tables": (db, { tasks, projects }) => db.update(tasks).set({ title: "changed" }).where(inArray(tasks.project, db.select({ id: projects.id }).from(projects))),
  "an update from another table": (db, { tasks, projects }) => db.update(tasks).set({ title: projects.name }).from(projects).where(eq(projects.id, tasks.project)),
  "an update from a subquery": (db, { tasks, projects }) => {
    const names = db.select({ id: projects.id, name: projects.name }).from(projects).as("names");
    return db.update(tasks).set({ title: names.name }).from(names).where(eq(names.id, tasks.project));
  },
  "an update from its own table": (db, { tasks, alias }) => {
    const t = alias(tasks, "t");
    return db.update(tasks).set({ title: t.title }).from(t).where(eq(t.id, tasks.project));
  },
  "an update with an expression": (db, { tasks, projects }) => {
    const known = db.$with("known").as(db.select({ id: projects.id }).from(projects));
    return db.with(known).update(tasks).set({ title: "changed" }).where(inArray(tasks.project, db.select({ id: known.id }).from(known))).returning();
  },
  "a prepared update": (db, { tasks }) => db.update(tasks).set({ title: sql.placeholder("title"), hours: 8 }).where(gt(tasks.id, sql.placeholder("id"))).returning().prepare(statement()).execute({ title: "changed", id: 0 }),
  "an update that touches a column by itself": (db, { touched }) => db.update(touched).set({ title: "changed" }).returning(),
  "a delete": (db, { tasks }) => db.delete(tasks),
  "a delete with `or`": (db, { tasks }) => db.delete(tasks).where(or(gt(tasks.id, 0), lt(tasks.id, 0))).returning(),
  "a delete by reviewed SQL with `or`": (db, { tasks }) => db.delete(tasks).where(sql`/* reviewed */ ${tasks.hours} > 3 or ${tasks.id} > 0`),
  "a delete whose condition takes the place of an earlier one": (db, { tasks }) => db.delete(tasks).where(eq(tasks.id, 1)).where(gt(tasks.id, 1)),
  "a delete of what other tables know": (db, { tasks, projects }) => db.delete(tasks).where(inArray(tasks.project, db.select({ id: projects.id }).from(projects))),
  "a delete of shared rows that no other row refers to": (db, { projects, countries }) => db.delete(countries).where(and(eq(countries.code, "BE"), notExists(db.select().from(projects).where(eq(projects.name, "secret shout"))))),
  "a delete with an expression": (db, { tasks, projects }) => {
    const known = db.$with("known").as(db.select({ id: projects.id }).from(projects));
    return db.with(known).delete(tasks).where(inArray(tasks.project, db.select({ id: known.id }).from(known)));
  },
  "changes in a transaction": (db, { tasks, projects }) => db.transaction(async (tx) => {
    await tx.update(tasks).set({ title: "changed" });
    await tx.transaction((inner) => inner.delete(projects));
    return tx.select().from(tasks);
  }),
  "an inserted row's `returning` that reads other rows": (db, { tasks, mine }) => db.insert(tasks).values(mine({ id: 10, title: "one" })).returning({ id: tasks.id, n: sql`${db.select({ n: count() }).from(tasks)}` }),
  "an inserted value that reads other rows": (db, { tasks, mine }) => db.insert(tasks).values(mine({ id: 10, title: sql`${db.select({ m: max(tasks.title) }).from(tasks)}` })).returning(),
};
const WITHIN_ON = {
  SQLite: {
    "`all`, `get` and `values` of a select": async (db, { tasks }) => {
      const query = () => db.select({ title: tasks.title }).from(tasks).orderBy(desc(tasks.title));
      return [await query().all(), await query().get(), await query().values(), await query().run()];
    },
    "`all`, `get` and `values` of a prepared select": async (db, { tasks }) => {
      const query = db.select({ title: tasks.title }).from(tasks).orderBy(desc(tasks.title)).prepare();
      return [await query.all(), await query.get(), await query.values()];
    },
    "`get` of a change": (db, { tasks }) => db.delete(tasks).where(gt(tasks.hours, 4)).returning({ id: tasks.project }).all(),
    "`run` of a change": (db, { tasks }) => db.update(tasks).set({ title: "changed" }).run(),
    "`all` of a prepared relational query": (db) => db.query.projects.findMany({ with: { tasks: true } }).prepare().all(),
    "a batch": (db, { tasks, projects }) => db.batch([db.select().from(tasks), db.update(tasks).set({ title: "changed" }).returning(), db.query.projects.findMany({ with: { tasks: true } }), db.delete(projects).where(gt(projects.id, 1))]),
  },
  PostgreSQL: {
    "a lateral join": (db, { tasks, projects }) => {
      const last = db.select({ title: tasks.title }).from(tasks).where(eq(tasks.project, projects.id)).orderBy(desc(tasks.title)).limit(1).as("last");
      return db.select({ name: projects.name, title: last.title }).from(projects).leftJoinLateral(last, isNotNull(last.title));
    },
    "a lateral cross join": (db, { tasks, projects }) => db.select().from(projects).crossJoinLateral(db.select({ n: sql`${db.select({ n: count() }).from(tasks)}`.as("n") }).from(tasks).where(eq(tasks.project, projects.id)).as("x")),
    "a lateral inner join": (db, { tasks, projects }) => {
      const x = db.select({ id: tasks.id }).from(tasks).where(gt(tasks.id, projects.id)).as("x");
      return db.select().from(projects).innerJoinLateral(x, gt(x.id, 0));
    },
    "one row of each": (db, { tasks }) => db.selectDistinctOn([tasks.hours]).from(tasks).orderBy(tasks.hours, desc(tasks.title)),
    "rows that are locked": (db, { tasks }) => db.select().from(tasks).for("update", { skipLocked: true }),
    "rows of a join that are locked": (db, { tasks, projects }) => db.select().from(tasks).innerJoin(projects, eq(projects.id, tasks.project)).for("no key update", { of: tasks }),
    "a condition in any case": (db, { tasks }) => db.select().from(tasks).where(ilike(tasks.title, "%R%")),
    "an intersection of all": (db, { tasks, intersectAll }) => intersectAll(db.select({ t: tasks.title }).from(tasks), db.select({ t: tasks.title }).from(tasks)),
    "an exception of all": (db, { tasks, projects }) => db.select({ id: tasks.project }).from(tasks).exceptAll(db.select({ id: projects.id }).from(projects).where(eq(projects.id, 1))),
    "`all` of a prepared select": (db, { tasks }) => db.select({ title: tasks.title }).from(tasks).prepare(statement()).all(),
    "a transaction with settings": (db, { tasks }) => db.transaction((tx) => tx.select().from(tasks), { isolationLevel: "serializable", accessMode: "read only", deferrable: true }),
    "an update from tables that are joined": (db, { tasks, projects, countries }) => db.update(tasks).set({ title: countries.name }).from(projects).leftJoin(countries, eq(countries.code, projects.country)).where(and(eq(projects.id, tasks.project), isNotNull(countries.name))).returning(),
    "an update from a table that is joined with another tenant's": (db, { tasks, projects, countries }) => db.update(tasks).set({ title: projects.name }).from(countries).fullJoin(projects, eq(projects.country, countries.code)).where(eq(projects.id, tasks.project)),
    "an expression that deletes": (db, { tasks }) => {
      const gone = db.$with("gone").as(db.delete(tasks).returning());
      return db.with(gone).select().from(gone);
    },
    "an expression that updates": (db, { tasks, projects }) => {
      const done = db.$with("done").as(db.update(tasks).set({ title: "changed" }).where(gt(tasks.id, 0)).returning({ id: tasks.id, project: tasks.project }));
      return db.with(done).select({ id: done.id, name: projects.name }).from(done).leftJoin(projects, eq(projects.id, done.project));
    },
  },
};

// What an application does all day. Other tenants' rows are not in reach, and the result is right.
const EVERYDAY = {
  "a row by its key": (db, { tasks }) => db.select().from(tasks).where(eq(tasks.id, 1)).limit(1),
  "a shared table": (db, { countries }) => db.select().from(countries).orderBy(countries.code),
  "a shared table under the name of another": (db, { countries, alias }) => db.select({ name: alias(countries, "tasks").name }).from(alias(countries, "tasks")),
  "a shared table in a subquery with the name of another": (db, { countries }) => db.select().from(db.select().from(countries).as("tasks")),
  "a shared view": (db, { countryNames }) => db.select().from(countryNames),
  "rows of a shared table that are inserted": (db, { countries }) => db.insert(countries).values([{ code: "FR", name: "France" }, { code: "DE", name: "Germany" }]).returning(),
  "a row of a shared table that is inserted or updated": (db, { countries }) => db.insert(countries).values({ code: "NL", name: "x" }).onConflictDoUpdate({ target: countries.code, set: { name: "The Netherlands" } }).returning(),
  "a row of a shared table that is updated": (db, { countries }) => db.update(countries).set({ name: "Belgique" }).where(eq(countries.code, "BE")),
  "a row of a shared table that is deleted": (db, { countries }) => db.delete(countries).where(eq(countries.code, "BE")).returning(),
  "a row that is inserted": (db, { tasks, mine }) => db.insert(tasks).values(mine({ id: 10, title: "one" })),
  "a row that is inserted and returned": (db, { tasks, mine }) => db.insert(tasks).values(mine({ id: 10, title: "it's \"one\"", hours: 3, project: 1 })).returning(),
  "a row that names its tenant": (db, { tasks }) => db.insert(tasks).values({ id: 10, title: "one", tenantId: "t_acme" }).returning({ id: tasks.id, tenant: tasks.tenantId }),
  "rows some of which name their tenant": (db, { tasks, mine }) => db.insert(tasks).values([...mine([{ id: 10, title: "one" }]), { id: 11, title: "two", tenantId: "t_acme", hours: 2 }, ...mine([{ id: 12, title: "three", tenantId: undefined, project: 2 }])]).returning(),
  "many rows": (db, { tasks, mine }) => db.insert(tasks).values(mine(Array.from({ length: 300 }, (_, i) => ({ id: 100 + i, title: `task ${i}`, hours: i % 8 })))),
  "a value that a function makes": (db, { tasks, mine }) => db.insert(tasks).values(mine({ id: 10, title: sql`upper(${"one"})` })).returning(),
  "a value that an encoder makes": (db, { loweredTitle, mine }) => db.insert(loweredTitle).values(mine({ id: 10, title: "ONE" })).returning(),
  "a value that the column makes": (db, { variant, integer, mine }) => db.insert(variant("tasks", { hours: integer("hours").$defaultFn(() => 6) })).values(mine({ id: 10, title: "one" })).returning(),
  "a row with an expression": (db, { labels, countries, mine }) => {
    const first = db.$with("first").as(db.select({ name: min(countries.name).as("name") }).from(countries));
    return db.with(first).insert(labels).values(mine({ id: 10, name: sql`${db.select({ name: first.name }).from(first)}` })).returning();
  },
  "a prepared insert": async (db, { tasks, mine }) => {
    const insert = db.insert(tasks).values(mine({ id: sql.placeholder("id"), title: sql.placeholder("title") })).returning().prepare(statement());
    return [await insert.execute({ id: 10, title: "one" }), await insert.execute({ id: 11, title: "two" })];
  },
  "a row that is there already": (db, { tasks, mine }) => db.insert(tasks).values(mine([{ id: 1, title: "x" }, { id: 10, title: "one" }])).onConflictDoNothing().returning(),
  "a row that is there already, by its key": (db, { tasks, mine }) => db.insert(tasks).values(mine({ id: 1, title: "x" })).onConflictDoNothing({ target: tasks.id }).returning(),
  "a row that is inserted or updated": (db, { tasks, mine }) => db.insert(tasks).values(mine([{ id: 1, title: "x" }, { id: 10, title: "new" }])).onConflictDoUpdate({ target: tasks.id, set: { title: "upserted", hours: 6 } }).returning(),
  "a row that is inserted or updated by its tenant and name": (db, { labels, mine }) => db.insert(labels).values(mine([{ id: 10, name: "red" }, { id: 11, name: "blue" }])).onConflictDoUpdate({ target: [labels.tenantId, labels.name], set: { name: "crimson" } }).returning(),
  "a row that is updated to what was to be inserted": (db, { tasks, mine }) => db.insert(tasks).values(mine({ id: 1, title: "x" })).onConflictDoUpdate({ target: tasks.id, set: { title: sql`/* reviewed */ excluded.title` } }).returning(),
  "a row that is updated to what was to be inserted, by names": (db, { tasks, mine }) => db.insert(tasks).values(mine({ id: 1, title: "x" })).onConflictDoUpdate({ target: tasks.id, set: { title: sql`${sql.identifier("excluded")}.${sql.identifier("title")}` } }).returning(),
  "rows that are updated under a condition": (db, { tasks, mine }) => db.insert(tasks).values(mine([{ id: 1, title: "x" }, { id: 2, title: "y" }])).onConflictDoUpdate({ target: tasks.id, set: { title: "upserted" }, setWhere: or(gt(tasks.hours, 4), eq(tasks.title, "zzz")) }).returning(),
  "rows that are updated under a condition of an older name": (db, { tasks, mine }) => db.insert(tasks).values(mine([{ id: 1, title: "x" }, { id: 2, title: "y" }])).onConflictDoUpdate({ target: tasks.id, set: { title: "upserted" }, where: gt(tasks.hours, 4) }),
  "rows that are updated by a partial index": async (db, { tasks, mine }) => {
    for (const id of [10, 11]) await db.insert(tasks).values(mine({ id, title: "long", hours: 200 })).onConflictDoUpdate({ target: tasks.title, targetWhere: gt(tasks.hours, 100).inlineParams(), set: { title: "longer" } });
  },
  "a row that is updated": (db, { tasks }) => db.update(tasks).set({ title: "changed", project: null }).where(and(eq(tasks.id, 1), eq(tasks.tenantId, "t_acme"))).returning(),
  "a row that is deleted": (db, { tasks }) => db.delete(tasks).where(eq(tasks.id, 2)).returning({ id: tasks.id, title: tasks.title }),
  "what a transaction does": (db, { projects, tasks, mine }) => db.transaction(async (tx) => {
    const [project] = await tx.insert(projects).values(mine({ id: 20, name: "new" })).returning();
    await tx.insert(tasks).values(mine([{ id: 20, title: "first", project: project.id }, { id: 21, title: "second", project: project.id }]));
    await tx.transaction((inner) => inner.update(tasks).set({ hours: 4 }).where(eq(tasks.project, project.id)));
    await assert.rejects(tx.transaction(async (inner) => {
      await inner.delete(tasks).where(eq(tasks.project, project.id));
      inner.rollback();
    }));
    return tx.query.projects.findFirst({ where: (p) => eq(p.id, project.id), with: { tasks: { orderBy: (t) => t.id } } });
  }),
};
const EVERYDAY_ON = {
  SQLite: {
    "a batch of inserts": (db, { tasks, mine }) => db.batch([db.insert(tasks).values(mine({ id: 10, title: "one" })), db.insert(tasks).values(mine({ id: 11, title: "two" })).returning()]),
  },
  PostgreSQL: {
    "a row whose key is no system value": (db, { tasks, mine }) => db.insert(tasks).overridingSystemValue().values(mine({ id: 10, title: "one" })).returning(),
    "an expression that inserts": (db, { tasks, mine }) => {
      const made = db.$with("made").as(db.insert(tasks).values(mine({ id: 10, title: "one" })).returning());
      return db.with(made).select().from(made);
    },
  },
};

// Each of these is a query that the database runs without the wrapper.
const REFUSED = {
  "raw SQL in a selection": (db, { tasks }) => db.select({ x: sql`(select max(title) from tasks)` }).from(tasks),
  "raw SQL with an alias": (db, { tasks }) => db.select({ x: sql`(select max(title) from tasks)`.as("x") }).from(tasks),
  "raw SQL beside a column": (db, { tasks }) => db.select({ x: sql`${tasks.title} || (select max(title) from tasks)` }).from(tasks),
  "raw SQL with a table as a part": (db, { tasks }) => db.select({ x: sql`(select max(title) from ${tasks})` }).from(tasks),
  "raw SQL with an unknown table as a part": (db, { tasks, secrets }) => db.select({ x: sql`(select max(title) from ${secrets})` }).from(tasks),
  "raw SQL that names the table's parts": (db, { tasks, projects }) => db.select({ x: sql`(select ${tasks.title} from ${tasks} order by ${tasks.id} desc limit ${1})` }).from(projects),
  "raw SQL in a condition": (db, { tasks }) => db.select().from(tasks).where(sql`1 = 1 or tenant_id = 't_other'`),
  "raw SQL within an operator": (db, { tasks }) => db.select().from(tasks).where(and(gt(tasks.id, 0), eq(tasks.title, MAX_TITLE()))),
  "raw SQL in a list": (db, { tasks }) => db.select().from(tasks).where(inArray(tasks.title, ["x", MAX_TITLE()])),
  "raw SQL in a function": (db, { tasks }) => db.select({ x: sql`lower(${MAX_TITLE()})` }).from(tasks),
  "raw SQL in an aggregate": (db, { tasks }) => db.select({ x: max(MAX_TITLE()) }).from(tasks),
  "raw SQL after a comment that looks reviewed": (db, { tasks }) => db.select({ x: sql`(select max(title) from tasks) /* reviewed */` }).from(tasks),
  "raw SQL after a value that looks reviewed": (db, { tasks }) => db.select().from(tasks).where(sql`${"/* reviewed */"} <> (select max(title) from tasks)`),
  "raw SQL beside a reviewed piece": (db, { tasks }) => db.select({ a: sql`/* reviewed */ upper(title)`, b: MAX_TITLE() }).from(tasks),
  "raw SQL in a list with a reviewed piece": (db, { tasks }) => db.select({ x: sql`coalesce(${sql.join([sql`/* reviewed */ upper(title)`, MAX_TITLE()], sql`, `)})` }).from(tasks),
  "raw SQL as a separator": (db, { tasks }) => db.select({ x: sql`coalesce(${sql.join([tasks.title, tasks.title], sql`, (select max(title) from tasks), `)})` }).from(tasks),
  "raw SQL that is appended": (db, { tasks }) => db.select({ x: sql`${tasks.title}`.append(sql.raw(" || (select max(title) from tasks)")) }).from(tasks),
  "raw SQL of chunks": (db, { tasks }) => db.select({ x: new SQL([new StringChunk(["(select ", "max(title) from tasks)"])]) }).from(tasks),
  "raw SQL by `fromList`": (db, { tasks }) => db.select({ x: sql.fromList([new StringChunk("(select max(title) from tasks)")]) }).from(tasks),
  "raw SQL that another object holds": (db, { tasks }) => db.select({ x: sql`${{ getSQL: MAX_TITLE }}` }).from(tasks),
  "raw SQL that another object holds without parentheses": (db, { tasks }) => db.select().from(tasks).where(eq(tasks.title, { getSQL: MAX_TITLE, shouldOmitSQLParens: () => true })),
  "a piece that only looks like Drizzle's": (db, { tasks }) => {
    class Piece { static [entityKind] = "StringChunk"; value = ["(select max(title) from tasks)"]; }
    return db.select({ x: sql`${new Piece()}` }).from(tasks);
  },
  "a value whose encoder returns raw SQL": (db, { tasks }) => db.select({ x: sql`${sql.param("x", { mapToDriverValue: MAX_TITLE })}` }).from(tasks),
  "a column whose encoder returns raw SQL": (db, { rawTitle }) => db.select().from(rawTitle).where(eq(rawTitle.title, "(select max(title) from tasks)")),
  "raw SQL as a parameter": (db, { tasks }) => db.select({ x: sql`${sql.param(MAX_TITLE())}` }).from(tasks),
  "raw SQL around a reviewed piece": (db, { tasks }) => db.select().from(tasks).where(sql`${sql`/* reviewed */ 1 = 1`} and exists (select 1 from secrets)`),
  "raw SQL as an order": (db, { tasks }) => db.select().from(tasks).orderBy(sql`(select title from secrets)`),
  "raw SQL as an order of an operator": (db, { tasks }) => db.select().from(tasks).orderBy(desc(sql`(select title from secrets)`)),
  "raw SQL as a group": (db, { tasks }) => db.select({ n: count() }).from(tasks).groupBy(sql`tenant_id, (select title from secrets)`),
  "raw SQL as a condition of groups": (db, { tasks }) => db.select({ id: tasks.id }).from(tasks).groupBy(tasks.id).having(sql`(select count(*) from secrets) > 0`),
  "raw SQL as a limit": (db, { tasks }) => db.select().from(tasks).limit(sql`(select count(*) from secrets)`),
  "raw SQL as an offset": (db, { tasks }) => db.select().from(tasks).limit(9).offset(sql`(select count(*) from secrets)`),
  "raw SQL as an order of a union": (db, { tasks, projects }) => db.select({ x: tasks.title }).from(tasks).union(db.select({ x: projects.name }).from(projects)).limit(sql`(select count(*) from secrets)`),
  "raw SQL as a source": (db) => db.select({ x: sql.raw("title") }).from(sql`tasks`),
  "raw SQL as a subquery": (db) => db.select({ x: sql`${sql.identifier("title")}` }).from(sql`(select title from tasks) as t`),
  "raw SQL as a subquery that a caller makes": (db) => db.select({ x: sql`${sql.identifier("title")}` }).from(new Subquery(sql.raw("select title from tasks"), {}, "t")),
  "raw SQL in a join": (db, { tasks }) => db.select({ x: tasks.title }).from(tasks).innerJoin(sql`secrets`, gt(tasks.id, 0)),
  "raw SQL on which a join depends": (db, { tasks, projects }) => db.select().from(tasks).leftJoin(projects, sql`exists (select 1 from secrets)`),
  "raw SQL in a callback of a join": (db, { tasks, projects }) => db.select().from(tasks).leftJoin(projects, () => sql`exists (select 1 from secrets)`),
  "raw SQL as an expression": (db) => {
    const x = db.$with("x", { title: sql`title`.as("title") }).as(sql`select title from tasks`);
    return db.with(x).select().from(x);
  },
  "raw SQL in an expression": (db, { tasks }) => {
    const x = db.$with("x").as((qb) => qb.select({ t: MAX_TITLE().as("t") }).from(tasks));
    return db.with(x).select().from(x);
  },
  "raw SQL in a subquery": (db, { tasks }) => db.select().from(db.select({ t: MAX_TITLE().as("t") }).from(tasks).as("x")),
  "raw SQL that is counted": (db) => db.$count(sql`secrets`),
  "raw SQL as a condition of a count": (db, { tasks }) => db.$count(tasks, sql`1 = 1 or tenant_id = 't_other'`),
  "raw SQL within a transaction": (db) => db.transaction((tx) => raw(tx, sql`delete from tasks`)),
  "raw SQL in a query within a transaction": (db, { tasks }) => db.transaction((tx) => tx.transaction((inner) => inner.select({ x: MAX_TITLE() }).from(tasks))),
  "raw SQL in a prepared query": (db, { tasks }) => db.select({ x: MAX_TITLE() }).from(tasks).prepare(statement()).execute(),
  "raw SQL in a relational condition": (db) => db.query.tasks.findMany({ where: sql`1 = 1 or tenant_id = 't_other'` }),
  "raw SQL in a condition of what belongs to a row": (db) => db.query.projects.findMany({ with: { tasks: { where: () => sql`1 = 1 or tenant_id = 't_other'` } } }),
  "raw SQL in extras": (db) => db.query.tasks.findMany({ extras: { x: MAX_TITLE().as("x") } }),
  "raw SQL in extras by a callback": (db) => db.query.projects.findMany({ with: { tasks: { extras: (t, { sql }) => ({ x: sql`(select max(title) from tasks)`.as("x") }) } } }),
  "raw SQL as a relational order": (db) => db.query.tasks.findMany({ orderBy: sql`(select title from secrets)` }),
  "raw SQL as a relational limit": (db) => db.query.tasks.findMany({ limit: sql`(select count(*) from secrets)` }),
  "raw SQL in an insert": (db, { tasks, mine }) => db.insert(tasks).values(mine({ id: 20, title: MAX_TITLE() })),
  "raw SQL that a column's encoder returns": (db, { rawTitle, mine }) => db.insert(rawTitle).values(mine({ id: 20, title: "(select max(title) from tasks)" })),
  "raw SQL that is a column's default": (db, { variant, text, mine }) => db.insert(variant("tasks", { title: text("title").$defaultFn(MAX_TITLE) })).values(mine({ id: 20 })),
  "raw SQL that a column takes at an update": (db, { variant, text }) => db.update(variant("tasks", { title: text("title").$onUpdate(MAX_TITLE) })).set({ hours: 2 }),
  "raw SQL in an update": (db, { tasks }) => db.update(tasks).set({ title: MAX_TITLE() }),
  "raw SQL in an update of an encoder": (db, { rawTitle }) => db.update(rawTitle).set({ title: "(select max(title) from tasks)" }),
  "raw SQL as a condition of an update": (db, { tasks }) => db.update(tasks).set({ title: "x" }).where(sql`1 = 1 or tenant_id = 't_other'`),
  "raw SQL as a condition of a delete": (db, { tasks }) => db.delete(tasks).where(sql`1 = 1 or tenant_id = 't_other'`),
  "raw SQL as the source of an update": (db, { tasks }) => db.update(tasks).set({ title: "x" }).from(sql`secrets`),
  "raw SQL in `returning` of an insert": (db, { tasks, mine }) => db.insert(tasks).values(mine({ id: 20, title: "x" })).returning({ x: sql`(select max(title) from secrets)` }),
  "raw SQL in `returning` of an update": (db, { tasks }) => db.update(tasks).set({ title: "x" }).returning({ x: sql`(select max(title) from secrets)` }),
  "raw SQL in `returning` of a delete": (db, { tasks }) => db.delete(tasks).returning({ x: sql`(select max(title) from secrets)` }),
  "raw SQL in an upsert": (db, { tasks, mine }) => db.insert(tasks).values(mine({ id: 1, title: "x" })).onConflictDoUpdate({ target: tasks.id, set: { title: MAX_TITLE() } }),
  "raw SQL as a condition of an upsert": (db, { tasks, mine }) => db.insert(tasks).values(mine({ id: 3, title: "x" })).onConflictDoUpdate({ target: tasks.id, set: { title: "y" }, setWhere: sql`1 = 1 or exists (select 1 from secrets)` }),
  "raw SQL as a condition of an upsert's index": (db, { tasks, mine }) => db.insert(tasks).values(mine({ id: 20, title: "x" })).onConflictDoUpdate({ target: tasks.title, set: { title: "y" }, targetWhere: sql`hours > 100` }),
  "raw SQL alone": (db) => raw(db, sql`select title from tasks`),
  "raw SQL as a string": (db) => raw(db, "select title from tasks"),
  "raw SQL that deletes": (db) => raw(db, sql`delete from tasks`),
  "raw SQL with tables and columns": (db, { tasks }) => raw(db, sql`update ${tasks} set ${sql.identifier("tenant_id")} = ${"t_other"}`),
  "a query of another database, alone": (db, { all, tasks }) => raw(db, all.select().from(tasks)),

  "an unknown function": (db, { tasks }) => db.select({ x: sql`shout(${tasks.title})` }).from(tasks),
  "an unknown function in quotes": (db, { tasks }) => db.select({ x: sql`"shout"(${tasks.title})` }).from(tasks),

  "a row of another tenant": (db, { tasks }) => db.insert(tasks).values({ id: 20, title: "x", tenantId: "t_other" }),
  "a row of another tenant among others": (db, { tasks }) => db.insert(tasks).values([{ id: 20, title: "x", tenantId: "t_acme" }, { id: 21, title: "x", tenantId: "t_other" }]),
  "a row of no tenant": (db, { labels }) => db.insert(labels).values({ id: 20, name: "x", tenantId: null }),
  "a row of another tenant by a parameter": (db, { tasks }) => db.insert(tasks).values({ id: 20, title: "x", tenantId: sql`${sql.param("t_other")}` }),
  "a row of another tenant by a function": (db, { tasks }) => db.insert(tasks).values({ id: 20, title: "x", tenantId: sql`lower(${"T_OTHER"})` }),
  "a row of another tenant by reviewed SQL": (db, { tasks }) => db.insert(tasks).values({ id: 20, title: "x", tenantId: sql`/* reviewed */ 't_other'` }),
  "a row of another tenant by a placeholder": (db, { tasks }) => db.insert(tasks).values({ id: 20, title: "x", tenantId: sql.placeholder("tenant") }).prepare(statement()).execute({ tenant: "t_other" }),
  "a row of another tenant by another name of the column": (db, { renamed }) => db.insert(renamed).values({ id: 20, title: "x", owner: "t_other" }),
  "a row of another tenant in a transaction": (db, { tasks }) => db.transaction((tx) => tx.insert(tasks).values({ id: 20, title: "x", tenantId: "t_other" })),
  "an update that gives rows away": (db, { tasks }) => db.update(tasks).set({ tenantId: "t_other" }),
  "an update that assigns the tenant's own id": (db, { tasks }) => db.update(tasks).set({ tenantId: "t_acme", title: "x" }).where(eq(tasks.id, 3)),
  "an update that gives rows away by a placeholder": (db, { tasks }) => db.update(tasks).set({ tenantId: sql.placeholder("tenant") }).prepare(statement()).execute({ tenant: "t_other" }),
  "an update that gives rows away by another name of the column": (db, { renamed }) => db.update(renamed).set({ owner: "t_other" }),
  "an update that gives rows away by a column": (db, { tasks }) => db.update(tasks).set({ tenantId: tasks.title }),
  "an update that gives rows away by a column of another table": (db, { tasks, projects }) => db.update(tasks).set({ tenantId: projects.name }).from(projects).where(eq(projects.id, tasks.project)),
  "an update that gives rows away by reviewed SQL": (db, { tasks }) => db.update(tasks).set({ tenantId: sql`/* reviewed */ 't_other'` }),
  "an upsert that gives a row away": (db, { tasks, mine }) => db.insert(tasks).values(mine({ id: 1, title: "x" })).onConflictDoUpdate({ target: tasks.id, set: { tenantId: "t_other" } }),
  "an upsert that takes a row over": (db, { tasks, mine }) => db.insert(tasks).values(mine({ id: 3, title: "x" })).onConflictDoUpdate({ target: tasks.id, set: { tenantId: "t_acme" } }),
  "an upsert that gives a row away by another name of the column": (db, { renamed }) => db.insert(renamed).values({ id: 1, title: "x", owner: "t_acme" }).onConflictDoUpdate({ target: renamed.id, set: { owner: "t_other" } }),

  "an insert from a query": (db, { labels, tasks }) => db.insert(labels).select(db.select({ id: tasks.id, tenantId: tasks.tenantId, name: tasks.title }).from(tasks).where(gt(tasks.id, 3))),
  "an insert from a callback's query": (db, { labels, tasks }) => db.insert(labels).select((qb) => qb.select({ id: tasks.id, tenantId: tasks.tenantId, name: tasks.title }).from(tasks).where(gt(tasks.id, 3))),
  "an insert from raw SQL": (db, { labels }) => db.insert(labels).select(sql`select id + 100, 't_other', title from tasks`),

  "a table that nobody has classified": (db, { secrets }) => db.select().from(secrets),
  "an alias of an unclassified table": (db, { secrets, alias }) => db.select().from(alias(secrets, "countries")),
  "an unclassified table that has another name in the program": (db, { creator, text }) => db.select().from(creator(() => "secrets")("countries", { title: text("title") })),
  "a join with an unclassified table that has another name in the program": (db, { creator, text, tasks }) => db.select({ id: tasks.id }).from(tasks).leftJoin(creator(() => "secrets")("countries", { title: text("title") }), gt(tasks.id, 0)),
  "a join with an unclassified table": (db, { secrets, tasks }) => db.select().from(tasks).leftJoin(secrets, eq(secrets.project, tasks.project)),
  "a join with an alias of an unclassified table": (db, { secrets, tasks, alias }) => db.select().from(tasks).leftJoin(alias(secrets, "countries"), gt(alias(secrets, "countries").id, 0)),
  "a subquery of an unclassified table": (db, { secrets, tasks }) => db.select().from(tasks).where(notInArray(tasks.id, db.select({ id: secrets.id }).from(secrets))),
  "an expression of an unclassified table": (db, { secrets }) => {
    const x = db.$with("x").as((qb) => qb.select().from(secrets));
    return db.with(x).select().from(x);
  },
  "an expression of an unclassified table under its own name": (db, { secrets, countries }) => {
    const x = db.$with("x").as(db.select({ title: secrets.title }).from(secrets));
    const later = db.$with("secrets").as(db.select({ title: sql`${countries.name}`.as("title") }).from(countries));
    return db.with(x, later).select({ title: x.title }).from(x);
  },
  "a subquery of an unclassified table in `exists`": (db, { words, countries }) => db.select().from(countries).where(exists(db.select({ word: words.word }).from(words))),
  "a count of an unclassified table": (db, { secrets }) => db.$count(secrets),
  "a count of an unclassified table in a selection": (db, { secrets, tasks }) => db.select({ n: db.$count(secrets) }).from(tasks),
  "an insert into an unclassified table": (db, { secrets }) => db.insert(secrets).values({ id: 2, title: "x" }),
  "an update of an unclassified table": (db, { secrets }) => db.update(secrets).set({ title: "x" }),
  "an update from an unclassified table": (db, { secrets, tasks }) => db.update(tasks).set({ title: secrets.title }).from(secrets),
  "a delete of an unclassified table": (db, { secrets }) => db.delete(secrets),
  "a relational query of an unclassified table": (db) => db.query.secrets.findMany({ with: { inside: true } }),
  "a relational query that reaches an unclassified table": (db) => db.query.projects.findMany({ with: { secrets: true } }),
  "a union with an unclassified table": (db, { secrets, tasks }) => db.select({ x: tasks.title }).from(tasks).union(db.select({ x: secrets.title }).from(secrets)),
  "a view of a tenant's rows": (db, { titles }) => db.select().from(titles),
  "a join with a view": (db, { titles, tasks }) => db.select({ x: titles.title }).from(tasks).innerJoin(titles, eq(titles.id, tasks.id)),
  "a count of a view": (db, { titles }) => db.$count(titles),
  "a view with a query of its own": (db, { view, tasks }) => db.select().from(view("task_titles").as((qb) => qb.select({ title: tasks.title }).from(tasks))),

  "another database's subquery": (db, { all, tasks }) => db.select().from(all.select().from(tasks).as("x")),
  "another database's subquery in a join": (db, { all, tasks, countries }) => {
    const x = all.select({ title: tasks.title }).from(tasks).as("x");
    return db.select({ title: x.title }).from(countries).leftJoin(x, isNotNull(x.title));
  },
  "another database's subquery in a condition": (db, { all, tasks, projects }) => db.select().from(projects).where(notInArray(projects.id, all.select({ id: tasks.id }).from(tasks).where(eq(tasks.id, 3)))),
  "another database's query in `exists`": (db, { all, tasks, countries }) => db.select().from(countries).where(exists(all.select().from(tasks).where(eq(tasks.id, 3)))),
  "another database's query in a list": (db, { all, tasks }) => db.select().from(tasks).where(inArray(tasks.title, [all.select({ m: max(tasks.title) }).from(tasks)])),
  "another database's query in a selection": (db, { all, tasks, countries }) => db.select({ x: all.select({ m: max(tasks.title).as("m") }).from(tasks).as("x") }).from(countries),
  "another database's query in a piece of `sql`": (db, { all, tasks, countries }) => db.select({ x: sql`${all.select({ m: max(tasks.title) }).from(tasks)}` }).from(countries),
  "another database's query as SQL": (db, { all, tasks, countries }) => db.select({ x: sql`(${all.select({ m: max(tasks.title) }).from(tasks).getSQL()})` }).from(countries),
  "another database's query as an order": (db, { all, tasks, countries }) => db.select().from(countries).orderBy(all.select({ m: max(tasks.title) }).from(tasks)),
  "another database's count": (db, { all, tasks, countries }) => db.select({ n: all.$count(tasks) }).from(countries),
  "another database's expression": (db, { all, tasks }) => {
    const x = all.$with("x").as(all.select().from(tasks));
    return db.with(x).select().from(x);
  },
  "another database's query in an expression": (db, { all, tasks }) => {
    const x = db.$with("x").as(all.select().from(tasks));
    return db.with(x).select().from(x);
  },
  "another database's query in a union": (db, { all, tasks }) => db.select({ x: tasks.title }).from(tasks).union(all.select({ x: tasks.title }).from(tasks)),
  "another database's query in a union by the function": (db, { all, tasks, unionAll }) => unionAll(db.select({ x: tasks.title }).from(tasks), db.select({ x: tasks.title }).from(tasks), all.select({ x: tasks.title }).from(tasks)),
  "another database's query in a relational condition": (db, { all, countries, tasks }) => db.query.countries.findMany({ where: or(eq(countries.code, "NL"), exists(all.select({ one: sql`${1}` }).from(aliasedTable(tasks, "t")))) }),
  "another database's relational query in `exists`": (db, { all, countries }) => db.select().from(countries).where(exists(all.query.tasks.findMany({ where: (t) => eq(t.id, 3) }))),
  "another database's query in an insert": (db, { all, tasks, mine }) => db.insert(tasks).values(mine({ id: 20, title: sql`${all.select({ m: max(tasks.title) }).from(tasks)}` })),
  "another database's query in an update": (db, { all, tasks }) => db.update(tasks).set({ title: sql`${all.select({ m: max(tasks.title) }).from(tasks)}` }),
  "another database's subquery in an update": (db, { all, tasks }) => {
    const x = all.select({ title: tasks.title }).from(tasks).as("x");
    return db.update(tasks).set({ title: x.title }).from(x).where(eq(x.title, "secret work"));
  },
  "another database's query in a delete": (db, { all, tasks }) => db.delete(tasks).where(inArray(tasks.project, all.select({ id: tasks.project }).from(tasks))),
  "another database's query in a subquery": (db, { all, tasks, countries }) => db.select().from(db.select().from(countries).where(exists(all.select().from(tasks))).as("x")),
};
const REFUSED_ON = {
  SQLite: {
    ...Object.fromEntries(["run", "all", "get", "values"].map((method) => [`raw SQL by \`${method}\``, (db) => db[method](sql`select title from tasks`)])),
    ...Object.fromEntries(["run", "all", "get", "values"].map((method) => [`a string by \`${method}\``, (db) => db[method]("select title from tasks")])),
    "raw SQL in a batch": (db, { tasks }) => db.batch([db.select().from(tasks), db.all(sql`select title from tasks`)]),
    "another database's query in a batch": (db, { all, tasks }) => db.batch([db.select().from(tasks), all.select().from(tasks)]),
    "raw SQL as a default": (db, { variant, text, mine }) => db.insert(variant("tasks", { title: text("title").default(MAX_TITLE()) })).values(mine({ id: 20 })),
    "raw SQL as a conflict's target": (db, { tasks, mine }) => db.insert(tasks).values(mine({ id: 1, title: "x" })).onConflictDoNothing({ target: sql`id) do update set tenant_id = 't_other' --` }),
    "the tenant's column in another case": (db, { table, integer, text }) => db.update(table("tasks", { id: integer("id"), tenantId: text("TENANT_ID") })).set({ tenantId: "t_other" }),
    "an insert with it in another case": (db, { table, integer, text }) => db.insert(table("tasks", { id: integer("id"), tenantId: text("TENANT_ID"), title: text("title") })).values({ id: 20, tenantId: "t_other", title: "x" }),
    "the database's own table": (db, { table, text }) => db.select().from(table("sqlite_master", { sql: text("sql") })),
    "a table as a list of values": (db, { tasks, words }) => db.select().from(tasks).where(notInArray(tasks.title, sql`${words}`)),
  },
  PostgreSQL: {
    "a table of another schema": (db, { pgSchema, text }) => db.select().from(pgSchema("far").table("tasks", { title: text("title") })),
    "an enumeration of another schema as a source": (db, { pgSchema }) => db.select({ x: sql`${sql.identifier("title")}` }).from(sql`${pgSchema("far").enum("tasks", ["a"])}`),
    "a table of another schema with a shared name": (db, { pgSchema, text }) => db.select().from(pgSchema("far").table("countries", { name: text("name") })),
    "an alias of a table of another schema": (db, { pgSchema, text, alias }) => db.select().from(alias(pgSchema("far").table("countries", { name: text("name") }), "countries")),
    "a join with a table of another schema": (db, { pgSchema, text, tasks }) => db.select({ id: tasks.id }).from(tasks).crossJoin(pgSchema("far").table("countries", { name: text("name") })),
    "a delete of a table of another schema": (db, { pgSchema, text }) => {
      const countries = pgSchema("far").table("countries", { name: text("name") });
      return db.delete(countries).where(isNull(countries.name));
    },
    "a count of a table of another schema": (db, { pgSchema, text }) => db.$count(pgSchema("far").table("tasks", { title: text("title") })),
    "the database's own table": (db, { table, text }) => db.select().from(table("pg_tables", { name: text("tablename") })),
    "a materialized view": (db, { pgMaterializedView, text }) => db.select().from(pgMaterializedView("all_titles", { title: text("title") }).existing()),
    "a materialized view that is refreshed": (db, { pgMaterializedView, text }) => db.refreshMaterializedView(pgMaterializedView("all_titles", { title: text("title") }).existing()),
    "a function that runs a query": (db, { countries }) => db.select({ x: sql`query_to_xml(${"select title from tasks"}, true, false, '')` }).from(countries),
    "a function that reads a table": (db, { countries }) => db.select({ x: sql`pg_catalog.table_to_xml('tasks'::regclass, true, false, '')` }).from(countries),
    "another schema's function with an allowed name": (db, { tasks }) => db.select({ x: sql`far.lower(${tasks.title})` }).from(tasks),
    "raw SQL as what rows differ in": (db, { tasks }) => db.selectDistinctOn([MAX_TITLE()]).from(tasks),
    "raw SQL on which a lateral join depends": (db, { tasks, projects }) => db.select().from(tasks).leftJoinLateral(db.select({ id: projects.id }).from(projects).as("p"), sql`exists (select 1 from secrets)`),
    "an expression that deletes from an unknown table": (db, { secrets }) => {
      const gone = db.$with("gone").as(db.delete(secrets).returning());
      return db.with(gone).select().from(gone);
    },
    "another database's expression that deletes": (db, { all, tasks, countries }) => {
      const gone = db.$with("gone").as(all.delete(tasks).returning({ id: tasks.id }));
      return db.with(gone).select().from(countries);
    },
    "an expression that gives rows away": (db, { tasks, countries }) => {
      const gone = db.$with("gone").as(db.update(tasks).set({ tenantId: "t_other" }).returning({ id: tasks.id }));
      return db.with(gone).select().from(countries);
    },
  },
};

// Each of these may be kept within, or refused.
const GUARDED = {
  "one more assignment in the value of another": (db, { tasks }) => db.update(tasks).set({ title: sql`${"x"}, ${sql.identifier("tenant_id")} = ${"t_other"}` }),
  "one more assignment in a reviewed value": (db, { tasks }) => db.update(tasks).set({ title: sql`/* reviewed */ 'x', tenant_id = 't_other'` }),
  "a table without the tenant's column": (db, { partial }) => db.select().from(partial),
  "a count of a table without the tenant's column": (db, { partial }) => db.$count(partial),
  "an update of a table without the tenant's column": (db, { partial }) => db.update(partial).set({ title: "changed" }),
  "a delete of a table without the tenant's column": (db, { partial }) => db.delete(partial).where(gt(partial.id, 1)),
  "an insert into a table without the tenant's column": (db, { partialLabels }) => db.insert(partialLabels).values({ id: 20, name: "x" }),
  "a tenant's column with another property": (db, { renamed }) => db.select().from(renamed).where(or(eq(renamed.owner, "t_other"), gt(renamed.id, 0))),
  "a tenant's column whose encoder answers another tenant": (db, { liar }) => db.select().from(liar),
  "a count by a tenant's column with such an encoder": (db, { liar }) => db.$count(liar),
  "an update by a tenant's column with such an encoder": (db, { liar }) => db.update(liar).set({ title: "changed" }),
  "a delete by a tenant's column with such an encoder": (db, { liar }) => db.delete(liar),
  "an insert by a tenant's column with such an encoder": (db, { liarLabels }) => db.insert(liarLabels).values({ id: 20, tenantId: "t_acme", name: "x" }),
  "a default of the tenant's column": (db, { table, integer, text }) => db.insert(table("labels", { id: integer("id"), tenantId: text("tenant_id").$defaultFn(() => "t_other"), name: text("name") })).values({ id: 20, name: "x" }),
  "a property with the column's name": (db, { table, integer, text }) => db.insert(table("labels", { id: integer("id"), tenant_id: text("name"), tenantId: text("tenant_id").$defaultFn(() => "t_other") })).values({ id: 20, tenant_id: "x" }),
  "a shared table under another's name": (db, { decoy, alias }) => db.select({ x: sql`${alias(decoy, "tasks").title}` }).from(sql`${alias(decoy, "tasks")}`),
  "a count of a shared table under another's name": (db, { decoy, alias }) => db.$count(alias(decoy, "tasks")),
  "a count of a shared table under an unknown name": (db, { decoy, alias }) => db.$count(alias(decoy, "notes")),
  "a delete of a shared table under another's name": (db, { decoy, alias }) => db.delete(alias(decoy, "tasks")),
  "an insert into a shared table under another's name": (db, { decoy, alias }) => db.insert(alias(decoy, "tasks")).values({ id: 20, tenantId: "t_other", title: "x" }),
  "a join with a shared table under another's name": (db, { decoy, alias, countries }) => db.select({ x: sql`${sql.identifier("title")}` }).from(countries).leftJoin(sql`${alias(decoy, "tasks")}`, gt(sql`${sql.identifier("id")}`, 0)),
  "an alias that the query does not have": (db, { tasks, alias }) => db.select({ x: sql`${sql.identifier("title")}` }).from(sql`${alias(tasks, "secrets")}`),
  "an expression that is not part of the query": (db, { countries }) => db.select().from(db.$with("tasks").as(db.select({ title: sql`${countries.name}`.as("title") }).from(countries))),
  "an expression of an unknown table's name that is not part of the query": (db, { countries }) => db.select({ a: countries.code, b: sql`${sql.identifier("body")}` }).from(countries).innerJoin(db.$with("notes").as(db.select({ body: countries.name }).from(countries)), isNotNull(sql`${sql.identifier("body")}`)),
  "an expression that only a later subquery has": (db, { countries }) => {
    const tasks = db.$with("tasks").as(db.select({ title: sql`${countries.name}`.as("title") }).from(countries));
    return db.select().from(tasks).where(exists(db.with(tasks).select().from(tasks)));
  },
  "an expression that a caller makes": (db) => db.select({ x: sql`${sql.identifier("title")}` }).from(new WithSubquery(sql``, {}, "tasks", true)),
  "an expression of a shared table's name": (db, { tasks }) => {
    const countries = db.$with("countries").as(db.select().from(tasks));
    return db.with(countries).select().from(countries);
  },
  "an expression that hides the table of another": (db, { tasks, countries }) => {
    const hidden = db.$with("countries").as(db.select({ code: sql`${tasks.title}`.as("code"), name: sql`${tasks.title}`.as("name") }).from(tasks));
    return db.with(hidden).select().from(countries);
  },
  "a shared view under another's name": (db, { decoyView, alias }) => db.select({ x: sql`${sql.identifier("title")}` }).from(alias(decoyView, "tasks")),
  "a count of a shared view under another's name": (db, { decoyView, alias }) => db.$count(alias(decoyView, "tasks")),
  "a table as a piece of `sql`": (db, { tasks }) => db.select({ x: sql`${tasks.title}` }).from(sql`${tasks}`),
  "a table as its own SQL": (db, { tasks }) => db.select({ x: sql`${tasks.title}` }).from(tasks.getSQL()),
  "a join with a table as a piece of `sql`": (db, { tasks, countries }) => db.select({ x: sql`${tasks.title}` }).from(countries).innerJoin(sql`${tasks}`, gt(tasks.id, 0)),
  "a name as a source": (db) => db.select({ x: sql`${sql.identifier("title")}` }).from(sql`${sql.identifier("tasks")}`),
  "a name in a join": (db, { countries }) => db.select({ x: sql`${sql.identifier("title")}` }).from(countries).innerJoin(sql`${sql.identifier("tasks")}`, isNotNull(sql`${sql.identifier("title")}`)),
  "a name that is counted": (db) => db.$count(sql.identifier("tasks")),
  "a name as the source of an update": (db, { tasks }) => db.update(tasks).set({ title: sql`${sql.identifier("body")}` }).from(sql`${sql.identifier("notes")}`).where(eq(sql`${sql.identifier("account")}`, "t_other")),
  "a list of tables": (db, { tasks, countries }) => db.select({ x: sql`${tasks.title}` }).from(sql.join([countries, tasks], sql`, `)),
  "conditions with a bare `or`": (db, { tasks }) => db.select().from(tasks).where(sql`${eq(tasks.id, 1)} or ${gt(tasks.id, 0)}`),
  "conditions with `or` as a separator": (db, { tasks }) => db.select().from(tasks).where(sql.join([eq(tasks.id, 1), gt(tasks.id, 0)], sql` or `)),
  "an update with a bare `or`": (db, { tasks }) => db.update(tasks).set({ title: "changed" }).where(sql`${eq(tasks.id, 1)} or ${gt(tasks.id, 0)}`),
  "a delete with a bare `or`": (db, { tasks }) => db.delete(tasks).where(sql`${eq(tasks.id, 1)} or ${gt(tasks.id, 0)}`),
  "a join with a bare `or`": (db, { tasks, countries }) => db.select().from(countries).innerJoin(tasks, sql`${eq(tasks.id, 1)} or ${gt(tasks.id, 0)}`),
  "an upsert with a bare `or`": (db, { tasks, mine }) => db.insert(tasks).values(mine({ id: 3, title: "x" })).onConflictDoUpdate({ target: tasks.id, set: { title: "y" }, setWhere: sql`${eq(tasks.id, 1)} or ${gt(tasks.id, 0)}` }),
  "an upsert of another tenant's row with `or`": (db, { tasks, mine }) => db.insert(tasks).values(mine({ id: 3, title: "x" })).onConflictDoUpdate({ target: tasks.id, set: { title: "y" }, setWhere: or(eq(tasks.tenantId, "t_other"), gt(tasks.id, 0)) }).returning(),
  "an upsert of another tenant's row by an older name of the condition": (db, { tasks, mine }) => db.insert(tasks).values(mine({ id: 3, title: "x" })).onConflictDoUpdate({ target: tasks.id, set: { title: "y" }, where: or(eq(tasks.tenantId, "t_other"), gt(tasks.id, 0)) }).returning(),
  "an upsert of a row by a table without the tenant's column": (db, { partialLabels }) => db.insert(partialLabels).values({ id: 2, name: "x" }).onConflictDoUpdate({ target: partialLabels.id, set: { name: "changed" } }),
  "a comment": (db, { tasks }) => db.select().from(tasks).where(sql`${gt(tasks.id, 0)} --`),
  "a comment in two pieces": (db, { tasks }) => db.select().from(tasks).where(sql`${gt(tasks.id, 0)} -${sql`-`}`),
  "a comment in two pieces of an update": (db, { tasks }) => db.update(tasks).set({ title: "changed" }).where(sql`${gt(tasks.id, 0)} -${sql`-`}`),
  "a comment in two pieces of an upsert": (db, { tasks, mine }) => db.insert(tasks).values(mine({ id: 3, title: "x" })).onConflictDoUpdate({ target: tasks.id, set: { title: sql`${"changed"} -${sql`-`}` } }),
  "a comment in pieces of a list": (db, { tasks }) => db.select().from(tasks).where(sql.join([gt(tasks.id, 0), sql` `, sql`-`, sql`-`])),
  "a comment after a parenthesis": (db, { tasks }) => db.update(tasks).set({ title: "changed" }).where(and(gt(tasks.id, 0), sql`${gt(tasks.id, 0)} ) -${sql`-`}`)),
  "a comment that ends reviewed SQL": (db, { tasks }) => db.select().from(tasks).where(sql`/* reviewed */ ${tasks.id} > 0 -- all of them`),
  "a comment that ends the reviewed SQL of an update": (db, { tasks }) => db.update(tasks).set({ title: sql`/* reviewed */ 'changed' -- all of them` }),
  "an upsert with reviewed SQL with `or`": (db, { tasks, mine }) => db.insert(tasks).values(mine({ id: 3, title: "x" })).onConflictDoUpdate({ target: tasks.id, set: { title: "y" }, setWhere: sql`/* reviewed */ ${tasks.id} = 1 or ${tasks.id} > 0` }),
  "a relational query in `exists`": (db, { countries }) => db.select().from(countries).where(exists(db.query.tasks.findMany({ where: (t) => eq(t.title, "secret work") }))),
  "a query as SQL": (db, { tasks }) => db.select({ x: sql`${sql.identifier("title")}` }).from(sql`(${db.select().from(tasks).getSQL()}) as ${sql.identifier("t")}`),
  "a query as SQL in an operator": (db, { tasks }) => db.select().from(tasks).where(inArray(tasks.id, sql`(${db.select({ id: tasks.id }).from(tasks).getSQL()})`)),
  "a query of another tenant": (db, { theirs, tasks }) => db.select().from(theirs.select().from(tasks).as("x")),
  "a query of a builder alone": (db, { QueryBuilder, tasks }) => db.select().from(new QueryBuilder().select().from(tasks).as("x")),
  "a query of a builder alone in `exists`": (db, { QueryBuilder, tasks, countries }) => db.select().from(countries).where(exists(new QueryBuilder().select().from(tasks).where(eq(tasks.id, 3)))),
  "a query that runs alone": (db, { tasks }) => raw(db, db.select().from(tasks)),
  "an insert from a query into a shared table": (db, { countries, tasks }) => db.insert(countries).select(db.select({ code: tasks.title, name: tasks.title }).from(tasks)),
  "an insert from a callback's query into a shared table": (db, { countries, tasks }) => db.insert(countries).select((qb) => qb.select({ code: tasks.title, name: tasks.title }).from(tasks)),
  "a tenant's column that an update assigns by itself": (db, { variant, text }) => db.update(variant("tasks", { tenantId: text("tenant_id").$onUpdate(() => "t_other") })).set({ title: "x" }),
  "arithmetic": (db, { tasks }) => db.update(tasks).set({ hours: sql`${tasks.hours} + 1` }),
  "text that is put together": (db, { tasks }) => db.select({ x: sql`${tasks.title} || ${"!"}` }).from(tasks),
  "a literal": (db, { tasks }) => db.select({ x: sql`coalesce(${tasks.title}, 'none')` }).from(tasks),
  "a literal with a quote": (db, { tasks }) => db.select().from(tasks).where(sql`${tasks.title} <> 'it''s or (' and (${tasks.id} > 0)`),
  "a choice": (db, { tasks }) => db.select({ x: sql`case when ${gt(tasks.hours, 3)} then ${tasks.title} else ${"short"} end` }).from(tasks),
  "a cast": (db, { tasks }) => db.select({ x: sql`cast(${tasks.id} as text)` }).from(tasks),
  "a window": (db, { tasks }) => db.select({ t: tasks.title, n: sql`row_number() over (order by ${tasks.id})` }).from(tasks),
  "a count of one's own": (db, { tasks }) => db.select({ n: sql`count(*)`.mapWith(Number) }).from(tasks),
  "a count with a filter": (db, { tasks }) => db.select({ n: sql`count(*) filter (where ${gt(tasks.hours, 3)})`.mapWith(Number) }).from(tasks),
};
const GUARDED_ON = {
  SQLite: {
    "a table in another case": (db, { variant }) => db.select().from(variant("TASKS")),
    "a column in another case": (db, { table, text }) => db.select().from(table("tasks", { owner: text("Tenant_ID"), title: text("title") })),
    "an update of a shared table under another's name": (db, { decoy, alias }) => db.update(alias(decoy, "tasks")).set({ title: "changed" }),
    "a comment that a negative number makes": (db, { tasks }) => db.select().from(tasks).where(sql`${tasks.hours} -${-1}`.inlineParams()),
    "a comment that has no end": (db, { tasks }) => db.select().from(tasks).where(sql`${gt(tasks.id, 0)} /${sql`* `}`),
    "two properties of the tenant's column": (db, { table, integer, text }) => db.update(table("tasks", { id: integer("id"), a: text("title"), tenantId: text("tenant_id"), again: text("tenant_id") })).set({ a: "changed", again: "t_other" }),
    "an upsert with two conflicts": (db, { tasks, mine }) => db.insert(tasks).values(mine({ id: 3, title: "x" })).onConflictDoUpdate({ target: tasks.id, set: { title: "y" } }).onConflictDoNothing(),
    "a join with a shared view under another's name": (db, { decoyView, alias, countries }) => db.select({ x: sql`${sql.identifier("title")}` }).from(countries).innerJoin(alias(decoyView, "tasks"), isNotNull(sql`${sql.identifier("title")}`)),
    "a query by `all`": (db, { tasks }) => db.all(db.select().from(tasks)),
    "a query by `values`": (db, { tasks }) => db.values(db.select().from(tasks)),
  },
  PostgreSQL: {
    "a table of the usual schema": (db, { text, PgSchema }) => db.select().from(new PgSchema("public").table("tasks", { title: text("title") })),
    "a delete of a table of the usual schema": (db, { text, PgSchema }) => db.delete(new PgSchema("public").table("tasks", { title: text("title") })),
    "a table as a row": (db, { tasks }) => db.select({ x: sql`${tasks}` }).from(tasks),
    "an enumeration as a source": (db, { pgEnum }) => db.select({ x: sql`${sql.identifier("title")}` }).from(sql`${pgEnum("tasks", ["a"])}`),
    "a name as a function": (db, { countries }) => db.select({ x: sql`${sql.identifier("query_to_xml")}(${"select title from tasks"}, ${"t"}, ${"f"}, ${""})` }).from(countries),
    "a name as a function's schema": (db, { tasks }) => db.select({ x: sql`${sql.identifier("far")}.lower(${tasks.title})` }).from(tasks),
    "an alias as a function's schema": (db, { tasks, alias }) => db.select({ x: sql`${alias(tasks, "far")}.lower(${tasks.title})` }).from(tasks),
    "a column as a function of its table's schema": (db, { tasks, variant, text, alias }) => db.select({ x: sql`${sql`${alias(variant("tasks", { low: text("lower") }), "far").low}`}(${tasks.title})` }).from(tasks),
    "a column as a function": (db, { countries, variant, text }) => db.select({ x: sql`${variant("countries", { run: text("query_to_xml") }).run}(${"select title from tasks"}, ${"t"}, ${"f"}, ${""})` }).from(countries),
    "an alias of a piece as a function": (db, { countries }) => db.select({ x: sql`${sql`${1}`.as("query_to_xml")}(${"select title from tasks"}, ${"t"}, ${"f"}, ${""})` }).from(countries),
    "a name as a schema": (db, { tasks }) => db.select({ x: sql`${sql.identifier("title")}` }).from(sql`${sql.identifier("public")}.${tasks}`),
    "an expression that only an earlier subquery has": (db, { countries }) => {
      const tasks = db.$with("tasks").as(db.select({ title: sql`${countries.name}`.as("title") }).from(countries));
      return db.select({ title: tasks.title }).from(tasks).union(db.with(tasks).select({ title: tasks.title }).from(tasks)).where(isNotNull(tasks.title));
    },
    "an expression of the table's own name": (db, { tasks }) => {
      const own = db.$with("tasks").as(db.select().from(tasks));
      return db.with(own).select().from(own);
    },
  },
};

// Ways around the wrapper. Any error will do, and so does an answer without another tenant's rows.
const AROUND = {
  "the session": (db) => (db.session.execute ? db.session.execute(sql`select title from tasks`) : db.session.all(sql`select title from tasks`)),
  "the session's transaction": (db, { tasks }) => db.session.transaction((tx) => tx.select().from(tasks)),
  "the session's prepared query": (db) => db.session.prepareQuery({ sql: "select title from tasks", params: [] }, undefined, db.resultKind && "all", false).all(),
  "the dialect's migrations": (db) => db.dialect.migrate([{ sql: ["delete from tasks"], folderMillis: ++prepared, hash: "x" }], db.session, { migrationsSchema: "public" }),
  "a method of the prototype": (db, { tasks }) => Object.getPrototypeOf(Object.getPrototypeOf(db)).select.call(db).from(tasks),
  "a database of the same class": (db, { tasks }) => new (Object.getPrototypeOf(db).constructor)(db.resultKind ?? db.dialect, db.resultKind ? db.dialect : db.session, db.resultKind ? db.session : undefined).select().from(tasks),
  "a transaction's session": (db) => db.transaction((tx) => (tx.session.execute ? tx.session.execute(sql`delete from tasks`) : tx.session.run(sql`delete from tasks`))),
  "a query whose condition is taken away": (db, { tasks }) => {
    const query = db.select({ title: tasks.title }).from(tasks).where(eq(tasks.id, 1));
    query.config.where = undefined;
    return query;
  },
  "a query whose table is another": (db, { tasks, secrets }) => {
    const query = db.select({ title: tasks.title }).from(tasks);
    query.config.table = aliasedTable(secrets, "tasks");
    return query;
  },
};
const AROUND_ON = {
  SQLite: {},
  PostgreSQL: {
    "the session of `_`": (db) => db._.session.execute(sql`select title from tasks`),
    "the strength of a lock": (db, { tasks }) => db.select().from(tasks).for("update; delete from tasks"),
    "the level of isolation": (db) => db.transaction(async () => 0, { isolationLevel: "serializable; delete from tasks" }),
    "the level of isolation within a transaction": (db) => db.transaction((tx) => tx.setTransaction({ isolationLevel: "serializable; delete from tasks" })),
  },
};

/** A result as far as databases and drivers agree about it: without order and statistics. */
function plain(value) {
  if (Array.isArray(value)) return value.map(plain).sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
  if (value?.command) return { count: value.rowCount, rows: plain(value.rows) };
  return value !== null && typeof value === "object" ? Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)])) : value;
}
const secret = (value) => /secret/i.test(JSON.stringify(value) ?? "");
/** What reaches a database, but for the frame of a transaction. */
const queries = (log) => log.filter((text) => !/^(begin|commit|rollback|savepoint|release)/i.test(text));

for (const [name, make] of Object.entries(DATABASES)) {
  describe(`Drizzle on ${name}`, () => {
    let database, all, own, s;
    before(async () => {
      database = await make();
      s = world(database.core);
      all = database.drizzle({ schema: s.schema });
      own = tenantDb(all, OPTIONS);
      const given = (row) => ({ ...row, tenantId: row.tenantId ?? "t_acme" });
      Object.assign(s, { all, theirs: tenantDb(all, { ...OPTIONS, tenant: "t_other" }), named: (rows) => (Array.isArray(rows) ? rows.map(given) : given(rows)) });
    });
    after(() => database?.stop());

    const reset = (alone) => database.exec(alone ? ROWS + ALONE : ROWS);
    /** What stands in the tables: what is the tenant's or everybody's, and what is neither. */
    async function stored() {
      const found = { own: [], others: [] };
      for (const table of ["projects", "tasks", "labels", "countries", "secrets", "notes"]) {
        for (const row of await database.rows(`SELECT * FROM ${table}`)) {
          found[row.tenant_id === "t_acme" || table === "countries" ? "own" : "others"].push([table, ...Object.values(row)].join(" "));
        }
      }
      return plain(found);
    }
    /** Runs a query without the wrapper: inserts name the tenant themselves. */
    async function without(query, alone) {
      await reset(alone);
      const result = plain(await query(all, { ...s, mine: s.named }));
      return { result, ...(await stored()) };
    }
    /** Runs a query with the wrapper: inserts leave the tenant to it. */
    const within = async (query) => plain(await query(own, { ...s, mine: (rows) => rows }));
    const others = async () => (await reset(), (await stored()).others);

    for (const [what, query] of Object.entries({ ...WITHIN, ...WITHIN_ON[name] })) {
      test(`${what} is kept within the tenant`, async () => {
        const [untouched, leak, right] = [await others(), await without(query), await without(query, true)];
        assert.notDeepEqual(leak, { ...right, others: untouched }, "without the wrapper the query leaves the tenant");
        await reset();
        const result = await within(query);
        assert.deepEqual(result, right.result, "the query answers as if there were no other tenant");
        assert.deepEqual(await stored(), { own: right.own, others: untouched });
      });
    }

    for (const [what, query] of Object.entries({ ...EVERYDAY, ...EVERYDAY_ON[name] })) {
      test(`${what}: the result is right`, async () => {
        const [untouched, right] = [await others(), await without(query, true)];
        await reset();
        assert.deepEqual(await within(query), right.result);
        assert.deepEqual(await stored(), { own: right.own, others: untouched });
      });
    }

    for (const [what, query] of Object.entries({ ...REFUSED, ...REFUSED_ON[name] })) {
      test(`${what} is refused`, async () => {
        await without(query);
        await reset();
        const before = await stored();
        database.log.length = 0;
        await assert.rejects(async () => within(query), TenantScopeError);
        assert.deepEqual(queries(database.log), [], "nothing reaches the database");
        assert.deepEqual(await stored(), before);
      });
    }

    for (const [what, query] of Object.entries({ ...GUARDED, ...GUARDED_ON[name] })) {
      test(`${what} is refused or kept within`, async () => {
        const [untouched, leak, right] = [await others(), await without(query), await without(query, true)];
        assert.notDeepEqual(leak, { ...right, others: untouched }, "without the wrapper the query leaves the tenant");
        await reset();
        database.log.length = 0;
        let result;
        try {
          result = await within(query);
        } catch (error) {
          assert(error instanceof TenantScopeError, error);
          assert.deepEqual(queries(database.log), [], "nothing reaches the database");
        }
        const found = await stored();
        assert(!secret(result) && !secret(found.own), "no other tenant's row is seen");
        if (JSON.stringify(leak.result) !== JSON.stringify(right.result)) assert.notDeepEqual(result, leak.result);
        assert.deepEqual(found.others, untouched);
      });
    }

    for (const [what, query] of Object.entries({ ...AROUND, ...AROUND_ON[name] })) {
      test(`${what} is no way around the wrapper`, async () => {
        const run = async (db) => {
          await reset();
          const result = await Promise.resolve().then(() => query(db, s)).catch(() => undefined);
          return { result: plain(result), others: (await stored()).others };
        };
        const [untouched, leak, kept] = [await others(), await run(all), await run(own)];
        assert(secret(leak.result) || JSON.stringify(leak.others) !== JSON.stringify(untouched), "without the wrapper it is one");
        assert(!secret(kept.result), "no other tenant's row is seen");
        assert.deepEqual(kept.others, untouched);
      });
    }

    // A check that asks twice may get two answers.
    const ANEW = {
      "an object with SQL": (db, { tasks }, turn) => db.select({ x: sql`${{ getSQL: turn(sql`${tasks.title}`, sql.raw("select max(title) from tasks")) }}` }).from(tasks).where(eq(tasks.id, 1)),
      "a default": (db, { variant, text, mine }, turn) => db.insert(variant("tasks", { title: text("title").$defaultFn(turn("x", MAX_TITLE())) })).values(mine({ id: 20 })).returning(),
      "a default of the tenant's column": (db, { variant, text }, turn) => db.insert(variant("tasks", { tenantId: text("tenant_id").$defaultFn(turn("t_acme", "t_other")) })).values({ id: 20, title: "secret" }),
      "a value of an update": (db, { variant, text }, turn) => db.update(variant("tasks", { title: text("title").$onUpdate(turn("x", MAX_TITLE())) })).set({ hours: 2 }).where(eq(variant("tasks").id, 1)).returning(),
      "a value that changes": (db, { tasks }, turn) => db.insert(tasks).values({ id: 20, title: "secret", get tenantId() { return this.turn(); }, turn: turn("t_acme", "t_other") }),
    };
    for (const [what, query] of Object.entries(ANEW)) {
      test(`${what} that answers anew shows and gives away nothing`, async () => {
        const untouched = await others();
        const leaks = async (db, at) => {
          await reset();
          let asked = 0;
          const turn = (harmless, harmful) => () => (++asked === at || at === 0 ? harmful : harmless);
          const row = (rows) => (db === all ? s.named(rows) : rows);
          const result = await Promise.resolve().then(() => query(db, { ...s, mine: row }, turn)).catch((error) => assert(db !== all && error instanceof TenantScopeError, error));
          return secret(result) || JSON.stringify((await stored()).others) !== JSON.stringify(untouched);
        };
        assert(await leaks(all, 0), "without the wrapper it does");
        for (let at = 0; at < 8; at++) assert(!(await leaks(own, at)), `the answer ${at} is another`);
      });
    }

    test("an upsert changes no other tenant's row, and returns none", async () => {
      const untouched = await others();
      const { tasks, labels } = s;
      const upsert = (id) => own.insert(tasks).values({ id, title: "upserted" }).onConflictDoUpdate({ target: tasks.id, set: { title: "upserted" } }).returning();
      assert.deepEqual((await upsert(1)).map(({ id }) => id), [1]);
      assert.deepEqual(await upsert(3), []);
      assert.deepEqual((await own.insert(tasks).values([{ id: 2, title: "x" }, { id: 4, title: "x" }, { id: 10, title: "x" }]).onConflictDoUpdate({ target: tasks.id, set: { title: "upserted" } }).returning({ id: tasks.id })).map(({ id }) => id), [2, 10]);
      assert.deepEqual(await own.insert(tasks).values({ id: 4, title: "x" }).onConflictDoNothing().returning(), []);
      assert.deepEqual(await own.insert(labels).values({ id: 2, name: "x" }).onConflictDoUpdate({ target: labels.id, set: { name: "upserted" } }).returning(), []);
      assert.deepEqual(await own.insert(labels).values({ id: 3, name: "x" }).onConflictDoUpdate({ target: labels.id, set: { name: "upserted" }, setWhere: isNull(labels.tenantId) }).returning(), []);
      const found = await stored();
      assert.deepEqual(found.others, untouched);
      assert.deepEqual(found.own.filter((row) => row.startsWith("tasks")), ["tasks 1 t_acme 1 upserted 2", "tasks 10 t_acme  x 1", "tasks 2 t_acme 2 upserted 5", "tasks 5 t_acme 3 lend 4"]);
    });

    test("pages have the rows of their place, in order", async () => {
      await reset();
      const { tasks } = s;
      const page = (n) => own.select({ title: tasks.title }).from(tasks).orderBy(desc(tasks.hours), asc(tasks.id)).limit(2).offset(2 * n);
      assert.deepEqual([await page(0), await page(1), await page(2)], [[{ title: "build" }, { title: "lend" }], [{ title: "draw" }], []]);
      const found = await own.query.projects.findMany({ columns: { name: true }, orderBy: (p) => desc(p.name), limit: 1, offset: 1, with: { tasks: { columns: { title: true } } } });
      assert.deepEqual(found, [{ name: "empty", tasks: [] }]);
    });

    test("a transaction that fails leaves nothing, and its refusal reaches the caller", async () => {
      await reset();
      const before = await stored();
      const { tasks, secrets } = s;
      const failure = new Error("no");
      await assert.rejects(own.transaction(async (tx) => {
        await tx.delete(tasks);
        throw failure;
      }), failure);
      await assert.rejects(own.transaction(async (tx) => {
        await tx.insert(tasks).values({ id: 10, title: "one" });
        tx.rollback();
      }), TransactionRollbackError);
      await assert.rejects(own.transaction(async (tx) => {
        await tx.delete(tasks);
        await tx.select().from(secrets);
      }), TenantScopeError);
      assert.deepEqual(await stored(), before);
      assert.equal(await own.transaction(async (tx) => {
        await assert.rejects(async () => tx.select().from(secrets), TenantScopeError);
        await assert.rejects(tx.transaction(async (inner) => {
          await inner.delete(tasks);
          await inner.delete(secrets);
        }), TenantScopeError);
        return tx.$count(tasks);
      }), 3);
    });

    test("an error of the database reaches the caller as it is", async () => {
      await reset();
      await assert.rejects(async () => own.insert(s.tasks).values({ id: 1, title: "x" }), (error) => !(error instanceof TenantScopeError) && /unique/i.test(error.cause?.message));
      await assert.rejects(async () => own.insert(s.tasks).values({ id: 3, title: "x" }), (error) => !(error instanceof TenantScopeError) && /unique/i.test(error.cause?.message));
    });

    test("a refused query leaves nothing behind for the next one", async () => {
      await reset();
      for (let i = 0; i < 3; i++) {
        await assert.rejects(async () => own.with(own.$with("x").as(own.select().from(s.tasks))).select().from(s.secrets), TenantScopeError);
        await assert.rejects(async () => own.select({ x: MAX_TITLE() }).from(s.tasks), TenantScopeError);
      }
      await assert.rejects(async () => own.select().from(s.secrets), TenantScopeError);
      assert.equal((await own.select().from(s.tasks)).length, 3);
    });

    test("raw SQL runs as it is, once somebody has reviewed it", async () => {
      await reset();
      const { tasks } = s;
      const rows = (result) => Object.values(result.rows?.[0] ?? result[0]).map(Number);
      assert.deepEqual(rows(await raw(own, sql`/* reviewed */ select count(*) as n from ${tasks} where ${tasks.hours} > ${0}`)), [6]);
      assert.deepEqual(rows(await own.transaction((tx) => raw(tx, sql`/* reviewed */ select count(*) as n from tasks`))), [6]);
    });

    test("wrappers of one database are apart, and the database stays as it is", async () => {
      await reset();
      const { tasks } = s;
      const theirs = tenantDb(all, { ...OPTIONS, tenant: "t_other" });
      const query = (db) => db.select({ id: tasks.id }).from(tasks).where(gt(tasks.id, 0)).orderBy(tasks.id);
      const ids = (rows) => rows.map(({ id }) => id);
      const found = await Promise.all([query(own), query(theirs), query(all), own.query.tasks.findMany(), theirs.query.tasks.findMany(), own.$count(tasks), all.$count(tasks), theirs.transaction((tx) => tx.$count(tasks))]);
      assert.deepEqual(found.map((rows) => (Array.isArray(rows) ? ids(rows).sort() : Number(rows))), [[1, 2, 5], [3, 4, 6], [1, 2, 3, 4, 5, 6], [1, 2, 5], [3, 4, 6], 3, 6, 3]);
      await theirs.insert(tasks).values({ id: 20, title: "theirs" });
      await theirs.delete(tasks).where(eq(tasks.id, 1));
      assert.deepEqual(ids(await query(theirs)), [3, 4, 6, 20]);
      assert.deepEqual(ids(await query(own)), [1, 2, 5]);
      assert.equal(Number((await raw(all, sql`select count(*) as n from tasks`).then((result) => Object.values((result.rows ?? result)[0])[0]))), 7);
    });

    test("options that change later change nothing", async () => {
      await reset();
      const options = { tenant: "t_acme", tables: ["tasks"], shared: ["countries"], functions: [] };
      const db = tenantDb(all, options);
      Object.assign(options, { tenant: "t_other", column: "title" });
      options.shared.push("secrets", "tasks");
      options.tables.length = 0;
      options.functions.push("shout");
      assert.deepEqual((await db.select().from(s.tasks)).map(({ id }) => id).sort(), [1, 2, 5]);
      await assert.rejects(async () => db.select().from(s.secrets), TenantScopeError);
      await assert.rejects(async () => db.select({ x: sql`shout(${s.tasks.title})` }).from(s.tasks), TenantScopeError);
    });

    test("a tenant's id is a value, whatever it has in it", async () => {
      await reset();
      for (const tenant of ["x' or '1' = '1", "t_acme' --", "%", "t_acm_", "T_ACME ", "${x}", "$1", "?"]) {
        const db = tenantDb(all, { ...OPTIONS, tenant });
        assert.deepEqual(await db.select().from(s.tasks), [], tenant);
        assert.deepEqual(await db.query.projects.findMany({ with: { tasks: true } }), [], tenant);
        await db.insert(s.tasks).values({ id: 20, title: "mine" });
        assert.deepEqual((await db.update(s.tasks).set({ title: "still mine" }).returning()).map((row) => row.tenantId), [tenant]);
        await db.delete(s.tasks);
        assert.equal(await all.$count(s.tasks), 6);
      }
    });

    test("a function with a name among `functions` may be used", async () => {
      await reset();
      const db = tenantDb(all, { ...OPTIONS, functions: ["shout"] });
      const found = await db.select({ x: sql`shout(${s.tasks.title})` }).from(s.tasks).where(ne(sql`shout(lower(${s.tasks.title}))`, "x"));
      assert.deepEqual(found.map(({ x }) => x).sort(), ["BUILD", "DRAW", "LEND"]);
      await assert.rejects(async () => db.select({ x: sql`shouted(${s.tasks.title})` }).from(s.tasks), TenantScopeError);
    });

    test("another column may have the tenant's id", async () => {
      await reset();
      const notes = s.table("notes", { id: s.integer("id").primaryKey(), account: s.text("account").notNull(), body: s.text("body").notNull() });
      const db = tenantDb(all, { tenant: "t_acme", tables: ["notes"], column: "account" });
      assert.deepEqual(await db.insert(notes).values({ id: 10, body: "new" }).returning(), [{ id: 10, account: "t_acme", body: "new" }]);
      assert.deepEqual((await db.select().from(notes)).map(({ id }) => id).sort(), [1, 10]);
      await assert.rejects(async () => db.update(notes).set({ account: "t_other" }), TenantScopeError);
      await assert.rejects(async () => db.insert(notes).values({ id: 11, account: "t_other", body: "x" }), TenantScopeError);
      await assert.rejects(async () => db.select().from(s.tasks), TenantScopeError);
      await assert.rejects(async () => db.select().from(s.countries), TenantScopeError);
    });

    test("names that the database's `casing` makes are known", async () => {
      await reset();
      const tasks = s.table("tasks", { id: s.integer().primaryKey(), tenantId: s.text(), title: s.text(), hours: s.integer() });
      const camel = database.drizzle({ casing: "snake_case", schema: { tasks } });
      assert.equal(await camel.$count(tasks), 6);
      const db = tenantDb(camel, OPTIONS);
      assert.deepEqual((await db.select().from(tasks)).map(({ id }) => id).sort(), [1, 2, 5]);
      assert.deepEqual((await db.query.tasks.findMany()).map(({ id }) => id).sort(), [1, 2, 5]);
      assert.deepEqual(await db.insert(tasks).values({ id: 20, title: "new", hours: 1 }).returning(), [{ id: 20, tenantId: "t_acme", title: "new", hours: 1 }]);
      assert.deepEqual(await db.insert(tasks).values({ id: 3, title: "x", hours: 1 }).onConflictDoUpdate({ target: tasks.id, set: { title: "x" } }).returning(), []);
      assert.deepEqual((await db.delete(tasks).where(gt(tasks.id, 2)).returning()).map(({ id }) => id).sort(), [20, 5]);
      await assert.rejects(async () => db.update(tasks).set({ tenantId: "t_other" }), TenantScopeError);
      await assert.rejects(async () => db.insert(tasks).values({ id: 21, title: "x", hours: 1, tenantId: "t_other" }), TenantScopeError);
      assert.equal(await camel.$count(tasks), 5);
    });

    test("a transaction of the database can be kept within, as the database itself", async () => {
      await reset();
      const ids = await all.transaction(async (tx) => (await tenantDb(tx, OPTIONS).select().from(s.tasks)).map(({ id }) => id));
      assert.deepEqual(ids.sort(), [1, 2, 5]);
    });

    test("a database by any other shape is kept within, or refused", async () => {
      await reset();
      for (const [db, options] of [[s.withReplicas(all, [all]), OPTIONS], [own, OPTIONS], [own, { ...OPTIONS, tenant: "t_other" }]]) {
        const found = await Promise.resolve().then(() => tenantDb(db, options).select().from(s.tasks)).catch((error) => assert(error instanceof InputError || error instanceof TenantScopeError, error));
        assert(!secret(found));
      }
    });

    test("a relational query goes by the table, not by the schema's name of it", async () => {
      await reset();
      const db = tenantDb(database.drizzle({ schema: { countries: s.secrets, tasks: s.countries, secrets: s.tasks } }), OPTIONS);
      await assert.rejects(async () => db.query.countries.findMany(), TenantScopeError);
      assert.equal((await db.query.tasks.findMany()).length, 2);
      assert.equal((await db.query.secrets.findMany()).length, 3);
    });

    // Valid only beside the condition of the tenant, so there is nothing to try without the wrapper.
    test("a condition that closes the tenant's own is refused", async () => {
      await reset();
      const queries = [
        (db, { tasks }) => db.delete(tasks).where(sql`true) or (true`),
        (db, { tasks }) => db.update(tasks).set({ title: "changed" }).where(sql.join([sql`true`, sql.raw(")"), sql`or`, sql.raw("("), sql`true`], sql` `)),
        (db, { tasks }) => db.delete(tasks).where(sql`/* reviewed */ true) or (true`),
        (db, { tasks }) => db.insert(tasks).values({ id: 3, title: "x" }).onConflictDoUpdate({ target: tasks.id, set: { title: "changed" }, setWhere: sql`true) or (true` }),
      ];
      const before = await stored();
      for (const query of queries) await assert.rejects(async () => query(own, s), TenantScopeError);
      assert.deepEqual(await stored(), before);
    });

    test("what a cache holds for one tenant is not shown to another", async () => {
      await reset();
      class Kept extends Cache {
        held = new Map();
        strategy = () => "explicit";
        get = async (key) => this.held.get(key);
        put = async (key, value) => void this.held.set(key, value);
        onMutate = async () => {};
      }
      const cached = database.drizzle({ schema: s.schema, cache: new Kept() });
      const query = (db) => db.select().from(s.tasks).$withCache({ tag: "tasks", autoInvalidate: false });
      assert(secret(await query(cached)));
      assert.equal((await query(cached)).length, 6);
      const found = await Promise.resolve().then(() => query(tenantDb(cached, OPTIONS))).catch((error) => assert(error instanceof TenantScopeError, error));
      assert(!secret(found));
    });

    test("no query, refused or not, keeps a connection or a transaction", () => assert.equal(database.taken(), 0));

    if (name === "PostgreSQL") {
      test("prepared statements of two tenants may have one name", async () => {
        await reset();
        const theirs = tenantDb(all, { ...OPTIONS, tenant: "t_other" });
        const find = (db) => db.select({ id: s.tasks.id }).from(s.tasks).where(gt(s.tasks.id, sql.placeholder("id"))).orderBy(s.tasks.id).prepare("of_two_tenants").execute({ id: 2 });
        for (let i = 0; i < 2; i++) assert.deepEqual([await find(own), await find(theirs)], [[{ id: 5 }], [{ id: 3 }, { id: 4 }, { id: 6 }]]);
      });

      test("tables of another schema are kept within by their full names", async () => {
        const far = s.pgSchema("far");
        const tasks = far.table("tasks", { id: s.integer("id"), tenantId: s.text("tenant_id"), title: s.text("title") });
        const db = tenantDb(all, { tenant: "t_acme", tables: ["far.tasks"], shared: ["far.countries"] });
        assert.deepEqual(await db.select({ title: tasks.title }).from(tasks), [{ title: "far" }]);
        assert.deepEqual(await db.select({ title: s.alias(tasks, "t").title }).from(s.alias(tasks, "t")), [{ title: "far" }]);
        assert.equal(await db.$count(tasks), 1);
        assert.deepEqual(await db.update(tasks).set({ title: "far" }).returning({ id: tasks.id }), [{ id: 1 }]);
        assert.deepEqual(await db.select().from(far.table("countries", { name: s.text("name") })), [{ name: "secret country" }]);
        await assert.rejects(async () => db.select().from(s.tasks), TenantScopeError);
        await assert.rejects(async () => db.select().from(s.countries), TenantScopeError);
      });
    }
  });
}

test("options that could keep nothing within are refused, and so is what is no database", () => {
  const db = sqliteProxy(async () => ({ rows: [] }));
  const wrong = [
    undefined, null, "t_acme", {}, { tables: ["tasks"] }, { tenant: "", tables: [] }, { tenant: 7, tables: [] }, { tenant: "t" }, { tenant: "t", tables: "tasks" }, { tenant: "t", tables: [7] }, { tenant: "t", tables: [sqliteCore.sqliteTable("tasks", {})] },
    { tenant: "t", tables: { tasks: true } }, { tenant: "t", tables: [], shared: "countries" }, { tenant: "t", tables: [], shared: [null] }, { tenant: "t", tables: [], functions: "lower" }, { tenant: "t", tables: [], functions: [7] }, { tenant: "t", tables: [], column: "" },
    { tenant: "t", tables: [], column: 7 }, { tenant: "t", tables: [], share: [] },
  ];
  for (const options of wrong) assert.throws(() => tenantDb(db, options), InputError, JSON.stringify(options));
  for (const none of [undefined, null, {}, "db", [], () => {}, new DatabaseSync(":memory:"), sqliteCore.sqliteTable("tasks", {})]) {
    assert.throws(() => tenantDb(none, { tenant: "t", tables: ["tasks"] }), InputError);
  }
  assert(tenantDb(db, { tenant: "t", tables: ["tasks"] }));
});
