// The entry for browsers and bundlers: `await init()` once, then use the rest.
import { instantiate } from "./gate.js";

/**
 * Fetches and instantiates the module.
 * @param {string | URL | Response | WebAssembly.Module} [source] where it is; default: beside this file
 */
export async function init(source = new URL("./dist/tenantgate_bg.wasm", import.meta.url)) {
  if (source instanceof WebAssembly.Module) return instantiate(source);
  const response = source instanceof Response ? source : await fetch(source);
  instantiate(await response.arrayBuffer());
}

export { DocumentError, Gate, issueApiKey, publish, verifyAssertion } from "./gate.js";
