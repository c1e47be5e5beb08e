// A database of Drizzle that keeps every query within one tenant. What a query reads of a tenant's
// table is a subquery of the tenant's rows under the table's name; what it writes has the tenant's
// id. Anything that cannot be kept within is refused.

import { and, eq, getTableColumns, getTableName, is, SQL, Table } from "drizzle-orm";
import { InputError, TenantScopeError } from "./errors.js";
import { options as known, textual } from "./input.js";

/** The beginning of raw SQL that somebody has reviewed. */
const REVIEWED = "/* reviewed */";
/** Words by which raw SQL could reach rows of its own. */
const STATEMENT = /\b(select|with|table|values|insert|update|delete|merge|call|execute)\b/i;
const JOINS = ["leftJoin", "rightJoin", "innerJoin", "fullJoin", "crossJoin", "leftJoinLateral", "innerJoinLateral", "crossJoinLateral"];

export function tenantDb(db, options) {
  const { tenant, tables, shared = [], column = "tenant_id" } = known(options, ["tenant", "tables", "shared", "column"], "`tenantDb`");
  if (textual(tenant, "`tenant`") === "") throw new InputError("`tenant` must be the tenant's id");
  for (const [name, list] of [["tables", tables], ["shared", shared]]) {
    if (!Array.isArray(list) || list.some((one) => !is(one, Table))) throw new InputError(`\`${name}\` must be a list of tables of Drizzle`);
  }
  const keys = new Map(tables.map((table) => {
    const found = Object.entries(getTableColumns(table)).find(([, { name }]) => name === column);
    if (found === undefined) throw new InputError(`the table \`${getTableName(table)}\` has no column \`${column}\``);
    return [table, found[0]];
  }));
  return new Scope(tenant, keys, new Set(shared), column).database(db);
}

const refused = (sentence) => new TenantScopeError(sentence);

/** An object that shows only what is known to keep within, and refuses everything else. */
function guarded(target, members, passes = () => false) {
  return new Proxy(target, {
    get(_, name) {
      if (Object.hasOwn(members, name)) return members[name];
      if (typeof name === "symbol" || passes(name)) {
        const value = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      }
      throw refused(`\`${String(name)}\` cannot be kept within a tenant`);
    },
  });
}

class Scope {
  constructor(tenant, keys, shared, column) {
    Object.assign(this, { tenant, keys, shared, column });
  }

