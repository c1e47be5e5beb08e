import type { Answer, Context, Features, WasmModule } from "../index.js";

export { DocumentError, GateFailedError, InputError, TenantgateError } from "../errors.js";

/** The options of a `FeatureClient`. */
export interface FeatureClientOptions {
  /**
   * The address of the features. Default: `/_gate/v1/features` on the page's own host, which names
   * the tenant.
   */
  url?: string;
  /** Attributes for rules; rollouts select by `targeting_key`. Default: no attributes. */
  context?: Context;
  /**
   * Headers of the request, such as `authorization`. The browser adds cookies itself. Default: no
   * headers.
   */
  headers?: Record<string, string>;
  /** Default: the runtime's `fetch`. Any other value than a function is an `InputError`. */
  fetch?: typeof globalThis.fetch;
  /**
   * Stores the last good snapshot for times without a network. Default: `localStorage`, if
   * available; null: no storage.
   */
  storage?: { getItem(key: string): string | null; setItem(key: string, value: string): void } | null;
  /**
   * Tells callers apart in the storage. Required to store anything if a token or an API key names
   * the tenant.
   */
  storageKey?: string;
  /**
   * Seconds for which the gate may delay a response until something changes, at most 30. Default
   * 25.
   */
  waitS?: number;
  /**
   * A socket of `tenantgate/ws/client`. While it is open, the client asks only when the socket says
   * that something has changed. Default: none.
   */
  socket?: { readonly isOpen: boolean; on(event: string, listener: () => void): () => void };
}

/**
 * The features of the page's tenant that pages may know (`client: true` in the catalog), evaluated
 * in the page.
 *
 * Events: `change` when answers change (`detail.changed` holds their keys), `stale` when the client
 * starts to serve the last good snapshot, because the network is down or the snapshot has expired,
 * and `fresh` when it stops.
 * @example
 * await init();
 * const features = new FeatureClient({ context: { targeting_key: user.id } });
 * await features.ready;
 * features.enabled("new-editor");
 * features.addEventListener("change", ({ detail }) => render(detail.changed));
 */
export class FeatureClient extends EventTarget {
  constructor(options?: FeatureClientOptions);
  /**
   * Resolves once there is a snapshot: from the gate, or the last good one if the gate is
   * unreachable.
   * @throws {GateFailedError} if there is neither; the client keeps trying, and emits `fresh` once
   *   it has a snapshot
   */
  readonly ready: Promise<void>;
  /** Whether the client serves the last good snapshot. */
  readonly stale: boolean;
  /** The tenant; null before there is a snapshot. */
  readonly tenant: { readonly id: string; readonly slug: string; readonly plan?: string; readonly region?: string } | null;
  /** The client's own context. May be replaced. */
  context: Context;
  /** The answer for the client's own context. */
  get(key: string): Answer;
  /** `get(key).enabled` */
  enabled(key: string): boolean;
  /** All features for the client's own context, or for another one. */
  evaluate(context?: Context): Features;
  /** Stops following changes. */
  close(): void;
  [Symbol.dispose](): void;
  addEventListener(type: "change", listener: (event: CustomEvent<{ changed: string[] }>) => void, options?: ListenerOptions): void;
  addEventListener(type: "stale" | "fresh", listener: (event: Event) => void, options?: ListenerOptions): void;
  addEventListener(...given: Parameters<EventTarget["addEventListener"]>): void;
}

/** The same as for the runtime's own event targets. */
type ListenerOptions = Parameters<EventTarget["addEventListener"]>[2];

/**
 * Loads the WebAssembly module of the client, 80 KB compressed, in pages. Does nothing in other
 * runtimes, unless a bundler omitted the module. Importing the package never fails.
 * @param source the module or its URL; default: next to the package's files
 * @throws {GateFailedError} if it could not be loaded
 * @example
 * await init();
 */
export function init(source?: string | URL | Response | WasmModule): Promise<void>;
