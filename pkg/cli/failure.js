// Failures of commands, with their exit codes, and secrets that must not be printed.

/** Exit codes. `no`: a negative answer, or an invalid document. */
export const EXIT = { done: 0, no: 1, usage: 2, unreachable: 3 };

/** The failure of a command. `message` is for people, `error` for programs. */
export class Failure extends Error {
  name = "Failure";

  /**
   * @param {string} message one sentence, without secrets
   * @param {{exit?: number, code?: string, details?: object, hint?: string}} [options] `hint`: what
   *   the user can do
   */
  constructor(message, { exit = EXIT.no, code = "FAILED", details = {}, hint } = {}) {
    super(message);
    Object.assign(this, { exit, code, details, hint });
  }

  /** The failure in the form of the API's errors. */
  get error() {
    return { code: this.code, message: this.message, details: this.details, ...(this.hint && { hint: this.hint }) };
  }
}

/** The command line is invalid. */
export const wrongUsage = (message) => new Failure(message, { exit: EXIT.usage, code: "WRONG_USAGE" });

/** The deployment does not answer, or is not a gate. */
export const unreachable = (message, code = "UNREACHABLE") => new Failure(message, { exit: EXIT.unreachable, code });

/** A document is invalid. */
export const invalid = (name, problems) =>
  new Failure(`\`${name}\` has ${problems.length} problem${problems.length === 1 ? "" : "s"}`, { code: "INVALID", details: { problems } });

const hidden = new Set();

/** Minimum length of a hidden text: a shorter one could be part of an ordinary word. */
const MIN_SECRET = 6;

/** Hides a secret in all later messages, as text and as JSON. */
export function hide(secret) {
  if (typeof secret !== "string" || secret.length < MIN_SECRET) return;
  hidden.add(secret).add(JSON.stringify(secret).slice(1, -1));
}

// tenantgate's keys, tokens and tickets, and JWTs, which a user may have typed in a wrong place.
const SECRETS = /\btg_[a-z]+_[0-9A-Za-z]{8,}|\beyJ[\w-]+\.[\w-]+\.[\w-]*/g;

/** Replaces the secrets in a text. */
export function masked(text) {
  let clean = text;
  for (const secret of hidden) clean = clean.replaceAll(secret, "***");
  return clean.replace(SECRETS, "***");
}
