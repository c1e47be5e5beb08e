// The entry for those who bring the module themselves.

import type { WasmModule } from "./index.js";

export * from "./index.js";

/**
 * Instantiates the module that you bring: `tenantgate/dist/tenantgate_bg.wasm`.
 * @param source where it is, its bytes, or compiled
 * @throws {GateFailedError} it could not be loaded
 * @example
 * import wasm from "tenantgate/dist/tenantgate_bg.wasm";
 * await init(wasm);
 */
export function init(source: string | URL | Response | WasmModule): Promise<void>;

/**
 * The same without waiting, where the runtime allows it.
 * @example
 * initSync(readFileSync("tenantgate_bg.wasm"));
 */
export function initSync(module: WasmModule): void;
