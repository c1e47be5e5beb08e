// The gateway: requests to your hosts are decided here, and the allowed ones go to your origin. Set
// UPSTREAM_URL in wrangler.jsonc; without an origin the decision itself is the answer.
export { default, TenantGate, TenantHub, TenantLedger } from "tenantgate/worker";
