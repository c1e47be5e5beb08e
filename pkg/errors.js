// Errors: each with a stable code, the HTTP status it is answered with, and one sentence that helps.

import { CODES, OURS } from "./codes.js";
import { own } from "./own.js";
import { report } from "./reports.js";

/** When to come back to what passes by itself, unless somebody knows better: the core's own. */
const RETRY_AFTER_MS = 5_000;

/** Whatever the package throws by itself. */
export class TenantgateError extends Error {
  name = "TenantgateError";
  [OURS] = true;
  /**
   * @param {string} code
   * @param {string} message
   * @param {{status?: number, details?: object, headers?: Record<string, string>, cause?: unknown}} [more]
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
    const body = problem ? { ...details, type: `urn:tenantgate:error:${code}`, title: message, status, code } : { error: { code, message, details } };
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

  /** Hono asks an error for its response where the application does not say what to do with it. */
  getResponse() {
    const { status, headers, body } = this.toReply();
    report(this, status);
    return new Response(body, { status, headers });
  }
}

/** What was handed over cannot be used: of a wrong type, too large, or it threw while it was read. */
export class InputError extends TenantgateError {
  name = "InputError";
  constructor(message, cause) {
    super("INVALID_INPUT", message, { status: 400, cause });
  }

  toReply(accept) {
    return within(this, accept);
  }
}

/** A document that was refused, with all its problems. */
export class DocumentError extends TenantgateError {
  name = "DocumentError";
  /** @param {{path: string, found: string, expected: string}[]} problems */
  constructor(problems) {
    super("INVALID_DOCUMENT", problems.map(({ path, found, expected }) => `${path}: found ${found}, expected ${expected}`).join("\n"), {
      status: 400, details: { problems },
    });
    this.problems = problems;
  }

  toReply(accept) {
    return within(this, accept);
  }
}

/** What is answered for an error that nobody expected: nothing of it is told. */
export class InternalError extends TenantgateError {
  name = "InternalError";
  constructor(cause) {
    super("INTERNAL", "something went wrong", { cause });
  }
}

/** Callers are not told what is wrong within: what is handed to the package is the application's. */
const within = (error, accept) => new InternalError(error).toReply(accept);

/** Something is missing in how the package is used, not in what a request says. */
export class ConfigurationError extends TenantgateError {
  name = "ConfigurationError";
  constructor(message, cause) {
    super("MISCONFIGURED", message, { cause });
  }

  toReply(accept) {
    return within(this, accept);
  }
}

/** The gate could not be asked, or failed within; the next question is answered again. */
export class GateFailedError extends TenantgateError {
  name = "GateFailedError";
  constructor(message, cause, status = 500) {
    super("GATE_FAILED", message, { status, cause });
  }

  toReply(accept) {
    return new TenantgateError(this.code, "the request could not be decided: try again shortly", { status: this.status }).toReply(accept);
  }
}

/** A request was denied. */
export class DeniedError extends TenantgateError {
  name = "DeniedError";
  /**
   * @param {string} code a code of decisions
   * @param {{details?: object, headers?: Record<string, string>, decision?: object, cause?: unknown}} [more]
   */
  constructor(code, { details, headers, decision = null, cause } = {}) {
    const [status, message] = own(CODES, code) ?? [403, "the request is denied"];
    super(code, message, { status, details, headers, cause });
    this.decision = decision;
  }
}

/** A class for the denials of one code. */
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
