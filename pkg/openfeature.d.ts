import type { EvaluationContext, JsonValue, Provider, ProviderMetadata, ResolutionDetails } from "@openfeature/server-sdk";
import { OpenFeatureEventEmitter } from "@openfeature/server-sdk";
import type { Gate, RemoteGate } from "./index.js";

/**
 * A provider for the OpenFeature server SDK. The attribute `tenant` of the evaluation context is
 * the tenant's id; `targetingKey` is the attribute `targeting_key` of rules. Emits
 * `PROVIDER_CONFIGURATION_CHANGED` when the catalog or a tenant changes, `PROVIDER_ERROR` when a
 * remote gate becomes unreachable, and `PROVIDER_READY` when it is reachable again.
 * @example
 * await OpenFeature.setProviderAndWait(new TenantgateProvider(gate));
 * await OpenFeature.getClient().getBooleanValue("webhooks", false, { tenant: "t_acme", targetingKey: "user-1" });
 */
export class TenantgateProvider implements Provider {
  constructor(gate: Gate | RemoteGate);
  readonly metadata: ProviderMetadata;
  readonly runsOn: "server";
  readonly events: OpenFeatureEventEmitter;
  initialize(): Promise<void>;
  onClose(): Promise<void>;
  resolveBooleanEvaluation(key: string, fallback: boolean, context: EvaluationContext): Promise<ResolutionDetails<boolean>>;
  resolveStringEvaluation(key: string, fallback: string, context: EvaluationContext): Promise<ResolutionDetails<string>>;
  resolveNumberEvaluation(key: string, fallback: number, context: EvaluationContext): Promise<ResolutionDetails<number>>;
  resolveObjectEvaluation<T extends JsonValue>(key: string, fallback: T, context: EvaluationContext): Promise<ResolutionDetails<T>>;
}
