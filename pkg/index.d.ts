/** A document that was refused, with all its problems. */
export class DocumentError extends Error {
  readonly problems: { path: string; found: string; expected: string }[];
}

/** What is known of a request. Header names in lower case. */
export interface RequestFacts {
  method?: string;
  host?: string;
  path?: string;
  query?: string;
  headers?: Record<string, string>;
  context?: Record<string, string | number | boolean>;
  features?: string[];
}

/** A decision, as short as it can be said. */
export interface ShortDecision {
  allowed: boolean;
  code: string;
  tenant: { readonly id: string; readonly slug: string; readonly plan: string | null } | null;
  features: Record<string, { value: unknown; enabled: boolean; tier: string }>;
  limits: { key: string; limit: number | null; used: number; remaining: number | null; reset_ms: number }[];
  retry_after_ms: number | null;
}

/** A gate with its ledger in memory. */
export class Gate {
  constructor(catalog: object | string, tenants?: (object | string)[]);
  putCatalog(catalog: object | string): void;
  putTenant(tenant: object | string): void;
  removeTenant(id: string): void;
  decide(request: RequestFacts, options?: { now?: number; look?: boolean }): ShortDecision;
  ask(
    question: object | string,
    options?: { now?: number },
  ): { status: number; headers: Record<string, string>; path: string | null; decision: Record<string, unknown> };
  static memoryBytes(): number;
  free(): void;
}

/** Checks `{catalog, tenants}` and lays it out as KV entries. */
export function publish(seed: object | string): [key: string, value: string][];

/** In browsers: fetches and instantiates the module. Node does so by itself. */
export function init(source?: string | URL | Response | WebAssembly.Module): Promise<void>;
