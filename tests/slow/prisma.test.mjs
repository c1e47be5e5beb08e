// The extension for Prisma, on real SQLite and PostgreSQL: whatever an operation does, it sees and
// changes rows of its tenant only, or is refused before it changes anything.
//
// Each attack runs in two worlds, which differ in other tenants' rows only. Without the extension
// it shows or changes those rows, or its answer differs between the worlds. With it the answer is
// the same in both, so that it tells nothing about other tenants, and their rows stay as they are.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { prisma as packages } from "../../scripts/setup.mjs";
import { InputError, TenantScopeError } from "../../pkg/errors.js";
import { tenantExtension } from "../../pkg/prisma.js";
import { postgres } from "../support/databases.mjs";

const require = createRequire(join(packages(), "package.json"));
const { PrismaLibSql } = require("@prisma/adapter-libsql");
const { PrismaPg } = require("@prisma/adapter-pg");
const TENANTS = ["Project", "Task", "Note", "Tag", "Comment", "Member", "Shift"];
const SHARED = ["Tenant", "Country"];
const SETTINGS = { tenant: "t_acme", models: TENANTS, shared: SHARED, column: "tenant_id" };

// No foreign keys: the extension may not depend on what the database refuses.
const SCHEMA = `
CREATE TABLE "Tenant" (id text PRIMARY KEY, name text NOT NULL);
CREATE TABLE "Country" (code text PRIMARY KEY, name text NOT NULL);
CREATE TABLE "projects" (id integer PRIMARY KEY, tenant text NOT NULL, name text NOT NULL, country_code text, parent_id integer, UNIQUE (tenant, name));
CREATE TABLE "Task" (id integer PRIMARY KEY, tenant_id text NOT NULL, title text NOT NULL, hours integer NOT NULL DEFAULT 1, project_id integer);
CREATE TABLE "Note" (id integer PRIMARY KEY, tenant_id text NOT NULL, text text NOT NULL, task_id integer UNIQUE);
CREATE TABLE "Tag" (id integer PRIMARY KEY, tenant_id text NOT NULL, label text NOT NULL);
CREATE TABLE "_TagToTask" ("A" integer NOT NULL, "B" integer NOT NULL, UNIQUE ("A", "B"));
CREATE TABLE "Comment" (id integer PRIMARY KEY, tenant_id text NOT NULL, text text NOT NULL, task_id integer NOT NULL);
CREATE TABLE "Member" (tenant_id text NOT NULL, email text NOT NULL, role text NOT NULL, PRIMARY KEY (tenant_id, email));
CREATE TABLE "Shift" (id integer PRIMARY KEY, tenant_id text NOT NULL, day text NOT NULL, email text NOT NULL);
CREATE TABLE "Secret" (id integer PRIMARY KEY, word text NOT NULL, project_id integer)`;
// Project 2, task 2 and comment 3 are the tenant's own and lead to rows of another tenant: Prisma
// lets everybody write a foreign key as a number.
const OWN = `
INSERT INTO "Tenant" VALUES ('t_acme', 'Acme'), ('t_other', 'Other');
INSERT INTO "Country" VALUES ('NL', 'Netherlands'), ('BE', 'Belgium');
INSERT INTO "projects" VALUES (1, 't_acme', 'site', 'NL', NULL), (2, 't_acme', 'app', 'BE', 3), (5, 't_acme', 'docs', 'NL', 1);
INSERT INTO "Task" VALUES (1, 't_acme', 'draw', 2, 1), (2, 't_acme', 'build', 5, 3), (6, 't_acme', 'rest', 3, 2);
INSERT INTO "Note" VALUES (1, 't_acme', 'mine', 1);
INSERT INTO "Tag" VALUES (1, 't_acme', 'blue'), (3, 't_acme', 'red');
INSERT INTO "_TagToTask" VALUES (1, 1), (3, 2);
INSERT INTO "Comment" VALUES (1, 't_acme', 'fine', 1), (3, 't_acme', 'hm', 3);
INSERT INTO "Member" VALUES ('t_acme', 'ann', 'boss'), ('t_acme', 'bob', 'hand');
INSERT INTO "Shift" VALUES (1, 't_acme', 'monday', 'ann')`;
const WORLDS = {
  a: `
INSERT INTO "projects" VALUES (3, 't_other', 'secret site', 'NL', NULL), (4, 't_other', 'secret lab', 'NL', 1);
INSERT INTO "Task" VALUES (3, 't_other', 'secret work', 7, 3), (4, 't_other', 'secret link', 9, 1), (5, 't_other', 'secret more', 9, 1);
INSERT INTO "Note" VALUES (2, 't_other', 'secret note', 2), (3, 't_other', 'secret memo', 3);
INSERT INTO "Tag" VALUES (2, 't_other', 'secret tag');
INSERT INTO "_TagToTask" VALUES (2, 1), (1, 3);
INSERT INTO "Comment" VALUES (2, 't_other', 'secret remark', 1), (4, 't_other', 'secret reply', 3);
INSERT INTO "Member" VALUES ('t_other', 'eve', 'secret role');
INSERT INTO "Shift" VALUES (2, 't_other', 'secret day', 'eve');
INSERT INTO "Secret" VALUES (1, 'secret word', 1)`,
  b: `
INSERT INTO "projects" VALUES (3, 't_other', 'zz secret site', 'BE', NULL), (4, 't_other', 'secret den', 'BE', 2);
INSERT INTO "Task" VALUES (3, 't_other', 'secret job', 1, 3), (4, 't_other', 'secret link', 1, 2), (5, 't_other', 'secret more', 4, 5), (7, 't_other', 'secret rest', 4, 5);
INSERT INTO "Note" VALUES (2, 't_other', 'secret text', 2), (3, 't_other', 'secret memo', 3);
INSERT INTO "Tag" VALUES (2, 't_other', 'secret label');
INSERT INTO "_TagToTask" VALUES (2, 2), (1, 4), (3, 3);
INSERT INTO "Comment" VALUES (2, 't_other', 'secret remark', 6), (4, 't_other', 'secret answer', 3);
INSERT INTO "Member" VALUES ('t_other', 'eve', 'secret duty'), ('t_other', 'mal', 'secret post');
INSERT INTO "Shift" VALUES (2, 't_other', 'secret night', 'eve');
INSERT INTO "Secret" VALUES (1, 'secret clue', 2)`,
};
const TABLES = [...SCHEMA.matchAll(/CREATE TABLE ("\w+")/g)].map(([, table]) => table);

/**
 * Generates Prisma's client into a folder. `generate` looks for packages beside the schema. It
 * downloads the schema engine, which only migrations need, unless a program is named in its place.
 */
function generate(folder, settings) {
  mkdirSync(folder);
  const program = require.resolve("prisma/package.json");
  symlinkSync(dirname(dirname(program)), join(folder, "node_modules"), "junction");
  // The newer generator writes modules in TypeScript, which Node.js reads as they are.
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
  const schema = join(folder, "schema.prisma");
  const text = readFileSync(new URL("prisma/schema.prisma", import.meta.url), "utf8");
  writeFileSync(schema, Object.entries(settings).reduce((all, [name, value]) => all.replace(`$${name}`, value), text));
  const env = { ...process.env, PRISMA_SCHEMA_ENGINE_BINARY: process.execPath, CHECKPOINT_DISABLE: "1", PRISMA_HIDE_UPDATE_MESSAGE: "1" };
  execFileSync(process.execPath, [join(dirname(program), "build", "index.js"), "generate", "--schema", schema], { stdio: "pipe", env });
}

const DATABASES = {
  async SQLite(folder) {
    generate(join(folder, "client"), { generator: "prisma-client-js", features: '"typedSql"', database: "sqlite" });
    return {
      client: require(join(folder, "client", "client")),
      adapter: async (world) => new PrismaLibSql({ url: `file:${join(folder, `${world}.db`)}` }),
      stop: async () => {},
    };
  },
  // With `relationJoins` Prisma reads relations by joins, on SQLite by further queries.
  async PostgreSQL(folder) {
    generate(join(folder, "client"), { generator: "prisma-client", features: '"typedSql", "relationJoins"', database: "postgresql" });
    const server = await postgres();
    const { host, port, user } = server.owner.options;
    return {
      client: await import(pathToFileURL(join(folder, "client", "client", "client.ts"))),
      async adapter(world) {
        await server.owner.query(`CREATE DATABASE ${world}`);
        return new PrismaPg({ host, port, user, database: world });
      },
      stop: server.stop,
    };
  },
};

const statements = (text) => text.split(";").map((each) => each.trim());
/** What rows are compared by: id, tenant, words, and the key that leads to a row of a model. */
const COLUMNS = {
  Project: ['"projects"', "id", "tenant", "name || ' ' || COALESCE(country_code, '')", "parent_id", "Project"],
  Task: ['"Task"', "id", "tenant_id", "title || ' ' || hours", "project_id", "Project"],
  Note: ['"Note"', "id", "tenant_id", "text", "task_id", "Task"],
  Tag: ['"Tag"', "id", "tenant_id", "label", "NULL"],
  Comment: ['"Comment"', "id", "tenant_id", "text", "task_id", "Task"],
  Member: ['"Member"', "email", "tenant_id", "role", "NULL"],
  Shift: ['"Shift"', "id", "tenant_id", "day || ' ' || email", "NULL"],
  Secret: ['"Secret"', "id", "'nobody'", "word", "project_id", "Project"],
  Tenant: ['"Tenant"', "id", "'t_acme'", "name", "NULL"],
  Country: ['"Country"', "code", "'t_acme'", "name", "NULL"],
  Link: ['"_TagToTask"', '"A"', "NULL", "''", '"B"', "Task"],
};
const ROWS = Object.entries(COLUMNS)
  .map(([model, [table, id, tenant, words, key]]) => `SELECT '${model}' AS model, CAST(${id} AS text) AS id, CAST(${tenant} AS text) AS tenant, ${words} AS words, CAST(${key} AS text) AS key FROM ${table}`)
  .join(" UNION ALL ");

/** What stands in the tables: own and shared rows, others', and own rows that lead to others'. */
async function stored(base) {
  const rows = await base.$queryRawUnsafe(ROWS);
  const tenants = new Map(rows.map(({ model, id, tenant }) => [`${model} ${id}`, tenant]));
  const left = { own: [], others: [], crossing: [] };
  for (const { model, id, tenant, words, key } of rows) {
    const link = model === "Link";
    const owner = link ? tenants.get(`Tag ${id}`) : tenant;
    const to = tenants.get(`${COLUMNS[model][5]} ${key}`);
    if (link && !(owner && to)) continue;
    if (link ? owner !== to : owner === "t_acme" && to === "t_other") left.crossing.push(`${model} ${id} to ${key}`);
    if (!link || owner === to) (owner === "t_acme" ? left.own : left.others).push(`${model} ${id} of ${tenant}: ${words}, to ${key}`);
  }
  for (const list of Object.values(left)) list.sort();
  return left;
}

const byText = (a, b) => JSON.stringify(a).localeCompare(JSON.stringify(b));
/** An answer as plain data. Where the operation gives no order, there is none to compare. */
function plain(value, ordered) {
  const walk = (each) => {
    if (Array.isArray(each)) return ordered ? each.map(walk) : each.map(walk).sort(byText);
    return each !== null && typeof each === "object" ? Object.fromEntries(Object.entries(each).sort().map(([key, inner]) => [key, walk(inner)])) : each;
  };
  return walk(JSON.parse(JSON.stringify(value ?? null, (_, each) => (typeof each === "bigint" ? String(each) : each))));
}

/** Prisma's answers that a row is missing, or its place is taken. */
const MISSING = ["P2002", "P2014", "P2016", "P2017", "P2018", "P2025"];

async function outcome(run, { ordered, mistaken } = {}) {
  try {
    return { value: plain(await run(), ordered) };
  } catch (error) {
    if (error instanceof TenantScopeError) return { refused: true };
    if (MISSING.includes(error.code)) return { missing: error.code };
    if (mistaken) return { mistaken: true };
    throw error;
  }
}

/** The ways to run an operation: alone, in an interactive transaction, in one of a list. */
const WAYS = {
  alone: (db, query, prisma) => query(db, prisma),
  interactive: (db, query, prisma) => db.$transaction((tx) => query(tx, prisma)),
  async list(db, query, prisma) {
    const operation = query(db, prisma);
    return operation?.[Symbol.toStringTag] === "PrismaPromise" ? (await db.$transaction([operation]))[0] : operation;
  },
};

