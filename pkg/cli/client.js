// The admin API and the gate's other endpoints, asked over HTTP.

import { readFileSync } from "node:fs";
import { EXIT, Failure, hide, unreachable, wrongUsage } from "./failure.js";

/** Setting a tenant up may take as long as whoever sets its data up. */
const TIMEOUT_MS = 60_000;
const ADMIN = "/_gate/v1/admin";
const KINDS = { lines: "application/x-ndjson", csv: "text/csv", json: "application/json" };

/** The package's version. */
export const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));

/** The operator's token. */
export function tokenOf(argv) {
  const token = argv.token || process.env.TENANTGATE_TOKEN;
  if (!token) throw wrongUsage("a token is needed: TENANTGATE_TOKEN, or --token");
  hide(token);
  // What no header can hold would stand in the runtime's complaint.
  if (!/^[\x21-\x7e]+$/.test(token)) throw wrongUsage("the token holds characters that no token has");
  return token;
}

/** Where the deployment is. */
export function baseOf(argv) {
  const text = argv.url || process.env.TENANTGATE_URL;
  if (!text) throw wrongUsage("the deployment's address is needed: TENANTGATE_URL, or --url");
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const whole = url && /^https?:$/.test(url.protocol) && !url.username && !url.password && url.pathname === "/" && !url.search;
  if (!whole) throw wrongUsage("the deployment's address is an http or https URL without path, query and credentials");
  return url;
}

/**
 * A path of segments, each as it is. The runtime would take `..` for the way up, to another operation.
 * @param {TemplateStringsArray} parts
 */
export function path(parts, ...values) {
  for (const value of values) {
    if (["", ".", ".."].includes(value)) throw wrongUsage(`\`${value}\` names nothing`);
  }
  return String.raw({ raw: parts }, ...values.map(encodeURIComponent));
}

/** Asks one deployment. */
export class Client {
  #base;
  #token;

  constructor(argv) {
    this.#base = baseOf(argv);
    this.#token = tokenOf(argv);
  }

  /**
   * Sends a request, whatever is answered.
   * @param {string} method
   * @param {string | URL} target a path, or a URL of this deployment
   * @param {{query?: object, body?: unknown, headers?: object}} [options] `query`: what is undefined is left out
   * @returns {Promise<{url: URL, status: number, headers: Headers, text: string}>}
   */
  async send(method, target, { query = {}, body, headers = {} } = {}) {
    const url = new URL(target, this.#base);
    // INVARIANT (own token): it goes to the deployment that it is for, wherever an answer points.
    if (url.origin !== this.#base.origin) throw unreachable("the answer points to another server");
    for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, value);
    const init = {
      method, redirect: "manual", signal: AbortSignal.timeout(TIMEOUT_MS),
      headers: { authorization: `Bearer ${this.#token}`, accept: "application/json", "user-agent": `tenantgate-cli/${version}`, ...headers },
      ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
    };
    try {
      const response = await fetch(url, init);
      return { url, status: response.status, headers: response.headers, text: await response.text() };
    } catch (error) {
      throw unreachable(`${this.#base.origin} does not answer: ${error.cause?.code ?? error.name}`);
    }
  }

  /** Sends a request that must succeed. Throws what the API says against it. */
  async demand(method, target, options) {
    const answer = await this.send(method, target, options);
    if (answer.status >= 200 && answer.status < 300) return answer;
    const { error } = parsed(answer.text) ?? {};
    if (typeof error?.code !== "string") throw this.#strange(answer.status);
    // What is out of order on the other side is no answer to the question.
    throw new Failure(error.message, { exit: answer.status >= 500 ? EXIT.unreachable : EXIT.no, code: error.code, details: error.details });
  }

  /** Asks the admin API: its answer. */
  async admin(method, target, options) {
    return this.json(method, `${ADMIN}${target}`, options);
  }

  /** Asks for a document. */
  async json(method, target, options) {
    const { text, status } = await this.demand(method, target, options);
    const body = parsed(text);
    if (body === null || typeof body !== "object") throw this.#strange(status);
    return body;
  }

  /**
   * A list of the admin API.
   * @param {{all?: boolean, cursor?: string, limit?: number}} page `all`: every page
   */
  async list(target, { all, cursor, limit }, query = {}) {
    const body = await this.admin("GET", target, { query: { ...query, limit: all ? 1_000 : limit, cursor } });
    while (all && body.next_cursor) {
      const next = await this.admin("GET", target, { query: { ...query, limit: 1_000, cursor: body.next_cursor } });
      body.items.push(...next.items);
      body.next_cursor = next.next_cursor;
    }
    return body;
  }

  /**
   * Texts of the admin API, page by page, by the `Link` header (RFC 8288), or by the cursor of a JSON document.
   * @param {{format: "lines" | "csv" | "json"}} query
   * @yields {string}
   */
  async *texts(target, query) {
    let answer = await this.demand("GET", `${ADMIN}${target}`, { query });
    for (;;) {
      if (!answer.headers.get("content-type")?.startsWith(KINDS[query.format])) throw this.#strange(answer.status);
      yield answer.text;
      const link = /<([^>]*)>\s*;\s*rel="?next"?/.exec(answer.headers.get("link") ?? "")?.[1];
      const cursor = query.format === "json" ? parsed(answer.text)?.next_cursor : undefined;
      if (link) answer = await this.demand("GET", new URL(link, answer.url));
      else if (cursor) answer = await this.demand("GET", `${ADMIN}${target}`, { query: { ...query, cursor } });
      else return;
    }
  }

  #strange(status) {
    return unreachable(`${this.#base.origin} answers ${status}, and not as a gate does`, "NO_GATE");
  }
}

/** What a text says as JSON; undefined: it is none. */
export function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
