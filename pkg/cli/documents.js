// Documents in files: a seed `{catalog, tenants, api_keys}`, or a bare catalog.

import { readFileSync } from "node:fs";
import { DocumentError, Gate, publish } from "../node.js";
import { parsed } from "./client.js";
import { wrongUsage, invalid } from "./failure.js";

/** The text of a file. */
export function read(name) {
  try {
    return readFileSync(name, "utf8");
  } catch (error) {
    throw wrongUsage(`\`${name}\` cannot be read: ${error.code}`);
  }
}

const PARTS = ["catalog", "tenants", "api_keys"];

/**
 * A document, with all its problems. Nothing is sent anywhere.
 * @returns {{name: string, seed: boolean, value: any, text: string, problems: {path: string, found: string, expected: string}[]}}
 */
export function examine(name) {
  const text = read(name);
  const value = parsed(text);
  const seed = value !== null && typeof value === "object" && PARTS.some((part) => part in value);
  try {
    // The text itself is judged: what JavaScript makes of its numbers may be something else.
    if (seed) publish(text);
    else new Gate(text).free();
    return { name, seed, value, text, problems: [] };
  } catch (error) {
    if (!(error instanceof DocumentError)) throw error;
    return { name, seed, value, text, problems: error.problems };
  }
}

/** A document without problems. Throws them. */
export function good(name) {
  const document = examine(name);
  if (document.problems.length) throw invalid(name, document.problems);
  return document;
}

/** The catalog of a document. What JSON it is, is for the API to judge. */
export function catalogOf(name) {
  const text = read(name);
  const value = parsed(text);
  if (value === null || typeof value !== "object") throw invalid(name, [{ path: "$", found: "no JSON object", expected: "a catalog" }]);
  return value.catalog ?? value;
}

/** Lines of JSON in a file. Throws the problems of all lines. */
export function lines(name) {
  const problems = [];
  const entries = [];
  for (const [index, line] of read(name).split("\n").entries()) {
    if (!line.trim()) continue;
    const entry = parsed(line);
    if (entry === null || typeof entry !== "object") problems.push({ path: `line ${index + 1}`, found: "no JSON object", expected: '{"at", "question"}' });
    else entries.push(entry);
  }
  if (problems.length) throw invalid(name, problems);
  return entries;
}
