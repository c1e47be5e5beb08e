// What is handed over from JavaScript: checked, and written where WebAssembly reads it.

import { DocumentError, InputError } from "./errors.js";
import { unknown } from "./own.js";

const encoder = new TextEncoder();

/** More than any document may have; what is longer is not even copied into WebAssembly, whose memory never shrinks. */
const MAX_CHARACTERS = 8 << 20;

/** A document as JSON text. */
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
    throw new InputError("the document cannot be written as JSON", error);
  }
  if (json === undefined) throw new InputError("a document is an object, or JSON text");
  return json;
}

/** Options, or anything else that is handed over by name; none where there are none. */
export function named(value, what) {
  if (value === undefined) return {};
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new InputError(`${what} are an object`);
  return value;
}

/** Options of which each has a name in `names`: a misspelt one would be ignored. */
export function options(value, names, what) {
  const given = named(value, `the options of ${what}`);
  const [wrong] = unknown(given, names);
  if (wrong !== undefined) throw new InputError(`\`${wrong}\` is no option of ${what}: there are ${names.join(", ")}`);
  return given;
}

const kindOf = (value) => (value === null || value === undefined ? String(value) : `of type ${typeof value}`);

/** A text, where nothing else will do. */
export function textual(value, what) {
  if (typeof value !== "string") throw new InputError(`${what} is text`);
  return value;
}

/**
 * What sends requests: the runtime's `fetch`, or what `given` says instead. One that is named there and not given is refused, since the
 * runtime's would send a credential to another place than it is meant for.
 */
export function fetcher(given) {
  if (Object.hasOwn(given, "service")) {
    const { service } = given;
    if (Object.hasOwn(given, "fetch")) throw new InputError("`service` and `fetch` exclude each other: a service binding has its own");
    if (typeof service?.fetch !== "function") {
      throw new InputError(`\`service\` is ${kindOf(service)}, not a service binding: check the name of the binding`);
    }
    return (url, init) => service.fetch(url, init);
  }
  if (!Object.hasOwn(given, "fetch")) {
    if (typeof globalThis.fetch !== "function") throw new InputError("the runtime has no `fetch`: pass a function as the option `fetch`");
    // Looked up with each request: what instruments it may come later. Called as a plain function: it is nobody's method.
    return (url, init) => (0, globalThis.fetch)(url, init);
  }
  const { fetch } = given;
  if (typeof fetch !== "function") {
    throw new InputError(`\`fetch\` is ${kindOf(fetch)}, not a function: leave it out for the runtime's own`);
  }
  if (isLoose(fetch)) throw new InputError("`fetch` cannot be called without its service binding: pass the binding, `service: env.GATE`");
  return (url, init) => fetch(url, init);
}

/** Whether it is the method of a binding of Workers: those are the runtime's, and not its global function. */
function isLoose(fetch) {
  if (globalThis.navigator?.userAgent !== "Cloudflare-Workers") return false;
  return fetch !== globalThis.fetch && fetch.name === "fetch" && /\[native code\]/.test(Function.prototype.toString.call(fetch));
}

const MAX_TIME = 8.64e15;

/** A time that was given, or the clock's. A wrong one would bring back what has ended. */
export function moment(now) {
  if (now === undefined) return Date.now();
  if (typeof now !== "number" || !(now >= 0 && now <= MAX_TIME)) throw new InputError("`now` is a number of milliseconds since 1970");
  return now;
}

/**
 * The value of a header, whose name is in lower case, whatever case it has in `headers`; undefined where there is none. One that is
 * there twice is joined as it would be on its way (RFC 9110 §5.3).
 */
export function header(headers, name) {
  let value = headers?.[name];
  // What is inherited is no header: a method of `Headers`, or what every object has.
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
  if (value.length === 0 || value.some((one) => typeof one !== "string")) throw new InputError("the value of a header is text");
  return value.join(", ");
}

/** Writes a text at `start`; returns where it ends. */
export function write(bytes, value, start) {
  if (typeof value !== "string") throw new InputError(`what is given as text is ${kindOf(value)}`);
  const { length } = value;
  // Names in requests are short and ASCII: a loop is quicker than an encoder, which is there for the rest.
  if (length <= 64 && start + length <= bytes.length) {
    let i = 0;
    for (let code; i < length && (code = value.charCodeAt(i)) < 128; i++) bytes[start + i] = code;
    if (i === length) return start + length;
  }
  const { read, written } = encoder.encodeInto(value, bytes.subarray(start));
  if (read < length) throw new InputError(`the request is too large: its texts exceed ${bytes.length} bytes`);
  return start + written;
}

/** Those attributes of a context that rules can read: text, finite numbers, booleans. */
export function readable(context) {
  const entries = Object.entries(context ?? {});
  return Object.fromEntries(entries.filter(([, value]) => Number.isFinite(value) || ["string", "boolean"].includes(typeof value)));
}

/** Of one question; more are refused everywhere. */
const MAX_ATTRIBUTES = 64;
const [TEXT, NUMBER, TRUE, FALSE] = [0, 1, 2, 3];
const scratch = new Float64Array(1);
const halves = new Uint32Array(scratch.buffer);

/** Where `writeContext` has ended. */
export const end = { word: 0, at: 0 };

/** Writes those attributes of a context that some rule reads: how many, then each. */
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
        throw new InputError(`the attribute \`${attributes[i]}\` is neither text nor number nor boolean`);
      }
    }
  }
  words[counted] = count;
  end.word = word;
  end.at = at;
}

/** Handed out many times, so that nobody may write in it. */
export function frozen(value) {
  if (typeof value === "object" && value !== null) {
    for (const part of Object.values(value)) frozen(part);
    Object.freeze(value);
  }
  return value;
}

/** The same text as a property name, which the engine finds without comparing. */
export const internalized = (name) => Object.keys({ [name]: 0 })[0];
