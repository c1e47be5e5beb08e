/**
 * An extension of Prisma's client that keeps every operation within one tenant. Filters, new rows,
 * relations and counts have the tenant's id; a relation that leads to another tenant's row is an
 * error. Everything else is refused: raw SQL that nobody has marked as reviewed, nested writes that
 * could change another tenant's row, and every model that is in neither list.
 * @param options `tenant`: the tenant's id; `models`: the models with rows of tenants; `shared`: the
 *   models whose rows everybody may read and change, default an empty list; `column`: the field with
 *   the tenant's id, default `tenant_id`
 * @returns an extension for `$extends`. Extensions that follow are put before it.
 * @throws {InputError} if an option is invalid
 * @throws {TenantScopeError} from an operation
 * @example
 * const own = prisma.$extends(tenantExtension({ tenant: "t_acme", models: ["Task", "Project"] }));
 * await own.task.findMany({ include: { project: true } });
 */
export function tenantExtension(options: { tenant: string; models: string[]; shared?: string[]; column?: string }): <Client>(client: Client) => Client;
