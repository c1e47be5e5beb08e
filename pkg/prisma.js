// An extension of Prisma's client that keeps every operation within one tenant: it writes the
// arguments anew, with the tenant's id in every filter, row and relation, and checks the rows that
// relations to one record lead to. An operation that cannot be kept within is refused.
//
// INVARIANT (refused unless known): nothing of the given arguments reaches Prisma but what this
// file has copied under a name that it knows.

import { ConfigurationError, InputError } from "./errors.js";
import { refused, REVIEWED, scopeOptions } from "./scope.js";

export function tenantExtension(options) {
  const settings = scopeOptions(options, "models", "`tenantExtension`");
  return (client) => within(client, new Scope(settings, schemaOf(client), client._globalOmit));
}

/**
 * Extends a client. Extensions that follow are put before this one: the last one has the last word
 * on the arguments.
 */
function within(client, scope) {
  return client.$extends({
    name: "tenantgate",
    client: { $extends: (extension) => within(client.$extends(extension), scope) },
    query: {
      async $allOperations({ model, operation, args, query, __internalParams }) {
        if (model === undefined) return query(scope.raw(operation, args));
        const { own, checks } = scope.operation(model, operation, args);
        const result = await query(own);
        // A call such as `task.findUnique(…).project()` returns what its path leads to.
        const path = (__internalParams?.dataPath ?? []).filter((_, place) => place % 2 === 1);
        return scope.checked(result, path.reduce((at, name) => at?.inner.get(name), checks));
      },
    },
  });
}

/** The schemas of clients, by their data model: an extension is made for each request. */
const schemas = new WeakMap();

function schemaOf(client) {
  const model = client._runtimeDataModel;
  if (schemas.has(model)) return schemas.get(model);
  const schema = relationsOf(client);
  schemas.set(model, schema);
  return schema;
}

/**
 * The relations of each model, from the schema that the client carries: nothing else in it says
 * which of them are lists. `back`: the same relation from its other side.
 */
function relationsOf({ _runtimeDataModel: known, _engineConfig: engine }) {
  const models = Object.entries(known?.models ?? {});
  const schema = engine?.inlineSchema;
  if (models.length === 0 || typeof schema !== "string") throw new ConfigurationError("this version of Prisma's client carries no schema: `tenantgate/prisma` cannot work with it");
  const found = new Map(models.map(([model, { fields }]) => {
    const block = new RegExp(`^\\s*model\\s+${model}\\s*\\{([^]*?)^\\s*\\}`, "m").exec(schema)?.[1] ?? "";
    const relations = fields.filter(({ kind }) => kind === "object").map(({ name, type, relationName }) => {
      const line = new RegExp(`^\\s*${name}\\s+${type}(\\[\\]|\\?)?.*$`, "m").exec(block);
      if (line === null) throw new ConfigurationError(`the relation \`${model}.${name}\` is unknown in the client's schema: \`tenantgate/prisma\` cannot work with it`);
      const keys = /fields:\s*\[([^\]]*)\]/.exec(line[0])?.[1].split(",").map((key) => key.trim()) ?? [];
      return [name, { model: type, isList: line[1] === "[]", isOptional: line[1] === "?", keys, name: relationName }];
    });
    return [model, { relations: new Map(relations), fields: new Set(fields.map(({ name }) => name)) }];
  }));
  for (const [model, { relations }] of found) {
    for (const [field, relation] of relations) {
      relation.back = [...found.get(relation.model).relations].find(([name, one]) => one.name === relation.name && one.model === model && (relation.model !== model || name !== field))?.[1];
    }
  }
  return found;
}

/** What rows have to be checked in a result, by relation. */
class Checks {
  inner = new Map();
  /** Whether a row must be the tenant's. */
  isOwn = false;
  /** Whether the caller has not asked for the tenant's id. */
  isHidden = false;
  /** Whether the operation has changed something by the time its result can be checked. */
  isLate;

  constructor(isLate) {
    this.isLate = isLate;
  }
}

class Scope {
  #tenant;
  #column;
  #models;
  #shared;
  #schema;
  #omitted;

