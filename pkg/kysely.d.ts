import type { KyselyPlugin } from "kysely";

/**
 * Keeps every query within one tenant. Reads of a tenant's table see the tenant's rows only: in
 * joins, subqueries and common table expressions too. Inserts, updates and deletes have the
 * tenant's id. Everything else is refused: raw SQL that nobody has marked as reviewed, functions
 * that may run SQL, `merge`, `replace`, and every table that is in neither list.
 * @param options `tenant`: the tenant's id; `tables`: the tables with rows of tenants; `shared`:
 *   the tables whose rows everybody may read and change, default an empty list; `functions`: your
 *   functions that read nothing but their arguments, default an empty list; `column`: default
 *   `tenant_id`
 * @throws {TenantScopeError} from the query, before it reaches the database
 * @example
 * const own = db.withPlugin(tenantPlugin({ tenant: "t_acme", tables: ["tasks", "projects"] }));
 * await own.selectFrom("tasks").selectAll().execute();
 */
export function tenantPlugin(options: { tenant: string; tables: string[]; shared?: string[]; functions?: string[]; column?: string }): KyselyPlugin;
