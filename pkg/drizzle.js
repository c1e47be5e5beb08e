// A Drizzle database that keeps every query within one tenant: what a query reads of a tenant's
// table is a subquery of the tenant's rows, and what it writes has the tenant's id. A query that
// cannot be kept within is refused.
//
// Every query of a database is built by its dialect, so that a dialect of its own is all it takes.
//
// INVARIANT (refused unless known): the dialect sends only what it has built itself. It replaces
// every source of rows, and checks every expression that the application has put in, as the text
// that the database will see.

import { aliasedTableColumn, Column, entityKind, getTableName, is, Param, Placeholder, SQL, sql, StringChunk, Subquery, Table, View } from "drizzle-orm";
import { InputError } from "./errors.js";
import { checkReviewed, FUNCTIONS, isOneExpression, refused, REVIEWED, scopeOptions } from "./scope.js";

const { Columns, IsAlias, Name, OriginalName, Schema } = Table.Symbol;

/** The databases whose dialects are known, by the kind of their class. */
const DATABASES = ["PgDatabase", "BaseSQLiteDatabase"];

export function tenantDb(db, options) {
  const settings = scopeOptions(options, "tables", "`tenantDb`");
  const kind = kindOf(db);
  if (kind === undefined) throw new InputError("`tenantDb` needs a Drizzle database of PostgreSQL or SQLite");
  const scope = scopeOf(db.dialect, settings, kind);
  const { dialect } = scope;
  const session = Object.create(db.session, { dialect: { value: dialect } });
  const { schema, fullSchema, tableNamesMap } = db._;
  const given = [dialect, session, schema && { schema, fullSchema, tableNamesMap }];
  const own = new db.constructor(...(kind === "PgDatabase" ? given : [db.resultKind, ...given]));
  return guard(own, scope);
}

/** The kind of a database whose dialect is known; undefined for any other value. */
function kindOf(db) {
  for (let type = db?.constructor; typeof type === "function"; type = Object.getPrototypeOf(type)) {
    if (Object.hasOwn(type, entityKind) && DATABASES.includes(type[entityKind])) return type[entityKind];
  }
  return undefined;
}

/** Replaces the methods of a database or a transaction that bypass its dialect. */
function guard(own, scope) {
  const transaction = own.transaction.bind(own);
  own.transaction = (work, config) => {
    // They become a part of the statement that begins it.
    if (Object.values(config ?? {}).some((value) => !/^[\w ]*$/.test(value))) throw refused("the settings of a transaction must be words");
    return transaction((tx) => work(guard(tx, scope)), config);
  };
  own.$count = (source, filters) => {
    const query = own.select({ count: sql`count(*)`.mapWith(Number) }).from(source).where(filters);
    const counted = () => query.then(([{ count }]) => count);
    // Part of a selection, or a promise.
    return Object.assign(sql`(${query.getSQL()})`.mapWith(Number), {
      then: (...next) => counted().then(...next), catch: (next) => counted().catch(next), finally: (next) => counted().finally(next),
    });
  };
  const { session } = own;
  const prepare = session.prepareQuery.bind(session);
  session.prepareQuery = (query, ...more) => {
    if (!scope.isSent(query)) throw refused("a query that another database has built cannot be kept within a tenant");
    // Without one, results are kept by the query and its parameters, the tenant's id among them.
    if (more.at(-1)?.tag !== undefined) throw refused("a cache with a `tag` would show one tenant's rows to another");
    return prepare(query, ...more);
  };
  if (typeof own.batch === "function") {
    const batch = own.batch.bind(own);
    own.batch = (queries) => {
      if (queries.some((query) => query.dialect !== scope.dialect)) throw refused("a query of another database cannot be part of a batch");
      return batch(queries);
    };
  }
  return Object.defineProperty(own, "$client", { get: () => { throw refused("the client itself sees rows of every tenant"); } });
}

