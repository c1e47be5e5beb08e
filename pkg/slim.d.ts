// The entry point for applications that load the module themselves.

import type { WasmModule } from "./index.js";

export * from "./index.js";

/**
 * Instantiates the module `tenantgate/dist/tenantgate_bg.wasm`.
 * @param source its URL, a response with it, its bytes, or the compiled module
 * @throws {GateFailedError} if it could not be loaded
 * @example
 * import wasm from "tenantgate/dist/tenantgate_bg.wasm";
 * await init(wasm);
 */
export function init(source: string | URL | Response | WasmModule): Promise<void>;

/**
 * The same synchronously, if the runtime allows it.
 * @example
 * initSync(readFileSync("tenantgate_bg.wasm"));
 */
export function initSync(module: WasmModule): void;
