import type { DeniedError, Problem } from "./errors.js";

export * from "./errors.js";

/**
 * A document, as an object or as JSON text. `tenantgate/schema/*.json` describes documents for
 * editors.
 */
export type Document = object | string;

/**
 * A catalog and a tenant in full, for editors: a document that is written in TypeScript is checked by
 * `satisfies`. One that is imported from a JSON file is checked by `$schema` instead.
 * @example
 * const catalog = { version: 1, resolution: { strategies: [{ strategy: "header" }] } } satisfies import("tenantgate").CatalogDocument;
 */
export type { CatalogDocument, TenantDocument } from "./documents.js";

/** The facts of a request. Non-ASCII hosts are A-labels, as in `new URL(…).hostname`. */
export interface RequestFacts {
  /** Default `GET`. */
  method?: string;
  /** The host that the client connected to, with or without a port. */
  host?: string;
  /** The path of a normalized URL. Default `/`. */
  path?: string;
  /** The query, without `?`. */
  query?: string;
  headers?: Record<string, string | string[] | undefined> | Headers;
  /**
   * The result of your own resolver, for the strategy `custom`. Default: the request names no
   * tenant.
   */
  custom?: string | null;
  /** Attributes for rules. */
  context?: Context;
  /** The keys of features to evaluate, at most 256. */
  features?: string[];
}

/**
 * Attributes for rules: strings, numbers and booleans. If a rule reads any other value, the call
 * throws an `InputError`. Inherited properties are ignored.
 */
export type Context = Record<string, string | number | boolean | null | undefined>;

/**
 * The parts of a Node request that the gate reads: of `http.IncomingMessage`, or of Express's
 * request.
 */
export interface NodeRequest {
  method?: string;
  url?: string;
  originalUrl?: string;
  /**
   * The host according to the framework. With `trust proxy` of Express, it is the
   * `X-Forwarded-Host` of a trusted proxy.
   */
  hostname?: string;
  headers: Record<string, string | string[] | undefined>;
}

/** A request in any representation. */
export type AnyRequest = Request | NodeRequest | RequestFacts;

/** The value of a feature, and where it comes from. */
export interface Answer {
  readonly value: unknown;
  /**
   * Whether the tenant has the feature: its value is not `false`, `0`, `""` or `null`, and it is
   * not killed.
   */
  readonly enabled: boolean;
  readonly tier: "kill" | "override" | "addon" | "contract" | "plan" | "default" | "unknown";
  readonly reason:
    | "KILLED" | "PREREQUISITE" | "OVERRIDE" | "ADDON" | "CONTRACT" | "PLAN" | "RULE" | "ROLLOUT" | "DEFAULT" | "FEATURE_UNKNOWN";
  /** The rule that selected the value. */
  readonly rule: string | null;
  /** The selected variant. */
  readonly variant: string | null;
}

/**
 * All features of a tenant for one context, evaluated at one moment.
 * @example
 * const features = gate.features("t_acme", { targeting_key: "user-1" });
 * features.enabled("webhooks"); // an unknown key is off, never an exception
 * for (const [key, answer] of features) console.log(key, answer.value);
 */
export class Features<C = unknown> implements Iterable<[string, Answer]> {
  private constructor();
  readonly size: number;
  /** Whether the catalog defines the feature. */
  has(key: string): boolean;
  /** The answer. An unknown feature is off, with `reason: "FEATURE_UNKNOWN"`. */
  get<K extends FeatureKey<C>>(key: K): Answer;
  /** The value, or `fallback` if the feature is unknown or its value is of another type. */
  get<K extends FeatureKey<C>, T extends FeatureValue<C, K>>(key: K, fallback: T): Widened<T>;
  /** `get(key).enabled` */
  enabled(key: FeatureKey<C>): boolean;
  keys(): IterableIterator<FeatureKey<C>>;
  [Symbol.iterator](): IterableIterator<[string, Answer]>;
  toJSON(): Record<string, Answer>;
}

/**
 * A catalog whose keys TypeScript knows: `new Gate<typeof catalog>(catalog)` and
 * `new RemoteGate<typeof catalog>(…)` accept its features and limits only. Returns it unchanged.
 * @example
 * const catalog = defineCatalog({ version: 1, resolution: { strategies: [{ strategy: "header" }] }, features: { exports: {} }, plans: {} });
 * new Gate<typeof catalog>(catalog).features("t_acme").get("exports", false);
 */
