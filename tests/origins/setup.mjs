// Sets up once what the origins need: a Python environment and npm packages, in a folder of their
// own beside the other tools.

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "../..");
const folder = join(process.env.TENANTGATE_TOOLS ?? join(root, ".tools"), "origins");
export const apps = join(import.meta.dirname, "apps");

const PYTHON = {
  gunicorn: "27.0.1", flask: "3.1.3", werkzeug: "3.1.9", django: "5.2.19", fastapi: "0.165.0", starlette: "1.10.0", uvicorn: "0.54.0",
  daphne: "4.2.3", hypercorn: "0.18.0", pyramid: "2.1", waitress: "3.0.2", setuptools: "80.9.0",
};
// The last version of Next.js whose middleware can be skipped by a header.
const NPM = { next: "15.2.2", react: "19.3.1", "react-dom": "19.3.1", "method-override": "3.0.0", "@hono/node-server": "2.1.9" };

const env = { ...process.env, NEXT_TELEMETRY_DISABLED: "1", PYTHONDONTWRITEBYTECODE: "1" };

function run(command, args, cwd = folder) {
  const { status, error, stdout, stderr } = spawnSync(command, args, { cwd, env, encoding: "utf8" });
  if (error) throw new Error(`\`${command}\` could not be started: ${error.message}`);
  if (status !== 0) throw new Error(`\`${command} ${args.join(" ")}\` failed:\n${stdout}${stderr}`);
}

/** Does `work` in a folder, unless it was done there before for the same `wanted`. */
function once(name, wanted, work) {
  const place = join(folder, name);
  const stamp = join(place, ".made-for");
  const text = JSON.stringify(wanted);
  if (!existsSync(stamp) || readFileSync(stamp, "utf8") !== text) {
    rmSync(place, { recursive: true, force: true });
    mkdirSync(place, { recursive: true });
    work(place);
    writeFileSync(stamp, text);
  }
  return place;
}

/** The Python interpreter with the packages. */
export function python() {
  const place = once("python", PYTHON, (made) => {
    run("python3", ["-m", "venv", made]);
    const packages = Object.entries(PYTHON).map(([name, version]) => `${name}==${version}`);
    run(join(made, "bin/pip"), ["install", "--quiet", "--disable-pip-version-check", ...packages]);
  });
  return join(place, "bin/python");
}

/** The folder with the npm packages. */
export const npm = () => once("npm", NPM, (made) => {
  writeFileSync(join(made, "package.json"), JSON.stringify({ private: true, dependencies: NPM }));
  run("npm", ["install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"], made);
});

/** The command of Next.js, relative to its application. */
export const NEXT = "../node_modules/next/dist/bin/next";

/** The folder with the built application of Next.js. */
export function next() {
  npm();
  const sources = readdirSync(join(apps, "next"), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const texts = sources.map(({ parentPath, name }) => join(parentPath, name)).sort().map((path) => readFileSync(path, "utf8"));
  const digest = createHash("sha256").update(texts.join("\0")).digest("hex");
  return once("npm/next", digest, (made) => {
    cpSync(join(apps, "next"), made, { recursive: true });
    run(process.execPath, [NEXT, "build"], made);
  });
}
