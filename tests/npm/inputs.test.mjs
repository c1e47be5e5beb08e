// Invalid input from JavaScript causes a result or a typed error, never a trap, and the gate keeps
// working. It also keeps working after a real trap.

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { generation, memory } from "../../pkg/module.js";
import { DocumentError, Gate, GateFailedError, InputError, TenantNotFoundError, TenantgateError, issueApiKey, publish, verifyAssertion } from "../../pkg/node.js";

const catalog = {
  version: 1,
  resolution: { strategies: [{ strategy: "subdomain", base_domains: ["app.example.com"] }, { strategy: "header" }] },
  features: { f: { rules: [{ name: "r", when: [{ attribute: "n", op: "gt", value: 1.5 }], value: true }] }, g: {} },
  routes: [{ path: "/f", feature: "f" }],
  plans: { "p@1": {}, "q@1": { features: ["g"] } },
};
const tenants = [{ id: "t", slug: "t", plan: "p@1" }, { id: "v", slug: "v", plan: "q@1" }];
const host = "t.app.example.com";
const open = (options) => new Gate(catalog, tenants, options);

/** Checks that the gate still decides and evaluates. */
function works(gate, about) {
  assert.deepEqual(gate.decide({ host, path: "/f", context: { n: 2 } }).code, "ALLOWED", about);
  assert.equal(gate.decide({ host, path: "/f", context: { n: 1 } }).code, "FEATURE_NOT_AVAILABLE", about);
  assert.deepEqual([gate.features("t", { n: 2 }).enabled("f"), gate.features("t").enabled("f"), gate.features("v").enabled("g")], [true, false, true], about);
  assert.deepEqual(gate.ask({ host, features: ["g"] }).decision.tenant, { id: "t", slug: "t", plan: "p@1", status: "active" }, about);
}

// Each test has its own gate, so that one failure does not cause another.
let gate;
beforeEach(() => { gate = open(); });
afterEach(() => gate.free());
const mine = new Error("thrown while it was read");

/**
 * Calls `run`, which may return, throw a typed error, or throw what the input itself throws. After
 * that the gate must still work, in the same instance of the module.
 */
function attempt(run, about) {
  const before = generation;
  let outcome;
  try {
    outcome = { answer: run() };
    if (outcome.answer instanceof Gate) outcome.answer.free();
  } catch (error) {
    const own = error === mine || (error instanceof TypeError && /revoked/.test(error.message));
    assert(own || (error instanceof TenantgateError && !(error instanceof GateFailedError)), `${about}: ${error?.stack ?? String(error)}`);
    outcome = { error };
  }
  assert.equal(generation, before, `${about}: the module trapped`);
  works(gate, about);
  return outcome;
}

const throws = () => { throw mine; };
const revoked = (target) => {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy;
};
const cyclic = {};
cyclic.self = cyclic;
const NAMES = [
  "url", "method", "host", "path", "query", "headers", "context", "features", "tenant", "tenants", "catalog", "id", "slug", "version", "keys", "audience", "now",
  "look", "n", "x-tenant-id", "length", "0",
];
const long = "x".repeat(10 << 20);
const deep = JSON.parse(`${"[".repeat(5_000)}${"]".repeat(5_000)}`);
const values = {
  "undefined": undefined, "null": null, "a number": 5, "NaN": NaN, "Infinity": Infinity, "a negative number": -1, "a huge number": 1e300, "a boolean": true,
  "a symbol": Symbol("s"), "a BigInt": 5n,
  "a function": () => 1, "a class": class {}, "an array": [], "a sparse array": Object.assign(new Array(1_000_000), { 999_999: "f" }), "an object": {},
  "a date": new Date(NaN), "a map": new Map([["n", 1]]), "a typed array": new Uint8Array(8),
  "getters that throw": Object.defineProperties({}, Object.fromEntries(NAMES.map((name) => [name, { get: throws, enumerable: true }]))),
  "toJSON that throws": { toJSON: throws },
  "a proxy whose traps throw": new Proxy({}, new Proxy({}, { get: () => throws })),
  "a proxy of a function whose traps throw": new Proxy(() => 1, new Proxy({}, { get: () => throws })),
  "a revoked proxy": revoked({}), "a revoked array": revoked([]), "a revoked function": revoked(() => 1), "a cyclic object": cyclic,
  "an object with a BigInt": { n: 5n, id: 5n, version: 5n, tenant: 5n, keys: 5n }, "a deep object": deep,
  "a text object": new String("z"), "an object as text": { toString: () => "z", valueOf: () => 7 },
  "an object whose text throws": { toString: throws, valueOf: throws, [Symbol.toPrimitive]: throws }, "an object without a prototype": Object.create(null),
  "an object with `__proto__`": JSON.parse('{"__proto__": {"id": "t", "host": "v.app.example.com", "n": 2, "x-tenant-id": "v"}}'),
  "an object with a prototype": Object.create({ host, path: "/", n: 2 }),
  "an empty text": "", "a text": "z", "a lone surrogate": "\ud800", "another in the middle": "t\udc00.app.example.com", "NUL": "\0", "JSON that ends early": '{"a":',
  "JSON, a lone surrogate": '"\ud800"', "JSON, ever deeper": "[".repeat(100_000), "10 MB": long, "10 MB beyond ASCII": "é".repeat(5 << 20),
  "an object with 10 MB": { n: long, id: long, tenant: long },
};

