// A plugin for Kysely that keeps every query within one tenant: what a query reads of a tenant's
// table is a subquery of the tenant's rows, and what it writes has the tenant's id. A query that
// cannot be kept within is refused.
//
// INVARIANT (refused unless known): a table is named only where this file puts a condition beside
// it; functions are those of a list; raw SQL has no text of its own unless it says that somebody
// has reviewed it.

import {
  AliasNode, AndNode, BinaryOperationNode, ColumnNode, IdentifierNode, OperationNodeTransformer, OperatorNode, ParensNode, PrimitiveValueListNode,
  ReferenceNode, SelectAllNode, SelectionNode, SelectQueryNode, TableNode, ValueListNode, ValueNode, ValuesNode, WhereNode,
} from "kysely";
import { checkReviewed, FUNCTIONS, refused, REVIEWED, scopeOptions } from "./scope.js";

const ROOTS = new Set(["SelectQueryNode", "InsertQueryNode", "UpdateQueryNode", "DeleteQueryNode", "RawNode"]);
/** Raw SQL that Kysely itself makes. */
const OF_KYSELY = new Set(["asc", "desc", "true"]);

export function tenantPlugin(options) {
  const { tenant, tables, shared, functions, column } = scopeOptions(options, "tables", "`tenantPlugin`");
  const settings = { tenant, tables: new Set(tables), shared: new Set(shared), functions: new Set([...FUNCTIONS, ...functions]), column };
  const seen = new WeakSet();
  return {
    transformQuery({ node, queryId }) {
      if (!ROOTS.has(node.kind)) throw refused(`a query of kind ${node.kind.replace(/(Query)?Node$/, "")} cannot be kept within a tenant`);
      seen.add(queryId);
      // A new transformer each time: after a refusal the old one keeps a part of the query.
      return new Scope(settings, node.kind === "RawNode").transformNode(node, queryId);
    },
    async transformResult({ queryId, result }) {
      if (!seen.has(queryId)) throw refused("a compiled query bypasses the plugin: execute the builder itself");
      return result;
    },
  };
}

/** The name of a table, with its schema if it has one. */
const nameOf = ({ table: { schema, identifier } }) => (schema === undefined ? identifier.name : `${schema.name}.${identifier.name}`);

class Scope extends OperationNodeTransformer {
  #tenant;
  #tables;
  #shared;
  #functions;
  #column;
  /** The names of common table expressions that can be read, innermost last. */
  #expressions = [];
  /** Whether a node lies within raw SQL that somebody has reviewed. */
  #reviewed = false;
  /** Whether the whole query is raw SQL. */
  #isRaw;

  constructor({ tenant, tables, shared, functions, column }, isRaw) {
    super();
    this.#isRaw = isRaw;
    this.#tenant = tenant;
    this.#tables = tables;
    this.#shared = shared;
    this.#functions = functions;
    this.#column = column;
  }

