// The WebAssembly instance of the gate. There is one at a time; a trap replaces it.

import { __wbg_reset_state as reset, initSync } from "./dist/tenantgate.js";
import { ConfigurationError, GateFailedError } from "./errors.js";
import { absence, ofThisRealm } from "./instance.js";

/** The number of earlier instances. Objects that belong to an earlier instance are invalid. */
export let generation = 0;
/** The memory of the instance; undefined before there is one. */
export let memory;

/** The gate as a part of the package that can be loaded. */
export const part = {
  file: "tenantgate_bg.wasm",
  loaded: () => memory !== undefined,
  /** Creates the instance, unless there is one. */
  instantiate(module) {
    memory ??= initSync({ module: ofThisRealm(module) }).memory;
  },
};

/** Throws if there is no instance yet. */
export function ready() {
  if (memory === undefined) throw new ConfigurationError(absence(part), part.cause);
}

/**
 * Replaces the instance after a trap or an unexpected exception, and returns the error to throw.
 * The memory of the old instance may be corrupt, so every object that belongs to it must be
 * recreated.
 */
export function failure(error) {
  reset();
  memory = initSync().memory;
  generation += 1;
  return new GateFailedError("the gate failed internally and was restarted; the counters of its in-memory ledger are lost", error);
}
