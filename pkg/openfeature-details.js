// Answers as OpenFeature has them.

import { isOurs } from "./denials.js";
import { readable } from "./input.js";

const REASONS = {
  KILLED: "DISABLED", PREREQUISITE: "DISABLED", OVERRIDE: "TARGETING_MATCH", ADDON: "TARGETING_MATCH", CONTRACT: "TARGETING_MATCH",
  PLAN: "TARGETING_MATCH", RULE: "TARGETING_MATCH", ROLLOUT: "SPLIT", DEFAULT: "DEFAULT",
};

/** Whether a value is of the kind that is asked for. */
const KINDS = {
  boolean: (value) => typeof value === "boolean",
  string: (value) => typeof value === "string",
  number: (value) => typeof value === "number",
  object: (value) => typeof value === "object" && value !== null,
};

/** What an answer says to a question of a kind; the default value where it says nothing that fits. */
export function details(answer, kind, fallback) {
  if (answer.tier === "unknown") return failed(fallback, "FLAG_NOT_FOUND", "the catalog has no such feature");
  if (!KINDS[kind](answer.value)) return failed(fallback, "TYPE_MISMATCH", `the feature's value is no ${kind}`);
  const { value, variant, tier, reason, rule } = answer;
  return {
    value,
    reason: REASONS[reason] ?? "UNKNOWN",
    ...(variant === null ? {} : { variant }),
    flagMetadata: { tier, reason, ...(rule === null ? {} : { rule }) },
  };
}

/** What is said where the gate gives no answer; other errors are not its own, and go on. */
export function unanswered(error, fallback) {
  if (!isOurs(error)) throw error;
  return failed(fallback, error.code === "INVALID_INPUT" ? "INVALID_CONTEXT" : "GENERAL", `${error.code}: ${error.message}`);
}

export const failed = (value, errorCode, errorMessage) => ({ value, reason: "ERROR", errorCode, errorMessage });

/** An evaluation context as attributes that rules can read: text, numbers, booleans; a date as RFC 3339. */
export function attributes({ targetingKey, ...context }) {
  const entries = Object.entries(context).map(([name, value]) => [name, value instanceof Date && !Number.isNaN(value.getTime()) ? value.toISOString() : value]);
  return readable({ targeting_key: targetingKey, ...Object.fromEntries(entries) });
}
