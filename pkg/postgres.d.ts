/**
 * The SQL that keeps tables of PostgreSQL within a tenant by row-level security: a row is read or
 * written only in a transaction of its tenant. Run it in a migration. Superusers and roles with
 * `BYPASSRLS` are not bound by it, so the application needs a role of its own.
 * @param options `tables`: the tables, with or without a schema; `role`: the role that the policies
 *   bind, default every role; `column`: default `tenant_id`; `type`: the type of the column, default
 *   `text`
 * @example
 * console.log(rowLevelSecurity({ tables: ["tasks", "projects"] }));
 */
export function rowLevelSecurity(options: { tables: string[]; role?: string; column?: string; type?: string }): string;

/**
 * Runs `work` in a transaction of one tenant, for tables with `rowLevelSecurity`. Commits when it
 * resolves, rolls back when it throws. The next user of the pooled connection starts without a
 * tenant.
 * @param pool a pool of `pg`, or another one whose connections have `query` and `release`
 * @example
 * const tasks = await withTenant(pool, "t_acme", (client) => client.query("SELECT * FROM tasks"));
 */
export function withTenant<Client extends { query: any; release: any }, Result>(
  pool: { connect(): Promise<Client> }, tenant: string, work: (client: Client) => Promise<Result>,
): Promise<Result>;
