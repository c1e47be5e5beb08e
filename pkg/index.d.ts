import type { Problem } from "./errors.js";

export * from "./errors.js";

/** A document, as an object or as JSON text. `tenantgate/schema/*.json` describes them for editors. */
export type Document = object | string;

/** What is known of a request. Hosts beyond ASCII as A-labels, as `new URL(…).hostname` has them. */
export interface RequestFacts {
  /** Default `GET`. */
  method?: string;
  /** The host that the client connected to, with or without a port. */
  host?: string;
  /** The path of a normalised URL. Default `/`. */
  path?: string;
  /** Without `?`. */
  query?: string;
  headers?: Record<string, string | string[] | undefined> | Headers;
  /** What your own resolver said, for the strategy `custom`. Default: the request names nobody. */
  custom?: string | null;
  /** Attributes that rules may ask about. */
  context?: Context;
  /** Features to answer, at most 256. */
  features?: string[];
}

/**
 * Attributes that rules may ask about: text, numbers, booleans. Others are an `InputError` where a rule reads them. What an object
 * inherits is no attribute.
 */
export type Context = Record<string, string | number | boolean | null | undefined>;

/** Node's request, as far as it is read: `http.IncomingMessage`, or Express's. */
export interface NodeRequest {
  method?: string;
  url?: string;
  originalUrl?: string;
  /** The host as a framework sees it. With `trust proxy` of Express it is what `X-Forwarded-Host` of a trusted proxy says. */
  hostname?: string;
  headers: Record<string, string | string[] | undefined>;
}

/** A request, whichever way a runtime represents one. */
export type AnyRequest = Request | NodeRequest | RequestFacts;

/** What a feature is worth, and why. */
export interface Answer {
  readonly value: unknown;
  /** Whether the tenant has it: the value is not `false`, `0`, `""` or `null`, and the feature is not killed. */
  readonly enabled: boolean;
  readonly tier: "kill" | "override" | "addon" | "contract" | "plan" | "default" | "unknown";
  readonly reason:
    | "KILLED" | "PREREQUISITE" | "OVERRIDE" | "ADDON" | "CONTRACT" | "PLAN" | "RULE" | "ROLLOUT" | "DEFAULT" | "FEATURE_UNKNOWN";
  /** The rule that decided. */
  readonly rule: string | null;
  /** The variant served. */
  readonly variant: string | null;
}

/**
 * All features of a tenant for one context, as they were when they were asked for.
 * @example
 * const features = gate.features("t_acme", { targeting_key: "user-1" });
 * features.enabled("webhooks");                 // a typo is off, never an exception
 * for (const [key, answer] of features) console.log(key, answer.value);
 */
export class Features implements Iterable<[string, Answer]> {
  private constructor();
  readonly size: number;
  /** Whether the catalog knows the feature. */
  has(key: string): boolean;
  /** The answer; for a feature that the catalog does not know: off, with `reason: "FEATURE_UNKNOWN"`. */
  get(key: string): Answer;
  /** `get(key).enabled` */
  enabled(key: string): boolean;
  keys(): IterableIterator<string>;
  [Symbol.iterator](): IterableIterator<[string, Answer]>;
  toJSON(): Record<string, Answer>;
}

/** A verified credential: of a token, or of an API key. */
export interface Credential {
  readonly kind: "jwt" | "api_key";
  /** Where it stood in the request: in a header, or in a cookie, which browsers send by themselves. */
  readonly from: "header" | "cookie";
  /** The tenant it was issued for: that of the decision, or an ancestor that acts for it. */
  readonly tenant: string;
  readonly scopes: readonly string[];
  /** Of a token: its issuer, by the name in the catalog. */
  readonly issuer?: string;
  /** Of a token: its subject. */
  readonly subject?: string;
  /** Of an API key: its name. */
  readonly key?: string;
}

