// Logs failures: one line each, with the reason, which callers do not receive.

/** Codes whose status 503 reports the state of a tenant, not a failure. */
const STATES = new Set(["TENANT_PROVISIONING", "TENANT_MAINTENANCE", "TENANT_CIRCUIT_OPEN"]);
const MAX_CAUSES = 8;
const reported = new WeakSet();

/**
 * Whether a reply with this status reports a failure of the application, the gate, or the network.
 */
export const isFailure = (error, status) => status >= 500 && !STATES.has(error?.code);

/** Writes an error with its causes to the console, in one line and only once per error. */
export function report(error, status) {
  if (!isFailure(error, status) || reported.has(error)) return;
  reported.add(error);
  console.error(`tenantgate: ${reasonOf(error)}`);
}

/** The messages of an error and its causes, in one line. */
export function reasonOf(error) {
  return causesOf(error).map(sentenceOf).join(", because of ").replaceAll(/\s+/g, " ");
}

/** An error and its chain of causes, at most `MAX_CAUSES`. */
export function causesOf(error) {
  const causes = [];
  for (let next = error; next !== undefined && next !== null && causes.length < MAX_CAUSES; next = next.cause) causes.push(next);
  return causes;
}

/** The message of a thrown value, even if it is not an `Error`. */
export function sentenceOf(error) {
  if (typeof error === "string") return error;
  if (typeof error?.message !== "string") return `a thrown ${typeof error}`;
  const { name, code, message } = error;
  const label = typeof code === "string" ? code : name;
  return message === "" ? label : `${label}: ${message}`;
}
