import type { Context, Problem, Question, ShortDecision, TenantQuestions, Transcript, AnyRequest, Answer } from "./index.js";
import type { DecideOptions, InvocationContext } from "./workers.js";

export * from "./workers.js";

/**
 * The complete gateway as a Worker: requests to your hosts, the gate's own endpoints, the clock.
 */
declare const complete: {
  fetch(request: Request, env: any, ctx: InvocationContext): Response | Promise<Response>;
  scheduled(event: any, env: any, ctx: InvocationContext): Promise<void>;
};
export default complete;

/**
 * The handler of the scheduled event. Export it beside your own `fetch`, and add a cron trigger.
 * @example
 * export default { fetch: () => new Response("hello"), scheduled };
 */
export function scheduled(event: any, env: any, ctx: InvocationContext): Promise<void>;

/**
 * A handler for Hono that answers the gate's own endpoints, at `/_gate/`.
 * @example
 * const app = new Hono<TenantEnv>();
 * app.all("/_gate/*", gateway());
 * app.use(tenants());
 * export default { fetch: app.fetch, scheduled };
 * export { TenantLedger };
 */
export function gateway(): ((c: any) => Response | Promise<Response>) & { routes: any[] } & Record<string, any>;

/**
 * The Durable Object of a tenant's sockets. Export it, and bind it as `HUBS`.
 * @example
 * // wrangler.jsonc: "durable_objects": { "bindings": [{ "name": "HUBS", "class_name": "TenantHub" }] }
 * export { TenantHub };
 */
export class TenantHub {
  constructor(state: any, env: any);
  fetch(request: Request): Promise<Response>;
  alarm(): Promise<void>;
  webSocketMessage(socket: any, message: string | ArrayBuffer): Promise<void> | undefined;
  webSocketClose(socket: any): void;
  webSocketError(socket: any): void;
}

/** The value of a feature, and why, in OpenFeature's terms. */
export interface EvaluationDetails<T> {
  flagKey: string;
  value: T;
  reason: string;
  variant?: string;
  errorCode?: string;
  errorMessage?: string;
  flagMetadata?: Record<string, string | number | boolean>;
}

/** The context of an evaluation: `tenant` is the tenant's id, `targetingKey` the user. */
export type EvaluationContext = Context & { tenant: string; targetingKey?: string };

/** Answers questions about one tenant. */
export interface TenantGate extends TenantQuestions<true> {}

/**
 * The gate for other Workers, by RPC. `get…Value` and `get…Details` never throw: a feature that
 * cannot be read has the default.
 * @example
 * // wrangler.jsonc of the caller:
 * // "services": [{ "binding": "GATE", "service": "tenantgate", "entrypoint": "TenantGate" }]
 * const { allowed } = await env.GATE.take("t_acme", { exports: 1 });
 * const dark = await env.GATE.getBooleanValue("dark_mode", false, { tenant: "t_acme" });
 */
export class TenantGate implements TenantQuestions<true> {
  constructor(ctx: any, env: any);
  fetch(request: Request): Promise<Response>;
  decide(request: AnyRequest, options?: DecideOptions): Promise<ShortDecision>;
  /** `problems` if the question is invalid. */
  ask(question: Question): Promise<Transcript | { problems: Problem[] }>;
  explain(request: AnyRequest, question?: Question): Promise<Transcript>;
  features(tenant: string, context?: Context): Promise<Record<string, Answer>>;
  /** For `tenantgate/ws`. */
  publishMessages(body: { tenant: string; messages: { data: unknown; channel?: string; user?: string }[]; descendants?: boolean }): Promise<any>;
  /** For `tenantgate/ws`. */
  listConnections(tenant: string, cursor?: string): Promise<any>;
  /** For `tenantgate/ws`. */
  closeConnection(tenant: string, id: string): Promise<any>;
  /** For `tenantgate/ws`. */
  presence(tenant: string, channel: string): Promise<any>;
  getBooleanValue(key: string, fallback: boolean, context: EvaluationContext): Promise<boolean>;
  getStringValue(key: string, fallback: string, context: EvaluationContext): Promise<string>;
  getNumberValue(key: string, fallback: number, context: EvaluationContext): Promise<number>;
  getObjectValue<T extends object>(key: string, fallback: T, context: EvaluationContext): Promise<T>;
  getBooleanDetails(key: string, fallback: boolean, context: EvaluationContext): Promise<EvaluationDetails<boolean>>;
  getStringDetails(key: string, fallback: string, context: EvaluationContext): Promise<EvaluationDetails<string>>;
  getNumberDetails(key: string, fallback: number, context: EvaluationContext): Promise<EvaluationDetails<number>>;
  getObjectDetails<T extends object>(key: string, fallback: T, context: EvaluationContext): Promise<EvaluationDetails<T>>;
}