  database(db, base = db) {
    return guarded(db, {
      select: (fields) => this.#from(base, db.select(this.#checked(fields))),
      selectDistinct: (fields) => this.#from(base, db.selectDistinct(this.#checked(fields))),
      insert: (table) => this.#insert(db.insert(this.#known(table)), table),
      update: (table) => this.#update(base, db.update(this.#known(table)), table),
      delete: (table) => this.#where(db.delete(this.#known(table)), table),
      transaction: (work, ...rest) => db.transaction((tx) => work(this.database(tx)), ...rest),
      $with: (name) => ({
        as: (query) => {
          if (typeof query === "function") throw refused("an expression must be a query of this database, not a function");
          return db.$with(name).as(query);
        },
      }),
      with: (...expressions) => this.database(db.with(...expressions), base),
      execute: (query) => db.execute(this.#reviewed(query)),
      run: (query) => db.run(this.#reviewed(query)),
      all: (query) => db.all(this.#reviewed(query)),
      get: (query) => db.get(this.#reviewed(query)),
      values: (query) => db.values(this.#reviewed(query)),
    });
  }

  /** Refuses a table that nobody has classified. */
  #known(table) {
    if (!is(table, Table)) throw refused("only tables can be changed");
    if (!this.keys.has(table) && !this.shared.has(table)) throw refused(`the table \`${getTableName(table)}\` is neither in \`tables\` nor in \`shared\``);
    return table;
  }

  #isOwn(table) {
    return eq(table[this.keys.get(table)], this.tenant);
  }

  /** What rows are read from: a tenant's table becomes the subquery of the tenant's rows. */
  #source(db, source) {
    if (is(source, SQL)) throw refused("raw SQL cannot be a source of rows");
    if (!is(source, Table)) return source;
    if (!this.keys.has(this.#known(source))) return source;
    return db.select().from(source).where(this.#isOwn(source)).as(getTableName(source));
  }

  /** Refuses fragments of raw SQL that could read rows of their own. */
  #checked(value) {
    if (is(value, SQL)) {
      const texts = value.queryChunks.flatMap((chunk) => (Array.isArray(chunk?.value) ? chunk.value : typeof chunk === "string" ? [chunk] : []));
      if (!texts.join("").trimStart().startsWith(REVIEWED) && texts.some((text) => STATEMENT.test(text))) {
        throw refused(`raw SQL with a statement cannot be kept within a tenant: begin it with \`${REVIEWED}\` once somebody has checked that it is`);
      }
      for (const chunk of value.queryChunks) this.#checked(chunk);
    } else if (is(value, SQL.Aliased)) {
      this.#checked(value.sql);
    } else if (Array.isArray(value) || (typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype)) {
      for (const part of Object.values(value)) this.#checked(part);
    }
    return value;
  }

  #reviewed(query) {
    const text = typeof query === "string" ? query : is(query, SQL) ? (query.queryChunks[0]?.value ?? []).join("") : "";
    if (!text.trimStart().startsWith(REVIEWED)) throw refused(`raw SQL cannot be kept within a tenant: begin it with \`${REVIEWED}\` once somebody has checked that it is`);
    return query;
  }

  #from(db, builder) {
    return guarded(builder, { from: (source) => this.#query(db, builder.from(this.#source(db, source))) });
  }

  /**
   * A select: sources are kept within, conditions are checked, everything else is Drizzle's own.
   */
  #query(db, query) {
    const members = Object.fromEntries(JOINS.filter((name) => typeof query[name] === "function").map((name) => [name, (source, on) => {
      query[name](this.#source(db, source), this.#checked(on));
      return scoped;
    }]));
    for (const name of ["where", "having", "groupBy", "orderBy"]) {
      members[name] = (...given) => {
        query[name](...given.map((one) => (typeof one === "function" ? (fields) => this.#checked(one(fields)) : this.#checked(one))));
        return scoped;
      };
    }
    for (const name of ["limit", "offset", "for", "$dynamic"]) {
      if (typeof query[name] === "function") members[name] = (...given) => { query[name](...given); return scoped; };
    }
    const scoped = guarded(query, members, () => true);
    return scoped;
  }

  #insert(builder, table) {
    if (!this.keys.has(table)) return builder;
    const key = this.keys.get(table);
    const keepsTenant = (set) => this.#keepsTenant(set, key);
    return guarded(builder, {
      values: (given) => {
        const rows = [given].flat().map((row) => {
          if (row[key] !== undefined && row[key] !== this.tenant) throw refused(`a row of another tenant cannot be inserted: \`${this.column}\` is set by \`tenantDb\``);
          return this.#checked({ ...row, [key]: this.tenant });
        });
        const query = builder.values(Array.isArray(given) ? rows : rows[0]);
        const scoped = guarded(query, {
          onConflictDoUpdate: ({ set, where, setWhere, targetWhere, target }) => {
            const condition = and(this.#isOwn(table), this.#checked(setWhere ?? where));
            query.onConflictDoUpdate({ target, ...(targetWhere && { targetWhere }), set: keepsTenant(set), setWhere: condition });
            return scoped;
          },
          onConflictDoNothing: (...given) => { query.onConflictDoNothing(...given); return scoped; },
          onDuplicateKeyUpdate: () => { throw refused("`on duplicate key update` could change another tenant's row: update and insert instead"); },
        }, () => true);
        return scoped;
      },
    });
  }

  #keepsTenant(set, key) {
    if (Object.hasOwn(set, key)) throw refused(`\`${this.column}\` of a row does not change`);
    return this.#checked(set);
  }

  #update(db, builder, table) {
    return guarded(builder, {
      set: (set) => {
        const query = builder.set(this.keys.has(table) ? this.#keepsTenant(set, this.keys.get(table)) : this.#checked(set));
        return this.#where(query, table, typeof query.from === "function" ? (source) => query.from(this.#source(db, source)) : undefined);
      },
    });
  }

  /** An update or a delete: its condition includes the tenant from the beginning. */
  #where(query, table, from) {
    const own = this.keys.has(table) ? this.#isOwn(table) : undefined;
    if (own) query.where(own);
    const members = {
      where: (condition) => {
        query.where(and(own, this.#checked(condition)));
        return scoped;
      },
      from: (source) => {
        if (from === undefined) throw refused("`from` cannot be kept within a tenant here");
        from(source);
        return scoped;
      },
    };
    for (const name of JOINS) members[name] = () => { throw refused(`\`${name}\` of a change cannot be kept within a tenant: use a subquery`); };
    const scoped = guarded(query, members, () => true);
    return scoped;
  }
}
