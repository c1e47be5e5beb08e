// Tries an attack of the table on a target, and reports whether it got through.

import { send } from "../support/send.mjs";

/** What a target offers, by the names that attacks use in `needs`. */
const offers = (t) => ({
  credential: t.acme.token ?? t.acme.key, token: t.acme.token, key: t.acme.key, own: t.own, operator: t.operator, public: t.public, cookie: t.cookie, jwk: t.jwk,
  issuer: t.issuer, keys: t.keys, features: t.features, limit: t.limit, prefix: t.prefix, scoped: t.scoped, header: t.header, query: t.query,
});

/**
 * Tries one attack.
 * @returns {Promise<{
 *   verdict: "held" | "otherwise" | "through" | "untold" | "skipped",
 *   outcome?: string, missing?: string[],
 * }>} `otherwise`: refused with another status; `untold`: served, but the tenant is unknown
 */
export async function attempt(attack, t) {
  const have = offers(t);
  const missing = attack.needs.filter((need) => !have[need]);
  if (missing.length) return { verdict: "skipped", missing };
  const { asks, ...request } = await attack.request(t);
  // With the operator token, the gate reports for which tenant it would serve the request.
  const explains = t.operator && !asks && attack.keeps === undefined;
  const headers = [...(request.headers ?? []), ...(explains ? [["X-Gate-Explain", t.operator]] : [])];
  const answer = await send(t.url, { target: t.path, ...request, headers });
  const outcome = said(answer, t);
  if (attack.keeps === false && kept(answer)) return { verdict: "through", outcome: "kept by shared caches" };
  if (attack.answers && outcome === "acme" && !attack.answers(JSON.parse(answer.body))) return { verdict: "through", outcome: "another answer" };
  if (attack.right.includes(outcome)) return { verdict: "held", outcome };
  if (Number(outcome) >= 400 || outcome === "0") return { verdict: "otherwise", outcome };
  return { verdict: outcome === "served" && attack.right.includes("acme") ? "untold" : "through", outcome };
}

/** The outcome: a status, a tenant, or `served` if the tenant is unknown. */
function said({ status, body }, t) {
  if (status === 0 || status >= 400) return String(status);
  let decision;
  try {
    decision = JSON.parse(body);
  } catch {
    return "served";
  }
  if (typeof decision?.code !== "string" || !("snapshot" in decision)) return "served";
  if (decision.tenant === null) return "nobody";
  return { [t.acme.id]: "acme", [t.victim.id]: "victim" }[decision.tenant.id] ?? decision.tenant.id;
}

function kept({ headers }) {
  const control = headers["cache-control"] ?? "";
  return !/no-store|private/.test(control) && !/authorization|\*/i.test(headers.vary ?? "");
}

