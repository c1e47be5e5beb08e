// What an application says once: its gate, and how it knows its callers. Never anything of a request.

import { ConfigurationError, InputError } from "./errors.js";

let settings = {};

export function configure({ gate, authenticate } = {}) {
  if (authenticate !== undefined && typeof authenticate !== "function") throw new InputError("`authenticate` is a function");
  settings = { gate, authenticate };
}

/** The gate that is given, or the application's. */
export function configured(gate = settings.gate) {
  if (!gate) throw new ConfigurationError("there is no gate: pass one, or `configure({ gate })` once");
  return gate;
}

/** What the application knows of the caller; undefined where it does not look. */
export async function authenticated(request) {
  return settings.authenticate && ((await settings.authenticate(request)) ?? null);
}
