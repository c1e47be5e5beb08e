// The WebAssembly instance: made once, and anew after a trap.

import { __wbg_reset_state as reset, initSync } from "./dist/tenantgate.js";
import { ConfigurationError, GateFailedError } from "./errors.js";
import { absence, ofThisRealm } from "./instance.js";

/** How many instances there have been before this one: what belongs to an earlier one is gone. */
export let generation = 0;
/** Its memory; undefined before there is an instance. */
export let memory;

/** The gate, as what is loaded. */
export const part = {
  file: "tenantgate_bg.wasm",
  loaded: () => memory !== undefined,
  /** Makes the instance, unless there is one. */
  instantiate(module) {
    memory ??= initSync({ module: ofThisRealm(module) }).memory;
  },
};

/** Throws where there is no instance yet. */
export function ready() {
  if (memory === undefined) throw new ConfigurationError(absence(part), part.cause);
}

/**
 * What to throw where the module has failed: it has trapped, or thrown what it never does by itself. Nothing in its memory can be
 * relied on then: there is a new instance, and whoever holds something of the old one makes it again.
 */
export function failure(error) {
  reset();
  memory = initSync().memory;
  generation += 1;
  return new GateFailedError("the gate failed within and was made anew; what its ledger in memory had counted is lost", error);
}
