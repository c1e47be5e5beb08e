import type { EvaluationContext, JsonValue, Provider, ProviderMetadata, ResolutionDetails } from "@openfeature/web-sdk";
import { OpenFeatureEventEmitter } from "@openfeature/web-sdk";
import type { FeatureClient } from "./client/index.js";

/**
 * A provider for the OpenFeature web SDK: evaluates the features of the page's tenant in the page.
 * Emits `PROVIDER_CONFIGURATION_CHANGED` with the keys of changed features, `PROVIDER_STALE` while
 * it serves the last good snapshot, and `PROVIDER_READY` afterwards.
 * @example
 * await init();
 * await OpenFeature.setProviderAndWait(new TenantgateWebProvider(new FeatureClient()), { targetingKey: "user-1" });
 */
export class TenantgateWebProvider implements Provider {
  constructor(client: FeatureClient);
  readonly metadata: ProviderMetadata;
  readonly runsOn: "client";
  readonly events: OpenFeatureEventEmitter;
  initialize(context?: EvaluationContext): Promise<void>;
  onContextChange(old: EvaluationContext, context: EvaluationContext): void;
  onClose(): Promise<void>;
  resolveBooleanEvaluation(key: string, fallback: boolean): ResolutionDetails<boolean>;
  resolveStringEvaluation(key: string, fallback: string): ResolutionDetails<string>;
  resolveNumberEvaluation(key: string, fallback: number): ResolutionDetails<number>;
  resolveObjectEvaluation<T extends JsonValue>(key: string, fallback: T): ResolutionDetails<T>;
}