export function defineCatalog<const C extends object>(catalog: C): C;

/** The keys of a catalog's features; any text if the catalog is not known. */
export type FeatureKey<C> = C extends { features: infer F } ? keyof F & string : string;

/** The keys of a catalog's limits; any text if the catalog is not known. */
export type LimitKey<C> = C extends { limits: infer L } ? keyof L & string : string;

/** Units by limit. */
export type Units<C> = { readonly [Key in LimitKey<C>]?: number };

/** The values that a feature can have, by its type in the catalog. */
export type FeatureValue<C, Key> =
  C extends { features: infer F }
    ? Key extends keyof F
      ? F[Key] extends { readonly type: "string" } ? string
      : F[Key] extends { readonly type: "number" } ? number
      : F[Key] extends { readonly type: "json" } ? object | string | number | boolean
      : boolean
      : never
    : boolean | string | number | object;

/** The type that a fallback stands for: `boolean` for `false`, `string` for `"blue"`. */
export type Widened<T> = T extends boolean ? boolean : T extends string ? string : T extends number ? number : T;

/** A verified token or API key. */
export interface Credential {
  readonly kind: "jwt" | "api_key";
  /**
   * Where the request presented it: in a header, or in a cookie, which browsers send automatically.
   */
  readonly from: "header" | "cookie";
  /**
   * The tenant that it was issued for: the tenant of the decision, or an ancestor that acts for it.
   */
  readonly tenant: string;
  readonly scopes: readonly string[];
  /** Of a token: the name of its issuer in the catalog. */
  readonly issuer?: string;
  /** Of a token: its subject. */
  readonly subject?: string;
  /** Of an API key: its name. */
  readonly key?: string;
}

/** The state of a limit. `limit: null` is unlimited. */
export interface LimitState {
  readonly key: string;
  readonly limit: number | null;
  /** Null if the ledger could not be asked. */
  readonly used: number | null;
  readonly remaining: number | null;
  /** Milliseconds until the limit is fully available again; 0 if time does not restore it. */
  readonly reset_ms: number;
}

/** `ALLOWED`, or the code of a denial. */
export type DecisionCode =
  | "ALLOWED" | "BAD_REQUEST" | "TENANT_AMBIGUOUS" | "UNAUTHENTICATED" | "TENANT_NOT_FOUND" | "TENANT_MISMATCH"
  | "INSUFFICIENT_SCOPE" | "ORIGIN_NOT_ALLOWED" | "TENANT_SUSPENDED" | "TENANT_INACTIVE" | "TENANT_PROVISIONING"
  | "TENANT_MAINTENANCE" | "RESIDENCY_VIOLATION" | "FEATURE_NOT_AVAILABLE" | "TENANT_CIRCUIT_OPEN" | "RATE_LIMITED"
  | "CONCURRENCY_LIMITED" | "QUOTA_EXCEEDED" | "IDEMPOTENCY_KEY_REUSED" | "RESOLVER_FAILED" | "ISSUER_UNAVAILABLE"
  | "SNAPSHOT_UNAVAILABLE" | "LEDGER_UNAVAILABLE";

/** The tenant of a decision. */
export interface DecidedTenant {
  readonly id: string;
  readonly slug: string;
  /** The plan in force. */
  readonly plan: string | null;
  readonly status: string;
  /** RFC 3339. Only if the plan has a trial. */
  readonly trial_ends_at?: string;
  /** RFC 3339. Only while a grace period of an override or a contract runs: when the first ends. */
  readonly grace_ends_at?: string;
}

/** A decision in its short form. */
export interface ShortDecision {
  readonly allowed: boolean;
  readonly code: DecisionCode;
  readonly tenant: DecidedTenant | null;
  /** The verified credential; null if the request presented none. */
  readonly credential: Credential | null;
  /** The features that the route needs or the question named. */
  readonly features: Readonly<Record<string, Answer>>;
  /** Every limit that the request charged, after the charge. */
  readonly limits: readonly LimitState[];
  /** Milliseconds after which the same request may be allowed; null if waiting does not help. */
  readonly retry_after_ms: number | null;
  /**
   * The hold: a reservation, or slots of `concurrency` limits. Settle it with
   * `settle(tenant, hold)` when the work has ended.
   */
  readonly hold: { readonly id: string; readonly ends_at: string } | null;
}