const READS = {
  // The tenant's field in conditions.
  "a list": (db) => db.task.findMany(),
  "a list by the model's own name": (db) => db.Task.findMany(),
  "a list without arguments": (db) => db.task.findMany(undefined),
  "arguments in a list": (db) => db.task.findMany([]),
  "a list of another tenant": (db) => db.task.findMany({ where: { tenant_id: "t_other" } }),
  "`OR` with another tenant": (db) => db.task.findMany({ where: { OR: [{ tenant_id: "t_other" }, { hours: { gt: 0 } }] } }),
  "`OR` beside a condition": (db) => db.task.findMany({ where: { id: { gt: 0 }, OR: [{ tenant_id: { in: ["t_other", "t_acme"] } }] } }),
  "`NOT` with the tenant": (db) => db.task.findMany({ where: { NOT: { tenant_id: "t_acme" } } }),
  "`AND` that is not a list": (db) => db.task.findMany({ where: { AND: { tenant_id: { not: "t_acme" } } } }),
  "`AND`, `OR` and `NOT` in each other": (db) => db.task.findMany({ where: { AND: [{ OR: [{ NOT: [{ tenant_id: { in: ["t_acme"] } }] }, { AND: [] }] }] } }),
  "an undefined tenant": (db) => db.task.findMany({ where: { tenant_id: undefined } }),
  "an undefined condition": (db) => db.task.findMany({ where: undefined }),
  "undefined operators": (db) => db.task.findMany({ where: { AND: undefined, OR: undefined, NOT: undefined } }),
  "a relation to another tenant": (db) => db.member.findMany({ where: { tenant: { id: "t_other" } } }),
  "a tenant that equals a field": (db) => db.task.findMany({ where: { tenant_id: { equals: db.task.fields.tenant_id } } }),
  // The operations.
  "`findFirst`": (db) => db.task.findFirst({ where: { id: 3 } }),
  "`findFirst` from the end": (db) => db.project.findFirst({ where: { name: { contains: "secret" } }, take: -1 }),
  "`findFirstOrThrow`": (db) => db.task.findFirstOrThrow({ where: { id: 3 } }),
  "`findUnique`": (db) => db.task.findUnique({ where: { id: 3 } }),
  "`findUnique` with conditions": (db) => db.task.findUnique({ where: { id: 3, tenant_id: "t_other", OR: [{}, { hours: 7 }] } }),
  "`findUniqueOrThrow`": (db) => db.task.findUniqueOrThrow({ where: { id: 3 } }),
  "`findUnique` by a key with the tenant": (db) => db.member.findUnique({ where: { tenant_id_email: { tenant_id: "t_other", email: "eve" } } }),
  "a key with the tenant in a list": (db) => db.project.findMany({ where: { OR: [{ tenant_id: "t_other", name: { startsWith: "" } }] } }),
  "`count`": (db) => db.task.count(),
  "`count` of fields": (db) => db.task.count({ select: { _all: true, title: true } }),
  "`count` of another tenant": (db) => db.task.count({ where: { hours: { gt: 6 }, OR: [{ tenant_id: "t_other" }] } }),
  "`aggregate`": (db) => db.task.aggregate({ _count: true, _sum: { hours: true }, _avg: { hours: true }, _max: { title: true }, _min: { tenant_id: true } }),
  "`aggregate` with a page": (db) => db.task.aggregate({ _max: { title: true }, orderBy: { hours: "desc" }, take: 1 }),
  "`groupBy` the tenant": (db) => db.task.groupBy({ by: ["tenant_id"], _sum: { hours: true } }),
  "`groupBy` another tenant": (db) => db.task.groupBy({ by: ["title"], where: { OR: [{ tenant_id: "t_other" }] } }),
  "`groupBy` with `having`": (db) => db.task.groupBy({ by: ["tenant_id", "title"], having: { OR: [{ tenant_id: "t_other" }, { hours: { _max: { gt: 6 } } }] } }),
  "`groupBy` with an order by counts": (db) => db.task.groupBy({ by: ["project_id"], _count: { id: true }, orderBy: { _count: { id: "desc" } }, take: 1 }),
  // Fields and pages.
  "a selection without the tenant": (db) => db.task.findMany({ select: { title: true } }),
  "a selection of all that is scalar": (db) => db.task.findMany({ select: { $scalars: true } }),
  "the tenant omitted by a number": (db) => db.task.findMany({ omit: { tenant_id: 1 } }),
  "the tenant omitted": (db) => db.task.findMany({ omit: { tenant_id: true } }),
  "`distinct`": (db) => db.task.findMany({ distinct: ["title"], select: { title: true } }),
  "`distinct` by the tenant": (db) => db.task.findMany({ distinct: ["tenant_id"], orderBy: { id: "desc" } }),
  // Relations to many.
  "included rows": (db) => db.project.findMany({ include: { tasks: true } }),
  "selected rows": (db) => db.project.findMany({ select: { tasks: { select: { title: true } } } }),
  "included rows of another tenant": (db) => db.project.findMany({ include: { tasks: { where: { tenant_id: "t_other" } } } }),
  "included rows with `OR`": (db) => db.project.findMany({ include: { tasks: { where: { OR: [{ tenant_id: "t_other" }, { id: { gt: 0 } }] } } } }),
  "included rows with an undefined condition": (db) => db.project.findMany({ include: { tasks: { where: undefined } } }),
  "included rows without the tenant": (db) => db.project.findMany({ include: { tasks: { omit: { tenant_id: true } } } }),
  "included rows that are distinct": (db) => db.project.findMany({ include: { tasks: { distinct: ["hours"], select: { title: true } } } }),
  "included rows on a page": (db) => db.project.findMany({ include: { tasks: { orderBy: { hours: "desc" }, take: 1 } } }),
  "a tree": (db) => db.project.findMany({ include: { children: { include: { children: true } } } }),
  "a relation from many to many": (db) => db.task.findMany({ include: { tags: true } }),
  "a relation from many to many, the other way": (db) => db.tag.findMany({ select: { label: true, tasks: { select: { title: true } } } }),
  "relations and back": (db) => db.task.findMany({ where: { id: 1 }, include: { project: { include: { tasks: { include: { project: { include: { tasks: true } } } } } } } }),
  "many to many and back": (db) => db.tag.findMany({ where: { id: 1 }, select: { tasks: { where: { id: 1 }, select: { tags: { select: { label: true, tasks: true } } } } } }),
  "relations of a shared model": (db) => db.country.findMany({ include: { projects: true } }),
  "relations of relations of a shared model": (db) => db.country.findMany({ select: { projects: { where: { id: 1 }, select: { tasks: { select: { title: true, comments: true } } } } } }),
  "members of a shared tenant": (db) => db.tenant.findMany({ include: { members: { include: { shifts: true } } } }),
  "a shared model of another tenant": (db) => db.tenant.findUnique({ where: { id: "t_other" }, include: { members: true } }),
  "a relation by a key of two fields": (db) => db.member.findMany({ include: { shifts: { include: { member: true } } } }),
  // Counts of relations.
  "`_count` of all": (db) => db.project.findMany({ include: { _count: true } }),
  "`_count` of one": (db) => db.project.findMany({ select: { id: true, _count: { select: { tasks: true } } } }),
  "`_count` with a condition": (db) => db.project.findMany({ select: { id: true, _count: { select: { tasks: { where: { OR: [{ tenant_id: "t_other" }] } } } } } }),
  "`_count` of included rows": (db) => db.country.findMany({ include: { projects: { select: { id: true, _count: { select: { children: true } } } } } }),
  "`_count` of a shared model": (db) => db.country.findMany({ select: { code: true, _count: true } }),
  "`_count` of many to many": (db) => db.task.findMany({ where: { tenant_id: "t_acme" }, select: { id: true, _count: { select: { tags: true } } } }),
  "`_count` asked for with nothing": (db) => db.project.findMany({ select: { id: true, _count: { select: { tasks: {} } } } }),
  "`_count` of one row": (db) => db.project.findUnique({ where: { id: 1 }, select: { _count: { select: { tasks: true, children: true } } } }),
  // Conditions on relations.
  "`some`": (db) => db.project.findMany({ where: { tenant_id: "t_acme", tasks: { some: { title: { startsWith: "secret" } } } }, select: { id: true } }),
  "`some` with nothing": (db) => db.country.findMany({ where: { projects: { some: { id: 3 } } } }),
  "`every`": (db) => db.project.findMany({ where: { tenant_id: "t_acme", tasks: { every: { hours: { lt: 6 } } } }, select: { id: true } }),
  "`every` with the tenant": (db) => db.project.findMany({ where: { tenant_id: "t_acme", tasks: { every: { tenant_id: "t_acme" } } }, select: { id: true } }),
  "`none`": (db) => db.project.findMany({ where: { tenant_id: "t_acme", tasks: { none: { hours: 9 } } }, select: { id: true } }),
  "`NOT` of `some`": (db) => db.project.findMany({ where: { tenant_id: "t_acme", NOT: [{ tasks: { some: { hours: { gt: 6 } } } }] }, select: { id: true } }),
  "`NOT` of `every`": (db) => db.project.findMany({ where: { tenant_id: "t_acme", NOT: { tasks: { every: { hours: { lt: 6 } } } } }, select: { id: true } }),
  "`is`": (db) => db.task.findMany({ where: { id: 2, project: { is: { name: "secret site" } } }, select: { id: true } }),
  "a relation without `is`": (db) => db.task.findMany({ where: { id: 2, project: { name: { startsWith: "zz" } } }, select: { id: true } }),
  "`isNot`": (db) => db.task.findMany({ where: { id: 2, project: { isNot: { name: "secret site" } } }, select: { id: true } }),
  "`NOT` of a relation": (db) => db.task.findMany({ where: { id: 2, NOT: { project: { name: "secret site" } } }, select: { id: true } }),
  "`is` and `isNot` together": (db) => db.task.findMany({ where: { id: 2, project: { is: { id: 3 }, isNot: { country_code: "BE" } } }, select: { id: true } }),
  "a condition on a required relation": (db) => db.comment.findMany({ where: { id: 3, task: { hours: { gt: 6 } } }, select: { id: true } }),
  "`isNot` of a required relation": (db) => db.comment.findMany({ where: { id: 3, task: { isNot: { hours: 7 } } }, select: { id: true } }),
  "a condition from one to one": (db) => db.task.findMany({ where: { id: 2, note: { text: { endsWith: "note" } } }, select: { id: true } }),
  "a condition on many to many": (db) => db.task.findMany({ where: { tenant_id: "t_acme", tags: { some: { label: { startsWith: "secret" } } } }, select: { id: true } }),
  "a condition through relations and back": (db) => db.task.findMany({ where: { id: { in: [1, 6] }, project: { tasks: { some: { hours: { gt: 3 } } } } }, select: { id: true } }),
  "a condition on relations of a shared model": (db) => db.country.findMany({ where: { projects: { some: { tasks: { some: { title: "secret work" } } } } } }),
  "a condition through a shared model": (db) => db.project.findMany({ where: { tenant_id: "t_acme", country: { projects: { some: { name: { contains: "secret" } } } } }, select: { id: true } }),
  "a condition of included rows": (db) => db.country.findMany({ select: { projects: { where: { tenant_id: "t_acme", tasks: { none: { hours: { gt: 3 } } } }, select: { id: true } } } }),
  "a condition of `_count`": (db) => db.country.findMany({ select: { code: true, _count: { select: { projects: { where: { tenant_id: "t_acme", tasks: { some: { hours: { gt: 6 } } } } } } } } }),
  "a condition of `findUnique`": (db) => db.project.findUnique({ where: { id: 1, tasks: { some: { hours: 9 } } }, select: { id: true } }),
  "an included row with another tenant's condition": (db) => db.task.findMany({ where: { id: 2 }, include: { project: { where: { OR: [{ tenant_id: "t_other" }] } } } }),
  "a condition of an included row": (db) => db.task.findMany({ where: { id: 2 }, select: { id: true, project: { where: { name: { startsWith: "zz" } }, select: { id: true } } } }),
  "a condition of an included row from one to one": (db) => db.task.findUnique({ where: { id: 2 }, select: { note: { where: { text: "secret note" }, select: { id: true } } } }),
  "a condition of a chain": (db) => db.task.findUnique({ where: { id: 2 } }).project({ where: { country_code: "BE" }, select: { id: true } }),
  "a condition of `count`": (db) => db.task.count({ where: { tenant_id: "t_acme", project: { name: { startsWith: "secret" } } } }),
  "a condition of `aggregate`": (db) => db.task.aggregate({ _sum: { hours: true }, where: { tenant_id: "t_acme", project: { is: { name: "secret site" } } } }),
  "a condition of `groupBy`": (db) => db.task.groupBy({ by: ["id"], where: { tenant_id: "t_acme", NOT: { project: { name: "secret site" } } } }),
  "a condition on members of a shared tenant": (db) => db.tenant.findMany({ where: { members: { some: { role: "secret role" } } } }),
  "a condition that compares fields": (db) => db.project.findMany({ where: { tenant_id: "t_acme", tasks: { some: { project_id: { gte: db.task.fields.hours } } } }, select: { id: true } }),
  // The fluent API.
  "a chain to many": (db) => db.project.findUnique({ where: { id: 1 } }).tasks(),
  "a chain with a condition": (db) => db.project.findUnique({ where: { id: 1 } }).tasks({ where: { tenant_id: "t_other" }, select: { title: true } }),
  "a chain and back": (db) => db.task.findUnique({ where: { id: 1 } }).project().tasks(),
  "a chain through another tenant's row": (db) => db.task.findUnique({ where: { id: 2 } }).project().tasks(),
  "a chain of `findFirst`": (db) => db.task.findFirst({ where: { id: 1 } }).project({ include: { tasks: true } }),
  "a chain from another tenant's row": (db) => db.task.findUnique({ where: { id: 3 } }).project({ select: { name: true } }),
  "a chain from a shared model": (db) => db.country.findUnique({ where: { code: "BE" } }).projects(),
  // What arguments are not: the cases are refused, or taken for what Prisma takes them for.
  "a prototype with a condition": (db) => db.project.findMany({ include: Object.create({ tasks: true }) }),
  "a prototype by `__proto__`": (db) => db.project.findMany(JSON.parse('{"where": {"id": 1}, "__proto__": {"include": {"tasks": true}}}')),
  "a prototype of the arguments": (db) => db.project.findMany(Object.create({ where: { id: 1 }, select: { tasks: true } })),
  "a prototype with an operator": (db) => db.task.findMany({ where: Object.create({ OR: [{ tenant_id: "t_other" }] }) }),
  "`true` as a number": (db) => db.project.findMany({ include: { tasks: 1 } }),
  "`true` as nothing": (db) => db.project.findMany({ include: { tasks: 0 } }),
  "`true` as an empty text": (db) => db.project.findMany({ select: { tasks: "" } }),
  "`true` as a list": (db) => db.project.findMany({ include: { tasks: [] } }),
  "a condition that turns into another": (db) => db.task.findMany({ where: { toJSON: () => ({ id: 3 }) } }),
  "a condition within that turns into another": (db) => db.task.findMany({ where: { AND: [{ id: 3, toJSON: () => ({}) }] } }),
  "a unique key that turns into another": (db) => db.task.findUnique({ where: { id: 1, toJSON: () => ({ id: 3 }) } }),
  "a relation's condition that turns into another": (db) => db.project.findMany({ include: { tasks: { where: { toJSON: () => ({ tenant_id: "t_other" }) } } } }),
  "a condition in Prisma's own form": (db) => db.task.findMany({ where: { __prismaRawParameters__: true, values: { tenant_id: "t_other" } } }),
  "a relation's condition in Prisma's own form": (db) => db.task.findMany({ where: { id: 2, project: { __prismaRawParameters__: true, values: { is: { name: "secret site" } } } }, select: { id: true } }),
  "an included condition in Prisma's own form": (db) => db.project.findMany({ include: { tasks: { where: JSON.parse('{"__prismaRawParameters__": true, "values": {}}') } } }),
};