const jwks = { keys: [] };
const assertion = "e30.e30.AA";
const positions = {
  "new Gate, catalog": (value) => new Gate(value),
  "new Gate, tenants": (value) => new Gate(catalog, value),
  "new Gate, a tenant": (value) => new Gate(catalog, [value]),
  "new Gate, options": (value) => new Gate(catalog, [], value),
  "new Gate, keys": (value) => new Gate(catalog, [], { keys: value }),
  "new Gate, a key set": (value) => new Gate(catalog, [], { keys: { u: value } }),
  "new Gate, secrets": (value) => new Gate(catalog, [], { secrets: value }),
  "new Gate, a secret": (value) => new Gate(catalog, [], { secrets: { S: value } }),
  "new Gate, apiKeys": (value) => new Gate(catalog, [], { apiKeys: value }),
  "new Gate, an API key": (value) => new Gate(catalog, [], { apiKeys: [value] }),
  "new Gate, environment": (value) => new Gate(catalog, [], { environment: value }),
  "decide, request": (value) => gate.decide(value),
  "decide, url": (value) => gate.decide({ url: value, headers: {} }),
  "decide, url without headers": (value) => gate.decide({ url: "/", headers: value }),
  "decide, url of a `Request`": (value) => gate.decide({ url: value, headers: new Headers() }),
  "decide, options": (value) => gate.decide({ host }, value),
  "decide, method": (value) => gate.decide({ host, method: value }),
  "decide, host": (value) => gate.decide({ host: value }),
  "decide, path": (value) => gate.decide({ host, path: value }),
  "decide, query": (value) => gate.decide({ host, query: value }),
  "decide, headers": (value) => gate.decide({ host, headers: value }),
  "decide, a header": (value) => gate.decide({ host, headers: { "x-tenant-id": value } }),
  "decide, context": (value) => gate.decide({ host, context: value }),
  "decide, context beside": (value) => gate.decide({ host }, { context: value }),
  "decide, an attribute": (value) => gate.decide({ host, context: { n: value } }),
  "decide, features": (value) => gate.decide({ host, features: value }),
  "decide, features beside": (value) => gate.decide({ host }, { features: value }),
  "decide, a feature": (value) => gate.decide({ host, features: [value] }),
  "decide, now": (value) => gate.decide({ host }, { now: value }),
  "decide, look": (value) => gate.decide({ host }, { look: value }),
  "features, tenant": (value) => gate.features(value),
  "features, context": (value) => gate.features("t", value),
  "features, an attribute": (value) => gate.features("t", { n: value }),
  "features, options": (value) => gate.features("t", {}, value),
  "features, now": (value) => gate.features("t", {}, { now: value }),
  "ask, question": (value) => gate.ask(value),
  "ask, options": (value) => gate.ask({ tenant: "t" }, value),
  "ask, now": (value) => gate.ask({ tenant: "t" }, { now: value }),
  "ask, tenant": (value) => gate.ask({ tenant: value }),
  "ask, host": (value) => gate.ask({ host: value }),
  "ask, headers": (value) => gate.ask({ host, headers: value }),
  "ask, a header": (value) => gate.ask({ host, headers: { "x-tenant-id": value } }),
  "ask, context": (value) => gate.ask({ tenant: "t", context: value }),
  "ask, an attribute": (value) => gate.ask({ tenant: "t", context: { n: value } }),
  "ask, features": (value) => gate.ask({ tenant: "t", features: value }),
  "ask, a feature": (value) => gate.ask({ tenant: "t", features: [value] }),
  "ask, limits": (value) => gate.ask({ tenant: "t", limits: value }),
  "ask, a quantity": (value) => gate.ask({ tenant: "t", limits: { calls: value } }),
  "ask, reserve": (value) => gate.ask({ tenant: "t", reserve: value }),
  "explain, request": (value) => gate.explain(value),
  "explain, question": (value) => gate.explain({ host }, value),
  "explain, now": (value) => gate.explain({ host }, { now: value }),
  "explain, host": (value) => gate.explain({ host: value }),
  "explain, a header": (value) => gate.explain({ host, headers: { "x-tenant-id": value } }),
  "question": (value) => gate.question(value),
  "putTenant": (value) => gate.putTenant(value),
  "putTenant, id": (value) => gate.putTenant({ id: value, slug: "y" }),
  "putCatalog": (value) => gate.putCatalog(value),
  "putCatalog, features": (value) => gate.putCatalog({ ...catalog, version: 1, features: value }),
  "putKeys, url": (value) => gate.putKeys(value, jwks),
  "putKeys": (value) => gate.putKeys("u", value),
  "putSecret, name": (value) => gate.putSecret(value, "s"),
  "putApiKey": (value) => gate.putApiKey(value),
  "removeTenant": (value) => gate.removeTenant(value),
  "issueApiKey": (value) => issueApiKey(value),
  "issueApiKey, tenant": (value) => issueApiKey({ tenant: value }),
  "issueApiKey, scopes": (value) => issueApiKey({ tenant: "t", scopes: value }),
  "issueApiKey, a scope": (value) => issueApiKey({ tenant: "t", scopes: [value] }),
  "issueApiKey, environment": (value) => issueApiKey({ tenant: "t", environment: value }),
  "verifyAssertion": (value) => verifyAssertion(value, { keys: jwks, audience: "a" }),
  "verifyAssertion, options": (value) => verifyAssertion(assertion, value),
  "verifyAssertion, keys": (value) => verifyAssertion(assertion, { keys: value, audience: "a" }),
  "verifyAssertion, audience": (value) => verifyAssertion(assertion, { keys: jwks, audience: value }),
  "verifyAssertion, now": (value) => verifyAssertion(assertion, { keys: jwks, audience: "a", now: value }),
  "publish": (value) => publish(value),
  "publish, catalog": (value) => publish({ catalog: value, tenants: [] }),
  "publish, tenants": (value) => publish({ catalog, tenants: value }),
};

