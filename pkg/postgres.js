// Row-level security of PostgreSQL: the policies for tables with rows of tenants, and transactions
// that belong to one tenant.

import { InputError, TenantScopeError } from "./errors.js";
import { options as known, textual } from "./input.js";

/** The setting that holds the tenant's id for one transaction. */
const SETTING = "app.tenant_id";

export function rowLevelSecurity(options) {
  const { tables, role, column = "tenant_id", type = "text" } = known(options, ["tables", "role", "column", "type"], "`rowLevelSecurity`");
  if (!Array.isArray(tables) || tables.length === 0) throw new InputError("`tables` must be a list of tables");
  if (!/^[a-z][a-z0-9]*$/.test(type)) throw new InputError("`type` must be the column's type, such as `uuid`");
  // Without the setting it is null or empty, so that no row is the tenant's.
  const own = `${quoted(column)} = nullif(current_setting('${SETTING}', true), '')::${type}`;
  const to = role === undefined ? "" : ` TO ${quoted(role)}`;
  return tables.map((table) => {
    const name = textual(table, "a table").split(".").map(quoted).join(".");
    const policy = (title, kind) => [
      `DROP POLICY IF EXISTS ${title} ON ${name};`, `CREATE POLICY ${title} ON ${name} AS ${kind}${to} USING (${own}) WITH CHECK (${own});`,
    ];
    return [
      `ALTER TABLE ${name} ENABLE ROW LEVEL SECURITY;`,
      // Otherwise the owner of the table would see every row.
      `ALTER TABLE ${name} FORCE ROW LEVEL SECURITY;`,
      ...policy("tenant", "PERMISSIVE"),
      // Whatever other policies allow, this one must hold too.
      ...policy("tenant_only", "RESTRICTIVE"),
    ].join("\n");
  }).join("\n\n").concat("\n");
}

/** An identifier as SQL writes it. */
const quoted = (name) => `"${textual(name, "a name").replaceAll('"', '""')}"`;

/**
 * What a session could carry from one tenant to the next: the setting, if somebody set it for the
 * session, temporary tables, and cursors.
 */
const CLEAN = `RESET ${SETTING}; DISCARD TEMP; CLOSE ALL`;

export async function withTenant(pool, tenant, work) {
  if (textual(tenant, "`tenant`") === "") throw new InputError("`tenant` must be the tenant's id");
  const client = await pool.connect();
  // A connection that is lost between two queries says so by an event, which nobody may miss.
  const ignore = () => {};
  client.on?.("error", ignore);
  const release = (lost) => {
    client.off?.("error", ignore);
    client.release(lost);
  };
  let over = false;
  // Work that goes on after its end would run in the transaction of the next tenant.
  const own = new Proxy(client, {
    get(_, name) {
      if (over) throw new TenantScopeError("the transaction of the tenant has ended: await every query in it");
      const value = Reflect.get(client, name, client);
      return typeof value === "function" ? value.bind(client) : value;
    },
  });
  try {
    await client.query("BEGIN");
    // For this transaction alone.
    await client.query(`SELECT set_config('${SETTING}', $1, true)`, [tenant]);
    const result = await work(own);
    over = true;
    const [committed] = [await client.query(`COMMIT; ${CLEAN}`)].flat();
    // PostgreSQL answers so if a query has failed, and somebody has caught its error.
    if (committed?.command === "ROLLBACK") throw new TenantScopeError("the transaction was rolled back, because a query in it had failed");
    release();
    return result;
  } catch (error) {
    over = true;
    // A connection whose transaction cannot be ended is closed.
    await client.query(`ROLLBACK; ${CLEAN}`).then(() => release(), release);
    throw error;
  }
}