/** The scope of a tenant, with the dialect that builds its queries. */
function scopeOf(dialect, settings, kind) {
  const scope = new Scope(settings, dialect, kind === "BaseSQLiteDatabase");
  const own = Object.create(dialect);
  const base = (name, ...args) => dialect[name].call(own, ...args);
  scope.dialect = Object.assign(own, {
    buildSelectQuery: (config) => scope.built(config, () => base("buildSelectQuery", scope.select(config))),
    buildInsertQuery: (config) => scope.built(config, () => base("buildInsertQuery", scope.insert(config))),
    buildUpdateQuery: (config) => scope.built(config, () => base("buildUpdateQuery", scope.update(config))),
    buildDeleteQuery: (config) => scope.built(config, () => base("buildDeleteQuery", scope.delete(config))),
    buildUpdateSet: (table, set) => base("buildUpdateSet", table, scope.set(table, set)),
    buildRelationalQuery: (config) => scope.relational(config, (checked) => base("buildRelationalQuery", checked)),
    buildRelationalQueryWithoutPK: (config) => scope.relational(config, (checked) => base("buildRelationalQueryWithoutPK", checked)),
    buildRefreshMaterializedViewQuery: () => { throw refused("a materialized view has rows of every tenant"); },
    sqlToQuery: (query, ...more) => {
      scope.isSendable(query);
      return scope.sent(base("sqlToQuery", query, ...more));
    },
  });
  return scope;
}

class Scope {
  #tenant;
  #tables;
  #shared;
  #functions;
  #column;
  #writesDefaults;
  /** The dialect that this scope belongs to. */
  dialect;
  /**
   * What this dialect has built, each with the common table expressions that it reads from outside.
   */
  #built = new WeakMap();
  /** What the database is sent. */
  #sent = new WeakSet();
  /** The expressions that the query reads which is being built. */
  #read = new Set();
  /** Whether Drizzle itself builds the parts of a relational query. */
  #isRelational = false;

  constructor({ tenant, tables, shared, functions, column }, { casing }, writesDefaults) {
    this.#tenant = tenant;
    this.#tables = new Set(tables);
    this.#shared = new Set(shared);
    this.#functions = new Set([...FUNCTIONS, ...functions]);
    this.#column = column;
    this.casing = casing;
    this.#writesDefaults = writesDefaults;
  }