describe("a freed gate", () => {
  const uses = {
    decide: (freed) => freed.decide({ host }), features: (freed) => freed.features("t"), ask: (freed) => freed.ask({ tenant: "t" }), explain: (freed) => freed.explain({ host }),
    putTenant: (freed) => freed.putTenant(tenants[0]), putCatalog: (freed) => freed.putCatalog(catalog), putKeys: (freed) => freed.putKeys("u", jwks), putSecret: (freed) => freed.putSecret("S", "s"),
    putApiKey: (freed) => freed.putApiKey(issueApiKey({ tenant: "t" }).record), removeTenant: (freed) => freed.removeTenant("t"),
  };
  for (const [name, use] of Object.entries(uses)) {
    test(`\`${name}\` of a freed gate throws an InputError, whether or not the gate was used before`, () => {
      const [idle, asked] = [open(), open()];
      works(asked);
      for (const freed of [idle, asked]) {
        freed.free();
        assert(attempt(() => use(freed), name).error instanceof InputError);
      }
    });
  }

  test("a gate may be freed twice, and `Symbol.dispose` frees it", () => {
    const freed = open();
    freed.free();
    freed.free();
    freed[Symbol.dispose]();
    const disposed = open();
    disposed[Symbol.dispose]();
    assert.throws(() => disposed.ask({ tenant: "t" }), InputError);
    works(gate);
  });

  test("a freed gate does not write to memory that other gates use by now", () => {
    const next = open();
    const freed = Array.from({ length: 30 }, () => open());
    for (const one of freed) works(one);
    const before = Gate.memoryBytes();
    for (const one of freed) one.free();
    const crowd = Array.from({ length: 500 }, (_, i) => ({ id: `c${i}`, slug: `c${i}`, plan: "p@1", name: "n".repeat(100) }));
    for (const tenant of crowd) next.putTenant(tenant);
    assert.equal(Gate.memoryBytes(), before, "the new tenants use the freed memory");
    for (const one of freed) assert.throws(() => one.decide({ host: "x".repeat(30_000), query: "y".repeat(30_000) }));
    assert.deepEqual(crowd.filter(({ id, slug }) => next.decide({ host: `${slug}.app.example.com` }).tenant?.id !== id), []);
    works(next);
    next.free();
  });
});

