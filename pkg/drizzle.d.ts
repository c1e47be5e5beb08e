/**
 * A database of Drizzle that keeps every query within one tenant. Reads of a tenant's table see the
 * tenant's rows only, in joins and subqueries too. Inserts, updates and deletes have the tenant's
 * id. Whatever cannot be kept within is refused: relational queries (`query`), raw SQL with a
 * statement that does not begin with a `reviewed` comment, and every table that is in neither list.
 * @param options `tenant`: the tenant's id; `tables`: the tables with rows of tenants; `shared`:
 *   the tables whose rows everybody may read and change, default an empty list; `column`: the name
 *   in the database, default `tenant_id`
 * @throws {TenantScopeError} from the query, before it reaches the database
 * @example
 * const own = tenantDb(db, { tenant: "t_acme", tables: [tasks] });
 * await own.select().from(tasks);
 */
export function tenantDb<Db>(db: Db, options: { tenant: string; tables: readonly object[]; shared?: readonly object[]; column?: string }): Db;
