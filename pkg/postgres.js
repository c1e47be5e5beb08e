// Row-level security of PostgreSQL: the policies for tables with rows of tenants, and transactions
// that belong to one tenant.

import { InputError } from "./errors.js";
import { options as known, textual } from "./input.js";

/** The setting that holds the tenant's id for one transaction. */
const SETTING = "app.tenant_id";

export function rowLevelSecurity(options) {
  const { tables, role, column = "tenant_id" } = known(options, ["tables", "role", "column"], "`rowLevelSecurity`");
  if (!Array.isArray(tables) || tables.length === 0) throw new InputError("`tables` must be a list of tables");
  if (role !== undefined) textual(role, "`role`");
  // Without the setting it is null or empty, so that no row is the tenant's. An index on the column
  // serves the comparison.
  const own = `${quoted(column)} = nullif(current_setting('${SETTING}', true), '')`;
  return tables.map((table) => {
    const name = textual(table, "a table").split(".").map(quoted).join(".");
    return [
      `ALTER TABLE ${name} ENABLE ROW LEVEL SECURITY;`,
      // Otherwise the owner of the table would see every row.
      `ALTER TABLE ${name} FORCE ROW LEVEL SECURITY;`,
      `DROP POLICY IF EXISTS tenant ON ${name};`,
      `CREATE POLICY tenant ON ${name}${role === undefined ? "" : ` TO ${quoted(role)}`} USING (${own}) WITH CHECK (${own});`,
    ].join("\n");
  }).join("\n\n").concat("\n");
}

/** An identifier as SQL writes it. */
const quoted = (name) => `"${textual(name, "a name").replaceAll('"', '""')}"`;

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
  try {
    await client.query("BEGIN");
    // For this transaction alone: the next one of the pooled connection begins without it.
    await client.query(`SELECT set_config('${SETTING}', $1, true)`, [tenant]);
    const result = await work(client);
    await client.query("COMMIT");
    release();
    return result;
  } catch (error) {
    // A connection whose transaction cannot be ended is closed.
    await client.query("ROLLBACK").then(() => release(), release);
    throw error;
  }
}