/** Orders and cursors: the order of the answer counts. */
const ORDERS = {
  "an order by a relation": (db) => db.task.findMany({ where: { tenant_id: "t_acme" }, select: { id: true }, orderBy: { project: { name: "asc" } } }),
  "an order by a relation after a field": (db) => db.task.findMany({ where: { tenant_id: "t_acme" }, select: { id: true }, orderBy: [{ tenant_id: "asc" }, { project: { country_code: "asc" } }, { id: "asc" }] }),
  "an order by a relation of a relation": (db) => db.comment.findMany({ where: { tenant_id: "t_acme" }, select: { id: true }, orderBy: { task: { project: { name: "asc" } } } }),
  "an order by a required relation": (db) => db.comment.findMany({ where: { tenant_id: "t_acme" }, select: { id: true }, orderBy: { task: { hours: "asc" } } }),
  "an order by a count": (db) => db.project.findMany({ where: { tenant_id: "t_acme", id: { lt: 5 } }, select: { id: true }, orderBy: { tasks: { _count: "desc" } } }),
  "an order by a count of a shared model": (db) => db.country.findMany({ orderBy: { projects: { _count: "desc" } } }),
  "an order by a count of a relation": (db) => db.task.findMany({ where: { tenant_id: "t_acme", id: { in: [1, 6] } }, select: { id: true }, orderBy: { project: { tasks: { _count: "asc" } } } }),
  "an order of included rows": (db) => db.country.findMany({ orderBy: { code: "asc" }, select: { projects: { select: { id: true }, where: { id: { in: [1, 5] } }, orderBy: [{ tasks: { _count: "asc" } }, { id: "asc" }] } } }),
  "an order of `findFirst`": (db) => db.project.findFirst({ where: { tenant_id: "t_acme", id: { lt: 5 } }, select: { id: true }, orderBy: { children: { _count: "desc" } } }),
  "an order through a shared model": (db) => db.project.findMany({ where: { id: { in: [1, 2] } }, select: { id: true }, orderBy: { country: { projects: { _count: "asc" } } } }),
  "an order in Prisma's own form": (db) => db.task.findMany({ where: { tenant_id: "t_acme" }, select: { id: true }, orderBy: { __prismaRawParameters__: true, values: { project: { name: "asc" } } } }),
  "a cursor at another tenant's row": (db) => db.task.findMany({ where: { tenant_id: "t_acme" }, select: { id: true }, cursor: { id: 3 }, orderBy: [{ hours: "asc" }, { id: "asc" }] }),
  "a cursor backwards": (db) => db.task.findMany({ where: { tenant_id: "t_acme" }, select: { id: true }, cursor: { id: 3 }, orderBy: [{ hours: "asc" }, { id: "asc" }], take: -2 }),
  "a cursor by a key with the tenant": (db) => db.member.findMany({ select: { email: true, role: true }, cursor: { tenant_id_email: { tenant_id: "t_other", email: "eve" } }, orderBy: { role: "asc" } }),
  "a cursor of `aggregate`": (db) => db.task.aggregate({ where: { tenant_id: "t_acme" }, _sum: { hours: true }, cursor: { id: 3 }, orderBy: [{ hours: "asc" }, { id: "asc" }] }),
  "a cursor of `count`": (db) => db.task.count({ where: { tenant_id: "t_acme" }, cursor: { id: 3 }, orderBy: [{ hours: "asc" }, { id: "asc" }] }),
  "a cursor in Prisma's own form": (db) => db.task.findMany({ where: { tenant_id: "t_acme" }, select: { id: true }, cursor: { __prismaRawParameters__: true, values: { id: 3 } }, orderBy: [{ hours: "asc" }, { id: "asc" }] }),
  "a cursor that turns into another": (db) => db.task.findMany({ where: { tenant_id: "t_acme" }, select: { id: true }, cursor: { id: 1, toJSON: () => ({ id: 3 }) }, orderBy: [{ hours: "asc" }, { id: "asc" }] }),
  "an order that turns into another": (db) => db.task.findMany({ where: { tenant_id: "t_acme" }, select: { id: true }, orderBy: { id: "asc", toJSON: () => ({ project: { name: "asc" } }) } }),
  "a cursor of included rows": (db) => db.country.findMany({ orderBy: { code: "asc" }, select: { projects: { cursor: { id: 4 }, orderBy: { name: "asc" }, select: { name: true } } } }),
};

const task = (id, more) => ({ id, tenant_id: "t_acme", title: "new", ...more });
const project = (id, more) => ({ id, tenant_id: "t_acme", name: `new ${id}`, ...more });
const onTask = (id, data) => (db) => db.task.update({ where: { id }, data, select: { id: true } });
const onProject = (id, data) => (db) => db.project.update({ where: { id }, data, select: { id: true } });

