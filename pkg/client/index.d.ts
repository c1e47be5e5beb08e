import type { Answer, Context, Features, WasmModule } from "../index.js";

export { DocumentError, GateFailedError, InputError, TenantgateError } from "../errors.js";

/** Where a client gets its features, and what it evaluates them by. */
export interface FeatureClientOptions {
  /** Default `/_gate/v1/features` of the page's own host, by which the gate knows the tenant. */
  url?: string;
  /** Attributes that rules ask about; `targeting_key` is by what rollouts choose. Default: none. */
  context?: Context;
  /** Headers of the request, such as `authorization`. Cookies go along by themselves. Default: none. */
  headers?: Record<string, string>;
  /** Default: the runtime's. One that is given and is no function is an `InputError`. */
  fetch?: typeof globalThis.fetch;
  /** Keeps the last good snapshot for when there is no network. Default `localStorage`, where there is one; null: none. */
  storage?: { getItem(key: string): string | null; setItem(key: string, value: string): void } | null;
  /** Tells callers apart in the storage. Where a token or an API key names the tenant, nothing is kept without it. Default: none. */
  storageKey?: string;
  /** Seconds for which the gate holds a question until something changes, at most 30. Default 25. */
  waitS?: number;
}

/**
 * The features of the page's tenant: those that pages may know (`client: true` in the catalog), evaluated in the page.
 *
 * Events: `change` (`detail.changed`: keys whose answer changed), `stale` (the last good snapshot serves: there is no network, or
 * something dated has passed), `fresh` (no longer).
 * @example
 * await init();
 * const features = new FeatureClient({ context: { targeting_key: user.id } });
 * await features.ready;
 * features.enabled("new-editor");
 * features.addEventListener("change", ({ detail }) => render(detail.changed));
 */
export class FeatureClient extends EventTarget {
  constructor(options?: FeatureClientOptions);
  /** Once there is a snapshot: the gate's or, where that cannot be reached, the last good one. @throws {GateFailedError} there is neither; it goes on trying, and says `fresh` once there is one */
  readonly ready: Promise<void>;
  /** Whether what serves is the last good snapshot. */
  readonly stale: boolean;
  /** The tenant; null before there is a snapshot. */
  readonly tenant: { readonly id: string; readonly slug: string; readonly plan?: string; readonly region?: string } | null;
  /** What features are evaluated by; set it to evaluate by something else from then on. */
  context: Context;
  /** The answer by the client's own context. */
  get(key: string): Answer;
  /** `get(key).enabled` */
  enabled(key: string): boolean;
  /** All features, by the client's own context or by another one. */
  evaluate(context?: Context): Features;
  /** Ends the connection. */
  close(): void;
  [Symbol.dispose](): void;
  addEventListener(type: "change", listener: (event: CustomEvent<{ changed: string[] }>) => void, options?: ListenerOptions): void;
  addEventListener(type: "stale" | "fresh", listener: (event: Event) => void, options?: ListenerOptions): void;
  addEventListener(...given: Parameters<EventTarget["addEventListener"]>): void;
}

/** As the runtime's own event targets take them. */
type ListenerOptions = Parameters<EventTarget["addEventListener"]>[2];

/**
 * In pages: loads the WebAssembly module of the client, 80 KB packed. Elsewhere there is nothing to wait for, unless a bundler has left
 * the module behind: then `init` loads it too. To import the package never fails.
 * @param source where the module is, or the module; default: beside the package's files
 * @throws {GateFailedError} it could not be loaded
 * @example
 * await init();
 */
export function init(source?: string | URL | Response | WasmModule): Promise<void>;