/**
 * Positions that would iterate over the letters of a long string for minutes. A separate test
 * checks that `keys`, `secrets` and options refuse strings.
 */
const spread = new Set(["new Gate, keys", "new Gate, secrets", "explain, question"]);

describe("memory of failed attempts", () => {
  const PAGE = 65_536;
  const record = { ...issueApiKey({ tenant: "t" }).record, scopes: ["no scope "] };
  /** Attempts that fail, each with the size of its input in bytes. */
  const attempts = {
    "a catalog": [PAGE, () => new Gate({ version: 1 })],
    "a tenant at construction": [PAGE, () => new Gate(catalog, [{ id: "t" }])],
    "an API key at construction": [PAGE, () => new Gate(catalog, [], { apiKeys: [record] })],
    "an environment": [PAGE, () => new Gate(catalog, [], { environment: "prod" })],
    "keys at construction": [PAGE, () => new Gate(catalog, [], { keys: { u: "{" } })],
  };
  const large = { "10 MB": long, "7 MB": "x".repeat(7 << 20), "5 MB beyond ASCII": "é".repeat(5 << 20) };
  const refusing = [
    "new Gate, catalog", "new Gate, a tenant", "new Gate, environment", "decide, host", "decide, an attribute", "decide, a feature", "features, tenant",
    "features, an attribute", "ask, question", "ask, tenant", "ask, an attribute", "explain, host", "putTenant", "putTenant, id", "putCatalog", "issueApiKey",
    "issueApiKey, tenant", "verifyAssertion", "verifyAssertion, keys", "verifyAssertion, audience", "publish", "publish, catalog",
  ];
  for (const [size, text] of Object.entries(large)) {
    for (const position of refusing) attempts[`${position}: ${size}`] = [Buffer.byteLength(text) + PAGE, () => positions[position](text)];
  }
  for (const [name, [bytes, run]] of Object.entries(attempts)) {
    test(`repeated failures do not grow memory: ${name}`, () => {
      const fail = () => assert("error" in attempt(run, name), "the input was accepted");
      fail();
      const before = Gate.memoryBytes();
      for (let i = 0; i < (bytes > PAGE ? 5 : 100); i++) fail();
      const grown = Gate.memoryBytes() - before;
      assert(grown <= bytes, `memory grew by ${grown} bytes, the input has ${bytes}`);
    });
  }
});

