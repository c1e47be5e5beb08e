// Arguments from JavaScript: checks them, and writes them where WebAssembly reads them.

import { DocumentError, InputError } from "./errors.js";
import { unknown } from "./own.js";

const encoder = new TextEncoder();

/**
 * Maximum number of characters of a text, more than any document may have. A longer text is never
 * copied into WebAssembly, whose memory does not shrink.
 */
const MAX_CHARACTERS = 8 << 20;

/** Returns a document as JSON text. */
export function text(document) {
  const json = typeof document === "string" ? document : stringified(document);
  if (json.length > MAX_CHARACTERS) {
    throw new DocumentError([{ path: "$", found: `${json.length} characters`, expected: `at most ${MAX_CHARACTERS}` }]);
  }
  return json;
}

function stringified(document) {
  let json;
  try {
    json = JSON.stringify(document);
  } catch (error) {
    throw new InputError("the document cannot be serialized as JSON", error);
  }
  if (json === undefined) throw new InputError("a document must be an object or JSON text");
  return json;
}

/**
 * Checks an argument that must be an object, such as options. Returns an empty one if it is absent.
 */
export function named(value, what) {
  if (value === undefined) return {};
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new InputError(`${what} must be an object`);
  return value;
}

/**
 * Checks options. Refuses names that are not in `names`: a misspelt option would have no effect.
 */
export function options(value, names, what) {
  const given = named(value, `the options of ${what}`);
  const [wrong] = unknown(given, names);
  if (wrong !== undefined) throw new InputError(`unknown option \`${wrong}\` of ${what}: the options are ${names.join(", ")}`);
  return given;
}

const kindOf = (value) => (value === null || value === undefined ? String(value) : `of type ${typeof value}`);

/** Checks an argument that must be a string. */
export function textual(value, what) {
  if (typeof value !== "string") throw new InputError(`${what} must be a string`);
  return value;
}

/**
 * The function that sends requests: the runtime's `fetch`, or the option `fetch` or `service`.
 * Refuses an option that is present without a value: falling back to the runtime's `fetch` would
 * send a credential to a place that it is not meant for.
 */
export function fetcher(given) {
  if (Object.hasOwn(given, "service")) {
    const { service } = given;
    if (Object.hasOwn(given, "fetch")) throw new InputError("`service` and `fetch` exclude each other: pass one of them");
    if (typeof service?.fetch !== "function") {
      throw new InputError(`\`service\` is ${kindOf(service)}, not a service binding: check the binding's name`);
    }
    return (url, init) => service.fetch(url, init);
  }
  if (!Object.hasOwn(given, "fetch")) {
    if (typeof globalThis.fetch !== "function") throw new InputError("the runtime has no `fetch`: pass a function as the option `fetch`");
    // Looked up for each request, since instrumentation may replace it later. Called without a
    // receiver, since some runtimes refuse any other.
    return (url, init) => (0, globalThis.fetch)(url, init);
  }
  const { fetch } = given;
  if (typeof fetch !== "function") {
    throw new InputError(`\`fetch\` is ${kindOf(fetch)}, not a function: omit it to use the runtime's own`);
  }
  if (isLoose(fetch)) throw new InputError("`fetch` cannot be called without its service binding: pass `service: env.GATE` instead");
  return (url, init) => fetch(url, init);
}

/** Whether a function is the method of a Workers binding: native, but not the global `fetch`. */
function isLoose(fetch) {
  if (globalThis.navigator?.userAgent !== "Cloudflare-Workers") return false;
  return fetch !== globalThis.fetch && fetch.name === "fetch" && /\[native code\]/.test(Function.prototype.toString.call(fetch));
}

const MAX_TIME = 8.64e15;

/** The given time, or the clock's. An invalid time would revive entitlements that have ended. */
export function moment(now) {
  if (now === undefined) return Date.now();
  if (typeof now !== "number" || !(now >= 0 && now <= MAX_TIME)) {
    throw new InputError("`now` must be a number of milliseconds since 1970");
  }
  return now;
}

