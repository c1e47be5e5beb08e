// Asks a gate how it would decide a request, and shows every step. The request itself is not sent:
// no application sees it, and it takes nothing.

import http from "node:http";
import https from "node:https";
import { baseOf, parsed, tokenOf } from "../client.js";
import { EXIT, Failure, unreachable, wrongUsage } from "../failure.js";
import { many, text } from "../options.js";

const TIMEOUT_MS = 30_000;
const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/** Parses headers. Errors name a header by its position, since it may contain a secret. */
function headersOf(given) {
  const headers = Object.create(null);
  for (const [index, line] of given.entries()) {
    const at = line.indexOf(":");
    const [name, value] = [line.slice(0, Math.max(at, 0)).trim(), line.slice(at + 1).trim()];
    if (!/^[\w!#$%&'*+.^`|~-]+$/.test(name)) throw wrongUsage(`header ${index + 1} is not 'Name: value'`);
    if (/[^\t\x20-\x7e\x80-\xff]/.test(value)) throw wrongUsage(`the value of header ${index + 1} contains invalid characters`);
    const key = name.toLowerCase();
    headers[key] = key in headers ? [headers[key], value].flat() : value;
  }
  return headers;
}

function target(text, argv) {
  const url = text.startsWith("/") ? new URL(text, baseOf(argv)) : URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.password) {
    throw wrongUsage("the address must be an http or https URL without credentials, or a path of the deployment");
  }
  return url;
}

/** Sends a question. Not by `fetch`, whose errors name no cause. */
function send(url, headers, question) {
  const { request } = url.protocol === "https:" ? https : http;
  return new Promise((resolve, reject) => {
    const sent = request(url, { method: "POST", headers, timeout: TIMEOUT_MS }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (part) => (body += part));
      response.on("end", () => resolve({ status: response.statusCode, body })).on("error", reject);
    });
    sent.on("timeout", () => sent.destroy(Object.assign(new Error(), { code: "TIMEOUT" }))).on("error", reject).end(question);
  });
}

function show(out, { allowed, code, tenant, error, trace, limits = [], features = {} }) {
  const who = tenant ? `${tenant.id}${tenant.plan ? ` on ${tenant.plan}` : ""}` : "no tenant needed";
  out.line(allowed ? `allowed: ${who}` : `${code}: ${error?.message}`);
  out.line();
  const steps = trace.map((step) => [step.stage, step.passed ? "passed" : "stopped", step.found, step.remedy]);
  out.table(["Stage", "", "Found", "What would change it"], steps);
  if (limits.length) {
    out.line();
    const rows = limits.map((limit) => [limit.key, limit.tenant, limit.used ?? "?", limit.limit ?? "unlimited", limit.resets_at]);
    out.table(["Limit", "Tenant", "Used", "Allowed", "Resets"], rows);
  }
  if (Object.keys(features).length) {
    out.line();
    const rows = Object.entries(features).map(([name, { value, tier, reason, rule }]) => [name, JSON.stringify(value), tier, reason, rule]);
    out.table(["Feature", "Value", "Tier", "Reason", "Rule"], rows);
  }
}

export const explain = {
  command: "explain <address>",
  describe: "Show step by step how a request is decided; needs the operator token.",
  positionals: { address: "The request's URL, or a path of the deployment. The token is sent to this address." },
  options: {
    header: many("A header of the request as 'Name: value'; may be repeated.", { alias: "H" }),
    method: text("The request's method.", { alias: "X", default: "GET", choices: METHODS }),
  },
  async run({ argv, out }) {
    const url = target(argv.address, argv);
    const { host = url.host, ...headers } = Object.fromEntries(Object.entries(headersOf(argv.header ?? [])).map(([name, value]) => [name, [value].flat().join(", ")]));
    const question = { method: argv.method, host, path: url.pathname, query: url.search.slice(1), headers, look: true, explain: true };
    const asked = { authorization: `Bearer ${tokenOf(argv)}`, "content-type": "application/json" };
    const answer = await send(new URL("/_gate/v1/decide", url), asked, JSON.stringify(question)).catch((error) => {
      throw unreachable(`${url.origin} does not answer: ${error.code ?? error.name}`);
    });
    const decision = parsed(answer.body);
    if (!Array.isArray(decision?.trace)) {
      const why = "the server is not a gate, or the token is not its operator token";
      throw new Failure(`the response with status ${answer.status} has no trace: ${why}`, { code: "NO_TRACE" });
    }
    out.result(decision, () => show(out, decision));
    return decision.allowed ? EXIT.done : EXIT.no;
  },
};
