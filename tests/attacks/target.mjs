// The Worker as a target: two tenants, two issuers, every kind of key.

import { issueApiKey } from "../../pkg/node.js";
import { OPERATOR, worker } from "../support/harness.mjs";
import { issuer } from "../support/issuer.mjs";

/** Starts the Worker with everything that the attacks need. */
export async function target() {
  const [operators, acmes] = await Promise.all([issuer(), issuer({ kid: "acme", tenants: ["t_acme"] })]);
  const past = "2020-01-01T00:00:00Z";
  const issued = {
    acme: issueApiKey({ tenant: "t_acme", scopes: ["api.read"] }),
    test: issueApiKey({ tenant: "t_acme", environment: "test" }),
    revoked: issueApiKey({ tenant: "t_acme", revoked_at: past }),
    expired: issueApiKey({ tenant: "t_acme", expires_at: past }),
    suspended: issueApiKey({ tenant: "t_suspended" }),
    deleted: issueApiKey({ tenant: "t_deleted" }),
    old: issueApiKey({ tenant: "t_reset" }),
  };
  const seed = {
    catalog: {
      version: 1,
      resolution: {
        strategies: [
          { strategy: "jwt", cookie_name: "session" }, { strategy: "api_key" }, { strategy: "subdomain", base_domains: ["app.example.com"] },
          { strategy: "custom_domain", domain_lookup: "index" }, { strategy: "path" }, { strategy: "header" }, { strategy: "query" },
        ],
        central_hosts: ["api.example.com"],
      },
      issuers: { main: operators.entry, acme: acmes.entry },
      routes: [{ path: "/public", access: "public" }, { path: "/family", act_for_descendants: true }, { path: "/admin", scopes: ["admin"] }],
      features: { sso: {}, trial: {} },
      limits: { exports: { kind: "quota", period: "month", default: 10 } },
      plans: { "free@1": { features: ["sso"] }, "enterprise@1": { features: ["sso", "trial"] } },
    },
    tenants: [
      { id: "t_acme", slug: "acme", plan: "free@1", overrides: [{ feature: "trial", value: true, ends_at: new Date(Date.now() - 1).toISOString() }] },
      { id: "t_victim", slug: "victim", plan: "enterprise@1" },
      { id: "t_org", slug: "org", plan: "enterprise@1" }, { id: "t_team", slug: "team", parent: "t_org" },
      { id: "t_suspended", slug: "suspended", plan: "free@1", status: "suspended" },
      { id: "t_deleted", slug: "deleted", plan: "free@1", status: "deleted" },
      { id: "t_reset", slug: "reset", plan: "free@1", credentials_from: "2100-01-01T00:00:00Z" },
    ],
    api_keys: Object.values(issued).map(({ record }) => record),
  };
  const gate = await worker({ seed });
  const keys = Object.fromEntries(Object.entries(issued).map(([name, { key }]) => [name, key]));
  return {
    url: String(gate.url), base: "app.example.com", central: "api.example.com", path: "/api", prefix: "/t/", header: "X-Tenant-ID", query: "tenant", claim: "tenant_id",
    acme: { slug: "acme", id: "t_acme", token: await operators.sign("t_acme"), key: keys.acme, issuer: acmes },
    victim: { slug: "victim", id: "t_victim" }, parent: { slug: "org", id: "t_org" }, child: { slug: "team", id: "t_team" },
    public: "/public", scoped: "/admin", cookie: "session", operator: OPERATOR, features: true, limit: "exports", own: true,
    issuer: operators, jwk: operators.keys.get("k1").jwk, keys, gate,
    stop: async () => {
      await gate.stop();
      await Promise.all([operators.stop(), acmes.stop()]);
    },
  };
}
