// The exports that both entries for Workers have in common, besides those of `in-worker.js`.
export * from "./errors.js";
export { denialOf } from "./denials.js";
export { Features } from "./features.js";
export { onError, requireFeature } from "./hono-middleware.js";
export { getCurrentTenant, owned } from "./tenancy.js";
