// A plugin for Kysely that keeps every query within one tenant: what a query reads of a tenant's
// table is a subquery of the tenant's rows, and what it writes has the tenant's id. A query that
// cannot be kept within is refused.

import {
  AliasNode, AndNode, BinaryOperationNode, ColumnNode, IdentifierNode, OperationNodeTransformer, OperatorNode, ParensNode, PrimitiveValueListNode,
  ReferenceNode, SelectAllNode, SelectionNode, SelectQueryNode, TableNode, ValueListNode, ValueNode, ValuesNode, WhereNode,
} from "kysely";
import { InputError, TenantScopeError } from "./errors.js";
import { options as known, textual } from "./input.js";

/** The beginning of raw SQL that somebody has reviewed. */
const REVIEWED = "/* reviewed */";
const ROOTS = new Set(["SelectQueryNode", "InsertQueryNode", "UpdateQueryNode", "DeleteQueryNode", "RawNode"]);

export function tenantPlugin(options) {
  const { tenant, tables, shared = [], column = "tenant_id" } = known(options, ["tenant", "tables", "shared", "column"], "`tenantPlugin`");
  if (textual(tenant, "`tenant`") === "") throw new InputError("`tenant` must be the tenant's id");
  for (const [name, list] of [["tables", tables], ["shared", shared]]) {
    if (!Array.isArray(list) || list.some((one) => typeof one !== "string")) throw new InputError(`\`${name}\` must be a list of tables`);
  }
  const scope = new Scope(tenant, new Set(tables), new Set(shared), column);
  return {
    transformQuery({ node, queryId }) {
      if (!ROOTS.has(node.kind)) throw refused(`a query of kind ${node.kind.replace(/(Query)?Node$/, "")} cannot be kept within a tenant`);
      return scope.transformNode(node, queryId);
    },
    transformResult: async ({ result }) => result,
  };
}

const refused = (sentence) => new TenantScopeError(sentence);

class Scope extends OperationNodeTransformer {
  #tenant;
  #tables;
  #shared;
  #column;
  /** The names of common table expressions, innermost last. */
  #expressions = [];

  constructor(tenant, tables, shared, column) {
    super();
    this.#tenant = tenant;
    this.#tables = tables;
    this.#shared = shared;
    this.#column = column;
  }

  transformNodeImpl(node, queryId) {
    if (node.with === undefined) return this.#transform(node, queryId);
    const names = node.with.expressions.map(({ name }) => name.table.table.identifier.name);
    const taken = names.find((name) => this.#tables.has(name) || this.#shared.has(name));
    // Within its own definition the name would be that of the table.
    if (taken !== undefined) throw refused(`the common table expression \`${taken}\` has the name of a table`);
    this.#expressions.push(...names);
    try {
      return this.#transform(node, queryId);
    } finally {
      this.#expressions.length -= names.length;
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
      case "MergeQueryNode": throw refused("`merge` cannot be kept within a tenant");
      case "RawNode": return this.#raw(node, queryId);
      default: return super.transformNodeImpl(node, queryId);
    }
  }

  /** What rows are read from: a tenant's table becomes the subquery of the tenant's rows. */
  #source(node, queryId) {
    const [table, alias] = node.kind === "AliasNode" ? [node.node, node.alias] : [node, undefined];
    if (table.kind !== "TableNode") return this.transformNode(node, queryId);
    const name = table.table.identifier.name;
    if (this.#expressions.includes(name) || !this.#isScoped(name)) return node;
    const rows = SelectQueryNode.createFrom([table]);
    const scoped = { ...rows, selections: [SelectionNode.create(SelectAllNode.create())], where: WhereNode.create(this.#isOwn(ColumnNode.create(this.#column))) };
    return AliasNode.create(scoped, alias ?? IdentifierNode.create(name));
  }

  /** Whether a table has rows of tenants. Refuses a table that nobody has classified. */
  #isScoped(name) {
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
    const name = table.table.identifier.name;
    return { scoped: this.#isScoped(name), name: alias ? TableNode.create(alias.name) : table };
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
    const place = columns.findIndex(({ column }) => column.name === this.#column);
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

  #keepsTenant(updates = []) {
    const names = updates.map(({ column }) => (column.kind === "ReferenceNode" ? column.column : column).column?.name);
    if (names.includes(this.#column)) throw refused(`\`${this.#column}\` of a row does not change`);
  }

  #raw(node, queryId) {
    if (!node.sqlFragments[0].trimStart().startsWith(REVIEWED)) {
      throw refused(`raw SQL cannot be kept within a tenant: begin it with \`${REVIEWED}\` once somebody has checked that it is`);
    }
    return super.transformNodeImpl(node, queryId);
  }
}

/** Takes the place of a node that is not to be transformed. */
const PLACEHOLDER = IdentifierNode.create("");