/** Writes that without the extension change other tenants' rows, or lead to them. */
const WRITES = {
  "an update": (db) => db.task.update({ where: { id: 3 }, data: { title: "mine" } }),
  "an update with conditions": (db) => db.task.update({ where: { id: 3, OR: [{ tenant_id: "t_other" }] }, data: { title: "mine" } }),
  "an update by a key with the tenant": (db) => db.member.update({ where: { tenant_id_email: { tenant_id: "t_other", email: "eve" } }, data: { role: "mine" } }),
  "an update of many": (db) => db.task.updateMany({ data: { title: "mine" } }),
  "an update of another tenant's rows": (db) => db.task.updateMany({ where: { OR: [{ tenant_id: "t_other" }, {}] }, data: { hours: { increment: 1 } } }),
  "an update of some rows": (db) => db.task.updateMany({ where: { id: { in: [3, 4, 5] } }, data: { title: "mine" }, limit: 1 }),
  "an update that returns rows": (db) => db.task.updateManyAndReturn({ data: { title: "mine" }, select: { hours: true } }),
  "an upsert by id": (db) => db.task.upsert({ where: { id: 3 }, create: task(3), update: { title: "mine" } }),
  "an upsert of a row elsewhere": (db) => db.task.upsert({ where: { id: 3 }, create: task(20), update: { title: "mine" } }),
  "an upsert with conditions": (db) => db.task.upsert({ where: { id: 3, NOT: { id: 1 } }, create: task(3), update: { title: "mine" } }),
  "an upsert by a key with the tenant": (db) => db.project.upsert({ where: { tenant_id_name: { tenant_id: "t_other", name: "secret lab" } }, create: project(20), update: { country_code: "BE" } }),
  "a delete": (db) => db.task.delete({ where: { id: 3 } }),
  "a delete with conditions": (db) => db.task.delete({ where: { id: 4, tenant_id: { not: "t_acme" } } }),
  "a delete of many": (db) => db.task.deleteMany(),
  "a delete of another tenant's rows": (db) => db.task.deleteMany({ where: { tenant_id: "t_other" } }),
  "a delete of rows in pages": (db) => db.comment.deleteMany({ where: { text: { contains: "secret" } }, limit: 1 }),
  "a delete through a relation": (db) => db.comment.deleteMany({ where: { task: { hours: { gt: 6 } } } }),
  // Conditions on relations, by whose answers a writer learns.
  "an update that asks about a relation": (db) => db.task.update({ where: { id: 2, project: { name: "secret site" } }, data: { hours: 8 }, select: { id: true } }),
  "an update of many that asks about relations": (db) => db.project.updateMany({ where: { tenant_id: "t_acme", tasks: { some: { hours: 9 } } }, data: { name: "asked" } }),
  "a delete that asks about a relation": (db) => db.comment.deleteMany({ where: { id: 3, task: { isNot: { hours: 7 } } } }),
  "an upsert that asks about a relation": (db) => db.task.upsert({ where: { id: 2, project: { name: "secret site" } }, create: task(20), update: { hours: 8 }, select: { id: true } }),
  "a nested update that asks": onTask(2, { project: { update: { where: { name: "secret site" }, data: { parent_id: 1 } } } }),
  "a nested `connect` that asks": onTask(6, { project: { connect: { id: 1, tasks: { some: { hours: 9 } } } } }),
  "a nested `set` that asks": onTask(6, { tags: { set: [{ id: 1, tasks: { some: { title: "secret work" } } }] } }),
  "a nested `connectOrCreate` that asks": onTask(6, { tags: { connectOrCreate: { where: { id: 1, tasks: { some: { title: "secret work" } } }, create: { id: 20, tenant_id: "t_acme", label: "asked" } } } }),
  "an update that returns a count": (db) => db.project.update({ where: { id: 1 }, data: { name: "page" }, select: { _count: { select: { tasks: true } } } }),
  "an update that returns relations": (db) => db.project.update({ where: { id: 1 }, data: { name: "page" }, include: { tasks: true } }),
  "a delete that returns relations": (db) => db.project.delete({ where: { id: 1 }, select: { tasks: { select: { title: true } } } }),
  "an update whose chain reads relations": (db) => db.project.update({ where: { id: 1 }, data: { name: "page" } }).tasks(),
  // Nested writes to many.
  "a nested update of another tenant's row": onProject(1, { tasks: { update: { where: { id: 4 }, data: { title: "mine" } } } }),
  "a nested update of many": onProject(1, { tasks: { updateMany: { where: {}, data: { title: "mine" } } } }),
  "a nested update of lists of many": onProject(1, { tasks: { updateMany: [{ where: { OR: [{ tenant_id: "t_other" }] }, data: { title: "mine" } }] } }),
  "a nested delete": onProject(1, { tasks: { delete: { id: 4 } } }),
  "a nested delete of many": onProject(1, { tasks: { deleteMany: {} } }),
  "a nested delete of a list of many": onProject(1, { tasks: { deleteMany: [{ tenant_id: "t_other" }] } }),
  "a nested upsert": onProject(1, { tasks: { upsert: { where: { id: 4 }, create: task(20), update: { title: "mine" } } } }),
  "a nested `disconnect`": onProject(1, { tasks: { disconnect: [{ id: 4 }] } }),
  "a nested `set` to nothing": onProject(1, { tasks: { set: [] } }),
  "a nested `set` to another tenant's row": onProject(1, { tasks: { set: [{ id: 1 }, { id: 3 }] } }),
  "a nested `connect`": onProject(1, { tasks: { connect: { id: 3 } } }),
  "a nested `connect` with conditions": onProject(1, { tasks: { connect: [{ id: 3, OR: [{ tenant_id: "t_other" }] }] } }),
  "a nested `connectOrCreate`": onProject(1, { tasks: { connectOrCreate: { where: { id: 3 }, create: task(3) } } }),
  "a created row that takes rows": (db) => db.project.create({ data: project(20, { tasks: { connect: [{ id: 3 }, { id: 1 }] } }) }),
  "an upsert that takes rows": (db) => db.project.upsert({ where: { id: 1 }, create: project(1), update: { tasks: { connect: { id: 3 } } } }),
  "a created row for another tenant": (db) => db.project.create({ data: project(20, { tasks: { create: { id: 20, tenant_id: "t_other", title: "new" } } }) }),
  "created rows for another tenant": onProject(1, { tasks: { createMany: { data: [task(20), { id: 21, tenant_id: "t_other", title: "new" }] } } }),
  "a nested update that gives a row away": onProject(1, { tasks: { update: { where: { id: 1 }, data: { tenant_id: "t_other" } } } }),
  "a nested update of many that gives rows away": onProject(1, { tasks: { updateMany: { where: { id: 1 }, data: { tenant_id: { set: "t_other" } } } } }),
  "a nested upsert that creates for another tenant": onProject(1, { tasks: { upsert: { where: { id: 20 }, create: { id: 20, tenant_id: "t_other", title: "new" }, update: {} } } }),
  // Nested writes to one.
  "a nested update of the row it leads to": onTask(2, { project: { update: { name: "mine" } } }),
  "a nested update with a condition": onTask(2, { project: { update: { where: { tenant_id: "t_other" }, data: { name: "mine" } } } }),
  "a nested delete of the row it leads to": onTask(2, { project: { delete: true } }),
  "a nested upsert of the row it leads to": onTask(2, { project: { upsert: { create: project(20), update: { name: "mine" } } } }),
  "a nested `connect` to one": onTask(1, { project: { connect: { id: 3 } } }),
  "a nested `connect` by a key with the tenant": onTask(1, { project: { connect: { tenant_id_name: { tenant_id: "t_other", name: "secret site" }, NOT: { id: 1 } } } }),
  "a nested `connectOrCreate` to one": onTask(1, { project: { connectOrCreate: { where: { id: 3 }, create: project(3) } } }),
  "a created row with a `connect`": (db) => db.task.create({ data: task(20, { project: { connect: { id: 3 } } }) }),
  "a created row with a `connectOrCreate`": (db) => db.task.create({ data: task(20, { project: { connectOrCreate: { where: { id: 3 }, create: project(3) } } }) }),
  "a nested update of a required relation": (db) => db.comment.update({ where: { id: 3 }, data: { task: { update: { title: "mine" } } } }),
  // From one to one, where a new row puts the old one out.
  "a nested update from one to one": onTask(2, { note: { update: { text: "mine" } } }),
  "a nested delete from one to one": onTask(2, { note: { delete: true } }),
  "a nested `disconnect` from one to one": onTask(2, { note: { disconnect: true } }),
  "a nested upsert from one to one": onTask(2, { note: { upsert: { create: { id: 20, tenant_id: "t_acme", text: "new" }, update: { text: "mine" } } } }),
  "a nested create that puts a row out": onTask(2, { note: { create: { id: 20, tenant_id: "t_acme", text: "new" } } }),
  "a nested `connect` that puts a row out": onTask(2, { note: { connect: { id: 1 } } }),
  "a nested `connect` from one to one": onTask(6, { note: { connect: { id: 3 } } }),
  "a `connect` that puts a row out from its side": (db) => db.note.update({ where: { id: 1 }, data: { task: { connect: { id: 2 } } } }),
  "a created row that puts a row out": (db) => db.note.create({ data: { id: 20, tenant_id: "t_acme", text: "new", task: { connect: { id: 2 } } } }),
  // From many to many.
  "a `connect` from many to many": onTask(1, { tags: { connect: { id: 2 } } }),
  "a `set` from many to many": onTask(6, { tags: { set: [{ id: 2 }] } }),
  "an update from many to many": onTask(1, { tags: { updateMany: { where: {}, data: { label: "mine" } } } }),
  "a delete from many to many": (db) => db.tag.update({ where: { id: 1 }, data: { tasks: { deleteMany: {} } } }),
  "a `connectOrCreate` from many to many": onTask(6, { tags: { connectOrCreate: [{ where: { id: 2 }, create: { id: 2, tenant_id: "t_acme", label: "new" } }] } }),
  // Relations whose foreign key holds the tenant.
  "a row given away by `connect`": (db) => db.member.update({ where: { tenant_id_email: { tenant_id: "t_acme", email: "bob" } }, data: { tenant: { connect: { id: "t_other" } } }, select: { role: true } }),
  "a row given away by a `connect` to its twin": (db) => db.shift.update({ where: { id: 1 }, data: { member: { connect: { tenant_id_email: { tenant_id: "t_other", email: "eve" } } } } }),
  "a row created for another tenant by `connect`": (db) => db.member.create({ data: { email: "new", role: "new", tenant: { connect: { id: "t_other" } } } }),
  "a row taken by a shared model": (db) => db.tenant.update({ where: { id: "t_other" }, data: { members: { connect: { tenant_id_email: { tenant_id: "t_acme", email: "bob" } } } } }),
  "another tenant's row taken by a shared model": (db) => db.tenant.update({ where: { id: "t_acme" }, data: { members: { connect: { tenant_id_email: { tenant_id: "t_other", email: "eve" } } } } }),
  "another tenant's row taken by a key of two fields": (db) => db.member.update({ where: { tenant_id_email: { tenant_id: "t_acme", email: "ann" } }, data: { shifts: { connect: { id: 2 } } } }),
  "a row created by a shared model of another tenant": (db) => db.tenant.update({ where: { id: "t_other" }, data: { members: { create: { email: "new", role: "new" } } } }),
  // Deep, and from shared models.
  "a write deep within": onTask(1, { project: { update: { children: { updateMany: { where: {}, data: { country_code: "BE" } } } } } }),
  "a write deeper within": (db) => db.comment.update({ where: { id: 1 }, data: { task: { update: { project: { update: { where: { id: 1 }, data: { children: { deleteMany: {} } } } } } } } }),
  "a write deep within a created row": (db) => db.project.create({ data: project(20, { tasks: { create: task(20, { tags: { connectOrCreate: { where: { id: 2 }, create: { id: 2, tenant_id: "t_acme", label: "x" } } } }) } }) }),
  "a write deep within an upsert": onProject(1, { tasks: { upsert: { where: { id: 1 }, create: task(1), update: { tags: { updateMany: { where: {}, data: { label: "mine" } } } } } } }),
  "an update of many from a shared model of another tenant": (db) => db.tenant.update({ where: { id: "t_other" }, data: { members: { updateMany: { where: {}, data: { role: "mine" } } } } }),
  "an update of many from a shared model": (db) => db.country.update({ where: { code: "NL" }, data: { projects: { updateMany: { where: {}, data: { parent_id: 1 } } } } }),
  "a delete of many from a shared model": (db) => db.country.update({ where: { code: "BE" }, data: { projects: { deleteMany: {} } } }),
  "a `set` from a shared model": (db) => db.country.update({ where: { code: "NL" }, data: { projects: { set: [] } } }),
  "a `connect` from a new shared row": (db) => db.country.create({ data: { code: "FR", name: "France", projects: { connect: { id: 3 } } } }),
  "a row for another tenant from a shared model": (db) => db.country.upsert({ where: { code: "NL" }, create: { code: "NL", name: "x" }, update: { projects: { create: { id: 20, tenant_id: "t_other", name: "new" } } } }),
  // What data is not.
  "a row that turns into another": (db) => db.task.create({ data: { ...task(20), toJSON: () => ({ id: 20, tenant_id: "t_other", title: "x" }) } }),
  "rows that turn into others": (db) => db.task.createMany({ data: [{ ...task(20), toJSON: () => ({ id: 20, tenant_id: "t_other", title: "x" }) }] }),
  "a nested write that turns into another": onTask(1, { project: { toJSON: () => ({ connect: { id: 3 } }) } }),
  "a `connect` that turns into another": onTask(1, { project: { connect: { id: 1, toJSON: () => ({ id: 3 }) } } }),
  "an update that turns into another": (db) => db.task.update({ where: { id: 1 }, data: { title: "x", toJSON: () => ({ tenant_id: "t_other" }) } }),
  "a row in Prisma's own form": (db) => db.task.create({ data: { ...task(20), __prismaRawParameters__: true, values: { id: 20, tenant_id: "t_other", title: "x" } } }),
  "rows in Prisma's own form": (db) => db.task.createMany({ data: { __prismaRawParameters__: true, values: [{ id: 20, tenant_id: "t_other", title: "x" }] } }),
  "an update in Prisma's own form": (db) => db.task.updateMany({ data: JSON.parse('{"__prismaRawParameters__": true, "values": {"tenant_id": "t_other"}}') }),
  "a nested write in Prisma's own form": onTask(1, { project: { __prismaRawParameters__: true, values: { connect: { id: 3 } } } }),
  "a tenant in Prisma's own form": (db) => db.task.create({ data: { id: 20, title: "x", tenant_id: { __prismaRawParameters__: true, values: "t_other" } } }),
  "a nested write of a prototype": onTask(1, { project: Object.create({ connect: { id: 3 } }) }),
  "a row with a prototype": (db) => db.task.create({ data: Object.create({ id: 20, tenant_id: "t_other", title: "x" }) }),
  "an update with a prototype": (db) => db.task.updateMany({ data: Object.create({ tenant_id: "t_other" }) }),
  // A row that a relation leads to is left out of what a change returns: the change has happened.
  "a chain of an update": (db) => db.task.update({ where: { id: 2 }, data: { title: "changed" } }).project(),
  "a row that an update returns": (db) => db.task.update({ where: { id: 2 }, data: { title: "changed" }, include: { project: true } }),
  "a row that an upsert returns": (db) => db.task.upsert({ where: { id: 2 }, create: task(2), update: { title: "changed" }, select: { project: true } }),
  "a row that a delete returns": (db) => db.task.delete({ where: { id: 2 }, include: { project: true } }),
  "rows that an update returns": (db) => db.task.updateManyAndReturn({ where: { id: 2 }, data: { title: "changed" }, include: { project: true } }),
};

