// Maps decision codes to errors, and errors to HTTP replies.

import { OURS } from "./codes.js";
import {
  DeniedError, FeatureNotAvailableError, InputError, InsufficientScopeError, InternalError, QuotaExceededError, RateLimitedError,
  TenantInactiveError, TenantMismatchError, TenantNotFoundError, TenantSuspendedError, UnauthenticatedError,
} from "./errors.js";
import { own } from "./own.js";

const CLASSES = {
  TENANT_NOT_FOUND: TenantNotFoundError,
  TENANT_MISMATCH: TenantMismatchError,
  TENANT_SUSPENDED: TenantSuspendedError,
  TENANT_INACTIVE: TenantInactiveError,
  UNAUTHENTICATED: UnauthenticatedError,
  INSUFFICIENT_SCOPE: InsufficientScopeError,
  FEATURE_NOT_AVAILABLE: FeatureNotAvailableError,
  RATE_LIMITED: RateLimitedError,
  QUOTA_EXCEEDED: QuotaExceededError,
};

/** The error for the code of a denial. */
export function denied(code, more = {}) {
  const Denial = own(CLASSES, code);
  return Denial ? new Denial(more.details, more) : new DeniedError(code, more);
}

/** The error for a denial. */
export const denial = (decision, headers = {}) => denied(decision.code, { details: decision.error?.details, headers, decision });

/**
 * The error for a decision that denies, in either form. Its response has the status of the denial,
 * and says when to try again.
 */
export function denialOf(decision) {
  if (typeof decision?.code !== "string" || decision.allowed !== false) throw new InputError("`denialOf` needs a decision that denies");
  const waits = decision.retry_after_ms ?? decision.error?.details?.retry_after_ms;
  const headers = typeof waits === "number" ? { "retry-after": String(Math.max(1, Math.ceil(waits / 1_000))) } : {};
  return denial(decision, headers);
}

/** Whether an error is one of the package's own. */
export const isOurs = (error) => error?.[OURS] === true;

/**
 * The response that another library's error carries, such as Hono's `HTTPException`; undefined if
 * it carries none.
 */
export function ownResponse(error) {
  if (isOurs(error) || typeof error?.getResponse !== "function") return undefined;
  try {
    const response = error.getResponse();
    return response.status >= 200 && !response.bodyUsed ? response : undefined;
  } catch {
    return undefined;
  }
}

/** The HTTP reply to an error. Reveals nothing about an error that is not the package's own. */
export const replyTo = (error, accept) => (isOurs(error) ? error : new InternalError(error)).toReply(accept);