  transformNodeImpl(node, queryId) {
    if (node.with === undefined) return this.#transform(node, queryId);
    const before = this.#expressions.length;
    try {
      const { with: list, ...rest } = node;
      // A name can be read after its definition, and within it only if it is recursive: before that
      // it is the name of a table.
      const expressions = list.expressions.map((one) => {
        const { name } = one.name.table.table.identifier;
        if (this.#tables.has(name) || this.#shared.has(name)) throw refused(`the common table expression \`${name}\` has the name of a table`);
        if (list.recursive) this.#expressions.push(name);
        const expression = { ...one, expression: this.transformNode(one.expression, queryId) };
        if (!list.recursive) this.#expressions.push(name);
        return expression;
      });
      return { ...this.#transform(rest, queryId), with: { ...list, expressions } };
    } finally {
      this.#expressions.length = before;
    }
  }

  #transform(node, queryId) {
    switch (node.kind) {
      case "FromNode": return { ...node, froms: node.froms.map((one) => this.#source(one, queryId)) };
      case "UsingNode": return { ...node, tables: node.tables.map((one) => this.#source(one, queryId)) };
      case "JoinNode": return { ...super.transformNodeImpl({ ...node, table: PLACEHOLDER }, queryId), table: this.#source(node.table, queryId) };
      case "InsertQueryNode": return this.#insert(node, queryId);
      case "UpdateQueryNode": return this.#update(node, queryId);
      case "DeleteQueryNode": return this.#delete(node, queryId);
      case "RawNode": return this.#raw(node, queryId);
      case "FunctionNode":
      case "AggregateFunctionNode": return this.#function(node, queryId);
      // The table of a column is a source of the query; elsewhere a table would be read as a whole.
      case "ReferenceNode": return node.column.kind === "ColumnNode" || node.column.kind === "SelectAllNode" ? node : super.transformNodeImpl(node, queryId);
      case "TableNode": throw refused(`the table \`${nameOf(node)}\` stands where it cannot be kept within a tenant`);
      case "MergeQueryNode": throw refused("`merge` cannot be kept within a tenant");
      default: return super.transformNodeImpl(node, queryId);
    }
  }

  /** What rows are read from: a tenant's table becomes the subquery of the tenant's rows. */
  #source(node, queryId) {
    const [table, alias] = node.kind === "AliasNode" ? [node.node, node.alias] : [node, undefined];
    // A subquery needs a name; anything else could read a table by itself.
    if (alias !== undefined && alias.kind !== "IdentifierNode") throw refused("the alias of a source must be a name");
    if (table.kind !== "TableNode") {
      if (!SOURCES.has(table.kind)) throw refused("a source of rows must be a table or a query");
      return this.transformNode(node, queryId);
    }
    const isExpression = table.table.schema === undefined && this.#expressions.includes(table.table.identifier.name);
    if (isExpression || !this.#isScoped(table)) return node;
    const rows = SelectQueryNode.createFrom([table]);
    // With its table: a column that the table lacks would be that of an outer query.
    const own = this.#isOwn(ReferenceNode.create(ColumnNode.create(this.#column), table));
    const scoped = { ...rows, selections: [SelectionNode.create(SelectAllNode.create())], where: WhereNode.create(own) };
    return AliasNode.create(scoped, alias ?? IdentifierNode.create(table.table.identifier.name));
  }

  /** Whether a table has rows of tenants. Refuses a table that nobody has classified. */
  #isScoped(table) {
    const name = nameOf(table);
    if (this.#tables.has(name)) return true;
    if (this.#shared.has(name)) return false;
    throw refused(`the table \`${name}\` is neither in \`tables\` nor in \`shared\``);
  }

  #isOwn(reference) {
    return BinaryOperationNode.create(reference, OperatorNode.create("="), ValueNode.create(this.#tenant));
  }

  /** The table that a query changes, and the name by which the query refers to it. */
  #target(node) {
    const [table, alias] = node.kind === "AliasNode" ? [node.node, node.alias] : [node, undefined];
    if (table?.kind !== "TableNode") throw refused("a query that changes several tables cannot be kept within a tenant");
    if (alias !== undefined && alias.kind !== "IdentifierNode") throw refused("the alias of a table must be a name");
    return { scoped: this.#isScoped(table), name: alias ? TableNode.create(alias.name) : table };
  }

  #within(where, target) {
    const own = this.#isOwn(ReferenceNode.create(ColumnNode.create(this.#column), target));
    return WhereNode.create(where ? AndNode.create(own, ParensNode.create(where.where)) : own);
  }

  #update(node, queryId) {
    const target = this.#target(node.table);
    const rest = super.transformNodeImpl({ ...node, table: PLACEHOLDER }, queryId);
    if (target.scoped) this.#keepsTenant(node.updates);
    return { ...rest, table: node.table, where: target.scoped ? this.#within(rest.where, target.name) : rest.where };
  }

  #delete(node, queryId) {
    if (node.from.froms.length !== 1) throw refused("a query that deletes from several tables cannot be kept within a tenant");
    const target = this.#target(node.from.froms[0]);
    const rest = super.transformNodeImpl({ ...node, from: PLACEHOLDER }, queryId);
    return { ...rest, from: node.from, where: target.scoped ? this.#within(rest.where, target.name) : rest.where };
  }

  #insert(node, queryId) {
    if (node.into === undefined) throw refused("an insert without a table cannot be kept within a tenant");
    const target = this.#target(node.into);
    const rest = super.transformNodeImpl({ ...node, into: PLACEHOLDER }, queryId);
    if (!target.scoped) return { ...rest, into: node.into };
    // They replace the row in the way, whosever it is.
    if (node.replace || node.orAction?.action === "replace") throw refused("`replace` could replace another tenant's row: use `on conflict`");
    if (node.onDuplicateKey) throw refused("`on duplicate key update` could change another tenant's row: update and insert instead");
    const conflict = rest.onConflict;
    if (conflict?.updates) this.#keepsTenant(conflict.updates);
    const onConflict = conflict?.updates ? { ...conflict, updateWhere: this.#within(conflict.updateWhere, target.name) } : conflict;
    return { ...rest, into: node.into, ...this.#values(rest), onConflict };
  }

  /** The values of an insert, each row with the tenant's id. */
  #values({ columns, values }) {
    if (columns === undefined || values?.kind !== "ValuesNode") throw refused("an insert must have values for named columns");
    const place = columns.findIndex(({ column }) => this.#isColumn(column.name));
    const foreign = () => refused(`a row of another tenant cannot be inserted: \`${this.#column}\` is set by the plugin`);
    const rows = values.values.map((row) => {
      if (place < 0) {
        return row.kind === "PrimitiveValueListNode" ? PrimitiveValueListNode.create([...row.values, this.#tenant]) : ValueListNode.create([...row.values, ValueNode.create(this.#tenant)]);
      }
      const given = row.values[place];
      const value = row.kind === "PrimitiveValueListNode" ? given : given.kind === "ValueNode" ? given.value : undefined;
      if (value !== this.#tenant) throw foreign();
      return row;
    });
    return { columns: place < 0 ? [...columns, ColumnNode.create(this.#column)] : columns, values: ValuesNode.create(rows) };
  }

  /** Names of columns are the same in any case for some databases. */
  #isColumn(name) {
    return name.toLowerCase() === this.#column.toLowerCase();
  }

  #keepsTenant(updates = []) {
    for (const { column } of updates) {
      const plain = column.kind === "ReferenceNode" ? column.column : column;
      if (plain.kind !== "ColumnNode") throw refused("an assignment must be to one column");
      if (this.#isColumn(plain.column.name)) throw refused(`\`${this.#column}\` of a row does not change`);
    }
  }

  #function(node, queryId) {
    const name = node.func.toLowerCase();
    if (!this.#functions.has(name)) throw refused(`the function \`${node.func}\` is unknown: if it reads nothing but its arguments, name it in \`functions\``);
    return super.transformNodeImpl(node, queryId);
  }

  /**
   * Raw SQL: reviewed, made by Kysely, or without a text of its own (`sql.ref`, `sql.val`,
   * `sql.join`).
   */
  #raw(node, queryId) {
    const [first] = node.sqlFragments;
    const isReviewed = first.trimStart().startsWith(REVIEWED);
    const isPlain = node.sqlFragments.every((text) => /^[\s,]*$/.test(text)) || (node.sqlFragments.length === 1 && OF_KYSELY.has(first));
    if (!isReviewed && !isPlain && !this.#reviewed) {
      throw refused(`raw SQL cannot be kept within a tenant: begin it with \`${REVIEWED}\` once somebody has checked that it is`);
    }
    const before = this.#reviewed;
    this.#reviewed ||= isReviewed;
    if (this.#reviewed && !isPlain && !this.#isRaw) checkReviewed(node.sqlFragments.join(" "));
    try {
      return super.transformNodeImpl(node, queryId);
    } finally {
      this.#reviewed = before;
    }
  }
}

/** What a source of rows can be, besides a table. */
const SOURCES = new Set(["SelectQueryNode", "ParensNode", "FunctionNode", "RawNode", "ValuesNode"]);

/** Takes the place of a node that is not to be transformed. */
const PLACEHOLDER = IdentifierNode.create("");
