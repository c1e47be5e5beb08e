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

/**
 * A gate for one tenant: `take(limits)` instead of `take(tenant, limits)`. `of`: the gate itself.
 */
export function boundTo(gate, tenant) {
  const bound = { of: gate, features: (context) => gate.features(tenant.id, context) };
  for (const name of ["check", "take", "release", "set", "meter", "reserve", "settle", "limits"]) {
    bound[name] = (...args) => gate[name](tenant.id, ...args);
  }
  return bound;
}

/** The caller as the application authenticates it; undefined if the application does not. */
export async function authenticated(request) {
  const { authenticate } = configuration();
  return authenticate && ((await authenticate(request)) ?? null);
}
