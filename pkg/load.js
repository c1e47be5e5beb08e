// Loading a WebAssembly module, wherever it is.

import { GateFailedError } from "./errors.js";
import { absence, kind, unfound } from "./instance.js";

/** Makes the instance by what is given to `init`, unless there is one. */
export async function load(part, source) {
  if (part.loaded()) return;
  if (source === undefined) throw new GateFailedError(absence(part), part.cause, 503);
  try {
    part.instantiate(await compile(source));
  } catch (error) {
    throw new GateFailedError(unfound(part), error, 503);
  }
}

/** The module at an address, in a response, in bytes, or compiled already. A function finds the address. */
async function compile(source) {
  if (kind(source) === "WebAssembly.Module") return source;
  if (kind(source) === "ArrayBuffer" || ArrayBuffer.isView(source)) return WebAssembly.compile(source);
  const found = typeof source === "function" ? source() : source;
  const response = kind(found) === "Response" ? found : await fetch(found);
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  // Some servers do not know the type, without which a module is not compiled while it arrives.
  if (response.headers.get("content-type")?.startsWith("application/wasm")) return WebAssembly.compileStreaming(response);
  const bytes = await response.arrayBuffer();
  return WebAssembly.compile(bytes);
}
