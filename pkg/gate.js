// The gate for JavaScript, with its ledger in memory.
//
// A trap replaces the WebAssembly instance (`module.js`). A `Gate` keeps the texts of all documents
// that it was given, and loads them into the new instance before the next call.

import {
  Gate as Binding, issueApiKey as issueBinding, publish as publishBinding, verifyAssertion as verifyBinding,
} from "./dist/tenantgate.js";
import { Codec } from "./codec.js";
import { denied } from "./denials.js";
import { DocumentError, InputError, TenantgateError, UnauthenticatedError } from "./errors.js";
import { moment, named, options as known, text, textual } from "./input.js";
import { failure, generation, memory, ready } from "./module.js";
import { ANSWER, Questions } from "./questions.js";

/**
 * Calls the binding and converts its errors: an array holds the problems of a document, a text is
 * the reason for a refusal, and anything else is a trap.
 */
function within(run) {
  try {
    return run();
  } catch (error) {
    if (Array.isArray(error)) throw new DocumentError(error);
    throw typeof error === "string" ? new TenantgateError("REFUSED", error, { status: 409 }) : failure(error);
  }
}

/** Names the place of a document in a list in the paths of its problems. */
function at(place, run) {
  try {
    return run();
  } catch (error) {
    if (!(error instanceof DocumentError)) throw error;
    throw new DocumentError(error.problems.map((problem) => ({ ...problem, path: problem.path.replace("$", () => place) })));
  }
}

export const publish = (seed) => {
  ready();
  const json = text(seed);
  return within(() => publishBinding(json));
};

export function issueApiKey(options) {
  ready();
  const [json, entropy] = [text(options), crypto.getRandomValues(new Uint8Array(96))];
  const { text: key, record } = within(() => issueBinding(json, entropy, Date.now()));
  return { key, record };
}

export function verifyAssertion(assertion, options) {
  ready();
  const { keys, audience, now } = named(options, "the options");
  const [token, jwks, at] = [text(typeof assertion === "string" ? assertion : ""), text(keys), moment(now)];
  text(textual(audience, "`audience`"));
  try {
    return verifyBinding(token, jwks, audience, at);
  } catch (error) {
    // The cause has the reason, which callers do not receive.
    const reason = token === "" ? "the assertion is missing" : error;
    if (typeof error === "string") throw new UnauthenticatedError({}, { cause: new Error(reason) });
    return within(() => { throw error; });
  }
}

export class Gate extends Questions {
  #binding;
  #generation;
  #freed = false;
  #codec = new Codec(failure);
  /** The texts of all documents, which are loaded again after a trap. */
  #held = { catalog: "", tenants: new Map(), keys: new Map(), secrets: new Map(), apiKeys: new Map(), environment: "live" };
  #listeners = new Set();

  constructor(catalog, tenants = [], options) {
    super();
    ready();
    const { keys, secrets, apiKeys = [], environment = "live" } = known(options, ["keys", "secrets", "apiKeys", "environment"], "`Gate`");
    if (!Array.isArray(tenants) || !Array.isArray(apiKeys)) throw new InputError("`tenants` and `apiKeys` must be arrays");
    this.#held.environment = text(textual(environment, "`environment`"));
    this.#held.catalog = text(catalog);
    this.#open();
    try {
      for (const [place, tenant] of tenants.entries()) at(`$.tenants[${place}]`, () => this.putTenant(tenant));
      for (const [url, jwks] of Object.entries(named(keys, "`keys`"))) this.putKeys(url, jwks);
      for (const [name, value] of Object.entries(named(secrets, "`secrets`"))) this.putSecret(name, value);
      for (const record of apiKeys) this.putApiKey(record);
    } catch (error) {
      // The caller never receives this object, so it cannot free it.
      this.free();
      throw error;
    }
  }

  putCatalog(catalog) {
    const json = text(catalog);
    this.#change((binding) => binding.putCatalog(json));
    this.#held.catalog = json;
    this.#learn();
    this.#notify();
  }

