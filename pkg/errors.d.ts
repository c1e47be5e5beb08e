/** The base class of all errors of the package. */
export class TenantgateError extends Error {
  /**
   * @param code stable, in capitals, such as `TENANT_NOT_FOUND`
   * @param message one sentence that says what to do, and reveals nothing about other tenants
   * @param more `status`: of the HTTP reply, default 500; `details`: data that belongs to the code;
   *   `headers`: of the reply
   * @example
   * throw new TenantgateError("SEAT_TAKEN", "this seat is taken", { status: 409 });
   */
  constructor(
    code: string, message: string, more?: { status?: number; details?: object; headers?: Record<string, string>; cause?: unknown },
  );
  /** Stable: codes are never renamed. */
  readonly code: string;
  /** The HTTP status of the reply. */
  readonly status: number;
  /** Data that belongs to the code, such as `{feature, current_plan, upgrade_url}`. */
  readonly details: Record<string, unknown>;
  /** Headers of the reply, such as `ratelimit`. */
  readonly headers: Record<string, string>;
  /**
   * The HTTP reply: `{"error": {code, message, details}}`, or `application/problem+json` (RFC 9457)
   * if `accept` asks for it.
   * @param accept the request's `Accept` header, if any
   */
  toReply(accept?: string | null): { status: number; headers: Record<string, string>; body: string };
  /**
   * The reply as a `Response`. For a failure (5xx), also writes the reason to the console, in one
   * line.
   */
  getResponse(): Response;
}

/**
 * An argument is invalid: it has the wrong type, is too large, or threw while it was read
 * (`cause`).
 * @example
 * if (error instanceof InputError) console.error(error.message, error.cause);
 */
export class InputError extends TenantgateError {
  constructor(message: string, cause?: unknown);
}

/**
 * A document is invalid; carries all its problems.
 * @example
 * if (error instanceof DocumentError) for (const { path, found, expected } of error.problems) console.error(path, found, expected);
 */
export class DocumentError extends TenantgateError {
  constructor(problems: Problem[]);
  /** Each with its JSON path, what was found there, and what was expected. */
  readonly problems: Problem[];
}

/** One problem of a document. */
export interface Problem {
  /** A JSON path, such as `$.plans["pro@1"].limits.requests`. */
  path: string;
  found: string;
  expected: string;
}

/**
 * The application uses the package incorrectly. The reply to its callers is `INTERNAL`, without
 * details.
 * @example
 * if (error instanceof ConfigurationError) process.exit(1);
 */
export class ConfigurationError extends TenantgateError {
  constructor(message: string, cause?: unknown);
}

/**
 * The gate is unreachable (status 503), or failed internally and was restarted (500). The next call
 * may succeed.
 * @example
 * if (error instanceof GateFailedError && error.status === 503) await retryLater();
 */
export class GateFailedError extends TenantgateError {
  constructor(message: string, cause?: unknown, status?: number);
}

/**
 * A query that cannot be kept within one tenant, and so has not reached the database: a mistake of
 * the program. The code is `TENANT_SCOPE`.
 * @example
 * if (error instanceof TenantScopeError) console.error(error.message);
 */
export class TenantScopeError extends TenantgateError {
  constructor(sentence: string);
}

/**
 * The reply to an unexpected error. Reveals nothing about it.
 * @example
 * return new InternalError(error).getResponse();
 */
export class InternalError extends TenantgateError {
  constructor(cause?: unknown);
}

/**
 * A request was denied. Codes without a class of their own use this class.
 * @example
 * if (error instanceof DeniedError) return error.getResponse();
 */
export class DeniedError extends TenantgateError {
  /**
   * @param code a decision code
   * @param more `details` of the code, `headers` of the reply, the `decision`
   */
  constructor(code: string, more?: Denial);
  /** The decision, if a gate made one. */
  readonly decision: object | null;
}

/** The data of a denial. */
export interface Denial {
  details?: object;
  headers?: Record<string, string>;
  decision?: object | null;
  cause?: unknown;
}

/**
 * 404 `TENANT_NOT_FOUND`: the request does not name an existing tenant.
 * @example
 * throw new TenantNotFoundError();
 */
export class TenantNotFoundError extends DeniedError {
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
 * 401 `UNAUTHENTICATED`: the credential is missing or invalid.
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
  constructor(
    details?: { rate?: string; limit?: number; remaining?: number; requested?: number; retry_after_ms?: number }, more?: Denial,
  );
}
/**
 * 429 `QUOTA_EXCEEDED`, with `quota`, `limit`, `used`, `requested`, `resets_at`, and all exceeded
 * quotas in `violations`.
 * @example
 * throw new QuotaExceededError({ quota: "api_calls", limit: 1000, used: 1000, requested: 1 });
 */
export class QuotaExceededError extends DeniedError {
  constructor(
    details?: {
      quota?: string; limit?: number; used?: number; requested?: number; resets_at?: string | null; violations?: object[];
    },
    more?: Denial,
  );
}
