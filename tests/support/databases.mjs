// Real databases for tests of data access: SQLite in this process, PostgreSQL as a server of its own.

import { execFileSync, spawn } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import pg from "pg";
import { freePort } from "./server.mjs";
import { until } from "./wait.mjs";

/** A database in memory, in the form that the dialect of Kysely for SQLite takes. */
export function sqlite() {
  const db = new DatabaseSync(":memory:");
  return {
    exec: (sql) => db.exec(sql),
    prepare(sql) {
      const statement = db.prepare(sql);
      return { reader: statement.columns().length > 0, all: (values) => statement.all(...values), run: (values) => statement.run(...values) };
    },
    close: () => db.close(),
  };
}

/** The folder of PostgreSQL's programs. Debian keeps them off the path, and installs them here. */
function programs() {
  const base = "/usr/lib/postgresql";
  const found = () => (existsSync(base) ? readdirSync(base).sort((a, b) => Number(b) - Number(a))[0] : undefined);
  if (found() === undefined && existsSync("/etc/debian_version") && process.getuid?.() === 0) {
    const quiet = { stdio: "ignore", env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" } };
    execFileSync("apt-get", ["update", "-qq"], quiet);
    execFileSync("apt-get", ["install", "-y", "-qq", "postgresql"], quiet);
  }
  const version = found();
  return version === undefined ? "" : join(base, version, "bin");
}

/** Starts PostgreSQL. Returns a pool of the role `app`, which is bound by policies, and of the owner. */
export async function postgres() {
  const folder = mkdtempSync(join(tmpdir(), "tenantgate-postgres-"));
  const path = [programs(), process.env.PATH].join(delimiter);
  // PostgreSQL refuses to run as root.
  const user = process.getuid?.() === 0 ? "postgres" : undefined;
  const as = (command, args) => (user ? ["setpriv", [`--reuid=${user}`, `--regid=${user}`, "--clear-groups", "--", command, ...args]] : [command, args]);
  const env = { ...process.env, PATH: path, LC_ALL: "C" };
  chmodSync(folder, 0o777);
  const data = join(folder, "data");
  const port = await freePort();
  execFileSync(...as("initdb", ["-D", data, "-U", "owner", "-A", "trust", "--no-sync"]), { stdio: "ignore", env });
  const server = spawn(...as("postgres", ["-D", data, "-p", String(port), "-c", "listen_addresses=127.0.0.1", "-c", `unix_socket_directories=${folder}`, "-c", "fsync=off"]), { stdio: "ignore", env });
  const settings = { host: "127.0.0.1", port, database: "postgres" };
  const owner = new pg.Pool({ ...settings, user: "owner" });
  owner.on("error", () => {});
  await until(() => owner.query("SELECT 1").then(() => true, () => false), "PostgreSQL answers", { ms: 30_000 });
  await owner.query("CREATE ROLE app LOGIN");
  // One connection, so that each transaction finds what the one before has left.
  const app = new pg.Pool({ ...settings, user: "app", max: 1 });
  app.on("error", () => {});
  return {
    owner,
    app,
    async stop() {
      await Promise.all([owner.end(), app.end()]);
      server.kill("SIGINT");
      await new Promise((done) => (server.exitCode === null ? server.once("exit", done) : done()));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