/**
 * The value of a header, or undefined. `name` is in lower case; the case in `headers` does not
 * matter. Several values are joined as they would be in transit (RFC 9110 §5.3).
 */
export function header(headers, name) {
  let value = headers?.[name];
  // An inherited property is not a header: it is a method of `Headers` or of every object.
  if (value !== undefined && !Object.hasOwn(headers, name)) value = undefined;
  if (value === undefined && headers !== undefined && headers !== null) {
    if (typeof headers.get === "function") value = headers.get(name);
    else {
      for (const key in headers) {
        if (key.length === name.length && key.toLowerCase() === name && Object.hasOwn(headers, key)) value ??= headers[key];
      }
    }
  }
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value)) return value;
  if (value.length === 0 || value.some((one) => typeof one !== "string")) throw new InputError("the value of a header must be a string");
  return value.join(", ");
}

/** Writes a text at `start`. Returns the position after it. */
export function write(bytes, value, start) {
  if (typeof value !== "string") throw new InputError(`a value that must be a string is ${kindOf(value)}`);
  const { length } = value;
  // Names in requests are usually short and ASCII, for which a loop is faster than the encoder.
  if (length <= 64 && start + length <= bytes.length) {
    let i = 0;
    for (let code; i < length && (code = value.charCodeAt(i)) < 128; i++) bytes[start + i] = code;
    if (i === length) return start + length;
  }
  const { read, written } = encoder.encodeInto(value, bytes.subarray(start));
  if (read < length) throw new InputError(`the request is too large: its texts have more than ${bytes.length} bytes`);
  return start + written;
}

/** The attributes of a context that rules can read: strings, finite numbers and booleans. */
export function readable(context) {
  const entries = Object.entries(context ?? {});
  return Object.fromEntries(entries.filter(([, value]) => Number.isFinite(value) || ["string", "boolean"].includes(typeof value)));
}

/** Maximum number of attributes in one question, in the core as well. */
const MAX_ATTRIBUTES = 64;
const [TEXT, NUMBER, TRUE, FALSE] = [0, 1, 2, 3];
const scratch = new Float64Array(1);
const halves = new Uint32Array(scratch.buffer);

/** The positions after the last `writeContext`; one object, so that a decision allocates none. */
export const end = { word: 0, at: 0 };

/**
 * Writes the attributes of a context that some rule reads: their number, then each attribute.
 * `word` and `at`: positions in `words` and `bytes`. Leaves the positions after them in `end`.
 */
export function writeContext(words, bytes, attributes, context, word, at) {
  const counted = word++;
  let count = 0;
  if (context !== undefined && context !== null) {
    for (let i = 0; i < attributes.length; i++) {
      const value = context[attributes[i]];
      if (value === undefined || value === null || !Object.hasOwn(context, attributes[i])) continue;
      if (++count > MAX_ATTRIBUTES) throw new InputError(`the context has more than ${MAX_ATTRIBUTES} attributes that rules read`);
      words[word++] = i;
      if (typeof value === "string") {
        words[word++] = TEXT;
        const stop = write(bytes, value, at);
        words[word++] = stop - at;
        at = stop;
      } else if (typeof value === "number") {
        words[word++] = NUMBER;
        scratch[0] = value;
        words[word++] = halves[0];
        words[word++] = halves[1];
      } else if (typeof value === "boolean") {
        words[word++] = value ? TRUE : FALSE;
      } else {
        throw new InputError(`the attribute \`${attributes[i]}\` must be a string, a number or a boolean`);
      }
    }
  }
  words[counted] = count;
  end.word = word;
  end.at = at;
}

/** Freezes a value deeply, so that several callers can share it. */
export function frozen(value) {
  if (typeof value === "object" && value !== null) {
    for (const part of Object.values(value)) frozen(part);
    Object.freeze(value);
  }
  return value;
}

/**
 * The same text as an internalized property name, which engines look up without comparing
 * characters.
 */
export const internalized = (name) => Object.keys({ [name]: 0 })[0];
