// Real origins on loopback, each started as its documentation describes. Each one opens `/public`
// to everyone, answers `ADMIN` under `/admin`, and reports the method and the path that it served.

import { spawn, spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import net from "node:net";
import { join } from "node:path";
import { freePort, serve } from "../support/server.mjs";
import { sleep } from "../support/wait.mjs";
import { absolute, overrides, rewritten } from "./apps/express.mjs";
import { hono, honoForms } from "./apps/hono.mjs";
import { others } from "./apps/others.mjs";
import { NEXT, apps, next, npm, python } from "./setup.mjs";

const connects = (port) => new Promise((resolve) => {
  const socket = net.connect(port, "127.0.0.1", () => { socket.destroy(); resolve(true); });
  socket.on("error", () => resolve(false));
});

/** Starts a process on a free port, which `line` receives, and waits until it listens. */
async function start(line, { cwd = apps, env = {} } = {}) {
  const port = await freePort();
  const [command, ...args] = line(port);
  const own = { PYTHONDONTWRITEBYTECODE: "1", NEXT_TELEMETRY_DISABLED: "1", PORT: String(port), ...env };
  const child = spawn(command, args, { cwd, env: { ...process.env, ...own }, stdio: ["ignore", "pipe", "pipe"] });
  let log = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => { log += text; });
  const ended = new Promise((resolve) => {
    child.on("exit", resolve);
    child.on("error", (error) => { log += error.message; resolve(); });
  });
  const kill = () => child.kill("SIGKILL");
  process.on("exit", kill);
  const stop = async () => {
    child.kill("SIGTERM");
    await Promise.race([ended, sleep(3_000).then(kill)]);
    await ended;
    process.off("exit", kill);
  };
  for (let i = 0; !(await connects(port)); i++) {
    if (i > 300 || child.exitCode !== null || child.pid === undefined) {
      await stop();
      throw new Error(`\`${command} ${args.join(" ")}\` does not listen:\n${log}`);
    }
    await sleep(50);
  }
  return { url: `http://127.0.0.1:${port}`, stop };
}

const gunicorn = (app, args = [], env = {}) => () =>
  start((port) => [python(), "-m", "gunicorn", "--no-control-socket", "--bind", `127.0.0.1:${port}`, ...args, app], { env });
const asgi = (server, app, args) => () =>
  start((port) => [python(), "-m", server, ...args.map((arg) => arg.replace("PORT", port)), app]);
const package_ = (name) => createRequire(join(npm(), "package.json"))(name);
const listener = (app) => package_("@hono/node-server").getRequestListener(app.fetch);

/** Functions that start an origin, by its name. */
export const origins = {
  gunicorn: gunicorn("flask_app:application"),
  "gunicorn, which believes every address": gunicorn("flask_app:application", ["--forwarded-allow-ips", "*"]),
  "gunicorn, snippets": gunicorn("flask_app:application", [], { AROUND: "snippets" }),
  "gunicorn, ProxyFix": gunicorn("flask_app:application", [], { AROUND: "proxyfix" }),
  "gunicorn, Django": gunicorn("django_app:wsgi"),
  "wsgiref, snippets": () => start(() => [python(), "flask_app.py"], { env: { AROUND: "snippets" } }),
  "waitress, Pyramid": () => start(() => [python(), "pyramid_app.py"]),
  "uvicorn, FastAPI": asgi("uvicorn", "fastapi_app:mounted", ["--port", "PORT"]),
  "daphne, FastAPI": asgi("daphne", "fastapi_app:app", ["-b", "127.0.0.1", "-p", "PORT"]),
  "daphne, Django": asgi("daphne", "django_app:asgi", ["-b", "127.0.0.1", "-p", "PORT"]),
  "hypercorn, FastAPI": asgi("hypercorn", "fastapi_app:app", ["--bind", "127.0.0.1:PORT"]),
  "Express, method-override": async () => serve(overrides(package_("method-override"))),
  "Express, rewritten": () => serve(rewritten()),
  "Express, the whole URL": () => serve(absolute()),
  Hono: async () => serve(listener(hono())),
  "Next.js": () => start((port) => [process.execPath, NEXT, "start", "-H", "127.0.0.1", "-p", String(port)], { cwd: next() }),
  "Next.js, functions": () => start(() => [process.execPath, "minimal.cjs"], { cwd: next() }),
  others: () => serve(others),
};
// PHP is optional.
if (spawnSync("php", ["--version"]).status === 0) origins.PHP = () => start((port) => ["php", "-S", `127.0.0.1:${port}`, "index.php"]);

/** Hono, which takes the method from the body of a form. */
export const forms = () => serve(listener(honoForms()));