  putTenant(tenant) {
    const json = text(tenant);
    this.#held.tenants.set(this.#change((binding) => binding.putTenant(json)), json);
    this.#notify();
  }

  putKeys(url, jwks) {
    const [place, json] = [text(textual(url instanceof URL ? url.href : url, "`url`")), text(jwks)];
    this.#change((binding) => binding.putKeys(place, json));
    this.#held.keys.set(place, json);
  }

  putSecret(name, value) {
    text(textual(name, "the name of a secret"));
    text(textual(value, "a secret"));
    this.#change((binding) => binding.putSecret(name, value));
    this.#held.secrets.set(name, value);
  }

  putApiKey(record) {
    const json = text(record);
    this.#held.apiKeys.set(this.#change((binding) => binding.putApiKey(json)), json);
  }

  removeTenant(id) {
    text(textual(id, "a tenant's id"));
    this.#change((binding) => binding.removeTenant(id));
    this.#held.tenants.delete(id);
    this.#notify();
  }

  onChange(listener) {
    if (typeof listener !== "function") throw new InputError("a listener must be a function");
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #notify() {
    for (const listener of this.#listeners) {
      try {
        listener();
      } catch (error) {
        // The change has been made, and the other listeners must still be called.
        console.error("a listener of the gate failed", error);
      }
    }
  }

  decide(request, options) {
    this.#begin(options);
    return this.#codec.decide(request, options, moment(options?.now));
  }

  features(tenant, context, options) {
    this.#begin(options);
    const features = this.#codec.features(tenant, context, moment(options?.now));
    if (typeof features === "number") throw denied(this.#codec.names.codes[features]);
    return features;
  }

  [ANSWER](request, named, now) {
    this.#begin();
    return this.#codec.answer(request, named, moment(now));
  }

  ask(question, options) {
    const now = moment(named(options, "the options").now);
    const json = text(question);
    return JSON.parse(this.#change((binding) => binding.ask(json, now)));
  }

  explain(request, options) {
    const { now, ...question } = named(options, "the options");
    return this.ask({ ...this.question(request), ...question, look: true, explain: true }, { now });
  }

  question(request) {
    this.#begin();
    return this.#codec.question(request);
  }

  static memoryBytes() {
    ready();
    return memory.buffer.byteLength;
  }

  free() {
    if (this.#freed) return;
    this.#codec.check();
    this.#freed = true;
    if (this.#generation === generation) this.#binding.free();
    // A later call fails instead of using memory that may belong to another object by then.
    this.#generation = -1;
  }

  [Symbol.dispose ?? Symbol.for("Symbol.dispose")]() {
    this.free();
  }

  /** Prepares a call: loads the documents again after a trap. */
  #begin(options) {
    this.#codec.check();
    if (options !== undefined && (typeof options !== "object" || options === null)) throw new InputError("the options must be an object");
    if (this.#generation !== generation) this.#open();
  }

  /**
   * Calls the binding for anything but `decide` and `features`, which avoid the overhead of a
   * closure.
   */
  #change(run) {
    this.#begin();
    return within(() => run(this.#binding));
  }

  /** Creates the binding and loads all documents. */
  #open() {
    if (this.#freed) throw new InputError("the gate has been freed");
    const { catalog, tenants, keys, secrets, apiKeys, environment } = this.#held;
    within(() => {
      const binding = new Binding(catalog);
      try {
        for (const json of tenants.values()) binding.putTenant(json);
        for (const [url, json] of keys) binding.putKeys(url, json);
        for (const [name, value] of secrets) binding.putSecret(name, value);
        for (const json of apiKeys.values()) binding.putApiKey(json);
        binding.serve(environment);
      } catch (error) {
        binding.free();
        throw error;
      }
      this.#binding = binding;
    });
    this.#generation = generation;
    this.#codec.open(this.#binding, memory);
    this.#learn();
  }

  #learn() {
    this.#codec.learn(within(() => this.#binding.keys()));
  }
}