/** A decision, as short as it can be said. */
export interface ShortDecision {
  readonly allowed: boolean;
  /** `ALLOWED`, or the code of the denial. */
  readonly code: string;
  readonly tenant: { readonly id: string; readonly slug: string; readonly plan: string | null } | null;
  /** What the caller showed, verified; null where nothing was shown. */
  readonly credential: Credential | null;
  /** What the route needs, and what was asked for. */
  readonly features: Readonly<Record<string, Answer>>;
  /** Every limit touched, as it stands now; `limit: null` is unlimited. */
  readonly limits: readonly { key: string; limit: number | null; used: number; remaining: number | null; reset_ms: number }[];
  /** Milliseconds after which the same request may pass; null where waiting does not help. */
  readonly retry_after_ms: number | null;
  /** What it holds of `concurrency` limits: settle it, `ask({ tenant, settle: hold.id })`, once the work has ended. */
  readonly hold: { readonly id: string; readonly ends_at: string } | null;
}

/** A decision in full: see `tenantgate/schema/decision.json`. */
export interface Decision {
  allowed: boolean;
  code: string;
  tenant: { id: string; slug: string; plan: string | null; status: string; trial_ends_at?: string; grace_ends_at?: string } | null;
  credential?: Credential;
  features: Record<string, Answer>;
  limits: {
    key: string; kind: string; tenant: string; limit: number | null; used: number | null; remaining: number | null;
    resets_at: string | null; shadow: boolean; would_refuse?: boolean; overage?: { policy: "soft" | "paid"; units: number };
  }[];
  snapshot: { catalog: number; epoch: number | null; age_ms: number };
  fallback: ("plan" | "ledger")[];
  hold?: { id: string; ends_at: string };
  error?: { code: string; message: string; details: Record<string, unknown> };
  /** With `explain`: the steps in their order, and at the last what would have changed it. */
  trace?: { stage: string; passed: boolean; found: string; remedy?: string }[];
}

/** A question in full: see `tenantgate/schema/decide.json`. */
export interface Question {
  /** The id of a tenant that you vouch for: no signal is read and no route applies. */
  tenant?: string;
  method?: string;
  host?: string;
  path?: string;
  query?: string;
  headers?: Record<string, string>;
  /** What your own resolver said, for the strategy `custom`. */
  custom?: string;
  features?: string[];
  /** Default false. */
  all_features?: boolean;
  /** What to do to limits: a number takes, `{release: 1}` and `{set: 5}` move a gauge. */
  limits?: Record<string, number | { release: number } | { set: number }>;
  context?: Context;
  /** Judge as ever, but take nothing. Default false. */
  look?: boolean;
  /** Takes once, however often it is asked under this key. */
  idempotency_key?: string;
  /** Sets aside, for work whose cost is known later; `for_ms`: default 60000. */
  reserve?: { id: string; for_ms?: number };
  /** Ends what was set aside under this id. */
  settle?: string;
  /** Add the trace. Default false. */
  explain?: boolean;
}

/** A decision with the HTTP answer that belongs to it. */
export interface Transcript {
  status: number;
  headers: Record<string, string>;
  /** The path behind a tenant prefix; null where none was taken off. */
  path: string | null;
  decision: Decision;
}

/** What credentials are verified with. */
export interface GateOptions {
  /** Key sets (RFC 7517) by the `jwks_url` of issuers. */
  keys?: Record<string, Document>;
  /** Secrets by the names that issuers refer to. */
  secrets?: Record<string, string>;
  /** Records of API keys. */
  apiKeys?: Document[];
  /** Which API keys work. Default `live`. */
  environment?: "live" | "test";
}

/** What middleware asks: a `Gate` or a `RemoteGate`. */
export interface AnyGate {
  question(request: AnyRequest): Question;
  ask(question: Question): Transcript | Promise<Transcript>;
  features(tenant: string, context?: Context): Features | Promise<Features>;
}

/**
 * A gate with its ledger in memory: it resolves the tenant, evaluates features and counts limits in this process. What is counted
 * is this process's alone; several share a ledger by way of the Worker, see `RemoteGate`.
 */
