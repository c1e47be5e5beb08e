// The gateway that a careful engineer writes without tenantgate: the tenant by its subdomain, a
// feature, a rate, and the tenant's headers for the origin.

const BASE = ".app.example.com";
const TENANT_HEADERS = ["x-tenant-id", "x-tenant-slug", "x-tenant-plan"];
const WINDOW_MS = 1_000;

const tenants = new Map([
  ["acme", { id: "t_acme", slug: "acme", plan: "pro@1", features: { checkout: true }, limit: 1_000_000, used: 0, begun: 0 }],
]);

const refusal = (status, code) => Response.json({ error: { code } }, { status, headers: { "cache-control": "private, no-store" } });

export default {
  async fetch(request, { UPSTREAM }) {
    const { hostname, pathname } = new URL(request.url);
    const tenant = hostname.endsWith(BASE) ? tenants.get(hostname.slice(0, -BASE.length)) : undefined;
    if (!tenant) return refusal(404, "TENANT_UNKNOWN");
    if (pathname.startsWith("/api") && !tenant.features.checkout) return refusal(403, "FEATURE_NOT_INCLUDED");
    const now = Date.now();
    if (now - tenant.begun >= WINDOW_MS) [tenant.begun, tenant.used] = [now, 0];
    if (++tenant.used > tenant.limit) return refusal(429, "RATE_LIMITED");
    const headers = new Headers(request.headers);
    for (const name of TENANT_HEADERS) headers.delete(name);
    headers.set("x-tenant-id", tenant.id);
    headers.set("x-tenant-slug", tenant.slug);
    headers.set("x-tenant-plan", tenant.plan);
    const answer = await UPSTREAM.fetch(new Request(request, { headers, redirect: "manual" }));
    const response = new Response(answer.body, answer);
    response.headers.set("ratelimit-policy", `"requests";q=${tenant.limit};w=${WINDOW_MS / 1_000}`);
    response.headers.set("ratelimit", `"requests";r=${tenant.limit - tenant.used};t=1`);
    return response;
  },
};
