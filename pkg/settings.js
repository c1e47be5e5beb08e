// What an application says once: its gate, and how it knows its callers. Never anything of a request.

import { ConfigurationError, InputError } from "./errors.js";
import { options } from "./input.js";

// One for all, also where the package was loaded twice, by `import` and by `require`.
const PLACE = Symbol.for("tenantgate.settings");
const configuration = () => globalThis[PLACE] ?? {};

export function configure(settings) {
  const { gate, authenticate } = options(settings, ["gate", "authenticate"], "`configure`");
  if (authenticate !== undefined && typeof authenticate !== "function") throw new InputError("`authenticate` is a function");
  globalThis[PLACE] = { gate, authenticate };
}

/** The gate that is given, or the application's. */
export function configured(gate = configuration().gate) {
  if (!gate) throw new ConfigurationError("there is no gate: pass one, or `configure({ gate })` once");
  return gate;
}

/** What the application knows of the caller; undefined where it does not look. */
export async function authenticated(request) {
  const { authenticate } = configuration();
  return authenticate && ((await authenticate(request)) ?? null);
}