  constructor({ tenant, models, shared, column }, schema, omitted = {}) {
    for (const name of [...models, ...shared]) if (!schema.has(name)) throw new InputError(`unknown model \`${name}\``);
    for (const name of models) if (!schema.get(name).fields.has(column)) throw new InputError(`the model \`${name}\` has no field \`${column}\``);
    this.#tenant = tenant;
    this.#column = column;
    this.#models = new Set(models);
    this.#shared = new Set(shared);
    this.#schema = schema;
    this.#omitted = omitted;
  }

  /** Raw SQL must have been reviewed, whichever of its forms the database runs. */
  raw(operation, args) {
    const texts = Array.isArray(args) ? [args[0]] : [args?.sql, args?.text, args?.statement, args?.strings?.[0]].filter((text) => text !== undefined);
    const isReviewed = texts.length > 0 && texts.every((text) => typeof text === "string" && text.trimStart().startsWith(REVIEWED));
    if (!isReviewed) throw refused(`\`${operation}\` cannot be kept within a tenant: begin the SQL with \`${REVIEWED}\` once somebody has checked that it is`);
    return args;
  }

  /** The arguments of an operation within the tenant, and the checks of its result. */
  operation(model, operation, args) {
    this.#isScoped(model);
    const known = OPERATIONS[operation];
    if (known === undefined) throw refused(`\`${operation}\` cannot be kept within a tenant`);
    const checks = new Checks(!operation.startsWith("find"));
    const own = mapped(args ?? {}, (name, value) => this.#copied(known, name, model, value, checks));
    if (!UNIQUE.has(operation) && known.where) own.where ??= this._filter(model, {});
    return { own, checks };
  }

  /**
   * Throws if a relation led to another tenant's row. Removes what the caller has not asked for.
   */
  checked(result, checks) {
    if (checks === undefined || result === null || typeof result !== "object") return result;
    for (const row of Array.isArray(result) ? result : [result]) {
      if (row === null || typeof row !== "object") continue;
      if (checks.isOwn && row[this.#column] !== this.#tenant) throw refused("a relation leads to a row of another tenant");
      if (checks.isHidden) delete row[this.#column];
      for (const [name, inner] of checks.inner) this.checked(row[name], inner);
    }
    return result;
  }

  /** Whether a model has rows of tenants. Refuses a model that nobody has classified. */
  #isScoped(model) {
    if (this.#models.has(model)) return true;
    if (this.#shared.has(model)) return false;
    throw refused(`the model \`${model}\` is neither in \`models\` nor in \`shared\``);
  }

  /** An argument, copied by the method that `known` has for its name. */
  #copied(known, name, model, value, checks) {
    if (!Object.hasOwn(known, name)) throw refused(`the argument \`${name}\` is unknown`);
    return this[`_${known[name]}`](model, value, checks);
  }

  #relation(model, name) {
    return this.#schema.get(model).relations.get(name);
  }

  get #isOwn() {
    return { [this.#column]: this.#tenant };
  }

  /** A filter within the tenant, if the model has rows of tenants. */
  _filter(model, where) {
    const { AND = [], ...own } = this.#conditions(model, where);
    return this.#isScoped(model) ? { ...own, AND: [this.#isOwn, AND].flat() } : { ...own, AND };
  }

  /** A record of the tenant, from which a page begins. */
  _cursor(model, cursor) {
    const own = this.#conditions(model, cursor);
    return this.#isScoped(model) ? { ...own, ...this.#isOwn } : own;
  }

  /** What the application has asked for, with the relations in it kept within the tenant. */
  #conditions(model, where) {
    return mapped(where, (name, value) => {
      if (name === "AND" || name === "OR" || name === "NOT") return each(value, (one) => this.#conditions(model, one));
      const relation = this.#relation(model, name);
      if (relation === undefined) return plain(value);
      if (value === null) return null;
      const { model: other, isList } = relation;
      const given = members(value);
      // The short form of `is`.
      const long = isList || "is" in given || "isNot" in given ? given : { is: given };
      return mapped(long, (quantifier, inner) => {
        if (!(isList ? OF_MANY : OF_ONE).includes(quantifier)) throw refused(`the condition \`${quantifier}\` of a relation is unknown`);
        if (inner === null) return null;
        // Another tenant's rows satisfy every condition: they do not count.
        if (quantifier === "every" && this.#isScoped(other)) return { OR: [{ NOT: this.#isOwn }, this.#conditions(other, inner)] };
        return this._filter(other, inner);
      });
    });
  }

  _order(model, order) {
    return each(order, (one) => mapped(one, (name, value) => {
      const relation = this.#relation(model, name);
      if (relation === undefined) return plain(value);
      if (!this.#isScoped(relation.model) && !relation.isList) return this._order(relation.model, value);
      throw refused(`an order by the relation \`${name}\` would tell of other tenants' rows`);
    }));
  }

  _plain(model, value) {
    return plain(value);
  }

  _omit(model, omit, checks) {
    const own = mapped(omit, (_, value) => plain(value));
    if (!checks.isOwn) return own;
    checks.isHidden ||= own[this.#column] === true;
    return { ...own, [this.#column]: false };
  }

  _select(model, select, checks) {
    const own = this._include(model, select, checks);
    if (!checks.isOwn || own[this.#column] === true) return own;
    checks.isHidden = own.$scalars !== true;
    return { ...own, [this.#column]: true };
  }

  _include(model, include, checks) {
    return mapped(include, (name, value) => {
      if (name === "_count") return this.#counted(model, value);
      const relation = this.#relation(model, name);
      if (relation === undefined || value === false) return plain(value);
      const inner = new Checks(checks.isLate);
      checks.inner.set(name, inner);
      return this.#nested(relation, value === true ? {} : value, inner);
    });
  }

  /**
   * A relation in a selection: the tenant's rows of a list, or a row that is checked afterwards.
   */
  #nested({ model, isList, isOptional }, args, checks) {
    const scoped = this.#isScoped(model);
    if (scoped && !isList && args.where !== undefined) throw refused("a condition on a relation to one record would tell of another tenant's row");
    // A change is not reported as an error: where the relation may be empty, it is.
    const isFiltered = scoped && (isList || (isOptional && checks.isLate));
    checks.isOwn = scoped && !isFiltered;
    const own = mapped(args, (name, value) => this.#copied(FIND, name, model, value, checks));
    if (isFiltered) own.where ??= this._filter(model, {});
    if (checks.isOwn && own.select === undefined) {
      own.omit ??= { [this.#column]: false };
      checks.isHidden ||= this.#omitted[model[0].toLowerCase() + model.slice(1)]?.[this.#column] === true && args.omit?.[this.#column] !== false;
    }
    return own;
  }

  /** Counts of relations, of the tenant's rows. */
  #counted(model, value) {
    if (value === false) return false;
    const lists = [...this.#schema.get(model).relations].filter(([, { isList }]) => isList);
    const { select, ...more } = value === true ? { select: Object.fromEntries(lists.map(([name]) => [name, true])) } : members(value);
    if (Object.keys(more).length > 0) throw refused("a count of relations has `select` alone");
    return {
      select: mapped(select, (name, one) => {
        const relation = this.#relation(model, name);
        if (relation === undefined || one === false) return plain(one);
        const { where = {}, ...others } = one === true ? {} : members(one);
        if (Object.keys(others).length > 0) throw refused("a count of a relation has `where` alone");
        return { where: this._filter(relation.model, where) };
      }),
    };
  }

  /** New rows. */
  _rows(model, data) {
    return each(data, (row) => this._row(model, row));
  }

  _row(model, data) {
    const scoped = this.#isScoped(model);
    const row = mapped(data, (name, value) => {
      if (scoped && name === this.#column && value !== this.#tenant) throw refused(`a row of another tenant cannot be written: \`${this.#column}\` is set by the extension`);
      return this.#value(model, name, value);
    });
    return scoped ? { ...row, [this.#column]: this.#tenant } : row;
  }

  /** Changes of a row. */
  _changes(model, data) {
    const scoped = this.#isScoped(model);
    return mapped(data, (name, value) => {
      if (scoped && name === this.#column) throw refused(`\`${this.#column}\` of a row does not change`);
      return this.#value(model, name, value);
    });
  }

  /** The value of a field, or a nested write. */
  #value(model, name, value) {
    const relation = this.#relation(model, name);
    if (relation === undefined) return plain(value);
    const { model: other, isList, keys, back } = relation;
    if ([...keys, ...(back?.keys ?? [])].includes(this.#column)) throw refused(`the relation \`${name}\` holds \`${this.#column}\`, which does not change`);
    return mapped(value, (verb, given) => {
      // Of one to one, the row in the way is detached, whosever it is.
      const detaches = !isList && (keys.length === 0 || (verb.startsWith("connect") && back?.isList === false));
      switch (detaches ? "" : verb) {
        case "create": return each(given, (row) => this._row(other, row));
        case "createMany": return mapped(given, (part, rows) => (part === "data" ? this._rows(other, rows) : plain(rows)));
        case "connect": return each(given, (where) => this._filter(other, where));
        case "connectOrCreate": return each(given, (one) => mapped(one, (part, inner) => (part === "where" ? this._filter(other, inner) : this._row(other, inner))));
        case "disconnect": return given === true ? this._filter(other, {}) : each(given, (where) => this._filter(other, where));
        default: throw refused(`the nested write \`${verb}\` could change another tenant's row`);
      }
    });
  }
}

const OF_MANY = ["some", "every", "none"];
const OF_ONE = ["is", "isNot"];
/** The arguments of operations, and how each is copied: by the method of this name. */
const SELECTION = { select: "select", include: "include", omit: "omit", relationLoadStrategy: "plain" };
const PAGE = { orderBy: "order", cursor: "cursor", take: "plain", skip: "plain" };
const FIND = { where: "filter", ...PAGE, distinct: "plain", ...SELECTION };
const NUMBERS = { _count: "plain", _avg: "plain", _sum: "plain", _min: "plain", _max: "plain" };
const ONE = { where: "filter", ...SELECTION };
const MANY = { where: "filter", data: "changes", limit: "plain" };
const NEW = { data: "rows", skipDuplicates: "plain" };
const OPERATIONS = {
  findUnique: ONE, findUniqueOrThrow: ONE, findFirst: FIND, findFirstOrThrow: FIND, findMany: FIND,
  count: { where: "filter", ...PAGE, select: "plain" }, aggregate: { where: "filter", ...PAGE, ...NUMBERS },
  groupBy: { where: "filter", by: "plain", having: "plain", orderBy: "order", take: "plain", skip: "plain", ...NUMBERS },
  create: { data: "row", ...SELECTION }, createMany: NEW, createManyAndReturn: { ...NEW, ...SELECTION },
  update: { ...ONE, data: "changes" }, updateMany: MANY, updateManyAndReturn: { ...MANY, ...SELECTION },
  upsert: { ...ONE, create: "row", update: "changes" }, delete: ONE, deleteMany: { where: "filter", limit: "plain" },
};
/** Operations on one record, which must be named. */
const UNIQUE = new Set(["findUnique", "findUniqueOrThrow", "update", "upsert", "delete"]);

/** The members of a plain object. Prisma reads others in ways of its own. */
function members(value) {
  const prototype = typeof value === "object" && value !== null ? Object.getPrototypeOf(value) : undefined;
  if (prototype !== null && prototype !== Object.prototype) throw refused("an argument must be a plain object");
  return value;
}

/** A copy of an object with `change` applied to each member that is defined. */
function mapped(value, change) {
  const entries = Object.entries(members(value)).filter(([, one]) => one !== undefined);
  for (const [name] of entries) if (SPECIAL.has(name)) throw refused(`\`${name}\` cannot be the name of an argument`);
  return Object.fromEntries(entries.map(([name, one]) => [name, change(name, one)]));
}

/** Names by which Prisma replaces the object that has them. */
const SPECIAL = new Set(["__proto__", "toJSON", "__prismaRawParameters__"]);

/** A copy of a value, or of a list of values. */
const each = (value, change) => (Array.isArray(value) ? value.map(change) : change(value));

/** A copy of a value that names no relation: scalars, and instances such as dates and decimals. */
function plain(value) {
  if (Array.isArray(value)) return value.map(plain);
  const prototype = typeof value === "object" && value !== null ? Object.getPrototypeOf(value) : undefined;
  return prototype === null || prototype === Object.prototype ? mapped(value, (_, inner) => plain(inner)) : value;
}
