// Builds merge patches (RFC 7396) from `key=value` arguments.

import { wrongUsage } from "./failure.js";
import { parsed } from "./client.js";

/**
 * Builds the merge patch for changes.
 * @param {string[]} changes such as `name=Acme`, `metadata.crm=7`, `region=null`
 */
export function patch(changes) {
  // Without a prototype, so that a key such as `__proto__` is an ordinary member.
  const whole = Object.create(null);
  const ends = new Set();
  for (const [index, change] of changes.entries()) {
    const at = change.indexOf("=");
    const path = change.slice(0, Math.max(at, 0));
    const keys = path.split(".");
    if (keys.includes("")) throw wrongUsage(`change ${index + 1} is not key=value`);
    const above = keys.map((_, length) => keys.slice(0, length).join(".")).some((part) => ends.has(part));
    const below = [...ends].some((end) => end === path || end.startsWith(`${path}.`));
    if (above || below) throw wrongUsage(`\`${path}\` is changed twice`);
    ends.add(path);
    const name = keys.pop();
    const target = keys.reduce((object, key) => (object[key] ??= Object.create(null)), whole);
    target[name] = value(change.slice(at + 1));
  }
  return whole;
}

/** The value of a text: JSON if it parses, otherwise the text itself. */
function value(text) {
  const json = parsed(text);
  return json === undefined ? text : json;
}