/** A decision in its full form: see `tenantgate/schema/decision.json`. */
export interface Decision {
  allowed: boolean;
  code: DecisionCode;
  tenant: DecidedTenant | null;
  credential?: Credential;
  features: Record<string, Answer>;
  /** The page where the customer can upgrade. Only if a requested feature is off. */
  upgrade_url?: string;
  limits: {
    key: string; kind: string; tenant: string; limit: number | null; used: number | null; remaining: number | null;
    resets_at: string | null; shadow: boolean; would_refuse?: boolean; overage?: { policy: "soft" | "paid"; units: number };
  }[];
  snapshot: { catalog: number; epoch: number | null; age_ms: number };
  fallback: ("plan" | "ledger")[];
  hold?: { id: string; ends_at: string };
  error?: { code: string; message: string; details: Record<string, unknown> };
  /**
   * With `explain`: the steps in order; `remedy` of the last step says what would change the
   * decision.
   */
  trace?: { stage: string; passed: boolean; found: string; remedy?: string }[];
}

/** A question in its full form: see `tenantgate/schema/decide.json`. */
export interface Question {
  /** The id of a tenant that you vouch for: the gate reads no signals and applies no route. */
  tenant?: string;
  method?: string;
  host?: string;
  path?: string;
  query?: string;
  headers?: Record<string, string>;
  /** The result of your own resolver, for the strategy `custom`. */
  custom?: string;
  /** The keys of features to evaluate, at most 256. */
  features?: string[];
  /** Evaluate all features. Default false. */
  all_features?: boolean;
  /** Charges by limit: a number debits units; `{release: 1}` and `{set: 5}` move a gauge. */
  limits?: Record<string, number | { release: number } | { set: number }>;
  /** Report every limit as it stands. Default false. */
  all_limits?: boolean;
  context?: Context;
  /** A dry run: decide as usual, but take nothing. Default false. */
  look?: boolean;
  /** Count once under this key, however often the question is repeated. */
  idempotency_key?: string;
  /** Reserve the units for work whose cost is known later; `for_ms`: default 60000. */
  reserve?: { id: string; for_ms?: number };
  /** End the hold with this id. */
  settle?: string;
  /** Add the trace. Default false. */
  explain?: boolean;
}

/** A decision with its HTTP status and headers. */
export interface Transcript {
  status: number;
  headers: Record<string, string>;
  /** The path without the tenant's prefix; null if it had no such prefix. */
  path: string | null;
  decision: Decision;
}

/** The options of a `Gate`: the data that it verifies credentials with. */
export interface GateOptions {
  /** Issuers' key sets (RFC 7517) by their `jwks_url`. */
  keys?: Record<string, Document>;
  /** Issuers' secrets by name. */
  secrets?: Record<string, string>;
  /** Records of API keys. */
  apiKeys?: Document[];
  /** The environment of the API keys that the gate accepts. Default `live`. */
  environment?: "live" | "test";
}

/** A tenant that you vouch for: its id, or an object with its id. */
export type TenantRef = string | { readonly id: string };

/** Options of questions about one tenant. `now`: only for a `Gate`; default the clock. */
export interface CountOptions {
  /** Counts once under this key, however often the call is repeated. */
  idempotencyKey?: string;
  /** Attributes for rules. */
  context?: Context;
  /** The keys of features to evaluate. */
  features?: string[];
  now?: number;
}

/**
 * Questions about one tenant. `Reply` is a promise for gates that may have to wait. An unknown
 * limit is a mistake of the program: the call throws a `DocumentError` that names it.
 */