/** What is always refused. Without the extension it shows or changes another tenant's rows. */
const REFUSED = {
  // A relation to one that leads to another tenant's row.
  "an included row": (db) => db.task.findMany({ include: { project: true } }),
  "a selected row": (db) => db.task.findMany({ where: { id: 2 }, select: { project: { select: { name: true } } } }),
  "an included row without the tenant": (db) => db.task.findMany({ where: { id: 2 }, include: { project: { omit: { tenant_id: true } } }, omit: { tenant_id: true } }),
  "an included row whose tenant is omitted by a number": (db) => db.task.findMany({ where: { id: 2 }, include: { project: { omit: { tenant_id: 1 } } } }),
  "an included row whose tenant is not selected": (db) => db.task.findMany({ where: { id: 2 }, include: { project: { select: { tenant_id: false, name: true } } } }),
  "an included row whose tenant is selected with nothing": (db) => db.task.findMany({ where: { id: 2 }, include: { project: { select: { tenant_id: undefined, name: true } } } }),
  "an included row for its relations": (db) => db.task.findMany({ where: { id: 2 }, select: { project: { select: { tasks: { select: { title: true } } } } } }),
  "an included row of `findUnique`": (db) => db.task.findUnique({ where: { id: 2 }, include: { project: { include: { tasks: true } } } }),
  "an included row of `findFirstOrThrow`": (db) => db.task.findFirstOrThrow({ where: { id: 2 }, include: { project: true } }),
  "an included row that is required": (db) => db.comment.findMany({ select: { text: true, task: { select: { title: true } } } }),
  "an included row from one to one": (db) => db.task.findMany({ include: { note: true } }),
  "an included row of an included row": (db) => db.tag.findMany({ select: { tasks: { where: { tenant_id: "t_acme" }, select: { note: { select: { text: true } } } } } }),
  "an included parent": (db) => db.country.findMany({ select: { projects: { where: { tenant_id: "t_acme" }, select: { parent: { select: { name: true } } } } } }),
  "an included row of all that is scalar": (db) => db.task.findMany({ where: { id: 2 }, select: { project: { select: { $scalars: true } } } }),
  "an included row asked for with nothing": (db) => db.task.findMany({ where: { id: 2 }, select: { project: 0 } }),
  "an included row asked for by an empty text": (db) => db.task.findMany({ where: { id: 2 }, include: { project: "" } }),
  "an included row asked for with a list": (db) => db.task.findMany({ where: { id: 2 }, include: { project: [] } }),
  "an included row asked for by a prototype": (db) => db.task.findMany({ where: { id: 2 }, include: Object.create({ project: true }) }),
  "an included row asked for by `__proto__`": (db) => db.task.findMany(JSON.parse('{"where": {"id": 2}, "__proto__": {"include": {"project": true}}}')),
  "a chain": (db) => db.task.findUnique({ where: { id: 2 } }).project(),
  "a chain with a selection": (db) => db.task.findUniqueOrThrow({ where: { id: 2 } }).project({ select: { name: true } }),
  "a chain of a required relation": (db) => db.comment.findFirst({ where: { id: 3 } }).task({ omit: { tenant_id: true } }),
  // The tenant's field.
  "a row for another tenant": (db) => db.task.create({ data: { id: 20, tenant_id: "t_other", title: "x" } }),
  "rows for another tenant": (db) => db.task.createMany({ data: [task(20), { id: 21, tenant_id: "t_other", title: "x" }] }),
  "one of rows for another tenant": (db) => db.task.createMany({ data: { id: 21, tenant_id: "t_other", title: "x" } }),
  "returned rows for another tenant": (db) => db.task.createManyAndReturn({ data: [{ id: 21, tenant_id: "t_other", title: "x" }] }),
  "an update that gives a row away": (db) => db.task.update({ where: { id: 1 }, data: { tenant_id: "t_other" } }),
  "an update that gives a row away by `set`": (db) => db.task.update({ where: { id: 1 }, data: { tenant_id: { set: "t_other" } } }),
  "an update that gives rows away": (db) => db.task.updateMany({ data: { tenant_id: "t_other" } }),
  "an update that gives rows away and returns them": (db) => db.task.updateManyAndReturn({ data: { tenant_id: { set: "t_other" } } }),
  "an update that gives part of a key away": (db) => db.member.update({ where: { tenant_id_email: { tenant_id: "t_acme", email: "bob" } }, data: { tenant_id: "t_other" } }),
  "an upsert that gives a row away": (db) => db.task.upsert({ where: { id: 1 }, create: task(1), update: { tenant_id: "t_other" } }),
  "an upsert that creates a row for another tenant": (db) => db.task.upsert({ where: { id: 20 }, create: { id: 20, tenant_id: "t_other", title: "x" }, update: {} }),
  // A model that nobody has classified.
  "an unclassified model": (db) => db.secret.findMany(),
  "a count of an unclassified model": (db) => db.secret.aggregate({ _max: { word: true } }),
  "an update of an unclassified model": (db) => db.secret.updateMany({ data: { word: "x" } }),
  "a delete of an unclassified model": (db) => db.secret.deleteMany(),
  "a row of an unclassified model": (db) => db.secret.create({ data: { id: 20, word: "x" } }),
  "included rows of an unclassified model": (db) => db.project.findMany({ include: { secrets: true } }),
  "deeply selected rows of an unclassified model": (db) => db.task.findMany({ where: { id: 1 }, select: { project: { select: { secrets: { select: { word: true } } } } } }),
  "rows of an unclassified model, from a shared one": (db) => db.country.findMany({ select: { projects: { where: { id: { in: [1, 2] } }, select: { secrets: true } } } }),
  "a relation of an unclassified model": (db) => db.secret.findMany({ select: { project: { select: { name: true } } } }),
  "a condition on an unclassified model": (db) => db.project.findMany({ where: { tenant_id: "t_acme", secrets: { some: { word: { startsWith: "secret" } } } }, select: { id: true } }),
  "a count of rows of an unclassified model": (db) => db.project.findMany({ select: { id: true, _count: { select: { secrets: true } } } }),
  "a chain to an unclassified model": (db) => db.project.findUnique({ where: { id: 1 } }).secrets(),
  "a row created in an unclassified model": onProject(1, { secrets: { create: { id: 20, word: "x" } } }),
  "rows deleted in an unclassified model": onProject(1, { secrets: { deleteMany: {} } }),
};

const TITLES = 'select title from "Task"';
const RENAME = `update "Task" set title = 'mine'`;
/** Raw SQL, which is refused unless it begins with a remark that somebody has reviewed it. */
const RAW = {
  "`$queryRaw`": (db) => db.$queryRaw`select title from "Task"`,
  "`$queryRaw` of a built query": (db, { raw, sql }) => db.$queryRaw(sql`select ${raw("title")} from ${sql`"Task"`} where hours > ${0}`),
  "`$queryRaw` of raw text": (db, { raw }) => db.$queryRaw(raw(TITLES)),
  "`$queryRaw` of a joined query": (db, { join, sql }) => db.$queryRaw(sql`select title from "Task" where id in (${join([1, 3, 4])})`),
  "`$queryRaw` with a value in front": (db) => db.$queryRaw`select ${"/* reviewed */"} as remark, title from "Task"`,
  "`$queryRawTyped`": (db) => db.$queryRawTyped({ sql: TITLES, text: TITLES, values: [] }),
  "`$queryRawUnsafe`": (db) => db.$queryRawUnsafe(TITLES),
  "`$queryRawUnsafe` with values": (db) => db.$queryRawUnsafe(`${TITLES} where id > $1`, 1),
  "`$queryRawUnsafe` with a remark at the end": (db) => db.$queryRawUnsafe(`${TITLES} /* reviewed */`),
  "`$queryRawUnsafe` with a remark in between": (db) => db.$queryRawUnsafe(`select /* reviewed */ title from "Task"`),
  "`$queryRawUnsafe` with another spelling": (db) => db.$queryRawUnsafe(`/*reviewed*/ ${TITLES}`),
  "`$queryRawUnsafe` with another remark": (db) => db.$queryRawUnsafe(`/* not reviewed */ ${TITLES}`),
  "`$queryRawUnsafe` with a remark in a value": (db) => db.$queryRawUnsafe(`${TITLES} where title <> $1`, "/* reviewed */"),
  "`$executeRaw`": (db) => db.$executeRaw`update "Task" set title = 'mine'`,
  "`$executeRaw` of raw text": (db, { raw }) => db.$executeRaw(raw(RENAME)),
  "`$executeRawUnsafe`": (db) => db.$executeRawUnsafe(RENAME),
  "`$executeRawUnsafe` with values": (db) => db.$executeRawUnsafe(`${RENAME} where id > $1`, 1),
  // Objects that say one thing and run another. SQLite runs `sql`, and PostgreSQL `text`.
  "a query with a reviewed double": (db) => db.$queryRaw({ sql: TITLES, text: TITLES, strings: ["/* reviewed */ select 1"], values: [] }),
  "a query with a reviewed template": (db) => db.$queryRaw(Object.assign([TITLES], { raw: ["/* reviewed */ select 1"] })),
};

const inside = (of) => ({ query: { $allModels: of } });
/** Extensions on top of the tenant's, which Prisma lets replace what it has asked for. */
const ON_TOP = {
  "an extension that replaces conditions": (db) => db.$extends({ query: { task: { findMany: ({ query }) => query({}) } } }).task.findMany(),
  "an extension that adds relations": (db) => db.$extends(inside({ findMany: ({ args, query }) => query({ ...args, include: { tasks: true } }) })).project.findMany(),
  "an extension of all operations": (db) => db.$extends({ query: { $allOperations: ({ query }) => query({ where: { OR: [{ tenant_id: "t_other" }] } }) } }).task.count(),
  "an extension that gives rows away": (db) => db.$extends(inside({ update: ({ args, query }) => query({ ...args, data: { tenant_id: "t_other" } }) })).task.update({ where: { id: 1 }, data: { title: "x" } }),
  "an extension that creates rows": (db) => db.$extends(inside({ $allOperations: ({ query }) => query({ data: { id: 20, tenant_id: "t_other", title: "x" } }) })).task.create({ data: task(20) }),
  "an extension that replaces raw SQL": (db, { sql }) => db.$extends({ query: { $queryRaw: ({ query }) => query(sql`select title from "Task"`) } }).$queryRaw`/* reviewed */ select 1`,
  "an extension as a function": (db) => db.$extends((client) => client.$extends(inside({ deleteMany: ({ query }) => query({}) }))).task.deleteMany({ where: { id: 1 } }),
  "an extension by `defineExtension`": (db, { defineExtension }) => db.$extends(defineExtension(inside({ findFirst: ({ query }) => query({ where: { id: 3 } }) }))).task.findFirst(),
  "an extension on an extension": (db) => db.$extends({}).$extends(inside({ findMany: ({ query }) => query({}) })).task.findMany(),
  "an extension in a transaction": (db) => db.$extends(inside({ findMany: ({ query }) => query({}) })).$transaction((tx) => tx.task.findMany()),
  "a computed field": (db) => db.$extends({ result: { task: { loud: { needs: { title: true }, compute: ({ title }) => title.toUpperCase() } } } }).task.findMany({ select: { loud: true } }),
  "a computed tenant": (db) => db.$extends({ result: { project: { tenant_id: { needs: {}, compute: () => "t_acme" } } } }).task.findMany({ where: { id: 2 }, include: { project: true } }),
  "a method of models": (db, { getExtensionContext }) => db.$extends({ model: { $allModels: { everything() { return getExtensionContext(this).findMany(); } } } }).task.everything(),
  "a method of the client": (db, { getExtensionContext }) => db.$extends({ client: { everything() { return getExtensionContext(this).task.findMany(); } } }).everything(),
};

/** Clients that never select the tenant's field, unless they are told to. */
const LEAN = { omit: Object.fromEntries(TENANTS.map((model) => [model.toLowerCase(), { tenant_id: true }])) };
const LEAN_REFUSED = ["an included row", "a selected row", "an included row that is required", "an included row from one to one", "a chain"];
const LEAN_READS = ["a list", "included rows", "relations of a shared model", "a chain to many", "a condition of `findUnique`"];

