// The gate in the isolate of a Worker: it reads snapshots from KV, spends leases of the family's
// ledger, and decides without a hop. All gates of an isolate share what it holds.

import { Codec, RENAMED, WAIT } from "./codec.js";
import { denial, denied } from "./denials.js";
import { ConfigurationError, DocumentError, GateFailedError } from "./errors.js";
import { factsOf, headersOf } from "./facts.js";
import { Features } from "./features.js";
import { options as known, readable, text } from "./input.js";
import { ANSWER, brief, Questions, short } from "./questions.js";

/**
 * Milliseconds after which an answer that should have come is given up: only a trap takes so long.
 */
const LOST_MS = 15_000;

const failure = (error) => new GateFailedError("the gate failed internally and was restarted", error);

/** What all gates of the isolate share: the binding, and how questions and results cross it. */
class Core {
  #env;
  #instance;
  #Binding;
  #raw;
  #generation;
  #codec = new Codec(failure);
  /** Whose question is being asked. */
  #request;
  #context;

  constructor(env, instance, Binding) {
    this.#env = env;
    this.#instance = instance;
    this.#Binding = Binding;
  }

  get codec() {
    return this.#codec;
  }

  get raw() {
    return this.#raw;
  }

  /** Prepares a call: after a trap there is another instance. */
  begin() {
    this.#codec.check();
    this.#instance.ready();
    const { generation, memory } = this.#instance;
    if (this.#generation === generation) return;
    this.#raw = new this.#Binding(this.#env);
    this.#generation = generation;
    const raw = this.#raw;
    this.#codec.open({
      decide: (length) => raw.decide(length, this.#request, this.#context),
      features: (length) => raw.features(length, this.#context),
      buffer: () => raw.buffer(),
      tenant: () => raw.tenant(),
      credential: () => raw.credential(),
      hold: () => raw.hold(),
      feature: (place) => raw.feature(place),
      transcript: () => raw.transcript(),
      rateLimitHeaders: () => raw.rateLimitHeaders(),
      outcome: (feature, outcome) => raw.outcome(feature, outcome),
    }, memory);
    this.learn();
  }

  /** Learns the names of the catalog. Returns false if the isolate holds none. */
  learn() {
    const names = this.#raw.keys();
    if (names !== undefined) this.#codec.learn(names);
    return names !== undefined;
  }

  /** Asks at once. Returns undefined if the answer has to be waited for. */
  now(request, context, ask) {
    this.begin();
    if (this.#codec.names === undefined && !this.learn()) return undefined;
    this.#request = request;
    this.#context = context;
    try {
      let answer = ask(this.#codec);
      if (answer === RENAMED) answer = this.learn() ? ask(this.#codec) : WAIT;
      return answer === RENAMED || answer === WAIT ? undefined : answer;
    } finally {
      this.#request = this.#context = undefined;
    }
  }
}

/** The bindings, each with what makes a value one, and the configuration that adds it. */
const BINDINGS = {
  SNAPSHOTS: [(value) => typeof value?.get === "function", true, '"kv_namespaces": [{ "binding": "SNAPSHOTS", "id": "…" }]'],
  // Without it every limit that a ledger counts would be open or closed, whatever it says.
  LEDGER: [(value) => typeof value?.idFromName === "function", true, '"durable_objects": { "bindings": [{ "name": "LEDGER", "class_name": "TenantLedger" }] }'],
  CONTROL_DB: [(value) => typeof value?.prepare === "function", false, '"d1_databases": [{ "binding": "CONTROL_DB", "database_name": "tenantgate", "database_id": "…" }]'],
};

function check(env) {
  if (typeof env !== "object" || env === null) throw new ConfigurationError("`edgeGate` needs the Worker's `env`");
  for (const [name, [fits, needed, line]] of Object.entries(BINDINGS)) {
    if (fits(env[name]) || (!needed && env[name] === undefined)) continue;
    const state = env[name] === undefined ? "missing" : "of another kind";
    throw new ConfigurationError(`the binding \`${name}\` is ${state}: add ${line} to wrangler.jsonc`);
  }
}

/**
 * Makes `edgeGate` of a built Worker: `instance` is its `instance.js`, whose exports change with a
 * trap, and `Binding` its `EdgeBinding`.
 */
export function edgeGates(instance, Binding) {
  // The configuration is that of the first `env`, which never changes.
  let core;
  return (env, ctx) => {
    if (core === undefined) {
      check(env);
      core = new Core(env, instance, Binding);
    }
    return new EdgeGate(core, ctx);
  };
}

/** The gate of one invocation. */
class EdgeGate extends Questions {
  #core;
  #context;

  constructor(core, context) {
    super();
    this.#core = core;
    if (typeof context?.waitUntil !== "function") throw new ConfigurationError("`edgeGate` needs the context of the invocation: `edgeGate(env, ctx)`");
    this.#context = context;
  }

  decideNow(request, options) {
    given(options, ["context", "features", "look"], "`decideNow`");
    return this.#core.now(request, this.#context, (codec) => codec.decide(request, options, 0)) ?? null;
  }

  async decide(request, options) {
    given(options, ["context", "features", "look"], "`decide`");
    const decision = this.#core.now(request, this.#context, (codec) => codec.decide(request, options, 0));
    if (decision !== undefined) return decision;
    const { context, ...more } = options ?? {};
    return short((await this.#send({ ...whole(request), ...more, ...(context && { context: readable(context) }) }, request)).decision);
  }

  async features(tenant, context) {
    const features = this.#core.now(undefined, this.#context, (codec) => codec.features(tenant, context, 0));
    if (features instanceof Features) return features;
    if (typeof features === "number") throw denied(this.#core.codec.names.codes[features]);
    const { decision } = await this.ask({ tenant, context: readable(context), all_features: true, look: true });
    if (!decision.allowed) throw denial(decision);
    const keys = Object.keys(decision.features);
    return new Features(new Map(keys.map((key, place) => [key, place])), Object.values(decision.features));
  }

  async ask(question, options) {
    given(options, [], "`ask`");
    return this.#send(question);
  }

  async [ANSWER](request, named) {
    const answer = this.#core.now(request, this.#context, (codec) => codec.answer(request, named, 0));
    return answer ?? brief(await this.#send({ ...whole(request), ...named }, request));
  }

  async explain(request, question) {
    return this.#send({ ...whole(request), ...question, look: true, explain: true }, request);
  }

  question(request) {
    this.#core.begin();
    return this.#core.codec.names === undefined ? whole(request) : this.#core.codec.question(request);
  }

  /**
   * Waits for an answer. Started work comes to its end even if the client leaves: other requests
   * may wait for it.
   */
  #finished(answer) {
    this.#context.waitUntil(answer);
    return inTime(answer);
  }

  async #send(question, request) {
    const json = text(question);
    this.#core.begin();
    const { problems, ...answer } = JSON.parse(await this.#finished(this.#core.raw.ask(json, request, this.#context)));
    if (problems !== undefined) throw new DocumentError(problems);
    return answer;
  }
}

/**
 * The question of a request that has to wait, with all its headers: while it waits, a catalog may
 * arrive that reads others than the last one.
 */
function whole(request) {
  const given = request?.headers;
  const names = typeof given?.keys === "function" ? given.keys() : Object.keys(given ?? {}).map((name) => name.toLowerCase());
  const all = [...new Set(names)];
  const { method, host, path, query, headers, ...more } = factsOf(request, all);
  return { method, host, path, query, headers: headersOf(headers, all), ...more };
}

function given(options, names, what) {
  if (options !== undefined) known(options, names, what);
}

/** Waits for an answer. An instance that traps while it waits never gives one. */
async function inTime(answer) {
  let timer;
  const lost = new Promise((_, reject) => {
    timer = setTimeout(() => reject(failure(new Error("no answer came"))), LOST_MS);
  });
  try {
    return await Promise.race([answer, lost]);
  } finally {
    clearTimeout(timer);
  }
}