export interface TenantQuestions<Waits extends boolean, C = unknown> {
  /**
   * Whether a charge would be allowed, without taking anything. Without `limits`: whether the
   * tenant is served.
   * @example
   * if (!(await gate.check("t_acme", { exports: 1 })).allowed) hideTheButton();
   */
  check(tenant: TenantRef, limits?: Units<C>, options?: CountOptions): Reply<Waits, ShortDecision>;
  /**
   * Takes units from limits: all of them, or none if one refuses.
   * @example
   * const { allowed, retry_after_ms } = await gate.take("t_acme", { api_calls: 10, storage: bytes });
   */
  take(tenant: TenantRef, limits: Units<C>, options?: CountOptions): Reply<Waits, ShortDecision>;
  /** Gives units back to limits of kind `gauge`, such as seats. */
  release(tenant: TenantRef, limits: Units<C>, options?: CountOptions): Reply<Waits, ShortDecision>;
  /** Sets limits of kind `gauge` to a measured level. */
  set(tenant: TenantRef, limits: Units<C>, options?: CountOptions): Reply<Waits, ShortDecision>;
  /**
   * Counts use that has already happened. No limit refuses it. Counts each `id` once.
   * @param options `id`: default a random one
   */
  meter(tenant: TenantRef, limits: Units<C>, options?: { id?: string; now?: number }): Reply<Waits, ShortDecision>;
  /**
   * Sets units aside for work whose cost is known later. Repeating the same `id` returns the same
   * reservation.
   * @param options `id`: default a random one; `forMs`: milliseconds after which the units are free
   *   again, default 60000
   * @example
   * const { allowed, hold } = await gate.reserve("t_acme", { tokens: 4000 });
   * if (allowed) await gate.settle("t_acme", hold, { tokens: used });
   */
  reserve(
    tenant: TenantRef, limits: Units<C>, options?: { id?: string; forMs?: number; now?: number },
  ): Reply<Waits, ShortDecision>;
  /** Ends a hold, and takes what was used, which may be more or less. Default: nothing was used. */
  settle(
    tenant: TenantRef, hold: string | { id: string } | null, limits?: Units<C>, options?: { now?: number },
  ): Reply<Waits, ShortDecision>;
  /**
   * Every limit of a tenant as it stands. Of a limit that it shares with tenants above it, the one
   * that leaves least.
   * @throws {DeniedError} if the tenant is not served
   * @example
   * const { api_calls } = await gate.limits("t_acme");
   */
  limits(tenant: TenantRef, options?: { now?: number }): Reply<Waits, Record<LimitKey<C>, LimitState>>;
}

/**
 * A gate for one tenant: `take(limits)` instead of `take(tenant, limits)`. Middleware sets it for
 * the tenant of the request. Await its answers: whether they are promises depends on the gate.
 */
export type TenantGateOf<C = unknown> = {
  [Name in keyof TenantQuestions<true, C>]:
    TenantQuestions<true, C>[Name] extends (tenant: any, ...args: infer Args) => infer Answer ? (...args: Args) => Answer : never;
} & {
  /** Evaluates all features of the tenant. */
  features(context?: Context): Promise<Features<C>>;
  /** The gate itself. */
  of: AnyGate;
};

/** A result, or a promise of it from a gate that may have to wait. */
export type Reply<Waits extends boolean, T> = Waits extends true ? Promise<T> : T;

/** The gates that middleware accepts: a `Gate`, a `RemoteGate`, or an `EdgeGate` of a Worker. */
export interface AnyGate {
  question(request: AnyRequest): Question;
  ask(question: Question): Transcript | Promise<Transcript>;
  features(tenant: string, context?: Context): Features | Promise<Features>;
}

/** Answers questions about one tenant at once. */
export interface Gate<C = unknown> extends TenantQuestions<false, C> {}

/**
 * A gate with an in-memory ledger: resolves the tenant, evaluates features and counts limits in
 * this process. To share counters between processes, use a `RemoteGate` and the Worker.
 */