describe("arguments of any kind", () => {
  for (const [position, run] of Object.entries(positions)) {
    test(`any argument has a result or a typed error: ${position}`, () => {
      const failed = [];
      for (const [name, value] of Object.entries(values)) {
        if (spread.has(position) && typeof value === "string" && value.length > 1_000) continue;
        try {
          attempt(() => run(value), name);
        } catch ({ message }) {
          failed.push(message.split("\n", 1)[0]);
          gate = open();
        }
      }
      assert.deepEqual(failed, []);
    });
  }

  const refused = (position, type, ...names) => {
    for (const name of names) {
      const { error } = attempt(() => positions[position](values[name]), `${position}: ${name}`);
      assert(error instanceof type, `${position}, ${name}: ${error ?? "was accepted"}`);
    }
  };

  test("an argument of a wrong type throws an error of the right class", () => {
    const scalars = ["null", "a number", "NaN", "a boolean", "a symbol", "a BigInt", "a function"];
    for (const position of ["decide, request", "explain, request", "question"]) refused(position, InputError, ...scalars, "an empty text", "10 MB");
    for (const position of ["decide, host", "decide, path", "decide, query", "decide, method", "features, tenant", "decide, a feature"]) refused(position, InputError, ...scalars, "an array", "an object", "a text object", "10 MB");
    for (const position of ["decide, a header"]) refused(position, InputError, ...scalars.slice(1), "an array", "a text object", "10 MB");
    for (const position of ["decide, an attribute", "features, an attribute"]) refused(position, InputError, "a symbol", "a BigInt", "a function", "an array", "an object", "a date", "a text object", "10 MB");
    for (const position of ["new Gate, catalog", "putTenant", "putCatalog", "putApiKey", "ask, question", "publish"]) {
      refused(position, InputError, "a symbol", "a BigInt", "a function", "a cyclic object", "an object with a BigInt", "toJSON that throws", "a revoked proxy");
      refused(position, DocumentError, "null", "a number", "NaN", "a boolean", "an array", "a lone surrogate", "NUL", "JSON that ends early", "JSON, ever deeper");
      refused(position, DocumentError, "10 MB", "an object with 10 MB", "an object with `__proto__`");
    }
    for (const position of ["verifyAssertion", "issueApiKey", "issueApiKey, tenant"]) refused(position, TenantgateError, "null", "a number", "an array", "an empty text", "a lone surrogate", "10 MB");
    refused("verifyAssertion, audience", InputError, ...scalars, "an object");
  });

  test("an error that an argument throws while it is read reaches the caller", () => {
    for (const position of ["new Gate, catalog", "putTenant", "putCatalog", "putApiKey", "ask, question", "issueApiKey", "publish", "verifyAssertion, keys"]) {
      for (const name of ["getters that throw", "toJSON that throws", "a proxy whose traps throw"]) {
        const { error } = attempt(() => positions[position](values[name]), position);
        assert(error instanceof InputError && error.cause === mine, `${position}, ${name}`);
      }
    }
    for (const position of ["decide, request", "decide, context", "decide, headers", "features, context", "explain, request"]) {
      assert.equal(attempt(() => positions[position](values["a proxy whose traps throw"]), position).error, mine, position);
    }
  });

  test("lone surrogates match no tenant, no feature and no rule", () => {
    for (const bad of ["\ud800", "t\udc00", "\udfff\ud800"]) {
      assert.equal(gate.decide({ host: `${bad}.app.example.com` }).code, "BAD_REQUEST");
      assert.equal(gate.decide({ host, headers: { "x-tenant-id": bad } }).code, "BAD_REQUEST");
      assert.equal(gate.decide({ host, path: "/f", context: { n: bad } }).code, "FEATURE_NOT_AVAILABLE");
      assert.deepEqual(Object.entries(gate.decide({ host, features: [bad, "g"] }).features).map(([key, { reason }]) => [key, reason]), [[bad, "FEATURE_UNKNOWN"], ["g", "DEFAULT"]]);
      assert.throws(() => gate.features(bad), TenantgateError);
    }
    works(gate);
  });

  test("an invalid `now` throws an InputError", () => {
    const times = [NaN, Infinity, -Infinity, -1, 1e300, 8.64e15 + 1, "1780000000000", null, 5n, Symbol("now"), {}, new Date(), true];
    for (const now of times) {
      for (const position of ["decide, now", "features, now", "ask, now", "explain, now", "verifyAssertion, now"]) {
        const about = `${position}: ${String(now)}`;
        assert(attempt(() => positions[position](now), about).error instanceof InputError, about);
      }
    }
    for (const now of [0, 1.5, 1_780_000_000_000, 8.64e15]) assert.equal(gate.decide({ host }, { now }).code, "ALLOWED");
  });

  test("`features` that is not a list throws an InputError", () => {
    for (const features of [5, "fg", {}, { length: 2 }, () => 1, new Set(["f"])]) {
      assert(attempt(() => gate.decide({ host, features }), "features").error instanceof InputError, `features: ${String(features)}`);
    }
  });

  test("a list with too many or too long features is refused", () => {
    assert.equal(gate.decide({ host, features: Array(257).fill("f") }).code, "BAD_REQUEST");
    for (const features of [Array(1_000).fill("f"), Array(1_000_000).fill(""), Array(2 ** 32 - 1), Array(100).fill("f".repeat(1_000_000))]) {
      assert(attempt(() => gate.decide({ host, features }), "features").error instanceof InputError);
    }
    assert.equal(gate.ask({ host, features: Array(1_000).fill("f") }).decision.code, "BAD_REQUEST");
    for (const features of [Array(1_000_000).fill(""), Array(100).fill("f".repeat(1_000_000))]) {
      assert(attempt(() => gate.ask({ host, features }), "features").error instanceof DocumentError);
    }
  });

  const answers = { decide: (key) => gate.decide({ host, features: [key] }).features, ask: (key) => gate.ask({ host, features: [key] }).decision.features };
  for (const [call, featuresOf] of Object.entries(answers)) {
    test(`\`${call}\` reports features named \`__proto__\`, \`constructor\` and \`toString\` as unknown`, () => {
      for (const key of ["__proto__", "constructor", "toString"]) {
        const features = featuresOf(key);
        assert.deepEqual([Object.getPrototypeOf(features) === Object.prototype, Object.keys(features), features[key].reason], [true, [key], "FEATURE_UNKNOWN"]);
        assert.deepEqual([gate.features("t").has(key), gate.features("t").get(key).reason], [false, "FEATURE_UNKNOWN"]);
      }
    });
  }

  test("a context with more than 64 attributes that rules read is refused", () => {
    const rule = (i) => ({ rules: [{ name: "r", when: [{ attribute: `a${i}`, op: "gt", value: 1 }], value: true }] });
    const features = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`f${i}`, rule(i)]));
    const wide = new Gate({ ...catalog, plans: { "p@1": {} }, routes: [], features }, [tenants[0]]);
    const context = (count) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`a${i}`, 2]));
    // Attributes that no rule reads do not count.
    assert.equal(gate.decide({ host, path: "/f", context: { ...context(1_000), n: 2 } }).code, "ALLOWED");
    assert.equal(gate.features("t", { ...context(1_000), n: 2 }).enabled("f"), true);
    assert.equal(wide.decide({ host, context: context(64), features: ["f0", "f63", "f64"] }).features.f63.value, true);
    for (const count of [65, 1_000]) assert(attempt(() => wide.decide({ host, context: context(count) }), "decide").error instanceof InputError);
    assert(attempt(() => wide.ask({ host, context: context(1_000) }), "ask").error instanceof DocumentError);
    const on = (count) => [...wide.features("t", context(count))].filter(([, { enabled }]) => enabled).map(([key]) => Number(key.slice(1))).sort((a, b) => a - b);
    assert.deepEqual(on(64), Array.from({ length: 64 }, (_, i) => i));
    for (const count of [65, 200, 300, 1_000]) {
      const { error, answer } = attempt(() => on(count), `features, ${count}`);
      assert(error instanceof InputError, `${count} attributes: ${answer}`);
    }
    wide.free();
  });

  test("a tenant header with two values is ambiguous, and an invalid list of values is refused", () => {
    const twice = { host, headers: { "x-tenant-id": ["v", "t"] } };
    assert.equal(gate.decide(twice).code, "TENANT_AMBIGUOUS");
    assert.equal(gate.explain(twice).decision.code, "TENANT_AMBIGUOUS");
    for (const value of [[], ["v", 5], [["v"]]]) assert.throws(() => gate.decide({ host, headers: { "x-tenant-id": value } }), InputError);
  });

  test("a secret that is not a string throws an InputError", () => {
    for (const secret of [undefined, null, 5, {}, ["s"], () => process.env.JWT_SECRET, Symbol("s")]) {
      assert(attempt(() => open({ secrets: { S: secret } }), "secrets").error instanceof InputError, String(secret));
      assert(attempt(() => gate.putSecret("S", secret), "putSecret").error instanceof InputError, String(secret));
    }
  });

  test("`keys`, `secrets` and options that are not objects throw an InputError", () => {
    for (const value of [null, 5, "text", ["s"], Symbol("s"), () => 1]) {
      assert(attempt(() => open({ secrets: value }), "secrets").error instanceof InputError, String(value));
      assert(attempt(() => open({ keys: value }), "keys").error instanceof InputError, String(value));
      assert(attempt(() => open(value), "options").error instanceof InputError, String(value));
    }
  });

  test("`onChange` refuses a listener that is not a function", () => {
    const watched = open();
    for (const listener of [null, undefined, 5, {}, "x"]) assert.throws(() => watched.onChange(listener), InputError);
    watched.putTenant({ ...tenants[0], epoch: 2 });
    watched.free();
  });

  test("frozen inputs are accepted, and inputs stay unchanged", () => {
    const frozen = (value) => {
      for (const part of Object.values(value)) if (typeof part === "object" && part !== null) frozen(part);
      return Object.freeze(value);
    };
    const [ice, iced] = [frozen(structuredClone(catalog)), frozen(structuredClone(tenants))];
    const cold = new Gate(ice, iced, frozen({ keys: { u: { keys: [] } }, secrets: {}, apiKeys: [], environment: "live" }));
    cold.putCatalog(ice);
    cold.putTenant(iced[0]);
    works(cold);
    const request = frozen({ host, path: "/f", headers: {}, context: { n: 2 }, features: ["f", "g"] });
    assert.deepEqual(Object.keys(cold.decide(request, Object.freeze({ look: true })).features), ["f", "g"]);
    assert.equal(cold.explain(request, Object.freeze({})).decision.code, "ALLOWED");
    assert.deepEqual([ice, iced], [catalog, tenants]);
    const answer = cold.features("t").get("f");
    assert.throws(() => { answer.value = true; }, TypeError, "results are shared, so they are frozen");
    cold.free();
  });

  test("a polluted `Object.prototype` does not affect documents", (t) => {
    t.after(() => delete Object.prototype.status);
    Object.prototype.status = "suspended";
    const clean = open();
    works(clean);
    clean.free();
  });
});

