// From codes to errors, and from errors to what is answered.

import { OURS } from "./codes.js";
import {
  DeniedError, FeatureNotAvailableError, InsufficientScopeError, InternalError, QuotaExceededError, RateLimitedError, TenantInactiveError, TenantMismatchError,
  TenantNotFoundError, TenantSuspendedError, UnauthenticatedError,
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

/** The error that a code of a denial stands for. */
export function denied(code, more = {}) {
  const Denial = own(CLASSES, code);
  return Denial ? new Denial(more.details, more) : new DeniedError(code, more);
}

/** The error that a decision stands for. */
export const denial = (decision, headers = {}) => denied(decision.code, { details: decision.error?.details, headers, decision });

/** Whether an error is the package's. */
export const isOurs = (error) => error?.[OURS] === true;

/** The response that another library's error carries, such as Hono's `HTTPException`; undefined if it carries none. */
export function ownResponse(error) {
  if (isOurs(error) || typeof error?.getResponse !== "function") return undefined;
  try {
    const response = error.getResponse();
    return response.status >= 200 && !response.bodyUsed ? response : undefined;
  } catch {
    return undefined;
  }
}

/** An error as it is answered: of one that is not the package's nothing is told. */
export const replyTo = (error, accept) => (isOurs(error) ? error : new InternalError(error)).toReply(accept);