/** Arguments that Prisma ignores or rejects, and that an extension might bring to life. */
const ODD = {
  "a condition by `__proto__`": (db) => db.task.findMany({ where: JSON.parse('{"__proto__": {"OR": [{"tenant_id": "t_other"}]}}') }),
  "an included row by `__proto__`": (db) => db.task.findMany({ include: JSON.parse('{"__proto__": {"project": true}}') }),
  "an included condition by `__proto__`": (db) => db.project.findMany({ include: { tasks: JSON.parse('{"where": {"id": 1}, "__proto__": {"where": {"OR": [{}]}, "include": {"project": true}}}') } }),
  "a row by `__proto__`": (db) => db.task.create({ data: JSON.parse('{"id": 20, "title": "x", "__proto__": {"tenant_id": "t_other"}}') }),
  "an update by `__proto__`": (db) => db.task.updateMany({ data: JSON.parse('{"title": "x", "__proto__": {"tenant_id": "t_other"}}') }),
  "a nested write by `__proto__`": onTask(1, { project: JSON.parse('{"__proto__": {"connect": {"id": 3}}}') }),
  "a prototype of selections": (db) => db.task.findMany({ select: { id: true, project: Object.create({ select: { name: true } }) } }),
  "no arguments": (db) => db.task.findMany(null),
  "no condition": (db) => db.task.findMany({ where: null }),
  "a list as a condition": (db) => db.task.findMany({ where: [{ id: 3 }] }),
  "a list as a selection": (db) => db.task.findMany({ select: ["project"] }),
  "a text as a selection": (db) => db.task.findMany({ include: "project" }),
  "a list as a cursor": (db) => db.task.findMany({ cursor: [{ id: 3 }] }),
  "a list as a row": (db) => db.task.create({ data: [{ id: 20, tenant_id: "t_other", title: "x" }] }),
  "a list as an update": (db) => db.task.update({ where: { id: 1 }, data: [{ tenant_id: "t_other" }] }),
  "a list as a nested write": onTask(1, { project: [{ connect: { id: 3 } }] }),
  "a map as a condition": (db) => db.task.findMany({ where: new Map([["id", 3]]) }),
  "a date as a condition": (db) => db.task.findMany({ where: new Date() }),
  "a function as a condition": (db) => db.task.findMany({ where: () => ({ id: 3 }) }),
  "names of every object": (db) => db.task.findMany({ where: JSON.parse('{"hasOwnProperty": 1, "constructor": {"name": "x"}}') }),
  "both selections": (db) => db.task.findMany({ select: { id: true }, include: { project: true } }),
  "a relation nobody knows": (db) => db.task.findMany({ include: { projects: true } }),
  "a condition that changes when read": (db) => {
    let reads = 0;
    return db.task.findMany({ get where() { return reads++ === 0 ? { id: 1 } : { OR: [{ tenant_id: "t_other" }] }; } });
  },
  "a row that changes when read": (db) => {
    let reads = 0;
    return db.task.create({ data: { id: 20, title: "x", get tenant_id() { return reads++ === 0 ? "t_acme" : "t_other"; } } });
  },
};

/** How PostgreSQL reads relations. By joins is the default where Prisma knows it. */
const both = (query) => (db) => Promise.all(["join", "query"].map((relationLoadStrategy) => query(db, { relationLoadStrategy })));
const STRATEGIES = {
  "included rows": both((db, more) => db.project.findMany({ ...more, include: { tasks: true } })),
  "included rows deep within": both((db, more) => db.country.findMany({ ...more, select: { projects: { where: { id: 1 }, select: { children: { include: { tasks: true } } } } } })),
  "an included row": both((db, more) => db.task.findMany({ ...more, where: { id: 2 }, include: { project: true } })),
  "an included row of `findUnique`": both((db, more) => db.comment.findUnique({ ...more, where: { id: 3 }, select: { task: { select: { title: true } } } })),
  "`_count`": both((db, more) => db.project.findMany({ ...more, select: { id: true, _count: { select: { tasks: true } } } })),
  "a condition": both((db, more) => db.project.findMany({ ...more, where: { tenant_id: "t_acme", tasks: { some: { hours: 9 } } }, select: { id: true } })),
};

/** Everyday operations of the tenant, and their answers; then another, and its answer. */
const titles = (db) => db.task.findMany({ orderBy: { id: "asc" }, select: { id: true, title: true } });
const kept = (...more) => [[1, "draw"], [2, "build"], [6, "rest"]].map(([id, title]) => ({ id, title: more.find((row) => row.id === id)?.title ?? title })).concat(more.filter(({ id }) => id > 6));
const EVERYDAY = {
  "a list": [(db) => db.task.findMany({ where: { hours: { gte: 3 }, OR: [{ title: { contains: "u" } }, { title: "rest" }] }, orderBy: { hours: "desc" } }), [{ id: 2, tenant_id: "t_acme", title: "build", hours: 5, project_id: 3 }, { id: 6, tenant_id: "t_acme", title: "rest", hours: 3, project_id: 2 }]],
  "a page": [(db) => db.task.findMany({ orderBy: { id: "asc" }, cursor: { id: 1 }, skip: 1, take: 2, select: { id: true } }), [{ id: 2 }, { id: 6 }]],
  "an order": [(db) => db.task.findMany({ orderBy: [{ hours: "desc" }, { title: "asc" }], select: { title: true } }), [{ title: "build" }, { title: "rest" }, { title: "draw" }]],
  "`distinct`": [(db) => db.project.findMany({ distinct: ["country_code"], orderBy: { id: "asc" }, select: { country_code: true } }), [{ country_code: "NL" }, { country_code: "BE" }]],
  "`omit`": [(db) => db.tag.findMany({ omit: { tenant_id: true }, orderBy: { id: "asc" } }), [{ id: 1, label: "blue" }, { id: 3, label: "red" }]],
  "`findUnique`": [(db) => db.task.findUnique({ where: { id: 1 }, select: { title: true } }), { title: "draw" }],
  "`findUnique` of no row": [(db) => db.task.findUnique({ where: { id: 99 } }), null],
  "`findUnique` by a key with the tenant": [(db) => db.project.findUnique({ where: { tenant_id_name: { tenant_id: "t_acme", name: "site" } }, select: { id: true } }), { id: 1 }],
  "`findFirst`": [(db) => db.project.findFirst({ orderBy: { name: "desc" }, select: { name: true } }), { name: "site" }],
  "`findFirst` in the tenant's own words": [(db) => db.member.findFirst({ where: { tenant_id: "t_acme", NOT: { role: "boss" } } }), { tenant_id: "t_acme", email: "bob", role: "hand" }],
  "`count`": [(db) => db.task.count({ where: { hours: { lt: 5 } } }), 2],
  "`count` of fields": [(db) => db.note.count({ select: { _all: true, task_id: true } }), { _all: 1, task_id: 1 }],
  "`aggregate`": [(db) => db.task.aggregate({ _sum: { hours: true }, _max: { title: true } }), { _sum: { hours: 10 }, _max: { title: "rest" } }],
  "`groupBy`": [(db) => db.project.groupBy({ by: ["country_code"], _count: { _all: true }, orderBy: { country_code: "asc" } }), [{ country_code: "BE", _count: { _all: 1 } }, { country_code: "NL", _count: { _all: 2 } }]],
  "`groupBy` with `having`": [(db) => db.task.groupBy({ by: ["title"], having: { hours: { _max: { gt: 4 } } } }), [{ title: "build" }]],
  "empty operators": [(db) => db.task.findMany({ where: { id: 1, AND: [], NOT: [] }, select: { id: true } }), [{ id: 1 }]],
  "an empty choice": [(db) => db.task.findMany({ where: { OR: [] } }), []],
  "`deleteMany` of an empty choice": [(db) => db.task.deleteMany({ where: { OR: [] } }), { count: 0 }, titles, kept()],
  "a comparison of fields": [(db) => db.task.count({ where: { hours: { gt: db.task.fields.project_id } } }), 3],
  "included rows": [(db) => db.project.findUnique({ where: { id: 1 }, include: { tasks: { select: { title: true } }, country: true } }), { id: 1, tenant_id: "t_acme", name: "site", country_code: "NL", parent_id: null, tasks: [{ title: "draw" }], country: { code: "NL", name: "Netherlands" } }],
  "included rows in a tree": [(db) => db.project.findMany({ where: { id: 1 }, select: { parent: true, children: { select: { name: true, parent: { select: { name: true } } } } } }), [{ parent: null, children: [{ name: "docs", parent: { name: "site" } }] }]],
  "an included row": [(db) => db.task.findUnique({ where: { id: 6 }, select: { title: true, project: { select: { name: true } }, note: true } }), { title: "rest", project: { name: "app" }, note: null }],
  "an included row that is required": [(db) => db.comment.findFirst({ where: { id: 1 }, include: { task: { omit: { hours: true } } } }), { id: 1, tenant_id: "t_acme", text: "fine", task_id: 1, task: { id: 1, tenant_id: "t_acme", title: "draw", project_id: 1 } }],
  "an included row without the tenant": [(db) => db.task.findMany({ where: { id: 6 }, omit: { tenant_id: true }, include: { project: { omit: { tenant_id: true, id: true } } } }), [{ id: 6, title: "rest", hours: 3, project_id: 2, project: { name: "app", country_code: "BE", parent_id: 3 } }]],
  "an included row for its relations": [(db) => db.task.findMany({ where: { id: 1 }, select: { project: { select: { tasks: { select: { title: true } } } } } }), [{ project: { tasks: [{ title: "draw" }] } }]],
  "a relation that is not asked for": [(db) => db.task.findMany({ where: { id: 2 }, select: { title: true, project: false, note: undefined } }), [{ title: "build" }]],
  "a relation from many to many": [(db) => db.tag.findUnique({ where: { id: 1 }, select: { tasks: { select: { title: true, tags: { select: { label: true } } } } } }), { tasks: [{ title: "draw", tags: [{ label: "blue" }] }] }],
  "a relation by a key of two fields": [(db) => db.shift.findMany({ select: { day: true, member: { select: { role: true, tenant: { select: { name: true } } } } } }), [{ day: "monday", member: { role: "boss", tenant: { name: "Acme" } } }]],
  "relations of a shared model": [(db) => db.country.findUnique({ where: { code: "NL" }, select: { projects: { orderBy: { id: "asc" }, select: { name: true } } } }), { projects: [{ name: "site" }, { name: "docs" }] }],
  "a chain": [(db) => db.task.findUnique({ where: { id: 1 } }).project(), { id: 1, tenant_id: "t_acme", name: "site", country_code: "NL", parent_id: null }],
  "a chain with a selection": [(db) => db.task.findFirstOrThrow({ where: { id: 6 } }).project({ select: { name: true } }), { name: "app" }],
  "a chain of chains": [(db) => db.note.findUnique({ where: { id: 1 } }).task().project().tasks({ select: { title: true } }), [{ title: "draw" }]],
  "a chain to nothing": [(db) => db.task.findUnique({ where: { id: 6 } }).note(), null],
  "a chain to a shared model": [(db) => db.project.findUnique({ where: { id: 2 } }).country(), { code: "BE", name: "Belgium" }],
  "`create`": [(db) => db.task.create({ data: { id: 20, title: "new", project_id: 1 } }), { id: 20, tenant_id: "t_acme", title: "new", hours: 1, project_id: 1 }, titles, kept({ id: 20, title: "new" })],
  "`create` with the tenant": [(db) => db.task.create({ data: task(20), select: { title: true } }), { title: "new" }, titles, kept({ id: 20, title: "new" })],
  "`create` with an undefined tenant": [(db) => db.task.create({ data: { id: 20, tenant_id: undefined, title: "new" }, select: { tenant_id: true } }), { tenant_id: "t_acme" }],
  "`create` with a key of the tenant": [(db) => db.member.create({ data: { email: "cy", role: "hand" } }), { tenant_id: "t_acme", email: "cy", role: "hand" }],
  "`createMany`": [(db) => db.task.createMany({ data: [{ id: 20, title: "new" }, task(21)] }), { count: 2 }, titles, kept({ id: 20, title: "new" }, { id: 21, title: "new" })],
  "`createMany` of one": [(db) => db.task.createMany({ data: { id: 20, title: "new" } }), { count: 1 }, titles, kept({ id: 20, title: "new" })],
  "`createManyAndReturn`": [(db) => db.task.createManyAndReturn({ data: [{ id: 20, title: "new" }], select: { id: true, tenant_id: true } }), [{ id: 20, tenant_id: "t_acme" }], titles, kept({ id: 20, title: "new" })],
  "`update`": [(db) => db.task.update({ where: { id: 1, hours: 2 }, data: { title: "drawn", hours: { increment: 1 } }, select: { hours: true } }), { hours: 3 }, titles, kept({ id: 1, title: "drawn" })],
  "`update` with an undefined tenant": [(db) => db.task.update({ where: { id: 1 }, data: { title: "drawn", tenant_id: undefined }, select: { id: true } }), { id: 1 }, titles, kept({ id: 1, title: "drawn" })],
  "`update` by a key with the tenant": [(db) => db.member.update({ where: { tenant_id_email: { tenant_id: "t_acme", email: "bob" } }, data: { role: "boss" } }), { tenant_id: "t_acme", email: "bob", role: "boss" }],
  "`updateMany`": [(db) => db.task.updateMany({ where: { hours: { gt: 2 } }, data: { title: "done" } }), { count: 2 }, titles, kept({ id: 2, title: "done" }, { id: 6, title: "done" })],
  "`updateManyAndReturn`": [(db) => db.task.updateManyAndReturn({ data: { hours: 1 }, where: { id: 1 } }), [{ id: 1, tenant_id: "t_acme", title: "draw", hours: 1, project_id: 1 }]],
  "`upsert` of a row": [(db) => db.task.upsert({ where: { id: 1 }, create: { id: 1, title: "new" }, update: { title: "drawn" }, select: { title: true } }), { title: "drawn" }, titles, kept({ id: 1, title: "drawn" })],
  "`upsert` of no row": [(db) => db.task.upsert({ where: { id: 20 }, create: { id: 20, title: "new" }, update: { title: "drawn" } }), { id: 20, tenant_id: "t_acme", title: "new", hours: 1, project_id: null }, titles, kept({ id: 20, title: "new" })],
  "`upsert` by a key with the tenant": [(db) => db.project.upsert({ where: { tenant_id_name: { tenant_id: "t_acme", name: "site" } }, create: { id: 20, name: "site" }, update: { country_code: "BE" }, select: { id: true, country_code: true } }), { id: 1, country_code: "BE" }],
  "`delete`": [(db) => db.task.delete({ where: { id: 6 } }), { id: 6, tenant_id: "t_acme", title: "rest", hours: 3, project_id: 2 }, (db) => db.task.count(), 2],
  "`deleteMany`": [(db) => db.task.deleteMany({ where: { OR: [{ id: 1 }, { title: "rest" }] } }), { count: 2 }, (db) => db.task.count(), 1],
  "`deleteMany` of all": [(db) => db.task.deleteMany({}), { count: 3 }, titles, []],
  "a shared model": [(db) => db.country.findMany({ orderBy: { code: "asc" } }), [{ code: "BE", name: "Belgium" }, { code: "NL", name: "Netherlands" }]],
  "a shared model that is counted": [(db) => db.tenant.count(), 2],
  "a shared model that is written": [(db) => db.country.create({ data: { code: "FR", name: "France" } }), { code: "FR", name: "France" }, (db) => db.country.count(), 3],
  "a shared model that is changed": [(db) => db.country.upsert({ where: { code: "NL" }, create: { code: "NL", name: "x" }, update: { name: "Holland" } }), { code: "NL", name: "Holland" }],
  "a shared model that is deleted": [(db) => db.country.deleteMany({ where: { name: "Belgium" } }), { count: 1 }, (db) => db.country.count(), 1],
  "reviewed SQL": [(db) => db.$queryRaw`/* reviewed */ select title from "Task" where id = ${2}`, [{ title: "build" }]],
  "reviewed SQL with parts": [(db, { raw, sql }) => db.$queryRaw(sql`/* reviewed */ select ${raw("title")} from ${sql`"Task"`} where id = ${2}`), [{ title: "build" }]],
  "reviewed SQL as text": [(db) => db.$queryRawUnsafe('/* reviewed */ select title from "Task" where id = $1', 1), [{ title: "draw" }]],
  "a reviewed change": [(db) => db.$executeRaw`/* reviewed */ update "Task" set title = ${"drawn"} where id = 1`, 1, titles, kept({ id: 1, title: "drawn" })],
  "a reviewed change as text": [(db) => db.$executeRawUnsafe(`/* reviewed */ update "Task" set title = 'drawn' where id = 1`), 1, titles, kept({ id: 1, title: "drawn" })],
};

