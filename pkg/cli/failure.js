// Why a command ends early, and with which exit code.

/** What the process ends with. */
export const EXIT = { done: 0, no: 1, usage: 2, unreachable: 3 };

/** A command that ends early. Its message is for people; `error` is the same for machines. */
export class Failure extends Error {
  name = "Failure";

  /**
   * @param {string} message one sentence, without secrets
   * @param {{exit?: number, code?: string, details?: object, hint?: string}} [options] `hint`: what to do about it
   */
  constructor(message, { exit = EXIT.no, code = "FAILED", details = {}, hint } = {}) {
    super(message);
    Object.assign(this, { exit, code, details, hint });
  }

  /** The envelope of the API's own errors. */
  get error() {
    return { code: this.code, message: this.message, details: this.details, ...(this.hint && { hint: this.hint }) };
  }
}

/** What was typed makes no sense. */
export const wrongUsage = (message) => new Failure(message, { exit: EXIT.usage, code: "WRONG_USAGE" });

/** Nobody answers, or somebody else than a gate does. */
export const unreachable = (message, code = "UNREACHABLE") => new Failure(message, { exit: EXIT.unreachable, code });

/** A document with problems, each with its JSON path. */
export const invalid = (name, problems) =>
  new Failure(`\`${name}\` has ${problems.length} problem${problems.length === 1 ? "" : "s"}`, { code: "INVALID", details: { problems } });

const hidden = new Set();

/** Shorter texts are parts of words. */
const MIN_SECRET = 6;

/** From now on this text is in no message, be it for people or as JSON. */
export function hide(secret) {
  if (typeof secret !== "string" || secret.length < MIN_SECRET) return;
  hidden.add(secret).add(JSON.stringify(secret).slice(1, -1));
}

// Keys, tokens and tickets of the product, and signed tokens, wherever they were typed by mistake.
const SECRETS = /\btg_[a-z]+_[0-9A-Za-z]{8,}|\beyJ[\w-]+\.[\w-]+\.[\w-]*/g;

/** A text without secrets. */
export function masked(text) {
  let clean = text;
  for (const secret of hidden) clean = clean.replaceAll(secret, "***");
  return clean.replace(SECRETS, "***");
}
