#!/usr/bin/env node
// `npm create tenantgate@latest my-saas -- --template hono`: `tenantgate init`, and the installation
// of what the project needs.

import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";

const args = process.argv.slice(2);
const installs = !args.includes("--no-install");
const cli = join(dirname(createRequire(import.meta.url).resolve("tenantgate/package.json")), "cli.js");
const run = (command, given, cwd) => {
  const { status } = spawnSync(command, given, { cwd, stdio: "inherit", shell: process.platform === "win32" });
  if (status !== 0) process.exit(status ?? 1);
};

run(process.execPath, [cli, "init", ...args.filter((arg) => arg !== "--no-install")]);
const isFlag = (arg) => arg.startsWith("-");
// The value of `--template` is no folder.
const folder = args.find((arg, place) => !isFlag(arg) && args[place - 1] !== "--template") ?? ".";
if (installs && !args.some((arg) => ["--help", "-h", "--version"].includes(arg))) run("npm", ["install", "--no-fund", "--no-audit"], resolve(folder));
