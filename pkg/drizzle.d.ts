/**
 * A database that keeps every query within one tenant. Reads of a tenant's table see the tenant's
 * rows only: in joins, subqueries, common table expressions and relational queries too. Inserts,
 * updates and deletes have the tenant's id. Everything else is refused: raw SQL that nobody has
 * marked as reviewed, unknown functions, queries of another database, and every table that is in
 * neither list.
 * @param db a Drizzle database of PostgreSQL or SQLite
 * @param options `tenant`: the tenant's id; `tables`: the tables with rows of tenants, by their
 *   names in the database; `shared`: the tables and views whose rows everybody may read and change,
 *   default an empty list; `functions`: your functions that read nothing but their arguments,
 *   default an empty list; `column`: the tenant's column in the database, default `tenant_id`
 * @returns a database of the same kind; its `$client` is refused
 * @throws {InputError} if the database is of another kind, or an option is invalid
 * @throws {TenantScopeError} from a query, before it reaches the database
 * @example
 * const own = tenantDb(db, { tenant: "t_acme", tables: ["tasks", "projects"] });
 * await own.select().from(tasks);
 */
export function tenantDb<Database extends { select: unknown; insert: unknown }>(
  db: Database,
  options: { tenant: string; tables: string[]; shared?: string[]; functions?: string[]; column?: string },
): Database;
