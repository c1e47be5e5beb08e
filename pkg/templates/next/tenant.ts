import { headers } from "next/headers";
import type { Answer } from "tenantgate";

export interface Tenant {
  id: string;
  slug: string;
  plan: string | null;
  features: Record<string, Pick<Answer, "value">>;
}

/** The tenant of the request, for server components, actions and route handlers. */
export async function currentTenant(): Promise<Tenant> {
  const given = (await headers()).get("x-gate-tenant");
  if (given === null) throw new Error("there is no tenant: `npm run dev` serves the application behind the gate, `next dev` does not");
  return JSON.parse(decodeURIComponent(given));
}
