// What the log says of failures: one line each, with the reason that callers are not told.

/** Status 503 of these says how a tenant stands. Nothing has failed. */
const STATES = new Set(["TENANT_PROVISIONING", "TENANT_MAINTENANCE", "TENANT_CIRCUIT_OPEN"]);
const MAX_CAUSES = 8;
const reported = new WeakSet();

/** Whether an answer with this status is a failure of the application, of the gate, or of something between them. */
export const isFailure = (error, status) => status >= 500 && !STATES.has(error?.code);

/** Writes an error with its causes to the console, in one line, and each error once. */
export function report(error, status) {
  if (!isFailure(error, status) || reported.has(error)) return;
  reported.add(error);
  console.error(`tenantgate: ${reasonOf(error)}`);
}

/** What an error and its causes say, in one line. */
export function reasonOf(error) {
  return causesOf(error).map(sentenceOf).join(", because of ").replaceAll(/\s+/g, " ");
}

/** An error, its cause, the cause of that, and so on. */
export function causesOf(error) {
  const causes = [];
  for (let next = error; next !== undefined && next !== null && causes.length < MAX_CAUSES; next = next.cause) causes.push(next);
  return causes;
}

/** What an error says of itself, whatever was thrown. */
export function sentenceOf(error) {
  if (typeof error === "string") return error;
  if (typeof error?.message !== "string") return `a thrown ${typeof error}`;
  const { name, code, message } = error;
  const label = typeof code === "string" ? code : name;
  return message === "" ? label : `${label}: ${message}`;
}
