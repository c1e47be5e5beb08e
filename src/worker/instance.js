// The WebAssembly instance of an isolate. There is one at a time; a trap replaces it.

import { __wbg_reset_state as reset, initSync } from "./index.js";
import module from "./index_bg.wasm";

// A trap is far from where it began.
Error.stackTraceLimit = 100;

const { memory: first, __instance_terminated: terminated } = initSync({ module });
/**
 * The flag that wasm-bindgen sets in an instance that has trapped. Its address is part of the
 * module.
 */
const FLAG = terminated.value / 4;

/** The memory of the instance. */
export let memory = first;
/** The number of instances before this one. */
export let generation = 0;
let words = new Int32Array(memory.buffer);

/**
 * Makes a new instance if the current one has trapped: nothing in its memory can be relied on.
 * Closures and objects of the old instance throw from then on.
 */
export function ready() {
  // Memory that has grown has a new buffer.
  if (words.length === 0) words = new Int32Array(memory.buffer);
  if (words[FLAG] === 0) return;
  console.error("The WebAssembly instance has trapped; a new one takes its place.");
  reset();
  ({ memory } = initSync());
  words = new Int32Array(memory.buffer);
  generation += 1;
}

/**
 * Returns a function that gives an object of the current instance. `make` makes it, again after a
 * trap.
 */
export function ofInstance(make) {
  let made, own;
  return () => {
    ready();
    if (own !== generation) {
      made = make();
      own = generation;
    }
    return made;
  };
}
