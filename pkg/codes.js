// Decision codes with their HTTP status and message. A test keeps this table equal to the core's.

import { own } from "./own.js";

export const CODES = {
  BAD_REQUEST: [400, "the request cannot be read: check host, path, query and tenant header"],
  TENANT_AMBIGUOUS: [400, "the request names its tenant more than once in one place: send it once"],
  UNAUTHENTICATED: [401, "this request needs a valid token or API key of its tenant"],
  TENANT_NOT_FOUND: [404, "no such tenant: check the address or the tenant header"],
  TENANT_MISMATCH: [403, "the request names different tenants in different places"],
  INSUFFICIENT_SCOPE: [403, "the token or API key does not allow this"],
  ORIGIN_NOT_ALLOWED: [403, "pages of this origin may not call this: its CORS policy does not name it"],
  TENANT_SUSPENDED: [403, "this account is suspended: contact support"],
  TENANT_INACTIVE: [403, "this account is not active"],
  TENANT_PROVISIONING: [503, "this account is being set up: try again shortly"],
  TENANT_MAINTENANCE: [503, "this account is under maintenance: try again shortly"],
  RESIDENCY_VIOLATION: [451, "this account cannot be served from this location"],
  FEATURE_NOT_AVAILABLE: [403, "this feature is not part of the current plan"],
  TENANT_CIRCUIT_OPEN: [503, "the service does not work for this account right now: try again shortly"],
  RATE_LIMITED: [429, "too many requests: slow down and try again later"],
  CONCURRENCY_LIMITED: [429, "too many requests at the same time: wait until one has ended"],
  QUOTA_EXCEEDED: [429, "the plan's allowance is used up"],
  IDEMPOTENCY_KEY_REUSED: [422, "this idempotency key was used for another request: choose a new one"],
  RESOLVER_FAILED: [503, "the tenant could not be determined: try again shortly"],
  ISSUER_UNAVAILABLE: [503, "the token could not be checked: try again shortly"],
  SNAPSHOT_UNAVAILABLE: [503, "the account's settings could not be loaded: try again shortly"],
  LEDGER_UNAVAILABLE: [503, "usage could not be checked: try again shortly"],
};

/**
 * Marks the package's own errors, even if the package was loaded twice, by `import` and by
 * `require`.
 */
export const OURS = Symbol.for("tenantgate.error");

/** The HTTP status of a decision. */
export const statusOf = (code) => (code === "ALLOWED" ? 200 : (own(CODES, code)?.[0] ?? 403));
