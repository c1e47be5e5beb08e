// Making the instance of a WebAssembly module that is at hand, and what to say of one that is not.

/** What a value says that it is. Tests and the edge runtime of Next.js have realms of their own, where `instanceof` does not tell. */
export const kind = (value) => Object.prototype.toString.call(value).slice("[object ".length, -1);

/** A module that the glue takes for one, whichever realm it was compiled in. */
export function ofThisRealm(module) {
  const { Module } = WebAssembly;
  if (kind(module) === "WebAssembly.Module" && !(module instanceof Module)) Object.setPrototypeOf(module, Module.prototype);
  return module;
}

/**
 * Makes the instance of a part of the package, where its module is at hand. That this fails is told once the module is needed: to
 * import the package never fails.
 * @param {{file: string, loaded: () => boolean, instantiate: (module: object) => void, cause?: unknown}} part
 * @param {() => object} find the module, or its bytes
 */
export function instantiateNow(part, find) {
  try {
    part.instantiate(find());
  } catch (error) {
    part.cause = error;
  }
}

/** What to say where there is no instance yet. */
export function absence({ file, cause }) {
  const more = `, or give that the bytes of \`tenantgate/dist/${file}\`, or leave \`tenantgate\` out of the bundle`;
  return `the WebAssembly module is not loaded yet: \`await init()\` first${cause === undefined ? "" : more}`;
}

/** What to say where `init` has looked for the module. */
export function unfound({ file }) {
  const ways = `give \`init\` the bytes or the address of \`tenantgate/dist/${file}\`, or leave \`tenantgate\` out of the bundle`;
  return `the WebAssembly module could not be loaded: ${ways}`;
}