export class Gate implements AnyGate {
  /**
   * @param catalog the catalog
   * @param tenants tenant records; default: none
   * @throws {DocumentError} with every problem
   * @throws {InputError} what is given is no document
   * @throws {ConfigurationError} in pages: `await init()` first
   * @example
   * const gate = new Gate(catalog, [{ id: "t_acme", slug: "acme", plan: "pro@1" }]);
   * gate.decide({ host: "acme.app.example.com", path: "/api" }).allowed;
   */
  constructor(catalog: Document, tenants?: Document[], options?: GateOptions);
  /** Replaces the catalog; an older version than the one held is refused (`REFUSED`), and what is held stays. */
  putCatalog(catalog: Document): void;
  /** Adds or replaces a tenant; an older epoch than the one held is refused (`REFUSED`), and what is held stays. */
  putTenant(tenant: Document): void;
  /** Replaces the keys that issuers publish at `url`. The gate fetches none by itself. */
  putKeys(url: string, jwks: Document): void;
  /** Gives the value of a secret that issuers refer to. */
  putSecret(name: string, value: string): void;
  /** Adds or replaces the record of an API key; an older epoch than the one held is refused. */
  putApiKey(record: Document): void;
  /** Forgets a tenant. */
  removeTenant(id: string): void;
  /**
   * Decides one request, and takes from the limits what it costs. The quick way: some hundred nanoseconds.
   * @param request a `Request`, Node's `IncomingMessage`, or plain facts
   * @param options `context` and `features` beside the request; `look`: take nothing, default false; `now`: milliseconds since 1970,
   *   default the clock
   * @throws {InputError} something in it is of a wrong type, or too large
   * @throws {GateFailedError} the gate failed within; it was made anew, and what its ledger had counted is lost
   * @example
   * const { allowed, tenant } = gate.decide(request, { context: { targeting_key: user.id } });
   */
  decide(request: AnyRequest, options?: { context?: Context; features?: string[]; look?: boolean; now?: number }): ShortDecision;
  /**
   * Evaluates every feature for a tenant. The quick way: some microseconds for a hundred.
   * @param tenant its id
   * @param context attributes that rules ask about; default: none
   * @throws {DeniedError} the tenant is not served: `TenantNotFoundError`, `TenantSuspendedError` and others
   * @example
   * gate.features("t_acme", { targeting_key: "user-1", country: "NL" }).enabled("checkout");
   */
  features(tenant: string, context?: Context, options?: { now?: number }): Features;
  /**
   * Decides a question in full, with everything there is to say: reservations, idempotency, gauges. Slower than `decide`, and the
   * same in its outcome.
   * @throws {DocumentError} with every problem of the question
   * @example
   * gate.ask({ tenant: "t_acme", limits: { exports: 1 } }).decision.allowed;
   */
  ask(question: Question, options?: { now?: number }): Transcript;
  /**
   * Says how a request would be decided, step by step; takes nothing.
   * @example
   * for (const { stage, found } of gate.explain({ host: "acme.app.example.com" }).decision.trace ?? []) console.log(stage, found);
   */
  explain(request: AnyRequest, question?: Question & { now?: number }): Transcript;
  /** The question that a request asks, for `ask`: what no strategy reads is left out. */
  question(request: AnyRequest): Question;
  /** Calls `listener` after each change of catalog or tenants; returns what ends that. */
  onChange(listener: () => void): () => void;
  /** Bytes of WebAssembly memory in use by all gates of this process; it never shrinks. */
  static memoryBytes(): number;
  /** Frees the memory that the gate holds in WebAssembly. It cannot be used any more. */
  free(): void;
  /** `using gate = new Gate(…)` frees it at the end of the block. */
  [Symbol.dispose](): void;
}

/**
 * A gate that runs elsewhere: the Worker answers, and its ledger counts for all who ask.
 * @example
 * const gate = new RemoteGate({ url: "https://gate.example.com", token: env.OPERATOR_TOKEN });
 * const { allowed } = await gate.decide(request);
 */
