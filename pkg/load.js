// Loading a WebAssembly module, wherever it is.

import { GateFailedError } from "./errors.js";
import { kind, unfound } from "./instance.js";

/** Makes the instance by what is given to `init`, unless there is one. A function finds out what that is. */
export async function load(part, source) {
  if (part.loaded()) return;
  if (source === undefined) throw new GateFailedError(unfound(part), part.cause, 503);
  try {
    part.instantiate(await compile(typeof source === "function" ? await source() : source));
  } catch (error) {
    throw new GateFailedError(unfound(part), error, 503);
  }
}

/** The module at an address, in a response, in bytes, or compiled already. */
async function compile(source) {
  if (kind(source) === "WebAssembly.Module") return source;
  if (kind(source) === "ArrayBuffer" || ArrayBuffer.isView(source)) return WebAssembly.compile(source);
  const response = kind(source) === "Response" ? source : await fetch(source);
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  // Some servers do not know the type, without which a module is not compiled while it arrives.
  if (response.headers.get("content-type")?.startsWith("application/wasm")) return WebAssembly.compileStreaming(response);
  const bytes = await response.arrayBuffer();
  return WebAssembly.compile(bytes);
}