/** Operations that are refused, or have these answers. */
const EITHER = {
  "`_count`": [(db) => db.project.findMany({ orderBy: { id: "asc" }, select: { _count: { select: { tasks: true, children: true } } } }), [{ _count: { tasks: 1, children: 1 } }, { _count: { tasks: 1, children: 0 } }, { _count: { tasks: 0, children: 0 } }]],
  "`_count` with a condition": [(db) => db.country.findUnique({ where: { code: "NL" }, select: { _count: { select: { projects: { where: { name: "docs" } } } } } }), { _count: { projects: 1 } }],
  "`some`": [(db) => db.project.findMany({ where: { tasks: { some: { hours: { gt: 2 } } } }, select: { id: true } }), [{ id: 2 }]],
  "`every`": [(db) => db.project.findMany({ where: { tasks: { every: { hours: { lt: 3 } } } }, orderBy: { id: "asc" }, select: { id: true } }), [{ id: 1 }, { id: 5 }]],
  "`none`": [(db) => db.project.findMany({ where: { tasks: { none: {} } }, select: { id: true } }), [{ id: 5 }]],
  "`is`": [(db) => db.task.findMany({ where: { project: { is: { name: "site" } } }, select: { id: true } }), [{ id: 1 }]],
  "`isNot`": [(db) => db.task.findMany({ where: { id: { in: [1, 6] }, project: { isNot: { name: "site" } } }, select: { id: true } }), [{ id: 6 }]],
  "a relation to nothing": [(db) => db.task.findMany({ where: { note: null, id: 6 }, select: { id: true } }), [{ id: 6 }]],
  "a condition on a shared model": [(db) => db.project.findMany({ where: { country: { name: "Belgium" } }, select: { id: true } }), [{ id: 2 }]],
  "an order by a shared model": [(db) => db.project.findMany({ where: { id: { lt: 5 } }, orderBy: { country: { name: "asc" } }, select: { id: true } }), [{ id: 2 }, { id: 1 }]],
  "a nested create": [(db) => db.project.create({ data: { id: 20, name: "new", tasks: { create: [{ id: 20, title: "new", comments: { create: { id: 20, text: "new" } } }] } } }), { id: 20, tenant_id: "t_acme", name: "new", country_code: null, parent_id: null }, (db) => db.comment.findMany({ where: { id: 20 }, select: { tenant_id: true, task: { select: { tenant_id: true } } } }), [{ tenant_id: "t_acme", task: { tenant_id: "t_acme" } }]],
  "a nested create of many": [onProject(1, { tasks: { createMany: { data: [{ id: 20, title: "new" }, task(21)] } } }), { id: 1 }, titles, kept({ id: 20, title: "new" }, { id: 21, title: "new" })],
  "a nested create to one": [onTask(6, { project: { create: { id: 20, name: "new" } } }), { id: 6 }, (db) => db.project.findUnique({ where: { id: 20 }, select: { tenant_id: true } }), { tenant_id: "t_acme" }],
  "a nested `connect`": [onTask(6, { project: { connect: { id: 1 } } }), { id: 6 }, (db) => db.task.findUnique({ where: { id: 6 }, select: { project_id: true } }), { project_id: 1 }],
  "a nested `connect` of many": [onProject(5, { tasks: { connect: [{ id: 1 }, { id: 6 }] } }), { id: 5 }, (db) => db.task.count({ where: { project_id: 5 } }), 2],
  "a nested `connectOrCreate`": [onTask(6, { tags: { connectOrCreate: [{ where: { id: 1 }, create: { id: 1, label: "x" } }, { where: { id: 20 }, create: { id: 20, label: "new" } }] } }), { id: 6 }, (db) => db.tag.count(), 3],
  "a nested `disconnect`": [onProject(1, { tasks: { disconnect: { id: 1 } } }), { id: 1 }, (db) => db.task.findUnique({ where: { id: 1 }, select: { project_id: true } }), { project_id: null }],
  "a nested update": [onProject(1, { tasks: { update: { where: { id: 1 }, data: { title: "drawn" } } } }), { id: 1 }, titles, kept({ id: 1, title: "drawn" })],
  "a nested update to one": [(db) => db.note.update({ where: { id: 1 }, data: { task: { update: { title: "drawn" } } }, select: { id: true } }), { id: 1 }, titles, kept({ id: 1, title: "drawn" })],
  "a nested update of many": [onProject(1, { tasks: { updateMany: { where: {}, data: { title: "drawn" } } } }), { id: 1 }, titles, kept({ id: 1, title: "drawn" })],
  "a nested upsert": [onProject(1, { tasks: { upsert: [{ where: { id: 1 }, create: { id: 1, title: "x" }, update: { title: "drawn" } }, { where: { id: 20 }, create: { id: 20, title: "new" }, update: {} }] } }), { id: 1 }, titles, kept({ id: 1, title: "drawn" }, { id: 20, title: "new" })],
  "a nested delete": [onProject(2, { tasks: { delete: { id: 6 } } }), { id: 2 }, (db) => db.task.count(), 2],
  "a nested delete of many": [onProject(2, { tasks: { deleteMany: { hours: 3 } } }), { id: 2 }, (db) => db.task.count(), 2],
  "a nested delete from one to one": [onTask(1, { note: { delete: true } }), { id: 1 }, (db) => db.note.count(), 0],
  "a nested create from one to one": [onTask(6, { note: { create: { id: 20, text: "new" } } }), { id: 6 }, (db) => db.note.findMany({ where: { id: 20 } }), [{ id: 20, tenant_id: "t_acme", text: "new", task_id: 6 }]],
  "a `connect` from many to many": [onTask(6, { tags: { connect: { id: 1 } } }), { id: 6 }, (db) => db.task.findUnique({ where: { id: 6 }, select: { tags: { select: { label: true } } } }), { tags: [{ label: "blue" }] }],
  "a `set` from many to many": [onTask(6, { tags: { set: [{ id: 3 }] } }), { id: 6 }, (db) => db.task.findUnique({ where: { id: 6 }, select: { tags: { select: { label: true } } } }), { tags: [{ label: "red" }] }],
  "a shared row in a nested `connect`": [(db) => db.project.update({ where: { id: 1 }, data: { country: { connect: { code: "BE" } } }, select: { country_code: true } }), { country_code: "BE" }],
  "a nested create from a shared model": [(db) => db.country.update({ where: { code: "NL" }, data: { projects: { create: { id: 20, name: "new" } } } }), { code: "NL", name: "Netherlands" }, (db) => db.project.findUnique({ where: { id: 20 }, select: { tenant_id: true } }), { tenant_id: "t_acme" }],
  "a nested create from the tenant itself": [(db) => db.tenant.update({ where: { id: "t_acme" }, data: { members: { create: { email: "cy", role: "hand" } } } }), { id: "t_acme", name: "Acme" }, (db) => db.member.count({ where: { email: "cy" } }), 1],
  "a `connect` to the tenant itself": [(db) => db.member.create({ data: { email: "cy", role: "hand", tenant: { connect: { id: "t_acme" } } } }), { tenant_id: "t_acme", email: "cy", role: "hand" }],
  "a `connect` by a key of two fields": [(db) => db.shift.create({ data: { id: 20, day: "friday", member: { connect: { tenant_id_email: { tenant_id: "t_acme", email: "bob" } } } } }), { id: 20, tenant_id: "t_acme", day: "friday", email: "bob" }],
};