export class RemoteGate implements AnyGate {
  /**
   * @param options `url`: the Worker's; `token`: its `OPERATOR_TOKEN`; `headers`: which headers of requests are handed over, default
   *   those that strategies read by default: `authorization`, `cookie`, `x-tenant-id`, `x-api-key`; with `cookie` also those by which a
   *   cookie counts: `sec-fetch-site`, `origin`, `upgrade`; `service`: in Workers, a service binding to the gate, `env.GATE`; `fetch`:
   *   any other function, default the runtime's; `timeoutMs`: default 2000
   * @throws {InputError} an option is invalid, unknown, or given without a value: the token would go elsewhere
   * @example
   * new RemoteGate({ url: "https://gate", token: env.OPERATOR_TOKEN, service: env.GATE });
   */
  constructor(options: {
    url: string | URL; token: string; headers?: string[]; timeoutMs?: number;
    fetch?: typeof globalThis.fetch; service?: { fetch: typeof globalThis.fetch };
  });
  /** Decides one request, and takes from the limits what it costs. @throws {GateFailedError} it cannot be reached (503) */
  decide(request: AnyRequest, question?: Question): Promise<ShortDecision>;
  /** Evaluates every feature for a tenant. @throws {DeniedError} the tenant is not served */
  features(tenant: string, context?: Context): Promise<Features>;
  /** Decides a question in full. @throws {DocumentError} with every problem of the question */
  ask(question: Question): Promise<Transcript>;
  /** Says how a request would be decided, step by step; takes nothing. */
  explain(request: AnyRequest, question?: Question): Promise<Transcript>;
  question(request: AnyRequest): Question;
  /**
   * Sets up a tenant: its record, its keys, its counters, in one call.
   * @param tenantData `company` is its name and `selectedPlan` its plan, `pro@2`; whatever else `POST /_gate/v1/admin/tenants` takes
   * @param options `idempotencyKey`: done once under it; default a random one
   * @returns the record, and an API key that is shown once
   * @throws {DocumentError} with every problem
   * @throws {TenantgateError} with the code of the control plane, such as `PROVISIONING_FAILED`
   * @example
   * const { tenant, apiKey } = await new RemoteGate({ url, token }).provisionTenant({ company: "Hooli", selectedPlan: "pro@2" });
   */
  provisionTenant(
    tenantData: { company?: string; selectedPlan?: string; [more: string]: unknown },
    options?: { idempotencyKey?: string },
  ): Promise<{ tenant: TenantRecord; apiKey: string | null }>;
}

/** A tenant's record: see `tenantgate/schema/tenant.json`. */
export interface TenantRecord {
  id: string;
  slug: string;
  plan?: string | null;
  status?: string;
  epoch?: number;
  [more: string]: unknown;
}

/**
 * Makes an API key: `key` for its holder, kept nowhere; `record` to publish, which holds only a hash.
 * @param options `environment`: default `live`; `scopes`: default none; `expires_at`: RFC 3339 text or milliseconds since 1970
 * @throws {DocumentError} with every problem of the record
 * @example
 * const { key, record } = issueApiKey({ tenant: "t_acme", scopes: ["api.read"] });
 */
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

/**
 * For origins: verifies what arrived in `X-Tenant-Assertion`, so that the tenant can be trusted.
 * @param assertion the header's value
 * @param options `keys`: what the gate publishes at `/_gate/jwks.json`; `audience`: its `ASSERTION_AUDIENCE`; `now`: milliseconds
 *   since 1970, default the clock
 * @throws {UnauthenticatedError} the assertion is missing or invalid; `cause` says why
 * @example
 * const { sub } = verifyAssertion(request.headers.get("x-tenant-assertion"), { keys, audience: "https://origin.example.com" });
 */
export function verifyAssertion(
  assertion: string | null | undefined, options: { keys: Document; audience: string; now?: number },
): Assertion;

/**
 * Checks `{catalog, tenants, api_keys}` and lays it out as KV entries.
 * @throws {DocumentError} with every problem
 * @example
 * for (const [key, value] of publish(seed)) await env.SNAPSHOTS.put(key, value);
 */
export function publish(seed: Document): [key: string, value: string][];

/**
 * In pages: loads the WebAssembly module; everything else waits for it. Elsewhere there is nothing to wait for, unless a bundler has
 * left the module behind: then `init` loads it too. To import the package never fails.
 * @param source where the module is, or the module; default: beside the package's files
 * @throws {GateFailedError} it could not be loaded
 * @example
 * await init();
 */
export function init(source?: string | URL | Response | WasmModule): Promise<void>;

/** A WebAssembly module: its bytes, or compiled. (`WebAssembly.Module` is not among the types of every runtime.) */
export type WasmModule = ArrayBuffer | ArrayBufferView | object;

export type { Problem };
