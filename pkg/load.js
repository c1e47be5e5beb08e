// Loading a WebAssembly module, wherever it is.

import { GateFailedError } from "./errors.js";

/** The module at an address, in a response, in bytes, or compiled already. */
export async function compile(source) {
  if (source instanceof WebAssembly.Module) return source;
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return WebAssembly.compile(source);
  let response;
  try {
    response = source instanceof Response ? source : await fetch(source);
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
  } catch (error) {
    throw new GateFailedError("the WebAssembly module could not be loaded", error, 503);
  }
  // Some servers do not know the type, without which a module is not compiled while it arrives.
  const streams = response.headers.get("content-type")?.startsWith("application/wasm") ?? false;
  return streams ? WebAssembly.compileStreaming(response) : WebAssembly.compile(await response.arrayBuffer());
}
