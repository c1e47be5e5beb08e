/** Whatever the package throws by itself. */
export class TenantgateError extends Error {
  /**
   * @param code stable, in capitals: `TENANT_NOT_FOUND`
   * @param message one sentence that helps, and tells nothing of others
   * @param more `status`: of the HTTP answer, default 500; `details`: what belongs to the code; `headers`: of the answer
   * @example
   * throw new TenantgateError("SEAT_TAKEN", "somebody else has this seat", { status: 409 });
   */
  constructor(code: string, message: string, more?: { status?: number; details?: object; headers?: Record<string, string>; cause?: unknown });
  /** Stable; never renamed. */
  readonly code: string;
  /** The HTTP status it is answered with. */
  readonly status: number;
  /** What belongs to the code, such as `{feature, current_plan, upgrade_url}`. */
  readonly details: Record<string, unknown>;
  /** Headers of the answer, such as `ratelimit`. */
  readonly headers: Record<string, string>;
  /**
   * How it is answered: `{"error": {code, message, details}}`, or `application/problem+json` (RFC 9457) where `accept` asks for it.
   * @param accept the request's `Accept`; default: none
   */
  toReply(accept?: string | null): { status: number; headers: Record<string, string>; body: string };
  /** The same as a `Response`. Where the status is 5xx for a failure, the reason is written to the console, in one line. */
  getResponse(): Response;
}

/**
 * What was handed over cannot be used: of a wrong type, too large, or it threw while it was read (`cause`).
 * @example
 * if (error instanceof InputError) console.error(error.message, error.cause);
 */
export class InputError extends TenantgateError {
  constructor(message: string, cause?: unknown);
}

/**
 * A document was refused, with all its problems.
 * @example
 * if (error instanceof DocumentError) for (const { path, found, expected } of error.problems) console.error(path, found, expected);
 */
export class DocumentError extends TenantgateError {
  constructor(problems: Problem[]);
  /** Each with its JSON path, what stands there, and what may. */
  readonly problems: Problem[];
}

/** One thing wrong with a document. */
export interface Problem {
  /** A JSON path: `$.plans["pro@1"].limits.requests`. */
  path: string;
  found: string;
  expected: string;
}

/**
 * Something is missing in how the package is used. Callers of your application are told `INTERNAL`, nothing more.
 * @example
 * if (error instanceof ConfigurationError) process.exit(1);
 */
export class ConfigurationError extends TenantgateError {
  constructor(message: string, cause?: unknown);
}

/**
 * The gate could not be reached (status 503), or failed within and was made anew (500). What is asked next is answered again.
 * @example
 * if (error instanceof GateFailedError && error.status === 503) await retryLater();
 */
export class GateFailedError extends TenantgateError {
  constructor(message: string, cause?: unknown, status?: number);
}

/**
 * What is answered for an error that nobody expected.
 * @example
 * return new InternalError(error).getResponse();
 */
export class InternalError extends TenantgateError {
  constructor(cause?: unknown);
}

/**
 * A request was denied. Codes without a class of their own are of this one.
 * @example
 * if (error instanceof DeniedError) return error.getResponse();
 */
export class DeniedError extends TenantgateError {
  /**
   * @param code a code of decisions
   * @param more `details` of the code, `headers` of the answer, the `decision`
   */
  constructor(code: string, more?: Denial);
  /** The decision, where there is one. */
  readonly decision: object | null;
}

/** What belongs to a denial. */
export interface Denial {
  details?: object;
  headers?: Record<string, string>;
  decision?: object | null;
  cause?: unknown;
}

/** 404 `TENANT_NOT_FOUND`: the request names no tenant that exists. */
export class TenantNotFoundError extends DeniedError {
  /** @example throw new TenantNotFoundError(); */
  constructor(details?: object, more?: Denial);
}
/**
 * 403 `TENANT_MISMATCH`: the request names different tenants.
 * @example
 * throw new TenantMismatchError();
 */
export class TenantMismatchError extends DeniedError {
  constructor(details?: object, more?: Denial);
}
/**
 * 403 `TENANT_SUSPENDED`
 * @example
 * throw new TenantSuspendedError();
 */
export class TenantSuspendedError extends DeniedError {
  constructor(details?: object, more?: Denial);
}
/**
 * 403 `TENANT_INACTIVE`
 * @example
 * throw new TenantInactiveError();
 */
export class TenantInactiveError extends DeniedError {
  constructor(details?: object, more?: Denial);
}
/**
 * 401 `UNAUTHENTICATED`: no credential, or one that is not good.
 * @example
 * throw new UnauthenticatedError({}, { cause: error });
 */
export class UnauthenticatedError extends DeniedError {
  constructor(details?: object, more?: Denial);
}
/**
 * 403 `INSUFFICIENT_SCOPE`: the credential lacks `details.scopes`.
 * @example
 * throw new InsufficientScopeError({ scopes: ["api.write"] });
 */
export class InsufficientScopeError extends DeniedError {
  constructor(details?: { scopes?: string[] }, more?: Denial);
}
/**
 * 403 `FEATURE_NOT_AVAILABLE`, with `feature`, `current_plan`, `upgrade_url`.
 * @example
 * throw new FeatureNotAvailableError({ feature: "webhooks", current_plan: "free@1", upgrade_url: "/pricing" });
 */
export class FeatureNotAvailableError extends DeniedError {
  constructor(details?: { feature?: string; current_plan?: string | null; upgrade_url?: string }, more?: Denial);
}
/**
 * 429 `RATE_LIMITED`, with `rate`, `limit`, `retry_after_ms`.
 * @example
 * throw new RateLimitedError({ rate: "requests", limit: 100, retry_after_ms: 250 });
 */
export class RateLimitedError extends DeniedError {
  constructor(details?: { rate?: string; limit?: number; remaining?: number; requested?: number; retry_after_ms?: number }, more?: Denial);
}
/**
 * 429 `QUOTA_EXCEEDED`, with `quota`, `limit`, `used`, `requested`, `resets_at`, and every quota that refuses in `violations`.
 * @example
 * throw new QuotaExceededError({ quota: "api_calls", limit: 1000, used: 1000, requested: 1 });
 */
export class QuotaExceededError extends DeniedError {
  constructor(details?: { quota?: string; limit?: number; used?: number; requested?: number; resets_at?: string | null; violations?: object[] }, more?: Denial);
}