export class Gate<C = unknown> implements AnyGate {
  /**
   * @param catalog the catalog
   * @param tenants tenant records; default: an empty list
   * @throws {DocumentError} if a document is invalid; carries all its problems
   * @throws {InputError} if an argument is not a document
   * @throws {ConfigurationError} in pages, if `await init()` has not been called
   * @example
   * const gate = new Gate(catalog, [{ id: "t_acme", slug: "acme", plan: "pro@1" }]);
   * gate.decide({ host: "acme.app.example.com", path: "/api" }).allowed;
   */
  constructor(catalog: Document, tenants?: Document[], options?: GateOptions);
  /**
   * Replaces the catalog. Refuses an older version than the current one (`REFUSED`), which then
   * stays.
   */
  putCatalog(catalog: Document): void;
  /**
   * Adds or replaces a tenant. Refuses an older epoch than the current one (`REFUSED`), which then
   * stays.
   */
  putTenant(tenant: Document): void;
  /** Replaces the keys that issuers publish at `url`. The gate itself fetches no keys. */
  putKeys(url: string, jwks: Document): void;
  /** Sets the value of a secret that issuers refer to. */
  putSecret(name: string, value: string): void;
  /**
   * Adds or replaces the record of an API key. Refuses an older epoch than the current one
   * (`REFUSED`).
   */
  putApiKey(record: Document): void;
  /** Removes a tenant. */
  removeTenant(id: string): void;
  /**
   * Decides one request and charges its limits. The fast way: takes some hundred nanoseconds.
   * @param request a `Request`, Node's `IncomingMessage`, or plain facts
   * @param options `context` and `features` in addition to the request; `look`: take nothing,
   *   default false; `now`: milliseconds since 1970, default the clock
   * @throws {InputError} if a part of the request has the wrong type or is too large
   * @throws {GateFailedError} if the gate failed internally; it was restarted, and the counters of
   *   its ledger are lost
   * @example
   * const { allowed, tenant } = gate.decide(request, { context: { targeting_key: user.id } });
   */
  decide(request: AnyRequest, options?: { context?: Context; features?: string[]; look?: boolean; now?: number }): ShortDecision;
  /**
   * Evaluates all features of a tenant. The fast way: takes some microseconds for a hundred
   * features.
   * @param tenant the tenant's id
   * @param context attributes for rules; default: no attributes
   * @throws {DeniedError} if the tenant is not served: `TenantNotFoundError`,
   *   `TenantSuspendedError` and others
   * @example
   * gate.features("t_acme", { targeting_key: "user-1", country: "NL" }).enabled("checkout");
   */
  features(tenant: string, context?: Context, options?: { now?: number }): Features<C>;
  /**
   * Decides a question in its full form, with reservations, idempotency keys and gauges. Slower
   * than `decide`, with the same outcome.
   * @throws {DocumentError} if the question is invalid; carries all its problems
   * @example
   * gate.ask({ tenant: "t_acme", limits: { exports: 1 } }).decision.allowed;
   */
  ask(question: Question, options?: { now?: number }): Transcript;
  /**
   * Explains step by step how a request would be decided. Takes nothing.
   * @example
   * for (const { stage, found } of gate.explain({ host: "acme.app.example.com" }).decision.trace ?? []) console.log(stage, found);
   */
  explain(request: AnyRequest, question?: Question & { now?: number }): Transcript;
  /** The question of a request, for `ask`. Omits headers that no strategy reads. */
  question(request: AnyRequest): Question;
  /**
   * Calls `listener` after each change of the catalog or a tenant. Returns a function that removes
   * the listener.
   */
  onChange(listener: () => void): () => void;
  /** Bytes of the WebAssembly memory of all gates in this process. Never shrinks. */
  static memoryBytes(): number;
  /** Frees the gate's WebAssembly memory. The gate must not be used afterwards. */
  free(): void;
  /** `using gate = new Gate(…)` frees the gate at the end of the block. */
  [Symbol.dispose](): void;
}

/** Answers questions about one tenant. */
export interface RemoteGate<C = unknown> extends TenantQuestions<true, C> {}

/**
 * A gate in another process: the Worker decides, and its ledgers count for all callers.
 * @example
 * const gate = new RemoteGate({ url: "https://gate.example.com", token: env.OPERATOR_TOKEN });
 * const { allowed } = await gate.decide(request);
 */