describe("arguments that call the gate while they are read", () => {
  /** The outer call must return its own result, or be refused. */
  const itself = (run, right, about) => {
    const { error, answer } = attempt(run, about);
    if (!(error instanceof InputError)) assert.deepEqual(answer, right, about);
  };

  test("a nested call does not change the result of the outer call", () => {
    const other = () => gate.decide({ host: "v.app.example.com" }) && undefined;
    itself(() => gate.decide({ host, context: { get n() { return other(); } } }).tenant.id, "t", "an attribute");
    itself(() => gate.decide({ host, headers: { get "x-tenant-id"() { return other(); } } }).tenant.id, "t", "a header");
    itself(() => gate.decide({ host, features: { length: 1, get 0() { other(); return "g"; } } }).tenant.id, "t", "features");
    itself(() => gate.features("t", { get n() { return gate.features("v").enabled("g") ? 1 : 0; } }).enabled("g"), false, "features of another tenant");
    itself(() => gate.ask({ host, get features() { other(); return ["g"]; } }).decision.tenant.id, "t", "ask");
  });

  test("a nested call may free the gate, create gates, or replace the catalog", () => {
    const freed = open();
    itself(() => freed.decide({ host, context: { get n() { freed.free(); return 2; } } }).tenant.id, "t", "freed");
    const others = [];
    itself(() => gate.decide({ host, context: { get n() { for (let i = 0; i < 200; i++) others.push(open()); return 2; } } }).tenant.id, "t", "memory has grown");
    for (const one of others) one.free();
    const changed = open();
    const a = { rules: [{ name: "r", when: [{ attribute: "a", op: "gt", value: 1 }], value: true }] };
    const change = () => changed.putCatalog({ ...catalog, version: 2, features: { ...catalog.features, a } });
    itself(() => changed.decide({ host, path: "/f", context: { get n() { change(); return 2; } } }).code, "ALLOWED", "another catalog");
    changed.free();
  });
});

