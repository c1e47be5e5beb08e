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

/** A verified credential: of a token, or of an API key. */
export interface Credential {
  kind: "jwt" | "api_key";
  /** The tenant it was issued for: that of the decision, or an ancestor that acts for it. */
  tenant: string;
  scopes: string[];
  /** Of a token: its issuer, by the name in the catalog. */
  issuer?: string;
  /** Of a token: its subject. */
  subject?: string;
  /** Of an API key: its name. */
  key?: string;
}

/** What credentials are verified with. */
export interface GateOptions {
  /** Key sets (RFC 7517) by the `jwks_url` of issuers. */
  keys?: Record<string, object | string>;
  /** Secrets by the names that issuers refer to. */
  secrets?: Record<string, string>;
  /** Records of API keys. */
  apiKeys?: (object | string)[];
  /** Which API keys work. Default: `live`. */
  environment?: "live" | "test";
}

/** A decision, as short as it can be said. */
export interface ShortDecision {
  allowed: boolean;
  code: string;
  tenant: { readonly id: string; readonly slug: string; readonly plan: string | null } | null;
  /** What the caller showed, verified; null where nothing was shown. */
  credential: Readonly<Credential> | null;
  features: Record<string, { value: unknown; enabled: boolean; tier: string }>;
  limits: { key: string; limit: number | null; used: number; remaining: number | null; reset_ms: number }[];
  retry_after_ms: number | null;
}

/** A gate with its ledger in memory. */
export class Gate {
  constructor(catalog: object | string, tenants?: (object | string)[], options?: GateOptions);
  putCatalog(catalog: object | string): void;
  putTenant(tenant: object | string): void;
  /** Replaces the keys that issuers publish at `url`. The gate fetches none by itself. */
  putKeys(url: string, jwks: object | string): void;
  /** Adds or replaces the record of an API key; an older epoch than the one held is refused. */
  putApiKey(record: object | string): void;
  removeTenant(id: string): void;
  decide(request: RequestFacts, options?: { now?: number; look?: boolean }): ShortDecision;
  ask(
    question: object | string,
    options?: { now?: number },
  ): { status: number; headers: Record<string, string>; path: string | null; decision: Record<string, unknown> };
  static memoryBytes(): number;
  free(): void;
}

/** Makes an API key: `key` for its holder, `record` to publish. Times as RFC 3339 text or milliseconds since 1970. */
export function issueApiKey(options: {
  tenant: string; environment?: "live" | "test"; scopes?: string[]; name?: string; expires_at?: string | number;
}): { key: string; record: Record<string, unknown> & { id: string; tenant: string; epoch: number } };

/** What the gate asserts to an origin. */
export interface Assertion {
  /** The tenant's id. */
  sub: string;
  slug: string;
  plan: string | null;
  ancestors: string[];
  credential: Credential | null;
  /** Whom it is for. */
  aud: string;
  iat: number;
  exp: number;
}

/** For origins: verifies `X-Tenant-Assertion` with the keys of `/_gate/jwks.json`. Throws where it is not to be believed. */
export function verifyAssertion(
  assertion: string | null | undefined, options: { keys: object | string; audience: string; now?: number },
): Assertion;

/** Checks `{catalog, tenants, api_keys}` and lays it out as KV entries. */
export function publish(seed: object | string): [key: string, value: string][];

/** In browsers: fetches and instantiates the module. Node does so by itself. */
export function init(source?: string | URL | Response | WebAssembly.Module): Promise<void>;