export class RemoteGate<C = unknown> implements AnyGate {
  /**
   * @param options `url`: the Worker's address, not needed with `service`; `token`: its
   *   `OPERATOR_TOKEN`, not needed if `service` names the entrypoint `TenantGate`; `headers`: the
   *   request headers that the Worker receives, default those that strategies read by default:
   *   `authorization`, `cookie`, `x-tenant-id`, `x-api-key`; `cookie` includes the headers that
   *   determine whether a cookie is accepted: `sec-fetch-site`, `origin`, `upgrade`; `service`: in
   *   Workers, a service binding to the gate, such as `env.GATE`; `fetch`: another function,
   *   default the runtime's; `timeoutMs`: default 2000
   * @throws {InputError} if an option is invalid or unknown, or present without a value, in which
   *   case the token could go elsewhere
   * @example
   * new RemoteGate({ service: env.GATE }); // "entrypoint": "TenantGate" in the binding
   */
  constructor(options:
    | { url: string | URL; token: string; headers?: string[]; timeoutMs?: number; fetch?: typeof globalThis.fetch; service?: undefined }
    | { service: { fetch: any; ask?: any }; url?: string | URL; token?: string; headers?: string[]; timeoutMs?: number; fetch?: undefined }
  );
  /**
   * Decides one request and charges its limits.
   * @throws {GateFailedError} if the Worker is unreachable (503)
   */
  decide(request: AnyRequest, question?: Question): Promise<ShortDecision>;
  /**
   * Evaluates all features of a tenant.
   * @throws {DeniedError} if the tenant is not served
   */
  features(tenant: string, context?: Context): Promise<Features<C>>;
  /**
   * Decides a question in its full form.
   * @throws {DocumentError} if the question is invalid; carries all its problems
   */
  ask(question: Question): Promise<Transcript>;
  /** Explains step by step how a request would be decided. Takes nothing. */
  explain(request: AnyRequest, question?: Question): Promise<Transcript>;
  /** The question of a request, for `ask`. Includes only the headers of the option `headers`. */
  question(request: AnyRequest): Question;
  /**
   * Sets up a tenant in one call: its record, its keys and its counters.
   * @param tenantData `company`: its name; `selectedPlan`: its plan, such as `pro@2`; and any other
   *   member of the body of `POST /_gate/v1/admin/tenants`
   * @param options `idempotencyKey`: the tenant is set up once under this key; default a random key
   * @returns the record, and an API key that is shown only once
   * @throws {DocumentError} if the data is invalid; carries all its problems
   * @throws {TenantgateError} with a code of the control plane, such as `PROVISIONING_FAILED`
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
 * The error for a decision that denies. Its response has the status of the denial, and
 * `Retry-After` if waiting helps.
 * @throws {InputError} if the decision allows
 * @example
 * const decision = gate.decide(request);
 * if (!decision.allowed) throw denialOf(decision);
 */
export function denialOf(decision: ShortDecision | Decision): DeniedError;

/**
 * Issues an API key: `key` for its holder, which is stored nowhere, and `record` to publish, which
 * contains only a hash.
 * @param options `environment`: default `live`; `scopes`: default an empty list; `expires_at`: RFC
 *   3339 text or milliseconds since 1970
 * @throws {DocumentError} if the record would be invalid; carries all its problems
 * @example
 * const { key, record } = issueApiKey({ tenant: "t_acme", scopes: ["api.read"] });
 */
export function issueApiKey(options: {
  tenant: string; environment?: "live" | "test"; scopes?: string[]; name?: string; expires_at?: string | number;
}): { key: string; record: Record<string, unknown> & { id: string; tenant: string; epoch: number } };

/** The claims of the assertion that the gate sends to an origin. */
export interface Assertion {
  /** The tenant's id. */
  sub: string;
  slug: string;
  plan: string | null;
  ancestors: string[];
  credential: Credential | null;
  /** The audience: the origin that the assertion is for. */
  aud: string;
  iat: number;
  exp: number;
}

/**
 * Verifies the header `X-Tenant-Assertion` in an origin, so that the origin can trust the tenant.
 * @param assertion the header's value
 * @param options `keys`: the key set that the gate publishes at `/_gate/jwks.json`; `audience`: the
 *   gate's `ASSERTION_AUDIENCE`; `now`: milliseconds since 1970, default the clock
 * @throws {UnauthenticatedError} if the assertion is missing or invalid; `cause` has the reason
 * @example
 * const { sub } = verifyAssertion(request.headers.get("x-tenant-assertion"), { keys, audience: "https://origin.example.com" });
 */
export function verifyAssertion(
  assertion: string | null | undefined, options: { keys: Document; audience: string; now?: number },
): Assertion;

/**
 * Checks a seed `{catalog, tenants, api_keys}` and converts it to KV entries.
 * @throws {DocumentError} if the seed is invalid; carries all its problems
 * @example
 * for (const [key, value] of publish(seed)) await env.SNAPSHOTS.put(key, value);
 */
export function publish(seed: Document): [key: string, value: string][];

/**
 * Loads the WebAssembly module in pages, which must be done first. Does nothing in other runtimes,
 * unless a bundler omitted the module. Importing the package never fails.
 * @param source the module or its URL; default: next to the package's files
 * @throws {GateFailedError} if it could not be loaded
 * @example
 * await init();
 */
export function init(source?: string | URL | Response | WasmModule): Promise<void>;

/**
 * A WebAssembly module: its bytes, or compiled. Not every runtime's types include
 * `WebAssembly.Module`.
 */
export type WasmModule = ArrayBuffer | ArrayBufferView | object;

export type { Problem };
