// Loads a WebAssembly module asynchronously: the implementation of `init`.

import { GateFailedError } from "./errors.js";
import { kind, unfound } from "./instance.js";

/**
 * Instantiates a part of the package, unless it is instantiated already. `source`: the argument of
 * `init`, or a function that returns it.
 */
export async function load(part, source) {
  if (part.loaded()) return;
  if (source === undefined) throw new GateFailedError(unfound(part), part.cause, 503);
  try {
    part.instantiate(await compile(typeof source === "function" ? await source() : source));
  } catch (error) {
    throw new GateFailedError(unfound(part), error, 503);
  }
}

/** Compiles a module from a URL, a `Response` or bytes; returns a compiled module unchanged. */
async function compile(source) {
  if (kind(source) === "WebAssembly.Module") return source;
  if (kind(source) === "ArrayBuffer" || ArrayBuffer.isView(source)) return WebAssembly.compile(source);
  const response = kind(source) === "Response" ? source : await fetch(source);
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  // Streaming compilation requires this content type, which some servers do not send.
  if (response.headers.get("content-type")?.startsWith("application/wasm")) return WebAssembly.compileStreaming(response);
  const bytes = await response.arrayBuffer();
  return WebAssembly.compile(bytes);
}