describe("after a trap", () => {
  /** Overwrites the module's memory: heap, gates and static data. */
  const crash = () => new Uint8Array(memory.buffer).fill(0xff, 1 << 20);
  // The next test starts with a working instance, whatever this one did.
  afterEach(() => { try { open(); } catch { /* the failure created a new instance */ } });

  const calls = {
    decide: (one) => one.decide({ host }), features: (one) => one.features("t"), ask: (one) => one.ask({ tenant: "t" }), explain: (one) => one.explain({ host }),
    putTenant: (one) => one.putTenant(tenants[0]), putCatalog: (one) => one.putCatalog(catalog), removeTenant: (one) => one.removeTenant("t"),
    "new Gate": () => open(), publish: () => publish({ catalog, tenants }), issueApiKey: () => issueApiKey({ tenant: "t" }), verifyAssertion: () => verifyAssertion(assertion, { keys: jwks, audience: "a" }),
  };
  for (const [name, call] of Object.entries(calls)) {
    for (const how of ["idle", "asked"]) {
      test(`after a trap, \`${name}\` throws GateFailedError, then every gate works again (gate ${how} before)`, () => {
        const [one, other] = [open(), open()];
        if (how === "asked") works(one);
        works(other);
        const before = generation;
        crash();
        assert.throws(() => call(one), (error) => error instanceof GateFailedError && error.status === 500 && error.cause !== undefined);
        assert.equal(generation, before + 1);
        works(other, "another gate");
        works(one, "the gate itself");
        works(open(), "a new gate");
        assert.equal(generation, before + 1, "the module was created once");
        one.free();
        other.free();
      });
    }
  }

  test("after a trap, a gate has its latest documents again, without its counts", () => {
    const limits = { calls: { kind: "quota", period: "month", default: 10 } };
    const one = new Gate({ ...catalog, limits }, tenants);
    one.putTenant({ ...tenants[0], epoch: 5, plan: "q@1" });
    one.removeTenant("v");
    one.putCatalog({ ...catalog, limits, version: 7 });
    one.ask({ tenant: "t", limits: { calls: 4 } });
    crash();
    assert.throws(() => one.ask({ tenant: "t" }), GateFailedError);
    const { tenant, snapshot, limits: [{ used }] } = one.ask({ tenant: "t", limits: { calls: 0 } }).decision;
    assert.deepEqual([tenant.plan, snapshot.catalog, snapshot.epoch, used], ["q@1", 7, 5, 0]);
    assert.throws(() => one.features("v"), TenantNotFoundError);
    assert.throws(() => one.putTenant({ ...tenants[0], epoch: 4 }), /older/);
    one.free();
  });

  test("after a trap, a gate has its issuer keys, secrets and API keys again", async () => {
    const jose = await import("jose");
    const { publicKey, privateKey } = await jose.generateKeyPair("ES256");
    const url = "https://id.example.com/keys";
    const secret = "a secret of thirty-two bytes or more";
    const issuer = (more) => ({ audience: ["api"], tenants: "all", ...more });
    const secured = {
      ...catalog, resolution: { strategies: [{ strategy: "jwt" }, { strategy: "api_key" }] },
      issuers: { main: issuer({ issuer: "main", algorithms: ["ES256"], jwks_url: url }), own: issuer({ issuer: "own", algorithms: ["HS256"], keys: [{ secret: "S" }] }) },
    };
    const { key, record } = issueApiKey({ tenant: "t", environment: "test" });
    const one = new Gate(secured, tenants, { secrets: { S: secret }, environment: "test" });
    one.putKeys(new URL(url), { keys: [{ ...(await jose.exportJWK(publicKey)), kid: "k" }] });
    one.putApiKey(record);
    const sign = (iss, header, by) => new jose.SignJWT({ iss, aud: "api", tenant_id: "t" }).setExpirationTime("10m").setProtectedHeader(header).sign(by);
    const shown = [
      { authorization: `Bearer ${await sign("main", { alg: "ES256", kid: "k" }, privateKey)}` },
      { authorization: `Bearer ${await sign("own", { alg: "HS256" }, new TextEncoder().encode(secret))}` }, { "x-api-key": key },
    ];
    const codes = () => shown.map((headers) => one.decide({ headers }).code);
    assert.deepEqual(codes(), ["ALLOWED", "ALLOWED", "ALLOWED"]);
    crash();
    assert.throws(() => one.ask({ tenant: "t" }), GateFailedError);
    assert.deepEqual(codes(), ["ALLOWED", "ALLOWED", "ALLOWED"]);
    one.free();
  });
});