  /** Builds a query, and remembers that it is ours. */
  built({ withList = [] }, build) {
    const before = this.#read;
    const read = (this.#read = new Set());
    try {
      const query = build();
      // An expression can be read after its definition. Before that, its name is that of a table.
      const names = new Set();
      const outside = new Set();
      for (const { _: { sql: inner, alias } } of withList) {
        if (this.#tables.has(alias) || this.#shared.has(alias)) throw refused(`the common table expression \`${alias}\` has the name of a table`);
        for (const name of this.#needs(inner)) if (!names.has(name)) outside.add(name);
        names.add(alias);
      }
      for (const name of read) if (!names.has(name)) outside.add(name);
      this.#built.set(query, outside);
      return query;
    } finally {
      this.#read = before;
    }
  }

  /** Refuses what this dialect has not built: other SQL must have been reviewed. */
  isSendable(query) {
    const outside = this.#built.get(query);
    if (outside === undefined) {
      if (!isReviewed(query) && !TRANSACTION.test(this.#text(query))) throw unreviewed();
    } else if (outside.size > 0) {
      throw refused(`the common table expression \`${[...outside][0]}\` is not part of the query`);
    }
  }

  sent(query) {
    this.#sent.add(query);
    return query;
  }

  isSent(query) {
    return this.#sent.has(query);
  }

  select(config) {
    const { fields, fieldsFlat, where, having, orderBy, groupBy, distinct, joins, limit, offset, lockingClause, setOperators = [] } = config;
    const sources = { table: this.#source(config.table), joins: this.#joins(joins) };
    if (this.#isRelational) return { ...config, ...sources };
    if (lockingClause && !LOCKS.has(lockingClause.strength)) throw unreviewed();
    for (const { rightSelect, ...more } of setOperators) {
      this.#query(rightSelect);
      this.#check(more.orderBy, more.limit, more.offset);
    }
    this.#check(limit, offset);
    return {
      ...config, ...sources,
      fieldsFlat: this.#fields(fieldsFlat ?? flat(fields)), where: this.#expression(where), having: this.#expression(having),
      orderBy: orderBy?.map((one) => this.#expression(one)), groupBy: groupBy?.map((one) => this.#expression(one)),
      distinct: distinct?.on ? { on: distinct.on.map((one) => this.#expression(one)) } : distinct,
    };
  }

  update(config) {
    const { table, from, joins, where, returning, limit, orderBy } = config;
    this.#check(limit, orderBy);
    const more = from === undefined ? {} : { from: this.#source(from) };
    const condition = this.#expression(where);
    return { ...config, ...more, joins: this.#joins(joins), where: this.#within(table, condition), returning: returning && this.#fields(returning) };
  }

  delete(config) {
    const { table, where, returning, limit, orderBy } = config;
    this.#check(limit, orderBy);
    return { ...config, where: this.#within(table, this.#expression(where)), returning: returning && this.#fields(returning) };
  }

  insert(config) {
    const { table, values, select, onConflict, returning } = config;
    if (select) throw refused("an insert from a query cannot be kept within a tenant");
    const own = { ...config, returning: returning && this.#fields(returning) };
    const place = this.#isTarget(table) ? this.#property(table) : undefined;
    own.values = values.map((row) => this.#row(table, row, place));
    if (Array.isArray(onConflict)) own.onConflict = onConflict.map((one) => this.#conflict(table, one));
    else if (onConflict) own.onConflict = this.#conflict(table, onConflict);
    return own;
  }

  /** The assignments of an update or an upsert. */
  set(table, given) {
    const set = { ...given };
    for (const [property, column] of Object.entries(table[Columns])) {
      if (set[property] === undefined && column.onUpdateFn !== undefined) set[property] = parameter(column.onUpdateFn(), column);
      if (set[property] === undefined) continue;
      if (this.#isScoped(table) && this.#isTenant(column)) throw refused(`\`${this.#column}\` of a row does not change`);
      this.#check(set[property]);
    }
    return set;
  }

  /**
   * A relational query: Drizzle builds it of selects. What the application has put in is checked
   * before.
   */
  relational(config, build) {
    const before = this.#isRelational;
    const queryConfig = before ? config.queryConfig : this.#relationalConfig(config.queryConfig);
    this.#isRelational = true;
    try {
      return build({ ...config, queryConfig });
    } finally {
      this.#isRelational = before;
    }
  }

  #relationalConfig(config) {
    if (typeof config !== "object" || config === null) return config;
    const checked = (value) => {
      this.#check(...(is(value, SQL) || is(value, Column) || is(value, SQL.Aliased) || typeof value !== "object" ? [value] : Object.values(value ?? {})));
      return value;
    };
    const own = { ...config };
    for (const name of ["where", "orderBy", "extras"]) {
      const given = config[name];
      if (given !== undefined) own[name] = typeof given === "function" ? (...args) => checked(given(...args)) : checked(given);
    }
    this.#check(config.limit, config.offset);
    if (config.with) own.with = Object.fromEntries(Object.entries(config.with).map(([name, one]) => [name, this.#relationalConfig(one)]));
    return own;
  }

  /** What rows are read from: a tenant's table becomes the subquery of the tenant's rows. */
  #source(source) {
    if (is(source, Table)) {
      if (!this.#isScoped(source)) return source;
      const name = fullName(source);
      const rows = sql`select * from ${name} where ${name}.${sql.identifier(this.#column)} = ${this.#tenant}`;
      return new Subquery(rows, source[Columns], getTableName(source));
    }
    if (is(source, Subquery)) {
      this.#subquery(source);
      return source;
    }
    if (is(source, View) && this.#shared.has(viewName(source))) return source;
    if (is(source, SQL) && isReviewed(source)) {
      checkReviewed(textOf(source));
      return source;
    }
    throw refused("a source of rows must be a table or a query of the same database; a view must be in `shared`");
  }

  #joins(joins) {
    return joins?.map((join) => ({ ...join, table: this.#source(join.table), on: this.#isRelational ? join.on : this.#expression(join.on) }));
  }

  #subquery({ _: { sql: inner, alias, isWith } }) {
    const outside = this.#needs(inner);
    if (isWith) this.#read.add(alias);
    else for (const name of outside) this.#read.add(name);
  }

  /** The expressions that a query of this dialect reads from outside. */
  #needs(query) {
    const needs = this.#built.get(query);
    if (needs !== undefined) return needs;
    if (is(query, SQL) && isReviewed(query)) {
      checkReviewed(textOf(query).replaceAll(",", " "));
      return [];
    }
    throw refused("a query of another database cannot be part of a query");
  }

  /** A builder within a query. */
  #query(builder) {
    if (builder?.dialect !== this.dialect) throw refused("a query of another database cannot be part of a query");
    for (const name of this.#needs(builder.getSQL())) this.#read.add(name);
  }

  /** Whether a table has rows of tenants. Refuses a table that nobody has classified. */
  #isScoped(table) {
    const name = table[Schema] === undefined ? table[OriginalName] : `${table[Schema]}.${table[OriginalName]}`;
    if (this.#tables.has(name)) return true;
    if (this.#shared.has(name)) return false;
    throw refused(`the table \`${name}\` is neither in \`tables\` nor in \`shared\``);
  }

  /** Names of columns are the same in any case for some databases. */
  #isTenant(column) {
    return this.casing.getColumnCasing(column).toLowerCase() === this.#column.toLowerCase();
  }

  #isOwn(table) {
    return sql`${table}.${sql.identifier(this.#column)} = ${this.#tenant}`;
  }

  #within(table, where) {
    if (!this.#isTarget(table)) return where;
    return where ? sql`${this.#isOwn(table)} and (${where})` : this.#isOwn(table);
  }

  /** Whether the table that a query changes has rows of tenants. */
  #isTarget(table) {
    // Some queries would change the table that has the name of the alias.
    if (table[IsAlias]) throw refused(`the table \`${table[OriginalName]}\` is changed under its own name only`);
    return this.#isScoped(table);
  }

  /** The property of a table's rows that has the tenant's id. */
  #property(table) {
    const found = Object.entries(table[Columns]).find(([, column]) => this.#isTenant(column) && !column.shouldDisableInsert());
    if (found === undefined) throw refused(`the table \`${getTableName(table)}\` has no column \`${this.#column}\` in its definition, so no row of a tenant can be inserted`);
    return found[0];
  }

  #row(table, given, place) {
    const row = { ...given };
    for (const [property, column] of Object.entries(table[Columns])) {
      if (property === place) {
        const value = is(row[property], Param) ? row[property].value : row[property];
        if (value !== undefined && value !== this.#tenant) throw refused(`a row of another tenant cannot be inserted: \`${this.#column}\` is set by \`tenantDb\``);
        // Without the encoder of the column, which could write something else.
        row[property] = new Param(this.#tenant);
        continue;
      }
      const isMissing = row[property] === undefined || (is(row[property], Param) && row[property].value === undefined);
      const make = isMissing ? (column.defaultFn ?? (column.default === undefined ? column.onUpdateFn : undefined)) : undefined;
      if (make !== undefined) row[property] = parameter(make(), column);
      // SQLite's dialect writes the default of the definition; PostgreSQL's leaves it to the
      // database.
      this.#check(isMissing && make === undefined && this.#writesDefaults ? column.default : row[property]);
    }
    return row;
  }

  /** An upsert changes the tenant's row only. */
  #conflict(table, given) {
    // Drizzle has made a list of the assignments, each of which `set` has checked.
    if (!isOneExpression(this.#checkedText(given).replaceAll(",", " "))) throw refused("this upsert cannot be kept within a tenant");
    const chunks = [...given.queryChunks];
    const at = chunks.findIndex((chunk) => is(chunk, StringChunk) && chunk.value.join("") === " do update set ");
    if (at < 0) {
      if (!chunks.some((chunk) => is(chunk, StringChunk) && /\bdo nothing$/.test(chunk.value.join("")))) throw refused("this upsert cannot be kept within a tenant");
      return given;
    }
    if (!this.#isScoped(table)) return given;
    // After the assignments: at most one condition, as ` where ${condition}`.
    const rest = chunks.splice(at + 2).filter((chunk) => chunk !== undefined && !(is(chunk, StringChunk) && chunk.value.join("") === ""));
    const [where] = rest;
    const [word, condition, ...more] = where?.queryChunks ?? [];
    const isKnown = rest.length === 0 || (rest.length === 1 && is(word, StringChunk) && word.value.join("") === " where " && more.every((chunk) => chunk.value?.join("") === ""));
    if (!isKnown) throw refused("this upsert cannot be kept within a tenant");
    this.#check(condition);
    return sql`${new SQL(chunks)} where ${this.#within(table, condition)}`;
  }

  #fields(list) {
    return list.map((one) => ({ ...one, field: is(one.field, Subquery) ? this.#inner(one.field) : this.#expression(one.field) }));
  }

  #inner(subquery) {
    this.#subquery(subquery);
    return subquery;
  }

  #check(...values) {
    for (const value of values) this.#expression(value);
  }

  /** Checks an expression of the application by the text that the database will see. */
  #expression(value) {
    if (value === undefined || value === null) return value;
    if (!isOneExpression(this.#checkedText(value))) throw refused("an expression must be one: what stands beside it keeps the query within the tenant");
    return withoutSchemas(value);
  }

  /** The text of an expression, without literals, of which every word and function is known. */
  #checkedText(value) {
    const plain = this.#text(is(value, SQL.Aliased) ? value.sql : value).replace(LITERALS, OPERAND);
    if (/["'`$\\;{}]|--|\/\*/.test(plain)) throw unreviewed();
    for (const [, schema, word, called] of plain.matchAll(/(\.\s*)?([\p{L}_][\p{L}\p{N}_]*|\u0001)\s*(\()?/gu)) {
      const name = word.toLowerCase();
      // A name that is no word of the text cannot be called, nor a function of some schema.
      if (called && (schema || word === OPERAND)) throw unreviewed();
      if (word !== OPERAND && !(called && this.#functions.has(name)) && !WORDS.has(name)) throw unknown(word, called);
    }
    return plain;
  }

  /** The text of an expression, with `OPERAND` for what cannot be part of a word. */
  #text(chunk) {
    if (chunk === undefined) return "";
    if (is(chunk, StringChunk)) return chunk.value.join("");
    if (Array.isArray(chunk)) return `(${chunk.map((one) => this.#text(one)).join(", ")})`;
    if (is(chunk, SQL)) {
      if (this.#built.has(chunk)) {
        for (const name of this.#needs(chunk)) this.#read.add(name);
        return OPERAND;
      }
      if (!isReviewed(chunk)) return chunk.queryChunks.map((one) => this.#text(one)).join("");
      checkReviewed(textOf(chunk));
      return OPERAND;
    }
    if (is(chunk, Column) || is(chunk, Placeholder)) return OPERAND;
    if (is(chunk, SQL.Aliased)) return chunk.isSelectionField || chunk.fieldAlias !== undefined ? (this.#check(chunk.sql), OPERAND) : this.#text(chunk.sql);
    if (is(chunk, Param)) {
      const mapped = chunk.value === null || is(chunk.value, Placeholder) ? undefined : chunk.encoder.mapToDriverValue(chunk.value);
      return is(mapped, SQL) ? this.#text(mapped) : OPERAND;
    }
    if (is(chunk, Subquery)) {
      this.#subquery(chunk);
      return `() ${OPERAND}`;
    }
    if (is(chunk, Table) || is(chunk, View)) throw refused("a table stands where it cannot be kept within a tenant");
    if (typeof chunk === "object" && chunk !== null && typeof chunk.getSQL === "function" && !isName(chunk)) {
      this.#query(chunk);
      return "()";
    }
    return OPERAND;
  }
}

const OPERAND = "\u0001";
/** Literals and quoted names without escapes, and columns of the row that an upsert proposes. */
const LITERALS = /'[^'\\]*'|"[^"\\]*"|\bexcluded\s*\.\s*("[^"\\]*"|[a-z_][a-z0-9_]*)/gi;
/** Words of SQL that read nothing, with those of an upsert. */
const WORDS = new Set([
  ..."and or not in is null true false like ilike similar between symmetric asc desc nulls first last case when then else end as distinct all any some".split(" "),
  ..."exists over partition by order filter where within group rows range groups unbounded preceding following current row exclude ties no others".split(" "),
  ..."cast collate escape glob regexp match isnull notnull at time zone interval array default".split(" "),
  ..."current_timestamp current_date current_time localtime localtimestamp text varchar char integer int bigint smallint numeric decimal real double".split(" "),
  ..."precision float boolean date timestamp timestamptz uuid json jsonb bytea blob nocase rtrim on conflict do nothing update set".split(" "),
]);
const LOCKS = new Set(["update", "no key update", "share", "key share"]);
/** What sessions send around a transaction. */
const TRANSACTION = /^(begin|commit|rollback|savepoint|release savepoint|rollback to savepoint|set transaction)\b[\w\s]*$/;

const unreviewed = () => refused(`raw SQL cannot be kept within a tenant: begin it with \`${REVIEWED}\` once somebody has checked that it is`);
const unknown = (word, called) => (called
  ? refused(`the function \`${word}\` is unknown: if it reads nothing but its arguments, name it in \`functions\``)
  : refused(`the word \`${word}\` stands in raw SQL, which cannot be kept within a tenant: begin it with \`${REVIEWED}\` once somebody has checked that it is`));

function isReviewed({ queryChunks: [first] = [] }) {
  return is(first, StringChunk) && first.value.join("").trimStart().startsWith(REVIEWED);
}

/** The text of reviewed SQL, with that of its parts. */
const textOf = (chunk) => (is(chunk, StringChunk) ? chunk.value.join("") : is(chunk, SQL) ? chunk.queryChunks.map(textOf).join("") : "");

/** Whether a chunk is `sql.identifier`, whose class Drizzle does not export by itself. */
const isName = (chunk) => chunk.constructor[entityKind] === "Name";

/** A table as the database knows it: with its schema, and without its alias. */
function fullName(table) {
  const name = sql.identifier(table[OriginalName]);
  return table[Schema] === undefined ? sql`${name}` : sql`${sql.identifier(table[Schema])}.${name}`;
}

/**
 * A view as the database knows it. Without its own name a query would read what has that of the
 * alias.
 */
function viewName(view) {
  const { originalName, schema, isAlias } = view[Symbol.for("drizzle:ViewBaseConfig")];
  if (isAlias) throw refused(`the view \`${originalName}\` is read under its own name only`);
  return schema === undefined ? originalName : `${schema}.${originalName}`;
}

/** What `defaultFn` and `onUpdateFn` return, as a value of a column. */
const parameter = (value, column) => (is(value, SQL) ? value : new Param(value, column));

/** The selection of a query, as a list. */
function flat(fields, path = []) {
  return Object.entries(fields).flatMap(([name, field]) => {
    const at = [...path, name];
    if (is(field, Column) || is(field, SQL) || is(field, SQL.Aliased) || is(field, Subquery)) return [{ path: at, field }];
    return flat(is(field, Table) ? field[Columns] : field, at);
  });
}

/**
 * The same expression with columns by the name of their table alone: a subquery in the place of a
 * table has no schema.
 */
function withoutSchemas(value) {
  if (is(value, Column)) return value.table[Schema] === undefined || value.table[IsAlias] ? value : aliasedTableColumn(value, value.table[Name]);
  if (is(value, SQL.Aliased)) return value.isSelectionField ? value : Object.assign(value.clone(), { sql: withoutSchemas(value.sql) });
  if (!is(value, SQL) || !value.queryChunks.some(hasSchema)) return value;
  return Object.assign(Object.create(Object.getPrototypeOf(value)), value, { queryChunks: value.queryChunks.map(withoutSchemas) });
}

const hasSchema = (chunk) => (is(chunk, Column) ? chunk.table[Schema] !== undefined : is(chunk, SQL) && chunk.queryChunks.some(hasSchema));
