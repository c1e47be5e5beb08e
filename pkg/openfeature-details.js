// Converts answers to OpenFeature's resolution details.

import { isOurs } from "./denials.js";
import { readable } from "./input.js";

const REASONS = {
  KILLED: "DISABLED", PREREQUISITE: "DISABLED", OVERRIDE: "TARGETING_MATCH", ADDON: "TARGETING_MATCH", CONTRACT: "TARGETING_MATCH",
  PLAN: "TARGETING_MATCH", RULE: "TARGETING_MATCH", ROLLOUT: "SPLIT", DEFAULT: "DEFAULT",
};

/** Whether a value has the requested type. */
const KINDS = {
  boolean: (value) => typeof value === "boolean",
  string: (value) => typeof value === "string",
  number: (value) => typeof value === "number",
  object: (value) => typeof value === "object" && value !== null,
};

/** The resolution details of an answer; the default value if the answer has another type. */
export function details(answer, kind, fallback) {
  if (answer.tier === "unknown") return failed(fallback, "FLAG_NOT_FOUND", "the catalog has no such feature");
  if (!KINDS[kind](answer.value)) return failed(fallback, "TYPE_MISMATCH", `the feature's value is not of type ${kind}`);
  const { value, variant, tier, reason, rule } = answer;
  return {
    value,
    reason: REASONS[reason] ?? "UNKNOWN",
    ...(variant === null ? {} : { variant }),
    flagMetadata: { tier, reason, ...(rule === null ? {} : { rule }) },
  };
}

/** The resolution details if the gate failed. Rethrows an error that is not the package's own. */
export function unanswered(error, fallback) {
  if (!isOurs(error)) throw error;
  return failed(fallback, error.code === "INVALID_INPUT" ? "INVALID_CONTEXT" : "GENERAL", `${error.code}: ${error.message}`);
}

export const failed = (value, errorCode, errorMessage) => ({ value, reason: "ERROR", errorCode, errorMessage });

const isDate = (value) => value instanceof Date && !Number.isNaN(value.getTime());

/**
 * Converts an evaluation context to attributes that rules can read: strings, numbers and booleans.
 * A date becomes RFC 3339 text.
 */
export function attributes({ targetingKey, ...context }) {
  const entries = Object.entries(context).map(([name, value]) => [name, isDate(value) ? value.toISOString() : value]);
  return readable({ targeting_key: targetingKey, ...Object.fromEntries(entries) });
}
