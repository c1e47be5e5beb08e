// A deployment's own endpoints, asked by HTTP with the operator's token.

import { DocumentError, GateFailedError, InputError, TenantgateError } from "./errors.js";
import { fetcher, text } from "./input.js";

/** A timer with a longer delay fires at once. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** Checks a number of milliseconds. */
export function timeout(ms) {
  if (typeof ms === "number" && ms > 0 && ms <= MAX_TIMEOUT_MS) return ms;
  throw new InputError(`\`timeoutMs\` must be a number of milliseconds greater than 0 and at most ${MAX_TIMEOUT_MS}`);
}

export class Deployment {
  #url;
  #token;
  #fetch;
  #timeoutMs;

  /** `given`: the options `url`, `token`, `timeoutMs`, and `fetch` or `service`. */
  constructor(given) {
    const url = String(given.url);
    if (!/^https?:/i.test(url) || !URL.canParse(url)) throw new InputError("`url` must be the Worker's address, such as https://gate.example.com");
    // `fetch` would refuse any other token, with an error that contains the token.
    if (typeof given.token !== "string" || !/^[\x21-\x7e]+$/.test(given.token)) {
      throw new InputError("`token` must be the Worker's OPERATOR_TOKEN, without spaces or line breaks");
    }
    this.#url = url.replace(/\/+$/, "");
    this.#token = given.token;
    this.#fetch = fetcher(given);
    this.#timeoutMs = timeout(given.timeoutMs);
  }

  /**
   * Sends a request. Returns the response and its body, checked with `fits`, since a proxy may reply
   * with something else. Throws if the gate refuses.
   */
  async call(method, path, body, { headers = {}, fits = () => true } = {}) {
    const init = {
      method,
      headers: { authorization: `Bearer ${this.#token}`, ...(body !== undefined && { "content-type": "application/json" }), ...headers },
      ...(body !== undefined && { body: text(body) }),
      signal: AbortSignal.timeout(this.#timeoutMs),
    };
    let response;
    try {
      response = await this.#fetch(`${this.#url}${path}`, init);
    } catch (error) {
      throw new GateFailedError("the gate could not be reached", error, 503);
    }
    return { response, body: await bodyOf(response, fits) };
  }
}

async function bodyOf(response, fits) {
  let body;
  try {
    body = Object(await response.json());
  } catch (error) {
    throw new GateFailedError(`the gate's response is not JSON: its status is ${response.status}`, error, 503);
  }
  if (response.ok && fits(body)) return body;
  const { code, message, details = {} } = Object(body.error);
  if (response.ok || typeof code !== "string") {
    throw new GateFailedError(`the response is not from a gate: its status is ${response.status}`, undefined, 503);
  }
  if (Array.isArray(details.problems)) throw new DocumentError(details.problems);
  throw new TenantgateError(code, message, { status: response.status, details });
}
