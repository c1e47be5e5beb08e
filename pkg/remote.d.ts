export * from "./errors.js";
export type {
  Answer, AnyRequest, Context, Decision, LimitState, Question, ShortDecision, TenantQuestions, Transcript,
} from "./index.js";
export { denialOf, Features, RemoteGate } from "./index.js";
