// Settings of the whole application: its gate, and how it authenticates callers. Holds nothing of a
// request.

import { ConfigurationError, InputError } from "./errors.js";
import { options } from "./input.js";

// Shared, even if the package was loaded twice, by `import` and by `require`.
const PLACE = Symbol.for("tenantgate.settings");
const configuration = () => globalThis[PLACE] ?? {};

export function configure(settings) {
  const { gate, authenticate } = options(settings, ["gate", "authenticate"], "`configure`");
  if (authenticate !== undefined && typeof authenticate !== "function") throw new InputError("`authenticate` must be a function");
  globalThis[PLACE] = { gate, authenticate };
}

/** The given gate, or the application's. */
export function configured(gate = configuration().gate) {
  if (!gate) throw new ConfigurationError("a gate is missing: pass one, or call `configure({ gate })` once");
  return gate;
}

/** The caller as the application authenticates it; undefined if the application does not. */
export async function authenticated(request) {
  const { authenticate } = configuration();
  return authenticate && ((await authenticate(request)) ?? null);
}
