// Reads documents from files: a seed `{catalog, tenants, api_keys}`, or a catalog alone.

import { readFileSync } from "node:fs";
import { DocumentError, Gate, publish } from "../node.js";
import { parsed } from "./client.js";
import { wrongUsage, invalid } from "./failure.js";

/** Reads a file as text. */
export function read(name) {
  try {
    return readFileSync(name, "utf8");
  } catch (error) {
    throw wrongUsage(`\`${name}\` cannot be read: ${error.code}`);
  }
}

const PARTS = ["catalog", "tenants", "api_keys"];

/**
 * Reads a document and checks it locally.
 * @returns {{name: string, seed: boolean, value: any, text: string, problems: {path: string, found:
 *   string, expected: string}[]}}
 */
export function examine(name) {
  const text = read(name);
  const value = parsed(text);
  const seed = value !== null && typeof value === "object" && PARTS.some((part) => part in value);
  try {
    // Checks the text, not the parsed value, since JavaScript may round its numbers.
    if (seed) publish(text);
    else new Gate(text).free();
    return { name, seed, value, text, problems: [] };
  } catch (error) {
    if (!(error instanceof DocumentError)) throw error;
    return { name, seed, value, text, problems: error.problems };
  }
}

/** Reads a valid document. Throws its problems otherwise. */
export function good(name) {
  const document = examine(name);
  if (document.problems.length) throw invalid(name, document.problems);
  return document;
}

/** Reads the catalog from a document. The API checks it. */
export function catalogOf(name) {
  const text = read(name);
  const value = parsed(text);
  if (value === null || typeof value !== "object") {
    throw invalid(name, [{ path: "$", found: "text that is not a JSON object", expected: "a catalog" }]);
  }
  return value.catalog ?? value;
}

/** Reads a file with one JSON object a line. Throws the problems of all lines. */
export function lines(name) {
  const problems = [];
  const entries = [];
  for (const [index, line] of read(name).split("\n").entries()) {
    if (!line.trim()) continue;
    const entry = parsed(line);
    if (entry !== null && typeof entry === "object") entries.push(entry);
    else problems.push({ path: `line ${index + 1}`, found: "text that is not a JSON object", expected: '{"at", "question"}' });
  }
  if (problems.length) throw invalid(name, problems);
  return entries;
}