for (const [name, make] of Object.entries(DATABASES)) {
  describe(`Prisma on ${name}`, () => {
    let folder, database, Prisma;
    const worlds = {};
    before(async () => {
      folder = mkdtempSync(join(tmpdir(), "tenantgate-prisma-"));
      database = await make(folder);
      Prisma = database.client.Prisma;
      for (const [world, rows] of Object.entries(WORLDS)) {
        const adapter = await database.adapter(world);
        const [base, lean] = [{}, LEAN].map((more) => new database.client.PrismaClient({ adapter, ...more }));
        for (const statement of statements(SCHEMA)) await base.$executeRawUnsafe(statement);
        const filling = [...TABLES.map((table) => `DELETE FROM ${table}`), ...statements(OWN), ...statements(rows)];
        // With any extension Prisma copies the arguments, and so takes some for others.
        const nothing = { query: { $allOperations: ({ args, query }) => query(args) } };
        worlds[world] = {
          base,
          all: base.$extends(nothing),
          own: base.$extends(tenantExtension(SETTINGS)),
          theirs: base.$extends(tenantExtension({ ...SETTINGS, tenant: "t_other" })),
          lean: { all: lean.$extends(nothing), own: lean.$extends(tenantExtension(SETTINGS)) },
          fill: () => base.$transaction(filling.map((statement) => base.$executeRawUnsafe(statement))),
          close: () => Promise.all([base.$disconnect(), lean.$disconnect()]),
        };
        await worlds[world].fill();
        worlds[world].start = await stored(base);
      }
    });
    after(async () => {
      await Promise.all(Object.values(worlds).map(({ close }) => close()));
      await database?.stop();
      rmSync(folder, { recursive: true, force: true });
    });

    /** Runs an operation on the first rows. Returns its outcome, and what is stored then. */
    async function run(world, db, query, { way = "alone", ...more } = {}) {
      if (world.changed) await world.fill();
      world.changed = true;
      const got = await outcome(() => WAYS[way](db, query, Prisma), more);
      const left = await stored(world.base);
      world.changed = JSON.stringify(left) !== JSON.stringify(world.start);
      return { got, left };
    }
    const shows = ({ value }) => /secret/i.test(JSON.stringify(value ?? null));
    const leads = ({ left }, { start }) => left.crossing.filter((line) => !start.crossing.includes(line));

    /** Runs an attack without the extension, and shows that it does harm. */
    async function without(query, { ordered, of }) {
      const results = [];
      for (const world of Object.values(worlds)) results.push([await run(world, of(world).all, query, { ordered }), world]);
      const harm = results.some(([result, world]) => shows(result.got) || JSON.stringify(result.left.others) !== JSON.stringify(world.start.others) || leads(result, world).length > 0);
      const [a, b] = results.map(([{ got, left }]) => JSON.stringify({ got, own: left.own }));
      assert(harm || a !== b, "without the extension nothing leaks");
    }
    /** Runs an attack with the extension: alone in both worlds, and in each other way in one. */
    async function within(query, { ordered, of, refused, mistaken, ways }) {
      let first;
      for (const way of ways) {
        for (const world of way === "alone" ? Object.values(worlds) : [worlds.a]) {
          const { got, left } = await run(world, of(world).own, query, { way, ordered, mistaken });
          if (refused) assert.deepEqual(got, { refused: true }, `${way}: it is refused`);
          if (got.refused) assert.deepEqual(left, world.start, `${way}: what is refused has changed nothing`);
          assert(!shows(got), `${way}: another tenant's row is shown: ${JSON.stringify(got)}`);
          assert.deepEqual(left.others, world.start.others, `${way}: other tenants' rows stay as they are`);
          assert.deepEqual(leads({ left }, world), [], `${way}: no row leads to another tenant's that did not`);
          first ??= { got, own: left.own };
          assert.deepEqual({ got, own: left.own }, first, `${way}: the outcome tells of other tenants' rows, or is another than alone`);
        }
      }
    }
    const DEFAULTS = { of: (world) => world, ways: Object.keys(WAYS) };
    async function attack(query, more) {
      await without(query, { ...DEFAULTS, ...more });
      await within(query, { ...DEFAULTS, ...more });
    }

    for (const [what, query] of Object.entries(READS)) test(`${what}: rows of the tenant only are read`, () => attack(query));
    for (const [what, query] of Object.entries(ORDERS)) test(`${what}: it tells nothing of other tenants' rows`, () => attack(query, { ordered: true }));
    for (const [what, query] of Object.entries(WRITES)) test(`${what}: rows of the tenant only are changed`, () => attack(query));
    for (const [what, query] of Object.entries({ ...REFUSED, ...RAW })) test(`${what}: it is refused`, () => attack(query, { refused: true }));
    for (const [what, query] of name === "PostgreSQL" ? Object.entries(STRATEGIES) : []) test(`${what}, by joins and by queries: rows of the tenant only are read`, () => attack(query, { ways: ["alone", "interactive"] }));
    for (const [what, query] of Object.entries(ON_TOP)) test(`${what} on top: rows of the tenant only are read and changed`, () => attack(query, { ways: ["alone"] }));
    for (const what of LEAN_READS) test(`${what}, where the tenant is always omitted: rows of the tenant only are read`, () => attack(READS[what], { of: (world) => world.lean }));
    for (const what of LEAN_REFUSED) test(`${what}, where the tenant is always omitted: it is refused`, () => attack(REFUSED[what], { refused: true, of: (world) => world.lean }));
    for (const [what, query] of Object.entries(ODD)) test(`${what}: nothing of other tenants is read or changed`, () => within(query, { ...DEFAULTS, mistaken: true }));

    async function answers([query, answer, look, seen], { refusable = false } = {}) {
      const world = worlds.a;
      for (const way of Object.keys(WAYS)) {
        const { got, left } = await run(world, world.own, query, { way, ordered: true });
        assert.deepEqual(left.others, world.start.others);
        if (refusable && got.refused) continue;
        assert.deepEqual(got, { value: plain(answer, true) }, way);
        if (look) assert.deepEqual(plain(await look(world.own), true), plain(seen, true), way);
      }
    }
    for (const [what, line] of Object.entries(EVERYDAY)) test(`${what}: it answers as it should`, () => answers(line));
    for (const [what, line] of Object.entries(EITHER)) test(`${what}: it answers as it should, or is refused`, () => answers(line, { refusable: true }));

    const fresh = async () => {
      await worlds.a.fill();
      worlds.a.changed = true;
      return worlds.a;
    };
    const missing = (operation) => assert.rejects(operation, { code: "P2025" });

    test("another tenant's row is missing, as any row that is not there", async () => {
      const { own } = await fresh();
      for (const id of [3, 99]) {
        assert.equal(await own.task.findUnique({ where: { id } }), null);
        await missing(own.task.findUniqueOrThrow({ where: { id } }));
        await missing(own.task.findFirstOrThrow({ where: { id } }));
        await missing(own.task.update({ where: { id }, data: { title: "x" } }));
        await missing(own.task.delete({ where: { id } }));
      }
    });

    test("every tenant sees its own rows, also when operations come together", async () => {
      const { own, theirs } = await fresh();
      const ids = [1, 3, 2, 4, 6, 5];
      // Prisma makes one query of all `findUnique` that come together.
      const ask = (db, id) => db.task.findUnique({ where: { id }, select: { id: true } });
      const found = await Promise.all(ids.flatMap((id) => [ask(own, id), ask(theirs, id)]));
      assert.deepEqual(found.map((row) => row?.id ?? null), [1, null, null, 3, 2, null, null, 4, 6, null, null, 5]);
      const chains = await Promise.all([1, 3, 6].flatMap((id) => [own, theirs].map((db) => db.task.findUnique({ where: { id } }).tags({ select: { id: true } }))));
      assert.deepEqual(chains.map((rows) => rows?.map(({ id }) => id) ?? null), [[1], null, null, [], [], null]);
      assert.deepEqual((await theirs.task.findMany({ orderBy: { id: "asc" } })).map(({ id }) => id), [3, 4, 5]);
    });

    test("a row may be moved by its foreign key, but shows nothing of where it leads", async () => {
      const { own } = await fresh();
      // The database knows the number only. Reading the relation back is what is refused.
      await own.task.update({ where: { id: 1 }, data: { project_id: 3 } });
      await own.task.createMany({ data: [{ id: 20, title: "new", project_id: 3 }] });
      for (const id of [1, 20]) {
        await assert.rejects(own.task.findUnique({ where: { id }, include: { project: true } }), TenantScopeError);
        await assert.rejects(own.task.findUnique({ where: { id } }).project(), TenantScopeError);
        const told = await outcome(() => own.task.count({ where: { id, project: { name: "secret site" } } }));
        assert(told.refused || told.value === 0);
      }
      assert.equal(await own.project.findUnique({ where: { id: 3 } }), null);
    });

    test("the tenant's field is not assigned in an update, not even to the tenant", async () => {
      const { own } = await fresh();
      for (const tenant_id of ["t_acme", { set: "t_acme" }, null]) {
        await assert.rejects(async () => own.task.update({ where: { id: 1 }, data: { title: "x", tenant_id } }), TenantScopeError);
        await assert.rejects(async () => own.task.updateMany({ data: { title: "x", tenant_id } }), TenantScopeError);
        await assert.rejects(async () => own.task.upsert({ where: { id: 1 }, create: task(1), update: { tenant_id } }), TenantScopeError);
      }
      assert.deepEqual(await titles(own), kept());
    });

    test("a list of operations is done or undone as one", async () => {
      const { own } = await fresh();
      const change = (id, title) => own.task.update({ where: { id }, data: { title } });
      assert.deepEqual(await own.$transaction([change(1, "one"), own.task.count(), own.task.findUnique({ where: { id: 1 }, select: { title: true } })]), [{ id: 1, tenant_id: "t_acme", title: "one", hours: 2, project_id: 1 }, 3, { title: "one" }]);
      await missing(own.$transaction([change(1, "two"), change(3, "two")]));
      await assert.rejects(own.$transaction([change(1, "two"), own.task.updateMany({ data: { tenant_id: "t_other" } })]), TenantScopeError);
      await assert.rejects(own.$transaction([change(1, "two"), own.secret.count()]), TenantScopeError);
      assert.deepEqual(await titles(own), kept({ id: 1, title: "one" }));
    });

    test("a transaction is done or undone as one", async () => {
      const { own } = await fresh();
      const done = await own.$transaction(async (tx) => {
        await tx.task.update({ where: { id: 1 }, data: { title: "one" } });
        await tx.task.create({ data: { id: 20, title: "two" } });
        return titles(tx);
      });
      assert.deepEqual(done, kept({ id: 1, title: "one" }, { id: 20, title: "two" }));
      const undone = own.$transaction(async (tx) => {
        await tx.task.deleteMany();
        await tx.task.findMany();
        await tx.task.create({ data: { id: 21, tenant_id: "t_other", title: "x" } });
      });
      await assert.rejects(undone, TenantScopeError);
      assert.deepEqual(await titles(own), kept({ id: 1, title: "one" }, { id: 20, title: "two" }));
    });

    test("where the tenant is always omitted, answers are without it", async () => {
      await fresh();
      const { own } = worlds.a.lean;
      const row = { id: 6, title: "rest", hours: 3, project_id: 2 };
      assert.deepEqual(await own.task.findUnique({ where: { id: 6 } }), row);
      assert.deepEqual(await own.task.findMany({ where: { id: 6 }, include: { project: true } }), [{ ...row, project: { id: 2, name: "app", country_code: "BE", parent_id: 3 } }]);
      assert.deepEqual(await own.task.findUnique({ where: { id: 6 } }).project({ select: { name: true } }), { name: "app" });
      assert.deepEqual(await own.task.create({ data: { id: 20, title: "new" }, omit: { tenant_id: false } }), { id: 20, tenant_id: "t_acme", title: "new", hours: 1, project_id: null });
    });

    test("commands of other databases are refused", async () => {
      const { own } = await fresh();
      await assert.rejects(async () => own.$runCommandRaw({ find: "Task" }));
      await assert.rejects(async () => own.task.findRaw({}));
      await assert.rejects(async () => own.task.aggregateRaw({}));
    });

    test("the arguments of the application stay as they are", async () => {
      const { own } = await fresh();
      const read = { where: { hours: { gt: 1 } }, include: { comments: { where: { id: 1 } } } };
      const written = { where: { id: 20 }, create: { id: 20, title: "new" }, update: { title: "x" } };
      const before = structuredClone([read, written]);
      await own.task.findMany(read);
      await own.task.upsert(written);
      assert.deepEqual([read, written], before);
    });

    test("a row that leads to another tenant's comes back from its change without that one", async () => {
      const { own } = await fresh();
      const project = { select: { name: true } };
      const made = await own.task.create({ data: task(20, { project_id: 3 }), select: { id: true, project } });
      const moved = await own.task.update({ where: { id: 1 }, data: { project_id: 3 }, select: { id: true, project } });
      assert.deepEqual([made, moved], [{ id: 20, project: null }, { id: 1, project: null }]);
      // Read back, it is an error.
      await assert.rejects(own.task.findUnique({ where: { id: 20 }, select: { project } }), TenantScopeError);
    });

    test("extensions below and on top keep working", async () => {
      const { base } = await fresh();
      const loud = { result: { task: { loud: { needs: { title: true }, compute: ({ title }) => title.toUpperCase() } } } };
      const quiet = { query: { task: { findMany: ({ args, query }) => query({ ...args, orderBy: { title: "asc" } }) } } };
      const scoped = tenantExtension(SETTINGS);
      for (const db of [base.$extends(loud).$extends(quiet).$extends(scoped), base.$extends(scoped).$extends(loud).$extends(quiet)]) {
        assert.deepEqual((await db.task.findMany({ select: { loud: true } })).map((row) => row.loud), ["BUILD", "DRAW", "REST"]);
        assert.deepEqual(plain(await db.project.findUnique({ where: { id: 1 }, select: { tasks: { select: { loud: true } } } })), { tasks: [{ loud: "DRAW" }] });
      }
    });

    test("options that could keep nothing within are refused", () => {
      const wrong = [undefined, null, {}, { ...SETTINGS, tenant: "" }, { ...SETTINGS, tenant: undefined }, { ...SETTINGS, tenant: 7 }, { ...SETTINGS, tenant: ["t_acme"] }, { ...SETTINGS, models: undefined }, { ...SETTINGS, models: "Task" }, { ...SETTINGS, models: [7] }, { ...SETTINGS, models: [""] }, { ...SETTINGS, models: { 0: "Task" } }, { ...SETTINGS, shared: "Country" }, { ...SETTINGS, shared: [null] }, { ...SETTINGS, column: "" }, { ...SETTINGS, column: 7 }, { ...SETTINGS, share: [] }];
      for (const options of wrong) assert.throws(() => worlds.a.base.$extends(tenantExtension(options)), InputError, JSON.stringify(options));
    });
  });
}
