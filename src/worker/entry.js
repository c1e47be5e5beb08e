// The Worker's entry: a plain handler and a plain class, so that the runtime builds no object for a
// request, and the WebAssembly instance behind them.

import { __wbg_reset_state as reset, fetch, initSync, scheduled, TenantLedger as Ledger } from "./index.js";
import module from "./index_bg.wasm";

// A trap is far from where it began.
Error.stackTraceLimit = 100;

const { memory, __instance_terminated: terminated } = initSync({ module });
/** The flag that wasm-bindgen sets in an instance that has trapped. Its address is part of the module. */
const FLAG = terminated.value / 4;
let words = new Int32Array(memory.buffer);
let instance = { memory };
/** The number of instances before this one. */
let generation = 0;

/**
 * Makes a new instance if the current one has trapped: nothing in its memory can be relied on. Closures
 * and objects of the old instance throw from then on.
 */
function ready() {
  // Memory that has grown has a new buffer.
  if (words.length === 0) words = new Int32Array(instance.memory.buffer);
  if (words[FLAG] === 0) return;
  console.error("The WebAssembly instance has trapped; a new one takes its place.");
  reset();
  instance = initSync();
  words = new Int32Array(instance.memory.buffer);
  generation += 1;
}

export default {
  fetch(request, env, context) {
    ready();
    const answer = fetch(request, env, context);
    // Started work comes to its end even if the client leaves: other requests may wait for it, and an
    // origin is not interrupted.
    if (answer instanceof Promise) context.waitUntil(answer);
    return answer;
  },
  scheduled(_, env, context) {
    ready();
    return scheduled(env, context);
  },
};

/** The Durable Object. After a trap its state is read from storage again. */
class TenantLedger {
  #state;
  #env;
  #ledger;
  #generation;

  constructor(state, env) {
    this.#state = state;
    this.#env = env;
    this.#current();
  }

  #current() {
    ready();
    if (this.#generation !== generation) {
      this.#ledger = new Ledger(this.#state, this.#env);
      this.#generation = generation;
    }
    return this.#ledger;
  }

  fetch(request) {
    return this.#current().fetch(request);
  }

  alarm() {
    return this.#current().alarm();
  }
}

export { TenantLedger };
