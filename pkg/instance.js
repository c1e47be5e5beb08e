// Instantiates a WebAssembly module that is available synchronously, and explains its absence
// otherwise.

/**
 * The class of a value, by its tag. Tests and the edge runtime of Next.js have realms of their own,
 * in which `instanceof` fails.
 */
export const kind = (value) => Object.prototype.toString.call(value).slice("[object ".length, -1);

/** Makes a module compiled in another realm pass the `instanceof` check of wasm-bindgen's glue. */
export function ofThisRealm(module) {
  const { Module } = WebAssembly;
  if (kind(module) === "WebAssembly.Module" && !(module instanceof Module)) Object.setPrototypeOf(module, Module.prototype);
  return module;
}

/**
 * Instantiates a part of the package if its module is available. Importing the package never fails,
 * so a failure is kept as `cause` and reported when the module is needed.
 * @param {{file: string, loaded: () => boolean, instantiate: (module: object) => void, cause?:
 *   unknown}} part
 * @param {() => object} find returns the module or its bytes
 */
export function instantiateNow(part, find) {
  try {
    part.instantiate(find());
  } catch (error) {
    part.cause = error;
  }
}

/** The message for a part that is used before it is instantiated. */
export function absence({ file, cause }) {
  const more = `, or pass it the bytes of \`tenantgate/dist/${file}\`, or exclude \`tenantgate\` from the bundle`;
  return `the WebAssembly module is not loaded yet: call \`await init()\` first${cause === undefined ? "" : more}`;
}

/** The message for a module that `init` cannot load. */
export function unfound({ file }) {
  const ways = `pass \`init\` the bytes or the URL of \`tenantgate/dist/${file}\`, or exclude \`tenantgate\` from the bundle`;
  return `the WebAssembly module could not be loaded: ${ways}`;
}
