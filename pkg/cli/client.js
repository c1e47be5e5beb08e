// A client of the admin API and of the gate's other endpoints.

import { readFileSync } from "node:fs";
import { EXIT, Failure, hide, unreachable, wrongUsage } from "./failure.js";

/**
 * Milliseconds that a request may take. Setting up a tenant takes as long as the provisioner does.
 */
const TIMEOUT_MS = 60_000;
const ADMIN = "/_gate/v1/admin";
const KINDS = { lines: "application/x-ndjson", csv: "text/csv", json: "application/json" };

/** The package's version. */
export const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));

/** The operator's token. */
export function tokenOf(argv) {
  const token = argv.token || process.env.TENANTGATE_TOKEN;
  if (!token) throw wrongUsage("the token is missing: set TENANTGATE_TOKEN or --token");
  hide(token);
  // The runtime's error for an invalid header value would contain the token.
  if (!/^[\x21-\x7e]+$/.test(token)) throw wrongUsage("the token contains invalid characters");
  return token;
}

/** The deployment's address. */
export function baseOf(argv) {
  const text = argv.url || process.env.TENANTGATE_URL;
  if (!text) throw wrongUsage("the deployment's address is missing: set TENANTGATE_URL or --url");
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const whole = url && /^https?:$/.test(url.protocol) && !url.username && !url.password && url.pathname === "/" && !url.search;
  if (!whole) throw wrongUsage("the deployment's address must be an http or https URL without a path, a query or credentials");
  return url;
}

/**
 * Builds a path with encoded values. Refuses `.` and `..`, which the URL parser would resolve, so
 * that the path would name another operation.
 * @param {TemplateStringsArray} parts
 */
export function path(parts, ...values) {
  for (const value of values) {
    if (["", ".", ".."].includes(value)) throw wrongUsage(`\`${value}\` is not a valid name`);
  }
  return String.raw({ raw: parts }, ...values.map(encodeURIComponent));
}

/** A client of one deployment. */
export class Client {
  #base;
  #token;

  constructor(argv) {
    this.#base = baseOf(argv);
    this.#token = tokenOf(argv);
  }

  /**
   * Sends a request. Returns the response, whatever its status is.
   * @param {string} method
   * @param {string | URL} target a path, or a URL of this deployment
   * @param {{query?: object, body?: unknown, headers?: object}} [options] `query`: undefined values
   *   are omitted
   * @returns {Promise<{url: URL, status: number, headers: Headers, text: string}>}
   */
  async send(method, target, { query = {}, body, headers = {} } = {}) {
    const url = new URL(target, this.#base);
    // INVARIANT (own token): the token is sent only to its own deployment, even if a `Link` header
    // names another server.
    if (url.origin !== this.#base.origin) throw unreachable("the response links to another server");
    for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, value);
    const own = { authorization: `Bearer ${this.#token}`, accept: "application/json", "user-agent": `tenantgate-cli/${version}` };
    const init = {
      method, redirect: "manual", signal: AbortSignal.timeout(TIMEOUT_MS), headers: { ...own, ...headers },
      ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
    };
    try {
      const response = await fetch(url, init);
      return { url, status: response.status, headers: response.headers, text: await response.text() };
    } catch (error) {
      throw unreachable(`${this.#base.origin} does not answer: ${error.cause?.code ?? error.name}`);
    }
  }

  /** Sends a request that must succeed. Throws the API's error otherwise. */
  async demand(method, target, options) {
    const answer = await this.send(method, target, options);
    if (answer.status >= 200 && answer.status < 300) return answer;
    const { error } = parsed(answer.text) ?? {};
    if (typeof error?.code !== "string") throw this.#unexpected(answer.status);
    // A server error is not an answer, so its exit code is that of an unreachable deployment.
    const exit = answer.status >= 500 ? EXIT.unreachable : EXIT.no;
    const failure = new Failure(error.message, { exit, code: error.code, details: error.details });
    if (answer.status === 404) failure.hint = await this.#slugHint(answer.url);
    throw failure;
  }

  /** The hint for an unknown tenant that was named by its slug; undefined for any other. */
  async #slugHint({ pathname }) {
    const slug = /^\/_gate\/v1\/admin\/tenants\/([^/]+)/.exec(pathname)?.[1];
    if (slug === undefined) return undefined;
    const query = { slug: decodeURIComponent(slug) };
    const { status, text } = await this.send("GET", `${ADMIN}/tenants`, { query }).catch(() => ({}));
    const found = status === 200 ? parsed(text)?.items?.[0] : undefined;
    return found && `\`${found.slug}\` is the slug of the tenant \`${found.id}\`: commands take its id.`;
  }

  /** Sends a request to the admin API. Returns the JSON body. */
  async admin(method, target, options) {
    return this.json(method, `${ADMIN}${target}`, options);
  }

  /** Sends a request. Returns the JSON body. */
  async json(method, target, options) {
    const { text, status } = await this.demand(method, target, options);
    const body = parsed(text);
    if (body === null || typeof body !== "object") throw this.#unexpected(status);
    return body;
  }

  /**
   * Reads a list of the admin API.
   * @param {{all?: boolean, cursor?: string, limit?: number}} page `all`: whether to read every
   *   page
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
   * Reads a list of the admin API as texts, one for each page. Follows the `Link` header (RFC
   * 8288), or the cursor in a JSON document.
   * @param {{format: "lines" | "csv" | "json"}} query
   * @yields {string}
   */
  async *texts(target, query) {
    let answer = await this.demand("GET", `${ADMIN}${target}`, { query });
    for (;;) {
      if (!answer.headers.get("content-type")?.startsWith(KINDS[query.format])) throw this.#unexpected(answer.status);
      yield answer.text;
      const link = /<([^>]*)>\s*;\s*rel="?next"?/.exec(answer.headers.get("link") ?? "")?.[1];
      const cursor = query.format === "json" ? parsed(answer.text)?.next_cursor : undefined;
      if (link) answer = await this.demand("GET", new URL(link, answer.url));
      else if (cursor) answer = await this.demand("GET", `${ADMIN}${target}`, { query: { ...query, cursor } });
      else return;
    }
  }

  #unexpected(status) {
    return unreachable(`${this.#base.origin} is not a gate: its response has status ${status}`, "NO_GATE");
  }
}

/** Parses JSON. Returns undefined if the text is not JSON. */
export function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
