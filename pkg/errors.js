// Errors, each with a stable code, an HTTP status, and a message that says what to do.

import { CODES, OURS } from "./codes.js";
import { own } from "./own.js";
import { report } from "./reports.js";

/** The default `Retry-After` of status 503, in milliseconds; the core uses the same. */
const RETRY_AFTER_MS = 5_000;

/** The base class of all errors of the package. */
export class TenantgateError extends Error {
  name = "TenantgateError";
  [OURS] = true;
  /**
   * @param {string} code
   * @param {string} message
   * @param {{status?: number, details?: object, headers?: Record<string, string>, cause?: unknown}}
   *   [more]
   */
  constructor(code, message, { status = 500, details = {}, headers = {}, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.status = status;
    this.details = details;
    this.headers = headers;
  }

  toReply(accept) {
    const { status, code, message, details, headers } = this;
    const problem = accept?.includes("application/problem+json");
    const body = problem
      ? { ...details, type: `urn:tenantgate:error:${code}`, title: message, status, code }
      : { error: { code, message, details } };
    const waitMs = details?.retry_after_ms ?? (status === 503 ? RETRY_AFTER_MS : undefined);
    return {
      status,
      headers: {
        "content-type": problem ? "application/problem+json" : "application/json",
        "cache-control": "private, no-store",
        ...(status === 401 ? { "www-authenticate": 'Bearer realm="tenantgate"' } : {}),
        ...(Number.isFinite(waitMs) ? { "retry-after": String(Math.max(1, Math.ceil(waitMs / 1000))) } : {}),
        ...headers,
      },
      body: JSON.stringify(body),
    };
  }

  /** Hono calls this for an error that the application does not handle. */
  getResponse() {
    const { status, headers, body } = this.toReply();
    report(this, status);
    return new Response(body, { status, headers });
  }
}

/** An argument is invalid: it has the wrong type, is too large, or threw while it was read. */
export class InputError extends TenantgateError {
  name = "InputError";
  constructor(message, cause) {
    super("INVALID_INPUT", message, { status: 400, cause });
  }

  toReply(accept) {
    return within(this, accept);
  }
}

/** A document is invalid; carries all its problems. */
export class DocumentError extends TenantgateError {
  name = "DocumentError";
  /** @param {{path: string, found: string, expected: string}[]} problems */
  constructor(problems) {
    const lines = problems.map(({ path, found, expected }) => `${path}: found ${found}, expected ${expected}`);
    super("INVALID_DOCUMENT", lines.join("\n"), { status: 400, details: { problems } });
    this.problems = problems;
  }

  toReply(accept) {
    return within(this, accept);
  }
}

/** A query that cannot be kept within one tenant, and so has not reached the database. */
export class TenantScopeError extends TenantgateError {
  name = "TenantScopeError";
  constructor(sentence) {
    super("TENANT_SCOPE", sentence, { status: 500 });
  }

  toReply(accept) {
    return within(this, accept);
  }
}

/** The reply to an unexpected error. Reveals nothing about it. */
export class InternalError extends TenantgateError {
  name = "InternalError";
  constructor(cause) {
    super("INTERNAL", "something went wrong", { cause });
  }
}

/**
 * The reply to a mistake of the application. The arguments are the application's, not the caller's,
 * so the reply reveals nothing about them.
 */
const within = (error, accept) => new InternalError(error).toReply(accept);

/** The application uses the package incorrectly, for instance without a required option. */
export class ConfigurationError extends TenantgateError {
  name = "ConfigurationError";
  constructor(message, cause) {
    super("MISCONFIGURED", message, { cause });
  }

  toReply(accept) {
    return within(this, accept);
  }
}

/** The gate is unreachable or failed internally. The next call may succeed. */
export class GateFailedError extends TenantgateError {
  name = "GateFailedError";
  constructor(message, cause, status = 500) {
    super("GATE_FAILED", message, { status, cause });
  }

  toReply(accept) {
    const { code, status } = this;
    return new TenantgateError(code, "the request could not be decided: try again shortly", { status }).toReply(accept);
  }
}

/** A request was denied. */
export class DeniedError extends TenantgateError {
  name = "DeniedError";
  /**
   * @param {string} code a decision code
   * @param {{details?: object, headers?: Record<string, string>, decision?: object, cause?:
   *   unknown}} [more]
   */
  constructor(code, { details, headers, decision = null, cause } = {}) {
    const [status, message] = own(CODES, code) ?? [403, "the request is denied"];
    super(code, message, { status, details, headers, cause });
    this.decision = decision;
  }
}

/** Makes the error class for one code. */
const denial = (name, code) => ({
  [name]: class extends DeniedError {
    name = name;
    constructor(details = {}, more = {}) {
      super(code, { details, ...more });
    }
  },
})[name];

export const TenantNotFoundError = denial("TenantNotFoundError", "TENANT_NOT_FOUND");
export const TenantMismatchError = denial("TenantMismatchError", "TENANT_MISMATCH");
export const TenantSuspendedError = denial("TenantSuspendedError", "TENANT_SUSPENDED");
export const TenantInactiveError = denial("TenantInactiveError", "TENANT_INACTIVE");
export const UnauthenticatedError = denial("UnauthenticatedError", "UNAUTHENTICATED");
export const InsufficientScopeError = denial("InsufficientScopeError", "INSUFFICIENT_SCOPE");
export const FeatureNotAvailableError = denial("FeatureNotAvailableError", "FEATURE_NOT_AVAILABLE");
export const RateLimitedError = denial("RateLimitedError", "RATE_LIMITED");
export const QuotaExceededError = denial("QuotaExceededError", "QUOTA_EXCEEDED");
