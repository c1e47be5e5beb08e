import type { FeatureClient } from "./client/index.js";
import type { Answer, Features, Widened } from "./index.js";

/**
 * Gives features to the components below it.
 * @param props `features`: the features that the server has evaluated; from a server component to one
 *   of the page only as `features.toJSON()`. They hold while the page has nothing newer. `client`: follows changes in the page
 * @example
 * // In a server component: <FeatureProvider features={features}><App /></FeatureProvider>
 * const features = (await gate.features("t_acme")).toJSON();
 * const element = FeatureProvider({ features, children: "the application" });
 */
export function FeatureProvider(props: {
  features?: Features | Record<string, Pick<Answer, "value"> & Partial<Answer>>;
  client?: FeatureClient;
  /** What React can render. */
  children?: any;
}): any;

/**
 * The value of a feature. `fallback` if the feature is unknown, its value is of another type, or
 * the page has no features yet. Renders again when the value changes.
 * @throws {ConfigurationError} without a `FeatureProvider`
 * @example
 * const theme = useFeature("theme", "light");
 */
export function useFeature<T extends boolean | string | number | object>(key: string, fallback: T): Widened<T>;
